//! A server, a verifier and a connection between them, all of which fit. Tests change one thing and
//! look what the verifier makes of it.

use neo_secrets_attestation::appraise::{Appraised, Channel, Pin};
use neo_secrets_attestation::binding::{
    self, Exporter, Leaf, Nonce, Path, ReportData, Role, Tree, instance_message,
};
use neo_secrets_attestation::config::{AttestedConfig, OwnerKey, Reveal, Seal};
use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use neo_secrets_attestation::endorsements::{Endorsements, VekKind};
use neo_secrets_attestation::evidence::{
    BatchBody, ClaimPhase, Claims, ConfigText, Document, DocumentError, ImageVersion, StoreId,
};
use neo_secrets_attestation::exchange::{Exchange, Refusal, Trust};
use neo_secrets_attestation::policy::{AbiVersion, AnyOf, Policy, ProductPolicy};
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::reference::{Covers, Identity, KnownMeasurement, ReferenceValues};
use neo_secrets_attestation::report::ChipId;
use neo_secrets_attestation::roots::Roots;
use neo_secrets_attestation::tcb::{Tcb, TcbVersion};
use neo_secrets_attestation::time::UnixTime;
use neo_secrets_attestation::verify::CrlRule;
use openssl::pkey::{Id, PKey};
use openssl::sign::Signer;
use serde_json::{Value, json};

use crate::support::now;
use crate::support::report::{CHIP_ID, MEASUREMENT, REPORT_DATA, REPORTED_TCB, ReportBuilder};
use crate::support::vendor::{CSP_ID, Vendor};

/// The verifier's exporter.
pub const EXPORTER: Exporter = Exporter([
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
    26, 27, 28, 29, 30, 31,
]);

/// A configuration that fits the scene's policy.
pub const CONFIG: &str = r#"seal = "firmware"
reveal = "off"
witnesses = []
quorum = 0
owner_key = "any"
listen = "[::]:443"
"#;

/// Everything that the evidence is made of and judged by.
#[derive(Clone)]
pub struct Scene {
    /// The report before its REPORT_DATA is filled in and it is signed.
    pub report: ReportBuilder,
    pub endorsements: Endorsements,
    /// What the server says.
    pub claims: Claims,
    /// What the server makes the leaf for.
    pub role: Role,
    /// The seed of the key that signs for the instance.
    pub instance_seed: [u8; 32],
    /// The leaves of the batch; `None` stands for the verifier's.
    pub batch: Vec<Option<Leaf>>,
    /// What the verifier has.
    pub nonce: Nonce,
    pub channel: Channel,
    pub trust: Trust,
    pub now: UnixTime,
}

impl Scene {
    /// A scene in phase `serving` in which every step holds.
    pub fn new(product: Product) -> Self {
        let vendor = Vendor::new(product, VekKind::Vcek);
        Self::with_vendor(&vendor, ReportBuilder::new(product))
    }

    pub fn with_vendor(vendor: &Vendor, report: ReportBuilder) -> Self {
        let endorsements = vendor.endorsements();
        let trust = Trust {
            roots: Roots::simulated(&endorsements.ark).unwrap(),
            reference: reference(),
            policy: policy(vendor.product, &report),
            pin: Pin::InstanceKey(key([1; 32])),
        };
        let others = |byte| Some(Leaf([byte; 32]));
        Self {
            report,
            endorsements,
            claims: claims(),
            role: Role::Evidence,
            instance_seed: [1; 32],
            batch: vec![others(1), others(2), None, others(4), others(5)],
            nonce: Nonce::new(&[0x4E; 32]).unwrap(),
            channel: Channel { exporter: EXPORTER, tls_spki_sha256: [0x54; 32] },
            trust,
            now: now(),
        }
    }

    /// The path of the verifier's leaf, and the signed report.
    pub fn attest(&self) -> (Path, [u8; 1184]) {
        let own = binding::leaf(self.role, &self.nonce, &self.channel.exporter);
        let leaves: Vec<Leaf> = self.batch.iter().map(|leaf| leaf.unwrap_or(own)).collect();
        let tree = Tree::new(&leaves).unwrap();
        let index = self.batch.iter().position(Option::is_none).unwrap();
        let report_data = binding::report_data(&self.claims, &tree.root());
        let report = self.report.clone().with(REPORT_DATA, report_data.0).sign();
        (tree.path(index).unwrap(), report)
    }

    /// The document as an honest server writes it.
    pub fn document(&self) -> Vec<u8> {
        let (path, report) = self.attest();
        self.write(&report, &self.claims, &path)
    }

    /// A document with this report, these claims and this path.
    pub fn write(&self, report: &[u8; 1184], claims: &Claims, path: &Path) -> Vec<u8> {
        let data = ReportData(report[0x50..0x90].try_into().unwrap());
        let (_, signature) = sign(self.instance_seed, &instance_message(&data));
        let serving = matches!(claims.phase, ClaimPhase::Serving { .. });
        let signature = serving.then_some(&signature);
        BatchBody::new(report, &self.endorsements, claims, signature).document(path)
    }

    /// What the verifier makes of an honest server's answer.
    pub fn run(&self) -> Result<Appraised, Refusal> {
        self.judge(&self.document())
    }

    /// What the verifier makes of this answer.
    pub fn judge(&self, document: &[u8]) -> Result<Appraised, Refusal> {
        let exchange = Exchange::start(self.nonce.clone());
        exchange.finish(200, document, &self.channel, &self.trust, self.now)
    }

    /// The policy's only entry.
    pub fn entry(&mut self) -> &mut ProductPolicy {
        &mut self.trust.policy.products[0]
    }
}

/// An Ed25519 key by its seed.
pub fn key(seed: [u8; 32]) -> PublicKey {
    let key = PKey::private_key_from_raw_bytes(&seed, Id::ED25519).unwrap();
    PublicKey(key.raw_public_key().unwrap().try_into().unwrap())
}

/// Signs with the key of this seed.
pub fn sign(seed: [u8; 32], message: &[u8]) -> (PublicKey, Signature) {
    let private = PKey::private_key_from_raw_bytes(&seed, Id::ED25519).unwrap();
    let mut signer = Signer::new_without_digest(&private).unwrap();
    let signature = signer.sign_oneshot_to_vec(message).unwrap();
    (key(seed), Signature(signature.try_into().unwrap()))
}

/// Claims in phase `serving`.
pub fn claims() -> Claims {
    Claims {
        tls_spki_sha256: [0x54; 32],
        config: ConfigText::new(CONFIG.as_bytes()).unwrap(),
        image_version: ImageVersion::new("0.1.0").unwrap(),
        phase: ClaimPhase::Serving {
            store_id: StoreId([0x51; 16]),
            instance_key: key([1; 32]),
            log_key: key([2; 32]),
            receipt_key: key([3; 32]),
        },
    }
}

/// Claims as a document's reader reads them.
pub fn read_claims(claims: &Value) -> Result<Claims, DocumentError> {
    let mut document = json!({
        "version": 1, "platform": "sev-snp", "report": "", "claims": claims,
        "certificates": {"vek": "", "ask": "", "ark": ""},
        "freshness": {"path": {"index": 0, "size": 1, "hashes": []}},
    });
    if claims["phase"] == "serving" {
        document["freshness"]["instanceSignature"] = Signature([0; 64]).to_string().into();
    }
    Document::parse(document.to_string().as_bytes()).map(|document| document.claims)
}

/// The measurement of `ReportBuilder`, and another.
pub fn reference() -> ReferenceValues {
    let measurement = ReportBuilder::new(Product::Genoa).get(MEASUREMENT).try_into().unwrap();
    let known = |digest, vcpus| KnownMeasurement {
        digest,
        vcpus,
        vcpu_type: "EPYC-v4".to_owned(),
        sev_features: 1,
        covers: Covers::Image,
    };
    ReferenceValues {
        image_version: ImageVersion::new("0.1.0").unwrap(),
        measurements: vec![known([0; 48], 2), known(measurement, 4)],
        host_data: Identity::Any,
        family_id: Identity::Any,
        image_id: Identity::Any,
        id_key_digest: Identity::Any,
        author_key_digest: Identity::Any,
        guest_svn_min: 0,
        inputs: vec![],
    }
}

/// A policy whose floor is the report's TCB, for its chip only.
pub fn policy(product: Product, report: &ReportBuilder) -> Policy {
    let chip = ChipId(report.get(CHIP_ID).try_into().unwrap());
    Policy {
        expires: "2027-11-23T00:00:00Z".parse().unwrap(),
        abi_min: AbiVersion { major: 0, minor: 0 },
        products: vec![ProductPolicy {
            product,
            cpuid_models: AnyOf::Any,
            tcb_floor: tcb(product, report.get(REPORTED_TCB)),
            chips: AnyOf::Listed(vec![chip]),
            denied_chips: vec![],
        }],
        csp_ids: vec![CSP_ID.to_owned()],
        crl: CrlRule::Required,
        instance_keys: AnyOf::Any,
        config: AttestedConfig {
            seal: Seal::Firmware,
            reveal: Reveal::Off,
            witnesses: vec![],
            quorum: 0,
            owner_key: OwnerKey::Any,
        },
    }
}

/// A field of a report as a TCB.
pub fn tcb(product: Product, bytes: &[u8]) -> Tcb {
    TcbVersion(bytes.try_into().unwrap()).of(product).unwrap()
}

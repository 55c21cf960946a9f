//! The vendor: ARK, ASK or ASVK, VCEK or VLEK and CRL as drafts whose every field can be changed
//! before they are signed. The keys are made once per process.

use std::sync::OnceLock;
use std::thread;

use neo_secrets_attestation::endorsements::{Endorsements, VekKind};
use neo_secrets_attestation::error::VerifyError;
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::roots::Roots;
use neo_secrets_attestation::time::UnixTime;
use neo_secrets_attestation::verify::{CrlRule, CspIdRule, Rules, VerifiedReport, verify_report};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};

use super::der::{self, Hash};
use super::now;
use super::report::ReportBuilder;

/// The CSP_ID of the vendor's VLEKs.
pub const CSP_ID: &str = "CN=cc-test-1.provider.example";

/// The OID 1.3.6.1.4.1.3704.1, to which AMD's extensions add.
pub const AMD: [u8; 8] = [0x2B, 6, 1, 4, 1, 0x9C, 0x78, 1];

/// The keys of every vendor.
pub struct Keys {
    pub ark: PKey<Private>,
    pub ask: PKey<Private>,
    pub vek: PKey<Private>,
}

/// The vendor's keys: RSA-4096, RSA-4096, P-384.
pub fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let ark = thread::spawn(|| rsa(4096));
        let ask = rsa(4096);
        Keys { ark: ark.join().unwrap(), ask, vek: ec(Nid::SECP384R1) }
    })
}

/// A new RSA key.
pub fn rsa(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

/// A new key on a curve.
pub fn ec(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// Everything that vouches for reports of one product and one kind of key.
#[derive(Clone)]
pub struct Vendor {
    pub product: Product,
    pub ark: CertificateDraft,
    pub ask: CertificateDraft,
    pub vek: CertificateDraft,
    pub crl: CrlDraft,
}

/// A certificate before it is signed.
#[derive(Clone)]
pub struct CertificateDraft {
    /// The number as encoded: 2 stands for version 3.
    pub version: u8,
    /// Big-endian.
    pub serial: Vec<u8>,
    /// The AlgorithmIdentifier among the signed fields.
    pub algorithm: Vec<u8>,
    /// The AlgorithmIdentifier beside the signature.
    pub outer_algorithm: Vec<u8>,
    /// How it is signed in truth.
    pub hash: Hash,
    pub salt_bytes: u8,
    pub issuers: Vec<&'static str>,
    pub not_before: UnixTime,
    pub not_after: UnixTime,
    pub subjects: Vec<&'static str>,
    /// SubjectPublicKeyInfo, DER.
    pub key: Vec<u8>,
    pub extensions: Vec<ExtensionDraft>,
    pub signer: PKey<Private>,
}

/// An extension: the encoded OID, whether it is critical, the value.
#[derive(Clone, Debug)]
pub struct ExtensionDraft {
    pub oid: Vec<u8>,
    pub critical: bool,
    pub value: Vec<u8>,
}

/// A CRL before it is signed.
#[derive(Clone)]
pub struct CrlDraft {
    /// The number as encoded: 1 stands for version 2, nothing for version 1.
    pub version: Option<u8>,
    pub algorithm: Vec<u8>,
    pub issuers: Vec<&'static str>,
    pub this_update: UnixTime,
    pub next_update: UnixTime,
    /// Serial numbers, big-endian.
    pub revoked: Vec<Vec<u8>>,
    pub extensions: Vec<ExtensionDraft>,
    pub signer: PKey<Private>,
}

impl Vendor {
    /// A vendor whose VEK fits `ReportBuilder::new(product)`.
    pub fn new(product: Product, kind: VekKind) -> Self {
        let [ark_name, sev, sev_vlek] = match product {
            Product::Milan => ["ARK-Milan", "SEV-Milan", "SEV-VLEK-Milan"],
            Product::Genoa => ["ARK-Genoa", "SEV-Genoa", "SEV-VLEK-Genoa"],
            Product::Turin => ["ARK-Turin", "SEV-Turin", "SEV-VLEK-Turin"],
        };
        let (ask_name, vek_name) = match kind {
            VekKind::Vcek => (sev, "SEV-VCEK"),
            VekKind::Vlek => (sev_vlek, "SEV-VLEK"),
        };
        let keys = keys();
        let mut ark = CertificateDraft::new(ark_name, ark_name, &keys.ark, &keys.ark);
        ark.serial = vec![2, 0, 0];
        ark.extensions = authority_extensions();
        let mut ask = CertificateDraft::new(ark_name, ask_name, &keys.ask, &keys.ark);
        ask.serial = vec![2, 0, 2];
        ask.extensions = authority_extensions();
        let mut vek = CertificateDraft::new(ask_name, vek_name, &keys.vek, &keys.ask);
        vek.extensions = vek_extensions(product, kind);
        let crl = CrlDraft {
            version: Some(1),
            algorithm: der::pss(Hash::Sha384, 48),
            issuers: vec![ark_name],
            this_update: "2026-11-01T00:00:00Z".parse().unwrap(),
            next_update: "2026-12-15T00:00:00Z".parse().unwrap(),
            revoked: vec![vec![2, 0, 1]],
            extensions: vec![],
            signer: keys.ark.clone(),
        };
        Self { product, ark, ask, vek, crl }
    }

    /// Signs all drafts.
    pub fn endorsements(&self) -> Endorsements {
        Endorsements {
            vek: self.vek.sign(),
            ask: self.ask.sign(),
            ark: self.ark.sign(),
            crl: Some(self.crl.sign()),
        }
    }

    /// Rules that trust this vendor, want a CRL and know its provider.
    pub fn rules(&self) -> Rules {
        rules_for(&self.endorsements())
    }

    /// Verifies a report of this vendor's, under its rules, now.
    pub fn verify(&self, report: &ReportBuilder) -> Result<VerifiedReport, VerifyError> {
        let endorsements = self.endorsements();
        verify_report(&report.sign(), &endorsements, &rules_for(&endorsements), now())
    }
}

/// Rules that trust the ARK of these endorsements, want a CRL and know the vendor's provider.
pub fn rules_for(endorsements: &Endorsements) -> Rules {
    Rules {
        roots: Roots::simulated(&endorsements.ark).unwrap(),
        crl: CrlRule::Required,
        csp_ids: CspIdRule::Listed(vec![CSP_ID.to_owned()]),
    }
}

/// basicConstraints and keyUsage, critical as AMD has them.
fn authority_extensions() -> Vec<ExtensionDraft> {
    vec![
        ExtensionDraft {
            oid: vec![0x55, 29, 19],
            critical: true,
            value: vec![0x30, 3, 1, 1, 0xFF],
        },
        ExtensionDraft { oid: vec![0x55, 29, 15], critical: true, value: vec![3, 2, 1, 6] },
    ]
}

/// The extensions of a VEK that fits `ReportBuilder::new(product)`, in AMD's order.
fn vek_extensions(product: Product, kind: VekKind) -> Vec<ExtensionDraft> {
    let report = ReportBuilder::new(product);
    let (structure, product_name, order): (u8, _, &[(usize, u8)]) = match product {
        Product::Milan => (0, "Milan-B0", &MILAN_ORDER),
        Product::Genoa => (0, "Genoa", &MILAN_ORDER),
        Product::Turin => (1, "Turin", &TURIN_ORDER),
    };
    let mut extensions = vec![
        amd(&[1], der::integer(&[structure])),
        amd(&[2], der::element(0x16, product_name.as_bytes())),
    ];
    let tcb = report.get(super::report::REPORTED_TCB);
    extensions
        .extend(order.iter().map(|(byte, number)| amd(&[3, *number], der::integer(&[tcb[*byte]]))));
    extensions.push(match kind {
        VekKind::Vcek => {
            let hwid = &report.get(super::report::CHIP_ID)[..product.chip_id_bytes()];
            amd(&[4], hwid.to_vec())
        }
        VekKind::Vlek => amd(&[5], der::element(0x16, CSP_ID.as_bytes())),
    });
    extensions
}

/// Byte of the TCB version, last number of the extension's OID.
const MILAN_ORDER: [(usize, u8); 8] =
    [(0, 1), (1, 2), (2, 4), (3, 5), (4, 6), (5, 7), (6, 3), (7, 8)];
const TURIN_ORDER: [(usize, u8); 8] =
    [(0, 9), (1, 1), (2, 2), (3, 3), (4, 5), (5, 6), (6, 7), (7, 8)];

/// One of AMD's extensions.
pub fn amd(suffix: &[u8], value: Vec<u8>) -> ExtensionDraft {
    ExtensionDraft { oid: [&AMD, suffix].concat(), critical: false, value }
}

impl CertificateDraft {
    fn new(
        issuer: &'static str,
        subject: &'static str,
        key: &PKey<Private>,
        signer: &PKey<Private>,
    ) -> Self {
        Self {
            version: 2,
            serial: vec![],
            algorithm: der::pss(Hash::Sha384, 48),
            outer_algorithm: der::pss(Hash::Sha384, 48),
            hash: Hash::Sha384,
            salt_bytes: 48,
            issuers: vec![issuer],
            not_before: "2026-01-01T00:00:00Z".parse().unwrap(),
            not_after: "2033-01-01T00:00:00Z".parse().unwrap(),
            subjects: vec![subject],
            key: key.public_key_to_der().unwrap(),
            extensions: vec![],
            signer: signer.clone(),
        }
    }

    /// Replaces the value of one of AMD's extensions.
    pub fn set(&mut self, suffix: &[u8], value: Vec<u8>) {
        self.extension(suffix).value = value;
    }

    /// One of AMD's extensions.
    pub fn extension(&mut self, suffix: &[u8]) -> &mut ExtensionDraft {
        let oid = [&AMD, suffix].concat();
        self.extensions.iter_mut().find(|extension| extension.oid == oid).unwrap()
    }

    /// Takes one of AMD's extensions away.
    pub fn remove(&mut self, suffix: &[u8]) {
        let oid = [&AMD, suffix].concat();
        self.extensions.retain(|extension| extension.oid != oid);
    }

    /// The certificate, DER.
    pub fn sign(&self) -> Vec<u8> {
        let fields = der::sequence(&[
            &der::element(0xA0, &der::integer(&[self.version])),
            &der::integer(&self.serial),
            &self.algorithm,
            &der::name(&self.issuers),
            &der::sequence(&[&der::time(self.not_before), &der::time(self.not_after)]),
            &der::name(&self.subjects),
            &self.key,
            &der::element(0xA3, &extensions(&self.extensions)),
        ]);
        let signature = sign(&self.signer, &fields, self.hash, self.salt_bytes);
        der::sequence(&[&fields, &self.outer_algorithm, &der::bit_string(&signature)])
    }
}

impl CrlDraft {
    /// The CRL, DER.
    pub fn sign(&self) -> Vec<u8> {
        let entry = |serial: &Vec<u8>| {
            der::sequence(&[&der::integer(serial), &der::time(self.this_update)])
        };
        let revoked: Vec<u8> = self.revoked.iter().flat_map(entry).collect();
        let revoked = if revoked.is_empty() { vec![] } else { der::element(0x30, &revoked) };
        let extensions = match self.extensions.as_slice() {
            [] => vec![],
            drafts => der::element(0xA0, &extensions(drafts)),
        };
        let fields = der::sequence(&[
            &self.version.map_or(vec![], |version| der::integer(&[version])),
            &self.algorithm,
            &der::name(&self.issuers),
            &der::time(self.this_update),
            &der::time(self.next_update),
            &revoked,
            &extensions,
        ]);
        let signature = sign(&self.signer, &fields, Hash::Sha384, 48);
        der::sequence(&[&fields, &self.algorithm, &der::bit_string(&signature)])
    }
}

fn extensions(drafts: &[ExtensionDraft]) -> Vec<u8> {
    let encode = |draft: &ExtensionDraft| {
        let critical: &[u8] = if draft.critical { &[1, 1, 0xFF] } else { &[] };
        der::sequence(&[&der::oid(&draft.oid), critical, &der::element(4, &draft.value)])
    };
    der::element(0x30, &drafts.iter().flat_map(encode).collect::<Vec<_>>())
}

/// RSA-PSS, or ECDSA where the key is one.
fn sign(key: &PKey<Private>, bytes: &[u8], hash: Hash, salt_bytes: u8) -> Vec<u8> {
    let digest = match hash {
        Hash::Sha256 => MessageDigest::sha256(),
        Hash::Sha384 => MessageDigest::sha384(),
    };
    let mut signer = Signer::new(digest, key).unwrap();
    if key.rsa().is_ok() {
        signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
        signer.set_rsa_mgf1_md(digest).unwrap();
        signer.set_rsa_pss_saltlen(RsaPssSaltlen::custom(i32::from(salt_bytes))).unwrap();
    }
    signer.sign_oneshot_to_vec(bytes).unwrap()
}

//! Reports, evidence documents, and the chain below them. What is accepted is what was signed.

use std::sync::LazyLock;

use neo_secrets_attestation::appraise::{Channel, Pin};
use neo_secrets_attestation::binding::{Exporter, Nonce};
use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::endorsements::Endorsements;
use neo_secrets_attestation::evidence::{BatchBody, Document, StoreId};
use neo_secrets_attestation::exchange::{Exchange, Refusal, Trust};
use neo_secrets_attestation::explain::explain;
use neo_secrets_attestation::fuzzing;
use neo_secrets_attestation::limits;
use neo_secrets_attestation::policy::Policy;
use neo_secrets_attestation::receipt::{Expectations, Expected, ReceiptError, SignedReceipt};
use neo_secrets_attestation::reference::ReferenceValues;
use neo_secrets_attestation::report::{Cpuid, KeyInfo, Mitigations, Report, SigningKey};
use neo_secrets_attestation::roots::Roots;
use neo_secrets_attestation::time::UnixTime;
use neo_secrets_attestation::verify::{CrlRule, CspIdRule, Rules, verify_report};
use snp_simulator::report::{FirmwareVersion, ReportBody, SIGNATURE_NUMBER_BYTES, SIGNED_BYTES};

use super::{corpus, presentable, refused};

/// The verifier's nonce.
pub(super) const NONCE: [u8; 32] = [0x4E; 32];
/// The verifier's own end of the connection.
pub(super) const CHANNEL: Channel =
    Channel { exporter: Exporter([0x45; 32]), tls_spki_sha256: [0x54; 32] };

/// When the seeds were made, and are verified.
pub(super) fn now() -> UnixTime {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

/// Every byte of a report is a field of it: written by the simulator, it is the same again.
pub fn report(bytes: &[u8]) -> bool {
    let report = match Report::try_from(bytes) {
        Ok(report) => report,
        Err(error) => return refused(&error.finding().got),
    };
    let version = |it: neo_secrets_attestation::report::FirmwareVersion| FirmwareVersion {
        major: it.major,
        minor: it.minor,
        build: it.build,
    };
    let KeyInfo { author_key_enabled, mask_chip_key, signing_key } = report.key_info;
    let signing_key = match signing_key {
        SigningKey::Vcek => 0,
        SigningKey::Vlek => 1,
        SigningKey::None => 7,
    };
    let Mitigations { launch, current } =
        report.mitigations.unwrap_or(Mitigations { launch: 0, current: 0 });
    let cpuid = report.cpuid.unwrap_or(Cpuid { family: 0, model: 0, stepping: 0 });
    let body = ReportBody {
        version: report.version.number(),
        guest_svn: report.guest_svn,
        policy: report.policy.0,
        family_id: report.family_id,
        image_id: report.image_id,
        vmpl: report.vmpl,
        signature_algo: 1,
        current_tcb: report.current_tcb.0,
        platform_info: report.platform_info.0,
        key_info: u32::from(author_key_enabled) | u32::from(mask_chip_key) << 1 | signing_key << 2,
        report_data: report.report_data,
        measurement: report.measurement,
        host_data: report.host_data,
        id_key_digest: report.id_key_digest,
        author_key_digest: report.author_key_digest,
        report_id: report.report_id,
        report_id_ma: report.report_id_ma,
        reported_tcb: report.reported_tcb.0,
        cpuid: [cpuid.family, cpuid.model, cpuid.stepping],
        chip_id: report.chip_id.0,
        committed_tcb: report.committed_tcb.0,
        current_version: version(report.current_version),
        committed_version: version(report.committed_version),
        launch_tcb: report.launch_tcb.0,
        launch_mit_vector: launch,
        current_mit_vector: current,
    };
    let mut written = body.encode();
    let numbers = [report.signature.r, report.signature.s];
    for (number, place) in
        numbers.iter().zip(written[SIGNED_BYTES..].chunks_mut(SIGNATURE_NUMBER_BYTES))
    {
        place.iter_mut().zip(number.iter().rev()).for_each(|(byte, digit)| *byte = *digit);
    }
    assert_eq!(written, bytes);
    true
}

/// What the seeds hold, and who trusts what.
struct Genuine {
    trust: Trust,
    /// A root that signed none of it.
    other: Roots,
    documents: Vec<Document>,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let roots = |name| Roots::simulated(&corpus::seed("certificate", name)).unwrap();
    let seeds = corpus::seeds("evidence").into_iter();
    let genuine = seeds.filter(|(name, _)| !name.starts_with(corpus::BAD));
    Genuine {
        trust: Trust {
            roots: roots("ark-genoa"),
            reference: ReferenceValues::parse(&corpus::seed("reference", "simulated")).unwrap(),
            policy: Policy::parse(&corpus::seed("policy", "simulated")).unwrap(),
            pin: Pin::Unpinned,
        },
        other: roots("ark-milan"),
        documents: genuine.map(|(_, seed)| Document::parse(&seed).unwrap()).collect(),
    }
});

fn judge(status: u16, answer: &[u8], trust: &Trust) -> Result<(), Refusal> {
    let exchange = Exchange::start(Nonce::new(&NONCE).unwrap());
    let judged = exchange.finish(status, answer, &CHANNEL, trust, now());
    for step in explain(judged.as_ref()) {
        step.facts.iter().for_each(|fact| presentable(&fact.value));
    }
    judged.map(drop)
}

/// A document that is written from what was read reads as the same. Evidence is accepted only where
/// a seed said the same under the same signature, and under no other root.
pub fn document(bytes: &[u8]) -> bool {
    let Genuine { trust, other, documents } = &*GENUINE;
    presentable(&judge(503, bytes, trust).unwrap_err());
    let judged = judge(200, bytes, trust);
    if let Err(refusal) = &judged {
        presentable(&refusal.finding().got);
    }
    let Ok(document) = Document::parse(bytes) else {
        assert!(matches!(judged, Err(Refusal::Document(_))));
        return false;
    };
    assert!(bytes.len() <= limits::DOCUMENT_BYTES_MAX);
    assert!(document.path.hashes.len() <= limits::PATH_HASHES_MAX);
    let Document { report, certificates, claims, path, instance_signature } = &document;
    let batch = BatchBody::new(report, certificates, claims, instance_signature.as_ref());
    assert_eq!(Document::parse(&batch.document(path)).as_ref(), Ok(&document));
    if judged.is_ok() {
        let signed = |report: &[u8]| report.get(..SIGNED_BYTES).map(<[u8]>::to_vec);
        assert!(documents.iter().any(|genuine| {
            genuine.claims == *claims && signed(&genuine.report) == signed(report)
        }));
    }
    for roots in [Roots::Amd, other.clone()] {
        assert!(judge(200, bytes, &Trust { roots, ..trust.clone() }).is_err());
    }
    judged.is_ok()
}

/// The parts of one chain.
struct Chain {
    report: Vec<u8>,
    endorsements: Endorsements,
    rules: Rules,
}

/// Under a VCEK, under a VLEK.
static CHAINS: LazyLock<[Chain; 2]> = LazyLock::new(|| {
    ["vcek", "vlek"].map(|kind| {
        let part = |name| corpus::seed("chain", &format!("{kind}-{name}"))[1..].to_vec();
        let ark = corpus::seed("certificate", "ark-genoa");
        let roots = Roots::simulated(&ark).unwrap();
        Chain {
            report: part("report"),
            endorsements: Endorsements {
                vek: part("vek"),
                ask: part("ask"),
                ark,
                crl: Some(part("crl")),
            },
            rules: Rules { roots, crl: CrlRule::Required, csp_ids: CspIdRule::Any },
        }
    })
});

/// A report holds only with the certificates and the CRL that were made for it, as far as they are
/// signed. The first byte says what stands in for what: bits 0 and 1 the part, bit 2 the chain.
pub fn chain(bytes: &[u8]) -> bool {
    let Some((which, bytes)) = bytes.split_first() else { return false };
    let Chain { report, endorsements, rules } = &CHAINS[usize::from(which >> 2 & 1)];
    let (mut tried, mut endorsed) = (report.as_slice(), endorsements.clone());
    let same = match which & 3 {
        0 => {
            tried = bytes;
            bytes.get(..SIGNED_BYTES) == report.get(..SIGNED_BYTES)
        }
        1 => {
            let good = std::mem::replace(&mut endorsed.vek, bytes.to_vec());
            fuzzing::certificate(bytes) == fuzzing::certificate(&good)
        }
        2 => {
            let good = std::mem::replace(&mut endorsed.ask, bytes.to_vec());
            fuzzing::certificate(bytes) == fuzzing::certificate(&good)
        }
        _ => {
            let good = endorsed.crl.replace(bytes.to_vec()).unwrap();
            fuzzing::crl(bytes) == fuzzing::crl(&good)
        }
    };
    let verified = verify_report(tried, &endorsed, rules, now());
    match &verified {
        Ok(_) => assert!(same),
        Err(error) => {
            let finding = error.finding();
            presentable(&finding.got);
            presentable(&finding.field);
            presentable(error);
        }
    }
    for roots in [Roots::Amd, GENUINE.other.clone()] {
        let rules = Rules { roots, ..rules.clone() };
        assert!(verify_report(tried, &endorsed, &rules, now()).is_err());
    }
    verified.is_ok()
}

/// What the seeds hold that are signed.
static RECEIPTS: LazyLock<Vec<SignedReceipt>> = LazyLock::new(|| {
    let seeds = corpus::seeds("receipt").into_iter();
    let genuine = seeds.filter(|(name, _)| !name.starts_with(corpus::BAD));
    genuine.map(|(_, seed)| SignedReceipt::parse(&seed).unwrap()).collect()
});

/// A receipt that is written from what was read reads as the same. It verifies only where a seed
/// says the same, and under no other key.
pub fn receipt(bytes: &[u8]) -> bool {
    let receipt = match SignedReceipt::parse(bytes) {
        Ok(receipt) => receipt,
        Err(error) => return refused(&error),
    };
    assert!(bytes.len() <= limits::RECEIPT_BYTES_MAX);
    assert!(receipt.receipt.secrets_read.len() <= limits::SECRETS_READ_MAX);
    assert_eq!(SignedReceipt::parse(receipt.to_json().as_bytes()).as_ref(), Ok(&receipt));
    let expectations = Expectations {
        store_id: StoreId([0x51; 16]),
        function_id: Expected::Anything,
        code_sha256: Expected::Anything,
        params_sha256: Expected::Anything,
        result_sha256: Expected::Anything,
    };
    let other = receipt.clone().verify(&PublicKey([3; 32]), &expectations);
    assert_eq!(other, Err(ReceiptError::Signature));
    match receipt.clone().verify(&RECEIPT_KEY, &expectations) {
        Err(error) => refused(&error),
        Ok(verified) => RECEIPTS.iter().any(|genuine| genuine.receipt == *verified.receipt()),
    }
}

/// That of the seed of 32 bytes 03.
const RECEIPT_KEY: PublicKey = PublicKey([
    0xed, 0x49, 0x28, 0xc6, 0x28, 0xd1, 0xc2, 0xc6, 0xea, 0xe9, 0x03, 0x38, 0x90, 0x59, 0x95, 0x61,
    0x29, 0x59, 0x27, 0x3a, 0x5c, 0x63, 0xf9, 0x36, 0x36, 0xc1, 0x46, 0x14, 0xac, 0x87, 0x37, 0xd1,
]);

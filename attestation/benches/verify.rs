//! What a verification costs, beside the signatures that it can't do without: microseconds,
//! medians.
//!
//! `cargo bench -p neo-secrets-attestation`. The evidence is a test vendor's, with a current CRL.
//! With `--json` the figures are one line, for `scripts/bench peer verify`, whose row has the goal.

#![allow(clippy::unwrap_used, reason = "a bench ends where something fails")]

#[path = "../tests/support/mod.rs"]
mod support;

#[path = "../tests/evidence/scene.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod scene;

use std::hint::black_box;
use std::time::{Duration, Instant};

use neo_secrets_attestation::endorsements::Endorsements;
use neo_secrets_attestation::evidence::Document;
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::report::{Report, SignatureAlgorithm};
use neo_secrets_attestation::verify::verify_report;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::rsa::Padding;
use openssl::sha::sha384;
use openssl::sign::{RsaPssSaltlen, Signer, Verifier};
use serde_json::json;

use scene::Scene;
use support::report::ReportBuilder;
use support::vendor::{keys, rules_for};

const ROUNDS: usize = 500;

fn main() {
    let scene = Scene::new(Product::Genoa);
    let document = scene.document();
    let all = measure(|| scene.judge(&document).is_ok());

    let report = ReportBuilder::new(Product::Genoa).sign();
    let rules = rules_for(&scene.endorsements);
    let first = measure(|| verify_report(&report, &scene.endorsements, &rules, scene.now).is_ok());

    let counts = Counts::of(&document);
    let (p384, rsa, ed25519) = (p384(), rsa4096(), ed25519());
    let alone = counts.p384 as f64 * p384.middle()
        + counts.rsa4096 as f64 * rsa.middle()
        + counts.ed25519 as f64 * ed25519.middle();
    if std::env::args().any(|argument| argument == "--json") {
        let operation = |name: &str, count: usize, times: &Times| json!({"name": name, "count": count, "microseconds": times.middle()});
        let figures = json!({
            "perSecond": 1e6 / all.mean(),
            "p50": all.at(0.5) / 1e3,
            "p99": all.at(0.99) / 1e3,
            "max": all.at(1.0) / 1e3,
            "operations": [
                operation("P-384", counts.p384, &p384),
                operation("RSA-4096 PSS", counts.rsa4096, &rsa),
                operation("Ed25519", counts.ed25519, &ed25519),
            ],
        });
        println!("figures {figures}");
        return;
    }
    println!("whole verification, steps 0 to 11: {:8.1} us", all.middle());
    println!("report and chain, steps 1 to 5:    {:8.1} us", first.middle());
    println!("P-384 verifications:    {} of {:8.1} us", counts.p384, p384.middle());
    println!("RSA-4096 PSS:           {} of {:8.1} us", counts.rsa4096, rsa.middle());
    println!("Ed25519:                {} of {:8.1} us", counts.ed25519, ed25519.middle());
    println!("whole verification / these alone:  {:8.2}", all.middle() / alone);
}

/// How many signatures one verification checks. Every signature in a document is checked once, by
/// the algorithm that stands beside it; what has none beside it has a fixed one.
struct Counts {
    p384: usize,
    rsa4096: usize,
    ed25519: usize,
}

impl Counts {
    fn of(document: &[u8]) -> Counts {
        let document = Document::parse(document).unwrap();
        let report = Report::try_from(document.report.as_slice()).unwrap();
        let Endorsements { vek, ask, ark, crl } = &document.certificates;
        let signed = [Some(vek), Some(ask), Some(ark), crl.as_ref()];
        let by_rsa = |der: &&Vec<u8>| der.windows(RSASSA_PSS.len()).any(|part| part == RSASSA_PSS);
        Counts {
            p384: usize::from(report.signature_algorithm == SignatureAlgorithm::EcdsaP384Sha384),
            rsa4096: signed.into_iter().flatten().filter(by_rsa).count(),
            ed25519: usize::from(document.instance_signature.is_some()),
        }
    }
}

/// The OID 1.2.840.113549.1.1.10, encoded.
const RSASSA_PSS: [u8; 9] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 10];

/// Durations in order.
struct Times(Vec<Duration>);

impl Times {
    /// In microseconds.
    fn at(&self, part: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6
    }

    fn middle(&self) -> f64 {
        self.at(0.5)
    }

    fn mean(&self) -> f64 {
        self.0.iter().sum::<Duration>().as_secs_f64() * 1e6 / self.0.len() as f64
    }
}

/// How long what must hold takes.
fn measure(mut holds: impl FnMut() -> bool) -> Times {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            assert!(black_box(holds()), "what is measured must succeed");
            start.elapsed()
        })
        .collect();
    times.sort();
    Times(times)
}

/// A signature like the report's.
fn p384() -> Times {
    let key = keys().vek.ec_key().unwrap();
    let digest = sha384(b"a report");
    let signature = EcdsaSig::sign(&digest, &key).unwrap();
    measure(|| signature.verify(&digest, &key).unwrap())
}

/// A signature like a certificate's.
fn rsa4096() -> Times {
    let (key, digest) = (&keys().ark, MessageDigest::sha384());
    let mut signer = Signer::new(digest, key).unwrap();
    signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
    signer.set_rsa_pss_saltlen(RsaPssSaltlen::custom(48)).unwrap();
    let signature = signer.sign_oneshot_to_vec(b"a certificate").unwrap();
    measure(|| {
        let mut verifier = Verifier::new(digest, key).unwrap();
        verifier.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
        verifier.set_rsa_pss_saltlen(RsaPssSaltlen::custom(48)).unwrap();
        verifier.verify_oneshot(&signature, b"a certificate").unwrap()
    })
}

/// A signature like the instance's.
fn ed25519() -> Times {
    let (public, signature) = scene::sign([1; 32], b"a report's data");
    measure(|| public.verify(b"a report's data", &signature).is_ok())
}

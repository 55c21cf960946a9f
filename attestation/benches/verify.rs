//! What a verification costs, beside the signatures that it can't do without: microseconds,
//! medians.
//!
//! `cargo bench -p neo-secrets-attestation`. The evidence is a test vendor's, with a current CRL.

#![allow(clippy::unwrap_used, reason = "a bench ends where something fails")]

#[path = "../tests/support/mod.rs"]
mod support;

#[path = "../tests/evidence/scene.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod scene;

use std::hint::black_box;
use std::time::{Duration, Instant};

use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::verify::verify_report;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::rsa::Padding;
use openssl::sha::sha384;
use openssl::sign::{RsaPssSaltlen, Signer, Verifier};

use scene::Scene;
use support::report::ReportBuilder;
use support::vendor::{keys, rules_for};

const ROUNDS: usize = 500;
const GOAL_MICROSECONDS: f64 = 1500.0;

fn main() {
    let scene = Scene::new(Product::Genoa);
    let document = scene.document();
    let all = median(|| scene.judge(&document).is_ok());

    let report = ReportBuilder::new(Product::Genoa).sign();
    let rules = rules_for(&scene.endorsements);
    let first = median(|| verify_report(&report, &scene.endorsements, &rules, scene.now).is_ok());

    let p384 = p384();
    let rsa = rsa4096();
    println!("whole verification, steps 0 to 11: {all:8.1} us (goal: under {GOAL_MICROSECONDS})");
    println!("report and chain, steps 1 to 5:    {first:8.1} us");
    println!("one P-384 verification:            {p384:8.1} us");
    println!("one RSA-4096 PSS verification:     {rsa:8.1} us");
    println!("whole verification / one P-384:    {:8.2}", all / p384);
    println!("whole / (one P-384 + four RSA):    {:8.2}", all / (p384 + 4.0 * rsa));
}

/// The median duration of what must hold, in microseconds.
fn median(mut holds: impl FnMut() -> bool) -> f64 {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            assert!(black_box(holds()), "what is measured must succeed");
            start.elapsed()
        })
        .collect();
    times.sort();
    times[ROUNDS / 2].as_secs_f64() * 1e6
}

/// A signature like the report's.
fn p384() -> f64 {
    let key = keys().vek.ec_key().unwrap();
    let digest = sha384(b"a report");
    let signature = EcdsaSig::sign(&digest, &key).unwrap();
    median(|| signature.verify(&digest, &key).unwrap())
}

/// A signature like a certificate's.
fn rsa4096() -> f64 {
    let (key, digest) = (&keys().ark, MessageDigest::sha384());
    let mut signer = Signer::new(digest, key).unwrap();
    signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
    signer.set_rsa_pss_saltlen(RsaPssSaltlen::custom(48)).unwrap();
    let signature = signer.sign_oneshot_to_vec(b"a certificate").unwrap();
    median(|| {
        let mut verifier = Verifier::new(digest, key).unwrap();
        verifier.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
        verifier.set_rsa_pss_saltlen(RsaPssSaltlen::custom(48)).unwrap();
        verifier.verify_oneshot(&signature, b"a certificate").unwrap()
    })
}

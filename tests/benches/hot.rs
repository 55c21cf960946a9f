//! What requests and clients do most, each alone: `scripts/bench hot [NAME..]`.
#![allow(clippy::unwrap_used, reason = "a bench ends where something fails")]

#[path = "counts/subjects.rs"]
mod subjects;

use divan::{Bencher, black_box};
use neo_secrets_attestation::appraise::appraise;
use neo_secrets_attestation::evidence::Document;
use neo_secrets_attestation::report::Report;
use neo_secrets_server::benching::{is_routed, metadata_json};

use subjects::{Claimed, Evidence, name, now, records, token};

fn main() {
    divan::main();
}

#[divan::bench]
fn parse_report(bencher: Bencher<'_, '_>) {
    let evidence = Evidence::new();
    bencher.bench_local(|| Report::try_from(black_box(evidence.report.as_slice())).unwrap());
}

#[divan::bench]
fn parse_document(bencher: Bencher<'_, '_>) {
    let evidence = Evidence::new();
    bencher.bench_local(|| Document::parse(black_box(&evidence.document)).unwrap());
}

/// Steps 0 to 11.
#[divan::bench]
fn verify_evidence(bencher: Bencher<'_, '_>) {
    let evidence = Evidence::new();
    bencher.bench_local(|| assert!(black_box(&evidence).judge()));
}

/// Steps 7 to 11: reference values and policy.
#[divan::bench]
fn appraise_evidence(bencher: Bencher<'_, '_>) {
    let evidence = Evidence::new();
    let (verified, trust) = (evidence.verified(), &evidence.trust);
    bencher.with_inputs(|| verified.clone()).bench_local_values(|verified| {
        appraise(verified, &trust.reference, &trust.policy, &trust.pin, evidence.now).unwrap()
    });
}

#[divan::bench]
fn seal_record(bencher: Bencher<'_, '_>) {
    let records = records();
    bencher.bench_local(|| black_box(&records).seal().unwrap());
}

#[divan::bench]
fn open_record(bencher: Bencher<'_, '_>) {
    let records = records();
    let sealed = records.seal().unwrap();
    bencher
        .with_inputs(|| sealed.clone())
        .bench_local_values(|sealed| records.open(sealed).unwrap());
}

#[divan::bench]
fn hash_token(bencher: Bencher<'_, '_>) {
    let (records, token) = (records(), token());
    bencher.bench_local(|| records.token_hash(black_box(&token)));
}

/// Of a key that was used before.
#[divan::bench]
fn authenticate(bencher: Bencher<'_, '_>) {
    let claimed = Claimed::new();
    claimed.admit();
    bencher.bench_local(|| black_box(&claimed).admit());
}

#[divan::bench]
fn hash_name(bencher: Bencher<'_, '_>) {
    let (records, name) = (records(), name());
    bencher.bench_local(|| records.name_hash(black_box(&name)));
}

#[divan::bench]
fn write_metadata(bencher: Bencher<'_, '_>) {
    let records = records();
    let secret = records.open(records.seal().unwrap()).unwrap();
    bencher.bench_local(|| metadata_json(black_box(&secret), now()));
}

/// The path of one secret.
#[divan::bench]
fn find_route(bencher: Bencher<'_, '_>) {
    let path = format!("/v1/secrets/sec_{}", "0".repeat(29));
    bencher.bench_local(|| assert!(is_routed(black_box(&path))));
}

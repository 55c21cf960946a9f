//! What is counted. Each of these runs in a process of its own, under valgrind, once.

// What the macros make has no documentation.
#![allow(missing_docs)]

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group};
use neo_secrets_attestation::report::Report;
use neo_secrets_server::access::Token;
use neo_secrets_server::benching::Records;

use super::subjects::{Claimed, Evidence, records, token};

/// Runs all, or, under valgrind, one: the arguments say which.
pub fn run() {
    main();
}

#[library_benchmark]
#[bench::genoa(Evidence::new())]
fn parse_report(evidence: Evidence) -> Evidence {
    assert!(black_box(Report::try_from(black_box(evidence.report.as_slice()))).is_ok());
    evidence
}

#[library_benchmark]
#[bench::genoa(Evidence::new())]
fn verify_evidence(evidence: Evidence) -> Evidence {
    assert!(black_box(&evidence).judge());
    evidence
}

#[library_benchmark]
#[bench::metadata(records())]
fn seal_record(records: Records) -> (Records, Vec<u8>) {
    let sealed = black_box(&records).seal().unwrap();
    (records, sealed)
}

fn sealed() -> (Records, Vec<u8>) {
    let records = records();
    let sealed = records.seal().unwrap();
    (records, sealed)
}

#[library_benchmark]
#[bench::metadata(sealed())]
fn open_record((records, sealed): (Records, Vec<u8>)) -> Records {
    assert!(black_box(records.open(black_box(sealed))).is_ok());
    records
}

#[library_benchmark]
#[bench::one(records(), token())]
fn hash_token(records: Records, token: Token) -> (Records, Token) {
    black_box(records.token_hash(black_box(&token)));
    (records, token)
}

fn admitted() -> Claimed {
    let claimed = Claimed::new();
    claimed.admit();
    claimed
}

// Cold: the records are read, and the account's keys.
#[library_benchmark]
#[bench::cold(Claimed::new())]
#[bench::warm(admitted())]
fn authenticate(claimed: Claimed) -> Claimed {
    black_box(&claimed).admit();
    claimed
}

library_benchmark_group!(
    name = counted,
    benchmarks =
        [parse_report, verify_evidence, seal_record, open_record, hash_token, authenticate]
);
gungraun::main!(library_benchmark_groups = counted);

//! The fuzz targets without a fuzzer: every seed of `tests/fuzz/corpus`, and changed seeds.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use neo_secrets_server::fuzzing::RECORD_KINDS;
use neo_secrets_tests::fuzzing::mutation::Mutator;
use neo_secrets_tests::fuzzing::store::accepted_body;
use neo_secrets_tests::fuzzing::{TARGETS, Target, corpus};

/// Changed seeds of one target: all together take a few seconds.
const MUTATIONS: u64 = 5_000;

/// Where a target fails, its input is kept, to become a seed.
fn check(target: &Target, input: &[u8], from: &str) {
    let held = catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
    if held.is_err() {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
        fs::write(&path, input).unwrap();
        panic!("{} does not hold for {from}, kept in {}", target.name, path.display());
    }
}

#[test]
fn every_seed_holds() {
    for target in &TARGETS {
        let seeds = corpus::seeds(target.name);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        seeds.iter().for_each(|(name, seed)| check(target, seed, name));
    }
}

/// A seed that the server refuses leads no fuzzer anywhere: whoever changes a record changes its
/// seed in `tests/src/fuzzing/seeds.rs`.
#[test]
fn every_kind_of_record_has_a_seed_that_is_accepted() {
    let seeds = corpus::seeds("record-body");
    let accepted: Vec<_> = seeds.iter().filter_map(|(_, seed)| accepted_body(seed)).collect();
    for kind in RECORD_KINDS {
        assert!(accepted.contains(kind), "no seed of a record of kind {kind:#04x} is accepted");
    }
}

#[test]
fn changed_seeds_hold() {
    for (number, target) in (0..).zip(&TARGETS) {
        let seeds = corpus::seeds(target.name);
        let mut mutator = Mutator::new(number);
        for round in 0..MUTATIONS {
            let (_, seed) = &seeds[mutator.below(seeds.len())];
            let (_, other) = &seeds[mutator.below(seeds.len())];
            let input = mutator.mutated(seed, other);
            check(target, &input, &format!("mutation {round}"));
        }
    }
}

#[test]
fn every_folder_of_the_corpus_has_its_target_and_all_are_small() {
    let mut bytes = 0;
    for folder in fs::read_dir(corpus::folder("")).unwrap() {
        let name = folder.unwrap().file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|target| target.name == name), "{name}");
        bytes += corpus::seeds(&name).iter().map(|(_, seed)| seed.len()).sum::<usize>();
    }
    assert!(bytes < 300 << 10, "{bytes} bytes");
}

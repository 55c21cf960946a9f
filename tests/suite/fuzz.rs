//! The fuzz targets without a fuzzer: every seed of `tests/fuzz/corpus`, and changed seeds.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use neo_secrets_tests::fuzzing::mutation::Mutator;
use neo_secrets_tests::fuzzing::{TARGETS, Target, corpus};

/// Changed seeds of one target: all together take a few seconds.
const MUTATIONS: u64 = 5_000;

/// Where a target fails, its input is kept, to become a seed.
fn check(target: &Target, input: &[u8], from: &str) -> bool {
    catch_unwind(AssertUnwindSafe(|| (target.check)(input))).unwrap_or_else(|_| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
        fs::write(&path, input).unwrap();
        panic!("{} does not hold for {from}, kept in {}", target.name, path.display())
    })
}

/// Whoever changes a format changes its seed, in `tests/src/fuzzing/seeds.rs`.
#[test]
fn every_seed_holds() {
    for target in &TARGETS {
        let seeds = corpus::seeds(target.name);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for (name, seed) in seeds {
            let good = !name.starts_with(corpus::BAD);
            assert_eq!(check(target, &seed, &name), good, "{} {name}", target.name);
        }
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

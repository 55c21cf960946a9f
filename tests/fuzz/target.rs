//! libFuzzer over one of the targets: the one that the environment variable FUZZ_TARGET names. One
//! program for all, since linking takes longer than starting.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use neo_secrets_tests::fuzzing::{TARGETS, Target};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        panic!("FUZZ_TARGET is {name:?}, not one of: {}", names.join(" "))
    })
});

fuzz_target!(|bytes: &[u8]| {
    (TARGET.check)(bytes);
});

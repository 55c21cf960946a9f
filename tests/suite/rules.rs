//! Rules of ARCHITECTURE.md that the compiler does not hold: read from the sources themselves.

use std::path::{Path, PathBuf};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The Rust files below this folder, without tests, and their text up to the first test module.
pub fn sources(folder: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.extend((name != "tests").then_some(path));
            } else if name.ends_with(".rs") && !["tests.rs", "testing.rs"].contains(&name.as_str())
            {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
                let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                files.push((path, text));
            }
        }
    }
    assert!(files.len() > 5, "{folder} has moved");
    files
}

/// The files that say one of these words, and may not.
fn offenders(folder: &str, words: &[&str], allowed: &[&str]) -> Vec<String> {
    let found: Vec<_> = sources(folder)
        .into_iter()
        .filter(|(_, text)| words.iter().any(|word| text.contains(word)))
        .map(|(path, _)| path)
        .collect();
    for file in allowed {
        assert!(found.iter().any(|path| path == file), "{file} says none of {words:?} any more");
    }
    found.into_iter().filter(|path| !allowed.contains(&path.as_str())).collect()
}

#[test]
fn attestation_has_no_clock_files_network_or_chance() {
    let words = [
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "SystemTime::now",
        "Instant::now",
        "tokio",
        "async fn",
        "getrandom",
        "openssl::rand",
        "println!",
        "days_from_now",
        "now_utc",
    ];
    assert_eq!(offenders("attestation/src", &words, &[]), [""; 0]);
}

#[test]
fn randomness_is_in_secret_only() {
    let words = ["getrandom", "rand::", "rand_bytes", "SystemRandom"];
    assert_eq!(offenders("server/src", &words, &["server/src/secret.rs"]), [""; 0]);
}

#[test]
fn there_is_one_clock() {
    // What the machine says comes in by the platform; whoever needs the time asks the clock.
    let words = ["SystemTime::now", "now_utc"];
    let allowed = ["server/src/platform/snp.rs"];
    assert_eq!(offenders("server/src", &words, &allowed), [""; 0]);
}

#[test]
fn only_phase_touches_the_platform() {
    let words = [".platform.report(", ".platform.derive_key(", ".platform.endorsements("];
    let allowed = ["server/src/phase/processor.rs"];
    assert_eq!(offenders("server/src", &words, &allowed), [""; 0]);
}

#[test]
fn unsafe_code_is_where_the_architecture_says() {
    let allowed = ["server/src/inherited.rs", "server/src/platform/snp.rs"];
    assert_eq!(offenders("server/src", &["unsafe {"], &allowed), [""; 0]);
    let worker = ["host.rs", "memory.rs", "prelude.rs", "sandbox.rs", "syntax.rs"]
        .map(|file| format!("server/worker/src/{file}"));
    let allowed = worker.each_ref().map(String::as_str);
    assert_eq!(offenders("server/worker/src", &["unsafe {", "unsafe impl"], &allowed), [""; 0]);
    let folders = [
        "attestation/src",
        "attestation/client/src",
        "image/src",
        "server/worker/protocol/src",
        "tests/simulator/src",
    ];
    for folder in folders {
        assert_eq!(offenders(folder, &["unsafe {", "allow(unsafe_code)"], &[]), [""; 0]);
    }
}

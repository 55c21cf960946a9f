//! The production binary: it holds nothing of the simulation, and says what it lacks.

use std::io::Write as _;
use std::process::Command;

use neo_secrets_tests::appliance::{CONFIG, program};

/// Texts that stand in the simulation's binary: if one is gone from there, this test proves
/// nothing.
const MARKS: [&str; 5] = [
    "SIMULATED chip root",
    "SIMULATED endorsement key",
    "snp_simulator",
    "chip.json",
    "network/hosts",
];

fn holds(binary: &[u8], text: &str) -> bool {
    binary.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn the_production_binary_holds_no_simulator() {
    let simulated = std::fs::read(program("neo-secretsd-simulated")).unwrap();
    let production = std::fs::read(program("neo-secretsd")).unwrap();
    let client = std::fs::read(program("neo-secrets")).unwrap();
    for mark in MARKS {
        assert!(holds(&simulated, mark), "{mark} is no mark of the simulation any more");
        assert!(!holds(&production, mark), "{mark} is in neo-secretsd");
    }
    assert!(!holds(&client, "snp_simulator"), "the client links the simulator");
    // By the linker's word too: no crate of the simulation is in the dependency tree.
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "-e", "normal,build", "--prefix", "none"])
        .args(["-p", "neo-secrets-server", "-p", "neo-secrets"])
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.contains("neo-secrets-attestation"), "{tree}");
    assert!(!tree.contains("simulator"), "{tree}");
}

#[test]
fn without_the_device_it_says_so_and_ends() {
    if std::path::Path::new("/dev/sev-guest").exists() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: this machine has /dev/sev-guest");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let out = Command::new(program("neo-secretsd"))
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .arg("--config")
        .arg(&config)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    let message = String::from_utf8_lossy(&out.stderr);
    assert!(message.contains("/dev/sev-guest"), "{message}");
}

#[test]
fn no_flag_changes_what_is_checked() {
    for flag in ["--simulated", "--insecure", "--chip", "--trust-simulated", "--no-verify"] {
        let out = Command::new(program("neo-secretsd")).args([flag, "x"]).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{flag}");
        assert!(String::from_utf8_lossy(&out.stderr).contains(flag));
    }
}

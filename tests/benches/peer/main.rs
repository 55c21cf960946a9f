//! This server and OpenBao's on one machine, by one load generator, in turns: `scripts/bench peer`.
//! Prints ratios, and writes `target/bench/`. The load takes its share of the same processors.
#![allow(clippy::unwrap_used, reason = "a bench ends where something fails")]

mod bao;
mod costs;
mod engine;
mod floor;
mod handshakes;
mod invocations;
mod load;
mod many;
mod neo;
mod profile;
mod report;
mod rows;
mod verification;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::X509;

use bao::{Audit, Bao};
use rows::Bench;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    if has(floor::ARGUMENT) {
        return Ok(floor::serve()?);
    }
    let quick = has("--quick");
    let wanted: Vec<&String> = arguments.iter().filter(|word| !word.starts_with("--")).collect();
    let Some(program) = std::env::var_os("NEO_SECRETS_BENCH_BAO").map(PathBuf::from) else {
        return Err("NEO_SECRETS_BENCH_BAO names no `bao`: scripts/bench peer brings it".into());
    };
    let scratch = tempfile::Builder::new().prefix("neo-secrets-bench-").tempdir()?;
    let home = neo::home();
    let appliance = home.start();
    let claimed = appliance.claim();
    let start = |folder: &str, audit| Bao::start(&program, &scratch.path().join(folder), audit);
    let (bao, unaudited) = (start("bao", Audit::File)?, start("unaudited", Audit::Off)?);
    let floor = floor::Floor::start()?;
    let pace = if quick { (1, Duration::from_secs(3)) } else { (3, Duration::from_secs(8)) };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    let profiles = has("--profile").then(|| folder.clone());
    let others = (&bao, &unaudited, &floor);
    let bench = Bench::new((&appliance, &claimed), others, scratch.path(), pace);
    let bench = Bench { profiles, ..bench };
    let (listed, mixed) = if quick { (10_000, 10) } else { (100_000, 60) };
    let accounts = if quick { 20 } else { 1_000 };

    let all: [(&str, &dyn Fn() -> rows::Outcome); 11] = [
        ("idle", &rows::idle),
        ("read-16", &|| bench.metadata("read-16", 16)),
        ("read-64", &|| bench.metadata("read-64", 64)),
        ("reveal", &|| bench.reveal()),
        ("create", &|| bench.create()),
        ("mixed", &|| bench.mixed(Duration::from_secs(mixed))),
        ("connections", &|| bench.connections()),
        ("evidence", &|| rows::evidence(&bench)),
        ("verify", &|| verification::verify(&bench)),
        ("list", &|| rows::list(&bench, listed)),
        ("many", &|| many::many(&bench, accounts, 1_000)),
    ];
    if let Some(word) = wanted.iter().find(|word| all.iter().all(|(id, _)| id != *word)) {
        let ids = all.map(|(id, _)| id).join(", ");
        return Err(format!("There is no row {word}: {ids}.").into());
    }
    let machine = machine(&bao.version);
    println!("{machine}\n");
    let mut rows = Vec::new();
    for (id, row) in all {
        if wanted.is_empty() || wanted.iter().any(|word| *word == id) {
            rows.push(row()?);
            report::print(rows.last().unwrap());
        }
    }
    println!(
        "Resident memory of OpenBao: {:.0} MiB; of this server: {:.0} MiB",
        bao.memory_mib(),
        resident_mib(appliance.process_id())
    );
    report::write(&rows, &machine, &folder)?;
    println!("target/bench/report.md, figures.json and a plot for each row");
    let missed = rows.iter().flat_map(|row| &row.goals).filter(|goal| !goal.reached()).count();
    println!("{missed} goals missed");
    Ok(())
}

/// When and where.
fn machine(peer: &str) -> String {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let count = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{}, {count} x {}, Linux {}, {peer}, wrk on the same machine",
        time::OffsetDateTime::now_utc().date(),
        model.map_or("unknown processor", |(_, name)| name),
        kernel.trim()
    )
}

/// Resident memory of a process in MiB.
fn resident_mib(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib / 1_024.0
}

/// A P-256 key and a certificate of its own, PKCS #8 and X.509, both DER.
fn self_signed() -> (Vec<u8>, Vec<u8>) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut draft = X509::builder().unwrap();
    draft.set_version(2).unwrap();
    draft.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    draft.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    draft.set_pubkey(&key).unwrap();
    draft.sign(&key, MessageDigest::sha256()).unwrap();
    (key.private_key_to_pkcs8().unwrap(), draft.build().to_der().unwrap())
}

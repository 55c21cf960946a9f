//! Instructions, counted under valgrind, beside those that were recorded on this model of processor:
//! `scripts/bench counts [--record]`. Fails where a count has risen by more than 3 %.
//!
//! What varies from run to run: a verification by 0.5 % (signatures are made anew, and checking one
//! on P-384 is not constant in time), a cold authentication by 0.1 %, the others not at all.
#![allow(clippy::unwrap_used, reason = "a bench ends where something fails")]

mod baseline;
mod counted;
#[allow(dead_code, reason = "the other bench uses the rest")]
mod subjects;

use std::error::Error;
use std::process::{Command, ExitCode, Stdio};

use baseline::{Baseline, Counts};
use serde_json::Value;

/// What the runner of gungraun starts this program with, under valgrind.
const UNDER_VALGRIND: &str = "--gungraun-run";
/// What this program starts itself with, to become gungraun's main program.
const COUNT: [&str; 3] = ["--output-format=json", "--callgrind-args=--cache-sim=no", "--bench"];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    if has(UNDER_VALGRIND) || has(COUNT[0]) {
        counted::run();
        return Ok(ExitCode::SUCCESS);
    }
    for needed in ["valgrind", "gungraun-runner"] {
        if Command::new(needed).arg("--version").stdout(Stdio::null()).status().is_err() {
            println!("SKIPPED: counts of instructions: there is no {needed}");
            return Ok(ExitCode::SUCCESS);
        }
    }
    // Made before, they need not be made under valgrind.
    snp_simulator::testing::vendor_keys();
    let counts = count()?;
    println!("Instructions, of the processor that valgrind emulates: one without SHA and AVX-512.");
    if has("--record") {
        Baseline::record(&counts)?;
        counts.iter().for_each(|(name, count)| println!("{name:24} {count:>12}"));
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if Baseline::compare(&counts)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Has everything counted.
fn count() -> Result<Counts, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    let out = command.args(COUNT).stderr(Stdio::inherit()).output()?;
    if !out.status.success() {
        return Err("gungraun's runner failed".into());
    }
    let mut counts = Counts::new();
    for line in std::str::from_utf8(&out.stdout)?.lines() {
        let one: Value = serde_json::from_str(line)?;
        let text = |name: &str| one[name].as_str().ok_or(format!("no {name} in {line}"));
        let metrics = &one["profiles"][0]["data"]["total"]["metrics"];
        let count = metrics["Ir"]["values"]["new"].as_u64().ok_or(format!("no count in {line}"))?;
        counts.insert(format!("{}.{}", text("function_name")?, text("id")?), count);
    }
    if counts.is_empty() { Err("nothing was counted".into()) } else { Ok(counts) }
}

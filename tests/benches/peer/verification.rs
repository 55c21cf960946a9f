//! The row of a client's own work: `attestation/benches/verify.rs` measures it.

use std::io::Error;
use std::process::Command;

use super::load::Figures;
use super::report::{Bound, Row, Series};
use super::rows::{Bench, Outcome};

const WHOLE: &str = "whole verification, on one processor";

/// Offline verification of an evidence document, and the signatures in it.
pub fn verify(bench: &Bench<'_>) -> Outcome {
    let runs = (0..bench.rounds).map(|_| run()).collect::<Result<Vec<_>, _>>()?;
    let Some((_, json)) = runs.last().cloned() else { return Err("no rounds".into()) };
    let runs = runs.into_iter().map(|(figures, _)| figures).collect();
    let series = vec![Series { contender: WHOLE.to_owned(), runs }];
    let mut row = Row::new("verify", "Verify an evidence document offline", series);
    row.goal("p50, ms", row.median(WHOLE, |run| run.p50), Bound::AtMost(1.5));
    let mut alone = 0.0;
    for operation in json["operations"].as_array().into_iter().flatten() {
        let name = operation["name"].as_str().unwrap_or_default();
        let number = |field: &str| operation[field].as_f64().unwrap_or(f64::NAN);
        let (count, microseconds) = (number("count"), number("microseconds"));
        row.fact(format!("{name} verifications in it"), count);
        row.fact(format!("one {name} verification alone, ms"), microseconds / 1e3);
        alone += count * microseconds / 1e3;
    }
    row.fact("all of these alone, ms", alone);
    Ok(row)
}

/// One run of that bench, which cargo has built or builds now.
fn run() -> Result<(Figures, serde_json::Value), Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // Of the whole workspace, as scripts/bench builds: so nothing is built twice.
    command.args(["bench", "--locked", "--quiet", "--workspace"]);
    let out = command.args(["--bench", "verify", "--", "--json"]).output()?;
    Figures::read(&String::from_utf8_lossy(&out.stdout))
        .map_err(|error| Error::other(format!("{error}: {}", String::from_utf8_lossy(&out.stderr))))
}

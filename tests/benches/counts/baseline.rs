//! The counts that are checked in, by model of processor.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// By name.
pub type Counts = BTreeMap<String, u64>;

/// A count may rise by so much. What varies by itself is under 1 %.
const RISE_MAX: f64 = 0.03;

/// What was recorded on one model.
pub struct Baseline {
    /// The compiler's version.
    compiler: String,
    counts: Counts,
}

impl Baseline {
    /// Prints each count beside its recorded one; whether none has risen too far. On a model that has
    /// none recorded there is nothing to hold them to.
    ///
    /// # Errors
    /// The file is not as [`Baseline::record`] writes it.
    pub fn compare(counts: &Counts) -> Result<bool, Error> {
        let model = model();
        let Some(recorded) = Self::read(&model)? else {
            counts.iter().for_each(|(name, count)| println!("{name:24} {count:>12}"));
            println!("None are recorded on {model}: nothing is compared.");
            return Ok(true);
        };
        let mut holds = true;
        let names: BTreeSet<_> = counts.keys().chain(recorded.counts.keys()).collect();
        for name in names {
            let (Some(count), Some(before)) = (counts.get(name), recorded.counts.get(name)) else {
                println!("{name:24} MISSED: it is counted or recorded, but not both (--record)");
                holds = false;
                continue;
            };
            let change = *count as f64 / *before as f64 - 1.0;
            let risen = change > RISE_MAX;
            holds &= !risen;
            let word = if risen { "MISSED" } else { "" };
            println!("{name:24} {count:>12} {:>+7.2} % {word}", change * 100.0);
        }
        let compiler = compiler();
        if compiler != recorded.compiler {
            println!("Compiled by {compiler}; recorded with {}.", recorded.compiler);
        }
        let bound = RISE_MAX * 100.0;
        println!(
            "{} on {model}: at most {bound} % more.",
            if holds { "Reached" } else { "MISSED" }
        );
        Ok(holds)
    }

    /// Writes these as this model's.
    ///
    /// # Errors
    /// The file can't be read or written.
    pub fn record(counts: &Counts) -> Result<(), Error> {
        let mut all = read_all()?;
        all[model()] = json!({"compiler": compiler(), "counts": counts});
        std::fs::write(path(), format!("{all:#}\n"))
    }

    fn read(model: &str) -> Result<Option<Baseline>, Error> {
        let all = read_all()?;
        let Some(recorded) = all.get(model) else { return Ok(None) };
        Ok(Some(Baseline {
            compiler: serde_json::from_value(recorded["compiler"].clone())?,
            counts: serde_json::from_value(recorded["counts"].clone())?,
        }))
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/counts/baseline.json")
}

fn read_all() -> Result<Value, Error> {
    Ok(serde_json::from_slice(&std::fs::read(path())?)?)
}

/// As the kernel names it.
fn model() -> String {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name =
        processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or("unknown processor", |(_, name)| name).to_owned()
}

fn compiler() -> String {
    let version = Command::new("rustc").arg("--version").output().map(|out| out.stdout);
    String::from_utf8_lossy(&version.unwrap_or_default()).trim().to_owned()
}

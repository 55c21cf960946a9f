//! Flame graphs of the server under a row's load, by perf.

use std::io::{BufReader, BufWriter, Error, ErrorKind};
use std::path::Path;
use std::process::{Command, Stdio};

use inferno::collapse::Collapse;
use inferno::collapse::perf::{Folder, Options};
use inferno::flamegraph;

use super::costs;

/// Samples a second: no divisor of what the kernel does regularly.
const FREQUENCY: &str = "997";
/// Before it samples, so that the load has begun, in milliseconds; and until it ends, in seconds.
const DELAY_MS: &str = "500";
const END_S: &str = "2";
/// Of the stack, with each sample: futures are deep.
const STACK: &str = "dwarf,49152";

/// What one server did under one row's load.
pub struct Profile {
    /// Of processors, in milliseconds, by the samples.
    pub time_ms: f64,
    /// The largest first, as parts of one.
    pub costs: Vec<(&'static str, f64)>,
}

impl Profile {
    /// Runs the load, which takes more than two seconds, samples the process for most of two, and
    /// draws `ID-flame.svg` into the folder, of `ID-stacks.txt` beside it. `None` where the machine
    /// has no perf, or does not let it.
    ///
    /// # Errors
    /// The load's.
    pub fn record(
        (id, process): (&str, u32),
        (scratch, folder): (&Path, &Path),
        load: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Option<Profile>, Error> {
        let data = scratch.join("perf.data");
        let mut perf = Command::new("perf");
        // Virtual machines have no counters of cycles.
        perf.args(["record", "-q", "-e", "cpu-clock", "-F", FREQUENCY, "--call-graph", STACK]);
        perf.args(["-D", DELAY_MS, "-p", &process.to_string(), "-o"]).arg(&data);
        perf.args(["--", "sleep", END_S]).stdout(Stdio::null()).stderr(Stdio::piped());
        let recording = match perf.spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                println!("SKIPPED: the profile of {id}: there is no perf");
                return Ok(None);
            }
            recording => recording?,
        };
        let loaded = load();
        let recorded = recording.wait_with_output()?;
        loaded?;
        if !recorded.status.success() {
            let said = String::from_utf8_lossy(&recorded.stderr);
            println!("SKIPPED: the profile of {id}: perf: {}", said.trim());
            return Ok(None);
        }
        let folded = fold(&data)?;
        std::fs::remove_file(&data)?;
        if folded.is_empty() {
            println!("SKIPPED: the profile of {id}: perf has no samples");
            return Ok(None);
        }
        draw(id, &folded, folder)?;
        let count = |line: &String| line.rsplit_once(' ')?.1.parse::<f64>().ok();
        Ok(Some(Profile {
            time_ms: folded.iter().filter_map(count).sum::<f64>() / 1e6,
            costs: costs::of(&folded),
        }))
    }
}

/// Each stack that was met, and for how many nanoseconds. What perf prints is large: it is read as it
/// comes.
fn fold(data: &Path) -> Result<Vec<String>, Error> {
    let mut script = Command::new("perf");
    // Inlined functions would each cost a look into the program.
    script.args(["script", "--no-inline", "-i"]).arg(data);
    let mut script = script.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let out = script.stdout.take().ok_or_else(|| Error::other("no output"))?;
    let mut folded = Vec::new();
    Folder::from(Options::default()).collapse(BufReader::new(out), &mut folded)?;
    if !script.wait()?.success() {
        return Err(Error::other("perf script failed"));
    }
    let text = String::from_utf8(folded).map_err(Error::other)?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn draw(id: &str, folded: &[String], folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join(format!("{id}-stacks.txt")), folded.join("\n"))?;
    let file = std::fs::File::create(folder.join(format!("{id}-flame.svg")))?;
    let mut options = flamegraph::Options::default();
    options.title = format!("The server under the load of the row {id}");
    flamegraph::from_lines(&mut options, folded.iter().map(String::as_str), BufWriter::new(file))
}

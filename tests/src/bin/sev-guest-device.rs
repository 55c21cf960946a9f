//! Runs a program with a SIMULATED `/dev/sev-guest`: a FUSE file system that consists of one file,
//! in a mount namespace of the program's own. So the production server runs as it does in a virtual
//! machine. Needs root and `/dev/fuse`.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use neo_secrets_tests::device::{self, Asked};
use rustix::process::{Signal, set_parent_process_death_signal};
use snp_simulator::{Chip, Fault, Machine};
use time::OffsetDateTime;

const USAGE: &str = "usage: sev-guest-device CHIP_DIR none|FAULT ASKED_FILE path|descriptor COMMAND..

FAULT: device, firmware, zero-key, foreign-signature or truncated-report, at every request.
ASKED_FILE gets a line for each request. With `descriptor` the device stands nowhere, and the word FD
in COMMAND is the number of its open file.";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [serve, chip, fault, asked] if serve == "--serve" => self::serve(chip, fault, asked),
        [chip, fault, asked, place, command @ ..] if !command.is_empty() => {
            Err(run([chip, fault, asked], place == "descriptor", command))
        }
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sev-guest-device: {error}");
            ExitCode::from(70)
        }
    }
}

type Error = Box<dyn std::error::Error>;

/// Becomes the command; returns only where that fails.
fn run(device: [&OsString; 3], as_descriptor: bool, command: &[OsString]) -> Error {
    let mounted = match device::mount(as_descriptor) {
        Ok(mounted) => mounted,
        Err(error) => return format!("no device: {error}").into(),
    };
    // A process of its own answers, and ends with this one. The file system is its standard input.
    let server = std::env::current_exe().and_then(|program| {
        Command::new(program)
            .arg("--serve")
            .args(device)
            .stdin(mounted.channel)
            .stdout(Stdio::null())
            .spawn()
    });
    if let Err(error) = server {
        return error.into();
    }
    let descriptor = match mounted.file.as_deref().map(device::open).transpose() {
        Ok(descriptor) => descriptor,
        Err(error) => return error.into(),
    };
    let number = descriptor.as_ref().map(device::number);
    let words = command.iter().map(|word| match &number {
        Some(number) if word == "FD" => OsString::from(number),
        _ => word.clone(),
    });
    let words: Vec<_> = words.collect();
    let Some((program, arguments)) = words.split_first() else { return USAGE.into() };
    Command::new(program).args(arguments).exec().into()
}

/// Answers until the process that started this one ends.
fn serve(chip: &OsString, fault: &OsString, asked: &OsString) -> Result<(), Error> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let now = OffsetDateTime::now_utc();
    let machine = Machine::launch(Chip::open(Path::new(chip), now)?, now)?;
    let fault = match fault.to_str() {
        Some("none") => None,
        Some("device") => Some(Fault::Device),
        Some("firmware") => Some(Fault::Firmware { status: 0x16 }),
        Some("zero-key") => Some(Fault::ZeroKey),
        Some("foreign-signature") => Some(Fault::ForeignSignature),
        Some("truncated-report") => Some(Fault::TruncatedReport),
        _ => return Err(USAGE.into()),
    };
    if let Some(fault) = fault {
        machine.faults().for_ever_after(0, fault);
    }
    let asked = Asked::new(Path::new(asked))?;
    Ok(device::serve(&std::io::stdin(), &machine, &asked)?)
}

//! `neo-secretsd-simulated`: the server on a SIMULATED secure processor. It protects nothing.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use neo_secrets_server::egress::Network;
use neo_secrets_server::options::{self, Flag, Options};
use snp_simulator::client_files::write_client_files;
use snp_simulator::{Chip, Machine, Product, files, network, parent};
use time::OffsetDateTime;

const PROGRAM: &str = "neo-secretsd-simulated";
const CHIP: Flag = Flag {
    name: "--chip",
    value: "DIR",
    help: "the simulated chip, made by `prepare`",
    is_required: true,
};
const CLOCK_OFFSET: Flag = Flag {
    name: "--clock-offset",
    value: "SECONDS",
    help: "how far the machine's clock is from the true time, as a host may set it",
    is_required: false,
};
const PREPARE: &str = "usage: neo-secretsd-simulated prepare CHIP_DIR CONFIG_FILE CLIENT_DIR

Makes a simulated chip in CHIP_DIR where there is none, and writes into CLIENT_DIR what clients need to
verify a server on it with this configuration: simulated-root.der, reference.json, policy.json.";

fn main() -> ExitCode {
    if let Err(error) = parent::end_with(std::env::var_os(parent::VARIABLE)) {
        eprintln!("{PROGRAM}: {error}");
        return ExitCode::FAILURE;
    }
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.split_first() {
        Some((first, rest)) if first == "prepare" => prepare(rest),
        _ => options::main(PROGRAM, &[CHIP, CLOCK_OFFSET], launch),
    }
}

fn launch(
    _: &Options,
    given: Vec<Option<OsString>>,
) -> Result<(Machine, Network), Box<dyn std::error::Error>> {
    let line = "*".repeat(78);
    eprintln!(
        "{line}\n* SIMULATED secure processor. This server protects nothing: whoever can read its\n\
         * files can open its store. For trying out and for tests only.\n{line}"
    );
    let now = OffsetDateTime::now_utc();
    let mut given = given.into_iter();
    let folder = given.next().flatten().unwrap_or_default();
    let offset = match given.next().flatten() {
        None => 0,
        Some(text) => text.to_str().ok_or("--clock-offset: must be a number")?.parse::<i64>()?,
    };
    let network = network::open(Path::new(&folder))?;
    let machine = Machine::launch(Chip::open(Path::new(&folder), now)?, now)?;
    Ok((machine.with_clock_offset(offset), network))
}

fn prepare(arguments: &[OsString]) -> ExitCode {
    let [chip, config, client] = arguments else {
        eprintln!("{PREPARE}");
        return ExitCode::from(2);
    };
    match make(Path::new(chip), Path::new(config), Path::new(client)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{PROGRAM}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn make(chip: &Path, config: &Path, client: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let now = OffsetDateTime::now_utc();
    let config = files::read(config)?;
    if !chip.exists() {
        Chip::create(chip, Product::Genoa, now)?;
    }
    files::create_folder(client)?;
    Ok(write_client_files(client, &Chip::open(chip, now)?, &config, now)?)
}

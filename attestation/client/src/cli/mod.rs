//! The command line: reads arguments and environment, runs one command, prints once, ends with one
//! exit code.

mod args;
mod claim;
mod fields;
mod keys;
mod outcome;
mod proxy;
mod refusal;
mod report;
mod secrets;
mod session;
mod settings;
mod terminal;
mod value;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use neo_secrets_attestation::roots::Roots;
use zeroize::Zeroizing;

use args::{Command, CommandLine, Environment};
use outcome::{Exit, Failure, Shown};
use session::Session;
use settings::{ProfileUse, Settings};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let environment = Environment::read(|name| std::env::var_os(name));
    let command_line = match parse(&arguments) {
        Ok(command_line) => command_line,
        Err(Unparsed::Text(text)) => return print(text.as_bytes(), ExitCode::SUCCESS),
        Err(Unparsed::Failure(failure)) => {
            return fail(&failure, arguments.iter().any(|argument| argument == "--json"));
        }
    };
    let json = command_line.global.json;
    match run(&command_line, &environment) {
        Ok(Done { shown, failure }) => {
            if let Some(failure) = &failure {
                terminal::note(&failure.to_text());
            }
            let code =
                failure.map_or(ExitCode::SUCCESS, |failure| ExitCode::from(failure.exit as u8));
            let Shown { human, json: object } = shown;
            if json { print(&with_newline(&object), code) } else { print(human.as_bytes(), code) }
        }
        Err(failure) => fail(&failure, json),
    }
}

/// A command that has something to show, in success or (for `report`) in failure.
struct Done {
    shown: Shown,
    failure: Option<Failure>,
}

enum Unparsed {
    /// Help or the version, for stdout.
    Text(String),
    Failure(Failure),
}

fn parse(arguments: &[OsString]) -> Result<CommandLine, Unparsed> {
    // What clap says of a wrong argument repeats it.
    if arguments.iter().any(|argument| args::has_a_key(argument)) {
        return Err(Unparsed::Failure(
            Failure::usage(
                "an argument looks like an API key; keys are never taken from the command line",
            )
            .advice(
                "put the key into a file with mode 0600 and type --key-file FILE; revoke the one \
                 that was just typed",
            ),
        ));
    }
    CommandLine::try_parse_from(arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Unparsed::Text(error.to_string()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Unparsed::Failure(Failure::usage("no command is given").detail(error.to_string()))
        }
        _ => {
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
            Unparsed::Failure(Failure::usage(text))
        }
    })
}

fn run(command_line: &CommandLine, environment: &Environment) -> Result<Done, Failure> {
    let CommandLine { global, command } = command_line;
    if let Command::Report(report) = command {
        let roots = match &global.trust_simulated {
            Some(path) => settings::simulated_roots(path)?,
            None => Roots::Amd,
        };
        let report::Examined { shown, failure } =
            report::run(report, roots, settings::system_time())?;
        return Ok(Done { shown, failure });
    }
    // What is wrong with a variable's value is told with the value.
    if let Some(name) = environment.variable_with_a_key() {
        return Err(Failure::usage(format!("{name} holds an API key, and takes none")).advice(
            "put the key into a file with mode 0600, and its path into NEO_SECRETS_KEY_FILE",
        ));
    }
    let (url, profile_use) = match command {
        Command::Verify(verify) if verify.save_profile => {
            (verify.instance.as_deref(), ProfileUse::Write)
        }
        Command::Verify(verify) => (verify.instance.as_deref(), ProfileUse::Read),
        Command::Claim(claim) => (claim.instance.as_deref(), ProfileUse::Write),
        Command::Secrets(_) | Command::Keys(_) | Command::Report(_) | Command::Proxy(_) => {
            (None, ProfileUse::Read)
        }
    };
    let settings = Settings::resolve(global, url, environment, profile_use)?;
    let mut runtime = match command {
        Command::Proxy(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_io().enable_time().build().map_err(Failure::error)?;
    let background = settings.background(global);
    let shown = runtime.block_on(async {
        match command {
            Command::Verify(verify) => verify::run(verify, settings, global.json).await,
            Command::Claim(claim) => claim::run(claim, settings, environment).await,
            Command::Secrets(secrets) => secrets::run(secrets, Session::new(settings)?).await,
            Command::Keys(keys) => keys::run(keys, Session::new(settings)?).await,
            Command::Proxy(proxy) => proxy::run(proxy, settings, global.json).await,
            Command::Report(_) => Err(Failure::usage("report needs no instance")),
        }
    });
    // A name's resolution that nobody waits for any more keeps nobody waiting.
    runtime.shutdown_background();
    let shown = shown.map_err(|failure| background.complete(failure))?;
    Ok(Done { shown, failure: None })
}

fn print(bytes: &[u8], code: ExitCode) -> ExitCode {
    match terminal::print(bytes) {
        Ok(()) => code,
        Err(error) => {
            terminal::note(&format!("error: cannot write to stdout: {error}"));
            ExitCode::from(Exit::Error as u8)
        }
    }
}

/// The failure for people on stderr, and under `--json` for programs on stdout.
fn fail(failure: &Failure, json: bool) -> ExitCode {
    terminal::note(&failure.to_text());
    let code = ExitCode::from(failure.exit as u8);
    if json { print(&with_newline(failure.to_json().to_string().as_bytes()), code) } else { code }
}

fn with_newline(object: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut line = Zeroizing::new(Vec::with_capacity(object.len() + 1));
    line.extend_from_slice(object);
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;

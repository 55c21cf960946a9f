//! The command line: reads arguments and environment, runs one command, prints once, ends with one
//! exit code.

mod accept_config;
mod accounts;
mod advice;
mod answer;
mod args;
mod audit;
mod claim;
mod confirm;
mod endorsements;
mod environment;
mod fields;
mod functions;
mod import;
mod keys;
mod lookup;
mod manual;
mod outcome;
mod page;
mod pool;
mod profiles;
mod proxy;
mod readable;
mod refusal;
mod report;
mod reveal;
mod rights;
mod run;
mod seal;
mod secrets;
mod session;
mod set_clock;
mod settings;
mod shell;
mod status;
mod terminal;
mod trust;
mod value;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use neo_secrets_attestation::roots::Roots;
use zeroize::Zeroizing;

use args::{Command, CommandLine, Global};
use environment::Environment;
use outcome::{Done, Exit, Failure};
use page::Style;
use session::Session;
use settings::{ProfileUse, Settings, system_time};
use terminal::Wishes;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let environment = Environment::read(|name| std::env::var_os(name));
    let parsed = parse(&arguments);
    let asked = |option: &str| arguments.iter().any(|argument| argument == option);
    let (json, quiet, no_color) = match &parsed {
        Ok(CommandLine { global, .. }) => (global.json, global.quiet, global.no_color),
        Err(_) => (asked("--json"), asked("--quiet"), asked("--no-color")),
    };
    let wishes = Wishes { quiet, no_color: no_color || environment.no_color };
    let style = terminal::set_up(wishes, system_time());
    let command_line = match parsed {
        Ok(command_line) => command_line,
        Err(Unparsed::Text(text)) => {
            return ended(terminal::print(text.as_bytes()), ExitCode::SUCCESS);
        }
        Err(Unparsed::Failure(failure)) => return fail(&failure, json),
    };
    match run(&command_line, &environment) {
        Ok(done) => show(&done, json, &style),
        Err(failure) => fail(&failure, json),
    }
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
        _ if is_value_option(&error) => {
            let updates = arguments.iter().any(|argument| argument == "update");
            let command = if updates { "secrets update" } else { "secrets create" };
            Unparsed::Failure(value::on_command_line(command))
        }
        _ => {
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
            Unparsed::Failure(Failure::usage(text))
        }
    })
}

/// Whether the unknown argument is `--value`: what clap says of it could repeat the value.
fn is_value_option(error: &clap::Error) -> bool {
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.as_str(),
        _ => return false,
    };
    let unknown = error.kind() == ErrorKind::UnknownArgument;
    unknown && argument.split('=').next() == Some("--value")
}

fn run(command_line: &CommandLine, environment: &Environment) -> Result<Done, Failure> {
    let CommandLine { global, command } = command_line;
    // What is wrong with a variable's value is told with the value.
    if let Some(name) = environment.variable_with_a_key() {
        return Err(Failure::usage(format!("{name} holds an API key, and takes none")).advice(
            "put the key into a file with mode 0600, and its path into NEO_SECRETS_KEY_FILE",
        ));
    }
    match command {
        Command::Report(report) => {
            let roots = match &global.trust_simulated {
                Some(path) => settings::simulated_roots(path)?,
                None => Roots::Amd,
            };
            report::run(report, roots, system_time())
        }
        Command::Endorsements(command) => {
            let instance = || settings::instance(global, environment);
            Ok(runtime()?.block_on(endorsements::run(command, instance))?.into())
        }
        Command::Profile(command) => Ok(profiles::run(command, global, environment)?.into()),
        Command::Completions(command) => Ok(manual::completions(command).into()),
        Command::Man(command) => Ok(manual::man(command)?.into()),
        _ => run_online(command, global, environment),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_io().enable_time().build().map_err(Failure::error)
}

/// Runs a command that is about an instance.
fn run_online(
    command: &Command,
    global: &Global,
    environment: &Environment,
) -> Result<Done, Failure> {
    let (url, profile_use) = match command {
        Command::Verify(verify) if verify.save_profile => {
            (verify.instance.as_deref(), ProfileUse::Write)
        }
        Command::Verify(verify) => (verify.instance.as_deref(), ProfileUse::Read),
        Command::Status(status) => (status.instance.as_deref(), ProfileUse::Read),
        Command::Claim(claim) => (claim.instance.as_deref(), ProfileUse::Write),
        Command::AcceptConfig(accept) => (accept.instance.as_deref(), ProfileUse::Read),
        Command::SetClock(set) => (set.instance.as_deref(), ProfileUse::Read),
        _ => (None, ProfileUse::Read),
    };
    let settings = Settings::resolve(global, url, environment, profile_use)?;
    let mut runtime = match command {
        Command::Proxy(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_io().enable_time().build().map_err(Failure::error)?;
    let background = settings.background(global);
    let ended = runtime.block_on(online(command, global, environment, settings));
    // A name's resolution that nobody waits for any more keeps nobody waiting.
    runtime.shutdown_background();
    match ended.map_err(|failure| background.complete(failure))? {
        Ended::Done(done) => Ok(done),
        Ended::Child(child) => Err(run::start(*child)),
    }
}

/// How a command that is about an instance ends.
enum Ended {
    Done(Done),
    /// This process is about to become another command.
    Child(Box<std::process::Command>),
}

async fn online(
    command: &Command,
    global: &Global,
    environment: &Environment,
    settings: Settings,
) -> Result<Ended, Failure> {
    let session = Session::new;
    let done = match command {
        Command::Verify(verify) => verify::run(verify, settings, global.json).await?.into(),
        Command::Status(_) => status::run(settings).await?,
        Command::AcceptConfig(accept) => accept_config::run(accept, settings).await?.into(),
        Command::SetClock(set) => set_clock::run(set, settings).await?.into(),
        Command::Claim(claim) => claim::run(claim, settings, environment).await?.into(),
        Command::Secrets(command) => secrets::run(command, session(settings)?).await?.into(),
        Command::Import(command) => import::run(command, session(settings)?).await?,
        Command::Run(command) => {
            let child = run::prepare(command, session(settings)?).await?;
            return Ok(Ended::Child(Box::new(child)));
        }
        Command::Keys(command) => keys::run(command, session(settings)?).await?.into(),
        Command::Functions(args::Functions::Verify(command)) => {
            functions::verify(command, settings).await?
        }
        Command::Functions(command) => functions::run(command, session(settings)?).await?,
        Command::Audit(command) if command.owner => {
            audit::run(command, Session::of_owner(settings)?).await?.into()
        }
        Command::Audit(command) => audit::run(command, session(settings)?).await?.into(),
        Command::Accounts(command) => {
            accounts::run(command, Session::of_owner(settings)?, environment).await?.into()
        }
        Command::Proxy(proxy) => proxy::run(proxy, settings, global.json).await?.into(),
        Command::Seal => seal::run(Session::of_owner(settings)?).await?.into(),
        Command::Report(_)
        | Command::Endorsements(_)
        | Command::Profile(_)
        | Command::Completions(_)
        | Command::Man(_) => {
            return Err(Failure::usage("this command verifies no instance"));
        }
    };
    Ok(Ended::Done(done))
}

/// What a command has to show on stdout, and its failure, where there is one, on stderr.
fn show(done: &Done, json: bool, style: &Style) -> ExitCode {
    let Done { shown, failure } = done;
    let code =
        failure.as_ref().map_or(ExitCode::SUCCESS, |failure| ExitCode::from(failure.exit as u8));
    let printed = match json {
        true => terminal::print(&with_newline(&shown.json)),
        false => shown.page.write(style, &mut terminal::print),
    };
    if !json && style.terminal.is_none() {
        shown.page.hints().for_each(terminal::note);
    }
    if let Some(failure) = failure {
        terminal::error(&failure.to_text());
    }
    ended(printed, code)
}

fn ended(printed: std::io::Result<()>, code: ExitCode) -> ExitCode {
    match printed {
        Ok(()) => code,
        Err(error) => {
            terminal::error(&format!("error: cannot write to stdout: {error}"));
            ExitCode::from(Exit::Error as u8)
        }
    }
}

/// The failure for people on stderr, and under `--json` for programs on stdout.
fn fail(failure: &Failure, json: bool) -> ExitCode {
    terminal::error(&failure.to_text());
    let code = ExitCode::from(failure.exit as u8);
    if !json {
        return code;
    }
    ended(terminal::print(&with_newline(failure.to_json().to_string().as_bytes())), code)
}

fn with_newline(object: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut line = Zeroizing::new(Vec::with_capacity(object.len() + 1));
    line.extend_from_slice(object);
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;

//! The command line: where things are and what form the log has, never what to do with them.

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Config;
use crate::functions::egress::Network;
pub use crate::log::Format as LogFormat;
use crate::platform::Platform;

/// Where a server finds its things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// The folder of `store.redb` and `endorsements/`, or a block device or file that is the disk.
    pub data: PathBuf,
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The number of the worker launcher's socket, which is open; else the server starts workers.
    pub worker_launcher: Option<String>,
}

/// A further flag of one binary; it takes a value.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// With its dashes.
    pub name: &'static str,
    /// What its value is, in capitals.
    pub value: &'static str,
    /// One line.
    pub help: &'static str,
    /// Whether it must be given.
    pub is_required: bool,
}

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Run, and log like this; with the further flags' values, in the order of the flags.
    Run(Options, LogFormat, Vec<Option<OsString>>),
    /// Read this configuration and say what is wrong with it.
    CheckConfig(PathBuf),
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// Why a command line asks for nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// No such flag.
    #[error("unknown argument {0:?}")]
    Unknown(OsString),
    /// A flag stands twice.
    #[error("{0} is given twice")]
    Repeated(&'static str),
    /// A flag stands last, without its value.
    #[error("{0} needs a value")]
    NoValue(&'static str),
    /// A required flag is missing.
    #[error("{0} is required")]
    Missing(&'static str),
    /// `--listen` is no address.
    #[error("--listen {0:?}: must be an address and a port, such as 127.0.0.1:8443 or [::1]:8443")]
    Listen(OsString),
    /// `--log` names no format.
    #[error("--log {0:?}: must be text or json")]
    Log(OsString),
    /// `--check-config`, `--help` and `--version` stand alone.
    #[error("{0} stands alone")]
    Alone(&'static str),
}

impl Options {
    /// Reads the arguments that follow the program's name.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn parse(
        arguments: impl IntoIterator<Item = OsString>,
        further: &[Flag],
    ) -> Result<Command, UsageError> {
        let names: Vec<&'static str> =
            ["--config", "--data", "--listen", "--log", "--worker-launcher-fd", "--check-config"]
                .into_iter()
                .chain(further.iter().map(|flag| flag.name))
                .collect();
        let mut values: Vec<Option<OsString>> = vec![None; names.len()];
        let mut arguments = arguments.into_iter();
        let mut alone = None;
        let mut count = 0_usize;
        while let Some(argument) = arguments.next() {
            count += 1;
            match argument.to_str() {
                Some("--help" | "-h") => alone = Some(("--help", Command::Help)),
                Some("--version" | "-V") => alone = Some(("--version", Command::Version)),
                text => {
                    let flag = names.iter().zip(&mut values).find(|(name, _)| text == Some(**name));
                    let Some((name, value)) = flag else {
                        return Err(UsageError::Unknown(argument));
                    };
                    let given = arguments.next().ok_or(UsageError::NoValue(name))?;
                    if value.replace(given).is_some() {
                        return Err(UsageError::Repeated(name));
                    }
                }
            }
        }
        let mut values = names.into_iter().zip(values);
        let mut next = || values.next().expect("one value for each name, taken in order");
        let (config, data, listen) = (next(), next(), next());
        let (log, launcher, check) = (next(), next(), next());
        if let (name, Some(file)) = check {
            alone = Some((name, Command::CheckConfig(file.into())));
        }
        match alone {
            Some((_, command)) if count == 1 => return Ok(command),
            Some((name, _)) => return Err(UsageError::Alone(name)),
            None => {}
        }
        let required = |(name, value): (_, Option<_>)| value.ok_or(UsageError::Missing(name));
        let (config, data, listen) = (required(config)?, required(data)?, required(listen)?);
        let address = listen.to_str().and_then(|text| text.parse().ok());
        let listen = address.ok_or(UsageError::Listen(listen))?;
        let log = match log.1 {
            None => LogFormat::Text,
            Some(name) if name == "text" => LogFormat::Text,
            Some(name) if name == "json" => LogFormat::Json,
            Some(name) => return Err(UsageError::Log(name)),
        };
        let further = values
            .zip(further)
            .map(|((name, value), flag)| match (value, flag.is_required) {
                (None, true) => Err(UsageError::Missing(name)),
                (value, _) => Ok(value),
            })
            .collect::<Result<_, _>>()?;
        // What is no text is no number either.
        let worker_launcher = launcher.1.map(|number| number.to_string_lossy().into_owned());
        let (config, data) = (config.into(), data.into());
        let options = Options { config, data, listen, worker_launcher };
        Ok(Command::Run(options, log, further))
    }
}

/// The whole of a server's `main`: reads the command line, opens platform and network with the
/// further flags' values, and runs until a signal. Exit codes: 0 done, 1 failed, 2 usage.
pub fn main<P: Platform, E: std::fmt::Display>(
    program: &'static str,
    further: &[Flag],
    surroundings: impl FnOnce(&Options, Vec<Option<OsString>>) -> Result<(P, Network), E>,
) -> ExitCode {
    match Options::parse(std::env::args_os().skip(1), further) {
        Ok(Command::Help) => print(&help(program, further)),
        Ok(Command::Version) => print(&format!("{program} {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Command::CheckConfig(file)) => match Config::read(&file) {
            Ok(config) => print(&format!("the configuration is valid\n{}", config.limits)),
            Err(error) => fail(1, &format!("{program}: {}: {error}", file.display())),
        },
        Ok(Command::Run(options, log, further)) => {
            crate::log::start(log);
            let (platform, network) = match surroundings(&options, further) {
                Ok(surroundings) => surroundings,
                Err(error) => return fail(1, &format!("{program}: {error}")),
            };
            match crate::run(options, platform, network) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(1, &format!("{program}: {error}")),
            }
        }
        Err(error) => fail(2, &format!("{program}: {error}\n{}", usage(program, further))),
    }
}

fn usage(program: &str, further: &[Flag]) -> String {
    let flag = |flag: &Flag| match flag.is_required {
        true => format!(" {} {}", flag.name, flag.value),
        false => format!(" [{} {}]", flag.name, flag.value),
    };
    let flags: String = further.iter().map(flag).collect();
    format!(
        "usage: {program} --config FILE --data DIR|DISK --listen ADDRESS:PORT{flags} \
         [--log text|json] [--worker-launcher-fd NUMBER]\n       \
         {program} --check-config FILE | --help | --version"
    )
}

fn help(program: &str, further: &[Flag]) -> String {
    let line = |name: &str, value: &str, help: &str| format!("  {name} {value:<14}{help}\n");
    let mut help = format!("{}\n\n", usage(program, further));
    help += &line("--config", "FILE", "the configuration, TOML; its bytes stand in the evidence");
    help +=
        &line("--data  ", "DIR|DISK", "the folder of store.redb and endorsements/, or a raw disk");
    help +=
        &line("--listen", "ADDRESS:PORT", "where to listen, TLS 1.3 only; port 0: any free one");
    help += &line("--log   ", "text|json", "the log's lines on stderr; text where it is left out");
    let launcher = "the worker launcher's socket, open already; else the server starts workers";
    help += &line("--worker-launcher-fd", "NUMBER", launcher);
    for flag in further {
        help += &line(flag.name, flag.value, flag.help);
    }
    help + "\nServes until SIGTERM or SIGINT. Prints `listening ADDRESS:PORT`; logs to stderr.\n"
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    // Where stderr is closed too, the exit code still tells.
    let _closed = writeln!(std::io::stderr(), "{message}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FURTHER: &[Flag] =
        &[Flag { name: "--chip", value: "DIR", help: "the chip", is_required: true }];

    fn parse(line: &str, further: &[Flag]) -> Result<Command, UsageError> {
        Options::parse(line.split_whitespace().map(OsString::from), further)
    }

    #[test]
    fn reads_flags_in_any_order() {
        let options = Options {
            config: "c".into(),
            data: "d".into(),
            listen: "127.0.0.1:0".parse().unwrap(),
            worker_launcher: None,
        };
        let line = "--listen 127.0.0.1:0 --config c --data d";
        assert_eq!(parse(line, &[]), Ok(Command::Run(options.clone(), LogFormat::Text, vec![])));
        let with = Options { worker_launcher: Some("7".to_owned()), ..options.clone() };
        let given = format!("{line} --worker-launcher-fd 7");
        assert_eq!(parse(&given, &[]), Ok(Command::Run(with, LogFormat::Text, vec![])));
        for (name, log) in [("text", LogFormat::Text), ("json", LogFormat::Json)] {
            let line = format!("--log {name} {line}");
            assert_eq!(parse(&line, &[]), Ok(Command::Run(options.clone(), log, vec![])));
        }
        let line = "--chip x --data d --config c --listen 127.0.0.1:0";
        assert_eq!(
            parse(line, FURTHER),
            Ok(Command::Run(options, LogFormat::Text, vec![Some("x".into())]))
        );
        let optional = [Flag { is_required: false, ..FURTHER[0] }];
        let line = "--data d --config c --listen 127.0.0.1:0";
        let Ok(Command::Run(_, _, further)) = parse(line, &optional) else { panic!("refused") };
        assert_eq!(further, [None]);
        assert_eq!(parse("--check-config c", FURTHER), Ok(Command::CheckConfig("c".into())));
        assert_eq!(parse("--help", &[]), Ok(Command::Help));
        assert_eq!(parse("--version", &[]), Ok(Command::Version));
    }

    #[test]
    fn refuses_everything_else() {
        let whole = "--config c --data d --listen 127.0.0.1:0";
        for (line, error) in [
            ("", UsageError::Missing("--config")),
            ("--config c --data d", UsageError::Missing("--listen")),
            ("--config c --config c", UsageError::Repeated("--config")),
            ("--config c --data", UsageError::NoValue("--data")),
            ("--config=c", UsageError::Unknown("--config=c".into())),
            ("--seal firmware", UsageError::Unknown("--seal".into())),
            ("serve", UsageError::Unknown("serve".into())),
            ("--help --version", UsageError::Alone("--version")),
            ("--check-config c --data d", UsageError::Alone("--check-config")),
        ] {
            assert_eq!(parse(line, &[]), Err(error), "{line}");
        }
        assert_eq!(parse(&format!("{whole} --help"), &[]), Err(UsageError::Alone("--help")));
        assert_eq!(parse(whole, FURTHER), Err(UsageError::Missing("--chip")));
        let line = format!("{whole} --log JSON");
        assert_eq!(parse(&line, &[]), Err(UsageError::Log("JSON".into())));
        for listen in ["localhost:1", "127.0.0.1", ":8443", "127.0.0.1:65536"] {
            let line = format!("--config c --data d --listen {listen}");
            assert_eq!(parse(&line, &[]), Err(UsageError::Listen(listen.into())));
        }
    }
}

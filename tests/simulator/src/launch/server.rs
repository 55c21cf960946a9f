//! The server as a child process: started, waited for, ended, and never left behind.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader as AsyncBufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::folder::Folder;
use crate::parent;

/// The server drains for at most five seconds; what is left of them after this is for us to end in.
const STOP_PATIENCE: Duration = Duration::from_millis(4500);
/// Lines of the log that a failure shows.
const LOG_LINES: usize = 20;

/// Why the server could not be started or ended otherwise than asked.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It could not be started at all.
    #[error("cannot start {}: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its log could not be opened.
    #[error("cannot write {}: {source}", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended by itself.
    #[error("the server ended by itself ({status}); the end of its log, {}:\n{tail}", log.display())]
    Ended {
        /// How.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// It had to be killed.
    #[error("the server did not end in time and was killed; its log is {}", log.display())]
    Killed {
        /// Its log.
        log: PathBuf,
    },
    /// It could not be waited for.
    #[error("cannot wait for the server: {0}")]
    Wait(io::Error),
}

/// The running server. Dropped, it is killed.
pub struct Server {
    child: Child,
    lines: Lines<AsyncBufReader<ChildStdout>>,
    log: PathBuf,
}

impl Server {
    /// Starts the server; its standard error goes to the log, and the log of the last start is
    /// kept.
    ///
    /// # Errors
    /// `Start`, `Log`.
    pub fn start(program: &Path, folder: &Folder, listen: SocketAddr) -> Result<Self, ServerError> {
        let log = folder.log();
        let file =
            fresh_log(&log).map_err(|source| ServerError::Log { path: log.clone(), source })?;
        let mut child = Command::new(program)
            .arg("--config")
            .arg(folder.config())
            .arg("--data")
            .arg(folder.path())
            .arg("--listen")
            .arg(listen.to_string())
            .arg("--chip")
            .arg(folder.chip())
            .env(parent::VARIABLE, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| ServerError::Start { program: program.to_owned(), source })?;
        let stdout = child.stdout.take().expect("piped above");
        Ok(Self { child, lines: AsyncBufReader::new(stdout).lines(), log })
    }

    /// Waits for the line `listening ADDRESS:PORT`.
    ///
    /// # Errors
    /// `Ended`, with the reason from the log.
    pub async fn listening(&mut self) -> Result<SocketAddr, ServerError> {
        while let Ok(Some(line)) = self.lines.next_line().await {
            let address = line.strip_prefix("listening ").and_then(|text| text.parse().ok());
            if let Some(address) = address {
                return Ok(address);
            }
        }
        Err(self.ended().await)
    }

    /// Waits until the server ends by itself, which it never should.
    pub async fn ended(&mut self) -> ServerError {
        // Reading on keeps a server that prints more from blocking.
        while let Ok(Some(_)) = self.lines.next_line().await {}
        match self.child.wait().await {
            Ok(status) => {
                ServerError::Ended { status, tail: last_lines(&self.log), log: self.log.clone() }
            }
            Err(error) => ServerError::Wait(error),
        }
    }

    /// Asks the server to end and waits for it; kills it when it takes too long.
    ///
    /// # Errors
    /// `Ended` with a failure, `Killed`, `Wait`.
    pub async fn stop(mut self) -> Result<(), ServerError> {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid {
            // It may just have ended by the same signal to the process group: then there is none to
            // signal.
            let _gone = kill_process(pid, Signal::TERM);
        }
        let log = self.log.clone();
        match tokio::time::timeout(STOP_PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() || ended_as_asked(status) => Ok(()),
            Ok(Ok(status)) => Err(ServerError::Ended { status, tail: last_lines(&log), log }),
            Ok(Err(error)) => Err(ServerError::Wait(error)),
            Err(_) => {
                self.child.kill().await.map_err(ServerError::Wait)?;
                Err(ServerError::Killed { log })
            }
        }
    }
}

/// A server that is still starting has no handler: the signal itself ends it, ours or the process
/// group's.
fn ended_as_asked(status: ExitStatus) -> bool {
    let asked = [Signal::TERM, Signal::INT, Signal::HUP].map(Signal::as_raw);
    status.signal().is_some_and(|signal| asked.contains(&signal))
}

fn fresh_log(path: &Path) -> io::Result<File> {
    let mut old = path.as_os_str().to_owned();
    old.push(".old");
    match std::fs::rename(path, old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)
}

fn last_lines(path: &Path) -> String {
    let mut last = VecDeque::new();
    let Ok(file) = File::open(path) else { return "(unreadable)".to_owned() };
    let is_banner = |line: &String| line.starts_with('*');
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    for line in lines.filter(|line| !is_banner(line)) {
        if last.len() == LOG_LINES {
            last.pop_front();
        }
        last.push_back(format!("  {line}"));
    }
    Vec::from(last).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_signals_that_ask_it_to_end_are_an_end_as_asked() {
        let by = |signal: Signal| ended_as_asked(ExitStatus::from_raw(signal.as_raw()));
        assert!([Signal::TERM, Signal::INT, Signal::HUP].into_iter().all(by));
        assert!(![Signal::KILL, Signal::SEGV, Signal::ABORT].into_iter().any(by));
        assert!(!ended_as_asked(ExitStatus::from_raw(1 << 8)));
    }
}

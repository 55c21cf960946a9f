//! `neo-secrets-run`: starts the server on a simulated chip, verifies and claims it, and says what to type.

pub mod arguments;
pub mod client;
pub mod folder;
pub mod guide;
pub mod probe;
pub mod server;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use neo_secrets_attestation::config::Reveal;
use time::OffsetDateTime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::files::{self, FileError};
use arguments::Arguments;
use client::{Client, ClientError};
use folder::{Folder, FolderError, UNPROVEN_CERTIFICATE};
use probe::Answer;
use server::{Server, ServerError};

/// The server looks at its chip and its store while it already listens; ten times what that ever
/// takes.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a server that is still starting.
const START_PAUSE: Duration = Duration::from_millis(20);

/// Why an instance doesn't run, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The programs don't lie together.
    #[error("cannot find the programs built with this one: {0}")]
    Programs(io::Error),
    /// Signals can't be received.
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Verify or claim.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server listens but can't serve.
    #[error("the server is not ready: {answer}\nIts log is {}", log.display())]
    NotReady {
        /// What /readyz says.
        answer: String,
        /// The log.
        log: PathBuf,
    },
    /// The server can't be asked.
    #[error("cannot ask the server whether it is ready: {0}")]
    Probe(io::Error),
    /// The user wants to claim it, and somebody has.
    #[error("this instance is claimed already: start without --unclaimed, or with an empty --data")]
    Claimed,
    /// The instance is claimed, and the keys are not where they were left.
    #[error(
        "this instance is claimed, but {} is missing and the claim can't be repeated.\nPut the file back, or start with \
         an empty --data.\n{source}",
        missing.display()
    )]
    KeysLost {
        /// The key's file.
        missing: PathBuf,
        /// What the claim said.
        source: ClientError,
    },
}

/// The programs of one build, which lie together, and the repository above them.
struct Programs {
    server: PathBuf,
    client: PathBuf,
    root: PathBuf,
}

impl Programs {
    /// `ROOT/target/release/` is where `scripts/run` builds.
    fn find() -> io::Result<Self> {
        let own = std::env::current_exe()?.canonicalize()?;
        let folder = own.parent().unwrap_or(Path::new("/"));
        let root = own.ancestors().nth(3).unwrap_or(folder).to_owned();
        let find = |name: &str| folder.join(name).canonicalize();
        Ok(Self { server: find("neo-secretsd-simulated")?, client: find("neo-secrets")?, root })
    }
}

/// The signals that end an instance.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn receive() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

/// Runs an instance until a signal comes or the server ends.
///
/// # Errors
/// Why it could not be started, or why it ended other than by a signal.
pub async fn run(arguments: Arguments) -> Result<(), RunError> {
    let mut signals = Signals::receive().map_err(RunError::Signals)?;
    let programs = Programs::find().map_err(RunError::Programs)?;
    eprintln!("SIMULATED secure processor: this instance protects nothing. For trying out only.");
    let folder = Folder::take(&arguments.data)?;
    if !folder.chip().exists() {
        eprintln!("Making a simulated chip; this takes a few seconds");
    }
    let reveal = folder.prepare(OffsetDateTime::now_utc(), arguments.reveal)?;
    let mut server = Server::start(&programs.server, &folder, arguments.listen)?;
    // A signal to the whole process group ends the server as well: the signal is the reason then.
    let ended = tokio::select! {
        biased;
        () = signals.any() => None,
        result = serve(&mut server, &programs, &folder, (reveal, arguments.unclaimed)) => Some(result),
    };
    match ended {
        None => Ok(server.stop().await?),
        Some(result) => {
            // What went wrong first is what the user must see.
            let _second = server.stop().await;
            result
        }
    }
}

/// Brings the instance to where a user can work with it; returns only when that fails or the server
/// ends.
async fn serve(
    server: &mut Server,
    programs: &Programs,
    folder: &Folder,
    (reveal, unclaimed): (Reveal, bool),
) -> Result<(), RunError> {
    let listening = server.listening().await?;
    let url = format!("https://localhost:{}", listening.port());
    let news = tokio::select! {
        news = async {
            match unclaimed {
                true => leave_unclaimed(listening, folder).await,
                false => make_ready(listening, &url, programs, folder).await,
            }
        } => news?,
        ended = server.ended() => return Err(ended.into()),
    };
    let shown = |path: &Path| guide::quoted(&guide::path_from(&programs.root, path));
    let client_folder = guide::path_from(&programs.root, &folder.client_folder());
    let commands = match unclaimed {
        true => guide::claim(&client_folder, &url),
        false => guide::commands(&client_folder, &url, reveal),
    };
    let text = format!(
        "\nSIMULATED: the secure processor is made up, so this instance protects nothing. For trying out only.\n\
         Serving at {url}{news}\n\
         Data: {}   Log: {}   Keys and files for clients: {}\n\n\
         Paste into another shell, in the repository's root:\n\n{}\n\
         Ctrl-C ends it; the next start with the same --data finds its secrets again.\n",
        shown(folder.path()),
        shown(&folder.log()),
        guide::quoted(&client_folder),
        commands
    );
    // Whoever closed our standard output still has a server.
    let _closed = io::stdout().write_all(text.as_bytes());
    Err(server.ended().await.into())
}

/// Verifies, claims where there is something to claim, and writes `server.pem` last.
async fn make_ready(
    listening: SocketAddr,
    url: &str,
    programs: &Programs,
    folder: &Folder,
) -> Result<&'static str, RunError> {
    let client = Client { program: &programs.client, folder, url };
    let claimed = is_claimed(listening, folder).await?;
    if claimed == Claimed::No {
        // The pin of an instance whose store is gone.
        files::remove(&folder.client("profile.json"))?;
    }
    if claimed == Claimed::ButConfigChanged {
        // `--reveal` of an instance that was claimed without it.
        client.accept_config().await?;
    }
    let claimed = claimed != Claimed::No;
    let unproven = folder.client(UNPROVEN_CERTIFICATE);
    client.verify(&unproven, claimed).await?;
    let keys = ["owner.key", "admin.key"].map(|name| folder.client(name));
    let missing = keys.into_iter().find(|key| !key.exists());
    let news = match (claimed, missing) {
        (false, _) => {
            client.claim().await?;
            ", verified. It is new: this start has claimed it."
        }
        (true, None) => ", verified. It has its data of an earlier start.",
        (true, Some(missing)) => {
            // An earlier start was cut off between the claim and the writing of the keys.
            client.claim().await.map_err(|source| RunError::KeysLost { missing, source })?;
            ", verified. An earlier start was cut off while it claimed it; this one has repeated the claim."
        }
    };
    match probe(listening, Some(unproven.clone())).await? {
        Answer { status: 200, .. } => {
            Ok(files::rename(&unproven, &folder.client("server.pem")).map(|()| news)?)
        }
        answer => Err(not_ready(answer, folder)),
    }
}

/// Leaves a new instance as it is, for the user to claim.
async fn leave_unclaimed(listening: SocketAddr, folder: &Folder) -> Result<&'static str, RunError> {
    if is_claimed(listening, folder).await? != Claimed::No {
        return Err(RunError::Claimed);
    }
    // The pin of an instance whose store is gone.
    files::remove(&folder.client("profile.json"))?;
    Ok(". It is new, and nobody has claimed it.")
}

/// Whether an instance has an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claimed {
    No,
    Yes,
    /// And the owner has to accept this start's configuration.
    ButConfigChanged,
}

/// Whether the server has a store; waits while it looks.
async fn is_claimed(listening: SocketAddr, folder: &Folder) -> Result<Claimed, RunError> {
    let deadline = tokio::time::Instant::now() + START_PATIENCE;
    loop {
        let answer = probe(listening, None).await?;
        let says = |reason: &str| answer.body.contains(&format!("\"message\":\"{reason}:"));
        match answer.status {
            200 => return Ok(Claimed::Yes),
            503 if says("unclaimed") => return Ok(Claimed::No),
            503 if says("config-changed") => return Ok(Claimed::ButConfigChanged),
            503 if says("starting") && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(START_PAUSE).await;
            }
            _ => return Err(not_ready(answer, folder)),
        }
    }
}

fn not_ready(answer: Answer, folder: &Folder) -> RunError {
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let answer = match body["error"]["message"].as_str() {
        Some(message) => message.to_owned(),
        None => format!("{} {}", answer.status, answer.body.trim_end()),
    };
    RunError::NotReady { answer, log: folder.log() }
}

async fn probe(listening: SocketAddr, certificate: Option<PathBuf>) -> Result<Answer, RunError> {
    let asked =
        tokio::task::spawn_blocking(move || probe::readiness(listening, certificate.as_deref()));
    match asked.await {
        Ok(answer) => answer.map_err(RunError::Probe),
        Err(panic) => Err(RunError::Probe(io::Error::other(panic))),
    }
}

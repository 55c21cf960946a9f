//! Our own command line, run as a user would run it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::process::Command;

use super::folder::Folder;

/// Why a command of ours failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It could not be started.
    #[error("cannot start {}: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It said no.
    #[error("neo-secrets {command} failed ({status}):\n{message}")]
    Failed {
        /// Which command.
        command: &'static str,
        /// Its exit code.
        status: ExitStatus,
        /// What it wrote to standard error.
        message: String,
    },
}

/// `neo-secrets` with the files of a data folder.
pub struct Client<'a> {
    /// The program.
    pub program: &'a Path,
    /// Where its files are.
    pub folder: &'a Folder,
    /// The instance.
    pub url: &'a str,
}

impl Client<'_> {
    /// Verifies the instance, keeps what was verified in `profile.json`, and writes the
    /// certificate. A claimed instance's key is that of our own store: where the profile was lost,
    /// it is pinned again.
    ///
    /// # Errors
    /// `Failed` where the evidence is refused, `Start`.
    pub async fn verify(&self, certificate: &Path, claimed: bool) -> Result<(), ClientError> {
        let mut command = self.command("verify");
        command.arg("--save-profile").arg("--write-cert").arg(certificate);
        if claimed {
            command.arg("--pin-first-use").arg("--key-file").arg(self.folder.client("admin.key"));
        }
        run("verify", command).await
    }

    /// Claims the instance with `owner.pem`; leaves `owner.key` and `admin.key`, and pins the
    /// instance.
    ///
    /// # Errors
    /// `Failed` where the instance is another's, `Start`.
    pub async fn claim(&self) -> Result<(), ClientError> {
        let mut command = self.command("claim");
        command.arg("--owner-key").arg(self.folder.client("owner.pem"));
        command.arg("--out-dir").arg(self.folder.client_folder());
        run("claim", command).await
    }

    /// Accepts this start's configuration with `owner.pem`.
    ///
    /// # Errors
    /// `Failed` where the instance is another's, `Start`.
    pub async fn accept_config(&self) -> Result<(), ClientError> {
        let mut command = self.command("accept-config");
        command.arg("--owner-key").arg(self.folder.client("owner.pem"));
        run("accept-config", command).await
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.program);
        command.arg(name).arg(self.url);
        for (option, file) in [
            ("--profile", "profile.json"),
            ("--reference", "reference.json"),
            ("--policy", "policy.json"),
            ("--trust-simulated", "simulated-root.der"),
        ] {
            command.arg(option).arg(self.folder.client(file));
        }
        for variable in ["NEO_SECRETS_URL", "NEO_SECRETS_KEY_FILE", "NEO_SECRETS_PROFILE"] {
            command.env_remove(variable);
        }
        command
    }
}

async fn run(name: &'static str, mut command: Command) -> Result<(), ClientError> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let program = PathBuf::from(command.as_std().get_program());
    let output = command.output().await.map_err(|source| ClientError::Start { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    Err(ClientError::Failed { command: name, status: output.status, message })
}

//! A verified connection with a key, for the commands on secrets and keys.

use std::path::Path;

use hyper::{Method, StatusCode};
use neo_secrets_attestation::appraise::Appraised;
use neo_secrets_attestation::evidence::ClaimPhase;
use neo_secrets_attestation::reference::Covers;
use neo_secrets_attestation::roots::Provenance;
use zeroize::Zeroizing;

use crate::cli::outcome::{Failure, Shown};
use crate::cli::refusal;
use crate::cli::settings::Settings;
use crate::cli::terminal;
use crate::client::{AttestedClient, ClientError};
use crate::connection::{Answer, Request, VerifiedConnection};
use crate::files;
use crate::limits;
use crate::secret::ApiKey;
use crate::url::InstanceUrl;

/// A client with a key, for commands on secrets and keys. It connects when it is first used.
pub(crate) struct Session {
    settings: Settings,
    client: AttestedClient,
    key: ApiKey,
    announced: bool,
}

impl Session {
    /// Fails where no key is at hand, or none may be sent.
    pub(crate) fn new(settings: Settings) -> Result<Self, Failure> {
        settings.check_instance_is_named()?;
        let path = settings.key_file.as_ref().ok_or_else(|| {
            Failure::usage("no key file is named").advice(
                "type --key-file FILE, set NEO_SECRETS_KEY_FILE, or name a --profile that has one",
            )
        })?;
        let key = read_key(path)?;
        let client = settings.client()?;
        Ok(Self { settings, client, key, announced: false })
    }

    pub(crate) fn simulated(&self) -> bool {
        self.settings.is_simulated()
    }

    /// What a command shows of the server's answer, which holds no key.
    pub(crate) fn shown(&self, human: String, answer: &Answer) -> Shown {
        Shown::answer(Zeroizing::new(human), answer, self.simulated())
    }

    /// Sends a request with the key on a verified connection, and takes only `expected` for an
    /// answer.
    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Zeroizing<Vec<u8>>>,
        if_match: Option<u64>,
        expected: StatusCode,
    ) -> Result<Answer, Failure> {
        self.connect().await?;
        let key = Some(&self.key);
        let request = Request { method, path: path.to_owned(), key, body, if_match };
        let answer = self.client.send(&request).await.map_err(failure)?;
        if answer.status == expected { Ok(answer) } else { Err(Failure::from_answer(&answer)) }
    }

    /// The first time: verifies a connection, says so, and makes sure that it leads to an instance
    /// that has a key.
    async fn connect(&mut self) -> Result<(), Failure> {
        if self.announced {
            return Ok(());
        }
        let pinned = self.settings.pin.is_some();
        let connection = self.client.connection().await.map_err(refusal::failure)?;
        announce(&self.settings.url, connection);
        let phase = &connection.appraised().claims().phase;
        let ClaimPhase::Serving { instance_key, .. } = *phase else {
            return Err(not_serving(&self.settings.url, phase.as_str()));
        };
        if !pinned && self.settings.pins_first_use() {
            self.settings.keep_pin(instance_key)?;
        }
        self.announced = true;
        Ok(())
    }
}

/// A verified instance that has no key to prove.
pub(crate) fn not_serving(url: &InstanceUrl, phase: &str) -> Failure {
    let told = "and so has not proven its instance key: no key is sent to it";
    Failure::error(format!("{url} is {phase} {told}")).advice(match phase {
        "unclaimed" => "an unclaimed instance is taken with `neo-secrets claim`",
        _ => "GET /readyz says why it is not ready",
    })
}

/// The status line of a verified connection, on stderr.
pub(crate) fn announce(url: &InstanceUrl, connection: &VerifiedConnection) {
    terminal::note(&status_line(url, connection.appraised()));
}

pub(crate) fn status_line(url: &InstanceUrl, appraised: &Appraised) -> String {
    let product = appraised.report().product();
    let version = appraised.claims().image_version.as_str();
    let mut line = match appraised.provenance() {
        Provenance::Amd => format!("verified {url}: {product}, image {version}"),
        Provenance::Simulated => {
            format!(
                "SIMULATED {url}: proves nothing about any machine ({product}, image {version})"
            )
        }
    };
    if appraised.covers() == Covers::Firmware {
        line.push_str("; FIRMWARE ONLY, IMAGE NOT PROVEN");
    }
    line
}

fn failure(error: ClientError) -> Failure {
    match error {
        ClientError::Open(error) => refusal::failure(error),
        ClientError::Failed { .. } | ClientError::Unknown { .. } => Failure::error(error),
    }
}

/// Reads a key file, and warns where others can read it as well.
fn read_key(path: &Path) -> Result<ApiKey, Failure> {
    let bytes = files::read_bounded(path, limits::KEY_FILE_BYTES_MAX).map_err(Failure::error)?;
    if let Some(mode) = files::mode_open_to_others(path) {
        terminal::note(&format!(
            "warning: {} has mode {mode:04o}: others on this machine can read the key; chmod 600 \
             it",
            path.display()
        ));
    }
    ApiKey::from_file_bytes(bytes)
        .map_err(|error| Failure::error(format!("{} is not a key file: {error}", path.display())))
}

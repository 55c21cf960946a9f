//! A verified connection with a key, for the commands on secrets, keys and accounts.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use hyper::{Method, StatusCode};
use neo_secrets_attestation::appraise::Appraised;
use neo_secrets_attestation::config::Reveal;
use neo_secrets_attestation::evidence::ClaimPhase;
use neo_secrets_attestation::reference::Covers;
use neo_secrets_attestation::roots::Provenance;
use zeroize::Zeroizing;

use crate::cli::advice;
use crate::cli::outcome::{Exit, Failure, Shown};
use crate::cli::page::Page;
use crate::cli::refusal;
use crate::cli::settings::Settings;
use crate::cli::terminal;
use crate::cli::value::Body;
use crate::client::{AttestedClient, ClientError};
use crate::connection::{Answer, Request, VerifiedConnection};
use crate::files;
use crate::limits;
use crate::profile::ReceiptTrust;
use crate::secret::ApiKey;
use crate::url::InstanceUrl;

/// One call without a key on a connection that is verified already; any answer but 200 is a failure.
pub(crate) async fn call_keyless(
    connection: &mut VerifiedConnection,
    (method, path): (Method, &str),
    body: Option<Body>,
) -> Result<Answer, Failure> {
    let (path, body) = (path.to_owned(), body.map(Body::finish));
    let request = Request { method, path, key: None, body, if_match: None };
    let answer = connection.send(&request).await.map_err(Failure::error)?;
    match answer.status {
        StatusCode::OK => Ok(answer),
        _ => Err(Failure::from_answer(&answer)),
    }
}

/// A client with a key, for commands on secrets, keys and accounts. It connects when it is first
/// used.
pub(crate) struct Session {
    settings: Settings,
    line: Line,
    announced: bool,
}

/// A client that presents one key, on connections to one instance that it has verified.
pub(crate) struct Line {
    client: AttestedClient,
    key: Rc<ApiKey>,
}

impl Session {
    /// Fails where no key is at hand, or none may be sent.
    pub(crate) fn new(settings: Settings) -> Result<Self, Failure> {
        let key_file = settings.key_file.clone();
        Self::with_key(settings, key_file)
    }

    /// As `new`, with the owner's key, which a claim leaves beside the admin key.
    pub(crate) fn of_owner(settings: Settings) -> Result<Self, Failure> {
        let key_file = settings.owner_key_file();
        Self::with_key(settings, key_file)
    }

    fn with_key(settings: Settings, key_file: Option<PathBuf>) -> Result<Self, Failure> {
        settings.check_instance_is_named()?;
        let path = key_file.ok_or_else(|| {
            Failure::usage("no key file is named").advice(
                "type --key-file FILE, set NEO_SECRETS_KEY_FILE, or keep it in the profile: \
                 neo-secrets verify --key-file FILE --save-profile",
            )
        })?;
        let key = read_key(&path).map_err(|failure| settings.about_key_file(&path, failure))?;
        let key = Rc::new(key);
        let client = settings.client()?;
        Ok(Self { settings, line: Line { client, key }, announced: false })
    }

    pub(crate) fn simulated(&self) -> bool {
        self.settings.is_simulated()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What a command shows of the server's answer, which holds no key.
    pub(crate) fn shown(&self, page: Page, answer: &Answer) -> Shown {
        Shown::answer(page, answer, self.simulated())
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
        self.line().await?.call(method, path, body, if_match, expected).await
    }

    /// The line to the instance. The first time: verifies a connection, says so, and makes sure
    /// that it leads to an instance that has a key.
    pub(crate) async fn line(&mut self) -> Result<&mut Line, Failure> {
        if self.announced {
            return Ok(&mut self.line);
        }
        let pinned = self.settings.pin.is_some();
        let connection = self.line.client.connection().await.map_err(refusal::failure)?;
        announce(&self.settings.url, connection);
        let appraised = connection.appraised();
        let phase = &appraised.claims().phase;
        if !matches!(phase, ClaimPhase::Serving { .. }) {
            return Err(not_serving(&self.settings.url, phase.as_str()));
        }
        if !pinned && self.settings.pins_first_use() {
            self.settings.keep_pin(appraised)?;
        }
        self.announced = true;
        Ok(&mut self.line)
    }

    /// The line alone, for work that goes on without the session.
    pub(crate) fn into_line(self) -> Line {
        self.line
    }

    /// Fails, before a secret is asked for, where the configuration that the evidence shows lets no
    /// value out.
    pub(crate) async fn check_reveals(&mut self) -> Result<(), Failure> {
        self.line().await?;
        let connection = self.line.client.connection().await.map_err(refusal::failure)?;
        match connection.appraised().config().reveal {
            Reveal::ByPermission => Ok(()),
            Reveal::Off => {
                let message = format!("{} gives no value out: reveal is off", self.settings.url);
                Err(Failure::new(Exit::NotAuthorised, message).advice(advice::REVEAL_OFF))
            }
        }
    }
}

impl Line {
    /// What the verified evidence of the instance says of its receipts.
    pub(crate) async fn receipt_trust(&mut self) -> Result<ReceiptTrust, Failure> {
        let connection = self.client.connection().await.map_err(refusal::failure)?;
        ReceiptTrust::of(connection.appraised())
            .ok_or_else(|| Failure::error("the instance does not serve, and so proves no key"))
    }

    /// Another one to the same instance, on connections of its own.
    pub(crate) fn another(&self) -> Self {
        Self { client: self.client.another(), key: self.key.clone() }
    }

    /// Sends a request with the key, and takes only `expected` for an answer.
    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Zeroizing<Vec<u8>>>,
        if_match: Option<u64>,
        expected: StatusCode,
    ) -> Result<Answer, Failure> {
        let answer = self.ask(method, path, body, if_match).await.map_err(failure)?;
        if answer.status == expected { Ok(answer) } else { Err(Failure::from_answer(&answer)) }
    }

    /// Sends a request with the key; any answer will do.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Zeroizing<Vec<u8>>>,
        if_match: Option<u64>,
    ) -> Result<Answer, ClientError> {
        let key = Some(self.key.as_ref());
        let request = Request { method, path: path.to_owned(), key, body, if_match };
        self.client.send(&request).await
    }

    /// As [`Line::ask`], for a call that runs code.
    pub(crate) async fn run(
        &mut self,
        path: &str,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Answer, ClientError> {
        let (path, key, body) = (path.to_owned(), Some(self.key.as_ref()), Some(body));
        let request = Request { method: Method::POST, path, key, body, if_match: None };
        self.client.send_within(&request, limits::INVOKE_TIMEOUT).await
    }
}

/// A verified instance that has no key to prove.
pub(crate) fn not_serving(url: &InstanceUrl, phase: &str) -> Failure {
    let told = "and so has not proven its instance key: no key is sent to it";
    Failure::error(format!("{url} is {phase} {told}")).advice(match phase {
        "unclaimed" => "an unclaimed instance is taken with `neo-secrets claim --owner-key FILE`",
        _ => "neo-secrets status shows the reason",
    })
}

/// The status line of a verified connection, on stderr.
pub(crate) fn announce(url: &InstanceUrl, connection: &VerifiedConnection) {
    announce_appraised(url, connection.appraised());
}

/// As [`announce`], where somebody else has the connection.
pub(crate) fn announce_appraised(url: &InstanceUrl, appraised: &Appraised) {
    let line = status_line(url, appraised);
    match (appraised.provenance(), appraised.covers()) {
        (Provenance::Amd, Covers::Image) => terminal::note(&line),
        (Provenance::Simulated, _) | (_, Covers::Firmware) => terminal::warn(&line),
    }
}

fn status_line(url: &InstanceUrl, appraised: &Appraised) -> String {
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

pub(crate) fn failure(error: ClientError) -> Failure {
    match error {
        ClientError::Open(error) => refusal::failure(error),
        ClientError::Failed { .. } | ClientError::Unknown { .. } => Failure::error(error),
    }
}

/// Reads a key file, and warns where others can read it as well.
pub(crate) fn read_key(path: &Path) -> Result<ApiKey, Failure> {
    let bytes = files::read_bounded(path, limits::KEY_FILE_BYTES_MAX).map_err(Failure::error)?;
    if let Some(mode) = files::mode_open_to_others(path) {
        terminal::warn(&format!(
            "warning: {} has mode {mode:04o}: others on this machine can read the key; chmod 600 \
             it",
            path.display()
        ));
    }
    ApiKey::from_file_bytes(bytes)
        .map_err(|error| Failure::error(format!("{} is not a key file: {error}", path.display())))
}

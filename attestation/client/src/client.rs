//! `AttestedClient`: one instance, one verified connection at a time.

use std::time::Duration;

use hyper::Method;
use neo_secrets_attestation::appraise::Pin;
use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::exchange::Trust;
use neo_secrets_attestation::time::UnixTime;
use tokio_rustls::TlsConnector;

use crate::connection::{
    Answer, FirmwareOnly, OpenError, Request, SendError, UnverifiedConnection, VerifiedConnection,
};
use crate::limits;
use crate::tls;
use crate::url::InstanceUrl;

/// A client of one instance. It verifies every connection, a resumed session's too, before it sends
/// anything else on it, and every connection after the first must lead to the same instance.
pub struct AttestedClient {
    url: InstanceUrl,
    tls: TlsConnector,
    trust: Trust,
    firmware_only: FirmwareOnly,
    clock: fn() -> UnixTime,
    connection: Option<VerifiedConnection>,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no verified connection.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The request was not carried out, or only read.
    #[error("{method} {path}: {source}")]
    Failed {
        /// The request's method.
        method: Method,
        /// The request's path.
        path: String,
        /// What happened.
        source: SendError,
    },
    /// The request changes something, and nobody here knows whether it did. It was not sent again.
    #[error(
        "{method} {path}: {source}. The server may or may not have done it: look before you repeat \
         it"
    )]
    Unknown {
        /// The request's method.
        method: Method,
        /// The request's path.
        path: String,
        /// What happened.
        source: SendError,
    },
}

impl AttestedClient {
    /// A client that is not connected yet. `clock` gives the time against which certificates and
    /// dates are checked.
    pub fn new(
        url: InstanceUrl,
        trust: Trust,
        firmware_only: FirmwareOnly,
        clock: fn() -> UnixTime,
    ) -> Result<Self, rustls::Error> {
        let tls = TlsConnector::from(tls::config()?);
        Ok(Self { url, tls, trust, firmware_only, clock, connection: None })
    }

    /// Another client of the same instance, with a connection of its own. Where this one has met an
    /// instance, only that one will do.
    pub fn another(&self) -> Self {
        let Self { url, tls, trust, firmware_only, clock, connection: _ } = self;
        Self {
            url: url.clone(),
            tls: tls.clone(),
            trust: trust.clone(),
            firmware_only: *firmware_only,
            clock: *clock,
            connection: None,
        }
    }

    /// The instance's address.
    pub fn url(&self) -> &InstanceUrl {
        &self.url
    }

    /// The verified connection, a new one where there is none or the other end has closed it.
    pub async fn connection(&mut self) -> Result<&mut VerifiedConnection, OpenError> {
        let connection = self.ready_connection().await?;
        Ok(self.connection.insert(connection))
    }

    /// Closes the connection; the next use opens and verifies another.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// From now on only the instance with this key will do.
    pub fn pin(&mut self, instance_key: PublicKey) {
        self.trust.pin = Pin::InstanceKey(instance_key);
    }

    /// Sends a request on a verified connection. It is sent again, on a new one, only where the
    /// first was closed before a byte of it left, or where it only reads.
    pub async fn send(&mut self, request: &Request<'_>) -> Result<Answer, ClientError> {
        self.send_within(request, limits::REQUEST_TIMEOUT).await
    }

    /// As [`AttestedClient::send`], with another limit on the time to the whole answer: for calls
    /// that run code.
    pub async fn send_within(
        &mut self,
        request: &Request<'_>,
        limit: Duration,
    ) -> Result<Answer, ClientError> {
        match self.send_once(request, limit).await? {
            Ok(answer) => Ok(answer),
            Err(SendError::NotSent) => self.send_last(request, limit).await,
            Err(SendError::Lost(_)) if request.method == Method::GET => {
                self.send_last(request, limit).await
            }
            Err(error) => Err(failed(request, error)),
        }
    }

    async fn send_last(
        &mut self,
        request: &Request<'_>,
        limit: Duration,
    ) -> Result<Answer, ClientError> {
        self.send_once(request, limit).await?.map_err(|error| failed(request, error))
    }

    /// The connection is kept only where the whole answer came.
    async fn send_once(
        &mut self,
        request: &Request<'_>,
        limit: Duration,
    ) -> Result<Result<Answer, SendError>, OpenError> {
        let mut connection = self.ready_connection().await?;
        let sent = connection.send_within(request, limit).await;
        if sent.is_ok() {
            self.connection = Some(connection);
        }
        Ok(sent)
    }

    async fn ready_connection(&mut self) -> Result<VerifiedConnection, OpenError> {
        if let Some(mut connection) = self.connection.take()
            && connection.is_ready().await
        {
            return Ok(connection);
        }
        let unverified = UnverifiedConnection::open(&self.url, &self.tls).await?;
        let connection = unverified.verify(&self.trust, self.firmware_only, (self.clock)()).await?;
        if let Some(instance_key) = connection.instance_key() {
            self.pin(instance_key);
        }
        Ok(connection)
    }
}

fn failed(request: &Request<'_>, source: SendError) -> ClientError {
    let (method, path) = (request.method.clone(), request.path.clone());
    let reads = method == Method::GET;
    match source {
        SendError::Lost(_) | SendError::Timeout { .. } | SendError::TooLong if !reads => {
            ClientError::Unknown { method, path, source }
        }
        _ => ClientError::Failed { method, path, source },
    }
}

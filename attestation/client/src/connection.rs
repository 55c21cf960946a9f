//! One TLS connection: first unverified, with nothing to do on it but the evidence exchange or what
//! is public, then verified.

pub(crate) mod http;

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use data_encoding::BASE64;
use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, HeaderMap, HeaderValue, IF_MATCH,
};
use hyper::http::response::Parts;
use hyper::{Method, StatusCode};
use neo_secrets_attestation::appraise::{Appraised, Channel};
use neo_secrets_attestation::binding::{Exporter, Nonce};
use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::endorsements::Endorsements;
use neo_secrets_attestation::evidence::ClaimPhase;
use neo_secrets_attestation::exchange::{Exchange, Refusal, Trust};
use neo_secrets_attestation::reference::Covers;
use neo_secrets_attestation::time::UnixTime;
use openssl::error::ErrorStack;
use openssl::sha::sha256;
use openssl::x509::X509;
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::connection::http::{Http, Outgoing, Unanswered};
use crate::limits;
use crate::secret::ApiKey;
use crate::url::InstanceUrl;

/// Why there is no connection with evidence to look at.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host's name has no address, or nobody listens there.
    #[error("cannot connect to {url}: {source}")]
    Tcp {
        /// The instance.
        url: InstanceUrl,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The TLS handshake failed.
    #[error("the TLS 1.3 handshake with {url} failed: {source}")]
    Tls {
        /// The instance.
        url: InstanceUrl,
        /// What rustls or the operating system says.
        source: std::io::Error,
    },
    /// It took too long.
    #[error("{url} did not answer within {} s while {what}", limit.as_secs())]
    Timeout {
        /// The instance.
        url: InstanceUrl,
        /// What was under way.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// rustls gives no exporter or no certificate for a finished handshake.
    #[error("the TLS connection with {url} gives no {what}")]
    NoBinding {
        /// The instance.
        url: InstanceUrl,
        /// What is absent.
        what: &'static str,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("the connection with {url} failed before it was verified: {source}")]
    Http {
        /// The instance.
        url: InstanceUrl,
        /// What hyper says.
        source: hyper::Error,
    },
    /// The system gives no random bytes for the nonce.
    #[error("the system gives no random bytes")]
    Random,
    /// The answer is longer than it can be.
    #[error("{url} answered with more than {bytes_max} bytes before it was verified")]
    TooLong {
        /// The instance.
        url: InstanceUrl,
        /// The limit.
        bytes_max: usize,
    },
}

/// Why a connection did not become a verified one.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There was no evidence.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// There was an answer, and it is refused.
    #[error(transparent)]
    Refused(#[from] Box<Refused>),
}

/// Why evidence is refused. Nothing but the request for it was sent.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// By the verification.
    #[error("{0}")]
    Evidence(Refusal),
    /// Every step holds, but the measurement covers only the vendor's firmware.
    #[error(
        "FIRMWARE ONLY, IMAGE NOT PROVEN: the measurement covers the vendor's firmware, not what \
         it started"
    )]
    FirmwareOnly(Box<Appraised>),
}

/// What becomes of evidence whose measurement covers only the vendor's firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareOnly {
    /// It is refused.
    Refuse,
    /// The user accepts it by name: whoever can start machines in that cloud account can imitate
    /// the image.
    Accept,
}

/// All that may be sent to a machine that nobody has verified: there is nothing secret in it, and
/// what comes back proves nothing.
pub(crate) enum Public<'a> {
    /// The last report by itself.
    LastReport,
    /// Certificates for the evidence; the CRL beside them is not sent.
    Certificates(&'a Endorsements),
    /// A CRL, DER.
    Crl(&'a [u8]),
}

/// A TLS connection to somebody. All that can be done with it is to verify it, or to send what is
/// [`Public`].
pub(crate) struct UnverifiedConnection {
    url: InstanceUrl,
    http: Http,
    channel: Channel,
    certificate: Vec<u8>,
}

/// A TLS connection whose other end is what the caller expects.
pub struct VerifiedConnection {
    url: InstanceUrl,
    http: Http,
    channel: Channel,
    certificate: Vec<u8>,
    appraised: Appraised,
}

/// A request of the API. The path is the caller's business: everything from outside in it is
/// percent-encoded.
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// The key to present, if any.
    pub key: Option<&'a ApiKey>,
    /// JSON, if any; the memory is wiped after the last use.
    pub body: Option<Zeroizing<Vec<u8>>>,
    /// The revision that `If-Match` demands, if any.
    pub if_match: Option<u64>,
}

/// An answer of the API, whole.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// `X-Request-ID`.
    pub request_id: Option<String>,
    /// The revision in `ETag`.
    pub revision: Option<u64>,
    /// `Retry-After` in seconds.
    pub retry_after_seconds: Option<u64>,
    /// The body; it may hold a key, and is wiped when dropped.
    pub body: Zeroizing<Vec<u8>>,
}

/// Why a request on a verified connection has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The connection was gone before a byte of the request left: it is safe to send it again.
    #[error("the connection was closed before the request was sent")]
    NotSent,
    /// The connection broke afterwards: the server may or may not have done what was asked.
    #[error("the connection broke before the whole answer came: {0}")]
    Lost(hyper::Error),
    /// No whole answer in time: the server may or may not have done what was asked.
    #[error("no whole answer within {} s", limit.as_secs())]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// The answer's body is longer than any of the API.
    #[error("the answer has more than {bytes_max} bytes", bytes_max = limits::BODY_BYTES_MAX)]
    TooLong,
    /// The instance does not serve, and so has not proven that it holds its key. Nothing was sent.
    #[error("the instance is {phase}, and so has not proven its key: no key was sent to it")]
    NotServing {
        /// Its phase.
        phase: &'static str,
    },
    /// The path is not one.
    #[error("the request's path is malformed")]
    Path,
}

impl UnverifiedConnection {
    /// Opens a TLS 1.3 connection. Nothing is sent on it.
    pub(crate) async fn open(url: &InstanceUrl, tls: &TlsConnector) -> Result<Self, ConnectError> {
        let late = |what, limit| {
            let url = url.clone();
            move |_| ConnectError::Timeout { url, what, limit }
        };
        let tcp = timeout(limits::CONNECT_TIMEOUT, connect(url.host(), url.port()))
            .await
            .map_err(late("connecting", limits::CONNECT_TIMEOUT))?
            .map_err(|source| ConnectError::Tcp { url: url.clone(), source })?;
        // Requests are small and wait for their answers; where it can't be set, they are only
        // slower.
        let _ = tcp.set_nodelay(true);
        let stream = timeout(limits::HANDSHAKE_TIMEOUT, tls.connect(url.server_name(), tcp))
            .await
            .map_err(late("in the TLS handshake", limits::HANDSHAKE_TIMEOUT))?
            .map_err(|source| ConnectError::Tls { url: url.clone(), source })?;
        let (channel, certificate) =
            channel(&stream).map_err(|what| ConnectError::NoBinding { url: url.clone(), what })?;
        let http = Http::start(stream)
            .await
            .map_err(|source| ConnectError::Http { url: url.clone(), source })?;
        Ok(Self { url: url.clone(), http, channel, certificate })
    }

    /// Sends what is public. After an error the connection is of no use.
    pub(crate) async fn send(&mut self, public: &Public<'_>) -> Result<Answer, ConnectError> {
        let (method, path, body) = match public {
            Public::LastReport => (Method::GET, "/v1/attestation/report", None),
            Public::Certificates(Endorsements { vek, ask, ark, crl: _ }) => {
                let [vek, ask, ark] = [vek, ask, ark].map(|der| BASE64.encode(der));
                let body = json!({ "vek": vek, "ask": ask, "ark": ark });
                (Method::PUT, "/v1/attestation/certificates", Some(body))
            }
            Public::Crl(der) => {
                (Method::PUT, "/v1/attestation/crl", Some(json!({ "crl": BASE64.encode(der) })))
            }
        };
        let mut head = head(&self.url, method, path);
        if body.is_some() {
            head = head.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = head.body(Either::Left(Full::new(body.into())));
        let (head, body) = self.exchange(request, "answering", limits::BODY_BYTES_MAX).await?;
        Ok(Answer::new(head.status, &head.headers, body))
    }

    /// Runs the evidence exchange, the only way to a verified connection.
    pub(crate) async fn verify(
        mut self,
        trust: &Trust,
        firmware_only: FirmwareOnly,
        now: UnixTime,
    ) -> Result<VerifiedConnection, OpenError> {
        let exchange = Exchange::start(nonce()?);
        let request = head(&self.url, Method::GET, &exchange.request_target());
        let request = request.body(Either::Left(Full::default()));
        let what = "asked for evidence";
        let (head, body) = self.exchange(request, what, Exchange::BODY_BYTES_MAX).await?;
        let Self { url, http, channel, certificate } = self;
        let appraised = exchange
            .finish(head.status.as_u16(), &body, &channel, trust, now)
            .map_err(|refusal| Box::new(Refused::Evidence(refusal)))?;
        match (appraised.covers(), firmware_only) {
            (Covers::Image, _) | (Covers::Firmware, FirmwareOnly::Accept) => {
                Ok(VerifiedConnection { url, http, channel, certificate, appraised })
            }
            (Covers::Firmware, FirmwareOnly::Refuse) => {
                Err(Box::new(Refused::FirmwareOnly(Box::new(appraised))).into())
            }
        }
    }

    async fn exchange(
        &mut self,
        request: Result<hyper::Request<Outgoing>, hyper::http::Error>,
        what: &'static str,
        bytes_max: usize,
    ) -> Result<(Parts, Zeroizing<Vec<u8>>), ConnectError> {
        let (url, limit) = (self.url.clone(), limits::EVIDENCE_TIMEOUT);
        let request = request
            .map_err(|_| ConnectError::NoBinding { url: url.clone(), what: "request path" })?;
        match timeout(limit, exchange(&mut self.http, request, bytes_max)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Failed::NotSent(source) | Failed::Broken(source))) => {
                Err(ConnectError::Http { url, source })
            }
            Ok(Err(Failed::TooLong)) => Err(ConnectError::TooLong { url, bytes_max }),
            Err(_) => Err(ConnectError::Timeout { url, what, limit }),
        }
    }
}

/// `localhost` is this machine by either address, whatever its resolver knows (RFC 6761 §6.3; curl
/// does the same).
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    if host != "localhost" {
        return TcpStream::connect((host, port)).await;
    }
    let addresses: [SocketAddr; 2] =
        [(Ipv6Addr::LOCALHOST, port).into(), (Ipv4Addr::LOCALHOST, port).into()];
    TcpStream::connect(addresses.as_slice()).await
}

fn nonce() -> Result<Nonce, ConnectError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| ConnectError::Random)?;
    Ok(Nonce::new(&bytes).expect("32 bytes are between 16 and 64"))
}

/// This side's end of a finished handshake, and the server's certificate (DER). A resumed session
/// has the certificate of the one that it resumes, and an exporter of its own.
fn channel(stream: &TlsStream<TcpStream>) -> Result<(Channel, Vec<u8>), &'static str> {
    let (_, session) = stream.get_ref();
    let exporter = session
        .export_keying_material([0; 32], Exporter::LABEL, Some(b""))
        .map_err(|_| "exporter")?;
    let certificate: &CertificateDer<'_> =
        session.peer_certificates().and_then(<[_]>::first).ok_or("certificate")?;
    let parsed = ParsedCertificate::try_from(certificate).map_err(|_| "certificate that parses")?;
    let tls_spki_sha256 = sha256(parsed.subject_public_key_info().as_ref());
    Ok((Channel { exporter: Exporter(exporter), tls_spki_sha256 }, certificate.to_vec()))
}

impl VerifiedConnection {
    /// What was verified on this connection.
    pub fn appraised(&self) -> &Appraised {
        &self.appraised
    }

    /// This connection's RFC 9266 exporter, which a claim's signature is over.
    pub fn exporter(&self) -> &Exporter {
        &self.channel.exporter
    }

    /// The instance's key, where it shows one; proven only in phase `serving`.
    pub fn instance_key(&self) -> Option<PublicKey> {
        self.appraised.claims().phase.instance_key()
    }

    /// The server's certificate as PEM. Only this boot of the instance has its key.
    pub fn certificate_pem(&self) -> Result<Vec<u8>, ErrorStack> {
        X509::from_der(&self.certificate)?.to_pem()
    }

    /// For requests that come from elsewhere. The caller makes sure that the instance serves.
    pub(crate) fn http(&mut self) -> &mut Http {
        &mut self.http
    }

    /// Waits until a request can be sent; false where the other end has closed, or does not take
    /// the rest of the last request.
    pub(crate) async fn is_ready(&mut self) -> bool {
        matches!(timeout(limits::REQUEST_TIMEOUT, self.http.idle()).await, Ok(true))
    }

    /// Sends one request and reads its whole answer; one with a key only to an instance that
    /// serves, since no other has proven its own. After any error the connection is of no use.
    pub async fn send(&mut self, request: &Request<'_>) -> Result<Answer, SendError> {
        self.send_within(request, limits::REQUEST_TIMEOUT).await
    }

    /// As [`VerifiedConnection::send`], with another limit on the time to the whole answer.
    pub async fn send_within(
        &mut self,
        request: &Request<'_>,
        limit: Duration,
    ) -> Result<Answer, SendError> {
        let phase = &self.appraised.claims().phase;
        if request.key.is_some() && !matches!(phase, ClaimPhase::Serving { .. }) {
            return Err(SendError::NotServing { phase: phase.as_str() });
        }
        let request = request.to_http(&self.url)?;
        let exchange = exchange(&mut self.http, request, limits::BODY_BYTES_MAX);
        let (head, body) =
            timeout(limit, exchange).await.map_err(|_| SendError::Timeout { limit })??;
        Ok(Answer::new(head.status, &head.headers, body))
    }
}

impl Request<'_> {
    fn to_http(&self, url: &InstanceUrl) -> Result<hyper::Request<Outgoing>, SendError> {
        let mut head = head(url, self.method.clone(), &self.path);
        if let Some(key) = self.key {
            head = head.header(AUTHORIZATION, key.to_authorization());
        }
        if let Some(revision) = self.if_match {
            head = head.header(IF_MATCH, format!("\"{revision}\""));
        }
        let body = match &self.body {
            None => Bytes::new(),
            Some(json) => {
                head = head.header(CONTENT_TYPE, "application/json");
                Bytes::from_owner(json.clone())
            }
        };
        head.body(Either::Left(Full::new(body))).map_err(|_| SendError::Path)
    }
}

impl Answer {
    fn new(status: StatusCode, headers: &HeaderMap, body: Zeroizing<Vec<u8>>) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let quoted = |text: &str| text.strip_prefix('"')?.strip_suffix('"')?.parse().ok();
        Self {
            status,
            request_id: text("x-request-id").map(str::to_owned),
            revision: text(ETAG.as_str()).and_then(quoted),
            retry_after_seconds: text("retry-after").and_then(|text| text.parse().ok()),
            body,
        }
    }
}

fn head(url: &InstanceUrl, method: Method, path: &str) -> hyper::http::request::Builder {
    hyper::Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, url.authority())
        .header(ACCEPT, HeaderValue::from_static("application/json"))
}

/// Why an answer is not there.
enum Failed {
    NotSent(hyper::Error),
    Broken(hyper::Error),
    TooLong,
}

impl From<Unanswered> for Failed {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::NotSent(_, error) => Self::NotSent(error),
            Unanswered::Lost(error) => Self::Broken(error),
        }
    }
}

impl From<Failed> for SendError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::NotSent(_) => Self::NotSent,
            Failed::Broken(error) => Self::Lost(error),
            Failed::TooLong => Self::TooLong,
        }
    }
}

/// The whole answer to a request, its body at most `bytes_max` bytes. Memory that the body outgrows
/// is wiped before it is given back.
async fn exchange(
    http: &mut Http,
    request: hyper::Request<Outgoing>,
    bytes_max: usize,
) -> Result<(Parts, Zeroizing<Vec<u8>>), Failed> {
    let (head, mut body) = http.send(request).await?.into_parts();
    let mut whole = Zeroizing::new(Vec::with_capacity(8 * 1024));
    while let Some(frame) = poll_fn(|context| http.poll_frame(&mut body, context)).await {
        let frame = frame.map_err(Failed::Broken)?;
        let Some(data) = frame.data_ref() else { continue };
        let len = whole.len() + data.len();
        if len > bytes_max {
            return Err(Failed::TooLong);
        }
        if len > whole.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(2 * len));
            larger.extend_from_slice(&whole);
            whole = larger;
        }
        whole.extend_from_slice(data);
    }
    Ok((head, whole))
}

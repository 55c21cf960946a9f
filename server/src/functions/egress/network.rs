//! The way out: names, connections, and who vouches for hosts. What a server runs with is an
//! argument of [`crate::run`]; a production server has [`Network::internet`] and nothing else.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::PublicAddress;
use super::refusal::Refusal;
use crate::clock::Clock;
use crate::functions::share::{Room, Share};
use crate::limits;
use crate::model::{AccountId, HostName};

/// The port of every connection.
const PORT: u16 = 443;

/// What is on its way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// A connection's bytes.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// Finds the addresses of hosts. What it answers is believed no more than the network is.
pub trait Resolver: Send + Sync {
    /// The addresses of a host.
    fn resolve<'a>(&'a self, host: &'a HostName) -> Pending<'a, Vec<IpAddr>>;
}

/// Opens connections.
pub trait Dialer: Send + Sync {
    /// A connection to this address, and to no other, on port 443.
    fn dial(&self, address: PublicAddress) -> Pending<'_, Box<dyn Bytes>>;
}

/// How functions' requests leave.
#[derive(Clone)]
pub struct Network {
    /// Finds hosts.
    pub resolver: Arc<dyn Resolver>,
    /// Reaches them.
    pub dialer: Arc<dyn Dialer>,
    /// Vouches for them.
    pub roots: Arc<RootCertStore>,
}

impl Network {
    /// The system's resolver, TCP, and Mozilla's roots.
    #[must_use]
    pub fn internet() -> Self {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        Self { resolver: Arc::new(System), dialer: Arc::new(Tcp), roots: Arc::new(roots) }
    }
}

struct System;

impl Resolver for System {
    fn resolve<'a>(&'a self, host: &'a HostName) -> Pending<'a, Vec<IpAddr>> {
        Box::pin(async move {
            // The dot at the end: no search list of this machine makes another name of it.
            let name = format!("{}.", host.as_str());
            let found = tokio::net::lookup_host((name, PORT)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

struct Tcp;

impl Dialer for Tcp {
    fn dial(&self, address: PublicAddress) -> Pending<'_, Box<dyn Bytes>> {
        Box::pin(async move {
            let stream = TcpStream::connect(SocketAddr::new(address.get(), PORT)).await?;
            // Where it can't be set, requests are only slower.
            let _ = stream.set_nodelay(true);
            Ok(Box::new(stream) as Box<dyn Bytes>)
        })
    }
}

/// Opens verified connections. None is kept: each request has one of its own, and no session is
/// resumed, so that nothing of one function's, or account's, is another's to see.
pub(super) struct Connector {
    network: Network,
    tls: TlsConnector,
    lookups: Arc<Share>,
    pub(super) lookup_timeout: Duration,
}

/// The server's one source of time, for certificates.
struct ByClock(Arc<Clock>);

impl std::fmt::Debug for ByClock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ByClock")
    }
}

impl TimeProvider for ByClock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.0.now().unix_seconds();
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

const LOOKUPS: Room = Room { running: limits::EGRESS_LOOKUPS, memory: 0, waiting: usize::MAX };

impl Connector {
    pub(super) fn new(network: Network, clock: Arc<Clock>) -> Result<Self, rustls::Error> {
        let provider = Arc::new(default_provider());
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(ByClock(clock)))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(Arc::clone(&network.roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        let tls = TlsConnector::from(Arc::new(config));
        let lookup_timeout = limits::EGRESS_LOOKUP_TIMEOUT;
        Ok(Self { network, tls, lookups: Share::new(LOOKUPS), lookup_timeout })
    }

    /// A TLS connection to a host whose certificate names it.
    pub(super) async fn connect(
        &self,
        account: AccountId,
        host: &HostName,
    ) -> Result<TokioIo<TlsStream<Box<dyn Bytes>>>, Refusal> {
        let text = || host.as_str().to_owned();
        let failed = |why| Refusal::Tls { host: text(), why };
        let name = ServerName::try_from(text()).map_err(|_| failed("its name is none"))?;
        let stream = self.dial(account, host).await?;
        let secured = self.tls.connect(name, stream).await;
        secured.map(TokioIo::new).map_err(|error| failed(reason(&error)))
    }

    /// All addresses are checked before one is dialed, and where one is not public none is: a host
    /// that has both is a mistake or an attack, and no public API's. Then each is tried in turn, a
    /// few, since one of them may be of a network that this machine does not have.
    async fn dial(&self, account: AccountId, host: &HostName) -> Result<Box<dyn Bytes>, Refusal> {
        let text = || host.as_str().to_owned();
        let found = timeout(self.lookup_timeout, self.look_up(account, host)).await;
        let found = found.map_err(|_| Refusal::Lookup { host: text() })?;
        let public: Option<Vec<_>> = found.into_iter().map(PublicAddress::check).collect();
        let public = public.ok_or_else(|| Refusal::NotPublic { host: text() })?;
        if public.is_empty() {
            return Err(Refusal::NotFound { host: text() });
        }
        for address in public.into_iter().take(limits::EGRESS_ADDRESSES) {
            let dialed = timeout(CONNECT_TIMEOUT, self.network.dialer.dial(address)).await;
            if let Ok(Ok(stream)) = dialed {
                return Ok(stream);
            }
        }
        Err(Refusal::Connect { host: text() })
    }

    /// Looks a name up in the account's turn. The turn is over when the lookup is: one that nobody
    /// waits for any more still has its thread.
    async fn look_up(&self, account: AccountId, host: &HostName) -> Vec<IpAddr> {
        // The queue has no end; the invocations' bounds are its own.
        let Ok(place) = self.lookups.place(account, 0, 0) else { return Vec::new() };
        let turn = place.turn().await;
        let (resolver, host) = (self.network.resolver.clone(), host.clone());
        let found = tokio::spawn(async move {
            let _until_it_ends = turn;
            resolver.resolve(&host).await.unwrap_or_default()
        });
        // A panic is told where it happened.
        found.await.unwrap_or_default()
    }
}

const CONNECT_TIMEOUT: Duration = limits::EGRESS_CONNECT_TIMEOUT;

/// What is wrong with a host's TLS, as far as its certificate is to blame.
fn reason(error: &io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(error)) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is another host's"
            }
            // The second: somebody who calls himself as an authority does.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is by no authority that is known"
            }
            _ => "its certificate is refused",
        },
        _ => "the handshake failed",
    }
}

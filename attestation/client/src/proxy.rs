//! A local port that forwards to one instance over verified connections, so that any HTTP client
//! gets what [`AttestedClient`](crate::client::AttestedClient) does. Every connection to the
//! instance is verified before the first request goes over it, and must lead to the pinned one.
//!
//! The proxy adds no key: whoever can reach its port and has a key sends it along, as to the
//! instance itself.
//!
//! ```rust,no_run
//! use neo_secrets::connection::FirmwareOnly;
//! use neo_secrets::proxy::{Endpoint, Proxy, Reach};
//! use neo_secrets_attestation::exchange::Trust;
//! use neo_secrets_attestation::time::UnixTime;
//!
//! async fn run(trust: Trust, clock: fn() -> UnixTime) -> Result<(), Box<dyn std::error::Error>> {
//!     let url = "https://secrets.example:8443".parse()?;
//!     let proxy = Proxy::connect(url, trust, FirmwareOnly::Refuse, clock).await?;
//!     let endpoint = Endpoint::http("127.0.0.1:8200".parse()?, Reach::ThisMachine).await?;
//!     println!("{} leads to instance {}", endpoint.url(), proxy.instance_key());
//!     proxy.serve(endpoint, std::future::pending()).await;
//!     Ok(())
//! }
//! ```

mod body;
mod endpoint;
mod gate;
mod headers;
mod patience;
mod pool;
mod problem;
mod record;
mod service;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use neo_secrets_attestation::appraise::Appraised;
use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::exchange::Trust;
use neo_secrets_attestation::time::UnixTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{interval, sleep, timeout};

pub use endpoint::{Endpoint, Identity, IdentityError, ListenError, Reach};
pub use pool::NoConnection;
pub use service::Served;

use crate::connection::FirmwareOnly;
use crate::limits;
use crate::url::InstanceUrl;
use gate::Gate;
use patience::{Patience, Patient};
use pool::Pool;
use service::Service;

/// A proxy before it listens: it has verified a connection to its instance, and from then on only
/// that one will do.
pub struct Proxy {
    pool: Arc<Pool>,
    instance_key: PublicKey,
    appraised: Appraised,
    clock: fn() -> UnixTime,
    names: Vec<String>,
    watcher: Option<fn(Served)>,
}

impl Proxy {
    /// Verifies a first connection. Where `trust` has no pin, the instance met now is the pinned
    /// one. `clock` gives the time against which certificates and dates are checked.
    pub async fn connect(
        url: InstanceUrl,
        trust: Trust,
        firmware_only: FirmwareOnly,
        clock: fn() -> UnixTime,
    ) -> Result<Self, NoConnection> {
        let (pool, instance_key, appraised) =
            Pool::connect(url, trust, firmware_only, clock).await?;
        let pool = Arc::new(pool);
        Ok(Self { pool, instance_key, appraised, clock, names: Vec::new(), watcher: None })
    }

    /// The instance's key: the pin.
    pub fn instance_key(&self) -> PublicKey {
        self.instance_key
    }

    /// What was verified on the first connection.
    pub fn appraised(&self) -> &Appraised {
        &self.appraised
    }

    /// Answers to these names in `Host` too, beside `localhost` and addresses of its own.
    pub fn with_names(self, names: Vec<String>) -> Self {
        Self { names, ..self }
    }

    /// Tells `watcher` of each request that was answered.
    pub fn with_watcher(self, watcher: fn(Served)) -> Self {
        Self { watcher: Some(watcher), ..self }
    }

    /// Serves until `stop` is done; then takes no new connections and lets running requests end, at
    /// most for [`limits::PROXY_DRAIN_TIMEOUT`].
    pub async fn serve(self, endpoint: Endpoint, stop: impl Future<Output = ()>) {
        let Self { pool, instance_key, appraised, clock, names, watcher } = self;
        let gate = Gate { address: endpoint.address().ip(), scheme: endpoint.scheme(), names };
        let provenance = appraised.provenance();
        let service =
            Arc::new(Service::new(pool.clone(), gate, instance_key, provenance, clock(), watcher));
        let Endpoint { listener, tls, .. } = endpoint;
        let callers = Arc::new(Semaphore::new(limits::PROXY_CALLERS_MAX));
        let (stopping, stopped) = watch::channel(());
        let mut sweep = interval(limits::PROXY_SWEEP);
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = sweep.tick() => pool.close_idle(),
                (stream, place) = accept(&listener, &callers) => {
                    let (service, stopped) = (service.clone(), stopped.clone());
                    let tls = tls.clone();
                    tokio::spawn(async move {
                        let patience = Patience::new(limits::PROXY_STALL_TIMEOUT);
                        let stream = Patient::new(stream, patience);
                        match tls {
                            None => converse(stream, service, stopped).await,
                            Some(tls) => {
                                let handshake = tls.accept(stream);
                                let limit = limits::PROXY_HANDSHAKE_TIMEOUT;
                                if let Ok(Ok(stream)) = timeout(limit, handshake).await {
                                    converse(stream, service, stopped).await;
                                }
                            }
                        }
                        drop(place);
                    });
                }
            }
        }
        drop(listener);
        drop(stopping);
        let all = u32::try_from(limits::PROXY_CALLERS_MAX).unwrap_or(u32::MAX);
        // What is late is cut off: the caller sees its connection break, and knows as much as we.
        let _late = timeout(limits::PROXY_DRAIN_TIMEOUT, callers.acquire_many(all)).await;
    }
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    callers: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    /// Where the system gives no connection, it has no open files left, or the caller has gone.
    const PAUSE: Duration = Duration::from_millis(50);
    loop {
        if let Ok(place) = callers.clone().acquire_owned().await
            && let Ok((stream, _)) = listener.accept().await
        {
            // Where it can't be set, answers are only slower.
            let _ = stream.set_nodelay(true);
            return (stream, place);
        }
        sleep(PAUSE).await;
    }
}

/// Serves one caller's connection until it ends.
async fn converse<T>(stream: T, service: Arc<Service>, mut stopped: watch::Receiver<()>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = service_fn(|request| service.answer(request));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits::PROXY_HEAD_TIMEOUT)
            .max_header_size(limits::PROXY_HEAD_BYTES_MAX)
            .max_buf_size(limits::BUFFER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), answer)
    );
    // What a connection fails with is the caller's business: it sees the same.
    tokio::select! {
        _ended = connection.as_mut() => return,
        _stopped = stopped.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ended = connection.await;
}

#[cfg(test)]
mod tests;

//! Running: configuration, listener, boot, and an orderly end.

use std::future::Future;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive};
use actix_service::{
    Service, ServiceFactory, ServiceFactoryExt, fn_factory, fn_service, map_config,
};
use actix_tls::accept::TlsError as AcceptError;
use actix_tls::accept::rustls_0_23::{Acceptor, AcceptorService, TlsStream};
use actix_web::dev::{self, AppConfig, ServerHandle};
use actix_web::{App, web};
use neo_secrets_attestation::evidence::{ClaimTextError, ImageVersion};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, oneshot};

use crate::admission::{Admission, Place};
use crate::api::{self, Api, Connection};
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::connection::{Patience, Watched};
use crate::data::Data;
use crate::descriptors::{self, TooFewFiles};
use crate::disk::DiskError;
use crate::evidence::{EvidenceError, EvidenceQueue};
use crate::filter;
use crate::functions::egress::{Egress, Network};
use crate::functions::{FunctionLimits, Functions, Workers};
use crate::inherited;
use crate::limits;
use crate::log;
use crate::model::PerResource;
use crate::options::Options;
use crate::peer::Peer;
use crate::phase::{BootError, Identity, Instance, Processor};
use crate::platform::Platform;
use crate::store::StoreLimits;
use crate::tls::{self, TlsError, TlsIdentity};

/// Why a server did not start, or ended other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is refused.
    #[error("{}: {error}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: ConfigError,
    },
    /// `--data` is neither a folder nor a disk that can be had.
    #[error("the data folder or disk {}: {error}", path.display())]
    Data {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        error: DiskError,
    },
    /// The address cannot be listened on.
    #[error("listening on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// As the system says.
        error: std::io::Error,
    },
    /// The flag names no socket of a worker launcher.
    #[error(
        "--worker-launcher-fd {0:?}: must be the number of an inherited open socket, from 3 on"
    )]
    WorkerLauncher(String),
    /// No launcher speaks over what the flag names.
    #[error(
        "--worker-launcher-fd {0:?}: must be a Unix socket of packets (SOCK_SEQPACKET), and is none"
    )]
    WorkerLauncherKind(String),
    /// No TLS identity.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The build's version does not fit the evidence.
    #[error(transparent)]
    ImageVersion(#[from] ClaimTextError),
    /// The store must not be touched.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// Too few files may be open.
    #[error(transparent)]
    Files(#[from] TooFewFiles),
    /// The system gave no thread, signal or reactor, or the listener failed.
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// A part of the server ended in a panic.
    #[error("a part of the server ended in a panic; the log has more")]
    Panicked,
}

/// A server that runs in threads of this process.
pub struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), RunError>>,
}

impl Server {
    /// Starts a server; it listens when this returns, and may still be in phase `Starting`.
    ///
    /// # Errors
    /// Whatever keeps it from listening.
    pub fn start(
        options: Options,
        platform: impl Platform,
        network: Network,
    ) -> Result<Self, RunError> {
        let (stop, stopped) = oneshot::channel();
        let (listening, listened) = mpsc::channel();
        let thread = thread::Builder::new().name("server".to_owned()).spawn(move || {
            reactor()?.block_on(serve(options, (platform, network), move |address| {
                // The receiver waits until this thread ends or this message comes.
                let _waits = listening.send(address);
                async move {
                    // A dropped `Server` stops too.
                    let _stop_or_drop = stopped.await;
                }
            }))
        })?;
        match listened.recv() {
            Ok(address) => Ok(Server { address, stop, thread }),
            Err(_) => match thread.join() {
                Ok(Err(error)) => Err(error),
                Ok(Ok(())) | Err(_) => Err(RunError::Panicked),
            },
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it as SIGTERM does, and waits.
    ///
    /// # Errors
    /// Why it had ended before.
    pub fn stop(self) -> Result<(), RunError> {
        // Where it ended before, nobody listens, and the thread says why.
        let _ended = self.stop.send(());
        self.thread.join().map_err(|_| RunError::Panicked)?
    }
}

/// Runs a server until SIGTERM or SIGINT; what its functions fetch, it fetches over `network`.
/// Prints one line, `listening ADDRESS:PORT`, when it listens.
///
/// # Errors
/// Whatever kept it from starting, or ended it.
pub fn run(options: Options, platform: impl Platform, network: Network) -> Result<(), RunError> {
    crate::secret::keep_out_of_core_files()?;
    reactor()?.block_on(async {
        // Caught from here on, however often they come: a second one changes nothing.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        serve(options, (platform, network), move |address| async move {
            // Where nobody reads stdout, the server still serves.
            let _closed = writeln!(std::io::stdout(), "listening {address}");
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM"),
                _ = interrupt.recv() => tracing::info!("SIGINT"),
            }
        })
        .await
    })
}

fn reactor() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()
}

/// Listens, boots, and serves until the future that `listening` gives is done.
async fn serve<F: Future<Output = ()>>(
    options: Options,
    (platform, network): (impl Platform, Network),
    listening: impl FnOnce(SocketAddr) -> F,
) -> Result<(), RunError> {
    let Options { config: path, data, listen, worker_launcher } = options;
    let workers = workers(worker_launcher)?;
    let mut config = Config::read(&path).map_err(|error| RunError::Config { path, error })?;
    let data = Data::open(&data).map_err(|error| RunError::Data { path: data, error })?;
    let function_limits = FunctionLimits::configured(&config.limits);
    let files = descriptors::own(&function_limits, thread::available_parallelism()?.get());
    descriptors::reserve(&mut config.limits, files)?;
    let TlsIdentity { server_config, spki_sha256 } = TlsIdentity::generate(&config.names)?;
    let identity = Identity {
        tls_spki_sha256: spki_sha256,
        config: config.text.clone(),
        attested: config.attested.clone(),
        image_version: ImageVersion::new(env!("CARGO_PKG_VERSION"))?,
    };
    let (clock, limits) = (Clock::start(platform.time()), store_limits(&config));
    let processor = Processor::new(platform);
    let instance = Arc::new(Instance::new(processor, identity, data, limits, clock));
    let attester = Arc::downgrade(&instance);
    let evidence = EvidenceQueue::start(move |root| {
        attester.upgrade().ok_or(EvidenceError::NotNow)?.attest(root)
    })?;
    let functions = Functions::start(workers, function_limits)?;
    let egress = Arc::new(Egress::new(network, instance.clock().clone()).map_err(TlsError::from)?);
    let api = Api::new(instance.clone(), evidence, functions.clone(), egress, &config);
    let api = web::Data::new(api);

    let (address, http) = listen_on(listen, server_config, api, &config)?;
    let handle = http.handle();
    let http = tokio::spawn(http);
    let stopped = listening(address);
    let (booted, boot) = oneshot::channel();
    let booting = instance.clone();
    thread::Builder::new().name("boot".to_owned()).spawn(move || {
        // Where the server has ended meanwhile, nobody waits for this.
        let _ended = booted.send(booting.boot());
    })?;
    let boot_failed = async {
        match boot.await {
            Ok(Ok(())) => std::future::pending().await,
            Ok(Err(error)) => RunError::Boot(error),
            Err(_) => RunError::Panicked,
        }
    };
    let outcome = tokio::select! {
        () = stopped => Ok(()),
        error = boot_failed => Err(error),
        ended = http => match ended {
            Ok(Ok(())) | Err(_) => Err(RunError::Panicked),
            Ok(Err(error)) => Err(RunError::System(error)),
        },
    };
    end(&instance, &functions, &handle).await;
    outcome
}

/// Who starts workers: the launcher, and then this process never starts another; or else this
/// process, of the program that lies beside its own.
fn workers(launcher: Option<String>) -> Result<Workers, RunError> {
    let Some(number) = launcher else {
        return Ok(Workers::Own(std::env::current_exe()?.with_file_name("neo-secrets-worker")));
    };
    let Some(socket) = inherited::descriptor(&number) else {
        return Err(RunError::WorkerLauncher(number));
    };
    if !inherited::is_packet_socket(&socket) {
        return Err(RunError::WorkerLauncherKind(number));
    }
    filter::no_programs()?;
    Ok(Workers::Launcher(socket))
}

fn store_limits(config: &Config) -> StoreLimits {
    StoreLimits {
        versions_kept: usize::try_from(config.limits.versions_kept).unwrap_or(usize::MAX),
        per_account: PerResource {
            secrets: config.limits.secrets_per_account,
            value_bytes: config.limits.value_bytes_per_account,
            api_keys: config.limits.api_keys_per_account,
            audit_events: config.limits.audit_events_per_account,
            functions: config.limits.functions_per_account,
        },
        accounts: config.limits.accounts,
        execution_bytes: config.limits.execution_bytes_per_account,
    }
}

fn listen_on(
    address: SocketAddr,
    tls: rustls::ServerConfig,
    api: web::Data<Api>,
    config: &Config,
) -> Result<(SocketAddr, actix_web::dev::Server), RunError> {
    let failed = |error| RunError::Listen { address, error };
    let workers = thread::available_parallelism()?.get();
    let connections = usize::try_from(config.limits.connections).unwrap_or(usize::MAX);
    let admission = api.admission.clone();
    // No `HttpServer`, since that lets nothing between TLS and HTTP; this is what it does.
    let builder = dev::Server::build()
        .workers(workers)
        .max_concurrent_connections(connections.div_ceil(workers))
        .worker_max_blocking_threads(limits::SCANS)
        .shutdown_timeout(limits::DRAIN_SECONDS)
        .disable_signals();
    let draining = builder.graceful_shutdown_signal();
    let service = move || {
        let app = App::new().app_data(api.clone()).default_service(web::to(api::answer));
        let draining = draining.clone();
        let http = HttpService::build()
            .keep_alive(KeepAlive::Os) // the connection's own alarm is not set anew for each call
            .client_request_timeout(limits::HEAD_TIMEOUT)
            .client_disconnect_timeout(limits::DISCONNECT_TIMEOUT)
            .graceful_shutdown_signal(move || {
                let draining = draining.clone();
                async move { draining.notified().await }
            })
            .on_connect_ext(|connection: &Watched<TlsStream<TcpStream>, Place>, data| {
                let exporter = tls::exporter(connection.io());
                data.insert(Connection::new(exporter, connection.calls()));
            })
            .h1(map_config(app, |()| AppConfig::default()).map_err(|error| error.error_response()));
        let mut acceptor = Acceptor::new(tls.clone());
        acceptor.set_handshake_timeout(limits::HANDSHAKE_TIMEOUT);
        let admission = admission.clone();
        let admitted = fn_factory(move || {
            let (admission, acceptor) =
                (admission.clone(), ServiceFactory::<TcpStream>::new_service(&acceptor, ()));
            async move {
                // Once in each reactor's thread.
                tokio::task::spawn_local(log::gather());
                let acceptor = Rc::new(acceptor.await?);
                let handshakes = Rc::new(Semaphore::new(limits::HANDSHAKES));
                Ok(fn_service(move |tcp| {
                    admit(tcp, admission.clone(), handshakes.clone(), acceptor.clone())
                }))
            }
        });
        admitted.and_then(http.map_err(AcceptError::Service))
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let http = builder.listen("https", listener, service).map_err(failed)?;
    Ok((bound, http.run()))
}

/// What becomes of a connection before HTTP: a place, a turn, a handshake. The turns are taken here
/// and not by the acceptor's own count, since a worker that waits for that takes in nobody at all.
async fn admit(
    tcp: TcpStream,
    admission: Arc<Admission>,
    handshakes: Rc<Semaphore>,
    acceptor: Rc<AcceptorService>,
) -> Result<
    (Watched<TlsStream<TcpStream>, Place>, Option<SocketAddr>),
    AcceptError<io::Error, DispatchError>,
> {
    let refused = |why| AcceptError::Tls(io::Error::other(why));
    let address = tcp.peer_addr().map_err(AcceptError::Tls)?;
    let place = admission.place(Peer::at(address.ip())).ok_or_else(|| refused("no place"))?;
    // Where this fails, the connection has failed, and will tell.
    let _slower = tcp.set_nodelay(true);
    let turn = async { (place.handshake().await, handshakes.acquire().await) };
    let turn = tokio::time::timeout(limits::HANDSHAKE_WAIT, turn).await;
    let stream = match turn {
        Ok((Ok(_of_peer), Ok(_of_worker))) => acceptor.call(tcp).await,
        _ => return Err(AcceptError::Timeout),
    };
    let stream = stream.map_err(AcceptError::into_service_error)?;
    Ok((Watched::new(stream, place, Patience::LISTENER), Some(address)))
}

/// Refuses new calls, lets those in flight end, and closes the store; all within five seconds.
async fn end(instance: &Instance, functions: &Functions, http: &ServerHandle) {
    let serving = instance.drain();
    let calls = tokio::time::timeout(limits::DRAIN_TIMEOUT, http.stop(true));
    let (calls, executions) = tokio::join!(calls, functions.finished(limits::DRAIN_TIMEOUT));
    if calls.is_err() {
        tracing::warn!("calls in flight were cut off");
    }
    if executions > 0 {
        // The next start finds their records running, and says of them that they are lost.
        tracing::warn!(executions, "functions were cut off");
    }
    functions.end().await;
    if let Some(serving) = serving
        && tokio::time::timeout(limits::STORE_END_TIMEOUT, serving.store.shutdown()).await.is_err()
    {
        // What was acknowledged is on the disk all the same.
        tracing::warn!("the store did not end in time");
    }
    tracing::info!("ended");
}

#[cfg(test)]
mod tests;

//! Verified connections, kept for the next request.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use neo_secrets_attestation::appraise::{Appraised, Pin};
use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::evidence::ClaimPhase;
use neo_secrets_attestation::exchange::Trust;
use neo_secrets_attestation::time::UnixTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::connection::http::Http;
use crate::connection::{FirmwareOnly, OpenError, UnverifiedConnection, VerifiedConnection};
use crate::limits;
use crate::proxy::record::Record;
use crate::tls;
use crate::url::InstanceUrl;

/// Why there is no connection for a request. Nothing of it was sent.
#[derive(Debug, thiserror::Error)]
pub enum NoConnection {
    /// None could be opened and verified.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// TLS cannot be set up on this machine.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The instance does not serve, and so has not proven that it holds its key.
    #[error("the instance is {phase}, and so has not proven its key: no request is sent to it")]
    NotServing {
        /// Its phase.
        phase: &'static str,
    },
    /// As many requests as may wait for a connection do.
    #[error("too many requests wait for a verified connection")]
    TooManyWaiting,
    /// None was free in time.
    #[error("no verified connection was free within {} s", limits::PROXY_WAIT_TIMEOUT.as_secs())]
    Late,
}

/// A verified connection to the pinned instance, which has proven its key on it.
pub(super) struct Upstream {
    /// Boxed: it has kilobytes, and goes from hand to hand with each request.
    connection: Box<VerifiedConnection>,
    opened: Instant,
    _slot: OwnedSemaphorePermit,
}

impl Upstream {
    pub(super) fn http(&mut self) -> &mut Http {
        self.connection.http()
    }

    pub(super) fn appraised(&self) -> &Appraised {
        self.connection.appraised()
    }

    /// Takes requests again and again only for so long: policy, pin and revocation are looked at
    /// once on each connection.
    fn is_fresh(&self) -> bool {
        self.opened.elapsed() < limits::PROXY_CONNECTION_AGE_MAX
    }
}

/// The connections to one instance. There are never more than [`limits::PROXY_UPSTREAMS_MAX`].
pub(super) struct Pool {
    url: InstanceUrl,
    tls: TlsConnector,
    trust: Trust,
    firmware_only: FirmwareOnly,
    clock: fn() -> UnixTime,
    slots: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The one used last is the first to be used again, so that those not needed grow old.
    idle: Vec<(Upstream, Instant)>,
    waiting: VecDeque<oneshot::Sender<Result<Upstream, NoConnection>>>,
    /// Tasks that open a connection, or wait for a free slot to do so.
    openers: usize,
    record: Record,
}

/// How many connections there are.
pub(super) struct Counts {
    pub(super) open: usize,
    pub(super) idle: usize,
    pub(super) waiting: usize,
}

impl Pool {
    /// Verifies a first connection; from then on only the instance that it leads to will do.
    pub(super) async fn connect(
        url: InstanceUrl,
        trust: Trust,
        firmware_only: FirmwareOnly,
        clock: fn() -> UnixTime,
    ) -> Result<(Self, PublicKey, Appraised), NoConnection> {
        let tls = TlsConnector::from(tls::config()?);
        let mut pool = Self {
            url,
            tls,
            trust,
            firmware_only,
            clock,
            slots: Arc::new(Semaphore::new(limits::PROXY_UPSTREAMS_MAX)),
            state: Mutex::default(),
        };
        let slot = pool.slots.clone().try_acquire_owned().expect("none was taken yet");
        let (first, instance_key) = pool.open(slot).await?;
        pool.trust.pin = Pin::InstanceKey(instance_key);
        let appraised = first.appraised().clone();
        pool.keep(first);
        Ok((pool, instance_key, appraised))
    }

    /// The instance's address.
    pub(super) fn url(&self) -> &InstanceUrl {
        &self.url
    }

    /// A connection for one request: an idle one, or whichever comes first, one that another
    /// request gives back or a new one.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Upstream, NoConnection> {
        let receiver = {
            let mut state = self.state();
            while let Some((mut upstream, since)) = state.idle.pop() {
                if is_usable(&mut upstream, since) {
                    return Ok(upstream);
                }
            }
            state.waiting.retain(|waiting| !waiting.is_closed());
            if state.waiting.len() >= limits::PROXY_WAITING_MAX {
                return Err(NoConnection::TooManyWaiting);
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push_back(sender);
            while state.openers < state.waiting.len() {
                state.openers += 1;
                let opener = Opener(self.clone());
                tokio::spawn(opener.run());
            }
            receiver
        };
        match timeout(limits::PROXY_WAIT_TIMEOUT, receiver).await {
            Ok(Ok(outcome)) => outcome,
            // A sender is dropped unused only with the pool.
            Ok(Err(_)) | Err(_) => Err(NoConnection::Late),
        }
    }

    /// Takes a connection back for the next request, once it is idle; one that is not soon, because
    /// the server does not take the rest of a request, is closed.
    pub(super) fn give_back(self: &Arc<Self>, mut upstream: Upstream) {
        if upstream.http().is_idle() {
            self.keep(upstream);
            return;
        }
        let pool = self.clone();
        tokio::spawn(async move {
            let idle = timeout(limits::PROXY_SETTLE_TIMEOUT, upstream.http().idle()).await;
            if idle == Ok(true) {
                pool.keep(upstream);
            }
        });
    }

    /// Closes connections that were idle for too long, before the server does.
    pub(super) fn close_idle(&self) {
        let mut state = self.state();
        state.idle.retain_mut(|(upstream, since)| is_usable(upstream, *since));
    }

    pub(super) fn counts(&self) -> Counts {
        self.close_idle();
        let state = self.state();
        Counts {
            open: limits::PROXY_UPSTREAMS_MAX - self.slots.available_permits(),
            idle: state.idle.len(),
            waiting: state.waiting.iter().filter(|waiting| !waiting.is_closed()).count(),
        }
    }

    /// What is known of verifications so far.
    pub(super) fn record<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        look(&self.state().record)
    }

    /// To whoever waits longest, or to the idle ones.
    fn keep(&self, upstream: Upstream) {
        if !upstream.is_fresh() {
            return;
        }
        let mut state = self.state();
        if let Some(upstream) = state.hand_out(Ok(upstream)).and_then(Result::ok) {
            state.idle.push((upstream, Instant::now()));
        }
    }

    /// Opens and verifies a connection, and records how that ended.
    async fn open(
        &self,
        slot: OwnedSemaphorePermit,
    ) -> Result<(Upstream, PublicKey), NoConnection> {
        let opened = self.verified().await;
        let now = (self.clock)();
        let mut state = self.state();
        match opened {
            Ok((connection, instance_key)) => {
                state.record.verified(connection.appraised(), now);
                let (connection, opened) = (Box::new(connection), Instant::now());
                Ok((Upstream { connection, opened, _slot: slot }, instance_key))
            }
            Err(error) => {
                state.record.failed(&error, now);
                Err(error)
            }
        }
    }

    async fn verified(&self) -> Result<(VerifiedConnection, PublicKey), NoConnection> {
        let unverified = UnverifiedConnection::open(&self.url, &self.tls).await;
        let unverified = unverified.map_err(OpenError::from)?;
        let connection = unverified.verify(&self.trust, self.firmware_only, (self.clock)()).await?;
        match connection.appraised().claims().phase {
            ClaimPhase::Serving { instance_key, .. } => Ok((connection, instance_key)),
            ref phase @ (ClaimPhase::Unclaimed | ClaimPhase::Sealed(_)) => {
                Err(NoConnection::NotServing { phase: phase.as_str() })
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is whole before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives this to whoever waits longest; back where nobody does.
    fn hand_out(
        &mut self,
        mut outcome: Result<Upstream, NoConnection>,
    ) -> Option<Result<Upstream, NoConnection>> {
        while let Some(waiting) = self.waiting.pop_front() {
            match waiting.send(outcome) {
                Ok(()) => return None,
                // It has gone away.
                Err(returned) => outcome = returned,
            }
        }
        Some(outcome)
    }
}

fn is_usable(upstream: &mut Upstream, since: Instant) -> bool {
    since.elapsed() < limits::PROXY_IDLE_MAX && upstream.is_fresh() && upstream.http().is_idle()
}

/// A task that opens one connection, unless nobody waits for one any more.
struct Opener(Arc<Pool>);

impl Opener {
    async fn run(self) {
        let pool = &self.0;
        let Ok(slot) = pool.slots.clone().acquire_owned().await else { return };
        let is_awaited = pool.state().waiting.iter().any(|waiting| !waiting.is_closed());
        if !is_awaited {
            return;
        }
        match pool.open(slot).await {
            Ok((upstream, _)) => pool.keep(upstream),
            Err(error) => drop(pool.state().hand_out(Err(error))),
        }
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.0.state().openers -= 1;
    }
}

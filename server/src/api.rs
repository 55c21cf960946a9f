//! The HTTP API. Every request passes through [`answer`]: one order of checks, one error body, one
//! log line.

mod accounts;
mod answer;
mod attestation;
mod audit;
mod body;
mod claim;
mod clock;
mod configuration;
mod endorsements;
pub(crate) mod error;
mod executions;
mod fields;
mod functions;
mod health;
mod invoke;
pub(crate) mod json;
mod keys;
mod limiter;
mod metrics;
#[cfg(test)]
mod openapi;
pub(crate) mod query;
mod request;
pub(crate) mod route;
mod seal;
pub(crate) mod secrets;
pub(crate) mod text;
mod wire;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::ConnectionType;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::web;
use actix_web::{HttpRequest, HttpResponse};
use neo_secrets_attestation::binding::Exporter;
use neo_secrets_attestation::config::{OwnerKey, Reveal, Seal};

use crate::access::Caller;
use crate::admission::Admission;
use crate::audit::Origin;
use crate::config::Config;
use crate::connection::Calls;
use crate::evidence::EvidenceQueue;
use crate::functions::Functions;
use crate::functions::egress::Egress;
use crate::limits;
use crate::log;
use crate::model::{AccountId, KeyId, Timestamp};
use crate::peer::Peer;
use crate::phase::{Instance, Phase, Serving};
use crate::store::{AuthError, StoreFailure};
pub use answer::Answer;
use body::Body;
use error::ApiError;
use limiter::{Exceeded, Limiter, Quota};
use metrics::{Counters, OpenConnection};
use request::Call;
use route::{Endpoint, Keyed, Place};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RATE_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const RATE_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RATE_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// What all requests share.
pub struct Api {
    instance: Arc<Instance>,
    evidence: EvidenceQueue,
    functions: Arc<Functions>,
    egress: Arc<Egress>,
    owner: OwnerKey,
    reveal: Reveal,
    seal: Seal,
    requests: Limiter<KeyId>,
    /// The owner's own, which no tenant can use up, share or push out.
    owner_requests: Limiter<KeyId>,
    /// Open connections beyond which only the owner keeps one.
    connections_kept: u64,
    failures: Limiter<Peer>,
    counters: Counters,
    /// The listener's places.
    pub admission: Arc<Admission>,
}

/// What one connection's requests share; made when its TLS handshake is done.
pub struct Connection {
    exporter: Option<Exporter>,
    calls: Rc<Calls>,
    _counted: OpenConnection,
}

/// What the log line and the headers of an answer say, known bit by bit.
struct Exchange {
    origin: Origin,
    place: Place,
    key: Option<KeyId>,
    account: Option<AccountId>,
    is_owner: bool,
    quota: Option<Quota>,
    now: Timestamp,
    started: Instant,
}

impl Api {
    /// The API of an instance.
    pub fn new(
        instance: Arc<Instance>,
        evidence: EvidenceQueue,
        functions: Arc<Functions>,
        egress: Arc<Egress>,
        config: &Config,
    ) -> Self {
        let (now, started) = (Instant::now(), instance.clock().now());
        let per_second = config.limits.requests_per_second_per_key;
        let per_minute = config.limits.failed_authentications_per_minute;
        Api {
            instance,
            evidence,
            functions,
            egress,
            owner: config.attested.owner_key,
            reveal: config.attested.reveal,
            seal: config.attested.seal,
            requests: Limiter::new(per_second, Duration::from_secs(1), limits::RATE_BUCKETS, now),
            owner_requests: Limiter::new(per_second, Duration::from_secs(1), 1, now),
            connections_kept: config.limits.connections - config.limits.connections / 8,
            failures: Limiter::new(per_minute, Duration::from_secs(60), limits::FAILURE_PEERS, now),
            counters: Counters::new(started),
            admission: Admission::new(config.limits.connections_per_address),
        }
    }

    fn now(&self) -> Timestamp {
        self.instance.clock().now()
    }

    async fn dispatch(
        &self,
        request: &HttpRequest,
        body: &mut Body,
        exchange: &mut Exchange,
    ) -> Result<Answer, ApiError> {
        let found = route::find(request.path()).ok_or(ApiError::UnknownPath)?;
        exchange.place = found.place;
        let endpoint = found.endpoint(request.method())?;
        match endpoint {
            // What others need while they wait is in a box of its own: reads are most calls, and
            // theirs is in the future of every request, which is allocated each time.
            Endpoint::Keyless(keyless) => {
                Box::pin(keyless.call(self, request, body, &exchange.origin)).await
            }
            Endpoint::Keyed(keyed) => {
                let phase = self.instance.phase();
                let Phase::Serving(serving) = &*phase else {
                    return Err(health::unavailable(&phase));
                };
                let caller = self.authenticate(request, serving, exchange).await?;
                let (headers, query) = (request.headers(), request.query_string());
                let (now, origin, ids) = (exchange.now, &exchange.origin, found.ids);
                let mut call =
                    Call { api: self, serving, caller, origin, headers, query, body, ids, now };
                match keyed {
                    Keyed::ReadSecret => secrets::read(&mut call).await,
                    _ => Box::pin(keyed.call(call)).await,
                }
            }
        }
    }

    /// Counts a call without a key against its peer, as a failed authentication, until it has
    /// [succeeded](Attempt::succeeded).
    fn attempt(&self, request: &HttpRequest) -> Result<Attempt<'_>, ApiError> {
        let peer = request::peer(request);
        match self.failures.take(peer, Instant::now()) {
            Ok(_) => Ok(Attempt { api: self, peer }),
            Err(Exceeded { retry_after, .. }) => Err(rate_limited(retry_after)),
        }
    }

    /// Who calls; counts the call against the key's limit, or the failure against the peer's.
    async fn authenticate(
        &self,
        request: &HttpRequest,
        serving: &Serving,
        exchange: &mut Exchange,
    ) -> Result<Caller, ApiError> {
        let authenticated = match request::presented_key(request.headers())? {
            Some(token) => serving.store.authenticate(&token, exchange.now).await,
            None => Err(AuthError::Unauthorized),
        };
        let caller = match authenticated {
            Ok(caller) => caller,
            Err(AuthError::Store(failure)) => return Err(store_failure(serving, &failure)),
            Err(AuthError::Unauthorized) => {
                self.counters.note_failed_authentication();
                // Only failures are refused here: who has a key is never locked out by a neighbour.
                return Err(self.attempt(request).err().unwrap_or(ApiError::Unauthorized));
            }
        };
        (exchange.key, exchange.account) = (Some(caller.key_id()), caller.account_id());
        exchange.is_owner = matches!(caller, Caller::Owner(_));
        let requests = if exchange.is_owner { &self.owner_requests } else { &self.requests };
        match requests.take(caller.key_id(), exchange.started) {
            Ok(quota) => {
                exchange.quota = Some(quota);
                Ok(caller)
            }
            Err(Exceeded { quota, retry_after }) => {
                exchange.quota = Some(quota);
                Err(rate_limited(retry_after))
            }
        }
    }
}

/// A call that counts as a failed authentication.
struct Attempt<'a> {
    api: &'a Api,
    peer: Peer,
}

impl Attempt<'_> {
    /// It was no failure.
    fn succeeded(self) {
        self.api.failures.give_back(self.peer);
    }
}

impl Connection {
    /// Of a connection with this exporter, if it has one.
    pub fn new(exporter: Option<Exporter>, calls: Rc<Calls>) -> Self {
        Connection { exporter, calls, _counted: OpenConnection::new() }
    }
}

/// Answers one request. No other code makes a response, but [`refusal`].
pub async fn answer(request: HttpRequest, payload: web::Payload) -> HttpResponse {
    // Borrowed: a count of its users would be one more line of memory that all reactors write.
    let Some(api) = request.app_data::<web::Data<Api>>() else {
        return HttpResponse::new(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let started = Instant::now();
    let framing = request::framing(request.headers());
    let connection = request.conn_data::<Connection>();
    let _running = connection.map(|connection| connection.calls.begin(framing));
    let mut exchange = Exchange {
        origin: request::origin(&request),
        place: Place::NOWHERE,
        key: None,
        account: None,
        is_owner: false,
        quota: None,
        now: api.instance.clock().at(started),
        started,
    };
    let mut body = Body::new(&request, framing, payload, &body::ROOM);
    let outcome = api.dispatch(&request, &mut body, &mut exchange).await;
    if outcome.is_err() {
        body.discard().await;
    }
    let (status, object) = match &outcome {
        Ok(answer) => (answer.status, answer.object),
        Err(error) => (error.status(), None),
    };
    let time = started.elapsed();
    api.counters.note(exchange.place, request.method(), status, time);
    log::Call {
        request: exchange.origin.request.as_str(),
        method: request::known_method(request.method()),
        route: exchange.place.template(),
        status: status.as_u16(),
        code: outcome.as_ref().err().map(ApiError::code),
        ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        account: exchange.account,
        key: exchange.key,
        object,
    }
    .log();
    let mut response = answer::response(outcome, &exchange);
    // Where connections run out, each call makes room for whoever waits, the owner among them; and
    // where it was asked for an upgrade, the library would offer it.
    let makes_room = metrics::open_connections() > api.connections_kept && !exchange.is_owner;
    if makes_room || body.is_broken() || request.head().upgrade() {
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    response
}

/// What is sent to a peer that sent no HTTP request, instead of the HTTP library's own answer, of
/// which `bare` is the head; `line` begins as its status line, or as one that says more.
pub fn refusal(line: &str, bare: &str) -> String {
    let error = match line.split(' ').nth(1) {
        Some("400") => ApiError::invalid("This is no valid HTTP/1.1 request."),
        Some("408") => ApiError::invalid("The request's head took too long to arrive."),
        Some("431") => ApiError::invalid("The request's head is too large."),
        _ => ApiError::Internal,
    };
    let (status, request_id) = (error.status(), request::request_id(&HeaderMap::new()));
    tracing::info!(
        request = request_id.as_str(),
        route = "none",
        status = status.as_u16(),
        code = error.code()
    );
    let date = bare.lines().find(|line| line.starts_with("date:"));
    let date = date.map(|date| format!("{date}\r\n")).unwrap_or_default();
    let request_id = request_id.as_str();
    let body = error.body(request_id);
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\
         content-type: application/json\r\ncache-control: no-store\r\n\
         {REQUEST_ID}: {request_id}\r\n{date}\r\n{body}",
        body.len()
    )
}

fn rate_limited(retry_after: Duration) -> ApiError {
    ApiError::RateLimited { retry_after_seconds: seconds_up(retry_after).max(1) }
}

fn seconds_up(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// The store failed: the caller learns that, the log learns why.
fn store_failure(serving: &Serving, failure: &StoreFailure) -> ApiError {
    match failure {
        StoreFailure::Unavailable => {
            serving.note_failure();
            ApiError::unavailable("The store is unavailable.")
        }
        StoreFailure::DiskFull => {
            ApiError::unavailable("The disk is full: only deletions and revocations are made.")
        }
        StoreFailure::Damaged { .. } => {
            tracing::error!(%failure, "a record did not open");
            ApiError::Internal
        }
        StoreFailure::KeyRevoked => ApiError::Unauthorized,
        StoreFailure::QuotaExceeded { resource, limit } => ApiError::QuotaExceeded(
            format!("The account is at its quota {}: {limit} {resource}.", resource.as_str())
                .into(),
        ),
    }
}

#[cfg(test)]
mod tests;

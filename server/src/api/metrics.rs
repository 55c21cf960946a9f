//! `GET /metrics`, and the counting of requests. Whatever can be a label is known when this is
//! built: OPERATIONS.md lists every metric.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::http::{Method, StatusCode};

use super::error::ApiError;
use super::request::{Call, METHODS, known_method};
use super::route::Place;
use super::{Answer, Api};
use crate::metrics::{Histogram, Kind, TIMES, Text};
use crate::model::Timestamp;
use crate::phase::Phase;
use crate::store::Store;

/// What [`StatusCode`]s the API gives, by their first digit.
const STATUSES: [&str; 3] = ["2xx", "4xx", "5xx"];

/// Connections of this process whose TLS stands: the listener's hook has no other place for it.
static OPEN_CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// Connections whose TLS stands.
pub fn open_connections() -> u64 {
    OPEN_CONNECTIONS.load(Ordering::Relaxed)
}

/// Counts itself as an open connection until it is dropped.
pub struct OpenConnection(());

impl OpenConnection {
    /// One more.
    pub fn new() -> Self {
        OPEN_CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        OpenConnection(())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        OPEN_CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the API itself counts.
pub struct Counters {
    started: Duration,
    failed_authentications: AtomicU64,
    places: [Requests; Place::COUNT],
}

/// The requests of one path.
struct Requests {
    answers: [[AtomicU64; STATUSES.len()]; METHODS.len()],
    times: Histogram<Duration>,
}

impl Counters {
    /// All at nothing.
    pub fn new(started: Timestamp) -> Self {
        let requests = |_| Requests { answers: Default::default(), times: Histogram::new(TIMES) };
        Counters {
            started: Duration::from_millis(started.unix_millis()),
            failed_authentications: AtomicU64::new(0),
            places: std::array::from_fn(requests),
        }
    }

    /// Counts an answered request.
    pub fn note(&self, place: Place, method: &Method, status: StatusCode, time: Duration) {
        let Some(requests) = self.places.get(place.index()) else { return };
        let method = known_method(method);
        let status = match status {
            status if status.is_server_error() => 2,
            status if status.is_client_error() => 1,
            _ => 0,
        };
        for (known, answers) in METHODS.iter().zip(&requests.answers) {
            if *known == method {
                answers[status].fetch_add(1, Ordering::Relaxed);
            }
        }
        requests.times.note(time);
    }

    /// Counts a key that was none.
    pub fn note_failed_authentication(&self) {
        self.failed_authentications.fetch_add(1, Ordering::Relaxed);
    }

    fn write(&self, text: &mut Text) {
        let name = "neo_secrets_http_requests_total";
        let mut family = text.family(name, Kind::Counter, "Requests answered.");
        for (place, requests) in Place::all().zip(&self.places) {
            for (method, answers) in METHODS.iter().zip(&requests.answers) {
                for (status, answers) in STATUSES.iter().zip(answers) {
                    let answers = answers.load(Ordering::Relaxed);
                    // What is usual stands there from the start, so that its first rise is seen.
                    if answers > 0 || place.has(method) {
                        let route = ("route", place.template());
                        family.number(&[route, ("method", method), ("status", status)], answers);
                    }
                }
            }
        }
        let name = "neo_secrets_http_request_duration_seconds";
        let help = "From a request's head to its answer, without the sending.";
        let mut family = text.family(name, Kind::Histogram, help);
        for (place, requests) in Place::all().zip(&self.places) {
            family.histogram(&[("route", place.template())], &requests.times);
        }
        let name = "neo_secrets_authentication_failures_total";
        text.family(name, Kind::Counter, "Calls without a valid key that needed one.")
            .number(&[], self.failed_authentications.load(Ordering::Relaxed));
        text.family("neo_secrets_open_connections", Kind::Gauge, "Connections whose TLS stands.")
            .number(&[], open_connections());
        let help = "When the server started, in seconds since 1970.";
        text.family("process_start_time_seconds", Kind::Gauge, help)
            .number(&[], self.started.as_secs_f64());
    }
}

/// `GET /metrics`
pub async fn metrics(mut call: Call<'_>) -> Result<Answer, ApiError> {
    call.owner()?;
    call.query(&[]).await?;
    let mut text = Text::default();
    call.api.counters.write(&mut text);
    let name = "neo_secrets_refused_connections_total";
    text.family(name, Kind::Counter, "Connections of addresses that had all of theirs.")
        .number(&[], call.api.admission.refused());
    write_instance(&mut text, call.api, &call.serving.store);
    call.api.functions.write(&mut text);
    let answer = Answer::json(StatusCode::OK, &());
    Ok(Answer { body: text.into_bytes().into(), content_type: Text::CONTENT_TYPE, ..answer })
}

fn write_instance(text: &mut Text, api: &Api, store: &Store) {
    let phase = api.instance.phase().name();
    let mut family = text.family("neo_secrets_phase", Kind::Gauge, "1 for the phase of now.");
    for name in Phase::NAMES {
        family.number(&[("phase", name)], u8::from(name == phase));
    }
    let name = "neo_secrets_clock_suspect";
    let help = "1 where the machine's clock is not believed.";
    let is_suspect = api.instance.clock().suspicion().is_some();
    text.family(name, Kind::Gauge, help).number(&[], u8::from(is_suspect));
    let commits = store.commits();
    let help = "The store's commits: from the last change to what the disk has acknowledged.";
    text.family("neo_secrets_store_commit_duration_seconds", Kind::Histogram, help)
        .histogram(&[], &commits.times);
    text.family("neo_secrets_store_commit_writes", Kind::Histogram, "Writes that share a commit.")
        .histogram(&[], &commits.writes);
    let name = "neo_secrets_store_writes_waiting";
    text.family(name, Kind::Gauge, "Writes that wait for the next commit.")
        .number(&[], store.waiting_writes());
    let name = "neo_secrets_store_deleted_accounts";
    text.family(name, Kind::Gauge, "Deleted accounts whose records are still being removed.")
        .number(&[], store.deleted_accounts());
    let help = "Callers whose evidence came from one report.";
    text.family("neo_secrets_evidence_batch_callers", Kind::Histogram, help)
        .histogram(&[], api.evidence.batch_sizes());
    let name = "neo_secrets_processor_calls_total";
    let mut family = text.family(name, Kind::Counter, "Calls of the secure processor.");
    for calls in api.instance.processor_calls() {
        for (outcome, count) in calls.outcomes() {
            family.number(&[("call", calls.name), ("outcome", outcome)], count);
        }
    }
    let name = "neo_secrets_processor_call_duration_seconds";
    let mut family = text.family(name, Kind::Histogram, "One call, without pauses between tries.");
    for calls in api.instance.processor_calls() {
        family.histogram(&[("call", calls.name)], &calls.times);
    }
}

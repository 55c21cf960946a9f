//! One request at a time: looked at, sent on, answered.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response, StatusCode, Version};
use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::roots::Provenance;
use neo_secrets_attestation::time::UnixTime;
use serde_json::json;
use tokio::time::timeout;

use crate::connection::http::Unanswered;
use crate::limits;
use crate::proxy::body::{Answering, Download, Stalled, upload};
use crate::proxy::gate::Gate;
use crate::proxy::headers;
use crate::proxy::pool::{Counts, Pool, Upstream};
use crate::proxy::problem::{Problem, REQUEST_ID, json_response, request_id};
use crate::proxy::record::Record;

/// A request that was answered, without anything that could be a key, a name or a value.
#[derive(Clone, Debug)]
pub struct Served {
    /// Its method.
    pub method: Method,
    /// Its path, in which only words of the API are shown; everything else is `*`.
    pub path: String,
    /// The answer's status.
    pub status: StatusCode,
    /// From the request's head to the answer's.
    pub duration: Duration,
}

pub(super) struct Service {
    pool: Arc<Pool>,
    gate: Gate,
    host: HeaderValue,
    instance_key: PublicKey,
    provenance: Provenance,
    since: UnixTime,
    requests: AtomicU64,
    watcher: Option<fn(Served)>,
}

impl Service {
    pub(super) fn new(
        pool: Arc<Pool>,
        gate: Gate,
        instance_key: PublicKey,
        provenance: Provenance,
        since: UnixTime,
        watcher: Option<fn(Served)>,
    ) -> Self {
        let host = HeaderValue::try_from(pool.url().authority())
            .expect("an instance's URL holds a DNS name or an address, and a port");
        let requests = AtomicU64::new(0);
        Self { pool, gate, host, instance_key, provenance, since, requests, watcher }
    }

    /// Answers a request: from the instance, or with what keeps it from there.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Answering>, Infallible> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let begun = self.watcher.map(|watcher| (watcher, Begun::new(&request)));
        let id = request.headers().get(REQUEST_ID).cloned();
        let answered = match self.gate.check(&request) {
            Ok(()) if is_own(request.uri().path()) => self.own(&request),
            Ok(()) => self.forward(request).await,
            Err(problem) => Err(problem),
        };
        let response = answered
            .unwrap_or_else(|problem| problem.into_response(&request_id(id)).map(Either::Left));
        if let Some((watcher, begun)) = begun {
            watcher(begun.answered(response.status()));
        }
        Ok(response)
    }

    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Answering>, Problem> {
        let (head, body) = request.into_parts();
        let mut request = headers::request(head, upload(body), &self.host);
        for _ in 0..limits::PROXY_ATTEMPTS {
            let taken = self.pool.take().await;
            let mut upstream = taken.map_err(|error| Problem::from(&error))?;
            let sent = upstream.http().send(request);
            match timeout(limits::PROXY_ANSWER_TIMEOUT, sent).await {
                Ok(Ok(response)) => return self.relay(response, upstream),
                Ok(Err(Unanswered::NotSent(unsent, _))) => request = *unsent,
                Ok(Err(Unanswered::Lost(error))) => return Err(lost(&error)),
                Err(_) => return Err(Problem::Timeout),
            }
        }
        Err(Problem::Unavailable(
            "each connection to the instance was closed before the request was sent".to_owned(),
        ))
    }

    fn relay(
        &self,
        response: Response<Incoming>,
        upstream: Upstream,
    ) -> Result<Response<Answering>, Problem> {
        let (mut head, body) = response.into_parts();
        // No request asks for another protocol, so none is spoken.
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Problem::Lost);
        }
        headers::strip(&mut head.headers);
        head.version = Version::HTTP_11;
        head.extensions.clear();
        let body = Download::new(body, upstream, self.pool.clone());
        Ok(Response::from_parts(head, Either::Right(body)))
    }

    fn own(&self, request: &Request<Incoming>) -> Result<Response<Answering>, Problem> {
        if request.uri().path() != STATUS {
            return Err(Problem::NotFound);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Problem::MethodNotAllowed);
        }
        let Counts { open, idle, waiting } = self.pool.counts();
        let status = json!({
            "listeningSince": self.since.to_string(),
            "url": self.pool.url().to_string(),
            "instanceKey": self.instance_key.to_string(),
            "simulated": self.provenance == Provenance::Simulated,
            "provenance": match self.provenance {
                Provenance::Amd => "AMD",
                Provenance::Simulated => "SIMULATED: proves nothing about any machine",
            },
            "requests": self.requests.load(Ordering::Relaxed),
            "connections": {
                "open": open,
                "idle": idle,
                "max": limits::PROXY_UPSTREAMS_MAX,
                "requestsWaiting": waiting,
            },
            "verifications": self.pool.record(Record::to_json),
        });
        Ok(json_response(Response::default(), &status).map(Either::Left))
    }
}

const STATUS: &str = "/_proxy/status";

/// Whether a path is one of the proxy's own, which are never sent on.
fn is_own(path: &str) -> bool {
    path.strip_prefix("/_proxy").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Why there is no answer after the request began to leave. What hyper could not send since the
/// caller's own body failed, the instance has not seen as a request.
fn lost(error: &hyper::Error) -> Problem {
    match error.source() {
        Some(cause) if cause.is::<Stalled>() => Problem::Slow,
        Some(cause) if error.is_user() && cause.is::<hyper::Error>() => {
            Problem::Invalid("The request's body is malformed, or ended early.")
        }
        _ => Problem::Lost,
    }
}

/// A request that is under way, as far as it may be told.
struct Begun {
    method: Method,
    path: String,
    at: Instant,
}

impl Begun {
    fn new<B>(request: &Request<B>) -> Self {
        let (method, path) = (request.method().clone(), shown_path(request.uri().path()));
        Self { method, path, at: Instant::now() }
    }

    fn answered(self, status: StatusCode) -> Served {
        let Self { method, path, at } = self;
        Served { method, path, status, duration: at.elapsed() }
    }
}

/// The words that the API's paths are made of.
const WORDS: [&str; 25] = [
    "",
    "_proxy",
    "accounts",
    "api-keys",
    "attestation",
    "audit-log",
    "certificates",
    "claim",
    "crl",
    "endorsements",
    "executions",
    "functions",
    "healthz",
    "invoke",
    "metrics",
    "openapi.json",
    "readyz",
    "rollback",
    "rotate",
    "seal",
    "secrets",
    "status",
    "v1",
    "value",
    "versions",
];

/// A path with its words of the API; the rest could be anything that a caller took for a path, a
/// name or a key too.
fn shown_path(path: &str) -> String {
    let show = |part| if WORDS.contains(&part) { part } else { "*" };
    path.split('/').map(show).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_path_has_only_words_of_the_api() {
        for (path, shown) in [
            ("/v1/secrets", "/v1/secrets"),
            ("/v1/secrets/sec_abc/value", "/v1/secrets/*/value"),
            ("/v1/secrets/my-password", "/v1/secrets/*"),
            ("/hunter2", "/*"),
            ("/", "/"),
            ("*", "*"),
        ] {
            assert_eq!(shown_path(path), shown);
        }
    }

    #[test]
    fn its_own_paths_are_a_folder() {
        for path in ["/_proxy", "/_proxy/", "/_proxy/status", "/_proxy//x"] {
            assert!(is_own(path), "{path}");
        }
        for path in ["/", "/_proxyx", "/v1/_proxy/status", "//_proxy/status"] {
            assert!(!is_own(path), "{path}");
        }
    }
}

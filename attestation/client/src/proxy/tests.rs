//! The proxy against a scripted instance: what it shows on each connection, and what it answers.

use std::net::SocketAddr;

use http_body_util::{Either, Full};
use neo_secrets_attestation::appraise::Pin;
use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::exchange::Trust;
use neo_secrets_attestation::reference::Covers;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::connection::OpenError;
use crate::connection::http::Unanswered;
use crate::tests::host::{self, Evidence, Host, Reply};

/// A proxy that serves until this is dropped, or stopped.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Running {
    async fn start(host: &Host) -> Self {
        Self::serve(connect(host, host.trust()).await.ok().unwrap()).await
    }

    async fn serve(proxy: Proxy) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let endpoint = Endpoint::http(any, Reach::ThisMachine).await.unwrap();
        let address = endpoint.address();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(proxy.serve(endpoint, async {
            let _ = stopped.await;
        }));
        Self { address, stop, served }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap();
    }

    /// Sends these bytes on a connection of their own and reads until the proxy closes it.
    async fn raw(&self, request: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::String(body.to_owned())))
    }

    async fn call(&self, line: &str) -> (u16, Value) {
        let headers = "Host: localhost\r\nAuthorization: Bearer neo_k\r\nConnection: close\r\n";
        self.raw(&format!("{line} HTTP/1.1\r\n{headers}\r\n")).await
    }

    async fn status(&self) -> Value {
        self.call("GET /_proxy/status").await.1
    }
}

async fn connect(host: &Host, trust: Trust) -> Result<Proxy, NoConnection> {
    Proxy::connect(host.url.clone(), trust, FirmwareOnly::Refuse, host::clock).await
}

fn is_refused(connected: Result<Proxy, NoConnection>) -> bool {
    matches!(connected, Err(NoConnection::Open(OpenError::Refused(_))))
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["error"]["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn requests_share_one_connection_that_was_verified_first() {
    let host = Host::start(vec![Evidence::Genuine], vec![Reply::Ok("{\"a\":1}")]).await;
    let proxy = Running::start(&host).await;
    for _ in 0..3 {
        let (status, body) = proxy.call("GET /v1/secrets?limit=%31&x=%00").await;
        assert_eq!((status, &body["a"]), (200, &Value::from(1)));
    }
    let [only] = host.connections().try_into().unwrap();
    let lines: Vec<_> = only.requests.iter().map(|request| host::first_line(request)).collect();
    assert!(lines[0].starts_with("GET /v1/attestation?nonce="), "{lines:?}");
    assert_eq!(lines[1..], ["GET /v1/secrets?limit=%31&x=%00 HTTP/1.1"; 3]);
    let request = only.requests[1].to_lowercase();
    assert!(request.contains("authorization: bearer neo_k"), "{request}");
    assert!(request.contains(&format!("host: {}\r\n", host.url.authority())), "{request}");
    assert!(!request.contains("connection:") && !request.contains("localhost"), "{request}");
    let status = proxy.status().await;
    assert_eq!(status["connections"]["idle"], 1);
    assert_eq!(status["verifications"]["done"], 1);
    assert_eq!(status["instanceKey"], host.instance_key().to_string());
    assert!(!status.to_string().contains("neo_k"));
}

#[tokio::test]
async fn after_refused_evidence_nothing_of_the_request_is_sent() {
    for (evidence, step) in [
        (Evidence::OtherNonce, 6),
        (Evidence::OtherExporter, 6),
        (Evidence::OtherTlsKey, 6),
        (Evidence::OtherInstance, 11),
        (Evidence::Debug, 7),
        (Evidence::Garbage, 0),
        (Evidence::Unclaimed, 11),
    ] {
        let shown = vec![Evidence::Genuine, evidence];
        let host = Host::start(shown, vec![Reply::OkAndClose("{}"), Reply::Ok("{}")]).await;
        let proxy = Running::start(&host).await;
        assert_eq!(proxy.call("POST /v1/secrets").await.0, 200);
        host.closed_connections(1).await;
        let refused = proxy.call("POST /v1/secrets").await;
        assert_eq!(code(&refused), (502, "EVIDENCE_REFUSED"), "{evidence:?}: {refused:?}");
        let details = &refused.1["error"]["details"];
        assert_eq!(details["step"], step, "{evidence:?}");
        for field in ["field", "got", "expected"] {
            assert!(details[field].as_str().is_some_and(|text| !text.is_empty()), "{refused:?}");
        }
        let seen = host.closed_connections(2).await;
        assert_eq!(seen[1].requests.len(), 1, "{evidence:?}");
        assert!(seen[1].requests[0].starts_with("GET /v1/attestation?nonce="), "{evidence:?}");
        assert!(seen[1].unfinished.is_empty(), "{evidence:?}");
        let verifications = &proxy.status().await["verifications"];
        assert_eq!((&verifications["done"], &verifications["failed"]), (&1.into(), &1.into()));
        assert_eq!(verifications["lastRefusal"]["details"], *details);
    }
}

#[tokio::test]
async fn an_instance_that_does_not_serve_gets_no_request() {
    let shown = vec![Evidence::Genuine, Evidence::Sealed];
    let host = Host::start(shown, vec![Reply::OkAndClose("{}"), Reply::Ok("{}")]).await;
    let proxy = Running::start(&host).await;
    assert_eq!(proxy.call("GET /v1/secrets").await.0, 200);
    host.closed_connections(1).await;
    let answer = proxy.call("GET /v1/secrets").await;
    assert_eq!(code(&answer), (503, "SERVICE_UNAVAILABLE"));
    assert!(answer.1.to_string().contains("sealed"), "{answer:?}");
    assert_eq!(host.closed_connections(2).await[1].requests.len(), 1);
    for (evidence, phase) in [(Evidence::Sealed, "sealed"), (Evidence::Unclaimed, "unclaimed")] {
        let host = Host::start(vec![evidence], vec![]).await;
        let error = connect(&host, host.trust()).await.err().unwrap();
        assert!(matches!(error, NoConnection::NotServing { phase: told } if told == phase));
    }
}

#[tokio::test]
async fn there_is_no_proxy_without_a_first_verified_connection() {
    let host = Host::start(vec![Evidence::OtherTlsKey], vec![]).await;
    assert!(is_refused(connect(&host, host.trust()).await));
    let host = Host::start(vec![Evidence::Genuine], vec![]).await;
    let pinned = Trust { pin: Pin::InstanceKey(PublicKey([9; 32])), ..host.trust() };
    assert!(is_refused(connect(&host, pinned).await));
    let mut firmware = host.trust();
    for measurement in &mut firmware.reference.measurements {
        measurement.covers = Covers::Firmware;
    }
    assert!(is_refused(connect(&host, firmware.clone()).await));
    let (url, accept) = (host.url.clone(), FirmwareOnly::Accept);
    let accepted = Proxy::connect(url, firmware, accept, host::clock).await.ok().unwrap();
    let status = Running::serve(accepted).await.status().await;
    assert_eq!(status["verifications"]["last"]["covers"], "firmware");
}

#[tokio::test]
async fn what_may_have_been_done_is_never_sent_twice() {
    for method in ["POST", "GET", "DELETE"] {
        let replies = vec![Reply::CloseUnanswered, Reply::Ok("{}")];
        let host = Host::start(vec![Evidence::Genuine], replies).await;
        let proxy = Running::start(&host).await;
        let line = format!("{method} /v1/secrets");
        assert_eq!(code(&proxy.call(&line).await), (502, "UPSTREAM_LOST"));
        assert_eq!(host.count(&line), 1);
        assert_eq!(proxy.call(&line).await.0, 200, "the next one has a new connection");
        assert_eq!(host.count("GET /v1/attestation"), 2);
    }
}

#[tokio::test]
async fn a_closed_connection_is_replaced_and_verified_anew() {
    let replies = vec![Reply::OkAndClose("{}"), Reply::OkAndClose("{}"), Reply::Ok("{}")];
    let host = Host::start(vec![Evidence::Genuine], replies).await;
    let proxy = Running::start(&host).await;
    for closed in 1..3 {
        assert_eq!(proxy.call("POST /v1/secrets").await.0, 200);
        host.closed_connections(closed).await;
    }
    assert_eq!(proxy.call("POST /v1/secrets").await.0, 200);
    assert_eq!((host.count("POST /v1/secrets"), host.count("GET /v1/attestation")), (3, 3));
}

#[tokio::test]
async fn an_answer_without_end_is_streamed_and_ends_with_its_reader() {
    let host = Host::start(vec![Evidence::Genuine], vec![Reply::Endless]).await;
    let proxy = Running::start(&host).await;
    let mut caller = TcpStream::connect(proxy.address).await.unwrap();
    caller.write_all(b"GET /v1/secrets HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut part = vec![0; 3 * 1024 * 1024];
    caller.read_exact(&mut part).await.unwrap();
    assert!(part.starts_with(b"HTTP/1.1 200 OK\r\n"));
    drop(caller);
    assert_eq!(host.closed_connections(1).await.len(), 1);
    assert_eq!(proxy.status().await["connections"]["open"], 0);
}

#[tokio::test]
async fn a_gone_instance_is_unreachable_with_its_address() {
    let host = Host::start(vec![Evidence::Genuine, Evidence::Endless], vec![]).await;
    let proxy = connect(&host, host.trust()).await.ok().unwrap();
    proxy.pool.take().await.ok().unwrap();
    let proxy = Running::serve(proxy).await;
    let answer = proxy.call("GET /v1/secrets").await;
    assert_eq!(code(&answer), (502, "UPSTREAM_UNREACHABLE"));
    assert!(answer.1.to_string().contains(&host.url.authority()), "{answer:?}");
    assert!(answer.1["error"]["details"].is_null());
}

#[tokio::test]
async fn more_requests_than_connections_wait_and_none_is_lost() {
    let host = Host::start(vec![Evidence::Genuine], vec![Reply::Ok("{}")]).await;
    let proxy = Arc::new(Running::start(&host).await);
    let count = 3 * limits::PROXY_UPSTREAMS_MAX;
    let calls: Vec<_> = (0..count)
        .map(|_| {
            let proxy = proxy.clone();
            tokio::spawn(async move { proxy.call("POST /v1/secrets").await.0 })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
    assert_eq!(host.count("POST /v1/secrets"), count);
    assert!(host.connections().len() <= limits::PROXY_UPSTREAMS_MAX);
    assert_eq!(host.count("GET /v1/attestation"), host.connections().len());
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_no_one_waiting() {
    let host = Host::start(vec![Evidence::Genuine], vec![Reply::Ok("{}")]).await;
    let proxy = connect(&host, host.trust()).await.ok().unwrap();
    let pool = proxy.pool.clone();
    let first = pool.take().await.ok().unwrap();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.take().await.is_ok() }
    });
    waiting.abort();
    assert!(waiting.await.is_err());
    pool.give_back(first);
    let counts = pool.counts();
    assert_eq!((counts.idle, counts.waiting), (1, 0));
}

#[tokio::test]
async fn the_callers_request_id_is_in_the_proxys_own_errors() {
    let host = Host::start(vec![Evidence::Genuine], vec![Reply::Ok("{}")]).await;
    let proxy = Running::start(&host).await;
    let call = |id: &str| {
        format!("GET /_proxy/x HTTP/1.1\r\nHost: localhost\r\n{id}Connection: close\r\n\r\n")
    };
    let own = proxy.raw(&call("X-Request-ID: mine-1\r\n")).await;
    assert_eq!(code(&own), (404, "NOT_FOUND"));
    assert_eq!(own.1["error"]["requestId"], "mine-1");
    let made = proxy.raw(&call("X-Request-ID: not one\r\n")).await;
    assert!(made.1["error"]["requestId"].as_str().unwrap().starts_with("prx_"), "{made:?}");
    assert_eq!(code(&proxy.call("POST /_proxy/status").await), (405, "METHOD_NOT_ALLOWED"));
    assert_eq!(code(&proxy.call("GET /_proxy").await), (404, "NOT_FOUND"));
    assert_eq!(host.connections()[0].requests.len(), 1, "nothing of these is sent on");
}

#[tokio::test]
async fn told_to_stop_it_ends_what_runs_and_takes_nothing_new() {
    let host = Host::start(vec![Evidence::Genuine], vec![Reply::Ok("{}")]).await;
    let proxy = Running::start(&host).await;
    let address = proxy.address;
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /v1/secrets HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    proxy.stop().await;
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"{}"));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_request_that_meets_a_closed_connection_comes_back_unsent() {
    let host = Host::start(vec![Evidence::Genuine], vec![Reply::OkAndClose("{}")]).await;
    let proxy = connect(&host, host.trust()).await.ok().unwrap();
    let mut upstream = proxy.pool.take().await.ok().unwrap();
    let request = || {
        let request = hyper::Request::post("/v1/secrets").header("host", "x");
        request.body(Either::Left(Full::from("{}"))).unwrap()
    };
    let answer = upstream.http().send(request()).await.ok().unwrap();
    assert_eq!(answer.status(), 200);
    host.closed_connections(1).await;
    let unsent = upstream.http().send(request()).await.err().unwrap();
    assert!(matches!(unsent, Unanswered::NotSent(..)));
    assert_eq!(host.count("POST"), 1);
}

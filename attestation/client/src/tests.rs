//! The client against a TLS server in this process, whose evidence is a simulated chip's.

pub(crate) mod host;

use hyper::{Method, StatusCode};
use neo_secrets_attestation::appraise::{AppraiseError, EvidenceError, Pin};
use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::exchange::{Refusal, Trust};
use neo_secrets_attestation::reference::Covers;
use zeroize::Zeroizing;

use crate::client::{AttestedClient, ClientError};
use crate::connection::{ConnectError, FirmwareOnly, OpenError, Refused, Request, SendError};
use crate::secret::ApiKey;
use host::{Evidence, Host, Reply, Resumption, clock};

const KEY: &str = "neo_this-is-the-key";

fn key() -> ApiKey {
    ApiKey::from_file_bytes(Zeroizing::new(KEY.as_bytes().to_vec())).ok().unwrap()
}

fn client(host: &Host, trust: Trust) -> AttestedClient {
    AttestedClient::new(host.url.clone(), trust, FirmwareOnly::Refuse, clock).unwrap()
}

fn get<'a>(key: &'a ApiKey, path: &str) -> Request<'a> {
    let path = path.to_owned();
    Request { method: Method::GET, path, key: Some(key), body: None, if_match: None }
}

fn post<'a>(key: &'a ApiKey, path: &str, body: &str) -> Request<'a> {
    let body = Some(Zeroizing::new(body.as_bytes().to_vec()));
    Request { method: Method::POST, body, ..get(key, path) }
}

fn refused(error: ClientError) -> Refused {
    match error {
        ClientError::Open(OpenError::Refused(refused)) => *refused,
        other => panic!("not refused: {other}"),
    }
}

fn refusal(error: ClientError) -> Refusal {
    match refused(error) {
        Refused::Evidence(refusal) => refusal,
        other => panic!("not by a step: {other}"),
    }
}

#[tokio::test]
async fn a_request_goes_out_only_after_the_evidence_of_its_connection() {
    let host = Host::start(vec![Evidence::Genuine], vec![Reply::Ok("{\"a\":1}")]).await;
    let (mut client, key) = (client(&host, host.trust()), key());
    let answer = client.send(&get(&key, "/v1/secrets")).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body.as_slice(), b"{\"a\":1}");
    let again = client.send(&get(&key, "/v1/secrets?offset=1")).await.unwrap();
    assert_eq!(again.status, StatusCode::OK);
    let [only] = host.connections().try_into().unwrap();
    let lines: Vec<String> =
        only.requests.iter().map(|request| host::first_line(request)).collect();
    assert!(lines[0].starts_with("GET /v1/attestation?nonce="), "{lines:?}");
    assert!(!only.requests[0].to_lowercase().contains("authorization"));
    assert_eq!(lines[1..], ["GET /v1/secrets HTTP/1.1", "GET /v1/secrets?offset=1 HTTP/1.1"]);
    assert!(only.requests[1].contains(&format!("Bearer {KEY}")));
    assert_eq!(only.key_exchange, rustls::NamedGroup::X25519MLKEM768);
    assert_eq!(only.protocol.as_deref(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn after_refused_evidence_nothing_else_is_sent() {
    type Check = fn(Refusal) -> bool;
    let cases: [(Evidence, Check); 5] = [
        (Evidence::OtherNonce, |it| {
            matches!(it, Refusal::Evidence(EvidenceError::ReportData { .. }))
        }),
        (Evidence::OtherExporter, |it| {
            matches!(it, Refusal::Evidence(EvidenceError::ReportData { .. }))
        }),
        // The man in the middle: what he relays is genuine, and made for the key of the real
        // server.
        (Evidence::OtherTlsKey, |it| matches!(it, Refusal::Evidence(EvidenceError::TlsKey { .. }))),
        (Evidence::Garbage, |it| matches!(it, Refusal::Document(_))),
        (Evidence::Debug, |it| {
            matches!(it, Refusal::Appraisal { error: AppraiseError::Debug, .. })
        }),
    ];
    for (evidence, check) in cases {
        let host = Host::start(vec![evidence], vec![Reply::Ok("{}")]).await;
        let (mut client, key) = (client(&host, host.trust()), key());
        let error =
            client.send(&post(&key, "/v1/secrets", "{\"value\":\"x\"}")).await.err().unwrap();
        let refusal = refusal(error);
        assert!(check(refusal.clone()), "{evidence:?}: {refusal}");
        let [only] = host.closed_connections(1).await.try_into().unwrap();
        assert_eq!(only.requests.len(), 1, "{evidence:?}");
        assert!(only.requests[0].starts_with("GET /v1/attestation?nonce="), "{evidence:?}");
        assert!(!only.requests[0].contains("neo_"), "{evidence:?}");
        assert!(only.unfinished.is_empty(), "{evidence:?}");
    }
}

#[tokio::test]
async fn every_new_connection_is_verified_and_a_resumed_session_too() {
    let host = Host::start(vec![Evidence::Genuine], vec![Reply::Ok("{}")]).await;
    let (mut client, key) = (client(&host, host.trust()), key());
    for _ in 0..3 {
        client.send(&post(&key, "/v1/secrets", "{}")).await.unwrap();
        client.disconnect();
    }
    let connections = host.connections();
    assert_eq!(connections.len(), 3);
    for (index, connection) in connections.iter().enumerate() {
        assert_eq!(
            connection.resumed,
            if index == 0 { Resumption::Full } else { Resumption::Resumed }
        );
        let lines: Vec<String> =
            connection.requests.iter().map(|request| host::first_line(request)).collect();
        assert!(lines[0].starts_with("GET /v1/attestation?nonce="), "{lines:?}");
        assert_eq!(lines[1..], ["POST /v1/secrets HTTP/1.1"]);
    }
    let nonces: std::collections::HashSet<String> =
        connections.iter().map(|connection| host::first_line(&connection.requests[0])).collect();
    assert_eq!(nonces.len(), 3, "a nonce is never used twice");
}

#[tokio::test]
async fn a_later_connection_with_other_evidence_gets_nothing() {
    let evidence = vec![Evidence::Genuine, Evidence::OtherInstance];
    let host = Host::start(evidence, vec![Reply::Ok("{}")]).await;
    let (mut client, key) = (client(&host, host.trust()), key());
    client.send(&get(&key, "/v1/secrets")).await.unwrap();
    client.disconnect();
    // The first use had no pin; from then on the client knows its instance.
    let refusal = refusal(client.send(&get(&key, "/v1/secrets")).await.err().unwrap());
    assert!(
        matches!(&refusal, Refusal::Appraisal { error: AppraiseError::Pin { .. }, .. }),
        "{refusal}"
    );
    assert_eq!(host.closed_connections(2).await[1].requests.len(), 1);
}

#[tokio::test]
async fn a_pin_is_obeyed_on_the_first_connection() {
    let host = Host::start(vec![Evidence::Genuine], vec![Reply::Ok("{}")]).await;
    let pinned = |key| Trust { pin: Pin::InstanceKey(key), ..host.trust() };
    let mut right = client(&host, pinned(host.instance_key()));
    assert!(right.connection().await.is_ok());
    let mut wrong = client(&host, pinned(PublicKey([9; 32])));
    let key = key();
    let refusal = refusal(wrong.send(&get(&key, "/v1/secrets")).await.err().unwrap());
    assert!(matches!(&refusal, Refusal::Appraisal { error: AppraiseError::Pin { .. }, .. }));
}

#[tokio::test]
async fn a_key_goes_only_to_an_instance_that_has_proven_its_own() {
    // Sealed, it names the pinned key; whether it holds it, only a signature says.
    for (evidence, phase) in [
        (vec![Evidence::Unclaimed], "unclaimed"),
        (vec![Evidence::Sealed], "sealed"),
        (vec![Evidence::Genuine, Evidence::Sealed], "sealed"),
    ] {
        let connections = evidence.len();
        let host = Host::start(evidence, vec![Reply::Ok("{}")]).await;
        let (mut client, key) = (client(&host, host.trust()), key());
        for _ in 1..connections {
            client.send(&get(&key, "/v1/secrets")).await.unwrap();
            client.disconnect();
        }
        let error = client.send(&post(&key, "/v1/secrets", "{}")).await.err().unwrap();
        let not_serving = matches!(&error, ClientError::Failed {
            source: SendError::NotServing { phase: told }, .. } if *told == phase);
        assert!(not_serving, "{error}");
        let seen = host.closed_connections(connections).await;
        assert_eq!(seen.last().unwrap().requests.len(), 1, "nothing but the evidence");
    }
}

#[tokio::test]
async fn what_changes_something_is_never_sent_twice() {
    let host =
        Host::start(vec![Evidence::Genuine], vec![Reply::CloseUnanswered, Reply::Ok("{}")]).await;
    let (mut client, key) = (client(&host, host.trust()), key());
    let error = client.send(&post(&key, "/v1/secrets", "{}")).await.err().unwrap();
    assert!(matches!(error, ClientError::Unknown { source: SendError::Lost(_), .. }), "{error}");
    assert!(!error.to_string().contains(KEY));
    assert_eq!(host.count("POST /v1/secrets"), 1);
}

#[tokio::test]
async fn what_only_reads_is_sent_again_on_a_new_verified_connection() {
    let host =
        Host::start(vec![Evidence::Genuine], vec![Reply::CloseUnanswered, Reply::Ok("{}")]).await;
    let (mut client, key) = (client(&host, host.trust()), key());
    client.send(&get(&key, "/v1/secrets")).await.unwrap();
    assert_eq!(host.count("GET /v1/secrets "), 2);
    assert_eq!(host.count("GET /v1/attestation"), 2);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_replaced_before_a_request_is_sent() {
    let replies = vec![Reply::OkAndClose("{}"), Reply::Ok("{}")];
    let host = Host::start(vec![Evidence::Genuine], replies).await;
    let (mut client, key) = (client(&host, host.trust()), key());
    client.send(&post(&key, "/v1/secrets", "{}")).await.unwrap();
    while host.connections().len() < 2 {
        client.connection().await.unwrap();
        tokio::task::yield_now().await;
    }
    client.send(&post(&key, "/v1/secrets", "{}")).await.unwrap();
    assert_eq!(host.count("POST /v1/secrets"), 2);
    assert_eq!(host.count("GET /v1/attestation"), 2);
}

#[tokio::test]
async fn an_answer_has_a_limit() {
    let host = Host::start(vec![Evidence::Genuine], vec![Reply::Endless]).await;
    let (mut client, key) = (client(&host, host.trust()), key());
    let error = client.send(&get(&key, "/v1/secrets")).await.err().unwrap();
    assert!(matches!(error, ClientError::Failed { source: SendError::TooLong, .. }), "{error}");
    let host = Host::start(vec![Evidence::Endless], vec![]).await;
    let error = self::client(&host, host.trust()).connection().await.err().unwrap();
    assert!(matches!(error, OpenError::Connect(ConnectError::TooLong { .. })), "{error}");
}

#[tokio::test]
async fn evidence_for_the_firmware_only_must_be_accepted_by_name() {
    let host = Host::start(vec![Evidence::Genuine], vec![Reply::Ok("{}")]).await;
    let mut trust = host.trust();
    for measurement in &mut trust.reference.measurements {
        measurement.covers = Covers::Firmware;
    }
    let key = key();
    let error = client(&host, trust.clone()).send(&get(&key, "/v1/secrets")).await.err().unwrap();
    assert!(matches!(refused(error), Refused::FirmwareOnly(_)));
    assert_eq!(host.closed_connections(1).await[0].requests.len(), 1);
    let accept = FirmwareOnly::Accept;
    let mut client = AttestedClient::new(host.url.clone(), trust, accept, clock).unwrap();
    client.send(&get(&key, "/v1/secrets")).await.unwrap();
}

#[tokio::test]
async fn the_certificates_key_must_be_the_servers() {
    let host = Host::start_with_foreign_certificate().await;
    let error = client(&host, host.trust()).connection().await.err().unwrap();
    assert!(matches!(error, OpenError::Connect(ConnectError::Tls { .. })), "{error}");
    assert!(host.connections().is_empty());
}

#[tokio::test]
async fn the_verified_certificate_is_the_connections() {
    let host = Host::start(vec![Evidence::Genuine], vec![]).await;
    let mut client = client(&host, host.trust());
    let pem = client.connection().await.unwrap().certificate_pem().unwrap();
    let certificate = openssl::x509::X509::from_pem(&pem).unwrap();
    assert_eq!(certificate.to_der().unwrap(), host.certificate());
}

#[tokio::test]
async fn nobody_there_is_told_with_the_address() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let host = Host::start(vec![Evidence::Genuine], vec![]).await;
    let mut client = AttestedClient::new(url, host.trust(), FirmwareOnly::Refuse, clock).unwrap();
    let error = client.connection().await.err().unwrap();
    assert!(matches!(error, OpenError::Connect(ConnectError::Tcp { .. })), "{error}");
    assert!(error.to_string().contains("https://127.0.0.1:"), "{error}");
}

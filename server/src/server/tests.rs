//! The whole server over TLS, on a platform of the tests' own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::IntoRawFd;

use neo_secrets_attestation::binding::{Exporter, claim_message};
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::testing::{Answer, FakePlatform};

const CONFIG: &str = "\
seal = \"firmware\"
reveal = \"off\"
witnesses = []
quorum = 0
owner_key = \"any\"
";
const NONCE: &str = "/v1/attestation?nonce=AAAAAAAAAAAAAAAAAAAAAA";

struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = Home(tempfile::tempdir().unwrap());
        std::fs::write(home.0.path().join("config.toml"), CONFIG).unwrap();
        home
    }

    /// Starts a server, and waits until it has left phase `Starting`.
    fn start(&self, platform: FakePlatform) -> Server {
        let options = Options {
            config: self.0.path().join("config.toml"),
            data: self.0.path().to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            worker_launcher: None,
        };
        let server = Server::start(options, platform, Network::internet()).unwrap();
        while state(&server).starts_with("starting") {}
        server
    }
}

fn connect(server: &Server) -> SslStream<TcpStream> {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    let tcp = TcpStream::connect(server.address()).unwrap();
    connector.build().connect("localhost", tcp).unwrap()
}

/// Sends one request, with these further header lines, and reads the answer to its end.
fn exchange(
    tls: SslStream<TcpStream>,
    line: &str,
    headers: &str,
    body: &str,
) -> (u16, String, Value) {
    let length =
        if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head =
        format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{length}{headers}\r\n");
    parsed(&sent(tls, (head + body).as_bytes()))
}

/// Sends these bytes, and reads until the server closes.
fn sent(mut tls: SslStream<TcpStream>, bytes: &[u8]) -> String {
    tls.write_all(bytes).unwrap();
    let mut answer = String::new();
    tls.read_to_string(&mut answer).unwrap();
    answer
}

/// Status, head and body of one answer.
fn parsed(answer: &str) -> (u16, String, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head["HTTP/1.1 ".len()..][..3].parse().unwrap();
    (status, head.to_ascii_lowercase(), serde_json::from_str(body).unwrap())
}

fn call(server: &Server, line: &str, headers: &str, body: &str) -> (u16, Value) {
    contracted(exchange(connect(server), line, headers, body))
}

/// Holds an answer to what all answers have.
fn contracted((status, head, body): (u16, String, Value)) -> (u16, Value) {
    let id = head.split("x-request-id: ").nth(1).unwrap().lines().next().unwrap();
    assert!(
        head.contains("cache-control: no-store") && head.contains("application/json"),
        "{head}"
    );
    if status >= 400 {
        let told = body["error"]["requestId"].as_str().unwrap();
        assert_eq!(told.to_ascii_lowercase(), id);
    }
    (status, body)
}

/// Status and code of an error.
fn error(server: &Server, line: &str, headers: &str, body: &str) -> (u16, String) {
    let (status, body) = call(server, line, headers, body);
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

/// What `/readyz` says.
fn state(server: &Server) -> String {
    let (status, body) = call(server, "GET /readyz", "", "");
    match status {
        200 => body["status"].as_str().unwrap().to_owned(),
        _ => body["error"]["message"].as_str().unwrap().to_owned(),
    }
}

fn claim(server: &Server, owner: &PKey<Private>) -> (u16, Value) {
    let tls = connect(server);
    let mut exporter = [0; 32];
    let label = str::from_utf8(Exporter::LABEL).unwrap();
    tls.ssl().export_keying_material(&mut exporter, label, Some(&[])).unwrap();
    let mut signer = Signer::new_without_digest(owner).unwrap();
    let signature = signer.sign_oneshot_to_vec(&claim_message(&Exporter(exporter))).unwrap();
    let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
    let key = base64(&owner.raw_public_key().unwrap());
    let body = json!({"ownerPublicKey": key, "signature": base64(&signature)}).to_string();
    let (status, _, body) = exchange(tls, "POST /v1/claim", JSON, &body);
    (status, body)
}

const JSON: &str = "Content-Type: application/json\r\n";

fn bearer(key: &Value) -> String {
    format!("Authorization: Bearer {}\r\n", key.as_str().unwrap())
}

#[test]
fn each_check_comes_before_the_next() {
    let (home, owner) = (Home::new(), PKey::generate_ed25519().unwrap());
    let server = home.start(FakePlatform::new([]));
    assert_eq!(state(&server), "unclaimed: the instance has no owner yet");
    let refused = |line, headers: &str, body| error(&server, line, headers, body);
    let is = |status, code: &str| (status, code.to_owned());

    // Path and method come before the phase, and the phase before the key.
    assert_eq!(refused("GET /v1/nothing", "", ""), is(404, "NOT_FOUND"));
    assert_eq!(refused("PATCH /v1/secrets", "", ""), is(405, "METHOD_NOT_ALLOWED"));
    assert_eq!(refused("GET /v1/secrets", "", ""), is(503, "SERVICE_UNAVAILABLE"));

    let (status, claimed) = claim(&server, &owner);
    assert_eq!((status, state(&server).as_str()), (201, "serving"));
    assert_eq!(claimed["account"]["name"], "default");
    let (admin, owner_key) = (bearer(&claimed["adminKey"]), bearer(&claimed["ownerKey"]));
    let text = "Content-Type: text/plain\r\n";

    // The key comes before the permission, that before the media type, and that before the content.
    assert_eq!(refused("POST /v1/secrets?x", text, "{"), is(401, "UNAUTHORIZED"));
    let headers = format!("{owner_key}{text}");
    assert_eq!(refused("POST /v1/secrets?x", &headers, "{"), is(403, "FORBIDDEN"));
    let headers = format!("{admin}{text}");
    assert_eq!(refused("POST /v1/secrets?x", &headers, "{"), is(415, "UNSUPPORTED_MEDIA_TYPE"));
    let headers = format!("{admin}{JSON}");
    let large = "x".repeat(limits::BODY_BYTES + 1);
    assert_eq!(refused("POST /v1/secrets?x", &headers, &large), is(413, "PAYLOAD_TOO_LARGE"));
    assert_eq!(refused("POST /v1/secrets?x", &headers, "{}"), is(400, "INVALID_REQUEST"));
    assert_eq!(refused("POST /v1/secrets", &headers, "{"), is(400, "INVALID_REQUEST"));
    let body = r#"{"name":"a","value":"b"}"#;
    assert_eq!(call(&server, "POST /v1/secrets", &headers, body).0, 201);
    assert_eq!(refused("POST /v1/secrets", &headers, body), is(409, "CONFLICT"));
    server.stop().unwrap();
}

#[test]
fn a_connection_speaks_http_1_1_whatever_else_is_offered() {
    let home = Home::new();
    let server = home.start(FakePlatform::new([]));
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    connector.set_alpn_protos(b"\x02h2\x08http/1.1").unwrap();
    let tcp = TcpStream::connect(server.address()).unwrap();
    let tls = connector.build().connect("localhost", tcp).unwrap();
    assert_eq!(tls.ssl().selected_alpn_protocol(), Some(b"http/1.1".as_slice()));
    assert_eq!(exchange(tls, "GET /healthz", "", "").0, 200);
    server.stop().unwrap();
}

#[test]
fn a_claim_repeats_for_its_owner_until_a_key_is_used() {
    let (home, owner) = (Home::new(), PKey::generate_ed25519().unwrap());
    let server = home.start(FakePlatform::new([]));
    let (first, second) = (claim(&server, &owner), claim(&server, &owner));
    assert_eq!((first.0, second.0), (201, 201));
    assert_eq!(first.1["storeId"], second.1["storeId"]);
    assert_eq!(claim(&server, &PKey::generate_ed25519().unwrap()).0, 409);
    let list =
        |claimed: &Value| call(&server, "GET /v1/secrets", &bearer(&claimed["adminKey"]), "").0;
    assert_eq!(list(&first.1), 401, "fresh keys end the old ones");
    assert_eq!(list(&second.1), 200);
    assert_eq!(claim(&server, &owner).0, 409);
    server.stop().unwrap();
}

#[test]
fn it_ends_with_connections_open_and_opens_again_on_its_own_chip_only() {
    let (home, owner) = (Home::new(), PKey::generate_ed25519().unwrap());
    let server = home.start(FakePlatform::new([]));
    assert_eq!(claim(&server, &owner).0, 201);
    let idle = connect(&server);
    let silent = TcpStream::connect(server.address()).unwrap();
    server.stop().unwrap();
    drop((idle, silent));

    let server = home.start(FakePlatform::chip(2));
    let message = state(&server);
    assert!(message.starts_with("other-machine: ") && message.contains("chip"), "{message}");
    let (status, evidence) = call(&server, &format!("GET {NONCE}"), "", "");
    assert_eq!((status, evidence["claims"]["phase"].as_str()), (200, Some("sealed")));
    assert_eq!(claim(&server, &owner).0, 503);
    server.stop().unwrap();

    let server = home.start(FakePlatform::new([]));
    assert_eq!(state(&server), "serving");
    server.stop().unwrap();
}

#[test]
fn a_dead_processor_is_named_and_left_alone_while_the_store_serves_on() {
    let (home, owner) = (Home::new(), PKey::generate_ed25519().unwrap());
    let platform = FakePlatform::new([Answer::Report, Answer::Report, Answer::Firmware]);
    let server = home.start(platform.clone());
    let (_, claimed) = claim(&server, &owner);
    let evidence = || call(&server, &format!("GET {NONCE}"), "", "");
    assert_eq!(evidence().0, 200);
    for _ in 0..3 {
        let (status, body) = evidence();
        assert_eq!((status, body["error"]["code"].as_str()), (503, Some("SERVICE_UNAVAILABLE")));
    }
    assert_eq!(platform.calls(), 3, "one at the start, one that went well, one that failed");
    assert!(state(&server).starts_with("processor-lost: "));
    assert_eq!(call(&server, "GET /v1/secrets", &bearer(&claimed["adminKey"]), "").0, 200);
    server.stop().unwrap();
}

const LIVE: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn what_is_no_http_is_refused_as_any_other_failure() {
    let home = Home::new();
    let server = home.start(FakePlatform::new([]));
    let head = |headers: &str| format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    let many = head(&"X: y\r\n".repeat(100));
    let large = head(&format!("X: {}\r\n", "y".repeat(1_000_000)));
    let filled = |bytes: usize| {
        let close = "Connection: close\r\nX: ";
        let rest = bytes - head(&format!("{close}\r\n")).len();
        head(&format!("{close}{}\r\n", "y".repeat(rest)))
    };
    let (full, over) = (filled(limits::HEAD_BYTES), filled(limits::HEAD_BYTES + 1));
    for (bytes, message) in [
        (&b"\x16\x03\x01\r\n\r\n"[..], "This is no valid HTTP/1.1 request."),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "This is no valid HTTP/1.1 request."),
        (b"GET /healthz HTTP/1.1\r\n\r\n", "This is no valid HTTP/1.1 request."),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", "This is no valid HTTP/1.1 request."),
        (b"GET /healthz HTTP/1.1\nHost: localhost\n\n", "This is no valid HTTP/1.1 request."),
        (head("X y\r\n").as_bytes(), "This is no valid HTTP/1.1 request."),
        (head("Content-Length: x\r\n").as_bytes(), "This is no valid HTTP/1.1 request."),
        (many.as_bytes(), "The request's head is too large."),
        (large.as_bytes(), "The request's head is too large."),
        (over.as_bytes(), "The request's head is too large."),
    ] {
        let answer = parsed(&sent(connect(&server), bytes));
        assert!(answer.1.contains("connection: close") && answer.1.contains("\r\ndate: "));
        let (status, body) = contracted(answer);
        let error = &body["error"];
        assert_eq!((status, error["code"].as_str()), (400, Some("INVALID_REQUEST")));
        assert_eq!(error["message"], message);
    }

    assert_eq!(contracted(parsed(&sent(connect(&server), full.as_bytes()))).0, 200);

    // After a good request on the same connection, and in the same breath.
    let mut tls = connect(&server);
    tls.write_all(LIVE.as_bytes()).unwrap();
    let mut first = [0; 9];
    tls.read_exact(&mut first).unwrap();
    let rest = sent(tls, b"?\r\n\r\n");
    let both = sent(connect(&server), format!("{LIVE}?\r\n\r\n").as_bytes());
    for answers in [String::from_utf8_lossy(&first) + rest.as_str(), both.into()] {
        let second = answers.rfind("HTTP/1.1 400").unwrap();
        assert_eq!(contracted(parsed(&answers[..second])).0, 200);
        assert_eq!(contracted(parsed(&answers[second..])).0, 400);
    }

    // A malformed body has the call's answer, and no second one.
    let head = "POST /v1/claim HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n";
    let answer = sent(connect(&server), format!("{head}{JSON}\r\nx\r\n").as_bytes());
    assert_eq!(contracted(parsed(&answer)).0, 400);
    server.stop().unwrap();
}

#[test]
fn a_head_that_does_not_end_is_not_waited_for() {
    let home = Home::new();
    let server = home.start(FakePlatform::new([]));
    let (first, mut later) = (connect(&server), connect(&server));
    later.write_all(LIVE.as_bytes()).unwrap();
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"}") {
        later.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    later.write_all(b"GET /healthz").unwrap();
    let started = std::time::Instant::now();
    let (status, body) = contracted(parsed(&sent(first, b"GET /healthz")));
    assert_eq!(status, 400);
    assert_eq!(body["error"]["message"], "The request's head took too long to arrive.");
    assert_eq!(later.read_to_end(&mut Vec::new()).unwrap(), 0, "closed without an answer");
    assert!(started.elapsed() < limits::KEEP_ALIVE, "earlier than an idle connection's end");
    server.stop().unwrap();
}

#[test]
fn what_must_not_start_says_why() {
    let home = Home::new();
    let options = |config: &str, data: &str| Options {
        config: home.0.path().join(config),
        data: home.0.path().join(data),
        listen: "127.0.0.1:0".parse().unwrap(),
        worker_launcher: None,
    };
    let start = |options| Server::start(options, FakePlatform::new([]), Network::internet());
    let refused = |options| start(options).err().unwrap();
    assert!(matches!(refused(options("none.toml", ".")), RunError::Config { .. }));
    assert!(matches!(refused(options("config.toml", "none")), RunError::Data { .. }));
    for number in ["x", "0", "1000000"] {
        let options = options("config.toml", ".");
        let launcher = Options { worker_launcher: Some(number.to_owned()), ..options };
        assert!(matches!(refused(launcher), RunError::WorkerLauncher(wrong) if wrong == number));
    }
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
    let number = socket.into_raw_fd().to_string();
    let launcher = Options { worker_launcher: Some(number.clone()), ..options("config.toml", ".") };
    assert!(matches!(refused(launcher), RunError::WorkerLauncherKind(wrong) if wrong == number));
    let server = home.start(FakePlatform::new([]));
    let taken = Options { listen: server.address(), ..options("config.toml", ".") };
    assert!(matches!(refused(taken), RunError::Listen { .. }));

    assert_eq!(claim(&server, &PKey::generate_ed25519().unwrap()).0, 201);
    let second = start(options("config.toml", ".")).unwrap();
    let ended = second.thread.join().unwrap();
    assert!(matches!(ended, Err(RunError::Boot(BootError::StoreInUse { .. }))));
    server.stop().unwrap();
}

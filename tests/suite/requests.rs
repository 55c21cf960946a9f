//! What a hostile peer asks for: odd targets and methods, other protocols, coded and oversized
//! requests.

use std::io::Write;

use neo_secrets_tests::appliance::Home;
use neo_secrets_tests::http::{Answer, unchecked};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use serde_json::json;

const HOST: &str = "Host: localhost\r\n";

#[test]
fn request_targets_have_one_meaning() {
    let home = Home::usual();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let mut c = appliance.connect();
    let made = c.call("POST", "/v1/secrets", &admin, Some(&json!({"name": "a", "value": "x"})));
    let id = made.json()["id"].as_str().unwrap().to_owned();
    // An absolute target is its path; the host in it means nothing.
    for host in ["http://localhost", "https://evil.example", "http://user:pass@evil.example:1"] {
        let target = format!("{host}/v1/secrets/{id}");
        assert_eq!(c.call("GET", &target, &admin, None).json()["id"], id.as_str(), "{target}");
    }
    for target in [
        format!("//v1/secrets/{id}"),
        format!("/v1//secrets/{id}"),
        format!("/v1/secrets//{id}"),
        format!("/v1/secrets/{id}/"),
        format!("/v1/secrets/{id}/."),
        format!("/v1/./secrets/{id}"),
        format!("/v1/x/../secrets/{id}"),
        format!("/v1/secrets/../secrets/{id}"),
        format!("/v1/secrets/{id}."),
        format!("/v1/secrets./{id}"),
        format!("/v1/secrets/{id};x=y"),
        format!("/v1/secrets;x/{id}"),
        format!("/v1/secrets/{id}%00"),
        format!("/v1/secrets/{id}%20"),
        format!("/v1/secrets/{id}%2f"),
        format!("/v1/secrets%2f{id}"),
        format!("/v1%2fsecrets/{id}"),
        format!("/v1/%2e/secrets/{id}"),
        format!("/v1/x/%2e%2e/secrets/{id}"),
        format!("/v1/x/..%2fsecrets/{id}"),
        format!("/v1/%73ecrets/{id}"),
        format!("/v1/secrets/%73{}", &id[1..]),
        format!("/v1/secrets/%2573{}", &id[1..]),
        format!("/V1/secrets/{id}"),
        format!("/v1/SECRETS/{id}"),
        format!("/v1/secrets/{}", id.to_uppercase()),
        format!("/v1\\secrets\\{id}"),
        format!("/v1/secrets/{id}\u{e9}"),
        format!("/v1/secrets/%c0%ae%c0%ae/{id}"),
        format!("/v1/secrets/%ff{id}"),
        format!("/v1/secrets/{}", "a".repeat(8_000)),
        "localhost:443".to_owned(),
        "*".to_owned(),
    ] {
        let answer = appliance.connect().call("GET", &target, &admin, None);
        match answer.status {
            // No target of HTTP at all.
            400 => drop(answer.error(400, "INVALID_REQUEST")),
            _ => drop(answer.error(404, "NOT_FOUND")),
        }
    }
}

#[test]
fn http_versions_other_than_1_are_refused() {
    let home = Home::usual();
    let appliance = home.start();
    let sent = |bytes: &[u8]| Answer::parse_all(&appliance.connect().until_closed(bytes), &[]);
    for refused in [
        "GET /healthz\r\n\r\n",
        "GET /healthz HTTP/0.9\r\n\r\n",
        "GET /healthz HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET /healthz HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET /healthz HTTP/1.10\r\nHost: a\r\n\r\n",
        "GET /healthz http/1.1\r\nHost: a\r\n\r\n",
        "GET  /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /healthz  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /heal thz HTTP/1.1\r\nHost: a\r\n\r\n",
        " GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n\r\n",
        // HTTP/2, also with the frames of a rapid reset or endless CONTINUATIONs behind it.
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x04\x01\x04\0\0\0\x01\0\0\0\0",
    ] {
        let answers = sent(refused.as_bytes());
        assert_eq!(answers.len(), 1, "{refused:?}: {answers:?}");
        answers[0].error(400, "INVALID_REQUEST");
    }
    let old = sent(b"GET /healthz HTTP/1.0\r\n\r\nGET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(old.len(), 1, "an HTTP/1.0 connection ends with its answer");
    let kept = "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let old = sent(format!("{kept}{kept}GET /healthz HTTP/1.0\r\n\r\n").as_bytes());
    assert_eq!(old.len(), 3);
}

#[test]
fn an_upgrade_to_another_protocol_is_ignored() {
    let home = Home::usual();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let after = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let key = format!("Authorization: Bearer {admin}\r\nContent-Type: application/json\r\n");
    let body = json!({"name": "a", "value": "x"}).to_string();
    let length = format!("Content-Length: {}\r\n", body.len());
    let web_socket = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n";
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    let started = std::time::Instant::now();
    for (request, status) in [
        (format!("GET /healthz HTTP/1.1\r\n{HOST}{web_socket}\r\n"), 200),
        (format!("GET /healthz HTTP/1.1\r\n{HOST}Upgrade: websocket\r\n\r\n"), 200),
        (format!("GET /nowhere HTTP/1.1\r\n{HOST}{web_socket}\r\n"), 404),
        (format!("GET /healthz HTTP/1.1\r\n{HOST}{h2c}\r\n"), 200),
        (format!("POST /v1/secrets HTTP/1.1\r\n{HOST}{key}{web_socket}{length}\r\n{body}"), 400),
        (format!("CONNECT evil.example:443 HTTP/1.1\r\n{HOST}\r\n"), 404),
        (format!("CONNECT /healthz HTTP/1.1\r\n{HOST}\r\n"), 405),
    ] {
        // What follows is neither a body nor another protocol, and the connection ends.
        let bytes = appliance.connect().until_closed((request.clone() + after).as_bytes());
        let answers = Answer::parse_all(&bytes, &[]);
        let got: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(got, [status], "{request}");
        assert_eq!(answers[0].header("connection"), Some("close"), "{request}");
        assert_eq!(answers[0].header("upgrade"), None);
    }
    // None of them has waited for a body that does not end (5 s and 30 s).
    assert!(started.elapsed().as_secs() < 30);
    let list = appliance.connect().call("GET", "/v1/secrets", &admin, None).json();
    assert_eq!(list["pagination"]["total"], 0);
}

#[test]
fn method_tricks_change_nothing() {
    let home = Home::usual();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let mut c = appliance.connect();
    let made = c.call("POST", "/v1/secrets", &admin, Some(&json!({"name": "a", "value": "x"})));
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let one = format!("/v1/secrets/{id}");
    let key = format!("Authorization: Bearer {admin}\r\n");
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method"] {
        let headers = format!("{key}{name}: DELETE\r\n");
        assert_eq!(c.send("GET", &one, &headers, None).json()["id"], id.as_str());
        c.send("POST", &one, &headers, None).error(405, "METHOD_NOT_ALLOWED");
    }
    c.send("GET", &format!("{one}?_method=DELETE"), &key, None).invalid("_method");
    for header in ["X-Original-URL: /healthz", "X-Rewrite-URL: /healthz", "X-Forwarded-Path: /"] {
        let answer = c.send("GET", &one, &format!("{key}{header}\r\n"), None);
        assert_eq!(answer.json()["id"], id.as_str(), "{header}");
    }
    // A TRACE shows nothing of what it brought, a preflight gets nothing to go by.
    let cookie = format!("{key}Cookie: a-cookie-to-find\r\n");
    let trace = c.send("TRACE", "/healthz", &cookie, None);
    trace.error(405, "METHOD_NOT_ALLOWED");
    assert!(!String::from_utf8_lossy(&trace.body).contains("to-find"));
    let preflight = "Origin: https://evil.example\r\nAccess-Control-Request-Method: DELETE\r\n";
    c.send("OPTIONS", &one, preflight, None).error(405, "METHOD_NOT_ALLOWED");
    for method in ["get", "Get", "GETT", "DELETE\u{e9}", "PROPFIND", "M-SEARCH", "\"GET\""] {
        let answer = appliance.connect().send(method, &one, &key, None);
        match answer.status {
            400 => drop(answer.error(400, "INVALID_REQUEST")),
            _ => drop(answer.error(405, "METHOD_NOT_ALLOWED")),
        }
    }
    // HEAD is GET without the body.
    for target in ["/healthz", "/readyz", "/v1/secrets", "/v1/api-keys", one.as_str(), "/nowhere"] {
        let (get, head) = (c.send("GET", target, &key, None), c.send("HEAD", target, &key, None));
        assert_eq!(get.status, head.status, "{target}");
        for name in ["content-length", "content-type", "cache-control", "etag"] {
            assert_eq!(get.header(name), head.header(name), "{target}: {name}");
        }
        assert!(head.body.is_empty());
    }
}

#[test]
fn oversized_requests_are_refused_by_their_part() {
    let home = Home::usual();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let head = |headers: &str| format!("GET /healthz HTTP/1.1\r\n{HOST}{headers}\r\n");
    for request in [
        head(&format!("X: {}\r\n", "y".repeat(20_000))),
        head(&format!("{}: y\r\n", "x".repeat(20_000))),
        head(&"X: y\r\n".repeat(97)),
        head(&"X: y\r\n".repeat(100_000)),
        format!("GET /{} HTTP/1.1\r\n{HOST}\r\n", "a".repeat(20_000)),
        format!("GET /healthz?{} HTTP/1.1\r\n{HOST}\r\n", "a".repeat(20_000)),
        format!("{} /healthz HTTP/1.1\r\n{HOST}\r\n", "A".repeat(20_000)),
        "\r\n".repeat(20_000),
    ] {
        let answers = Answer::parse_all(&appliance.connect().until_closed(request.as_bytes()), &[]);
        assert_eq!(answers.len(), 1, "{}: {answers:?}", &request[..40]);
        let message = answers[0].error(400, "INVALID_REQUEST")["message"].clone();
        assert_eq!(message, "The request's head is too large.", "{}", &request[..40]);
    }
    let mut c = appliance.connect();
    let message = c.call("GET", &format!("/healthz?{}", "a".repeat(1_025)), "", None);
    let message = message.error(400, "INVALID_REQUEST")["message"].clone();
    assert_eq!(message, "The query is too long.");
    c.call("GET", &format!("/healthz?{}=1", "a".repeat(1_000)), "", None)
        .error(400, "INVALID_REQUEST");
    // A length that nobody can mean is refused before its first byte.
    for length in [u64::MAX, u64::MAX / 2, 1_048_577] {
        let key = format!("Authorization: Bearer {admin}\r\nContent-Type: application/json\r\n");
        let request = format!(
            "POST /v1/secrets HTTP/1.1\r\n{HOST}{key}Content-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        );
        let mut c = appliance.connect();
        c.write(request.as_bytes()).unwrap();
        c.close_half();
        let answers = Answer::parse_all(&c.rest(), &[]);
        assert_eq!(answers.len(), 1);
        answers[0].error(413, "PAYLOAD_TOO_LARGE");
    }
}

#[test]
fn compression_is_neither_taken_nor_given() {
    let home = Home::usual();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let mut c = appliance.connect();
    let key = format!("Authorization: Bearer {admin}\r\nContent-Type: application/json\r\n");
    // The head of a gzip stream; what it would inflate to is never looked at.
    let bomb = [&b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..], &[0xed; 100_000]].concat();
    for coding in
        ["gzip", "GZIP", "x-gzip", "br", "deflate", "zstd", "compress", "gzip, identity", ""]
    {
        let headers = format!("{key}Content-Encoding: {coding}\r\n");
        c.send("POST", "/v1/secrets", &headers, Some(&bomb)).error(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    let twice = format!("{key}Content-Encoding: identity\r\nContent-Encoding: gzip\r\n");
    c.send("POST", "/v1/secrets", &twice, Some(b"{}")).error(415, "UNSUPPORTED_MEDIA_TYPE");
    // Nothing is compressed: a length would tell of what stands beside what an attacker chose.
    let accept =
        format!("{key}Accept-Encoding: gzip, deflate, br, zstd, *\r\nTE: gzip, trailers\r\n");
    for target in ["/v1/secrets", "/v1/attestation?nonce=AAAAAAAAAAAAAAAAAAAAAA", "/nowhere"] {
        let answer = c.send("GET", target, &accept, None);
        assert_eq!(answer.header("content-encoding"), None);
        assert_eq!(answer.header("transfer-encoding"), None);
        answer.json();
    }
}

#[test]
fn tls_takes_1_3_and_http_1_1_and_nothing_else() {
    let home = Home::usual();
    let appliance = home.start();
    let connector = |set: &dyn Fn(&mut openssl::ssl::SslConnectorBuilder)| {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        builder.set_verify(SslVerifyMode::NONE);
        set(&mut builder);
        builder.build()
    };
    let connect = |connector: &SslConnector, name: &str| {
        let tcp = std::net::TcpStream::connect(appliance.addr).unwrap();
        tcp.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let configuration = connector.configure().unwrap().verify_hostname(false);
        configuration.use_server_name_indication(!name.is_empty()).connect(name, tcp)
    };
    let old = Some(openssl::ssl::SslVersion::TLS1_2);
    assert!(
        connect(&connector(&|builder| builder.set_max_proto_version(old).unwrap()), "a").is_err()
    );
    let alpn = |protocols: &'static [u8]| {
        connect(&connector(&move |builder| builder.set_alpn_protos(protocols).unwrap()), "a")
    };
    for foreign in [&b"\x02h2"[..], b"\x08http/1.0", b"\x01x\x02h2"] {
        assert!(alpn(foreign).is_err(), "{foreign:?}");
    }
    for with_ours in [&b"\x02h2\x08http/1.1"[..], b"\x08http/1.1", b"\x01x\x08http/1.1"] {
        let tls = alpn(with_ours).unwrap();
        assert_eq!(tls.ssl().selected_alpn_protocol(), Some(&b"http/1.1"[..]));
    }
    // Whatever name is asked for, there is one certificate; a name that is none may be refused.
    let plain = unchecked();
    let usual = appliance.connect().peer_certificate_pem();
    for name in ["localhost", "evil.example", "LOCALHOST", "a..b", "-", "xn--0", "127.0.0.1", ""] {
        if let Ok(tls) = connect(plain, name) {
            assert_eq!(tls.ssl().peer_certificate().unwrap().to_pem().unwrap(), usual, "{name}");
        }
    }
    // No ticket to resume by, and no early data.
    let tickets = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = tickets.clone();
    let resuming = connector(&|builder| {
        let counted = counted.clone();
        builder.set_session_cache_mode(openssl::ssl::SslSessionCacheMode::CLIENT);
        builder.set_new_session_callback(move |_, _| {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
    });
    let mut tls = connect(&resuming, "localhost").unwrap();
    tls.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    std::io::Read::read_to_end(&mut tls, &mut Vec::new()).unwrap();
    assert!(!tls.ssl().session_reused());
    assert_eq!(tickets.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert!(!neo_secrets_tests::http::asks_for_a_client_certificate(appliance.addr));
}

#[test]
fn handshake_garbage_ends_the_connection_and_nothing_more() {
    use std::io::Read;
    let home = Home::usual();
    let appliance = home.start();
    let mut other = appliance.connect();
    let noise: Vec<u8> =
        (0..60_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let hello_of = |length: u8| [&[0x16, 3, 1, 0, 4, 1, 0, 0, length][..], &[0; 64]].concat();
    for bytes in [
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
        b"SSH-2.0-x\r\n".to_vec(),
        noise,
        vec![0; 10_000],
        [&[0x80, 0x2e, 1, 3, 0][..], &[0; 41]].concat(),
        // A record longer than there may be, an alert, application data, a hello of no length.
        [&[0x16, 3, 1, 0xff, 0xff][..], &[1; 65_535]].concat(),
        vec![0x15, 3, 3, 0, 2, 2, 40],
        [&[0x17, 3, 3, 0, 32][..], &[7; 32]].concat(),
        hello_of(0),
        hello_of(255),
    ] {
        let mut tcp = std::net::TcpStream::connect(appliance.addr).unwrap();
        tcp.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let _ = tcp.write_all(&bytes);
        let _ = tcp.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = tcp.read_to_end(&mut answer);
        // An alert at most: never a word of HTTP to who speaks no TLS.
        assert!(answer.len() < 20, "{answer:?}");
        assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
        assert_eq!(other.call("GET", "/healthz", "", None).status, 200);
    }
}

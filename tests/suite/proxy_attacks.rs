//! `neo-secrets proxy` under attack: a man in the middle, requests that could be read as two, web
//! pages.

use std::io::Write;

use neo_secrets_tests::appliance::{Claimed, Home};
use neo_secrets_tests::proxy::{Path, Proxy};
use serde_json::json;

use crate::evidence::relay;
use crate::proxy::{HOST, answered, pin, start, with_key};

#[test]
fn a_relay_of_genuine_evidence_gets_nothing_and_the_way_back_works_by_itself() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let path = Path::to(appliance.addr);
    let proxy = Proxy::start(&home, &path.url(), pin(&claimed), &[]);
    let call = || {
        let body = json!({"name": "stolen", "value": "the value"}).to_string();
        proxy.call("POST", "/v1/secrets", &with_key(&claimed.admin), &body)
    };
    let (man_in_the_middle, seen) = relay(appliance.addr);
    path.lead_to(man_in_the_middle);
    let error = call().error(502, "EVIDENCE_REFUSED");
    assert_eq!(error["details"]["step"], 6, "{error}");
    let text = |field: &str| error["details"][field].as_str().unwrap().to_owned();
    assert!(!text("field").is_empty() && text("got") != text("expected"), "{error}");
    let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    assert!(seen.contains("GET /v1/attestation?nonce="), "the relay saw nothing: {seen}");
    for needle in [&claimed.admin, "uthorization", "the value", "stolen", "POST"] {
        assert!(!seen.contains(needle), "{needle} reached the relay");
    }
    path.lead_to(appliance.addr);
    assert_eq!(call().status, 201);
    let refusal = &proxy.status()["verifications"]["lastRefusal"];
    assert_eq!(refusal["details"], error["details"]);
}

fn statuses(answers: &str) -> Vec<&str> {
    let lines = answers.split("HTTP/1.").skip(1);
    lines.map(|line| line.get(2..5).unwrap_or_default()).collect()
}

#[test]
fn what_could_be_read_as_two_requests_is_refused() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let proxy = Proxy::start(&home, &appliance.url(), pin(&claimed), &[]);
    let many = "X: y\r\n".repeat(101);
    let long = "x".repeat(17_000);
    let next = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let post = |lines: &str| format!("POST /v1/secrets HTTP/1.1\r\n{HOST}{lines}\r\nx{next}");
    let get = |lines: &str| format!("GET /healthz HTTP/1.1\r\n{lines}\r\n{next}");
    let line = |line: &str| format!("{line}\r\n{HOST}\r\n{next}");
    let cases = [
        ("two lengths", "400", post("Content-Length: 1\r\nContent-Length: 2\r\n")),
        ("a list of lengths", "400", post("Content-Length: 1, 1\r\n")),
        ("a signed length", "400", post("Content-Length: +1\r\n")),
        ("a negative length", "400", post("Content-Length: -1\r\n")),
        ("a hex length", "400", post("Content-Length: 0x1\r\n")),
        ("a huge length", "400", post("Content-Length: 99999999999999999999\r\n")),
        ("no length in a length", "400", post("Content-Length:\r\n")),
        ("a space before the colon", "400", post("Content-Length : 1\r\n")),
        ("a coding before a space", "400", post("Transfer-Encoding : chunked\r\n")),
        ("another coding", "400", post("Transfer-Encoding: xchunked\r\n")),
        ("chunked not last", "400", post("Transfer-Encoding: chunked, identity\r\n")),
        ("chunked twice", "400", post("Transfer-Encoding: chunked, chunked\r\n")),
        ("two codings", "400", post("Transfer-Encoding: gzip, chunked\r\n")),
        ("a vertical tab", "400", post("Transfer-Encoding: \u{b}chunked\r\n")),
        ("a folded line", "400", post("Content-Length: 1\r\n folded: x\r\n")),
        ("a folded coding", "400", post("Transfer-Encoding:\r\n chunked\r\n")),
        ("a bare CR", "400", get("Host: localhost\rX: y\r\n")),
        ("a NUL in a value", "400", get("Host: localhost\r\nX: a\0b\r\n")),
        ("a NUL in a name", "400", get("Host: localhost\r\nX\0: a\r\n")),
        ("a line without a colon", "400", get("Host: localhost\r\nGET / HTTP/1.1\r\n")),
        ("no Host", "400", get("")),
        ("two Hosts", "400", get("Host: localhost\r\nHost: localhost\r\n")),
        ("an odd Host", "400", get("Host: localhost/x\r\n")),
        ("a user in Host", "400", get("Host: localhost@evil.example\r\n")),
        ("an empty Host", "400", get("Host:\r\n")),
        ("an absolute target", "400", line("GET http://localhost/healthz HTTP/1.1")),
        ("another's absolute target", "400", line("GET https://evil.example/ HTTP/1.1")),
        ("a tunnel", "400", line("CONNECT localhost:443 HTTP/1.1")),
        ("a tunnel to a path", "400", line("CONNECT /healthz HTTP/1.1")),
        ("an asterisk", "400", line("OPTIONS * HTTP/1.1")),
        ("no slash", "400", line("GET healthz HTTP/1.1")),
        ("a space in the target", "400", line("GET /healthz x HTTP/1.1")),
        ("a NUL in the target", "400", line("GET /health\0z HTTP/1.1")),
        ("a tab for a space", "400", line("GET\t/healthz HTTP/1.1")),
        ("another version", "400", line("GET /healthz HTTP/1.2")),
        ("no version", "400", line("GET /healthz")),
        (
            "a coding in HTTP/1.0",
            "400",
            format!("POST / HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{next}"),
        ),
        ("many headers", "431", get(&format!("{HOST}{many}"))),
        ("a long header", "431", get(&format!("{HOST}X: {long}\r\n"))),
        ("a long target", "431", line(&format!("GET /{long} HTTP/1.1"))),
    ];
    let before = answered(&appliance, &claimed.owner);
    let mut behind = 0;
    for (what, status, bytes) in &cases {
        let answers = proxy.raw(bytes.as_bytes());
        let (first, rest) =
            statuses(&answers).split_first().map(|(f, r)| (*f, r.to_vec())).unwrap();
        assert_eq!(first, *status, "{what}: {answers}");
        // Behind a head that is whole, and that we refuse ourselves, comes the next request.
        assert!(rest.is_empty() || rest == ["200"], "{what}: {answers}");
        behind += rest.len();
    }
    let seen = answered(&appliance, &claimed.owner) - before;
    assert_eq!(usize::try_from(seen), Ok(behind), "only those behind reached the instance");
    in_step(&proxy, &claimed);
}

#[test]
fn what_could_be_read_in_two_ways_reaches_the_instance_as_one_request() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let proxy = Proxy::start(&home, &appliance.url(), pin(&claimed), &[]);
    let next = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let post = |lines: &str, body: &str| {
        format!("POST /v1/secrets HTTP/1.1\r\n{HOST}{lines}\r\n{body}{next}")
    };
    let get =
        |target: &str, lines: &str| format!("GET {target} HTTP/1.1\r\n{HOST}{lines}\r\n{next}");
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    let (length, chunked) = ("Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n");
    let cases: [(&str, &[&str], String); 16] = [
        // The caller has to be told so by the end of its connection.
        ("length, then chunked", &["401"], post(&[length, chunked].concat(), "0\r\n\r\n")),
        ("chunked, then length", &["401"], post(&[chunked, length].concat(), "0\r\n\r\n")),
        ("the same length twice", &["401", "200"], post(&length.repeat(2), "four")),
        ("a length with zeros", &["401", "200"], post("Content-Length: 004\r\n", "four")),
        ("a chunk's extension", &["401", "200"], post(chunked, "1;a=\"b\"\r\nx\r\n0\r\n\r\n")),
        ("trailers", &["401", "200"], post(chunked, "0\r\nContent-Length: 9\r\n\r\n")),
        (
            "a length that is hidden",
            &["401", "200"],
            post(&format!("{length}Connection: content-length, host\r\n"), "four"),
        ),
        (
            "a coding that is hidden",
            &["401", "200"],
            post(&format!("{chunked}Connection: transfer-encoding\r\n"), "0\r\n\r\n"),
        ),
        ("a body of a GET", &["200", "200"], get("/healthz", "Content-Length: 0\r\n")),
        (
            "lines ended by LF",
            &["200", "200"],
            format!("GET /healthz HTTP/1.1\nHost: localhost\n\n{next}"),
        ),
        ("an empty line before", &["200", "200"], format!("\r\n{}", get("/healthz", ""))),
        (
            "a line end in the query",
            &["404", "200"],
            get("/x?a=%0d%0aX:%20y%0d%0a%0d%0aGET%20/", ""),
        ),
        ("two slashes", &["404", "200"], get("//evil.example/healthz", "")),
        ("a fragment", &["200", "200"], get("/healthz#/v1/secrets", "")),
        ("a websocket", &["200", "200"], get("/healthz", websocket)),
        ("another protocol", &["200", "200"], get("/healthz", h2c)),
    ];
    for (what, expected, bytes) in &cases {
        let before = answered(&appliance, &claimed.owner);
        let answers = proxy.raw(bytes.as_bytes());
        assert_eq!(statuses(&answers), *expected, "{what}: {answers}");
        let seen = answered(&appliance, &claimed.owner) - before;
        assert_eq!(usize::try_from(seen), Ok(expected.len()), "{what}");
    }
    in_step(&proxy, &claimed);
}

#[test]
fn a_body_that_breaks_off_is_no_request() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let proxy = Proxy::start(&home, &appliance.url(), pin(&claimed), &[]);
    let secret = json!({"name": "cut", "value": "x"}).to_string();
    let chunk = format!("{:x}\r\n{secret}\r\n", secret.len());
    let chunked = |body: &str| {
        let head = format!("POST /v1/secrets HTTP/1.1\r\n{}", with_key(&claimed.admin));
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{body}")
    };
    for (what, body) in [
        ("no number", format!("{chunk}zz\r\n")),
        ("a signed number", format!("{chunk}+0\r\n\r\n")),
        ("a number too large", format!("{chunk}fffffffffffffffff\r\n")),
        ("a chunk longer than it says", format!("1\r\n{secret}\r\n0\r\n\r\n")),
        ("a chunk's line ended by LF", format!("{chunk}0\n\n")),
        ("a bare CR after a chunk", format!("{:x}\r\n{secret}\rx0\r\n\r\n", secret.len())),
        ("no colon in a trailer", format!("{chunk}0\r\ntrailer\r\n\r\n")),
    ] {
        let answers = proxy.raw(chunked(&body).as_bytes());
        assert!(matches!(statuses(&answers)[..], [] | ["400"]), "{what}: {answers}");
    }
    // The caller is gone before the end.
    for body in [chunk.as_str(), &chunk[..9]] {
        proxy.connect().write_all(chunked(body).as_bytes()).unwrap();
    }
    let short = format!("Content-Length: {}\r\n", secret.len() + 1);
    let short =
        format!("POST /v1/secrets HTTP/1.1\r\n{}{short}\r\n{secret}", with_key(&claimed.admin));
    proxy.connect().write_all(short.as_bytes()).unwrap();
    in_step(&proxy, &claimed);
    let list = proxy.call("GET", "/v1/secrets", &with_key(&claimed.admin), "").json();
    assert_eq!(list["pagination"]["total"], 0, "{list}");
}

/// Each answer is the one to its own request.
#[track_caller]
fn in_step(proxy: &Proxy, claimed: &Claimed) {
    for number in 0..100 {
        let id = format!("in-step-{number}");
        let headers = format!("{}X-Request-ID: {id}\r\n", with_key(&claimed.admin));
        let answer = proxy.call("GET", "/v1/secrets", &headers, "");
        assert_eq!((answer.status, answer.header("x-request-id")), (200, Some(id.as_str())));
    }
}

#[test]
fn a_web_page_cannot_use_it() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let proxy = Proxy::start(&home, &appliance.url(), pin(&claimed), &[]);
    let before = answered(&appliance, &claimed.owner);
    let key = format!("Authorization: Bearer {}\r\n", claimed.admin);
    let port = proxy.addr.port();
    for headers in [
        // After a rebinding, the browser believes that the page's own name leads here.
        format!("Host: evil.example:{port}\r\nSec-Fetch-Site: same-origin\r\n"),
        format!("Host: evil.example:{port}\r\nOrigin: http://evil.example:{port}\r\n"),
        "Host: evil.example\r\n".to_owned(),
        format!("{HOST}Origin: http://evil.example\r\n"),
        format!("{HOST}Origin: http://localhost:3000\r\n"),
        format!("{HOST}Origin: null\r\n"),
        format!("{HOST}Sec-Fetch-Site: cross-site\r\n"),
        format!("{HOST}Sec-Fetch-Site: same-site\r\n"),
    ] {
        for (method, target) in [
            ("GET", "/v1/secrets"),
            ("POST", "/v1/secrets"),
            ("OPTIONS", "/v1/secrets"),
            ("GET", "/_proxy/status"),
        ] {
            let answer = proxy.call(method, target, &format!("{headers}{key}"), "");
            answer.error(403, "FORBIDDEN");
            let cors = answer.headers.iter().any(|(name, _)| name.starts_with("access-control"));
            assert!(!cors, "{headers}");
        }
    }
    assert_eq!(answered(&appliance, &claimed.owner), before, "nothing reached the instance");
    let own = format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n{key}");
    assert_eq!(proxy.call("GET", "/v1/secrets", &own, "").status, 200);
}

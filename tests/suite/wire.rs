//! What a hostile peer does with HTTP itself: framing that two readers read differently, answers
//! split by what a caller sent, other protocols, and more of everything than there should be.

use neo_secrets_tests::appliance::{Appliance, Home};
use neo_secrets_tests::http::Answer;
use serde_json::json;

const HOST: &str = "Host: localhost\r\n";
const LIVE: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Comes last: its answer is the last one of the connection.
const LAST: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: last\r\n\
                    Connection: close\r\n\r\n";

/// A request that creates a secret, to be smuggled.
fn create(admin: &str, name: &str) -> String {
    let body = json!({"name": name, "value": "x"}).to_string();
    format!("POST /v1/secrets HTTP/1.1\r\n{}{body}", json_head(admin, body.len()))
}

fn json_head(admin: &str, length: usize) -> String {
    let key = format!("Authorization: Bearer {admin}\r\nContent-Type: application/json\r\n");
    format!("{HOST}{key}Content-Length: {length}\r\n\r\n")
}

fn secrets(appliance: &Appliance<'_>, admin: &str) -> u64 {
    let list = appliance.connect().call("GET", "/v1/secrets", admin, None).json();
    list["pagination"]["total"].as_u64().unwrap()
}

fn answers(appliance: &Appliance<'_>, bytes: &[u8]) -> Vec<Answer> {
    Answer::parse_all(&appliance.connect().until_closed(bytes), &[])
}

/// One answer, 400, and the end of the connection.
#[track_caller]
fn assert_refused(appliance: &Appliance<'_>, bytes: &[u8]) {
    let answers = answers(appliance, bytes);
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    assert_eq!(answers.len(), 1, "{shown:?}: {answers:?}");
    answers[0].error(400, "INVALID_REQUEST");
    assert_eq!(answers[0].header("connection"), Some("close"), "{shown:?}");
}

#[test]
fn request_smuggling_by_framing_is_refused_and_runs_nothing() {
    let home = Home::usual();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let smuggled = create(&admin, "smuggled");
    let post = |headers: &str, body: &str| {
        let key = format!("Authorization: Bearer {admin}\r\nContent-Type: application/json\r\n");
        format!("POST /v1/secrets HTTP/1.1\r\n{HOST}{key}{headers}\r\n{body}{smuggled}{LAST}")
    };
    for headers in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: 0\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: 2 2\r\n",
        "Content-Length: 2.0\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length : 2\r\n",
        " Content-Length: 2\r\n",
        "X: y\r\n Content-Length: 2\r\n",
        "X: y\r\n\tContent-Length: 2\r\n",
        "Content-Length: 2\nX: y\r\n",
        "Content-Length: 2\rX: y\r\n",
        "Content-Length: 2\0\r\n",
        "Content\0-Length: 2\r\n",
        "Content-Length\r\n",
        ": 2\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\x0b: chunked\r\n",
        "Host: elsewhere\r\n",
    ] {
        assert_refused(&appliance, post(headers, "{}").as_bytes());
    }
    for body in [
        "\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "+2\r\n{}\r\n0\r\n\r\n",
        "g\r\n{}\r\n0\r\n\r\n",
        "2 2\r\n{}\r\n0\r\n\r\n",
        "2 \r\n{}\r\n0\r\n\r\n",
        "2\n{}\r\n0\r\n\r\n",
        "2\r{}\r\n0\r\n\r\n",
        "2;x\n{}\r\n0\r\n\r\n",
        "2;x\0\r\n{}\r\n0\r\n\r\n",
        "1\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n",
        "10000000000000000\r\n{}\r\n0\r\n\r\n",
    ] {
        assert_refused(&appliance, post("Transfer-Encoding: chunked\r\n", body).as_bytes());
    }
    // In HTTP/1.0 there are no chunks.
    let old =
        post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n").replacen("HTTP/1.1", "HTTP/1.0", 1);
    assert_refused(&appliance, old.as_bytes());
    assert_eq!(secrets(&appliance, &admin), 0);
}

#[test]
fn request_smuggling_by_unusual_chunks_reads_the_body_to_its_end() {
    let home = Home::usual();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let key = format!("Authorization: Bearer {admin}\r\nContent-Type: application/json\r\n");
    for (n, body) in [
        "2\r\n{}\r\n0\r\n\r\n".to_owned(),
        "02\r\n{}\r\n000\r\n\r\n".to_owned(),
        "2;name=\"value\"\r\n{}\r\n0;last\r\n\r\n".to_owned(),
        format!("1\r\n{{\r\n1;{}\r\n}}\r\n0\r\n\r\n", "x".repeat(16_000)),
        // Trailers change nothing: no key, no length, no other request.
        format!("2\r\n{{}}\r\n0\r\nAuthorization: x\r\nContent-Length: 9\r\n{}\r\n\r\n", "X: y"),
        format!("2\r\n{{}}\r\n0\r\nX: {}\r\n\r\n", "y".repeat(16_000)),
    ]
    .into_iter()
    .enumerate()
    {
        let chunked = "Transfer-Encoding: chunked\r\n";
        let head = format!("POST /v1/secrets HTTP/1.1\r\n{HOST}{key}{chunked}\r\n");
        let answers = answers(&appliance, format!("{head}{body}{LAST}").as_bytes());
        assert_eq!(answers.len(), 2, "{n}: {answers:?}");
        answers[0].invalid("name");
        assert_eq!(answers[1].header("x-request-id"), Some("last"), "{n}");
    }
    // Chunks of many sizes, cut anywhere: the value is whole.
    let value = "0123456789abcdef".repeat(100);
    let body = json!({"name": "chunked", "value": value}).to_string();
    let chunks: String = body
        .as_bytes()
        .chunks(7)
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), str::from_utf8(chunk).unwrap()))
        .collect();
    let mut c = appliance.connect();
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    c.write(format!("POST /v1/secrets HTTP/1.1\r\n{HOST}{key}{chunked}").as_bytes()).unwrap();
    for piece in chunks.as_bytes().chunks(100) {
        c.write(piece).unwrap();
    }
    let made = Answer::parse_all(&c.until_closed(format!("0\r\n\r\n{LAST}").as_bytes()), &[]);
    assert_eq!((made.len(), made[0].status, made[1].status), (2, 201, 200));
    assert_eq!(secrets(&appliance, &admin), 1);
}

#[test]
fn pipelined_requests_have_one_answer_each_in_their_order() {
    let home = Home::usual();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let nonce = "/v1/attestation?nonce=AAAAAAAAAAAAAAAAAAAAAA";
    // Slow ones (a commit, a report) before others that an answer could be confused with.
    let batch = |round: usize| {
        let key = format!("Authorization: Bearer {admin}\r\n");
        let body = json!({"name": format!("n{round}"), "value": "x"}).to_string();
        let id = |n: usize| format!("X-Request-ID: r{n}\r\n");
        let typed = format!("{key}Content-Type: application/json\r\n");
        let length = format!("Content-Length: {}\r\n", body.len());
        let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        [
            format!("POST /v1/secrets HTTP/1.1\r\n{HOST}{typed}{length}{}\r\n{body}", id(0)),
            format!("HEAD /v1/secrets HTTP/1.1\r\n{HOST}{key}{}\r\n", id(1)),
            format!("GET {nonce} HTTP/1.1\r\n{HOST}{}\r\n", id(2)),
            format!("HEAD /healthz HTTP/1.1\r\n{HOST}{}\r\n", id(3)),
            format!(
                "POST /v1/secrets HTTP/1.1\r\n{HOST}{typed}Transfer-Encoding: chunked\r\n{}\r\n\
                 {chunks}",
                id(4)
            ),
            format!("GET {nonce} HTTP/1.1\r\n{HOST}{}\r\n", id(5)),
            format!("GET /nowhere HTTP/1.1\r\n{HOST}{}\r\n", id(6)),
            format!("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n{}\r\n", id(7)),
            format!("GET {nonce} HTTP/1.1\r\n{HOST}{}\r\n", id(8)),
            format!("\r\n\r\nGET /healthz HTTP/1.1\r\n{HOST}Connection: close\r\n{}\r\n", id(9)),
            // After the close that was asked for, nothing is answered, and nothing runs.
            create(&admin, "after-the-close"),
        ]
        .concat()
    };
    for (round, cut) in [usize::MAX, 1_000, 100, 3].into_iter().enumerate() {
        let (batch, mut c) = (batch(round), appliance.connect());
        for piece in batch.as_bytes().chunks(cut.min(batch.len())) {
            if c.write(piece).is_err() {
                break; // behind the close
            }
        }
        let answers = Answer::parse_all(&c.rest(), &[1, 3]);
        let ids: Vec<_> = answers.iter().map(|answer| answer.header("x-request-id")).collect();
        let expected: Vec<_> = (0..10).map(|n| format!("r{n}")).collect();
        assert_eq!(ids, expected.iter().map(|id| Some(id.as_str())).collect::<Vec<_>>());
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [201, 200, 200, 200, 409, 200, 404, 200, 200, 200]);
        for n in [2, 5, 8] {
            assert_eq!(answers[n].json()["claims"]["phase"], "serving");
        }
    }
    assert_eq!(secrets(&appliance, &admin), 4);
    let many = LIVE.repeat(500) + LAST;
    assert_eq!(answers(&appliance, many.as_bytes()).len(), 501);
}

#[test]
fn answers_on_a_half_closed_connection_are_sent_whole() {
    let home = Home::usual();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let ended = "The body ended before it was whole.";
    let cut = create(&admin, "cut").strip_suffix("}").unwrap().to_owned();
    for (request, statuses, message) in [
        (create(&admin, "whole"), &[201][..], None),
        (format!("{LIVE}{LIVE}"), &[200, 200], None),
        ("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), &[404], None),
        ("nothing\r\n\r\n".to_owned(), &[400], Some("This is no valid HTTP/1.1 request.")),
        (format!("{LIVE}{cut}"), &[200, 400], Some(ended)),
        // A head that never ends is no request.
        ("GET /healthz HTTP/1.1\r\n".to_owned(), &[], None),
        (String::new(), &[], None),
    ] {
        let mut c = appliance.connect();
        c.write(request.as_bytes()).unwrap();
        c.close_half();
        let answers = Answer::parse_all(&c.rest(), &[]);
        let got: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(got, statuses, "{request:?}");
        if let Some(message) = message {
            assert_eq!(answers.last().unwrap().json()["error"]["message"], message);
        }
    }
    assert_eq!(secrets(&appliance, &admin), 1, "half a body creates nothing");
}

#[test]
fn response_splitting_by_what_a_caller_sent_adds_no_header() {
    let home = Home::usual();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let key = format!("Authorization: Bearer {admin}\r\n");
    let typed = format!("{key}Content-Type: application/json\r\n");
    let split = "%0d%0aSet-Cookie:%20a=b%0d%0a%0d%0aHTTP/1.1%20200%20OK";
    let json_split = r"a\r\nSet-Cookie: a=b\r\n\r\nHTTP/1.1 200 OK";
    let unicode = "a\u{560d}\u{560a}Set-Cookie: a=b\u{2028}\u{85}\u{1b}[31m\u{7f}";
    let body = |text: String| Some(text.into_bytes());
    let id = |id: &str| format!("X-Request-ID: {id}\r\n");
    let mut c = appliance.connect();
    for (method, target, headers, body) in [
        ("GET", format!("/v1/{split}"), key.clone(), None),
        ("GET", format!("/v1/secrets/{split}"), key.clone(), None),
        ("GET", format!("/v1/secrets?{split}=1"), key.clone(), None),
        ("GET", format!("/v1/secrets?limit={split}"), key.clone(), None),
        ("GET", format!("/v1/attestation?nonce={split}"), String::new(), None),
        ("GET", "/healthz".to_owned(), id(split), None),
        ("GET", "/healthz".to_owned(), id("a\tb"), None),
        ("GET", "/healthz".to_owned(), id("a\u{e9}\u{560d}\u{560a}"), None),
        ("GET", "/healthz".to_owned(), id("a") + &id("b"), None),
        ("POST", "/v1/secrets".to_owned(), typed.clone(), body(format!("{{\"{json_split}\":1}}"))),
        ("POST", "/v1/secrets".to_owned(), typed.clone(), body(format!("{{\"{unicode}\":1}}"))),
        (
            "POST",
            "/v1/secrets".to_owned(),
            typed.clone(),
            body(format!("{{\"name\":\"{json_split}\",\"value\":\"x\"}}")),
        ),
        (
            "POST",
            "/v1/secrets".to_owned(),
            format!(
                "{typed}Origin: http://evil\r\nForwarded: host=evil\r\nX-Forwarded-Host: evil\r\n"
            ),
            body(json!({"name": "a", "value": "x", "description": unicode}).to_string()),
        ),
    ] {
        let answer = c.send(method, &target, &headers, body.as_deref());
        let known = [
            "content-length",
            "content-type",
            "cache-control",
            "x-request-id",
            "date",
            "location",
            "etag",
            "x-ratelimit-limit",
            "x-ratelimit-remaining",
            "x-ratelimit-reset",
        ];
        let mut names: Vec<_> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "a header twice: {answer:?}");
        assert!(names.iter().all(|name| known.contains(name)), "{target}: {answer:?}");
        let clean = |text: &str| !text.contains(|c: char| c.is_control());
        assert!(answer.headers.iter().all(|(_, value)| clean(value)), "{answer:?}");
        let text = String::from_utf8(answer.body.clone()).unwrap();
        assert!(clean(&text.replace('\u{85}', "")) || answer.status == 201, "{text:?}");
        answer.json();
        if let Some(location) = answer.header("location") {
            assert!(location.starts_with("/v1/secrets/sec_"), "{location}");
        }
    }
}

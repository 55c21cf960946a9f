//! What hosts answer, well or badly.

use std::time::Duration;

use super::world::Act;
use super::*;

const MIB: usize = 1_048_576;

async fn of(act: impl Fn() -> Act + Send + Sync + 'static) -> Result<FetchResponse, Failure> {
    World::with(move |_| act()).fetch(get("https://api.test/")).await
}

fn raw(text: &str) -> Act {
    Act::Send(text.replace('\n', "\r\n").into_bytes())
}

fn broken() -> Failure {
    refused(Refusal::Broken { host: name("api.test") })
}

#[tokio::test]
async fn every_framing_of_a_body_is_read() {
    for (text, body) in [
        ("HTTP/1.1 200 OK\nContent-Length: 2\n\nab", "ab"),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n1\na\n1;x=y\nb\n0\n\n", "ab"),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nab\n0\nX-Trailer: 1\n\n", "ab"),
        ("HTTP/1.1 200 OK\n\nab", "ab"),
        ("HTTP/1.0 200 OK\n\nab", "ab"),
        ("HTTP/1.1 200 OK\nContent-Length: 2\n\nabc", "ab"),
        ("HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nContent-Length: 2\n\nab", "ab"),
        ("HTTP/1.1 103 Early Hints\nLink: x\n\nHTTP/1.1 204 No Content\n\n", ""),
        ("HTTP/1.1 304 Not Modified\nContent-Length: 5\n\n", ""),
    ] {
        let response =
            of(move || raw(text)).await.unwrap_or_else(|failure| panic!("{text}: {failure:?}"));
        assert_eq!(response.body, body.as_bytes(), "{text}");
    }
    let head = World::with(|_| raw("HTTP/1.1 200 OK\nContent-Length: 5000\n\n"));
    let response = head.fetch(request("HEAD", "https://api.test/")).await.unwrap();
    assert_eq!(
        (response.body.len(), find(&response, "content-length")),
        (0, vec![b"5000".as_slice()])
    );
}

#[tokio::test]
async fn what_is_not_whole_or_not_http_is_no_response() {
    for text in [
        "",
        "HTTP/1.1 200 OK\n",
        "HTTP/1.1 200 OK\nContent-Length: 5\n\nab",
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nab",
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nab\n",
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nx\nab\n0\n\n",
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nffffffffffffffffff\nab",
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n-1\nab\n0\n\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 3\n\nabc",
        "HTTP/1.1 200 OK\nContent-Length: -1\n\nabc",
        "HTTP/1.1 200 OK\nContent-Length: 99999999999999999999\n\nabc",
        "HTTP/1.1 200 OK\nX Y: 1\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\nX: a\n b\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\nX: a\0b\nContent-Length: 0\n\n",
        "HTTP/1.1 2000 OK\n\n",
        "HTTP/1.1 20 OK\n\n",
        "HTTP/0.9 200 OK\n\n",
        "HTTP/2 200 OK\n\n",
        "<html>hello</html>",
        "SSH-2.0-OpenSSH_9.9\n",
    ] {
        assert_eq!(of(move || raw(text)).await.unwrap_err(), broken(), "{text:?}");
    }
    // A body that ends with its connection needs the end of TLS: else anybody could cut it.
    let cut = of(|| Act::Break(b"HTTP/1.1 200 OK\r\n\r\nab".to_vec())).await.unwrap_err();
    assert_eq!(cut, broken());
    for status in ["101 Switching Protocols", "600 X", "999 X"] {
        let failure =
            of(move || raw(&format!("HTTP/1.1 {status}\nUpgrade: x\nConnection: upgrade\n\n")));
        let status_refused = refused(Refusal::Status { host: name("api.test") });
        assert_eq!(failure.await.unwrap_err(), status_refused, "{status}");
    }
}

#[tokio::test]
async fn bodies_have_at_most_five_mebibytes() {
    let sized = |bytes: usize| {
        of(move || {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
            Act::Send([head.into_bytes(), vec![b'x'; bytes]].concat())
        })
    };
    assert_eq!(sized(5 * MIB).await.unwrap().body.len(), 5 * MIB);
    assert_eq!(sized(5 * MIB + 1).await.unwrap_err(), refused(Refusal::Body));
    let announced =
        of(|| Act::Hang(b"HTTP/1.1 200 OK\r\nContent-Length: 5242881\r\n\r\n".to_vec()));
    assert_eq!(announced.await.unwrap_err(), refused(Refusal::Body));
    let chunk = || [b"10000\r\n".to_vec(), vec![b'x'; 65_536], b"\r\n".to_vec()].concat();
    let head = || b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let endless = of(move || Act::Endless(head(), chunk())).await.unwrap_err();
    assert_eq!(endless, refused(Refusal::Body));
    let unframed = of(|| Act::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 65_536]));
    assert_eq!(unframed.await.unwrap_err(), refused(Refusal::Body));
}

#[tokio::test]
async fn heads_are_bounded() {
    let headers = |count: usize, bytes: usize| {
        let lines: String =
            (0..count).map(|n| format!("x{n}: {}\r\n", "v".repeat(bytes))).collect();
        of(move || Act::Send(format!("HTTP/1.1 200 OK\r\n{lines}\r\n").into_bytes()))
    };
    assert_eq!(headers(100, 100).await.unwrap().headers.len(), 100);
    assert_eq!(headers(101, 1).await.unwrap_err(), refused(Refusal::Head));
    assert_eq!(headers(1, 8_192).await.unwrap().headers.len(), 1);
    assert_eq!(headers(1, 8_193).await.unwrap_err(), refused(Refusal::Head));
    assert_eq!(headers(20, 8_000).await.unwrap_err(), refused(Refusal::Head));
    let long_name =
        of(|| raw(&format!("HTTP/1.1 200 OK\n{}: 1\nContent-Length: 0\n\n", "x".repeat(257))));
    assert_eq!(long_name.await.unwrap_err(), refused(Refusal::Head));
    let endless = of(|| Act::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".to_vec()));
    assert_eq!(endless.await.unwrap_err(), refused(Refusal::Head));
    let line = of(|| Act::Endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'y'; 1_000]));
    assert_eq!(line.await.unwrap_err(), refused(Refusal::Head));
    let trailers = of(|| {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n".to_vec();
        Act::Endless(head, b"x: y\r\n".to_vec())
    });
    assert!(trailers.await.is_err());
    let phrase = of(|| raw(&format!("HTTP/1.1 200 {}\nContent-Length: 0\n\n", "é".repeat(200))));
    assert!(phrase.await.is_ok_and(|response| response.status_text.len() <= 128));
}

#[tokio::test]
async fn nobody_waits_without_end() {
    let limit = Duration::from_millis(50);
    for act in [
        || Act::Hang(Vec::new()),
        || Act::Hang(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab".to_vec()),
        || Act::Endless(Vec::new(), b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
    ] {
        let world = World::with(move |_| act());
        let failure = world.fetch_within(limit, get("https://api.test/")).await.unwrap_err();
        assert_eq!(failure, refused(Refusal::Timeout));
    }
}

#[tokio::test]
async fn large_answers_share_their_room_and_small_ones_need_none() {
    let world = World::with(|request| {
        let size = if request.starts_with("GET /large ") { 65_537 } else { 65_535 };
        answer("200 OK", &"x".repeat(size))
    });
    let egress = world.egress();
    let rules = world.rules();
    let other = world.rules_of(AccountId::from_bytes([2; 18]));
    let mut held = egress.pieces.none(ACCOUNT);
    held.grow(limits::EGRESS_PIECES / 2).unwrap();
    let fetch =
        |path: &str| egress.fetch(&rules, &Nobody, get(&format!("https://api.test/{path}")));
    assert_eq!(fetch("large").await.unwrap_err(), refused(Refusal::Busy));
    assert!(fetch("small").await.is_ok());
    let others = egress.fetch(&other, &Nobody, get("https://api.test/large"));
    assert!(others.await.is_ok(), "an account may not take what another needs");
    drop(held);
    assert!(fetch("large").await.is_ok());
    assert!(egress.pieces.none(ACCOUNT).grow(limits::EGRESS_PIECES).is_ok(), "all is free again");
}

#[tokio::test]
async fn encoded_bodies_stay_as_they_are() {
    let response =
        of(|| answer("200 OK\nContent-Encoding: gzip", "\u{1f}\u{8b}-like")).await.unwrap();
    assert_eq!(find(&response, "content-encoding"), [b"gzip"]);
    assert_eq!(response.body, "\u{1f}\u{8b}-like".as_bytes());
}

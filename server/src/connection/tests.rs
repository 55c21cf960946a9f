use super::*;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(60);
const BARE: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
const OURS: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-request-id: HTTP/1.1\r\n\r\n";

fn watched(between_calls: Duration, head: Duration) -> (Watched<DuplexStream, ()>, DuplexStream) {
    let (near, far) = duplex(1_024);
    (Watched::new(near, (), Patience { between_calls, head, end: SHORT }), far)
}

#[test]
fn only_the_librarys_own_answer_is_bare() {
    let before = |written: &str| bare_answer(written.as_bytes()).map(|(before, _)| before.len());
    assert_eq!(before(BARE), Some(0));
    for first in [
        format!("{OURS}{{}}"),
        format!("{OURS}\"HTTP/1.1 200\""),
        OURS.to_owned(),
        "HTTP/1.1 100 Continue\r\n\r\n".to_owned(),
        "cut off: in a head\r\n\r\n{}".to_owned(),
    ] {
        assert_eq!(before(&first), None, "{first}");
        assert_eq!(before(&format!("{first}{BARE}")), Some(first.len()), "{first}");
    }
    let empty = OURS.replace("length: 2", "length: 0");
    for written in [&BARE[..BARE.len() - 1], "", "\r\n\r\n", &empty, &BARE.replace(": 0", ": 9")] {
        assert_eq!(before(written), None, "{written}");
    }
}

#[tokio::test]
async fn a_later_head_ends_in_time_and_nothing_else_is_cut() {
    let (mut watched, mut far) = watched(LONG, SHORT);
    let mut byte = [0; 1];
    // The first head has no deadline here, nor has what comes while a call runs.
    far.write_all(b"G").await.unwrap();
    assert_eq!(watched.read(&mut byte).await.unwrap(), 1);
    let call = watched.calls().begin(Framing::Length(0));
    far.write_all(b"G").await.unwrap();
    assert_eq!(watched.read(&mut byte).await.unwrap(), 1);
    watched.flush().await.unwrap();
    assert!(watched.wait == Wait::Call);
    drop(call);
    far.write_all(b"G").await.unwrap();
    assert_eq!(watched.read(&mut byte).await.unwrap(), 1);
    assert!(watched.wait == Wait::Head);
    // A call that begins and ends at once resets it.
    drop(watched.calls().begin(Framing::Length(0)));
    watched.flush().await.unwrap();
    assert!(watched.wait == Wait::Call);
    far.write_all(b"G").await.unwrap();
    assert_eq!(watched.read(&mut byte).await.unwrap(), 1);
    assert_eq!(watched.read(&mut byte).await.unwrap(), 0, "late: as if the peer had closed");
}

/// Whether the library is given nothing now.
async fn holds(watched: &mut Watched<DuplexStream, ()>) -> bool {
    tokio::time::timeout(SHORT, watched.read(&mut [0; 100])).await.is_err()
}

async fn given(watched: &mut Watched<DuplexStream, ()>) -> String {
    let mut bytes = [0; 100];
    let read = watched.read(&mut bytes).await.unwrap();
    str::from_utf8(&bytes[..read]).unwrap().to_owned()
}

#[tokio::test]
async fn the_next_request_is_given_when_the_call_of_the_last_has_ended() {
    let (mut watched, mut far) = watched(LONG, LONG);
    let calls = watched.calls();
    let (post, get) = ("POST / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\n\r\n");
    far.write_all(format!("{post}ab{get}").as_bytes()).await.unwrap();
    far.shutdown().await.unwrap();

    assert_eq!(given(&mut watched).await, post);
    assert!(holds(&mut watched).await, "no call has begun");
    let call = calls.begin(Framing::Length(2));
    assert_eq!(given(&mut watched).await, "ab");
    assert!(holds(&mut watched).await, "the call runs");
    let (next, ()) = tokio::join!(given(&mut watched), async { drop(call) });
    assert_eq!(next, get);
    let call = calls.begin(Framing::Length(0));
    assert!(holds(&mut watched).await, "the peer has closed its half, and still has its answer");
    drop(call);
    assert_eq!(given(&mut watched).await, "");
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_left_between_calls() {
    let (mut watched, _far) = watched(SHORT, LONG);
    let call = watched.calls().begin(Framing::Length(0));
    watched.write_all(&[0; 1_024]).await.unwrap();
    drop(call);
    assert_eq!(watched.write(&[0]).await.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_refusal_is_read_whole_and_waits_for_the_peer_for_a_bounded_time() {
    let (mut watched, mut far) = watched(LONG, LONG);
    far.write_all(&[b'x'; 1_000]).await.unwrap();
    let (written, answer) = tokio::join!(watched.write(BARE.as_bytes()), async {
        let mut answer = String::new();
        far.read_to_string(&mut answer).await.unwrap();
        drop(far);
        answer
    });
    assert_eq!(written.unwrap(), BARE.len());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n") && head.ends_with("\r\ndate: now"));
    assert_eq!(body["error"]["code"], "INVALID_REQUEST");

    let (mut watched, _far) = self::watched(LONG, LONG);
    let late = watched.write(BARE.as_bytes()).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::TimedOut);
}

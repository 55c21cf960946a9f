//! Which hosts, addresses and certificates are reached.

use super::world::{Act, clock, clock_at};
use super::*;

const TIMES: [&str; 2] = ["20250101000000Z", "20491231235959Z"];

fn hello(_: &str) -> Act {
    answer("200 OK\nX-A: 1", "hello")
}

#[tokio::test]
async fn a_listed_host_is_asked_as_http_has_it() {
    let world = World::with(hello);
    let mut post = request("POST", "https://API.test/a?b=c d#e");
    post.headers =
        vec![header("x-b", "2"), header("content-type", "text/plain"), header("x-b", "3")];
    post.body = Some(b"body".to_vec());
    let response = world.fetch(post).await.unwrap();
    assert_eq!((response.status, response.status_text.as_str()), (200, "OK"));
    assert_eq!((response.url.as_str(), response.redirected), ("https://api.test/a?b=c%20d", false));
    assert_eq!(
        (find(&response, "x-a"), response.body.as_slice()),
        (vec![b"1".as_slice()], b"hello".as_slice())
    );
    let [sent] = world.seen().try_into().unwrap();
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    lines[1..].sort_unstable();
    let expected = [
        "POST /a?b=c%20d HTTP/1.1",
        "accept-encoding: identity",
        "accept: */*",
        "connection: close",
        "content-length: 4",
        "content-type: text/plain",
        "host: api.test",
        "user-agent: neo-secrets",
        "x-b: 2",
        "x-b: 3",
    ];
    assert_eq!((lines.as_slice(), body), (expected.as_slice(), "body"));
}

#[tokio::test]
async fn headers_of_the_connection_are_the_servers_own() {
    let world = World::with(hello);
    let own = [
        ("host", "evil.test"),
        ("Connection", "keep-alive, x-kept"),
        ("content-length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("te", "trailers"),
        ("upgrade", "h2c"),
        ("expect", "100-continue"),
        ("proxy-authorization", "Basic x"),
        ("Proxy-Connection", "x"),
        ("sec-fetch-site", "x"),
        ("accept-encoding", "gzip"),
        ("via", "1.1 x"),
    ];
    let mut post = request("POST", "https://api.test/");
    post.headers = own.map(|(name, value)| header(name, value)).to_vec();
    post.headers.push(header("x-kept", "1"));
    post.body = Some(b"whole".to_vec());
    world.fetch(post).await.unwrap();
    let [sent] = world.seen().try_into().unwrap();
    let lower = sent.to_ascii_lowercase();
    for absent in [
        "evil",
        "keep-alive",
        "chunked",
        "\r\nte:",
        "h2c",
        "expect",
        "proxy",
        "sec-",
        "gzip",
        "via",
    ] {
        assert!(!lower.contains(absent), "{absent}: {sent}");
    }
    assert!(
        lower.contains("\r\nx-kept: 1\r\n") && lower.contains("\r\ncontent-length: 5\r\n"),
        "{sent}"
    );
    assert_eq!(lower.matches("\r\nhost:").count(), 1);
}

#[tokio::test]
async fn no_request_becomes_two() {
    let world = World::with(hello);
    for (name, value) in [
        ("x", "a\r\nhost: evil.test"),
        ("x", "a\n"),
        ("x", "a\r"),
        ("x", "a\0"),
        ("x\r\ny", "a"),
        ("x: y", "a"),
        ("", "a"),
        ("x y", "a"),
    ] {
        let mut wrong = get("https://api.test/");
        wrong.headers = vec![header(name, value)];
        let failure = world.fetch(wrong).await.unwrap_err();
        assert!(
            failure.0.starts_with("the header ") && failure.0.ends_with(" is malformed"),
            "{failure:?}"
        );
    }
    for method in ["", "GET /x HTTP/1.1\r\nHost:", "GET ", "CONNECT", "TRACE", "track", "G\u{e4}T"]
    {
        let failure = world.fetch(request(method, "https://api.test/")).await.unwrap_err();
        assert_eq!(failure, refused(Refusal::Method), "{method}");
    }
    for method in ["GET", "HEAD"] {
        let body = FetchRequest { body: Some(Vec::new()), ..request(method, "https://api.test/") };
        assert_eq!(world.fetch(body).await.unwrap_err(), refused(Refusal::BodyOfGet));
    }
    // Every byte of a URL that could end the line is escaped.
    world.fetch(get("https://api.test/a b\r\nX: y\u{0}\u{85}")).await.unwrap();
    let [sent] = world.seen().try_into().unwrap();
    assert!(sent.starts_with("GET /a%20bX:%20y%00%C2%85 HTTP/1.1\r\n"), "{sent}");
}

#[tokio::test]
async fn a_host_that_is_not_listed_is_not_even_looked_up() {
    let world = World::with(hello);
    let rules = Rules::new(ACCOUNT, vec![host("other.test")], REFERENCE.to_owned());
    let failure =
        world.egress().fetch(&rules, &Nobody, get("https://api.test/")).await.unwrap_err();
    assert_eq!(failure.0, "api.test is not in the function's egress list");
    assert_eq!(world.dialed(), [""; 0]);
    let long = get(&format!("https://{}.test/", "x.".repeat(2_000)));
    assert!(world.fetch(long).await.unwrap_err().0.len() <= 512);
}

#[tokio::test]
async fn addresses_are_public_and_what_was_checked_is_dialed() {
    for private in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1"]
    {
        let mut world = World::with(hello);
        world.put(private.trim_start_matches("::ffff:"), world.site(&["api.test"], TIMES, hello));
        for answer in [vec![private], vec!["1.1.1.1", private], vec![private, "1.1.1.1"]] {
            world.names("api.test", &[&answer]);
            let failure = world.fetch(get("https://api.test/")).await.unwrap_err();
            assert_eq!(failure, refused(Refusal::NotPublic { host: name("api.test") }));
            assert!(!failure.0.contains(private));
        }
        // The name answers differently the second time, when nobody asks.
        world.names("api.test", &[&["1.1.1.1"], &[private]]);
        world.fetch(get("https://api.test/")).await.unwrap();
        assert_eq!(world.dialed(), ["1.1.1.1"]);
    }
}

#[tokio::test]
async fn a_few_addresses_are_tried_in_turn() {
    let mut world = World::with(hello);
    world.names("api.test", &[&["2606:4700::1", "2.2.2.2", "1.1.1.1"]]);
    world.fetch(get("https://api.test/")).await.unwrap();
    assert_eq!(world.dialed(), ["2606:4700::1", "2.2.2.2", "1.1.1.1"]);
    let mut world = World::with(hello);
    world.names("api.test", &[&["2.2.2.2", "3.3.3.3", "4.4.4.4", "5.5.5.5", "1.1.1.1"]]);
    let failure = world.fetch(get("https://api.test/")).await.unwrap_err();
    assert_eq!(failure, refused(Refusal::Connect { host: name("api.test") }));
    assert_eq!(world.dialed().len(), 4);
    world.names("api.test", &[&[]]);
    let failure = world.fetch(get("https://api.test/")).await.unwrap_err();
    assert_eq!(failure, refused(Refusal::NotFound { host: name("api.test") }));
}

#[tokio::test]
async fn a_certificate_has_to_hold_and_nothing_is_sent_before() {
    let (stranger, mut world) = (World::new(), World::new());
    let expired = ["20200101000000Z", "20210101000000Z"];
    let early = ["20480101000000Z", "20491231235959Z"];
    for (strange, certified, times, why) in [
        (false, "other.test", TIMES, "its certificate is another host's"),
        (false, "*.api.test", TIMES, "its certificate is another host's"),
        (false, "api.test", expired, "its certificate has expired"),
        (false, "api.test", early, "its certificate is not valid yet"),
        (true, "api.test", TIMES, "its certificate is by no authority that is known"),
    ] {
        let authority = if strange { &stranger } else { &world };
        let site = authority.site(&[certified], times, hello);
        world.put("1.1.1.1", site);
        world.names("api.test", &[&["1.1.1.1"]]);
        let failure = world.fetch(get("https://api.test/")).await.unwrap_err();
        assert_eq!(failure, refused(Refusal::Tls { host: name("api.test"), why }), "{certified}");
        assert_eq!(world.seen(), [""; 0]);
    }
    // By the fixed roots nobody of these is known.
    let world = World::with(hello);
    let network = Network { roots: Network::internet().roots, ..world.network() };
    let egress = Egress::new(network, clock()).unwrap();
    let failure =
        egress.fetch(&world.rules(), &Nobody, get("https://api.test/")).await.unwrap_err();
    assert!(failure.0.ends_with("by no authority that is known"), "{failure:?}");
}

#[tokio::test]
async fn certificates_are_valid_by_the_servers_clock_alone() {
    let world = World::with(hello);
    let fetch = async |egress: Egress| {
        let answered = egress.fetch(&world.rules(), &Nobody, get("https://api.test/")).await;
        answered.map(drop).map_err(|failure| failure.0)
    };
    assert_eq!(fetch(world.egress_at(clock())).await, Ok(()));
    // By what time it is valid, whatever the machine says: 2024 and 2050.
    for (seconds, why) in [(1_710_000_000, "not valid yet"), (2_540_000_000, "has expired")] {
        let failure = fetch(world.egress_at(clock_at(seconds))).await.unwrap_err();
        assert!(failure.contains(why), "{failure}");
    }
}

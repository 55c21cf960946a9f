//! Redirects: where they may lead, and what goes on.

use super::world::Act;
use super::*;

fn to(status: &str, location: &str) -> Act {
    answer(&format!("{status}\nLocation: {location}"), "moved")
}

/// api.test, which redirects all but `/end`, and other.test, which redirects nothing.
fn two(status: &'static str, location: &'static str) -> World {
    let mut world = World::with(move |request| match request.contains(" /end ") {
        true => answer("200 OK", "end"),
        false => to(status, location),
    });
    world.host("other.test", "2.2.2.2", |_| answer("200 OK", "other"));
    world
}

fn with_credentials(method: &str) -> FetchRequest {
    let headers = [
        ("authorization", "Bearer a"),
        ("cookie", "b=c"),
        ("x-api-key", "d"),
        ("accept", "text/plain"),
        ("content-type", "text/x"),
        ("user-agent", "mine"),
    ];
    let headers = headers.map(|(name, value)| header(name, value)).to_vec();
    let body = (method != "GET" && method != "HEAD").then(|| b"body".to_vec());
    FetchRequest { headers, body, ..request(method, "https://api.test/start") }
}

#[tokio::test]
async fn methods_change_as_the_fetch_standard_says() {
    for (method, status, then) in [
        ("POST", "301 M", "GET"),
        ("POST", "302 M", "GET"),
        ("POST", "303 M", "GET"),
        ("POST", "307 M", "POST"),
        ("POST", "308 M", "POST"),
        ("PUT", "301 M", "PUT"),
        ("PUT", "302 M", "PUT"),
        ("PUT", "303 M", "GET"),
        ("DELETE", "307 M", "DELETE"),
        ("GET", "303 M", "GET"),
        ("HEAD", "303 M", "HEAD"),
        ("HEAD", "301 M", "HEAD"),
    ] {
        let world = two(status, "/end");
        let response = world.fetch(with_credentials(method)).await.unwrap();
        assert_eq!((response.url.as_str(), response.redirected), ("https://api.test/end", true));
        let [first, second] = world.seen().try_into().unwrap();
        assert!(first.starts_with(&format!("{method} /start HTTP/1.1\r\n")), "{first}");
        assert!(second.starts_with(&format!("{then} /end HTTP/1.1\r\n")), "{status}: {second}");
        // The same host: credentials stay. A body goes with its headers.
        assert!(
            second.contains("authorization: Bearer a\r\n") && second.contains("x-api-key: d\r\n")
        );
        let keeps_body = method == then;
        assert_eq!(second.contains("content-type: text/x\r\n"), keeps_body, "{method} {status}");
        let had_body = method != "GET" && method != "HEAD";
        assert_eq!(second.ends_with("\r\n\r\nbody"), keeps_body && had_body, "{method} {status}");
    }
}

#[tokio::test]
async fn no_credential_goes_to_another_host() {
    let world = two("307 Moved", "https://other.test/there");
    let response = world.fetch(with_credentials("POST")).await.unwrap();
    assert_eq!(
        (response.url.as_str(), response.body.as_slice()),
        ("https://other.test/there", b"other".as_slice())
    );
    let [_, second] = world.seen().try_into().unwrap();
    for kept in [
        "POST /there HTTP/1.1",
        "host: other.test",
        "accept: text/plain",
        "content-type: text/x",
        "user-agent: mine",
    ] {
        assert!(second.contains(&format!("{kept}\r\n")), "{kept}: {second}");
    }
    for dropped in ["authorization", "cookie", "x-api-key", "referer"] {
        assert!(!second.contains(dropped), "{dropped}: {second}");
    }
    // Nor back, by a detour.
    let mut world = World::with(|request| match request.contains(" /end ") {
        true => answer("200 OK", "end"),
        false => to("302 Found", "https://other.test/"),
    });
    world.host("other.test", "2.2.2.2", |_| to("302 Found", "https://api.test/end"));
    world.fetch(with_credentials("GET")).await.unwrap();
    let [_, _, third] = world.seen().try_into().unwrap();
    assert!(third.starts_with("GET /end ") && !third.contains("authorization"), "{third}");
}

#[tokio::test]
async fn each_target_is_checked_again() {
    for (location, why) in [
        ("http://api.test/", Refusal::NotHttps),
        ("https://evil.test/", Refusal::NotListed { host: name("evil.test") }),
        ("//evil.test/", Refusal::NotListed { host: name("evil.test") }),
        ("https://127.0.0.1/", Refusal::AddressLiteral),
        ("https://0x7f.1/", Refusal::AddressLiteral),
        ("https://[::1]/", Refusal::AddressLiteral),
        ("https://u:p@api.test/", Refusal::Credentials),
        ("https://api.test:22/", Refusal::Port { port: 22 }),
        ("file:///etc/passwd", Refusal::NotHttps),
        ("data:,x", Refusal::NotHttps),
    ] {
        let world = two("302 Found", location);
        let failure = world.fetch(get("https://api.test/")).await.unwrap_err();
        let expected = Refusal::RedirectTo { host: name("api.test"), why: Box::new(why) };
        assert_eq!(failure, refused(expected), "{location}");
        assert_eq!(world.dialed(), ["1.1.1.1"]);
    }
    // A listed host whose name leads inside.
    let mut world = two("302 Found", "https://other.test/");
    world.names("other.test", &[&["192.168.0.1"]]);
    let failure = world.fetch(get("https://api.test/")).await.unwrap_err();
    assert_eq!(failure, refused(Refusal::NotPublic { host: name("other.test") }));
    let world = World::with(|_| answer("302 Found\nLocation: /a\nLocation: /b", ""));
    let failure = world.fetch(get("https://api.test/")).await.unwrap_err();
    let why = Box::new(Refusal::Url);
    assert_eq!(failure, refused(Refusal::RedirectTo { host: name("api.test"), why }));
}

#[tokio::test]
async fn twenty_are_followed_and_no_more() {
    let hops = |last: usize| {
        World::with(move |request| {
            let hop: usize = request.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
            match hop == last {
                true => answer("200 OK", "end"),
                false => to("302 Found", &format!("/{}", hop + 1)),
            }
        })
    };
    let world = hops(20);
    assert_eq!(world.fetch(get("https://api.test/0")).await.unwrap().url, "https://api.test/20");
    let world = hops(21);
    let failure = world.fetch(get("https://api.test/0")).await.unwrap_err();
    assert_eq!(failure, refused(Refusal::Redirects));
    assert_eq!(world.seen().len(), 21);
}

#[tokio::test]
async fn the_code_may_ask_for_none() {
    let world = two("302 Found", "https://evil.test/x");
    let asks = |redirect| FetchRequest { redirect, ..get("https://api.test/") };
    let failure = world.fetch(asks(Redirect::Error)).await.unwrap_err();
    assert_eq!(failure, refused(Refusal::Redirected { host: name("api.test") }));
    let response = world.fetch(asks(Redirect::Manual)).await.unwrap();
    assert_eq!((response.status, response.redirected), (302, false));
    assert_eq!(find(&response, "location"), [b"https://evil.test/x"]);
    // A status without a location, or that is no redirect, is a response.
    for head in [
        "302 Found",
        "300 Multiple\nLocation: /a",
        "304 Not Modified\nLocation: /a",
        "201 Created\nLocation: /a",
    ] {
        let world = World::with(move |_| answer(head, ""));
        let response = world.fetch(get("https://api.test/")).await.unwrap();
        assert!(!response.redirected, "{head}");
    }
}

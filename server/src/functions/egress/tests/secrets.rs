//! Use-only secrets: where their values go, and every other place where they don't.

use std::sync::Mutex;

use data_encoding::{BASE64, HEXLOWER};

use super::world::Act;
use super::*;

const VALUE: &str = "sk_live_0123456789abcdef";

/// One secret, "key", for api.test in X-Key or Authorization.
#[derive(Default)]
struct Vault(Mutex<Vec<String>>);

impl UseOnlySecrets for Vault {
    async fn take(&self, usage: Use<'_>) -> Result<SecretValue, UseRefused> {
        let Use { secret, host, header } = usage;
        self.0.lock().unwrap().push(format!("{} {} {header}", secret.as_str(), host.as_str()));
        match secret.as_str() {
            "key" if host.as_str() != "api.test" => Err(UseRefused::Host),
            "key" if !["x-key", "authorization"].contains(&header) => Err(UseRefused::Header),
            "key" => Ok(SecretValue::parse(VALUE.to_owned()).unwrap()),
            "large" => Ok(SecretValue::parse("x".repeat(4_096)).unwrap()),
            "full" => Err(UseRefused::Unavailable),
            "readable" => Err(UseRefused::Readable),
            "other" => Err(UseRefused::Denied),
            _ => Err(UseRefused::NotFound),
        }
    }
}

impl Vault {
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn reference(name: &str) -> String {
    format!("{REFERENCE}{name}")
}

fn with(headers: &[(&str, &str)]) -> FetchRequest {
    let headers = headers.iter().map(|(name, value)| header(name, value)).collect();
    FetchRequest { headers, ..get("https://api.test/") }
}

fn hello(_: &str) -> Act {
    answer("200 OK", "hello")
}

#[tokio::test]
async fn a_placeholder_becomes_the_value_in_its_header() {
    let (world, vault) = (World::with(hello), Vault::default());
    for (value, expected) in [
        (reference("key"), VALUE.to_owned()),
        (format!("Bearer {}", reference("key")), format!("Bearer {VALUE}")),
        (format!("<{}>", reference("key")), format!("<{VALUE}>")),
        (format!("{0}:{0}", reference("key")), format!("{VALUE}:{VALUE}")),
    ] {
        let sent = world.fetch_with(&vault, with(&[("Authorization", &value), ("x-a", "b")])).await;
        assert_eq!(sent.unwrap().status, 200);
        let [seen] = world.seen().try_into().unwrap();
        assert!(seen.contains(&format!("\r\nauthorization: {expected}\r\n")), "{seen}");
        assert!(!seen.contains(REFERENCE), "{seen}");
        let taken = vault.taken();
        assert!(!taken.is_empty() && taken.iter().all(|use_| use_ == "key api.test authorization"));
    }
}

#[tokio::test]
async fn a_placeholder_elsewhere_is_refused_before_anything_leaves() {
    let (world, vault) = (World::with(hello), Vault::default());
    let key = reference("key");
    let misplaced = |place| refused(Refusal::Misplaced { place });
    let body = |body: &[u8]| FetchRequest {
        body: Some(body.to_vec()),
        ..request("POST", "https://api.test/")
    };
    let own = "value of a header that the server sets";
    for (request, expected) in [
        (get(&format!("https://api.test/?key={key}")), misplaced("URL")),
        (get(&format!("https://api.test/{key}")), misplaced("URL")),
        (get(&format!("https://api.test/#{key}")), misplaced("URL")),
        (get(&format!("https://{key}@api.test/")), misplaced("URL")),
        (body(format!("{{\"key\":\"{key}\"}}").as_bytes()), misplaced("body")),
        (body(&[b"\xff\0".as_slice(), key.as_bytes()].concat()), misplaced("body")),
        (with(&[(&key, "x")]), misplaced("name of a header")),
        (with(&[(&format!("X-{}", key.to_uppercase()), "x")]), misplaced("name of a header")),
        (with(&[("host", &key)]), misplaced(own)),
        (with(&[("Proxy-Authorization", &key)]), misplaced(own)),
        (with(&[("x-key", REFERENCE)]), refused(Refusal::Placeholder)),
        (with(&[("x-key", &format!("{REFERENCE} key"))]), refused(Refusal::Placeholder)),
        (
            with(&[("x-key", &format!("{REFERENCE}{}", "x".repeat(101)))]),
            refused(Refusal::Placeholder),
        ),
        (with(&[("x-key", &format!("{key} ").repeat(5))]), refused(Refusal::Placeholders)),
        (with(&[("x-key", key.as_str()); 5]), refused(Refusal::Placeholders)),
    ] {
        assert_eq!(world.fetch_with(&vault, request).await.unwrap_err(), expected);
    }
    assert_eq!((vault.taken(), world.dialed(), world.seen()), (vec![], vec![], vec![]));
}

#[tokio::test]
async fn the_store_decides_and_where_it_refuses_nothing_is_sent() {
    let (mut world, vault) = (World::with(hello), Vault::default());
    world.host("other.test", "2.2.2.2", hello);
    let refusal =
        |name: &str, why| refused(Refusal::UseOnly { name: name.to_owned(), refused: why });
    let key = reference("key");
    let elsewhere =
        FetchRequest { url: "https://other.test/".to_owned(), ..with(&[("x-key", &key)]) };
    for (request, expected) in [
        (elsewhere, refusal("key", UseRefused::Host)),
        (with(&[("x-other", &key)]), refusal("key", UseRefused::Header)),
        (with(&[("cookie", &format!("a={key}"))]), refusal("key", UseRefused::Header)),
        (with(&[("x-key", &key), ("x-other", &key)]), refusal("key", UseRefused::Header)),
        (with(&[("x-key", &reference("nobody"))]), refusal("nobody", UseRefused::NotFound)),
        (with(&[("x-key", &format!("{key}-more"))]), refusal("key-more", UseRefused::NotFound)),
        (with(&[("x-key", &reference("other"))]), refusal("other", UseRefused::Denied)),
        (with(&[("x-key", &reference("readable"))]), refusal("readable", UseRefused::Readable)),
        (with(&[("x-key", &reference("full"))]), refusal("full", UseRefused::Unavailable)),
        (
            with(&[("x-key", &format!("{0} {0}", reference("large")))]),
            refused(Refusal::Filled { name: name("x-key") }),
        ),
    ] {
        let failure = world.fetch_with(&vault, request).await.unwrap_err();
        assert_eq!(failure, expected);
        assert!(!failure.0.contains(VALUE));
        assert_eq!(world.seen(), [""; 0]);
    }
}

#[tokio::test]
async fn no_value_is_taken_for_a_host_that_does_not_show_its_certificate() {
    let (mut world, vault) = (World::with(hello), Vault::default());
    let impostor = world.site(&["evil.test"], ["20250101000000Z", "20491231235959Z"], hello);
    world.put("1.1.1.1", impostor);
    let request = || with(&[("x-key", &reference("key"))]);
    let failure = world.fetch_with(&vault, request()).await.unwrap_err();
    assert!(failure.0.contains("another host's"), "{failure:?}");
    world.names("api.test", &[&["10.0.0.1"]]);
    assert!(world.fetch_with(&vault, request()).await.is_err());
    assert_eq!(vault.taken(), [""; 0]);
}

#[tokio::test]
async fn such_a_request_follows_no_redirect() {
    for location in ["/same-host", "https://other.test/", "https://evil.test/"] {
        let mut world = World::with(move |_| answer(&format!("307 M\nLocation: {location}"), ""));
        world.host("other.test", "2.2.2.2", hello);
        let vault = Vault::default();
        for redirect in [Redirect::Follow, Redirect::Error] {
            let request = FetchRequest { redirect, ..with(&[("x-key", &reference("key"))]) };
            let failure = world.fetch_with(&vault, request).await.unwrap_err();
            assert_eq!(failure, refused(Refusal::RedirectedWithSecret { host: name("api.test") }));
            assert_eq!(world.seen().len(), 1);
        }
        let manual =
            FetchRequest { redirect: Redirect::Manual, ..with(&[("x-key", &reference("key"))]) };
        let response = world.fetch_with(&vault, manual).await.unwrap();
        assert_eq!(
            (response.status, find(&response, "location")),
            (307, vec![location.as_bytes()])
        );
        assert_eq!(world.seen().len(), 1);
    }
}

#[tokio::test]
async fn an_answer_that_repeats_the_value_is_masked() {
    let world = World::with(|request| {
        let line = request.lines().find(|line| line.starts_with("authorization: ")).unwrap();
        let value = line.trim_start_matches("authorization: ");
        let (base64, hex) = (BASE64.encode(value.as_bytes()), HEXLOWER.encode(value.as_bytes()));
        let head = format!("200 {value}\nX-Echo: {value}\nX-Base64: {base64}");
        answer(&head, &format!("{request}\n{base64}\n{hex}"))
    });
    let request = with(&[("authorization", &format!("Bearer {}", reference("key")))]);
    let response = world.fetch_with(&Vault::default(), request).await.unwrap();
    let everything = format!("{response:?} {}", String::from_utf8_lossy(&response.body));
    assert!(!everything.contains(VALUE), "{everything}");
    assert!(!everything.contains(&HEXLOWER.encode(VALUE.as_bytes())), "{everything}");
    assert_eq!(find(&response, "x-echo"), [b"Bearer ***"]);
    assert_eq!(response.status_text, "Bearer ***");
    // A value that was not used in this request is not looked for.
    let world = World::with(|_| answer("200 OK", VALUE));
    assert_eq!(world.fetch(with(&[])).await.unwrap().body, VALUE.as_bytes());
}

#[tokio::test]
async fn without_a_reference_nothing_is_a_placeholder() {
    let world = World::with(hello);
    let rules = Rules::new(ACCOUNT, vec![host("api.test")], String::new());
    let request = with(&[("x-key", "key")]);
    assert_eq!(world.egress().fetch(&rules, &Nobody, request).await.unwrap().status, 200);
}

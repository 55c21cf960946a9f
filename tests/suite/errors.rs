//! Every error of the API's table, with the documented body.

use neo_secrets_tests::appliance::{Appliance, CONFIG, Home, chip};
use neo_secrets_tests::http::Connection;
use serde_json::{Value, json};
use snp_simulator::Product;

struct Setup<'a> {
    connection: Connection,
    admin: String,
    owner: String,
    appliance: &'a Appliance<'a>,
}

fn setup<'a>(appliance: &'a Appliance<'a>) -> Setup<'a> {
    let claimed = appliance.claim();
    let connection = appliance.connect();
    Setup { connection, admin: claimed.admin, owner: claimed.owner, appliance }
}

impl Setup<'_> {
    fn create(&mut self, body: &Value) -> neo_secrets_tests::http::Answer {
        self.connection.call("POST", "/v1/secrets", &self.admin, Some(body))
    }

    /// Sends a body as it stands.
    fn post(&mut self, body: &[u8]) -> neo_secrets_tests::http::Answer {
        let headers = self.headers("application/json");
        self.connection.send("POST", "/v1/secrets", &headers, Some(body))
    }

    fn headers(&self, content_type: &str) -> String {
        format!("Authorization: Bearer {}\r\nContent-Type: {content_type}\r\n", self.admin)
    }
}

#[test]
fn a_bad_field_is_named_with_its_rule() {
    let home = Home::usual();
    let appliance = home.start();
    let mut s = setup(&appliance);
    s.create(&json!({"value": "x"})).invalid("name");
    s.create(&json!({"name": "a"})).invalid("value");
    for name in ["", "-a", "a b", "a/b", "ä", &"a".repeat(101)] {
        s.create(&json!({"name": name, "value": "x"})).invalid("name");
    }
    for name in [json!(1), json!(null), json!(["a"]), json!({})] {
        s.create(&json!({"name": name, "value": "x"})).invalid("name");
    }
    s.create(&json!({"name": "a", "value": ""})).invalid("value");
    s.create(&json!({"name": "a", "value": "x".repeat(65537)})).invalid("value");
    s.create(&json!({"name": "a", "value": "x", "description": "d".repeat(501)}))
        .invalid("description");
    s.create(&json!({"name": "a", "value": "x", "tags": {"k": 1}})).invalid("tags");
    let many: serde_json::Map<_, _> = (0..21).map(|n| (n.to_string(), json!("v"))).collect();
    s.create(&json!({"name": "a", "value": "x", "tags": many})).invalid("tags");
    for time in
        ["tomorrow", "2030-01-01T00:00:00", "2030-01-01T00:00:00.5Z", "2030-13-01T00:00:00Z"]
    {
        s.create(&json!({"name": "a", "value": "x", "expiresAt": time})).invalid("expiresAt");
    }
    s.create(&json!({"name": "a", "value": "x", "colour": "red"})).invalid("colour");
    s.post(br#"{"name":"a","name":"b","value":"x"}"#).invalid("name");
    for body in
        ["", "{", "[]", "null", "\"a\"", r#"{"name":"a","value":"x"} x"#, "{\"name\":\"\\ud800\"}"]
    {
        s.post(body.as_bytes()).error(400, "INVALID_REQUEST");
    }
    s.post(b"{\"name\":\"\xff\",\"value\":\"x\"}").error(400, "INVALID_REQUEST");
    s.post("[".repeat(100_000).as_bytes()).error(400, "INVALID_REQUEST");
    for query in ["limit=0", "limit=101", "limit=-1", "limit=a", "limit=", "limit=1&limit=2"] {
        let target = format!("/v1/secrets?{query}");
        s.connection.call("GET", &target, &s.admin, None).invalid("limit");
    }
    for query in ["offset=-1", "offset=1.5", "offset=99999999999999999999"] {
        let target = format!("/v1/secrets?{query}");
        s.connection.call("GET", &target, &s.admin, None).invalid("offset");
    }
    s.connection.call("GET", "/v1/secrets?sort=name", &s.admin, None).invalid("sort");
    // Nothing of all that has left a trace.
    let list = s.connection.call("GET", "/v1/secrets", &s.admin, None).json();
    assert_eq!(list["pagination"]["total"], 0);
}

#[test]
fn unauthorized_is_one_message_for_every_cause() {
    let home = Home::usual();
    let appliance = home.start();
    let mut s = setup(&appliance);
    let expired =
        json!({"name": "e", "permissions": ["read"], "expiresAt": "2001-01-01T00:00:00Z"});
    let expired = s.connection.call("POST", "/v1/api-keys", &s.admin, Some(&expired)).json();
    let expired = expired["key"].as_str().unwrap();
    let new = json!({"name": "r", "permissions": ["read"]});
    let revoked = s.connection.call("POST", "/v1/api-keys", &s.admin, Some(&new)).json();
    let target = format!("/v1/api-keys/{}", revoked["id"].as_str().unwrap());
    assert_eq!(s.connection.call("DELETE", &target, &s.admin, None).status, 200);
    let mut messages = Vec::new();
    for header in [
        String::new(),
        "Authorization: Bearer\r\n".to_owned(),
        "Authorization: Basic eDp5\r\n".to_owned(),
        "Authorization: Bearer neo_short\r\n".to_owned(),
        format!("Authorization: Bearer {expired}\r\n"),
        format!("Authorization: Bearer {}\r\n", revoked["key"].as_str().unwrap()),
        format!("X-API-Key: {expired}\r\n"),
    ] {
        let answer = s.connection.send("GET", "/v1/secrets", &header, None);
        messages.push(answer.error(401, "UNAUTHORIZED")["message"].clone());
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "{messages:?}");
    // The same key by the other header is accepted, the same twice too; two different keys are not.
    let (one, other) = (&s.admin, &s.owner);
    let both = format!("X-API-Key: {one}\r\nAuthorization: Bearer {one}\r\n");
    assert_eq!(s.connection.send("GET", "/v1/secrets", &both, None).status, 200);
    let two = format!("X-API-Key: {one}\r\nAuthorization: Bearer {other}\r\n");
    s.connection.send("GET", "/v1/secrets", &two, None).error(400, "INVALID_REQUEST");
}

#[test]
fn permission_missing_is_named() {
    let home = Home::usual();
    let appliance = home.start();
    let mut s = setup(&appliance);
    let new = json!({"name": "r", "permissions": ["read"]});
    let key = s.connection.call("POST", "/v1/api-keys", &s.admin, Some(&new)).json();
    let key = key["key"].as_str().unwrap();
    let body = json!({"name": "a", "value": "x"});
    for (method, target, body, permission) in [
        ("POST", "/v1/secrets", Some(&body), "write"),
        ("DELETE", "/v1/secrets/sec_123456789", None, "admin"),
        ("GET", "/v1/api-keys", None, "admin"),
    ] {
        let error = s.connection.call(method, target, key, body).error(403, "FORBIDDEN");
        assert!(error["message"].as_str().unwrap().contains(permission), "{error}");
    }
    let owner = s.owner.clone();
    s.connection.call("GET", "/v1/secrets", &owner, None).error(403, "FORBIDDEN");
}

#[test]
fn unknown_paths_and_methods_are_answered_in_form() {
    let home = Home::usual();
    let appliance = home.start();
    let mut s = setup(&appliance);
    for target in [
        "/",
        "/v1",
        "/v1/",
        "/v1/secret",
        "/v1/secrets/",
        "/v2/secrets",
        "//v1/secrets",
        "/v1/secrets/%00",
        "/v1/secrets/%zz",
        "/v1/secrets/..%2f..",
        "/v1/secrets/a/b/c",
        "/v1/secrets/sec_123456789",
        "/v1/secrets/key_AAAAAAAAAAAAAAAAAAAAAAAA",
        "/v1/secrets/sec_AAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        s.connection.call("GET", target, &s.admin, None).error(404, "NOT_FOUND");
    }
    // Without a key too: 404 and 405 come before 401.
    s.connection.call("GET", "/nowhere", "", None).error(404, "NOT_FOUND");
    for (method, target, allow) in [
        ("PATCH", "/v1/secrets", "GET, POST"),
        ("DELETE", "/v1/secrets", "GET, POST"),
        ("BREW", "/v1/secrets", "GET, POST"),
        ("POST", "/v1/secrets/sec_AAAAAAAAAAAAAAAAAAAAAAAA", "DELETE, GET, PUT"),
        ("POST", "/v1/attestation", "GET"),
        ("GET", "/v1/claim", "POST"),
        ("POST", "/healthz", "GET"),
    ] {
        let answer = s.connection.call(method, target, "", None);
        answer.error(405, "METHOD_NOT_ALLOWED");
        let mut allowed: Vec<_> = answer.header("allow").unwrap().split(", ").collect();
        allowed.sort_unstable();
        allowed.retain(|method| *method != "HEAD");
        assert_eq!(allowed.join(", "), allow, "{method} {target}");
    }
}

#[test]
fn body_type_and_size_are_checked_after_the_key() {
    let home = Home::usual();
    let appliance = home.start();
    let mut s = setup(&appliance);
    let headers = s.headers("text/plain");
    let target = "/v1/secrets";
    s.connection.send("POST", target, &headers, Some(b"{}")).error(415, "UNSUPPORTED_MEDIA_TYPE");
    let bare = format!("Authorization: Bearer {}\r\n", s.admin);
    s.connection.send("POST", target, &bare, Some(b"{}")).error(415, "UNSUPPORTED_MEDIA_TYPE");
    let with_charset = s.headers("application/json; charset=utf-8");
    s.connection.send("POST", target, &with_charset, Some(b"{}")).invalid("name");
    let large = vec![b' '; 1024 * 1024 + 1];
    s.post(&large).error(413, "PAYLOAD_TOO_LARGE");
    let mut fresh = s.appliance.connect();
    fresh
        .send("POST", target, "Content-Type: text/plain\r\n", Some(b"x"))
        .error(401, "UNAUTHORIZED");
}

#[test]
fn conflict_precondition_quota_and_rate() {
    let limits = "[limits]\nsecrets_per_account = 2\nrequests_per_second_per_key = 25\n";
    let home = Home::new(&chip(Product::Genoa), &format!("{CONFIG}{limits}"));
    let appliance = home.start();
    let mut s = setup(&appliance);
    let created = s.create(&json!({"name": "a", "value": "x"}));
    assert_eq!((created.status, created.header("etag")), (201, Some("\"1\"")));
    let id = created.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(created.header("location"), Some(format!("/v1/secrets/{id}").as_str()));
    s.create(&json!({"name": "a", "value": "y"})).error(409, "CONFLICT");
    let headers = s.headers("application/json") + "If-Match: \"7\"\r\n";
    let target = format!("/v1/secrets/{id}");
    s.connection
        .send("PUT", &target, &headers, Some(br#"{"value":"z"}"#))
        .error(412, "PRECONDITION_FAILED");
    assert_eq!(s.create(&json!({"name": "b", "value": "x"})).status, 201);
    s.create(&json!({"name": "c", "value": "x"})).error(507, "QUOTA_EXCEEDED");
    let limited = (0..200)
        .map(|_| s.connection.call("GET", "/v1/secrets", &s.admin, None))
        .find(|answer| answer.status != 200)
        .expect("200 requests take longer than eight seconds, or there is no limit");
    limited.error(429, "RATE_LIMIT_EXCEEDED");
    assert!(limited.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    for name in ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"] {
        assert!(limited.header(name).unwrap().parse::<u64>().is_ok(), "{name}");
    }
}

#[test]
fn an_unclaimed_instance_answers_little() {
    let home = Home::usual();
    let appliance = home.start();
    let mut connection = appliance.connect();
    assert_eq!(connection.call("GET", "/healthz", "", None).status, 200);
    let ready = connection.call("GET", "/readyz", "", None);
    assert!(ready.error(503, "SERVICE_UNAVAILABLE").to_string().contains("unclaimed"));
    for target in ["/v1/secrets", "/v1/api-keys", "/v1/secrets/sec_123456789"] {
        connection.call("GET", target, "neo_x", None).error(503, "SERVICE_UNAVAILABLE");
    }
    connection.call("GET", "/v1/nothing", "", None).error(404, "NOT_FOUND");
    assert!(!home.store().exists(), "an unclaimed instance writes nothing");
    assert_eq!(std::fs::read_dir(home.path("data")).unwrap().count(), 0);
}

#[test]
fn request_ids_are_echoed_where_they_are_harmless() {
    let home = Home::usual();
    let appliance = home.start();
    let mut connection = appliance.connect();
    let mut id = |header: &str| {
        let answer = connection.send("GET", "/nowhere", header, None);
        answer.error(404, "NOT_FOUND");
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(id("X-Request-ID: abc-1\r\n"), "abc-1");
    let long = "x".repeat(129);
    for header in
        [String::new(), format!("X-Request-ID: {long}\r\n"), "X-Request-ID: a b\r\n".into()]
    {
        let own = id(&header);
        assert!(!own.is_empty() && own.len() < 128 && !own.contains(' '), "{own}");
    }
}

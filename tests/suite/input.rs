//! What a hostile peer writes into bodies, queries and headers: JSON that two readers read
//! differently, fields that are not theirs to set, numbers and times at every edge.

use neo_secrets_tests::appliance::{Appliance, Home};
use neo_secrets_tests::http::{Answer, Connection};
use serde_json::{Value, json};

struct Setup {
    connection: Connection,
    admin: String,
}

fn setup(appliance: &Appliance<'_>) -> Setup {
    Setup { admin: appliance.claim().admin, connection: appliance.connect() }
}

impl Setup {
    fn send(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
        let headers = format!("Authorization: Bearer {}\r\n{headers}", self.admin);
        self.connection.send(method, target, &headers, Some(body))
    }

    /// A body of `POST /v1/secrets`, as it stands.
    fn post(&mut self, body: &[u8]) -> Answer {
        self.send("POST", "/v1/secrets", "Content-Type: application/json\r\n", body)
    }

    fn call(&mut self, method: &str, target: &str, body: Value) -> Answer {
        self.connection.call(method, target, &self.admin, Some(&body))
    }

    fn get(&mut self, target: &str) -> Answer {
        self.connection.call("GET", target, &self.admin, None)
    }

    /// A secret's path.
    fn create(&mut self, name: &str) -> String {
        let made = self.call("POST", "/v1/secrets", json!({"name": name, "value": "x"}));
        format!("/v1/secrets/{}", made.json()["id"].as_str().unwrap())
    }

    fn total(&mut self) -> u64 {
        self.get("/v1/secrets").json()["pagination"]["total"].as_u64().unwrap()
    }
}

#[test]
fn json_that_parsers_disagree_on_is_refused() {
    let home = Home::usual();
    let appliance = home.start();
    let mut s = setup(&appliance);
    let good = r#"{"name":"a","value":"x"}"#;
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (bom, bom16) =
        ([b"\xef\xbb\xbf", good.as_bytes()].concat(), [b"\xff\xfe", &utf16[..]].concat());
    let deep = format!(
        r#"{{"name":"a","value":"x","tags":{}1{}}}"#,
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    let many =
        format!("{{{}}}", (0..101).map(|n| format!("\"f{n}\":1")).collect::<Vec<_>>().join(","));
    for body in [
        &bom[..],
        &utf16,
        &bom16,
        deep.as_bytes(),
        many.as_bytes(),
        b"{\"name\":\"a\",\"value\":\"x\"}{}",
        b"{\"name\":\"a\",\"value\":\"x\"}\0",
        b"{\"name\":\"a\",\"value\":\"x\"},",
        b"{\"name\":\"a\",\"value\":\"x\",}",
        b"{\"name\":\"a\",\"value\":\"x\"} // x",
        b"/* x */{\"name\":\"a\",\"value\":\"x\"}",
        b"{'name':'a','value':'x'}",
        b"{name:\"a\",value:\"x\"}",
        b"{\"name\":\"a\",\"value\":\"\xed\xa0\x80\"}",
        b"{\"name\":\"a\",\"value\":\"\xc0\xaf\"}",
        b"{\"name\":\"a\",\"value\":\"\xf4\x90\x80\x80\"}",
        br#"{"name":"a","value":"\ud800"}"#,
        br#"{"name":"a","value":"\udc00\ud800"}"#,
        br#"{"name":"a","value":"\x41"}"#,
        br#"{"name":"a","value":"\u00"}"#,
        b"{\"name\":\"a\",\"value\":\"a\nb\"}",
        br#"{"name":"a","value":NaN}"#,
        br#"{"name":"a","value":Infinity}"#,
        br#"{"name":"a","value":01}"#,
        br#"{"name":"a","value":+1}"#,
        br#"{"name":"a","value":.5}"#,
        br#"[{"name":"a","value":"x"}]"#,
        br#""{\"name\":\"a\",\"value\":\"x\"}""#,
        b"name=a&value=x",
        b"\x00",
        b" ",
    ] {
        let error = s.post(body).error(400, "INVALID_REQUEST");
        // It says where, and nothing of the server's.
        let text = error.to_string();
        assert!(!text.contains("serde") && !text.contains(".rs"), "{text}");
    }
    // A field twice, at any depth and in any spelling, and numbers where there is to be a text.
    for (body, field) in [
        (r#"{"name":"a","name":"b","value":"x"}"#, "name"),
        (r#"{"name":"a","\u006eame":"b","value":"x"}"#, "name"),
        (r#"{"name":"a","value":"x","tags":{"k":"1","k":"2"}}"#, "tags.k"),
        (r#"{"name":"a","value":1e999}"#, ""),
        (r#"{"name":"a","value":123456789012345678901234567890}"#, "value"),
        (r#"{"name":"a","value":-0}"#, "value"),
        (r#"{"name":"a","value":true}"#, "value"),
        (r#"{"name":"a","value":["x"]}"#, "value"),
        (r#"{"name":"a","value":{"value":"x"}}"#, "value"),
        (r#"{"name":"a\u0000","value":"x"}"#, "name"),
        (r#"{"name":"a\n","value":"x"}"#, "name"),
        ("{\"name\":\"\u{430}dmin\",\"value\":\"x\"}", "name"),
        ("{\"name\":\"a\u{200b}\",\"value\":\"x\"}", "name"),
        (r#"{"__proto__":{"admin":true},"name":"a","value":"x"}"#, "__proto__"),
        (r#"{"constructor":{},"name":"a","value":"x"}"#, "constructor"),
        (r#"{"Name":"a","name":"a","value":"x"}"#, "Name"),
        (r#"{"name ":"a","name":"a","value":"x"}"#, "name "),
        (r#"{"$where":"1","name":"a","value":"x"}"#, "$where"),
    ] {
        let answer = s.post(body.as_bytes());
        match field {
            "" => drop(answer.error(400, "INVALID_REQUEST")),
            field => drop(answer.invalid(field)),
        }
    }
    assert_eq!(s.total(), 0);
    // What is only unusual is kept as it is: NUL in a value, a tag called __proto__.
    let odd = r#"{"name":"odd","value":"\u0000\ud83d\ude00\ufffe","tags":{"__proto__":"x"}}"#;
    let made = s.post(odd.as_bytes());
    assert_eq!((made.status, &made.json()["tags"]), (201, &json!({"__proto__": "x"})));
}

#[test]
fn content_type_confusion_is_refused() {
    let home = Home::usual();
    let appliance = home.start();
    let mut s = setup(&appliance);
    let body = br#"{"name":"a","value":"x"}"#;
    for content_type in [
        "",
        "text/plain",
        "text/json",
        "text/html",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/vnd.api+json",
        "application/jsonx",
        "application/json, text/plain",
        "application/json; charset=utf-16",
        "application/json; charset=utf-7",
        "application/json; charset=latin1",
        "application /json",
        "*/*",
    ] {
        let header = format!("Content-Type: {content_type}\r\n");
        let answer = s.send("POST", "/v1/secrets", &header, body);
        answer.error(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    let twice = "Content-Type: application/json\r\nContent-Type: text/plain\r\n";
    s.send("POST", "/v1/secrets", twice, body).error(415, "UNSUPPORTED_MEDIA_TYPE");
    s.send("POST", "/v1/secrets", "", body).error(415, "UNSUPPORTED_MEDIA_TYPE");
    assert_eq!(s.total(), 0);
}

#[test]
fn mass_assignment_is_refused_by_name() {
    let home = Home::usual();
    let appliance = home.start();
    let mut s = setup(&appliance);
    let secret = s.create("a");
    let made = s.call("POST", "/v1/api-keys", json!({"name": "k", "permissions": ["read"]}));
    let key = format!("/v1/api-keys/{}", made.json()["id"].as_str().unwrap());
    let before = s.get(&secret).json();
    for (method, target, good, foreign) in [
        (
            "POST",
            "/v1/secrets".to_owned(),
            json!({"name": "b", "value": "x"}),
            &[
                "id",
                "version",
                "revision",
                "createdAt",
                "updatedAt",
                "createdBy",
                "expired",
                "account",
                "accountId",
                "owner",
                "permissions",
                "secrets",
                "key",
            ][..],
        ),
        (
            "PUT",
            secret.clone(),
            json!({"value": "y"}),
            &["id", "name", "version", "revision", "createdAt", "updatedAt", "expired", "account"],
        ),
        (
            "POST",
            format!("{secret}/rollback"),
            json!({"version": 1}),
            &["id", "value", "name", "revision", "createdBy"],
        ),
        (
            "POST",
            "/v1/api-keys".to_owned(),
            json!({"name": "c", "permissions": ["read"]}),
            &["id", "key", "token", "createdAt", "account", "accountId", "owner", "admin", "role"],
        ),
        (
            "POST",
            format!("{key}/rotate"),
            json!({"overlapSeconds": 0}),
            &["key", "token", "permissions", "secrets", "expiresAt", "name"],
        ),
    ] {
        for field in foreign {
            for value in [json!("x"), json!(1), json!(null)] {
                let mut body = good.clone();
                body[field] = value;
                s.call(method, &target, body).invalid(field);
            }
        }
    }
    assert_eq!(s.total(), 1);
    assert_eq!(s.get(&secret).json(), before);
}

#[test]
fn integers_hold_at_their_edges() {
    let home = Home::usual();
    let appliance = home.start();
    let mut s = setup(&appliance);
    let secret = s.create("a");
    let largest = (1_u64 << 53) - 1;
    for (query, limit, offset) in [
        ("limit=1", 1, 0),
        ("limit=100", 100, 0),
        ("limit=007", 7, 0),
        ("offset=0", 20, 0),
        ("offset=9007199254740991", 20, largest),
        ("limit=%31&offset=2", 1, 2),
    ] {
        let page = s.get(&format!("/v1/secrets?{query}")).json()["pagination"].clone();
        assert_eq!((&page["limit"], &page["offset"]), (&json!(limit), &json!(offset)), "{query}");
    }
    for text in [
        "0",
        "101",
        "-1",
        "-0",
        "1.0",
        "1e1",
        "0x1",
        "+1",
        "%201",
        "1%00",
        "1,0",
        "1_0",
        "NaN",
        "",
        "null",
        "4294967297",
        "18446744073709551617",
        "%D9%A1",
    ] {
        s.get(&format!("/v1/secrets?limit={text}")).invalid("limit");
    }
    for text in
        ["-1", "1.5", "1e3", "9007199254740992", "18446744073709551615", "99999999999999999999"]
    {
        s.get(&format!("/v1/secrets?offset={text}")).invalid("offset");
    }
    for twice in ["limit=1&limit=1", "limit=1&%6cimit=2"] {
        s.get(&format!("/v1/secrets?{twice}")).invalid("limit");
    }
    s.get("/v1/secrets?limit[]=1").invalid("limit[]");
    s.get("/v1/secrets?LIMIT=1").invalid("LIMIT");
    s.get("/v1/secrets?limit=1;offset=2").invalid("limit");

    let made = s.call("POST", "/v1/api-keys", json!({"name": "k", "permissions": ["read"]}));
    let rotate = format!("/v1/api-keys/{}/rotate", made.json()["id"].as_str().unwrap());
    let rollback = format!("{secret}/rollback");
    let typed = "Content-Type: application/json\r\n";
    for seconds in ["0", "604800"] {
        let body = format!("{{\"overlapSeconds\":{seconds}}}");
        assert_eq!(s.send("POST", &rotate, typed, body.as_bytes()).status, 200, "{seconds}");
    }
    for (target, field) in [(&rotate, "overlapSeconds"), (&rollback, "version")] {
        for number in [
            "-1",
            "-0",
            "1.0",
            "1e3",
            "1E0",
            "\"1\"",
            "[1]",
            "{}",
            "null",
            "true",
            "604801",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "1234567890123456789012345678901234567890",
        ] {
            let body = format!("{{\"{field}\":{number}}}");
            s.send("POST", target, typed, body.as_bytes()).invalid(field);
        }
        for number in ["01", "+1", "0x1", "1_0", "NaN", "1e999", ""] {
            let body = format!("{{\"{field}\":{number}}}");
            s.send("POST", target, typed, body.as_bytes()).error(400, "INVALID_REQUEST");
        }
        s.send("POST", target, typed, b"{}").invalid(field);
    }
    s.send("POST", &rollback, typed, b"{\"version\":0}").invalid("version");
    assert_eq!(s.get(&secret).json()["version"], 1);
}

#[test]
fn times_have_one_spelling() {
    let home = Home::usual();
    let appliance = home.start();
    let mut s = setup(&appliance);
    let secret = s.create("a");
    for (time, expired) in [
        ("1970-01-01T00:00:00Z", true),
        ("2001-02-28T23:59:59Z", true),
        ("2000-02-29T00:00:00Z", true),
        ("2999-12-31T23:59:59Z", false),
        ("9999-12-31T23:59:59Z", false),
    ] {
        let body = s.call("PUT", &secret, json!({"expiresAt": time})).json();
        assert_eq!((&body["expiresAt"], &body["expired"]), (&json!(time), &json!(expired)));
    }
    for time in [
        "2016-12-31T23:59:60Z",
        "2030-06-30T23:59:61Z",
        "2030-01-01T24:00:00Z",
        "2001-02-29T00:00:00Z",
        "2030-00-01T00:00:00Z",
        "2030-01-32T00:00:00Z",
        "2030-01-01T00:00:00+00:00",
        "2030-01-01T00:00:00-00:00",
        "2030-01-01T00:00:00+01:00",
        "2030-01-01T00:00:00",
        "2030-01-01T00:00:00.000Z",
        "2030-01-01t00:00:00z",
        "2030-01-01 00:00:00Z",
        "2030-01-01T00:00Z",
        "2030-01-01",
        "20300101T000000Z",
        "2030-W01-1T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "-2030-01-01T00:00:00Z",
        "+10000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "99999-01-01T00:00:00Z",
        " 2030-01-01T00:00:00Z",
        "2030-01-01T00:00:00Z\n",
        "\u{662}030-01-01T00:00:00Z",
        "1893456000",
        "now",
        "",
    ] {
        s.call("PUT", &secret, json!({"expiresAt": time})).invalid("expiresAt");
        let key = json!({"name": "k", "permissions": ["read"], "expiresAt": time});
        s.call("POST", "/v1/api-keys", key).invalid("expiresAt");
    }
    for time in [json!(1_893_456_000), json!(1.0), json!(["2030-01-01T00:00:00Z"]), json!(false)] {
        s.call("PUT", &secret, json!({"expiresAt": time})).invalid("expiresAt");
    }
    assert_eq!(s.get(&secret).json()["expiresAt"], "9999-12-31T23:59:59Z");
}

#[test]
fn entity_tags_are_compared_whole() {
    let home = Home::usual();
    let appliance = home.start();
    let mut s = setup(&appliance);
    let secret = s.create("a");
    let mut put = |tags: &[&str]| {
        let tags: String = tags.iter().map(|tag| format!("If-Match: {tag}\r\n")).collect();
        let headers = format!("Content-Type: application/json\r\n{tags}");
        s.send("PUT", &secret, &headers, br#"{"description":"d"}"#)
    };
    for foreign in [
        "\"2\"",
        "\"0\"",
        "W/\"1\"",
        "\"01\"",
        "\"+1\"",
        "\"1 \"",
        "\"\"",
        "\"-1\"",
        "\"18446744073709551617\"",
        "\"1;2\"",
        "\"*\"",
        "\"\u{661}\"",
    ] {
        let answer = put(&[foreign]);
        match foreign.is_ascii() {
            true => drop(answer.error(412, "PRECONDITION_FAILED")),
            false => drop(answer.invalid("If-Match")),
        }
    }
    for malformed in [
        "1",
        "\"1",
        "1\"",
        "'1'",
        "w/\"1\"",
        "\"1\", \"2\"",
        "\"2\",\"1\"",
        "*, \"1\"",
        "**",
        "",
        "\"1\"\"1\"",
    ] {
        put(&[malformed]).invalid("If-Match");
    }
    put(&["\"1\"", "\"1\""]).invalid("If-Match");
    put(&["\"1\"", "*"]).invalid("If-Match");
    assert_eq!(put(&["\"1\""]).header("etag"), Some("\"2\""));
    assert_eq!(put(&["*"]).header("etag"), Some("\"3\""));
    put(&["\"1\""]).error(412, "PRECONDITION_FAILED");
    // A deletion takes none, and other conditions change nothing.
    let delete = format!("Authorization: Bearer {}\r\nIf-Match: \"3\"\r\n", s.admin);
    s.connection.send("DELETE", &secret, &delete, None).invalid("If-Match");
    let headers = format!(
        "Authorization: Bearer {}\r\nIf-None-Match: \"3\"\r\n\
         If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT\r\nRange: bytes=0-1\r\n",
        s.admin
    );
    let answer = s.connection.send("GET", &secret, &headers, None);
    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"3\"")));
    assert_eq!(answer.json()["description"], "d");
}

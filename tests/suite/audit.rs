//! Reveal and the audit log: what each act leaves, who may read it, and that no value leaves untold.

use std::collections::BTreeSet;
use std::sync::{Mutex, mpsc};

use neo_secrets_tests::appliance::{Appliance, CONFIG, Home, chip};
use neo_secrets_tests::http::{Answer, Connection};
use serde_json::{Value, json};
use snp_simulator::Product;

/// A home whose configuration lets values out, with these limits.
fn home(limits: &str) -> Home {
    let config = CONFIG.replace("\"off\"", "\"by-permission\"");
    Home::new(&chip(Product::Genoa), &format!("{config}[limits]\n{limits}\n"))
}

fn text(body: &Value, field: &str) -> String {
    body[field].as_str().unwrap_or_else(|| panic!("{field} in {body}")).to_owned()
}

/// One call under this request id.
fn call(
    c: &mut Connection,
    (method, target): (&str, &str),
    key: &str,
    request: &str,
    body: Option<Value>,
) -> Answer {
    let mut headers = format!("Authorization: Bearer {key}\r\nX-Request-ID: {request}\r\n");
    if body.is_some() {
        headers += "Content-Type: application/json\r\n";
    }
    let body = body.map(|body| body.to_string());
    c.send(method, target, &headers, body.as_deref().map(str::as_bytes))
}

fn create(c: &mut Connection, key: &str, name: &str, value: &str) -> String {
    let made = c.call("POST", "/v1/secrets", key, Some(&json!({"name": name, "value": value})));
    assert_eq!(made.status, 201);
    text(&made.json(), "id")
}

fn new_key(c: &mut Connection, by: &str, body: Value) -> String {
    text(&c.call("POST", "/v1/api-keys", by, Some(&body)).json(), "key")
}

fn log(c: &mut Connection, key: &str, query: &str) -> (Vec<Value>, u64) {
    let body = c.call("GET", &format!("/v1/audit-log{query}"), key, None).json();
    let events = body["events"].as_array().unwrap_or_else(|| panic!("{body}")).clone();
    (events, body["pagination"]["total"].as_u64().unwrap())
}

fn actions(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| text(event, "action")).collect()
}

#[test]
fn every_act_is_told_with_who_what_when_and_where() {
    let home = home("");
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let mut c = appliance.connect();
    let mut act = |method: &str, target: &str, request: &str, body: Option<Value>| {
        let answer = call(&mut c, (method, target), &admin, request, body);
        assert!(answer.status < 300, "{:?}", answer);
        answer.json()
    };
    let value = json!({"name": "db", "value": "a-value-to-find"});
    let made = act("POST", "/v1/secrets", "r-1", Some(value));
    let secret = text(&made, "id");
    let target = format!("/v1/secrets/{secret}");
    act("PUT", &target, "r-2", Some(json!({"value": "a-second-value-to-find"})));
    act("PUT", &target, "r-3", Some(json!({"description": "a-description-to-find"})));
    act("POST", &format!("{target}/rollback"), "r-4", Some(json!({"version": 1})));
    let revealed = act("GET", &format!("{target}/value"), "r-5", None);
    let expected = json!({"id": secret, "name": "db", "version": 3, "value": "a-value-to-find"});
    assert_eq!(revealed, expected);
    let older = act("GET", &format!("{target}/value?version=2"), "r-6", None);
    assert_eq!((&older["version"], &older["value"]), (&json!(2), &json!("a-second-value-to-find")));
    let made =
        act("POST", "/v1/api-keys", "r-7", Some(json!({"name": "ci", "permissions": ["read"]})));
    let (key, token) = (text(&made, "id"), text(&made, "key"));
    let target_key = format!("/v1/api-keys/{key}");
    act("POST", &format!("{target_key}/rotate"), "r-8", Some(json!({"overlapSeconds": 0})));
    act("DELETE", &target_key, "r-9", None);
    act("DELETE", &target, "r-10", None);
    // Reads of metadata and lists, and what is refused, leave nothing.
    act("GET", "/v1/secrets", "r-11", None);
    act("GET", "/v1/api-keys", "r-12", None);
    call(&mut c, ("DELETE", &target), &admin, "r-13", None).error(404, "NOT_FOUND");
    call(&mut c, ("GET", &format!("{target}/value")), &admin, "r-14", None).error(404, "NOT_FOUND");

    let (events, total) = log(&mut c, &admin, "");
    assert_eq!((events.len(), total), (10, 10));
    let keys = c.call("GET", "/v1/api-keys", &admin, None).json();
    let actor = json!({"type": "key", "id": keys["apiKeys"][0]["id"]});
    let secret = |version: Option<u64>| match version {
        Some(version) => json!({"type": "secret", "id": secret, "name": "db", "version": version}),
        None => json!({"type": "secret", "id": secret, "name": "db"}),
    };
    let key = json!({"type": "key", "id": key, "name": "ci"});
    let expected = [
        ("secret.create", secret(Some(1))),
        ("secret.update", secret(Some(2))),
        ("secret.update", secret(None)),
        ("secret.rollback", secret(Some(3))),
        ("secret.reveal", secret(Some(3))),
        ("secret.reveal", secret(Some(2))),
        ("key.create", key.clone()),
        ("key.rotate", key.clone()),
        ("key.revoke", key),
        ("secret.delete", secret(None)),
    ];
    let created = text(&made, "createdAt");
    for (index, (event, (action, object))) in events.iter().rev().zip(expected).enumerate() {
        let mut event = event.clone();
        let time = event.as_object_mut().unwrap().remove("time").unwrap();
        assert!(time.as_str().unwrap().ends_with('Z') && time.as_str().unwrap().len() == 20);
        assert!(index != 6 || time == *created, "{time} is not {created}");
        let request = format!("r-{}", index + 1);
        let whole = json!({"action": action, "actor": actor, "object": object,
            "from": "127.0.0.1", "requestId": request});
        assert_eq!(event, whole);
    }
    let shown = c.call("GET", "/v1/audit-log?limit=100", &admin, None).body;
    let shown = String::from_utf8(shown).unwrap();
    for needle in ["to-find", &token, "neo_"] {
        assert!(!shown.contains(needle), "{needle}");
    }
    drop(c);
    assert!(appliance.terminate().success());
    let file = std::fs::read(home.store()).unwrap();
    for needle in ["value-to-find", "r-10"] {
        assert!(!home.log().contains("value-to-find"));
        assert!(!file.windows(needle.len()).any(|window| window == needle.as_bytes()), "{needle}");
    }
    // The log is there after a restart.
    let appliance = home.start();
    assert_eq!(log(&mut appliance.connect(), &admin, ""), (events, 10));
}

#[test]
fn a_value_comes_out_exactly_and_only_where_everything_allows_it() {
    let home = home("");
    let appliance = home.start();
    let claimed = appliance.claim();
    let (admin, mut c) = (claimed.admin, appliance.connect());
    let odd = "\"quoted\" \\ \u{0}\u{1f}\n\té☃😀 </script>\u{2028}".repeat(500);
    let id = create(&mut c, &admin, "odd", &odd);
    let target = format!("/v1/secrets/{id}/value");
    let answer = c.call("GET", &target, &admin, None);
    assert_eq!((answer.status, answer.json()["value"].as_str()), (200, Some(odd.as_str())));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));

    let keys = [
        json!({"name": "n", "permissions": ["read", "write", "execute"]}),
        json!({"name": "n", "permissions": ["admin"]}),
    ];
    for body in keys {
        let key = new_key(&mut c, &admin, body);
        let refused = c.call("GET", &target, &key, None).error(403, "FORBIDDEN");
        assert!(text(&refused, "message").contains("reveal"), "{refused}");
    }
    c.call("GET", &target, &claimed.owner, None).error(403, "FORBIDDEN");
    c.call("GET", &target, "neo_x", None).error(401, "UNAUTHORIZED");
    let narrow = json!({"name": "n", "permissions": ["reveal"], "secrets": ["db-*"]});
    let narrow = new_key(&mut c, &admin, narrow);
    c.call("GET", &target, &narrow, None).error(404, "NOT_FOUND");
    let only = new_key(&mut c, &admin, json!({"name": "n", "permissions": ["reveal"]}));
    assert_eq!(c.call("GET", &target, &only, None).status, 200);
    c.call("GET", &format!("/v1/secrets/{id}"), &only, None).error(403, "FORBIDDEN");

    for version in ["0", "-1", "x", "", "1.0"] {
        c.call("GET", &format!("{target}?version={version}"), &admin, None).invalid("version");
    }
    c.call("GET", &format!("{target}?version=2"), &admin, None).error(404, "NOT_FOUND");
    c.call("GET", &format!("{target}?other=1"), &admin, None).invalid("other");
    c.call("GET", "/v1/secrets/sec_x/value", &admin, None).error(404, "NOT_FOUND");
    c.call("POST", &target, &admin, Some(&json!({}))).error(405, "METHOD_NOT_ALLOWED");
    let past = json!({"expiresAt": "2020-01-01T00:00:00Z"});
    c.call("PUT", &format!("/v1/secrets/{id}"), &admin, Some(&past));
    c.call("GET", &target, &admin, None).error(404, "NOT_FOUND");
    // None of the refusals is told of, and each of the two values is.
    assert_eq!(log(&mut c, &admin, "?action=secret.reveal").1, 2);
}

#[test]
fn reveal_is_off_unless_the_configuration_says_otherwise() {
    let home = Home::usual();
    let appliance = home.start();
    let (admin, mut c) = (appliance.claim().admin, appliance.connect());
    let id = create(&mut c, &admin, "a", "v");
    let refused = c.call("GET", &format!("/v1/secrets/{id}/value"), &admin, None);
    let message = text(&refused.error(403, "FORBIDDEN"), "message");
    assert!(message.contains("off") && message.contains("configuration"), "{message}");
    assert_eq!(actions(&log(&mut c, &admin, "").0), ["secret.create"]);
}

#[test]
fn a_client_accepts_the_configuration_that_its_policy_names_and_no_other() {
    for (config, asked) in [("off", "by-permission"), ("by-permission", "off")] {
        let home = if config == "off" { Home::usual() } else { home("") };
        home.write_client_files();
        let appliance = home.start();
        appliance.claim();
        home.verify(&appliance.url(), &[]).says(0, &[config]);
        home.edit("policy.json", |policy| policy["config"]["reveal"] = json!(asked));
        home.verify(&appliance.url(), &[]).says(3, &["step 8", "reveal", config, asked]);
    }
}

#[test]
fn the_log_is_paged_and_filtered() {
    let home = home("");
    let appliance = home.start();
    let (admin, mut c) = (appliance.claim().admin, appliance.connect());
    let ids: Vec<_> = (0..25).map(|n| create(&mut c, &admin, &format!("db-{n}"), "v")).collect();
    c.call("GET", &format!("/v1/secrets/{}/value", ids[3]), &admin, None);
    c.call("DELETE", &format!("/v1/secrets/{}", ids[3]), &admin, None);
    let (page, total) = log(&mut c, &admin, "");
    assert_eq!((page.len(), total), (20, 27));
    assert_eq!(actions(&page[..3]), ["secret.delete", "secret.reveal", "secret.create"]);
    assert_eq!(page[2]["object"]["name"], "db-24");
    let (rest, _) = log(&mut c, &admin, "?limit=100&offset=20");
    assert_eq!((rest.len(), &rest[6]["object"]["name"]), (7, &json!("db-0")));
    assert_eq!(log(&mut c, &admin, "?offset=27"), (vec![], 27));

    for of in ["db-3", &ids[3]] {
        let (events, total) = log(&mut c, &admin, &format!("?secret={of}"));
        assert_eq!(actions(&events), ["secret.delete", "secret.reveal", "secret.create"]);
        assert_eq!(total, 3);
        let (events, total) = log(&mut c, &admin, &format!("?secret={of}&limit=1&offset=1"));
        assert_eq!((actions(&events), total), (vec!["secret.reveal".to_owned()], 3));
    }
    assert_eq!(log(&mut c, &admin, "?action=key.create"), (vec![], 0));
    assert_eq!(log(&mut c, &admin, "?action=secret.create&limit=2").1, 25);
    let time = text(&page[0], "time");
    let until = log(&mut c, &admin, &format!("?to={time}")).1;
    let from = log(&mut c, &admin, &format!("?from={time}")).1;
    assert!(from >= 1 && from + until == 27, "{from} {until}");
    assert_eq!(log(&mut c, &admin, "?from=2099-01-01T00:00:00Z"), (vec![], 0));
    assert_eq!(log(&mut c, &admin, "?to=2099-01-01T00:00:00Z").1, 27);
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("offset=-1", "offset"),
        ("from=yesterday", "from"),
        ("to=2026-01-31", "to"),
        ("from=2026-02-01T00:00:00Z&to=2026-01-31T00:00:00Z", "from"),
        ("action=secret.seen", "action"),
        ("action=", "action"),
        ("secret=a%20b", "secret"),
        ("actor=x", "actor"),
        ("limit=1&limit=1", "limit"),
    ] {
        c.call("GET", &format!("/v1/audit-log?{query}"), &admin, None).invalid(field);
    }
}

#[test]
fn who_reads_the_log_sees_what_lies_within_the_key() {
    let home = home("");
    let appliance = home.start();
    let claimed = appliance.claim();
    let (admin, mut c) = (claimed.admin, appliance.connect());
    let narrow = json!({"name": "narrow", "permissions": ["admin"], "secrets": ["db-*"]});
    let narrow = new_key(&mut c, &admin, narrow);
    for name in ["db-1", "web"] {
        create(&mut c, &admin, name, "v");
    }
    new_key(&mut c, &admin, json!({"name": "wide", "permissions": ["read"]}));
    let (events, total) = log(&mut c, &narrow, "");
    let names: Vec<_> = events.iter().map(|event| text(&event["object"], "name")).collect();
    assert_eq!((names, total), (vec!["db-1".to_owned(), "narrow".to_owned()], 2));
    assert_eq!(log(&mut c, &narrow, "?secret=web"), (vec![], 0));
    for permissions in [json!(["read", "write", "execute"]), json!(["reveal"])] {
        let key = new_key(&mut c, &admin, json!({"name": "n", "permissions": permissions}));
        let refused = c.call("GET", "/v1/audit-log", &key, None).error(403, "FORBIDDEN");
        assert!(text(&refused, "message").contains("admin"), "{refused}");
    }
    // The owner's key reads the instance's own log, and never an account's.
    assert_eq!(log(&mut c, &claimed.owner, ""), (vec![], 0));
    c.call("GET", "/v1/audit-log", "", None).error(401, "UNAUTHORIZED");
    c.call("POST", "/v1/audit-log", &admin, None).error(405, "METHOD_NOT_ALLOWED");
}

#[test]
fn a_full_log_refuses_reveals_and_changes_until_there_is_room() {
    let home = home("audit_events_per_account = 4");
    let appliance = home.start();
    let claimed = appliance.claim();
    let (admin, mut c) = (claimed.admin, appliance.connect());
    let id = create(&mut c, &admin, "a", "v");
    let made = json!({"name": "n", "permissions": ["read"]});
    let made = c.call("POST", "/v1/api-keys", &admin, Some(&made)).json();
    let (target, key) =
        (format!("/v1/secrets/{id}"), format!("/v1/api-keys/{}", text(&made, "id")));
    let (value, rotate) = (format!("{target}/value"), format!("{key}/rotate"));
    for _ in 0..2 {
        assert_eq!(c.call("GET", &value, &admin, None).status, 200);
    }
    let secret = json!({"name": "b", "value": "v"});
    for (method, path, body) in [
        ("GET", value.as_str(), None),
        ("POST", "/v1/secrets", Some(secret.clone())),
        ("PUT", &target, Some(json!({"value": "w"}))),
        ("POST", &format!("{target}/rollback"), Some(json!({"version": 1}))),
    ] {
        let refused = c.call(method, path, &admin, body.as_ref()).error(507, "QUOTA_EXCEEDED");
        let message = text(&refused, "message");
        assert!(message.contains("audit log") && message.contains('4'), "{message}");
    }
    // A key that filled it can be replaced. What ends something works and is told of; so are reads
    // and the owner's calls.
    let more = json!({"name": "m", "permissions": ["read"]});
    assert_eq!(c.call("POST", "/v1/api-keys", &admin, Some(&more)).status, 201);
    let overlap = json!({"overlapSeconds": 0});
    assert_eq!(c.call("POST", &rotate, &admin, Some(&overlap)).status, 200);
    assert_eq!(c.call("DELETE", &key, &admin, None).status, 200);
    assert_eq!(c.call("DELETE", &target, &admin, None).status, 200);
    assert_eq!(c.call("GET", "/v1/secrets", &admin, None).status, 200);
    assert_eq!(c.call("GET", "/metrics", &claimed.owner, None).status, 200);
    let (events, total) = log(&mut c, &admin, "?limit=2");
    assert_eq!((actions(&events), total), (vec!["secret.delete".into(), "key.revoke".into()], 8));
    drop(c);
    assert!(appliance.terminate().success());
    let config = std::fs::read_to_string(home.path("config.toml")).unwrap();
    std::fs::write(home.path("config.toml"), config.replace("= 4", "= 9")).unwrap();
    let appliance = home.start();
    let mut c = appliance.connect();
    assert_eq!(c.call("POST", "/v1/secrets", &admin, Some(&secret)).status, 201);
    let more = json!({"name": "c", "value": "v"});
    c.call("POST", "/v1/secrets", &admin, Some(&more)).error(507, "QUOTA_EXCEEDED");
}

const KILLS: usize = 6;
const READERS: usize = 8;

#[test]
fn each_value_that_reached_a_client_is_told_of_whenever_the_server_is_killed() {
    let home = home("");
    let mut appliance = home.start();
    let admin = appliance.claim().admin;
    let id = create(&mut appliance.connect(), &admin, "a", "v");
    let given = Mutex::new(BTreeSet::new());
    for round in 0..KILLS {
        reveal_until_killed(appliance, &admin, (&id, round), &given);
        appliance = home.start();
        assert_eq!(appliance.state(), "ready");
    }
    let mut c = appliance.connect();
    let mut told = BTreeSet::new();
    loop {
        let target = format!("?limit=100&action=secret.reveal&offset={}", told.len());
        let (events, total) = log(&mut c, &admin, &target);
        told.extend(events.iter().map(|event| text(event, "requestId")));
        if events.is_empty() {
            assert_eq!(told.len() as u64, total, "each is told of once");
            break;
        }
    }
    let given = given.into_inner().unwrap();
    let untold: Vec<_> = given.difference(&told).collect();
    assert!(untold.is_empty(), "{untold:?} of {}", given.len());
    // At most what was under way at each kill is told of and did not arrive.
    assert!(told.len() <= given.len() + KILLS * READERS, "{} of {}", given.len(), told.len());
}

fn reveal_until_killed(
    appliance: Appliance<'_>,
    key: &str,
    (id, round): (&str, usize),
    given: &Mutex<BTreeSet<String>>,
) {
    let (arrived, arrivals) = mpsc::channel();
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let mut c = appliance.connect();
            let arrived = arrived.clone();
            scope.spawn(move || {
                for n in 0.. {
                    let request = format!("r{round}-{reader}-{n}");
                    let head = format!(
                        "GET /v1/secrets/{id}/value HTTP/1.1\r\nHost: localhost\r\n\
                         Authorization: Bearer {key}\r\nX-Request-ID: {request}\r\n\r\n"
                    );
                    let Ok(answer) = c.try_raw(head.as_bytes()) else { return };
                    assert_eq!(answer.json()["value"], "v");
                    given.lock().unwrap().insert(request);
                    let _ = arrived.send(());
                }
            });
        }
        // Where every reader has ended, nothing arrives any more.
        drop(arrived);
        for _ in 0..=(round * 17 + 20) {
            arrivals.recv().unwrap();
        }
        appliance.kill();
    });
}

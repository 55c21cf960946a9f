//! Accounts: the owner makes, bounds and deletes them; they know nothing of each other; and no
//! tenant locks the owner out.

use std::sync::atomic::{AtomicUsize, Ordering};

use neo_secrets_tests::appliance::{Appliance, CONFIG, Home, chip};
use neo_secrets_tests::http::{Answer, Connection};
use serde_json::{Value, json};
use snp_simulator::Product;

fn text(body: &Value, field: &str) -> String {
    body[field].as_str().unwrap_or_else(|| panic!("no {field} in {body}")).to_owned()
}

fn create_account(c: &mut Connection, owner: &str, body: Value) -> Value {
    let answer = c.call("POST", "/v1/accounts", owner, Some(&body));
    let made = answer.json();
    assert_eq!(answer.status, 201, "{made}");
    assert_eq!(answer.header("location"), Some(&*format!("/v1/accounts/{}", text(&made, "id"))));
    made
}

fn create(c: &mut Connection, key: &str, name: &str, value: &str) -> Answer {
    c.call("POST", "/v1/secrets", key, Some(&json!({"name": name, "value": value})))
}

fn fields(body: &Value) -> Vec<&str> {
    let mut fields: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    fields
}

fn with_limits(limits: &str) -> Home {
    Home::new(&chip(Product::Genoa), &format!("{CONFIG}[limits]\n{limits}"))
}

#[test]
fn the_owner_makes_accounts_that_know_nothing_of_each_other() {
    let home =
        with_limits("accounts = 3\nsecrets_per_account = 50\nvalue_bytes_per_account = 65536\n");
    let appliance = home.start();
    let claimed = appliance.claim();
    let owner = &claimed.owner;
    let mut c = appliance.connect();
    let one = create_account(&mut c, owner, json!({"name": "one"}));
    assert_eq!(fields(&one), ["adminKey", "createdAt", "id", "name", "quotas", "usage"]);
    let defaults = json!({"secrets": 50, "valueBytes": 65536, "apiKeys": 10000, "auditEvents": 1000000, "functions": 1000});
    assert_eq!(one["quotas"], defaults);
    let nothing =
        json!({"secrets": 0, "valueBytes": 0, "apiKeys": 1, "auditEvents": 0, "functions": 0});
    assert_eq!(one["usage"], nothing);
    let two = create_account(&mut c, owner, json!({"name": "two", "quotas": {"secrets": null}}));
    assert_eq!(two["quotas"], defaults);
    let full = c.call("POST", "/v1/accounts", owner, Some(&json!({"name": "four"})));
    let error = full.error(507, "QUOTA_EXCEEDED");
    assert_eq!(error["message"], "The instance has its limit of 3 accounts.");

    let (key_one, key_two) = (text(&one, "adminKey"), text(&two, "adminKey"));
    let secret = create(&mut c, &key_one, "same", "of one").json();
    assert_eq!(create(&mut c, &key_two, "same", "of two").status, 201);
    let target = format!("/v1/secrets/{}", text(&secret, "id"));
    assert_eq!(c.call("GET", &target, &key_one, None).status, 200);
    for key in [&key_two, &claimed.admin] {
        for (method, body) in
            [("GET", None), ("PUT", Some(json!({"value": "x"}))), ("DELETE", None)]
        {
            c.call(method, &target, key, body.as_ref()).error(404, "NOT_FOUND");
        }
        let log = c.call("GET", "/v1/audit-log", key, None).json();
        assert!(!log.to_string().contains(&text(&secret, "id")), "{log}");
    }
    // The owner sees how much there is, and nothing of it; and gets no key into an account.
    let listed = c.call("GET", "/v1/accounts?limit=2", owner, None).json();
    assert_eq!(listed["pagination"], json!({"total": 3, "limit": 2, "offset": 0}));
    let ids: Vec<_> = listed["accounts"].as_array().unwrap().iter().map(|a| &a["id"]).collect();
    assert_eq!(ids, [&two["id"], &one["id"]]);
    let shown = c.call("GET", &format!("/v1/accounts/{}", text(&one, "id")), owner, None).json();
    assert_eq!(fields(&shown), ["createdAt", "id", "name", "quotas", "usage"]);
    let used =
        json!({"secrets": 1, "valueBytes": 6, "apiKeys": 1, "auditEvents": 1, "functions": 0});
    assert_eq!((&shown["usage"], &shown), (&used, &listed["accounts"][1]));
    c.call("GET", "/v1/secrets", owner, None).error(403, "FORBIDDEN");
    let key = json!({"name": "k", "permissions": ["admin"]});
    c.call("POST", "/v1/api-keys", owner, Some(&key)).error(403, "FORBIDDEN");
    // An account's key has no say about accounts, its own included.
    let own = format!("/v1/accounts/{}", text(&one, "id"));
    let body = json!({"name": "x"});
    for (method, target, body) in [
        ("GET", "/v1/accounts", None),
        ("POST", "/v1/accounts", Some(&body)),
        ("GET", &own, None),
        ("PUT", &own, Some(&body)),
        ("DELETE", &own, None),
    ] {
        c.call(method, target, &key_one, body).error(403, "FORBIDDEN");
        c.call(method, target, "", body).error(401, "UNAUTHORIZED");
    }
    let names = |c: &mut Connection| {
        c.call("GET", "/v1/accounts", owner, None).json()["accounts"][1]["name"].clone()
    };
    assert_eq!(names(&mut c), "one");
}

#[test]
fn bad_fields_of_an_account_are_named() {
    let home = Home::usual();
    let appliance = home.start();
    let owner = appliance.claim().owner;
    let mut c = appliance.connect();
    let made = create_account(&mut c, &owner, json!({"name": "a"}));
    let target = format!("/v1/accounts/{}", text(&made, "id"));
    for (body, field) in [
        (json!({"name": ""}), "name"),
        (json!({"name": "a\nb"}), "name"),
        (json!({"name": null}), "name"),
        (json!({"name": "b", "quotas": []}), "quotas"),
        (json!({"name": "b", "quotas": {"secrets": -1}}), "quotas.secrets"),
        (json!({"name": "b", "quotas": {"secrets": 1.5}}), "quotas.secrets"),
        (json!({"name": "b", "quotas": {"apiKeys": "1"}}), "quotas.apiKeys"),
        (json!({"name": "b", "quotas": {"valueBytes": 9007199254740992_u64}}), "quotas.valueBytes"),
        (json!({"name": "b", "quotas": {"other": 1}}), "quotas.other"),
        (json!({"name": "b", "adminKey": "x"}), "adminKey"),
    ] {
        c.call("POST", "/v1/accounts", &owner, Some(&body)).invalid(field);
        c.call("PUT", &target, &owner, Some(&body)).invalid(field);
    }
    c.call("POST", "/v1/accounts", &owner, Some(&json!({}))).invalid("name");
    c.call("PUT", &target, &owner, Some(&json!({}))).error(400, "INVALID_REQUEST");
    c.call("GET", "/v1/accounts?limit=0", &owner, None).invalid("limit");
    c.call("GET", &format!("{target}?x=1"), &owner, None).invalid("x");
    let nowhere = format!("/v1/accounts/acc_{}", "A".repeat(24));
    for target in [nowhere.as_str(), "/v1/accounts/x"] {
        c.call("GET", target, &owner, None).error(404, "NOT_FOUND");
        c.call("PUT", target, &owner, Some(&json!({"name": "b"}))).error(404, "NOT_FOUND");
        c.call("DELETE", target, &owner, None).error(404, "NOT_FOUND");
    }
    assert_eq!(c.call("GET", &target, &owner, None).json()["name"], "a");
    assert_eq!(c.call("GET", "/v1/accounts", &owner, None).json()["pagination"]["total"], 2);
}

#[test]
fn quotas_stop_growth_and_are_set_by_the_owner() {
    let home = with_limits("versions_kept = 2\nsecrets_per_account = 2\n");
    let appliance = home.start();
    let owner = appliance.claim().owner;
    let mut c = appliance.connect();
    let quotas = json!({"valueBytes": 10, "apiKeys": 2});
    let made = create_account(&mut c, &owner, json!({"name": "a", "quotas": quotas}));
    let (key, target) = (text(&made, "adminKey"), format!("/v1/accounts/{}", text(&made, "id")));
    let full = |answer: Answer, quota: &str| {
        let error = answer.error(507, "QUOTA_EXCEEDED");
        assert_eq!(error["message"], format!("The account is at its quota {quota}."));
    };
    let first = create(&mut c, &key, "one", "12345").json();
    let secret = format!("/v1/secrets/{}", text(&first, "id"));
    full(create(&mut c, &key, "two", "123456"), "valueBytes: 10 bytes of values");
    assert_eq!(create(&mut c, &key, "two", "1").status, 201);
    full(create(&mut c, &key, "three", "1"), "secrets: 2 secrets");
    let put = |c: &mut Connection, value: &str| {
        c.call("PUT", &secret, &key, Some(&json!({"value": value})))
    };
    full(put(&mut c, "12345"), "valueBytes: 10 bytes of values");
    assert_eq!(put(&mut c, "1234").status, 200);
    // The next one drops the first five bytes.
    assert_eq!(put(&mut c, "12345").status, 200);
    let usage = |c: &mut Connection| c.call("GET", &target, &owner, None).json()["usage"].clone();
    assert_eq!(usage(&mut c)["valueBytes"], 10);
    let back = format!("{secret}/rollback");
    full(
        c.call("POST", &back, &key, Some(&json!({"version": 3}))),
        "valueBytes: 10 bytes of values",
    );
    let reader = json!({"name": "r", "permissions": ["read"]});
    assert_eq!(c.call("POST", "/v1/api-keys", &key, Some(&reader)).status, 201);
    full(c.call("POST", "/v1/api-keys", &key, Some(&reader)), "apiKeys: 2 API keys");

    let set = |c: &mut Connection, body: Value| {
        let answer = c.call("PUT", &target, &owner, Some(&body));
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()
    };
    let shown = set(&mut c, json!({"quotas": {"secrets": 1, "valueBytes": null}}));
    let expected = json!({"secrets": 1, "valueBytes": 100_000_000_000_u64, "apiKeys": 2, "auditEvents": 1000000, "functions": 1000});
    assert_eq!((&shown["quotas"], &shown["name"]), (&expected, &json!("a")));
    full(create(&mut c, &key, "three", "1"), "secrets: 1 secrets");
    assert_eq!(put(&mut c, "longer than before").status, 200);
    assert_eq!(set(&mut c, json!({"name": "b"}))["quotas"], expected);
    let told = usage(&mut c)["auditEvents"].as_u64().unwrap();
    set(&mut c, json!({"quotas": {"secrets": 9, "auditEvents": told}}));
    full(
        create(&mut c, &key, "three", "1"),
        &format!("auditEvents: {told} events in the audit log"),
    );
    assert_eq!(c.call("DELETE", &secret, &key, None).status, 200);
    appliance.kill();
    let appliance = home.start();
    let mut c = appliance.connect();
    let shown = set(&mut c, json!({"quotas": null}));
    assert_eq!(shown["quotas"]["secrets"], 2);
    let used = json!({"secrets": 1, "valueBytes": 1, "apiKeys": 2, "auditEvents": told + 1, "functions": 0});
    assert_eq!(shown["usage"], used);
    assert_eq!(create(&mut c, &key, "three", "1").status, 201);
    let log = c.call("GET", "/v1/audit-log?limit=100", &owner, None).json();
    let told: Vec<_> =
        log["events"].as_array().unwrap().iter().map(|e| text(e, "action")).collect();
    assert_eq!(told.first().map(String::as_str), Some("account.update"));
    assert_eq!(told.last().map(String::as_str), Some("account.create"));
    assert_eq!(log["events"][0]["object"]["id"], made["id"]);
}

#[test]
fn sixty_four_creations_at_once_fill_a_quota_and_no_more() {
    let home = with_limits("secrets_per_account = 30\n");
    let appliance = home.start();
    let key = appliance.claim().admin;
    let next = AtomicUsize::new(0);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let write = || {
            let mut c = appliance.connect();
            let number = next.fetch_add(1, Ordering::Relaxed);
            create(&mut c, &key, &format!("name-{number}"), "v").status
        };
        let tasks: Vec<_> = (0..64).map(|_| scope.spawn(write)).collect();
        tasks.into_iter().map(|task| task.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 30, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 507).count(), 34, "{statuses:?}");
}

/// Fills an account from several connections.
fn fill(appliance: &Appliance<'_>, key: &str, secrets: usize) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut c = appliance.connect();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= secrets {
                        return;
                    }
                    assert_eq!(create(&mut c, key, &format!("s{number}"), "value").status, 201);
                }
            });
        }
    });
}

/// How many deleted accounts are still being removed.
fn deleted_accounts(c: &mut Connection, owner: &str) -> u64 {
    let text = String::from_utf8(c.call("GET", "/metrics", owner, None).body).unwrap();
    let line =
        text.lines().find_map(|line| line.strip_prefix("neo_secrets_store_deleted_accounts "));
    line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

#[test]
fn a_deleted_account_is_gone_at_once_and_stays_so_through_kills() {
    const SECRETS: usize = 800;
    let home = Home::usual();
    let mut appliance = home.start();
    let claimed = appliance.claim();
    let (owner, kept) = (claimed.owner, claimed.admin);
    assert_eq!(create(&mut appliance.connect(), &kept, "kept", "v").status, 201);
    for round in 0..4_usize {
        let mut c = appliance.connect();
        let doomed = create_account(&mut c, &owner, json!({"name": format!("doomed {round}")}));
        let (id, key) = (text(&doomed, "id"), text(&doomed, "adminKey"));
        fill(&appliance, &key, SECRETS);
        let reader = json!({"name": "r", "permissions": ["read"]});
        let reader = text(&c.call("POST", "/v1/api-keys", &key, Some(&reader)).json(), "key");
        // A connection that has been used, and stays open.
        let mut used = appliance.connect();
        assert_eq!(used.call("GET", "/v1/secrets", &reader, None).status, 200);
        let target = format!("/v1/accounts/{id}");
        let deleted = c.call("DELETE", &target, &owner, None);
        let done = json!({"success": true, "message": "Account deleted successfully"});
        assert_eq!((deleted.status, deleted.json()), (200, done));
        for key in [&reader, &key] {
            used.call("GET", "/v1/secrets", key, None).error(401, "UNAUTHORIZED");
            create(&mut used, key, "late", "v").error(401, "UNAUTHORIZED");
        }
        c.call("GET", &target, &owner, None).error(404, "NOT_FOUND");
        c.call("DELETE", &target, &owner, None).error(404, "NOT_FOUND");
        // Killed at once, or after some more writes, each of which goes along with the removal.
        for number in 0..round {
            let name = format!("meanwhile-{round}-{number}");
            assert_eq!(create(&mut c, &kept, &name, "v").status, 201);
        }
        appliance.kill();
        appliance = home.start();
        assert_eq!(appliance.state(), "ready");
        let mut c = appliance.connect();
        c.call("GET", "/v1/secrets", &key, None).error(401, "UNAUTHORIZED");
        c.call("GET", &target, &owner, None).error(404, "NOT_FOUND");
    }
    let mut c = appliance.connect();
    while deleted_accounts(&mut c, &owner) > 0 {}
    assert!(appliance.terminate().success());
    assert!(!home.log().contains("ERROR"), "{}", home.log());
    let appliance = home.start();
    let mut c = appliance.connect();
    assert_eq!(deleted_accounts(&mut c, &owner), 0);
    let list = c.call("GET", "/v1/accounts", &owner, None).json();
    assert_eq!(list["pagination"]["total"], 1);
    assert_eq!(list["accounts"][0]["usage"]["secrets"], 1 + 1 + 2 + 3);
    let log = c.call("GET", "/v1/audit-log?action=account.delete", &owner, None).json();
    assert_eq!(log["pagination"]["total"], 4);
    assert_eq!(
        c.call("GET", "/v1/secrets?prefix=kept", &kept, None).json()["pagination"]["total"],
        1
    );
}

#[test]
fn no_tenant_uses_up_the_owners_requests() {
    let home = with_limits("requests_per_second_per_key = 1\n");
    let appliance = home.start();
    let claimed = appliance.claim();
    let mut c = appliance.connect();
    let call = |c: &mut Connection| c.call("GET", "/v1/secrets", &claimed.admin, None).status;
    while call(&mut c) != 429 {}
    let answer = c.call("GET", "/v1/accounts", &claimed.owner, None);
    assert_eq!((answer.status, answer.header("x-ratelimit-remaining")), (200, Some("0")));
}

#[test]
fn where_connections_run_out_only_the_owner_keeps_one() {
    let home = with_limits("connections = 16\nconnections_per_address = 16\n");
    let appliance = home.start();
    let claimed = appliance.claim();
    let mut held: Vec<Connection> = Vec::new();
    let list = |c: &mut Connection, key: &str| {
        let target = if key == claimed.owner { "/v1/accounts" } else { "/v1/secrets" };
        let answer = c.call("GET", target, key, None);
        (answer.status, answer.header("connection").map(str::to_owned))
    };
    for _ in 0..14 {
        let mut c = appliance.connect();
        assert_eq!(list(&mut c, &claimed.admin), (200, None));
        held.push(c);
    }
    // Connections beyond seven eighths of them.
    let mut owners = appliance.connect();
    assert_eq!(list(&mut owners, &claimed.owner), (200, None));
    let closed = Some("close".to_owned());
    let mut tenants = held.pop().unwrap();
    assert_eq!(list(&mut tenants, &claimed.admin), (200, closed.clone()));
    let mut stranger = appliance.connect();
    assert_eq!(list(&mut stranger, "").1, closed);
    assert_eq!(list(&mut owners, &claimed.owner), (200, None));
}

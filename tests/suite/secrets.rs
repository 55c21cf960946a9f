//! Secrets through the API: metadata, versions, `If-Match`, pages, and what survives a restart.

use neo_secrets_tests::appliance::{CONFIG, Home, chip};
use neo_secrets_tests::http::Connection;
use serde_json::{Value, json};
use snp_simulator::Product;

fn create(connection: &mut Connection, key: &str, body: Value) -> Value {
    let answer = connection.call("POST", "/v1/secrets", key, Some(&body));
    assert_eq!(answer.status, 201, "{:?}", answer.json());
    answer.json()
}

#[test]
fn updates_make_versions_and_revisions() {
    let home = Home::usual();
    let appliance = home.start();
    let key = appliance.claim().admin;
    let mut c = appliance.connect();
    let body = json!({"name": "db", "value": "one", "description": "d", "tags": {"env": "prod"},
        "expiresAt": "2999-01-01T00:00:00Z"});
    let made = create(&mut c, &key, body);
    let target = format!("/v1/secrets/{}", made["id"].as_str().unwrap());
    let mut put = |body: Value, revision: &str| {
        let headers = format!(
            "Authorization: Bearer {key}\r\nContent-Type: application/json\r\nIf-Match: {revision}\r\n"
        );
        c.send("PUT", &target, &headers, Some(body.to_string().as_bytes()))
    };
    let second = put(json!({"value": "two"}), "\"1\"");
    assert_eq!((second.status, second.header("etag")), (200, Some("\"2\"")));
    let second = second.json();
    assert_eq!((&second["version"], &second["description"]), (&json!(2), &json!("d")));
    assert_eq!(second["tags"], json!({"env": "prod"}));
    let third = put(json!({"description": null, "tags": null, "expiresAt": null}), "\"2\"").json();
    assert_eq!(third["version"], 2, "metadata alone makes no version");
    assert_eq!(third["description"], Value::Null);
    put(json!({"value": "three"}), "\"2\"").error(412, "PRECONDITION_FAILED");
    put(json!({}), "*").error(400, "INVALID_REQUEST");
    put(json!({"name": "other"}), "*").invalid("name");
    put(json!({"value": null}), "*").invalid("value");
    let got = c.call("GET", &target, &key, None);
    assert_eq!(got.header("etag"), Some("\"3\""));
    assert_eq!(got.json(), third);
    assert!(got.json().get("value").is_none());
    c.call("PUT", "/v1/secrets/sec_123456789", &key, Some(&json!({"value": "x"})))
        .error(404, "NOT_FOUND");
}

#[test]
fn a_rollback_makes_the_old_value_a_new_version() {
    let home = Home::new(&chip(Product::Genoa), &format!("{CONFIG}[limits]\nversions_kept = 3\n"));
    let appliance = home.start();
    let key = appliance.claim().admin;
    let mut c = appliance.connect();
    let key_of = |c: &mut Connection, body: Value| {
        let made = c.call("POST", "/v1/api-keys", &key, Some(&body)).json();
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        (text("id"), text("key"))
    };
    let admin_id = {
        let listed = c.call("GET", "/v1/api-keys", &key, None).json();
        listed["apiKeys"][0]["id"].clone()
    };
    let (writer_id, writer) = key_of(&mut c, json!({"name": "w", "permissions": ["write"]}));
    let (_, reader) = key_of(&mut c, json!({"name": "r", "permissions": ["read"]}));
    let made = create(&mut c, &key, json!({"name": "db", "value": "one", "tags": {"k": "v"}}));
    let target = format!("/v1/secrets/{}", made["id"].as_str().unwrap());
    let (versions, rollback) = (format!("{target}/versions"), format!("{target}/rollback"));

    let listed = c.call("GET", &versions, &reader, None);
    let first = json!({"version": 1, "createdAt": made["createdAt"], "createdBy": admin_id});
    assert_eq!((listed.status, listed.json()), (200, json!({"versions": [first]})));
    c.call("GET", &versions, &writer, None).error(403, "FORBIDDEN");
    c.call("GET", &format!("{versions}?limit=1"), &reader, None).invalid("limit");
    assert_eq!(c.call("PUT", &target, &key, Some(&json!({"value": "two"}))).status, 200);

    let back = |c: &mut Connection, by: &str, version: Value, revision: &str| {
        let headers = format!(
            "Authorization: Bearer {by}\r\nContent-Type: application/json\r\n\
             If-Match: {revision}\r\n"
        );
        let body = json!({"version": version}).to_string();
        c.send("POST", &rollback, &headers, Some(body.as_bytes()))
    };
    back(&mut c, &writer, json!(1), "\"1\"").error(412, "PRECONDITION_FAILED");
    back(&mut c, &reader, json!(1), "*").error(403, "FORBIDDEN");
    back(&mut c, &writer, json!(1), "three").invalid("If-Match");
    let third = back(&mut c, &writer, json!(1), "\"2\"");
    assert_eq!((third.status, third.header("etag")), (200, Some("\"3\"")));
    let third = third.json();
    assert_eq!((&third["version"], &third["tags"]), (&json!(3), &json!({"k": "v"})));
    assert_eq!(third, c.call("GET", &target, &key, None).json());
    // The current version, too: an equal one follows it, and the oldest is kept no longer.
    assert_eq!(back(&mut c, &key, json!(3), "*").json()["version"], 4);
    let listed = c.call("GET", &versions, &reader, None).json();
    let kept = listed["versions"].as_array().unwrap();
    let kept: Vec<_> = kept.iter().map(|item| (&item["version"], &item["createdBy"])).collect();
    let writer_id = json!(writer_id);
    assert_eq!(kept, [(&json!(4), &admin_id), (&json!(3), &writer_id), (&json!(2), &admin_id)]);
    for version in [json!(0), json!(1), json!(5), json!(u64::MAX)] {
        let error = back(&mut c, &key, version, "*").invalid("version");
        assert_eq!(error["details"]["issue"], "must be a version that is kept: 2 to 4");
    }
    for version in [json!("2"), json!(2.0), json!(-1), json!(null)] {
        back(&mut c, &key, version, "*").invalid("version");
    }
    c.call("POST", &rollback, &key, Some(&json!({}))).invalid("version");
    c.call("POST", &rollback, &key, Some(&json!({"version": 2, "value": "x"}))).invalid("value");

    let (_, narrowed) = key_of(
        &mut c,
        json!({"name": "n", "permissions": ["read", "write"], "secrets": ["web-*"]}),
    );
    let version = json!({"version": 2});
    let beside = "/v1/secrets/sec_AAAAAAAAAAAAAAAAAAAAAAAA";
    for (target, key) in [(target.as_str(), &narrowed), (beside, &key), ("/v1/secrets/x", &key)] {
        c.call("GET", &format!("{target}/versions"), key, None).error(404, "NOT_FOUND");
        let rollback = format!("{target}/rollback");
        c.call("POST", &rollback, key, Some(&version)).error(404, "NOT_FOUND");
    }
    for (method, target, allow) in [("POST", &versions, "GET, HEAD"), ("GET", &rollback, "POST")] {
        let answer = c.call(method, target, &key, None);
        answer.error(405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.header("allow"), Some(allow));
    }

    appliance.kill();
    let appliance = home.start();
    let mut c = appliance.connect();
    assert_eq!(c.call("GET", &versions, &key, None).json(), listed);
    assert_eq!(c.call("DELETE", &target, &key, None).status, 200);
    c.call("GET", &versions, &key, None).error(404, "NOT_FOUND");
    c.call("POST", &rollback, &key, Some(&version)).error(404, "NOT_FOUND");
}

#[test]
fn pages_are_newest_first_and_a_deleted_name_is_free() {
    let home = Home::usual();
    let appliance = home.start();
    let key = appliance.claim().admin;
    let mut c = appliance.connect();
    let ids: Vec<_> = (0..25)
        .map(|n| create(&mut c, &key, json!({"name": format!("s{n}"), "value": "x"})))
        .map(|made| made["id"].as_str().unwrap().to_owned())
        .collect();
    let mut page = |query: &str| {
        let body = c.call("GET", &format!("/v1/secrets{query}"), &key, None).json();
        assert_eq!(body["pagination"]["total"], 25);
        body["secrets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let newest: Vec<_> = ids.iter().rev().cloned().collect();
    assert_eq!(page(""), newest[..20]);
    assert_eq!(page("?limit=10&offset=20"), newest[20..]);
    assert_eq!(page("?offset=25"), [""; 0]);
    assert_eq!(page("?limit=100"), newest);
    let target = format!("/v1/secrets/{}", ids[3]);
    assert_eq!(c.call("DELETE", &target, &key, None).status, 200);
    c.call("GET", &target, &key, None).error(404, "NOT_FOUND");
    let again = create(&mut c, &key, json!({"name": "s3", "value": "y"}));
    assert_ne!(again["id"], ids[3].as_str());
}

#[test]
fn everything_is_there_after_a_restart_and_nothing_is_in_the_clear() {
    let home = Home::usual();
    let appliance = home.start();
    let claimed = appliance.claim();
    let key = claimed.admin;
    let mut c = appliance.connect();
    let (name, value) = ("a-name-to-find", "a-value-to-find");
    let (description, tag) = ("a-description-to-find", "a-tag-to-find");
    let body =
        json!({"name": name, "value": value, "description": description, "tags": {"k": tag}});
    let made = create(&mut c, &key, body);
    let new =
        json!({"name": "a-key-name-to-find", "permissions": ["read"], "secrets": ["a-glob-*"]});
    let reader = c.call("POST", "/v1/api-keys", &key, Some(&new)).json();
    assert!(appliance.terminate().success());
    let log = home.log();
    let file = std::fs::read(home.store()).unwrap();
    for (what, needle) in [
        ("name", name),
        ("value", value),
        ("description", description),
        ("tag", tag),
        ("admin key", &key),
        ("owner key", &claimed.owner),
        ("key", reader["key"].as_str().unwrap()),
        ("key name", "a-key-name-to-find"),
        ("glob", "a-glob-"),
    ] {
        let raw = data_encoding::BASE64URL_NOPAD.decode(&needle.as_bytes()[4..]);
        let forms = [Some(needle.as_bytes().to_vec()), raw.ok().filter(|raw| raw.len() > 16)];
        for form in forms.into_iter().flatten() {
            assert!(!file.windows(form.len()).any(|w| w == form), "{what} is in the store");
        }
        assert!(!log.contains(needle), "{what} is in the log");
    }
    let appliance = home.start();
    assert_eq!(appliance.state(), "ready");
    let target = format!("/v1/secrets/{}", made["id"].as_str().unwrap());
    assert_eq!(appliance.connect().call("GET", &target, &key, None).json(), made);
    appliance.try_claim(&openssl::pkey::PKey::generate_ed25519().unwrap()).error(409, "CONFLICT");
}

#[test]
fn one_name_is_created_once_however_many_try() {
    let home = Home::usual();
    let appliance = home.start();
    let key = appliance.claim().admin;
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..16)
            .map(|n| {
                let (appliance, key) = (&appliance, &key);
                scope.spawn(move || {
                    let body = json!({"name": "same", "value": n.to_string()});
                    appliance.connect().call("POST", "/v1/secrets", key, Some(&body)).status
                })
            })
            .collect();
        tasks.into_iter().map(|task| task.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|s| **s == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|s| **s == 409).count(), 15, "{statuses:?}");
}

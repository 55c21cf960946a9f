//! API keys: narrowing, escalation, rotation, revocation, the last admin; and the claim.

use neo_secrets_tests::appliance::{CONFIG, Home, chip};
use neo_secrets_tests::http::{Answer, Connection};
use openssl::pkey::PKey;
use serde_json::{Value, json};
use snp_simulator::Product;

fn key(connection: &mut Connection, by: &str, body: Value) -> Answer {
    connection.call("POST", "/v1/api-keys", by, Some(&body))
}

fn text(body: &Value, field: &str) -> String {
    body[field].as_str().unwrap().to_owned()
}

#[test]
fn a_key_is_shown_once_and_works_until_it_is_revoked() {
    let home = Home::usual();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let mut c = appliance.connect();
    let made = key(&mut c, &admin, json!({"name": "ci", "permissions": ["read", "write"]}));
    assert_eq!(made.status, 201);
    let made = made.json();
    let mut fields: Vec<_> = made.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let all =
        ["createdAt", "expiresAt", "id", "key", "name", "oldKeyUntil", "permissions", "secrets"];
    assert_eq!(fields, all);
    let token = text(&made, "key");
    assert_eq!(c.call("GET", "/v1/secrets", &token, None).status, 200);
    let listed = c.call("GET", "/v1/api-keys", &admin, None);
    assert!(!String::from_utf8_lossy(&listed.body).contains(&token));
    let target = format!("/v1/api-keys/{}", text(&made, "id"));
    assert_eq!(c.call("DELETE", &target, &admin, None).status, 200);
    c.call("GET", "/v1/secrets", &token, None).error(401, "UNAUTHORIZED");
    c.call("DELETE", &target, &admin, None).error(404, "NOT_FOUND");
}

#[test]
fn a_narrowed_key_sees_and_makes_what_its_globs_cover() {
    let home = Home::usual();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let mut c = appliance.connect();
    let body = |name: &str| json!({"name": name, "value": "x"});
    let other = c.call("POST", "/v1/secrets", &admin, Some(&body("web-1"))).json();
    let narrowed = json!({"name": "n", "permissions": ["read", "write"], "secrets": ["db-*"]});
    let narrowed = text(&key(&mut c, &admin, narrowed).json(), "key");
    assert_eq!(c.call("POST", "/v1/secrets", &narrowed, Some(&body("db-1"))).status, 201);
    c.call("POST", "/v1/secrets", &narrowed, Some(&body("web-2"))).error(403, "FORBIDDEN");
    // A name that is taken, outside the globs: the answer does not tell.
    c.call("POST", "/v1/secrets", &narrowed, Some(&body("web-1"))).error(403, "FORBIDDEN");
    let target = format!("/v1/secrets/{}", text(&other, "id"));
    c.call("GET", &target, &narrowed, None).error(404, "NOT_FOUND");
    let denied = c.call("DELETE", &target, &narrowed, None).error(403, "FORBIDDEN");
    let told = "This key lacks the permission admin: it has read, write on secrets db-*.";
    assert_eq!(denied["message"], told);
    c.call("PUT", &target, &narrowed, Some(&json!({"value": "y"}))).error(404, "NOT_FOUND");
    let list = c.call("GET", "/v1/secrets", &narrowed, None).json();
    assert_eq!(list["pagination"]["total"], 1);
    assert_eq!(list["secrets"][0]["name"], "db-1");
}

#[test]
fn no_key_makes_or_takes_more_than_it_has() {
    let home = Home::usual();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let mut c = appliance.connect();
    let narrow = json!({"name": "n", "permissions": ["admin"], "secrets": ["db-*"]});
    let narrow = text(&key(&mut c, &admin, narrow).json(), "key");
    for body in [
        json!({"name": "x", "permissions": ["read"]}),
        json!({"name": "x", "permissions": ["read"], "secrets": ["*"]}),
        json!({"name": "x", "permissions": ["read"], "secrets": ["db-1", "d*"]}),
        json!({"name": "x", "permissions": ["reveal"], "secrets": ["db-1"]}),
    ] {
        key(&mut c, &narrow, body).error(403, "FORBIDDEN");
    }
    let inner = json!({"name": "x", "permissions": ["read"], "secrets": ["db-*-x"]});
    assert_eq!(key(&mut c, &narrow, inner).status, 201);
    // Neither may it rotate a wider key and so obtain it, nor revoke one.
    let list = c.call("GET", "/v1/api-keys", &admin, None).json();
    let keys = list["apiKeys"].as_array().unwrap();
    let wide = keys.iter().find(|k| k["secrets"].is_null()).expect("the first admin key");
    let target = format!("/v1/api-keys/{}", text(wide, "id"));
    let rotate = format!("{target}/rotate");
    let overlap = json!({"overlapSeconds": 60});
    c.call("POST", &rotate, &narrow, Some(&overlap)).error(404, "NOT_FOUND");
    c.call("DELETE", &target, &narrow, None).error(404, "NOT_FOUND");
}

#[test]
fn rotation_overlaps_as_asked_and_the_last_admin_stays() {
    let home = Home::usual();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let mut c = appliance.connect();
    let made = key(&mut c, &admin, json!({"name": "r", "permissions": ["read"]})).json();
    let old = text(&made, "key");
    let rotate = format!("/v1/api-keys/{}/rotate", text(&made, "id"));
    let overlap = json!({"overlapSeconds": 3600});
    let rotated = c.call("POST", &rotate, &admin, Some(&overlap)).json();
    for token in [&old, &text(&rotated, "key")] {
        assert_eq!(c.call("GET", "/v1/secrets", token, None).status, 200);
    }
    let old_until = |c: &mut Connection| {
        let list = c.call("GET", "/v1/api-keys", &admin, None).json();
        let keys = list["apiKeys"].as_array().unwrap();
        keys.iter().find(|key| key["name"] == "r").unwrap()["oldKeyUntil"].clone()
    };
    assert!(rotated["oldKeyUntil"].is_string(), "{rotated}");
    assert_eq!(old_until(&mut c), rotated["oldKeyUntil"]);
    let again = c.call("POST", &rotate, &admin, Some(&json!({"overlapSeconds": 0}))).json();
    assert_eq!((&again["oldKeyUntil"], old_until(&mut c)), (&Value::Null, Value::Null));
    for token in [&old, &text(&rotated, "key")] {
        c.call("GET", "/v1/secrets", token, None).error(401, "UNAUTHORIZED");
    }
    assert_eq!(c.call("GET", "/v1/secrets", &text(&again, "key"), None).status, 200);
    c.call("POST", &rotate, &admin, Some(&json!({"overlapSeconds": -1}))).invalid("overlapSeconds");

    let list = c.call("GET", "/v1/api-keys", &admin, None).json();
    let keys = list["apiKeys"].as_array().unwrap();
    let is_admin = |k: &&Value| k["permissions"].to_string().contains("admin");
    let last = keys.iter().find(is_admin).unwrap();
    let target = format!("/v1/api-keys/{}", text(last, "id"));
    c.call("DELETE", &target, &admin, None).error(409, "CONFLICT");
    let second = json!({"name": "second", "permissions": ["admin"]});
    let second = text(&key(&mut c, &admin, second).json(), "key");
    assert_eq!(c.call("DELETE", &target, &admin, None).status, 200);
    c.call("GET", "/v1/secrets", &admin, None).error(401, "UNAUTHORIZED");
    assert_eq!(c.call("GET", "/v1/secrets", &second, None).status, 200);
}

#[test]
fn the_owner_may_repeat_a_claim_until_a_key_was_used() {
    let home = Home::usual();
    let appliance = home.start();
    let owner = PKey::generate_ed25519().unwrap();
    let lost = appliance.claim_as(&owner);
    let other = PKey::generate_ed25519().unwrap();
    appliance.try_claim(&other).error(409, "CONFLICT");
    let kept = appliance.claim_as(&owner);
    assert_eq!(lost.answer["storeId"], kept.answer["storeId"]);
    assert_eq!(lost.answer["instanceKey"], kept.answer["instanceKey"]);
    let mut c = appliance.connect();
    c.call("GET", "/v1/secrets", &lost.admin, None).error(401, "UNAUTHORIZED");
    assert_eq!(c.call("GET", "/v1/secrets", &kept.admin, None).status, 200);
    appliance.try_claim(&owner).error(409, "CONFLICT");
    appliance.kill();
    // That a key was used is as durable as the answer was.
    let appliance = home.start();
    appliance.try_claim(&owner).error(409, "CONFLICT");
    assert_eq!(appliance.connect().call("GET", "/v1/secrets", &kept.admin, None).status, 200);
}

#[test]
fn a_claim_holds_for_its_own_connection_and_the_configured_owner() {
    let owner = PKey::generate_ed25519().unwrap();
    let public = data_encoding::BASE64.encode(&owner.raw_public_key().unwrap());
    let config = CONFIG.replace("\"any\"", &format!("\"{public}\""));
    let home = Home::new(&chip(Product::Genoa), &config);
    let appliance = home.start();
    appliance.try_claim(&PKey::generate_ed25519().unwrap()).error(403, "FORBIDDEN");
    // A signature over another connection's exporter is no claim on this one.
    let elsewhere = appliance.connect();
    let body = neo_secrets_tests::appliance::claim_body(&owner, &elsewhere.exporter());
    let mut c = appliance.connect();
    c.call("POST", "/v1/claim", "", Some(&body)).error(403, "FORBIDDEN");
    assert!(!home.store().exists());
    let body = neo_secrets_tests::appliance::claim_body(&owner, &c.exporter());
    let mut odd = body.clone();
    odd["unlockHalf"] = json!(data_encoding::BASE64.encode(&[1; 32]));
    c.call("POST", "/v1/claim", "", Some(&odd)).invalid("unlockHalf");
    assert_eq!(c.call("POST", "/v1/claim", "", Some(&body)).status, 201);
}

//! Use-only secrets: what creates them, and that nothing shows or loosens them.

use neo_secrets_tests::appliance::{CONFIG, Home, chip};
use serde_json::{Value, json};
use snp_simulator::Product;

const VALUE: &str = "sk_live_needle_0123456789";

fn body() -> Value {
    json!({"name": "api-key", "value": VALUE, "useOnly": true,
        "allowedHosts": ["api.example.com", "xn--bcher-kva.example"], "allowedHeader": "X-Api-Key"})
}

#[test]
fn nobody_reads_a_use_only_secret_and_nothing_loosens_it() {
    let config = CONFIG.replace("\"off\"", "\"by-permission\"");
    let home = Home::new(&chip(Product::Genoa), &config);
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let mut connection = appliance.connect();
    let mut call = |method: &str, path: &str, key: &str, body: Option<&Value>| {
        connection.call(method, path, key, body)
    };
    let made = call("POST", "/v1/secrets", &admin, Some(&body())).json();
    let shown = |secret: &Value| {
        assert_eq!(secret["useOnly"], true);
        assert_eq!(secret["allowedHosts"], body()["allowedHosts"]);
        assert_eq!(secret["allowedHeader"], "X-Api-Key");
        assert!(!secret.to_string().contains("needle"), "{secret}");
    };
    shown(&made);
    let path = format!("/v1/secrets/{}", made["id"].as_str().unwrap());
    shown(&call("GET", &path, &admin, None).json());
    let all = call("GET", "/v1/secrets?detail=full", &admin, None).json();
    shown(&all["secrets"][0]);
    let permissions = json!({"name": "all", "permissions": ["admin", "reveal"]});
    let key = call("POST", "/v1/api-keys", &admin, Some(&permissions)).json();
    let key = key["key"].as_str().unwrap();
    for version in ["", "?version=1", "?version=2"] {
        let refused = call("GET", &format!("{path}/value{version}"), key, None);
        assert_eq!(refused.status, 403);
        let error = refused.json()["error"].clone();
        assert_eq!(error["code"], "FORBIDDEN");
        assert!(error["message"].as_str().unwrap().contains("use-only"), "{error}");
    }
    for (field, value) in [
        ("useOnly", json!(false)),
        ("allowedHosts", json!(["evil.example"])),
        ("allowedHeader", json!("X-Other")),
    ] {
        call("PUT", &path, &admin, Some(&json!({field: value}))).invalid(field);
        call("PUT", &path, &admin, Some(&json!({field: null}))).invalid(field);
    }
    for value in ["too short", "has a space in between", "0123456789abcdefä"] {
        call("PUT", &path, &admin, Some(&json!({"value": value}))).invalid("value");
    }
    let second = json!({"value": "sk_live_needle_the_second_one"});
    let changed = call("PUT", &path, &admin, Some(&second)).json();
    shown(&changed);
    assert_eq!(changed["version"], 2);
    shown(&call("POST", &format!("{path}/rollback"), &admin, Some(&json!({"version": 1}))).json());
    assert_eq!(call("GET", &format!("{path}/value"), key, None).status, 403);
}

#[test]
fn a_wrong_field_is_named() {
    let home = Home::usual();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let mut connection = appliance.connect();
    let mut refused = |field: &str, value: Value, named: &str| {
        let mut body = body();
        body[field] = value;
        connection.call("POST", "/v1/secrets", &admin, Some(&body)).invalid(named);
    };
    refused("useOnly", json!("true"), "useOnly");
    refused("useOnly", json!(1), "useOnly");
    refused("useOnly", json!(false), "allowedHosts");
    refused("useOnly", Value::Null, "allowedHosts");
    refused("allowedHosts", Value::Null, "allowedHosts");
    refused("allowedHosts", json!([]), "allowedHosts");
    refused("allowedHosts", json!(["a.test", "a.test"]), "allowedHosts");
    let many: Vec<_> = (0..21).map(|number| format!("h{number}.test")).collect();
    refused("allowedHosts", json!(many), "allowedHosts");
    for host in ["localhost", "10.0.0.1", "[::1]", "A.test", "*.test", "a.test:443", "a.test.", ""]
    {
        refused("allowedHosts", json!([host]), "allowedHosts");
    }
    refused("allowedHeader", Value::Null, "allowedHeader");
    for header in ["", "Host", "content-length", "Proxy-Authorization", "a b", "a\r\nb"] {
        refused("allowedHeader", json!(header), "allowedHeader");
    }
    for value in ["fifteen-letters", "has a space in between", &"x".repeat(4_097)] {
        refused("value", json!(value), "value");
    }
}

//! Functions as a person uses them: the three examples of server/examples, each deployed and run by
//! the command line, with the hosts that they call on this machine.

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use neo_secrets_tests::appliance::{Appliance, CONFIG, Home};
use neo_secrets_tests::upstream::{Received, Upstream};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::{Value, json};

use crate::cli::{claim, cli, home};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/examples").join(name)
}

/// Starts an instance whose functions find `host` at `upstream`, and claims it.
fn start<'h>(home: &'h Home, host: &str, upstream: &Upstream) -> Appliance<'h> {
    std::fs::create_dir(home.path("chip/network")).unwrap();
    let hosts = format!("{host} {}\n", upstream.address());
    std::fs::write(home.path("chip/network/hosts"), hosts).unwrap();
    std::fs::write(home.path("chip/network/roots.pem"), upstream.root_pem()).unwrap();
    let appliance = home.start();
    claim(home, &appliance);
    appliance
}

fn secret(home: &Home, name: &str, value: &str) {
    home.cli(&["secrets", "create", name], value).says(0, &["created"]);
}

fn hmac(key: &str, message: &[u8]) -> String {
    let key = PKey::hmac(key.as_bytes()).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    HEXLOWER.encode(&signer.sign_oneshot_to_vec(message).unwrap())
}

#[test]
fn an_api_is_called_with_a_key_that_nobody_sees() {
    const HOST: &str = "api.example.com";
    const KEY: &str = "rates-needle-0123456789";
    let upstream = Upstream::start(HOST, |request| match request.header("authorization") {
        Some(key) if key == format!("Bearer {KEY}") => (200, json!({"rate": 0.95}).to_string()),
        _ => (401, "{}".to_owned()),
    });
    let home = home(CONFIG);
    let appliance = start(&home, HOST, &upstream);
    secret(&home, "rates-key", KEY);
    let code = example("call-api.js");
    let code = code.to_str().unwrap();
    let deploy = format!(
        "functions deploy {code} --name rates --secret rates-key --egress {HOST} \
         --env API=https://{HOST}"
    );
    cli(&home, &deploy).says(0, &["created rates", "functions invoke rates"]);
    let invoke = |params: &str| {
        home.cli(&["functions", "invoke", "rates", "--params", params, "--code", code], "")
    };
    let called = invoke(r#"{"from":"CHF","to":"EUR"}"#);
    called.says(0, &["receipt verified", "rates-key (version 1)", "info: CHF/EUR is 0.95"]);
    assert_eq!(called.out, "{\"from\":\"CHF\",\"to\":\"EUR\",\"rate\":0.95}\n");
    let requests: Vec<Received> = upstream.received();
    assert_eq!(requests[0].target, "/v1/rates?from=CHF&to=EUR");
    assert_eq!(requests.len(), 1);
    for text in [&called.out, &called.err, &home.log()] {
        assert!(!text.contains("needle"), "{text}");
    }
    let refused = invoke(r#"{"from":"CHF"}"#);
    refused.says(1, &["EXECUTION_ERROR", "RangeError: params are", "functions logs"]);

    // A new value is seen without a deployment; one that the API does not know is not told.
    home.cli(&["secrets", "update", "rates-key"], "another-needle-987654321").says(0, &["updated"]);
    let refused = invoke(r#"{"from":"CHF","to":"EUR"}"#);
    refused.says(1, &["Error: the API answered 401"]);
    assert!(!refused.err.contains("needle"), "{}", refused.err);
    cli(&home, "functions logs rates").says(0, &["completed", "failed"]);
    cli(&home, "secrets delete rates-key --yes").says(0, &[]);
    invoke(r#"{"from":"CHF","to":"EUR"}"#).says(1, &["SecretNotFound"]);
    cli(&home, "audit --action secret.read").says(0, &["func_", "rates-key"]);
    drop(appliance);
}

#[test]
fn an_order_is_signed_by_code_that_an_admin_has_confirmed() {
    const HOST: &str = "partner.example.com";
    const KEY: &str = "a key that both partners have";
    let upstream = Upstream::start(HOST, |request| {
        let signature = request.header("x-signature").unwrap_or_default();
        let (time, signature) = signature.split_once(",v1=").unwrap_or_default();
        let time = time.strip_prefix("t=").unwrap_or_default();
        let message = [time.as_bytes(), b".", &request.body].concat();
        (if hmac(KEY, &message) == signature { 201 } else { 403 }, "{}".to_owned())
    });
    let home = home(CONFIG);
    let appliance = start(&home, HOST, &upstream);
    secret(&home, "partner-key", KEY);
    let file = example("sign-hmac.js");
    let file = file.to_str().unwrap();
    let deploy = |file: &str| {
        cli(
            &home,
            &format!(
                "functions deploy {file} --name send-order --secret partner-key --egress {HOST} \
                 --env PARTNER=https://{HOST} --pin-code"
            ),
        )
    };
    deploy(file).says(0, &["pinned code\tconfirmed"]);
    let invoke = || {
        let params = r#"{"id":"o-1","amount":"12.50"}"#;
        home.cli(&["functions", "invoke", "send-order", "--params", params], "")
    };
    assert_eq!(invoke().says(0, &["partner-key (version 1)"]).out, "{\"accepted\":\"o-1\"}\n");
    assert_eq!(upstream.received().len(), 1);
    assert_eq!(upstream.received()[0].body, br#"{"id":"o-1","amount":"12.50"}"#);

    // Changed code reads nothing, and is not confirmed by another file that was read.
    let changed = home.path("changed.js");
    std::fs::write(&changed, std::fs::read_to_string(file).unwrap() + "\n// changed\n").unwrap();
    let deployed = deploy(changed.to_str().unwrap());
    deployed.says(0, &["code\t", "changed send-order", "functions confirm send-order"]);
    invoke().says(1, &["SecretAccessDenied"]);
    let confirm = |file: &str| cli(&home, &format!("functions confirm send-order --code {file}"));
    confirm(file).says(5, &["the function's code is"]);
    confirm(changed.to_str().unwrap()).says(0, &["confirmed"]);
    invoke().says(0, &["receipt verified"]);
    drop(appliance);
}

#[test]
fn a_webhook_is_checked_and_its_receipt_verifies_offline() {
    const KEY: &str = "the webhook's key";
    let upstream = Upstream::start("unused.example.com", |_| (500, String::new()));
    let home = home(CONFIG);
    let appliance = start(&home, "unused.example.com", &upstream);
    secret(&home, "webhook-key", KEY);
    let file = example("check-webhook.js");
    let file = file.to_str().unwrap();
    let deploy = format!("functions deploy {file} --name check-webhook --secret webhook-key");
    cli(&home, &deploy).says(0, &["created"]);
    let body = r#"{"event":"paid","id":7}"#;
    let check = |signature: &str, receipt: &str| {
        let params = json!({"body": body, "signature": signature}).to_string();
        std::fs::write(home.path("params.json"), &params).unwrap();
        cli(
            &home,
            &format!("functions invoke check-webhook --params @params.json --receipt {receipt}"),
        )
    };
    let genuine = check(&format!("sha256={}", hmac(KEY, body.as_bytes())), "genuine.json");
    assert_eq!(genuine.out, format!("{{\"valid\":true,\"event\":{body}}}\n"));
    std::fs::write(home.path("result.json"), &genuine.out).unwrap();
    let forged = check(&format!("sha256={}", hmac("another", body.as_bytes())), "forged.json");
    assert_eq!(forged.out, "{\"valid\":false}\n");
    assert_eq!(check("sha256=00", "short.json").out, "{\"valid\":false}\n");
    let whose = cli(&home, "functions verify short.json");
    whose.says(2, &["--function"]);
    cli(&home, "functions verify short.json --any-function").says(0, &["secrets read\tnone"]);
    let id = cli(&home, "-q functions show check-webhook").out.trim().to_owned();

    drop(appliance);
    let verify =
        format!("functions verify genuine.json --function {id} --code {file} --result result.json");
    let verified = cli(&home, &verify);
    verified.says(0, &["SIMULATED", "webhook-key (version 1)", "left open    the parameters"]);
    let verify =
        |line: &str| cli(&home, &format!("functions verify {line} --function {id} --json"));
    let refused = verify("forged.json --result result.json");
    refused.says(3, &[]);
    assert_eq!(refused.json()["checks"][5]["state"], "REFUSED");
    let mut receipt: Value =
        serde_json::from_slice(&std::fs::read(home.path("genuine.json")).unwrap()).unwrap();
    receipt["secretsRead"] = json!([]);
    std::fs::write(home.path("changed.json"), receipt.to_string()).unwrap();
    let refused = verify("changed.json");
    refused.says(3, &[]);
    assert_eq!(refused.json()["checks"][0]["state"], "REFUSED");
}

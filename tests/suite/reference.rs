//! The Secrets API Reference's three curl calls, pasted with only host and key changed.

use std::process::Command;

use neo_secrets_tests::appliance::Home;
use serde_json::{Value, json};

/// Runs a pasted command in bash and gives its output as JSON.
fn paste(command: &str) -> Value {
    let out = Command::new("bash").args(["-c", command]).output().unwrap();
    assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn assert_time(value: &Value) {
    let text = value.as_str().unwrap();
    assert_eq!((text.len(), &text[10..11], &text[19..]), (20, "T", "Z"), "{text}");
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn the_references_calls_give_its_json() {
    let home = Home::usual();
    let appliance = home.start();
    let key = appliance.claim().admin;
    let certificate = home.path("server.pem");
    std::fs::write(&certificate, appliance.connect().peer_certificate_pem()).unwrap();
    // What a user adds to trust the certificate; nothing else of the calls changes.
    let curl = format!("curl -sS --cacert {}", certificate.display());
    let url = format!("{}/v1/secrets", appliance.url());

    let created = paste(&format!(
        r#"{curl} -X POST "{url}" \
  -H "Authorization: Bearer {key}" \
  -H "Content-Type: application/json" \
  -d '{{
    "name": "api-key",
    "value": "YOUR_SECRET_VALUE",
    "description": "API key for external service"
  }}'"#
    ));
    let id = created["id"].as_str().unwrap();
    assert!(id.starts_with("sec_") && id.len() == 28, "{id}");
    assert_eq!(created["name"], "api-key");
    assert_eq!(created["description"], "API key for external service");
    assert_time(&created["createdAt"]);
    assert_eq!(created["createdAt"], created["updatedAt"]);
    assert_eq!(created["version"], 1);
    assert!(!created.to_string().contains("YOUR_SECRET_VALUE"));

    let second = paste(&format!(
        r#"{curl} -X POST "{url}" -H "Authorization: Bearer {key}" \
  -H "Content-Type: application/json" -d '{{"name":"database-password","value":"x"}}'"#
    ));
    assert_eq!(second["description"], Value::Null);

    let listed = paste(&format!(
        r#"{curl} -X GET "{url}" \
  -H "Authorization: Bearer {key}""#
    ));
    assert_eq!(keys(&listed), ["pagination", "secrets"]);
    assert_eq!(listed["pagination"], json!({"total": 2, "limit": 20, "offset": 0}));
    let names: Vec<_> =
        listed["secrets"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["database-password", "api-key"], "newest first");
    for item in listed["secrets"].as_array().unwrap() {
        assert_eq!(keys(item), ["createdAt", "id", "name", "updatedAt"]);
        assert_time(&item["createdAt"]);
    }
    assert_eq!(listed["secrets"][1]["id"], id);

    let delete = format!(
        r#"{curl} -X DELETE "{url}/{id}" \
  -H "Authorization: Bearer {key}""#
    );
    assert_eq!(paste(&delete), json!({"success": true, "message": "Secret deleted successfully"}));
    assert_eq!(paste(&delete)["error"]["code"], "NOT_FOUND");
    let placeholder = paste(&delete.replace(id, "sec_123456789"));
    assert_eq!(placeholder["error"]["code"], "NOT_FOUND");
}

#[test]
fn python_accepts_the_certificate_by_its_default_context() {
    let home = Home::usual();
    let appliance = home.start();
    let certificate = home.path("server.pem");
    std::fs::write(&certificate, appliance.connect().peer_certificate_pem()).unwrap();
    for host in ["localhost", "127.0.0.1"] {
        let script = format!(
            "import ssl,urllib.request\n\
             c=ssl.create_default_context(cafile={certificate:?})\n\
             assert c.check_hostname and c.verify_mode==ssl.CERT_REQUIRED\n\
             c.verify_flags|=getattr(ssl,'VERIFY_X509_STRICT',0)\n\
             print(urllib.request.urlopen('https://{host}:{}/healthz',context=c).status)",
            appliance.addr.port()
        );
        let out = Command::new("python3").args(["-c", &script]).output().unwrap();
        assert_eq!(out.stdout, b"200\n", "{}", String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn tls_is_1_3_only_and_prefers_the_hybrid_key_exchange() {
    let home = Home::usual();
    let appliance = home.start();
    let curl = |options: &[&str]| {
        let url = format!("{}/healthz", appliance.url());
        Command::new("curl").args(["-sSk"]).args(options).arg(url).output().unwrap()
    };
    assert!(curl(&["--tlsv1.3"]).status.success());
    assert_eq!(curl(&["--tls-max", "1.2"]).status.code(), Some(35), "TLS connect error");
    assert_eq!(
        neo_secrets_tests::http::negotiated_group(appliance.addr),
        rustls::NamedGroup::X25519MLKEM768
    );
}

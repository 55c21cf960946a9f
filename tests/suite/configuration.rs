//! The configuration that an instance was claimed with, and a start with another one.

use neo_secrets_tests::appliance::{CONFIG, Home, chip};
use serde_json::json;
use snp_simulator::Product;

#[test]
fn another_configuration_keeps_the_store_closed_until_its_owner_accepts_it() {
    let home = Home::new(&chip(Product::Genoa), CONFIG);
    home.write_client_files();
    let cli = |command: &[&str]| home.cli_with_files(command);
    let instance = home.start();
    let url = instance.url();
    cli(&["claim", &url, "--owner-key", "owner.pem", "--out-dir", "."]).says(0, &["claimed"]);
    cli(&["secrets", "list", "--url", &url, "--key-file", "admin.key"]).says(0, &[]);
    let answer = instance.connect().call("GET", "/v1/configuration", "", None);
    answer.error(409, "CONFLICT");
    instance.terminate();

    // Limits and comments may change; what clients decide by may not.
    std::fs::write(home.path("config.toml"), format!("# a comment\n{CONFIG}")).unwrap();
    let instance = home.start();
    assert_eq!(instance.state(), "ready");
    instance.terminate();
    let revealing = CONFIG.replace("\"off\"", "\"by-permission\"");
    std::fs::write(home.path("config.toml"), &revealing).unwrap();
    home.write_client_files();
    let instance = home.start();
    let url = instance.url();
    let state = instance.state();
    assert!(state.contains("config-changed: ") && state.contains("in reveal;"), "{state}");
    let waiting = instance.connect().call("GET", "/v1/configuration", "", None);
    let waiting = waiting.json();
    assert_eq!((&waiting["number"], &waiting["differing"]), (&json!(1), &json!(["reveal"])));
    assert_eq!(waiting["accepted"]["reveal"], "off");

    // Nobody else accepts it.
    let zeros = json!({"number": 1, "signature": data_encoding::BASE64.encode(&[0; 64])});
    let refused = instance.connect().call("PUT", "/v1/configuration", "", Some(&zeros));
    refused.error(403, "FORBIDDEN");
    let late = json!({"number": 2, "signature": data_encoding::BASE64.encode(&[0; 64])});
    let refused = instance.connect().call("PUT", "/v1/configuration", "", Some(&late));
    assert_eq!(refused.error(400, "INVALID_REQUEST")["details"]["field"], "number");
    assert!(instance.state().contains("config-changed"));

    cli(&["accept-config", &url, "--owner-key", "owner.pem"]).says(0, &["accepted", "reveal"]);
    assert_eq!(instance.state(), "ready");
    cli(&["secrets", "list", "--url", &url, "--key-file", "admin.key"]).says(0, &[]);
    // The owner's log tells of it, from where and by which request.
    let told = ["configuration.accept", "ownerKeyPair", "127.0.0.1"];
    cli(&["audit", "--owner", "--url", &url, "--key-file", "owner.key"]).says(0, &told);
    instance.terminate();
    // It stays accepted, and the one before is now the other one.
    let instance = home.start();
    assert_eq!(instance.state(), "ready");
    instance.terminate();
    std::fs::write(home.path("config.toml"), CONFIG).unwrap();
    let instance = home.start();
    assert!(instance.state().contains("config-changed"));
}

//! A machine whose clock its host sets: time goes on from what the store has sealed, until the owner
//! sets it.

use neo_secrets_tests::appliance::{Appliance, CONFIG, Home, chip};
use serde_json::{Value, json};
use snp_simulator::Product;

const DAY: i64 = 86_400;

fn start_at(home: &Home, offset: i64) -> Appliance<'_> {
    let instance = home.start_with(&["--clock-offset", &offset.to_string()]);
    let state = instance.state();
    assert!(state == "ready" || state.contains("unclaimed"), "{state} {}", home.log());
    instance
}

fn clock(instance: &Appliance<'_>) -> Value {
    instance.connect().call("GET", "/v1/clock", "", None).json()
}

/// The warning of `/readyz`, where it has one.
fn warning(instance: &Appliance<'_>) -> Option<String> {
    let ready = instance.connect().call("GET", "/readyz", "", None).json();
    ready.get("warning").map(|warning| warning.as_str().unwrap().to_owned())
}

fn year(of: &Value) -> i64 {
    of.as_str().unwrap()[..4].parse().unwrap()
}

#[test]
fn a_host_that_turns_the_clock_moves_no_time_and_the_owner_sets_it_right() {
    let home = Home::new(&chip(Product::Genoa), CONFIG);
    home.write_client_files();
    let cli = |command: &[&str]| home.cli_with_files(command);
    let instance = start_at(&home, 0);
    let url = instance.url();
    cli(&["claim", &url, "--owner-key", "owner.pem", "--out-dir", "."]).says(0, &["claimed"]);
    let read = |url: &str| cli(&["secrets", "list", "--url", url, "--key-file", "admin.key"]);
    read(&url).says(0, &[]);
    assert_eq!(warning(&instance), None);
    let this_year = year(&clock(&instance)["time"]);
    let create = ["keys", "create", "short", "--permission", "read", "--expires-at", "2d"];
    let access = ["--url", &url, "--key-file", "admin.key", "--out", "short.key"];
    cli(&[&create[..], &access[..]].concat()).says(0, &[]);
    instance.terminate();

    // Back a year, ahead a year: neither makes two days longer or shorter.
    for (offset, word) in [(-365 * DAY, "behind"), (365 * DAY, "ahead")] {
        let instance = start_at(&home, offset);
        let said = warning(&instance).unwrap();
        assert!(said.starts_with("clock-suspect: ") && said.contains(word), "{said}");
        let shown = clock(&instance);
        assert_eq!((&shown["suspect"], year(&shown["time"])), (&json!(true), this_year));
        assert_ne!(year(&shown["machineTime"]), this_year);
        let url = instance.url();
        cli(&["secrets", "list", "--url", &url, "--key-file", "short.key"]).says(0, &[]);
        assert!(home.log().contains("clock-suspect"), "{}", home.log());
        instance.terminate();
    }

    // Within a week the machine is believed, and the two days are over.
    let instance = start_at(&home, 6 * DAY);
    assert_eq!(warning(&instance), None);
    let url = instance.url();
    cli(&["secrets", "list", "--url", &url, "--key-file", "short.key"]).says(4, &["expired"]);
    cli(&["secrets", "list", "--url", &url, "--key-file", "admin.key"]).says(0, &[]);
    instance.kill();

    // A suspect clock that its owner sets.
    let instance = start_at(&home, 365 * DAY);
    assert!(warning(&instance).is_some());
    let url = instance.url();
    for (number, status) in [(1, 403), (2, 400)] {
        let signature = data_encoding::BASE64.encode(&[0; 64]);
        let body =
            json!({"number": number, "time": "2026-01-01T00:00:00Z", "signature": signature});
        let refused = instance.connect().call("PUT", "/v1/clock", "", Some(&body));
        assert_eq!(refused.status, status);
    }
    cli(&["set-clock", &url, "--owner-key", "owner.pem"]).says(0, &["set", "before"]);
    assert_eq!(warning(&instance), None);
    assert_eq!(year(&clock(&instance)["time"]), this_year);
    assert_eq!(clock(&instance)["number"], 2);
    cli(&["secrets", "list", "--url", &url, "--key-file", "short.key"]).says(0, &[]);
    let log = ["audit", "--owner", "--url", &url, "--key-file", "owner.key"];
    cli(&log).says(0, &["clock.set", "ownerKeyPair"]);
    instance.terminate();
    // It stays set, for a machine whose clock is right again.
    let instance = start_at(&home, 0);
    assert_eq!(warning(&instance), None);
    instance.terminate();
}

#[test]
fn a_claim_says_where_the_machines_clock_is_far_off() {
    let home = Home::new(&chip(Product::Genoa), CONFIG);
    home.write_client_files();
    let root = ["--trust-simulated", "client/simulated-root.der", "--profile", "./p.json"];
    let files = ["--reference", "client/reference.json", "--policy", "client/policy.json"];
    let cli = |command: &[&str]| home.cli(&[command, &files[..], &root[..]].concat(), "");
    let instance = start_at(&home, 70 * 365 * DAY);
    let url = instance.url();
    let owner = ["--owner-key", "owner.pem"];
    let claim = [&["claim", &url, "--out-dir", "."], &owner[..]].concat();
    cli(&claim).says(0, &["claimed", "warning: the instance's time is 20", "set-clock"]);
    cli(&[&["set-clock", &url], &owner[..]].concat()).says(0, &["set"]);
    let now = time::OffsetDateTime::now_utc().year();
    assert!((year(&clock(&instance)["time"]) - i64::from(now)).abs() <= 1);
}

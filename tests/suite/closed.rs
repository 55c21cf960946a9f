//! A store that must not open: on another chip, image, policy or host_data, or changed from
//! outside.

use std::process::Stdio;

use neo_secrets_tests::appliance::{Appliance, CONFIG, Home, chip};
use serde_json::json;
use snp_simulator::Product;

/// A home with a claimed store and one secret, stopped; and its admin key.
fn claimed(product: Product) -> (Home, String) {
    let home = Home::new(&chip(product), CONFIG);
    let appliance = home.start();
    let key = appliance.claim().admin;
    let body = json!({"name": "kept", "value": "x"});
    let made = appliance.connect().call("POST", "/v1/secrets", &key, Some(&body));
    assert_eq!(made.status, 201);
    assert!(appliance.terminate().success());
    (home, key)
}

/// Starts, and expects a closed state whose message has these words, in which nothing is served.
#[track_caller]
fn assert_closed(home: &Home, key: &str, words: &[&str]) {
    let appliance = home.start();
    let state = appliance.state();
    for word in words {
        assert!(state.contains(word), "{word:?} is not in {state}");
    }
    let mut connection = appliance.connect();
    assert_eq!(connection.call("GET", "/healthz", "", None).status, 200);
    connection.call("GET", "/v1/secrets", key, None).error(503, "SERVICE_UNAVAILABLE");
    let owner = openssl::pkey::PKey::generate_ed25519().unwrap();
    appliance.try_claim(&owner).error(503, "SERVICE_UNAVAILABLE");
    // It still shows evidence.
    let nonce = data_encoding::BASE64URL_NOPAD.encode(&[7; 32]);
    let target = format!("/v1/attestation?nonce={nonce}");
    let evidence = connection.call("GET", &target, "", None);
    assert_eq!(evidence.json()["claims"]["phase"], "sealed");
    assert!(appliance.terminate().success());
}

/// The same data on another home.
fn copied(home: &Home, chip: &snp_simulator::Chip) -> Home {
    let other = Home::new(chip, CONFIG);
    std::fs::copy(home.store(), other.store()).unwrap();
    other
}

#[test]
fn a_copy_stays_closed_elsewhere_and_says_what_differs() {
    let (home, key) = claimed(Product::Genoa);
    let elsewhere = copied(&home, &chip(Product::Genoa));
    assert_closed(&elsewhere, &key, &["sealed", "chip"]);

    let original = std::fs::read(home.path("chip/chip.json")).unwrap();
    home.relaunch(|s| s.guest.measurement.0[0] ^= 1);
    assert_closed(&home, &key, &["sealed", "measurement"]);
    std::fs::write(home.path("chip/chip.json"), &original).unwrap();
    home.relaunch(|s| s.guest.host_data.0[0] ^= 1);
    assert_closed(&home, &key, &["sealed", "host_data"]);
    std::fs::write(home.path("chip/chip.json"), &original).unwrap();
    home.relaunch(|s| s.guest.policy.0 |= 1 << 19);
    assert_closed(&home, &key, &["sealed", "policy"]);

    // And it opens again where nothing differs.
    std::fs::write(home.path("chip/chip.json"), &original).unwrap();
    let appliance = home.start();
    assert_eq!(appliance.state(), "ready");
    let list = appliance.connect().call("GET", "/v1/secrets", &key, None).json();
    assert_eq!(list["pagination"]["total"], 1);
}

#[test]
fn it_opens_after_a_tcb_raise_and_not_below_the_slots_tcb() {
    let (home, key) = claimed(Product::Genoa);
    let before = std::fs::read(home.path("chip/chip.json")).unwrap();
    home.relaunch(|s| {
        for tcb in
            [&mut s.tcb.current, &mut s.tcb.reported, &mut s.tcb.committed, &mut s.tcb.launch]
        {
            tcb.snp += 1;
        }
    });
    for _ in 0..2 {
        let appliance = home.start();
        assert_eq!(appliance.state(), "ready");
        let list = appliance.connect().call("GET", "/v1/secrets", &key, None).json();
        assert_eq!(list["pagination"]["total"], 1);
        assert!(appliance.terminate().success());
    }
    // Sealed to the raised TCB now: the old firmware does not get the key back.
    std::fs::write(home.path("chip/chip.json"), before).unwrap();
    assert_closed(&home, &key, &["sealed", "firmware-too-old", "TCB"]);
}

#[test]
fn the_owner_sees_what_the_store_is_sealed_at() {
    let home = Home::new(&chip(Product::Turin), CONFIG);
    let appliance = home.start();
    let claimed = appliance.claim();
    let seal = |appliance: &Appliance<'_>| {
        assert_eq!(appliance.state(), "ready");
        appliance.connect().call("GET", "/v1/seal", &claimed.owner, None).json()
    };
    let tcb = json!({"fmc": 1, "bootLoader": 1, "tee": 1, "snp": 4, "microcode": 81});
    let mut expected = json!({
        "storeId": claimed.answer["storeId"], "instanceKey": claimed.answer["instanceKey"],
        "seal": "firmware", "slots": [{"kind": "firmware", "tcb": tcb}],
    });
    assert_eq!(seal(&appliance), expected);
    let refused = appliance.connect().call("GET", "/v1/seal", &claimed.admin, None);
    refused.error(403, "FORBIDDEN");
    assert!(appliance.terminate().success());
    // What counts is the least of committed and launch.
    home.relaunch(|settings| {
        settings.tcb.current.snp = 9;
        settings.tcb.committed.snp = 7;
        settings.tcb.launch.snp = 8;
    });
    for _ in 0..2 {
        let appliance = home.start();
        expected["slots"][0]["tcb"]["snp"] = json!(7);
        assert_eq!(seal(&appliance), expected);
        assert!(appliance.terminate().success());
    }
}

#[test]
fn vlek_and_a_masked_chip_are_refused_by_name() {
    for change in [
        (|s: &mut snp_simulator::Settings| {
            s.signer = snp_simulator::settings::Signer::Vlek;
            s.csp_id = "CN=cc-simulated.example".to_owned();
        }) as fn(&mut snp_simulator::Settings),
        |s| s.mask_chip_id = true,
    ] {
        let home = Home::usual();
        home.relaunch(change);
        let appliance = home.start();
        let state = appliance.state();
        assert!(state.contains("VLEK") || state.contains("masked"), "{state}");
        let owner = openssl::pkey::PKey::generate_ed25519().unwrap();
        appliance.try_claim(&owner).error(503, "SERVICE_UNAVAILABLE");
        assert!(!home.store().exists());
    }
}

#[test]
fn damaged_files_close_the_store_and_are_left_alone() {
    let (home, key) = claimed(Product::Genoa);
    let good = std::fs::read(home.store()).unwrap();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("zeros", vec![0; 4096]),
        ("foreign", b"#!/bin/sh\necho hello\n".repeat(300)),
        ("cut in half", good[..good.len() / 2].to_vec()),
        ("cut by one byte", good[..good.len() - 1].to_vec()),
        ("magic", [&[0; 16], &good[16..]].concat()),
    ];
    for (what, bytes) in cases {
        std::fs::write(home.store(), &bytes).unwrap();
        println!("{what}");
        assert_closed(&home, &key, &["sealed"]);
        assert!(std::fs::read(home.store()).unwrap() == bytes, "{what}: the file was changed");
    }
    // Flips all over the file: either it opens and serves the secret, or it is closed, or the one
    // record is refused. Never a crash, never "there is no such secret".
    let step = (good.len() / 24).max(1) | 1;
    for at in (0..good.len()).step_by(step) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        std::fs::write(home.store(), &bytes).unwrap();
        let appliance = home.start();
        let state = appliance.state();
        let answer = appliance.connect().call("GET", "/v1/secrets", &key, None);
        match answer.status {
            200 => assert_eq!(answer.json()["pagination"]["total"], 1, "flip at {at}"),
            500 => drop(answer.error(500, "INTERNAL_ERROR")),
            503 => drop(answer.error(503, "SERVICE_UNAVAILABLE")),
            other => panic!("flip at {at}: {other}, {state}"),
        }
        assert!(appliance.terminate().success(), "flip at {at}");
    }
}

#[test]
fn a_second_process_on_the_same_file_ends_with_a_message() {
    let (home, key) = claimed(Product::Genoa);
    let first = home.start();
    let second = home.command().stderr(Stdio::piped()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let message = String::from_utf8_lossy(&second.stderr).to_lowercase();
    assert!(message.contains("another process"), "{message}");
    assert_eq!(first.connect().call("GET", "/v1/secrets", &key, None).status, 200);
}

#[test]
fn a_store_swapped_for_another_of_the_same_chip_shows_another_identity() {
    let (home, key) = claimed(Product::Genoa);
    let original = std::fs::read(home.store()).unwrap();
    std::fs::remove_file(home.store()).unwrap();
    let appliance = home.start();
    let second = appliance.claim();
    assert!(appliance.terminate().success());
    // Two claims on one chip share nothing: each store knows its own keys only.
    let appliance = home.start();
    let mut c = appliance.connect();
    c.call("GET", "/v1/secrets", &key, None).error(401, "UNAUTHORIZED");
    assert_eq!(c.call("GET", "/v1/secrets", &second.admin, None).status, 200);
    assert!(appliance.terminate().success());
    std::fs::write(home.store(), original).unwrap();
    let appliance = home.start();
    let mut c = appliance.connect();
    assert_eq!(c.call("GET", "/v1/secrets", &key, None).status, 200);
    c.call("GET", "/v1/secrets", &second.admin, None).error(401, "UNAUTHORIZED");
}

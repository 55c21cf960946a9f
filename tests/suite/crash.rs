//! kill -9 under concurrent writes: what was acknowledged is there, and nothing is half applied.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc;

use neo_secrets_tests::appliance::{Appliance, Home};
use serde_json::json;

/// What each writer knows of its own secrets: the version last acknowledged, and whether a later
/// change was sent.
#[derive(Default, Clone, Debug)]
struct Known {
    id: String,
    version: u64,
    in_flight: bool,
}

const KILLS: usize = 20;
const WRITERS: usize = 8;

#[test]
fn twenty_kills_lose_no_acknowledged_write() {
    let home = Home::usual();
    let mut appliance = home.start();
    let key = appliance.claim().admin;
    let known = Mutex::new(BTreeMap::<String, Known>::new());
    for round in 0..KILLS {
        write_until_killed(appliance, &key, round, &known);
        appliance = home.start();
        assert_eq!(appliance.state(), "ready");
        compare(&appliance, &key, &known.lock().unwrap());
    }
    assert!(known.lock().unwrap().len() > KILLS, "the writers wrote too little to prove anything");
}

fn write_until_killed(
    appliance: Appliance<'_>,
    key: &str,
    round: usize,
    known: &Mutex<BTreeMap<String, Known>>,
) {
    let (acknowledged, progress) = mpsc::channel();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let mut connection = appliance.connect();
            let acknowledged = acknowledged.clone();
            scope.spawn(move || {
                for n in 0.. {
                    let name = format!("r{round}-w{writer}-{n}");
                    let body = json!({"name": name, "value": "v1"});
                    known.lock().unwrap().entry(name.clone()).or_default().in_flight = true;
                    let answer = connection.try_call("POST", "/v1/secrets", key, Some(&body));
                    let Ok(answer) = answer.map(|answer| answer.json()) else { return };
                    let id = answer["id"].as_str().unwrap().to_owned();
                    let entry = Known { id: id.clone(), version: 1, in_flight: true };
                    known.lock().unwrap().insert(name.clone(), entry);
                    let _ = acknowledged.send(());
                    let target = format!("/v1/secrets/{id}");
                    let body = json!({"value": "v2"});
                    if connection.try_call("PUT", &target, key, Some(&body)).is_err() {
                        return;
                    }
                    let entry = Known { id, version: 2, in_flight: false };
                    known.lock().unwrap().insert(name, entry);
                    let _ = acknowledged.send(());
                }
            });
        }
        // Another moment each round, counted in writes, not in time.
        for _ in 0..=(round * 7 + 3) {
            progress.recv().unwrap();
        }
        appliance.kill();
    });
}

fn compare(appliance: &Appliance<'_>, key: &str, known: &BTreeMap<String, Known>) {
    let mut connection = appliance.connect();
    let mut found = BTreeMap::new();
    loop {
        let target = format!("/v1/secrets?limit=100&offset={}", found.len());
        let page = connection.call("GET", &target, key, None).json();
        let items = page["secrets"].as_array().unwrap();
        for item in items {
            let text = |field: &str| item[field].as_str().unwrap().to_owned();
            found.insert(text("name"), text("id"));
        }
        if items.is_empty() {
            assert_eq!(page["pagination"]["total"], found.len(), "the count agrees with the list");
            break;
        }
    }
    for (name, known) in known {
        let Some(id) = found.remove(name) else {
            assert_eq!(known.version, 0, "{name} was acknowledged and is gone");
            continue;
        };
        assert!(known.id.is_empty() || known.id == id, "{name} has another id");
        let meta = connection.call("GET", &format!("/v1/secrets/{id}"), key, None);
        assert_eq!(meta.status, 200);
        let version = meta.json()["version"].as_u64().unwrap();
        let latest = known.version + u64::from(known.in_flight);
        assert!((known.version..=latest).contains(&version), "{name}: {version}, {known:?}");
        // The name index agrees: the name is taken.
        let body = json!({"name": name, "value": "x"});
        connection.call("POST", "/v1/secrets", key, Some(&body)).error(409, "CONFLICT");
    }
    assert_eq!(found, BTreeMap::new(), "secrets that nobody made");
}

//! This server, claimed, with what a row needs in it.

use std::sync::atomic::{AtomicUsize, Ordering};

use neo_secrets_tests::appliance::{Appliance, Claimed, Home, chip};
use neo_secrets_tests::http::Connection;
use serde_json::{Value, json};
use snp_simulator::Product;

/// Values leave by the API, and no quota is met.
pub const CONFIG: &str = "seal = \"firmware\"\nreveal = \"by-permission\"\nwitnesses = []\nquorum = 0\n\
     owner_key = \"any\"\n[limits]\naudit_events_per_account = 1000000000\n";

/// Callers that fill a store.
const FILLERS: usize = 64;

/// A folder with a chip whose secure processor answers as fast as it is asked.
pub fn home() -> Home {
    Home::new(&chip(Product::Genoa), CONFIG)
}

pub fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}")
}

/// Creates so many secrets with this value; the paths that show them.
///
/// # Panics
/// Where one is not created.
pub fn fill(appliance: &Appliance<'_>, key: &str, count: usize, value: &str) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let fill = || {
        let mut connection = appliance.connect();
        let mut paths = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return paths;
            }
            paths.push(create(&mut connection, key, &format!("secret-{number}"), value));
        }
    };
    std::thread::scope(|scope| {
        let fillers: Vec<_> = (0..FILLERS).map(|_| scope.spawn(fill)).collect();
        fillers.into_iter().flat_map(|filler| filler.join().unwrap()).collect()
    })
}

fn create(connection: &mut Connection, key: &str, name: &str, value: &str) -> String {
    let body = json!({"name": name, "value": value});
    let answer = connection.call("POST", "/v1/secrets", key, Some(&body));
    assert_eq!(answer.status, 201, "{}", answer.json());
    format!("/v1/secrets/{}", answer.json()["id"].as_str().unwrap())
}

/// So many accounts with so many secrets each; the paths of all, and to each its account's header.
///
/// # Panics
/// Where one is not created.
pub fn fill_accounts(
    appliance: &Appliance<'_>,
    claimed: &Claimed,
    accounts: usize,
    secrets: usize,
    value: &str,
) -> Vec<(String, String)> {
    let next = AtomicUsize::new(0);
    let fill = || {
        let mut connection = appliance.connect();
        let mut samples = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= accounts {
                return samples;
            }
            let body = json!({"name": format!("account-{number}")});
            let made = connection.call("POST", "/v1/accounts", &claimed.owner, Some(&body)).json();
            let key = made["adminKey"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
            for secret in 0..secrets {
                let path = create(&mut connection, &key, &format!("secret-{secret}"), value);
                samples.push((path, bearer(&key)));
            }
        }
    };
    std::thread::scope(|scope| {
        let fillers: Vec<_> = (0..FILLERS).map(|_| scope.spawn(fill)).collect();
        fillers.into_iter().flat_map(|filler| filler.join().unwrap()).collect()
    })
}

/// A function that reads the secret of this name, and the path that invokes it.
///
/// # Panics
/// Where it is not created.
pub fn deploy(appliance: &Appliance<'_>, key: &str, secret: &str) -> String {
    let code = format!(
        "async function main(context) {{ return {{ length: (await context.secrets.get('{secret}')).length }}; }}"
    );
    let body: Value = json!({"name": "reader", "code": code, "secrets": [secret]});
    let answer = appliance.connect().call("POST", "/v1/functions", key, Some(&body));
    assert_eq!(answer.status, 201, "{}", answer.json());
    format!("/v1/functions/{}/invoke", answer.json()["id"].as_str().unwrap())
}

//! Requests a second through `neo-secrets proxy`, and to the instance itself over TLS, by wrk: in
//! turns, since other work on the machine comes and goes. `cargo bench -p neo-secrets-tests`, after
//! `cargo build --release --workspace --bins`.
#![allow(clippy::unwrap_used)]

use std::io::{Error, ErrorKind};
use std::process::Command;

use neo_secrets_tests::appliance::Home;
use neo_secrets_tests::proxy::Proxy;

const TURNS: usize = 5;

/// Requests a second, none of them failed.
fn measure(url: &str, key: &str, connections: usize) -> Result<f64, Error> {
    let out = Command::new("wrk")
        .args(["--threads", "2", "--duration", "2", "--connections", &connections.to_string()])
        .args(["--header", &format!("Authorization: Bearer {key}"), url])
        .output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    let (_, rate) = text.split_once("Requests/sec:").unwrap();
    Ok(rate.split_whitespace().next().unwrap().parse().unwrap())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn main() -> Result<(), Error> {
    if Command::new("wrk").arg("-v").output().is_err_and(|e| e.kind() == ErrorKind::NotFound) {
        println!("SKIPPED: the proxy's bench (apt-get install wrk)");
        return Ok(());
    }
    let home = Home::usual();
    home.write_client_files();
    let appliance = home.start();
    let claimed = appliance.claim();
    std::fs::write(home.path("admin.key"), &claimed.admin)?;
    let pin = claimed.answer["instanceKey"].as_str().unwrap();
    let proxy = Proxy::start(&home, &appliance.url(), pin, &[]);
    let key = &claimed.admin;
    println!("connections  path         direct/s   proxy/s   ratio (medians of {TURNS} turns)");
    for connections in [16, 64] {
        for path in ["/v1/secrets", "/healthz"] {
            let (mut direct, mut through) = (Vec::new(), Vec::new());
            for _ in 0..TURNS {
                direct.push(measure(&format!("{}{path}", appliance.url()), key, connections)?);
                through.push(measure(&format!("{}{path}", proxy.url()), key, connections)?);
            }
            let ratios = direct.iter().zip(&through).map(|(direct, through)| through / direct);
            let ratio = median(ratios.collect());
            let (direct, through) = (median(direct), median(through));
            println!("{connections:>11}  {path:<11} {direct:>9.0} {through:>9.0} {ratio:>7.2}");
        }
    }
    Ok(())
}

//! Functions end to end, over TLS on this machine: a warm invocation that reads one secret, some
//! callers at once, and code that no worker has seen. `scripts/bench functions`. Figures are of one
//! run, on a machine that may have other work.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use neo_secrets_tests::appliance::{Appliance, CONFIG, Home, chip};
use neo_secrets_tests::http::Connection;
use serde_json::{Value, json};
use snp_simulator::Product;

/// Twice as many places as callers: an account that is alone has half of them.
const LIMITS: &str = "[limits]\nconcurrent_invocations = 16\n";
const CODE: &str = "async function main(context) {
  const key = await context.secrets.get('api-key');
  return { length: key.length };
}";
const WARM: usize = 2_000;
const COLD: usize = 20;
const CALLERS: [usize; 3] = [2, 4, 8];
const FOR: Duration = Duration::from_secs(4);

fn invoke(connection: &mut Connection, path: &str, key: &str) -> Duration {
    let begun = Instant::now();
    let answer = connection.call("POST", path, key, Some(&json!({})));
    let took = begun.elapsed();
    assert_eq!(answer.status, 200, "{}", answer.json());
    took
}

/// A function with this code, and the path that invokes it.
fn deploy(connection: &mut Connection, key: &str, name: &str, code: &str) -> String {
    let body = json!({"name": name, "code": code, "secrets": ["api-key"]});
    let answer = connection.call("POST", "/v1/functions", key, Some(&body)).json();
    let id = answer["id"].as_str().unwrap_or_else(|| panic!("{answer}"));
    format!("/v1/functions/{id}/invoke")
}

fn quantile(times: &mut [Duration], part: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * part) as usize]
}

/// The metrics' lines that begin so, with their numbers.
fn numbers(appliance: &Appliance<'_>, owner: &str, beginning: &str) -> Vec<(String, f64)> {
    let metrics = appliance.connect().call("GET", "/metrics", owner, None).body;
    let text = String::from_utf8(metrics).unwrap();
    let lines = text.lines().filter(|line| line.starts_with(beginning));
    let pair = |line: &str| {
        let (name, number) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), number.parse().unwrap())
    };
    lines.map(pair).collect()
}

/// The median of a histogram of the metrics, by its buckets: an estimate between two bounds.
fn histogram_median(lines: &[(String, f64)]) -> Option<Duration> {
    let bound = |name: &str| {
        let (_, rest) = name.split_once("le=\"")?;
        rest.split('"').next()?.parse::<f64>().ok()
    };
    let half = lines.iter().map(|(_, count)| *count).fold(0.0, f64::max) / 2.0;
    let (mut below, mut counted) = (0.0, 0.0);
    for (name, count) in lines {
        let bound = bound(name)?;
        if *count >= half {
            let share = (half - counted) / (count - counted);
            return Some(Duration::from_secs_f64(below + share * (bound - below)));
        }
        (below, counted) = (bound, *count);
    }
    None
}

/// Invocations a second, of so many callers who each wait for the answer.
fn rate(appliance: &Appliance<'_>, path: &str, key: &str, callers: usize) -> f64 {
    let call = || {
        let mut connection = appliance.connect();
        let (begun, mut count) = (Instant::now(), 0_u32);
        while begun.elapsed() < FOR {
            invoke(&mut connection, path, key);
            count += 1;
        }
        count
    };
    let done: u32 = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..callers).map(|_| scope.spawn(call)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    f64::from(done) / FOR.as_secs_f64()
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn main() {
    let home = Home::new(&chip(Product::Genoa), &format!("{CONFIG}{LIMITS}"));
    let appliance = home.start();
    let claimed = appliance.claim();
    let key = &claimed.admin;
    let mut connection = appliance.connect();
    let secret: Value = json!({"name": "api-key", "value": "a key of some length"});
    assert_eq!(connection.call("POST", "/v1/secrets", key, Some(&secret)).status, 201);
    let path = deploy(&mut connection, key, "warm", CODE);
    for _ in 0..100 {
        invoke(&mut connection, &path, key);
    }
    let mut warm: Vec<_> = (0..WARM).map(|_| invoke(&mut connection, &path, key)).collect();
    let route = "neo_secrets_http_request_duration_seconds_bucket\
                 {route=\"/v1/functions/{id}/invoke\"";
    let server = histogram_median(&numbers(&appliance, &claimed.owner, route));

    let rates = CALLERS.map(|callers| (callers, rate(&appliance, &path, key, callers)));

    let cold = |number: usize| {
        let code = format!("{CODE}\n// {number}");
        let path = deploy(&mut connection, key, &format!("cold-{number}"), &code);
        invoke(&mut connection, &path, key)
    };
    let mut cold: Vec<_> = (0..COLD).map(cold).collect();
    let start = "neo_secrets_function_worker_start_duration_seconds_bucket";
    let start = histogram_median(&numbers(&appliance, &claimed.owner, start));

    let told = |time: Option<Duration>| time.map_or("unknown".to_owned(), milliseconds);
    println!("warm, one secret read, result and receipt:");
    println!("  caller   p50 {}", milliseconds(quantile(&mut warm, 0.5)));
    println!("           p99 {}", milliseconds(quantile(&mut warm, 0.99)));
    println!("  server   p50 {} (between two bounds of its histogram)", told(server));
    for (callers, rate) in rates {
        println!("{callers} callers:   {rate:.0} a second");
    }
    println!("code that no worker has seen:");
    println!("  caller   p50 {}", milliseconds(quantile(&mut cold, 0.5)));
    println!("  a worker starts in {} (p50, likewise)", told(start));
}

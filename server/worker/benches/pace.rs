//! Prints how fast a worker is: `cargo bench -p neo-secrets-worker --bench pace`.
//!
//! Cold: from spawning the process to its Ready. Warm: one invocation that reads one secret, as its
//! caller sees it, without the server's own work.

#![allow(clippy::unwrap_used, reason = "a bench ends where something fails")]

// The tests' driver, of which this needs a part.
#[allow(dead_code)]
#[path = "../tests/it/driver.rs"]
mod driver;

use std::time::{Duration, Instant};

use driver::{Server, Worker, invoke};

const CODE: &str = "async function main(context) {
  const apiKey = await context.secrets.get('api-key');
  return { success: true, length: apiKey.length };
}";
const COLD: usize = 100;
const WARM: usize = 5_000;

fn main() {
    let times = |count: usize, mut run: Box<dyn FnMut()>| {
        let mut times: Vec<_> = (0..count)
            .map(|_| {
                let start = Instant::now();
                run();
                start.elapsed()
            })
            .collect();
        times.sort();
        let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
        format!("p50 {:?}, p99 {:?}", at(50), at(99))
    };
    println!("cold start to Ready: {}", times(COLD, Box::new(|| drop(Worker::ready()))));

    let mut worker = Worker::loaded(CODE);
    let mut server = Server::default();
    let warm = times(
        WARM,
        Box::new(move || {
            worker.run(invoke(), &mut server).result();
        }),
    );
    println!("warm invocation with one secret read: {warm}");

    let start = Instant::now();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            std::thread::spawn(|| {
                let (mut worker, mut server) = (Worker::loaded(CODE), Server::default());
                for _ in 0..WARM {
                    worker.run(invoke(), &mut server).result();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("it panics where the worker fails");
    }
    let rate = 2.0 * 5_000.0 / start.elapsed().max(Duration::from_nanos(1)).as_secs_f64();
    println!("two workers: {rate:.0} invocations a second");
}

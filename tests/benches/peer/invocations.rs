//! Warm invocations of a function, as many as the table asks for.

use std::io::Error;
use std::time::Instant;

use neo_secrets_tests::appliance::Appliance;
use serde_json::json;

use super::load::Figures;

/// Invocations that count, by all callers.
pub const COUNT: usize = 1_000;
/// As many at a time.
pub const CALLERS: usize = 4;
/// Before those, of each caller: the workers are started and have the code.
const BEFORE: usize = 50;

/// [`COUNT`] invocations over connections that stand, by a key that may.
///
/// # Errors
/// One that does not succeed.
pub fn run(appliance: &Appliance<'_>, path: &str, key: &str) -> Result<Figures, Error> {
    let rounds = |count: usize| -> Result<_, Error> {
        let begun = Instant::now();
        let caller = || {
            let mut connection = appliance.connect();
            let invoke = |_| {
                let one = Instant::now();
                let answer = connection.call("POST", path, key, Some(&json!({})));
                match answer.status {
                    200 => Ok(one.elapsed()),
                    _ => Err(Error::other(answer.json().to_string())),
                }
            };
            (0..count).map(invoke).collect::<Result<Vec<_>, _>>()
        };
        let times = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(caller)).collect();
            let join = |caller: std::thread::ScopedJoinHandle<'_, _>| caller.join().unwrap();
            callers.into_iter().map(join).collect::<Result<Vec<_>, Error>>()
        })?;
        Ok(Figures::of(times.concat(), 1, begun.elapsed()))
    };
    rounds(BEFORE)?;
    rounds(COUNT / CALLERS)
}

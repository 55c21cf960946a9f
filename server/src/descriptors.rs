//! Open files: how many the server has at its fullest use, and how many connections fit beside what
//! it needs itself. So a full listener never takes the descriptor that a commit or a worker needs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::ConfiguredLimits;
use crate::functions::FunctionLimits;
use crate::limits;

/// The system allows so few open files that the server could not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the system allows {allowed} open files, and the server needs {needed} at least: raise the \
     process's limit (RLIMIT_NOFILE), or lower concurrent_invocations and loaded_workers"
)]
pub struct TooFewFiles {
    allowed: u64,
    needed: u64,
}

/// What the server has open beside its connections, at most.
pub fn own(functions: &FunctionLimits, processors: usize) -> u64 {
    let FunctionLimits { room, loaded_workers, warm_workers } = functions;
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let workers =
        number(room.running.saturating_add(*loaded_workers).saturating_add(*warm_workers));
    let fetches = number(room.running.saturating_mul(limits::FETCHES));
    [
        limits::OTHER_FILES,
        number(processors).saturating_mul(limits::REACTOR_FILES),
        workers.saturating_mul(limits::WORKER_FILES),
        fetches.saturating_mul(limits::FETCH_FILES),
        number(limits::EGRESS_LOOKUPS).saturating_mul(limits::LOOKUP_FILES),
    ]
    .into_iter()
    .fold(0, u64::saturating_add)
}

/// Asks the system for as many open files as are needed, and lowers the configured connections to
/// what it grants: further ones wait.
///
/// # Errors
/// [`TooFewFiles`]
pub fn reserve(configured: &mut ConfiguredLimits, own: u64) -> Result<(), TooFewFiles> {
    let wanted = configured.connections.saturating_add(own);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let mut allowed = maximum.map_or(wanted, |maximum| wanted.min(maximum));
    if let Some(current) = current.filter(|current| *current < allowed) {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum });
        if raised.is_err() {
            allowed = current;
        }
    }
    let connections = fit(configured.connections, own, allowed)?;
    if connections < configured.connections {
        tracing::warn!(wanted, connections, "the system allows fewer open files than connections");
        // An address keeps its part of them.
        let part = u128::from(configured.connections_per_address) * u128::from(connections)
            / u128::from(configured.connections);
        configured.connections_per_address = u64::try_from(part).unwrap_or(u64::MAX).max(1);
        configured.connections = connections;
    }
    Ok(())
}

/// The connections that there is room for.
fn fit(configured: u64, own: u64, allowed: u64) -> Result<u64, TooFewFiles> {
    let needed = own.saturating_add(limits::CONNECTIONS_MIN);
    match allowed.checked_sub(own) {
        Some(room) if room >= limits::CONNECTIONS_MIN => Ok(configured.min(room)),
        _ => Err(TooFewFiles { allowed, needed }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::Room;

    #[test]
    fn all_that_may_be_open_is_counted() {
        let room = Room { running: 8, memory: 1, waiting: 1 };
        let functions = FunctionLimits { room, loaded_workers: 32, warm_workers: 2 };
        // 64, two processors, 42 workers, 64 fetches, 128 lookups.
        assert_eq!(own(&functions, 2), 64 + 2 * 8 + 42 * 8 + 64 * 2 + 128 * 4);
        let room = Room { running: usize::MAX, ..room };
        assert_eq!(own(&FunctionLimits { room, ..functions }, 2), u64::MAX, "no overflow");
    }

    #[test]
    fn connections_get_what_the_server_does_not_need() {
        assert_eq!(fit(10_000, 1_000, 11_000), Ok(10_000));
        assert_eq!(fit(10_000, 1_000, 1_000_000), Ok(10_000));
        assert_eq!(fit(10_000, 1_000, 4_096), Ok(3_096));
        assert_eq!(fit(10_000, 1_000, 1_016), Ok(16));
        for allowed in [0, 999, 1_000, 1_015] {
            let refused = fit(10_000, 1_000, allowed).unwrap_err();
            assert_eq!(refused, TooFewFiles { allowed, needed: 1_016 });
            let said = refused.to_string();
            assert!(said.contains("1016") && said.contains("RLIMIT_NOFILE"), "{said}");
        }
        assert!(fit(10_000, u64::MAX, 11_000).is_err());
    }
}

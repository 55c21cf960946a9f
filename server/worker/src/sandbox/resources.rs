//! Resource limits: what even code that has escaped the engine can't use up.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::LockdownError;

const MIB: u64 = 1_048_576;

/// A limit, both soft and hard.
pub struct Limit {
    /// Its name in `getrlimit(2)`.
    pub name: &'static str,
    resource: Resource,
    /// The limit, in the resource's unit.
    pub max: u64,
    /// Why so much.
    pub why: &'static str,
}

/// All of them. The last one that needs a descriptor has been set before.
pub const LIMITS: [Limit; 9] = [
    Limit {
        name: "AS",
        resource: Resource::As,
        max: 768 * MIB,
        why: "512 MiB for the engine, the rest for messages and for copies of what code hands over",
    },
    Limit {
        name: "STACK",
        resource: Resource::Stack,
        max: 8 * MIB,
        why: "eight times what the engine allows itself",
    },
    Limit {
        name: "CPU",
        resource: Resource::Cpu,
        max: 660,
        why: "seconds of a life: the server replaces a worker whose invocations took 300 s, and one takes 300 s at most",
    },
    Limit { name: "NPROC", resource: Resource::Nproc, max: 0, why: "no process, no thread" },
    Limit { name: "FSIZE", resource: Resource::Fsize, max: 0, why: "no byte into a file" },
    Limit { name: "CORE", resource: Resource::Core, max: 0, why: "no core file" },
    Limit { name: "MEMLOCK", resource: Resource::Memlock, max: 0, why: "no memory is pinned" },
    Limit { name: "MSGQUEUE", resource: Resource::Msgqueue, max: 0, why: "no message queue" },
    Limit { name: "NOFILE", resource: Resource::Nofile, max: 1, why: "descriptor 0 and no other" },
];

pub(super) fn limit() -> Result<(), LockdownError> {
    for Limit { name, resource, max, .. } in &LIMITS {
        // A lower limit from outside stays, but for the stack, below which deep recursion would
        // end the process instead of throwing.
        let outer = getrlimit(*resource).maximum.unwrap_or(u64::MAX);
        let wanted = if *name == "STACK" { *max } else { outer.min(*max) };
        let new = Rlimit { current: Some(wanted), maximum: Some(wanted) };
        setrlimit(*resource, new)
            .map_err(|error| LockdownError::Limit { name, error: error.into() })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_gives_each_limit_and_its_reason() {
        let readme = include_str!("../../README.md");
        for Limit { name, why, .. } in &LIMITS {
            assert!(readme.contains(&format!("| `{name}` |")), "{name} is not in README.md");
            assert!(readme.contains(why), "{why}");
        }
    }
}

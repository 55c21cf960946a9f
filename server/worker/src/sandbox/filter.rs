//! The system calls that remain, each with its reason. Any other ends the process.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

/// A system call that the worker may make.
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    number: i64,
    arguments: &'static [Argument],
    /// Why it is needed, and what it can't be used for.
    pub why: &'static str,
}

/// What an argument has to be: its bits under the mask equal the value.
struct Argument {
    place: u8,
    mask: u64,
    value: u64,
}

const WHOLE: u64 = 0xffff_ffff;
const SOCKET: Argument = Argument { place: 0, mask: WHOLE, value: 0 };
const STANDARD_ERROR: Argument = Argument { place: 0, mask: WHOLE, value: 2 };
/// PROT_EXEC.
const NOT_EXECUTABLE: Argument = Argument { place: 2, mask: 4, value: 0 };
/// MAP_ANONYMOUS and MAP_PRIVATE, and neither MAP_SHARED nor MAP_FIXED.
const PRIVATE_MEMORY: Argument = Argument { place: 3, mask: 0x33, value: 0x22 };

/// MREMAP_MAYMOVE, and neither MREMAP_FIXED nor MREMAP_DONTUNMAP.
const ANYWHERE: Argument = Argument { place: 3, mask: WHOLE, value: 1 };

/// All of them.
pub const RULES: [Rule; 13] = [
    Rule {
        name: "read",
        number: libc::SYS_read,
        arguments: &[SOCKET],
        why: "messages from the server; descriptor 0 only",
    },
    Rule {
        name: "write",
        number: libc::SYS_write,
        arguments: &[SOCKET],
        why: "messages to the server; descriptor 0 only, and without sendmsg no descriptor travels",
    },
    Rule {
        name: "ppoll",
        number: libc::SYS_ppoll,
        arguments: &[],
        why: "waiting for a message, a timer or the deadline",
    },
    Rule {
        name: "close",
        number: libc::SYS_close,
        arguments: &[STANDARD_ERROR],
        why: "the sandbox's last step; descriptor 2 only, which is gone after it",
    },
    Rule {
        name: "mmap",
        number: libc::SYS_mmap,
        arguments: &[NOT_EXECUTABLE, PRIVATE_MEMORY],
        why: "memory; private, anonymous, not at a fixed place and never executable",
    },
    Rule {
        name: "mremap",
        number: libc::SYS_mremap,
        arguments: &[ANYWHERE],
        why: "growing a large block of memory; it keeps its protection, and can't be put over another",
    },
    Rule { name: "munmap", number: libc::SYS_munmap, arguments: &[], why: "giving memory back" },
    Rule {
        name: "brk",
        number: libc::SYS_brk,
        arguments: &[],
        why: "memory for small blocks; never executable",
    },
    Rule {
        name: "clock_gettime",
        number: libc::SYS_clock_gettime,
        arguments: &[],
        why: "the time, where the clock can't be read without a call",
    },
    Rule {
        name: "gettimeofday",
        number: libc::SYS_gettimeofday,
        arguments: &[],
        why: "the engine's Date, where the clock can't be read without a call",
    },
    Rule {
        name: "getrandom",
        number: libc::SYS_getrandom,
        arguments: &[],
        why: "crypto.getRandomValues, randomUUID, Math.random, seeds of hash tables",
    },
    Rule {
        name: "sigaltstack",
        number: libc::SYS_sigaltstack,
        arguments: &[],
        why: "Rust's runtime puts its signal stack down when the process ends",
    },
    Rule { name: "exit_group", number: libc::SYS_exit_group, arguments: &[], why: "the end" },
];

/// The table as a filter.
pub(super) fn compile() -> Result<BpfProgram, BackendError> {
    let mut rules = BTreeMap::new();
    for Rule { number, arguments, .. } in &RULES {
        let conditions: Result<Vec<_>, _> = arguments
            .iter()
            .map(|Argument { place, mask, value }| {
                let compare = SeccompCmpOp::MaskedEq(*mask);
                SeccompCondition::new(*place, SeccompCmpArgLen::Dword, compare, *value)
            })
            .collect();
        let rule = match arguments {
            [] => vec![],
            _ => vec![SeccompRule::new(conditions?)?],
        };
        rules.insert(*number, rule);
    }
    let arch = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)?;
    filter.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_gives_each_system_call_and_its_reason() {
        let readme = include_str!("../../README.md");
        for Rule { name, why, .. } in &RULES {
            assert!(
                readme.contains(&format!("| `{name}` | {why} |")),
                "{name} is not in README.md"
            );
        }
        let rows = readme.lines().skip_while(|line| *line != "| system call | why it remains |");
        let rows = rows.skip(2).take_while(|line| line.starts_with('|')).count();
        assert_eq!(rows, RULES.len(), "README.md has more");
    }

    #[test]
    fn the_filter_compiles() {
        assert!(!compile().unwrap().is_empty());
    }
}

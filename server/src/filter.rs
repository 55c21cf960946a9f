//! The system call filters that are put around the whole process, for whoever takes the server over
//! later: [`only_reports`], once the keys are made, leaves reports and no keys (design of the sealing
//! key); [`no_programs`] leaves threads and no processes, where another one starts the workers.
//!
//! The first refuses two requests and the calls of other ABIs that could go around it, and nothing
//! else: looking names up goes on, and starting workers. Workers inherit it, and put their own above it.

use std::io;

use seccompiler::{apply_filter_all_threads, sock_filter};

/// SNP_GET_DERIVED_KEY.
const GET_DERIVED_KEY: u32 = 0xC020_5301;
/// SNP_GET_EXT_REPORT.
const GET_EXT_REPORT: u32 = 0xC020_5302;

const IOCTL: u32 = 16;
const CLONE: u32 = 56;
const FORK: u32 = 57;
const VFORK: u32 = 58;
const EXECVE: u32 = 59;
const EXECVEAT: u32 = 322;
const CLONE3: u32 = 435;
/// What tells a new thread from a new process.
const CLONE_THREAD: u32 = 0x0001_0000;
const AUDIT_ARCH_X86_64: u32 = 0xC000_003E;
/// Numbers from here on are of the x32 ABI, whose `ioctl` has another one.
const X32: u32 = 0x4000_0000;

const KILL_PROCESS: u32 = 0x8000_0000;
const ALLOW: u32 = 0x7FFF_0000;
const REFUSE: u32 = 0x0005_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

// `struct seccomp_data`: number, architecture, instruction pointer, six arguments.
const AT_NUMBER: u32 = 0;
const AT_ARCHITECTURE: u32 = 4;
/// The low half of the first argument, where `clone` has its flags.
const AT_FLAGS: u32 = 16;
/// The low half of the second argument: the kernel takes no more of a request's number.
const AT_REQUEST: u32 = 24;

const fn load(at: u32) -> sock_filter {
    sock_filter { code: 0x20, jt: 0, jf: 0, k: at }
}

const fn end(with: u32) -> sock_filter {
    sock_filter { code: 0x06, jt: 0, jf: 0, k: with }
}

const fn equal(to: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: 0x15, jt, jf, k: to }
}

const fn at_least(bound: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: 0x35, jt, jf, k: bound }
}

const fn any(of: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: 0x45, jt, jf, k: of }
}

/// Whatever descriptor a request is for: a later opening of the device changes nothing.
const REPORTS: [sock_filter; 12] = [
    load(AT_ARCHITECTURE),
    equal(AUDIT_ARCH_X86_64, 1, 0),
    end(KILL_PROCESS),
    load(AT_NUMBER),
    at_least(X32, 6, 0),
    equal(IOCTL, 0, 3),
    load(AT_REQUEST),
    equal(GET_DERIVED_KEY, 2, 0),
    equal(GET_EXT_REPORT, 1, 0),
    end(ALLOW),
    end(REFUSE | EPERM),
    end(REFUSE | ENOSYS),
];

/// The flags of `clone3` lie in memory, where no filter sees them: the C library then takes `clone`.
const THREADS: [sock_filter; 16] = [
    load(AT_ARCHITECTURE),
    equal(AUDIT_ARCH_X86_64, 1, 0),
    end(KILL_PROCESS),
    load(AT_NUMBER),
    at_least(X32, 10, 0),
    equal(CLONE3, 9, 0),
    equal(FORK, 7, 0),
    equal(VFORK, 6, 0),
    equal(EXECVE, 5, 0),
    equal(EXECVEAT, 4, 0),
    equal(CLONE, 0, 2),
    load(AT_FLAGS),
    any(CLONE_THREAD, 0, 1),
    end(ALLOW),
    end(REFUSE | EPERM),
    end(REFUSE | ENOSYS),
];

/// From here on no thread of this process makes a key request, for good.
pub fn only_reports() -> io::Result<()> {
    apply_filter_all_threads(&REPORTS).map_err(io::Error::other)
}

/// From here on no thread of this process starts another process or program, for good.
pub fn no_programs() -> io::Result<()> {
    apply_filter_all_threads(&THREADS).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a filter says of a call.
    fn verdict_of(program: &[sock_filter], architecture: u32, number: u32, argument: u32) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            match code {
                0x20 => {
                    loaded = match k {
                        AT_NUMBER => number,
                        AT_ARCHITECTURE => architecture,
                        AT_REQUEST | AT_FLAGS => argument,
                        other => panic!("{other}"),
                    }
                }
                0x15 => at += usize::from(if loaded == k { jt } else { jf }),
                0x35 => at += usize::from(if loaded >= k { jt } else { jf }),
                0x45 => at += usize::from(if loaded & k != 0 { jt } else { jf }),
                0x06 => return k,
                other => panic!("{other}"),
            }
        }
    }

    fn verdict(architecture: u32, number: u32, request: u32) -> u32 {
        verdict_of(&REPORTS, architecture, number, request)
    }

    #[test]
    fn threads_pass_and_processes_do_not() {
        let verdict = |number, flags| verdict_of(&THREADS, AUDIT_ARCH_X86_64, number, flags);
        // As the C library makes a thread, a process, and one that shares memory.
        assert_eq!(verdict(CLONE, 0x003D_0F00), ALLOW);
        for flags in [0x0120_0011, 0x4111, 0, 17] {
            assert_eq!(verdict(CLONE, flags), REFUSE | EPERM, "{flags:#x}");
        }
        for number in [FORK, VFORK, EXECVE, EXECVEAT] {
            assert_eq!(verdict(number, CLONE_THREAD), REFUSE | EPERM, "{number}");
        }
        assert_eq!(verdict(CLONE3, CLONE_THREAD), REFUSE | ENOSYS);
        for number in [0, 1, IOCTL, 55, 60, 321, 323, 434, 436, X32 - 1] {
            assert_eq!(verdict(number, 0), ALLOW, "{number}");
        }
        for number in [X32, X32 + 520, u32::MAX] {
            assert_eq!(verdict(number, 0), REFUSE | ENOSYS, "{number}");
        }
        assert_eq!(verdict_of(&THREADS, 0x4000_0003, 2, 0), KILL_PROCESS, "32-bit calls");
    }

    #[test]
    fn reports_pass_and_keys_do_not() {
        let ioctl = |request| verdict(AUDIT_ARCH_X86_64, IOCTL, request);
        assert_eq!(ioctl(0xC020_5300), ALLOW);
        assert_eq!([ioctl(GET_DERIVED_KEY), ioctl(GET_EXT_REPORT)], [REFUSE | EPERM; 2]);
        assert_eq!(ioctl(0x5401), ALLOW);
        for number in [0, 1, 15, 17, 257, X32 - 1] {
            assert_eq!(verdict(AUDIT_ARCH_X86_64, number, GET_DERIVED_KEY), ALLOW, "{number}");
        }
        for number in [X32, X32 + 514, u32::MAX] {
            assert_eq!(verdict(AUDIT_ARCH_X86_64, number, 0), REFUSE | ENOSYS, "{number}");
        }
        assert_eq!(verdict(0x4000_0003, 54, GET_DERIVED_KEY), KILL_PROCESS, "32-bit calls");
    }
}

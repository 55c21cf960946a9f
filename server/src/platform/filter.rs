//! The system call filter that is put around the whole process once the keys are made
//! (design of the sealing key): whoever takes the server over later can have reports, and no keys.
//!
//! It refuses these two requests and the calls of other ABIs that could go around it, and nothing
//! else: what starts functions' workers and looks names up goes on. Workers inherit it, and put their
//! own above it.

use std::io;

use seccompiler::{apply_filter_all_threads, sock_filter};

/// SNP_GET_DERIVED_KEY.
const GET_DERIVED_KEY: u32 = 0xC020_5301;
/// SNP_GET_EXT_REPORT.
const GET_EXT_REPORT: u32 = 0xC020_5302;

const IOCTL: u32 = 16;
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

/// Whatever descriptor a request is for: a later opening of the device changes nothing.
const PROGRAM: [sock_filter; 12] = [
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

/// Puts it around every thread of this process, for good.
pub(super) fn apply() -> io::Result<()> {
    apply_filter_all_threads(&PROGRAM).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter says of a call.
    fn verdict(architecture: u32, number: u32, request: u32) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = PROGRAM[at];
            at += 1;
            match code {
                0x20 => {
                    loaded = match k {
                        AT_NUMBER => number,
                        AT_ARCHITECTURE => architecture,
                        AT_REQUEST => request,
                        other => panic!("{other}"),
                    }
                }
                0x15 => at += usize::from(if loaded == k { jt } else { jf }),
                0x35 => at += usize::from(if loaded >= k { jt } else { jf }),
                0x06 => return k,
                other => panic!("{other}"),
            }
        }
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

//! Descriptors that whoever started this process has left open for it.
#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Takes one over, by its number in a flag's value; `None` where it names none, or one that was
/// taken before.
pub fn descriptor(number: &str) -> Option<OwnedFd> {
    let number = number.parse::<i32>().ok().filter(|number| *number > 2)?;
    if !Path::new(&format!("/proc/self/fd/{number}")).exists() {
        return None;
    }
    // SAFETY: it is open, and borrowed for the two calls below only, between which nobody closes it:
    // what has no owner yet is closed by nobody.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    // Whatever this process has opened by itself, or has taken over, closes with a new program; what
    // was inherited does not, or it would not be here.
    if fcntl_getfd(borrowed).ok()?.contains(FdFlags::CLOEXEC) {
        return None;
    }
    fcntl_setfd(borrowed, FdFlags::CLOEXEC).ok()?;
    // SAFETY: it is open, and this program's own: it was inherited for this very purpose, as the flag
    // says, and it is taken once, as the mark above holds.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn a_descriptor_is_a_number_of_an_inherited_open_file() {
        for wrong in ["", "x", "-1", "0", "2", "99999", "4294967299", "3 "] {
            assert!(descriptor(wrong).is_none(), "{wrong}");
        }
        let own = std::fs::File::open("/dev/null").unwrap();
        assert!(descriptor(&own.as_raw_fd().to_string()).is_none(), "opened by this process");
    }

    #[test]
    fn it_is_taken_once() {
        let file = std::fs::File::open("/dev/null").unwrap();
        fcntl_setfd(&file, FdFlags::empty()).unwrap();
        let number = file.into_raw_fd().to_string();
        let taken = descriptor(&number).unwrap();
        assert!(descriptor(&number).is_none());
        drop(taken);
    }
}

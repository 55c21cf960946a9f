//! Descriptors that whoever started this process has left open for it.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};

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

/// Whether it is what a worker launcher speaks over: other sockets join packets, or have no end that is
/// noticed.
pub fn is_packet_socket(descriptor: impl AsFd) -> bool {
    let descriptor = descriptor.as_fd();
    let kind = (socket_domain(descriptor), socket_type(descriptor));
    kind == (Ok(AddressFamily::UNIX), Ok(SocketType::SEQPACKET))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::SocketFlags;
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

    #[test]
    fn only_a_unix_socket_of_packets_is_one() {
        let pair = |kind| {
            rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
                .unwrap()
                .0
        };
        assert!(is_packet_socket(pair(SocketType::SEQPACKET)));
        assert!(!is_packet_socket(pair(SocketType::STREAM)));
        assert!(!is_packet_socket(pair(SocketType::DGRAM)));
        assert!(!is_packet_socket(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()));
        assert!(!is_packet_socket(std::io::pipe().unwrap().0));
        assert!(!is_packet_socket(std::fs::File::open("/dev/null").unwrap()));
    }
}

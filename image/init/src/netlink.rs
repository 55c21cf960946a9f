//! The kernel's network interface: links up, addresses, the way out (rtnetlink).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

const REQUEST_ACK: u16 = 0x1 | 0x4;
const CREATE: u16 = 0x400;
const REPLACE: u16 = 0x100;

/// What may be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The link is on.
    Up,
    /// It has this address.
    Address(IpAddr, u8),
    /// It has this address no more.
    NoAddress(IpAddr, u8),
    /// Everything goes through this one, which is reached directly.
    Gateway(IpAddr),
}

impl Change {
    /// The message, for the link of this index.
    pub fn message(self, link: u32, number: u32) -> Vec<u8> {
        let link = link.to_ne_bytes();
        let (kind, flags, mut body) = match self {
            Change::Up => {
                let up = 1_u32.to_ne_bytes();
                (16_u16, 0, [&[0; 4], &link[..], &up, &up].concat())
            }
            Change::Address(address, prefix) => {
                (20, CREATE | REPLACE, [&[family(address), prefix, 0, 0][..], &link].concat())
            }
            Change::NoAddress(address, prefix) => {
                (21, 0, [&[family(address), prefix, 0, 0][..], &link].concat())
            }
            Change::Gateway(address) => {
                // The main table, by DHCP, everywhere, unicast; reached on the link whatever its
                // address is.
                let on_link = 4_u32.to_ne_bytes();
                let head = [family(address), 0, 0, 0, 254, 16, 0, 1];
                (24, CREATE | REPLACE, [&head[..], &on_link].concat())
            }
        };
        let attributes: &[(u16, IpAddr)] = match self {
            Change::Up => &[],
            Change::Address(address, _) | Change::NoAddress(address, _) => {
                &[(2, address), (1, address)]
            }
            Change::Gateway(address) => &[(5, address)],
        };
        for (kind, address) in attributes {
            match address {
                IpAddr::V4(address) => attribute(&mut body, *kind, &address.octets()),
                IpAddr::V6(address) => attribute(&mut body, *kind, &address.octets()),
            }
        }
        if matches!(self, Change::Gateway(_)) {
            attribute(&mut body, 4, &link);
        }
        let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
        let mut message = length.to_ne_bytes().to_vec();
        message.extend([kind, REQUEST_ACK | flags].map(u16::to_ne_bytes).concat());
        message.extend([number, 0].map(u32::to_ne_bytes).concat());
        message.extend(body);
        message
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 10,
    }
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend([length, kind].map(u16::to_ne_bytes).concat());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A channel to the kernel.
pub struct Netlink(OwnedFd);

impl Netlink {
    /// Opens one.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn open() -> io::Result<Self> {
        let route = SockProtocol::NetlinkRoute;
        let flags = SockFlag::SOCK_CLOEXEC;
        Ok(Self(socket(AddressFamily::Netlink, SockType::Raw, flags, route)?))
    }

    /// Says it of this link, and waits for the kernel's answer.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn change(&self, link: u32, change: Change) -> io::Result<()> {
        let fd = self.0.as_raw_fd();
        sendto(fd, &change.message(link, 1), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut answer = [0; 512];
        let length = recv(fd, &mut answer, MsgFlags::empty())?;
        let answer = answer.get(..length).unwrap_or_default();
        // An error message, whose number is 0 where all went well.
        let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok());
        match (answer.get(4..6), code.map(i32::from_ne_bytes)) {
            (Some([2, 0]), Some(0)) => Ok(()),
            (Some([2, 0]), Some(code)) => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_kernels_forms() {
        let up = Change::Up.message(2, 1);
        assert_eq!(up[..16], [32, 0, 0, 0, 16, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(up[16..], [0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
        let address = Change::Address([10, 0, 2, 15].into(), 24).message(2, 1);
        assert_eq!(address[16..24], [2, 24, 0, 0, 2, 0, 0, 0]);
        assert_eq!(address[24..], [8, 0, 2, 0, 10, 0, 2, 15, 8, 0, 1, 0, 10, 0, 2, 15]);
        let gateway = Change::Gateway([10, 0, 2, 2].into()).message(2, 1);
        assert_eq!(gateway[16..28], [2, 0, 0, 0, 254, 16, 0, 1, 4, 0, 0, 0]);
        assert_eq!(gateway[28..], [8, 0, 5, 0, 10, 0, 2, 2, 8, 0, 4, 0, 2, 0, 0, 0]);
    }

    #[test]
    fn the_kernel_refuses_what_is_not_there() {
        let refused = Netlink::open().unwrap().change(u32::MAX >> 1, Change::Up);
        assert!(refused.is_err());
    }
}

//! The network: the first link, with a fixed address or what DHCP gives.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::sockopt::{BindToDevice, Broadcast};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket};
use std::os::fd::AsRawFd;

use crate::config::Fixed;
use crate::console::say;
use crate::dhcp::{Answer, Kind, Lease, Mac, Question};
use crate::files::read_bounded;
use crate::limits::{DEVICES, DHCP_BYTES, DHCP_WAIT, DHCP_WAIT_MAX, SYSFS_BYTES};
use crate::netlink::{Change, Netlink};

/// A network link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Such as `eth0`.
    pub name: String,
    /// The kernel's number.
    pub index: u32,
    /// Its own address.
    pub mac: Mac,
}

const RESOLV_CONF: &str = "/etc/resolv.conf";
const CLIENT_PORT: u16 = 68;
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::BROADCAST, 67);

/// The Ethernet links that `/sys/class/net` has, in the kernel's order.
pub fn links(net: &Path) -> Vec<Link> {
    let Ok(entries) = std::fs::read_dir(net) else { return Vec::new() };
    let names =
        entries.take(DEVICES).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut links: Vec<_> = names.filter_map(|name| link(net, name)).collect();
    links.sort_by_key(|link| link.index);
    links
}

fn link(net: &Path, name: String) -> Option<Link> {
    let text = |file: &str| {
        let bytes = read_bounded(&net.join(&name).join(file), SYSFS_BYTES).ok()?;
        Some(String::from_utf8(bytes).ok()?.trim().to_owned())
    };
    // ARPHRD_ETHER; the loopback link has another type.
    if text("type")? != "1" {
        return None;
    }
    let bytes = text("address")?
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect::<Option<Vec<_>>>()?;
    let (index, mac) = (text("ifindex")?.parse().ok()?, bytes.try_into().ok()?);
    Some(Link { name, index, mac })
}

/// Brings the network up, and keeps it so in a thread of its own.
///
/// # Errors
/// Where the kernel lets no link be brought up.
pub fn start(fixed: Option<Fixed>) -> io::Result<()> {
    let netlink = Netlink::open()?;
    netlink.change(1, Change::Up)?; // the loopback link is always the first
    let Some(link) = links(Path::new("/sys/class/net")).into_iter().next() else {
        say("no-network", &"");
        return Ok(());
    };
    netlink.change(link.index, Change::Up)?;
    match fixed {
        Some(Fixed { address, prefix, gateway, name_servers }) => {
            netlink.change(link.index, Change::Address(address, prefix))?;
            if let Some(gateway) = gateway {
                netlink.change(link.index, Change::Gateway(gateway))?;
            }
            std::fs::write(RESOLV_CONF, resolv_conf(&name_servers))?;
            say("network", &"fixed");
        }
        None => {
            thread::Builder::new().name("dhcp".to_owned()).spawn(move || keep(&link, &netlink))?;
        }
    }
    Ok(())
}

/// What the C library reads.
pub fn resolv_conf(name_servers: &[IpAddr]) -> String {
    name_servers.iter().map(|server| format!("nameserver {server}\n")).collect()
}

/// Has an address, for as long as the machine runs.
fn keep(link: &Link, netlink: &Netlink) {
    let mut tries = Tries::default();
    let (mut held, mut on_link) = (None::<Lease>, None);
    loop {
        let began = Instant::now();
        let asked =
            asked_by(link).and_then(|socket| exchange(&socket, link.mac, &held, tries.wait));
        let pause = match asked {
            Ok(Some(lease)) => {
                let change = |change| netlink.change(link.index, change);
                match apply(change, &mut on_link, &lease).and_then(|()| name(&lease)) {
                    Ok(()) => {
                        say("network", &"dhcp");
                        let pause = lease.renew_after;
                        (tries, held) = (Tries::default(), Some(lease));
                        pause
                    }
                    // Half a network is none: asked again soon, of whoever gives a whole one.
                    Err(error) => {
                        say("network-refused", &error.raw_os_error().unwrap_or(0));
                        tries.pause_after(began.elapsed())
                    }
                }
            }
            // The address of before stays: nobody else has it by our doing, and a network that is
            // silent for a while must not take the service away.
            Ok(None) => tries.pause_after(began.elapsed()),
            Err(error) => {
                say("dhcp-failed", &error.raw_os_error().unwrap_or(0));
                tries.pause_after(began.elapsed())
            }
        };
        thread::sleep(pause);
    }
}

/// How fast tries follow each other that bring nothing: whoever answers at once makes them no faster.
struct Tries {
    /// How long an answer is waited for, and the least time that a try takes.
    wait: Duration,
}

impl Default for Tries {
    fn default() -> Self {
        Tries { wait: DHCP_WAIT }
    }
}

impl Tries {
    /// What is left of the time of a try that brought nothing and took this long. The next one has
    /// twice the time.
    fn pause_after(&mut self, took: Duration) -> Duration {
        let pause = self.wait.saturating_sub(took);
        self.wait = (2 * self.wait).min(DHCP_WAIT_MAX);
        pause
    }
}

fn asked_by(link: &Link) -> io::Result<UdpSocket> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, Broadcast, &true)?;
    setsockopt(&socket, BindToDevice, &link.name.clone().into())?;
    bind(socket.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, CLIENT_PORT))?;
    Ok(UdpSocket::from(socket))
}

/// One try: what is held once more, or else a new address.
fn exchange(
    socket: &UdpSocket,
    mac: Mac,
    held: &Option<Lease>,
    wait: Duration,
) -> io::Result<Option<Lease>> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let number = u32::from_ne_bytes(random);
    let ask = |question: Question| ask(socket, question, (mac, number), wait);
    if let Some(Lease { address, .. }) = held {
        let answer = ask(Question::Renew { address: *address })?;
        if let Some(Answer { kind: Kind::Ack, lease: Some(lease), .. }) = answer
            && lease.address == *address
        {
            return Ok(Some(lease));
        }
    }
    let Some(Answer { kind: Kind::Offer, server, lease: Some(offer) }) = ask(Question::Discover)?
    else {
        return Ok(None);
    };
    let answer = ask(Question::Request { address: offer.address, server })?;
    Ok(answer.filter(|answer| answer.kind == Kind::Ack).and_then(|answer| answer.lease))
}

/// The first answer that is one, within the time.
fn ask(
    socket: &UdpSocket,
    question: Question,
    (mac, number): (Mac, u32),
    wait: Duration,
) -> io::Result<Option<Answer>> {
    socket.send_to(&question.packet(mac, number), SERVER)?;
    let until = Instant::now() + wait;
    let mut packet = [0; DHCP_BYTES];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut packet) {
            Ok(length) => {
                let packet = packet.get(..length).unwrap_or_default();
                if let Ok(answer) = Answer::parse(packet, mac, number) {
                    return Ok(Some(answer));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// Puts it on the link, in place of the address that stands there.
fn apply(
    mut change: impl FnMut(Change) -> io::Result<()>,
    on_link: &mut Option<(Ipv4Addr, u8)>,
    lease: &Lease,
) -> io::Result<()> {
    let new = (lease.address, lease.prefix);
    if let Some((address, prefix)) = on_link.take_if(|old| *old != new) {
        // Where it does not go, there are two: better than none.
        if let Err(error) = change(Change::NoAddress(address.into(), prefix)) {
            say("network-refused", &error.raw_os_error().unwrap_or(0));
        }
    }
    change(Change::Address(lease.address.into(), lease.prefix))?;
    *on_link = Some(new);
    lease.gateway.map_or(Ok(()), |gateway| change(Change::Gateway(gateway.into())))
}

fn name(lease: &Lease) -> io::Result<()> {
    let servers: Vec<IpAddr> = lease.name_servers.iter().copied().map(IpAddr::from).collect();
    std::fs::write(RESOLV_CONF, resolv_conf(&servers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ethernet_links_are_found_in_the_kernels_order() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, kind: &str, index: &str, mac: &str| {
            let folder = folder.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            for (file, text) in [("type", kind), ("ifindex", index), ("address", mac)] {
                std::fs::write(folder.join(file), format!("{text}\n")).unwrap();
            }
        };
        put("lo", "772", "1", "00:00:00:00:00:00");
        put("eth1", "1", "3", "02:00:00:00:00:03");
        put("eth0", "1", "2", "52:54:00:12:34:56");
        put("odd", "1", "4", "52:54");
        let found = links(folder.path());
        let names: Vec<_> = found.iter().map(|link| (link.name.as_str(), link.index)).collect();
        assert_eq!(names, [("eth0", 2), ("eth1", 3)]);
        assert_eq!(found[0].mac, [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    }

    #[test]
    fn name_servers_stand_one_on_a_line() {
        let servers = [IpAddr::from([9, 9, 9, 9]), "fd00::1".parse().unwrap()];
        assert_eq!(resolv_conf(&servers), "nameserver 9.9.9.9\nnameserver fd00::1\n");
    }

    #[test]
    fn tries_that_bring_nothing_take_their_time() {
        let (mut tries, second) = (Tries::default(), Duration::from_secs(1));
        let pauses: Vec<_> = (0..6).map(|_| tries.pause_after(Duration::ZERO)).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 16].map(|seconds| seconds * second));
        assert_eq!(tries.pause_after(10 * second), 6 * second, "of which it has taken some");
        assert_eq!(tries.pause_after(30 * second), Duration::ZERO);
        assert_eq!(Tries::default().wait, DHCP_WAIT);
    }

    fn lease(last: u8, gateway: Option<u8>) -> Lease {
        Lease {
            address: [10, 0, 0, last].into(),
            prefix: 24,
            gateway: gateway.map(|last| [10, 0, 0, last].into()),
            name_servers: Vec::new(),
            renew_after: Duration::from_secs(60),
        }
    }

    /// What is said to a kernel that refuses some of it, and what became of it.
    fn applied(
        on_link: &mut Option<(Ipv4Addr, u8)>,
        lease: &Lease,
        refuses: fn(&Change) -> bool,
    ) -> (Vec<Change>, bool) {
        let mut said = Vec::new();
        let outcome = apply(
            |change| {
                said.push(change);
                if refuses(&change) { Err(io::Error::from_raw_os_error(22)) } else { Ok(()) }
            },
            on_link,
            lease,
        );
        (said, outcome.is_ok())
    }

    #[test]
    fn an_address_takes_the_place_of_the_one_before() {
        let of = |last: u8| IpAddr::from([10, 0, 0, last]);
        let (old, new) = (Change::NoAddress(of(5), 24), Change::Address(of(6), 24));
        let on = |last: u8| Some((Ipv4Addr::from([10, 0, 0, last]), 24));
        let mut on_link = None;
        let first = applied(&mut on_link, &lease(5, Some(1)), |_| false);
        let first_said = vec![Change::Address(of(5), 24), Change::Gateway(of(1))];
        assert_eq!(first, (first_said.clone(), true));
        let again = applied(&mut on_link, &lease(5, Some(1)), |_| false);
        assert_eq!(again, (first_said, true), "nothing is removed that stays");
        assert_eq!(applied(&mut on_link, &lease(6, None), |_| false), (vec![old, new], true));
        assert_eq!(on_link, on(6));
        // What does not go keeps nothing out, and is not removed again.
        let mut on_link = on(5);
        let refuses: fn(&Change) -> bool = |change| matches!(change, Change::NoAddress(..));
        assert_eq!(applied(&mut on_link, &lease(6, None), refuses), (vec![old, new], true));
        assert_eq!(on_link, on(6));
        // What is half there is known of.
        let mut on_link = on(5);
        let refuses: fn(&Change) -> bool = |change| matches!(change, Change::Gateway(_));
        let said = vec![old, new, Change::Gateway(of(1))];
        assert_eq!(applied(&mut on_link, &lease(6, Some(1)), refuses), (said, false));
        assert_eq!(on_link, on(6));
        let refuses: fn(&Change) -> bool = |change| matches!(change, Change::Address(..));
        assert!(!applied(&mut on_link, &lease(7, None), refuses).1);
        assert_eq!(on_link, None);
    }
}

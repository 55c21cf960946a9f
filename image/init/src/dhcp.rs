//! DHCPv4 (RFC 2131), as much of it as an appliance needs: an address, its gateway, name servers.
//! Whoever answers is the host or somebody on its network, so an answer is believed only as far as
//! where packets go.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::limits::{DHCP_OPTIONS, NAME_SERVERS, RENEW_MAX, RENEW_MIN};

const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Bytes before the options: the BOOTP fields and the cookie.
const HEAD_BYTES: usize = 240;

/// A link's address.
pub type Mac = [u8; 6];

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Who has an address?
    Discover,
    /// This one, of this server.
    Request {
        /// The address.
        address: Ipv4Addr,
        /// Whose offer it was.
        server: Ipv4Addr,
    },
    /// This one again, of whoever knows of it.
    Renew {
        /// The address.
        address: Ipv4Addr,
    },
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An address that may be had.
    Offer,
    /// An address that is had.
    Ack,
    /// No.
    Nak,
}

/// An answer to one of our packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it is.
    pub kind: Kind,
    /// Whose it is.
    pub server: Ipv4Addr,
    /// What it gives; nothing in a refusal.
    pub lease: Option<Lease>,
}

/// An address for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Bits of the network's part: 1 to 32.
    pub prefix: u8,
    /// The way out.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers, three at most.
    pub name_servers: Vec<Ipv4Addr>,
    /// When to ask again.
    pub renew_after: Duration,
}

/// Why a packet is not an answer to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than a packet's head, or an option goes beyond the end.
    #[error("cut")]
    Cut,
    /// Not from a server, not over Ethernet, or not DHCP.
    #[error("no DHCP answer")]
    Foreign,
    /// Of another exchange, or for another link.
    #[error("not for us")]
    Other,
    /// An option of another length than it has.
    #[error("option {0} has a wrong length")]
    Option(u8),
    /// An option that is there twice, or one too many of them.
    #[error("option {0} is one too many")]
    TooMany(u8),
    /// No kind that a server sends, no server, or no lease's time.
    #[error("option {0} is missing")]
    Missing(u8),
    /// An address, mask or gateway that no host has.
    #[error("an address that no host has")]
    Address,
}

const MASK: u8 = 1;
const ROUTER: u8 = 3;
const NAMES: u8 = 6;
const REQUESTED: u8 = 50;
const LEASE_TIME: u8 = 51;
const MESSAGE: u8 = 53;
const SERVER: u8 = 54;
const WANTED: u8 = 55;
const RENEWAL: u8 = 58;

impl Question {
    /// The packet, for this link and exchange; the answer is to be broadcast, since there is no
    /// address yet.
    pub fn packet(self, mac: Mac, exchange: u32) -> Vec<u8> {
        let mut packet = vec![1, 1, 6, 0]; // request, Ethernet, six bytes, no hops
        packet.extend(exchange.to_be_bytes());
        packet.extend([0, 0, 0x80, 0]); // no seconds; broadcast
        packet.extend([0; 16]); // addresses
        packet.extend(mac);
        packet.resize(HEAD_BYTES - 4, 0);
        packet.extend(COOKIE);
        let (message, address, server) = match self {
            Question::Discover => (1, None, None),
            Question::Request { address, server } => (3, Some(address), Some(server)),
            Question::Renew { address } => (3, Some(address), None),
        };
        packet.extend([MESSAGE, 1, message]);
        for (option, address) in [(REQUESTED, address), (SERVER, server)] {
            if let Some(address) = address {
                packet.extend([option, 4]);
                packet.extend(address.octets());
            }
        }
        packet.extend([WANTED, 5, MASK, ROUTER, NAMES, LEASE_TIME, RENEWAL, 255]);
        packet.resize(300, 0); // the shortest that every relay passes on
        packet
    }
}

/// The options that count.
#[derive(Default)]
struct Options {
    message: Option<u8>,
    server: Option<Ipv4Addr>,
    mask: Option<Ipv4Addr>,
    gateway: Option<Ipv4Addr>,
    name_servers: Option<Vec<Ipv4Addr>>,
    lease_seconds: Option<u32>,
    renewal_seconds: Option<u32>,
}

impl Answer {
    /// Reads a packet that came to the client's port.
    ///
    /// # Errors
    /// [`PacketError`]
    pub fn parse(packet: &[u8], mac: Mac, exchange: u32) -> Result<Self, PacketError> {
        let (head, options) = packet.split_at_checked(HEAD_BYTES).ok_or(PacketError::Cut)?;
        let at = |from: usize, to: usize| head.get(from..to).unwrap_or_default();
        if at(0, 3) != [2, 1, 6] || at(236, 240) != COOKIE {
            return Err(PacketError::Foreign);
        }
        if at(4, 8) != exchange.to_be_bytes() || at(28, 34) != mac {
            return Err(PacketError::Other);
        }
        let given = address(at(16, 20)).ok_or(PacketError::Cut)?;
        let options = Options::parse(options)?;
        let kind = match options.message {
            Some(2) => Kind::Offer,
            Some(5) => Kind::Ack,
            Some(6) => Kind::Nak,
            _ => return Err(PacketError::Missing(MESSAGE)),
        };
        let server = options.server.ok_or(PacketError::Missing(SERVER))?;
        let lease = match kind {
            Kind::Nak => None,
            Kind::Offer | Kind::Ack => Some(options.lease(given)?),
        };
        Ok(Answer { kind, server, lease })
    }
}

impl Options {
    fn parse(mut rest: &[u8]) -> Result<Self, PacketError> {
        let mut options = Options::default();
        for _ in 0..DHCP_OPTIONS {
            let (code, after) = match rest.split_first() {
                None | Some((255, _)) => return Ok(options),
                Some((0, after)) => {
                    rest = after;
                    continue;
                }
                Some((code, after)) => (*code, after),
            };
            let (length, after) = after.split_first().ok_or(PacketError::Cut)?;
            let (value, after) =
                after.split_at_checked(usize::from(*length)).ok_or(PacketError::Cut)?;
            options.take(code, value)?;
            rest = after;
        }
        Err(PacketError::TooMany(0))
    }

    fn take(&mut self, code: u8, value: &[u8]) -> Result<(), PacketError> {
        let wrong = PacketError::Option(code);
        let number = || value.try_into().map(u32::from_be_bytes).map_err(|_| wrong);
        match code {
            MESSAGE => {
                let [message] = value else { return Err(wrong) };
                once(&mut self.message, code, *message)
            }
            SERVER => once(&mut self.server, code, address(value).ok_or(wrong)?),
            MASK => once(&mut self.mask, code, address(value).ok_or(wrong)?),
            ROUTER => once(&mut self.gateway, code, addresses(value).ok_or(wrong)?.0),
            NAMES => {
                let (first, others) = addresses(value).ok_or(wrong)?;
                let all = std::iter::once(first).chain(others);
                let usable = all.filter(|address| is_usable(*address)).take(NAME_SERVERS);
                once(&mut self.name_servers, code, usable.collect())
            }
            LEASE_TIME => once(&mut self.lease_seconds, code, number()?),
            RENEWAL => once(&mut self.renewal_seconds, code, number()?),
            _ => Ok(()),
        }
    }

    fn lease(self, address: Ipv4Addr) -> Result<Lease, PacketError> {
        let seconds = self.lease_seconds.ok_or(PacketError::Missing(LEASE_TIME))?;
        let mask = self.mask.unwrap_or(Ipv4Addr::BROADCAST).to_bits();
        let prefix = mask.leading_ones();
        if prefix == 0 || mask.count_ones() != prefix {
            return Err(PacketError::Address);
        }
        let is_edge = |one| is_edge(one, address, mask);
        if !is_usable(address) || is_edge(address) {
            return Err(PacketError::Address);
        }
        let wrong = |gateway| !is_usable(gateway) || gateway == address || is_edge(gateway);
        if self.gateway.is_some_and(wrong) {
            return Err(PacketError::Address);
        }
        let renewal = self.renewal_seconds.unwrap_or(seconds / 2).min(seconds / 2);
        Ok(Lease {
            address,
            prefix: u8::try_from(prefix).map_err(|_| PacketError::Address)?,
            gateway: self.gateway,
            name_servers: self.name_servers.unwrap_or_default(),
            renew_after: Duration::from_secs(renewal.into()).clamp(RENEW_MIN, RENEW_MAX),
        })
    }
}

fn once<T>(place: &mut Option<T>, code: u8, value: T) -> Result<(), PacketError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(PacketError::TooMany(code)),
    }
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

/// One or more addresses.
fn addresses(bytes: &[u8]) -> Option<(Ipv4Addr, impl Iterator<Item = Ipv4Addr>)> {
    let (chunks, rest) = bytes.as_chunks::<4>();
    let (first, others) = chunks.split_first().filter(|_| rest.is_empty())?;
    Some((Ipv4Addr::from(*first), others.iter().map(|bytes| Ipv4Addr::from(*bytes))))
}

/// Whether one host can have it.
pub(crate) fn is_usable(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    (1..224).contains(&first) && first != 127
}

/// Whether it is the first or the last address of this one's network, which name the network and
/// everybody there. Networks of one or two addresses have none (RFC 3021).
fn is_edge(one: Ipv4Addr, in_network_of: Ipv4Addr, mask: u32) -> bool {
    let (one, host_bits) = (one.to_bits(), !mask);
    let is_inside = (one ^ in_network_of.to_bits()) & mask == 0;
    host_bits > 1 && is_inside && [0, host_bits].contains(&(one & host_bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 1];

    fn answer(message: u8, options: &[u8]) -> Vec<u8> {
        let mut packet = Question::Discover.packet(MAC, 7);
        packet[0] = 2;
        packet[16..20].copy_from_slice(&[10, 0, 2, 15]);
        packet.truncate(HEAD_BYTES);
        packet.extend([MESSAGE, 1, message, SERVER, 4, 10, 0, 2, 2]);
        packet.extend(options);
        packet.push(255);
        packet
    }

    const USUAL: [u8; 24] = [
        MASK, 4, 255, 255, 255, 0, ROUTER, 4, 10, 0, 2, 2, NAMES, 4, 10, 0, 2, 3, LEASE_TIME, 4, 0,
        1, 81, 128,
    ];

    fn parse(packet: &[u8]) -> Result<Answer, PacketError> {
        Answer::parse(packet, MAC, 7)
    }

    #[test]
    fn an_offer_gives_what_it_says() {
        let lease = Lease {
            address: [10, 0, 2, 15].into(),
            prefix: 24,
            gateway: Some([10, 0, 2, 2].into()),
            name_servers: vec![[10, 0, 2, 3].into()],
            renew_after: Duration::from_secs(43_200),
        };
        let server = Ipv4Addr::from([10, 0, 2, 2]);
        for (message, kind) in [(2, Kind::Offer), (5, Kind::Ack)] {
            let expected = Answer { kind, server, lease: Some(lease.clone()) };
            assert_eq!(parse(&answer(message, &USUAL)), Ok(expected));
        }
        let nak = Answer { kind: Kind::Nak, server, lease: None };
        assert_eq!(parse(&answer(6, &[])), Ok(nak));
        // What is padded, unknown or after the end changes nothing; no mask: the address alone.
        let odd = [&[0, 0, 12, 3, 1, 2, 3], &USUAL[6..], &[255, MASK, 9]].concat();
        assert_eq!(parse(&answer(2, &odd)).unwrap().lease.unwrap().prefix, 32);
    }

    #[test]
    fn hostile_answers_are_refused_by_name() {
        let usual = |change: &dyn Fn(&mut [u8])| {
            let mut options = USUAL;
            change(&mut options);
            parse(&answer(2, &options)).unwrap_err()
        };
        assert_eq!(usual(&|options| options[1] = 5), PacketError::Option(MASK));
        assert_eq!(usual(&|options| options[1] = 200), PacketError::Cut);
        assert_eq!(usual(&|options| options[3] = 0), PacketError::Address, "a mask with a hole");
        assert_eq!(usual(&|options| options[2..6].fill(0)), PacketError::Address);
        assert_eq!(usual(&|options| options[8] = 224), PacketError::Address);
        assert_eq!(usual(&|options| options[6] = MASK), PacketError::TooMany(MASK));
        assert_eq!(usual(&|options| options[18] = 12), PacketError::Missing(LEASE_TIME));
        for address in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]] {
            let mut packet = answer(2, &USUAL);
            packet[16..20].copy_from_slice(&address);
            assert_eq!(parse(&packet), Err(PacketError::Address));
        }
        let mut ours = answer(2, &USUAL);
        ours[0] = 1;
        assert_eq!(parse(&ours), Err(PacketError::Foreign));
        assert_eq!(Answer::parse(&answer(2, &USUAL), MAC, 8), Err(PacketError::Other));
        assert_eq!(Answer::parse(&answer(2, &USUAL), [9; 6], 7), Err(PacketError::Other));
        assert_eq!(parse(&answer(1, &USUAL)), Err(PacketError::Missing(MESSAGE)));
        assert_eq!(parse(&answer(2, &[12, 0].repeat(200))), Err(PacketError::TooMany(0)));
        assert_eq!(parse(&answer(2, &USUAL)[..HEAD_BYTES - 1]), Err(PacketError::Cut));
        // Name servers that lead nowhere are left out, and no more than three are used.
        let servers = [127, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4];
        let options = [&[NAMES, 24][..], &servers, &USUAL[18..]].concat();
        let names = parse(&answer(2, &options)).unwrap().lease.unwrap().name_servers;
        assert_eq!(names, [1, 2, 3].map(|byte| Ipv4Addr::from([byte; 4])));
    }

    #[test]
    fn nobody_has_the_first_or_the_last_address_of_a_network() {
        let lease = |address: [u8; 4], mask: [u8; 4], gateway: [u8; 4]| {
            let mut options = USUAL;
            options[2..6].copy_from_slice(&mask);
            options[8..12].copy_from_slice(&gateway);
            let mut packet = answer(5, &options);
            packet[16..20].copy_from_slice(&address);
            parse(&packet).map(|answer| answer.lease.unwrap().prefix)
        };
        let (host, gateway, refused) = ([10, 0, 2, 15], [10, 0, 2, 2], Err(PacketError::Address));
        for edge in [[10, 0, 2, 0], [10, 0, 2, 255]] {
            assert_eq!(lease(edge, [255, 255, 255, 0], gateway), refused, "{edge:?}");
            assert_eq!(lease(host, [255, 255, 255, 0], edge), refused, "{edge:?}");
            assert_eq!(lease(edge, [255, 255, 0, 0], gateway), Ok(16), "within a larger network");
        }
        assert_eq!(lease([10, 0, 2, 3], [255, 255, 255, 252], gateway), refused);
        assert_eq!(lease(host, [255, 255, 255, 0], [10, 0, 3, 255]), Ok(24), "of another network");
        assert_eq!(lease([10, 0, 2, 3], [255, 255, 255, 254], gateway), Ok(31));
        assert_eq!(lease([10, 0, 2, 255], [255; 4], gateway), Ok(32));
    }

    #[test]
    fn a_lease_of_a_moment_or_for_ever_is_renewed_in_bounds() {
        for (seconds, expected) in [
            (0_u32, RENEW_MIN),
            (1, RENEW_MIN),
            (7_200, Duration::from_secs(3_600)),
            (u32::MAX, RENEW_MAX),
        ] {
            let options = [&USUAL[..20], &seconds.to_be_bytes()].concat();
            let lease = parse(&answer(5, &options)).unwrap().lease.unwrap();
            assert_eq!(lease.renew_after, expected);
        }
    }

    #[test]
    fn questions_have_the_forms_of_the_rfc() {
        let (address, server) = ([10, 0, 2, 15].into(), [10, 0, 2, 2].into());
        let request = Question::Request { address, server }.packet(MAC, 0x0102_0304);
        assert_eq!(request.len(), 300);
        assert_eq!(request[..12], [1, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0x80, 0]);
        assert_eq!(request[28..34], MAC);
        let options = [53, 1, 3, 50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2, 55];
        assert_eq!(request[240..256], options);
        let renew = Question::Renew { address }.packet(MAC, 1);
        assert_eq!(renew[240..250], [53, 1, 3, 50, 4, 10, 0, 2, 15, 55]);
    }

    proptest! {
        #[test]
        fn no_packet_panics(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse(&packet);
        }

        #[test]
        fn no_options_panic(options in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(Answer { lease: Some(lease), .. }) = parse(&answer(2, &options)) {
                prop_assert!((1..=32).contains(&lease.prefix));
                prop_assert!(lease.name_servers.len() <= NAME_SERVERS);
                prop_assert!(lease.gateway.is_none_or(is_usable));
            }
        }
    }
}

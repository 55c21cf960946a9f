//! The configuration's disk: its bytes, read once, and the three keys of them that are PID 1's. The
//! server parses the same bytes, and is the one that refuses them.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;

use crate::limits::CONFIG_BYTES;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The disk does not read.
    #[error("config-unreadable")]
    Io(#[from] io::Error),
    /// Nothing stands on it.
    #[error("config-empty")]
    Empty,
    /// Too much stands on it.
    #[error("config-too-long")]
    TooLong,
}

/// The text at the beginning of a disk: up to the first zero byte, 64 KiB at most. Read once, so
/// that what the host changes later changes nothing.
///
/// # Errors
/// [`ConfigError`]
pub fn read(disk: &Path) -> Result<Vec<u8>, ConfigError> {
    let mut bytes = Vec::new();
    let bytes_max = u64::try_from(CONFIG_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    File::open(disk)?.take(bytes_max).read_to_end(&mut bytes)?;
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    match bytes.len() {
        0 => Err(ConfigError::Empty),
        length if length > CONFIG_BYTES => Err(ConfigError::TooLong),
        _ => Ok(bytes),
    }
}

/// `[network]`: absent, and the network's own word (DHCP) counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// `address`, such as 10.0.0.5/24.
    pub address: IpAddr,
    /// Bits of the network's part.
    pub prefix: u8,
    /// `gateway`.
    pub gateway: Option<IpAddr>,
    /// `dns`.
    pub name_servers: Vec<IpAddr>,
}

#[derive(Deserialize)]
struct Whole {
    network: Option<Network>,
}

#[derive(Deserialize)]
struct Network {
    address: String,
    gateway: Option<IpAddr>,
    #[serde(default)]
    dns: Vec<IpAddr>,
}

/// The fixed address, where the text has a good one. What is wrong with it the server says, and
/// does not start.
pub fn fixed_address(text: &[u8]) -> Option<Fixed> {
    let whole: Whole = toml::from_str(str::from_utf8(text).ok()?).ok()?;
    let Network { address, gateway, dns } = whole.network?;
    let (address, prefix) = address.split_once('/')?;
    let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let same_kind = gateway.is_none_or(|gateway| gateway.is_ipv4() == address.is_ipv4());
    let fits = (1..=bits).contains(&prefix) && same_kind;
    fits.then_some(Fixed { address, prefix, gateway, name_servers: dns })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(bytes: &[u8]) -> Result<Vec<u8>, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::write(&path, bytes).unwrap();
        read(&path)
    }

    #[test]
    fn a_disks_text_ends_at_its_first_zero() {
        assert_eq!(disk(b"seal = 1\n\0\0\0seal = 2").unwrap(), b"seal = 1\n");
        assert_eq!(disk(b"no zero").unwrap(), b"no zero");
        assert_eq!(disk(&[b'#'; CONFIG_BYTES]).unwrap().len(), CONFIG_BYTES);
        let padded = [&[b'#'; CONFIG_BYTES][..], &[0; 4096]].concat();
        assert_eq!(disk(&padded).unwrap().len(), CONFIG_BYTES);
    }

    #[test]
    fn empty_endless_and_missing_disks_have_names() {
        for empty in [&b""[..], b"\0", &[0; 100_000], b"\0seal"] {
            assert!(matches!(disk(empty), Err(ConfigError::Empty)));
        }
        assert!(matches!(disk(&[b'#'; CONFIG_BYTES + 1]), Err(ConfigError::TooLong)));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("huge");
        File::create(&path).unwrap().set_len(1 << 30).unwrap();
        assert!(matches!(read(&path), Err(ConfigError::Empty)));
        assert!(matches!(read(&folder.path().join("none")), Err(ConfigError::Io(_))));
    }

    #[test]
    fn a_fixed_address_is_taken_whole_or_not_at_all() {
        let fixed =
            |table: &str| fixed_address(format!("seal = \"x\"\n[network]\n{table}").as_bytes());
        let whole = fixed("address = \"10.0.0.5/24\"\ngateway = \"10.0.0.1\"\ndns = [\"9.9.9.9\"]");
        let expected = Fixed {
            address: [10, 0, 0, 5].into(),
            prefix: 24,
            gateway: Some([10, 0, 0, 1].into()),
            name_servers: vec![[9, 9, 9, 9].into()],
        };
        assert_eq!(whole, Some(expected));
        assert!(fixed("address = \"fd00::5/64\"\ngateway = \"fd00::1\"").is_some());
        for wrong in [
            "",
            "address = \"10.0.0.5\"",
            "address = \"10.0.0.5/0\"",
            "address = \"10.0.0.5/33\"",
            "address = \"10.0.0.5/24\"\ngateway = \"fd00::1\"",
            "address = \"10.0.0.5/24\"\ndns = \"9.9.9.9\"",
            "address = 10",
        ] {
            assert_eq!(fixed(wrong), None, "{wrong}");
        }
        assert_eq!(fixed_address(b"\xff"), None);
        assert_eq!(fixed_address(b"seal = \"x\""), None);
    }
}

//! What `neo-secrets-run` is told on its command line.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// How to call it.
pub const USAGE: &str =
    "usage: scripts/run [--data DIR] [--listen ADDRESS:PORT] [--reveal] [--unclaimed]

Builds Neo Secrets and runs it on a SIMULATED secure processor, in the foreground, until Ctrl-C.
  --data DIR             where everything is kept (default ./.neo-secrets)
  --listen ADDRESS:PORT  where to listen (default 127.0.0.1:8443; port 0: any free one)
  --reveal               let values out, to keys with that permission; stays in DIR's config.toml
  --unclaimed            claim nothing: print the line that does";

/// Where the instance lives and listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The data folder.
    pub data: PathBuf,
    /// Loopback or unspecified: `localhost` reaches it.
    pub listen: SocketAddr,
    /// Whether the configuration has to say `reveal = "by-permission"`; else it stays as it is, and
    /// a new one says `off`.
    pub reveal: bool,
    /// Whether a new instance is left for the user to claim.
    pub unclaimed: bool,
}

/// Why a command line is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// Not an option.
    #[error("{0:?} is not an option")]
    Unknown(OsString),
    /// An option without its value.
    #[error("{0} needs a value")]
    NoValue(&'static str),
    /// An option given twice.
    #[error("{0} is given twice")]
    Repeated(&'static str),
    /// Not an address and a port.
    #[error("--listen {0:?}: expected an address and a port, such as 127.0.0.1:8443 or [::1]:8443")]
    Listen(OsString),
    /// `localhost` does not reach that address.
    #[error(
        "--listen {0}: the URL is https://localhost:PORT, so listen on 127.0.0.1, 0.0.0.0, [::1] or [::]"
    )]
    NotLocal(SocketAddr),
}

impl Arguments {
    /// Reads the arguments after the program's name; `None` asks for the usage.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Option<Self>, ArgumentError> {
        let mut arguments = arguments.into_iter();
        let (mut data, mut listen) = (None, None);
        let (mut reveal, mut unclaimed) = (false, false);
        while let Some(argument) = arguments.next() {
            let (name, place) = match argument.to_str() {
                Some("-h" | "--help") => return Ok(None),
                Some("--data") => ("--data", &mut data),
                Some("--listen") => ("--listen", &mut listen),
                Some("--reveal") if reveal => return Err(ArgumentError::Repeated("--reveal")),
                Some("--reveal") => {
                    reveal = true;
                    continue;
                }
                Some("--unclaimed") if unclaimed => {
                    return Err(ArgumentError::Repeated("--unclaimed"));
                }
                Some("--unclaimed") => {
                    unclaimed = true;
                    continue;
                }
                _ => return Err(ArgumentError::Unknown(argument)),
            };
            let value = arguments.next().filter(|value| !value.is_empty());
            let value = value.ok_or(ArgumentError::NoValue(name))?;
            if place.replace(value).is_some() {
                return Err(ArgumentError::Repeated(name));
            }
        }
        let listen = listen.unwrap_or_else(|| "127.0.0.1:8443".into());
        let address: Option<SocketAddr> = listen.to_str().and_then(|text| text.parse().ok());
        let address = address.ok_or(ArgumentError::Listen(listen))?;
        let local = address.ip().is_unspecified()
            || [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]
                .contains(&address.ip());
        if !local {
            return Err(ArgumentError::NotLocal(address));
        }
        let data = data.unwrap_or_else(|| "./.neo-secrets".into());
        Ok(Some(Self { data: data.into(), listen: address, reveal, unclaimed }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Option<Arguments>, ArgumentError> {
        Arguments::parse(line.iter().map(OsString::from))
    }

    #[test]
    fn everything_has_a_default() {
        let defaults = parse(&[]).unwrap().unwrap();
        assert_eq!(defaults.data, PathBuf::from("./.neo-secrets"));
        assert_eq!(defaults.listen.to_string(), "127.0.0.1:8443");
        assert!(!defaults.reveal && !defaults.unclaimed);
        assert!(parse(&["--unclaimed"]).unwrap().unwrap().unclaimed);
        let given = parse(&["--listen", "[::1]:0", "--reveal", "--data", "my data"]);
        let given = given.unwrap().unwrap();
        assert!(given.reveal);
        assert_eq!(given.data, PathBuf::from("my data"));
        assert_eq!(given.listen.to_string(), "[::1]:0");
        assert!(parse(&["--listen", "0.0.0.0:9000"]).unwrap().is_some());
        assert_eq!(parse(&["--help"]), Ok(None));
    }

    #[test]
    fn mistakes_are_refused_by_name() {
        let refused = |line: &[&str]| parse(line).unwrap_err();
        assert_eq!(refused(&["data"]), ArgumentError::Unknown("data".into()));
        assert_eq!(refused(&["--data"]), ArgumentError::NoValue("--data"));
        assert_eq!(refused(&["--data", ""]), ArgumentError::NoValue("--data"));
        assert_eq!(refused(&["--data", "a", "--data", "b"]), ArgumentError::Repeated("--data"));
        assert_eq!(refused(&["--reveal", "--reveal"]), ArgumentError::Repeated("--reveal"));
        let twice = refused(&["--unclaimed", "--unclaimed"]);
        assert_eq!(twice, ArgumentError::Repeated("--unclaimed"));
        let listen = refused(&["--listen", "localhost:8443"]);
        assert_eq!(listen, ArgumentError::Listen("localhost:8443".into()));
        for address in ["192.0.2.1:8443", "127.0.0.2:8443", "[2001:db8::1]:1"] {
            let expected = ArgumentError::NotLocal(address.parse().unwrap());
            assert_eq!(refused(&["--listen", address]), expected);
        }
    }
}

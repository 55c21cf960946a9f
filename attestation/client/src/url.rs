//! The address of an instance: `https://host[:port]`, nothing else.

use std::fmt;
use std::str::FromStr;

use neo_secrets_attestation::explain::printable;
use rustls::pki_types::ServerName;

/// The address of one instance. Its text form is `https://host:port`, the host in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceUrl {
    host: String,
    port: u16,
    server_name: ServerName<'static>,
}

/// Why a text is not the address of an instance.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The text begins with `http://`: evidence needs a TLS connection of its own.
    #[error("http:// gives no TLS connection to verify; write https://host:port")]
    PlainHttp,
    /// The text does not begin with `https://`.
    #[error("expected https://host:port, got no https:// at the start")]
    Scheme,
    /// Something follows the port, or a user name stands before the host.
    #[error("expected https://host:port and nothing more, got {part} as well; leave it out")]
    Extra {
        /// What is too much: `a path`, `a query`, `a fragment` or `a user name`.
        part: &'static str,
    },
    /// The host is empty, not a DNS name and not an IP address.
    #[error("expected a DNS name, an IPv4 address or an [IPv6 address] as the host, got {host:?}")]
    Host {
        /// The text at the host's place.
        host: String,
    },
    /// The port is not a number from 1 to 65535.
    #[error("expected a port from 1 to 65535, got {port:?}")]
    Port {
        /// The text at the port's place.
        port: String,
    },
}

impl UrlError {
    fn host(text: &str) -> Self {
        Self::Host { host: printable(text) }
    }
}

impl InstanceUrl {
    /// The host: a DNS name or an IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The name sent in the TLS handshake. It authenticates nothing: the evidence does.
    pub fn server_name(&self) -> ServerName<'static> {
        self.server_name.clone()
    }

    /// The `Host` header: host and port, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for InstanceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

impl FromStr for InstanceUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let lower = text.to_ascii_lowercase();
        if lower.starts_with("http://") {
            return Err(UrlError::PlainHttp);
        }
        let rest = lower.strip_prefix("https://").ok_or(UrlError::Scheme)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        for (sign, part) in
            [('@', "a user name"), ('/', "a path"), ('?', "a query"), ('#', "a fragment")]
        {
            if rest.contains(sign) {
                return Err(UrlError::Extra { part });
            }
        }
        let (host, port) = split_port(rest)?;
        let server_name =
            ServerName::try_from(host.to_owned()).map_err(|_| UrlError::host(host))?;
        // rustls takes an IPv6 address without brackets as well; in a URL it needs them.
        if host.contains(':') != rest.starts_with('[') {
            return Err(UrlError::host(host));
        }
        Ok(Self { host: host.to_owned(), port, server_name })
    }
}

fn split_port(rest: &str) -> Result<(&str, u16), UrlError> {
    let (host, port) = match rest.strip_prefix('[') {
        Some(bracketed) => {
            let (host, tail) = bracketed.split_once(']').ok_or_else(|| UrlError::host(rest))?;
            match tail.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if tail.is_empty() => (host, None),
                None => return Err(UrlError::host(rest)),
            }
        }
        None => match rest.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    match port {
        None => Ok((host, 443)),
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Ok((host, port)),
            _ => Err(UrlError::Port { port: printable(digits) }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_taken_and_normalised() {
        for (text, shown, host) in [
            ("https://localhost:8443", "https://localhost:8443", "localhost"),
            ("HTTPS://LocalHost:8443/", "https://localhost:8443", "localhost"),
            ("https://127.0.0.1:1", "https://127.0.0.1:1", "127.0.0.1"),
            ("https://[::1]:65535", "https://[::1]:65535", "::1"),
            ("https://[::1]", "https://[::1]:443", "::1"),
            ("https://secrets.example", "https://secrets.example:443", "secrets.example"),
        ] {
            let url: InstanceUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.host(), host);
            assert_eq!(url.to_string().parse::<InstanceUrl>().unwrap(), url);
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        let refused = |text: &str| text.parse::<InstanceUrl>().unwrap_err();
        assert_eq!(refused("http://localhost:8443"), UrlError::PlainHttp);
        assert_eq!(refused("localhost:8443"), UrlError::Scheme);
        assert_eq!(refused(""), UrlError::Scheme);
        assert_eq!(refused("https://h:1/v1"), UrlError::Extra { part: "a path" });
        assert_eq!(refused("https://h:1//"), UrlError::Extra { part: "a path" });
        assert_eq!(refused("https://h:1?x"), UrlError::Extra { part: "a query" });
        assert_eq!(refused("https://h:1#x"), UrlError::Extra { part: "a fragment" });
        assert_eq!(refused("https://me@h:1"), UrlError::Extra { part: "a user name" });
        for port in ["0", "65536", "+1", "", "x", "-1"] {
            let expected = UrlError::Port { port: port.to_owned() };
            assert_eq!(refused(&format!("https://h:{port}")), expected);
        }
        let long = refused(&format!("https://h:{}", "\u{1b}1".repeat(1_000))).to_string();
        assert!(long.len() < 1_000 && !long.contains('\u{1b}'), "{long}");
        for text in ["https://", "https://:1", "https://[::1", "https://[::1]x", "https://a b:1"] {
            assert!(matches!(refused(text), UrlError::Host { .. }), "{text}");
        }
        for text in ["https://::1", "https://::1:8443", "https://[localhost]:1"] {
            assert!(matches!(refused(text), UrlError::Host { .. }), "{text}");
        }
    }
}

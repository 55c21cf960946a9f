//! Use-only secrets: nobody reads the value; it leaves only in one header of a function's request to
//! a host that was named when the secret was created.

use super::{Issue, SecretValue};

/// Characters of a host's name, at most, per RFC 1035.
pub const HOST_CHARS_MAX: usize = 253;
/// Hosts of one use-only secret, at most: an API has a few, and its metadata stays small.
pub const HOSTS_MAX: usize = 20;
/// Characters of a header's name, at most: registered ones have under 50.
pub const HEADER_CHARS_MAX: usize = 100;
/// Characters of a use-only value, at least: masking a shorter one would mask half the answer.
pub const VALUE_CHARS_MIN: usize = 16;
/// Characters of a use-only value, at most: with what stands beside it, it fits one header.
pub const VALUE_CHARS_MAX: usize = 4_096;

/// Headers that the server writes itself, or never sends: code that sets them is not heard.
pub const OWN_HEADERS: [&str; 12] = [
    "accept-encoding",
    "connection",
    "content-length",
    "date",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
/// Beginnings of more such headers.
pub const OWN_HEADER_PREFIXES: [&str; 2] = ["proxy-", "sec-"];

/// The name of a public host in the one form that it has on the wire: lower-case ASCII, two labels
/// or more, the last of which begins with a letter, so that no spelling of an address is one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostName(String);

impl HostName {
    /// Parses a host's name.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse(text: String) -> Result<Self, Issue> {
        let top = text.rsplit_once('.').map(|(_, top)| top);
        let top_is_name = top.is_some_and(|top| top.starts_with(|c: char| c.is_ascii_lowercase()));
        if top_is_name && text.len() <= HOST_CHARS_MAX && text.split('.').all(is_label) {
            return Ok(Self(text));
        }
        Issue::err(
            "must be a host's name like api.example.com: lower-case letters, digits and '-' in two \
             or more labels, in the form xn--.. where it has others; no port, address or pattern",
        )
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(label: &str) -> bool {
    let fits = (1..=63).contains(&label.len());
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    fits && label.bytes().all(known) && !label.starts_with('-') && !label.ends_with('-')
}

/// The name of a header that code may set: letters, digits, `-` and `_`. Case is kept, and means
/// nothing.
#[derive(Clone, Debug)]
pub struct HeaderName(String);

impl HeaderName {
    /// Parses a header's name.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse(text: String) -> Result<Self, Issue> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !(1..=HEADER_CHARS_MAX).contains(&text.len()) || !text.bytes().all(known) {
            return Issue::err("must be 1 to 100 letters, digits, '-' or '_'");
        }
        if is_own_header(&text) {
            return Issue::err("must be a header that functions may set");
        }
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for HeaderName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for HeaderName {}

/// Whether this is a header that code does not set.
#[must_use]
pub fn is_own_header(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    OWN_HEADERS.contains(&lower.as_str())
        || OWN_HEADER_PREFIXES.iter().any(|prefix| lower.starts_with(prefix))
}

/// Where the value of a use-only secret may go. Fixed when the secret is created.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UseOnly {
    hosts: Vec<HostName>,
    header: HeaderName,
}

impl UseOnly {
    /// To these hosts, in this header.
    ///
    /// # Errors
    /// The rule that the hosts break.
    pub fn new(hosts: Vec<HostName>, header: HeaderName) -> Result<Self, Issue> {
        let distinct = hosts.iter().collect::<std::collections::BTreeSet<_>>().len() == hosts.len();
        if (1..=HOSTS_MAX).contains(&hosts.len()) && distinct {
            return Ok(Self { hosts, header });
        }
        Issue::err("must be 1 to 20 different hosts")
    }

    /// The hosts, in the order in which they were given.
    #[must_use]
    pub fn hosts(&self) -> &[HostName] {
        &self.hosts
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Whether this can be the value of such a secret: it has to fit a header, and be long enough
    /// to be found and masked where an answer repeats it.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn check(value: &SecretValue) -> Result<(), Issue> {
        let value = value.expose();
        let fits = (VALUE_CHARS_MIN..=VALUE_CHARS_MAX).contains(&value.len());
        match fits && value.iter().all(u8::is_ascii_graphic) {
            true => Ok(()),
            false => Issue::err(
                "must be 16 to 4096 visible ASCII characters without spaces, since the secret is \
                 use-only",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_spelling() {
        let host = |text: &str| HostName::parse(text.to_owned()).is_ok();
        let labels = format!("{}.com", vec!["a".repeat(49); 5].join("."));
        assert_eq!(labels.len(), HOST_CHARS_MAX);
        for right in
            ["a.b", "api.example.com", "xn--bcher-kva.example", "1.2.c3", "a--b.c", &labels]
        {
            assert!(host(right), "{right}");
        }
        for wrong in [
            "",
            "localhost",
            "a.b.",
            ".a.b",
            "a..b",
            "A.b",
            "bücher.example",
            "a_b.example",
            "-a.b",
            "a-.b",
            "a.b-",
            "*.a.b",
            "a.b:443",
            "https://a.b",
            "a.b/",
            "127.0.0.1",
            "127.0.0.0x1",
            "1.2.3",
            "[::1]",
            "a.b\n",
            "a .b",
            "a.0x7f",
            &format!("{}.b", "a".repeat(64)),
            &format!("a{labels}"),
        ] {
            assert!(!host(wrong), "{wrong}");
        }
    }

    #[test]
    fn headers_are_those_that_code_sets() {
        let header = |text: &str| HeaderName::parse(text.to_owned()).is_ok();
        for right in ["Authorization", "x-api-key", "Cookie", "X_1", &"x".repeat(100)] {
            assert!(header(right), "{right}");
        }
        for wrong in [
            "",
            "a b",
            "a:",
            "a\r\nb",
            "ä",
            "Host",
            "HOST",
            "te",
            "Content-Length",
            "Proxy-Authorization",
            "Sec-Fetch-Mode",
            &"x".repeat(101),
        ] {
            assert!(!header(wrong), "{wrong}");
        }
        let parse = |text: &str| HeaderName::parse(text.to_owned()).unwrap();
        assert_eq!(parse("X-Key"), parse("x-key"));
    }

    #[test]
    fn hosts_are_counted_and_values_are_headers() {
        let hosts = |count: usize| {
            let hosts = (0..count).map(|number| HostName::parse(format!("h{number}.test")));
            hosts.collect::<Result<Vec<_>, _>>().unwrap()
        };
        let header = HeaderName::parse("X-Key".to_owned()).unwrap();
        assert!(UseOnly::new(hosts(20), header.clone()).is_ok());
        assert!(UseOnly::new(hosts(21), header.clone()).is_err());
        assert!(UseOnly::new(hosts(0), header.clone()).is_err());
        assert!(UseOnly::new([hosts(1), hosts(1)].concat(), header).is_err());
        let value =
            |text: &str| UseOnly::check(&SecretValue::parse(text.to_owned()).unwrap()).is_ok();
        assert!(value(&"!".repeat(16)) && value(&"~".repeat(4_096)));
        for wrong in ["x".repeat(15), "x".repeat(4_097), format!("{} ", "x".repeat(20))] {
            assert!(!value(&wrong));
        }
        assert!(!value("0123456789abcdef\n") && !value("0123456789abcdefä"));
    }
}

//! The configuration: one TOML file, read once. Its exact bytes stand in the evidence, so nothing
//! else (no flag, no environment) configures the server.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;

use neo_secrets_attestation::config::{AttestedConfig, Seal};
use neo_secrets_attestation::evidence::ConfigText;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::files::{self, ReadError};
use crate::limits;

/// A configuration that this version can run.
#[derive(Debug)]
pub struct Config {
    /// The file's exact bytes.
    pub text: ConfigText,
    /// What the evidence's readers decide by.
    pub attested: AttestedConfig,
    /// Names and addresses in the server's certificate, beside localhost, 127.0.0.1 and ::1.
    pub names: Vec<ServerName>,
    /// `[limits]`.
    pub limits: ConfiguredLimits,
}

/// A name or an address for the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// A DNS name, lower case.
    Dns(String),
    /// An address.
    Address(IpAddr),
}

macro_rules! configured_limits {
    ($($(#[$doc:meta])* $name:ident: $default:literal in $minimum:literal..=$maximum:literal),* $(,)?) => {
        /// What `[limits]` sets; each has a default and bounds.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct ConfiguredLimits {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Default for ConfiguredLimits {
            fn default() -> Self {
                ConfiguredLimits { $($name: $default,)* }
            }
        }

        const LIMIT_KEYS: &[&str] = &[$(stringify!($name)),*];

        impl ConfiguredLimits {
            fn read(table: &Section<'_, '_>) -> Result<Self, ConfigError> {
                Ok(ConfiguredLimits {
                    $($name: table.integer(stringify!($name), $minimum..=$maximum)?.unwrap_or($default),)*
                })
            }
        }

        impl fmt::Display for ConfiguredLimits {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                writeln!(formatter, "[limits]")?;
                $(writeln!(formatter, "{} = {}", stringify!($name), self.$name)?;)*
                Ok(())
            }
        }
    };
}

configured_limits! {
    /// Requests that one API key may make in a second, and at once.
    requests_per_second_per_key: 1_000_000 in 1..=10_000_000,
    /// Live secrets of one account.
    secrets_per_account: 10_000_000 in 1..=100_000_000,
    /// Bytes of all values that are kept of one account.
    value_bytes_per_account: 100_000_000_000 in 65_536..=1_000_000_000_000_000,
    /// API keys of one account.
    api_keys_per_account: 10_000 in 1..=1_000_000,
    /// Events of one account's audit log.
    audit_events_per_account: 1_000_000 in 1..=1_000_000_000,
    /// Functions of one account.
    functions_per_account: 1_000 in 0..=1_000_000,
    /// Bytes of the records of executions that are kept of one account.
    execution_bytes_per_account: 67_108_864 in 4_194_304..=1_073_741_824,
    /// Accounts of the instance.
    accounts: 10_000 in 1..=1_000_000,
    /// Values of one secret that are kept.
    versions_kept: 10 in 1..=100,
    /// Failed authentications of one peer address in a minute before they answer 429.
    failed_authentications_per_minute: 1_000 in 1..=1_000_000,
    /// Connections at a time.
    connections: 10_000 in 16..=1_000_000,
    /// Connections at a time of one IPv4 address or IPv6 /64. Where the file names none: a quarter
    /// of `connections`.
    connections_per_address: 2_500 in 1..=1_000_000,
    /// Invocations of functions at a time. 0: four for each processor, at least eight.
    concurrent_invocations: 0 in 0..=10_000,
    /// Memory of all invocations at a time, in MiB. 0: half of the machine's.
    invocation_memory_mib: 0 in 0..=100_000_000,
    /// Length of the queue before them, in steps of 64 KiB.
    queued_invocations: 1_024 in 1..=1_000_000,
    /// Idle workers that are kept for the code that they have seen.
    loaded_workers: 32 in 0..=10_000,
    /// Idle workers that have seen no code.
    warm_workers: 2 in 0..=1_000,
}

/// Why the server does not run with a configuration. Every variant names the key and the line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or is larger than a configuration may be.
    #[error("{0}")]
    Read(String),
    /// Not UTF-8.
    #[error("line {line}: not UTF-8")]
    NotUtf8 {
        /// From 1.
        line: usize,
    },
    /// Not TOML.
    #[error("line {line}: {message}: {written}")]
    Syntax {
        /// From 1.
        line: usize,
        /// What TOML has against it.
        message: String,
        /// What stands there.
        written: String,
    },
    /// A key that there is not.
    #[error("line {line}: unknown key {key}; known here: {known}")]
    UnknownKey {
        /// From 1.
        line: usize,
        /// The key.
        key: String,
        /// The keys of this table.
        known: String,
    },
    /// One of the required keys is missing.
    #[error("the key {key} is missing; it must be {rule}")]
    MissingKey {
        /// The key.
        key: &'static str,
        /// What its value must be.
        rule: &'static str,
    },
    /// A value of the wrong type or outside its bounds.
    #[error("line {line}: {key} = {value}: must be {rule}")]
    Value {
        /// From 1.
        line: usize,
        /// The key.
        key: String,
        /// The value as written.
        value: String,
        /// The rule.
        rule: String,
    },
    /// A value with a meaning that this version does not have.
    #[error("line {line}: {key} = {value}: not available in this version; use {instead}")]
    NotAvailable {
        /// From 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// The value as written.
        value: String,
        /// What this version can do.
        instead: &'static str,
    },
}

const TOP_KEYS: &[&str] =
    &["seal", "reveal", "witnesses", "quorum", "owner_key", "names", "network", "limits"];
/// Of `[network]`, which is for the appliance's first process: an address other than DHCP's. The
/// server checks it, so that there is one place that says what is wrong.
const NETWORK_KEYS: &[&str] = &["address", "gateway", "dns"];

const SEAL: (&str, &str) = ("seal", "\"firmware\" or \"unlock\"");
const REVEAL: (&str, &str) = ("reveal", "\"off\" or \"by-permission\"");
const WITNESSES: (&str, &str) =
    ("witnesses", "a list of at most 16 different names of 1 to 256 visible ASCII characters");
const QUORUM: (&str, &str) = ("quorum", "an integer from 0 to the number of witnesses");
const OWNER_KEY: (&str, &str) =
    ("owner_key", "\"any\" or an Ed25519 public key: padded base64 of 32 bytes");
const ADDRESS: (&str, &str) =
    ("address", "an IP address and the bits of its network, such as \"10.0.0.5/24\"");
const GATEWAY: (&str, &str) = ("gateway", "an IP address of the same kind as address");
const DNS: (&str, &str) = ("dns", "a list of at most 3 IP addresses");
const NAMES: (&str, &str) = ("names", "a list of at most 32 DNS names or IP addresses");

impl Config {
    /// Reads and parses a file.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        match files::read_bounded(path, limits::CONFIG_BYTES) {
            Ok(bytes) => Self::parse(&bytes),
            Err(error @ (ReadError::Io(_) | ReadError::TooLong { .. })) => {
                Err(ConfigError::Read(error.to_string()))
            }
        }
    }

    /// Parses a file's bytes, at most 64 KiB.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let line_of = |offset| line(bytes, offset);
        let claim = ConfigText::new(bytes)
            .map_err(|_| ConfigError::NotUtf8 { line: line_of(utf8_bytes(bytes)) })?;
        let text = claim.as_str();
        let document = DeTable::parse(text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            let written = text.get(span.clone()).filter(|written| !written.trim().is_empty());
            let whole_line = || text.lines().nth(line_of(span.start) - 1).unwrap_or_default();
            ConfigError::Syntax {
                line: line_of(span.start),
                message: error.message().to_owned(),
                written: crate::api::text::printable(written.unwrap_or_else(whole_line)),
            }
        })?;
        let top = Section { text, prefix: "", table: document.get_ref() };
        top.known(TOP_KEYS)?;

        let seal = top.required(SEAL)?;
        top.one_of(SEAL, seal, &["firmware", "unlock"])?;
        let reveal = top.required(REVEAL)?;
        top.one_of(REVEAL, reveal, &["off", "by-permission"])?;
        let witnesses = top.required(WITNESSES)?;
        let listed = top.texts(WITNESSES, witnesses)?;
        let quorum = top.required(QUORUM)?;
        let wrong_quorum = || {
            let rule = format!("an integer from 0 to {}, the number of witnesses", listed.len());
            top.wrong(QUORUM.0, quorum, rule)
        };
        top.integer(QUORUM.0, 0..=u64::from(u32::MAX)).map_err(|_| wrong_quorum())?;
        let owner_key = top.required(OWNER_KEY)?;
        top.text(OWNER_KEY, owner_key)?;

        let attested = AttestedConfig::parse(bytes).map_err(|error| {
            use neo_secrets_attestation::config::ConfigError as Shared;
            match error {
                Shared::Quorum { .. } => wrong_quorum(),
                Shared::OwnerKey(_) => top.wrong(OWNER_KEY.0, owner_key, OWNER_KEY.1),
                Shared::Witness { index } => {
                    let at = listed.get(index).map_or(witnesses, |(_, item)| item);
                    top.wrong(WITNESSES.0, at, WITNESSES.1)
                }
                // Has been read above, by stricter rules.
                Shared::Toml(_) | Shared::NotUtf8 | Shared::TooLong { .. } => {
                    ConfigError::Read(error.to_string())
                }
            }
        })?;
        top.available(&attested, seal, witnesses)?;

        let names = top.names()?;
        if let Some(section) = top.section("network")? {
            section.network()?;
        }
        let limits = match top.section("limits")? {
            None => ConfiguredLimits::default(),
            Some(section) => {
                section.known(LIMIT_KEYS)?;
                let mut limits = ConfiguredLimits::read(&section)?;
                if section.value("connections_per_address").is_none() {
                    limits.connections_per_address = limits.connections / 4;
                }
                limits
            }
        };
        Ok(Config { attested, names, limits, text: claim })
    }
}

/// One table of the file.
struct Section<'d, 'i> {
    text: &'d str,
    prefix: &'static str,
    table: &'d DeTable<'i>,
}

type Value<'d, 'i> = &'d Spanned<DeValue<'i>>;

impl<'d, 'i> Section<'d, 'i> {
    fn value(&self, key: &str) -> Option<Value<'d, 'i>> {
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    fn required(
        &self,
        (key, rule): (&'static str, &'static str),
    ) -> Result<Value<'d, 'i>, ConfigError> {
        self.value(key).ok_or(ConfigError::MissingKey { key, rule })
    }

    fn line(&self, value: Value<'_, '_>) -> usize {
        line(self.text.as_bytes(), value.span().start)
    }

    fn written(&self, value: Value<'_, '_>) -> String {
        crate::api::text::printable(self.text.get(value.span()).unwrap_or_default())
    }

    fn wrong(&self, key: &str, value: Value<'_, '_>, rule: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            line: self.line(value),
            key: format!("{}{key}", self.prefix),
            value: self.written(value),
            rule: rule.into(),
        }
    }

    fn known(&self, keys: &[&str]) -> Result<(), ConfigError> {
        let unknown = self.table.keys().find(|key| !keys.contains(&key.get_ref().as_ref()));
        unknown.map_or(Ok(()), |key| {
            Err(ConfigError::UnknownKey {
                line: line(self.text.as_bytes(), key.span().start),
                key: format!("{}{}", self.prefix, crate::api::text::printable(key.get_ref())),
                known: keys.join(", "),
            })
        })
    }

    fn text(
        &self,
        (key, rule): (&str, &str),
        value: Value<'d, 'i>,
    ) -> Result<&'d str, ConfigError> {
        value.get_ref().as_str().ok_or_else(|| self.wrong(key, value, rule))
    }

    fn one_of(
        &self,
        (key, rule): (&str, &str),
        value: Value<'d, 'i>,
        words: &[&str],
    ) -> Result<(), ConfigError> {
        match words.contains(&self.text((key, rule), value)?) {
            true => Ok(()),
            false => Err(self.wrong(key, value, rule)),
        }
    }

    fn texts(
        &self,
        (key, rule): (&str, &str),
        value: Value<'d, 'i>,
    ) -> Result<Vec<(&'d str, Value<'d, 'i>)>, ConfigError> {
        let list = value.get_ref().as_array().ok_or_else(|| self.wrong(key, value, rule))?;
        list.iter().map(|item| Ok((self.text((key, rule), item)?, item))).collect()
    }

    fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let integer = value
            .get_ref()
            .as_integer()
            .and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok());
        match integer {
            Some(integer) if range.contains(&integer) => Ok(Some(integer)),
            _ => {
                let rule = format!("an integer from {} to {}", range.start(), range.end());
                Err(self.wrong(key, value, rule))
            }
        }
    }

    fn section(&self, key: &str) -> Result<Option<Section<'d, 'i>>, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let table = value.get_ref().as_table().ok_or_else(|| self.wrong(key, value, "a table"))?;
        let prefix = if key == "network" { "network." } else { "limits." };
        Ok(Some(Section { text: self.text, prefix, table }))
    }

    fn network(&self) -> Result<(), ConfigError> {
        self.known(NETWORK_KEYS)?;
        let missing = ConfigError::MissingKey { key: "network.address", rule: ADDRESS.1 };
        let value = self.value(ADDRESS.0).ok_or(missing)?;
        let parsed = self.text(ADDRESS, value)?.split_once('/').and_then(|(address, prefix)| {
            Some((address.parse::<IpAddr>().ok()?, prefix.parse::<u8>().ok()?))
        });
        let fits = |(address, prefix): &(IpAddr, u8)| {
            (1..=if address.is_ipv4() { 32 } else { 128 }).contains(prefix)
        };
        let (address, _) =
            parsed.filter(fits).ok_or_else(|| self.wrong(ADDRESS.0, value, ADDRESS.1))?;
        if let Some(value) = self.value(GATEWAY.0) {
            let gateway = self.text(GATEWAY, value)?.parse::<IpAddr>().ok();
            if gateway.is_none_or(|gateway| gateway.is_ipv4() != address.is_ipv4()) {
                return Err(self.wrong(GATEWAY.0, value, GATEWAY.1));
            }
        }
        if let Some(value) = self.value(DNS.0) {
            let servers = self.texts(DNS, value)?;
            let are_addresses = servers.iter().all(|(text, _)| text.parse::<IpAddr>().is_ok());
            if servers.len() > limits::NAME_SERVERS || !are_addresses {
                return Err(self.wrong(DNS.0, value, DNS.1));
            }
        }
        Ok(())
    }

    /// Words with a meaning that a later version gives them.
    fn available(
        &self,
        attested: &AttestedConfig,
        seal: Value<'_, '_>,
        witnesses: Value<'_, '_>,
    ) -> Result<(), ConfigError> {
        let refuse = |key, value, instead| {
            let (line, value) = (self.line(value), self.written(value));
            Err(ConfigError::NotAvailable { line, key, value, instead })
        };
        match attested.seal {
            Seal::Unlock => refuse("seal", seal, "\"firmware\""),
            Seal::Firmware if !attested.witnesses.is_empty() => {
                refuse("witnesses", witnesses, "[]")
            }
            Seal::Firmware => Ok(()),
        }
    }

    fn names(&self) -> Result<Vec<ServerName>, ConfigError> {
        let Some(value) = self.value(NAMES.0) else { return Ok(Vec::new()) };
        let texts = self.texts(NAMES, value)?;
        if texts.len() > limits::CERTIFICATE_NAMES {
            return Err(self.wrong(NAMES.0, value, NAMES.1));
        }
        let parse = |(text, item): (&str, Value<'_, '_>)| {
            ServerName::parse(text).ok_or_else(|| self.wrong(NAMES.0, item, NAMES.1))
        };
        texts.into_iter().map(parse).collect()
    }
}

impl ServerName {
    /// A host name of letters, digits and hyphens, or an IP address.
    fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(ServerName::Address(address));
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let numeric = text.split('.').next_back()?.bytes().all(|byte| byte.is_ascii_digit());
        let fits = text.len() <= limits::CERTIFICATE_NAME_BYTES && !numeric;
        (fits && text.split('.').all(label)).then(|| ServerName::Dns(text.to_ascii_lowercase()))
    }
}

/// The line of this byte, from 1.
fn line(text: &[u8], offset: usize) -> usize {
    1 + text.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// How many bytes from the start on are UTF-8.
fn utf8_bytes(bytes: &[u8]) -> usize {
    str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use neo_secrets_attestation::config::Reveal;

    const GOOD: &str = "\
seal = \"firmware\"
reveal = \"off\"
witnesses = []
quorum = 0
owner_key = \"any\"
";

    fn parse(more: &str) -> Result<Config, ConfigError> {
        Config::parse(format!("{GOOD}{more}").as_bytes())
    }

    fn wrong(line: usize, key: &str, value: &str, rule: &str) -> ConfigError {
        ConfigError::Value { line, key: key.into(), value: value.into(), rule: rule.into() }
    }

    #[test]
    fn defaults_stand_where_limits_are_absent() {
        let config = parse("").unwrap();
        assert_eq!(config.text.as_str(), GOOD);
        assert_eq!(config.limits, ConfiguredLimits::default());
        assert!(config.names.is_empty());
    }

    #[test]
    fn reveal_is_off_or_by_permission() {
        let reveal = |text: &str| Config::parse(text.as_bytes()).unwrap().attested.reveal;
        assert_eq!(reveal(GOOD), Reveal::Off);
        assert_eq!(reveal(&GOOD.replace("\"off\"", "\"by-permission\"")), Reveal::ByPermission);
    }

    #[test]
    fn reads_names_and_limits() {
        let config = parse(
            "names = [\"Vault.example.com\", \"10.0.0.7\", \"fd00::1\"]\n[limits]\nversions_kept = 0x0b\n",
        )
        .unwrap();
        let dns = ServerName::Dns("vault.example.com".into());
        let four = ServerName::Address("10.0.0.7".parse().unwrap());
        let six = ServerName::Address("fd00::1".parse().unwrap());
        assert_eq!(config.names, [dns, four, six]);
        let expected = ConfiguredLimits { versions_kept: 11, ..ConfiguredLimits::default() };
        assert_eq!(config.limits, expected);
    }

    #[test]
    fn each_attested_key_is_required() {
        for key in ["seal", "reveal", "witnesses", "quorum", "owner_key"] {
            let text: String = GOOD
                .lines()
                .filter(|line| !line.starts_with(key))
                .flat_map(|line| [line, "\n"])
                .collect();
            match Config::parse(text.as_bytes()) {
                Err(ConfigError::MissingKey { key: missing, .. }) => assert_eq!(missing, key),
                other => panic!("{key}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_address_has_a_quarter_of_the_connections_where_nothing_else_is_said() {
        let per_address = |more: &str| {
            parse(&format!("[limits]\n{more}")).unwrap().limits.connections_per_address
        };
        assert_eq!(ConfiguredLimits::default().connections_per_address, 2_500);
        assert_eq!(per_address(""), 2_500);
        assert_eq!(per_address("connections = 16\n"), 4);
        assert_eq!(per_address("connections = 16\nconnections_per_address = 16\n"), 16);
    }

    #[test]
    fn unknown_keys_are_named_with_their_line() {
        let unknown = |more| match parse(more) {
            Err(ConfigError::UnknownKey { line, key, .. }) => (line, key),
            other => panic!("{other:?}"),
        };
        assert_eq!(unknown("\nlisten = 1"), (7, "listen".to_owned()));
        assert_eq!(unknown("[limits]\nversion_kept = 1"), (7, "limits.version_kept".to_owned()));
        assert_eq!(unknown("[limit]\n"), (6, "limit".to_owned()));
    }

    #[test]
    fn values_out_of_bounds_are_named_with_bounds_and_line() {
        let rule = "an integer from 1 to 100";
        for value in ["0", "101", "-1", "1.5", "\"7\"", "99999999999999999999"] {
            let got = parse(&format!("[limits]\nversions_kept = {value}\n")).unwrap_err();
            assert_eq!(got, wrong(7, "limits.versions_kept", value, rule));
        }
        let names = NAMES.1;
        assert_eq!(parse("names = [\"a b\"]").unwrap_err(), wrong(6, "names", "\"a b\"", names));
        assert_eq!(parse("names = \"a\"").unwrap_err(), wrong(6, "names", "\"a\"", names));
        for name in ["", "-a", "a..b", "1.2.3", "*.example.com", "a\u{e9}"] {
            assert!(parse(&format!("names = [\"{name}\"]")).is_err(), "{name}");
        }
        assert_eq!(parse("limits = 3").unwrap_err(), wrong(6, "limits", "3", "a table"));
    }

    #[test]
    fn the_network_is_checked_for_the_first_process() {
        let network = |rest: &str| parse(&format!("[network]\n{rest}")).map(|_| ());
        let whole = "address = \"10.0.0.5/24\"\ngateway = \"10.0.0.1\"\ndns = [\"9.9.9.9\"]";
        assert_eq!(network(whole), Ok(()));
        assert_eq!(network("address = \"fd00::5/64\""), Ok(()));
        let missing = ConfigError::MissingKey { key: "network.address", rule: ADDRESS.1 };
        assert_eq!(network(""), Err(missing));
        for (line, key, written, rule) in [
            (7, "address", "\"10.0.0.5\"", ADDRESS.1),
            (7, "address", "\"10.0.0.5/33\"", ADDRESS.1),
            (7, "address", "\"10.0.0.5/0\"", ADDRESS.1),
            (7, "address", "5", ADDRESS.1),
            (8, "gateway", "\"fd00::1\"", GATEWAY.1),
            (8, "dns", "\"9.9.9.9\"", DNS.1),
            (8, "dns", "[\"dns.example\"]", DNS.1),
        ] {
            let before = if line == 8 { "address = \"10.0.0.5/24\"\n" } else { "" };
            let refused = network(&format!("{before}{key} = {written}"));
            assert_eq!(refused, Err(wrong(line, &format!("network.{key}"), written, rule)));
        }
        let unknown = network("address = \"10.0.0.5/24\"\nmtu = 9000").unwrap_err();
        assert!(matches!(unknown, ConfigError::UnknownKey { line: 8, .. }), "{unknown}");
    }

    #[test]
    fn words_of_later_versions_are_refused_by_name() {
        let swap =
            |from: &str, to: &str| Config::parse(GOOD.replace(from, to).as_bytes()).err().unwrap();
        let seal = ConfigError::NotAvailable {
            line: 1,
            key: "seal",
            value: "\"unlock\"".into(),
            instead: "\"firmware\"",
        };
        assert_eq!(swap("\"firmware\"", "\"unlock\""), seal);
        assert!(matches!(
            swap("witnesses = []", "witnesses = [\"w\"]"),
            ConfigError::NotAvailable { key: "witnesses", line: 3, .. }
        ));
        assert_eq!(swap("\"off\"", "\"on\""), wrong(2, "reveal", "\"on\"", REVEAL.1));
        let owner = swap("\"any\"", "\"AAAA\"");
        assert_eq!(owner, wrong(5, "owner_key", "\"AAAA\"", OWNER_KEY.1));
        for quorum in ["1", "-1", "\"0\"", "4294967296"] {
            let rule = "an integer from 0 to 0, the number of witnesses";
            let got = swap("quorum = 0", &format!("quorum = {quorum}"));
            assert_eq!(got, wrong(4, "quorum", quorum, rule));
        }
        for (witnesses, at) in [("[7]", "7"), ("[\"a\", \"a\"]", "\"a\""), ("\"\"", "\"\"")] {
            let got = swap("witnesses = []", &format!("witnesses = {witnesses}"));
            assert_eq!(got, wrong(3, "witnesses", at, WITNESSES.1));
        }
    }

    #[test]
    fn what_is_not_toml_is_refused_with_its_line() {
        let told = |more: &str| parse(more).unwrap_err().to_string();
        assert_eq!(told("seal = \"firmware\""), "line 6: duplicate key: seal");
        assert!(told("\n= 1").starts_with("line 7: "), "{}", told("\n= 1"));
        assert!(told("x = y").starts_with("line 6: "), "{}", told("x = y"));
        assert!(told("x = y").ends_with(": y"), "{}", told("x = y"));
        let bytes = Config::parse(b"# \n\xff");
        assert_eq!(bytes.unwrap_err(), ConfigError::NotUtf8 { line: 2 });
    }
}

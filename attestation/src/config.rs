//! The part of the server's configuration that bears on who can read values. Server and client
//! parse it with this one parser, from the same bytes: those that the claims carry.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ed25519::{KeyTextError, PublicKey};
use crate::explain::printable;
use crate::limits;

/// How the store's root key is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seal {
    /// By the chip's derived key alone: the instance opens its store by itself.
    Firmware,
    /// By the derived key and a half that the owner sends at each start.
    Unlock,
}

/// Whether a value can be taken out through the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reveal {
    /// Never.
    Off,
    /// By keys with the permission `reveal`.
    ByPermission,
}

/// Who may claim the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerKey {
    /// The first to come.
    Any,
    /// Only the holder of this key.
    Named(PublicKey),
}

/// The five fields, each required in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AttestedConfig {
    /// `seal`.
    pub seal: Seal,
    /// `reveal`.
    pub reveal: Reveal,
    /// `witnesses`: each 1 to 256 visible ASCII characters.
    pub witnesses: Vec<String>,
    /// `quorum`: at most the number of witnesses.
    pub quorum: u32,
    /// `owner_key`.
    pub owner_key: OwnerKey,
}

/// Why a configuration cannot be appraised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// More bytes than a configuration may have.
    #[error("the configuration has {got} bytes; the limit is {}", limits::CONFIG_BYTES_MAX)]
    TooLong {
        /// Bytes there are.
        got: usize,
    },
    /// Not UTF-8.
    #[error("the configuration is not UTF-8")]
    NotUtf8,
    /// Not TOML, or one of the five fields is missing or has a value that it does not take.
    #[error("the configuration does not parse: {0}")]
    Toml(String),
    /// `owner_key` is neither `any` nor a key.
    #[error("owner_key: {0}, or \"any\"")]
    OwnerKey(KeyTextError),
    /// A witness is empty, too long, not visible ASCII, repeated, or one too many.
    #[error("witnesses[{index}]: at most 16 different names of 1 to 256 visible ASCII characters")]
    Witness {
        /// Which one, from 0.
        index: usize,
    },
    /// More witnesses are asked for than there are.
    #[error("quorum: {quorum} of {witnesses} witnesses can never be reached")]
    Quorum {
        /// `quorum`.
        quorum: u32,
        /// How many witnesses there are.
        witnesses: usize,
    },
}

/// As it stands in the file. Other keys are not this parser's business.
#[derive(Deserialize)]
struct Raw {
    seal: Seal,
    reveal: Reveal,
    witnesses: Vec<String>,
    quorum: u32,
    owner_key: String,
}

impl AttestedConfig {
    /// Reads the five fields from the bytes of a configuration file.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() > limits::CONFIG_BYTES_MAX {
            return Err(ConfigError::TooLong { got: bytes.len() });
        }
        let text = str::from_utf8(bytes).map_err(|_| ConfigError::NotUtf8)?;
        let Raw { seal, reveal, witnesses, quorum, owner_key } =
            toml::from_str(text).map_err(|error| ConfigError::Toml(printable(error.message())))?;
        let owner_key = owner_key.parse().map_err(ConfigError::OwnerKey)?;
        Self { seal, reveal, witnesses, quorum, owner_key }.checked()
    }

    /// The rules that hold wherever the five fields stand.
    ///
    /// # Errors
    /// The field that breaks one.
    pub fn checked(self) -> Result<Self, ConfigError> {
        for (index, witness) in self.witnesses.iter().enumerate() {
            let visible = witness.bytes().all(|byte| byte.is_ascii_graphic());
            let length = (1..=limits::WITNESS_BYTES_MAX).contains(&witness.len());
            let repeated = self.witnesses.iter().take(index).any(|earlier| earlier == witness);
            if !visible || !length || repeated || index >= limits::WITNESSES_MAX {
                return Err(ConfigError::Witness { index });
            }
        }
        if usize::try_from(self.quorum).is_ok_and(|quorum| quorum <= self.witnesses.len()) {
            Ok(self)
        } else {
            Err(ConfigError::Quorum { quorum: self.quorum, witnesses: self.witnesses.len() })
        }
    }
}

impl AttestedConfig {
    /// The keys whose values another configuration has otherwise, as the file calls them.
    pub fn differing(&self, other: &Self) -> Vec<&'static str> {
        let Self { seal, reveal, witnesses, quorum, owner_key } = self;
        let same = [
            ("seal", *seal == other.seal),
            ("reveal", *reveal == other.reveal),
            ("witnesses", *witnesses == other.witnesses),
            ("quorum", *quorum == other.quorum),
            ("owner_key", *owner_key == other.owner_key),
        ];
        same.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
    }
}

impl Seal {
    /// As it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Unlock => "unlock",
        }
    }
}

impl Reveal {
    /// As it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::ByPermission => "by-permission",
        }
    }
}

impl std::str::FromStr for OwnerKey {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        if text == "any" { Ok(Self::Any) } else { text.parse().map(Self::Named) }
    }
}

impl fmt::Display for OwnerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("any"),
            Self::Named(key) => key.fmt(formatter),
        }
    }
}

impl Serialize for OwnerKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

//! Functions: the code, and what it may reach.

use super::{
    Description, Field, FunctionId, HostName, Issue, SecretName, Tags, Timestamp, private_text,
};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

private_text!(
    /// The name of a function: `[a-z0-9-]{1,64}`.
    FunctionName
);
private_text!(
    /// A function's code: 1 byte to 256 KiB of UTF-8 without NUL.
    FunctionCode
);

/// Characters of a function's name, at most.
pub const FUNCTION_NAME_CHARS_MAX: usize = 64;
/// Bytes of a function's code, at most.
pub const CODE_BYTES_MAX: usize = 262_144;
/// Secrets that a function declares, at most: members of one list of a body.
pub const FUNCTION_SECRETS_MAX: usize = 100;
/// Hosts that a function may call, at most: members of one list of a body.
pub const EGRESS_HOSTS_MAX: usize = 100;
/// Pairs of an environment, at most: members of one object of a body.
pub const ENVIRONMENT_PAIRS_MAX: usize = 100;
/// Bytes of a name in the environment, at most; names in use elsewhere have under 64.
pub const ENVIRONMENT_NAME_BYTES_MAX: usize = 256;
/// Bytes of a value in the environment, at most: what one certificate chain in PEM needs.
pub const ENVIRONMENT_VALUE_BYTES_MAX: usize = 32_768;
/// Bytes of an environment, names and values, at most: a page of a hundred functions stays below
/// 7 MiB.
pub const ENVIRONMENT_BYTES_MAX: usize = 65_536;

impl FunctionName {
    /// Parses a name.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse(text: String) -> Result<Self, Issue> {
        let fits = (1..=FUNCTION_NAME_CHARS_MAX).contains(&text.len());
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if fits && text.bytes().all(known) {
            return Ok(Self(text));
        }
        Issue::err("must be 1 to 64 lower-case letters, digits or '-' (a-z, 0-9)")
    }
}

impl FunctionCode {
    /// Parses code; whether it is JavaScript is the worker's to say.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse(text: String) -> Result<Self, Issue> {
        if (1..=CODE_BYTES_MAX).contains(&text.len()) && !text.contains('\0') {
            return Ok(Self(text));
        }
        Issue::err("must be 1 to 262144 bytes of UTF-8 without a NUL")
    }

    /// What the code is known by.
    #[must_use]
    pub fn hash(&self) -> ContentHash {
        ContentHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

/// SHA-256 of code, parameters or a result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub(crate) [u8; 32]);

impl ContentHash {
    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::str::FromStr for ContentHash {
    type Err = Issue;

    fn from_str(text: &str) -> Result<Self, Issue> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok();
        let hash = bytes.and_then(|bytes| bytes.try_into().ok()).map(Self);
        hash.ok_or_else(|| Issue("must be a SHA-256: 64 digits of 0-9 and a-f".to_owned()))
    }
}

macro_rules! bounded_number {
    ($(#[$doc:meta])* $name:ident: $min:literal to $max:literal, else $default:literal, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub struct $name(u32);

        impl $name {
            /// The least.
            pub const MIN: u32 = $min;
            /// The greatest.
            pub const MAX: u32 = $max;
            /// What holds where none is given.
            pub const DEFAULT: Self = Self($default);

            /// Parses a number.
            ///
            /// # Errors
            /// The rule it breaks.
            pub fn parse(number: u64) -> Result<Self, Issue> {
                let number = u32::try_from(number).ok();
                let fits = number.filter(|number| (Self::MIN..=Self::MAX).contains(number));
                fits.map(Self).ok_or_else(|| Issue($rule.to_owned()))
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0
            }
        }
    };
}

bounded_number!(
    /// How long an invocation may run, in seconds.
    Timeout: 1 to 300, else 30, "must be 1 to 300 seconds"
);
bounded_number!(
    /// Memory of an invocation, in MiB.
    Memory: 8 to 512, else 128, "must be 8 to 512 MiB"
);

/// The secrets that a function declares: at most 100, none twice. They need not exist.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SecretNames(Vec<SecretName>);

impl SecretNames {
    /// Parses names.
    ///
    /// # Errors
    /// The rule they break.
    pub fn parse(names: Vec<String>) -> Result<Self, Issue> {
        let names: Vec<_> = bounded(names, FUNCTION_SECRETS_MAX, "names")?
            .into_iter()
            .map(SecretName::parse)
            .collect::<Result<_, _>>()?;
        Ok(Self(distinct(names)?))
    }

    /// The names, as they were given.
    pub fn iter(&self) -> impl Iterator<Item = &SecretName> {
        self.0.iter()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn contains(&self, name: &SecretName) -> bool {
        self.0.contains(name)
    }
}

/// The hosts that a function may call: at most 100, none twice.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EgressHosts(Vec<HostName>);

impl EgressHosts {
    /// Parses host names.
    ///
    /// # Errors
    /// The rule they break.
    pub fn parse(hosts: Vec<String>) -> Result<Self, Issue> {
        let hosts: Vec<_> = bounded(hosts, EGRESS_HOSTS_MAX, "host names")?
            .into_iter()
            .map(HostName::parse)
            .collect::<Result<_, _>>()?;
        Ok(Self(distinct(hosts)?))
    }

    /// The hosts, as they were given.
    pub fn iter(&self) -> impl Iterator<Item = &HostName> {
        self.0.iter()
    }
}

fn bounded(texts: Vec<String>, most: usize, what: &str) -> Result<Vec<String>, Issue> {
    match texts.len() <= most {
        true => Ok(texts),
        false => Issue::err(format!("must be at most {most} {what}")),
    }
}

fn distinct<T: Ord>(items: Vec<T>) -> Result<Vec<T>, Issue> {
    match items.iter().collect::<BTreeSet<_>>().len() == items.len() {
        true => Ok(items),
        false => Issue::err("must not list one twice"),
    }
}

/// What `context.environment` shows: at most 100 pairs and 64 KiB. Not for secrets: whoever may
/// read the function reads it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Parses pairs.
    ///
    /// # Errors
    /// The rule they break.
    pub fn parse(pairs: BTreeMap<String, String>) -> Result<Self, Issue> {
        if pairs.len() > ENVIRONMENT_PAIRS_MAX {
            return Issue::err("must be at most 100 pairs");
        }
        if !pairs.keys().all(|name| (1..=ENVIRONMENT_NAME_BYTES_MAX).contains(&name.len())) {
            return Issue::err("must have names of 1 to 256 bytes");
        }
        if pairs.values().any(|value| value.len() > ENVIRONMENT_VALUE_BYTES_MAX) {
            return Issue::err("must have values of at most 32768 bytes");
        }
        let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > ENVIRONMENT_BYTES_MAX {
            return Issue::err("must have at most 65536 bytes in all");
        }
        Ok(Self(pairs))
    }

    /// The pairs, by name.
    #[must_use]
    pub fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Environment(..)")
    }
}

/// A function without its code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// The id.
    pub id: FunctionId,
    /// The name; unique among the account's functions.
    pub name: FunctionName,
    /// The description, where there is one.
    pub description: Option<Description>,
    /// How long an invocation may run.
    pub timeout: Timeout,
    /// Memory of an invocation.
    pub memory: Memory,
    /// The secrets that the code may read.
    pub secrets: SecretNames,
    /// What the code sees as its environment.
    pub environment: Environment,
    /// The hosts that the code may call.
    pub egress: EgressHosts,
    /// The tags.
    pub tags: Tags,
    /// Whether only confirmed code reads secrets.
    pub pin_code: bool,
    /// The code that was confirmed, where that is asked for: by whom every declared name was within
    /// reach.
    pub confirmed: Option<ContentHash>,
    /// Of the code.
    pub code_sha256: ContentHash,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Function {
    /// Whether an admin has confirmed the very code that there is; never where that is not asked
    /// for.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.pin_code && self.confirmed == Some(self.code_sha256)
    }
}

/// A function to create.
pub struct NewFunction {
    /// The name.
    pub name: FunctionName,
    /// The code.
    pub code: FunctionCode,
    /// The description.
    pub description: Option<Description>,
    /// How long an invocation may run.
    pub timeout: Timeout,
    /// Memory of an invocation.
    pub memory: Memory,
    /// The secrets that the code may read.
    pub secrets: SecretNames,
    /// What the code sees as its environment.
    pub environment: Environment,
    /// The hosts that the code may call.
    pub egress: EgressHosts,
    /// The tags.
    pub tags: Tags,
    /// Whether only confirmed code reads secrets.
    pub pin_code: bool,
}

/// A change to a function; clearing brings the default back. The name can't change.
pub struct FunctionChange {
    /// New code; code can't be cleared.
    pub code: Option<FunctionCode>,
    /// The description.
    pub description: Field<Description>,
    /// How long an invocation may run.
    pub timeout: Field<Timeout>,
    /// Memory of an invocation.
    pub memory: Field<Memory>,
    /// The secrets that the code may read.
    pub secrets: Field<SecretNames>,
    /// What the code sees as its environment.
    pub environment: Field<Environment>,
    /// The hosts that the code may call.
    pub egress: Field<EgressHosts>,
    /// The tags.
    pub tags: Field<Tags>,
    /// Whether only confirmed code reads secrets.
    pub pin_code: Field<bool>,
}

impl FunctionChange {
    /// Nothing but other secrets.
    #[must_use]
    pub fn of_secrets(secrets: SecretNames) -> Self {
        Self {
            code: None,
            description: Field::Keep,
            timeout: Field::Keep,
            memory: Field::Keep,
            secrets: Field::Set(secrets),
            environment: Field::Keep,
            egress: Field::Keep,
            tags: Field::Keep,
            pin_code: Field::Keep,
        }
    }
}

/// One page of functions, newest first, from one snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FunctionPage {
    /// The page's functions.
    pub items: Vec<Function>,
    /// How many there are in all.
    pub total: u64,
}

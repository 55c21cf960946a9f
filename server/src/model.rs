//! What the store holds: parsed values. A parser answers with the rule that was broken, in words
//! for the client; whoever calls it knows the field's name.

mod accounts;
mod api_keys;
mod executions;
mod functions;
mod ids;
mod secrets;
mod texts;
mod timestamp;
pub mod use_only;

pub use accounts::{
    Account, AccountChange, AccountPage, NewAccount, PerResource, Quotas, Resource,
};
pub use api_keys::{ApiKey, NewKey, Overlap};
pub use executions::{
    Execution, ExecutionEnd, ExecutionFault, ExecutionOutcome, ExecutionPage, ExecutionReceipt,
    ExecutionState, ExecutionSummary, JsonText, LogLevel, LogLine, Logs, ReceiptSignature,
    SecretRead, SecretReads,
};
pub use functions::{
    CODE_BYTES_MAX, ContentHash, EGRESS_HOSTS_MAX, ENVIRONMENT_NAME_BYTES_MAX,
    ENVIRONMENT_PAIRS_MAX, ENVIRONMENT_VALUE_BYTES_MAX, EgressHosts, Environment,
    FUNCTION_NAME_CHARS_MAX, FUNCTION_SECRETS_MAX, Function, FunctionChange, FunctionCode,
    FunctionName, FunctionPage, Memory, NewFunction, SecretNames, Timeout,
};
pub(crate) use ids::IdSequence;
pub use ids::{
    AccountId, ExecutionId, FunctionId, ID_BYTES, Id, IdKind, IdText, KeyId, OfAccount,
    OfExecution, OfFunction, OfKey, OfSecret, SecretId,
};
pub(crate) use secrets::is_name_byte;
pub use secrets::{
    Change, NAME_CHARS_MAX, NamePrefix, NewSecret, Page, Revealed, Revision, Secret, SecretName,
    SecretPage, SecretValue, VALUE_BYTES_MAX, Version, VersionInfo,
};
pub use texts::{
    DESCRIPTION_CHARS_MAX, Description, Label, TAG_KEY_CHARS_MAX, TAG_VALUE_CHARS_MAX, TAGS_MAX,
    Tags,
};
pub use timestamp::{TimeText, Timestamp};
pub use use_only::{HeaderName, HostName, UseOnly};

/// The rule that an input breaks, readable by the client: "must be 1 to 100 characters".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Issue(pub String);

impl Issue {
    fn err<T>(rule: impl Into<String>) -> Result<T, Self> {
        Err(Self(rule.into()))
    }
}

/// A text whose Debug output shows nothing: names and descriptions never reach a log.
macro_rules! private_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}
use private_text;

/// What to do with a field that may be absent.
pub enum Field<T> {
    /// Leave it as it is.
    Keep,
    /// Take it away.
    Clear,
    /// Put this in its place.
    Set(T),
}

impl<T> Field<T> {
    pub(crate) fn apply(self, to: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *to = None,
            Self::Set(value) => *to = Some(value),
        }
    }

    /// What there is afterwards, of a field that is always there.
    pub(crate) fn or(self, kept: T, default: T) -> T {
        match self {
            Self::Keep => kept,
            Self::Clear => default,
            Self::Set(value) => value,
        }
    }

    /// As [`Field::or`], with the type's default.
    pub(crate) fn or_default(self, kept: T) -> T
    where
        T: Default,
    {
        self.or(kept, T::default())
    }

    /// Whether it says anything.
    pub(crate) fn is_given(&self) -> bool {
        !matches!(self, Self::Keep)
    }
}

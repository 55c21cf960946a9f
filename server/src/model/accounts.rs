//! Accounts, and how much one may have.

use super::{AccountId, Field, Label, Timestamp};
use std::fmt;

/// What an account has a quota of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// Live secrets.
    Secrets,
    /// Bytes of all values that are kept.
    ValueBytes,
    /// API keys, the expired ones too.
    ApiKeys,
    /// Events of the audit log.
    AuditEvents,
    /// Functions.
    Functions,
}

/// One thing for each [`Resource`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PerResource<T> {
    /// Of [`Resource::Secrets`].
    pub secrets: T,
    /// Of [`Resource::ValueBytes`].
    pub value_bytes: T,
    /// Of [`Resource::ApiKeys`].
    pub api_keys: T,
    /// Of [`Resource::AuditEvents`].
    pub audit_events: T,
    /// Of [`Resource::Functions`].
    pub functions: T,
}

/// An account's own quotas; where there is none, the configuration's default holds.
pub type Quotas = PerResource<Option<u64>>;

impl Resource {
    /// The highest quota: what a JSON number holds exactly everywhere.
    pub const QUOTA_MAX: u64 = (1 << 53) - 1;

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secrets => "secrets",
            Self::ValueBytes => "valueBytes",
            Self::ApiKeys => "apiKeys",
            Self::AuditEvents => "auditEvents",
            Self::Functions => "functions",
        }
    }
}

impl fmt::Display for Resource {
    /// What is counted, in words.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Secrets => "secrets",
            Self::ValueBytes => "bytes of values",
            Self::ApiKeys => "API keys",
            Self::AuditEvents => "events in the audit log",
            Self::Functions => "functions",
        })
    }
}

impl<T> PerResource<T> {
    /// That of one resource.
    pub fn of(&self, resource: Resource) -> &T {
        match resource {
            Resource::Secrets => &self.secrets,
            Resource::ValueBytes => &self.value_bytes,
            Resource::ApiKeys => &self.api_keys,
            Resource::AuditEvents => &self.audit_events,
            Resource::Functions => &self.functions,
        }
    }

    /// Each made for its resource.
    pub(crate) fn each(mut make: impl FnMut(Resource) -> T) -> Self {
        Self {
            secrets: make(Resource::Secrets),
            value_bytes: make(Resource::ValueBytes),
            api_keys: make(Resource::ApiKeys),
            audit_events: make(Resource::AuditEvents),
            functions: make(Resource::Functions),
        }
    }

    pub(crate) fn map<U>(self, change: impl Fn(T) -> U) -> PerResource<U> {
        let Self { secrets, value_bytes, api_keys, audit_events, functions } = self;
        PerResource {
            secrets: change(secrets),
            value_bytes: change(value_bytes),
            api_keys: change(api_keys),
            audit_events: change(audit_events),
            functions: change(functions),
        }
    }

    /// Each with another's.
    pub(crate) fn zip<U>(self, other: PerResource<U>) -> PerResource<(T, U)> {
        let PerResource { secrets, value_bytes, api_keys, audit_events, functions } = other;
        PerResource {
            secrets: (self.secrets, secrets),
            value_bytes: (self.value_bytes, value_bytes),
            api_keys: (self.api_keys, api_keys),
            audit_events: (self.audit_events, audit_events),
            functions: (self.functions, functions),
        }
    }
}

impl<T, E> PerResource<Result<T, E>> {
    /// All of them, or the first error.
    pub(crate) fn transpose(self) -> Result<PerResource<T>, E> {
        let Self { secrets, value_bytes, api_keys, audit_events, functions } = self;
        Ok(PerResource {
            secrets: secrets?,
            value_bytes: value_bytes?,
            api_keys: api_keys?,
            audit_events: audit_events?,
            functions: functions?,
        })
    }
}

/// An account, as its owner sees it: how much there is in it, never what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// The id.
    pub id: AccountId,
    /// The name; several may have the same.
    pub name: Label,
    /// When it was created.
    pub created_at: Timestamp,
    /// How much it may have.
    pub quotas: PerResource<u64>,
    /// How much it has.
    pub usage: PerResource<u64>,
}

/// An account to create.
pub struct NewAccount {
    /// The name.
    pub name: Label,
    /// Its own quotas.
    pub quotas: Quotas,
}

/// A change to an account.
pub struct AccountChange {
    /// A new name.
    pub name: Option<Label>,
    /// New quotas; [`Field::Clear`] brings the configuration's default back.
    pub quotas: PerResource<Field<u64>>,
}

/// One page of accounts, newest first, from one snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountPage {
    /// The page's accounts.
    pub items: Vec<Account>,
    /// How many there are in all.
    pub total: u64,
}

//! What the audit log says: who did what to which object, when and from where. Never a value.

use crate::access::{FunctionRun, Globs, Grant, OwnerCaller, Permissions, Right, Scope};
use crate::limits::REQUEST_ID_BYTES;
use crate::model::{
    AccountId, ApiKey, ContentHash, FunctionId, FunctionName, HostName, Issue, KeyId, Label,
    SecretId, SecretName, Timestamp, Version,
};
use data_encoding::BASE64URL_NOPAD;
use minicbor::{Decode, Encode};
use std::fmt;
use std::net::IpAddr;

/// One act: by whose right, from where, and when. Every write takes one, and the log tells of it.
pub struct Act<G> {
    /// The right: a [`Grant`], or the owner.
    pub by: G,
    /// Where it comes from.
    pub origin: Origin,
    /// When it came.
    pub now: Timestamp,
}

/// Where a request comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The address that the connection has at its other end.
    pub peer: PeerAddress,
    /// The request's id, which finds it in the server's log too.
    pub request: RequestId,
}

/// A peer's address; an IPv4 address that is written as an IPv6 one counts as the former.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerAddress(IpAddr);

/// A request's id: 1 to 128 visible ASCII characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestId(String);

/// Who can act, and in whose log it stands.
pub trait Acting {
    /// Who it is.
    fn actor(&self) -> Actor;
    /// The account whose log tells of it; none for the instance's own.
    fn account(&self) -> Option<AccountId>;
}

/// One entry of a log.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Event {
    /// When.
    #[n(0)]
    pub time: Timestamp,
    /// What was done.
    #[n(1)]
    pub action: Action,
    /// Who did it.
    #[n(2)]
    pub actor: Actor,
    /// To what.
    #[n(3)]
    pub object: Object,
    /// From where.
    #[n(4)]
    pub peer: PeerAddress,
    /// By which request.
    #[n(5)]
    pub request: RequestId,
}

/// Who did something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum Actor {
    /// An account's API key.
    #[n(1)]
    Key(#[n(0)] KeyId),
    /// The owner, by the bearer key.
    #[n(2)]
    Owner(#[n(0)] KeyId),
    /// A function, invoked by an API key.
    #[n(3)]
    Function {
        /// Its id.
        #[n(0)]
        id: FunctionId,
        /// Of the code that runs.
        #[n(1)]
        code_sha256: ContentHash,
        /// The key that invoked it.
        #[n(2)]
        key: KeyId,
    },
    /// The owner, by the key pair that claimed the instance.
    #[n(4)]
    OwnerKeyPair,
}

/// What something was done to, as it was called then.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum Object {
    /// A secret; the version is the one that was made or taken out, where one was.
    #[n(1)]
    Secret {
        /// Its id.
        #[n(0)]
        id: SecretId,
        /// Its name.
        #[n(1)]
        name: SecretName,
        /// The version.
        #[n(2)]
        version: Option<Version>,
    },
    /// An API key, with what decides who may see it: it may be gone when the log is read.
    #[n(2)]
    Key {
        /// Its id.
        #[n(0)]
        id: KeyId,
        /// Its name.
        #[n(1)]
        name: Label,
        /// What it may do.
        #[n(2)]
        permissions: Permissions,
        /// The patterns that it is narrowed to.
        #[n(3)]
        globs: Option<Globs>,
    },
    /// An account.
    #[n(3)]
    Account {
        /// Its id.
        #[n(0)]
        id: AccountId,
        /// Its name.
        #[n(1)]
        name: Label,
    },
    /// A function, with the code that it then had.
    #[n(4)]
    Function {
        /// Its id.
        #[n(0)]
        id: FunctionId,
        /// Its name.
        #[n(1)]
        name: FunctionName,
        /// Of its code.
        #[n(2)]
        code_sha256: ContentHash,
    },
    /// A use-only secret whose value was sent somewhere.
    #[n(5)]
    Use {
        /// Its id.
        #[n(0)]
        id: SecretId,
        /// Its name.
        #[n(1)]
        name: SecretName,
        /// The version.
        #[n(2)]
        version: Version,
        /// To whom.
        #[n(3)]
        host: HostName,
    },
    /// The configuration.
    #[n(6)]
    Configuration {
        /// Which of the owner's acts it was.
        #[n(0)]
        number: u64,
        /// SHA-256 of its text.
        #[n(1)]
        text_sha256: ContentHash,
    },
    /// The clock.
    #[n(7)]
    Clock {
        /// Which of the owner's acts it was.
        #[n(0)]
        number: u64,
        /// What it was set to.
        #[n(1)]
        time: Timestamp,
    },
}

/// The owner, by a signature of the key pair.
pub struct OwnerKeyPair;

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $code:literal $text:literal),* $(,)?) => {
        /// What was done.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
        #[cbor(index_only)]
        pub enum Action {
            $($(#[$doc])* #[n($code)] $name,)*
        }

        impl Action {
            /// All.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

actions! {
    /// A secret was created.
    SecretCreate = 1 "secret.create",
    /// A secret was changed.
    SecretUpdate = 2 "secret.update",
    /// A secret's older value became its newest version.
    SecretRollback = 3 "secret.rollback",
    /// A secret was deleted.
    SecretDelete = 4 "secret.delete",
    /// A value was taken out.
    SecretReveal = 5 "secret.reveal",
    /// A key was issued.
    KeyCreate = 6 "key.create",
    /// A key was revoked.
    KeyRevoke = 7 "key.revoke",
    /// A key got a new token.
    KeyRotate = 8 "key.rotate",
    /// An account was made.
    AccountCreate = 9 "account.create",
    /// An account was renamed, or its quotas set.
    AccountUpdate = 10 "account.update",
    /// An account was deleted, with all that it had.
    AccountDelete = 11 "account.delete",
    /// A function was created.
    FunctionCreate = 12 "function.create",
    /// A function was changed.
    FunctionUpdate = 13 "function.update",
    /// A function was deleted.
    FunctionDelete = 14 "function.delete",
    /// A function's code was confirmed: it may read secrets.
    FunctionConfirm = 15 "function.confirm",
    /// A value was given to a function.
    SecretRead = 16 "secret.read",
    /// A use-only value was sent to a host.
    SecretUse = 17 "secret.use",
    /// The owner has accepted another configuration.
    ConfigurationAccept = 18 "configuration.accept",
    /// The owner has set the time.
    ClockSet = 19 "clock.set",
}

impl Action {
    /// Whether this ends something whose making was counted, so that a full log must not stop it:
    /// there are never more of these than of the others.
    #[must_use]
    pub const fn ends_something(self) -> bool {
        matches!(
            self,
            Self::SecretDelete | Self::KeyRevoke | Self::AccountDelete | Self::FunctionDelete
        )
    }
}

impl std::str::FromStr for Action {
    type Err = Issue;

    fn from_str(text: &str) -> Result<Self, Issue> {
        Self::ALL.iter().copied().find(|action| action.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|action| action.as_str()).collect();
            Issue(format!("must be one of {}", known.join(", ")))
        })
    }
}

impl<G: Acting> Act<G> {
    /// What the log is to say of it.
    pub(crate) fn event(&self, action: Action, object: Object) -> Event {
        let Origin { peer, request } = self.origin.clone();
        Event { time: self.now, action, actor: self.by.actor(), object, peer, request }
    }
}

impl<R: Right> Acting for Grant<R> {
    fn actor(&self) -> Actor {
        Actor::Key(self.key())
    }

    fn account(&self) -> Option<AccountId> {
        Some(Grant::account(self))
    }
}

impl Acting for FunctionRun {
    fn actor(&self) -> Actor {
        let (id, code_sha256, key) = (self.function(), self.code_sha256(), self.grant().key());
        Actor::Function { id, code_sha256, key }
    }

    fn account(&self) -> Option<AccountId> {
        Some(self.grant().account())
    }
}

impl Acting for OwnerKeyPair {
    fn actor(&self) -> Actor {
        Actor::OwnerKeyPair
    }

    fn account(&self) -> Option<AccountId> {
        None
    }
}

impl Acting for OwnerCaller {
    fn actor(&self) -> Actor {
        Actor::Owner(self.key)
    }

    fn account(&self) -> Option<AccountId> {
        None
    }
}

impl Object {
    pub(crate) fn key(key: &ApiKey) -> Self {
        let ApiKey { id, name, permissions, scope, .. } = key.clone();
        let globs = match scope {
            Scope::All => None,
            Scope::Names(globs) => Some(globs),
        };
        Self::Key { id, name, permissions, globs }
    }
}

impl PeerAddress {
    /// Of this address.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// The address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl RequestId {
    /// Parses an id.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse(text: String) -> Result<Self, Issue> {
        let fits = (1..=REQUEST_ID_BYTES).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text));
        }
        Err(Issue("must be 1 to 128 visible ASCII characters".to_owned()))
    }

    /// An id for a request that came without one.
    #[must_use]
    pub fn generated(random: [u8; 12]) -> Self {
        let mut text = String::with_capacity(4 + random.len() / 3 * 4);
        text.push_str("req_");
        BASE64URL_NOPAD.encode_append(&random, &mut text);
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// ---------------------------------------------------------------------------------------------
// Reading

/// Which entries of a log, and which part of them.
#[derive(Clone, Debug)]
pub struct EventQuery {
    /// At most so many.
    pub limit: usize,
    /// So many of the newest are left out.
    pub offset: u64,
    /// Which.
    pub filter: EventFilter,
}

/// What an entry has to be; what is absent is not asked.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct EventFilter {
    /// Of this time or later.
    pub from: Option<Timestamp>,
    /// Earlier than this.
    pub to: Option<Timestamp>,
    /// This was done.
    pub action: Option<Action>,
    /// To a secret of this name, or of the id that this text is.
    pub secret: Option<SecretName>,
}

/// One page of a log, newest first, from one snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventPage {
    /// The page's entries.
    pub items: Vec<Event>,
    /// How many match in all.
    pub total: u64,
}

impl EventFilter {
    /// Whether every entry matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { from, to, action, secret } = self;
        from.is_none() && to.is_none() && action.is_none() && secret.is_none()
    }

    /// Whether this one does.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        let Self { from, to, action, secret } = self;
        from.is_none_or(|from| from <= event.time)
            && to.is_none_or(|to| event.time < to)
            && action.is_none_or(|action| action == event.action)
            && secret.as_ref().is_none_or(|wanted| event.object.is_secret(wanted))
    }
}

impl Object {
    /// Every id is a name that a secret may have, too: either will do.
    fn is_secret(&self, wanted: &SecretName) -> bool {
        match self {
            Self::Secret { id, name, version: _ } | Self::Use { id, name, version: _, host: _ } => {
                name == wanted || wanted.as_str().parse() == Ok(*id)
            }
            Self::Key { .. }
            | Self::Account { .. }
            | Self::Function { .. }
            | Self::Configuration { .. }
            | Self::Clock { .. } => false,
        }
    }

    /// Whether a key that reaches `scope` may see what was done to it: what it reaches or could
    /// list itself.
    pub(crate) fn is_within(&self, permissions: Permissions, scope: &Scope) -> bool {
        match (scope, self) {
            (Scope::All, _) => true,
            (
                Scope::Names(_),
                Self::Secret { id: _, name, version: _ }
                | Self::Use { id: _, name, version: _, host: _ },
            ) => scope.reaches(name),
            (Scope::Names(_), Self::Key { id: _, name: _, permissions: own, globs }) => {
                let own_scope = globs.clone().map_or(Scope::All, Scope::Names);
                own.lie_within(permissions) && own_scope.lies_within(scope)
            }
            (
                Scope::Names(_),
                Self::Account { .. } | Self::Configuration { .. } | Self::Clock { .. },
            ) => false,
            // Every key of the account may list its functions.
            (Scope::Names(_), Self::Function { .. }) => true,
        }
    }
}

//! API keys: what each may do, and for how long.

use super::{Issue, KeyId, Label, Timestamp};
use crate::access::{Permissions, Scope};

/// An API key without its token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKey {
    /// The id.
    pub id: KeyId,
    /// The name.
    pub name: Label,
    /// What it may do.
    pub permissions: Permissions,
    /// The secrets it may do it to.
    pub scope: Scope,
    /// From when on it opens nothing.
    pub expires_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Until when the text that it had before its last rotation works as well.
    pub old_key_until: Option<Timestamp>,
}

/// An API key to create.
pub struct NewKey {
    /// The name.
    pub name: Label,
    /// What it may do.
    pub permissions: Permissions,
    /// The secrets it may do it to.
    pub scope: Scope,
    /// The expiry.
    pub expires_at: Option<Timestamp>,
}

/// How long a key's old token still works after a rotation: 0 s to 7 days.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Overlap(u64);

impl Overlap {
    /// Seconds, at most: long enough to roll out over a weekend and a holiday.
    pub const SECONDS_MAX: u64 = 7 * 86_400;
    /// Of the rotation of an account's last admin key, at least: long enough to find that the answer
    /// is lost, and to rotate once more by the old token.
    pub const LAST_ADMIN: Self = Self(300);

    /// Parses seconds.
    ///
    /// # Errors
    /// The rule they break.
    pub fn from_seconds(seconds: u64) -> Result<Self, Issue> {
        if seconds <= Self::SECONDS_MAX {
            return Ok(Self(seconds));
        }
        Issue::err("must be 0 to 604800 seconds")
    }

    /// The seconds.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0
    }
}

//! What the server should hold, and what it should answer: written from API.md alone, with lists
//! that are gone through from end to end.

use std::collections::VecDeque;

use serde_json::{Value, json};

/// Status and code of a refusal.
pub type Refusal = (u16, &'static str);

pub const UNAUTHORIZED: Refusal = (401, "UNAUTHORIZED");
pub const FORBIDDEN: Refusal = (403, "FORBIDDEN");
pub const NOT_FOUND: Refusal = (404, "NOT_FOUND");
pub const CONFLICT: Refusal = (409, "CONFLICT");
pub const STALE: Refusal = (412, "PRECONDITION_FAILED");
pub const INVALID: Refusal = (400, "INVALID_REQUEST");
pub const FULL: Refusal = (507, "QUOTA_EXCEEDED");

pub const VERSIONS_KEPT: usize = 3;
/// What an account may have unless the owner says otherwise; in the order of [`QUOTAS`].
pub const DEFAULTS: [u64; 5] = [4, 65_536, 7, 40, 3];
pub const QUOTAS: [&str; 5] = ["secrets", "valueBytes", "apiKeys", "auditEvents", "functions"];
/// Events of issued and rotated keys that a full log still takes.
const KEY_EVENTS_BEYOND: u64 = 1_000;
pub const NAMES: [&str; 5] = ["db-1", "db-2", "web-1", "web-2", "db"];
/// Sets of permissions, in the order in which they are shown.
pub const PERMISSIONS: [&[&str]; 6] =
    [&["admin", "reveal"], &["admin"], &["read"], &["write"], &["reveal"], &["read", "write"]];
/// Sets of patterns; the first is none, which reaches all.
pub const PATTERNS: [&[&str]; 6] =
    [&[], &["db-*"], &["web-*", "db"], &["*"], &["db-1"], &["*-1", "d*"]];

pub struct Version {
    pub number: u64,
    pub value: String,
    pub at: String,
    pub by: String,
}

pub struct Secret {
    pub id: String,
    pub name: &'static str,
    pub description: Option<String>,
    pub expires_at: Option<&'static str>,
    pub versions: VecDeque<Version>,
    pub revision: u64,
    pub created_at: String,
    pub updated_at: String,
    pub deleted: bool,
}

impl Secret {
    pub fn newest(&self) -> &Version {
        self.versions.back().unwrap()
    }

    pub fn is_expired(&self) -> bool {
        self.expires_at.is_some_and(|at| at < "2020")
    }

    pub fn shown(&self) -> Value {
        let Secret { id, name, description, expires_at, created_at, updated_at, .. } = self;
        json!({"id": id, "name": name, "description": description, "createdAt": created_at,
            "updatedAt": updated_at, "version": self.newest().number, "tags": {},
            "expiresAt": expires_at, "expired": self.is_expired(),
            "useOnly": false, "allowedHosts": null, "allowedHeader": null})
    }

    pub fn item(&self) -> Value {
        let Secret { id, name, created_at, updated_at, .. } = self;
        json!({"id": id, "name": name, "createdAt": created_at, "updatedAt": updated_at})
    }

    pub fn bytes(&self) -> u64 {
        self.versions.iter().map(|version| version.value.len() as u64).sum()
    }

    /// The bytes that this value would add, once what is kept no longer is gone.
    pub fn growth(&self, value: &str) -> i64 {
        let dropped = match self.versions.len() {
            VERSIONS_KEPT => self.versions[0].value.len(),
            _ => 0,
        };
        value.len() as i64 - dropped as i64
    }
}

#[derive(Clone)]
pub struct Key {
    pub id: String,
    pub name: String,
    pub permissions: &'static [&'static str],
    pub patterns: &'static [&'static str],
    pub created_at: String,
    pub token: String,
    /// The token before the last rotation, while it works.
    pub previous: Option<String>,
    pub revoked: bool,
}

impl Key {
    pub fn may(&self, permission: &str) -> bool {
        self.permissions.contains(&permission)
            || permission != "reveal" && self.permissions.contains(&"admin")
    }

    pub fn reaches(&self, name: &str) -> bool {
        self.patterns.is_empty() || self.patterns.iter().any(|p| covers(p, name))
    }

    /// Whether this key can do no more than `other`.
    pub fn is_within(&self, other: &Key) -> bool {
        let within = |own: &str| other.patterns.iter().any(|p| covers(p, own));
        ["read", "write", "execute", "admin", "reveal"].iter().all(|p| !self.may(p) || other.may(p))
            && (other.patterns.is_empty()
                || !self.patterns.is_empty() && self.patterns.iter().all(|own| within(own)))
    }

    pub fn is_lasting_admin(&self) -> bool {
        self.may("admin") && self.patterns.is_empty()
    }

    pub fn shown(&self) -> Value {
        let Key { id, name, permissions, created_at, .. } = self;
        let patterns = (!self.patterns.is_empty()).then_some(self.patterns);
        json!({"id": id, "name": name, "permissions": permissions, "secrets": patterns,
            "expiresAt": null, "createdAt": created_at, "oldKeyUntil": self.previous.is_some()})
    }
}

/// Whether a pattern covers the whole text, in which only `*` covers a `*`.
fn covers(pattern: &str, text: &str) -> bool {
    match pattern.split_at_checked(1) {
        None => text.is_empty(),
        Some(("*", rest)) => (0..=text.len()).any(|taken| covers(rest, &text[taken..])),
        Some((first, rest)) => text.strip_prefix(first).is_some_and(|text| covers(rest, text)),
    }
}

/// An event, and the secret's name or the key that decides who sees it.
pub struct Event {
    pub shown: Value,
    pub about: About,
}

pub enum About {
    Secret { id: String, name: &'static str },
    Key(Key),
}

pub struct Account {
    pub id: String,
    pub name: String,
    pub created_at: String,
    pub quotas: [Option<u64>; 5],
    pub secrets: Vec<Secret>,
    pub keys: Vec<Key>,
    /// All tokens there have ever been, and whose.
    pub tokens: Vec<(String, usize)>,
    pub log: Vec<Event>,
    pub deleted: bool,
}

impl Account {
    /// Whose a token is, while it works.
    pub fn holder(&self, token: &str) -> Option<usize> {
        let (_, key) = self.tokens.iter().find(|(known, _)| known == token)?;
        let holder = &self.keys[*key];
        let works = holder.token == token || holder.previous.as_deref() == Some(token);
        (works && !holder.revoked && !self.deleted).then_some(*key)
    }

    pub fn live(&self) -> impl DoubleEndedIterator<Item = &Secret> {
        self.secrets.iter().filter(|secret| !secret.deleted)
    }

    pub fn live_keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(|key| !key.revoked)
    }

    pub fn used(&self) -> [u64; 5] {
        let bytes = self.live().map(Secret::bytes).sum();
        let (secrets, keys) = (self.live().count() as u64, self.live_keys().count() as u64);
        [secrets, bytes, keys, self.log.len() as u64, 0]
    }

    fn quota(&self, which: usize) -> u64 {
        self.quotas[which].unwrap_or(DEFAULTS[which])
    }

    /// Whether there is no room for so much more.
    pub fn is_full(&self, which: usize, more: i64) -> bool {
        more > 0 && self.used()[which] as i64 + more > self.quota(which) as i64
    }

    /// Whether no act can be told of that does not end something.
    pub fn log_is_full(&self) -> bool {
        self.is_full(3, 1)
    }

    /// Whether not even the issuing or rotation of a key can be told of.
    pub fn log_is_full_for_keys(&self) -> bool {
        self.used()[3] >= self.quota(3).saturating_add(KEY_EVENTS_BEYOND)
    }

    pub fn has_one_lasting_admin(&self) -> bool {
        self.live_keys().filter(|key| key.is_lasting_admin()).count() == 1
    }

    pub fn shown(&self) -> Value {
        let by_name = |values: [u64; 5]| -> Value {
            QUOTAS
                .into_iter()
                .zip(values)
                .map(|(name, value)| (name.to_owned(), json!(value)))
                .collect()
        };
        let quotas = by_name([0, 1, 2, 3, 4].map(|which| self.quota(which)));
        let Account { id, name, created_at, .. } = self;
        json!({"id": id, "name": name, "createdAt": created_at, "quotas": quotas,
            "usage": by_name(self.used())})
    }

    /// A secret that this key reaches.
    pub fn find(&self, key: usize, secret: &str) -> Result<usize, Refusal> {
        let reached = |s: &Secret| s.id == secret && !s.deleted && self.keys[key].reaches(s.name);
        self.secrets.iter().position(reached).ok_or(NOT_FOUND)
    }

    /// A key that this one may manage.
    pub fn find_key(&self, key: usize, other: &str) -> Result<usize, Refusal> {
        let managed = |k: &Key| k.id == other && !k.revoked && k.is_within(&self.keys[key]);
        self.keys.iter().position(managed).ok_or(NOT_FOUND)
    }

    /// The events that this key sees, newest first.
    pub fn seen(&self, key: usize) -> impl Iterator<Item = &Event> {
        let reader = self.keys[key].clone();
        self.log.iter().rev().filter(move |event| {
            reader.patterns.is_empty()
                || match &event.about {
                    About::Secret { name, .. } => reader.reaches(name),
                    About::Key(key) => key.is_within(&reader),
                }
        })
    }
}

//! Batches of random writes of several accounts, with the owner's between them, on a disk with room
//! and on a full one. After each batch, which is one commit:
//!
//! - a count of everything finds what the counters say;
//! - each new id of an account is greater than those before it, so that none comes twice;
//! - a key that was revoked or rotated before its write, or whose account was deleted, has not
//!   written, and is told why; a key that stands is never told so;
//! - a new token works, unless the same batch took it away again;
//! - what else was refused lacked something that can be lacking, room on the disk only where it is
//!   full; the owner's writes, which need none, were refused only where there is no such account, or
//!   no place for one more.
//!
//! The writes take their places one by one, so that a seed's failure comes again.

use super::accounts::{await_waiting, hold_writer};
use super::audit::audit_all;
use super::crash::Dice;
use super::functions::new_function;
use super::quotas::keep_all;
use super::room::{MIB, RESERVE};
use super::*;
use crate::model::{AccountChange, AccountId, FunctionId, KeyId, Quotas};
use std::error::Error;
use std::sync::Arc;
use tokio::task::JoinHandle;

const ROUNDS: u32 = 40;
/// With the first one, which has no part in this but to fill the disk.
const ACCOUNTS: usize = 4;
/// Small enough that all but the log's are reached.
const QUOTAS: PerResource<u64> =
    PerResource { secrets: 12, value_bytes: 120, api_keys: 6, audit_events: 400, functions: 3 };
const EVERY_RIGHT: &[Permission] =
    &[Permission::Read, Permission::Write, Permission::Admin, Permission::Reveal];

/// What a key asks for.
enum Write {
    CreateSecret { name: String, text: String },
    UpdateSecret { id: SecretId, text: String },
    DeleteSecret { id: SecretId },
    CreateFunction { name: String },
    CreateKey,
    RevokeKey { id: KeyId },
    RotateKey { id: KeyId },
}

/// What it got.
enum Done {
    SecretCreated(SecretId),
    SecretUpdated,
    SecretDeleted(SecretId),
    FunctionCreated(FunctionId),
    KeyCreated(KeyId, Token),
    KeyRevoked(KeyId),
    KeyRotated(KeyId, Token),
}

/// Why a write was refused, whichever verb it was of.
type Refusal = Box<dyn Error + Send + Sync>;

impl Write {
    async fn make(self, store: &Store, by: &Caller) -> Result<Done, Refusal> {
        Ok(match self {
            Self::CreateSecret { name, text } => {
                let new = new_secret(&name, &text);
                Done::SecretCreated(store.create_secret(act(by, 1), new).await?.id)
            }
            Self::UpdateSecret { id, text } => {
                store.update_secret(act(by, 1), id, new_value(&text), None).await?;
                Done::SecretUpdated
            }
            Self::DeleteSecret { id } => {
                store.delete_secret(act(by, 1), id).await?;
                Done::SecretDeleted(id)
            }
            Self::CreateFunction { name } => {
                let new = new_function(&name, &[]);
                Done::FunctionCreated(store.create_function(act(by, 1), new).await?.id)
            }
            Self::CreateKey => {
                let new = new_key(EVERY_RIGHT, Scope::All);
                let (key, token) = store.create_key(act(by, 1), new).await?;
                Done::KeyCreated(key.id, token)
            }
            Self::RevokeKey { id } => {
                store.revoke_key(act(by, 1), id).await?;
                Done::KeyRevoked(id)
            }
            Self::RotateKey { id } => {
                let overlap = Overlap::from_seconds(0).unwrap();
                Done::KeyRotated(id, store.rotate_key(act(by, 1), id, overlap).await?.1)
            }
        })
    }
}

/// Whether a key that stands may be refused a write for this, wherever it is.
fn is_usual(reason: &str) -> bool {
    let facts = [
        CreateSecretError::NameTaken.to_string(),
        CreateFunctionError::NameTaken.to_string(),
        DeleteSecretError::NotFound.to_string(),
        RevokeKeyError::NotFound.to_string(),
    ];
    facts.iter().any(|fact| fact == reason) || reason.starts_with("the account is at its quota")
}

/// What the owner asks for.
#[derive(Clone, Copy, Debug)]
enum OwnerWrite {
    CreateAccount,
    DeleteAccount(AccountId),
    SetQuotas(AccountId, Option<u64>),
}

/// An account that the owner made, and its first key's token.
type Born = Option<(AccountId, Token)>;

impl OwnerWrite {
    async fn make(self, store: &Store, act: Act<OwnerCaller>) -> Result<Born, Refusal> {
        match self {
            Self::CreateAccount => {
                let new = NewAccount { name: label("another"), quotas: Quotas::default() };
                let (account, token) = store.create_account(act, new).await?;
                return Ok(Some((account.id, token)));
            }
            Self::DeleteAccount(id) => store.delete_account(act, id).await?,
            Self::SetQuotas(id, quota) => {
                let quota = || quota.map_or(Field::Clear, Field::Set);
                let quotas = PerResource { secrets: quota(), api_keys: quota(), ..keep_all() };
                let change = AccountChange { name: None, quotas };
                store.update_account(act, id, change).await?;
            }
        }
        Ok(None)
    }
}

/// A key with every right, and whether it still writes.
struct KnownKey {
    caller: Caller,
    stands: bool,
}

/// An account of the owner's making.
struct KnownAccount {
    id: AccountId,
    /// The first one stands as long as the account.
    keys: Vec<KnownKey>,
    /// Tokens that the batch gave, each with its key.
    fresh: Vec<(KeyId, Token)>,
    secrets: Vec<SecretId>,
    newest_id: [u8; 18],
    is_deleted: bool,
}

impl KnownAccount {
    fn new(id: AccountId, admin: Caller) -> Self {
        let newest_id = *admin.key_id().as_bytes();
        let keys = vec![KnownKey { caller: admin, stands: true }];
        let (fresh, secrets) = (Vec::new(), Vec::new());
        Self { id, keys, fresh, secrets, newest_id, is_deleted: false }
    }

    fn note(&mut self, done: Done, when: &str) {
        match done {
            Done::SecretCreated(id) => {
                self.note_id(*id.as_bytes(), when);
                self.secrets.push(id);
            }
            Done::SecretUpdated => {}
            Done::SecretDeleted(id) => self.secrets.retain(|secret| *secret != id),
            Done::FunctionCreated(id) => self.note_id(*id.as_bytes(), when),
            Done::KeyCreated(id, token) => {
                self.note_id(*id.as_bytes(), when);
                self.fresh.push((id, token));
            }
            Done::KeyRevoked(id) => self.end_tokens(id),
            Done::KeyRotated(id, token) => {
                self.end_tokens(id);
                self.fresh.push((id, token));
            }
        }
    }

    fn note_id(&mut self, id: [u8; 18], when: &str) {
        assert!(id > self.newest_id, "{when}: {id:?} came after {:?}", self.newest_id);
        self.newest_id = id;
    }

    /// Those that a key has had so far.
    fn end_tokens(&mut self, id: KeyId) {
        self.keys.iter_mut().filter(|key| key.caller.key_id() == id).for_each(KnownKey::end);
        self.fresh.retain(|(key, _)| *key != id);
    }

    fn delete(&mut self) {
        self.is_deleted = true;
        self.keys.iter_mut().for_each(KnownKey::end);
    }
}

impl KnownKey {
    fn end(&mut self) {
        self.stands = false;
    }
}

/// A writer that is held, and how many writes wait for it.
struct Held<'a> {
    store: &'a Arc<Store>,
    runtime: &'a Runtime,
    waiting: usize,
}

impl Held<'_> {
    /// Has a write take its place behind those before it.
    fn ask<T: Send + 'static>(
        &mut self,
        write: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let task = self.runtime.spawn(write);
        self.waiting += 1;
        await_waiting(self.store, self.waiting);
        task
    }
}

/// A write, and who asks for it: places among the known accounts and their keys.
struct Planned {
    account: usize,
    key: usize,
    write: Write,
}

/// A store in which batch follows batch, and what is known of it.
struct Batches {
    instance: Instance,
    dice: Dice,
    accounts: Vec<KnownAccount>,
    /// Writes for which the disk had no room.
    without_room: usize,
    seed: u64,
    is_full: bool,
    round: u32,
}

impl Batches {
    fn new(seed: u64, is_full: bool) -> Self {
        let limits =
            StoreLimits { per_account: QUOTAS, accounts: ACCOUNTS.try_into().unwrap(), ..LIMITS };
        let (instance, mut dice) = (Instance::with(limits), Dice::new(seed * 0x9E37_79B9));
        let accounts = (1..ACCOUNTS).map(|index| {
            let made = instance.tenant(&format!("tenant-{index}"));
            KnownAccount::new(made.id, made.caller)
        });
        let accounts = accounts.collect();
        if is_full {
            fill(&instance, RESERVE + MIB + dice.below(MIB), seed);
        }
        Self { instance, dice, accounts, without_room: 0, seed, is_full, round: 0 }
    }

    /// Where a failure can be found again.
    fn when(&self) -> String {
        let disk = if self.is_full { "a full disk" } else { "a disk with room" };
        format!("seed {} on {disk}, round {}", self.seed, self.round)
    }

    fn plan_by_owner(&mut self) -> Vec<OwnerWrite> {
        let (dice, accounts) = (&mut self.dice, &self.accounts);
        let count = dice.below(4);
        let write = |_| {
            let id = accounts[dice.below(accounts.len())].id;
            match dice.below(8) {
                0 => OwnerWrite::DeleteAccount(id),
                1 | 2 => OwnerWrite::CreateAccount,
                3..=5 => OwnerWrite::SetQuotas(id, [Some(3), Some(4), Some(5)][dice.below(3)]),
                _ => OwnerWrite::SetQuotas(id, None),
            }
        };
        (0..count).map(write).collect()
    }

    fn plan(&mut self) -> Planned {
        let account = self.dice.below(self.accounts.len());
        let turn = self.dice.below(12);
        // By the admin, and never its own.
        if let (10 | 11, Some(key)) = (turn, self.other_key(account, true)) {
            let id = self.accounts[account].keys[key].caller.key_id();
            let write = if turn == 10 { Write::RevokeKey { id } } else { Write::RotateKey { id } };
            return Planned { account, key: 0, write };
        }
        let key = match self.dice.below(4) {
            0 => self.other_key(account, true),
            1 => self.other_key(account, false),
            _ => None,
        };
        let name = format!("name-{}", self.dice.below(30));
        let text = "v".repeat(1 + self.dice.below(15));
        let write = match turn {
            0..=2 => Write::CreateSecret { name, text },
            3 | 4 => Write::UpdateSecret { id: self.secret(account), text },
            5 | 6 => Write::DeleteSecret { id: self.secret(account) },
            7 => Write::CreateFunction { name },
            _ => Write::CreateKey,
        };
        Planned { account, key: key.unwrap_or(0), write }
    }

    /// A key beside the first one: one that stands, or one that does not.
    fn other_key(&mut self, account: usize, stands: bool) -> Option<usize> {
        let keys = &self.accounts[account].keys;
        let such: Vec<_> = (1..keys.len()).filter(|key| keys[*key].stands == stands).collect();
        (!such.is_empty()).then(|| such[self.dice.below(such.len())])
    }

    fn secret(&mut self, account: usize) -> SecretId {
        let secrets = &self.accounts[account].secrets;
        match secrets.len() {
            0 => SecretId::from_bytes([1; 18]),
            many => secrets[self.dice.below(many)],
        }
    }

    /// Asks for a batch's writes while the writer is held, lets it make them, and judges what it did.
    fn round(&mut self) {
        let by_owner = self.plan_by_owner();
        let acts: Vec<_> = by_owner.iter().map(|_| self.instance.owner_act()).collect();
        let count = 10 + self.dice.below(40);
        let planned: Vec<_> = (0..count).map(|_| self.plan()).collect();

        let store = self.instance.share();
        let runtime = &self.instance.runtime;
        let release = hold_writer(&store, runtime);
        let mut held = Held { store: &store, runtime, waiting: 0 };
        let by_owner: Vec<_> = std::iter::zip(by_owner, acts)
            .map(|(write, act)| {
                let store = Arc::clone(&store);
                (write, held.ask(async move { write.make(&store, act).await }))
            })
            .collect();
        let asked: Vec<_> = planned
            .into_iter()
            .map(|Planned { account, key, write }| {
                let by = self.accounts[account].keys[key].caller.clone();
                let store = Arc::clone(&store);
                (account, key, held.ask(async move { write.make(&store, &by).await }))
            })
            .collect();
        drop(release);
        self.instance.take_back(store);
        // In the order in which they were made: the owner's first, those of an account as they came.
        for (write, task) in by_owner {
            let outcome = self.instance.wait(task).unwrap();
            self.judge_owner(write, outcome);
        }
        for (account, key, task) in asked {
            let outcome = self.instance.wait(task).unwrap();
            self.judge(account, key, outcome);
        }
    }

    fn judge_owner(&mut self, write: OwnerWrite, outcome: Result<Born, Refusal>) {
        let when = self.when();
        let mut there = self.accounts.iter_mut().filter(|account| !account.is_deleted);
        let is_refused = match write {
            OwnerWrite::CreateAccount => 1 + there.count() == ACCOUNTS,
            OwnerWrite::DeleteAccount(id) => {
                there.find(|account| account.id == id).map(KnownAccount::delete).is_none()
            }
            OwnerWrite::SetQuotas(id, _) => !there.any(|account| account.id == id),
        };
        let error = outcome.as_ref().err();
        assert_eq!(error.is_some(), is_refused, "{when}: the owner's {write:?}: {error:?}");
        if let Ok(Some((id, token))) = outcome {
            let admin = self.authenticate(&token);
            self.accounts.push(KnownAccount::new(id, admin));
        }
    }

    fn judge(&mut self, account: usize, key: usize, outcome: Result<Done, Refusal>) {
        let (when, account) = (self.when(), &mut self.accounts[account]);
        let stands = account.keys[key].stands;
        match outcome.map_err(|refusal| refusal.to_string()) {
            Ok(done) => {
                assert!(stands, "{when}: a key that had ended has written");
                account.note(done, &when);
            }
            Err(reason) if reason == StoreFailure::KeyRevoked.to_string() => {
                assert!(!stands, "{when}: a key that stands was told that it was revoked");
            }
            Err(reason) => {
                assert!(stands, "{when}: a key that had ended was told: {reason}");
                let lacks_room = reason == StoreFailure::DiskFull.to_string();
                self.without_room += usize::from(lacks_room);
                let is_expected = is_usual(&reason) || (lacks_room && self.is_full);
                assert!(is_expected, "{when}: a write was refused: {reason}");
            }
        }
    }

    fn authenticate(&self, token: &Token) -> Caller {
        let caller = self.instance.authenticate(token, at(2));
        caller.unwrap_or_else(|error| panic!("{}: a new token: {error}", self.when()))
    }

    /// Counts everything, and makes ready for the next round.
    fn end_round(&mut self) {
        let when = self.when();
        audit_all(self.instance.store()).unwrap_or_else(|error| panic!("{when}: {error}"));
        self.accounts.retain(|account| !account.is_deleted);
        if self.accounts.is_empty() {
            let made = self.instance.tenant("the only one");
            self.accounts.push(KnownAccount::new(made.id, made.caller));
        }
        for at in 0..self.accounts.len() {
            for (_, token) in std::mem::take(&mut self.accounts[at].fresh) {
                let caller = self.authenticate(&token);
                self.accounts[at].keys.push(KnownKey { caller, stands: true });
            }
        }
        if self.round.is_multiple_of(10) {
            self.instance.reopen();
        }
    }
}

/// Leaves the disk so many bytes, and has the first account take those above the reserve.
fn fill(instance: &Instance, bytes: usize, seed: u64) {
    instance.set_quota(Resource::ValueBytes, Field::Set(1 << 40));
    instance.set_quota(Resource::Secrets, Field::Set(10_000));
    instance.set_quota(Resource::AuditEvents, Field::Set(10_000));
    instance.disk.leave(bytes);
    for size in [65_536, 4_096] {
        let text = "x".repeat(size);
        let refused =
            (0..).find_map(|index| instance.create(&format!("{size}-{index}"), &text).err());
        let full = CreateSecretError::Store(StoreFailure::DiskFull);
        assert_eq!(refused, Some(full), "seed {seed}, before the first round");
    }
}

fn run(seed: u64, is_full: bool) {
    let mut batches = Batches::new(seed, is_full);
    for round in 1..=ROUNDS {
        batches.round = round;
        batches.round();
        batches.end_round();
    }
    assert_eq!(batches.without_room > 0, is_full, "{}", batches.when());
}

#[test]
fn random_batches_leave_every_counter_right() {
    (1..=6).for_each(|seed| run(seed, false));
}

#[test]
fn random_batches_on_a_full_disk_leave_every_counter_right() {
    (101..=103).for_each(|seed| run(seed, true));
}

//! Tests of the store as a whole: on files, on a disk of their own that fails, against a model.

mod access;
mod accounts;
mod audit;
mod batches;
mod clock;
pub(super) mod crash;
mod damage;
pub(crate) mod disk;
mod execution_room;
mod executions;
mod files;
mod function_damage;
mod functions;
mod held;
mod log;
mod log_damage;
mod model;
mod names;
mod names_damage;
mod pages;
mod quotas;
mod race;
mod raw;
mod room;
mod states;
mod upgrade;
mod use_only;
mod work;

use super::*;
use crate::access::{
    Admin, Caller, FunctionRun, Globs, OwnerCaller, Permission, Permissions, Read, Reveal, Scope,
    Token, Write,
};
use crate::audit::{EventQuery, Origin, PeerAddress, RequestId};
use crate::model::{
    Account, ApiKey, Change, ContentHash, Description, Execution, ExecutionEnd, Field, Function,
    FunctionChange, FunctionCode, FunctionId, KeyId, Label, NewAccount, NewFunction, NewKey,
    NewSecret, Overlap, Page, Resource, Revision, Secret, SecretId, SecretName, SecretNames,
    SecretPage, SecretValue, Tags, Timestamp, Version,
};
use crate::seal::tests::Chip;
use disk::Disk;
use neo_secrets_attestation::config::AttestedConfig;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;

pub(crate) const LIMITS: StoreLimits = StoreLimits {
    versions_kept: 3,
    per_account: PER_ACCOUNT,
    accounts: 5,
    execution_bytes: 4 << 20,
};
const PER_ACCOUNT: PerResource<u64> = PerResource {
    secrets: 1_000,
    value_bytes: 10_000_000,
    api_keys: 20,
    audit_events: 100_000,
    functions: 50,
};
const OWNER: PublicKey = PublicKey([0x0E; 32]);

/// What stores are claimed with.
pub(crate) fn config() -> AttestedConfig {
    let text = "seal = \"firmware\"\nreveal = \"off\"\nwitnesses = []\nquorum = 0\n\
                owner_key = \"any\"\n";
    AttestedConfig::parse(text.as_bytes()).unwrap()
}

/// One that starts at [`at`] 0.
pub(crate) fn clock() -> Arc<Clock> {
    Arc::new(Clock::start(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)))
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000)
}

/// What a write at a quota answers.
fn full(resource: Resource, limit: u64) -> StoreFailure {
    StoreFailure::QuotaExceeded { resource, limit }
}

/// What a caller does, so many seconds after the beginning.
fn act<R: Right>(caller: &Caller, seconds: u64) -> Act<Grant<R>> {
    Act { by: caller.grant().unwrap(), origin: origin("a-request"), now: at(seconds) }
}

fn origin(request: &str) -> Origin {
    let request = RequestId::parse(request.to_owned()).unwrap();
    Origin { peer: PeerAddress::new([192, 0, 2, 1].into()), request }
}

/// A value, without a word of it in the log.
fn value_of(
    store: &Store,
    caller: &Caller,
    id: SecretId,
    version: Option<Version>,
    seconds: u64,
) -> Result<SecretValue, ReadError> {
    let act = act::<Reveal>(caller, seconds);
    store.read(|access, _| secrets::value(access, &act, id, version)).map(|found| found.value)
}

fn label(text: &str) -> Label {
    Label::parse(text.to_owned()).unwrap()
}

fn name(text: &str) -> SecretName {
    SecretName::parse(text.to_owned()).unwrap()
}

fn value(text: &str) -> SecretValue {
    SecretValue::parse(text.to_owned()).unwrap()
}

fn new_secret(secret: &str, text: &str) -> NewSecret {
    let (description, tags) = (None, Tags::default());
    let (name, value) = (name(secret), value(text));
    NewSecret { name, value, description, tags, expires_at: None, use_only: None }
}

fn new_value(text: &str) -> Change {
    Change { value: Some(value(text)), ..no_change() }
}

fn no_change() -> Change {
    let (description, tags, expires_at) = (Field::Keep, Field::Keep, Field::Keep);
    Change { value: None, description, tags, expires_at }
}

fn globs(patterns: &[&str]) -> Scope {
    let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    Scope::Names(Globs::parse(patterns).unwrap())
}

fn new_key(permissions: &[Permission], scope: Scope) -> NewKey {
    let permissions = Permissions::new(permissions).unwrap();
    NewKey { name: label("a key"), permissions, scope, expires_at: None }
}

/// A store on a disk of its own, opened by its first admin key.
struct Instance {
    disk: Disk,
    chip: Chip,
    store: Option<Store>,
    claim: ClaimAnswer,
    admin: Caller,
    limits: StoreLimits,
    runtime: Runtime,
}

impl Instance {
    fn new() -> Self {
        Self::with(LIMITS)
    }

    /// Whose accounts have these quotas, by the configuration.
    fn with_quotas(per_account: PerResource<u64>) -> Self {
        Self::with(StoreLimits { per_account, ..LIMITS })
    }

    fn with(limits: StoreLimits) -> Self {
        Self::on(Disk::default(), limits)
    }

    fn on(disk: Disk, limits: StoreLimits) -> Self {
        let chip = Chip::new(1);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (store, claim) = found(&disk, &chip, limits);
        let admin = runtime.block_on(store.authenticate(&claim.admin_token, at(0))).unwrap();
        Self { disk, chip, store: Some(store), claim, admin, limits, runtime }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        drop(self.store.take());
        self.store = Some(open(&self.disk, &self.chip, self.limits).ok().unwrap());
    }

    fn grant<R: Right>(&self) -> Grant<R> {
        self.admin.grant().unwrap()
    }

    fn act<R: Right>(&self, seconds: u64) -> Act<Grant<R>> {
        act(&self.admin, seconds)
    }

    fn create(&self, secret: &str, text: &str) -> Result<Secret, CreateSecretError> {
        self.create_at(secret, text, at(1))
    }

    fn create_at(
        &self,
        name: &str,
        text: &str,
        now: Timestamp,
    ) -> Result<Secret, CreateSecretError> {
        self.wait(self.store().create_secret(Act { now, ..self.act(0) }, new_secret(name, text)))
    }

    fn update(&self, id: SecretId, change: Change) -> Result<Secret, UpdateSecretError> {
        self.wait(self.store().update_secret(self.act(2), id, change, None))
    }

    fn rollback(&self, id: SecretId, version: u64) -> Result<Secret, RollbackSecretError> {
        let version = Version(version);
        self.wait(self.store().rollback_secret(self.act(4), id, version, None))
    }

    fn delete(&self, id: SecretId) -> Result<(), DeleteSecretError> {
        self.wait(self.store().delete_secret(self.act(5), id))
    }

    fn create_key(&self, by: &Caller, new: NewKey) -> Result<(ApiKey, Token), CreateKeyError> {
        self.wait(self.store().create_key(act(by, 1), new))
    }

    /// A key, and who holds its token.
    fn key(&self, permissions: &[Permission], scope: Scope) -> (ApiKey, Caller) {
        let (key, token) = self.create_key(&self.admin, new_key(permissions, scope)).unwrap();
        (key, self.authenticate(&token, at(1)).unwrap())
    }

    fn authenticate(&self, token: &Token, now: Timestamp) -> Result<Caller, AuthError> {
        self.wait(self.store().authenticate(token, now))
    }

    fn value(&self, id: SecretId, version: Option<u64>) -> Result<String, ReadError> {
        let version = version.map(Version);
        let value = value_of(self.store(), &self.admin, id, version, 3)?;
        Ok(String::from_utf8(value.expose().to_vec()).unwrap())
    }

    fn page(&self, limit: usize, offset: u64) -> SecretPage {
        self.store().list_secrets(&self.grant(), &Page { limit, offset, prefix: None }).unwrap()
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

pub(crate) fn found(disk: &Disk, chip: &Chip, limits: StoreLimits) -> (Store, ClaimAnswer) {
    let founding = Founding {
        owner: OWNER,
        config: config(),
        account_name: label("first account"),
        sealer: &chip.sealer(),
        clock: clock(),
    };
    if disk.is_raw() {
        return founding::create_on(&disk.opened(), founding, limits).unwrap();
    }
    let (engine, core, answer) =
        founding::found((disk.backend(), disk.space()), founding, limits).unwrap();
    let writer = writer::Writer::start(engine, core).map_err(|failed| failed.1).unwrap();
    (Store { writer }, answer)
}

impl Opening {
    fn opened(self) -> Store {
        match self {
            Opening::Open(store) => store,
            Opening::Held(_) => panic!("the store is held"),
        }
    }

    fn held(self) -> HeldStore {
        match self {
            Opening::Open(_) => panic!("the store is open"),
            Opening::Held(store) => *store,
        }
    }
}

/// Why a disk's store did not open.
#[derive(Debug)]
enum NotOpened {
    File(OpenError),
    /// A raw disk that is empty.
    Nothing,
    Seal(UnsealError<Infallible>),
}

fn open(disk: &Disk, chip: &Chip, limits: StoreLimits) -> Result<Store, NotOpened> {
    let closed = if disk.is_raw() {
        match Store::open(&Place::Disk(disk.opened())).map_err(NotOpened::File)? {
            Found::Nothing => return Err(NotOpened::Nothing),
            Found::Closed(closed) => closed,
        }
    } else {
        opening::open_backend(disk.backend(), disk.space()).map_err(NotOpened::File)?
    };
    match closed.unseal(&chip.boot(), |request| chip.derive(request), limits, &config(), &clock()) {
        Ok(unsealed) => Ok(unsealed.store.opened()),
        Err(still) => Err(NotOpened::Seal(still.error)),
    }
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    let own = |text: &&str| (*text).to_owned();
    let pairs: BTreeMap<_, _> = pairs.iter().map(|(key, value)| (own(key), own(value))).collect();
    Tags::parse(pairs).unwrap()
}

#[test]
fn secrets_live_their_life() {
    let mut instance = Instance::new();
    let description = Some(Description::parse("the main one".to_owned()).unwrap());
    let new = NewSecret {
        description: description.clone(),
        tags: tags(&[("env", "production")]),
        expires_at: Some(at(1_000)),
        ..new_secret("database-url", "postgres://one")
    };
    let created = instance.wait(instance.store().create_secret(instance.act(5), new)).unwrap();
    assert_eq!((created.version, created.revision), (Version(1), Revision(1)));
    assert_eq!((created.created_at, created.updated_at), (at(5), at(5)));
    assert_eq!((created.description.clone(), created.expires_at), (description, Some(at(1_000))));
    assert_eq!(instance.create("database-url", "again").unwrap_err(), CreateSecretError::NameTaken);
    assert_eq!(instance.store().secret(&instance.grant(), created.id).unwrap(), created);
    assert_eq!(instance.page(10, 0), SecretPage { items: vec![created.clone()], total: 1 });

    // A new value makes a version and keeps the rest; clearing takes away; both make a revision.
    let updated = instance.update(created.id, new_value("postgres://two")).unwrap();
    assert_eq!((updated.version, updated.revision), (Version(2), Revision(2)));
    assert_eq!((updated.updated_at, updated.created_at), (at(2), at(5)));
    assert_eq!((&updated.tags, updated.expires_at), (&created.tags, created.expires_at));
    let clear = Change {
        value: None,
        description: Field::Clear,
        tags: Field::Clear,
        expires_at: Field::Clear,
    };
    let cleared = instance.update(created.id, clear).unwrap();
    assert_eq!((cleared.version, cleared.revision), (Version(2), Revision(3)));
    assert_eq!((cleared.description, cleared.expires_at), (None, None));
    assert!(cleared.tags.pairs().is_empty());
    assert_eq!(instance.value(created.id, None).unwrap(), "postgres://two");
    assert_eq!(instance.value(created.id, Some(1)).unwrap(), "postgres://one");
    assert_eq!(instance.value(created.id, Some(3)).unwrap_err(), ReadError::NotFound);

    instance.reopen();
    assert_eq!(instance.value(created.id, Some(1)).unwrap(), "postgres://one");
    instance.delete(created.id).unwrap();
    assert_eq!(instance.delete(created.id).unwrap_err(), DeleteSecretError::NotFound);
    assert_eq!(instance.value(created.id, Some(1)).unwrap_err(), ReadError::NotFound);
    assert_eq!(instance.update(created.id, no_change()).unwrap_err(), UpdateSecretError::NotFound);
    assert_eq!(instance.page(10, 0), SecretPage { items: vec![], total: 0 });
    let again = instance.create("database-url", "the name is free").unwrap();
    assert!(again.id > created.id);
    audit::audit(instance.store()).unwrap();
}

#[test]
fn a_rollback_makes_a_new_version_of_any_kept_value() {
    let mut instance = Instance::new();
    let new = NewSecret {
        tags: tags(&[("env", "production")]),
        expires_at: Some(at(2)),
        ..new_secret("a", "one")
    };
    let made = instance.wait(instance.store().create_secret(instance.act(1), new)).unwrap();
    let id = made.id;
    instance.update(id, new_value("two")).unwrap();
    let (rotator, by) = instance.key(&[Permission::Write], Scope::All);
    let rollback = |version, expected| {
        let store = instance.store();
        instance.wait(store.rollback_secret(act(&by, 4), id, Version(version), Some(expected)))
    };
    let stale = RollbackSecretError::RevisionMismatch { current: Revision(2) };
    // Where both are wrong, it is the caller's view of the secret that is.
    assert_eq!(rollback(9, Revision(1)).unwrap_err(), stale);
    let not_kept = |oldest, newest| {
        let (oldest, newest) = (Version(oldest), Version(newest));
        RollbackSecretError::NotKept { oldest, newest }
    };
    for version in [0, 3, u64::MAX] {
        assert_eq!(rollback(version, Revision(2)).unwrap_err(), not_kept(1, 2));
    }
    // All but the value stays; who rolled back is who wrote the version, expired or not.
    let back = rollback(1, Revision(2)).unwrap();
    assert_eq!((back.version, back.revision), (Version(3), Revision(3)));
    assert_eq!((back.created_at, back.updated_at), (at(1), at(4)));
    assert_eq!((&back.tags, back.expires_at), (&made.tags, made.expires_at));
    let kept = |secret: &Secret| -> Vec<_> {
        secret.versions.iter().map(|info| (info.version.0, info.created_by)).collect()
    };
    let admin = instance.admin.key_id();
    assert_eq!(kept(&back), [(1, admin), (2, admin), (3, rotator.id)]);
    // The oldest kept version, which this very rollback drops; then the current one.
    let back = instance.rollback(id, 1).unwrap();
    assert_eq!(kept(&back), [(2, admin), (3, rotator.id), (4, admin)]);
    assert_eq!(instance.rollback(id, 1).unwrap_err(), not_kept(2, 4));
    let again = instance.rollback(id, 4).unwrap();
    assert_eq!((again.version, again.revision), (Version(5), Revision(5)));
    instance.reopen();
    let clear = Change { expires_at: Field::Clear, ..no_change() };
    instance.update(id, clear).unwrap();
    for version in 3..=5 {
        assert_eq!(instance.value(id, Some(version)).unwrap(), "one");
    }
    audit::audit(instance.store()).unwrap();
    instance.delete(id).unwrap();
    assert_eq!(instance.rollback(id, 5).unwrap_err(), RollbackSecretError::NotFound);
}

#[test]
fn the_largest_secret_fits() {
    let instance = Instance::with(StoreLimits { versions_kept: 1_000, ..LIMITS });
    let long = |character: &str, count| character.repeat(count);
    let pairs = (0..20).map(|index| (format!("{index:☃>100}"), long("☃", 500))).collect();
    let new = NewSecret {
        description: Some(Description::parse(long("☃", 500)).unwrap()),
        tags: Tags::parse(pairs).unwrap(),
        ..new_secret(&long("n", 100), &long("v", 65_536))
    };
    let created = instance.wait(instance.store().create_secret(instance.act(1), new)).unwrap();
    for _ in 0..110 {
        instance.update(created.id, new_value(&long("w", 65_536))).unwrap();
    }
    let secret = instance.store().secret(&instance.grant(), created.id).unwrap();
    assert_eq!((secret.version, secret.versions.len()), (Version(111), 100));
    assert_eq!(secret.tags, created.tags);
    assert_eq!(instance.value(created.id, Some(12)).unwrap().len(), 65_536);
    assert_eq!(instance.value(created.id, Some(11)).unwrap_err(), ReadError::NotFound);
    assert_eq!(instance.rollback(created.id, 12).unwrap().version, Version(112));
    audit::audit(instance.store()).unwrap();
}

//! The claim: a store comes to be in one transaction, complete or not at all.

use crate::access::Token;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::keys::{AccountKey, CryptoError, RootKey, SigningKeys, TokenHash};
use crate::model::{AccountId, KeyId, Label, NewAccount, Quotas, Timestamp};
use crate::seal::Sealer;
use crate::secret::random_array;
use crate::store::accounts::{self, Made, put_account_key};
use crate::store::api_keys::{new_token, put_token};
use crate::store::body::{
    ClockBody, InstanceBody, KeyBody, OwnerBody, OwnerKey, SealedConfig, StateBody, TokenBody,
};
use crate::store::core::{Access, Core};
use crate::store::engine::{Changes, Commit, Engine, EngineError};
use crate::store::error::StoreFailure;
use crate::store::raw::RawBackend;
use crate::store::record::{Address, DECOY, SYSTEM, header_key, slots_key};
use crate::store::room::{self, Space};
use crate::store::secrets::next_id;
use crate::store::writer::Writer;
use crate::store::{Header, Place, Store, StoreLimits};
use data_encoding::HEXLOWER;
use neo_secrets_attestation::config::AttestedConfig;
use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::evidence::StoreId;
use redb::StorageBackend;
use redb::backends::FileBackend;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a claim brings.
pub struct Founding<'a> {
    /// The owner's public key.
    pub owner: PublicKey,
    /// The configuration it is claimed with.
    pub config: AttestedConfig,
    /// The name of the first account.
    pub account_name: Label,
    /// What the store is sealed with.
    pub sealer: &'a Sealer,
    /// The time.
    pub clock: Arc<Clock>,
}

/// What a claim answers; the tokens are shown once.
pub struct ClaimAnswer {
    /// The store.
    pub store_id: StoreId,
    /// The instance key's public half.
    pub instance_key: PublicKey,
    /// The owner's bearer key.
    pub owner_token: Token,
    /// The first account.
    pub account: AccountId,
    /// Its name.
    pub account_name: Label,
    /// The first account's admin key: admin and reveal, every secret, no expiry.
    pub admin_token: Token,
}

/// Why no store was made. Nothing is left behind, but for one case: where the last sync fails (the
/// folder's, or that of the disk's header), a whole store may stand there, and its owner repeats the claim once the server
/// has been started again.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is a file already; it is left as it is.
    #[error("there is a store already")]
    Exists,
    /// The disk failed.
    #[error("the store could not be written: {0}")]
    Io(#[from] io::Error),
    /// The engine failed.
    #[error("the store could not be written: {0}")]
    Engine(String),
    /// A library failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl From<EngineError> for CreateError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error.to_string())
    }
}

impl From<StoreFailure> for CreateError {
    fn from(failure: StoreFailure) -> Self {
        Self::Engine(failure.to_string())
    }
}

/// Makes a store in that place.
pub(super) fn create(
    place: &Place,
    founding: Founding<'_>,
    limits: StoreLimits,
) -> Result<(Store, ClaimAnswer), CreateError> {
    match place {
        Place::File(path) => create_file(path, founding, limits),
        Place::Disk(disk) => create_on(disk, founding, limits),
    }
}

/// Makes a store on an empty disk, which is one until the store is complete.
pub(super) fn create_on(
    disk: &Arc<Disk>,
    founding: Founding<'_>,
    limits: StoreLimits,
) -> Result<(Store, ClaimAnswer), CreateError> {
    // Again: the host may have put something there since the start.
    match disk.look() {
        Ok(None) => {}
        Ok(Some(_)) => return Err(CreateError::Exists),
        Err(error) => return Err(CreateError::Engine(error.to_string())),
    }
    let backend = RawBackend::empty(disk.clone());
    let (engine, core, answer) = found((backend.clone(), backend.space()), founding, limits)?;
    backend.publish(answer.store_id)?;
    let writer = Writer::start(engine, core).map_err(|failed| failed.1)?;
    Ok((Store { writer }, answer))
}

/// Makes a store beside `path`, and moves it there when it is complete.
fn create_file(
    path: &Path,
    founding: Founding<'_>,
    limits: StoreLimits,
) -> Result<(Store, ClaimAnswer), CreateError> {
    if path.symlink_metadata().is_ok() {
        return Err(CreateError::Exists);
    }
    remove_leftovers(path)?;
    let temporary = Temporary(sibling(path, &HEXLOWER.encode(&random_bytes()?)));
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(&temporary.0)?;
    let space = room::of_file(&file)?;
    let backend = FileBackend::new(file).map_err(EngineError::from)?;
    let (engine, core, answer) = found((backend, space), founding, limits)?;
    match renameat_with(CWD, &temporary.0, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(CreateError::Exists),
        Err(error) => return Err(io::Error::from(error).into()),
    }
    File::open(folder(path))?.sync_all()?;
    let writer = Writer::start(engine, core).map_err(|failed| failed.1)?;
    Ok((Store { writer }, answer))
}

fn random_bytes() -> Result<[u8; 4], CryptoError> {
    Ok(random_array()?)
}

/// Removes its file when dropped; once the file has been renamed there is none of that name.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new-");
    name.push(suffix);
    name.into()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// What a claim that was killed has left: no store refers to it.
fn remove_leftovers(path: &Path) -> io::Result<()> {
    let beginning = sibling(path, "");
    for entry in std::fs::read_dir(folder(path))? {
        let name = entry?.file_name();
        let is_leftover = beginning
            .file_name()
            .and_then(|start| name.as_encoded_bytes().strip_prefix(start.as_encoded_bytes()))
            .is_some_and(|suffix| suffix.len() == 8 && HEXLOWER.decode(suffix).is_ok());
        if is_leftover {
            match std::fs::remove_file(folder(path).join(name)) {
                // Another claim is at work, and has moved its own; one of the two will find the
                // place taken.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
    }
    Ok(())
}

/// Makes a store in an empty file: every record of it in one transaction.
pub(super) fn found(
    (backend, space): (impl StorageBackend, Space),
    founding: Founding<'_>,
    limits: StoreLimits,
) -> Result<(Engine, Core, ClaimAnswer), CreateError> {
    let header = Header { store_id: StoreId(random_array().map_err(CryptoError::from)?) };
    let root = RootKey::random()?;
    let signing = SigningKeys::random()?;
    let table = founding.sealer.seal(&header, &root, &signing.instance)?;
    let (clock, first) = (founding.clock.clone(), founding.clock.first());
    let core = Core::found(header, &root, AccountKey::random()?, signing, limits, clock)?;
    let engine = Engine::open(backend, space)?;
    let answer = engine.write(|batch| {
        let mut changes = Changes::default();
        changes.put(header_key(), header.to_bytes().to_vec());
        changes.put(slots_key(), table.to_bytes());
        let answer = first_records(&core.access(&*batch), &mut changes, founding, first.time);
        if answer.is_ok() {
            batch.apply(&changes)?;
        }
        let commit = if answer.is_ok() { Commit::Yes } else { Commit::Nothing };
        Ok((answer, commit))
    })??;
    core.clock.note_sealed(first);
    Ok((engine, core, answer))
}

fn first_records(
    access: &Access<'_>,
    changes: &mut Changes,
    founding: Founding<'_>,
    now: Timestamp,
) -> Result<ClaimAnswer, CreateError> {
    let Founding { owner, config, account_name, sealer: _, clock: _ } = founding;
    let Core { header, signing, .. } = access.core;
    let system = access.core.system();
    let mut system_state = StateBody::new(Quotas::default());
    put_account_key(access, changes, system)?;
    let seeds = InstanceBody {
        instance: signing.instance.seed().copy(),
        log: signing.log.seed().copy(),
        receipt: signing.receipt.seed().copy(),
    };
    access.put(changes, system, &Address::instance(), &seeds)?;
    let new = NewAccount { name: account_name.clone(), quotas: Quotas::default() };
    let made = accounts::make(access, changes, &mut system_state, new, now)?;
    let Made { account, admin_key, admin_token } = made;

    let (bearer_key, owner_token) = system_key(access, changes, &mut system_state, "owner", now)?;
    put_decoy(access, changes, &mut system_state, now)?;
    let public_key = OwnerKey(owner);
    let (account, settled) = (account.id, false);
    let (config, acts, is_timed) = (SealedConfig(config), 0, Some(true));
    let body =
        OwnerBody { public_key, bearer_key, account, admin_key, settled, config, acts, is_timed };
    access.put(changes, system, &Address::owner(), &body)?;
    access.put(changes, system, &Address::clock(), &ClockBody { time: now })?;
    access.put(changes, system, &Address::state(SYSTEM), &system_state)?;
    Ok(ClaimAnswer {
        store_id: header.store_id,
        instance_key: signing.instance.public(),
        owner_token,
        account,
        account_name,
        admin_token,
    })
}

/// A key of the system's account, which has no permissions: the owner's bearer key.
fn system_key(
    access: &Access<'_>,
    changes: &mut Changes,
    state: &mut StateBody,
    name: &str,
    now: Timestamp,
) -> Result<(KeyId, Token), StoreFailure> {
    let (token, hash) = new_token(access)?;
    let id = next_id(state, now)?;
    put_system_key(access, changes, id, bare_key(name, now, hash)?)?;
    Ok((id, token))
}

/// The key that unknown tokens are looked up to: expired in 1970, and its token's hash is nobody's.
fn put_decoy(
    access: &Access<'_>,
    changes: &mut Changes,
    state: &mut StateBody,
    now: Timestamp,
) -> Result<(), StoreFailure> {
    let id = next_id(state, now)?;
    let expired = Some(Timestamp::from_unix_millis(0));
    put_system_key(
        access,
        changes,
        id,
        KeyBody { expires_at: expired, ..bare_key("decoy", now, DECOY)? },
    )
}

fn put_system_key(
    access: &Access<'_>,
    changes: &mut Changes,
    id: KeyId,
    body: KeyBody,
) -> Result<(), StoreFailure> {
    put_token(access, changes, &body.token, TokenBody { account: SYSTEM, key: id })?;
    access.put(changes, access.core.system(), &Address::api_key(SYSTEM, id), &body)
}

fn bare_key(name: &str, created_at: Timestamp, token: TokenHash) -> Result<KeyBody, StoreFailure> {
    let name = label(name)?;
    let (permissions, globs, expires_at, previous) = (None, None, None, None);
    Ok(KeyBody { name, permissions, globs, expires_at, created_at, token, previous })
}

pub(super) fn label(text: &str) -> Result<Label, StoreFailure> {
    Label::parse(text.to_owned()).map_err(|_| StoreFailure::Unavailable)
}

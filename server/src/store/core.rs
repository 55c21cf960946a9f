//! What reading and writing records needs beside the bytes: the keys, the limits, the claim's
//! state.

use crate::access::{Grant, Right, Token};
use crate::clock::Clock;
use crate::keys::{
    AccountKey, AccountWrapKey, CryptoError, FunctionNameIndexKey, NameIndexKey, RecordRoot,
    RootKey, SigningKey, SigningKeys, TokenHash, TokenIndexKey,
};
use crate::limits::ACCOUNT_KEYS_CACHED;
use crate::model::{AccountId, FunctionId, FunctionName, SecretName};
use crate::secret::{RandomError, random_array};
use crate::store::admitted::Admitted;
use crate::store::api_keys::Holder;
use crate::store::body::{Body, ClockBody, ExecutionBody, InstanceBody, Opening, StateBody};
use crate::store::engine::{Batch, Changes, EngineError, Stored, View, Visit};
use crate::store::error::StoreFailure;
use crate::store::names::PendingNames;
use crate::store::opened::Opened;
use crate::store::places::KnownPlaces;
use crate::store::record::{self, Address, SYSTEM};
use crate::store::states::States;
use crate::store::turns::Turns;
use crate::store::{Header, StoreLimits};
use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};

/// The keys of an open store.
pub(super) struct Core {
    pub(super) header: Header,
    pub(super) limits: StoreLimits,
    pub(super) signing: SigningKeys,
    /// Whether the claim is known to be final; never goes back to false.
    pub(super) settled: AtomicBool,
    /// This opening of the store.
    pub(super) opening: Opening,
    pub(super) clock: Arc<Clock>,
    wrap: AccountWrapKey,
    system: Arc<AccountKeys>,
    tokens: TokenIndexKey,
    accounts: RwLock<Cache>,
    pub(super) admitted: Admitted,
    pub(super) places: KnownPlaces,
    pub(super) opened: Opened,
    /// At reading those that are many.
    pub(super) turns: Turns,
}

/// Keys of accounts that have been used lately. All are of one state of the store as to which
/// accounts there are, so that no key outlives its account: a view with another number of
/// deletions, older or newer, neither takes from here nor adds.
#[derive(Default)]
struct Cache {
    deletions: u64,
    keys: HashMap<AccountId, Arc<AccountKeys>>,
}

/// One account's keys.
pub(super) struct AccountKeys {
    pub(super) id: AccountId,
    records: AccountKey,
    names: NameIndexKey,
    function_names: FunctionNameIndexKey,
}

impl AccountKeys {
    pub(super) fn new(header: &Header, id: AccountId, records: AccountKey) -> Self {
        let names = records.name_index_key(&header.store_id, id);
        let function_names = records.function_name_index_key(&header.store_id, id);
        Self { id, records, names, function_names }
    }

    pub(super) fn hash(&self, name: &SecretName) -> [u8; 32] {
        self.names.hash(name)
    }

    pub(super) fn function_hash(&self, name: &FunctionName) -> [u8; 32] {
        self.function_names.hash(name)
    }

    pub(super) fn key(&self) -> &AccountKey {
        &self.records
    }
}

impl RecordRoot for AccountKeys {
    fn record_key(&self, salt: &[u8; 32], context: &[u8]) -> crate::keys::RecordKey {
        self.records.record_key(salt, context)
    }
}

impl Core {
    /// A new store's.
    pub(super) fn found(
        header: Header,
        root: &RootKey,
        system: AccountKey,
        signing: SigningKeys,
        limits: StoreLimits,
        clock: Arc<Clock>,
    ) -> Result<Self, CryptoError> {
        let tokens = system.token_index_key(&header.store_id);
        Ok(Self {
            header,
            limits,
            signing,
            settled: AtomicBool::new(false),
            opening: Opening(random_array()?),
            clock,
            wrap: root.account_wrap_key(&header.store_id),
            system: Arc::new(AccountKeys::new(&header, SYSTEM, system)),
            tokens,
            accounts: RwLock::default(),
            admitted: Admitted::default(),
            places: KnownPlaces::default(),
            opened: Opened::default(),
            turns: Turns::default(),
        })
    }

    /// An existing store's: its first records have to open under this root key, and the clock takes
    /// its time. Whether the claim is final is still to be read.
    pub(super) fn open(
        header: Header,
        root: &RootKey,
        view: &dyn View,
        limits: StoreLimits,
        clock: Arc<Clock>,
    ) -> Result<Self, StoreFailure> {
        let wrap = root.account_wrap_key(&header.store_id);
        let address = Address::account_key(SYSTEM);
        let key = read(&header, &wrap, view, &address)?.ok_or(missing(&address))?.key;
        let system = AccountKey::from_record(key);
        let address = Address::instance();
        let InstanceBody { instance, log, receipt } =
            read(&header, &system, view, &address)?.ok_or(missing(&address))?;
        let signing = SigningKeys {
            instance: SigningKey::from_seed(instance)?,
            log: SigningKey::from_seed(log)?,
            receipt: SigningKey::from_seed(receipt)?,
        };
        match read(&header, &system, view, &Address::clock())? {
            Some(ClockBody { time }) => clock.found(time),
            // A store from before times were sealed has none until its next commit. Its owner's record
            // doesn't say otherwise, or is older still; what is wrong with that is found later.
            None => {
                let owner = read(&header, &system, view, &Address::owner());
                if owner.is_ok_and(|owner| owner.is_some_and(|it| it.is_timed == Some(true))) {
                    return Err(missing(&Address::clock()));
                }
            }
        }
        Ok(Self::found(header, root, system, signing, limits, clock)?)
    }

    /// Records as one view shows them.
    pub(super) fn access<'a>(&'a self, view: &'a dyn View) -> Access<'a> {
        Access { core: self, view, states: None, names: None }
    }

    /// Records as a batch has them, with the states of accounts and the names that its writes leave.
    pub(super) fn access_in<'a>(
        &'a self,
        batch: &'a Batch<'_>,
        (states, names): (&'a States, &'a PendingNames),
    ) -> Access<'a> {
        Access { core: self, view: batch, states: Some(states), names: Some(names) }
    }

    /// Forgets every account's keys, unless no account was deleted since; before the commit with this
    /// number of deletions is shown to readers.
    pub(super) fn forget_accounts(&self, deletions: u64) {
        let mut cache = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        if cache.deletions != deletions {
            *cache = Cache { deletions, keys: HashMap::new() };
        }
    }

    pub(super) fn hash(&self, token: &Token) -> TokenHash {
        self.tokens.hash(token)
    }

    pub(super) fn system(&self) -> &AccountKeys {
        &self.system
    }

    /// To be kept with what they seal.
    pub(super) fn system_keys(&self) -> &Arc<AccountKeys> {
        &self.system
    }

    pub(super) fn wrap(&self) -> &AccountWrapKey {
        &self.wrap
    }
}

/// Records as one view shows them, opened.
#[derive(Clone, Copy)]
pub(super) struct Access<'a> {
    pub(super) core: &'a Core,
    view: &'a dyn View,
    states: Option<&'a States>,
    pub(super) names: Option<&'a PendingNames>,
}

impl Access<'_> {
    /// An account's state, the batch's writes so far included.
    pub(super) fn state(&self, account: &AccountKeys) -> Result<StateBody, StoreFailure> {
        if let Some(state) = self.states.and_then(|states| states.get(account.id)) {
            return Ok(state);
        }
        let state = self.get(account, &Address::state(account.id))?;
        if let Some(states) = self.states {
            states.note(account.id, state.clone());
        }
        Ok(state)
    }

    /// The record at an address, where there is one. One that does not open is an error.
    pub(super) fn find<B: Body>(
        &self,
        root: &impl RecordRoot,
        address: &Address<B>,
    ) -> Result<Option<B>, StoreFailure> {
        read(&self.core.header, root, self.view, address)
    }

    /// The record at an address that another record refers to: it has to be there.
    pub(super) fn get<B: Body>(
        &self,
        root: &impl RecordRoot,
        address: &Address<B>,
    ) -> Result<B, StoreFailure> {
        self.find(root, address)?.ok_or(missing(address))
    }

    /// Who holds this token, where that is known without opening a record.
    pub(super) fn admitted(&self, hash: &TokenHash) -> Option<Arc<Holder>> {
        self.core.admitted.get(self.view, hash)
    }

    /// Whether anything stands at an address.
    pub(super) fn exists<B: Body>(&self, address: &Address<B>) -> Result<bool, StoreFailure> {
        Ok(self.view.get(address.key())?.is_some())
    }

    /// Shows each record whose key begins with `prefix`, in order, until `visit` breaks.
    pub(super) fn visit(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), EngineError> {
        self.view.visit(prefix, visit)
    }

    /// How many changes of names this view has.
    pub(super) fn name_changes(&self) -> u64 {
        self.view.name_changes()
    }

    /// The records of all executions of a function that are kept, oldest first.
    pub(super) fn executions(
        &self,
        account: AccountId,
        of: FunctionId,
    ) -> Result<Vec<Stored>, StoreFailure> {
        Ok(self.view.stored(&Address::<ExecutionBody>::executions(account, of))?)
    }

    /// The records of all executions of an account, in the order of its functions.
    pub(super) fn all_executions(&self, account: AccountId) -> Result<Vec<Stored>, StoreFailure> {
        Ok(self.view.stored(&Address::<ExecutionBody>::prefix(account))?)
    }

    /// Opens a record's bytes, from a scan.
    pub(super) fn open<B: Body>(
        &self,
        root: &impl RecordRoot,
        address: &Address<B>,
        bytes: &[u8],
    ) -> Result<B, StoreFailure> {
        record::open(&self.core.header, root, address, bytes.to_vec())
    }

    /// Adds the writing of a record to the changes.
    pub(super) fn put<B: Body>(
        &self,
        changes: &mut Changes,
        root: &impl RecordRoot,
        address: &Address<B>,
        body: &B,
    ) -> Result<(), StoreFailure> {
        let bytes = record::seal(&self.core.header, root, address, body)?;
        changes.put(address.key().to_vec(), bytes);
        Ok(())
    }

    /// The keys of the account that a grant is for. `KeyRevoked` where it was deleted, also where its
    /// last trace is removed already.
    pub(super) fn account_of<R: Right>(
        &self,
        grant: &Grant<R>,
    ) -> Result<Arc<AccountKeys>, StoreFailure> {
        match self.account(grant.account()) {
            Err(StoreFailure::Damaged { .. })
                if !self.exists(&Address::token(&grant.token()))? =>
            {
                Err(StoreFailure::KeyRevoked)
            }
            keys => keys,
        }
    }

    /// The keys of an account that has to be there: from memory where they have been used lately.
    /// `KeyRevoked` where it was deleted.
    pub(super) fn account(&self, id: AccountId) -> Result<Arc<AccountKeys>, StoreFailure> {
        let deletions = self.view.deletions();
        let cache = self.core.accounts.read().unwrap_or_else(PoisonError::into_inner);
        if cache.deletions == deletions
            && let Some(keys) = cache.keys.get(&id)
        {
            return Ok(Arc::clone(keys));
        }
        drop(cache);
        let address = Address::account_key(id);
        let Some(body) = self.find(&self.core.wrap, &address)? else {
            // Only what the store itself says is deleted is: else a record was taken away.
            let deleted = self.find(self.core.system(), &Address::deletion(id))?.is_some();
            return Err(if deleted { StoreFailure::KeyRevoked } else { missing(&address) });
        };
        let key = AccountKey::from_record(body.key);
        let keys = Arc::new(AccountKeys::new(&self.core.header, id, key));
        let mut cache = self.core.accounts.write().unwrap_or_else(PoisonError::into_inner);
        if cache.deletions == deletions {
            if cache.keys.len() >= ACCOUNT_KEYS_CACHED {
                cache.keys.clear();
            }
            cache.keys.insert(id, Arc::clone(&keys));
        }
        Ok(keys)
    }
}

fn read<B: Body>(
    header: &Header,
    root: &impl RecordRoot,
    view: &dyn View,
    address: &Address<B>,
) -> Result<Option<B>, StoreFailure> {
    let bytes = view.get(address.key())?;
    bytes.map(|bytes| record::open(header, root, address, bytes)).transpose()
}

fn missing<B: Body>(_: &Address<B>) -> StoreFailure {
    StoreFailure::Damaged { kind: B::KIND.name() }
}

impl From<CryptoError> for StoreFailure {
    fn from(error: CryptoError) -> Self {
        tracing::error!(%error, "a library that always works failed");
        Self::Unavailable
    }
}

impl From<RandomError> for StoreFailure {
    fn from(error: RandomError) -> Self {
        CryptoError::from(error).into()
    }
}

//! Opens every record of a store and checks that they agree with one another.

use super::super::body::{
    AccountBody, AccountKeyBody, AuditBody, AuditStateBody, ClockBody, CodeBody, DeletionBody,
    ExecutionBody, FunctionBody, FunctionNameBody, InstanceBody, KeyBody, OwnerBody, SecretBody,
    StateBody, TokenBody, ValueBody,
};
use super::super::core::{Access, AccountKeys};
use super::super::engine::{Order, Stored};
use super::super::names;
use super::super::record::{Address, DECOY, Kind, SYSTEM};
use super::*;
use crate::model::{AccountId, ID_BYTES};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// What a store holds: names, with descriptions and the kept values by version.
pub(super) type Contents = BTreeMap<String, (SecretId, Revision, BTreeMap<u64, String>)>;

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Every record, by engine key.
pub(super) fn records(store: &Store) -> Records {
    records_of(&store.writer.snapshot().unwrap())
}

pub(super) fn records_of(snapshot: &Snapshot) -> Records {
    let mut records = Records::new();
    let visit = |key: &[u8], value: &[u8]| {
        records.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    };
    snapshot.scan(&[], Order::OldestFirst, 0, visit).unwrap();
    records
}

pub(super) fn kind_of(key: &[u8]) -> u8 {
    key[ID_BYTES]
}

fn of_kind(records: &Records, account: AccountId, kind: Kind) -> impl Iterator<Item = &[u8]> {
    let prefix = [account.as_bytes(), &[kind as u8][..]].concat();
    records.keys().filter_map(move |key| key.strip_prefix(&prefix[..]))
}

fn id<K: crate::model::IdKind>(rest: &[u8]) -> crate::model::Id<K> {
    crate::model::Id::from_bytes(rest.try_into().unwrap())
}

/// What the first account holds, where everything in the store agrees; else a text that says what
/// does not.
pub(super) fn audit(store: &Store) -> Result<Contents, String> {
    let mut contents = audit_all(store)?;
    let snapshot = store.writer.snapshot().unwrap();
    let access = store.writer.shared.core.access(&*snapshot);
    let owner = access.get(access.core.system(), &Address::owner());
    let OwnerBody { account, .. } = owner.map_err(|failure| failure.to_string())?;
    Ok(contents.remove(&account).unwrap_or_default())
}

/// As [`audit`], for all accounts. Of deleted accounts nothing is left but what a deletion stands
/// for.
pub(super) fn audit_all(store: &Store) -> Result<BTreeMap<AccountId, Contents>, String> {
    let snapshot = store.writer.snapshot().unwrap();
    let access = store.writer.shared.core.access(&*snapshot);
    let records = records_of(&snapshot);
    let system = access.core.system();
    let text = |failure: StoreFailure| failure.to_string();
    let _: InstanceBody = access.get(system, &Address::instance()).map_err(text)?;
    let _: OwnerBody = access.get(system, &Address::owner()).map_err(text)?;
    let accounts: Vec<AccountId> = of_kind(&records, SYSTEM, Kind::Account).map(id).collect();
    let mut expected = 2 + 2 + 1; // header, slots, instance, owner, the system's account key
    // A store from before times were sealed has none.
    let time: Option<ClockBody> = access.find(system, &Address::clock()).map_err(text)?;
    expected += usize::from(time.is_some());
    let (mut tokens, mut contents) = (BTreeMap::new(), BTreeMap::new());
    for account in accounts.iter().copied().chain([SYSTEM]) {
        if account != SYSTEM {
            let _: AccountBody = access.get(system, &Address::account(account)).map_err(text)?;
            let address = Address::account_key(account);
            let _: AccountKeyBody = access.get(access.core.wrap(), &address).map_err(text)?;
            expected += 2;
            let keys = access.account(account).map_err(text)?;
            let own = audit_secrets(&access, &records, &keys)?;
            let versions: usize = own.values().map(|(.., values)| values.len()).sum();
            let names =
                [Kind::Name, Kind::Names].map(|kind| of_kind(&records, account, kind).count());
            expected += own.len() + versions + names.iter().sum::<usize>();
            contents.insert(account, own);
            expected += audit_functions(&access, &records, &keys)?;
            audit_keys(&access, &records, &keys, &mut tokens)?;
            expected += audit_log(&access, &records, &keys)?;
        } else {
            audit_keys(&access, &records, system, &mut tokens)?;
            expected += audit_log(&access, &records, system)?;
            let state: StateBody = access.get(system, &Address::state(SYSTEM)).map_err(text)?;
            check(state.accounts == accounts.len() as u64, "account counter")?;
        }
        expected += 1 + of_kind(&records, account, Kind::ApiKey).count();
    }
    let deleted: Vec<AccountId> = of_kind(&records, SYSTEM, Kind::Deletion).map(id).collect();
    for account in &deleted {
        let _: DeletionBody = access.get(system, &Address::deletion(*account)).map_err(text)?;
        check(access.account(*account).err() == Some(StoreFailure::KeyRevoked), "deletions")?;
        let left = records.keys().filter(|key| key.starts_with(account.as_bytes()));
        expected += 1 + left.count();
    }
    let mut stored = BTreeMap::new();
    for hash in of_kind(&records, SYSTEM, Kind::Token) {
        let hash_bytes = crate::keys::TokenHash(hash.try_into().unwrap());
        let body: TokenBody = access.get(system, &Address::token(&hash_bytes)).map_err(text)?;
        if deleted.contains(&body.account) {
            expected += 1;
        } else {
            stored.insert(hash.to_vec(), (body.account, body.key));
        }
    }
    check(stored == tokens, "tokens")?;
    check(tokens.contains_key(&DECOY.0[..]), "decoy")?;
    expected += tokens.len();
    check(records.len() == expected, "a record too many or too few")?;
    Ok(contents)
}

fn check(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{what} disagree")) }
}

/// The records of an account's log.
fn audit_log(
    access: &Access<'_>,
    records: &Records,
    account: &AccountKeys,
) -> Result<usize, String> {
    let text = |failure: StoreFailure| failure.to_string();
    let address = Address::audit_state(account.id);
    let state: Option<AuditStateBody> = access.find(account, &address).map_err(text)?;
    let (mut next, mut count) = (0, usize::from(state.is_some()));
    for rest in of_kind(records, account.id, Kind::Audit) {
        let first = u64::from_be_bytes(rest.try_into().unwrap());
        check(first == next, "audit records")?;
        let address = Address::audit(account.id, first);
        let body: AuditBody = access.get(account, &address).map_err(text)?;
        check(!body.events.is_empty(), "audit records")?;
        next += body.events.len() as u64;
        count += 1;
    }
    check(state.map(|state| state.events) == Some(next).filter(|next| *next > 0), "audit state")?;
    Ok(count)
}

/// The records of an account's functions.
fn audit_functions(
    access: &Access<'_>,
    records: &Records,
    account: &AccountKeys,
) -> Result<usize, String> {
    let text = |failure: StoreFailure| failure.to_string();
    let state: StateBody = access.get(account, &Address::state(account.id)).map_err(text)?;
    let (mut functions, mut executions, mut bytes) = (0, 0, 0);
    for rest in of_kind(records, account.id, Kind::Function) {
        let function_id = id(rest);
        check(rest <= &state.last_id.0[..], "last id")?;
        let address = Address::function(account.id, function_id);
        let body: FunctionBody = access.get(account, &address).map_err(text)?;
        check(body.pin_code || body.confirmed.is_none(), "pins")?;
        let address = Address::code(account.id, function_id);
        let CodeBody { code } = access.get(account, &address).map_err(text)?;
        check(code.hash() == body.code_sha256, "code")?;
        let address = Address::function_name(account.id, &account.function_hash(&body.name));
        let index: FunctionNameBody = access.get(account, &address).map_err(text)?;
        check(index.name == body.name && index.function == function_id, "function names")?;
        functions += 1;
        let own = access.executions(account.id, function_id).map_err(text)?;
        check(own.len() <= crate::limits::EXECUTIONS_KEPT, "executions")?;
        bytes += own.iter().map(|it| it.bytes).sum::<u64>();
        for Stored { key, .. } in &own {
            let execution = super::super::record::execution_at(key).unwrap();
            let address = Address::execution(account.id, function_id, execution);
            let _: ExecutionBody = access.get(account, &address).map_err(text)?;
        }
        executions += own.len();
    }
    let address = Address::functions_state(account.id);
    let kept = access.find(account, &address).map_err(text)?;
    let is_kept = usize::from(kept.is_some());
    let kept = kept.unwrap_or_default();
    check(kept.functions == functions as u64, "function counter")?;
    check(kept.execution_bytes.is_none_or(|counted| counted == bytes), "execution bytes")?;
    check(bytes <= access.core.limits.execution_bytes, "room of executions")?;
    Ok(3 * functions + executions + is_kept)
}

fn audit_keys(
    access: &Access<'_>,
    records: &Records,
    account: &AccountKeys,
    tokens: &mut BTreeMap<Vec<u8>, (AccountId, KeyId)>,
) -> Result<(), String> {
    let text = |failure: StoreFailure| failure.to_string();
    let state: StateBody = access.get(account, &Address::state(account.id)).map_err(text)?;
    let (mut keys, mut lasting) = (0, 0);
    for rest in of_kind(records, account.id, Kind::ApiKey) {
        let key_id = id(rest);
        check(rest <= &state.last_id.0[..], "last id")?;
        let body: KeyBody =
            access.get(account, &Address::api_key(account.id, key_id)).map_err(text)?;
        tokens.insert(body.token.0.to_vec(), (account.id, key_id));
        if let Some(previous) = &body.previous {
            tokens.insert(previous.token.0.to_vec(), (account.id, key_id));
        }
        keys += 1;
        let admin = body.permissions.is_some_and(|set| set.allow(Permission::Admin));
        lasting += u64::from(admin && body.globs.is_none() && body.expires_at.is_none());
    }
    if account.id == SYSTEM {
        return check(keys == 2, "the system's keys");
    }
    check(state.keys == keys, "key counter")?;
    check(state.lasting_admins == lasting && lasting > 0, "admin counter")
}

fn audit_secrets(
    access: &Access<'_>,
    records: &Records,
    account: &AccountKeys,
) -> Result<Contents, String> {
    let text = |failure: StoreFailure| failure.to_string();
    let state: StateBody = access.get(account, &Address::state(account.id)).map_err(text)?;
    let mut contents = Contents::new();
    for rest in of_kind(records, account.id, Kind::Secret) {
        let secret_id = id(rest);
        check(rest <= &state.last_id.0[..], "last id")?;
        let address = Address::secret(account.id, secret_id);
        let body: SecretBody = access.get(account, &address).map_err(text)?;
        let index = names::find(access, account, &body.name).map_err(text)?;
        check(index == Some(secret_id), "name index")?;
        let mut values = BTreeMap::new();
        for info in body.versions.all() {
            let address = Address::value(account.id, secret_id, info.version);
            let value: ValueBody = access.get(account, &address).map_err(text)?;
            let value = String::from_utf8(value.value.expose().to_vec()).unwrap();
            values.insert(info.version.0, value);
        }
        let name = body.name.as_str().to_owned();
        check(contents.insert(name, (secret_id, body.revision, values)).is_none(), "names")?;
    }
    let bytes = contents.values().flat_map(|(.., values)| values.values());
    check(
        state.value_bytes == bytes.map(|value| value.len() as u64).sum::<u64>(),
        "value counter",
    )?;
    check(state.secrets == contents.len() as u64, "secret counter")?;
    let mut names = 0;
    for rest in of_kind(records, account.id, Kind::Names) {
        let number = u64::from_be_bytes(rest.try_into().unwrap());
        let address = Address::names(account.id, number);
        names += access.get(account, &address).map_err(text)?.names.len();
    }
    check(state.names.unwrap_or_default() == names as u64, "name counter")?;
    let alone = of_kind(records, account.id, Kind::Name).count();
    check(names + alone == contents.len(), "a name too many or too few")?;
    Ok(contents)
}

//! API keys and their tokens: what each verb reads and changes.

use crate::access::{Caller, Grant, KeyCaller, OwnerCaller, Permission, Right, Scope, Token};
use crate::audit::{Act, Action, Object};
use crate::keys::TokenHash;
use crate::model::{AccountId, ApiKey, Id, KeyId, NewKey, Overlap, Resource, Timestamp};
use crate::store::audit::note;
use crate::store::body::{KeyBody, OwnerBody, PreviousToken, TokenBody};
use crate::store::core::{Access, AccountKeys};
use crate::store::engine::{Changes, Order, Snapshot};
use crate::store::error::{
    AuthError, ClaimAgainError, CreateKeyError, RevokeKeyError, RotateKeyError, StoreFailure,
};
use crate::store::record::{Address, DECOY, Kind, SYSTEM, id_at_end};
use crate::store::secrets::next_id;
use neo_secrets_attestation::ed25519::PublicKey;
use std::ops::ControlFlow;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// A key's account, as its records are sealed: the system's own keys, or the account's.
enum Home<'a> {
    System(&'a AccountKeys),
    Account(Arc<AccountKeys>),
}

impl Home<'_> {
    fn keys(&self) -> &AccountKeys {
        match self {
            Self::System(keys) => keys,
            Self::Account(keys) => keys,
        }
    }
}

fn home<'a>(access: &Access<'a>, account: AccountId) -> Result<Home<'a>, StoreFailure> {
    if account == SYSTEM {
        return Ok(Home::System(access.core.system()));
    }
    access.account(account).map(Home::Account)
}

/// What the records say of the holder of a token: whether it is let in is [`Holder::admit`]'s.
pub(super) struct Holder {
    account: AccountId,
    key: KeyId,
    body: KeyBody,
}

/// Who holds the token with this hash. An unknown one, or one of a deleted account, is looked up to
/// its end through the decoy, an expired key: the same reads and the same answer.
pub(super) fn holder(access: &Access<'_>, hash: &TokenHash) -> Result<Holder, StoreFailure> {
    let system = access.core.system();
    let asked = Address::token(hash);
    let decoy = Address::token(&DECOY);
    let address = if access.exists(&asked)? { &asked } else { &decoy };
    let mut token = access.get(system, address)?;
    let home = match home(access, token.account) {
        Err(StoreFailure::KeyRevoked) => {
            token = access.get(system, &decoy)?;
            Home::System(system)
        }
        home => home?,
    };
    let TokenBody { account, key } = token;
    let body = access.get(home.keys(), &Address::api_key(account, key))?;
    Ok(Holder { account, key, body })
}

impl Holder {
    /// The caller, where the token with this hash is the holder's and still works.
    pub(super) fn admit(&self, hash: &TokenHash, now: Timestamp) -> Result<Caller, AuthError> {
        let Self { account, key, ref body } = *self;
        let is = |token: &TokenHash| bool::from(token.0.ct_eq(&hash.0));
        let previous = body.previous.as_ref();
        let known = is(&body.token)
            || previous.is_some_and(|previous| is(&previous.token) && now < previous.works_until);
        if !known || body.expires_at.is_some_and(|end| end <= now) {
            return Err(AuthError::Unauthorized);
        }
        match body.permissions {
            None if account == SYSTEM => Ok(Caller::Owner(OwnerCaller { key })),
            Some(permissions) if account != SYSTEM => Ok(Caller::Key(KeyCaller {
                account,
                key,
                permissions,
                scope: body.scope(),
                expires_at: body.expires_at,
                token: *hash,
            })),
            None | Some(_) => Err(StoreFailure::Damaged { kind: Kind::ApiKey.name() }.into()),
        }
    }
}

/// Whether the key behind a grant still stands when its write is made, and still has the token that
/// it came with: revoking a key, taking a token from it, or the end of an overlap also stops what it
/// has under way.
pub(super) fn check_standing<R: Right>(
    access: &Access<'_>,
    grant: &Grant<R>,
    now: Timestamp,
) -> Result<(), StoreFailure> {
    let knows = |body: &KeyBody| {
        let previous = body.previous.as_ref().filter(|previous| now < previous.works_until);
        let previous = previous.map(|previous| previous.token);
        [Some(body.token), previous].contains(&Some(grant.token()))
    };
    // Where no key and no account has changed since it was let in, its records need not be opened
    // again.
    let is_held = |holder: &Arc<Holder>| {
        holder.account == grant.account() && holder.key == grant.key() && knows(&holder.body)
    };
    if access.admitted(&grant.token()).as_ref().is_some_and(is_held) {
        return Ok(());
    }
    let account = access.account_of(grant)?;
    let body = access.find(&*account, &Address::api_key(account.id, grant.key()))?;
    if body.is_some_and(|body| knows(&body)) { Ok(()) } else { Err(StoreFailure::KeyRevoked) }
}

/// Ends the owner's right to repeat the claim, if the token still authenticates.
pub(super) fn settle(
    access: &Access<'_>,
    changes: &mut Changes,
    hash: &TokenHash,
    now: Timestamp,
) -> Result<Caller, AuthError> {
    let caller = holder(access, hash)?.admit(hash, now)?;
    let system = access.core.system();
    let owner = access.get(system, &Address::owner())?;
    if !owner.settled {
        let settled = OwnerBody { settled: true, ..owner };
        access.put(changes, system, &Address::owner(), &settled)?;
    }
    Ok(caller)
}

/// What a repeated claim answers with, beside what does not change.
pub(super) struct FreshTokens {
    pub(super) account: AccountId,
    pub(super) account_name: crate::model::Label,
    pub(super) owner: Token,
    pub(super) admin: Token,
}

pub(super) fn claim_again(
    access: &Access<'_>,
    changes: &mut Changes,
    claimant: PublicKey,
) -> Result<FreshTokens, ClaimAgainError> {
    let system = access.core.system();
    let OwnerBody {
        public_key, bearer_key, account, admin_key, settled, config: _, acts: _, ..
    } = access.get(system, &Address::owner())?;
    if settled || public_key.0 != claimant {
        return Err(ClaimAgainError::AlreadyClaimed);
    }
    let keys = access.account(account)?;
    let owner = replace_token(access, changes, system, bearer_key)?;
    let admin = replace_token(access, changes, &keys, admin_key)?;
    let account_name = access.get(system, &Address::account(account))?.name;
    Ok(FreshTokens { account, account_name, owner, admin })
}

/// A new token for a key; every older one of it is forgotten.
fn replace_token(
    access: &Access<'_>,
    changes: &mut Changes,
    account: &AccountKeys,
    id: KeyId,
) -> Result<Token, StoreFailure> {
    let address = Address::api_key(account.id, id);
    let mut body = access.get(account, &address)?;
    forget_tokens(changes, &body);
    let (token, hash) = new_token(access)?;
    body.token = hash;
    body.previous = None;
    put_token(access, changes, &hash, TokenBody { account: account.id, key: id })?;
    access.put(changes, account, &address, &body)?;
    Ok(token)
}

pub(super) fn new_token(access: &Access<'_>) -> Result<(Token, TokenHash), StoreFailure> {
    let token = Token::random()?;
    let hash = access.core.hash(&token);
    Ok((token, hash))
}

pub(super) fn put_token(
    access: &Access<'_>,
    changes: &mut Changes,
    hash: &TokenHash,
    body: TokenBody,
) -> Result<(), StoreFailure> {
    access.put(changes, access.core.system(), &Address::token(hash), &body)
}

fn forget_tokens(changes: &mut Changes, body: &KeyBody) {
    let previous = body.previous.as_ref().map(|previous| &previous.token);
    for hash in std::iter::once(&body.token).chain(previous) {
        changes.remove(Address::token(hash).key().to_vec());
    }
}

/// Whether a key may see and manage another: it then lies within it.
fn lies_within<R: Right>(key: &ApiKey, grant: &Grant<R>) -> bool {
    key.permissions.lie_within(grant.permissions()) && key.scope.lies_within(grant.scope())
}

/// Whether a key keeps its account manageable: admin, every secret, no expiry.
fn is_lasting_admin(key: &ApiKey) -> bool {
    key.permissions.allow(Permission::Admin) && key.scope == Scope::All && key.expires_at.is_none()
}

pub(super) fn list<R: Right>(
    access: &Access<'_>,
    snapshot: &Snapshot,
    grant: &Grant<R>,
) -> Result<Vec<ApiKey>, StoreFailure> {
    let account = access.account_of(grant)?;
    let mut found = Vec::new();
    let mut outcome = Ok(());
    let open_at = |key: &[u8], bytes: &[u8]| {
        let damaged = StoreFailure::Damaged { kind: Kind::ApiKey.name() };
        let id = Id::from_bytes(id_at_end(key).ok_or(damaged.clone())?);
        let body = access.open(&*account, &Address::api_key(account.id, id), bytes)?;
        body.to_api_key(id).ok_or(damaged)
    };
    let visit = |key: &[u8], bytes: &[u8]| match open_at(key, bytes) {
        Ok(key) => {
            found.extend(Some(key).filter(|key| lies_within(key, grant)));
            ControlFlow::Continue(())
        }
        Err(failure) => {
            outcome = Err(failure);
            ControlFlow::Break(())
        }
    };
    snapshot.scan(&Address::<KeyBody>::prefix(account.id), Order::OldestFirst, 0, visit)?;
    outcome.map(|()| found)
}

pub(super) fn create<R: Right>(
    access: &Access<'_>,
    changes: &mut Changes,
    act: &Act<Grant<R>>,
    new: NewKey,
) -> Result<(ApiKey, Token), CreateKeyError> {
    let NewKey { name, permissions, scope, expires_at } = new;
    let Act { by: grant, origin: _, now } = act;
    let now = *now;
    if !permissions.lie_within(grant.permissions()) {
        return Err(CreateKeyError::PermissionsExceed);
    }
    if !scope.lies_within(grant.scope()) {
        return Err(CreateKeyError::ScopeExceeds);
    }
    if grant.is_outlasted_by(expires_at) {
        return Err(CreateKeyError::Outlasts);
    }
    let account = access.account_of(grant)?;
    let mut state = access.state(&account)?;
    state.count(Resource::ApiKeys, (1, 0), &access.core.limits)?;
    let id = next_id(&mut state, now)?;
    let old_key_until = None;
    let key = ApiKey { id, name, permissions, scope, expires_at, created_at: now, old_key_until };
    state.lasting_admins += u64::from(is_lasting_admin(&key));
    let (token, hash) = new_token(access)?;
    put_token(access, changes, &hash, TokenBody { account: account.id, key: id })?;
    access.put(changes, &*account, &Address::api_key(account.id, id), &body_of(&key, hash))?;
    changes.set_state(&account, state);
    note(changes, act, Action::KeyCreate, Object::key(&key));
    Ok((key, token))
}

pub(super) fn body_of(key: &ApiKey, token: TokenHash) -> KeyBody {
    let ApiKey { id: _, name, permissions, scope, expires_at, created_at, old_key_until: _ } =
        key.clone();
    let globs = match scope {
        Scope::All => None,
        Scope::Names(globs) => Some(globs),
    };
    let permissions = Some(permissions);
    KeyBody { name, permissions, globs, expires_at, created_at, token, previous: None }
}

pub(super) fn revoke<R: Right>(
    access: &Access<'_>,
    changes: &mut Changes,
    act: &Act<Grant<R>>,
    id: KeyId,
) -> Result<(), RevokeKeyError> {
    let account = access.account_of(&act.by)?;
    let address = Address::api_key(account.id, id);
    let body = access.find(&*account, &address)?.ok_or(RevokeKeyError::NotFound)?;
    let key = to_api_key(&body, id)?;
    if !lies_within(&key, &act.by) {
        return Err(RevokeKeyError::NotFound);
    }
    let mut state = access.state(&account)?;
    let lasting = u64::from(is_lasting_admin(&key));
    if lasting == 1 && state.lasting_admins <= 1 {
        return Err(RevokeKeyError::LastAdmin);
    }
    state.lasting_admins -= lasting;
    state.count(Resource::ApiKeys, (0, 1), &access.core.limits)?;
    forget_tokens(changes, &body);
    changes.remove(address.key().to_vec());
    changes.set_state(&account, state);
    note(changes, act, Action::KeyRevoke, Object::key(&key));
    Ok(())
}

pub(super) fn rotate<R: Right>(
    access: &Access<'_>,
    changes: &mut Changes,
    act: &Act<Grant<R>>,
    (id, overlap): (KeyId, Overlap),
) -> Result<(ApiKey, Token), RotateKeyError> {
    let account = access.account_of(&act.by)?;
    let address = Address::api_key(account.id, id);
    let mut body = access.find(&*account, &address)?.ok_or(RotateKeyError::NotFound)?;
    let key = to_api_key(&body, id)?;
    if !lies_within(&key, &act.by) {
        return Err(RotateKeyError::NotFound);
    }
    if act.by.is_outlasted_by(key.expires_at) {
        return Err(RotateKeyError::Outlasts);
    }
    // A lost answer to the rotation of the last one must leave a way in: the old token's.
    if is_lasting_admin(&key) && overlap < Overlap::LAST_ADMIN {
        let state = access.state(&account)?;
        if state.lasting_admins <= 1 {
            return Err(RotateKeyError::LastAdmin);
        }
    }
    note(changes, act, Action::KeyRotate, Object::key(&key));
    if overlap.seconds() == 0 {
        let token = replace_token(access, changes, &account, id)?;
        return Ok((ApiKey { old_key_until: None, ..key }, token));
    }
    // The token that asks is the one that works on: it asks again with the old one only where the
    // answer with the new one was lost.
    let (kept, dropped) = match body.previous.take() {
        Some(older) if act.by.key() == id && act.by.token() == older.token => {
            (older.token, Some(body.token))
        }
        older => (body.token, older.map(|older| older.token)),
    };
    if let Some(dropped) = dropped {
        changes.remove(Address::token(&dropped).key().to_vec());
    }
    let works_until = act.now.plus_seconds(overlap.seconds());
    let (token, hash) = new_token(access)?;
    body.previous = Some(PreviousToken { token: kept, works_until });
    body.token = hash;
    put_token(access, changes, &hash, TokenBody { account: account.id, key: id })?;
    access.put(changes, &*account, &address, &body)?;
    Ok((ApiKey { old_key_until: Some(works_until), ..key }, token))
}

fn to_api_key(body: &KeyBody, id: KeyId) -> Result<ApiKey, StoreFailure> {
    body.to_api_key(id).ok_or(StoreFailure::Damaged { kind: Kind::ApiKey.name() })
}

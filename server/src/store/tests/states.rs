//! One sealing of an account's state for all writes of a commit.

use super::super::accounts;
use super::super::core::Core;
use super::super::engine::{Commit, Engine};
use super::super::names::PendingNames;
use super::super::record::{Address, SYSTEM};
use super::super::states::States;
use super::accounts::{await_waiting, hold_writer, owner_of};
use super::audit::audit_all;
use super::quotas::keep_all;
use super::*;
use crate::model::AccountChange;

/// Each account's state is sealed once for all writes of a commit: what they were refused leaves no
/// trace in it, and each sees what those before it left.
#[test]
fn the_writes_of_one_commit_count_as_if_each_had_its_own() {
    let mut instance = Instance::new();
    let tenant = instance.tenant("tenant");
    instance.set_quota(Resource::Secrets, Field::Set(3));
    let (admin, owner_act) = (instance.admin.clone(), instance.owner_act());
    let quota =
        AccountChange { name: None, quotas: PerResource { secrets: Field::Set(1), ..keep_all() } };
    let store = instance.share();
    let release = hold_writer(&store, &instance.runtime);
    let before = store.stats().commits;
    let mut tasks = Vec::new();
    for (caller, name) in
        [(&admin, "a"), (&tenant.caller, "a"), (&admin, "a"), (&tenant.caller, "b")]
            .into_iter()
            .chain([(&admin, "b"), (&admin, "c"), (&admin, "d"), (&tenant.caller, "c")])
    {
        let (caller, new) = (caller.clone(), new_secret(name, "12345"));
        let for_task = Arc::clone(&store);
        let task = async move { for_task.create_secret(act(&caller, 1), new).await.map(drop) };
        tasks.push(instance.runtime.spawn(task));
        await_waiting(&store, tasks.len());
    }
    // The owner's comes first: the tenant has room for one.
    let for_task = Arc::clone(&store);
    let change = async move { for_task.update_account(owner_act, tenant.id, quota).await };
    let change = instance.runtime.spawn(change);
    await_waiting(&store, tasks.len() + 1);
    drop(release);
    let outcomes: Vec<_> =
        tasks.into_iter().map(|task| instance.runtime.block_on(task).unwrap()).collect();
    assert_eq!(instance.runtime.block_on(change).unwrap().unwrap().quotas.secrets, 1);
    let full = |limit| {
        let resource = Resource::Secrets;
        Err(CreateSecretError::Store(StoreFailure::QuotaExceeded { resource, limit }))
    };
    let taken = Err(CreateSecretError::NameTaken);
    let expected = [Ok(()), Ok(()), taken, full(1), Ok(()), Ok(()), full(3), full(1)];
    assert_eq!(outcomes, expected);
    assert_eq!(store.stats().commits, before + 1);
    let contents = audit_all(&store).unwrap();
    assert_eq!((contents[&instance.claim.account].len(), contents[&tenant.id].len()), (3, 1));
}

/// A store without its writer.
pub(super) fn founded() -> (Engine, Core, ClaimAnswer) {
    let (disk, chip) = (Disk::default(), Chip::new(1));
    let account_name = label("first account");
    let sealer = &chip.sealer();
    let founding =
        Founding { owner: OWNER, config: config(), account_name, sealer, clock: clock() };
    founding::found((disk.backend(), disk.space()), founding, LIMITS).unwrap()
}

/// A state that a deleted account's writes left is not written: its key is gone.
#[test]
fn a_batch_writes_no_state_of_an_account_that_it_deletes() {
    let (engine, core, claim) = founded();
    let written = engine.write(|batch| {
        let (mut changes, states) = (Changes::default(), States::default());
        let names = PendingNames::default();
        let access = core.access_in(batch, (&states, &names));
        let state = access.state(&access.account(claim.account).unwrap()).unwrap();
        accounts::delete(&access, &mut changes, &owner_of(&access), claim.account).unwrap();
        states.change(vec![(access.account(claim.account).unwrap(), state)]);
        states.change(std::mem::take(&mut changes.states));
        batch.apply(&changes)?;
        let mut at_the_end = Changes::default();
        states.put(&core.access(&*batch), &mut at_the_end).unwrap();
        Ok((at_the_end.keys(), Commit::Nothing))
    });
    assert_eq!(written.unwrap(), [Address::state(SYSTEM).key()]);
}

/// One account's key that stops opening is that account's failure, and not the whole commit's.
#[test]
fn a_key_that_does_not_open_any_more_fails_no_other_accounts_state() {
    let (engine, core, claim) = founded();
    let written = engine.write(|batch| {
        let (states, names) = (States::default(), PendingNames::default());
        let access = core.access_in(batch, (&states, &names));
        // The write's keys come from memory, as those of an account that is in use do ...
        let keys = access.account(claim.account).unwrap();
        let state = access.state(&keys).unwrap();
        states.change(vec![(keys, state)]);
        // ... its record is damaged, and memory is cleared by those of many other accounts.
        core.forget_accounts(u64::MAX);
        let mut damage = Changes::default();
        damage.put(Address::account_key(claim.account).key().to_vec(), vec![1; 400]);
        batch.apply(&damage)?;
        let put = states.put(&core.access(&*batch), &mut Changes::default());
        Ok((put, Commit::Nothing))
    });
    assert_eq!(written.unwrap(), Ok(()));
}

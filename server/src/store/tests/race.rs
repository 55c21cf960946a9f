//! Many callers at once.

use super::super::names;
use super::audit::audit;
use super::*;
use crate::model::AccountId;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::JoinSet;

impl Instance {
    /// Runs `make(0..count)` all at once on two threads, and gives the outcomes.
    pub(super) fn race<T, F>(
        &mut self,
        count: usize,
        make: impl Fn(Arc<Store>, Caller, usize) -> F,
    ) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let store = Arc::new(self.store.take().unwrap());
        let mut tasks = JoinSet::new();
        for index in 0..count {
            tasks.spawn_on(
                make(Arc::clone(&store), self.admin.clone(), index),
                self.runtime.handle(),
            );
        }
        let outcomes = self.runtime.block_on(tasks.join_all());
        self.store = Arc::into_inner(store);
        outcomes
    }
}

#[test]
fn of_many_that_create_one_name_exactly_one_wins() {
    let mut instance = Instance::new();
    let outcomes = instance.race(100, |store, caller, index| async move {
        let new = new_secret("wanted", &format!("by {index}"));
        store.create_secret(act(&caller, 1), new).await
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let taken = Err(CreateSecretError::NameTaken);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == taken).count(), 99);
    assert_eq!(audit(instance.store()).unwrap().len(), 1);
}

#[test]
fn of_many_updates_from_one_revision_exactly_one_wins() {
    let mut instance = Instance::new();
    let id = instance.create("a", "v").unwrap().id;
    let outcomes = instance.race(50, |store, caller, index| async move {
        let change = new_value(&index.to_string());
        store.update_secret(act(&caller, 2), id, change, Some(Revision(1))).await
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let mismatch = UpdateSecretError::RevisionMismatch { current: Revision(2) };
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Err(mismatch.clone())).count(), 49);
    // Without an expected revision each wins in turn; the last versions are kept.
    let outcomes = instance.race(20, |store, caller, index| async move {
        let change = new_value(&index.to_string());
        store.update_secret(act(&caller, 2), id, change, None).await.unwrap().version
    });
    assert_eq!(outcomes.into_iter().collect::<BTreeSet<_>>().len(), 20);
    let secret = instance.store().secret(&instance.grant(), id).unwrap();
    assert_eq!((secret.version, secret.revision), (Version(22), Revision(22)));
    let kept: Vec<_> = secret.versions.iter().map(|info| info.version.0).collect();
    assert_eq!(kept, [20, 21, 22]);
    assert_eq!(instance.value(id, Some(19)).unwrap_err(), ReadError::NotFound);
    audit(instance.store()).unwrap();
}

#[test]
fn of_many_rollbacks_each_finds_what_those_before_it_left() {
    let mut instance = Instance::new();
    let id = instance.create("a", "v").unwrap().id;
    let from_one = instance.race(50, |store, caller, _| async move {
        store.rollback_secret(act(&caller, 2), id, Version(1), Some(Revision(1))).await
    });
    assert_eq!(from_one.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    // Three are kept, so that version 1 is gone after two more, however they share commits.
    let outcomes = instance.race(50, |store, caller, _| async move {
        store.rollback_secret(act(&caller, 2), id, Version(1), None).await
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2);
    let not_kept = RollbackSecretError::NotKept { oldest: Version(2), newest: Version(4) };
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Err(not_kept.clone())).count(), 48);
    assert_eq!(instance.value(id, None).unwrap(), "v");
    audit(instance.store()).unwrap();
}

#[test]
fn a_quota_is_never_overshot() {
    let mut instance = Instance::with_quotas(PerResource { secrets: 30, ..PER_ACCOUNT });
    let outcomes = instance.race(100, |store, caller, index| async move {
        let new = new_secret(&format!("name-{index}"), "v");
        store.create_secret(act(&caller, 1), new).await
    });
    let full = CreateSecretError::Store(full(Resource::Secrets, 30));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 30);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Err(full.clone())).count(), 70);
    assert_eq!(audit(instance.store()).unwrap().len(), 30);
    let one = instance.page(1, 0).items.remove(0).id;
    instance.delete(one).unwrap();
    instance.create("one-more", "v").unwrap();
    assert_eq!(instance.create("too-many", "v").unwrap_err(), full);
}

#[test]
fn writes_that_wait_share_commits_and_a_lone_one_commits_at_once() {
    let mut instance = Instance::new();
    let before = instance.store().stats();
    instance.create("alone", "v").unwrap();
    let alone = instance.store().stats();
    assert_eq!((alone.commits, alone.writes), (before.commits + 1, before.writes + 1));
    let outcomes = instance.race(200, |store, caller, index| async move {
        let new = new_secret(&format!("name-{index}"), "v");
        store.create_secret(act(&caller, 1), new).await
    });
    assert!(outcomes.iter().all(Result::is_ok));
    let together = instance.store().stats();
    assert_eq!(together.writes, alone.writes + 200);
    let commits = together.commits - alone.commits;
    assert!(commits < 100, "{commits} commits for 200 writes");
    // What is refused commits nothing.
    instance.create("alone", "v").unwrap_err();
    assert_eq!(instance.store().stats(), together);
    let all = instance.page(500, 0);
    assert_eq!((all.items.len(), all.total), (201, 201));
    assert!(all.items.is_sorted_by(|newer, older| newer.id > older.id));
}

#[test]
fn a_write_happens_even_if_nobody_waits_for_it() {
    let instance = Instance::new();
    instance.wait(async {
        for index in 0..50 {
            let new = new_secret(&format!("name-{index}"), "v");
            let mut create = Box::pin(instance.store().create_secret(instance.act(1), new));
            // Polled once, so that it waits in the queue, and dropped.
            let _ = futures_poll(create.as_mut()).await;
        }
    });
    instance.create("last", "v").unwrap();
    let contents = audit(instance.store()).unwrap();
    assert!(contents.contains_key("last"));
    assert_eq!(contents.len(), 51);
}

/// Polls a future once.
async fn futures_poll<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        let polled = std::pin::Pin::new(&mut future).poll(context);
        std::task::Poll::Ready(match polled {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[test]
fn shutdown_makes_what_waits_and_then_refuses() {
    let mut instance = Instance::new();
    let outcomes = instance.race(60, |store, caller, index| async move {
        if index == 30 {
            store.shutdown().await;
            return Ok(None);
        }
        let new = new_secret(&format!("name-{index}"), "v");
        store.create_secret(act(&caller, 1), new).await.map(Some)
    });
    let unavailable = CreateSecretError::Store(StoreFailure::Unavailable);
    let made = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Some(_)))).count();
    let refused = outcomes.iter().filter(|outcome| **outcome == Err(unavailable.clone())).count();
    assert_eq!(made + refused, 59);
    assert_eq!(instance.create("late", "v").unwrap_err(), unavailable);
    let page = Page { limit: 1, offset: 0, prefix: None };
    let list = instance.store().list_secrets(&instance.grant(), &page);
    assert_eq!(list.unwrap_err(), StoreFailure::Unavailable);
    // The file is closed while the handle still lives: another process can have it.
    let other = open(&instance.disk, &instance.chip, LIMITS).unwrap();
    assert_eq!(audit(&other).unwrap().len(), made);
}

#[test]
fn readers_see_whole_states_while_writers_write() {
    let mut instance = Instance::new();
    let outcomes = instance.race(40, |store, caller, index| async move {
        for round in 0..10 {
            let page = Page { limit: 1_000, offset: 0, prefix: None };
            let seen = store.list_secrets(&caller.grant().unwrap(), &page).unwrap();
            assert_eq!(seen.items.len() as u64, seen.total);
            for item in &seen.items {
                assert!(store.secret(&caller.grant().unwrap(), item.id).is_ok());
            }
            let new = new_secret(&format!("name-{index}-{round}"), "v");
            let own = store.create_secret(act(&caller, 1), new).await.unwrap();
            // One's own write is seen as soon as it is answered.
            assert_eq!(store.secret(&caller.grant().unwrap(), own.id).unwrap(), own);
        }
    });
    assert_eq!(outcomes.len(), 40);
    assert_eq!(audit(instance.store()).unwrap().len(), 400);
}

#[test]
fn ids_grow_when_the_clock_goes_backwards() {
    let mut instance = Instance::new();
    let times = [500, 400, 0, 500, 501, 100];
    let mut last = None;
    for (index, seconds) in times.into_iter().enumerate() {
        let secret = instance.create_at(&format!("name-{index}"), "v", at(seconds)).unwrap();
        assert!(last < Some(secret.id));
        last = Some(secret.id);
        instance.reopen();
    }
    let newest = instance.page(1, 0).items.remove(0);
    assert_eq!(newest.name.as_str(), "name-5");
    assert_eq!(newest.created_at, at(100));
}

#[test]
fn a_claim_repeated_while_its_tokens_are_used_leaves_one_answer() {
    for _ in 0..20 {
        let (disk, chip) = (Disk::default(), Chip::new(1));
        let (store, first) = found(&disk, &chip, LIMITS);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (store, first) = (Arc::new(store), Arc::new(first));
        let mut tasks = JoinSet::new();
        for index in 0..12 {
            let (store, first) = (Arc::clone(&store), Arc::clone(&first));
            let task = async move {
                if index % 3 == 0 {
                    return Ok(store.authenticate(&first.admin_token, at(1)).await.is_ok());
                }
                store.claim_again(OWNER).await.map_or(Ok(false), Err)
            };
            tasks.spawn_on(task, runtime.handle());
        }
        let outcomes = runtime.block_on(tasks.join_all());
        let used = outcomes.iter().any(|outcome| matches!(outcome, Ok(true)));
        let answers: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        // Once a token has been used, no claim is repeated: all the answers came before, and killed
        // it.
        assert!(!used || answers.is_empty());
        let mut tokens: Vec<_> = answers.iter().map(|answer| &answer.admin_token).collect();
        tokens.push(&first.admin_token);
        let works = |token| runtime.block_on(store.authenticate(token, at(1))).is_ok();
        assert_eq!(tokens.into_iter().filter(|token| works(token)).count(), 1);
        audit(&store).unwrap();
    }
}

#[test]
fn of_two_last_admins_that_revoke_each_other_one_stays() {
    for _ in 0..10 {
        let mut instance = Instance::new();
        let permissions = [Permission::Admin, Permission::Reveal];
        let (second, other) = instance.key(&permissions, Scope::All);
        let (first, second) = (instance.admin.key_id(), second.id);
        let outcomes = instance.race(40, |store, caller, index| {
            let (by, id) = if index % 2 == 0 { (caller, second) } else { (other.clone(), first) };
            async move { store.revoke_key(act(&by, 5), id).await }
        });
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for refused in outcomes.into_iter().filter_map(Result::err) {
            // The winner finds nothing more to revoke; the loser is nobody any more.
            let gone = RevokeKeyError::Store(StoreFailure::KeyRevoked);
            assert!(refused == RevokeKeyError::NotFound || refused == gone, "{refused}");
        }
        audit(instance.store()).unwrap();
    }
}

#[test]
fn rotating_and_revoking_at_once_leaves_an_admin_whose_token_is_known() {
    for _ in 0..10 {
        let mut instance = Instance::new();
        let permissions = [Permission::Admin, Permission::Reveal];
        let (second, _) = instance.key(&permissions, Scope::All);
        let (first, second) = (instance.admin.key_id(), second.id);
        let outcomes = instance.race(40, |store, caller, index| async move {
            let overlap = Overlap::from_seconds(0).unwrap();
            match index % 2 {
                0 => store.rotate_key(act(&caller, 2), first, overlap).await.map(|_| true).ok(),
                _ => store.revoke_key(act(&caller, 2), second).await.map(|()| false).ok(),
            }
        });
        // Whichever came first stops the other: the token is gone, or the second admin is.
        assert_eq!(outcomes.into_iter().flatten().count(), 1);
        audit(instance.store()).unwrap();
    }
}

/// Looks up names, and fills the memory of them from the newest commit, or from what it was a moment
/// ago.
fn look_and_fill(store: &Store, account: AccountId, forgets: bool) {
    let snapshot = store.writer.snapshot().unwrap();
    let access = store.writer.shared.core.access(&*snapshot);
    if forgets {
        store.writer.shared.core.places.forget_all();
    }
    let keys = access.account(account).unwrap();
    for own in 2..6 {
        let name = super::name(&format!("{own}-0"));
        secrets::named(&access, &keys, &name, at(2)).unwrap();
    }
    std::thread::yield_now();
    names::read_ahead(&access, account).unwrap();
}

/// Memory of names is forgotten, and filled from snapshots of any age, while names come and go.
#[test]
fn readers_that_fill_the_memory_of_names_mislead_no_writer() {
    let mut instance = Instance::new();
    let account = instance.claim.account;
    instance.race(6, |store, caller, index| async move {
        if index < 2 {
            for round in 0..300 {
                look_and_fill(&store, account, round % 3 == index);
                tokio::task::yield_now().await;
            }
            return;
        }
        for round in 0..60 {
            let name = format!("{index}-{}", round % 3 / 2);
            let (new, again) = (new_secret(&name, "v"), new_secret(&name, "v"));
            let made = store.create_secret(act(&caller, 1), new).await.unwrap();
            let again = store.create_secret(act(&caller, 1), again).await;
            assert_eq!(again, Err(CreateSecretError::NameTaken), "{name}");
            store.delete_secret(act(&caller, 2), made.id).await.unwrap();
        }
    });
    assert_eq!(audit(instance.store()).unwrap().len(), 0);
}

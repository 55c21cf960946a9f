//! A disk that becomes full.

use super::audit::audit;
use super::*;
use crate::limits::DISK_RESERVE_BYTES;
use crate::model::{Quotas, SecretId};

pub(super) const MIB: usize = 1_048_576;
pub(super) const RESERVE: usize = DISK_RESERVE_BYTES as usize;

/// On a disk that can take so many bytes more, with a reserve or without.
fn instance(bytes: usize) -> Instance {
    let per_account = PerResource { value_bytes: 1_000_000_000, ..PER_ACCOUNT };
    let instance = Instance::with_quotas(per_account);
    instance.disk.leave(bytes);
    instance
}

fn large() -> String {
    "x".repeat(65_536)
}

/// Creates secrets of 64 KiB until there is no room.
fn fill(instance: &Instance, prefix: &str) -> Vec<SecretId> {
    let mut made = Vec::new();
    loop {
        match instance.create(&format!("{prefix}-{}", made.len()), &large()) {
            Ok(secret) => made.push(secret.id),
            Err(error) => {
                assert_eq!(error, CreateSecretError::Store(StoreFailure::DiskFull));
                return made;
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_what_grows_and_takes_what_ends_something() {
    let mut instance = instance(RESERVE + 16 * MIB);
    let (key, _) = instance.key(&[Permission::Read], Scope::All);
    let small = instance.create("small", "v").unwrap().id;
    let made = fill(&instance, "a");
    assert!(made.len() > 50, "{} secrets of 64 KiB in 16 MiB", made.len());

    let full = StoreFailure::DiskFull;
    let refused = |error| assert_eq!(error, UpdateSecretError::Store(StoreFailure::DiskFull));
    refused(instance.update(made[0], new_value(&large())).unwrap_err());
    // What is left takes small records, until it is gone too. No value leaves without its event.
    let told = instance.log().len();
    let revealed = (0..100_000).find(|_| {
        let reveal = instance.wait(instance.store().reveal(instance.act(3), made[0], None));
        match reveal {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error, ReadError::Store(full.clone()));
                true
            }
        }
    });
    assert_eq!(instance.log().len() - told, revealed.unwrap());
    assert_eq!(instance.page(1, 0).total, made.len() as u64 + 1);
    assert_eq!(instance.value(small, None).unwrap(), "v");

    instance.wait(instance.store().revoke_key(instance.act(4), key.id)).unwrap();
    for id in &made {
        instance.delete(*id).unwrap();
    }
    // What was removed is free inside the file, now and after a restart.
    let again = fill(&instance, "b");
    assert!(again.len() * 3 > made.len(), "{} where there were {}", again.len(), made.len());
    instance.reopen();
    fill(&instance, "c");
    instance.delete(again[0]).unwrap();
    instance.delete(again[1]).unwrap();
    instance.delete(again[2]).unwrap();
    instance.create("d", &large()).unwrap();
    audit(instance.store()).unwrap();

    instance.disk.leave(RESERVE * 3);
    instance.update(small, new_value(&large())).unwrap();
    instance.create("e", &large()).unwrap();
}

#[test]
fn a_flood_of_writes_does_not_reach_the_reserve() {
    let mut instance = instance(RESERVE + 20 * MIB);
    for round in 0..3 {
        let outcomes = instance.race(600, move |store, caller, index| async move {
            let new = new_secret(&format!("{round}-{index}"), &large());
            store.create_secret(act(&caller, 1), new).await.map(|secret| secret.id)
        });
        let made: Vec<SecretId> =
            outcomes.iter().filter_map(|it| it.as_ref().ok()).copied().collect();
        let refused = outcomes.iter().filter_map(|it| it.as_ref().err());
        for error in refused {
            assert_eq!(*error, CreateSecretError::Store(StoreFailure::DiskFull));
        }
        assert!(!made.is_empty() && made.len() < 600, "{}", made.len());
        let gone = instance.race(made.len(), move |store, caller, index| {
            let id = made[index];
            async move { store.delete_secret(act(&caller, 2), id).await }
        });
        assert!(gone.into_iter().all(|outcome| outcome.is_ok()));
    }
    let free = (instance.disk.space())().unwrap().free;
    assert!(free > DISK_RESERVE_BYTES / 4, "{free} bytes are left");
    audit(instance.store()).unwrap();
}

#[test]
fn the_owner_goes_on_with_a_full_disk() {
    let instance = instance(RESERVE + 4 * MIB);
    fill(&instance, "a");
    let new = NewAccount { name: label("second"), quotas: Quotas::default() };
    instance.wait(instance.store().create_account(instance.owner_act(), new)).unwrap();
    assert_eq!(
        instance.create("b", &large()).unwrap_err(),
        CreateSecretError::Store(StoreFailure::DiskFull)
    );
}

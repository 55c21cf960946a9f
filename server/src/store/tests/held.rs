//! Stores that are opened with another configuration than the accepted one.

use super::super::body::{OwnerBody, OwnerBodyV1};
use super::super::record::{Address, body_version};
use super::audit::records;
use super::damage::with_records;
use super::*;
use crate::audit::{Action, Object};
use neo_secrets_attestation::binding::configuration_message;
use neo_secrets_attestation::config::Reveal;
use neo_secrets_attestation::evidence::ConfigText;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use sha2::{Digest, Sha256};

pub(super) struct Owner(PKey<Private>);

impl Owner {
    pub(super) fn new() -> Self {
        Self(PKey::generate_ed25519().unwrap())
    }

    pub(super) fn public(&self) -> PublicKey {
        PublicKey(self.0.raw_public_key().unwrap().try_into().unwrap())
    }

    fn sign(&self, store: StoreId, number: u64, text: &ConfigText) -> Signature {
        self.sign_message(&configuration_message(&store, number, text))
    }

    pub(super) fn sign_message(&self, message: &[u8]) -> Signature {
        let signed = Signer::new_without_digest(&self.0).unwrap().sign_oneshot_to_vec(message);
        Signature(signed.unwrap().try_into().unwrap())
    }
}

fn revealing() -> AttestedConfig {
    AttestedConfig { reveal: Reveal::ByPermission, ..config() }
}

fn text() -> ConfigText {
    ConfigText::new(b"reveal = \"by-permission\"\n").unwrap()
}

fn claimed(owner: &Owner) -> (Disk, Chip, ClaimAnswer) {
    let (disk, chip) = (Disk::default(), Chip::new(1));
    let founding = Founding {
        owner: owner.public(),
        config: config(),
        account_name: label("a"),
        sealer: &chip.sealer(),
        clock: clock(),
    };
    let (_engine, _core, claim) =
        founding::found((disk.backend(), disk.space()), founding, LIMITS).unwrap();
    (disk, chip, claim)
}

fn open_with(disk: &Disk, chip: &Chip, config: &AttestedConfig) -> Opening {
    let closed = opening::open_backend(disk.backend(), disk.space()).unwrap();
    let derive = |request: &_| chip.derive(request);
    closed.unseal(&chip.boot(), derive, LIMITS, config, &clock()).ok().unwrap().store
}

#[test]
fn another_configuration_waits_for_its_owner() {
    let owner = Owner::new();
    let (disk, chip, claim) = claimed(&owner);
    let (id, text, wanted) = (claim.store_id, text(), revealing());
    let held = open_with(&disk, &chip, &wanted).held();
    assert_eq!((held.store_id(), held.instance_key()), (id, claim.instance_key));
    assert_eq!((held.accepted(), held.next_act()), (&config(), 1));
    assert_eq!(held.accepted().differing(&wanted), ["reveal"]);

    let before = disk.bytes();
    let mut held = Box::new(held);
    let other_store = StoreId([0; 16]);
    let other_text = ConfigText::new(b"reveal = \"off\"\n").unwrap();
    for (number, signature) in [
        (0, owner.sign(id, 0, &text)),
        (2, owner.sign(id, 2, &text)),
        (1, owner.sign(id, 2, &text)),
        (1, owner.sign(other_store, 1, &text)),
        (1, owner.sign(id, 1, &other_text)),
        (1, Owner::new().sign(id, 1, &text)),
    ] {
        let acceptance = Acceptance {
            number,
            signature: &signature,
            text: &text,
            config: &wanted,
            origin: origin("accepts"),
        };
        let Err((Some(still), error)) = held.accept(&acceptance) else { panic!("accepted") };
        match error {
            AcceptError::Number { next } => assert!(number != 1 && next == 1),
            AcceptError::Signature => assert_eq!(number, 1),
            AcceptError::Store(failure) => panic!("{failure}"),
        }
        held = still;
    }
    assert!(disk.bytes() == before);
    let signature = owner.sign(id, 1, &text);
    let acceptance = Acceptance {
        number: 1,
        signature: &signature,
        text: &text,
        config: &wanted,
        origin: origin("accepts"),
    };
    let store = held.accept(&acceptance).ok().unwrap();
    let owner_caller = OwnerCaller { key: KeyId::from_bytes([0; 18]) };
    let events = store.instance_events(&owner_caller, &super::log::query(10, 0)).unwrap();
    let [event] = &events.items[..] else { panic!("{} events", events.total) };
    let text_sha256 = ContentHash(Sha256::digest(text.as_str()).into());
    assert_eq!(event.object, Object::Configuration { number: 1, text_sha256 });
    assert_eq!(event.action, Action::ConfigurationAccept);
    drop(store);

    // From here on the new one is it, and the old one waits; the same signature serves once.
    drop(open_with(&disk, &chip, &wanted).opened());
    let held = open_with(&disk, &chip, &config()).held();
    assert_eq!(held.next_act(), 2);
    let back = Acceptance { config: &config(), origin: origin("again"), ..acceptance };
    let Err((_, AcceptError::Number { next: 2 })) = held.accept(&back) else { panic!("twice") };
}

#[test]
fn a_disk_that_fails_at_the_acceptance_leaves_the_old_or_the_new() {
    let (mut old, mut new) = (0, 0);
    for operations in 0..20 {
        let owner = Owner::new();
        let (disk, chip, claim) = claimed(&owner);
        let (text, wanted) = (text(), revealing());
        let held = open_with(&disk, &chip, &wanted).held();
        disk.fail_after(operations);
        let signature = owner.sign(claim.store_id, 1, &text);
        let acceptance = Acceptance {
            number: 1,
            signature: &signature,
            text: &text,
            config: &wanted,
            origin: origin("accepts"),
        };
        let accepted = held.accept(&acceptance).is_ok();
        disk.repair();
        match open_with(&disk, &chip, &wanted) {
            Opening::Open(_) => new += 1,
            Opening::Held(_) => {
                assert!(!accepted);
                old += 1;
            }
        }
    }
    assert!(old > 2 && new > 2, "{old} old, {new} new");
}

#[test]
fn an_old_store_takes_over_the_configuration_of_its_first_start_and_no_later_one() {
    let mut instance = Instance::new();
    let id = instance.create("a", "v").unwrap().id;
    let store = instance.store.take().unwrap();
    let mut changes = Changes::default();
    let snapshot = store.writer.snapshot().unwrap();
    let access = store.writer.shared.core.access(&*snapshot);
    let system = access.core.system();
    let OwnerBody {
        public_key, bearer_key, account, admin_key, settled, config: _, acts: _, ..
    } = access.get(system, &Address::owner()).unwrap();
    let old = OwnerBodyV1 { public_key, bearer_key, account, admin_key, settled };
    access.put(&mut changes, system, &Address::owner_v1(), &old).unwrap();
    drop((snapshot, store));
    instance.disk = with_records(&instance.disk, &changes);

    instance.store = Some(open_with(&instance.disk, &instance.chip, &revealing()).opened());
    assert_eq!(instance.value(id, None).unwrap(), "v");
    let record = records(instance.store()).remove(Address::owner().key()).unwrap();
    assert_eq!(body_version(&record), Some(3));
    audit::audit(instance.store()).unwrap();
    drop(instance.store.take());
    drop(open_with(&instance.disk, &instance.chip, &config()).held());
    drop(open_with(&instance.disk, &instance.chip, &revealing()).opened());
}

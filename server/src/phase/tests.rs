use std::pin::pin;
use std::task::{Context, Poll, Waker};

use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::product::Product;

use super::*;
use crate::clock::Clock;
use crate::model::{Label, PerResource};
use crate::testing::FakePlatform;

/// An instance that serves this store.
pub(crate) fn serving(store: Store) -> Arc<Instance> {
    let folder = tempfile::tempdir().unwrap();
    let instance = unclaimed(folder.path());
    let sealed_at = crate::seal::tcb_floor(Product::Genoa);
    instance.phase.store(Arc::new(Phase::Serving(Serving::new(store, sealed_at))));
    instance
}

fn unclaimed(folder: &std::path::Path) -> Arc<Instance> {
    let identity = Identity {
        tls_spki_sha256: [1; 32],
        config: ConfigText::new(b"x = 1\n").unwrap(),
        attested: crate::store::tests::config(),
        image_version: ImageVersion::new("0.1.0").unwrap(),
    };
    let limits = StoreLimits {
        versions_kept: 10,
        per_account: PerResource::each(|_| 9),
        accounts: 1,
        execution_bytes: 9,
    };
    let clock = Clock::start(std::time::SystemTime::now());
    let processor = Processor::new(FakePlatform::new([]));
    let instance = Instance::new(processor, identity, Data::open(folder).unwrap(), limits, clock);
    instance.boot().unwrap();
    Arc::new(instance)
}

fn owner() -> PublicKey {
    let key = openssl::pkey::PKey::generate_ed25519().unwrap().raw_public_key().unwrap();
    data_encoding::BASE64.encode(&key).parse().unwrap()
}

#[test]
fn a_claim_whose_caller_went_away_still_keeps_the_next_one_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let instance = unclaimed(folder.path());
    let claim = |owner| {
        let name = Label::parse("default".to_owned()).unwrap();
        instance.clone().claim(owner, name)
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let (first, second) = (owner(), owner());
        {
            let mut abandoned = pin!(claim(first));
            let begun = abandoned.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(begun, Poll::Pending));
        }
        assert!(matches!(claim(second).await, Err(ClaimError::AlreadyClaimed)));
        assert!(claim(first).await.is_ok(), "a lost answer can be had again");
    });
}

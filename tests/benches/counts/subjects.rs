//! What `counts` and `hot` work on: evidence of a SIMULATED chip, and a claimed store.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use neo_secrets_attestation::appraise::{Channel, Freshness, Pin, Verified, verify};
use neo_secrets_attestation::binding::{
    self, Exporter, Nonce, ReportData, Role, Tree, instance_message,
};
use neo_secrets_attestation::config::AttestedConfig;
use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use neo_secrets_attestation::evidence::{
    BatchBody, ClaimPhase, Claims, ConfigText, Document, StoreId,
};
use neo_secrets_attestation::exchange::{Exchange, Trust};
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::report::Report;
use neo_secrets_attestation::roots::Roots;
use neo_secrets_attestation::time::UnixTime;
use neo_secrets_server::access::Token;
use neo_secrets_server::benching::Records;
use neo_secrets_server::clock::Clock;
use neo_secrets_server::model::{Label, PerResource, SecretName, Timestamp};
use neo_secrets_server::platform::Platform;
use neo_secrets_server::seal::{BootIdentity, DerivedKey};
use neo_secrets_server::store::{Founding, Place, Store, StoreLimits};
use neo_secrets_tests::appliance::{CONFIG, chip};
use openssl::pkey::PKey;
use openssl::sign::Signer;
use snp_simulator::Machine;
use snp_simulator::client_files::{policy, reference};
use time::OffsetDateTime;

/// An answer with evidence, and what a client judges it by.
pub struct Evidence {
    pub report: Vec<u8>,
    pub document: Vec<u8>,
    pub nonce: Nonce,
    pub channel: Channel,
    pub trust: Trust,
    pub now: UnixTime,
}

impl Evidence {
    /// Of the one report of a Genoa chip, for five callers.
    pub fn new() -> Evidence {
        let (machine, now) = machine();
        let endorsements = machine.endorsements().unwrap();
        let instance = PKey::generate_ed25519().unwrap();
        let key = PublicKey(instance.raw_public_key().unwrap().try_into().unwrap());
        let config = AttestedConfig::parse(CONFIG.as_bytes()).unwrap();
        let trust = Trust {
            roots: Roots::simulated(&endorsements.ark).unwrap(),
            reference: reference(machine.chip()),
            policy: policy(machine.chip(), config, now),
            pin: Pin::InstanceKey(key),
        };
        let claims = Claims {
            tls_spki_sha256: [2; 32],
            config: ConfigText::new(CONFIG.as_bytes()).unwrap(),
            image_version: trust.reference.image_version.clone(),
            phase: ClaimPhase::Serving {
                store_id: StoreId([3; 16]),
                instance_key: key,
                log_key: key,
                receipt_key: key,
            },
        };
        let nonce = Nonce::new(&[4; 32]).unwrap();
        let channel = Channel { exporter: Exporter([5; 32]), tls_spki_sha256: [2; 32] };
        let leaf = binding::leaf(Role::Evidence, &nonce, &channel.exporter);
        let tree = Tree::new(&[leaf; 5]).unwrap();
        let data = binding::report_data(&claims, &tree.root());
        let report = report(&machine, &data);
        let mut signer = Signer::new_without_digest(&instance).unwrap();
        let signature = signer.sign_oneshot_to_vec(&instance_message(&data)).unwrap();
        let signature = Signature(signature.try_into().unwrap());
        let body = BatchBody::new(&report, &endorsements, &claims, Some(&signature));
        let document = body.document(&tree.path(2).unwrap());
        let now = u64::try_from(now.unix_timestamp()).unwrap();
        let now = UnixTime::from_seconds(now).unwrap();
        Evidence { report, document, nonce, channel, trust, now }
    }

    /// Steps 0 to 11.
    pub fn judge(&self) -> bool {
        let exchange = Exchange::start(self.nonce.clone());
        exchange.finish(200, &self.document, &self.channel, &self.trust, self.now).is_ok()
    }

    /// After steps 0 to 6.
    pub fn verified(&self) -> Verified {
        let document = Document::parse(&self.document).unwrap();
        let (nonce, channel) = (&self.nonce, &self.channel);
        let freshness = Freshness { role: Role::Evidence, nonce, channel };
        let rules = self.trust.policy.rules(self.trust.roots.clone());
        verify(document, &freshness, &rules, self.now).unwrap()
    }
}

/// A store in a folder that goes with it. Its claim is final, and nobody but its owner has
/// authenticated.
pub struct Claimed {
    store: Store,
    admin: Token,
    _folder: tempfile::TempDir,
}

const PLENTY: PerResource<u64> = PerResource {
    secrets: 1_000,
    value_bytes: 1_000_000,
    api_keys: 100,
    audit_events: 1_000,
    functions: 10,
};

impl Claimed {
    pub fn new() -> Claimed {
        let folder = tempfile::tempdir().unwrap();
        let (machine, _) = machine();
        let bytes = report(&machine, &ReportData([0; 64]));
        let report = Report::try_from(bytes.as_slice()).unwrap();
        let identity = BootIdentity::from_report(&report, Product::Genoa).unwrap();
        let answer = machine.derive_key(identity.seal_request().as_bytes()).unwrap();
        let founding = Founding {
            owner: PublicKey([1; 32]),
            config: AttestedConfig::parse(CONFIG.as_bytes()).unwrap(),
            account_name: Label::parse("first".to_owned()).unwrap(),
            sealer: &identity.sealer(DerivedKey::from_response(&*answer).unwrap()),
            clock: Arc::new(Clock::start(SystemTime::now())),
        };
        let limits = StoreLimits {
            versions_kept: 10,
            per_account: PLENTY,
            accounts: 10,
            execution_bytes: 1_000_000,
        };
        let place = Place::File(folder.path().join("store.redb"));
        let (store, claim) = Store::create(&place, founding, limits).unwrap();
        let claimed = Claimed { store, admin: claim.admin_token, _folder: folder };
        claimed.authenticate(&claim.owner_token);
        claimed
    }

    /// Authenticates the first account's admin key.
    pub fn admit(&self) {
        self.authenticate(&self.admin);
    }

    fn authenticate(&self, token: &Token) {
        let mut work = std::pin::pin!(self.store.authenticate(token, now()));
        // It waits for the disk once, at the first authentication of all.
        let mut context = Context::from_waker(Waker::noop());
        let caller = loop {
            match work.as_mut().poll(&mut context) {
                Poll::Ready(caller) => break caller,
                Poll::Pending => std::thread::yield_now(),
            }
        };
        assert!(caller.is_ok());
    }
}

/// A secret, and keys of no store.
pub fn records() -> Records {
    Records::new(name()).unwrap()
}

/// A token of nobody's.
pub fn token() -> Token {
    Token::parse(&format!("neo_{}", "A".repeat(43))).unwrap()
}

pub fn name() -> SecretName {
    SecretName::parse("database-password".to_owned()).unwrap()
}

pub fn now() -> Timestamp {
    Timestamp::from_unix_millis(1_800_000_000_000)
}

fn machine() -> (Machine, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (Machine::launch(chip(snp_simulator::Product::Genoa), now).unwrap(), now)
}

fn report(machine: &Machine, data: &ReportData) -> Vec<u8> {
    machine.report(&data.0).unwrap()[32..32 + 1184].to_vec()
}

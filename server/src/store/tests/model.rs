//! The store against maps, one for each account: whatever is done, both say the same.

use super::log::{query, short, whole_log};
use super::*;
use crate::model::{AccountChange, AccountId, Quotas};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Operation {
    Create { name: usize, text: String },
    UpdateValue { name: usize, text: String },
    Describe { name: usize, text: Option<String> },
    UpdateFrom { name: usize, revision: u64 },
    Rollback { name: usize, version: u64 },
    Delete { name: usize },
    Reveal { name: usize, version: Option<u64> },
    Log { limit: usize, offset: u64 },
    Page { limit: usize, offset: u64 },
    Prefix { name: usize },
    Reopen,
}

/// What happens next: in an account, or to one.
#[derive(Clone, Debug)]
enum Step {
    In { account: usize, operation: Operation },
    Make { quota: Option<u64> },
    SetQuota { account: usize, quota: Option<u64> },
    Remove { account: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let (account, quota) = (0..3_usize, proptest::option::of(0..150_u64));
    prop_oneof![
        40 => (account.clone(), operation())
            .prop_map(|(account, operation)| Step::In { account, operation }),
        2 => quota.clone().prop_map(|quota| Step::Make { quota }),
        2 => (account.clone(), quota).prop_map(|(account, quota)| Step::SetQuota { account, quota }),
        1 => account.prop_map(|account| Step::Remove { account }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let name = 0..NAMES.len();
    let text = "[a-zé☃]{1,40}";
    prop_oneof![
        5 => (name.clone(), text).prop_map(|(name, text)| Operation::Create { name, text }),
        3 => (name.clone(), text).prop_map(|(name, text)| Operation::UpdateValue { name, text }),
        1 => (name.clone(), proptest::option::of(text))
            .prop_map(|(name, text)| Operation::Describe { name, text }),
        1 => (name.clone(), 1..4_u64)
            .prop_map(|(name, revision)| Operation::UpdateFrom { name, revision }),
        2 => (name.clone(), 0..6_u64)
            .prop_map(|(name, version)| Operation::Rollback { name, version }),
        3 => name.clone().prop_map(|name| Operation::Delete { name }),
        3 => (name.clone(), proptest::option::of(0..6_u64))
            .prop_map(|(name, version)| Operation::Reveal { name, version }),
        1 => (0..5_usize, 0..20_u64).prop_map(|(limit, offset)| Operation::Log { limit, offset }),
        1 => (0..5_usize, 0..7_u64).prop_map(|(limit, offset)| Operation::Page { limit, offset }),
        1 => name.prop_map(|name| Operation::Prefix { name }),
        1 => Just(Operation::Reopen),
    ]
}

const NAMES: [&str; 7] = ["a", "aa", "b-1", "b-2", "B-1", "long.name_with-all", "0"];

/// What the map knows of a live secret.
#[derive(Clone, Debug)]
struct Known {
    id: SecretId,
    revision: u64,
    description: Option<String>,
    /// Every value there ever was; the last three are kept.
    values: Vec<String>,
}

#[derive(Default)]
struct Map {
    live: BTreeMap<&'static str, Known>,
    /// Creation order, the deleted ones too.
    order: Vec<SecretId>,
    /// What the log has to tell.
    told: Vec<(&'static str, &'static str, Option<u64>)>,
    /// The account's quota of bytes of values, where it has one of its own.
    quota: Option<u64>,
}

impl Known {
    fn kept(&self) -> BTreeMap<u64, String> {
        let surplus = self.values.len().saturating_sub(LIMITS.versions_kept);
        let kept = (1..).zip(&self.values).skip(surplus);
        kept.map(|(version, text)| (version, text.clone())).collect()
    }

    fn bytes(&self) -> u64 {
        self.kept().values().map(|text| text.len() as u64).sum()
    }

    /// With one more value.
    fn with(&self, text: String) -> Self {
        let mut known = self.clone();
        known.values.push(text);
        known.revision += 1;
        known
    }
}

impl Map {
    fn bytes(&self) -> u64 {
        self.live.values().map(Known::bytes).sum()
    }

    /// The quota, where it stops the account from having so many bytes.
    fn stops_at(&self, after: u64) -> Option<StoreFailure> {
        let limit = self.quota.unwrap_or(PER_ACCOUNT.value_bytes);
        (after > limit && after > self.bytes()).then(|| full(Resource::ValueBytes, limit))
    }

    fn newest_first(&self, prefix: &str) -> Vec<SecretId> {
        let mut ids: Vec<_> = self
            .live
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(_, known)| known.id)
            .collect();
        ids.sort_by_key(|id| self.order.iter().rposition(|other| other == id));
        ids.reverse();
        ids
    }
}

fn run(instance: &mut Instance, map: &mut Map, operation: Operation) {
    match operation {
        Operation::Create { name, text } => {
            let name = NAMES[name];
            let stopped = map.stops_at(map.bytes() + text.len() as u64);
            match (instance.create(name, &text), map.live.contains_key(name)) {
                (Err(CreateSecretError::Store(failure)), false) => {
                    assert_eq!(Some(failure), stopped);
                }
                (Ok(secret), false) => {
                    assert_eq!(stopped, None);
                    let known =
                        Known { id: secret.id, revision: 1, description: None, values: vec![text] };
                    map.order.push(secret.id);
                    map.told.push(("secret.create", name, Some(1)));
                    map.live.insert(name, known);
                }
                (Err(CreateSecretError::NameTaken), true) => {}
                (outcome, taken) => panic!("{outcome:?}, taken: {taken}"),
            }
        }
        Operation::UpdateValue { name, text } => {
            let Some(known) = map.live.get(NAMES[name]) else { return };
            let changed = known.with(text.clone());
            let stopped = map.stops_at(map.bytes() - known.bytes() + changed.bytes());
            match instance.update(known.id, new_value(&text)) {
                Err(UpdateSecretError::Store(failure)) => assert_eq!(Some(failure), stopped),
                updated => {
                    assert_eq!((updated.unwrap().revision.0, stopped), (changed.revision, None));
                    let version = changed.values.len() as u64;
                    map.told.push(("secret.update", NAMES[name], Some(version)));
                    map.live.insert(NAMES[name], changed);
                }
            }
        }
        Operation::Describe { name, text } => {
            let Some(known) = map.live.get_mut(NAMES[name]) else { return };
            let description = match &text {
                Some(text) => Field::Set(Description::parse(text.clone()).unwrap()),
                None => Field::Clear,
            };
            instance.update(known.id, Change { description, ..no_change() }).unwrap();
            known.description = text;
            known.revision += 1;
            map.told.push(("secret.update", NAMES[name], None));
        }
        Operation::UpdateFrom { name, revision } => {
            let Some(known) = map.live.get_mut(NAMES[name]) else { return };
            let expected = Some(Revision(revision));
            let update =
                instance.store().update_secret(instance.act(2), known.id, no_change(), expected);
            let outcome = instance.wait(update);
            if revision == known.revision {
                known.revision += 1;
                map.told.push(("secret.update", NAMES[name], None));
                assert_eq!(outcome.unwrap().revision, Revision(known.revision));
            } else {
                let current = Revision(known.revision);
                assert_eq!(outcome.unwrap_err(), UpdateSecretError::RevisionMismatch { current });
            }
        }
        Operation::Rollback { name, version } => {
            let Some(known) = map.live.get(NAMES[name]) else { return };
            let outcome = instance.rollback(known.id, version);
            let newest = known.values.len() as u64;
            let oldest = newest.saturating_sub(LIMITS.versions_kept as u64) + 1;
            if (oldest..=newest).contains(&version) {
                let changed = known.with(known.values[version as usize - 1].clone());
                let stopped = map.stops_at(map.bytes() - known.bytes() + changed.bytes());
                match outcome {
                    Err(RollbackSecretError::Store(failure)) => assert_eq!(Some(failure), stopped),
                    outcome => {
                        let version = Version(newest + 1);
                        assert_eq!((outcome.unwrap().version, stopped), (version, None));
                        map.told.push(("secret.rollback", NAMES[name], Some(newest + 1)));
                        map.live.insert(NAMES[name], changed);
                    }
                }
            } else {
                let (oldest, newest) = (Version(oldest), Version(newest));
                assert_eq!(outcome.unwrap_err(), RollbackSecretError::NotKept { oldest, newest });
            }
        }
        Operation::Delete { name } => {
            let Some(known) = map.live.remove(NAMES[name]) else { return };
            instance.delete(known.id).unwrap();
            map.told.push(("secret.delete", NAMES[name], None));
            assert_eq!(instance.delete(known.id).unwrap_err(), DeleteSecretError::NotFound);
        }
        Operation::Reveal { name, version } => {
            let Some(known) = map.live.get(NAMES[name]) else { return };
            let outcome = instance.reveal(&instance.admin, known.id, version);
            let newest = known.values.len() as u64;
            let version = version.unwrap_or(newest);
            let oldest = newest.saturating_sub(LIMITS.versions_kept as u64) + 1;
            if (oldest..=newest).contains(&version) {
                map.told.push(("secret.reveal", NAMES[name], Some(version)));
                assert_eq!(outcome.unwrap(), known.values[version as usize - 1]);
            } else {
                assert_eq!(outcome.unwrap_err(), ReadError::NotFound);
            }
        }
        Operation::Log { limit, offset } => {
            let page = instance.store().events(&instance.grant(), &query(limit, offset)).unwrap();
            let shown: Vec<_> = page.items.iter().map(short).collect();
            let expected = map.told.iter().rev().skip(offset as usize).take(limit);
            assert_eq!(shown, expected.copied().collect::<Vec<_>>());
            assert_eq!(page.total, map.told.len() as u64);
        }
        Operation::Page { limit, offset } => {
            let page = instance.page(limit, offset);
            let ids: Vec<_> = page.items.iter().map(|item| item.id).collect();
            let all = map.newest_first("");
            let expected: Vec<_> = all.iter().copied().skip(offset as usize).take(limit).collect();
            assert_eq!((ids, page.total), (expected, all.len() as u64));
        }
        Operation::Prefix { name } => {
            let prefix = crate::model::NamePrefix::parse(NAMES[name].to_owned()).unwrap();
            let page = Page { limit: 2, offset: 1, prefix: Some(prefix) };
            let page = instance.store().list_secrets(&instance.grant(), &page).unwrap();
            let ids: Vec<_> = page.items.iter().map(|item| item.id).collect();
            let all = map.newest_first(NAMES[name]);
            let expected: Vec<_> = all.iter().copied().skip(1).take(2).collect();
            assert_eq!((ids, page.total), (expected, all.len() as u64));
        }
        Operation::Reopen => instance.reopen(),
    }
}

/// What is known of an account, and who acts in it.
struct KnownAccount {
    id: AccountId,
    token: Token,
    caller: Caller,
    map: Map,
}

fn take(instance: &mut Instance, accounts: &mut Vec<KnownAccount>, step: Step) {
    match step {
        Step::In { account, operation } => {
            let Some(known) = nth(accounts, account) else { return };
            instance.admin = known.caller.clone();
            run(instance, &mut known.map, operation);
        }
        Step::Make { quota } => {
            let quotas = Quotas { value_bytes: quota, ..Quotas::default() };
            let new = NewAccount { name: label("another"), quotas };
            let made = instance.wait(instance.store().create_account(instance.owner_act(), new));
            let allowed = accounts.len() < LIMITS.accounts as usize;
            match made {
                Ok((Account { id, .. }, token)) => {
                    assert!(allowed);
                    let caller = instance.authenticate(&token, at(1)).unwrap();
                    let map = Map { quota, ..Map::default() };
                    accounts.push(KnownAccount { id, token, caller, map });
                }
                Err(refused) => {
                    assert!(!allowed);
                    assert_eq!(refused, CreateAccountError::TooMany { limit: LIMITS.accounts });
                }
            }
        }
        Step::SetQuota { account, quota } => {
            let Some(known) = nth(accounts, account) else { return };
            let value_bytes = quota.map_or(Field::Clear, Field::Set);
            let quotas = PerResource { value_bytes, ..super::quotas::keep_all() };
            let change = AccountChange { name: None, quotas };
            let act = instance.owner_act();
            instance.wait(instance.store().update_account(act, known.id, change)).unwrap();
            known.map.quota = quota;
        }
        Step::Remove { account } => {
            if accounts.is_empty() {
                return;
            }
            let known = accounts.remove(account % accounts.len());
            let act = instance.owner_act();
            instance.wait(instance.store().delete_account(act, known.id)).unwrap();
            let refused = instance.authenticate(&known.token, at(1)).unwrap_err();
            assert_eq!(refused, AuthError::Unauthorized);
        }
    }
}

fn nth(accounts: &mut [KnownAccount], index: usize) -> Option<&mut KnownAccount> {
    let count = accounts.len().max(1);
    accounts.get_mut(index % count)
}

fn compare_all(instance: &mut Instance, accounts: &[KnownAccount]) {
    let mut contents = audit::audit_all(instance.store()).unwrap();
    for known in accounts {
        instance.admin = known.caller.clone();
        compare(instance, known.id, &known.map, &contents.remove(&known.id).unwrap());
        let usage = instance.store().account(&instance.owner_act().by, known.id).unwrap().usage;
        let (secrets, told) = (known.map.live.len() as u64, known.map.told.len() as u64);
        let value_bytes = known.map.bytes();
        let expected =
            PerResource { secrets, value_bytes, api_keys: 1, audit_events: told, functions: 0 };
        assert_eq!(usage, expected);
    }
    assert!(contents.is_empty());
}

fn compare(instance: &Instance, account: AccountId, map: &Map, contents: &audit::Contents) {
    let log = whole_log(instance.store(), account);
    assert_eq!(log.iter().map(short).collect::<Vec<_>>(), map.told);
    assert_eq!(contents.len(), map.live.len());
    for (name, known) in &map.live {
        let (id, revision, values) = &contents[*name];
        assert_eq!((id, revision.0), (&known.id, known.revision));
        let count = known.values.len();
        assert_eq!(values, &known.kept());
        let secret = instance.store().secret(&instance.grant(), known.id).unwrap();
        let description = secret.description.as_ref().map(|text| text.as_str().to_owned());
        assert_eq!(description, known.description);
        assert_eq!(secret.version, Version(count as u64));
        assert_eq!(instance.value(known.id, None).unwrap(), known.values[count - 1]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn the_store_does_what_maps_do(steps in proptest::collection::vec(step(), 1..80)) {
        let mut instance = Instance::new();
        let token = Token::parse(&instance.claim.admin_token.to_text()).unwrap();
        let (id, caller) = (instance.claim.account, instance.admin.clone());
        let mut accounts = vec![KnownAccount { id, token, caller, map: Map::default() }];
        for step in steps {
            take(&mut instance, &mut accounts, step);
        }
        compare_all(&mut instance, &accounts);
        instance.reopen();
        compare_all(&mut instance, &accounts);
    }
}

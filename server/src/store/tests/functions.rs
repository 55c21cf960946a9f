//! Functions: who may make and change them, and that binding is reading.

use super::audit::audit;
use super::log::{query, short};
use super::*;
use crate::audit::{Action, Actor, Object};
use crate::model::{EgressHosts, Environment, FunctionName, Memory, Timeout};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::JoinSet;

pub(super) const WRITE: &[Permission] = &[Permission::Write];
pub(super) const ADMIN: &[Permission] = &[Permission::Admin];

pub(super) fn code(text: &str) -> FunctionCode {
    FunctionCode::parse(text.to_owned()).unwrap()
}

pub(super) fn names(names: &[&str]) -> SecretNames {
    SecretNames::parse(names.iter().map(|name| (*name).to_owned()).collect()).unwrap()
}

pub(super) fn environment(pairs: &[(&str, &str)]) -> Environment {
    let own = |text: &&str| (*text).to_owned();
    Environment::parse(pairs.iter().map(|(name, value)| (own(name), own(value))).collect()).unwrap()
}

pub(super) fn egress(hosts: &[&str]) -> EgressHosts {
    EgressHosts::parse(hosts.iter().map(|host| (*host).to_owned()).collect()).unwrap()
}

pub(super) fn new_function(function: &str, secrets: &[&str]) -> NewFunction {
    NewFunction {
        name: FunctionName::parse(function.to_owned()).unwrap(),
        code: code("async function main() {}"),
        description: None,
        timeout: Timeout::DEFAULT,
        memory: Memory::DEFAULT,
        secrets: names(secrets),
        environment: Environment::default(),
        egress: EgressHosts::default(),
        tags: Tags::default(),
        pin_code: false,
    }
}

pub(super) fn pinned(function: &str, secrets: &[&str]) -> NewFunction {
    NewFunction { pin_code: true, ..new_function(function, secrets) }
}

pub(super) fn keep() -> FunctionChange {
    FunctionChange { secrets: Field::Keep, ..FunctionChange::of_secrets(SecretNames::default()) }
}

pub(super) fn new_code(text: &str) -> FunctionChange {
    FunctionChange { code: Some(code(text)), ..keep() }
}

impl Instance {
    pub(super) fn make(
        &self,
        by: &Caller,
        new: NewFunction,
    ) -> Result<Function, CreateFunctionError> {
        self.wait(self.store().create_function(act(by, 10), new))
    }

    pub(super) fn change(
        &self,
        by: &Caller,
        id: FunctionId,
        change: FunctionChange,
    ) -> Result<Function, UpdateFunctionError> {
        self.wait(self.store().update_function(act(by, 11), id, change))
    }

    pub(super) fn bind(
        &self,
        by: &Caller,
        id: FunctionId,
        secrets: &[&str],
    ) -> Result<Function, UpdateFunctionError> {
        self.wait(self.store().set_function_secrets(act(by, 12), id, names(secrets)))
    }

    pub(super) fn confirm(
        &self,
        by: &Caller,
        id: FunctionId,
        text: &str,
    ) -> Result<Function, ConfirmFunctionError> {
        self.wait(self.store().confirm_function(act(by, 13), id, code(text).hash()))
    }

    pub(super) fn remove(&self, id: FunctionId) -> Result<(), FunctionError> {
        self.wait(self.store().delete_function(self.act(14), id))
    }

    fn functions(&self, limit: usize, offset: u64) -> (Vec<String>, u64) {
        let page = self.store().list_functions(&self.grant(), limit, offset).unwrap();
        let names = page.items.iter().map(|function| function.name.as_str().to_owned());
        (names.collect(), page.total)
    }
}

#[test]
fn functions_live_their_life() {
    let mut instance = Instance::new();
    assert_eq!(instance.functions(10, 0), (vec![], 0));
    let new = NewFunction {
        description: Some(Description::parse("calls it".to_owned()).unwrap()),
        environment: environment(&[("REGION", "eu")]),
        egress: egress(&["api.example.com"]),
        tags: tags(&[("team", "a")]),
        memory: Memory::parse(8).unwrap(),
        timeout: Timeout::parse(300).unwrap(),
        ..new_function("caller", &["api-key", "not-there-yet"])
    };
    let made = instance.make(&instance.admin, new).unwrap();
    assert_eq!((made.created_at, made.updated_at), (at(10), at(10)));
    assert_eq!((made.timeout.get(), made.memory.get()), (300, 8));
    assert_eq!(made.code_sha256, code("async function main() {}").hash());
    assert_eq!((made.pin_code, made.confirmed), (false, None));
    let taken = instance.make(&instance.admin, new_function("caller", &[])).unwrap_err();
    assert_eq!(taken, CreateFunctionError::NameTaken);
    // A secret may have the name that a function has.
    instance.create("caller", "v").unwrap();
    instance.reopen();
    assert_eq!(instance.store().function(&instance.grant(), made.id).unwrap(), made);
    let (same, text) = instance.store().function_with_code(&instance.grant(), made.id).unwrap();
    assert_eq!((same, text), (made.clone(), code("async function main() {}")));

    let changed = instance.change(&instance.admin, made.id, new_code("other()")).unwrap();
    assert_eq!((changed.code_sha256, changed.updated_at), (code("other()").hash(), at(11)));
    assert_eq!(changed.environment, made.environment);
    let clear = FunctionChange {
        code: None,
        description: Field::Clear,
        timeout: Field::Clear,
        memory: Field::Clear,
        secrets: Field::Clear,
        environment: Field::Clear,
        egress: Field::Clear,
        tags: Field::Clear,
        pin_code: Field::Clear,
    };
    let cleared = instance.change(&instance.admin, made.id, clear).unwrap();
    let bare = Function {
        id: made.id,
        code_sha256: changed.code_sha256,
        created_at: at(10),
        updated_at: at(11),
        ..instance.make(&instance.admin, new_function("bare", &[])).unwrap()
    };
    assert_eq!(Function { name: bare.name.clone(), ..cleared }, bare);
    audit(instance.store()).unwrap();

    instance.make(&instance.admin, new_function("third", &[])).unwrap();
    assert_eq!(instance.functions(2, 0), (vec!["third".to_owned(), "bare".to_owned()], 3));
    assert_eq!(instance.functions(2, 2), (vec!["caller".to_owned()], 3));
    instance.remove(made.id).unwrap();
    assert_eq!(instance.remove(made.id).unwrap_err(), FunctionError::NotFound);
    let gone = instance.store().function(&instance.grant(), made.id).unwrap_err();
    assert_eq!(gone, FunctionError::NotFound);
    let gone = instance.change(&instance.admin, made.id, keep()).unwrap_err();
    assert_eq!(gone, UpdateFunctionError::NotFound);
    let again = instance.make(&instance.admin, new_function("caller", &[])).unwrap();
    assert!(again.id > made.id);
    instance.reopen();
    audit(instance.store()).unwrap();
}

#[test]
fn the_largest_function_fits() {
    let instance = Instance::new();
    let largest: Vec<_> = (0..100).map(|index| format!("{index:n>100}")).collect();
    let hosts = (0..100).map(|index| {
        let labels = ["a".repeat(63), "b".repeat(63), "c".repeat(63)];
        format!("{index:h>57}.{}.com", labels.join("."))
    });
    let hosts: Vec<_> = hosts.collect();
    assert!(hosts.iter().all(|host| host.len() == 253));
    let texts = (0..20).map(|index| (format!("{index:☃>100}"), "☃".repeat(500))).collect();
    let pairs = (0..100).map(|index| (format!("{index:e>256}"), "☃".repeat(133))).collect();
    let new = NewFunction {
        code: code(&"☃".repeat(87_381)),
        description: Some(Description::parse("☃".repeat(500)).unwrap()),
        secrets: SecretNames::parse(largest).unwrap(),
        environment: Environment::parse(pairs).unwrap(),
        egress: EgressHosts::parse(hosts).unwrap(),
        tags: Tags::parse(texts).unwrap(),
        ..pinned(&"n".repeat(64), &[])
    };
    let made = instance.make(&instance.admin, new).unwrap();
    let (same, text) = instance.store().function_with_code(&instance.grant(), made.id).unwrap();
    assert_eq!((same, text.as_str().len()), (made, 262_143));
    audit(instance.store()).unwrap();
}

#[test]
fn binding_is_reading() {
    let instance = Instance::new();
    let (_, writer) = instance.key(WRITE, Scope::All);
    let (_, narrow) = instance.key(ADMIN, globs(&["db-*"]));
    let admin = &instance.admin;
    let (needs_admin, outside) =
        (CreateFunctionError::NeedsAdmin, CreateFunctionError::OutsideScope);
    assert_eq!(instance.make(&writer, new_function("a", &["db-1"])).unwrap_err(), needs_admin);
    assert_eq!(instance.make(&narrow, new_function("a", &["db-1", "x"])).unwrap_err(), outside);
    let free = instance.make(&writer, new_function("free", &[])).unwrap().id;
    let db = instance.make(&narrow, new_function("db", &["db-1"])).unwrap().id;
    let both = instance.make(admin, new_function("both", &["db-1", "x"])).unwrap().id;

    let changes: [fn() -> FunctionChange; 6] = [
        || new_code("other()"),
        || FunctionChange::of_secrets(names(&["db-1"])),
        || FunctionChange { secrets: Field::Clear, ..keep() },
        || FunctionChange { environment: Field::Set(environment(&[("a", "b")])), ..keep() },
        || FunctionChange { egress: Field::Set(egress(&["example.com"])), ..keep() },
        || FunctionChange { pin_code: Field::Set(false), ..keep() },
    ];
    let (needs_admin, outside) =
        (UpdateFunctionError::NeedsAdmin, UpdateFunctionError::OutsideScope);
    for change in changes {
        // Without secrets whoever may write may do so, unless it binds some.
        let binds = change().secrets.is_given() && !matches!(change().secrets, Field::Clear);
        let free_change = instance.change(&writer, free, change());
        assert_eq!(free_change.err(), binds.then_some(needs_admin.clone()));
        assert_eq!(instance.change(&writer, db, change()).unwrap_err(), needs_admin);
        assert_eq!(instance.change(&writer, both, change()).unwrap_err(), needs_admin);
        assert_eq!(instance.change(&narrow, both, change()).unwrap_err(), outside);
    }
    // What decides over no secret is for whoever may write.
    let harmless = FunctionChange {
        description: Field::Clear,
        timeout: Field::Clear,
        memory: Field::Clear,
        tags: Field::Set(tags(&[("a", "b")])),
        ..keep()
    };
    instance.change(&writer, both, harmless).unwrap();
    // Old names count as new ones do.
    assert_eq!(instance.bind(&narrow, both, &["db-1"]).unwrap_err(), outside);
    assert_eq!(instance.bind(&narrow, both, &[]).unwrap_err(), outside);
    assert_eq!(instance.bind(&narrow, db, &["db-1", "x"]).unwrap_err(), outside);
    assert_eq!(instance.bind(&narrow, db, &["db-2"]).unwrap().secrets, names(&["db-2"]));
    assert_eq!(instance.bind(admin, both, &[]).unwrap().secrets, names(&[]));
    instance.change(&narrow, both, new_code("mine()")).unwrap();
    audit(instance.store()).unwrap();
}

#[test]
fn a_pinned_functions_changed_code_waits_for_who_reaches_every_name() {
    let instance = Instance::new();
    let (_, writer) = instance.key(WRITE, Scope::All);
    let (_, narrow) = instance.key(ADMIN, globs(&["db-*"]));
    let admin = &instance.admin;
    let made = instance.make(admin, pinned("a", &["db-1", "x"])).unwrap();
    let id = made.id;
    assert!(made.is_confirmed());
    let changed = instance.change(&writer, id, new_code("two()")).unwrap();
    assert_eq!((changed.is_confirmed(), changed.confirmed), (false, made.confirmed));
    assert!(!instance.change(admin, id, new_code("two()")).unwrap().is_confirmed());
    let pin = |pin| FunctionChange { pin_code: Field::Set(pin), ..keep() };
    let needs_admin = UpdateFunctionError::NeedsAdmin;
    assert_eq!(instance.change(&writer, id, pin(false)).unwrap_err(), needs_admin);
    let outside = ConfirmFunctionError::OutsideScope;
    assert_eq!(instance.confirm(&narrow, id, "two()").unwrap_err(), outside);
    let current = code("two()").hash();
    let other = instance.confirm(admin, id, "three()").unwrap_err();
    assert_eq!(other, ConfirmFunctionError::OtherCode { current });
    assert!(instance.confirm(admin, id, "two()").unwrap().is_confirmed());
    // Fewer names are covered still; a name that comes takes the confirmation away.
    assert!(instance.bind(admin, id, &["x"]).unwrap().is_confirmed());
    assert!(instance.bind(admin, id, &["x"]).unwrap().is_confirmed());
    let more = instance.bind(admin, id, &["x", "y"]).unwrap();
    assert_eq!((more.is_confirmed(), more.confirmed), (false, None));
    instance.confirm(admin, id, "two()").unwrap();
    // Back to code that was confirmed, by whoever may write.
    instance.change(&writer, id, new_code("three()")).unwrap();
    assert!(instance.change(&writer, id, new_code("two()")).unwrap().is_confirmed());
    // Without the pin nothing is confirmed, and with it what there is.
    assert_eq!(instance.change(admin, id, pin(false)).unwrap().confirmed, None);
    let not_pinned = instance.confirm(admin, id, "two()").unwrap_err();
    assert_eq!(not_pinned, ConfirmFunctionError::NotPinned);
    assert_eq!(instance.change(&writer, id, new_code("three()")).unwrap_err(), needs_admin);
    let again = FunctionChange { code: Some(code("four()")), ..pin(true) };
    assert!(instance.change(admin, id, again).unwrap().is_confirmed());
    // Who is no admin pins, but confirms nothing.
    let own = instance.make(&writer, pinned("own", &[])).unwrap();
    assert!(!own.is_confirmed());
    audit(instance.store()).unwrap();
}

#[test]
fn the_log_tells_of_functions_to_every_admin() {
    let instance = Instance::new();
    let (_, narrow) = instance.key(ADMIN, globs(&["db-*"]));
    let id = instance.make(&instance.admin, pinned("a", &["x"])).unwrap().id;
    instance.change(&instance.admin, id, new_code("two()")).unwrap();
    instance.bind(&instance.admin, id, &[]).unwrap();
    instance.confirm(&instance.admin, id, "two()").unwrap();
    instance.remove(id).unwrap();
    instance.remove(id).unwrap_err();
    let expected = [
        ("function.create", "a", None),
        ("function.update", "a", None),
        ("function.update", "a", None),
        ("function.confirm", "a", None),
        ("function.delete", "a", None),
    ];
    let log = instance.log();
    assert_eq!(log[1..].iter().map(short).collect::<Vec<_>>(), expected);
    let code_sha256 = code("two()").hash();
    let name = FunctionName::parse("a".to_owned()).unwrap();
    assert_eq!(log[5].object, Object::Function { id, name, code_sha256 });
    assert_eq!(log[5].actor, Actor::Key(instance.admin.key_id()));
    // The key's own making, and the functions'.
    let seen = instance.store().events(&narrow.grant().unwrap(), &query(10, 0)).unwrap();
    assert_eq!(seen.total, 6);
    assert!(Action::FunctionDelete.ends_something() && !Action::FunctionConfirm.ends_something());
}

#[test]
fn no_more_functions_than_the_quota_at_once() {
    let mut instance = Instance::with_quotas(PerResource { functions: 20, ..PER_ACCOUNT });
    let store = Arc::new(instance.store.take().unwrap());
    let mut tasks = JoinSet::new();
    for index in 0..64_usize {
        let (store, caller) = (Arc::clone(&store), instance.admin.clone());
        let task = async move {
            let new = new_function(&format!("f-{index}"), &[]);
            store.create_function(act(&caller, 1), new).await
        };
        tasks.spawn_on(task, instance.runtime.handle());
    }
    let outcomes = instance.runtime.block_on(tasks.join_all());
    instance.store = Arc::into_inner(store);
    let refused = CreateFunctionError::Store(full(Resource::Functions, 20));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 20);
    assert!(outcomes.iter().all(|made| made.as_ref().err().is_none_or(|error| *error == refused)));
    assert_eq!(instance.usage().functions, 20);
    audit(instance.store()).unwrap();
    let id = outcomes.into_iter().find_map(Result::ok).unwrap().id;
    instance.remove(id).unwrap();
    instance.make(&instance.admin, new_function("another", &[])).unwrap();
    // The account's own comes before the configuration's.
    let shown = instance.set_quota(Resource::Functions, Field::Set(21));
    assert_eq!((shown.quotas.functions, shown.usage.functions), (21, 20));
    instance.reopen();
    instance.make(&instance.admin, new_function("one-more", &[])).unwrap();
    let refused = CreateFunctionError::Store(full(Resource::Functions, 21));
    let over = instance.make(&instance.admin, new_function("too-many", &[])).unwrap_err();
    assert_eq!(over, refused);
    audit(instance.store()).unwrap();
}

/// One change of a function, or a confirmation of the code that it has.
#[derive(Clone, Debug)]
struct Step {
    caller: usize,
    code: Option<usize>,
    secrets: Option<BTreeSet<&'static str>>,
    environment: bool,
    egress: bool,
    pin: Option<bool>,
    confirms: bool,
}

/// What the rule of API.md makes of one function.
struct Rule {
    code: usize,
    names: BTreeSet<&'static str>,
    pinned: bool,
    /// Code that was confirmed by somebody who reaches all the names.
    vouched: Option<usize>,
}

const NAMES: [&str; 3] = ["db-1", "db-2", "web"];

fn step() -> impl Strategy<Value = Step> {
    let names = proptest::sample::subsequence(NAMES.to_vec(), 0..=3);
    let names = names.prop_map(|names| names.into_iter().collect());
    let code = proptest::option::of(0..3_usize);
    let pin = proptest::option::of(any::<bool>());
    let flags = (any::<bool>(), any::<bool>(), pin, any::<bool>());
    // Most changes are of one thing.
    let which = (any::<bool>(), any::<bool>());
    (0..3_usize, code, proptest::option::of(names), flags, which).prop_map(
        |(caller, code, secrets, (environment, egress, pin, confirms), (few, first))| {
            let all = Step { caller, code, secrets, environment, egress, pin, confirms };
            match (few, first) {
                (false, _) => all,
                (true, true) => Step { environment: false, egress: false, pin: None, ..all },
                (true, false) => Step { secrets: None, environment: false, egress: false, ..all },
            }
        },
    )
}

impl Rule {
    /// Whether a caller may decide which code reads these names.
    fn binds(caller: usize, names: &BTreeSet<&str>) -> Option<Result<(), UpdateFunctionError>> {
        let reaches = |name: &&str| caller == 0 || name.starts_with("db-");
        let verdict = match caller {
            2 => Err(UpdateFunctionError::NeedsAdmin),
            _ if names.iter().all(reaches) => Ok(()),
            _ => Err(UpdateFunctionError::OutsideScope),
        };
        (!names.is_empty()).then_some(verdict)
    }

    fn change(&mut self, step: &Step) -> Result<(), UpdateFunctionError> {
        let names = step.secrets.clone().unwrap_or_else(|| self.names.clone());
        let all = self.names.union(&names).copied().collect();
        let decides = (step.code.is_some() && !self.pinned)
            || step.secrets.is_some()
            || step.environment
            || step.egress
            || step.pin.is_some();
        let binds = Self::binds(step.caller, &all);
        if decides && let Some(verdict) = &binds {
            verdict.clone()?;
        }
        self.code = step.code.unwrap_or(self.code);
        let was_pinned = self.pinned;
        self.pinned = step.pin.unwrap_or(was_pinned);
        let adds = !names.is_subset(&self.names);
        self.names = names;
        let confirms = step.caller < 2 && binds.is_none_or(|verdict| verdict.is_ok());
        self.vouched = match (was_pinned, self.pinned) {
            (_, false) => None,
            (true, true) => self.vouched.filter(|_| !adds),
            (false, true) => Some(self.code).filter(|_| confirms),
        };
        Ok(())
    }

    fn is_confirmed(&self) -> bool {
        self.vouched == Some(self.code)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However it is changed and by whom, code reads only what who could read it has let it read.
    #[test]
    fn every_change_is_as_the_rule_says(steps in proptest::collection::vec(step(), 1..16)) {
        let instance = Instance::new();
        let (_, narrow) = instance.key(ADMIN, globs(&["db-*"]));
        let (_, writer) = instance.key(WRITE, Scope::All);
        let callers = [&instance.admin, &narrow, &writer];
        let text = |number: usize| format!("code{number}()");
        let new = NewFunction { code: code(&text(0)), ..new_function("f", &[]) };
        let id = instance.make(&instance.admin, new).unwrap().id;
        let mut rule = Rule { code: 0, names: BTreeSet::new(), pinned: false, vouched: None };
        for step in steps {
            let by = callers[step.caller];
            let listed = |all: &BTreeSet<&str>| names(&all.iter().copied().collect::<Vec<_>>());
            let change = FunctionChange {
                code: step.code.map(|number| code(&text(number))),
                secrets: step.secrets.as_ref().map_or(Field::Keep, |all| Field::Set(listed(all))),
                environment: if step.environment { Field::Clear } else { Field::Keep },
                egress: if step.egress { Field::Clear } else { Field::Keep },
                pin_code: step.pin.map_or(Field::Keep, Field::Set),
                ..keep()
            };
            let changed = instance.change(by, id, change).map(|_| ());
            prop_assert_eq!(changed, rule.change(&step), "{:?}", step);
            if step.confirms && step.caller < 2 {
                let confirmed = instance.confirm(by, id, &text(rule.code)).map(|_| ());
                let reaches = Rule::binds(step.caller, &rule.names).is_none_or(|it| it.is_ok());
                let expected = match (reaches, rule.pinned) {
                    (false, _) => Err(ConfirmFunctionError::OutsideScope),
                    (true, false) => Err(ConfirmFunctionError::NotPinned),
                    (true, true) => Ok(()),
                };
                prop_assert_eq!(&confirmed, &expected);
                if confirmed.is_ok() {
                    rule.vouched = Some(rule.code);
                }
            }
            let now = instance.store().function(&instance.grant(), id).unwrap();
            prop_assert_eq!(&now.secrets, &listed(&rule.names));
            prop_assert_eq!(now.is_confirmed(), rule.is_confirmed(), "{:?}", step);
        }
        audit(instance.store()).unwrap();
    }
}

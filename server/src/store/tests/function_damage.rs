//! Records of functions that were moved, aged or taken away: an error, never another function's.

use super::super::body::FunctionsStateBody;
use super::super::engine::Changes;
use super::super::record::{Address, Kind};
use super::audit::records;
use super::damage::with_records;
use super::executions::failed;
use super::functions::{code, new_code, new_function, pinned};
use super::*;

/// Two functions with one execution each, in a store that is open.
fn filled() -> (Instance, [FunctionRun; 2]) {
    let instance = Instance::new();
    instance.create("s", "v").unwrap();
    let runs = ["one", "two"].map(|name| {
        let id = instance.make(&instance.admin, pinned(name, &["s"])).unwrap().id;
        let run = instance.store().invocable(instance.grant(), id, at(20)).ok().unwrap().run;
        instance.wait(instance.store().end_execution(run.clone(), at(20), failed(name))).unwrap();
        run
    });
    (instance, runs)
}

fn damaged(kind: Kind) -> StoreFailure {
    StoreFailure::Damaged { kind: kind.name() }
}

impl Instance {
    /// Opens the store with these records written past it.
    pub(super) fn changed(&mut self, changes: &Changes) {
        drop(self.store.take());
        self.disk = with_records(&self.disk, changes);
        self.store = Some(open(&self.disk, &self.chip, self.limits).ok().unwrap());
    }

    /// What each verb says of a function that has no record of its own to show.
    fn refuses(&self, id: FunctionId, failure: &StoreFailure) {
        let invoked = self.store().invocable(self.grant(), id, at(20)).err();
        assert_eq!(invoked, Some(FunctionError::Store(failure.clone())));
        let read = self.store().function_with_code(&self.grant(), id).unwrap_err();
        assert_eq!(read, FunctionError::Store(failure.clone()));
    }
}

#[test]
fn a_function_in_another_ones_place_is_damage() {
    let (mut instance, [one, two]) = filled();
    let account = instance.claim.account;
    let all = records(instance.store());
    let (first, second) = (one.function(), two.function());
    let mut changes = Changes::default();
    let address = Address::function(account, first);
    let other = &all[Address::function(account, second).key()];
    changes.put(address.key().to_vec(), other.clone());
    instance.changed(&changes);
    instance.refuses(first, &damaged(Kind::Function));
    let act = Act { by: one, origin: origin("r"), now: at(21) };
    let read = instance.wait(instance.store().function_read(act, &name("s"), None)).err();
    assert_eq!(read, Some(FunctionReadError::Store(damaged(Kind::Function))));
    let listed = instance.store().list_functions(&instance.grant(), 9, 0).unwrap_err();
    assert_eq!(listed, damaged(Kind::Function));
    assert!(instance.store().function(&instance.grant(), second).is_ok());
}

#[test]
fn code_that_is_not_its_functions_is_damage() {
    let (mut instance, [one, two]) = filled();
    let account = instance.claim.account;
    let before = records(instance.store());
    let (first, second) = (one.function(), two.function());
    let address = Address::code(account, first);
    // Another function's code; the code that this one had; none.
    let other = before[Address::code(account, second).key()].clone();
    let aged = before[address.key()].clone();
    instance.change(&instance.admin, first, new_code("two()")).unwrap();
    for bytes in [Some(other), Some(aged), None] {
        let mut changes = Changes::default();
        match bytes {
            Some(bytes) => changes.put(address.key().to_vec(), bytes),
            None => changes.remove(address.key().to_vec()),
        }
        instance.changed(&changes);
        instance.refuses(first, &damaged(Kind::Code));
    }
    // New code mends it; the confirmation was the old one's.
    let mended = instance.change(&instance.admin, first, new_code("three()")).unwrap();
    assert!(!mended.is_confirmed());
    let (_, text) = instance.store().function_with_code(&instance.grant(), first).unwrap();
    assert_eq!(text, code("three()"));
}

#[test]
fn an_execution_of_another_function_is_damage() {
    let (mut instance, [one, two]) = filled();
    let account = instance.claim.account;
    let of = |run: &FunctionRun| Address::execution(account, run.function(), run.execution());
    let other = records(instance.store())[of(&two).key()].clone();
    let mut changes = Changes::default();
    changes.put(of(&one).key().to_vec(), other);
    instance.changed(&changes);
    let (function, id) = (one.function(), one.execution());
    let failure = FunctionError::Store(damaged(Kind::Execution));
    let read = instance.store().execution(&instance.grant(), function, id).unwrap_err();
    assert_eq!(read, failure);
    let listed = instance.store().list_executions(&instance.grant(), function, 9, 0).unwrap_err();
    assert_eq!(listed, failure);
    assert!(instance.store().execution(&instance.grant(), two.function(), two.execution()).is_ok());
}

#[test]
fn a_functions_name_that_was_given_away_is_noticed() {
    let (mut instance, [one, _]) = filled();
    let (account, id) = (instance.claim.account, one.function());
    let keys = instance.store().read(|access, _| access.account(account)).unwrap();
    let one = instance.store().function(&instance.grant(), id).unwrap();
    let mut changes = Changes::default();
    let address = Address::function_name(account, &keys.function_hash(&one.name));
    changes.remove(address.key().to_vec());
    instance.changed(&changes);
    let failure = damaged(Kind::FunctionName);
    for given_away in [false, true] {
        if given_away {
            instance.make(&instance.admin, new_function("one", &[])).unwrap();
        }
        let changed = instance.change(&instance.admin, id, new_code("x()")).unwrap_err();
        assert_eq!(changed, UpdateFunctionError::Store(failure.clone()));
        let confirmed = instance.confirm(&instance.admin, id, "x()").unwrap_err();
        assert_eq!(confirmed, ConfirmFunctionError::Store(failure.clone()));
        assert_eq!(instance.remove(id).unwrap_err(), FunctionError::Store(failure.clone()));
    }
}

#[test]
fn a_counter_of_functions_that_is_too_low_is_damage() {
    let (mut instance, [one, _]) = filled();
    let address = Address::<FunctionsStateBody>::functions_state(instance.claim.account);
    let mut changes = Changes::default();
    changes.remove(address.key().to_vec());
    instance.changed(&changes);
    let failure = FunctionError::Store(damaged(Kind::FunctionsState));
    assert_eq!(instance.remove(one.function()).unwrap_err(), failure);
}

//! The room that the records of an account's executions have.

use super::super::body::FunctionsStateBody;
use super::super::record::Address;
use super::audit::audit;
use super::executions::failed;
use super::functions::new_function;
use super::*;
use crate::model::{
    ExecutionOutcome, ExecutionReceipt, ExecutionState, JsonText, Logs, ReceiptSignature,
    SecretReads,
};

/// What an earlier server wrote of an account's functions.
mod v1 {
    use crate::store::body::Body;
    use crate::store::record::Kind;

    #[derive(minicbor::Encode, minicbor::Decode)]
    #[cbor(map)]
    pub(super) struct FunctionsStateV1 {
        #[n(0)]
        pub(super) functions: u64,
    }

    impl Body for FunctionsStateV1 {
        const KIND: Kind = Kind::FunctionsState;
        const VERSION: u8 = 1;
    }
}

/// An end whose record takes over a megabyte.
fn large() -> ExecutionEnd {
    let hash = crate::model::ContentHash([1; 32]);
    let receipt = ExecutionReceipt {
        params_sha256: hash,
        result_sha256: hash,
        secrets_read: SecretReads::new(Default::default()).unwrap(),
        signature: ReceiptSignature(Signature([7; 64])),
    };
    let result = JsonText::parse(format!("\"{}\"", "r".repeat(1_048_574))).unwrap();
    let outcome = ExecutionOutcome::Completed { result, receipt };
    ExecutionEnd { completed_at: at(30), duration_ms: 5, outcome, logs: Logs::default() }
}

impl Instance {
    fn ends(&self, function: FunctionId, seconds: u64, end: ExecutionEnd) -> FunctionRun {
        let run = self.run_at(&self.admin, function, seconds);
        self.wait(self.store().end_execution(run.clone(), at(seconds), end)).unwrap();
        audit(self.store()).unwrap();
        run
    }

    fn functions_state(&self) -> FunctionsStateBody {
        let snapshot = self.store().writer.snapshot().unwrap();
        let access = self.store().writer.shared.core.access(&*snapshot);
        let keys = access.account(self.claim.account).unwrap();
        access.get(&*keys, &Address::functions_state(keys.id)).unwrap()
    }

    fn are_kept(&self, runs: &[FunctionRun]) -> Vec<bool> {
        let is_kept = |run| self.state(run) != Err(FunctionError::NotFound);
        runs.iter().map(is_kept).collect()
    }
}

#[test]
fn the_oldest_of_an_account_go_whichever_function_they_are_of() {
    let mut instance = Instance::new();
    let [one, two] =
        ["a", "b"].map(|name| instance.make(&instance.admin, new_function(name, &[])).unwrap().id);
    // Three fit into 4 MiB.
    let mut runs = vec![instance.ends(two, 100, large()), instance.ends(one, 101, large())];
    runs.push(instance.ends(two, 102, large()));
    assert_eq!(instance.are_kept(&runs), [true; 3]);
    runs.push(instance.ends(one, 103, large()));
    assert_eq!(instance.are_kept(&runs), [false, true, true, true]);
    instance.reopen();
    // It runs, and no record is in its way; then it takes the place of its own.
    let run = instance.run_at(&instance.admin, one, 104);
    instance.wait(instance.store().begin_execution(run.clone(), at(104))).unwrap();
    assert_eq!(instance.are_kept(&runs), [false, true, true, true]);
    instance.wait(instance.store().end_execution(run.clone(), at(104), large())).unwrap();
    audit(instance.store()).unwrap();
    runs.push(run.clone());
    assert_eq!(instance.are_kept(&runs), [false, false, true, true, true]);
    instance.wait(instance.store().end_execution(run, at(104), large())).unwrap();
    audit(instance.store()).unwrap();
    assert_eq!(instance.are_kept(&runs), [false, false, true, true, true]);
    // An event is never in the way of a record, or the other way round.
    assert_eq!(
        instance.log().iter().filter(|it| it.action.as_str() == "function.create").count(),
        2
    );
    // What a deleted function had makes room.
    instance.remove(one).unwrap();
    audit(instance.store()).unwrap();
    let before = instance.functions_state().execution_bytes.unwrap();
    assert!((1 << 20..2 << 20).contains(&before), "{before}");
    instance.remove(two).unwrap();
    assert_eq!(instance.functions_state().execution_bytes, Some(0));
}

#[test]
fn writes_at_once_overshoot_nothing() {
    let mut instance = Instance::new();
    let function = instance.make(&instance.admin, new_function("a", &[])).unwrap().id;
    let runs: Vec<_> =
        (0..12).map(|n| instance.run_at(&instance.admin, function, 100 + n)).collect();
    let store = Arc::new(instance.store.take().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for run in runs.clone() {
        let store = Arc::clone(&store);
        let end = async move { store.end_execution(run, at(1), large()).await };
        tasks.spawn_on(end, instance.runtime.handle());
    }
    for ended in instance.runtime.block_on(tasks.join_all()) {
        ended.unwrap();
    }
    instance.store = Arc::into_inner(store);
    audit(instance.store()).unwrap();
    let kept = instance.are_kept(&runs).into_iter().filter(|kept| *kept).count();
    assert!((1..=3).contains(&kept), "{kept}");
}

#[test]
fn a_store_that_counted_no_records_is_counted_with_the_next() {
    let mut instance = Instance::new();
    let [one, two] =
        ["a", "b"].map(|name| instance.make(&instance.admin, new_function(name, &[])).unwrap().id);
    let old = instance.ends(one, 100, large());
    let small = instance.ends(two, 101, failed("x"));
    let mut changes = Changes::default();
    let snapshot = instance.store().writer.snapshot().unwrap();
    let access = instance.store().writer.shared.core.access(&*snapshot);
    let keys = access.account(instance.claim.account).unwrap();
    let address = Address::<v1::FunctionsStateV1>::new(keys.id, &[]);
    access.put(&mut changes, &*keys, &address, &v1::FunctionsStateV1 { functions: 2 }).unwrap();
    drop(snapshot);
    instance.changed(&changes);
    assert_eq!(instance.functions_state().execution_bytes, None);
    assert!(matches!(instance.state(&old), Ok(ExecutionState::Ended(_))));
    // It may be changed before it is counted.
    instance.remove(two).unwrap();
    assert_eq!(instance.state(&small), Err(FunctionError::NotFound));
    assert_eq!(instance.functions_state().execution_bytes, None);
    instance.ends(one, 102, failed("x"));
    let counted = instance.functions_state().execution_bytes.unwrap();
    assert!((1 << 20..2 << 20).contains(&counted), "{counted}");
}

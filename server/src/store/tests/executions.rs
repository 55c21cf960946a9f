//! What a run of a function's code reads, and the records that executions leave.

use super::audit::audit;
use super::functions::{
    WRITE, code, egress, environment, keep, names, new_code, new_function, pinned,
};
use super::log::short;
use super::*;
use crate::audit::Actor;
use crate::limits::EXECUTIONS_KEPT;
use crate::model::{
    ExecutionFault, ExecutionOutcome, ExecutionReceipt, ExecutionState, ExecutionSummary, JsonText,
    LogLevel, LogLine, Logs, Memory, ReceiptSignature, SecretRead, SecretReads,
};

const EXECUTE: &[Permission] = &[Permission::Execute];

impl Instance {
    pub(super) fn run(&self, by: &Caller, id: FunctionId) -> FunctionRun {
        self.run_at(by, id, 20)
    }

    pub(super) fn run_at(&self, by: &Caller, id: FunctionId, seconds: u64) -> FunctionRun {
        let grant = by.grant().unwrap();
        self.store().invocable(grant, id, at(seconds)).ok().unwrap().run
    }

    fn given(&self, run: &FunctionRun, secret: &str) -> Result<String, FunctionReadError> {
        self.given_at(run, secret, 21)
    }

    fn given_at(
        &self,
        run: &FunctionRun,
        secret: &str,
        seconds: u64,
    ) -> Result<String, FunctionReadError> {
        let act = Act { by: run.clone(), origin: origin("an-invocation"), now: at(seconds) };
        let revealed = self.wait(self.store().function_read(act, &name(secret), None))?;
        Ok(String::from_utf8(revealed.value.expose().to_vec()).unwrap())
    }

    pub(super) fn state(&self, run: &FunctionRun) -> Result<ExecutionState, FunctionError> {
        let found = self.store().execution(&self.grant(), run.function(), run.execution());
        found.map(|execution| execution.state)
    }
}

pub(super) fn failed(text: &str) -> ExecutionEnd {
    let fault = ExecutionFault::new("Error".to_owned(), text.to_owned(), String::new());
    let outcome = ExecutionOutcome::Failed(fault);
    ExecutionEnd { completed_at: at(30), duration_ms: 5, outcome, logs: Logs::default() }
}

#[test]
fn code_reads_what_its_function_declares() {
    let instance = Instance::new();
    let (key, invoker) = instance.key(EXECUTE, globs(&["nothing-of-it"]));
    let id = instance.create("api-key", "one").unwrap().id;
    instance.create("other", "two").unwrap();
    let function = instance.make(&instance.admin, new_function("a", &["api-key", "gone"])).unwrap();
    let invocable = instance.store().invocable(invoker.grant().unwrap(), function.id, at(20));
    let Invocable { function: same, code: text, run } = invocable.ok().unwrap();
    assert_eq!((&same, &text), (&function, &code("async function main() {}")));
    assert_eq!((run.function(), run.code_sha256()), (function.id, text.hash()));
    let told = instance.log().len();
    assert_eq!(instance.given(&run, "api-key").unwrap(), "one");
    assert_eq!(instance.given(&run, "other").unwrap_err(), FunctionReadError::Denied);
    assert_eq!(instance.given(&run, "never-was").unwrap_err(), FunctionReadError::Denied);
    assert_eq!(instance.given(&run, "gone").unwrap_err(), FunctionReadError::NotFound);
    // The live version, at each read.
    instance.update(id, new_value("three")).unwrap();
    assert_eq!(instance.given(&run, "api-key").unwrap(), "three");
    let expires_at = Field::Set(at(21));
    instance.update(id, Change { expires_at, ..no_change() }).unwrap();
    assert_eq!(instance.given_at(&run, "api-key", 20).unwrap(), "three");
    assert_eq!(instance.given(&run, "api-key").unwrap_err(), FunctionReadError::NotFound);
    instance.delete(id).unwrap();
    assert_eq!(instance.given_at(&run, "api-key", 20).unwrap_err(), FunctionReadError::NotFound);

    // One event for each value, and none for what was refused.
    let log = instance.log();
    let reads: Vec<_> =
        log[told..].iter().filter(|event| short(event).0 == "secret.read").collect();
    let versions: Vec<_> = reads.iter().map(|event| short(event).2).collect();
    assert_eq!(versions, [Some(1), Some(2), Some(2)]);
    let actor = Actor::Function { id: function.id, code_sha256: text.hash(), key: key.id };
    assert!(reads.iter().all(|event| event.actor == actor && short(event).1 == "api-key"));
    assert_eq!((reads[0].time, reads[0].request.as_str()), (at(21), "an-invocation"));
    audit(instance.store()).unwrap();
}

#[test]
fn the_same_value_again_is_one_event_and_one_right() {
    let instance = Instance::new();
    let (key, invoker) = instance.key(EXECUTE, Scope::All);
    let id = instance.create("s", "one").unwrap().id;
    let function = instance.make(&instance.admin, new_function("a", &["s"])).unwrap().id;
    let run = instance.run(&invoker, function);
    let read = |told| {
        let act = Act { by: run.clone(), origin: origin("again"), now: at(21) };
        let revealed = instance.wait(instance.store().function_read(act, &name("s"), told))?;
        Ok::<_, FunctionReadError>((revealed.id, revealed.version))
    };
    let events = || {
        let reads = instance.log().into_iter().filter(|event| short(event).0 == "secret.read");
        reads.count()
    };
    let first = read(None).unwrap();
    assert_eq!((read(Some(first)).unwrap(), events()), (first, 1));
    // Another run's first read is its own event, and so is each new value.
    read(None).unwrap();
    assert_eq!(events(), 2);
    instance.update(id, new_value("two")).unwrap();
    let second = read(Some(first)).unwrap();
    assert_eq!((second, events()), ((id, Version(2)), 3));
    assert_eq!((read(Some(second)).unwrap(), events()), (second, 3));
    // What was told before gives no right of its own.
    instance.bind(&instance.admin, function, &[]).unwrap();
    assert_eq!(read(Some(second)).unwrap_err(), FunctionReadError::Denied);
    instance.bind(&instance.admin, function, &["s"]).unwrap();
    instance.wait(instance.store().revoke_key(instance.act(1), key.id)).unwrap();
    let revoked = FunctionReadError::Store(StoreFailure::KeyRevoked);
    assert_eq!(read(Some(second)).unwrap_err(), revoked);
    assert_eq!(events(), 3);
}

#[test]
fn a_run_reads_on_the_terms_that_it_was_invoked_on() {
    let instance = Instance::new();
    let (_, invoker) = instance.key(EXECUTE, Scope::All);
    for secret in ["s", "later"] {
        instance.create(secret, "v").unwrap();
    }
    let admin = &instance.admin;
    let new = NewFunction { egress: egress(&["evil.example"]), ..new_function("a", &["s"]) };
    let function = instance.make(admin, new).unwrap().id;
    let run = instance.run(&invoker, function);
    let denied = Err(FunctionReadError::Denied);
    // A name that is bound later is for those who are invoked later.
    instance.bind(admin, function, &["s", "later"]).unwrap();
    assert_eq!(instance.given(&run, "later"), denied);
    assert_eq!(instance.given(&run, "s").unwrap(), "v");
    assert_eq!(instance.given(&instance.run(&invoker, function), "later").unwrap(), "v");
    // Nor does a run read that began when more could be called, or something else was shown.
    let other = FunctionChange { egress: Field::Set(egress(&["good.example"])), ..keep() };
    instance.change(admin, function, other).unwrap();
    assert_eq!(instance.given(&run, "s"), denied);
    let run = instance.run(&invoker, function);
    assert_eq!(instance.given(&run, "s").unwrap(), "v");
    let other = FunctionChange { environment: Field::Set(environment(&[("A", "b")])), ..keep() };
    instance.change(admin, function, other).unwrap();
    assert_eq!(instance.given(&run, "s"), denied);
    assert_eq!(instance.given(&instance.run(&invoker, function), "s").unwrap(), "v");
}

#[test]
fn what_has_waited_begins_as_it_stands_then() {
    let instance = Instance::new();
    let (key, invoker) = instance.key(EXECUTE, Scope::All);
    let admin = &instance.admin;
    let make = |function| instance.make(admin, new_function(function, &["s"])).unwrap().id;
    let (changed, deleted, revoked) = (make("a"), make("b"), make("c"));
    let invocable = |id| instance.store().invocable(invoker.grant().unwrap(), id, at(20)).unwrap();
    let waiting = [changed, deleted, revoked].map(invocable);
    let other = FunctionChange {
        egress: Field::Set(egress(&["good.example"])),
        memory: Field::Set(Memory::parse(512).unwrap()),
        ..new_code("two()")
    };
    let now = instance.change(admin, changed, other).unwrap();
    instance.remove(deleted).unwrap();
    let [of_changed, of_deleted, of_revoked] = waiting;
    let execution = of_changed.run.execution();
    let renewed = instance.store().renewed(of_changed, at(21)).unwrap();
    assert_eq!(renewed.code, code("two()"));
    // Its place was made for the memory that it had.
    assert_eq!(renewed.function, Function { memory: Memory::DEFAULT, ..now });
    assert_eq!(renewed.run.execution(), execution);
    assert_eq!(renewed.run.code_sha256(), code("two()").hash());
    let gone = instance.store().renewed(of_deleted, at(21));
    assert_eq!(gone.err(), Some(FunctionError::NotFound));
    instance.wait(instance.store().revoke_key(instance.act(1), key.id)).unwrap();
    let gone = instance.store().renewed(of_revoked, at(21));
    assert_eq!(gone.err(), Some(FunctionError::Store(StoreFailure::KeyRevoked)));
}

#[test]
fn what_was_invoked_has_to_stand_at_each_read() {
    let instance = Instance::new();
    let (key, invoker) = instance.key(EXECUTE, Scope::All);
    instance.create("s", "v").unwrap();
    let admin = &instance.admin;
    let denied = Err(FunctionReadError::Denied);
    let function = instance.make(admin, new_function("a", &["s"])).unwrap().id;
    let run = instance.run(&invoker, function);
    instance.bind(admin, function, &["other"]).unwrap();
    assert_eq!(instance.given(&run, "s"), denied);
    instance.bind(admin, function, &["s"]).unwrap();
    assert_eq!(instance.given(&run, "s").unwrap(), "v");
    // Other code: what runs of the old one reads nothing, until it is that code again.
    instance.change(admin, function, new_code("two()")).unwrap();
    assert_eq!(instance.given(&run, "s"), denied);
    assert_eq!(instance.given(&instance.run(&invoker, function), "s").unwrap(), "v");
    instance.remove(function).unwrap();
    assert_eq!(instance.given(&run, "s"), denied);
    let gone = instance.store().invocable(invoker.grant().unwrap(), function, at(1));
    assert_eq!(gone.err(), Some(FunctionError::NotFound));

    // Pinned: changed code reads nothing until it is confirmed.
    let function = instance.make(admin, pinned("b", &["s"])).unwrap().id;
    let (_, writer) = instance.key(WRITE, Scope::All);
    assert_eq!(instance.given(&instance.run(&invoker, function), "s").unwrap(), "v");
    instance.change(&writer, function, new_code("two()")).unwrap();
    let run = instance.run(&invoker, function);
    assert_eq!(instance.given(&run, "s"), denied);
    assert_eq!(instance.given(&run, "undeclared"), denied);
    instance.confirm(admin, function, "two()").unwrap();
    assert_eq!(instance.given(&run, "s").unwrap(), "v");

    // A key that expires, or is revoked, takes what it has invoked with it.
    let until = NewKey { expires_at: Some(at(25)), ..new_key(EXECUTE, Scope::All) };
    let (_, token) = instance.create_key(admin, until).unwrap();
    let short_lived = instance.run(&instance.authenticate(&token, at(1)).unwrap(), function);
    assert_eq!(instance.given_at(&short_lived, "s", 24).unwrap(), "v");
    let revoked = Err(FunctionReadError::Store(StoreFailure::KeyRevoked));
    assert_eq!(instance.given_at(&short_lived, "s", 25), revoked);
    instance.wait(instance.store().revoke_key(instance.act(1), key.id)).unwrap();
    assert_eq!(instance.given(&run, "s"), revoked);
    let began = instance.wait(instance.store().begin_execution(run.clone(), at(22)));
    assert_eq!(began.unwrap_err(), FunctionError::Store(StoreFailure::KeyRevoked));
    // What has run is recorded all the same.
    instance.wait(instance.store().end_execution(run.clone(), at(22), failed("x"))).unwrap();
    assert_eq!(instance.state(&run).unwrap().as_str(), "failed");
    audit(instance.store()).unwrap();
}

/// What `function_read` does after it has opened a value: all is looked at again.
#[test]
fn no_value_is_given_once_anything_that_it_was_opened_for_is_gone() {
    let instance = Instance::new();
    let id = instance.create("s", "v").unwrap().id;
    let (key, invoker) = instance.key(EXECUTE, Scope::All);
    let admin = &instance.admin;
    let function = instance.make(admin, pinned("a", &["s"])).unwrap().id;
    let run = instance.run(&invoker, function);
    let told = instance.log().len();
    let record = |secret: SecretId, version, seconds| {
        let act = Act { by: run.clone(), origin: origin("r"), now: at(seconds) };
        let read = (secret, name("s"), Version(version));
        let write = move |access: &Access<'_>, changes: &mut Changes| {
            super::super::executions::read(access, changes, &act, read)
        };
        instance.wait(instance.store().writer.submit(instance.claim.account, write))
    };
    let (denied, missing) = (Err(FunctionReadError::Denied), Err(FunctionReadError::NotFound));
    assert_eq!(record(id, 1, 21), Ok(()));
    for text in ["w", "x", "y"] {
        instance.update(id, new_value(text)).unwrap();
    }
    assert_eq!(record(id, 1, 21), missing, "three are kept");
    instance.update(id, Change { expires_at: Field::Set(at(22)), ..no_change() }).unwrap();
    assert_eq!((record(id, 4, 21), record(id, 4, 22)), (Ok(()), missing.clone()));
    instance.change(admin, function, new_code("two()")).unwrap();
    assert_eq!(record(id, 4, 21), denied, "other code");
    instance.change(admin, function, new_code("async function main() {}")).unwrap();
    assert_eq!(record(id, 4, 21), Ok(()), "the same again, which is confirmed");
    instance.bind(admin, function, &["t"]).unwrap();
    assert_eq!(record(id, 4, 21), denied, "another name");
    instance.bind(admin, function, &["s"]).unwrap();
    assert_eq!(record(id, 4, 21), denied, "a name that came without a confirmation");
    instance.confirm(admin, function, "async function main() {}").unwrap();
    assert_eq!(record(id, 4, 21), Ok(()));
    // Another secret of that name is another secret.
    instance.delete(id).unwrap();
    assert_eq!(record(id, 4, 21), missing);
    let other = instance.create("s", "v").unwrap().id;
    assert_eq!((record(id, 1, 21), record(other, 1, 21)), (missing, Ok(())));
    instance.wait(instance.store().revoke_key(instance.act(1), key.id)).unwrap();
    let revoked = Err(FunctionReadError::Store(StoreFailure::KeyRevoked));
    assert_eq!(record(other, 1, 21), revoked);
    let log = instance.log();
    let reads = log[told..].iter().filter(|event| short(event).0 == "secret.read").count();
    assert_eq!(reads, 5);
}

#[test]
fn reads_that_race_a_change_of_code_are_told_of_before_it() {
    for _ in 0..10 {
        let mut instance = Instance::new();
        instance.create("s", "v").unwrap();
        let function = instance.make(&instance.admin, new_function("a", &["s"])).unwrap().id;
        let run = instance.run(&instance.admin, function);
        let outcomes = instance.race(60, |store, caller, index| {
            let run = run.clone();
            async move {
                if index == 30 {
                    let change = new_code("two()");
                    store.update_function(act(&caller, 1), function, change).await.unwrap();
                    return false;
                }
                let act = Act { by: run, origin: origin("r"), now: at(21) };
                store.function_read(act, &name("s"), None).await.is_ok()
            }
        });
        let given = outcomes.into_iter().filter(|given| *given).count();
        let log = instance.log();
        let (last, before) = log.split_last().unwrap();
        assert_eq!((short(last).0, before.len()), ("function.update", 2 + given));
    }
}

#[test]
fn a_failing_disk_gives_no_value_to_code() {
    for operations in 0..6 {
        let mut instance = Instance::new();
        instance.create("s", "v").unwrap();
        let function = instance.make(&instance.admin, new_function("a", &["s"])).unwrap().id;
        let run = instance.run(&instance.admin, function);
        instance.disk.fail_after(operations);
        let mut given = 0;
        let refused = loop {
            match instance.given(&run, "s") {
                Ok(_) => given += 1,
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused, FunctionReadError::Store(StoreFailure::Unavailable));
        instance.disk.repair();
        instance.reopen();
        let told = instance.log().len() - 2;
        assert!(told == given || told == given + 1, "{told} of {given}");
    }
}

#[test]
fn use_only_secrets_are_not_read() {
    let instance = Instance::new();
    let hosts = vec![crate::model::HostName::parse("api.example.com".to_owned()).unwrap()];
    let header = crate::model::HeaderName::parse("Authorization".to_owned()).unwrap();
    let use_only = Some(crate::model::UseOnly::new(hosts, header).unwrap());
    let new = NewSecret { use_only, ..new_secret("s", "a value that nobody reads") };
    instance.wait(instance.store().create_secret(instance.act(1), new)).unwrap();
    let function = instance.make(&instance.admin, new_function("a", &["s"])).unwrap().id;
    let run = instance.run(&instance.admin, function);
    assert_eq!(instance.given(&run, "s"), Err(FunctionReadError::Denied));
}

#[test]
fn a_full_log_stops_reads() {
    let instance = Instance::new();
    instance.create("s", "v").unwrap();
    let function = instance.make(&instance.admin, new_function("a", &["s"])).unwrap().id;
    let run = instance.run(&instance.admin, function);
    let events = instance.usage().audit_events;
    instance.set_quota(Resource::AuditEvents, Field::Set(events));
    let refused = full(Resource::AuditEvents, events);
    assert_eq!(instance.given(&run, "s"), Err(FunctionReadError::Store(refused.clone())));
    let changed = instance.change(&instance.admin, function, keep()).unwrap_err();
    assert_eq!(changed, UpdateFunctionError::Store(refused));
    instance.remove(function).unwrap();
}

#[test]
fn executions_are_recorded_and_the_last_hundred_kept() {
    let mut instance = Instance::new();
    let function = instance.make(&instance.admin, new_function("a", &[])).unwrap().id;
    let (key, invoker) = instance.key(EXECUTE, Scope::All);
    let run = instance.run(&invoker, function);
    assert_eq!(instance.state(&run), Err(FunctionError::NotFound));
    instance.wait(instance.store().begin_execution(run.clone(), at(20))).unwrap();
    assert_eq!(instance.state(&run), Ok(ExecutionState::Running));
    instance.wait(instance.store().end_execution(run.clone(), at(20), failed("no"))).unwrap();
    let execution = instance.store().execution(&instance.grant(), function, run.execution());
    let expected = Execution {
        id: run.execution(),
        function,
        code_sha256: run.code_sha256(),
        invoked_by: key.id,
        started_at: at(20),
        state: ExecutionState::Ended(Box::new(failed("no"))),
    };
    assert_eq!(execution.unwrap(), expected);
    let lost = instance.run_at(&invoker, function, 21);
    instance.wait(instance.store().begin_execution(lost.clone(), at(21))).unwrap();
    instance.reopen();
    assert_eq!(instance.state(&lost), Ok(ExecutionState::Lost));
    assert_eq!(instance.state(&run).unwrap().as_str(), "failed");

    let runs: Vec<_> =
        (0..EXECUTIONS_KEPT as u64).map(|n| instance.run_at(&invoker, function, 100 + n)).collect();
    for run in &runs {
        instance.wait(instance.store().end_execution(run.clone(), at(100), failed("x"))).unwrap();
    }
    let page = |limit, offset| {
        let page = instance.store().list_executions(&instance.grant(), function, limit, offset);
        let page = page.unwrap();
        (page.items.iter().map(|execution| execution.id).collect::<Vec<_>>(), page.total)
    };
    let newest_first: Vec<_> = runs.iter().rev().map(|run| run.execution()).collect();
    assert_eq!(page(1_000, 0), (newest_first.clone(), 100));
    let newest = instance.store().list_executions(&instance.grant(), function, 1, 0).unwrap();
    let ended = Some((at(30), 5));
    let id = runs[99].execution();
    let summary = ExecutionSummary { id, status: "failed", started_at: at(100), ended };
    assert_eq!(newest.items, [summary]);
    assert_eq!(page(2, 1), (newest_first[1..3].to_vec(), 100));
    assert_eq!(page(2, 100), (vec![], 100));
    assert_eq!(instance.state(&lost), Err(FunctionError::NotFound));
    // One that is older than all that are kept is not kept itself.
    instance.wait(instance.store().end_execution(run.clone(), at(20), failed("x"))).unwrap();
    assert_eq!(page(1_000, 0).0, newest_first);
    audit(instance.store()).unwrap();

    // They go with their function, and what ends afterwards leaves nothing.
    instance.remove(function).unwrap();
    let listed = instance.store().list_executions(&instance.grant(), function, 9, 0);
    assert_eq!(listed.unwrap_err(), FunctionError::NotFound);
    instance.wait(instance.store().end_execution(runs[0].clone(), at(1), failed("x"))).unwrap();
    let began = instance.wait(instance.store().begin_execution(runs[0].clone(), at(1)));
    assert_eq!(began.unwrap_err(), FunctionError::NotFound);
    audit(instance.store()).unwrap();
}

#[test]
fn the_largest_execution_fits() {
    let instance = Instance::new();
    let function = instance.make(&instance.admin, new_function("a", &[])).unwrap().id;
    let run = instance.run(&instance.admin, function);
    let hash = run.code_sha256();
    let reads = (0..1_000).map(|version| SecretRead {
        name: name(&"n".repeat(100)),
        version: Version(u64::MAX - version),
    });
    let line = |bytes| LogLine { level: LogLevel::Warn, time: at(9), message: "x".repeat(bytes) };
    let lines = (0..1_000).map(|index| line(if index < 144 { 263 } else { 262 }));
    let result = JsonText::parse(format!("\"{}\"", "r".repeat(1_048_574))).unwrap();
    let receipt = ExecutionReceipt {
        params_sha256: hash,
        result_sha256: hash,
        secrets_read: SecretReads::new(reads.collect()).unwrap(),
        signature: ReceiptSignature(Signature([7; 64])),
    };
    let end = ExecutionEnd {
        completed_at: at(30),
        duration_ms: u64::MAX,
        outcome: ExecutionOutcome::Completed { result, receipt },
        logs: Logs::kept(lines.collect()),
    };
    assert_eq!(end.logs.lines().len(), 1_000);
    instance.wait(instance.store().end_execution(run.clone(), at(20), end.clone())).unwrap();
    assert_eq!(instance.state(&run), Ok(ExecutionState::Ended(Box::new(end))));
    audit(instance.store()).unwrap();
}

#[test]
fn nothing_of_functions_outlives_their_account() {
    let instance = Instance::new();
    let new = crate::model::NewAccount { name: label("b"), quotas: Default::default() };
    let made = instance.wait(instance.store().create_account(instance.owner_act(), new));
    let (account, token) = made.ok().unwrap();
    let admin = instance.authenticate(&token, at(1)).unwrap();
    let function = instance.make(&admin, new_function("a", &["s"])).unwrap().id;
    let run = instance.run(&admin, function);
    instance.wait(instance.store().end_execution(run.clone(), at(1), failed("x"))).unwrap();
    // Another account's function is as a missing one.
    let foreign = instance.store().function(&instance.grant(), function).unwrap_err();
    assert_eq!(foreign, FunctionError::NotFound);
    instance.wait(instance.store().delete_account(instance.owner_act(), account.id)).unwrap();
    let revoked = StoreFailure::KeyRevoked;
    assert_eq!(instance.given(&run, "s"), Err(FunctionReadError::Store(revoked.clone())));
    let ended = instance.wait(instance.store().end_execution(run, at(1), failed("x")));
    assert_eq!(ended, Err(revoked));
    while instance.store().deleted_accounts() > 0 {
        let id = instance.create("s", "v").unwrap().id;
        instance.delete(id).unwrap();
    }
    let left = audit::records(instance.store());
    assert!(!left.keys().any(|key| key.starts_with(account.id.as_bytes())));
    audit(instance.store()).unwrap();
}

#[test]
fn a_record_keeps_what_its_bounds_say() {
    let line = |bytes: usize| {
        let message = "é".repeat(bytes / 2);
        LogLine { level: LogLevel::Info, time: at(1), message }
    };
    assert_eq!(Logs::kept(vec![line(2); 1_001]).lines().len(), 1_000);
    // The first line that does not fit ends the log, though a later one would.
    let logs = Logs::kept(vec![line(262_142), line(4), line(2)]);
    assert_eq!(logs.lines().len(), 1);
    let fault = ExecutionFault::new("é".repeat(65), "é".repeat(4_097), "é".repeat(4_096));
    let lengths = [fault.name(), fault.message(), fault.stack()].map(str::len);
    assert_eq!(lengths, [128, 8_192, 8_192]);
    let cut = ExecutionFault::new(String::new(), "☃".repeat(2_731), String::new());
    assert_eq!(cut.message().len(), 8_190);
    assert!(JsonText::parse("{\"a\":1".to_owned()).is_err());
    assert!(JsonText::parse(format!("\"{}\"", "r".repeat(1_048_575))).is_err());
    assert_eq!(names(&["a", "b"]).iter().count(), 2);
}

#[test]
fn the_end_of_an_overlap_stops_what_the_old_token_has_under_way() {
    let instance = Instance::new();
    instance.create("s", "v").unwrap();
    let function = instance.make(&instance.admin, new_function("a", &["s"])).unwrap().id;
    let (key, first) = instance.create_key(&instance.admin, new_key(EXECUTE, Scope::All)).unwrap();
    let writes = new_key(&[Permission::Write], Scope::All);
    let (writer_key, old) = instance.create_key(&instance.admin, writes).unwrap();
    let writer = instance.authenticate(&old, at(10)).unwrap();
    let run = instance.run(&instance.authenticate(&first, at(10)).unwrap(), function);
    for id in [key.id, writer_key.id] {
        let overlap = Overlap::from_seconds(10).unwrap();
        instance.wait(instance.store().rotate_key(instance.act(20), id, overlap)).unwrap();
    }
    let revoked = StoreFailure::KeyRevoked;
    assert_eq!(instance.given_at(&run, "s", 29).unwrap(), "v");
    let ended = Err(FunctionReadError::Store(revoked.clone()));
    assert_eq!(instance.given_at(&run, "s", 30), ended);
    instance.wait(instance.store().begin_execution(run.clone(), at(29))).unwrap();
    let began = instance.wait(instance.store().begin_execution(run, at(30)));
    assert_eq!(began.unwrap_err(), FunctionError::Store(revoked.clone()));
    let create = |name: &str, seconds| {
        let create = instance.store().create_secret(act(&writer, seconds), new_secret(name, "v"));
        instance.wait(create).map(drop)
    };
    create("t", 29).unwrap();
    assert_eq!(create("u", 30), Err(CreateSecretError::Store(revoked)));
}

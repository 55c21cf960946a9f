//! Use-only secrets: nobody reads them, whatever is done to them.

use super::super::body::{Body, Versions};
use super::super::record::{Address, Kind, body_version};
use super::damage::with_records;
use super::functions::{new_code, new_function, pinned};
use super::*;
use crate::audit::{Actor, Object};
use crate::model::{FunctionId, HeaderName, HostName, Issue, Revision, UseOnly};

const VALUE: &str = "sk_live_0123456789";

fn use_only() -> UseOnly {
    let hosts = ["api.test", "eu.api.test"].map(|host| HostName::parse(host.to_owned()).unwrap());
    UseOnly::new(hosts.to_vec(), HeaderName::parse("X-Key".to_owned()).unwrap()).unwrap()
}

impl Instance {
    fn sent(
        &self,
        run: &FunctionRun,
        (secret, host, header): (&str, &str, &str),
    ) -> Result<String, FunctionUseError> {
        let host = HostName::parse(host.to_owned()).unwrap();
        let header = HeaderName::parse(header.to_owned()).unwrap();
        let usage = SecretUse { name: name(secret), host, header };
        let act = Act { by: run.clone(), origin: origin("an-invocation"), now: at(21) };
        let used = self.wait(self.store().function_use(act, usage))?;
        Ok(String::from_utf8(used.value.expose().to_vec()).unwrap())
    }

    fn function(&self, called: &str, secrets: &[&str]) -> (FunctionId, FunctionRun) {
        let id = self.make(&self.admin, new_function(called, secrets)).unwrap().id;
        (id, self.run(&self.admin, id))
    }

    fn create_use_only(&self, secret: &str) -> Secret {
        let new = NewSecret { use_only: Some(use_only()), ..new_secret(secret, VALUE) };
        self.wait(self.store().create_secret(self.act(1), new)).unwrap()
    }
}

#[test]
fn nobody_reads_the_value() {
    let mut instance = Instance::new();
    let made = instance.create_use_only("a");
    assert_eq!(made.use_only, Some(use_only()));
    instance.reopen();
    assert_eq!(instance.store().secret(&instance.grant(), made.id).unwrap(), made);
    assert_eq!(instance.page(5, 0).items, std::slice::from_ref(&made));
    let (id, holder) = (made.id, instance.key(&[Permission::Reveal], Scope::All).1);
    let refused = |version| instance.reveal(&holder, id, version).unwrap_err();
    assert_eq!(refused(None), ReadError::UseOnly);
    assert_eq!(refused(Some(1)), ReadError::UseOnly);
    instance.update(id, new_value("sk_live_the_second_one")).unwrap();
    assert_eq!(instance.rollback(id, 1).unwrap().use_only, Some(use_only()));
    for version in [None, Some(1), Some(2), Some(3), Some(4)] {
        assert_eq!(refused(version), ReadError::UseOnly);
    }
    instance.delete(id).unwrap();
    assert_eq!(instance.reveal(&holder, id, None).unwrap_err(), ReadError::NotFound);
    // The name is free, and what has it next is a secret like any other.
    let next = instance.create("a", "readable").unwrap();
    assert_eq!(instance.reveal(&holder, next.id, None).unwrap(), "readable");
}

#[test]
fn a_new_value_is_as_the_first_one_had_to_be() {
    let instance = Instance::new();
    let made = instance.create_use_only("a");
    let rule = "must be 16 to 4096 visible ASCII characters without spaces, since the secret is \
                use-only";
    for wrong in ["short", "with a space in between", "0123456789abcdef\n"] {
        let issue = Issue(rule.to_owned());
        let refused = instance.update(made.id, new_value(wrong)).unwrap_err();
        assert_eq!(refused, UpdateSecretError::Value { issue });
    }
    assert_eq!(instance.store().secret(&instance.grant(), made.id).unwrap(), made);
    let tagged = Change { tags: Field::Set(tags(&[("a", "b")])), ..no_change() };
    assert_eq!(instance.update(made.id, tagged).unwrap().use_only, Some(use_only()));
}

#[test]
fn code_sends_it_where_it_may_go_and_never_reads_it() {
    let instance = Instance::new();
    let made = instance.create_use_only("key");
    instance.create("plain", "readable").unwrap();
    let (function, run) = instance.function("a", &["key", "plain", "gone"]);
    let told = instance.log().len();
    let sent = |usage| instance.sent(&run, usage);
    assert_eq!(sent(("key", "api.test", "x-key")).unwrap(), VALUE);
    assert_eq!(sent(("key", "eu.api.test", "X-KEY")).unwrap(), VALUE);
    for host in ["evil.test", "x.api.test", "api.test.evil.test"] {
        assert_eq!(sent(("key", host, "x-key")).unwrap_err(), FunctionUseError::Host);
    }
    let header = sent(("key", "api.test", "authorization")).unwrap_err();
    assert_eq!(header, FunctionUseError::Header);
    let readable = sent(("plain", "api.test", "x-key")).unwrap_err();
    assert_eq!(readable, FunctionUseError::Readable);
    assert_eq!(sent(("gone", "api.test", "x-key")).unwrap_err(), FunctionUseError::NotFound);
    assert_eq!(sent(("other", "api.test", "x-key")).unwrap_err(), FunctionUseError::Denied);
    let act = Act { by: run.clone(), origin: origin("an-invocation"), now: at(21) };
    let read = instance.wait(instance.store().function_read(act, &name("key"), None));
    assert_eq!(read.err().unwrap(), FunctionReadError::Denied);

    // One event for each value that left, with whom it left to; none for what was refused.
    let log = instance.log();
    let [first, second] = &log[told..] else { panic!("{:?}", &log[told..]) };
    let object = |host: &str| {
        let host = HostName::parse(host.to_owned()).unwrap();
        Object::Use { id: made.id, name: name("key"), version: Version(1), host }
    };
    assert_eq!(first.object, object("api.test"));
    assert_eq!(second.object, object("eu.api.test"));
    let (code_sha256, key) = (run.code_sha256(), instance.grant::<Read>().key());
    assert_eq!(first.actor, Actor::Function { id: function, code_sha256, key });
    assert_eq!(first.action.as_str(), "secret.use");
    super::audit::audit(instance.store()).unwrap();
}

#[test]
fn what_was_invoked_has_to_stand_at_each_use() {
    let instance = Instance::new();
    let made = instance.create_use_only("key");
    let usage = ("key", "api.test", "x-key");
    let (function, run) = instance.function("a", &["key"]);
    assert!(instance.sent(&run, usage).is_ok());
    // A rotated value is what is sent next.
    instance.update(made.id, new_value("sk_live_the_second_one")).unwrap();
    assert_eq!(instance.sent(&run, usage).unwrap(), "sk_live_the_second_one");
    instance.change(&instance.admin, function, new_code("async function main() { }")).unwrap();
    assert_eq!(instance.sent(&run, usage).unwrap_err(), FunctionUseError::Denied);
    let pinned = instance.make(&instance.admin, pinned("b", &["key"])).unwrap().id;
    instance.change(&instance.admin, pinned, new_code("async function main() { }")).unwrap();
    let run = instance.run(&instance.admin, pinned);
    assert_eq!(instance.sent(&run, usage).unwrap_err(), FunctionUseError::Denied);
    let (_, run) = instance.function("c", &["key"]);
    let events = instance.usage().audit_events;
    instance.set_quota(Resource::AuditEvents, Field::Set(events));
    let refused = full(Resource::AuditEvents, events);
    assert_eq!(instance.sent(&run, usage).unwrap_err(), FunctionUseError::Store(refused));
    instance.set_quota(Resource::AuditEvents, Field::Clear);
    instance.delete(made.id).unwrap();
    assert_eq!(instance.sent(&run, usage).unwrap_err(), FunctionUseError::NotFound);
    // Who has the name next is another secret, with rules of its own.
    instance.create("key", "readable").unwrap();
    assert_eq!(instance.sent(&run, usage).unwrap_err(), FunctionUseError::Readable);
}

/// A secret's record as the server wrote it before there were use-only ones.
mod v1 {
    use super::super::super::body::{Body, Versions};
    use super::Kind;
    use crate::model::{Description, Revision, SecretName, Tags, Timestamp};

    #[derive(minicbor::Encode, minicbor::Decode)]
    #[cbor(map)]
    pub(super) struct SecretBodyV1 {
        #[n(0)]
        pub(super) name: SecretName,
        #[n(1)]
        pub(super) description: Option<Description>,
        #[n(2)]
        pub(super) tags: Tags,
        #[n(3)]
        pub(super) created_at: Timestamp,
        #[n(4)]
        pub(super) updated_at: Timestamp,
        #[n(5)]
        pub(super) expires_at: Option<Timestamp>,
        #[n(6)]
        pub(super) revision: Revision,
        #[n(7)]
        pub(super) versions: Versions,
    }

    impl Body for SecretBodyV1 {
        const KIND: Kind = Kind::Secret;
        const VERSION: u8 = 1;
    }
}

#[test]
fn an_older_secret_opens_and_is_brought_up_to_date_by_its_next_change() {
    let mut instance = Instance::new();
    let made = instance.create("a", "one").unwrap();
    let account = instance.claim.account;
    let store = instance.store.take().unwrap();
    let mut changes = Changes::default();
    {
        let snapshot = store.writer.snapshot().unwrap();
        let access = store.writer.shared.core.access(&*snapshot);
        let keys = access.account(account).unwrap();
        let body = v1::SecretBodyV1 {
            name: made.name.clone(),
            description: None,
            tags: Tags::default(),
            created_at: made.created_at,
            updated_at: made.updated_at,
            expires_at: None,
            revision: Revision(1),
            versions: Versions::first(made.created_at, instance.grant::<Write>().key(), 3),
        };
        let address = Address::new(account, made.id.as_bytes());
        access.put(&mut changes, &*keys, &address, &body).unwrap();
    }
    drop(store);
    instance.disk = with_records(&instance.disk, &changes);
    instance.store = Some(open(&instance.disk, &instance.chip, LIMITS).unwrap());
    let version = |instance: &Instance| {
        let records = super::audit::records(instance.store());
        body_version(&records[Address::secret(account, made.id).key()])
    };
    assert_eq!(version(&instance), Some(1));
    assert_eq!(instance.store().secret(&instance.grant(), made.id).unwrap(), made);
    assert_eq!(instance.page(5, 0).items, std::slice::from_ref(&made));
    assert_eq!(instance.value(made.id, None).unwrap(), "one");
    instance.update(made.id, new_value("two")).unwrap();
    assert_eq!(version(&instance), Some(super::super::body::SecretBody::VERSION));
    assert_eq!(instance.value(made.id, Some(1)).unwrap(), "one");
    super::audit::audit(instance.store()).unwrap();
}

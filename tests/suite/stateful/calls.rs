//! Each step as a request, and what the model says of its answer.

use neo_secrets_tests::http::Answer;
use serde_json::{Value, json};

use super::model::{About, Event, Refusal, Secret};
use super::{Act, Checked, Step, Target, Who, World};

/// The answer that a success with this status is; none for the refusal that was expected.
pub(super) fn checked<T>(
    answer: Answer,
    status: u16,
    verdict: Result<T, Refusal>,
) -> Checked<Option<(T, Value, Answer)>> {
    let body = answer.json();
    let (expected, code) = match &verdict {
        Ok(_) => (status, None),
        Err((status, code)) => (*status, Some(*code)),
    };
    same(
        "the status and code",
        json!([expected, code]),
        json!([answer.status, body["error"]["code"]]),
    )
    .map_err(|error| format!("{error}\n{body}"))?;
    if let Err((status, code)) = verdict {
        answer.error(status, code);
        return Ok(None);
    }
    Ok(verdict.ok().map(|verdict| (verdict, body, answer)))
}

pub(super) fn same(what: &str, expected: Value, found: Value) -> Checked {
    if expected == found {
        return Ok(());
    }
    Err(format!("{what}\n  expected {expected}\n  found    {found}"))
}

pub(super) fn text(body: &Value, field: &str) -> String {
    body[field].as_str().unwrap_or_else(|| panic!("no {field} in {body}")).to_owned()
}

/// Newest first, as a page of a list is.
pub(super) fn page<'i>(
    items: impl Iterator<Item = &'i Value>,
    offset: usize,
    limit: usize,
) -> Vec<&'i Value> {
    items.skip(offset).take(limit).collect()
}

impl World<'_> {
    pub(super) fn step(&mut self, step: &Step) -> Checked {
        let who = step.who;
        match &step.act {
            Act::Create { name, bytes, expiry } => self.create(who, *name, *bytes, *expiry),
            Act::Update { secret, bytes, expiry, if_match } => {
                self.update(who, *secret, (*bytes, *expiry), *if_match)
            }
            Act::Rollback { secret, version, if_match } => {
                self.rollback(who, *secret, *version, *if_match)
            }
            Act::Delete { secret } => self.delete(who, *secret),
            Act::Read { secret } => self.read(who, *secret),
            Act::Versions { secret } => self.versions(who, *secret),
            Act::Reveal { secret, version } => self.reveal(who, *secret, *version),
            Act::List { prefix, limit, offset, full } => {
                self.list(who, *prefix, (*limit, *offset), *full)
            }
            Act::CreateKey { permissions, patterns } => {
                self.create_key(who, *permissions, *patterns)
            }
            Act::RevokeKey { key } => self.revoke_key(who, *key),
            Act::RotateKey { key, overlap } => self.rotate_key(who, *key, *overlap),
            Act::ListKeys => self.list_keys(who),
            Act::Log { action, secret, limit, offset } => {
                self.read_log(who, (*action, *secret), (*limit, *offset))
            }
            Act::SetQuota { foreign, which, quota } => {
                self.set_quota(who, Self::home_of(who, *foreign), *which, *quota)
            }
            Act::ReadAccount { foreign } => self.read_account(who, Self::home_of(who, *foreign)),
            Act::DeleteAccount { foreign } => {
                self.delete_account(who, Self::home_of(who, *foreign))
            }
            Act::Stop => {
                self.restart(|appliance| assert!(appliance.terminate().success()));
                Ok(())
            }
            Act::Kill => {
                self.restart(|appliance| appliance.kill());
                Ok(())
            }
        }
    }

    /// At the end of a sequence: all that each account's first key and the owner see.
    pub(super) fn audit(&mut self) -> Checked {
        for account in 0..2 {
            let who = Who::Key { account, token: 0 };
            self.list(who, None, (100, 0), true)?;
            self.list_keys(who)?;
            self.read_log(who, (None, None), (100, 0))?;
            self.read_account(Who::Owner, account)?;
        }
        self.read_log(Who::Owner, (None, None), (100, 0))
    }

    /// The id of what is meant; one that there is not where there is nothing.
    pub(super) fn secret_id(&self, who: Who, target: Target) -> String {
        let secrets = &self.accounts[Self::home_of(who, target.foreign)].secrets;
        let id = secrets.get(target.number % secrets.len().max(1)).map(|secret| secret.id.clone());
        id.unwrap_or_else(|| format!("sec_{}", "A".repeat(24)))
    }

    pub(super) fn key_id(&self, who: Who, target: Target) -> String {
        let keys = &self.accounts[Self::home_of(who, target.foreign)].keys;
        keys[target.number % keys.len()].id.clone()
    }

    fn tell(
        &mut self,
        (account, key): (usize, usize),
        answer: &Answer,
        act: (&str, Value),
        about: About,
    ) {
        let account = &mut self.accounts[account];
        let (action, object) = act;
        let shown = json!({
            "action": action, "actor": {"type": "key", "id": account.keys[key].id},
            "object": object, "from": "127.0.0.1", "requestId": answer.header("x-request-id"),
        });
        account.log.push(Event { shown, about });
    }

    pub(super) fn tell_of_secret(
        &mut self,
        by: (usize, usize),
        answer: &Answer,
        action: &str,
        secret: usize,
        version: Option<u64>,
    ) {
        let Secret { id, name, .. } = &self.accounts[by.0].secrets[secret];
        let (id, name) = (id.clone(), *name);
        let mut object = json!({"type": "secret", "id": id, "name": name});
        if let Some(version) = version {
            object["version"] = json!(version);
        }
        self.tell(by, answer, (action, object), About::Secret { id, name });
    }

    pub(super) fn tell_of_key(
        &mut self,
        by: (usize, usize),
        answer: &Answer,
        action: &str,
        key: usize,
    ) {
        let key = self.accounts[by.0].keys[key].clone();
        let object = json!({"type": "key", "id": key.id, "name": key.name});
        self.tell(by, answer, (action, object), About::Key(key));
    }

    pub(super) fn tell_of_account(&mut self, answer: &Answer, action: &str, account: usize) {
        let account = &self.accounts[account];
        self.log.push(json!({
            "action": action, "actor": {"type": "owner", "id": self.owner_id},
            "object": {"type": "account", "id": account.id, "name": account.name},
            "from": "127.0.0.1", "requestId": answer.header("x-request-id"),
        }));
    }
}

//! The calls about keys, the audit log and accounts.

use serde_json::{Value, json};

use super::calls::{checked, page, same, text};
use super::model::{self, About, Event, Key, PATTERNS, PERMISSIONS, QUOTAS};
use super::{Checked, Target, Who, World};

/// A key as the model shows it, which knows no times: whether an old text works, not until when.
fn told(mut key: Value) -> Value {
    key["oldKeyUntil"] = json!(key["oldKeyUntil"].is_string());
    key
}

impl World<'_> {
    pub(super) fn create_key(&mut self, who: Who, permissions: usize, patterns: usize) -> Checked {
        let (permissions, patterns) = (PERMISSIONS[permissions], PATTERNS[patterns]);
        let mut key = Key {
            id: String::new(),
            name: format!("key {}", self.calls),
            permissions,
            patterns,
            created_at: String::new(),
            token: String::new(),
            previous: None,
            revoked: false,
        };
        let verdict = self.allowed(who, "admin").and_then(|by| {
            let account = &self.accounts[by.0];
            match () {
                () if !key.is_within(&account.keys[by.1]) => Err(model::FORBIDDEN),
                () if account.is_full(2, 1) || account.log_is_full_for_keys() => Err(model::FULL),
                () => Ok(by),
            }
        });
        let mut body = json!({"name": key.name, "permissions": permissions});
        if !patterns.is_empty() {
            body["secrets"] = json!(patterns);
        }
        let answer = self.send(who, "POST", "/v1/api-keys", "", Some(body));
        let Some((by, mut body, answer)) = checked(answer, 201, verdict)? else { return Ok(()) };
        (key.id, key.created_at) = (text(&body, "id"), text(&body, "createdAt"));
        key.token = text(&body, "key");
        body.as_object_mut().unwrap().remove("key");
        same("the key", key.shown(), told(body))?;
        let account = &mut self.accounts[by.0];
        account.tokens.push((key.token.clone(), account.keys.len()));
        account.keys.push(key);
        let number = account.keys.len() - 1;
        self.tell_of_key(by, &answer, "key.create", number);
        Ok(())
    }

    pub(super) fn revoke_key(&mut self, who: Who, target: Target) -> Checked {
        let id = self.key_id(who, target);
        let verdict = self.allowed(who, "admin").and_then(|by| {
            let account = &self.accounts[by.0];
            let number = account.find_key(by.1, &id)?;
            let last = account.keys[number].is_lasting_admin() && account.has_one_lasting_admin();
            if last { Err(model::CONFLICT) } else { Ok((by, number)) }
        });
        let answer = self.send(who, "DELETE", &format!("/v1/api-keys/{id}"), "", None);
        let Some(((by, number), body, answer)) = checked(answer, 200, verdict)? else {
            return Ok(());
        };
        same(
            "what is said",
            json!({"success": true, "message": "API key revoked successfully"}),
            body,
        )?;
        self.accounts[by.0].keys[number].revoked = true;
        self.tell_of_key(by, &answer, "key.revoke", number);
        Ok(())
    }

    pub(super) fn rotate_key(&mut self, who: Who, target: Target, overlap: u64) -> Checked {
        let id = self.key_id(who, target);
        let verdict = self.allowed(who, "admin").and_then(|by| {
            let account = &self.accounts[by.0];
            let number = account.find_key(by.1, &id)?;
            let last = account.keys[number].is_lasting_admin() && account.has_one_lasting_admin();
            match () {
                () if last && overlap < 300 => Err(model::CONFLICT),
                () if account.log_is_full_for_keys() => Err(model::FULL),
                () => Ok((by, number)),
            }
        });
        let body = json!({"overlapSeconds": overlap});
        let answer = self.send(who, "POST", &format!("/v1/api-keys/{id}/rotate"), "", Some(body));
        let Some(((by, number), mut body, answer)) = checked(answer, 200, verdict)? else {
            return Ok(());
        };
        let (asking, token) = (self.token(who).to_owned(), text(&body, "key"));
        body.as_object_mut().unwrap().remove("key");
        let account = &mut self.accounts[by.0];
        let key = &mut account.keys[number];
        account.tokens.push((token.clone(), number));
        let old = std::mem::replace(&mut key.token, token);
        // A key that rotates itself by its old token keeps that one.
        let kept = key.previous.take().filter(|previous| *previous == asking).unwrap_or(old);
        key.previous = (overlap > 0).then_some(kept);
        same("the key", key.shown(), told(body))?;
        self.tell_of_key(by, &answer, "key.rotate", number);
        Ok(())
    }

    pub(super) fn list_keys(&mut self, who: Who) -> Checked {
        let verdict = self.allowed(who, "admin");
        let answer = self.send(who, "GET", "/v1/api-keys", "", None);
        let Some((by, mut body, _)) = checked(answer, 200, verdict)? else { return Ok(()) };
        for key in body["apiKeys"].as_array_mut().unwrap() {
            *key = told(key.take());
        }
        let account = &self.accounts[by.0];
        let seen = account.live_keys().filter(|key| key.is_within(&account.keys[by.1]));
        same("the keys", json!({"apiKeys": seen.map(Key::shown).collect::<Vec<_>>()}), body)
    }

    pub(super) fn read_log(
        &mut self,
        who: Who,
        (action, secret): (Option<&str>, Option<Target>),
        (limit, offset): (usize, usize),
    ) -> Checked {
        let secret = secret.map(|target| self.secret_id(who, target));
        let verdict = match who {
            Who::Owner => Ok(None),
            _ => self.allowed(who, "admin").map(Some),
        };
        let mut target = format!("/v1/audit-log?limit={limit}&offset={offset}");
        for (name, value) in [("action", action), ("secret", secret.as_deref())] {
            if let Some(value) = value {
                target += &format!("&{name}={value}");
            }
        }
        let answer = self.send(who, "GET", &target, "", None);
        let Some((by, mut body, _)) = checked(answer, 200, verdict)? else { return Ok(()) };
        for event in body["events"].as_array_mut().unwrap() {
            event.as_object_mut().unwrap().remove("time");
        }
        let acted = |shown: &Value| action.is_none_or(|action| shown["action"] == action);
        let all: Vec<&Value> = match by {
            Some((account, key)) => {
                let about = |event: &&Event| match (&secret, &event.about) {
                    (None, _) => true,
                    (Some(wanted), About::Secret { id, .. }) => wanted == id,
                    (Some(_), About::Key(_)) => false,
                };
                let seen = self.accounts[account].seen(key).filter(about);
                seen.map(|event| &event.shown).filter(|shown| acted(shown)).collect()
            }
            None if secret.is_some() => Vec::new(),
            None => self.log.iter().rev().filter(|shown| acted(shown)).collect(),
        };
        if by.is_none() && (action.is_some() || offset > 0) {
            // Of other sequences before this one, too.
            return Ok(());
        }
        let before = if by.is_none() && secret.is_none() { self.told_before } else { 0 };
        let total = all.len() as u64 + before;
        let pagination = json!({"total": total, "limit": limit, "offset": offset});
        same("the pagination", pagination, body["pagination"].clone())?;
        let events = page(all.into_iter(), offset, limit);
        let mut found = body["events"].take();
        if by.is_none() {
            found.as_array_mut().unwrap().truncate(events.len());
        }
        same("the log", json!(events), found)
    }

    pub(super) fn set_quota(
        &mut self,
        who: Who,
        account: usize,
        which: usize,
        quota: Option<u64>,
    ) -> Checked {
        let verdict = self.owned(who, account);
        let target = format!("/v1/accounts/{}", self.accounts[account].id);
        let answer =
            self.send(who, "PUT", &target, "", Some(json!({"quotas": {QUOTAS[which]: quota}})));
        let Some(((), body, answer)) = checked(answer, 200, verdict)? else { return Ok(()) };
        self.accounts[account].quotas[which] = quota;
        same("the account", self.accounts[account].shown(), body)?;
        self.tell_of_account(&answer, "account.update", account);
        Ok(())
    }

    pub(super) fn read_account(&mut self, who: Who, account: usize) -> Checked {
        let verdict = self.owned(who, account);
        let target = format!("/v1/accounts/{}", self.accounts[account].id);
        let answer = self.send(who, "GET", &target, "", None);
        let Some(((), body, _)) = checked(answer, 200, verdict)? else { return Ok(()) };
        same("the account", self.accounts[account].shown(), body)
    }

    pub(super) fn delete_account(&mut self, who: Who, account: usize) -> Checked {
        let verdict = self.owned(who, account);
        let target = format!("/v1/accounts/{}", self.accounts[account].id);
        let answer = self.send(who, "DELETE", &target, "", None);
        let Some(((), body, answer)) = checked(answer, 200, verdict)? else { return Ok(()) };
        same(
            "what is said",
            json!({"success": true, "message": "Account deleted successfully"}),
            body,
        )?;
        self.tell_of_account(&answer, "account.delete", account);
        self.accounts[account].deleted = true;
        Ok(())
    }
}

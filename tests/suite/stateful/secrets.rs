//! The calls about secrets.

use neo_secrets_tests::http::Answer;
use serde_json::{Value, json};

use super::calls::{checked, page, same, text};
use super::model::{self, Refusal, Secret, Version};
use super::{Checked, Expiry, IfMatch, Target, Who, World};

const PAST: &str = "2001-02-03T04:05:06Z";
const FUTURE: &str = "2901-02-03T04:05:06Z";

fn value(bytes: usize, salt: usize) -> String {
    (0..bytes).map(|n| char::from(b'a' + u8::try_from((n * 7 + salt) % 26).unwrap())).collect()
}

/// Who changes (account and key), which secret, and its new value.
type Changing = ((usize, usize), usize, Option<String>);

impl World<'_> {
    pub(super) fn create(
        &mut self,
        who: Who,
        name: usize,
        bytes: usize,
        expiry: Expiry,
    ) -> Checked {
        let name = model::NAMES[name];
        let value = value(bytes, self.calls);
        let expires_at = match expiry {
            Expiry::Keep | Expiry::Clear => None,
            Expiry::Past => Some(PAST),
            Expiry::Future => Some(FUTURE),
        };
        let verdict = self.allowed(who, "write").and_then(|by| {
            let account = &self.accounts[by.0];
            match () {
                () if !account.keys[by.1].reaches(name) => Err(model::FORBIDDEN),
                () if account.live().any(|secret| secret.name == name) => Err(model::CONFLICT),
                () if account.is_full(0, 1) || account.is_full(1, bytes as i64) => Err(model::FULL),
                () if account.log_is_full() => Err(model::FULL),
                () => Ok(by),
            }
        });
        let body =
            json!({"name": name, "value": value, "expiresAt": expires_at, "description": "d"});
        let answer = self.send(who, "POST", "/v1/secrets", "", Some(body));
        let Some((by, body, answer)) = checked(answer, 201, verdict)? else { return Ok(()) };
        let (id, at) = (text(&body, "id"), text(&body, "createdAt"));
        let by_id = self.accounts[by.0].keys[by.1].id.clone();
        let version = Version { number: 1, value, at: at.clone(), by: by_id };
        let secret = Secret {
            id,
            name,
            description: Some("d".to_owned()),
            expires_at,
            versions: [version].into(),
            revision: 1,
            created_at: at.clone(),
            updated_at: at,
            deleted: false,
        };
        same(
            "the location",
            json!(format!("/v1/secrets/{}", secret.id)),
            json!(answer.header("location")),
        )?;
        same("the secret", secret.shown(), body)?;
        self.accounts[by.0].secrets.push(secret);
        let number = self.accounts[by.0].secrets.len() - 1;
        self.tell_of_secret(by, &answer, "secret.create", number, Some(1));
        Ok(())
    }

    /// Finds the secret, compares the tag, and then looks whether there is room.
    fn change(
        &self,
        who: Who,
        id: &str,
        tag: Option<u64>,
        check: impl FnOnce(&Secret) -> Result<Option<String>, Refusal>,
    ) -> Result<Changing, Refusal> {
        let by = self.allowed(who, "write")?;
        let account = &self.accounts[by.0];
        let number = account.find(by.1, id)?;
        let secret = &account.secrets[number];
        if tag.is_some_and(|tag| tag != secret.revision) {
            return Err(model::STALE);
        }
        let value = check(secret)?;
        let growth = value.as_ref().map_or(0, |value| secret.growth(value));
        if account.is_full(1, growth) || account.log_is_full() {
            return Err(model::FULL);
        }
        Ok((by, number, value))
    }

    /// The tag to send: of the secret, where there is one, or another.
    fn tag(&self, id: &str, if_match: IfMatch) -> Option<u64> {
        let mut all = self.accounts.iter().flat_map(|account| &account.secrets);
        let revision = all.find(|secret| secret.id == id).map_or(1, |secret| secret.revision);
        match if_match {
            IfMatch::Absent => None,
            IfMatch::Current => Some(revision),
            IfMatch::Other => Some(revision + 1),
        }
    }

    /// Takes a change over: the next revision, and perhaps the next version.
    fn changed(
        &mut self,
        (by, number, value): Changing,
        (body, answer): (&Value, &Answer),
        action: &str,
    ) -> Checked {
        let at = text(body, "updatedAt");
        let account = &mut self.accounts[by.0];
        let by_id = account.keys[by.1].id.clone();
        let secret = &mut account.secrets[number];
        secret.revision += 1;
        secret.updated_at = at.clone();
        let version = value.map(|value| {
            let number = secret.newest().number + 1;
            secret.versions.push_back(Version { number, value, at, by: by_id });
            if secret.versions.len() > model::VERSIONS_KEPT {
                secret.versions.pop_front();
            }
            number
        });
        same("the secret", secret.shown(), body.clone())?;
        let tag = format!("\"{}\"", secret.revision);
        same("the tag", json!(tag), json!(answer.header("etag")))?;
        self.tell_of_secret(by, answer, action, number, version);
        Ok(())
    }

    pub(super) fn update(
        &mut self,
        who: Who,
        target: Target,
        (bytes, expiry): (Option<usize>, Expiry),
        if_match: IfMatch,
    ) -> Checked {
        let id = self.secret_id(who, target);
        let tag = self.tag(&id, if_match);
        let value = bytes.map(|bytes| value(bytes, self.calls));
        let description = format!("d{}", self.calls);
        let mut body = json!({"description": description});
        if let Some(value) = &value {
            body["value"] = json!(value);
        }
        let expires_at = match expiry {
            Expiry::Keep => None,
            Expiry::Clear => Some(None),
            Expiry::Past => Some(Some(PAST)),
            Expiry::Future => Some(Some(FUTURE)),
        };
        if let Some(expires_at) = expires_at {
            body["expiresAt"] = json!(expires_at);
        }
        let verdict = self.change(who, &id, tag, |_| Ok(value));
        let header = tag.map(|tag| format!("If-Match: \"{tag}\"\r\n")).unwrap_or_default();
        let answer = self.send(who, "PUT", &format!("/v1/secrets/{id}"), &header, Some(body));
        let Some((done, body, answer)) = checked(answer, 200, verdict)? else { return Ok(()) };
        let secret = &mut self.accounts[done.0.0].secrets[done.1];
        secret.description = Some(description);
        secret.expires_at = expires_at.unwrap_or(secret.expires_at);
        self.changed(done, (&body, &answer), "secret.update")
    }

    pub(super) fn rollback(
        &mut self,
        who: Who,
        target: Target,
        version: u64,
        if_match: IfMatch,
    ) -> Checked {
        let id = self.secret_id(who, target);
        let tag = self.tag(&id, if_match);
        let verdict = self.change(who, &id, tag, |secret| {
            let kept = secret.versions.iter().find(|kept| kept.number == version);
            kept.map(|kept| Some(kept.value.clone())).ok_or(model::INVALID)
        });
        let header = tag.map(|tag| format!("If-Match: \"{tag}\"\r\n")).unwrap_or_default();
        let target = format!("/v1/secrets/{id}/rollback");
        let answer = self.send(who, "POST", &target, &header, Some(json!({"version": version})));
        let Some((done, body, answer)) = checked(answer, 200, verdict)? else { return Ok(()) };
        self.changed(done, (&body, &answer), "secret.rollback")
    }

    pub(super) fn delete(&mut self, who: Who, target: Target) -> Checked {
        let id = self.secret_id(who, target);
        let verdict = self
            .allowed(who, "admin")
            .and_then(|by| Ok((by, self.accounts[by.0].find(by.1, &id)?)));
        let answer = self.send(who, "DELETE", &format!("/v1/secrets/{id}"), "", None);
        let Some(((by, number), body, answer)) = checked(answer, 200, verdict)? else {
            return Ok(());
        };
        same(
            "what is said",
            json!({"success": true, "message": "Secret deleted successfully"}),
            body,
        )?;
        self.accounts[by.0].secrets[number].deleted = true;
        self.tell_of_secret(by, &answer, "secret.delete", number, None);
        Ok(())
    }

    pub(super) fn read(&mut self, who: Who, target: Target) -> Checked {
        let id = self.secret_id(who, target);
        let verdict =
            self.allowed(who, "read").and_then(|by| Ok((by, self.accounts[by.0].find(by.1, &id)?)));
        let answer = self.send(who, "GET", &format!("/v1/secrets/{id}"), "", None);
        let Some(((by, number), body, answer)) = checked(answer, 200, verdict)? else {
            return Ok(());
        };
        let secret = &self.accounts[by.0].secrets[number];
        same("the tag", json!(format!("\"{}\"", secret.revision)), json!(answer.header("etag")))?;
        same("the secret", secret.shown(), body)
    }

    pub(super) fn versions(&mut self, who: Who, target: Target) -> Checked {
        let id = self.secret_id(who, target);
        let verdict =
            self.allowed(who, "read").and_then(|by| Ok((by, self.accounts[by.0].find(by.1, &id)?)));
        let answer = self.send(who, "GET", &format!("/v1/secrets/{id}/versions"), "", None);
        let Some(((by, number), body, _)) = checked(answer, 200, verdict)? else { return Ok(()) };
        let kept = self.accounts[by.0].secrets[number].versions.iter().rev();
        let kept = kept.map(
            |kept| json!({"version": kept.number, "createdAt": kept.at, "createdBy": kept.by}),
        );
        same("the versions", json!({"versions": kept.collect::<Vec<_>>()}), body)
    }

    pub(super) fn reveal(&mut self, who: Who, target: Target, version: Option<u64>) -> Checked {
        let id = self.secret_id(who, target);
        let verdict = self.allowed(who, "reveal").and_then(|by| {
            let account = &self.accounts[by.0];
            let number = account.find(by.1, &id)?;
            let secret = &account.secrets[number];
            let version = version.unwrap_or(secret.newest().number);
            let kept = secret.versions.iter().find(|kept| kept.number == version);
            let kept = kept.filter(|_| !secret.is_expired()).ok_or(model::NOT_FOUND)?;
            if account.log_is_full() {
                return Err(model::FULL);
            }
            let shown =
                json!({"id": id, "name": secret.name, "version": version, "value": kept.value});
            Ok((by, number, shown))
        });
        let query = version.map(|version| format!("?version={version}")).unwrap_or_default();
        let answer = self.send(who, "GET", &format!("/v1/secrets/{id}/value{query}"), "", None);
        let Some(((by, number, shown), body, answer)) = checked(answer, 200, verdict)? else {
            return Ok(());
        };
        let version = shown["version"].as_u64();
        same("the value", shown, body)?;
        self.tell_of_secret(by, &answer, "secret.reveal", number, version);
        Ok(())
    }

    pub(super) fn list(
        &mut self,
        who: Who,
        prefix: Option<&str>,
        (limit, offset): (usize, usize),
        full: bool,
    ) -> Checked {
        let verdict = self.allowed(who, "read");
        let mut target = format!("/v1/secrets?limit={limit}&offset={offset}");
        if let Some(prefix) = prefix {
            target += &format!("&prefix={prefix}");
        }
        if full {
            target += "&detail=full";
        }
        let answer = self.send(who, "GET", &target, "", None);
        let Some((by, body, _)) = checked(answer, 200, verdict)? else { return Ok(()) };
        let account = &self.accounts[by.0];
        let matches = |secret: &&Secret| {
            account.keys[by.1].reaches(secret.name) && secret.name.starts_with(prefix.unwrap_or(""))
        };
        let all: Vec<_> = account
            .live()
            .rev()
            .filter(matches)
            .map(|secret| if full { secret.shown() } else { secret.item() })
            .collect();
        let pagination = json!({"total": all.len(), "limit": limit, "offset": offset});
        same(
            "the list",
            json!({"secrets": page(all.iter(), offset, limit), "pagination": pagination}),
            body,
        )
    }
}

//! `/v1/audit-log`

use serde::Serialize;

use super::error::ApiError;
use super::query::{Pagination, Query};
use super::request::Call;
use super::{Answer, store_failure};
use crate::access::{Admin, Caller, Grant, OwnerCaller, Scope};
use crate::audit::{
    Action, Actor, Event, EventFilter, EventPage, EventQuery, Object, PeerAddress, RequestId,
};
use crate::model::{
    AccountId, ContentHash, FunctionId, FunctionName, HostName, Issue, KeyId, Label, SecretId,
    SecretName, Timestamp, Version,
};
use crate::store::{Store, StoreFailure};

/// A page of events.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = EventList))]
pub(super) struct List<'e> {
    events: Vec<Entry<'e>>,
    pagination: Pagination,
}

/// What was done, by whom, to what, when and from where.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Event))]
#[serde(rename_all = "camelCase")]
struct Entry<'e> {
    time: Timestamp,
    action: Action,
    actor: Who,
    object: What<'e>,
    from: PeerAddress,
    request_id: &'e RequestId,
}

/// Who did it.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Actor))]
#[serde(tag = "type", rename_all = "camelCase")]
enum Who {
    Key {
        id: KeyId,
    },
    Owner {
        id: KeyId,
    },
    Function {
        id: FunctionId,
        #[serde(rename = "codeSha256")]
        code_sha256: ContentHash,
        key: KeyId,
    },
    OwnerKeyPair,
}

/// What it was done to, as it was called then.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Object))]
#[serde(tag = "type", rename_all = "camelCase")]
enum What<'e> {
    Secret {
        id: SecretId,
        name: &'e SecretName,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[cfg_attr(test, schema(value_type = Version, required = false))]
        version: Option<Version>,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[cfg_attr(test, schema(value_type = HostName, required = false))]
        host: Option<&'e HostName>,
    },
    Key {
        id: KeyId,
        name: &'e Label,
    },
    Account {
        id: AccountId,
        name: &'e Label,
    },
    Function {
        id: FunctionId,
        name: &'e FunctionName,
        #[serde(rename = "codeSha256")]
        code_sha256: ContentHash,
    },
    Configuration {
        act: u64,
        #[serde(rename = "textSha256")]
        text_sha256: ContentHash,
    },
    Clock {
        act: u64,
        time: Timestamp,
    },
}

/// The log that the caller may read.
enum Log {
    Instance(OwnerCaller),
    Account(Grant<Admin>),
}

impl Log {
    fn read(&self, store: &Store, query: &EventQuery) -> Result<EventPage, StoreFailure> {
        match self {
            Log::Instance(owner) => store.instance_events(owner, query),
            Log::Account(grant) => store.events(grant, query),
        }
    }
}

/// Parameters of [`list`].
pub(super) const LIST: &[&str] = &["limit", "offset", "from", "to", "action", "secret"];

/// `GET /v1/audit-log?limit=&offset=&from=&to=&action=&secret=`
pub async fn list(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let log = match &call.caller {
        Caller::Owner(owner) => Log::Instance(owner.clone()),
        Caller::Key(_) => Log::Account(call.grant()?),
    };
    let query = call.query(LIST).await?;
    let part = query.part()?;
    let filter = EventFilter {
        from: parsed(&query, "from", str::parse)?,
        to: parsed(&query, "to", str::parse)?,
        action: parsed(&query, "action", str::parse)?,
        secret: parsed(&query, "secret", |text| SecretName::parse(text.to_owned()))?,
    };
    if let (Some(from), Some(to)) = (filter.from, filter.to)
        && from > to
    {
        return Err(ApiError::field("from", "must not be later than to"));
    }
    // However far it is: the way to a page is short where every event counts.
    let opens_all =
        !filter.is_empty() || matches!(&log, Log::Account(grant) if grant.scope() != &Scope::All);
    let asked = EventQuery { limit: part.items(), offset: part.offset, filter };
    let page = if opens_all {
        call.scan(move |store| log.read(store, &asked)).await?
    } else {
        let read = log.read(&call.serving.store, &asked);
        read.map_err(|failure| store_failure(call.serving, &failure))?
    };
    let events = page.items.iter().map(Entry::of).collect();
    Ok(Answer::ok(&List { events, pagination: part.of(page.total) }))
}

fn parsed<T>(
    query: &Query,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, Issue>,
) -> Result<Option<T>, ApiError> {
    let parsed = query.value(name).map(parse).transpose();
    parsed.map_err(|issue| ApiError::field(name, issue.to_string()))
}

impl<'e> Entry<'e> {
    fn of(event: &'e Event) -> Self {
        let Event { time, action, actor, object, peer, request } = event;
        Entry {
            time: *time,
            action: *action,
            actor: match *actor {
                Actor::Key(id) => Who::Key { id },
                Actor::Owner(id) => Who::Owner { id },
                Actor::Function { id, code_sha256, key } => Who::Function { id, code_sha256, key },
                Actor::OwnerKeyPair => Who::OwnerKeyPair,
            },
            object: What::of(object),
            from: *peer,
            request_id: request,
        }
    }
}

impl<'e> What<'e> {
    fn of(object: &'e Object) -> Self {
        match object {
            Object::Secret { id, name, version } => {
                What::Secret { id: *id, name, version: *version, host: None }
            }
            Object::Use { id, name, version, host } => {
                What::Secret { id: *id, name, version: Some(*version), host: Some(host) }
            }
            // What it may do is for the store, which decides by it who sees the event.
            Object::Key { id, name, permissions: _, globs: _ } => What::Key { id: *id, name },
            Object::Account { id, name } => What::Account { id: *id, name },
            Object::Configuration { number, text_sha256 } => {
                What::Configuration { act: *number, text_sha256: *text_sha256 }
            }
            Object::Clock { number, time } => What::Clock { act: *number, time: *time },
            Object::Function { id, name, code_sha256 } => {
                What::Function { id: *id, name, code_sha256: *code_sha256 }
            }
        }
    }
}

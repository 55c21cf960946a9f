//! `/v1/secrets`

use actix_web::http::StatusCode;
use actix_web::http::header;
use serde::Serialize;
use zeroize::Zeroizing;

use super::error::ApiError;
use super::fields::{description, field, ruled, set, tags};
use super::json::{Object, Sent};
use super::query::Pagination;
use super::request::{Call, expected_revision};
use super::{Answer, store_failure};
use crate::access::{Admin, Grant, Read, Reveal, Scope, Write};
use crate::limits;
use crate::model::{
    Change, Description, Field, HeaderName, HostName, KeyId, NamePrefix, NewSecret, Page, Revealed,
    Secret, SecretId, SecretName, SecretValue, Tags, Timestamp, UseOnly, Version, VersionInfo,
};
use crate::store::{
    CreateSecretError, DeleteSecretError, ReadError, RollbackSecretError, UpdateSecretError,
};

/// A secret in a list: exactly these four fields.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = SecretItem))]
#[serde(rename_all = "camelCase")]
pub(super) struct Item<'s> {
    id: SecretId,
    name: &'s SecretName,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A secret's metadata: everything but the value.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Secret))]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata<'s> {
    id: SecretId,
    name: &'s SecretName,
    description: Option<&'s Description>,
    created_at: Timestamp,
    updated_at: Timestamp,
    version: Version,
    tags: &'s Tags,
    expires_at: Option<Timestamp>,
    expired: bool,
    use_only: bool,
    allowed_hosts: Option<&'s [HostName]>,
    allowed_header: Option<&'s HeaderName>,
}

/// A page of secrets.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct List<T> {
    secrets: Vec<T>,
    pagination: Pagination,
}

/// The versions whose values are kept, newest first.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct Versions {
    versions: Vec<Kept>,
}

/// A value that was taken out: no other answer has one.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = RevealedSecret))]
pub(super) struct Value<'s> {
    id: SecretId,
    name: &'s SecretName,
    version: Version,
    #[cfg_attr(test, schema(value_type = SecretValue))]
    value: &'s str,
}

/// A version whose value is kept.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = KeptVersion))]
#[serde(rename_all = "camelCase")]
struct Kept {
    version: Version,
    created_at: Timestamp,
    created_by: KeyId,
}

/// Room for the JSON of one [`Item`] with a name as they are.
const ITEM_BYTES: usize = 192;

/// Parameters of [`list`].
pub(super) const LIST: &[&str] = &["limit", "offset", "prefix", "detail"];
/// Fields of [`create`].
pub(super) const CREATE: &[&str] = &[
    "name",
    "value",
    "description",
    "tags",
    "expiresAt",
    "useOnly",
    "allowedHosts",
    "allowedHeader",
];
/// Fields of [`update`].
pub(super) const UPDATE: &[&str] = &["value", "description", "tags", "expiresAt"];
/// Fields of [`rollback`].
pub(super) const ROLLBACK: &[&str] = &["version"];
/// Parameters of [`reveal`].
pub(super) const REVEAL: &[&str] = &["version"];

/// `GET /v1/secrets?limit=&offset=&prefix=&detail=full`
pub async fn list(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let grant = call.grant::<Read>()?;
    let query = call.query(LIST).await?;
    let part = query.part()?;
    let prefix = query
        .value("prefix")
        .map(|prefix| NamePrefix::parse(prefix.to_owned()))
        .transpose()
        .map_err(|issue| ApiError::field("prefix", issue.to_string()))?;
    let full = match query.value("detail") {
        None => false,
        Some("full") => true,
        Some(_) => return Err(ApiError::field("detail", "must be full, or absent")),
    };
    let page = Page { limit: part.items(), offset: part.offset, prefix };
    let scans = part.offset > limits::PAGE_OFFSET_AT_ONCE
        || page.prefix.is_some()
        || matches!(grant.scope(), Scope::Names(_));
    let page = if scans {
        call.scan(move |store| store.list_secrets(&grant, &page)).await?
    } else {
        let listed = call.serving.store.list_secrets(&grant, &page);
        listed.map_err(|failure| store_failure(call.serving, &failure))?
    };
    let pagination = part.of(page.total);
    Ok(if full {
        let secrets = page.items.iter().map(|secret| Metadata::of(secret, call.now)).collect();
        Answer::ok(&List { secrets, pagination })
    } else {
        let secrets: Vec<_> = page.items.iter().map(Item::of).collect();
        let bytes = (1 + secrets.len()) * ITEM_BYTES;
        Answer::json_of(StatusCode::OK, &List { secrets, pagination }, bytes)
    })
}

/// `POST /v1/secrets`
pub async fn create(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let act = call.act::<Write>()?;
    let mut fields = call.json(CREATE).await?;
    let name = ruled("name", SecretName::parse(fields.required_text("name")?.to_string()))?;
    let value = value(fields.required_text("value")?)?;
    let description = set(description(&mut fields)?);
    let tags = set(tags(&mut fields)?).unwrap_or_default();
    let expires_at = set(expires_at(&mut fields)?);
    let use_only = use_only(&mut fields)?;
    if use_only.is_some() {
        ruled("value", UseOnly::check(&value))?;
    }
    let new = NewSecret { name, value, description, tags, expires_at, use_only };
    let created = call.serving.store.create_secret(act, new).await;
    let secret = created.map_err(|error| match error {
        CreateSecretError::OutsideScope => {
            ApiError::Forbidden("This key does not reach secrets of that name.".into())
        }
        CreateSecretError::NameTaken => {
            ApiError::Conflict("A secret of that name exists already.".into())
        }
        CreateSecretError::Store(failure) => store_failure(call.serving, &failure),
    })?;
    let location = Some(format!("/v1/secrets/{}", secret.id));
    Ok(Answer { location, ..metadata(StatusCode::CREATED, &secret, call.now) })
}

/// `GET /v1/secrets/{id}`
pub async fn read(call: &mut Call<'_>) -> Result<Answer, ApiError> {
    let grant = call.grant::<Read>()?;
    call.query(&[]).await?;
    let secret = find(call, &grant)?;
    Ok(metadata(StatusCode::OK, &secret, call.now))
}

/// `GET /v1/secrets/{id}/versions`
pub async fn versions(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let grant = call.grant::<Read>()?;
    call.query(&[]).await?;
    let secret = find(&call, &grant)?;
    let versions = secret.versions.iter().rev().map(Kept::of).collect();
    Ok(Answer::ok(&Versions { versions }).about(secret.id))
}

/// `GET /v1/secrets/{id}/value?version=`
pub async fn reveal(mut call: Call<'_>) -> Result<Answer, ApiError> {
    call.reveal_is_on()?;
    let act = call.act::<Reveal>()?;
    let query = call.query(REVEAL).await?;
    let version = match query.value("version") {
        Some(_) => Some(Version(query.number("version", 1..=u64::MAX, 1)?)),
        None => None,
    };
    let id: SecretId = call.object()?;
    let revealed = call.serving.store.reveal(act, id, version).await;
    let revealed = revealed.map_err(|error| read_error(&call, &error))?;
    let Revealed { id, name, version, value } = &revealed;
    let value = str::from_utf8(value.expose()).map_err(|_| ApiError::Internal)?;
    let body = Value { id: *id, name, version: *version, value };
    Ok(Answer::confidential(StatusCode::OK, &body).about(*id))
}

fn find(call: &Call<'_>, grant: &Grant<Read>) -> Result<Secret, ApiError> {
    let found = call.serving.store.secret(grant, call.object()?);
    found.map_err(|error| read_error(call, &error))
}

fn read_error(call: &Call<'_>, error: &ReadError) -> ApiError {
    match error {
        ReadError::NotFound => ApiError::NotFound,
        ReadError::UseOnly => ApiError::Forbidden(
            "The secret is use-only: its value leaves in the requests of functions alone.".into(),
        ),
        ReadError::Store(failure) => store_failure(call.serving, failure),
    }
}

/// `PUT /v1/secrets/{id}`
pub async fn update(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let act = call.act::<Write>()?;
    let mut fields = call.json(UPDATE).await?;
    if fields.is_empty() {
        return Err(ApiError::invalid("The body changes nothing; give at least one field."));
    }
    let value = match fields.text("value")? {
        Sent::Absent => None,
        Sent::Null => return Err(ApiError::field("value", "cannot be cleared")),
        Sent::Value(text) => Some(value(text)?),
    };
    let change = Change {
        value,
        description: description(&mut fields)?,
        tags: tags(&mut fields)?,
        expires_at: expires_at(&mut fields)?,
    };
    let expected = expected_revision(call.headers)?;
    let id: SecretId = call.object()?;
    let updated = call.serving.store.update_secret(act, id, change, expected).await;
    let secret = updated.map_err(|error| match error {
        UpdateSecretError::NotFound => ApiError::NotFound,
        UpdateSecretError::RevisionMismatch { .. } => ApiError::PreconditionFailed,
        UpdateSecretError::Value { issue } => ApiError::field("value", issue.to_string()),
        UpdateSecretError::Store(failure) => store_failure(call.serving, &failure),
    })?;
    Ok(metadata(StatusCode::OK, &secret, call.now))
}

/// `POST /v1/secrets/{id}/rollback`
pub async fn rollback(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let act = call.act::<Write>()?;
    let mut fields = call.json(ROLLBACK).await?;
    let version = Version(fields.required_integer("version")?);
    let expected = expected_revision(call.headers)?;
    let id: SecretId = call.object()?;
    let store = &call.serving.store;
    let rolled_back = store.rollback_secret(act, id, version, expected).await;
    let secret = rolled_back.map_err(|error| match error {
        RollbackSecretError::NotFound => ApiError::NotFound,
        RollbackSecretError::RevisionMismatch { .. } => ApiError::PreconditionFailed,
        RollbackSecretError::NotKept { oldest: Version(oldest), newest: Version(newest) } => {
            let rule = format!("must be a version that is kept: {oldest} to {newest}");
            ApiError::field("version", rule)
        }
        RollbackSecretError::Store(failure) => store_failure(call.serving, &failure),
    })?;
    Ok(metadata(StatusCode::OK, &secret, call.now))
}

/// `DELETE /v1/secrets/{id}`
pub async fn delete(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let act = call.act::<Admin>()?;
    call.query(&[]).await?;
    if call.headers.contains_key(header::IF_MATCH) {
        // Ignored, it would delete what the caller did not mean.
        return Err(ApiError::field("If-Match", "is honoured by PUT and rollback only"));
    }
    let id: SecretId = call.object()?;
    call.serving.store.delete_secret(act, id).await.map_err(|error| match error {
        DeleteSecretError::NotFound => ApiError::NotFound,
        DeleteSecretError::Store(failure) => store_failure(call.serving, &failure),
    })?;
    Ok(Answer::done("Secret deleted successfully").about(id))
}

fn value(mut text: Zeroizing<String>) -> Result<SecretValue, ApiError> {
    ruled("value", SecretValue::parse(std::mem::take(&mut *text)))
}

/// A time in `expiresAt`; one that is past already is allowed.
fn expires_at(fields: &mut Object) -> Result<Field<Timestamp>, ApiError> {
    field("expiresAt", fields.text("expiresAt")?, |text| text.parse())
}

/// Where a use-only secret's value may go: all three fields, or none.
fn use_only(fields: &mut Object) -> Result<Option<UseOnly>, ApiError> {
    let hosts = fields.texts("allowedHosts")?.optional();
    let header = fields.text("allowedHeader")?.optional();
    if !fields.boolean("useOnly")?.optional().unwrap_or(false) {
        let stray = [("allowedHosts", hosts.is_some()), ("allowedHeader", header.is_some())];
        return match stray.iter().find(|(_, given)| *given) {
            Some((name, _)) => {
                Err(ApiError::field(name, "is for use-only secrets (useOnly: true)"))
            }
            None => Ok(None),
        };
    }
    let needed = |name| ApiError::field(name, "is required of a use-only secret");
    let hosts = hosts.ok_or_else(|| needed("allowedHosts"))?;
    let hosts = hosts.into_iter().map(HostName::parse).collect::<Result<_, _>>();
    let hosts: Vec<HostName> = ruled("allowedHosts", hosts)?;
    let header = header.ok_or_else(|| needed("allowedHeader"))?;
    let header = ruled("allowedHeader", HeaderName::parse(header.to_string()))?;
    ruled("allowedHosts", UseOnly::new(hosts, header)).map(Some)
}

/// An answer with all of a secret but its value.
pub fn metadata(status: StatusCode, secret: &Secret, now: Timestamp) -> Answer {
    let revision = Some(secret.revision);
    let answer = Answer::json(status, &Metadata::of(secret, now)).about(secret.id);
    Answer { revision, ..answer }
}

impl Kept {
    fn of(info: &VersionInfo) -> Self {
        let VersionInfo { version, created_at, created_by } = info;
        Kept { version: *version, created_at: *created_at, created_by: *created_by }
    }
}

impl<'s> Item<'s> {
    fn of(secret: &'s Secret) -> Self {
        Item {
            id: secret.id,
            name: &secret.name,
            created_at: secret.created_at,
            updated_at: secret.updated_at,
        }
    }
}

impl<'s> Metadata<'s> {
    fn of(secret: &'s Secret, now: Timestamp) -> Self {
        Metadata {
            id: secret.id,
            name: &secret.name,
            description: secret.description.as_ref(),
            created_at: secret.created_at,
            updated_at: secret.updated_at,
            version: secret.version,
            tags: &secret.tags,
            expires_at: secret.expires_at,
            expired: secret.is_expired(now),
            use_only: secret.use_only.is_some(),
            allowed_hosts: secret.use_only.as_ref().map(UseOnly::hosts),
            allowed_header: secret.use_only.as_ref().map(UseOnly::header),
        }
    }
}

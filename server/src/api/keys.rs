//! `/v1/api-keys`

use actix_web::http::StatusCode;
use serde::Serialize;

use super::error::ApiError;
use super::json::Sent;
use super::request::Call;
use super::{Answer, store_failure};
use crate::access::{Admin, Glob, Globs, Permission, Permissions, Scope};
use crate::model::{ApiKey, Issue, KeyId, Label, NewKey, Overlap, Timestamp};
use crate::store::{CreateKeyError, RevokeKeyError, RotateKeyError};

/// A key; its token only where it was just made.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ApiKey))]
#[serde(rename_all = "camelCase")]
pub(super) struct Key<'k> {
    id: KeyId,
    name: &'k Label,
    permissions: Vec<Permission>,
    secrets: Option<Vec<&'k Glob>>,
    expires_at: Option<Timestamp>,
    created_at: Timestamp,
    old_key_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = super::openapi::TokenText))]
    key: Option<&'k str>,
}

/// Every key of the account.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ApiKeyList))]
#[serde(rename_all = "camelCase")]
pub(super) struct List<'k> {
    api_keys: Vec<Key<'k>>,
}

/// Fields of [`create`].
pub(super) const CREATE: &[&str] = &["name", "permissions", "secrets", "expiresAt"];
/// Fields of [`rotate`].
pub(super) const ROTATE: &[&str] = &["overlapSeconds"];

/// `GET /v1/api-keys`
pub async fn list(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let grant = call.grant::<Admin>()?;
    call.query(&[]).await?;
    let now = call.now;
    let keys = call.scan(move |store| store.list_keys(&grant)).await?;
    Ok(Answer::ok(&List { api_keys: keys.iter().map(|key| Key::of(key, None, now)).collect() }))
}

/// `POST /v1/api-keys`
pub async fn create(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let act = call.act::<Admin>()?;
    let mut fields = call.json(CREATE).await?;
    let ruled = |name: &'static str| move |issue: Issue| ApiError::field(name, issue.to_string());
    let name = fields.required_text("name")?;
    let name = Label::parse(name.to_string()).map_err(ruled("name"))?;
    let permissions = fields.required_texts("permissions")?;
    let permissions = Permissions::parse(permissions.iter().map(String::as_str));
    let permissions = permissions.map_err(ruled("permissions"))?;
    let scope = match fields.texts("secrets")? {
        Sent::Absent | Sent::Null => Scope::All,
        Sent::Value(globs) => Scope::Names(Globs::parse(globs).map_err(ruled("secrets"))?),
    };
    let expires_at = match fields.text("expiresAt")?.optional() {
        None => None,
        Some(time) => Some(time.parse().map_err(ruled("expiresAt"))?),
    };
    let new = NewKey { name, permissions, scope, expires_at };
    let created = call.serving.store.create_key(act, new).await;
    let (key, token) = created.map_err(|error| match error {
        CreateKeyError::PermissionsExceed => ApiError::Forbidden(
            "This key issues only keys whose permissions lie within its own.".into(),
        ),
        CreateKeyError::ScopeExceeds => ApiError::Forbidden(
            "This key issues only keys whose secrets lie within its own patterns.".into(),
        ),
        CreateKeyError::Outlasts => ApiError::Forbidden(
            "This key issues only keys that expire no later than itself.".into(),
        ),
        CreateKeyError::Store(failure) => store_failure(call.serving, &failure),
    })?;
    let answer =
        Answer::confidential(StatusCode::CREATED, &Key::of(&key, Some(&token.to_text()), call.now));
    Ok(answer.about(key.id))
}

/// `DELETE /v1/api-keys/{id}`
pub async fn revoke(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let act = call.act::<Admin>()?;
    call.query(&[]).await?;
    let id: KeyId = call.object()?;
    call.serving.store.revoke_key(act, id).await.map_err(|error| match error {
        RevokeKeyError::NotFound => ApiError::NotFound,
        RevokeKeyError::LastAdmin => ApiError::Conflict(
            "This is the account's last admin key that reaches every secret and does not expire."
                .into(),
        ),
        RevokeKeyError::Store(failure) => store_failure(call.serving, &failure),
    })?;
    Ok(Answer::done("API key revoked successfully").about(id))
}

/// `POST /v1/api-keys/{id}/rotate`
pub async fn rotate(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let act = call.act::<Admin>()?;
    let mut fields = call.json(ROTATE).await?;
    let overlap = Overlap::from_seconds(fields.required_integer("overlapSeconds")?);
    let overlap = overlap.map_err(|issue| ApiError::field("overlapSeconds", issue.to_string()))?;
    let id: KeyId = call.object()?;
    let rotated = call.serving.store.rotate_key(act, id, overlap).await;
    let (key, token) = rotated.map_err(|error| match error {
        RotateKeyError::NotFound => ApiError::NotFound,
        RotateKeyError::Outlasts => ApiError::Forbidden(
            "This key rotates only keys that expire no later than itself.".into(),
        ),
        RotateKeyError::LastAdmin => ApiError::Conflict(
            format!(
                "This is the account's last admin key that reaches every secret and does not \
                 expire: rotate it with overlapSeconds of {} or more, so that a lost answer leaves \
                 a way in, or create another one first.",
                Overlap::LAST_ADMIN.seconds()
            )
            .into(),
        ),
        RotateKeyError::Store(failure) => store_failure(call.serving, &failure),
    })?;
    let answer =
        Answer::confidential(StatusCode::OK, &Key::of(&key, Some(&token.to_text()), call.now));
    Ok(answer.about(key.id))
}

impl<'k> Key<'k> {
    fn of(key: &'k ApiKey, token: Option<&'k str>, now: Timestamp) -> Self {
        Key {
            id: key.id,
            name: &key.name,
            permissions: key.permissions.iter().collect(),
            secrets: match &key.scope {
                Scope::All => None,
                Scope::Names(globs) => Some(globs.iter().collect()),
            },
            expires_at: key.expires_at,
            created_at: key.created_at,
            old_key_until: key.old_key_until.filter(|until| now < *until),
            key: token,
        }
    }
}

//! `/v1/accounts`: the owner's.

use actix_web::http::StatusCode;
use serde::Serialize;

use super::error::ApiError;
use super::json::{Object, Sent};
use super::query::Pagination;
use super::request::Call;
use super::{Answer, store_failure};
use crate::limits;
use crate::model::{
    Account, AccountChange, AccountId, Field, Label, NewAccount, PerResource, Resource, Timestamp,
};
use crate::store::{AccountError, CreateAccountError};

/// Parameters of [`list`].
pub(super) const LIST: &[&str] = &["limit", "offset"];
/// Fields of [`create`] and [`update`].
pub(super) const FIELDS: &[&str] = &["name", "quotas"];
/// Fields of `quotas`.
pub(super) const QUOTAS: &[&str] = &[
    Resource::Secrets.as_str(),
    Resource::ValueBytes.as_str(),
    Resource::ApiKeys.as_str(),
    Resource::AuditEvents.as_str(),
    Resource::Functions.as_str(),
];

/// An account; its admin key only where it was just made.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Account))]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'a> {
    id: AccountId,
    name: &'a Label,
    created_at: Timestamp,
    quotas: Amounts,
    usage: Amounts,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = super::openapi::TokenText))]
    admin_key: Option<&'a str>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
struct Amounts {
    secrets: u64,
    value_bytes: u64,
    api_keys: u64,
    audit_events: u64,
    functions: u64,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = AccountList))]
pub(super) struct List<'a> {
    accounts: Vec<Shown<'a>>,
    pagination: Pagination,
}

/// `GET /v1/accounts?limit=&offset=`
pub async fn list(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let owner = call.owner()?.clone();
    let part = call.query(LIST).await?.part()?;
    let (limit, offset) = (part.items(), part.offset);
    let page = if offset > limits::PAGE_OFFSET_AT_ONCE {
        call.scan(move |store| store.list_accounts(&owner, limit, offset)).await?
    } else {
        let listed = call.serving.store.list_accounts(&owner, limit, offset);
        listed.map_err(|failure| store_failure(call.serving, &failure))?
    };
    let accounts = page.items.iter().map(|account| Shown::of(account, None)).collect();
    Ok(Answer::ok(&List { accounts, pagination: part.of(page.total) }))
}

/// `POST /v1/accounts`
pub async fn create(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let act = call.owner_act()?;
    let mut fields = call.json(FIELDS).await?;
    let name = name(&fields.required_text("name")?)?;
    let quotas = quotas(&mut fields)?.map(|quota| match quota {
        Field::Keep | Field::Clear => None,
        Field::Set(quota) => Some(quota),
    });
    let created = call.serving.store.create_account(act, NewAccount { name, quotas }).await;
    let (account, token) = created.map_err(|error| match error {
        CreateAccountError::TooMany { limit } => ApiError::QuotaExceeded(
            format!("The instance has its limit of {limit} accounts.").into(),
        ),
        CreateAccountError::Store(failure) => store_failure(call.serving, &failure),
    })?;
    let token = token.to_text();
    let shown = Shown::of(&account, Some(&token));
    let answer = Answer::confidential(StatusCode::CREATED, &shown).about(account.id);
    Ok(Answer { location: Some(format!("/v1/accounts/{}", account.id)), ..answer })
}

/// `GET /v1/accounts/{id}`
pub async fn read(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let owner = call.owner()?.clone();
    call.query(&[]).await?;
    let account = call.serving.store.account(&owner, call.object()?);
    let account = account.map_err(|error| failed(&call, &error))?;
    Ok(Answer::ok(&Shown::of(&account, None)).about(account.id))
}

/// `PUT /v1/accounts/{id}`
pub async fn update(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let act = call.owner_act()?;
    let mut fields = call.json(FIELDS).await?;
    if fields.is_empty() {
        return Err(ApiError::invalid("The body changes nothing; give at least one field."));
    }
    let name = match fields.text("name")? {
        Sent::Absent => None,
        Sent::Null => return Err(ApiError::field("name", "cannot be cleared")),
        Sent::Value(text) => Some(name(&text)?),
    };
    let change = AccountChange { name, quotas: quotas(&mut fields)? };
    let id: AccountId = call.object()?;
    let updated = call.serving.store.update_account(act, id, change).await;
    let account = updated.map_err(|error| failed(&call, &error))?;
    Ok(Answer::ok(&Shown::of(&account, None)).about(account.id))
}

/// `DELETE /v1/accounts/{id}`
pub async fn delete(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let act = call.owner_act()?;
    call.query(&[]).await?;
    let id: AccountId = call.object()?;
    let deleted = call.serving.store.delete_account(act, id).await;
    deleted.map_err(|error| failed(&call, &error))?;
    Ok(Answer::done("Account deleted successfully").about(id))
}

fn failed(call: &Call<'_>, error: &AccountError) -> ApiError {
    match error {
        AccountError::NotFound => ApiError::NotFound,
        AccountError::Store(failure) => store_failure(call.serving, failure),
    }
}

fn name(text: &str) -> Result<Label, ApiError> {
    let name = Label::parse(text.to_owned());
    name.map_err(|issue| ApiError::field("name", issue.to_string()))
}

/// What `quotas` says of each: absent, it stays; `null`, the configuration's default holds.
fn quotas(fields: &mut Object) -> Result<PerResource<Field<u64>>, ApiError> {
    let mut quotas = match fields.object("quotas", QUOTAS)? {
        Sent::Absent => return Ok(PerResource::each(|_| Field::Keep)),
        Sent::Null => return Ok(PerResource::each(|_| Field::Clear)),
        Sent::Value(quotas) => quotas,
    };
    PerResource::each(|resource| quota(&mut quotas, resource)).transpose()
}

fn quota(quotas: &mut Object, resource: Resource) -> Result<Field<u64>, ApiError> {
    let name = resource.as_str();
    match quotas.integer(name)? {
        Sent::Absent => Ok(Field::Keep),
        Sent::Null => Ok(Field::Clear),
        Sent::Value(quota) if quota <= Resource::QUOTA_MAX => Ok(Field::Set(quota)),
        Sent::Value(_) => {
            let rule = format!("must be an integer from 0 to {}", Resource::QUOTA_MAX);
            Err(ApiError::field(&format!("quotas.{name}"), rule))
        }
    }
}

impl<'a> Shown<'a> {
    fn of(account: &'a Account, admin_key: Option<&'a str>) -> Self {
        let Account { id, name, created_at, quotas, usage } = account;
        Shown {
            id: *id,
            name,
            created_at: *created_at,
            quotas: Amounts::of(*quotas),
            usage: Amounts::of(*usage),
            admin_key,
        }
    }
}

impl Amounts {
    fn of(amounts: PerResource<u64>) -> Self {
        let PerResource { secrets, value_bytes, api_keys, audit_events, functions } = amounts;
        Amounts { secrets, value_bytes, api_keys, audit_events, functions }
    }
}

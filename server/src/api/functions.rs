//! `/v1/functions`

use actix_web::http::{StatusCode, header};
use serde::Serialize;

use super::error::ApiError;
use super::fields::{self, field, ruled, set};
use super::invoke::{busy, no_workers};
use super::json::Object;
use super::query::Pagination;
use super::request::Call;
use super::{Answer, store_failure};
use crate::access::{Admin, Read, Write};
use crate::functions::{CheckError, CompileError};
use crate::model::{
    AccountId, ContentHash, Description, EgressHosts, Environment, Field, Function, FunctionChange,
    FunctionCode, FunctionId, FunctionName, Memory, NewFunction, SecretNames, Tags, Timeout,
    Timestamp,
};
use crate::store::{ConfirmFunctionError, CreateFunctionError, FunctionError, UpdateFunctionError};

/// A function; its code only where that was asked for.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Function))]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'f> {
    id: FunctionId,
    name: &'f FunctionName,
    description: Option<&'f Description>,
    timeout: Timeout,
    memory: Memory,
    secrets: &'f SecretNames,
    environment: &'f Environment,
    egress: &'f EgressHosts,
    tags: &'f Tags,
    pin_code: bool,
    confirmed: bool,
    code_sha256: ContentHash,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = FunctionCode))]
    code: Option<&'f FunctionCode>,
}

/// A page of functions.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = FunctionList))]
pub(super) struct List<'f> {
    functions: Vec<Shown<'f>>,
    pagination: Pagination,
}

/// Parameters of [`list`].
pub(super) const LIST: &[&str] = &["limit", "offset"];
/// Parameters of [`read`].
pub(super) const READ: &[&str] = &["includeCode"];
/// Fields of [`create`].
pub(super) const CREATE: &[&str] = &[
    "name",
    "code",
    "description",
    "timeout",
    "memory",
    "secrets",
    "environment",
    "egress",
    "tags",
    "pinCode",
];
/// Fields of [`update`].
pub(super) const UPDATE: &[&str] = &[
    "code",
    "description",
    "timeout",
    "memory",
    "secrets",
    "environment",
    "egress",
    "tags",
    "pinCode",
];
/// Fields of [`set_secrets`].
pub(super) const SECRETS: &[&str] = &["secrets"];
/// Fields of [`confirm`].
pub(super) const CONFIRM: &[&str] = &["codeSha256"];

/// `GET /v1/functions?limit=&offset=`
pub async fn list(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let grant = call.grant::<Read>()?;
    let part = call.query(LIST).await?.part()?;
    let (limit, offset) = (part.items(), part.offset);
    // A page may have a hundred environments to open, of 64 KiB each.
    let page = call.scan(move |store| store.list_functions(&grant, limit, offset)).await?;
    let functions = page.items.iter().map(|function| Shown::of(function, None)).collect();
    Ok(Answer::ok(&List { functions, pagination: part.of(page.total) }))
}

/// `POST /v1/functions`
pub async fn create(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let act = call.act::<Write>()?;
    let mut fields = call.json(CREATE).await?;
    let name = ruled("name", FunctionName::parse(fields.required_text("name")?.to_string()))?;
    let code = fields.required_text("code")?;
    let code = ruled("code", FunctionCode::parse(code.to_string()))?;
    let Settings { description, timeout, memory, secrets, environment, egress, tags, pin_code } =
        Settings::of(&mut fields)?;
    let new = NewFunction {
        name,
        code,
        description: set(description),
        timeout: set(timeout).unwrap_or(Timeout::DEFAULT),
        memory: set(memory).unwrap_or(Memory::DEFAULT),
        secrets: set(secrets).unwrap_or_default(),
        environment: set(environment).unwrap_or_default(),
        egress: set(egress).unwrap_or_default(),
        tags: set(tags).unwrap_or_default(),
        pin_code: set(pin_code).unwrap_or_default(),
    };
    let store = &call.serving.store;
    store.check_function_create(&act.by, &new).map_err(|error| not_created(&call, error))?;
    check_syntax(&call, act.by.account(), &new.code).await?;
    let created = store.create_function(act, new).await;
    let function = created.map_err(|error| not_created(&call, error))?;
    let answer = Answer::json(StatusCode::CREATED, &Shown::of(&function, None));
    let location = Some(format!("/v1/functions/{}", function.id));
    Ok(Answer { location, ..answer.about(function.id) })
}

/// `GET /v1/functions/{id}?includeCode=true`
pub async fn read(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let grant = call.grant::<Read>()?;
    let query = call.query(READ).await?;
    let with_code = match query.value("includeCode") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(ApiError::field("includeCode", "must be true or false")),
    };
    let (id, store): (FunctionId, _) = (call.object()?, &call.serving.store);
    let found = match with_code {
        true => store.function_with_code(&grant, id).map(|(function, code)| (function, Some(code))),
        false => store.function(&grant, id).map(|function| (function, None)),
    };
    let (function, code) = found.map_err(|error| failed(&call, &error))?;
    Ok(Answer::ok(&Shown::of(&function, code.as_ref())).about(id))
}

/// `PUT /v1/functions/{id}`
pub async fn update(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let act = call.act::<Write>()?;
    refuse_if_match(&call)?;
    let mut fields = call.json(UPDATE).await?;
    if fields.is_empty() {
        return Err(ApiError::invalid("The body changes nothing; give at least one field."));
    }
    let code =
        match field("code", fields.text("code")?, |text| FunctionCode::parse(text.to_string()))? {
            Field::Keep => None,
            Field::Clear => return Err(ApiError::field("code", "cannot be cleared")),
            Field::Set(code) => Some(code),
        };
    let Settings { description, timeout, memory, secrets, environment, egress, tags, pin_code } =
        Settings::of(&mut fields)?;
    let change = FunctionChange {
        code,
        description,
        timeout,
        memory,
        secrets,
        environment,
        egress,
        tags,
        pin_code,
    };
    let id: FunctionId = call.object()?;
    if let Some(code) = &change.code {
        let checked = call.serving.store.check_function_update(&act.by, id, &change);
        checked.map_err(|error| not_changed(&call, error))?;
        check_syntax(&call, act.by.account(), code).await?;
    }
    let updated = call.serving.store.update_function(act, id, change).await;
    changed(&call, updated)
}

/// `PUT /v1/functions/{id}/secrets`
pub async fn set_secrets(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let act = call.act::<Admin>()?;
    refuse_if_match(&call)?;
    let mut fields = call.json(SECRETS).await?;
    let secrets = ruled("secrets", SecretNames::parse(fields.required_texts("secrets")?))?;
    let id: FunctionId = call.object()?;
    let updated = call.serving.store.set_function_secrets(act, id, secrets).await;
    changed(&call, updated)
}

/// `POST /v1/functions/{id}/confirm`
pub async fn confirm(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let act = call.act::<Admin>()?;
    refuse_if_match(&call)?;
    let mut fields = call.json(CONFIRM).await?;
    let code_sha256 = ruled("codeSha256", fields.required_text("codeSha256")?.parse())?;
    let id: FunctionId = call.object()?;
    let confirmed = call.serving.store.confirm_function(act, id, code_sha256).await;
    let function = confirmed.map_err(|error| match error {
        ConfirmFunctionError::NotFound => ApiError::NotFound,
        ConfirmFunctionError::OutsideScope => outside_scope(),
        ConfirmFunctionError::NotPinned => ApiError::Conflict(
            "The function's code is not pinned: it needs no confirmation.".into(),
        ),
        ConfirmFunctionError::OtherCode { current } => {
            ApiError::Conflict(format!("The function has other code: {current}.").into())
        }
        ConfirmFunctionError::Store(failure) => store_failure(call.serving, &failure),
    })?;
    Ok(Answer::ok(&Shown::of(&function, None)).about(id))
}

/// `DELETE /v1/functions/{id}`
pub async fn delete(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let act = call.act::<Admin>()?;
    refuse_if_match(&call)?;
    call.query(&[]).await?;
    let id: FunctionId = call.object()?;
    let deleted = call.serving.store.delete_function(act, id).await;
    deleted.map_err(|error| failed(&call, &error))?;
    Ok(Answer::done("Function deleted successfully").about(id))
}

/// Ignored, it would change or delete what the caller did not mean.
fn refuse_if_match(call: &Call<'_>) -> Result<(), ApiError> {
    match call.headers.contains_key(header::IF_MATCH) {
        true => Err(ApiError::field("If-Match", "is honoured by no call of functions")),
        false => Ok(()),
    }
}

/// A worker looks at the code before it is kept.
async fn check_syntax(
    call: &Call<'_>,
    account: AccountId,
    code: &FunctionCode,
) -> Result<(), ApiError> {
    call.api.functions.check(account, code).await.map_err(|error| match error {
        CheckError::Syntax(CompileError { message, line, column }) => {
            ApiError::compile(message, line, column)
        }
        CheckError::Busy(error) => busy(error),
        CheckError::Unavailable(error) => no_workers(error),
    })
}

pub(super) fn failed(call: &Call<'_>, error: &FunctionError) -> ApiError {
    match error {
        FunctionError::NotFound => ApiError::NotFound,
        FunctionError::Store(failure) => store_failure(call.serving, failure),
    }
}

fn changed(
    call: &Call<'_>,
    updated: Result<Function, UpdateFunctionError>,
) -> Result<Answer, ApiError> {
    let function = updated.map_err(|error| not_changed(call, error))?;
    Ok(Answer::ok(&Shown::of(&function, None)).about(function.id))
}

fn not_created(call: &Call<'_>, error: CreateFunctionError) -> ApiError {
    match error {
        CreateFunctionError::NameTaken => {
            ApiError::Conflict("A function of that name exists already.".into())
        }
        CreateFunctionError::NeedsAdmin => needs_admin(),
        CreateFunctionError::OutsideScope => outside_scope(),
        CreateFunctionError::Store(failure) => store_failure(call.serving, &failure),
    }
}

fn not_changed(call: &Call<'_>, error: UpdateFunctionError) -> ApiError {
    match error {
        UpdateFunctionError::NotFound => ApiError::NotFound,
        UpdateFunctionError::NeedsAdmin => needs_admin(),
        UpdateFunctionError::OutsideScope => outside_scope(),
        UpdateFunctionError::Store(failure) => store_failure(call.serving, &failure),
    }
}

fn needs_admin() -> ApiError {
    let message = "Deciding what reads a function's secrets takes the permission admin.";
    ApiError::Forbidden(message.into())
}

fn outside_scope() -> ApiError {
    let message = "This key does not reach every secret that the function declares.";
    ApiError::Forbidden(message.into())
}

/// The fields that creation and change have in common.
struct Settings {
    description: Field<Description>,
    timeout: Field<Timeout>,
    memory: Field<Memory>,
    secrets: Field<SecretNames>,
    environment: Field<Environment>,
    egress: Field<EgressHosts>,
    tags: Field<Tags>,
    pin_code: Field<bool>,
}

impl Settings {
    fn of(object: &mut Object) -> Result<Self, ApiError> {
        Ok(Settings {
            description: fields::description(object)?,
            timeout: field("timeout", object.integer("timeout")?, Timeout::parse)?,
            memory: field("memory", object.integer("memory")?, Memory::parse)?,
            secrets: field("secrets", object.texts("secrets")?, SecretNames::parse)?,
            environment: field("environment", object.text_pairs("environment")?, |pairs| {
                Environment::parse(pairs.into_iter().collect())
            })?,
            egress: field("egress", object.texts("egress")?, EgressHosts::parse)?,
            tags: fields::tags(object)?,
            pin_code: field("pinCode", object.boolean("pinCode")?, Ok)?,
        })
    }
}

impl<'f> Shown<'f> {
    fn of(function: &'f Function, code: Option<&'f FunctionCode>) -> Self {
        Shown {
            id: function.id,
            name: &function.name,
            description: function.description.as_ref(),
            timeout: function.timeout,
            memory: function.memory,
            secrets: &function.secrets,
            environment: &function.environment,
            egress: &function.egress,
            tags: &function.tags,
            pin_code: function.pin_code,
            confirmed: function.is_confirmed(),
            code_sha256: function.code_sha256,
            created_at: function.created_at,
            updated_at: function.updated_at,
            code,
        }
    }
}

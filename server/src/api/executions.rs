//! `/v1/functions/{id}/executions`

use neo_secrets_attestation::evidence::StoreId;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Answer;
use super::error::ApiError;
use super::functions::failed;
use super::query::Pagination;
use super::request::Call;
use crate::access::Read;
use crate::model::{
    ContentHash, Execution, ExecutionFault, ExecutionId, ExecutionOutcome, ExecutionReceipt,
    ExecutionState, ExecutionSummary, FunctionId, LogLevel, LogLine, SecretName, SecretRead,
    Timestamp, Version,
};

/// An execution in a list.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = Execution))]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    id: ExecutionId,
    #[cfg_attr(test, schema(value_type = super::openapi::StatusText))]
    status: &'static str,
    started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Timestamp))]
    completed_at: Option<Timestamp>,
    /// In milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = u64))]
    duration: Option<u64>,
}

/// A page of the executions that are kept.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ExecutionList))]
pub(super) struct List {
    executions: Vec<Item>,
    pagination: Pagination,
}

/// An execution, and what is kept of it.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = ExecutionRecord))]
pub(super) struct Record<'e> {
    execution: Item,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = super::openapi::AnyJson))]
    result: Option<&'e RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Thrown))]
    error: Option<Thrown<'e>>,
    logs: Vec<Line<'e>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Receipt))]
    receipt: Option<Receipt<'e>>,
}

/// What the code threw.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct Thrown<'e> {
    name: &'e str,
    message: &'e str,
    stack: &'e str,
}

/// A line that the code logged.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = LogLine))]
struct Line<'e> {
    level: LogLevel,
    time: Timestamp,
    message: &'e str,
}

/// What the receipt key signed; SPEC.md says over which bytes.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
struct Receipt<'e> {
    #[cfg_attr(test, schema(value_type = super::openapi::StoreIdText))]
    store_id: String,
    function_id: FunctionId,
    code_sha256: ContentHash,
    execution_id: ExecutionId,
    params_sha256: ContentHash,
    result_sha256: ContentHash,
    secrets_read: Vec<Given<'e>>,
    started_at: Timestamp,
    completed_at: Timestamp,
    #[cfg_attr(test, schema(value_type = super::openapi::SignatureText))]
    signature: String,
}

/// A secret that the code was given.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = SecretRead))]
struct Given<'e> {
    name: &'e SecretName,
    version: Version,
}

/// Parameters of [`list`].
pub(super) const LIST: &[&str] = &["limit", "offset"];

/// `GET /v1/functions/{id}/executions?limit=&offset=`
pub async fn list(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let grant = call.grant::<Read>()?;
    let part = call.query(LIST).await?.part()?;
    let id: FunctionId = call.object()?;
    let (limit, offset) = (part.items(), part.offset);
    // A page may have a hundred results to open, of 1 MiB each, one after the other.
    let listed =
        call.blocking(move |store| store.list_executions(&grant, id, limit, offset)).await?;
    let page = listed.map_err(|error| failed(&call, &error))?;
    let executions = page.items.iter().map(Item::of).collect();
    Ok(Answer::ok(&List { executions, pagination: part.of(page.total) }).about(id))
}

/// `GET /v1/functions/{id}/executions/{execution}`
pub async fn read(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let grant = call.grant::<Read>()?;
    call.query(&[]).await?;
    let (function, id): (FunctionId, ExecutionId) = (call.object()?, call.part()?);
    let store = &call.serving.store;
    let found = store.execution(&grant, function, id);
    let execution = found.map_err(|error| failed(&call, &error))?;
    // A result may hold what the code has read.
    let record = Record::of(&execution, store.store_id())?;
    Ok(Answer::confidential(actix_web::http::StatusCode::OK, &record).about(id))
}

impl Item {
    pub(super) fn of(execution: &ExecutionSummary) -> Self {
        let ExecutionSummary { id, status, started_at, ended } = *execution;
        let (completed_at, duration) = ended.unzip();
        Item { id, status, started_at, completed_at, duration }
    }
}

impl<'e> Record<'e> {
    /// What an answer says of an execution: the record's, and an invocation's.
    pub(super) fn of(execution: &'e Execution, store: StoreId) -> Result<Self, ApiError> {
        let item = Item::of(&execution.summary());
        let mut record =
            Record { execution: item, result: None, error: None, logs: vec![], receipt: None };
        let ExecutionState::Ended(end) = &execution.state else { return Ok(record) };
        record.logs = end.logs.lines().iter().map(Line::of).collect();
        match &end.outcome {
            ExecutionOutcome::Completed { result, receipt } => {
                let result = serde_json::from_str(result.as_str());
                record.result = Some(result.map_err(|_| ApiError::Internal)?);
                record.receipt = Some(Receipt::of(execution, end.completed_at, receipt, store));
            }
            ExecutionOutcome::Failed(fault) => record.error = Some(Thrown::of(fault)),
            ExecutionOutcome::TimedOut | ExecutionOutcome::MemoryExceeded => {}
        }
        Ok(record)
    }
}

impl<'e> Thrown<'e> {
    fn of(fault: &'e ExecutionFault) -> Self {
        Thrown { name: fault.name(), message: fault.message(), stack: fault.stack() }
    }
}

impl<'e> Line<'e> {
    fn of(line: &'e LogLine) -> Self {
        let LogLine { level, time, message } = line;
        Line { level: *level, time: *time, message }
    }
}

impl<'e> Receipt<'e> {
    fn of(
        execution: &Execution,
        completed_at: Timestamp,
        receipt: &'e ExecutionReceipt,
        store: StoreId,
    ) -> Self {
        let ExecutionReceipt { params_sha256, result_sha256, secrets_read, signature } = receipt;
        let given = |read: &'e SecretRead| Given { name: &read.name, version: read.version };
        Receipt {
            store_id: store.to_string(),
            function_id: execution.function,
            code_sha256: execution.code_sha256,
            execution_id: execution.id,
            params_sha256: *params_sha256,
            result_sha256: *result_sha256,
            secrets_read: secrets_read.as_slice().iter().map(given).collect(),
            started_at: execution.started_at,
            completed_at,
            signature: signature.0.to_string(),
        }
    }
}

//! `POST /v1/functions/{id}/invoke`

use actix_web::http::StatusCode;
use serde::Serialize;

use super::error::ApiError;
use super::executions::{Item, Record};
use super::functions::failed;
use super::request::Call;
use super::{Answer, store_failure};
use crate::access::{Execute, FunctionRun};
use crate::functions::{Began, Busy, ExecuteError, Executed, Invocation, Unavailable};
use crate::model::{
    Execution, ExecutionEnd, ExecutionFault, ExecutionOutcome, ExecutionState, FunctionId, Logs,
};
use crate::phase::Serving;
use crate::store::{FunctionError, StoreFailure};

/// An execution that was begun.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema), schema(as = BegunExecution))]
pub(super) struct Begun {
    execution: Item,
}

/// Fields of [`invoke`].
pub(super) const FIELDS: &[&str] = &["params", "async"];

/// `POST /v1/functions/{id}/invoke`
///
/// What has begun goes on to its end where its caller goes: a function's calls elsewhere are not cut
/// in the middle, and its record tells what became of it. It keeps its account's turn, so that
/// calling and going away gains nobody anything.
pub async fn invoke(mut call: Call<'_>) -> Result<Answer, ApiError> {
    let grant = call.grant::<Execute>()?;
    let mut fields = call.raw_json(FIELDS).await?;
    let params = fields.take("params");
    let is_async = fields.boolean("async")?.optional().unwrap_or_default();
    let id: FunctionId = call.object()?;
    let account = grant.account();
    let found = call.serving.store.invocable(grant, id, call.now);
    let invocable = found.map_err(|error| failed(&call, &error))?;
    let run = invocable.run.clone();
    let functions = call.api.functions.clone();
    let bytes = invocable.code.as_str().len() + params.as_ref().map_or(0, |it| it.get().len());
    let place = functions.place(account, invocable.function.memory.get(), bytes).map_err(busy)?;
    let (serving, egress) = (call.serving.clone(), call.api.egress.clone());
    let origin = call.origin.clone();
    let clock = call.api.instance.clock().clone();
    if is_async {
        let began = Began::at_this_moment(clock.now());
        let begun = serving.store.begin_execution(run.clone(), began.at()).await;
        begun.map_err(|error| failed(&call, &error))?;
        let execution = Execution {
            id: run.execution(),
            function: id,
            code_sha256: run.code_sha256(),
            invoked_by: run.grant().key(),
            started_at: began.at(),
            state: ExecutionState::Running,
        };
        let runs = functions.clone();
        drop(functions.spawn(async move {
            let turn = place.turn().await;
            match serving.store.renewed(invocable, clock.now()) {
                Ok(invocable) => {
                    let invocation =
                        Invocation { serving, egress, invocable, params, origin, began };
                    runs.execute_to_record(turn, invocation).await;
                }
                // It went with its records.
                Err(FunctionError::NotFound) => {}
                Err(FunctionError::Store(failure)) => {
                    record_refused(&serving, run, began, &failure).await;
                }
            }
        }));
        let answer = Answer::json(
            StatusCode::ACCEPTED,
            &Begun { execution: Item::of(&execution.summary()) },
        );
        let location = Some(format!("/v1/functions/{id}/executions/{}", execution.id));
        return Ok(Answer { location, ..answer.about(execution.id) });
    }
    let turn = functions.turn(place).await.map_err(busy)?;
    let renewed = serving.store.renewed(invocable, clock.now());
    let invocable = renewed.map_err(|error| failed(&call, &error))?;
    let began = Began::at_this_moment(clock.now());
    let invocation = Invocation { serving, egress, invocable, params, origin, began };
    let runs = functions.clone();
    let executed = functions.spawn(async move {
        let Executed { execution, recorded } = runs.execute(turn, invocation).await?;
        runs.record_later(recorded).await;
        Ok(execution)
    });
    // Where it panicked, the log has told; where the server ends, it tells of that.
    let executed = executed.await.map_err(|_| ApiError::Internal)?;
    answer(call.serving, &executed.map_err(|error| not_executed(call.serving, &error))?)
}

/// Ends in its record what was begun, and whose key does not stand when its turn comes: it never runs.
async fn record_refused(serving: &Serving, run: FunctionRun, began: Began, failure: &StoreFailure) {
    let (name, message) = match failure {
        StoreFailure::KeyRevoked => {
            ("KeyRevoked", "The key that invoked the function is not valid any more.")
        }
        _ => ("KeyUnknown", "The key that invoked the function could not be looked up."),
    };
    let fault = ExecutionFault::new(name.to_owned(), message.to_owned(), String::new());
    let end = ExecutionEnd {
        completed_at: began.now(),
        duration_ms: 0,
        outcome: ExecutionOutcome::Failed(fault),
        logs: Logs::default(),
    };
    let ended = serving.store.end_execution(run, began.at(), end).await;
    // Where the account has gone, there is no record; the log tells of what the store lacks.
    if let Err(failure) = ended {
        drop(store_failure(serving, &failure));
    }
}

fn answer(serving: &Serving, execution: &Execution) -> Result<Answer, ApiError> {
    let ExecutionState::Ended(end) = &execution.state else { return Err(ApiError::Internal) };
    match &end.outcome {
        ExecutionOutcome::Completed { .. } => {
            let record = Record::of(execution, serving.store.store_id())?;
            // A result may hold what the code has read.
            Ok(Answer::confidential(StatusCode::OK, &record).about(execution.id))
        }
        ExecutionOutcome::Failed(fault) => Err(ApiError::ExecutionFailed {
            fault: Box::new(fault.clone()),
            execution: execution.id,
        }),
        ExecutionOutcome::TimedOut => Err(ApiError::ExecutionTimeout { execution: execution.id }),
        ExecutionOutcome::MemoryExceeded => {
            Err(ApiError::MemoryLimitExceeded { execution: execution.id })
        }
    }
}

fn not_executed(serving: &Serving, error: &ExecuteError) -> ApiError {
    match error {
        ExecuteError::Unavailable(unavailable) => no_workers(*unavailable),
        ExecuteError::Store(failure) => store_failure(serving, failure),
        ExecuteError::Random(error) => {
            tracing::error!(%error, "a library that always works failed");
            ApiError::Internal
        }
    }
}

/// 429: somebody's turn ends at any moment.
pub(super) fn busy(_: Busy) -> ApiError {
    ApiError::Busy
}

/// 503: the log says why.
pub(super) fn no_workers(_: Unavailable) -> ApiError {
    ApiError::unavailable("Functions are unavailable: no worker starts. Try again.")
}

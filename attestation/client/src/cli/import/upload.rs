//! What is done with one entry of an import.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::json;

use crate::cli::args::Import;
use crate::cli::lookup::{SECRETS, search};
use crate::cli::outcome::{Exit, Failure};
use crate::cli::session::{self, Line};
use crate::cli::value::Body;
use crate::client::ClientError;
use crate::connection::Answer;
use crate::limits;
use crate::secret::SecretValue;

/// What is to become of a secret that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It is in the way.
    Conflict,
    /// It gets the value as a new version.
    Update,
    /// It stays as it is.
    Skip,
}

impl Existing {
    pub(crate) fn asked_by(command: &Import) -> Self {
        match (command.update, command.skip_existing) {
            (true, _) => Self::Update,
            (false, true) => Self::Skip,
            (false, false) => Self::Conflict,
        }
    }
}

/// What became of an entry, or in a dry run would.
#[derive(Debug)]
pub(crate) enum Outcome {
    Created,
    Updated,
    /// It exists and was left as it is.
    Skipped,
    /// It exists.
    Conflict,
    /// It can't be imported, and why.
    Invalid(String),
    Failed(Box<Failure>),
    /// Nobody here knows whether it was done.
    Unknown(String),
    /// Something stopped the import before its turn.
    NotTried,
}

impl Outcome {
    pub(crate) fn is_good(&self) -> bool {
        matches!(self, Self::Created | Self::Updated | Self::Skipped)
    }

    /// Whether the next entry would fail for the same reason.
    pub(crate) fn stops(&self) -> bool {
        match self {
            Self::Failed(failure) => {
                let status = failure.fields.get("status").and_then(serde_json::Value::as_u64);
                // No connection, no right, a full account, a closed instance. A name that the key
                // does not reach is the one entry's affair.
                match status {
                    None | Some(401 | 503 | 507) => true,
                    Some(403) => failure.message.contains("permission"),
                    Some(_) => false,
                }
            }
            _ => false,
        }
    }
}

/// Creates the secret, or does with one that exists what was asked for.
pub(crate) async fn put(
    line: &mut Line,
    name: &str,
    value: &SecretValue,
    existing: Existing,
) -> Outcome {
    let body = || {
        let mut body = Body::new(Some(value));
        body.field("name", &json!(name));
        body
    };
    let answer = match patient(line, &Method::POST, SECRETS, body).await {
        Ok(answer) => answer,
        Err(outcome) => return outcome,
    };
    match (answer.status, existing) {
        (StatusCode::CREATED, _) => Outcome::Created,
        (StatusCode::CONFLICT, Existing::Conflict) => Outcome::Conflict,
        (StatusCode::CONFLICT, Existing::Skip) => Outcome::Skipped,
        (StatusCode::CONFLICT, Existing::Update) => update(line, name, value).await,
        _ => Outcome::Failed(Box::new(Failure::from_answer(&answer))),
    }
}

async fn update(line: &mut Line, name: &str, value: &SecretValue) -> Outcome {
    let id = match search(line, name).await {
        Ok(Some(id)) => id,
        Ok(None) => {
            let message = "it exists, but this key may not see it";
            return Outcome::Failed(Box::new(
                Failure::new(Exit::NotAuthorised, message).field("status", 404),
            ));
        }
        Err(failure) => return Outcome::Failed(Box::new(failure)),
    };
    let path = format!("{SECRETS}/{id}");
    match patient(line, &Method::PUT, &path, || Body::new(Some(value))).await {
        Ok(answer) if answer.status == StatusCode::OK => Outcome::Updated,
        Ok(answer) => Outcome::Failed(Box::new(Failure::from_answer(&answer))),
        Err(outcome) => outcome,
    }
}

/// What `put` would do.
pub(crate) async fn look(line: &mut Line, name: &str, existing: Existing) -> Outcome {
    match (search(line, name).await, existing) {
        (Ok(None), _) => Outcome::Created,
        (Ok(Some(_)), Existing::Conflict) => Outcome::Conflict,
        (Ok(Some(_)), Existing::Update) => Outcome::Updated,
        (Ok(Some(_)), Existing::Skip) => Outcome::Skipped,
        (Err(failure), _) => Outcome::Failed(Box::new(failure)),
    }
}

/// Sends a request, and where the server is too busy for this key waits as long as it says.
async fn patient(
    line: &mut Line,
    method: &Method,
    path: &str,
    body: impl Fn() -> Body,
) -> Result<Answer, Outcome> {
    let mut tries = 0;
    loop {
        let answer = line.ask(method.clone(), path, Some(body().finish()), None).await;
        let answer = answer.map_err(|error| match error {
            ClientError::Unknown { .. } => Outcome::Unknown(error.to_string()),
            ClientError::Open(_) | ClientError::Failed { .. } => {
                Outcome::Failed(Box::new(session::failure(error)))
            }
        })?;
        tries += 1;
        if answer.status != StatusCode::TOO_MANY_REQUESTS || tries > limits::BUSY_RETRIES_MAX {
            return Ok(answer);
        }
        let seconds = answer.retry_after_seconds.unwrap_or(1).clamp(1, 60);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

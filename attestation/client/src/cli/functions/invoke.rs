//! `neo-secrets functions invoke`: the result goes to stdout, the logs to stderr, and neither is
//! shown before the receipt holds.

use std::io;
use std::path::Path;

use hyper::{Method, StatusCode};
use neo_secrets_attestation::receipt::{
    Expected, FunctionId, ReceiptError, Sha256Digest, SignedReceipt, VerifiedReceipt,
};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::read_code;
use super::receipt::{Known, refused, told};
use crate::cli::args::Invoke;
use crate::cli::lookup::{FUNCTIONS, find_function, is_id};
use crate::cli::outcome::{Failure, Shown};
use crate::cli::page::Page;
use crate::cli::session::{Line, Session, failure};
use crate::cli::terminal::{self, printable};
use crate::connection::Answer;
use crate::files;
use crate::limits;
use crate::profile::ReceiptTrust;
use crate::secret::read_wiped;

const EXECUTION_PREFIX: &str = "exec_";

/// An invocation's answer, or an execution's record.
#[derive(Deserialize)]
struct Wire<'a> {
    execution: Execution,
    #[serde(default, borrow, deserialize_with = "exactly_as_it_stands")]
    result: Option<&'a RawValue>,
    #[serde(default)]
    logs: Vec<LogLine>,
    #[serde(borrow)]
    receipt: Option<&'a RawValue>,
    error: Option<Value>,
}

/// `null` is a result like any other, and only a field that is absent is none.
pub(super) fn exactly_as_it_stands<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct Execution {
    id: String,
    status: String,
}

#[derive(Deserialize)]
pub(super) struct LogLine {
    pub(super) level: String,
    pub(super) message: String,
}

pub(crate) async fn run(command: &Invoke, mut session: Session) -> Result<Shown, Failure> {
    let Invoke { function, params, background, wait, receipt, code } = command;
    if let Some(path) = receipt {
        files::check_can_create(path).map_err(Failure::error)?;
    }
    let params = params.as_deref().map(read_json).transpose()?;
    let code = code.as_deref().map(read_code).transpose()?;
    let kept = session.settings().kept_receipts();
    let line = session.line().await?;
    let id = find_function(line, &function.function).await?;
    let trust = line.receipt_trust().await?;
    if kept.is_some_and(|kept| kept != trust) {
        return Err(refused(
            "the instance shows another receipt key, or another store, than the \
            profile keeps for it",
        ));
    }
    let function_id: FunctionId = id.parse().map_err(Failure::error)?;
    let known = Known {
        function_id: Expected::Exactly(function_id),
        code: code.map_or(Expected::Anything, |code| exactly(code.as_bytes())),
        params: exactly(params.as_deref().unwrap_or_default().as_bytes()),
    };
    let path = format!("{FUNCTIONS}/{id}/invoke");
    let answer = line.run(&path, body(params.as_deref(), *background)).await.map_err(failure)?;
    if !background {
        return completed(&answer, StatusCode::OK, Place::Answer, command, &known, trust, &session);
    }
    if answer.status != StatusCode::ACCEPTED {
        return Err(thrown(&answer, &id));
    }
    let Wire { execution, .. } = read(&answer)?;
    let execution = execution.id;
    if !is_id(EXECUTION_PREFIX, &execution) {
        return Err(Failure::error("the server's answer has a malformed execution id"));
    }
    if !wait {
        let program = &session.settings().program;
        let page = Page::new()
            .text(format!("{execution}\n"))
            .hint(format!("next: {program} functions logs {id} {execution}"));
        return Ok(session.shown(page, &answer));
    }
    terminal::note(&format!("running: {execution}"));
    let answer = wait_for(session.line().await?, &id, &execution).await?;
    completed(&answer, StatusCode::OK, Place::Record, command, &known, trust, &session)
}

fn exactly(bytes: &[u8]) -> Expected<Sha256Digest> {
    Expected::Exactly(Sha256Digest::of(bytes))
}

/// Where a result is from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Answer,
    /// What an instance keeps is masked, so that it need not be what the receipt is about.
    Record,
}

/// JSON as it is typed, from a file or from stdin: its exact text, without what is around it.
pub(super) fn read_json(argument: &str) -> Result<String, Failure> {
    let (what, text) = match (argument, argument.strip_prefix('@')) {
        ("-", _) => {
            let read = read_wiped(io::stdin(), limits::JSON_BYTES_MAX);
            let read = read.map_err(|error| Failure::error(format!("cannot read stdin: {error}")));
            ("stdin".to_owned(), read?.to_vec())
        }
        (_, Some(path)) => {
            let read = files::read_bounded(Path::new(path), limits::JSON_BYTES_MAX);
            (path.to_owned(), read.map_err(Failure::error)?.to_vec())
        }
        (text, None) => ("--params".to_owned(), text.as_bytes().to_vec()),
    };
    exact_json(&text).map_err(|error| {
        Failure::usage(format!("{what} is not JSON: {error}"))
            .advice("for example: --params '{\"city\":\"Berne\"}', --params @FILE, --params -")
    })
}

/// The exact text of one JSON value.
pub(super) fn exact_json(text: &[u8]) -> Result<String, serde_json::Error> {
    let value: Box<RawValue> = serde_json::from_slice(text)?;
    Ok(value.get().to_owned())
}

/// The parameters go in as they are: the receipt is about their exact bytes.
fn body(params: Option<&str>, background: bool) -> Zeroizing<Vec<u8>> {
    let params = params.map(|params| format!("\"params\":{params}"));
    let background = background.then(|| "\"async\":true".to_owned());
    let fields: Vec<String> = params.into_iter().chain(background).collect();
    Zeroizing::new(format!("{{{}}}", fields.join(",")).into_bytes())
}

fn read(answer: &Answer) -> Result<Wire<'_>, Failure> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::error(format!("the server's answer is not the API's: {error}")))
}

/// Looks until an execution has ended, and gives its record.
async fn wait_for(line: &mut Line, id: &str, execution: &str) -> Result<Answer, Failure> {
    let path = format!("{FUNCTIONS}/{id}/executions/{execution}");
    loop {
        let answer = line.call(Method::GET, &path, None, None, StatusCode::OK).await?;
        if read(&answer)?.execution.status != "running" {
            return Ok(answer);
        }
        tokio::select! {
            () = tokio::time::sleep(limits::EXECUTION_POLL) => {}
            _ = tokio::signal::ctrl_c() => {
                return Err(Failure::error(format!("interrupted: {execution} runs on"))
                    .advice(format!("neo-secrets functions logs {id} {execution}")));
            }
        }
    }
}

fn completed(
    answer: &Answer,
    expected: StatusCode,
    place: Place,
    command: &Invoke,
    known: &Known,
    trust: ReceiptTrust,
    session: &Session,
) -> Result<Shown, Failure> {
    let function = &command.function.function;
    if answer.status != expected {
        return Err(thrown(answer, function));
    }
    let Wire { execution, result, logs, receipt, error } = read(answer)?;
    if execution.status != "completed" {
        show_logs(&logs);
        let id = printable(&execution.id);
        let status = printable(&execution.status);
        let said = error.as_ref().and_then(|error| error["message"].as_str());
        let said = said.map(|said| format!(": {}", printable(said))).unwrap_or_default();
        return Err(Failure::error(format!("the execution {id} ended as {status}{said}")));
    }
    let absent = |what| refused(&format!("the server's answer has no {what}"));
    let result = result.map(RawValue::get).ok_or_else(|| absent("result"))?;
    let text = receipt.map(RawValue::get).ok_or_else(|| absent("receipt"))?;
    let signed = SignedReceipt::parse(text.as_bytes()).map_err(|error| refused(&error))?;
    let same_execution = signed.receipt.execution_id.to_string() == execution.id;
    if !same_execution {
        return Err(refused("the receipt is about another execution"));
    }
    let file = signed.to_json();
    let (verified, whole) = check(signed, known, result, trust, place)?;
    show_logs(&logs);
    terminal::note(&format!("receipt verified: {}", told(verified.receipt())));
    if !whole {
        terminal::warn(
            "warning: the receipt is about another text than the record's result: values that a \
             function has read are masked in its record",
        );
    }
    if let Some(path) = &command.receipt {
        files::create(path, file.as_bytes()).map_err(Failure::error)?;
        terminal::note(&format!("receipt: {}", path.display()));
    }
    let shown = if terminal::stdout_is_terminal() { printable(result) } else { result.to_owned() };
    let page = Page::new().text(shown + "\n");
    let simulated = session.simulated();
    let front =
        format!("\"simulated\":{simulated},\"receiptVerified\":true,\"resultVerified\":{whole}");
    Ok(Shown::answer_behind(&front, page, answer))
}

/// The receipt, and whether it is about this very result. That is required but for a record, which
/// is masked.
fn check(
    signed: SignedReceipt,
    known: &Known,
    result: &str,
    trust: ReceiptTrust,
    place: Place,
) -> Result<(VerifiedReceipt, bool), Failure> {
    let ReceiptTrust { store_id, receipt_key } = trust;
    let expectations = known.expectations(store_id, exactly(result.as_bytes()));
    match (signed.clone().verify(&receipt_key, &expectations), place) {
        (Ok(verified), _) => Ok((verified, true)),
        (Err(ReceiptError::Result { .. }), Place::Record) => {
            let expectations = known.expectations(store_id, Expected::Anything);
            let verified = signed.verify(&receipt_key, &expectations);
            Ok((verified.map_err(|error| refused(&error))?, false))
        }
        (Err(error), _) => Err(refused(&error)),
    }
}

/// An invocation that the server did not answer with a result.
fn thrown(answer: &Answer, function: &str) -> Failure {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let details = &body["error"]["details"];
    let mut failure = Failure::from_answer(answer);
    if let Some(name) = details["name"].as_str() {
        let said = details["message"].as_str().unwrap_or_default();
        failure = failure.detail(format!("{}: {}", printable(name), printable(said)));
    }
    for line in details["stack"].as_str().unwrap_or_default().lines() {
        failure = failure.detail(format!("  {}", printable(line.trim())));
    }
    match details["executionId"].as_str().filter(|id| is_id(EXECUTION_PREFIX, id)) {
        Some(id) => failure.advice(format!("its logs: neo-secrets functions logs {function} {id}")),
        None => failure,
    }
}

pub(super) fn show_logs(logs: &[LogLine]) {
    for LogLine { level, message } in logs {
        terminal::note(&format!("{}: {}", printable(level), printable(message)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_sent_as_they_are_typed() {
        let sent = |params| String::from_utf8(body(params, false).to_vec()).unwrap();
        assert_eq!(sent(None), "{}");
        assert_eq!(sent(Some("{ \"b\":1.0, \"a\":1e2}")), r#"{"params":{ "b":1.0, "a":1e2}}"#);
        let background = String::from_utf8(body(Some("1"), true).to_vec()).unwrap();
        assert_eq!(background, r#"{"params":1,"async":true}"#);
        assert_eq!(read_json(" [1,  2] \n").ok().unwrap(), "[1,  2]");
        for text in ["", "{", "1 2", "nope", "{}}"] {
            assert!(read_json(text).err().unwrap().to_text().contains("@FILE"), "{text}");
        }
    }
}

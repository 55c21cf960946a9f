//! What a command ends with: something to show, or a failure with its exit code.

use neo_secrets_attestation::error::Finding;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::cli::advice;
use crate::cli::page::Page;
use crate::cli::shell;
use crate::cli::terminal::printable;
use crate::connection::Answer;

/// Why a command failed, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Anything without a code of its own.
    Error = 1,
    /// The command line asks for nothing that can be done.
    Usage = 2,
    /// There is evidence, and it does not hold.
    Refused = 3,
    /// No key, or one that may not do this.
    NotAuthorised = 4,
    /// No such object, or one that is in the way.
    NotFoundOrConflict = 5,
    /// `run` found its command and could not start it, as `env` and shells have it.
    CommandNotStarted = 126,
    /// `run` did not find its command.
    CommandNotFound = 127,
}

/// A command's failure.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// What was expected, and what was got.
    pub(crate) message: String,
    /// Lines below the message.
    details: Vec<String>,
    /// What to type next, where that is known.
    pub(crate) advice: Option<String>,
    /// More fields of the JSON error.
    pub(crate) fields: Map<String, Value>,
    /// Whether it is the pin that refuses the instance.
    pub(crate) by_pin: bool,
}

/// What a command shows when it succeeds. Either may hold a key that is shown this once.
pub(crate) struct Shown {
    pub(crate) page: Page,
    pub(crate) json: Zeroizing<Vec<u8>>,
}

/// What a command has come to: something to show, in success or, for those that show what they have
/// found, in failure.
pub(crate) struct Done {
    pub(crate) shown: Shown,
    pub(crate) failure: Option<Failure>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            details: Vec::new(),
            advice: None,
            fields: Map::new(),
            by_pin: false,
        }
    }

    pub(crate) fn error(error: impl std::fmt::Display) -> Self {
        Self::new(Exit::Error, error.to_string())
    }

    /// Evidence refused by a step: the step, the field, both values.
    pub(crate) fn refused(finding: Finding) -> Self {
        let Finding { step, field, got, expected } = finding;
        let line = |name: &str, value: &str| format!("{name:<9} {}", printable(value));
        Self::new(Exit::Refused, format!("step {step} does not hold: {}", step.title()))
            .detail(line("field:", &field))
            .detail(line("got:", &got))
            .detail(line("expected:", &expected))
            .field("step", step.number())
            .field("field", field)
            .field("got", got)
            .field("expected", expected)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn detail(mut self, line: String) -> Self {
        self.details.push(line);
        self
    }

    /// Whether the instance in question runs on a simulated chip, where that is so or not.
    pub(crate) fn simulated(mut self, simulated: bool) -> Self {
        if simulated && self.exit == Exit::Refused {
            self.details.insert(
                0,
                "SIMULATED: a simulated root is trusted here, and none of AMD's".to_owned(),
            );
        }
        self.field("simulated", simulated)
    }

    /// With commands that begin so, as they have to where options were typed.
    pub(crate) fn with_program(mut self, program: &str) -> Self {
        for line in self.details.iter_mut().chain(&mut self.advice) {
            *line = shell::in_commands(line, program);
        }
        self
    }

    pub(crate) fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    pub(crate) fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// The step of the verification that failed, where one did.
    #[cfg(test)]
    pub(crate) fn step(&self) -> Option<u8> {
        u8::try_from(self.fields.get("step")?.as_u64()?).ok()
    }

    /// What the server's refusal means to the shell, and what to do about it.
    pub(crate) fn from_answer(answer: &Answer) -> Self {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let error = &body["error"];
        let text = |value: &Value| value.as_str().map(printable);
        let code = text(&error["code"]).unwrap_or_default();
        let status = answer.status.as_u16();
        let told = text(&error["message"]).unwrap_or_else(|| "no message".to_owned());
        let mut message = format!("the server answered {status} {code}: {told}");
        if let (Some(field), Some(issue)) =
            (text(&error["details"]["field"]), text(&error["details"]["issue"]))
            && !told.contains(&issue)
        {
            message.push_str(&format!(" ({field}: {issue})"));
        }
        if let Some(id) = &answer.request_id {
            message.push_str(&format!(" [request {}]", printable(id)));
        }
        let (exit, advice) = advice::on_status(status, &told, answer.retry_after_seconds);
        let failure = Self::new(exit, message).field("status", status).field("code", code);
        Self { advice, ..failure.field("server", error.clone()) }
    }

    /// The lines for stderr.
    pub(crate) fn to_text(&self) -> String {
        let kind = match self.exit {
            Exit::Usage => "usage",
            Exit::Refused => "evidence refused",
            Exit::Error
            | Exit::NotAuthorised
            | Exit::NotFoundOrConflict
            | Exit::CommandNotStarted
            | Exit::CommandNotFound => "error",
        };
        let mut text = format!("{kind}: {}", self.message);
        for line in self.details.iter().chain(&self.advice) {
            text.push_str("\n  ");
            text.push_str(line);
        }
        text
    }

    /// The object for stdout under `--json`.
    pub(crate) fn to_json(&self) -> Value {
        let mut error = self.fields.clone();
        error.insert("exitCode".to_owned(), json!(self.exit as u8));
        error.insert("message".to_owned(), json!(self.message));
        if let Some(advice) = &self.advice {
            error.insert("advice".to_owned(), json!(advice));
        }
        json!({ "error": error })
    }
}

impl Shown {
    pub(crate) fn new(page: Page, json: &Value) -> Self {
        Self { page, json: Zeroizing::new(json.to_string().into_bytes()) }
    }

    /// Something to show, and perhaps a failure, which then stands in the JSON as `error`.
    pub(crate) fn with(page: Page, mut json: Value, failure: Option<Failure>) -> Done {
        if let Some(failure) = &failure {
            json["error"] = failure.to_json()["error"].take();
        }
        Done { shown: Self::new(page, &json), failure }
    }

    /// The server's own JSON object with the fields `simulated` and, where the answer has one,
    /// `revision` in front.
    pub(crate) fn answer(page: Page, answer: &Answer, simulated: bool) -> Self {
        let revision = answer.revision.map(|revision| format!(",\"revision\":{revision}"));
        let front = format!("\"simulated\":{simulated}{}", revision.unwrap_or_default());
        Self::answer_behind(&front, page, answer)
    }

    /// The server's own JSON object with these fields in front.
    pub(crate) fn answer_behind(front: &str, page: Page, answer: &Answer) -> Self {
        let rest = answer.body.trim_ascii_start().strip_prefix(b"{").unwrap_or(b"}");
        let mut json = Zeroizing::new(Vec::with_capacity(front.len() + 2 + rest.len()));
        json.push(b'{');
        json.extend_from_slice(front.as_bytes());
        if rest.trim_ascii_start().first() != Some(&b'}') {
            json.push(b',');
        }
        json.extend_from_slice(rest);
        Self { page, json }
    }
}

impl From<Shown> for Done {
    fn from(shown: Shown) -> Self {
        Self { shown, failure: None }
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            request_id: Some("r-1".to_owned()),
            revision: None,
            retry_after_seconds: Some(7),
            body: Zeroizing::new(body.as_bytes().to_vec()),
        }
    }

    #[test]
    fn the_servers_refusals_have_their_exit_codes() {
        let exit = |status| Failure::from_answer(&answer(status, "{}")).exit;
        for (status, expected) in [
            (400, Exit::Error),
            (401, Exit::NotAuthorised),
            (403, Exit::NotAuthorised),
            (404, Exit::NotFoundOrConflict),
            (409, Exit::NotFoundOrConflict),
            (412, Exit::NotFoundOrConflict),
            (413, Exit::Error),
            (429, Exit::Error),
            (500, Exit::Error),
            (503, Exit::Error),
        ] {
            assert_eq!(exit(status), expected, "{status}");
        }
    }

    #[test]
    fn a_refusal_names_the_field_and_steers_no_terminal() {
        let body = r#"{"error":{"code":"INVALID_REQUEST","message":"bad\u001b[2J",
            "details":{"field":"name","issue":"too long"},"requestId":"r-1"}}"#;
        let failure = Failure::from_answer(&answer(400, body));
        assert_eq!(
            failure.to_text(),
            "error: the server answered 400 INVALID_REQUEST: bad\\u{1b}[2J (name: too long) \
             [request r-1]"
        );
        let json = failure.to_json();
        assert_eq!(json["error"]["exitCode"], 1);
        assert_eq!(json["error"]["code"], "INVALID_REQUEST");
        assert_eq!(json["error"]["server"]["details"]["field"], "name");
        let busy = Failure::from_answer(&answer(429, "not json"));
        assert!(busy.to_text().ends_with("try again in 7 s"), "{}", busy.to_text());
    }

    #[test]
    fn an_answer_is_shown_as_it_came_with_one_more_field() {
        let json = |body: &str| {
            let shown = Shown::answer(Page::new(), &answer(200, body), true);
            serde_json::from_slice::<Value>(&shown.json).unwrap()
        };
        assert_eq!(json(r#" {"a":1}"#), json!({"simulated": true, "a": 1}));
        assert_eq!(json("{ }"), json!({"simulated": true}));
        assert_eq!(json(""), json!({"simulated": true}));
        let changed = Answer { revision: Some(3), ..answer(200, "{\"a\":1}") };
        let shown = Shown::answer(Page::new(), &changed, false);
        assert_eq!(shown.json.as_slice(), b"{\"simulated\":false,\"revision\":3,\"a\":1}");
    }
}

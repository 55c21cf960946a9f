//! The evidence exchange without I/O: what to ask a server for, and what to make of its answer.

use crate::appraise::{self, AppraiseError, Appraised, Channel, EvidenceError, Freshness, Pin};
use crate::binding::{Nonce, Role};
use crate::error::{Finding, Step};
use crate::evidence::{Document, DocumentError};
use crate::explain::{Found, printable};
use crate::json;
use crate::limits;
use crate::policy::Policy;
use crate::reference::ReferenceValues;
use crate::roots::Roots;
use crate::time::UnixTime;

/// Whom and what the verifier believes.
#[derive(Clone, Debug)]
pub struct Trust {
    /// AMD's roots or one simulated root.
    pub roots: Roots,
    /// What a genuine instance measures.
    pub reference: ReferenceValues,
    /// What the owner asks for beyond that.
    pub policy: Policy,
    /// The instance expected.
    pub pin: Pin,
}

/// One exchange on one connection. It ends with [`Exchange::finish`], so that a nonce is never used
/// twice.
#[derive(Debug)]
pub struct Exchange {
    nonce: Nonce,
}

/// Why an answer is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The server answered with an error, or with something else than evidence.
    #[error("the server gives no evidence: HTTP status {status} {code} {message}")]
    Answer {
        /// The HTTP status.
        status: u16,
        /// The `code` of the error body; empty where there is none.
        code: String,
        /// The `message` of the error body, without control characters; empty where there is none.
        message: String,
    },
    /// Step 0.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Steps 1 to 6.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// Steps 7 to 11, of evidence that is genuine.
    #[error("{error}")]
    Appraisal {
        /// Why.
        error: AppraiseError,
        /// What the steps before have found.
        found: Found,
    },
}

impl Exchange {
    /// No answer may be longer than this; a client stops reading there.
    pub const BODY_BYTES_MAX: usize = limits::DOCUMENT_BYTES_MAX;

    /// Starts with a fresh nonce from the caller's random generator.
    pub fn start(nonce: Nonce) -> Self {
        Self { nonce }
    }

    /// The path and query of the `GET` request to send on the connection, before anything else.
    pub fn request_target(&self) -> String {
        format!("/v1/attestation?nonce={}", self.nonce)
    }

    /// Judges the answer: all steps, in their order. `channel` is this connection as the caller's
    /// own TLS stack knows it.
    pub fn finish(
        self,
        status: u16,
        body: &[u8],
        channel: &Channel,
        trust: &Trust,
        now: UnixTime,
    ) -> Result<Appraised, Refusal> {
        if status != 200 {
            return Err(error_answer(status, body));
        }
        let Trust { roots, reference, policy, pin } = trust;
        let document = Document::parse(body)?;
        let freshness = Freshness { role: Role::Evidence, nonce: &self.nonce, channel };
        let verified = appraise::verify(document, &freshness, &policy.rules(roots.clone()), now)?;
        let found = Found::of(&verified);
        appraise::appraise(verified, reference, policy, pin, now)
            .map_err(|error| Refusal::Appraisal { error, found })
    }
}

impl Refusal {
    /// The failed step with the field and both values, as a person reads them.
    pub fn finding(&self) -> Finding {
        let (field, got, expected) = match self {
            Self::Evidence(error) => return error.finding(),
            Self::Appraisal { error, .. } => return error.finding(),
            Self::Answer { status, code, message } => {
                ("HTTP status", format!("{status} {code} {message}"), "200")
            }
            Self::Document(error) => ("document", error.to_string(), "version 1 of SPEC.md"),
        };
        let (field, expected) = (field.to_owned(), expected.to_owned());
        Finding { step: Step::Document, field, got: got.trim_end().to_owned(), expected }
    }
}

/// Reads `{"error":{"code","message",..}}` as far as it is there; nothing of it is believed.
fn error_answer(status: u16, body: &[u8]) -> Refusal {
    let error = json::parse(body, limits::DOCUMENT_BYTES_MAX).ok();
    let error = error.and_then(|body| body.object().ok()?.take("error").ok()?.object().ok());
    let field = |name| {
        let text = error.as_ref().and_then(|error| error.peek(name));
        printable(text.unwrap_or_default())
    };
    Refusal::Answer { status, code: field("code"), message: field("message") }
}

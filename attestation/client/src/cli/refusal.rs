//! How evidence, held or refused, is told: the step, the field, both values, and what to do.

use neo_secrets_attestation::appraise::AppraiseError;
use neo_secrets_attestation::error::{Finding, Step};
use neo_secrets_attestation::evidence::DocumentError;
use neo_secrets_attestation::exchange::Refusal;
use neo_secrets_attestation::explain::{Explained, State, explain};
use neo_secrets_attestation::json::{JsonError, JsonProblem};
use serde_json::json;

use crate::cli::outcome::{Exit, Failure};
use crate::cli::terminal::printable;
use crate::connection::{ConnectError, OpenError, Refused};

/// A failure from a connection that was not verified, told in one line.
pub(crate) fn failure(error: OpenError) -> Failure {
    match error {
        OpenError::Connect(error) => {
            let failure = Failure::error(&error);
            match error {
                ConnectError::Tcp { .. } | ConnectError::Timeout { .. } => {
                    failure.advice("is the instance running, and is this its address?")
                }
                ConnectError::Tls { .. } | ConnectError::Http { .. } => failure.advice(
                    "an instance speaks HTTP/1.1 in TLS 1.3 only: is this its address, and no \
                     proxy's?",
                ),
                ConnectError::NoBinding { .. }
                | ConnectError::Random
                | ConnectError::TooLong { .. } => failure,
            }
        }
        OpenError::Refused(refused) => refused_failure(&refused)
            .detail("every step with its facts: neo-secrets verify --explain".to_owned()),
    }
}

/// The same for evidence that was refused, for who shows the steps anyway.
pub(crate) fn refused_failure(refused: &Refused) -> Failure {
    match refused {
        // The instance is not ready, or nothing of ours answers there: no evidence, nothing
        // refused.
        Refused::Evidence(refusal @ Refusal::Answer { code, .. }) => {
            let finding = refusal.finding();
            let failure = Failure::error(refusal).field("got", finding.got);
            if code.is_empty() { failure.advice(IS_IT_OURS) } else { failure }
        }
        Refused::Evidence(refusal) => {
            let finding = refusal.finding();
            let advice = advice(refusal, &finding);
            let steps = json!(explain(Err(refusal)));
            let mut failure = Failure::refused(finding).advice(advice).field("steps", steps);
            failure.by_pin =
                matches!(refusal, Refusal::Appraisal { error: AppraiseError::Pin { .. }, .. });
            failure
        }
        Refused::FirmwareOnly(appraised) => Failure::new(Exit::Refused, refused.to_string())
            .advice(
                "--accept-firmware-only accepts it: whoever can start machines in that cloud \
                 account can then run another image in this one's place",
            )
            .field("covers", "firmware")
            .field("steps", json!(explain(Ok(appraised)))),
    }
}

/// The steps as lines for a terminal.
pub(crate) fn steps_text(steps: &[Explained]) -> String {
    let mut text = String::new();
    for Explained { number, title, state, facts } in steps {
        let state = match state {
            State::Passed => "holds",
            State::Failed => "REFUSED",
            State::NotReached => "not reached",
        };
        text.push_str(&format!("step {number:>2}  {state:<11}  {title}\n"));
        for fact in facts {
            let (name, value) = (printable(&fact.name), printable(&fact.value));
            text.push_str(&format!("{:22}{name}: {value}\n", ""));
        }
    }
    text
}

/// What to say of an answer that no Neo Secrets gives.
const IS_IT_OURS: &str = "is this a Neo Secrets server? Check the address";

fn advice(refusal: &Refusal, finding: &Finding) -> &'static str {
    match refusal {
        Refusal::Document(DocumentError::Json(JsonError {
            problem: JsonProblem::Syntax(_),
            ..
        })) => IS_IT_OURS,
        Refusal::Appraisal { error: AppraiseError::AbiVersion { .. }, .. } => {
            "the machine may be started on firmware older than the abiMin of policy.json (--policy)"
        }
        Refusal::Appraisal { error: AppraiseError::InstanceKeyNotListed { .. }, .. } => {
            "policy.json lists the instances that you accept, and this is none of them (--policy)"
        }
        Refusal::Appraisal { error: AppraiseError::InstanceSignature, .. } => {
            "the machine does not hold the instance key that it shows"
        }
        _ => advice_by_step(finding),
    }
}

fn advice_by_step(finding: &Finding) -> &'static str {
    match finding.step {
        Step::Document => "this server may be newer than this program: upgrade neo-secrets",
        Step::Report | Step::ReportSignature | Step::Identity => {
            "the machine does not prove that it is an AMD SEV-SNP guest: nothing was sent to it"
        }
        Step::Root => {
            "without --trust-simulated only AMD's roots are trusted, with it only the one that it \
             names"
        }
        Step::Chain => {
            "certificates and CRL come with the evidence; where the CRL is old, the instance's \
             owner renews it"
        }
        Step::Binding => {
            "somebody stands between you and the instance; a proxy that ends TLS does too: connect \
             to the instance itself"
        }
        Step::GuestPolicy => "the host can look into this machine: nothing was sent to it",
        Step::Measurement if finding.field.starts_with("config") => {
            "the instance's configuration is not the one that policy.json asks for"
        }
        Step::Measurement if finding.field == "MEASUREMENT" => {
            "the instance runs another image, or on another shape of machine: take reference.json \
             from whoever built the image that you expect (--reference)"
        }
        Step::Measurement => {
            "the instance was not launched as reference.json says (--reference): ask whoever built \
             the image, and whoever launched it"
        }
        Step::Platform => {
            "the host's firmware must be updated, or policy.json is for other chips (--policy)"
        }
        Step::Chip => "policy.json decides which chips are allowed, and until when (--policy)",
        Step::Instance => {
            "this is another instance than the pinned one, or it has lost its store; if you expect \
             that, take the new profile from its owner"
        }
    }
}

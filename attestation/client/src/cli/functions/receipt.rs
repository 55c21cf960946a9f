//! `neo-secrets functions verify`: what a receipt proves, check by check. It needs no API key, and
//! where the profile keeps the instance's receipt key no connection.

use std::fmt::{Display, Write as _};

use neo_secrets_attestation::evidence::StoreId;
use neo_secrets_attestation::receipt::{
    Expectations, Expected, FunctionId, Receipt, ReceiptError, Sha256Digest, SignedReceipt,
};
use serde_json::{Value, json};

use super::invoke::{exact_json, read_json};
use super::read_code;
use crate::cli::args::VerifyReceipt;
use crate::cli::outcome::{Done, Exit, Failure, Shown};
use crate::cli::page::{Cell, Page, Paint};
use crate::cli::refusal;
use crate::cli::session::{announce, not_serving};
use crate::cli::settings::Settings;
use crate::files;
use crate::limits;
use crate::profile::ReceiptTrust;

/// What is known of an execution before its result.
pub(super) struct Known {
    pub(super) function_id: Expected<FunctionId>,
    pub(super) code: Expected<Sha256Digest>,
    pub(super) params: Expected<Sha256Digest>,
}

impl Known {
    pub(super) fn expectations(
        &self,
        store_id: StoreId,
        result_sha256: Expected<Sha256Digest>,
    ) -> Expectations {
        let Self { function_id, code, params } = *self;
        Expectations {
            store_id,
            function_id,
            code_sha256: code,
            params_sha256: params,
            result_sha256,
        }
    }
}

/// A receipt that is not believed.
pub(super) fn refused(why: &(impl Display + ?Sized)) -> Failure {
    Failure::new(Exit::Refused, format!("the receipt does not hold: {why}"))
        .advice("what came with it may be another code's, or made up: don't use it")
}

/// What a receipt says of the code and its secrets, in a line.
pub(super) fn told(receipt: &Receipt) -> String {
    format!("code {}, secrets read: {}", receipt.code_sha256, secrets(receipt))
}

fn secrets(receipt: &Receipt) -> String {
    let one = |secret: &neo_secrets_attestation::receipt::SecretRead| {
        format!("{} (version {})", secret.name(), secret.version())
    };
    let all: Vec<String> = receipt.secrets_read.iter().map(one).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

pub(crate) async fn verify(command: &VerifyReceipt, settings: Settings) -> Result<Done, Failure> {
    let VerifyReceipt { receipt, function, any_function: _, code, params, no_params, result } =
        command;
    let bytes = files::read_bounded(receipt, limits::RECEIPT_BYTES_MAX).map_err(Failure::error)?;
    let signed = SignedReceipt::parse(&bytes).map_err(|error| refused(&error))?;
    let digest = |bytes: &[u8]| Expected::Exactly(Sha256Digest::of(bytes));
    let params = match params {
        Some(argument) => digest(read_json(argument)?.as_bytes()),
        None if *no_params => digest(b""),
        None => Expected::Anything,
    };
    let known = Known {
        function_id: function.map_or(Expected::Anything, Expected::Exactly),
        code: match code {
            Some(path) => digest(read_code(path)?.as_bytes()),
            None => Expected::Anything,
        },
        params,
    };
    let result = match result {
        Some(path) => {
            let read = files::read_bounded(path, limits::JSON_BYTES_MAX).map_err(Failure::error)?;
            let text = exact_json(&read).map_err(|error| {
                Failure::error(format!("{} is not JSON: {error}", path.display()))
            })?;
            digest(text.as_bytes())
        }
        None => Expected::Anything,
    };
    let (trust, origin) = trust(&settings).await?;
    let expectations = known.expectations(trust.store_id, result);
    let outcome = signed.clone().verify(&trust.receipt_key, &expectations);
    let checks = checks(&signed.receipt, &expectations, trust, &origin, outcome.as_ref().err());
    Ok(done(&signed, &checks, outcome.err(), &settings))
}

/// The key that is believed, and whence: kept beside the pin, or in evidence that is verified now
/// and is the pinned instance's.
async fn trust(settings: &Settings) -> Result<(ReceiptTrust, String), Failure> {
    settings.check_instance_is_named()?;
    if let Some(trust) = settings.kept_receipts() {
        let path = settings.profile.as_ref().map(|(path, _)| path.display().to_string());
        let path = path.unwrap_or_default();
        return Ok((trust, format!("kept from verified evidence in {path}")));
    }
    let mut client = settings.client()?;
    let connection = client.connection().await.map_err(refusal::failure)?;
    announce(&settings.url, connection);
    let appraised = connection.appraised();
    let phase = appraised.claims().phase.as_str();
    let trust = ReceiptTrust::of(appraised).ok_or_else(|| not_serving(&settings.url, phase))?;
    Ok((trust, format!("in the evidence of {}, verified now", settings.url)))
}

/// One check with its outcome.
struct Check {
    title: &'static str,
    state: &'static str,
    facts: Vec<(&'static str, String)>,
}

const FUNCTION: &str = "the function";
const HOLDS: &str = "holds";
const REFUSED: &str = "REFUSED";
const NOT_REACHED: &str = "not reached";
const LEFT_OPEN: &str = "left open";

/// The checks of SPEC.md section 9, in order.
fn checks(
    receipt: &Receipt,
    expectations: &Expectations,
    trust: ReceiptTrust,
    origin: &str,
    error: Option<&ReceiptError>,
) -> Vec<Check> {
    let Expectations { store_id, function_id, code_sha256, params_sha256, result_sha256 } =
        expectations;
    let signature =
        vec![("receipt key", trust.receipt_key.to_string()), ("which is", origin.to_owned())];
    let rows = [
        ("the instance's receipt key signed it", true, signature),
        row("the store is the instance's", receipt.store_id, Expected::Exactly(*store_id)),
        row(FUNCTION, receipt.function_id, *function_id),
        row("the code that ran", receipt.code_sha256, *code_sha256),
        row("the parameters", receipt.params_sha256, *params_sha256),
        row("the result", receipt.result_sha256, *result_sha256),
    ];
    let failed = error.map(|error| match error {
        ReceiptError::Signature => 0,
        ReceiptError::StoreId { .. } => 1,
        ReceiptError::FunctionId { .. } => 2,
        ReceiptError::Code { .. } => 3,
        ReceiptError::Params { .. } => 4,
        ReceiptError::Result { .. } => 5,
    });
    let check = |(index, (title, known, facts)): (usize, (_, bool, _))| {
        let state = match failed {
            Some(failed) if index == failed => REFUSED,
            Some(failed) if index > failed => NOT_REACHED,
            _ if known => HOLDS,
            _ => LEFT_OPEN,
        };
        Check { title, state, facts }
    };
    rows.into_iter().enumerate().map(check).collect()
}

type Row = (&'static str, bool, Vec<(&'static str, String)>);

fn row<T: Display + PartialEq>(title: &'static str, got: T, expected: Expected<T>) -> Row {
    let mut facts = vec![("it says", got.to_string())];
    let known = match expected {
        Expected::Anything => false,
        Expected::Exactly(expected) => {
            if expected != got {
                facts.push(("expected", expected.to_string()));
            }
            true
        }
    };
    (title, known, facts)
}

fn done(
    signed: &SignedReceipt,
    checks: &[Check],
    error: Option<ReceiptError>,
    settings: &Settings,
) -> Done {
    let simulated = settings.is_simulated();
    let of_any = checks.iter().any(|check| check.title == FUNCTION && check.state == LEFT_OPEN);
    let receipt = &signed.receipt;
    let mut text = String::new();
    for Check { title, state, facts } in checks {
        let _ = writeln!(text, "{state:<11}  {title}");
        for (name, value) in facts {
            let _ = writeln!(text, "{:13}{name}: {value}", "");
        }
    }
    let verdict = match (&error, simulated) {
        (Some(error), _) => ("REFUSED", Cell::Painted(Paint::Bad, error.to_string())),
        (None, true) => {
            let told = "the receipt holds, of an instance that proves nothing about any machine";
            ("SIMULATED", Cell::Painted(Paint::Warning, told.to_owned()))
        }
        (None, false) if of_any => {
            let told = "the receipt holds, for a function of anybody with an account there";
            ("verified", Cell::Painted(Paint::Warning, told.to_owned()))
        }
        (None, false) => ("verified", Cell::Painted(Paint::Good, "the receipt holds".to_owned())),
    };
    let mut fields = vec![verdict];
    if error.is_none() {
        fields.extend([
            ("execution", receipt.execution_id.to_string().into()),
            ("secrets read", secrets(receipt).into()),
            ("started", Cell::Stamp(receipt.started_at)),
            ("completed", Cell::Stamp(receipt.completed_at)),
        ]);
    }
    let page = Page::new().text(text).fields(fields).essential(Vec::new());
    let json = json!({
        "verified": error.is_none(),
        "simulated": simulated,
        "checks": checks.iter().map(Check::to_json).collect::<Vec<_>>(),
        "receipt": signed,
    });
    Shown::with(page, json, error.map(|error| refused(&error)))
}

impl Check {
    fn to_json(&self) -> Value {
        let Self { title, state, facts } = self;
        let facts: serde_json::Map<String, Value> =
            facts.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({ "title": title, "state": state, "facts": facts })
    }
}

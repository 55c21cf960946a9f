//! Read receipts (SPEC.md section 9): which code an instance ran, with which parameters, what came
//! out, and which secrets the code was given.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::ed25519::{PublicKey, Signature};
use crate::encoding::{hex, serialize_hex};
use crate::evidence::StoreId;
use crate::json::{self, JsonError, JsonProblem, Node};
use crate::limits;
use crate::time::UnixTime;

const LABEL: &[u8] = b"neo-secrets receipt v1\0";

/// A function's id: 18 bytes. Its text form is `func_` and base64url.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FunctionId(pub [u8; 18]);

/// An execution's id: 18 bytes. Its text form is `exec_` and base64url.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ExecutionId(pub [u8; 18]);

/// A SHA-256. Its text form is hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sha256Digest(#[serde(serialize_with = "serialize_hex")] pub [u8; 32]);

/// A text that names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {what}")]
pub struct ReceiptTextError {
    /// What the text should be.
    pub what: &'static str,
}

/// A secret that code was given, in one version. The order is that of the receipt: by the name's
/// bytes, then by version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SecretRead {
    name: String,
    version: NonZeroU64,
}

/// What an instance says about one execution that has completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The store that the function and the secrets lie in.
    pub store_id: StoreId,
    /// The function.
    pub function_id: FunctionId,
    /// Of the code that ran.
    pub code_sha256: Sha256Digest,
    /// The execution.
    pub execution_id: ExecutionId,
    /// Of the exact bytes of `params` in the request; of none where there was no such field.
    pub params_sha256: Sha256Digest,
    /// Of the exact bytes of `result` in the answer.
    pub result_sha256: Sha256Digest,
    /// What the code was given; at most 1,000.
    pub secrets_read: BTreeSet<SecretRead>,
    /// When the code began to run, by the instance's clock.
    pub started_at: UnixTime,
    /// When it ended, by the instance's clock.
    pub completed_at: UnixTime,
}

/// A receipt as it is handed on: well-formed, and nothing in it believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedReceipt {
    /// What it says.
    pub receipt: Receipt,
    /// By the receipt key, over [`Receipt::message`].
    pub signature: Signature,
}

/// A receipt that its instance signed and that says what was expected. Only
/// [`SignedReceipt::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedReceipt(Receipt);

/// What a verifier knows of one fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected<T> {
    /// Nothing: whatever the receipt says is taken as said.
    Anything,
    /// The receipt must say this.
    Exactly(T),
}

/// What a receipt must say. The store is never left open: it is known from where the key is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectations {
    /// The store whose claims name the receipt key.
    pub store_id: StoreId,
    /// The function.
    pub function_id: Expected<FunctionId>,
    /// Of the code that should have run.
    pub code_sha256: Expected<Sha256Digest>,
    /// Of the parameters that were sent.
    pub params_sha256: Expected<Sha256Digest>,
    /// Of the result that was received.
    pub result_sha256: Expected<Sha256Digest>,
}

/// What is wrong with a receipt's text, and at which field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the receipt is malformed: {0}")]
pub struct ReceiptFormError(#[from] pub JsonError);

/// Why a receipt is not verified: one variant for each fact, in the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The key did not sign this.
    #[error("the signature is not the receipt key's over this receipt")]
    Signature,
    /// It is about another store.
    #[error("the receipt is about store {got}, not {expected}")]
    StoreId {
        /// The receipt's.
        got: StoreId,
        /// The verifier's.
        expected: StoreId,
    },
    /// It is about another function.
    #[error("the receipt is about function {got}, not {expected}")]
    FunctionId {
        /// The receipt's.
        got: FunctionId,
        /// The verifier's.
        expected: FunctionId,
    },
    /// Other code ran.
    #[error("the code that ran has SHA-256 {got}, not {expected}")]
    Code {
        /// The receipt's.
        got: Sha256Digest,
        /// The verifier's.
        expected: Sha256Digest,
    },
    /// The code was given other parameters.
    #[error("the parameters have SHA-256 {got}, not {expected}")]
    Params {
        /// The receipt's.
        got: Sha256Digest,
        /// The verifier's.
        expected: Sha256Digest,
    },
    /// The code gave another result.
    #[error("the result has SHA-256 {got}, not {expected}")]
    Result {
        /// The receipt's.
        got: Sha256Digest,
        /// The verifier's.
        expected: Sha256Digest,
    },
}

impl Sha256Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl SecretRead {
    const NAME: &'static str = "the name of a secret";

    /// Takes a secret's name and the version that was read.
    pub fn new(name: &str, version: NonZeroU64) -> Result<Self, ReceiptTextError> {
        let mut bytes = name.bytes();
        let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if first && rest && name.len() <= limits::SECRET_NAME_BYTES_MAX {
            Ok(Self { name: name.to_owned(), version })
        } else {
            Err(ReceiptTextError { what: Self::NAME })
        }
    }

    /// The secret's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version.
    pub const fn version(&self) -> NonZeroU64 {
        self.version
    }

    fn read(node: Node) -> Result<Self, JsonError> {
        let mut fields = node.object()?;
        let (name, version) = (fields.take("name")?, fields.take("version")?);
        fields.end()?;
        let version = version.number()?;
        name.text(Self::NAME, |name| Self::new(name, version).ok())
    }
}

impl Receipt {
    /// What the receipt key signs.
    pub fn message(&self) -> Vec<u8> {
        let Self {
            store_id,
            function_id,
            code_sha256,
            execution_id,
            params_sha256,
            result_sha256,
            secrets_read,
            started_at,
            completed_at,
        } = self;
        let mut message = LABEL.to_vec();
        field(&mut message, &store_id.0);
        field(&mut message, function_id.to_string().as_bytes());
        field(&mut message, &code_sha256.0);
        field(&mut message, execution_id.to_string().as_bytes());
        field(&mut message, &params_sha256.0);
        field(&mut message, &result_sha256.0);
        message.extend(length(secrets_read.len()));
        for SecretRead { name, version } in secrets_read {
            field(&mut message, name.as_bytes());
            field(&mut message, &version.get().to_be_bytes());
        }
        field(&mut message, started_at.to_string().as_bytes());
        field(&mut message, completed_at.to_string().as_bytes());
        message
    }
}

fn field(message: &mut Vec<u8>, bytes: &[u8]) {
    message.extend(length(bytes.len()));
    message.extend(bytes);
}

fn length(length: usize) -> [u8; 4] {
    let length = u32::try_from(length);
    length.expect("at most 1,000 secrets, with names of at most 100 bytes").to_be_bytes()
}

impl SignedReceipt {
    /// Reads a receipt under the limits of SPEC.md section 9.
    pub fn parse(text: &[u8]) -> Result<Self, ReceiptFormError> {
        const SECONDS: &str = "RFC 3339 in whole seconds, with Z";
        let mut fields = json::parse(text, limits::RECEIPT_BYTES_MAX)?.object()?;
        let mut digest = |name| Ok::<_, JsonError>(Sha256Digest(fields.take(name)?.hex()?));
        let (code_sha256, params_sha256) = (digest("codeSha256")?, digest("paramsSha256")?);
        let result_sha256 = digest("resultSha256")?;
        let receipt = Receipt {
            store_id: fields.take("storeId")?.parsed("32 lower-case hexadecimal digits")?,
            function_id: fields.take("functionId")?.parsed(FunctionId::WHAT)?,
            code_sha256,
            execution_id: fields.take("executionId")?.parsed(ExecutionId::WHAT)?,
            params_sha256,
            result_sha256,
            secrets_read: read_secrets(fields.take("secretsRead")?)?,
            started_at: fields.take("startedAt")?.parsed(SECONDS)?,
            completed_at: fields.take("completedAt")?.parsed(SECONDS)?,
        };
        let signature = fields.take("signature")?.parsed("base64 of 64 bytes")?;
        fields.end()?;
        Ok(Self { receipt, signature })
    }

    /// Checks the signature first, then each fact that the caller knows. `receipt_key` is believed
    /// from one place only: the claims of evidence that was verified and appraised.
    pub fn verify(
        self,
        receipt_key: &PublicKey,
        expectations: &Expectations,
    ) -> Result<VerifiedReceipt, ReceiptError> {
        let Self { receipt, signature } = self;
        let Expectations { store_id, function_id, code_sha256, params_sha256, result_sha256 } =
            *expectations;
        receipt_key.verify(&receipt.message(), &signature).map_err(|_| ReceiptError::Signature)?;
        Expected::Exactly(store_id)
            .check(receipt.store_id, |got, expected| ReceiptError::StoreId { got, expected })?;
        function_id.check(receipt.function_id, |got, expected| ReceiptError::FunctionId {
            got,
            expected,
        })?;
        code_sha256
            .check(receipt.code_sha256, |got, expected| ReceiptError::Code { got, expected })?;
        params_sha256
            .check(receipt.params_sha256, |got, expected| ReceiptError::Params { got, expected })?;
        result_sha256
            .check(receipt.result_sha256, |got, expected| ReceiptError::Result { got, expected })?;
        Ok(VerifiedReceipt(receipt))
    }

    /// The file: indented JSON and a newline.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.expect("named fields of strings, numbers and lists always serialise") + "\n"
    }
}

/// In ascending order, each once: one set has one form.
fn read_secrets(node: Node) -> Result<BTreeSet<SecretRead>, JsonError> {
    let mut secrets = BTreeSet::new();
    for (index, item) in node.array(limits::SECRETS_READ_MAX)?.into_iter().enumerate() {
        let secret = SecretRead::read(item)?;
        let problem = match secrets.last() {
            Some(last) if *last == secret => JsonProblem::Repeated,
            Some(last) if *last > secret => {
                JsonProblem::Expected("names in ascending order, then versions".to_owned())
            }
            Some(_) | None => {
                secrets.insert(secret);
                continue;
            }
        };
        return Err(problem.at(format!("secretsRead[{index}]")));
    }
    Ok(secrets)
}

impl VerifiedReceipt {
    /// What it says.
    pub const fn receipt(&self) -> &Receipt {
        &self.0
    }
}

impl<T: PartialEq + Copy> Expected<T> {
    fn check(self, got: T, error: impl FnOnce(T, T) -> ReceiptError) -> Result<(), ReceiptError> {
        match self {
            Self::Exactly(expected) if expected != got => Err(error(got, expected)),
            Self::Exactly(_) | Self::Anything => Ok(()),
        }
    }
}

impl FunctionId {
    const PREFIX: &'static str = "func_";
    const WHAT: &'static str = "func_ and base64url of 18 bytes";
}

impl ExecutionId {
    const PREFIX: &'static str = "exec_";
    const WHAT: &'static str = "exec_ and base64url of 18 bytes";
}

/// 18 bytes fill 24 digits, so that an id has one text.
fn id_from(text: &str, prefix: &str) -> Option<[u8; 18]> {
    BASE64URL_NOPAD.decode(text.strip_prefix(prefix)?.as_bytes()).ok()?.try_into().ok()
}

impl FromStr for FunctionId {
    type Err = ReceiptTextError;

    fn from_str(text: &str) -> Result<Self, ReceiptTextError> {
        id_from(text, Self::PREFIX).map(Self).ok_or(ReceiptTextError { what: Self::WHAT })
    }
}

impl FromStr for ExecutionId {
    type Err = ReceiptTextError;

    fn from_str(text: &str) -> Result<Self, ReceiptTextError> {
        id_from(text, Self::PREFIX).map(Self).ok_or(ReceiptTextError { what: Self::WHAT })
    }
}

impl FromStr for Sha256Digest {
    type Err = ReceiptTextError;

    fn from_str(text: &str) -> Result<Self, ReceiptTextError> {
        let error = ReceiptTextError { what: "64 lower-case hexadecimal digits" };
        crate::encoding::from_hex(text).map(Self).ok_or(error)
    }
}

impl fmt::Display for FunctionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", Self::PREFIX, BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", Self::PREFIX, BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for FunctionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FunctionId({self})")
    }
}

impl fmt::Debug for ExecutionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ExecutionId({self})")
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sha256Digest({self})")
    }
}

impl Serialize for SignedReceipt {
    /// The `receipt` object of an answer.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Text<'receipt> {
            store_id: String,
            function_id: String,
            code_sha256: Sha256Digest,
            execution_id: String,
            params_sha256: Sha256Digest,
            result_sha256: Sha256Digest,
            secrets_read: &'receipt BTreeSet<SecretRead>,
            started_at: UnixTime,
            completed_at: UnixTime,
            signature: String,
        }
        let Self { receipt, signature } = self;
        let Receipt {
            store_id,
            function_id,
            code_sha256,
            execution_id,
            params_sha256,
            result_sha256,
            secrets_read,
            started_at,
            completed_at,
        } = receipt;
        Text {
            store_id: store_id.to_string(),
            function_id: function_id.to_string(),
            code_sha256: *code_sha256,
            execution_id: execution_id.to_string(),
            params_sha256: *params_sha256,
            result_sha256: *result_sha256,
            secrets_read,
            started_at: *started_at,
            completed_at: *completed_at,
            signature: signature.to_string(),
        }
        .serialize(serializer)
    }
}

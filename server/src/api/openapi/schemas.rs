//! The model's values as JSON Schema: bounds by the parsers' own constants. A pattern is for
//! JavaScript and for Python alike, so it says `[0-9]`, never `\d`.

use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::access::{Glob, Globs, Permission, Token};
use crate::audit::{Action, PeerAddress, RequestId};
use crate::limits;
use crate::model::{
    AccountId, CODE_BYTES_MAX, ContentHash, DESCRIPTION_CHARS_MAX, Description, EGRESS_HOSTS_MAX,
    ENVIRONMENT_NAME_BYTES_MAX, ENVIRONMENT_PAIRS_MAX, ENVIRONMENT_VALUE_BYTES_MAX, EgressHosts,
    Environment, ExecutionId, ExecutionState, FUNCTION_NAME_CHARS_MAX, FUNCTION_SECRETS_MAX,
    FunctionCode, FunctionId, FunctionName, HeaderName, HostName, ID_BYTES, IdKind, KeyId, Label,
    LogLevel, Memory, NAME_CHARS_MAX, NamePrefix, OfAccount, OfExecution, OfFunction, OfKey,
    OfSecret, Overlap, Revision, SecretId, SecretName, SecretNames, SecretValue, TAG_KEY_CHARS_MAX,
    TAG_VALUE_CHARS_MAX, TAGS_MAX, Tags, Timeout, Timestamp, VALUE_BYTES_MAX, Version, use_only,
};

/// A bearer key.
pub struct TokenText;
/// An Ed25519 public key.
pub struct PublicKeyText;
/// An Ed25519 signature.
pub struct SignatureText;
/// A store's id.
pub struct StoreIdText;
/// A raw report.
pub struct ReportText;
/// A TCB's components.
pub struct TcbObject;
/// The value of a use-only secret.
pub struct UseOnlyValueText;
/// The five attested keys of a configuration.
pub struct AttestedConfigObject;
/// A nonce.
pub struct NonceText;
/// What `If-Match` takes.
pub struct IfMatch;
/// A key's permissions.
pub struct PermissionList;
/// A key's patterns.
pub struct GlobList;
/// What became of an execution.
pub struct StatusText;
/// Whatever code gives back.
pub struct AnyJson;

macro_rules! described {
    ($($type:ty as $name:literal: $schema:expr;)*) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                serde_json::from_value($schema).expect("a schema")
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
        }
    )*};
}

described! {
    SecretId as "SecretId": id::<OfSecret>();
    KeyId as "KeyId": id::<OfKey>();
    AccountId as "AccountId": id::<OfAccount>();
    FunctionId as "FunctionId": id::<OfFunction>();
    ExecutionId as "ExecutionId": id::<OfExecution>();
    FunctionName as "FunctionName": text("^[a-z0-9-]+$", 1, FUNCTION_NAME_CHARS_MAX);
    FunctionCode as "FunctionCode": json!({
        "type": "string", "minLength": 1, "maxLength": CODE_BYTES_MAX, "pattern": "^[^\\u0000]+$",
        "description": format!("JavaScript, 1 to {CODE_BYTES_MAX} bytes of UTF-8"),
    });
    StatusText as "ExecutionStatus": json!({"type": "string", "enum": ExecutionState::NAMES});
    LogLevel as "LogLevel": json!({"type": "string", "enum": LogLevel::ALL.map(LogLevel::as_str)});
    AnyJson as "Json": json!({
        "type": ["null", "boolean", "number", "string", "array", "object"],
    });
    ContentHash as "Sha256": json!({"type": "string", "pattern": "^[0-9a-f]{64}$"});
    Timeout as "Timeout": json!({
        "type": "integer", "minimum": Timeout::MIN, "maximum": Timeout::MAX,
        "default": Timeout::DEFAULT.get(), "description": "In seconds",
    });
    Memory as "Memory": json!({
        "type": "integer", "minimum": Memory::MIN, "maximum": Memory::MAX,
        "default": Memory::DEFAULT.get(), "description": "In MiB",
    });
    SecretNames as "SecretNames": json!({
        "type": "array", "items": {"$ref": "#/components/schemas/SecretName"},
        "maxItems": FUNCTION_SECRETS_MAX, "uniqueItems": true,
    });
    EgressHosts as "EgressHosts": json!({
        "type": "array", "items": {"$ref": "#/components/schemas/HostName"},
        "maxItems": EGRESS_HOSTS_MAX, "uniqueItems": true,
    });
    Environment as "Environment": json!({
        "type": "object",
        "maxProperties": ENVIRONMENT_PAIRS_MAX,
        "propertyNames": {
            "type": "string", "minLength": 1, "maxLength": ENVIRONMENT_NAME_BYTES_MAX,
        },
        "additionalProperties": {"type": "string", "maxLength": ENVIRONMENT_VALUE_BYTES_MAX},
        "description": "Bounds are in bytes of UTF-8; 65536 in all",
    });
    Timestamp as "Time": json!({
        "type": "string", "format": "date-time", "pattern": TIME,
        "description": "UTC, whole seconds, from 1970 on",
    });
    SecretName as "SecretName": text(NAME, 1, NAME_CHARS_MAX);
    NamePrefix as "NamePrefix": text(NAME, 1, NAME_CHARS_MAX);
    Glob as "Glob": text("^[A-Za-z0-9_.*-]+$", 1, NAME_CHARS_MAX);
    Label as "Label": text("^[^\\u0000-\\u001f\\u007f-\\u009f]+$", 1, NAME_CHARS_MAX);
    Description as "Description": json!({"type": "string", "maxLength": DESCRIPTION_CHARS_MAX});
    SecretValue as "SecretValue": json!({
        "type": "string", "format": "password", "minLength": 1, "maxLength": VALUE_BYTES_MAX,
        "description": format!("1 to {VALUE_BYTES_MAX} bytes of UTF-8"),
    });
    UseOnlyValueText as "UseOnlyValue": json!({
        "type": "string", "format": "password", "pattern": "^[!-~]+$",
        "minLength": use_only::VALUE_CHARS_MIN, "maxLength": use_only::VALUE_CHARS_MAX,
    });
    HostName as "HostName": json!({
        "type": "string", "pattern": HOST, "minLength": 3, "maxLength": use_only::HOST_CHARS_MAX,
    });
    HeaderName as "HeaderName": text(&header_pattern(), 1, use_only::HEADER_CHARS_MAX);
    Tags as "Tags": json!({
        "type": "object",
        "maxProperties": TAGS_MAX,
        "propertyNames": {"type": "string", "minLength": 1, "maxLength": TAG_KEY_CHARS_MAX},
        "additionalProperties": {"type": "string", "maxLength": TAG_VALUE_CHARS_MAX},
    });
    Version as "Version": json!({"type": "integer", "minimum": 1, "maximum": u64::MAX});
    Revision as "ETag": json!({"type": "string", "pattern": "^\"[1-9][0-9]*\"$"});
    IfMatch as "IfMatch": json!({"anyOf": [
        {"type": "string", "enum": ["*"]},
        {"type": "string", "pattern": "^(?:W/)?\"[!#-~]*\"$"},
    ]});
    Action as "Action": json!({"type": "string", "enum": actions()});
    PeerAddress as "PeerAddress": json!({
        "type": "string", "minLength": 2, "maxLength": 45,
        "description": "An IPv4 or IPv6 address",
    });
    RequestId as "RequestId": super::request_id();
    Overlap as "Overlap": json!({
        "type": "integer", "minimum": 0, "maximum": Overlap::SECONDS_MAX,
    });
    Permission as "Permission": json!({
        "type": "string", "enum": Permission::ALL.map(Permission::as_str),
    });
    PermissionList as "PermissionList": json!({
        "type": "array", "items": {"$ref": "#/components/schemas/Permission"},
        "minItems": 1, "maxItems": Permission::ALL.len(), "uniqueItems": true,
    });
    GlobList as "GlobList": json!({
        "type": "array", "items": {"$ref": "#/components/schemas/Glob"},
        "minItems": 1, "maxItems": Globs::COUNT_MAX,
    });
    TokenText as "ApiKeyText": json!({
        "type": "string", "format": "password",
        "pattern": format!("^neo_{}$", base64url(Token::TEXT_CHARS - 4)),
    });
    PublicKeyText as "PublicKey": json!({
        "type": "string", "pattern": "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$",
        "description": "Ed25519, base64",
    });
    SignatureText as "Signature": json!({
        "type": "string", "pattern": "^[A-Za-z0-9+/]{85}[AQgw]==$",
        "description": "Ed25519, base64",
    });
    StoreIdText as "StoreId": json!({"type": "string", "pattern": "^[0-9a-f]{32}$"});
    ReportText as "Report": json!({
        "type": "string", "pattern": "^[A-Za-z0-9+/]{1578}[AEIMQUYcgkosw048]=$",
        "description": "1184 bytes as the firmware made them, base64",
    });
    TcbObject as "Tcb": tcb();
    AttestedConfigObject as "AttestedConfiguration": json!({
        "type": "object", "additionalProperties": false,
        "required": ["seal", "reveal", "witnesses", "quorum", "ownerKey"],
        "properties": {
            "seal": {"type": "string", "enum": ["firmware", "unlock"]},
            "reveal": {"type": "string", "enum": ["off", "by-permission"]},
            "witnesses": {"type": "array", "items": {"type": "string"}},
            "quorum": {"type": "integer", "minimum": 0},
            "ownerKey": {"type": "string"},
        },
    });
    NonceText as "Nonce": json!({
        "type": "string", "pattern": nonce(),
        "description": "16 to 64 random bytes in base64url, without padding",
    });
}

const HOST: &str =
    "^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$";
const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9_.-]*$";
const TIME: &str = "^(?:19[7-9][0-9]|[2-9][0-9]{3})-\
    (?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|\
    02-(?:0[1-9]|[12][0-9]))T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$";

/// A header's name, in any case, that is not the server's own.
fn header_pattern() -> String {
    let any_case = |name: &str| -> String {
        let both = |letter: char| match letter {
            '-' => "-".to_owned(),
            letter => format!("[{}{letter}]", letter.to_ascii_uppercase()),
        };
        name.chars().map(both).collect()
    };
    let own = use_only::OWN_HEADERS.iter().map(|name| format!("{}$", any_case(name)));
    let prefixes = use_only::OWN_HEADER_PREFIXES.iter().map(|prefix| any_case(prefix));
    let own = own.chain(prefixes).collect::<Vec<_>>().join("|");
    format!("^(?!{own})[A-Za-z0-9_-]+$")
}

fn actions() -> Vec<&'static str> {
    Action::ALL.iter().map(|action| action.as_str()).collect()
}

fn tcb() -> Value {
    let byte = json!({"type": "integer", "minimum": 0, "maximum": u8::MAX});
    json!({
        "type": "object", "additionalProperties": false,
        "required": ["bootLoader", "tee", "snp", "microcode"],
        "properties": {
            "fmc": byte, "bootLoader": byte, "tee": byte, "snp": byte, "microcode": byte,
        },
        "description": "`fmc` on Turin, and only there",
    })
}

fn text(pattern: &str, chars_min: usize, chars_max: usize) -> Value {
    json!({"type": "string", "minLength": chars_min, "maxLength": chars_max, "pattern": pattern})
}

fn id<K: IdKind>() -> Value {
    json!({"type": "string", "pattern": format!("^{}{}$", K::PREFIX, base64url(ID_BYTES * 4 / 3))})
}

/// Canonical base64url of this many characters: the last one has no bit that is dropped.
fn base64url(chars: usize) -> String {
    match chars % 4 {
        0 => format!("[A-Za-z0-9_-]{{{chars}}}"),
        2 => format!("[A-Za-z0-9_-]{{{}}}[AQgw]", chars - 1),
        3 => format!("[A-Za-z0-9_-]{{{}}}[AEIMQUYcgkosw048]", chars - 1),
        _ => unreachable!("no bytes have so many characters"),
    }
}

/// 16 to 64 bytes: 22 to 86 characters.
fn nonce() -> String {
    let four = "(?:[A-Za-z0-9_-]{4})";
    format!("^(?:{four}{{5,21}}{}|{four}{{5,20}}{}|{four}{{6,21}})$", base64url(2), base64url(3))
}

/// An integer parameter of a list.
pub fn page_limit() -> Value {
    let (minimum, maximum) = (limits::PAGE_ITEMS.start(), limits::PAGE_ITEMS.end());
    let default = limits::PAGE_ITEMS_DEFAULT;
    json!({"type": "integer", "minimum": minimum, "maximum": maximum, "default": default})
}

/// An integer parameter of a list.
pub fn page_offset() -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": limits::PAGE_OFFSET_MAX, "default": 0})
}

//! What each method of each path asks for and answers. The matches have no `_`: a call that is in
//! the route table and not here does not compile.

use actix_web::http::StatusCode;
use serde_json::{Value, json};

use super::evidence::base64;
use super::schemas::{
    AnyJson, GlobList, IfMatch, NonceText, PermissionList, PublicKeyText, SignatureText,
    UseOnlyValueText, page_limit, page_offset,
};
use super::{Asks, Body, Operation, Schemas};
use crate::access::Permission;
use crate::api::answer::Done;
use crate::api::error::ApiError;
use crate::api::route::{Endpoint, Keyed, Keyless};
use crate::api::{
    accounts, attestation, audit, claim, clock, configuration, endorsements, executions, functions,
    health, invoke, keys, seal, secrets,
};
use crate::audit::Action;
use crate::limits;
use crate::metrics::Text;
use crate::model::{
    ContentHash, Description, EgressHosts, Environment, ExecutionId, FunctionCode, FunctionName,
    HeaderName, HostName, ID_BYTES, Label, Memory, NamePrefix, Overlap, Resource, SecretName,
    SecretNames, SecretValue, Tags, Timeout, Timestamp, Version, use_only,
};
use crate::phase::Phase;

/// The phases in which there is a report, and so evidence.
const WITH_REPORT: &[&str] = &["sealed", "unclaimed", "serving"];

pub(super) fn describe(endpoint: Endpoint, schemas: &mut Schemas) -> Operation {
    match endpoint {
        Endpoint::Keyless(Keyless::Live) => {
            Operation::new("Whether the process lives", Asks::Nothing)
                .in_phases(&Phase::NAMES)
                .answers(200, schemas.answer::<health::Health>())
        }
        Endpoint::Keyless(Keyless::Ready) => {
            Operation::new("Whether the instance serves", Asks::Nothing)
                .in_phases(&Phase::NAMES)
                .answers(200, schemas.answer::<health::Health>())
                .fails(ApiError::unavailable(""))
        }
        Endpoint::Keyless(Keyless::Attestation) => {
            Operation::new("Evidence for this connection", Asks::Nothing)
                .in_phases(WITH_REPORT)
                .query(attestation::QUERY, [("nonce", true, schemas.of::<NonceText>())])
                .answers(200, super::evidence::document(schemas))
                .fails(ApiError::Internal)
                .fails(ApiError::unavailable(""))
        }
        Endpoint::Keyless(Keyless::LastReport) => {
            Operation::new("The last report, by itself", Asks::Nothing)
                .in_phases(WITH_REPORT)
                .answers(200, schemas.answer::<endorsements::LastReport>())
                .fails(ApiError::unavailable(""))
        }
        Endpoint::Keyless(Keyless::KeepCertificates) => {
            let summary = "Bring the certificates of the key that signs this machine's reports";
            let mut body = Body::new(endorsements::CHAIN);
            for name in endorsements::CHAIN {
                body = body.required(name, base64(limits::UPLOADED_CERTIFICATE_BYTES));
            }
            upload(summary, body).answers(200, schemas.answer::<Done>())
        }
        Endpoint::Keyless(Keyless::KeepCrl) => {
            let crl = base64(limits::UPLOADED_CRL_BYTES);
            upload("Bring a newer CRL", Body::new(endorsements::CRL).required("crl", crl))
                .answers(200, schemas.answer::<endorsements::CrlAccepted>())
        }
        Endpoint::Keyless(Keyless::Claim) => {
            Operation::new("Take an unclaimed instance into possession", Asks::Nothing)
                .in_phases(&["unclaimed", "serving"])
                .takes(
                    Body::new(claim::FIELDS)
                        .required("ownerPublicKey", schemas.of::<PublicKeyText>())
                        .required("signature", schemas.of::<SignatureText>())
                        .nullable("accountName", schemas.of::<Label>())
                        .refused("unlockHalf"),
                )
                .answers(201, schemas.answer::<claim::Claimed<'_>>())
                .fails(ApiError::Forbidden("".into()))
                .fails(ApiError::Conflict("".into()))
                .fails(ApiError::Internal)
                .fails(ApiError::unavailable(""))
        }
        Endpoint::Keyless(Keyless::Configuration) => {
            Operation::new("A configuration that waits for the owner's acceptance", Asks::Nothing)
                .in_phases(&["sealed"])
                .answers(200, schemas.answer::<configuration::Waiting>())
                .fails(ApiError::Conflict("".into()))
                .fails(ApiError::unavailable(""))
        }
        Endpoint::Keyless(Keyless::AcceptConfiguration) => {
            Operation::new("Accept this start's configuration, as the owner", Asks::Nothing)
                .in_phases(&["sealed"])
                .takes(
                    Body::new(configuration::FIELDS)
                        .required("number", json!({"type": "integer", "minimum": 1}))
                        .required("signature", schemas.of::<SignatureText>()),
                )
                .answers(200, schemas.answer::<Done>())
                .fails(ApiError::Forbidden("".into()))
                .fails(ApiError::Conflict("".into()))
                .fails(ApiError::RateLimited { retry_after_seconds: 1 })
                .fails(ApiError::Internal)
                .fails(ApiError::unavailable(""))
        }
        Endpoint::Keyless(Keyless::Clock) => Operation::new("The instance's time", Asks::Nothing)
            .in_phases(&["serving"])
            .answers(200, schemas.answer::<clock::Shown>())
            .fails(ApiError::Internal)
            .fails(ApiError::unavailable("")),
        Endpoint::Keyless(Keyless::SetClock) => {
            Operation::new("Set the instance's time, as the owner", Asks::Nothing)
                .in_phases(&["serving"])
                .takes(
                    Body::new(clock::FIELDS)
                        .required("number", json!({"type": "integer", "minimum": 1}))
                        .required("time", schemas.of::<Timestamp>())
                        .required("signature", schemas.of::<SignatureText>()),
                )
                .answers(200, schemas.answer::<Done>())
                .fails(ApiError::Forbidden("".into()))
                .fails(ApiError::RateLimited { retry_after_seconds: 1 })
                .fails(ApiError::Internal)
                .fails(ApiError::unavailable(""))
        }
        Endpoint::Keyed(keyed) => self::keyed(keyed, schemas).in_phases(&["serving"]),
    }
}

/// A call that anybody may make, and not without end.
fn upload(summary: &'static str, body: Body) -> Operation {
    Operation::new(summary, Asks::Nothing)
        .in_phases(WITH_REPORT)
        .takes(body)
        .fails(ApiError::RateLimited { retry_after_seconds: 1 })
        .fails(ApiError::Internal)
        .fails(ApiError::unavailable(""))
}

fn keyed(keyed: Keyed, schemas: &mut Schemas) -> Operation {
    let by = |permission, summary| Operation::new(summary, Asks::Permission(permission));
    let by_owner = |summary| Operation::new(summary, Asks::Owner);
    let quota = || ApiError::QuotaExceeded("".into());
    match keyed {
        Keyed::ListSecrets => by(Permission::Read, "List secrets, newest first")
            .query(
                secrets::LIST,
                [
                    ("limit", false, page_limit()),
                    ("offset", false, page_offset()),
                    ("prefix", false, schemas.of::<NamePrefix>()),
                    ("detail", false, json!({"type": "string", "enum": ["full"]})),
                ],
            )
            .answers(200, secret_list(schemas)),
        Keyed::CreateSecret => by(Permission::Write, "Create a secret")
            .takes(
                secret_fields(secrets::CREATE, schemas)
                    .required("name", schemas.of::<SecretName>())
                    .required("value", schemas.of::<SecretValue>())
                    .optional("useOnly", json!({"enum": [false, null]}))
                    .optional("allowedHosts", json!({"type": "null"}))
                    .optional("allowedHeader", json!({"type": "null"}))
                    .or(use_only_secret(schemas)),
            )
            .answers(201, schemas.answer::<secrets::Metadata<'_>>())
            .with_header("Location")
            .with_header("ETag")
            .fails(ApiError::Conflict("".into()))
            .fails(quota()),
        Keyed::ReadSecret => by(Permission::Read, "A secret's metadata, never its value")
            .answers(200, schemas.answer::<secrets::Metadata<'_>>())
            .with_header("ETag"),
        Keyed::UpdateSecret => by(Permission::Write, "Change a secret: what is absent stays")
            .if_match(schemas.of::<IfMatch>())
            .takes(
                secret_fields(secrets::UPDATE, schemas)
                    .optional("value", schemas.of::<SecretValue>())
                    .not_empty(),
            )
            .answers(200, schemas.answer::<secrets::Metadata<'_>>())
            .with_header("ETag")
            .fails(quota()),
        Keyed::DeleteSecret => by(Permission::Admin, "Delete a secret with all its versions")
            .answers(200, schemas.answer::<Done>()),
        Keyed::ListVersions => by(Permission::Read, "The versions whose values are kept")
            .answers(200, schemas.answer::<secrets::Versions>()),
        Keyed::RollbackSecret => by(Permission::Write, "Make a kept version the newest one")
            .if_match(schemas.of::<IfMatch>())
            .takes(Body::new(secrets::ROLLBACK).required("version", schemas.of::<Version>()))
            .answers(200, schemas.answer::<secrets::Metadata<'_>>())
            .with_header("ETag")
            .fails(quota()),
        Keyed::RevealSecret => by(Permission::Reveal, "Take a value out, where that is on")
            .query(secrets::REVEAL, [("version", false, schemas.of::<Version>())])
            .answers(200, schemas.answer::<secrets::Value<'_>>())
            .fails(quota()),
        Keyed::AuditLog => by(
            Permission::Admin,
            "The account's audit log, newest first; by the owner's key, the instance's",
        )
        .query(
            audit::LIST,
            [
                ("limit", false, page_limit()),
                ("offset", false, page_offset()),
                ("from", false, schemas.of::<Timestamp>()),
                ("to", false, schemas.of::<Timestamp>()),
                ("action", false, schemas.of::<Action>()),
                ("secret", false, schemas.of::<SecretName>()),
            ],
        )
        .answers(200, schemas.answer::<audit::List<'_>>()),
        Keyed::Metrics => by_owner("Metrics for Prometheus").answers_text(200, Text::CONTENT_TYPE),
        Keyed::SealState => by_owner("What the store is sealed to")
            .answers(200, schemas.answer::<seal::SealState>()),
        Keyed::ListKeys => by(Permission::Admin, "Every key of the account, without its text")
            .answers(200, schemas.answer::<keys::List<'_>>()),
        Keyed::CreateKey => by(Permission::Admin, "Issue a key, which is shown this once")
            .takes(
                Body::new(keys::CREATE)
                    .required("name", schemas.of::<Label>())
                    .required("permissions", schemas.of::<PermissionList>())
                    .nullable("secrets", schemas.of::<GlobList>())
                    .nullable("expiresAt", schemas.of::<Timestamp>()),
            )
            .answers(201, issued(schemas))
            .fails(quota()),
        Keyed::RevokeKey => by(Permission::Admin, "Revoke a key at once")
            .answers(200, schemas.answer::<Done>())
            .fails(ApiError::Conflict("".into())),
        Keyed::RotateKey => by(Permission::Admin, "Replace a key by a new one")
            .takes(Body::new(keys::ROTATE).required("overlapSeconds", schemas.of::<Overlap>()))
            .answers(200, issued(schemas))
            .fails(ApiError::Conflict("".into()))
            .fails(quota()),
        Keyed::ListFunctions => by(Permission::Read, "List functions, newest first")
            .query(
                functions::LIST,
                [("limit", false, page_limit()), ("offset", false, page_offset())],
            )
            .answers(200, schemas.answer::<functions::List<'_>>()),
        Keyed::CreateFunction => {
            by(Permission::Write, "Create a function; where it declares secrets, that takes admin")
                .takes(
                    function_fields(functions::CREATE, schemas)
                        .required("name", schemas.of::<FunctionName>())
                        .required("code", schemas.of::<FunctionCode>()),
                )
                .answers(201, schemas.answer::<functions::Shown<'_>>())
                .with_header("Location")
                .fails(ApiError::Conflict("".into()))
                .fails(quota())
        }
        Keyed::ReadFunction => by(Permission::Read, "A function, and its code where asked for")
            .query(
                functions::READ,
                [("includeCode", false, json!({"type": "string", "enum": ["true", "false"]}))],
            )
            .answers(200, schemas.answer::<functions::Shown<'_>>()),
        Keyed::UpdateFunction => by(
            Permission::Write,
            "Change a function: what is absent stays; what decides over its secrets takes admin",
        )
        .takes(
            function_fields(functions::UPDATE, schemas)
                .optional("code", schemas.of::<FunctionCode>())
                .not_empty(),
        )
        .answers(200, schemas.answer::<functions::Shown<'_>>())
        .fails(quota()),
        Keyed::DeleteFunction => {
            by(Permission::Admin, "Delete a function with its code and its executions")
                .answers(200, schemas.answer::<Done>())
        }
        Keyed::SetFunctionSecrets => by(Permission::Admin, "Say which secrets a function may read")
            .takes(Body::new(functions::SECRETS).required("secrets", schemas.of::<SecretNames>()))
            .answers(200, schemas.answer::<functions::Shown<'_>>())
            .fails(quota()),
        Keyed::ConfirmFunction => by(Permission::Admin, "Let a pinned function's code read")
            .takes(
                Body::new(functions::CONFIRM).required("codeSha256", schemas.of::<ContentHash>()),
            )
            .answers(200, schemas.answer::<functions::Shown<'_>>())
            .fails(ApiError::Conflict("".into()))
            .fails(quota()),
        Keyed::InvokeFunction => {
            by(Permission::Execute, "Run a function; 202 and no result where async is true")
                .takes(
                    Body::new(invoke::FIELDS)
                        .optional("params", schemas.of::<AnyJson>())
                        .nullable("async", json!({"type": "boolean", "default": false})),
                )
                .answers(200, schemas.answer::<executions::Record<'_>>())
                .also_answers(StatusCode::ACCEPTED, schemas.answer::<invoke::Begun>())
                .fails(ApiError::ExecutionTimeout {
                    execution: ExecutionId::from_bytes([0; ID_BYTES]),
                })
                .fails(quota())
        }
        Keyed::ListExecutions => by(Permission::Read, "A function's last executions, newest first")
            .query(
                executions::LIST,
                [("limit", false, page_limit()), ("offset", false, page_offset())],
            )
            .answers(200, schemas.answer::<executions::List>()),
        Keyed::ReadExecution => by(Permission::Read, "One execution, with its result and its log")
            .answers(200, schemas.answer::<executions::Record<'_>>()),
        Keyed::ListAccounts => by_owner("List accounts, newest first")
            .query(
                accounts::LIST,
                [("limit", false, page_limit()), ("offset", false, page_offset())],
            )
            .answers(200, schemas.answer::<accounts::List<'_>>()),
        Keyed::CreateAccount => by_owner("Make an account; its first key is shown this once")
            .takes(
                Body::new(accounts::FIELDS)
                    .required("name", schemas.of::<Label>())
                    .nullable("quotas", quotas(schemas)),
            )
            .answers(201, with_key(schemas.answer::<accounts::Shown<'_>>(), "adminKey"))
            .with_header("Location")
            .fails(quota()),
        Keyed::ReadAccount => by_owner("An account, its quotas, and how much there is in it")
            .answers(200, schemas.answer::<accounts::Shown<'_>>()),
        Keyed::UpdateAccount => by_owner("Change an account: what is absent stays")
            .takes(
                Body::new(accounts::FIELDS)
                    .optional("name", schemas.of::<Label>())
                    .nullable("quotas", quotas(schemas))
                    .not_empty(),
            )
            .answers(200, schemas.answer::<accounts::Shown<'_>>()),
        Keyed::DeleteAccount => by_owner("Delete an account with all that is in it")
            .answers(200, schemas.answer::<Done>()),
    }
}

/// Quotas as a body has them: `null` stands for the configuration's.
fn quotas(schemas: &mut Schemas) -> Value {
    let quota = json!({"type": "integer", "minimum": 0, "maximum": Resource::QUOTA_MAX});
    let fields = accounts::QUOTAS
        .iter()
        .fold(Body::new(accounts::QUOTAS), |body, name| body.nullable(name, quota.clone()));
    schemas.named("Quotas", fields.schema())
}

/// The fields that creation and change have in common.
fn secret_fields(fields: &'static [&'static str], schemas: &mut Schemas) -> Body {
    Body::new(fields)
        .nullable("description", schemas.of::<Description>())
        .nullable("tags", schemas.of::<Tags>())
        .nullable("expiresAt", schemas.of::<Timestamp>())
}

/// A secret whose value nobody reads.
fn use_only_secret(schemas: &mut Schemas) -> Body {
    let hosts = json!({
        "type": "array", "items": schemas.of::<HostName>(),
        "minItems": 1, "maxItems": use_only::HOSTS_MAX, "uniqueItems": true,
    });
    secret_fields(secrets::CREATE, schemas)
        .required("name", schemas.of::<SecretName>())
        .required("value", schemas.of::<UseOnlyValueText>())
        .required("useOnly", json!({"enum": [true]}))
        .required("allowedHosts", hosts)
        .required("allowedHeader", schemas.of::<HeaderName>())
}

/// The fields that creation and change of a function have in common.
fn function_fields(fields: &'static [&'static str], schemas: &mut Schemas) -> Body {
    // The lists name what stands in them by reference.
    schemas.of::<SecretName>();
    schemas.of::<HostName>();
    Body::new(fields)
        .nullable("description", schemas.of::<Description>())
        .nullable("timeout", schemas.of::<Timeout>())
        .nullable("memory", schemas.of::<Memory>())
        .nullable("secrets", schemas.of::<SecretNames>())
        .nullable("environment", schemas.of::<Environment>())
        .nullable("egress", schemas.of::<EgressHosts>())
        .nullable("tags", schemas.of::<Tags>())
        .nullable("pinCode", json!({"type": "boolean"}))
}

/// A page of items or, with `detail=full`, of whole secrets.
fn secret_list(schemas: &mut Schemas) -> Value {
    // A generic struct does not bring its argument's schema along.
    schemas.answer::<secrets::Item<'_>>();
    schemas.answer::<secrets::Metadata<'_>>();
    let items = schemas.answer_as::<secrets::List<secrets::Item<'_>>>("SecretList");
    let full = schemas.answer_as::<secrets::List<secrets::Metadata<'_>>>("SecretDetailsList");
    json!({"anyOf": [items, full]})
}

/// A key's entry with its text.
fn issued(schemas: &mut Schemas) -> Value {
    with_key(schemas.answer::<keys::Key<'_>>(), "key")
}

/// An answer that has this field, where others of its kind lack it.
fn with_key(schema: Value, field: &str) -> Value {
    json!({"allOf": [schema, {"required": [field]}]})
}

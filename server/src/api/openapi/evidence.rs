//! The evidence document (SPEC.md §5), which is written by hand and not from a struct.

use neo_secrets_attestation::limits::{CERTIFICATE_BYTES_MAX, CRL_BYTES_MAX};
use serde_json::{Value, json};

use super::Schemas;
use super::schemas::{PublicKeyText, ReportText, SignatureText, StoreIdText};

pub(super) fn document(schemas: &mut Schemas) -> Value {
    let (key, report) = (schemas.of::<PublicKeyText>(), schemas.of::<ReportText>());
    let claims = json!({
        "type": "object", "additionalProperties": false,
        "required": ["tlsSpkiSha256", "config", "imageVersion", "phase"],
        "properties": {
            "storeId": schemas.of::<StoreIdText>(),
            "instanceKey": key, "logKey": key, "receiptKey": key,
            "tlsSpkiSha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "config": {"type": "string", "maxLength": crate::limits::CONFIG_BYTES},
            "imageVersion": {"type": "string", "pattern": "^[!-~]{1,64}$"},
            "phase": {"type": "string", "enum": ["unclaimed", "serving", "sealed"]},
        },
    });
    let index = json!({"type": "integer", "minimum": 0, "maximum": 65_535});
    let size = json!({"type": "integer", "minimum": 1, "maximum": 65_536});
    let freshness = json!({
        "type": "object", "additionalProperties": false,
        "required": ["path"],
        "properties": {
            "path": {
                "type": "object", "additionalProperties": false,
                "required": ["index", "size", "hashes"],
                "properties": {
                    "index": index, "size": size,
                    "hashes": {
                        "type": "array", "maxItems": 16,
                        "items": {"type": "string", "pattern": "^[A-Za-z0-9+/]{43}=$"},
                    },
                },
            },
            "instanceSignature": schemas.of::<SignatureText>(),
        },
    });
    schemas.named(
        "Evidence",
        json!({
            "type": "object", "additionalProperties": false,
            "required": ["version", "platform", "report", "certificates", "claims", "freshness"],
            "properties": {
                "version": {"type": "integer", "enum": [1]},
                "platform": {"type": "string", "enum": ["sev-snp"]},
                "report": report,
                "certificates": {
                    "type": "object", "additionalProperties": false,
                    "required": ["vek", "ask", "ark"],
                    "properties": {
                        "vek": base64(CERTIFICATE_BYTES_MAX), "ask": base64(CERTIFICATE_BYTES_MAX),
                        "ark": base64(CERTIFICATE_BYTES_MAX), "crl": base64(CRL_BYTES_MAX),
                    },
                },
                "claims": claims,
                "freshness": freshness,
            },
        }),
    )
}

/// Padded base64 of at most this many bytes.
pub(super) fn base64(bytes_max: usize) -> Value {
    let pattern =
        "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";
    json!({"type": "string", "minLength": 4, "maxLength": bytes_max.div_ceil(3) * 4, "pattern": pattern})
}

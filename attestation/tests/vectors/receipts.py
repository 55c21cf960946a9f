#!/usr/bin/env python3
"""Makes receipts.json from SPEC.md section 9 alone, with nothing of the Rust code. Needs `cryptography`."""
import base64
import hashlib
import json
import pathlib
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SEED = bytes([3] * 32)
STORE = "5" * 32
FUNCTION = "func_" + base64.urlsafe_b64encode(bytes(range(18))).decode()
EXECUTION = "exec_" + base64.urlsafe_b64encode(bytes(range(237, 255))).decode()
CODE = b"async function main(context) { return { success: true }; }"


def field(data):
    return struct.pack(">I", len(data)) + data


def message(receipt):
    out = b"neo-secrets receipt v1\0" + field(bytes.fromhex(receipt["storeId"]))
    out += field(receipt["functionId"].encode()) + field(bytes.fromhex(receipt["codeSha256"]))
    out += field(receipt["executionId"].encode()) + field(bytes.fromhex(receipt["paramsSha256"]))
    out += field(bytes.fromhex(receipt["resultSha256"])) + struct.pack(">I", len(receipt["secretsRead"]))
    for secret in receipt["secretsRead"]:
        out += field(secret["name"].encode()) + field(struct.pack(">Q", secret["version"]))
    return out + field(receipt["startedAt"].encode()) + field(receipt["completedAt"].encode())


def case(name, params, result, secrets):
    receipt = {
        "storeId": STORE, "functionId": FUNCTION, "codeSha256": hashlib.sha256(CODE).hexdigest(),
        "executionId": EXECUTION, "paramsSha256": hashlib.sha256(params).hexdigest(),
        "resultSha256": hashlib.sha256(result).hexdigest(),
        "secretsRead": [{"name": name, "version": version} for name, version in secrets],
        "startedAt": "2026-11-25T19:00:00Z", "completedAt": "2026-11-25T19:00:01Z",
    }
    signed = message(receipt)
    receipt["signature"] = base64.b64encode(Ed25519PrivateKey.from_private_bytes(SEED).sign(signed)).decode()
    return {"name": name, "params": params.decode(), "result": result.decode(), "message": signed.hex(),
            "receipt": receipt}


key = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
vectors = {
    "test": "evidence::vectors::receipts",
    "what": "SPEC.md section 9, by receipts.py. The Ed25519 key by its seed (RFC 8032); params is empty where the request has none.",
    "seed": SEED.hex(), "publicKey": base64.b64encode(key).decode(), "code": CODE.decode(),
    "cases": [
        case("nothing read", b"", b"null", []),
        case("one secret", b'{"city": "Z\xc3\xbcrich"}', b'{"success":true}', [("api-key", 1)]),
        case("in order of bytes, versions as numbers", b"[ ]", b'"\\u00fc"',
             [("Z", 3), ("a", 2), ("a", 10), ("a-b", 1), ("a.b", 1), ("a0", 1), ("a_b", 2**53 - 1), ("x" * 100, 2**64 - 1)]),
    ],
}
path = pathlib.Path(__file__).with_name("receipts.json")
path.write_text(json.dumps(vectors, indent=1, ensure_ascii=False) + "\n")

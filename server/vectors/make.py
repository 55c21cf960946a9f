#!/usr/bin/env python3
"""Makes record.hex and slots.hex from STORE.md alone, with nothing of the server's code. Needs `cryptography`."""
import hashlib
import hmac
import pathlib
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def hkdf(algorithm, salt, key, info):
    extracted = hmac.new(salt, key, algorithm).digest()
    return hmac.new(extracted, info + b"\x01", algorithm).digest()[:32]


def fields(*parts):
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def header(store_id):
    return b"neo-secrets\0" + u16(1) + store_id


def u16(number):
    return struct.pack(">H", number)


def seal(key, data, context):
    return AESGCM(key).encrypt(bytes(12), data, context)


def record():
    store_id, account_key, account, salt = bytes([7] * 16), bytes([2] * 32), bytes([3] * 18), bytes([4] * 32)
    info = fields(b"neo-secrets name index v1", account)
    name_hash = hmac.new(hkdf("sha256", store_id, account_key, info), b"database-url", "sha256").digest()
    engine_key = account + b"\x22" + name_hash
    body = b"\xa2\x00\x6cdatabase-url\x01\x52" + bytes([5] * 18)
    content = bytes([len(engine_key)]) + engine_key + struct.pack(">I", len(body)) + body
    context = fields(b"neo-secrets record v1", b"\x01", b"\x01", u16(1), store_id, b"neo-secrets", account, b"\x22",
                     engine_key)
    return b"\x01\x01" + salt + seal(hkdf("sha256", salt, account_key, context), content.ljust(256, b"\0"), context)


def slot(store_id, kind, label, salt, wrapped):
    derived, tcb, measurement = bytes([5] * 32), bytes([10, 0, 0, 0, 0, 0, 23, 84]), b"\x4d" * 48
    policy, guest_svn, host_data, chip_id = struct.pack(">Q", 0x30000), bytes(4), bytes(32), b"\x01" * 64
    chip = hashlib.sha256(fields(b"neo-secrets chip id v1", salt, chip_id)).digest()
    block = fields(b"neo-secrets id block v1", salt, bytes(16), bytes(16), bytes(48), bytes(48))
    body = salt + tcb + measurement + policy + guest_svn + host_data + chip + hashlib.sha256(block).digest()
    info = fields(label, kind, u16(1), store_id, measurement, policy, tcb, guest_svn, host_data, bytes(48), bytes(48))
    body += seal(hkdf("sha512", salt, derived, info), wrapped, fields(label, header(store_id), kind, body))
    return kind + u16(len(body)) + body


def slots():
    store_id, root = bytes([8] * 16), bytes([9] * 32)
    table = b"\x01\x02" + slot(store_id, b"\x01", b"neo-secrets slot v1", bytes([1] * 32), root)
    table += slot(store_id, b"\x10", b"neo-secrets identity slot v1", bytes([2] * 32), bytes([10] * 32))
    key = hkdf("sha256", store_id, root, fields(b"neo-secrets slot table key v1"))
    return table + hmac.new(key, fields(b"neo-secrets slot table v1", header(store_id), table), "sha256").digest()


for file, data in (("record.hex", record()), ("slots.hex", slots())):
    text = data.hex()
    lines = [text[start : start + 96] for start in range(0, len(text), 96)]
    pathlib.Path(__file__).with_name(file).write_text("\n".join(lines) + "\n")

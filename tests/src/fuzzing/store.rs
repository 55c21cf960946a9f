//! What stands in a store's file.

use neo_secrets_server::fuzzing::{self, RECORD_KINDS};

use super::presentable;

/// The end of the engine key of every record here.
const REST: [u8; 18] = [7; 18];

fn kind(byte: u8) -> u8 {
    RECORD_KINDS[usize::from(byte) % RECORD_KINDS.len()]
}

/// A plaintext that is accepted is the only one of its record; and no bytes open as a sealed record
/// by chance. The first byte says of which kind.
pub fn record(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    if let Some(written) = fuzzing::record(kind(*which), &REST, bytes) {
        assert_eq!(written, bytes);
    }
    assert!(!fuzzing::record_opens_by_chance(kind(*which), &REST, bytes));
}

/// A body that is accepted is the only one of its record.
pub fn record_body(bytes: &[u8]) {
    accepted_body(bytes);
}

/// The kind of the body, where it is accepted.
pub fn accepted_body(bytes: &[u8]) -> Option<u8> {
    let (which, body) = bytes.split_first()?;
    let plaintext = framed(kind(*which), body);
    let written = fuzzing::record(kind(*which), &REST, &plaintext)?;
    assert_eq!(written, plaintext);
    Some(kind(*which))
}

/// A body in its plaintext, after STORE.md section 6.
pub(super) fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let key = [&[0; 18][..], &[kind], &REST].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let mut plaintext = [&[u8::try_from(key.len()).unwrap()], &key[..], &length, body].concat();
    let bytes = plaintext.len().max(256);
    let exponent = bytes.ilog2();
    let size = 1 << (exponent - exponent.ilog2() - 1);
    plaintext.resize(bytes.next_multiple_of(size), 0);
    plaintext
}

/// A header and a slot table that are accepted are the only ones of their content.
pub fn slots(bytes: &[u8]) {
    match fuzzing::header(bytes) {
        Ok(written) => assert_eq!(written, bytes),
        Err(error) => presentable(&error),
    }
    match fuzzing::slot_table(bytes) {
        Ok(written) => assert_eq!(written, bytes),
        Err(error) => presentable(&error),
    }
}

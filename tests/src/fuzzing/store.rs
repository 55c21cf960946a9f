//! What stands in a store's file.

use neo_secrets_server::fuzzing::{self, BODIES};

use super::refused;

/// The end of the engine key of every record here.
const REST: [u8; 18] = [7; 18];

/// Kind and version of the body that a seed's first byte stands for.
fn body_of(byte: u8) -> (u8, u8) {
    BODIES[usize::from(byte) % BODIES.len()]
}

/// A plaintext that is accepted is the only one of its record; and no bytes open as a sealed record
/// by chance. The first byte says with which body.
pub fn record(bytes: &[u8]) -> bool {
    let Some((which, bytes)) = bytes.split_first() else { return false };
    let of = body_of(*which);
    assert!(!fuzzing::record_opens_by_chance(of, &REST, bytes));
    rewritten(of, bytes)
}

/// A body that is accepted is the only one of its record.
pub fn record_body(bytes: &[u8]) -> bool {
    let Some((which, body)) = bytes.split_first() else { return false };
    let of = body_of(*which);
    rewritten(of, &framed(of.0, body))
}

fn rewritten(of: (u8, u8), plaintext: &[u8]) -> bool {
    let written = fuzzing::record(of, &REST, plaintext);
    written.is_some_and(|written| {
        assert_eq!(written, plaintext);
        true
    })
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
pub fn slots(bytes: &[u8]) -> bool {
    let read = [fuzzing::header(bytes), fuzzing::slot_table(bytes)];
    let accepted = read.iter().map(|read| match read {
        Err(error) => refused(error),
        Ok(written) => {
            assert_eq!(written, bytes);
            true
        }
    });
    accepted.fold(false, |any, one| any | one)
}

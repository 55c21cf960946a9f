//! The secure processor's end of the serial port; `tests/shim/src/cuse.rs` is the other.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use neo_secrets_server::platform::KEY_REQUEST_BYTES;

use crate::device::{Asked, GET_DERIVED_KEY, GET_REPORT, Refused, ask};
use neo_secrets_server::platform::Platform;

/// Answers until the machine ends.
pub fn serve(mut port: UnixStream, machine: &impl Platform, asked: &Asked) -> io::Result<()> {
    loop {
        let mut request = [0; 4];
        port.read_exact(&mut request)?;
        let request = u32::from_le_bytes(request);
        let length = match request {
            GET_REPORT => 96,
            GET_DERIVED_KEY => KEY_REQUEST_BYTES,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        let mut sent = vec![0; length];
        port.read_exact(&mut sent)?;
        let (error, status, answer) = match ask(request, &sent, machine, asked) {
            Ok(answer) => (0, 0, answer),
            Err(Refused { error, status }) => (error, status, Vec::new()),
        };
        let length = u32::try_from(answer.len()).map_err(io::Error::other)?;
        let error = error.cast_unsigned().to_le_bytes();
        let head = [&error, status.to_le_bytes().as_slice(), &length.to_le_bytes()].concat();
        port.write_all(&[head, answer].concat())?;
    }
}

//! Frames: four bytes of length, little-endian, then a message.

use std::io::{self, Read};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::bytes::{DecodeError, TooLong};

/// A message as it goes out, its length in front. Wiped when dropped: it may carry a secret.
pub struct Frame(Zeroizing<Vec<u8>>);

/// Bytes of the length in front.
const PREFIX: usize = 4;

impl Frame {
    /// The bytes to send.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The message without its length.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.0.get(PREFIX..).unwrap_or_default()
    }

    /// Room for `body_bytes`, so that growing leaves no copy of a secret behind.
    pub(crate) fn filled(
        body_bytes: usize,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), TooLong>,
    ) -> Result<Self, TooLong> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(PREFIX.saturating_add(body_bytes)));
        bytes.extend_from_slice(&[0; PREFIX]);
        fill(&mut bytes)?;
        let len = bytes.len().saturating_sub(PREFIX);
        let too_long = TooLong { field: "message", len, max: crate::limits::TO_WORKER_BYTES };
        let prefix = u32::try_from(len).map_err(|_| too_long)?.to_le_bytes();
        for (byte, value) in bytes.iter_mut().zip(prefix) {
            *byte = value;
        }
        Ok(Self(bytes))
    }
}

/// Why there is no frame.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The peer has closed its end between two frames.
    #[error("the peer has closed the connection")]
    Closed,
    /// The frame is over the bound.
    #[error("a frame of {len} bytes, over {max}")]
    TooLong {
        /// The length that it announces.
        len: u32,
        /// The bound.
        max: usize,
    },
    /// The bytes are no message.
    #[error(transparent)]
    Message(#[from] DecodeError),
    /// Reading failed, or the peer closed its end within a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How many bytes follow these four.
///
/// # Errors
/// [`FrameError::TooLong`] where there are more than `max`.
pub fn body_bytes(prefix: [u8; 4], max: usize) -> Result<usize, FrameError> {
    let len = u32::from_le_bytes(prefix);
    let bytes = usize::try_from(len).ok().filter(|bytes| *bytes <= max);
    bytes.ok_or(FrameError::TooLong { len, max })
}

/// Reads one message of at most `max` bytes, wiped when dropped.
///
/// # Errors
/// As [`FrameError`] says; [`FrameError::Closed`] only before a frame's first byte.
pub fn read(reader: &mut impl Read, max: usize) -> Result<Zeroizing<Vec<u8>>, FrameError> {
    let mut prefix = [0; PREFIX];
    let mut got = 0;
    while let Some(rest) = prefix.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) if got == 0 => return Err(FrameError::Closed),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut body = Zeroizing::new(vec![0; body_bytes(prefix, max)?]);
    reader.read_exact(&mut body)?;
    Ok(body)
}

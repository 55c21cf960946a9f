//! What the server and the worker launcher say to each other: a message is a packet of one size,
//! and holds numbers only.

use crate::bytes::DecodeError;

/// Which worker: the server counts up by one with each that it asks for.
pub type Number = u64;

/// A message to the launcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToLauncher {
    /// Start a worker of this number, the next one.
    Start(Number),
    /// Kill this worker, which has been started and not been ended.
    End(Number),
}

/// A message from the launcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromLauncher {
    /// It runs. With this packet come two descriptors: the server's end of its socket, and the end
    /// of a pipe from its standard error.
    Started {
        /// Which.
        number: Number,
        /// Its process, as the system calls it.
        process: u32,
    },
    /// It does not.
    Refused {
        /// Which.
        number: Number,
        /// The system's number of the error.
        error: u32,
    },
    /// Its process is gone.
    Ended(Number),
}

/// A packet to the launcher: kind, number.
pub const TO_LAUNCHER_BYTES: usize = 9;
/// A packet from the launcher: kind, number, process or error.
pub const FROM_LAUNCHER_BYTES: usize = 13;

impl ToLauncher {
    /// The packet.
    #[must_use]
    pub fn encode(self) -> [u8; TO_LAUNCHER_BYTES] {
        let (kind, number) = match self {
            ToLauncher::Start(number) => (1, number),
            ToLauncher::End(number) => (2, number),
        };
        let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
        [kind, a, b, c, d, e, f, g, h]
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// [`DecodeError`]
    pub fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let [kind, number @ ..] = exactly::<TO_LAUNCHER_BYTES>(packet)?;
        let number = u64::from_le_bytes(number);
        match kind {
            1 => Ok(ToLauncher::Start(number)),
            2 => Ok(ToLauncher::End(number)),
            other => Err(DecodeError::Kind(other)),
        }
    }
}

impl FromLauncher {
    /// The packet.
    #[must_use]
    pub fn encode(self) -> [u8; FROM_LAUNCHER_BYTES] {
        let (kind, number, more) = match self {
            FromLauncher::Started { number, process } => (1, number, process),
            FromLauncher::Refused { number, error } => (2, number, error),
            FromLauncher::Ended(number) => (3, number, 0),
        };
        let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
        let [i, j, k, l] = more.to_le_bytes();
        [kind, a, b, c, d, e, f, g, h, i, j, k, l]
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// [`DecodeError`]
    pub fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let [kind, a, b, c, d, e, f, g, h, more @ ..] = exactly::<FROM_LAUNCHER_BYTES>(packet)?;
        let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let more = u32::from_le_bytes(more);
        match (kind, more) {
            (1, process) => Ok(FromLauncher::Started { number, process }),
            (2, error) => Ok(FromLauncher::Refused { number, error }),
            (3, 0) => Ok(FromLauncher::Ended(number)),
            (3, _) => Err(DecodeError::Value { field: "end", value: more }),
            (other, _) => Err(DecodeError::Kind(other)),
        }
    }
}

fn exactly<const N: usize>(packet: &[u8]) -> Result<[u8; N], DecodeError> {
    packet.try_into().map_err(|_| match packet.len().checked_sub(N) {
        Some(over) => DecodeError::Trailing(over),
        None => DecodeError::Truncated,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_have_one_spelling() {
        for number in [0, 1, 256, u64::MAX] {
            for message in [ToLauncher::Start(number), ToLauncher::End(number)] {
                assert_eq!(ToLauncher::decode(&message.encode()), Ok(message));
            }
            for message in [
                FromLauncher::Started { number, process: 77 },
                FromLauncher::Refused { number, error: 11 },
                FromLauncher::Ended(number),
            ] {
                assert_eq!(FromLauncher::decode(&message.encode()), Ok(message));
            }
        }
        assert_eq!(ToLauncher::Start(2).encode(), [1, 2, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        assert_eq!(ToLauncher::decode(&[]), Err(DecodeError::Truncated));
        assert_eq!(ToLauncher::decode(&[1; 8]), Err(DecodeError::Truncated));
        assert_eq!(ToLauncher::decode(&[1; 10]), Err(DecodeError::Trailing(1)));
        for kind in [0, 3, 255] {
            assert_eq!(ToLauncher::decode(&[kind; 9]), Err(DecodeError::Kind(kind)));
        }
        assert_eq!(FromLauncher::decode(&[1; 12]), Err(DecodeError::Truncated));
        assert_eq!(FromLauncher::decode(&[1; 14]), Err(DecodeError::Trailing(1)));
        assert_eq!(FromLauncher::decode(&[4; 13]), Err(DecodeError::Kind(4)));
        let end = [3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        assert_eq!(FromLauncher::decode(&end), Err(DecodeError::Value { field: "end", value: 1 }));
    }
}

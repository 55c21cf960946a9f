//! The plain header (STORE.md §3).

use neo_secrets_attestation::evidence::StoreId;

const MAGIC: &[u8; 12] = b"neo-secrets\0";

/// The store's format and id. Bound into every slot, key and record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) store_id: StoreId,
}

/// What header bytes may be instead of a header that this server knows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// No header of ours.
    Malformed,
    /// A header of another format.
    Format(u16),
}

impl Header {
    /// The one format that this server writes and opens.
    pub(crate) const FORMAT: u16 = 1;
    const BYTES: usize = 30;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..12].copy_from_slice(MAGIC);
        bytes[12..14].copy_from_slice(&Self::FORMAT.to_be_bytes());
        bytes[14..].copy_from_slice(&self.store_id.0);
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(HeaderError::Malformed)?;
        let (format, rest) = rest.split_first_chunk().ok_or(HeaderError::Malformed)?;
        match u16::from_be_bytes(*format) {
            Self::FORMAT => {
                let id = rest.try_into().map_err(|_| HeaderError::Malformed)?;
                Ok(Self { store_id: StoreId(id) })
            }
            other => Err(HeaderError::Format(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_go_both_ways_and_name_what_is_wrong() {
        let header = Header { store_id: StoreId([9; 16]) };
        let bytes = header.to_bytes();
        assert_eq!(&bytes[..14], b"neo-secrets\0\0\x01");
        assert!(Header::parse(&bytes) == Ok(header));
        let mut newer = bytes;
        newer[13] = 2;
        assert_eq!(Header::parse(&newer).err(), Some(HeaderError::Format(2)));
        let longer = [&bytes[..], b"x"].concat();
        for wrong in [&bytes[..29], &longer, b"", b"neo-secrets"] {
            assert_eq!(Header::parse(wrong).err(), Some(HeaderError::Malformed));
        }
    }
}

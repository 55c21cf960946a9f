//! The table of certificates that a host hands out beside a report (SPEC.md section 6.2): GHCB
//! Standardization, 56421, section 4.1.8.1; Linux gives it as `auxblob` of configfs-tsm.

use std::fmt;

use data_encoding::HEXLOWER;
use thiserror::Error;

use crate::bytes::{ReadError, Reader};
use crate::limits::{CERTIFICATE_TABLE_BYTES_MAX, CERTIFICATE_TABLE_ENTRIES_MAX};
use crate::report::SigningKey;

/// What the table holds. Nothing of it is believed: a host can write anything here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateTable<'a> {
    /// The chip's key.
    pub vcek: Option<&'a [u8]>,
    /// The provider's key.
    pub vlek: Option<&'a [u8]>,
    /// The authority of either.
    pub ask: Option<&'a [u8]>,
    /// The root.
    pub ark: Option<&'a [u8]>,
    /// The root's revocation list.
    pub crl: Option<&'a [u8]>,
    /// What this package has no use for, in the table's order.
    pub others: Vec<(Guid, &'a [u8])>,
}

/// What an entry is named by, in the byte order of its text (RFC 4122): the GHCB's tables have
/// that one, unlike those of UEFI.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Guid(pub [u8; 16]);

/// Why bytes are no table.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CertificateTableError {
    /// More bytes than [`crate::limits`] allows.
    #[error("the certificate table has {got} bytes; the limit is {CERTIFICATE_TABLE_BYTES_MAX}")]
    TooLong {
        /// Bytes there are.
        got: usize,
    },
    /// The bytes end before the entry of zeros.
    #[error("the certificate table has no end: {0}")]
    Unterminated(ReadError),
    /// More entries than [`crate::limits`] allows.
    #[error("the certificate table has more than {CERTIFICATE_TABLE_ENTRIES_MAX} entries")]
    TooManyEntries,
    /// An entry without a GUID that is not the last.
    #[error("entry {entry} of the certificate table has no GUID")]
    NoGuid {
        /// Which one, from 0.
        entry: usize,
    },
    /// An entry whose bytes overlap the entries or lie outside.
    #[error("entry {guid} of the certificate table points at {length} bytes from {offset}")]
    Extent {
        /// The entry.
        guid: Guid,
        /// Where its bytes begin.
        offset: u32,
        /// How many they are.
        length: u32,
    },
    /// An entry of a kind that this package uses, without bytes.
    #[error("entry {guid} of the certificate table is empty")]
    Empty {
        /// The entry.
        guid: Guid,
    },
    /// An entry of a kind that this package uses is there twice.
    #[error("entry {guid} of the certificate table is repeated")]
    Repeated {
        /// The entry.
        guid: Guid,
    },
}

impl Guid {
    /// Names a VCEK.
    pub const VCEK: Self = Self::new(0x63da758d_e664_4564_adc5_f4b93be8accd);
    /// Names a VLEK.
    pub const VLEK: Self = Self::new(0xa8074bc2_a25a_483e_aae6_39c045a0b8a1);
    /// Names the ASK of a VCEK or the ASVK of a VLEK.
    pub const ASK: Self = Self::new(0x4ab7b379_bbac_4fe4_a02f_05aef327c782);
    /// Names the ARK.
    pub const ARK: Self = Self::new(0xc0b406a4_a803_4952_9743_3fb6014cd0ae);
    /// Names the ARK's revocation list.
    pub const CRL: Self = Self::new(0x92f81bc3_5811_4d3d_97ff_d19f88dc67ea);
    const NONE: Self = Self::new(0);

    const fn new(number: u128) -> Self {
        Self(number.to_be_bytes())
    }
}

/// One entry, before its bytes are looked for.
#[derive(Clone, Copy)]
struct Entry {
    guid: Guid,
    offset: u32,
    length: u32,
}

impl<'a> CertificateTable<'a> {
    /// Takes a table apart. What stands behind it or between its parts is not looked at: kernels
    /// hand out whole pages.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CertificateTableError> {
        if bytes.len() > CERTIFICATE_TABLE_BYTES_MAX {
            return Err(CertificateTableError::TooLong { got: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        let mut entries = Vec::new();
        while let Some(entry) = Entry::read(&mut reader, entries.len())? {
            if entries.len() == CERTIFICATE_TABLE_ENTRIES_MAX {
                return Err(CertificateTableError::TooManyEntries);
            }
            entries.push(entry);
        }
        let mut table = Self::default();
        for entry in entries {
            table.add(entry, entry.bytes(bytes, reader.position())?)?;
        }
        Ok(table)
    }

    fn add(&mut self, entry: Entry, bytes: &'a [u8]) -> Result<(), CertificateTableError> {
        let guid = entry.guid;
        let place = match guid {
            Guid::VCEK => &mut self.vcek,
            Guid::VLEK => &mut self.vlek,
            Guid::ASK => &mut self.ask,
            Guid::ARK => &mut self.ark,
            Guid::CRL => &mut self.crl,
            _ => {
                self.others.push((guid, bytes));
                return Ok(());
            }
        };
        if bytes.is_empty() {
            return Err(CertificateTableError::Empty { guid });
        }
        match place.replace(bytes) {
            None => Ok(()),
            Some(_) => Err(CertificateTableError::Repeated { guid }),
        }
    }

    /// The certificates for a report that this key signed, as
    /// [`Endorsements::from_files`](crate::endorsements::Endorsements::from_files) takes them.
    pub fn certificates(&self, signer: SigningKey) -> impl Iterator<Item = &'a [u8]> {
        let vek = match signer {
            SigningKey::Vcek => self.vcek,
            SigningKey::Vlek => self.vlek,
            SigningKey::None => None,
        };
        [vek, self.ask, self.ark].into_iter().flatten()
    }
}

impl Entry {
    /// The next entry, or nothing where the table ends.
    fn read(reader: &mut Reader<'_>, index: usize) -> Result<Option<Self>, CertificateTableError> {
        let mut fields = || {
            let guid = Guid(reader.array()?);
            Ok(Self { guid, offset: reader.u32_le()?, length: reader.u32_le()? })
        };
        match fields().map_err(CertificateTableError::Unterminated)? {
            Self { guid: Guid::NONE, offset: 0, length: 0 } => Ok(None),
            Self { guid: Guid::NONE, .. } => Err(CertificateTableError::NoGuid { entry: index }),
            entry => Ok(Some(entry)),
        }
    }

    /// Its bytes, which lie behind the entries: these end at `entries_end`.
    fn bytes(self, table: &[u8], entries_end: usize) -> Result<&[u8], CertificateTableError> {
        let Self { guid, offset, length } = self;
        let found = || {
            let (offset, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
            let end = offset.checked_add(length)?;
            if offset < entries_end { None } else { table.get(offset..end) }
        };
        found().ok_or(CertificateTableError::Extent { guid, offset, length })
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if [4, 6, 8, 10].contains(&index) {
                formatter.write_str("-")?;
            }
            formatter.write_str(&HEXLOWER.encode(&[*byte]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Guid({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries with these offsets and lengths, the end, and what follows.
    fn table(entries: &[(Guid, u32, u32)], rest: &[u8]) -> Vec<u8> {
        let entry = |&(guid, offset, length): &(Guid, u32, u32)| {
            [&guid.0[..], &offset.to_le_bytes(), &length.to_le_bytes()].concat()
        };
        let entries: Vec<u8> = entries.iter().flat_map(entry).collect();
        [&entries, &[0; 24][..], rest].concat()
    }

    fn error(bytes: &[u8]) -> CertificateTableError {
        CertificateTable::parse(bytes).unwrap_err()
    }

    const OTHER: Guid = Guid([7; 16]);

    #[test]
    fn the_guids_bytes_stand_in_the_order_of_their_text() {
        assert_eq!(Guid::VCEK.to_string(), "63da758d-e664-4564-adc5-f4b93be8accd");
        assert_eq!(Guid::VCEK.0[..4], [0x63, 0xda, 0x75, 0x8d]);
    }

    /// The layout that a host's tool writes: every kind, then two of nobody's.
    #[test]
    fn reads_every_kind_and_keeps_the_unknown_ones() {
        let kinds = [Guid::ARK, Guid::ASK, Guid::VCEK, Guid::VLEK, Guid::CRL, OTHER, OTHER];
        let first = 24 * 8;
        let entries: Vec<_> = (0..).zip(kinds).map(|(n, guid)| (guid, first + n, 1)).collect();
        let bytes = table(&entries, b"abcdefg\0\0\0\0");
        let read = CertificateTable::parse(&bytes).unwrap();
        let expected = CertificateTable {
            ark: Some(b"a"),
            ask: Some(b"b"),
            vcek: Some(b"c"),
            vlek: Some(b"d"),
            crl: Some(b"e"),
            others: vec![(OTHER, b"f"), (OTHER, b"g")],
        };
        assert_eq!(read, expected);
        let of = |signer| read.certificates(signer).collect::<Vec<_>>().concat();
        assert_eq!(of(SigningKey::Vcek), b"cba");
        assert_eq!(of(SigningKey::Vlek), b"dba");
        assert_eq!(of(SigningKey::None), b"ba");
    }

    #[test]
    fn a_host_that_gives_nothing_gives_an_empty_table() {
        assert_eq!(CertificateTable::parse(&[0; 24]), Ok(CertificateTable::default()));
        assert_eq!(CertificateTable::parse(&[0; 4096]), Ok(CertificateTable::default()));
    }

    #[test]
    fn each_way_of_being_wrong_has_its_name() {
        let unterminated = |position, wanted, left| {
            CertificateTableError::Unterminated(ReadError::Truncated { position, wanted, left })
        };
        assert_eq!(error(b""), unterminated(0, 16, 0));
        let whole = table(&[(Guid::ARK, 48, 1)], b"a");
        assert_eq!(error(&whole[..24]), unterminated(24, 16, 0));
        assert_eq!(error(&whole[..47]), unterminated(44, 4, 3));

        let extent = |offset, length| CertificateTableError::Extent { guid: OTHER, offset, length };
        let extents = [(49, 1), (48, 2), (47, 1), (0, 0), (u32::MAX, 1), (48, u32::MAX), (50, 0)];
        for (offset, length) in extents {
            let bytes = table(&[(OTHER, offset, length)], b"a");
            assert_eq!(error(&bytes), extent(offset, length));
        }
        assert!(CertificateTable::parse(&table(&[(OTHER, 49, 0)], b"a")).is_ok());

        let empty = table(&[(Guid::ASK, 48, 0)], b"");
        assert_eq!(error(&empty), CertificateTableError::Empty { guid: Guid::ASK });
        let twice = table(&[(Guid::CRL, 72, 1), (Guid::CRL, 72, 1)], b"a");
        assert_eq!(error(&twice), CertificateTableError::Repeated { guid: Guid::CRL });
        let nameless = table(&[(OTHER, 72, 1), (Guid::NONE, 72, 1)], b"a");
        assert_eq!(error(&nameless), CertificateTableError::NoGuid { entry: 1 });
    }

    #[test]
    fn bounds_hold() {
        let most = CERTIFICATE_TABLE_ENTRIES_MAX;
        let entries = |count: usize| {
            let end = u32::try_from(24 * (count + 1)).unwrap();
            table(&vec![(OTHER, end, 0); count], b"")
        };
        assert_eq!(CertificateTable::parse(&entries(most)).unwrap().others.len(), most);
        assert_eq!(error(&entries(most + 1)), CertificateTableError::TooManyEntries);
        assert!(CertificateTable::parse(&vec![0; CERTIFICATE_TABLE_BYTES_MAX]).is_ok());
        let got = CERTIFICATE_TABLE_BYTES_MAX + 1;
        assert_eq!(error(&vec![0; got]), CertificateTableError::TooLong { got });
    }
}

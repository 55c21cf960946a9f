//! The ATTESTATION_REPORT as the firmware writes it (AMD publication 56860, table
//! "ATTESTATION_REPORT").
//!
//! Written from the table, field after field, and apart from the attestation crate's parser, so
//! that each checks the other.

use openssl::bn::BigNumRef;
use openssl::ec::EcKeyRef;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::pkey::Private;
use sha2::{Digest, Sha384};

/// Bytes of a report.
pub const REPORT_BYTES: usize = 1184;
/// Bytes at the front of a report that its signature covers.
pub const SIGNED_BYTES: usize = 0x2A0;
/// Bytes of each of the signature's two numbers, little-endian.
pub const SIGNATURE_NUMBER_BYTES: usize = 72;

/// A field of the report, for tests that change one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// AMD's name, in snake case; `reserved_` and the offset where AMD gives none.
    pub name: &'static str,
    /// First byte.
    pub offset: usize,
    /// Length in bytes.
    pub bytes: usize,
}

const fn field(name: &'static str, offset: usize, bytes: usize) -> Field {
    Field { name, offset, bytes }
}

/// Every field of the report in order, without gaps: together they are all 1184 bytes.
pub const FIELDS: [Field; 42] = [
    field("version", 0x000, 4),
    field("guest_svn", 0x004, 4),
    field("policy", 0x008, 8),
    field("family_id", 0x010, 16),
    field("image_id", 0x020, 16),
    field("vmpl", 0x030, 4),
    field("signature_algo", 0x034, 4),
    field("current_tcb", 0x038, 8),
    field("platform_info", 0x040, 8),
    field("key_info", 0x048, 4),
    field("reserved_04c", 0x04C, 4),
    field("report_data", 0x050, 64),
    field("measurement", 0x090, 48),
    field("host_data", 0x0C0, 32),
    field("id_key_digest", 0x0E0, 48),
    field("author_key_digest", 0x110, 48),
    field("report_id", 0x140, 32),
    field("report_id_ma", 0x160, 32),
    field("reported_tcb", 0x180, 8),
    field("cpuid_family", 0x188, 1),
    field("cpuid_model", 0x189, 1),
    field("cpuid_stepping", 0x18A, 1),
    field("reserved_18b", 0x18B, 21),
    field("chip_id", 0x1A0, 64),
    field("committed_tcb", 0x1E0, 8),
    field("current_build", 0x1E8, 1),
    field("current_minor", 0x1E9, 1),
    field("current_major", 0x1EA, 1),
    field("reserved_1eb", 0x1EB, 1),
    field("committed_build", 0x1EC, 1),
    field("committed_minor", 0x1ED, 1),
    field("committed_major", 0x1EE, 1),
    field("reserved_1ef", 0x1EF, 1),
    field("launch_tcb", 0x1F0, 8),
    field("launch_mit_vector", 0x1F8, 8),
    field("current_mit_vector", 0x200, 8),
    field("reserved_208", 0x208, 0x98),
    field("signature_r", 0x2A0, 48),
    field("signature_r_high", 0x2D0, 24),
    field("signature_s", 0x2E8, 48),
    field("signature_s_high", 0x318, 24),
    field("reserved_330", 0x330, 368),
];

/// The field of that name. Panics where there is none: callers pass constants.
pub fn field_named(name: &str) -> Field {
    *FIELDS.iter().find(|field| field.name == name).expect("a field of the report")
}

/// A firmware version, as reports carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirmwareVersion {
    /// Major number of the ABI.
    pub major: u8,
    /// Minor number of the ABI.
    pub minor: u8,
    /// Build number.
    pub build: u8,
}

/// What a report says, before it is signed. TCBs are the eight bytes of the product's own layout.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the names are AMD's
pub struct ReportBody {
    pub version: u32,
    pub guest_svn: u32,
    pub policy: u64,
    pub family_id: [u8; 16],
    pub image_id: [u8; 16],
    pub vmpl: u32,
    pub signature_algo: u32,
    pub current_tcb: [u8; 8],
    pub platform_info: u64,
    pub key_info: u32,
    pub report_data: [u8; 64],
    pub measurement: [u8; 48],
    pub host_data: [u8; 32],
    pub id_key_digest: [u8; 48],
    pub author_key_digest: [u8; 48],
    pub report_id: [u8; 32],
    pub report_id_ma: [u8; 32],
    pub reported_tcb: [u8; 8],
    /// Family, model, stepping: zeros before version 3.
    pub cpuid: [u8; 3],
    pub chip_id: [u8; 64],
    pub committed_tcb: [u8; 8],
    pub current_version: FirmwareVersion,
    pub committed_version: FirmwareVersion,
    pub launch_tcb: [u8; 8],
    /// Zero before version 5.
    pub launch_mit_vector: u64,
    /// Zero before version 5.
    pub current_mit_vector: u64,
}

impl ReportBody {
    /// The report with an empty signature.
    pub fn encode(&self) -> [u8; REPORT_BYTES] {
        let current = self.current_version;
        let committed = self.committed_version;
        let body = [
            &self.version.to_le_bytes()[..],
            &self.guest_svn.to_le_bytes(),
            &self.policy.to_le_bytes(),
            &self.family_id,
            &self.image_id,
            &self.vmpl.to_le_bytes(),
            &self.signature_algo.to_le_bytes(),
            &self.current_tcb,
            &self.platform_info.to_le_bytes(),
            &self.key_info.to_le_bytes(),
            &[0; 4],
            &self.report_data,
            &self.measurement,
            &self.host_data,
            &self.id_key_digest,
            &self.author_key_digest,
            &self.report_id,
            &self.report_id_ma,
            &self.reported_tcb,
            &self.cpuid,
            &[0; 21],
            &self.chip_id,
            &self.committed_tcb,
            &[current.build, current.minor, current.major, 0],
            &[committed.build, committed.minor, committed.major, 0],
            &self.launch_tcb,
            &self.launch_mit_vector.to_le_bytes(),
            &self.current_mit_vector.to_le_bytes(),
        ]
        .concat();
        let mut report = [0; REPORT_BYTES];
        report[..body.len()].copy_from_slice(&body);
        report
    }
}

/// Signs the first 0x2A0 bytes with ECDSA P-384, SHA-384, and writes r and s over the signature.
///
/// # Errors
/// OpenSSL's, where the key is none on P-384.
pub fn sign(report: &mut [u8; REPORT_BYTES], key: &EcKeyRef<Private>) -> Result<(), ErrorStack> {
    let digest = Sha384::digest(&report[..SIGNED_BYTES]);
    let signature = EcdsaSig::sign(&digest, key)?;
    let signature = [little_endian(signature.r())?, little_endian(signature.s())?].concat();
    report[SIGNED_BYTES..].fill(0);
    report[SIGNED_BYTES..SIGNED_BYTES + signature.len()].copy_from_slice(&signature);
    Ok(())
}

fn little_endian(number: &BigNumRef) -> Result<Vec<u8>, ErrorStack> {
    let mut bytes = number.to_vec_padded(SIGNATURE_NUMBER_BYTES as i32)?;
    bytes.reverse();
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_the_whole_report() {
        let mut end = 0;
        for field in FIELDS {
            assert_eq!(field.offset, end, "{}", field.name);
            end += field.bytes;
        }
        assert_eq!(end, REPORT_BYTES);
    }

    #[test]
    fn the_writer_puts_each_value_into_its_field() {
        let version = |n| FirmwareVersion { major: n, minor: n + 1, build: n + 2 };
        let report = ReportBody {
            version: 0x0101_0101,
            guest_svn: 0x0202_0202,
            policy: u64::from_le_bytes([3; 8]),
            family_id: [4; 16],
            image_id: [5; 16],
            vmpl: 0x0606_0606,
            signature_algo: 0x0707_0707,
            current_tcb: [8; 8],
            platform_info: u64::from_le_bytes([9; 8]),
            key_info: 0x0A0A_0A0A,
            report_data: [11; 64],
            measurement: [12; 48],
            host_data: [13; 32],
            id_key_digest: [14; 48],
            author_key_digest: [15; 48],
            report_id: [16; 32],
            report_id_ma: [17; 32],
            reported_tcb: [18; 8],
            cpuid: [19, 20, 21],
            chip_id: [22; 64],
            committed_tcb: [23; 8],
            current_version: version(24),
            committed_version: version(27),
            launch_tcb: [30; 8],
            launch_mit_vector: u64::from_le_bytes([31; 8]),
            current_mit_vector: u64::from_le_bytes([32; 8]),
        }
        .encode();
        let expected = [
            ("version", 1),
            ("guest_svn", 2),
            ("policy", 3),
            ("family_id", 4),
            ("image_id", 5),
            ("vmpl", 6),
            ("signature_algo", 7),
            ("current_tcb", 8),
            ("platform_info", 9),
            ("key_info", 10),
            ("report_data", 11),
            ("measurement", 12),
            ("host_data", 13),
            ("id_key_digest", 14),
            ("author_key_digest", 15),
            ("report_id", 16),
            ("report_id_ma", 17),
            ("reported_tcb", 18),
            ("cpuid_family", 19),
            ("cpuid_model", 20),
            ("cpuid_stepping", 21),
            ("chip_id", 22),
            ("committed_tcb", 23),
            ("current_major", 24),
            ("current_minor", 25),
            ("current_build", 26),
            ("committed_major", 27),
            ("committed_minor", 28),
            ("committed_build", 29),
            ("launch_tcb", 30),
            ("launch_mit_vector", 31),
            ("current_mit_vector", 32),
        ];
        for field in FIELDS {
            let marker = expected.iter().find(|(name, _)| *name == field.name).map_or(0, |e| e.1);
            let bytes = &report[field.offset..field.offset + field.bytes];
            assert!(bytes.iter().all(|b| *b == marker), "{}", field.name);
        }
    }
}

//! The report: 1184 bytes from the secure processor, as types. Source: SEV-SNP Firmware ABI
//! (56860), ATTESTATION_REPORT.
//!
//! Parsing is step 1 of the verification. It proves the shape of the bytes and nothing about where
//! they come from: only [`crate::verify::verify_report`] does that.

use std::fmt;

use thiserror::Error;

use crate::bytes::{ReadError, Reader};
use crate::limits::REPORT_BYTES;
use crate::product::Product;
use crate::tcb::TcbVersion;

/// Every field of a report. Numbers are little-endian in the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// VERSION: the layout.
    pub version: ReportVersion,
    /// GUEST_SVN: the guest's security version, from its ID block.
    pub guest_svn: u32,
    /// POLICY: what the guest's owner demanded at launch.
    pub policy: GuestPolicy,
    /// FAMILY_ID, from the ID block.
    pub family_id: [u8; 16],
    /// IMAGE_ID, from the ID block.
    pub image_id: [u8; 16],
    /// VMPL: the privilege level that asked; 0 is the highest.
    pub vmpl: u32,
    /// SIGNATURE_ALGO.
    pub signature_algorithm: SignatureAlgorithm,
    /// CURRENT_TCB: what runs now.
    pub current_tcb: TcbVersion,
    /// PLATFORM_INFO: how the host is set up.
    pub platform_info: PlatformInfo,
    /// KEY_INFO: which keys sign.
    pub key_info: KeyInfo,
    /// REPORT_DATA: 64 bytes of the guest's choice.
    pub report_data: [u8; 64],
    /// MEASUREMENT: the launch digest.
    pub measurement: [u8; 48],
    /// HOST_DATA: 32 bytes of the host's choice at launch.
    pub host_data: [u8; 32],
    /// ID_KEY_DIGEST: SHA-384 of the key that signed the ID block, or zero.
    pub id_key_digest: [u8; 48],
    /// AUTHOR_KEY_DIGEST: SHA-384 of the key that certified the ID key, or zero.
    pub author_key_digest: [u8; 48],
    /// REPORT_ID: names this guest until it ends.
    pub report_id: [u8; 32],
    /// REPORT_ID_MA: names its migration agent; all FF without one.
    pub report_id_ma: [u8; 32],
    /// REPORTED_TCB: what the host lets the chip sign as.
    pub reported_tcb: TcbVersion,
    /// CPUID_FAM_ID, CPUID_MOD_ID, CPUID_STEP: from version 3 on.
    pub cpuid: Option<Cpuid>,
    /// CHIP_ID.
    pub chip_id: ChipId,
    /// COMMITTED_TCB: what the chip can't go below.
    pub committed_tcb: TcbVersion,
    /// The firmware that runs now.
    pub current_version: FirmwareVersion,
    /// The firmware that the chip can't go below.
    pub committed_version: FirmwareVersion,
    /// LAUNCH_TCB: what ran when the guest was launched or imported.
    pub launch_tcb: TcbVersion,
    /// LAUNCH_MIT_VECTOR, CURRENT_MIT_VECTOR: from version 5 on.
    pub mitigations: Option<Mitigations>,
    /// SIGNATURE.
    pub signature: EcdsaSignature,
}

/// A layout of the report that this package knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReportVersion {
    /// Version 2: the first in the field.
    V2,
    /// Version 3: adds CPUID.
    V3,
    /// Version 5: adds mitigation vectors.
    V5,
}

/// SIGNATURE_ALGO: there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// 1: ECDSA on P-384 with SHA-384.
    EcdsaP384Sha384,
}

/// POLICY: 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPolicy(pub u64);

/// PLATFORM_INFO: 64 bits. Bits without a name here are the vendor's and never refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformInfo(pub u64);

/// KEY_INFO: 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Bit 0: AUTHOR_KEY_DIGEST is filled in.
    pub author_key_enabled: bool,
    /// Bit 1: the chip does not sign with its own key.
    pub mask_chip_key: bool,
    /// Bits 2 to 4: the key that signs.
    pub signing_key: SigningKey,
}

/// The key that signs a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningKey {
    /// 0: the chip's own, made from its fuses and its TCB.
    Vcek,
    /// 1: one that AMD loads for a cloud provider.
    Vlek,
    /// 7: none.
    None,
}

/// The processor's CPUID, extended parts added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpuid {
    /// Family: 0x19 Milan and Genoa, 0x1A Turin.
    pub family: u8,
    /// Model.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

/// CHIP_ID: 64 bytes; on Turin 8 and zeros; all zero where the host masks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChipId(pub [u8; 64]);

/// The version of the SEV-SNP firmware. Ordered as versions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirmwareVersion {
    /// Major.
    pub major: u8,
    /// Minor.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

/// Mitigations of the firmware that the host has turned on: one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mitigations {
    /// At launch.
    pub launch: u64,
    /// Now.
    pub current: u64,
}

/// The numbers of an ECDSA signature on P-384, each 48 bytes **big-endian** (the report has them
/// little-endian).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcdsaSignature {
    /// R.
    pub r: [u8; 48],
    /// S.
    pub s: [u8; 48],
}

/// Why bytes are not a report: step 1.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ReportError {
    /// Not 1184 bytes.
    #[error("the report has {got} bytes instead of {REPORT_BYTES}")]
    Size {
        /// Bytes given.
        got: usize,
    },
    /// A layout that this package does not know.
    #[error("report version {got} is unknown")]
    Version {
        /// VERSION.
        got: u32,
    },
    /// Not ECDSA P-384 with SHA-384.
    #[error("signature algorithm {got} is unknown")]
    SignatureAlgorithm {
        /// SIGNATURE_ALGO.
        got: u32,
    },
    /// A signing key that the format does not define.
    #[error("signing key {got} of KEY_INFO is not defined")]
    SigningKeyUndefined {
        /// Bits 2 to 4 of KEY_INFO.
        got: u8,
    },
    /// A byte that must be zero in this version is not.
    #[error("reserved byte {offset:#05x} of the report is {got:#04x}")]
    Reserved {
        /// Its offset.
        offset: usize,
        /// Its value, for KEY_INFO without the defined bits.
        got: u8,
    },
    /// R or S has a byte above its 48.
    #[error("byte {offset:#05x} lies above the 48 bytes of R or S and is {got:#04x}")]
    SignaturePadding {
        /// Its offset.
        offset: usize,
        /// Its value.
        got: u8,
    },
}

impl TryFrom<&[u8]> for Report {
    type Error = ReportError;

    fn try_from(raw: &[u8]) -> Result<Self, ReportError> {
        let raw: &[u8; REPORT_BYTES] =
            raw.try_into().map_err(|_| ReportError::Size { got: raw.len() })?;
        Self::read(&mut Reader::new(raw))
    }
}

impl From<ReadError> for ReportError {
    /// The fields add up to the report's size, so that a report of the right size is never too
    /// short.
    fn from(error: ReadError) -> Self {
        let (ReadError::Truncated { position, .. }
        | ReadError::TooLong { position, .. }
        | ReadError::Trailing { position, .. }) = error;
        Self::Size { got: position }
    }
}

impl Report {
    /// Reads the fields in the order of the bytes; the initialisers below run in the order in which
    /// they stand.
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReportError> {
        let version = ReportVersion::try_from(reader.u32_le()?)?;
        let report = Self {
            version,
            guest_svn: reader.u32_le()?,
            policy: GuestPolicy(reader.u64_le()?),
            family_id: reader.array()?,
            image_id: reader.array()?,
            vmpl: reader.u32_le()?,
            signature_algorithm: SignatureAlgorithm::try_from(reader.u32_le()?)?,
            current_tcb: TcbVersion(reader.array()?),
            platform_info: PlatformInfo(reader.u64_le()?),
            key_info: {
                let key_info = KeyInfo::read(reader)?;
                zeros(reader, 4)?;
                key_info
            },
            report_data: reader.array()?,
            measurement: reader.array()?,
            host_data: reader.array()?,
            id_key_digest: reader.array()?,
            author_key_digest: reader.array()?,
            report_id: reader.array()?,
            report_id_ma: reader.array()?,
            reported_tcb: TcbVersion(reader.array()?),
            cpuid: read_cpuid(reader, version)?,
            chip_id: ChipId(reader.array()?),
            committed_tcb: TcbVersion(reader.array()?),
            current_version: FirmwareVersion::read(reader)?,
            committed_version: FirmwareVersion::read(reader)?,
            launch_tcb: TcbVersion(reader.array()?),
            mitigations: read_mitigations(reader, version)?,
            signature: EcdsaSignature::read(reader)?,
        };
        zeros(reader, 368)?;
        Ok(report)
    }
}

/// 0x188..0x1A0: three bytes of CPUID from version 3 on, the rest reserved.
fn read_cpuid(
    reader: &mut Reader<'_>,
    version: ReportVersion,
) -> Result<Option<Cpuid>, ReportError> {
    if version == ReportVersion::V2 {
        zeros(reader, 24)?;
        return Ok(None);
    }
    let [family, model, stepping] = reader.array()?;
    zeros(reader, 21)?;
    Ok(Some(Cpuid { family, model, stepping }))
}

/// 0x1F8..0x2A0: two mitigation vectors from version 5 on, the rest reserved.
fn read_mitigations(
    reader: &mut Reader<'_>,
    version: ReportVersion,
) -> Result<Option<Mitigations>, ReportError> {
    let mitigations = match version {
        ReportVersion::V2 | ReportVersion::V3 => {
            zeros(reader, 16)?;
            None
        }
        ReportVersion::V5 => {
            Some(Mitigations { launch: reader.u64_le()?, current: reader.u64_le()? })
        }
    };
    zeros(reader, 152)?;
    Ok(mitigations)
}

/// Reads `len` reserved bytes.
fn zeros(reader: &mut Reader<'_>, len: usize) -> Result<(), ReportError> {
    match first_set(reader, len)? {
        Some((offset, got)) => Err(ReportError::Reserved { offset, got }),
        None => Ok(()),
    }
}

/// Offset and value of the first of `len` bytes that is not zero.
fn first_set(reader: &mut Reader<'_>, len: usize) -> Result<Option<(usize, u8)>, ReadError> {
    let start = reader.position();
    let bytes = reader.take(len, REPORT_BYTES)?;
    Ok((start..).zip(bytes.iter().copied()).find(|(_, byte)| *byte != 0))
}

impl TryFrom<u32> for ReportVersion {
    type Error = ReportError;

    fn try_from(number: u32) -> Result<Self, ReportError> {
        match number {
            2 => Ok(Self::V2),
            3 => Ok(Self::V3),
            5 => Ok(Self::V5),
            got => Err(ReportError::Version { got }),
        }
    }
}

impl ReportVersion {
    /// The number in the report.
    pub const fn number(self) -> u32 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
            Self::V5 => 5,
        }
    }
}

impl TryFrom<u32> for SignatureAlgorithm {
    type Error = ReportError;

    fn try_from(number: u32) -> Result<Self, ReportError> {
        match number {
            1 => Ok(Self::EcdsaP384Sha384),
            got => Err(ReportError::SignatureAlgorithm { got }),
        }
    }
}

impl KeyInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReportError> {
        let offset = reader.position();
        let bits = reader.u8()?;
        if bits & 0xE0 != 0 {
            return Err(ReportError::Reserved { offset, got: bits & 0xE0 });
        }
        zeros(reader, 3)?;
        Ok(Self {
            author_key_enabled: bits & 1 != 0,
            mask_chip_key: bits & 2 != 0,
            signing_key: match bits >> 2 {
                0 => SigningKey::Vcek,
                1 => SigningKey::Vlek,
                7 => SigningKey::None,
                got => return Err(ReportError::SigningKeyUndefined { got }),
            },
        })
    }
}

impl FirmwareVersion {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReportError> {
        let [build, minor, major] = reader.array()?;
        zeros(reader, 1)?;
        Ok(Self { major, minor, build })
    }
}

impl EcdsaSignature {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReportError> {
        let mut number = || {
            let mut bytes: [u8; 48] = reader.array()?;
            bytes.reverse();
            match first_set(reader, 24)? {
                Some((offset, got)) => Err(ReportError::SignaturePadding { offset, got }),
                None => Ok(bytes),
            }
        };
        Ok(Self { r: number()?, s: number()? })
    }
}

impl GuestPolicy {
    const fn bit(self, index: u32) -> bool {
        self.0 >> index & 1 == 1
    }

    /// The least version of the ABI that the guest accepts: major, minor.
    pub const fn abi_min(self) -> (u8, u8) {
        let [minor, major, ..] = self.0.to_le_bytes();
        (major, minor)
    }

    /// Bit 16: simultaneous multithreading is allowed.
    pub const fn smt_allowed(self) -> bool {
        self.bit(16)
    }

    /// Bit 17: reserved, must be 1.
    pub const fn bit_17(self) -> bool {
        self.bit(17)
    }

    /// Bit 18: a migration agent is allowed.
    pub const fn migrate_ma_allowed(self) -> bool {
        self.bit(18)
    }

    /// Bit 19: the host may read and write the guest's memory.
    pub const fn debug_allowed(self) -> bool {
        self.bit(19)
    }

    /// Bit 20: the guest runs on one socket only.
    pub const fn single_socket(self) -> bool {
        self.bit(20)
    }

    /// Bit 21: CXL devices are allowed.
    pub const fn cxl_allowed(self) -> bool {
        self.bit(21)
    }

    /// Bit 22: memory encryption must be AES-256-XTS.
    pub const fn aes_256_xts_required(self) -> bool {
        self.bit(22)
    }

    /// Bit 23: power metering (RAPL) must be off.
    pub const fn rapl_disabled_required(self) -> bool {
        self.bit(23)
    }

    /// Bit 24: ciphertext hiding must be on.
    pub const fn ciphertext_hiding_required(self) -> bool {
        self.bit(24)
    }

    /// Bit 25: the firmware must not swap or move the guest's pages.
    pub const fn page_swap_disabled_required(self) -> bool {
        self.bit(25)
    }

    /// Bits 26 and up, where they stand: reserved, must be zero.
    pub const fn reserved_bits(self) -> u64 {
        self.0 & !((1 << 26) - 1)
    }
}

impl PlatformInfo {
    const fn bit(self, index: u32) -> bool {
        self.0 >> index & 1 == 1
    }

    /// Bit 0: simultaneous multithreading is on.
    pub const fn smt_enabled(self) -> bool {
        self.bit(0)
    }

    /// Bit 1: transparent memory encryption is on.
    pub const fn tsme_enabled(self) -> bool {
        self.bit(1)
    }

    /// Bit 2: memory with error correction.
    pub const fn ecc_enabled(self) -> bool {
        self.bit(2)
    }

    /// Bit 3: power metering (RAPL) is off.
    pub const fn rapl_disabled(self) -> bool {
        self.bit(3)
    }

    /// Bit 4: ciphertext hiding is on.
    pub const fn ciphertext_hiding_enabled(self) -> bool {
        self.bit(4)
    }

    /// Bit 5: the search for aliased memory ran since the last reset and found none.
    pub const fn alias_check_complete(self) -> bool {
        self.bit(5)
    }

    /// Bits 6 and up, where they stand: without a name here.
    pub const fn unnamed_bits(self) -> u64 {
        self.0 & !((1 << 6) - 1)
    }
}

impl ChipId {
    /// Whether the host masks the chip's identity.
    pub fn is_masked(&self) -> bool {
        self.0 == [0; 64]
    }

    /// The bytes that this product uses, or nothing where a byte beyond them is set.
    pub fn of(&self, product: Product) -> Option<&[u8]> {
        let (used, rest) = self.0.split_at_checked(product.chip_id_bytes())?;
        rest.iter().all(|byte| *byte == 0).then_some(used)
    }
}

impl SigningKey {
    /// The key's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
            Self::None => "none",
        }
    }
}

impl fmt::Display for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl fmt::Display for FirmwareVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

impl fmt::Display for Cpuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, model, stepping } = self;
        write!(formatter, "family {family:#04x}, model {model:#04x}, stepping {stepping}")
    }
}

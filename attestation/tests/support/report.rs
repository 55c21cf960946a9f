//! Reports, field by field.

use std::ops::Range;

use neo_secrets_attestation::product::Product;
use openssl::ecdsa::EcdsaSig;
use openssl::pkey::{PKey, Private};
use openssl::sha::sha384;

use super::vendor::keys;

/// A field: its name in the ABI and the bytes that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub start: usize,
    pub len: usize,
}

macro_rules! fields {
    ($($constant:ident = $start:literal, $len:literal;)*) => {
        $(pub const $constant: Field =
            Field { name: stringify!($constant), start: $start, len: $len };)*
        /// Every field from the first byte to the last.
        pub const FIELDS: &[Field] = &[$($constant),*];
    };
}

fields! {
    VERSION = 0x000, 4;
    GUEST_SVN = 0x004, 4;
    POLICY = 0x008, 8;
    FAMILY_ID = 0x010, 16;
    IMAGE_ID = 0x020, 16;
    VMPL = 0x030, 4;
    SIGNATURE_ALGO = 0x034, 4;
    CURRENT_TCB = 0x038, 8;
    PLATFORM_INFO = 0x040, 8;
    KEY_INFO = 0x048, 4;
    RESERVED_04C = 0x04C, 4;
    REPORT_DATA = 0x050, 64;
    MEASUREMENT = 0x090, 48;
    HOST_DATA = 0x0C0, 32;
    ID_KEY_DIGEST = 0x0E0, 48;
    AUTHOR_KEY_DIGEST = 0x110, 48;
    REPORT_ID = 0x140, 32;
    REPORT_ID_MA = 0x160, 32;
    REPORTED_TCB = 0x180, 8;
    CPUID = 0x188, 3;
    RESERVED_18B = 0x18B, 21;
    CHIP_ID = 0x1A0, 64;
    COMMITTED_TCB = 0x1E0, 8;
    CURRENT_VERSION = 0x1E8, 3;
    RESERVED_1EB = 0x1EB, 1;
    COMMITTED_VERSION = 0x1EC, 3;
    RESERVED_1EF = 0x1EF, 1;
    LAUNCH_TCB = 0x1F0, 8;
    LAUNCH_MIT_VECTOR = 0x1F8, 8;
    CURRENT_MIT_VECTOR = 0x200, 8;
    RESERVED_208 = 0x208, 152;
    SIGNATURE_R = 0x2A0, 48;
    PADDING_R = 0x2D0, 24;
    SIGNATURE_S = 0x2E8, 48;
    PADDING_S = 0x318, 24;
    RESERVED_330 = 0x330, 368;
}

impl Field {
    pub fn range(self) -> Range<usize> {
        self.start..self.start + self.len
    }
}

/// A report of version 5 that passes every step, to be changed and signed.
#[derive(Clone)]
pub struct ReportBuilder {
    pub bytes: [u8; 1184],
}

impl ReportBuilder {
    pub fn new(product: Product) -> Self {
        let mut chip_id = [0; 64];
        for (index, byte) in chip_id[..product.chip_id_bytes()].iter_mut().enumerate() {
            *byte = 0xC0 ^ u8::try_from(index).unwrap();
        }
        let (tcb, cpuid) = match product {
            Product::Milan => ([4, 1, 0, 0, 0, 0, 24, 219], [0x19, 0x01, 1]),
            Product::Genoa => ([10, 1, 0, 0, 0, 0, 27, 84], [0x19, 0x11, 1]),
            Product::Turin => ([1, 2, 3, 4, 0, 0, 0, 131], [0x1A, 0x02, 1]),
        };
        let empty = Self { bytes: [0; 1184] };
        empty
            .with(VERSION, 5u32.to_le_bytes())
            .with(POLICY, 0x3_0000u64.to_le_bytes())
            .with(SIGNATURE_ALGO, 1u32.to_le_bytes())
            .with(CURRENT_TCB, tcb)
            .with(PLATFORM_INFO, 0x25u64.to_le_bytes())
            .with(REPORT_DATA, [0xDA; 64])
            .with(MEASUREMENT, [0x3E; 48])
            .with(REPORT_ID, [0x1D; 32])
            .with(REPORT_ID_MA, [0xFF; 32])
            .with(REPORTED_TCB, tcb)
            .with(CPUID, cpuid)
            .with(CHIP_ID, chip_id)
            .with(COMMITTED_TCB, tcb)
            .with(CURRENT_VERSION, [49, 55, 1])
            .with(COMMITTED_VERSION, [49, 55, 1])
            .with(LAUNCH_TCB, tcb)
            .with(LAUNCH_MIT_VECTOR, 11u64.to_le_bytes())
            .with(CURRENT_MIT_VECTOR, 11u64.to_le_bytes())
    }

    /// The same in the layout of version 2 or 3: without the fields that came later.
    pub fn version(self, version: u32) -> Self {
        let report = self.with(VERSION, version.to_le_bytes());
        let report = match version {
            5 => report,
            _ => report.with(LAUNCH_MIT_VECTOR, [0; 8]).with(CURRENT_MIT_VECTOR, [0; 8]),
        };
        if version == 2 { report.with(CPUID, [0; 3]) } else { report }
    }

    /// The same, as a VLEK signs it: KEY_INFO says so, and the chip id is masked.
    pub fn vlek(self) -> Self {
        self.with(KEY_INFO, 4u32.to_le_bytes()).with(CHIP_ID, [0; 64])
    }

    /// The same with another value in a field.
    pub fn with(mut self, field: Field, value: impl AsRef<[u8]>) -> Self {
        self.bytes[field.range()].copy_from_slice(value.as_ref());
        self
    }

    /// The same with `bits` of one byte of a field turned over.
    pub fn flip(mut self, field: Field, byte: usize, bits: u8) -> Self {
        assert!(byte < field.len);
        self.bytes[field.start + byte] ^= bits;
        self
    }

    pub fn get(&self, field: Field) -> &[u8] {
        &self.bytes[field.range()]
    }

    /// The report, signed by the vendors' VEK.
    pub fn sign(&self) -> [u8; 1184] {
        self.sign_with(&keys().vek)
    }

    pub fn sign_with(&self, key: &PKey<Private>) -> [u8; 1184] {
        let digest = sha384(&self.bytes[..0x2A0]);
        let signature = EcdsaSig::sign(&digest, &key.ec_key().unwrap()).unwrap();
        let little_endian = |number: &openssl::bn::BigNumRef| {
            let mut bytes = number.to_vec_padded(48).unwrap();
            bytes.reverse();
            bytes
        };
        let report = self.clone();
        let report = report.with(SIGNATURE_R, little_endian(signature.r()));
        report.with(SIGNATURE_S, little_endian(signature.s())).bytes
    }
}

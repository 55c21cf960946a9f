//! The simulated products and the layouts that depend on them.

use serde::{Deserialize, Serialize};

/// An AMD product whose wire formats are simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // AMD's names
pub enum Product {
    Milan,
    Genoa,
    Turin,
}

impl Product {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// AMD's name, as in "ARK-Genoa".
    pub fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// What the product extension of a VCEK says: Milan names its stepping too.
    pub(crate) fn name_in_vcek(self) -> &'static str {
        match self {
            Self::Milan => "Milan-B0",
            Self::Genoa | Self::Turin => self.name(),
        }
    }

    /// Significant bytes of a chip id; a report pads it with zeros to 64.
    pub fn chip_id_bytes(self) -> usize {
        match self {
            Self::Milan | Self::Genoa => 64,
            Self::Turin => 8,
        }
    }

    /// The first of the serials of the product's CA certificates: ARK +0, ASK +1, ASVK +0x101.
    pub(crate) fn serial_base(self) -> u32 {
        match self {
            Self::Milan => 0x1_0000,
            Self::Genoa => 0x2_0000,
            Self::Turin => 0x3_0000,
        }
    }
}

/// Security patch levels. `fmc` is Turin's alone: there it stands, elsewhere it doesn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)] // AMD's names
pub struct Tcb {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fmc: Option<u8>,
    pub boot_loader: u8,
    pub tee: u8,
    pub snp: u8,
    pub microcode: u8,
}

impl Tcb {
    /// The eight bytes of TCB_VERSION in the product's layout.
    pub fn encode(self, product: Product) -> [u8; 8] {
        let Self { fmc, boot_loader, tee, snp, microcode } = self;
        match product {
            Product::Milan | Product::Genoa => [boot_loader, tee, 0, 0, 0, 0, snp, microcode],
            Product::Turin => [fmc.unwrap_or(0), boot_loader, tee, snp, 0, 0, 0, microcode],
        }
    }
}

/// Whether no component of `a` is above that of `b`; bytes without a component count as one of
/// level 0.
pub(crate) fn tcb_at_most(a: [u8; 8], b: [u8; 8]) -> bool {
    a.iter().zip(b).all(|(a, b)| *a <= b)
}

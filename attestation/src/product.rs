//! The processor generations that SEV-SNP runs on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::report::Cpuid;

/// A generation of EPYC processors, which decides the root of trust, the shape of a TCB version and
/// of a chip id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Product {
    /// EPYC 7003 (Zen 3).
    Milan,
    /// EPYC 9004, 8004 (Zen 4): Genoa, Bergamo, Siena.
    Genoa,
    /// EPYC 9005 (Zen 5).
    Turin,
}

/// A word that names no product.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("not a product: Milan, Genoa or Turin")]
pub struct ProductError;

impl Product {
    /// Every product.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The product's name as AMD's certificates write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// Bytes of a chip id: the rest of the report's CHIP_ID field is zero.
    pub const fn chip_id_bytes(self) -> usize {
        match self {
            Self::Milan | Self::Genoa => 64,
            Self::Turin => 8,
        }
    }

    /// The product with this CPUID family and model, if there is one.
    pub const fn from_cpuid(cpuid: Cpuid) -> Option<Self> {
        match (cpuid.family, cpuid.model) {
            (0x19, 0x00..=0x0F) => Some(Self::Milan),
            (0x19, 0x10..=0x1F | 0xA0..=0xAF) => Some(Self::Genoa),
            (0x1A, 0x00..=0x1F) => Some(Self::Turin),
            _ => None,
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Product {
    type Err = ProductError;

    fn from_str(name: &str) -> Result<Self, ProductError> {
        Self::ALL.into_iter().find(|product| product.name() == name).ok_or(ProductError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_processor_models() {
        for product in Product::ALL {
            assert_eq!(product.to_string().parse(), Ok(product));
        }
        assert_eq!("milan".parse::<Product>(), Err(ProductError));
        let of = |family, model| Product::from_cpuid(Cpuid { family, model, stepping: 1 });
        assert_eq!(of(0x19, 0x01), Some(Product::Milan));
        assert_eq!(of(0x19, 0x11), Some(Product::Genoa));
        assert_eq!(of(0x19, 0xA0), Some(Product::Genoa));
        assert_eq!(of(0x1A, 0x02), Some(Product::Turin));
        assert_eq!(of(0x1A, 0x11), Some(Product::Turin));
        for (family, model) in [(0x17, 0x31), (0x19, 0x21), (0x19, 0xB0), (0x1A, 0x20), (0, 0)] {
            assert_eq!(of(family, model), None);
        }
    }
}

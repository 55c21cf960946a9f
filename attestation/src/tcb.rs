//! TCB versions: eight bytes in the report, named components once the product is known.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::product::Product;

/// A TCB version as the report carries it. What its bytes mean depends on the product: see
/// [`TcbVersion::of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcbVersion(pub [u8; 8]);

/// The security versions of a product's parts. There is no order among these values: each component
/// stands alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tcb {
    /// Firmware of the memory controller's boot; Turin only, and always there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// The secure processor's boot loader.
    pub boot_loader: u8,
    /// The secure processor's operating system.
    pub tee: u8,
    /// The SEV-SNP firmware.
    pub snp: u8,
    /// The microcode. On Genoa its numbers differ by CPUID model.
    pub microcode: u8,
}

/// A component of a [`Tcb`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TcbComponent {
    /// [`Tcb::fmc`].
    Fmc,
    /// [`Tcb::boot_loader`].
    BootLoader,
    /// [`Tcb::tee`].
    Tee,
    /// [`Tcb::snp`].
    Snp,
    /// [`Tcb::microcode`].
    Microcode,
}

/// The first component that does not reach a floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcbShortfall {
    /// Which one.
    pub component: TcbComponent,
    /// Its value, absent where the product has no such component.
    pub got: Option<u8>,
    /// The least value that would do.
    pub floor: Option<u8>,
}

/// A reserved byte of a TCB version is not zero.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("byte {index} of the TCB version is reserved, got {got:#04x}")]
pub struct TcbReserved {
    /// Which of the eight bytes.
    pub index: usize,
    /// Its value.
    pub got: u8,
}

impl TcbVersion {
    /// The version that a little-endian number, as firmware messages carry it, stands for.
    pub const fn from_u64(number: u64) -> Self {
        Self(number.to_le_bytes())
    }

    /// The little-endian number for a firmware message. It is a name, not a quantity: do not
    /// compare it.
    pub const fn to_u64(self) -> u64 {
        u64::from_le_bytes(self.0)
    }

    /// The components, by the product's layout. Reserved bytes must be zero.
    pub fn of(self, product: Product) -> Result<Tcb, TcbReserved> {
        let (tcb, reserved) = match product {
            Product::Milan | Product::Genoa => {
                let [boot_loader, tee, r2, r3, r4, r5, snp, microcode] = self.0;
                let tcb = Tcb { fmc: None, boot_loader, tee, snp, microcode };
                (tcb, [(2, r2), (3, r3), (4, r4), (5, r5)])
            }
            Product::Turin => {
                let [fmc, boot_loader, tee, snp, r4, r5, r6, microcode] = self.0;
                let tcb = Tcb { fmc: Some(fmc), boot_loader, tee, snp, microcode };
                (tcb, [(4, r4), (4, r4), (5, r5), (6, r6)])
            }
        };
        match reserved.into_iter().find(|(_, got)| *got != 0) {
            Some((index, got)) => Err(TcbReserved { index, got }),
            None => Ok(tcb),
        }
    }
}

impl Tcb {
    /// The first component below that of `floor`, if there is one. A component that only `floor`
    /// has counts as below.
    pub fn first_component_below(&self, floor: &Self) -> Option<TcbShortfall> {
        self.components().into_iter().zip(floor.components()).find_map(|(own, least)| {
            let ((component, got), (_, floor)) = (own, least);
            // `None < Some(_)`: an absent component reaches only an absent floor.
            (got < floor).then_some(TcbShortfall { component, got, floor })
        })
    }

    /// Whether every component is at least that of `floor`.
    pub fn reaches(&self, floor: &Self) -> bool {
        self.first_component_below(floor).is_none()
    }

    /// The lesser of each component.
    pub fn min(&self, other: &Self) -> Self {
        Self {
            fmc: self.fmc.min(other.fmc),
            boot_loader: self.boot_loader.min(other.boot_loader),
            tee: self.tee.min(other.tee),
            snp: self.snp.min(other.snp),
            microcode: self.microcode.min(other.microcode),
        }
    }

    /// The eight bytes of the report and of firmware messages.
    pub const fn to_version(&self) -> TcbVersion {
        let Self { fmc, boot_loader, tee, snp, microcode } = *self;
        TcbVersion(match fmc {
            None => [boot_loader, tee, 0, 0, 0, 0, snp, microcode],
            Some(fmc) => [fmc, boot_loader, tee, snp, 0, 0, 0, microcode],
        })
    }

    /// Every component with its value, in the order in which they boot.
    pub const fn components(&self) -> [(TcbComponent, Option<u8>); 5] {
        let Self { fmc, boot_loader, tee, snp, microcode } = *self;
        [
            (TcbComponent::Fmc, fmc),
            (TcbComponent::BootLoader, Some(boot_loader)),
            (TcbComponent::Tee, Some(tee)),
            (TcbComponent::Snp, Some(snp)),
            (TcbComponent::Microcode, Some(microcode)),
        ]
    }
}

impl TcbComponent {
    /// The component's name, as policy.json writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fmc => "fmc",
            Self::BootLoader => "bootLoader",
            Self::Tee => "tee",
            Self::Snp => "snp",
            Self::Microcode => "microcode",
        }
    }
}

impl fmt::Display for TcbComponent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl fmt::Display for TcbVersion {
    /// The eight bytes in hexadecimal, in the order of the report.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Display for Tcb {
    /// `bootLoader 10, tee 0, snp 23, microcode 84`; with `fmc` in front on Turin.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let present =
            self.components().into_iter().filter_map(|(name, value)| Some((name, value?)));
        for (index, (name, value)) in present.enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(formatter, "{comma}{name} {value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENOA: Tcb = Tcb { fmc: None, boot_loader: 10, tee: 1, snp: 23, microcode: 84 };
    const TURIN: Tcb = Tcb { fmc: Some(1), boot_loader: 2, tee: 3, snp: 4, microcode: 81 };

    #[test]
    fn layouts_go_both_ways() {
        let genoa = TcbVersion([10, 1, 0, 0, 0, 0, 23, 84]);
        let turin = TcbVersion([1, 2, 3, 4, 0, 0, 0, 81]);
        assert_eq!(genoa.of(Product::Genoa), Ok(GENOA));
        assert_eq!(genoa.of(Product::Milan), Ok(GENOA));
        assert_eq!(turin.of(Product::Turin), Ok(TURIN));
        assert_eq!((GENOA.to_version(), TURIN.to_version()), (genoa, turin));
        assert_eq!(genoa.to_u64(), 0x5417_0000_0000_010A);
        assert_eq!(TcbVersion::from_u64(genoa.to_u64()), genoa);
        assert_eq!(GENOA.to_string(), "bootLoader 10, tee 1, snp 23, microcode 84");
        assert_eq!(TURIN.to_string(), "fmc 1, bootLoader 2, tee 3, snp 4, microcode 81");
    }

    #[test]
    fn reserved_bytes_are_zero() {
        for (product, reserved) in
            [(Product::Milan, 2..=5), (Product::Genoa, 2..=5), (Product::Turin, 4..=6)]
        {
            for index in 0..8 {
                let mut version = TcbVersion([0; 8]);
                version.0[index] = 7;
                let expected = Err(TcbReserved { index, got: 7 });
                assert_eq!(version.of(product).is_err(), reserved.contains(&index));
                assert!(!reserved.contains(&index) || version.of(product) == expected);
            }
        }
    }

    #[test]
    fn components_are_compared_one_by_one() {
        assert_eq!(GENOA.first_component_below(&GENOA), None);
        for (index, (component, got)) in TURIN.components().into_iter().enumerate() {
            let mut floor = [1, 2, 3, 4, 81];
            floor[index] += 1;
            let [fmc, boot_loader, tee, snp, microcode] = floor;
            let higher = Tcb { fmc: Some(fmc), boot_loader, tee, snp, microcode };
            let shortfall = TcbShortfall { component, got, floor: got.map(|value| value + 1) };
            assert_eq!(TURIN.first_component_below(&higher), Some(shortfall));
            assert!(higher.reaches(&TURIN));
            assert_eq!(TURIN.min(&higher), TURIN);
        }
        // A greater number as a whole is not enough.
        let newer_microcode = Tcb { microcode: 255, snp: 22, ..GENOA };
        assert!(newer_microcode.to_version().to_u64() > GENOA.to_version().to_u64());
        assert!(!newer_microcode.reaches(&GENOA));
        assert_eq!(newer_microcode.min(&GENOA), Tcb { snp: 22, ..GENOA });
        // A Turin floor is out of reach of a product without FMC.
        let floor = Tcb { fmc: Some(0), ..GENOA };
        assert_eq!(
            GENOA.first_component_below(&floor),
            Some(TcbShortfall { component: TcbComponent::Fmc, got: None, floor: Some(0) })
        );
    }
}

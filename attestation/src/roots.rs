//! The roots of trust: AMD's three ARKs by hash, or one simulated root that the caller names.

use openssl::sha::sha256;
use thiserror::Error;

use crate::certificate::{Certificate, CertificateError};
use crate::endorsements::ark_name;
use crate::limits::CERTIFICATE_BYTES_MAX;
use crate::product::Product;

/// Whom the caller trusts. Either AMD's roots or one simulated root, never both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// AMD's ARKs of Milan, Genoa and Turin.
    Amd,
    /// A simulated secure processor's: whatever ends in it is shown as SIMULATED.
    Simulated(SimulatedRoot),
}

/// A simulated ARK, by hash, with the product that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedRoot {
    sha256: [u8; 32],
    product: Product,
}

/// Where evidence comes from, told by the root that its chain ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// A chip of AMD's.
    Amd,
    /// A simulation: proves nothing about any machine.
    Simulated,
}

/// Why a file can't be trusted as a simulated root.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RootError {
    /// It is no certificate.
    #[error("the simulated root is no certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// Its common name is not ARK-Milan, ARK-Genoa or ARK-Turin.
    #[error("the simulated root's name is {got:?}, not ARK-Milan, ARK-Genoa or ARK-Turin")]
    Name {
        /// Its common name.
        got: String,
    },
    /// It is AMD's own: genuine evidence must not be called simulated.
    #[error("this is AMD's own root: it is trusted without being named")]
    IsAmd,
}

/// SHA-256 of the DER of AMD's ARKs.
const AMD_ARKS: [(Product, [u8; 32]); 3] = [
    (Product::Milan, digest("69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd")),
    (Product::Genoa, digest("4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1")),
    (Product::Turin, digest("1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a")),
];

impl Roots {
    /// Trusts the simulated root with this DER, and none of AMD's.
    pub fn simulated(der: &[u8]) -> Result<Self, RootError> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::TooLong { got: der.len() }.into());
        }
        let sha256 = sha256(der);
        if AMD_ARKS.iter().any(|(_, amd)| *amd == sha256) {
            return Err(RootError::IsAmd);
        }
        let name = Certificate::parse(der)?.subject.common_name;
        let product = Product::ALL
            .into_iter()
            .find(|product| ark_name(*product) == name)
            .ok_or_else(|| RootError::Name { got: name.to_owned() })?;
        Ok(Self::Simulated(SimulatedRoot { sha256, product }))
    }

    /// The product that the root with this hash vouches for, if it is trusted.
    pub(crate) fn product_of(&self, ark_sha256: &[u8; 32]) -> Option<Product> {
        match self {
            Self::Amd => {
                let mut arks = AMD_ARKS.iter();
                arks.find(|(_, sha256)| sha256 == ark_sha256).map(|(product, _)| *product)
            }
            Self::Simulated(root) => (root.sha256 == *ark_sha256).then_some(root.product),
        }
    }

    /// Where evidence that ends in one of these roots comes from.
    pub const fn provenance(&self) -> Provenance {
        match self {
            Self::Amd => Provenance::Amd,
            Self::Simulated(_) => Provenance::Simulated,
        }
    }
}

/// 32 bytes from hexadecimal, at compile time.
const fn digest(hex: &str) -> [u8; 32] {
    let hex = hex.as_bytes();
    assert!(hex.len() == 64, "a SHA-256 has 64 digits");
    let mut bytes = [0; 32];
    let mut index = 0;
    while index < 32 {
        bytes[index] = nibble(hex[2 * index]) << 4 | nibble(hex[2 * index + 1]);
        index += 1;
    }
    bytes
}

/// The value of one lower-case hexadecimal digit.
const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => panic!("not a lower-case hexadecimal digit"),
    }
}

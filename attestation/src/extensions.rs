//! AMD's extensions of a VEK's certificate, under 1.3.6.1.4.1.3704.1 (VCEK and KDS Interface
//! Specification, 57230).

use thiserror::Error;

use crate::certificate::Extension;
use crate::der::{Der, DerError};
use crate::endorsements::VekKind;
use crate::limits::CSP_ID_BYTES_MAX;
use crate::product::Product;
use crate::tcb::{Tcb, TcbVersion};

/// What AMD certifies of a VEK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VekExtensions<'a> {
    pub product_name: &'a str,
    pub tcb: Tcb,
    pub owner: VekOwner<'a>,
}

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VekOwner<'a> {
    /// A VCEK's HWID: 64 bytes, Turin 8.
    Chip(&'a [u8]),
    /// A VLEK's CSP_ID.
    Provider(&'a str),
}

/// What is wrong with an extension.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ExtensionError {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It is there, though keys of this kind or product have none.
    #[error("does not belong here")]
    Unexpected,
    /// Its value is malformed.
    #[error("is malformed: {0}")]
    Malformed(#[from] DerError),
    /// Its value has none of the lengths that it can have.
    #[error("has {got} bytes")]
    Length {
        /// Bytes of the value.
        got: usize,
    },
    /// A number that this package does not know, or that should be zero.
    #[error("is {got}")]
    Number {
        /// The number.
        got: u8,
    },
}

// The arc 1.3.6.1.4.1.3704.1, and what follows it.
const AMD: &[u8] = &[0x2B, 6, 1, 4, 1, 0x9C, 0x78, 1];
const STRUCTURE_VERSION: &[u8] = &[1];
const PRODUCT_NAME: &[u8] = &[2];
const TCB: u8 = 3;
const HWID: &[u8] = &[4];
const CSP_ID: &[u8] = &[5];

/// The names of the extensions that hold a TCB component, by the last number of their identifier.
const COMPONENTS: [(u8, &str); 9] = [
    (1, "blSPL"),
    (2, "teeSPL"),
    (3, "snpSPL"),
    (4, "spl4"),
    (5, "spl5"),
    (6, "spl6"),
    (7, "spl7"),
    (8, "ucodeSPL"),
    (9, "fmcSPL"),
];

impl<'a> VekExtensions<'a> {
    /// Reads the extensions of a VEK of this kind and product; the error names the extension.
    pub fn read(
        extensions: &[Extension<'a>],
        kind: VekKind,
        product: Product,
    ) -> Result<Self, (&'static str, ExtensionError)> {
        let find = |suffix: &[u8]| {
            let mut values = extensions.iter().filter(|extension| {
                extension.oid.strip_prefix(AMD).is_some_and(|found| found == suffix)
            });
            values.next().map(|extension| extension.value)
        };
        let required = |suffix| find(suffix).ok_or(ExtensionError::Missing);

        let version = required(STRUCTURE_VERSION).and_then(integer);
        match version.map_err(|error| ("structVersion", error))? {
            0 | 1 => {}
            got => return Err(("structVersion", ExtensionError::Number { got })),
        }
        let name = required(PRODUCT_NAME).and_then(text);
        let product_name = name.map_err(|error| ("productName", error))?;
        let tcb = tcb(extensions, find, product)?;
        let (hwid, csp_id) = (find(HWID), find(CSP_ID));
        let owner = match kind {
            VekKind::Vcek => {
                absent(csp_id).map_err(|error| ("cspID", error))?;
                let hwid = hwid.ok_or(ExtensionError::Missing).and_then(unwrap_hwid);
                VekOwner::Chip(hwid.map_err(|error| ("hwID", error))?)
            }
            VekKind::Vlek => {
                absent(hwid).map_err(|error| ("hwID", error))?;
                let csp_id = csp_id.ok_or(ExtensionError::Missing).and_then(text);
                VekOwner::Provider(csp_id.map_err(|error| ("cspID", error))?)
            }
        };
        Ok(Self { product_name, tcb, owner })
    }
}

/// The certified TCB: one extension for each byte of the report's field, in the order of the
/// product's bytes.
fn tcb<'a>(
    extensions: &[Extension<'a>],
    find: impl Fn(&[u8]) -> Option<&'a [u8]>,
    product: Product,
) -> Result<Tcb, (&'static str, ExtensionError)> {
    let order = match product {
        Product::Milan | Product::Genoa => [1, 2, 4, 5, 6, 7, 3, 8],
        Product::Turin => [9, 1, 2, 3, 5, 6, 7, 8],
    };
    // A component that the report has no byte for can't be compared, and so must not be there.
    let unknown = extensions.iter().any(|extension| {
        matches!(extension.oid.strip_prefix(AMD), Some([TCB, number @ ..])
            if !COMPONENTS.iter().any(|(known, _)| number == [*known]))
    });
    if unknown {
        return Err(("a TCB component", ExtensionError::Unexpected));
    }
    let mut version = TcbVersion([0; 8]);
    for (number, name) in COMPONENTS {
        let value = find(&[TCB, number]).map(integer).transpose().map_err(|error| (name, error))?;
        let byte = order.iter().zip(&mut version.0).find(|(wanted, _)| **wanted == number);
        match (byte, value) {
            (Some((_, byte)), Some(value)) => *byte = value,
            // Reserved components are zero wherever they stand.
            (Some(_), None) if matches!(number, 4..=7) => {}
            (None, None | Some(0)) => {}
            (Some(_), None) => return Err((name, ExtensionError::Missing)),
            (None, Some(_)) => return Err((name, ExtensionError::Unexpected)),
        }
    }
    version.of(product).map_err(|reserved| {
        let number = order.get(reserved.index).copied().unwrap_or_default();
        let name =
            COMPONENTS.iter().find(|(known, _)| *known == number).map_or("", |(_, name)| name);
        (name, ExtensionError::Number { got: reserved.got })
    })
}

fn absent(value: Option<&[u8]>) -> Result<(), ExtensionError> {
    value.map_or(Ok(()), |_| Err(ExtensionError::Unexpected))
}

fn integer(value: &[u8]) -> Result<u8, ExtensionError> {
    let mut der = Der::new(value);
    let number = der.small_integer()?;
    der.finish()?;
    Ok(number)
}

fn text(value: &[u8]) -> Result<&str, ExtensionError> {
    let mut der = Der::new(value);
    let text = der.text()?;
    der.finish()?;
    match text.len() {
        ..=CSP_ID_BYTES_MAX => Ok(text),
        got => Err(ExtensionError::Length { got }),
    }
}

/// The bytes of a HWID, which stands there raw or as an OCTET STRING; its length tells.
fn unwrap_hwid(value: &[u8]) -> Result<&[u8], ExtensionError> {
    match (value.len(), value) {
        (64 | 8, hwid) | (66, [0x04, 0x40, hwid @ ..]) | (10, [0x04, 0x08, hwid @ ..]) => Ok(hwid),
        (got, _) => Err(ExtensionError::Length { got }),
    }
}

//! A SIMULATED AMD secure processor. It protects nothing.
//!
//! It speaks the real wire formats (reports, derived keys, VCEK and VLEK certificates, CRLs) under
//! roots of its own, so that the whole service runs, and is tested, without the hardware. It is
//! linked into
//! `neo-secretsd-simulated`, `neo-secrets-run` and tests, and into nothing else.
//!
//! A [`Chip`] has [`Settings`], a secret and a [`Vendor`]; a [`Machine`] is a guest launched on it
//! and the server's platform; [`Faults`] break it on purpose. Forgeries start from the drafts in
//! [`x509`] and from [`Machine::forged_report`].
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod chip;
pub mod client_files;
pub mod der;
pub mod faults;
pub mod files;
pub mod key;
pub mod launch;
pub mod machine;
pub mod network;
pub mod pace;
pub mod parent;
pub mod product;
pub mod report;
pub mod settings;
pub mod testing;
pub mod vendor;
pub mod x509;

#[cfg(test)]
mod tests;

pub use chip::{Chip, ChipError};
pub use faults::{Fault, Faults};
pub use machine::Machine;
pub use product::{Product, Tcb};
pub use settings::Settings;
pub use vendor::{LeafKind, Vendor, VendorError, VendorKeys};

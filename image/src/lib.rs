//! Builds the appliance: pinned Debian packages and our own programs in; kernel, initrd, command
//! line, disks and reference values out, the same bytes each time.
//!
//! Nothing here runs inside the appliance.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod build;
pub mod compile;
pub mod debian;
pub mod disk;
pub mod error;
pub mod files;
pub mod initrd;
pub mod launch;
pub mod manifest;
pub mod modules;
pub mod sbom;
pub mod sign;
pub mod uki;

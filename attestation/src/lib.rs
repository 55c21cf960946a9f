//! AMD SEV-SNP evidence: parsing, verification and appraisal. Pure: no I/O, no clock, no network. The wire format
//! and the numbered steps are in SPEC.md.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod binding;
pub mod bytes;
pub mod config;
pub mod ed25519;
mod encoding;
pub mod evidence;
pub mod firmware;
pub mod json;
pub mod limits;
pub mod measure;
pub mod product;
pub mod report;
pub mod tcb;
pub mod time;

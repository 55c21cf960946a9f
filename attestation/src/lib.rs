//! AMD SEV-SNP evidence: parsing, verification and appraisal. Pure: no I/O, no clock, no network.
//!
//! The wire format and the numbered steps of the verification are in `SPEC.md`; each step has its own error variants.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bytes;
pub mod limits;
pub mod product;
pub mod report;
pub mod tcb;
pub mod time;

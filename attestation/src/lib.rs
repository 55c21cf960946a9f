//! AMD SEV-SNP evidence: parsing, verification and appraisal. Pure: no I/O, no clock, no network.
//! The wire format and the numbered steps are in SPEC.md.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

// The unit tests share the integration tests' reader of real reports, which names this package.
#[cfg(test)]
extern crate self as neo_secrets_attestation;

pub mod appraise;
pub mod binding;
pub mod bytes;
mod certificate;
pub mod certificate_table;
mod chain;
pub mod config;
mod der;
pub mod ed25519;
mod encoding;
pub mod endorsements;
pub mod error;
pub mod evidence;
pub mod exchange;
pub mod explain;
mod extensions;
pub mod firmware;
#[doc(hidden)]
pub mod fuzzing;
pub mod json;
pub mod limits;
pub mod measure;
pub mod policy;
pub mod product;
pub mod receipt;
pub mod reference;
pub mod report;
pub mod roots;
pub mod tcb;
pub mod time;
pub mod verify;

/// Compiles the examples in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! A vendor of our own, with which tests make good evidence and then spoil one thing in it.

#![allow(dead_code, reason = "the test binary and the bench each use a part of this")]

pub mod der;
pub mod report;
pub mod vectors;
pub mod vendor;

use neo_secrets_attestation::time::UnixTime;

/// The time of every verification that does not say otherwise.
pub fn now() -> UnixTime {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

//! The client of Neo Secrets: a library that verifies every connection before it uses it, and the command line.
//!
//! [`client::AttestedClient`] keeps one verified connection to one instance. What it is verified against is the caller's
//! [`neo_secrets_attestation::exchange::Trust`]: roots, reference values, policy, pin.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cli;
pub mod client;
pub mod connection;
pub mod files;
pub mod limits;
pub mod owner;
pub mod profile;
pub mod secret;
mod tls;
pub mod url;

#[cfg(test)]
mod tests;

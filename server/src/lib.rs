//! The Neo Secrets server: a secrets store sealed to an AMD SEV-SNP virtual machine, which shows
//! evidence of itself on every connection. [`run`] is all that a binary needs, besides a
//! [`platform::Platform`].
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
mod admission;
mod api;
pub mod audit;
#[doc(hidden)]
pub mod benching;
pub mod clock;
pub mod config;
mod connection;
mod data;
mod descriptors;
mod disk;
mod evidence;
mod files;
mod filter;
mod functions;
#[doc(hidden)]
pub mod fuzzing;
mod inherited;
mod keys;
mod limits;
mod log;
mod metrics;
pub mod model;
pub mod options;
mod peer;
mod phase;
pub mod platform;
pub mod seal;
pub mod secret;
mod server;
pub mod store;
#[cfg(test)]
mod testing;
mod tls;

pub use functions::egress;
pub use options::Options;
pub use server::{RunError, Server, run};

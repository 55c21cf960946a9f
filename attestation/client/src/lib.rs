#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cli;
pub mod client;
pub mod connection;
pub mod files;
pub mod limits;
pub mod owner;
pub mod profile;
pub mod proxy;
pub mod secret;
mod tls;
pub mod url;

#[cfg(test)]
pub(crate) mod tests;

//! The Neo Secrets server.

pub mod platform;

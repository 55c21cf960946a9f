//! The Neo Secrets server.

pub mod access;
pub mod model;
pub mod platform;
pub mod seal;
pub mod secret;
pub mod store;

//! What the end-to-end suites share: a plain HTTPS client, and appliances on a simulated chip.
#![allow(clippy::unwrap_used, missing_docs)]

pub mod appliance;
pub mod http;
pub mod proxy;

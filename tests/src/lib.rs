//! What the end-to-end suites share: a plain HTTPS client, appliances on a simulated chip, and the
//! fuzz targets.
#![allow(clippy::unwrap_used, missing_docs)]

pub mod appliance;
pub mod device;
pub mod fuzzing;
pub mod http;
pub mod proxy;
pub mod upstream;
pub mod vm;

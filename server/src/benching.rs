//! Doors for `tests/benches` to what is private here and done for each request. They reach no store,
//! platform or key in use.

use actix_web::http::StatusCode;

use crate::api::{route, secrets};
use crate::model::{Secret, Timestamp};
pub use crate::store::benching::Records;

/// The body of an answer that shows a secret's metadata.
#[must_use]
pub fn metadata_json(secret: &Secret, now: Timestamp) -> Vec<u8> {
    secrets::metadata(StatusCode::OK, secret, now).body().to_vec()
}

/// Whether the route table has this path.
#[must_use]
pub fn is_routed(path: &str) -> bool {
    route::find(path).is_some()
}

//! Every bound of the client, each with its reason.

use std::time::Duration;

/// Opening the TCP connection, all addresses of the host together: a machine that answers does so
/// in one round trip, and a person waits at most this long for one that does not.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The TLS handshake: two round trips and a few milliseconds of signatures.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The evidence exchange: a secure processor gives a few reports a second, and the one that answers
/// this nonce starts when the running one ends; the host may throttle it further.
pub const EVIDENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// One request with its answer: a durable write takes milliseconds, a claim asks the secure
/// processor.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// An answer of the API: a full page of 100 secrets with 500 characters of description and 20 tags
/// each stays under 2 MiB; the rest is room for escapes.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// hyper's read buffer, which holds an answer's whole head: our server's heads are under 2 KiB.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// hyper's read and write buffers of a connection: a few TLS records each way. A body's length does
/// not matter to them.
pub const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// A secret's value, as the API limits it (64 KiB of UTF-8).
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// A key file: one key and a newline.
pub const KEY_FILE_BYTES_MAX: usize = 1024;

/// A PEM file with one private key.
pub const OWNER_FILE_BYTES_MAX: usize = 16 * 1024;

/// A profile: reference values, policy, a root certificate, and the escapes of JSON.
pub const PROFILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A reference or policy file, a certificate bundle, a CRL: the largest real one is below 64 KiB.
pub const INPUT_FILE_BYTES_MAX: usize = 1024 * 1024;

/// Secrets or keys on one page: the API's own maximum.
pub const PAGE_ITEMS_MAX: usize = 100;

/// Walks over all pages in search of a name while others delete: a deletion moves items to pages
/// that were already read, so a walk that saw the total change is repeated.
pub const WALKS_MAX: usize = 3;

//! What stands in the records of an audit log.

use crate::audit::Event;
use minicbor::{Decode, Encode};

/// Events in their order, at least one; the first one's number ends the record's engine key.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct AuditBody {
    #[n(0)]
    pub(in crate::store) events: Vec<Event>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(in crate::store) struct AuditStateBody {
    /// Events in the account's log: the number of the next one.
    #[n(0)]
    pub(in crate::store) events: u64,
}

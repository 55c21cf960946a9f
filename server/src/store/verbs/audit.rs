//! The audit logs: an account's, and the instance's own.

use crate::access::{Admin, Grant, OwnerCaller, Scope};
use crate::audit::{EventPage, EventQuery};
use crate::store::{Store, StoreFailure, audit};

impl Store {
    /// A part of the account's audit log, newest first. Without a filter and for an unnarrowed key
    /// only the page is opened; else the whole log is, which takes some microseconds an event. A
    /// narrowed key sees what was done to the secrets that it reaches and to keys that lie within
    /// it.
    ///
    /// # Errors
    /// The store's failures.
    pub fn events(
        &self,
        grant: &Grant<Admin>,
        query: &EventQuery,
    ) -> Result<EventPage, StoreFailure> {
        let narrowed = Some(grant).filter(|grant| grant.scope() != &Scope::All);
        self.read(|access, snapshot| {
            audit::list(access, snapshot, (&*access.account_of(grant)?, narrowed), query)
        })
    }

    /// A part of the instance's own audit log, newest first.
    ///
    /// # Errors
    /// The store's failures.
    pub fn instance_events(
        &self,
        _: &OwnerCaller,
        query: &EventQuery,
    ) -> Result<EventPage, StoreFailure> {
        self.read(|access, snapshot| {
            audit::list(access, snapshot, (access.core.system(), None), query)
        })
    }
}

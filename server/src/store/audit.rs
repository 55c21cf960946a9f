//! The audit log (STORE.md §7): the events of one batch, written with the writes that they tell of,
//! and read newest first.

use crate::access::{Admin, Grant};
use crate::audit::{Act, Acting, Action, Event, EventPage, EventQuery, Object};
use crate::limits::{AUDIT_BODY_BYTES, AUDIT_KEY_RESERVE};
use crate::model::{AccountId, Resource};
use crate::store::body::{AuditBody, AuditStateBody};
use crate::store::core::{Access, AccountKeys};
use crate::store::engine::{Changes, Snapshot};
use crate::store::error::StoreFailure;
use crate::store::record::{self, Address, Kind, SYSTEM, id_at_end};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;
use std::sync::Arc;

const DAMAGED: StoreFailure = StoreFailure::Damaged { kind: Kind::Audit.name() };

/// Says what the log is to tell of this write, in the actor's own log. One event a write.
pub(super) fn note<G: Acting>(changes: &mut Changes, act: &Act<G>, action: Action, object: Object) {
    let log = act.by.account().unwrap_or(SYSTEM);
    changes.event = Some((log, act.event(action, object)));
}

/// How many events an account's log may hold; none says that there is no bound. The owner's acts
/// are never refused, since nobody else could make room.
fn quota(access: &Access<'_>, account: &AccountKeys) -> Result<Option<u64>, StoreFailure> {
    if account.id == SYSTEM {
        return Ok(None);
    }
    let state = access.state(account)?;
    Ok(Some(state.quota(Resource::AuditEvents, &access.core.limits)))
}

/// How many events an account's log holds; a store of before there were logs has none.
pub(super) fn kept(access: &Access<'_>, account: &AccountKeys) -> Result<u64, StoreFailure> {
    let state = access.find(account, &Address::audit_state(account.id))?;
    Ok(state.map_or(0, |state| state.events))
}

/// What the writes of one batch have to say, log by log.
#[derive(Default)]
pub(super) struct Pending(BTreeMap<AccountId, Log>);

struct Log {
    keys: Arc<AccountKeys>,
    /// Events before this batch: the number of its first.
    kept: u64,
    /// Events that it may hold.
    limit: Option<u64>,
    events: Vec<Event>,
}

impl Pending {
    /// Takes in the event of a write, which is made only if this succeeds.
    pub(super) fn admit(
        &mut self,
        access: &Access<'_>,
        (account, event): (AccountId, Event),
    ) -> Result<(), StoreFailure> {
        let log = match self.0.entry(account) {
            Entry::Occupied(log) => log.into_mut(),
            Entry::Vacant(place) => place.insert(Log::open(access, account)?),
        };
        let reserve = match event.action {
            action if action.ends_something() => u64::MAX,
            Action::KeyCreate | Action::KeyRotate => AUDIT_KEY_RESERVE,
            _ => 0,
        };
        let full = log.limit.filter(|limit| log.count() >= limit.saturating_add(reserve));
        if let Some(limit) = full {
            return Err(StoreFailure::QuotaExceeded { resource: Resource::AuditEvents, limit });
        }
        log.events.push(event);
        Ok(())
    }

    /// Writes the batch's records: one for each log, or a few where one would grow too large.
    pub(super) fn put(
        self,
        access: &Access<'_>,
        changes: &mut Changes,
    ) -> Result<(), StoreFailure> {
        // A log whose events were all refused stays as it is.
        for (account, log) in self.0.into_iter().filter(|(_, log)| !log.events.is_empty()) {
            let keys = Arc::clone(&log.keys);
            let state = AuditStateBody { events: log.count() };
            let mut first = log.kept;
            for events in split(log.events) {
                let count = count(&events);
                let body = AuditBody { events };
                access.put(changes, &*keys, &Address::audit(account, first), &body)?;
                first += count;
            }
            access.put(changes, &*keys, &Address::audit_state(account), &state)?;
        }
        Ok(())
    }
}

impl Log {
    fn open(access: &Access<'_>, account: AccountId) -> Result<Self, StoreFailure> {
        let keys = access.account(account)?;
        let (kept, limit) = (kept(access, &keys)?, quota(access, &keys)?);
        // Where the state's record was taken away or aged, nothing is written over.
        if access.exists(&Address::audit(account, kept))? {
            return Err(DAMAGED);
        }
        Ok(Self { keys, kept, limit, events: Vec::new() })
    }

    fn count(&self) -> u64 {
        self.kept.saturating_add(count(&self.events))
    }
}

fn count(events: &[Event]) -> u64 {
    u64::try_from(events.len()).unwrap_or(u64::MAX)
}

/// The events, in lists that each fit a record.
fn split(events: Vec<Event>) -> Vec<Vec<Event>> {
    let (mut lists, mut room) = (Vec::<Vec<Event>>::new(), 0);
    for event in events {
        let bytes = record::encoded_length(&event);
        match lists.last_mut() {
            Some(list) if bytes <= room => {
                list.push(event);
                room -= bytes;
            }
            Some(_) | None => {
                lists.push(vec![event]);
                room = AUDIT_BODY_BYTES.saturating_sub(bytes);
            }
        }
    }
    lists
}

/// A page of a log. Where every event is asked for and seen, only the page's records are opened;
/// else all are.
pub(super) fn list(
    access: &Access<'_>,
    snapshot: &Snapshot,
    (keys, narrowed): (&AccountKeys, Option<&Grant<Admin>>),
    query: &EventQuery,
) -> Result<EventPage, StoreFailure> {
    let EventQuery { limit, offset, filter } = query;
    let (account, kept) = (keys.id, kept(access, keys)?);
    let opens_all = narrowed.is_some() || !filter.is_empty();
    let (offset, mut skip) = if opens_all { (0, *offset) } else { (*offset, 0) };
    let mut page = EventPage { items: Vec::new(), total: if opens_all { 0 } else { kept } };
    let Some(mut walk) = Walk::new(kept, offset) else { return Ok(page) };
    let mut show = |event: Event| {
        let seen =
            narrowed.is_none_or(|grant| event.object.is_within(grant.permissions(), grant.scope()));
        if !seen || !filter.matches(&event) {
            return;
        }
        page.total += u64::from(opens_all);
        if skip > 0 {
            skip -= 1;
        } else if page.items.len() < *limit {
            page.items.push(event);
        }
    };
    let last = Address::audit(account, walk.last_key());
    let mut left = if opens_all { usize::MAX } else { *limit };
    let mut outcome = Ok(());
    let visit = |key: &[u8], bytes: &[u8]| {
        let opened = open_at(access, keys, key, bytes);
        match opened.and_then(|(first, body)| walk.step(first, body.events)) {
            Ok(events) => {
                left = left.saturating_sub(events.len());
                events.into_iter().rev().for_each(&mut show);
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }
            Err(failure) => {
                outcome = Err(failure);
                ControlFlow::Break(())
            }
        }
    };
    snapshot.scan_down(&Address::<AuditBody>::prefix(account), last.key(), visit)?;
    outcome?;
    if left > 0 {
        walk.end()?;
    }
    Ok(page)
}

fn open_at(
    access: &Access<'_>,
    keys: &AccountKeys,
    key: &[u8],
    bytes: &[u8],
) -> Result<(u64, AuditBody), StoreFailure> {
    let first = u64::from_be_bytes(id_at_end(key).ok_or(DAMAGED)?);
    Ok((first, access.open(keys, &Address::audit(keys.id, first), bytes)?))
}

/// The way down a log. Events are numbered from 0, and records hold them without a gap up to the
/// number in the state: whatever is missing, or too much, shows.
struct Walk {
    /// Events in the log.
    kept: u64,
    /// The number above the first event that is asked for.
    end: u64,
    /// The number of the first event of the last record that was shown.
    above: Option<u64>,
}

impl Walk {
    /// From the newest event but `offset`, where there is one.
    fn new(kept: u64, offset: u64) -> Option<Self> {
        let end = kept.saturating_sub(offset);
        // An empty log has nothing to show, but must be looked at all the same.
        (end > 0 || kept == 0).then_some(Self { kept, end, above: None })
    }

    /// The event at `end - 1` stands in the record with the last key that is not above this. At the
    /// log's end no key may be.
    fn last_key(&self) -> u64 {
        if self.end == self.kept { u64::MAX } else { self.end.saturating_sub(1) }
    }

    /// Takes the next record down; gives those of its events that are asked for.
    fn step(&mut self, first: u64, mut events: Vec<Event>) -> Result<Vec<Event>, StoreFailure> {
        let after = first.saturating_add(count(&events));
        let follows = match self.above {
            Some(above) => after == above,
            None if self.end == self.kept => after == self.kept,
            None => (self.end..=self.kept).contains(&after),
        };
        if !follows || events.is_empty() {
            return Err(DAMAGED);
        }
        self.above = Some(first);
        let asked = usize::try_from(self.end.saturating_sub(first)).unwrap_or(usize::MAX);
        events.truncate(asked);
        Ok(events)
    }

    /// There are no more records: the last one has to begin with the first event.
    fn end(&self) -> Result<(), StoreFailure> {
        if self.above.unwrap_or(self.end) == 0 { Ok(()) } else { Err(DAMAGED) }
    }
}

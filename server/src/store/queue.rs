//! Writes that wait for the writer: in a lane for each account, and in one for the owner, which
//! comes first. No account's flood keeps another's write waiting for more than the commit that runs,
//! and the short wait for company before the next.

use crate::limits::{OWNER_WRITES, WRITE_BATCH, WRITE_GATHERING, WRITE_PATIENCE, WRITES_WAITING};
use crate::model::AccountId;
use crate::store::error::StoreFailure;
use crate::store::record::SYSTEM;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Waiting writes. The owner's lane is the system's account's.
pub(super) struct Queue<J> {
    lanes: Mutex<Lanes<J>>,
    changed: Condvar,
}

/// Whether somebody waits for a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Haste {
    /// Its commit comes at once.
    Awaited,
    /// It shares the next commit, or has its own after [`WRITE_PATIENCE`].
    Patient,
}

struct Lanes<J> {
    by_account: HashMap<AccountId, Lane<J>>,
    /// How many waiting writes are awaited.
    awaited: usize,
    /// How many of those that were taken last are.
    answering: usize,
    /// When the patient ones have waited long enough; none where there are none.
    patient_until: Option<Instant>,
    /// The accounts whose writes wait, in the order of their turns; the owner needs none.
    turns: VecDeque<AccountId>,
    is_closed: bool,
    /// How many awaited writes the writer has to be woken for; none where it does not wait.
    wanted: Option<usize>,
}

/// What a commit waits for: half of the callers that there are, while the other half's next writes are
/// on their way. So each sync carries many writes, and neither callers nor the disk wait for each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Company {
    /// How many awaited writes it takes.
    wanted: usize,
    /// When the wait ends, whoever has come.
    until: Instant,
}

impl Company {
    /// Whoever is there.
    pub(super) fn any() -> Self {
        Self { wanted: 0, until: Instant::now() }
    }

    /// After a commit that took so long, with so many callers. A wait of another commit's length can
    /// at most double what a write takes; a lone caller is company enough.
    pub(super) fn after(commit: Duration, callers: usize) -> Self {
        let wanted = callers.div_ceil(2).min(WRITE_BATCH);
        Self { wanted, until: Instant::now() + commit.min(WRITE_GATHERING) }
    }

    /// How much longer to wait where so many awaited writes are there; none where not at all.
    fn left(self, awaited: usize) -> Option<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        Some(left).filter(|left| awaited > 0 && awaited < self.wanted && !left.is_zero())
    }
}

/// Whoever finds no place waits for one, in order. A write without a place is not made where its
/// caller goes: else callers that don't wait for answers could fill the memory.
struct Lane<J> {
    writes: VecDeque<(J, Haste, OwnedSemaphorePermit)>,
    places: Arc<Semaphore>,
}

impl<J> Queue<J> {
    pub(super) fn new() -> Self {
        let (by_account, turns) = (HashMap::new(), VecDeque::new());
        let (is_closed, wanted) = (false, None);
        let (awaited, answering, patient_until) = (0, 0, None);
        let lanes =
            Lanes { by_account, awaited, answering, patient_until, turns, is_closed, wanted };
        Self { lanes: Mutex::new(lanes), changed: Condvar::new() }
    }

    /// Takes a write in, as soon as its account has a place.
    pub(super) async fn push(
        &self,
        account: AccountId,
        write: J,
        haste: Haste,
    ) -> Result<(), StoreFailure> {
        let places = Arc::clone(&self.open_lanes()?.lane(account).places);
        let place = places.acquire_owned().await.map_err(|_| StoreFailure::Unavailable)?;
        let mut lanes = self.open_lanes()?;
        let is_first = lanes.patient_until.is_none();
        lanes.add(account, write, haste, place);
        // The first patient one is there so that the writer knows how long to wait.
        let is_enough = lanes.wanted.is_some_and(|wanted| match haste {
            Haste::Awaited => lanes.awaited >= wanted,
            Haste::Patient => is_first,
        });
        if is_enough {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// The next commit's writes: at least one, unless the writer has other work and does not wait.
    /// None once the queue is closed and empty.
    pub(super) fn take(&self, waits: bool, company: Company) -> Option<Vec<J>> {
        let mut lanes = self.lock();
        loop {
            if let Some(left) = company.left(lanes.awaited).filter(|_| !lanes.is_closed) {
                lanes = self.wait(lanes, company.wanted, Some(left));
                continue;
            }
            let patience = lanes.patience();
            if !waits || patience.is_none_or(|left| left.is_zero()) {
                let writes = lanes.take();
                if !writes.is_empty() {
                    return Some(writes);
                }
                if lanes.is_closed {
                    return None;
                }
                if !waits {
                    return Some(writes);
                }
            }
            lanes = self.wait(lanes, 1, patience.filter(|left| !left.is_zero()));
        }
    }

    /// The writer's wait for so many awaited writes, or for whatever else there is to look at.
    fn wait<'a>(
        &self,
        mut lanes: MutexGuard<'a, Lanes<J>>,
        wanted: usize,
        left: Option<Duration>,
    ) -> MutexGuard<'a, Lanes<J>> {
        lanes.wanted = Some(wanted);
        lanes = match left {
            Some(left) => {
                let waited = self.changed.wait_timeout(lanes, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.changed.wait(lanes).unwrap_or_else(PoisonError::into_inner),
        };
        lanes.wanted = None;
        lanes
    }

    /// How many callers there are: those of the writes that were taken last, and of those that wait.
    pub(super) fn callers(&self) -> usize {
        let lanes = self.lock();
        lanes.answering.saturating_add(lanes.awaited)
    }

    /// How many writes have a place and wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().by_account.values().map(|lane| lane.writes.len()).sum()
    }

    /// Takes no more writes in; those that have a place are still made.
    pub(super) fn close(&self) {
        let mut lanes = self.lock();
        lanes.is_closed = true;
        lanes.by_account.values().for_each(|lane| lane.places.close());
        self.changed.notify_one();
    }

    /// Closes, and drops what waits.
    pub(super) fn abandon(&self) {
        self.close();
        let dropped = std::mem::take(&mut self.lock().by_account);
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, Lanes<J>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_lanes(&self) -> Result<MutexGuard<'_, Lanes<J>>, StoreFailure> {
        Some(self.lock()).filter(|lanes| !lanes.is_closed).ok_or(StoreFailure::Unavailable)
    }
}

impl<J> Lanes<J> {
    fn lane(&mut self, account: AccountId) -> &mut Lane<J> {
        self.by_account.entry(account).or_insert_with(|| Lane {
            writes: VecDeque::new(),
            places: Arc::new(Semaphore::new(WRITES_WAITING)),
        })
    }

    /// How long the writes that wait may go on waiting; none where they may not, or there are none.
    fn patience(&self) -> Option<Duration> {
        let until = self.patient_until.filter(|_| self.awaited == 0 && !self.is_closed)?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    fn add(&mut self, account: AccountId, write: J, haste: Haste, place: OwnedSemaphorePermit) {
        match haste {
            Haste::Awaited => self.awaited += 1,
            Haste::Patient => {
                self.patient_until.get_or_insert_with(|| Instant::now() + WRITE_PATIENCE);
            }
        }
        let lane = self.lane(account);
        lane.writes.push_back((write, haste, place));
        if lane.writes.len() == 1 && account != SYSTEM {
            self.turns.push_back(account);
        }
    }

    /// The owner's first, then one of each account in turn. Whose turn it is next stays so for the
    /// next commit.
    fn take(&mut self) -> Vec<J> {
        let (mut writes, before) = (Vec::new(), self.awaited);
        while writes.len() < OWNER_WRITES
            && let Some((write, _)) = self.next_of(SYSTEM)
        {
            writes.push(write);
        }
        while writes.len() < WRITE_BATCH
            && let Some(account) = self.turns.pop_front()
            && let Some((write, is_last)) = self.next_of(account)
        {
            writes.push(write);
            if !is_last {
                self.turns.push_back(account);
            }
        }
        self.answering = before - self.awaited;
        // Those that are left have waited for it.
        if self.by_account.values().all(|lane| lane.writes.is_empty()) {
            self.patient_until = None;
        }
        writes
    }

    /// An account's next write, and whether it is the last that waits.
    fn next_of(&mut self, account: AccountId) -> Option<(J, bool)> {
        let lane = self.by_account.get_mut(&account)?;
        let (write, haste, place) = lane.writes.pop_front()?;
        drop(place);
        self.awaited -= usize::from(haste == Haste::Awaited);
        let is_last = lane.writes.is_empty();
        // Nobody has a place in the lane, or waits for one.
        if is_last && Arc::strong_count(&lane.places) == 1 {
            self.by_account.remove(&account);
        }
        Some((write, is_last))
    }
}

#[cfg(test)]
mod tests;

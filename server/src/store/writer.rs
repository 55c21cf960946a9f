//! The one writer: a thread that takes all writes that wait, makes them in one transaction, commits
//! once, and then answers. A lone caller's write is not delayed; where many call, a commit waits for
//! half of them, no longer than the last one took. Beside them it removes what deleted accounts have
//! left.

use crate::clock::ToSeal;
use crate::metrics::{Histogram, TIMES};
use crate::model::{AccountId, Timestamp};
use crate::store::audit::Pending;
use crate::store::body::ClockBody;
use crate::store::core::{Access, Core};
use crate::store::engine::{Batch, Changes, Commit, Engine, EngineError, Snapshot, View};
use crate::store::error::StoreFailure;
use crate::store::names::PendingNames;
use crate::store::queue::{Company, Haste, Queue};
use crate::store::record::{Address, SYSTEM};
use crate::store::states::States;
use crate::store::sweep::Sweep;
use arc_swap::{ArcSwapOption, Guard};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Bounds of the writes that share a commit, up to [`WRITE_BATCH`].
const WRITES_PER_COMMIT: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256];

/// One write: tries it in the batch, and gives its answer for after the commit. Dropped, it answers
/// Unavailable.
type Job = Box<
    dyn FnOnce(&mut Batch<'_>, &Core, &mut Round) -> Result<(Answer, Commit), EngineError> + Send,
>;
type Answer = Box<dyn FnOnce() + Send>;

/// What the writes of one batch leave to be written at its end.
#[derive(Default)]
struct Round {
    events: Pending,
    states: States,
    names: PendingNames,
}

impl Round {
    /// Records as the batch has them, after the writes so far.
    fn access<'a>(&'a self, core: &'a Core, batch: &'a Batch<'_>) -> Access<'a> {
        core.access_in(batch, (&self.states, &self.names))
    }
}

/// What readers and the writer share.
pub(super) struct Shared {
    pub(super) core: Core,
    /// The newest commit; none once the store has failed or closed.
    snapshot: ArcSwapOption<Snapshot>,
    pub(super) commits: Commits,
    /// Deleted accounts of which something is left.
    deleted_accounts: AtomicU64,
    queue: Queue<Job>,
}

/// The commits since the store was opened.
pub(crate) struct Commits {
    /// How long each took: the disk's word included, the making of its changes not.
    pub(crate) times: Histogram<Duration>,
    /// How many writes each carried.
    pub(crate) writes: Histogram<u64>,
}

/// The writer's handle.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    /// Its other end is dropped when the thread has closed the file.
    open: watch::Receiver<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Counters since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Durable commits.
    pub commits: u64,
    /// Writes that those commits carried.
    pub writes: u64,
}

impl Writer {
    /// Starts the thread, which owns the engine from here on; or gives the engine back.
    pub(super) fn start(engine: Engine, core: Core) -> Result<Self, Box<(Engine, EngineError)>> {
        let snapshot = match engine.snapshot() {
            Ok(snapshot) => ArcSwapOption::from_pointee(snapshot),
            Err(error) => return Err(Box::new((engine, error))),
        };
        let commits =
            Commits { times: Histogram::new(TIMES), writes: Histogram::new(WRITES_PER_COMMIT) };
        let mut sweep = Sweep::new();
        // What an earlier start has left to do is known before anybody asks.
        if let Err(error) = engine.write(|batch| Ok(((), sweep.step(batch, &core)?))) {
            return Err(Box::new((engine, error)));
        }
        let (queue, deleted_accounts) = (Queue::new(), AtomicU64::new(sweep.left()));
        let shared = Arc::new(Shared { core, snapshot, commits, deleted_accounts, queue });
        let (open_sender, open) = watch::channel(());
        let (engine_sender, engine_receiver) = std::sync::mpsc::sync_channel::<Engine>(1);
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            if let Ok(engine) = engine_receiver.recv() {
                run(engine, &for_thread, sweep);
            }
            drop(open_sender);
        });
        let thread = match thread {
            Ok(thread) => Mutex::new(Some(thread)),
            Err(error) => return Err(Box::new((engine, EngineError::Io(error.to_string())))),
        };
        engine_sender.send(engine).map_err(|failed| {
            Box::new((failed.0, EngineError::Io("the writer did not start".to_owned())))
        })?;
        Ok(Self { shared, open, thread })
    }

    /// Has `write` made by the writer, in this account's turn: what it puts into the changes is
    /// durable when this answers with its success, and nothing of it is made where it fails. The
    /// write happens even if nobody waits for the answer any more once it has its place.
    pub(super) async fn submit<T, E>(
        &self,
        account: AccountId,
        write: impl FnOnce(&Access<'_>, &mut Changes) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreFailure> + Send + 'static,
    {
        self.submit_with(account, Haste::Awaited, write).await
    }

    /// As [`Writer::submit`], for what no caller waits for where it says so.
    pub(super) async fn submit_with<T, E>(
        &self,
        account: AccountId,
        haste: Haste,
        write: impl FnOnce(&Access<'_>, &mut Changes) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreFailure> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |batch, core, round| {
            let mut changes = Changes::default();
            let result = write(&round.access(core, batch), &mut changes);
            let is_empty = changes.is_empty();
            let makes_room = account == SYSTEM || changes.ends_something();
            let result = result.and_then(|done| {
                // What the disk has no room for leaves no event, and what would leave one fails
                // where the log has no room.
                let names = round.names.bytes_for(&changes.names);
                if !makes_room && !batch.has_room(&changes, names) {
                    return Err(StoreFailure::DiskFull.into());
                }
                if let Some(event) = changes.event.take() {
                    let access = core.access_in(batch, (&round.states, &round.names));
                    round.events.admit(&access, event)?;
                }
                Ok(done)
            });
            let commit = match result.is_ok() && !is_empty {
                true => Commit::Yes,
                false => Commit::Nothing,
            };
            if commit == Commit::Yes {
                round.states.change(std::mem::take(&mut changes.states));
                round.names.change(std::mem::take(&mut changes.names));
                batch.apply(&changes)?;
                changes.sets_clock.into_iter().for_each(|time| core.clock.set(time));
            }
            // Whoever asked may have gone.
            let answer: Answer = Box::new(move || drop(sender.send(result)));
            Ok((answer, commit))
        });
        self.shared.queue.push(account, job, haste).await?;
        receiver.await.unwrap_or_else(|_| Err(StoreFailure::Unavailable.into()))
    }

    /// The newest commit. What it shows stays as it is while it is held.
    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>, StoreFailure> {
        Guard::into_inner(self.shared.snapshot.load()).ok_or(StoreFailure::Unavailable)
    }

    pub(super) fn stats(&self) -> StoreStats {
        let writes = &self.shared.commits.writes;
        StoreStats { commits: writes.count(), writes: writes.sum() }
    }

    /// Writes that wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        self.shared.queue.waiting()
    }

    /// Deleted accounts of which something is left.
    pub(super) fn deleted_accounts(&self) -> u64 {
        self.shared.deleted_accounts.load(Ordering::Relaxed)
    }

    /// Takes no more writes, and returns when those that wait are made and the file is closed.
    pub(super) async fn shutdown(&self) {
        self.shared.queue.close();
        // Nothing is ever sent: this ends when the thread drops its end.
        let _ = self.open.clone().changed().await;
    }
}

impl Drop for Writer {
    /// The file is closed when this returns, so that it can be opened again.
    fn drop(&mut self) {
        self.shared.queue.close();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's writer panicked");
        }
    }
}

/// Lets nobody wait for a writer that is gone, however it went.
struct Abandoning<'a>(&'a Queue<Job>);

impl Drop for Abandoning<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

fn run(mut engine: Engine, shared: &Shared, mut sweep: Sweep) {
    let _at_its_end = Abandoning(&shared.queue);
    let mut failed = false;
    let mut company = Company::any();
    while let Some(jobs) = shared.queue.take(sweep.is_done(), company) {
        match commit_batch(&engine, shared, jobs, &mut sweep) {
            Ok((answers, time)) => {
                let callers = shared.queue.callers();
                answers.into_iter().for_each(|answer| answer());
                company = Company::after(time, callers);
            }
            Err(error) => {
                // What the file holds now is unknown until it is opened again. The batch's answers
                // were dropped: all of it is Unavailable, and so is everything from here on.
                tracing::error!(%error, "the store failed and is unavailable until it is opened again");
                failed = true;
                break;
            }
        }
    }
    if !failed && let Err(error) = seal_time(&engine, &shared.core) {
        tracing::warn!(%error, "the time of the end could not be sealed");
    }
    shared.snapshot.store(None);
    if let Err(error) = engine.close() {
        tracing::warn!(%error, "the store did not close cleanly; the next start repairs it");
    }
}

fn put_time(
    access: &Access<'_>,
    changes: &mut Changes,
    time: Timestamp,
) -> Result<(), EngineError> {
    let body = ClockBody { time };
    access.put(changes, access.core.system(), &Address::clock(), &body).map_err(EngineError::Seal)
}

/// Seals the time once more, so that the next start goes on from there.
fn seal_time(engine: &Engine, core: &Core) -> Result<(), EngineError> {
    let Some(ToSeal { time, .. }) = core.clock.to_seal_at_end() else { return Ok(()) };
    engine.write(|batch| {
        let mut changes = Changes::default();
        put_time(&core.access(&*batch), &mut changes, time)?;
        Ok((batch.apply(&changes)?, Commit::Yes))
    })
}

fn commit_batch(
    engine: &Engine,
    shared: &Shared,
    jobs: Vec<Job>,
    sweep: &mut Sweep,
) -> Result<(Vec<Answer>, Duration), EngineError> {
    let mut changed = Instant::now();
    let (answers, writes, to_seal, moves, gone, commit) = engine.write(|batch| {
        let mut answers = Vec::with_capacity(jobs.len());
        let mut writes = 0;
        let mut round = Round::default();
        for job in jobs {
            let (answer, commit) = job(batch, &shared.core, &mut round)?;
            answers.push(answer);
            writes += u64::from(commit == Commit::Yes);
        }
        let mut changes = Changes::default();
        let (access, Round { events, states, names }) = (shared.core.access(&*batch), round);
        states.put(&access, &mut changes).map_err(EngineError::Seal)?;
        let moves = names.put(&access, &mut changes).map_err(EngineError::Seal)?;
        events.put(&access, &mut changes).map_err(EngineError::Seal)?;
        // With a commit that happens anyway.
        let to_seal = shared.core.clock.to_seal().filter(|_| writes > 0);
        if let Some(ToSeal { time, .. }) = to_seal {
            put_time(&access, &mut changes, time)?;
        }
        batch.apply(&changes)?;
        batch.gone().accounts.iter().for_each(|_| sweep.note_deletion());
        let swept = sweep.step(batch, &shared.core)?;
        let commit = if writes > 0 { Commit::Yes } else { swept };
        changed = Instant::now();
        Ok(((answers, writes, to_seal, moves, batch.gone().clone(), commit), commit))
    })?;
    let mut time = Duration::ZERO;
    if commit == Commit::Yes {
        time = changed.elapsed();
        to_seal.into_iter().for_each(|sealed| shared.core.clock.note_sealed(sealed));
        let snapshot = engine.snapshot()?;
        // Readers see a write before its answer goes out, and no key of an account that is gone.
        shared.core.forget_accounts(snapshot.deletions());
        shared.core.places.forget(&gone.accounts);
        shared.core.opened.forget(&gone, snapshot.gone());
        shared.core.places.follow(moves, snapshot.name_changes());
        shared.snapshot.store(Some(Arc::new(snapshot)));
        shared.commits.times.note(time);
        shared.commits.writes.note(writes);
    }
    shared.deleted_accounts.store(sweep.left(), Ordering::Relaxed);
    Ok((answers, time))
}

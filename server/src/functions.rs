//! Functions: what runs them. Workers in processes of their own, the turns of accounts, and what an
//! invocation's code may ask for. `worker/README.md` specifies the workers.

mod counters;
pub mod egress;
mod execution;
mod invocation;
mod launch;
mod launcher;
mod link;
mod mask;
mod pool;
mod share;
mod worker;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use neo_secrets_worker_protocol::{
    CompileError, Failure, FetchRequest, FetchResponse, Level, SecretText, Thrown,
};
use serde_json::value::RawValue;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use counters::Ended;
use counters::{Counters, State};
pub use execution::{ExecuteError, Executed, Invocation};
use launch::Launch;
pub use launch::Workers;
use mask::Mask;
pub use pool::CodeKey;
use pool::{LoadError, Pool};
use share::Share;
pub use share::{Place, Room, Turn};
use worker::Loaded;

use crate::config::ConfiguredLimits;
use crate::limits;
use crate::metrics::Text;
use crate::model::{AccountId, FunctionCode, Timestamp, Version};

/// All that runs functions: reactors and workers. It has no process before the first code comes.
pub struct Functions {
    reactor: Reactor,
    pool: Arc<Pool>,
    share: Arc<Share>,
    counters: Arc<Counters>,
    /// What is under way in [`Functions::spawn`].
    works: watch::Sender<usize>,
    /// Records that wait for the disk; memory is in KiB.
    records: Arc<Share>,
    /// Whether the server ends.
    ends: watch::Sender<bool>,
}

const RECORDS: Room =
    Room { running: usize::MAX, memory: limits::RECORDS_WAITING_KIB, waiting: usize::MAX };

/// Something under way, until it is dropped.
struct Work(watch::Sender<usize>);

/// How much there is for functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionLimits {
    /// What runs and waits.
    pub room: Room,
    /// Workers that wait for the code that they have seen.
    pub loaded_workers: usize,
    /// Workers that wait for whatever code comes.
    pub warm_workers: usize,
}

/// One invocation.
pub struct Job {
    /// Whose code it is.
    pub key: CodeKey,
    /// The code.
    pub code: FunctionCode,
    /// `context.params`: JSON.
    pub params: String,
    /// `context.environment`, by name.
    pub environment: Vec<(String, String)>,
    /// The names that the function declares.
    pub secrets: Vec<String>,
    /// What begins the placeholders of use-only secrets.
    pub reference: String,
    /// The execution's id.
    pub execution: String,
    /// When it began.
    pub began: Began,
    /// How long it may run.
    pub timeout: Duration,
    /// How much memory its engine may take.
    pub memory_mib: u32,
}

/// When something began, by the host's clock, and by one that never goes backwards.
#[derive(Clone, Copy, Debug)]
pub struct Began(Timestamp, Instant);

/// What the code of one invocation asks of the server.
pub trait Host: Send + Sync + 'static {
    /// Reads a secret, in whatever words the code names it.
    fn secret(&self, name: &str) -> impl Future<Output = SecretRead> + Send;
    /// Calls another host.
    fn fetch(
        &self,
        request: FetchRequest,
    ) -> impl Future<Output = Result<FetchResponse, Failure>> + Send;
}

/// What became of a read.
pub enum SecretRead {
    /// The live version's value.
    Value(SecretText, Version),
    /// Not declared, or not allowed.
    Denied,
    /// There is none, or it has expired.
    NotFound,
    /// The server could not read it.
    Failed(Failure),
}

/// How an invocation went.
pub struct Outcome {
    /// Its end.
    pub end: End,
    /// What it logged; values that it read are masked.
    pub logs: Vec<LogLine>,
    /// How long it took.
    pub duration: Duration,
    /// Names and versions of the secrets that it was given, sorted, each once.
    pub reads: Vec<(String, Version)>,
    /// The result as it is kept, where it has one; values that it read are masked.
    pub kept_result: Option<String>,
    /// Of the values that it was given. Empty, where all of this is masked.
    mask: Mask,
}

/// An invocation's end.
#[derive(Debug)]
pub enum End {
    /// It has a result: the very bytes that the code made.
    Completed(Box<RawValue>),
    /// The code threw this; values that it read are masked.
    Thrown(Thrown),
    /// It was over its time.
    TimedOut,
    /// It was over its memory.
    MemoryExceeded,
    /// Its worker ended, or had to be ended.
    Broken,
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Its level.
    pub level: Level,
    /// When it came.
    pub time: Timestamp,
    /// Its text.
    pub text: String,
}

/// Everything is at work, and the account has its share of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all workers are busy")]
pub struct Busy;

/// There are no workers to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no function worker starts")]
pub struct Unavailable;

/// Why code is not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum CheckError {
    /// It is no JavaScript.
    Syntax(CompileError),
    /// See [`Busy`].
    Busy(Busy),
    /// See [`Unavailable`].
    Unavailable(Unavailable),
}

impl Functions {
    /// With workers of this program, or of a launcher. What is not there is told in the log, and
    /// each [`Functions::run`] tries it again.
    ///
    /// # Errors
    /// As the system says that has no threads.
    pub fn start(workers: impl Into<Workers>, limits: FunctionLimits) -> io::Result<Arc<Self>> {
        let FunctionLimits { room, loaded_workers, warm_workers } = limits;
        let (reactor, counters) = (Reactor::start()?, Counters::new());
        let launch = {
            let _within = reactor.handle().enter();
            Launch::new(workers.into())?
        };
        let pool = Pool::new(launch, warm_workers, loaded_workers, counters.clone());
        Ok(Arc::new(Self {
            reactor,
            pool,
            share: Share::new(room),
            counters,
            works: watch::Sender::new(0),
            records: Share::new(RECORDS),
            ends: watch::Sender::new(false),
        }))
    }

    /// Whether the code's syntax is right: a worker that has seen no code loads it, and is gone.
    ///
    /// # Errors
    /// [`CheckError`]
    pub async fn check(&self, account: AccountId, code: &FunctionCode) -> Result<(), CheckError> {
        let place = self.place(account, limits::CHECK_MEMORY_MIB, code.as_str().len());
        let turn = self.turn(place.map_err(CheckError::Busy)?).await.map_err(CheckError::Busy)?;
        let (pool, code) = (self.pool.clone(), code.clone());
        let checked = self.spawn(async move {
            let _until_it_ends = turn;
            let mut worker = pool.unseen().await.map_err(CheckError::Unavailable)?;
            match worker.load(code.as_str()).await {
                Loaded::Ok => Ok(()),
                Loaded::CompileError(error) => Err(CheckError::Syntax(error)),
                Loaded::Late => Err(CheckError::Syntax(worker::too_long())),
                Loaded::Broken => Err(CheckError::Unavailable(Unavailable)),
            }
        });
        checked.await.unwrap_or(Err(CheckError::Unavailable(Unavailable)))
    }

    /// A place in the account's queue, for an invocation with so much memory that holds so many
    /// bytes while it waits.
    ///
    /// # Errors
    /// [`Busy`], at once.
    pub fn place(&self, account: AccountId, memory_mib: u32, bytes: usize) -> Result<Place, Busy> {
        let memory_mib = memory_mib.saturating_add(limits::INVOCATION_OVERHEAD_MIB);
        let place = self.share.place(account, memory_mib, bytes);
        place.inspect_err(|Busy| self.counters.note(Ended::Busy))
    }

    /// Waits for the turn of somebody who waits for an answer, and so not for ever.
    ///
    /// # Errors
    /// [`Busy`]
    pub async fn turn(&self, place: Place) -> Result<Turn, Busy> {
        let turn = tokio::time::timeout(limits::TURN_WAIT, place.turn()).await;
        turn.map_err(|_| Busy).inspect_err(|Busy| self.counters.note(Ended::Busy))
    }

    /// Runs code once, in its turn, which lasts until all that it left is masked. To be called
    /// within [`Functions::spawn`].
    ///
    /// # Errors
    /// [`Unavailable`]: nothing has run.
    pub async fn run<H: Host>(
        &self,
        turn: Turn,
        job: Job,
        host: &Arc<H>,
    ) -> Result<Outcome, Unavailable> {
        let _until_it_ends = turn;
        let mut ends = self.ends.subscribe();
        let ended = async { ends.wait_for(|ends| *ends).await.is_ok() };
        let outcome = tokio::select! {
            outcome = self.run_loaded(job, host) => Some(outcome),
            _ = ended => None,
        };
        let Some(outcome) = outcome else {
            // Its worker is gone. Nobody is told of an end, and with the reactors this ends too: the
            // next start finds the execution lost.
            return std::future::pending().await;
        };
        self.counters.note(outcome.as_ref().map_or(Ended::Unavailable, |it| it.end.kind()));
        outcome
    }

    async fn run_loaded<H: Host>(&self, job: Job, host: &Arc<H>) -> Result<Outcome, Unavailable> {
        let key = job.key;
        match self.pool.loaded(key, &job.code).await {
            Ok(mut worker) => {
                worker.set(State::Running);
                let outcome = invocation::run(&mut worker, job, host).await;
                self.pool.keep(key, worker);
                Ok(outcome.masked().await)
            }
            Err(LoadError::CompileError(error)) => Ok(Outcome::not_compiled(error)),
            Err(LoadError::Broken) => Ok(Outcome::of(End::Broken)),
            Err(LoadError::Unavailable(unavailable)) => Err(unavailable),
        }
    }

    /// Does this where it goes on however its caller fares: what an invocation has begun elsewhere
    /// is not cut in its middle.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let until_it_ends = Work::begin(&self.works);
        self.reactor.handle().spawn(async move {
            let _until_it_ends = until_it_ends;
            work.await
        })
    }

    /// Waits until nothing is under way; how much there is, where that takes too long.
    pub async fn finished(&self, patience: Duration) -> usize {
        let mut works = self.works.subscribe();
        // The channel's other end is here.
        let none = async { works.wait_for(|works| *works == 0).await.is_ok() };
        let _late = tokio::time::timeout(patience, none).await;
        *self.works.borrow()
    }

    /// Ends every worker, those at work too, and waits for their ends.
    pub async fn end(&self) {
        self.ends.send_replace(true);
        self.pool.end();
        // A process that the system doesn't end is left to it.
        let _late = tokio::time::timeout(limits::WORKERS_END_TIMEOUT, self.counters.none()).await;
        self.reactor.stop();
    }

    /// Writes the metrics.
    pub fn write(&self, text: &mut Text) {
        self.counters.write(text, self.share.numbers());
    }
}

impl Began {
    /// At this moment, which the host's clock calls so.
    pub fn at_this_moment(now: Timestamp) -> Self {
        Self(now, Instant::now())
    }

    /// When it began.
    pub fn at(self) -> Timestamp {
        self.0
    }

    /// What time it is, by how long it has been.
    pub fn now(self) -> Timestamp {
        let ms = u64::try_from(self.1.elapsed().as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_unix_millis(self.0.unix_millis().saturating_add(ms))
    }
}

impl FunctionLimits {
    /// As configured; where that says nothing, by this machine's processors and memory.
    pub fn configured(configured: &ConfiguredLimits) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let whole = |number| usize::try_from(number).unwrap_or(usize::MAX);
        let running = match whole(configured.concurrent_invocations) {
            0 => limits::INVOCATIONS_MIN.max(limits::INVOCATIONS_PER_PROCESSOR * processors),
            given => given,
        };
        let memory_mib = match configured.invocation_memory_mib {
            0 => machine_memory_mib() / 2,
            given => given,
        };
        let waiting = whole(configured.queued_invocations);
        FunctionLimits {
            room: Room { running, memory: memory_mib, waiting },
            loaded_workers: whole(configured.loaded_workers),
            warm_workers: whole(configured.warm_workers),
        }
    }
}

/// The machine's memory.
fn machine_memory_mib() -> u64 {
    let info = rustix::system::sysinfo();
    let total = info.totalram.saturating_mul(u64::from(info.mem_unit));
    total / (1024 * 1024)
}

impl Outcome {
    fn of(end: End) -> Self {
        let (logs, duration, reads) = (vec![], Duration::ZERO, vec![]);
        Self { end, logs, duration, reads, kept_result: None, mask: Mask::default() }
    }

    /// Without the values that it was given, wherever they are not asked for. Elsewhere than on a
    /// reactor, where it would hold up others.
    async fn masked(self) -> Self {
        if self.mask.is_empty() {
            return self.masked_here();
        }
        let masked = tokio::task::spawn_blocking(move || self.masked_here()).await;
        // A panic is told where it happened. What is not masked is told to nobody.
        masked.unwrap_or_else(|_| Self::of(End::Broken))
    }

    fn masked_here(mut self) -> Self {
        let mut texts: Vec<&mut String> = self.logs.iter_mut().map(|line| &mut line.text).collect();
        match &mut self.end {
            End::Completed(result) => {
                texts.push(self.kept_result.insert(result.get().to_owned()));
            }
            End::Thrown(Thrown { name, message, stack }) => texts.extend([name, message, stack]),
            End::TimedOut | End::MemoryExceeded | End::Broken => {}
        }
        let masked = self.mask.texts(texts.iter_mut().map(|it| std::mem::take(*it)).collect());
        for (text, masked) in texts.into_iter().zip(masked) {
            *text = masked;
        }
        self.mask = Mask::default();
        self
    }

    /// Of code that another version's worker has taken, and this one's does not.
    fn not_compiled(error: CompileError) -> Self {
        let CompileError { message, line, column } = error;
        let stack = format!("    at function.js:{line}:{column}");
        Self::of(End::Thrown(Thrown { name: "SyntaxError".to_owned(), message, stack }))
    }
}

impl End {
    /// For the metrics.
    fn kind(&self) -> Ended {
        match self {
            End::Completed(_) => Ended::Completed,
            End::Thrown(_) => Ended::Thrown,
            End::TimedOut => Ended::TimedOut,
            End::MemoryExceeded => Ended::MemoryExceeded,
            End::Broken => Ended::Broken,
        }
    }
}

impl Work {
    fn begin(works: &watch::Sender<usize>) -> Self {
        works.send_modify(|works| *works += 1);
        Self(works.clone())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.send_modify(|works| *works -= 1);
    }
}

/// Reactors of their own: the API's have only calls to answer, and end with the listener.
struct Reactor(std::sync::Mutex<Option<Runtime>>, tokio::runtime::Handle);

impl Reactor {
    fn start() -> io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(processors.min(limits::FUNCTION_REACTORS))
            .thread_name("functions")
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self(std::sync::Mutex::new(Some(runtime)), handle))
    }

    fn handle(&self) -> &tokio::runtime::Handle {
        &self.1
    }

    /// Drops all that is under way, and so kills the workers.
    fn stop(&self) {
        let runtime = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // Dropped as it is, it would wait for its threads, which the reactors around must not.
        self.stop();
    }
}

#[cfg(test)]
mod tests;

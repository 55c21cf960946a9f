//! Workers that wait: warm ones that have seen no code, and loaded ones for the code that they have
//! seen. Each is watched, so that one that ends or speaks unasked is gone at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use neo_secrets_worker_protocol::CompileError;
use tokio::sync::oneshot;

use super::Unavailable;
use super::counters::{Counters, State};
use super::launch::Launch;
use super::worker::{Loaded, StartError, Worker, too_long};
use crate::limits;
use crate::model::{AccountId, ContentHash, FunctionCode, FunctionId};

/// Whose code a worker has seen: it serves nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeKey {
    /// The account.
    pub account: AccountId,
    /// The function.
    pub function: FunctionId,
    /// SHA-256 of the code.
    pub code_sha256: ContentHash,
}

/// Why no worker has the code.
#[derive(Debug)]
pub enum LoadError {
    /// None starts.
    Unavailable(Unavailable),
    /// It is no code.
    CompileError(CompileError),
    /// The worker that should look at it was lost.
    Broken,
}

/// All workers that wait.
pub struct Pool {
    launch: Launch,
    warm_max: usize,
    loaded_max: usize,
    counters: Arc<Counters>,
    failing: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    is_over: bool,
    last: u64,
    /// Warm ones that are being started.
    coming: usize,
    warm: Vec<Idle>,
    /// Longest idle first.
    loaded: Vec<(CodeKey, Idle)>,
}

/// A watched worker; dropped, it ends.
struct Idle {
    number: u64,
    take: oneshot::Sender<oneshot::Sender<Worker>>,
}

impl Pool {
    /// Without any worker; they come with the first code.
    pub fn new(
        launch: Launch,
        warm_max: usize,
        loaded_max: usize,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        let (failing, waiting) = (AtomicBool::new(false), Mutex::default());
        let pool = Arc::new(Self { launch, warm_max, loaded_max, counters, failing, waiting });
        if let Err(error) = pool.launch.check() {
            pool.note_failure(&error);
        }
        pool
    }

    /// A worker that waits for an invocation of this code.
    ///
    /// # Errors
    /// [`LoadError`]
    pub async fn loaded(
        self: &Arc<Self>,
        key: CodeKey,
        code: &FunctionCode,
    ) -> Result<Worker, LoadError> {
        self.look_at_launch();
        while let Some(idle) = self.take_loaded(key) {
            if let Some(worker) = handed_over(idle).await {
                return Ok(worker);
            }
        }
        let mut worker = self.unseen().await.map_err(LoadError::Unavailable)?;
        let mut loaded = worker.load(code.as_str()).await;
        if matches!(loaded, Loaded::Broken) {
            // One that has waited may have been lost unnoticed; nothing of the code has run.
            worker = self.start().await.map_err(LoadError::Unavailable)?;
            loaded = worker.load(code.as_str()).await;
        }
        match loaded {
            Loaded::Ok => Ok(worker),
            Loaded::CompileError(error) => Err(LoadError::CompileError(error)),
            Loaded::Late => Err(LoadError::CompileError(too_long())),
            Loaded::Broken => Err(LoadError::Broken),
        }
    }

    /// A worker that has seen no code.
    ///
    /// # Errors
    /// [`Unavailable`] where none starts.
    pub async fn unseen(self: &Arc<Self>) -> Result<Worker, Unavailable> {
        self.look_at_launch();
        let mut found = None;
        while found.is_none()
            && let Some(idle) = self.take_warm()
        {
            found = handed_over(idle).await;
        }
        let worker = match found {
            Some(worker) => worker,
            None => self.start().await?,
        };
        self.fill();
        Ok(worker)
    }

    /// Keeps a loaded worker for the next invocation of its code, if it may be kept.
    pub fn keep(self: &Arc<Self>, key: CodeKey, worker: Worker) {
        self.watch(Some(key), worker);
    }

    /// Ends all that wait, and keeps none from here on.
    pub fn end(&self) {
        let (warm, loaded) = {
            let mut waiting = self.lock();
            waiting.is_over = true;
            (std::mem::take(&mut waiting.warm), std::mem::take(&mut waiting.loaded))
        };
        drop((warm, loaded));
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(&self) -> Result<Worker, Unavailable> {
        match Worker::start(&self.launch, &self.counters).await {
            Ok(worker) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("function workers start again");
                }
                Ok(worker)
            }
            Err(error) => {
                self.note_failure(&error);
                Err(Unavailable)
            }
        }
    }

    /// Where nobody can end workers any more, none that waits is used.
    fn look_at_launch(&self) {
        if self.launch.is_lost() {
            let mut waiting = self.lock();
            let gone = (std::mem::take(&mut waiting.warm), std::mem::take(&mut waiting.loaded));
            drop(waiting);
            drop(gone);
        }
    }

    fn note_failure(&self, reason: &StartError) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(%reason, "no function runs: its worker does not start");
        }
    }

    fn take_loaded(&self, key: CodeKey) -> Option<Idle> {
        let mut waiting = self.lock();
        // The one that waits least has the most in the processor's caches.
        let at = waiting.loaded.iter().rposition(|(its, _)| *its == key)?;
        Some(waiting.loaded.remove(at).1)
    }

    fn take_warm(&self) -> Option<Idle> {
        self.lock().warm.pop()
    }

    /// Starts warm workers for those that are missing.
    fn fill(self: &Arc<Self>) {
        let missing = {
            let mut waiting = self.lock();
            let there = waiting.warm.len() + waiting.coming;
            let missing = if waiting.is_over { 0 } else { self.warm_max.saturating_sub(there) };
            waiting.coming += missing;
            missing
        };
        for _ in 0..missing {
            let pool = self.clone();
            tokio::spawn(async move {
                let started = pool.start().await;
                pool.lock().coming -= 1;
                if let Ok(worker) = started {
                    pool.watch(None, worker);
                }
            });
        }
    }

    fn watch(self: &Arc<Self>, key: Option<CodeKey>, mut worker: Worker) {
        worker.link.shrink();
        let is_fresh = worker.is_fresh();
        if is_fresh {
            worker.set(if key.is_some() { State::Loaded } else { State::Warm });
        }
        let (take, mut taken) = oneshot::channel();
        let (number, surplus) = {
            let mut waiting = self.lock();
            let full = waiting.is_over || !is_fresh;
            waiting.last += 1;
            let idle = Idle { number: waiting.last, take };
            match key {
                _ if full => (0, Some(idle)),
                None => {
                    waiting.warm.push(idle);
                    (waiting.last, None)
                }
                Some(key) => {
                    waiting.loaded.push((key, idle));
                    let is_surplus = waiting.loaded.len() > self.loaded_max;
                    let surplus = is_surplus.then(|| waiting.loaded.remove(0).1);
                    (waiting.last, surplus)
                }
            }
        };
        drop(surplus);
        let pool = self.clone();
        tokio::spawn(async move {
            let asked = tokio::select! {
                biased;
                asked = &mut taken => asked.ok(),
                () = worker.stray() => None,
                () = tokio::time::sleep(limits::IDLE_WORKER_TIME), if key.is_some() => None,
            };
            pool.forget(number);
            if let Some(asks) = asked {
                // Whoever asked may have gone; then so does the worker.
                drop(asks.send(worker));
            }
        });
    }

    fn forget(&self, number: u64) {
        let mut waiting = self.lock();
        waiting.warm.retain(|idle| idle.number != number);
        waiting.loaded.retain(|(_, idle)| idle.number != number);
    }
}

/// The worker from the task that watches it, if it is still there.
async fn handed_over(idle: Idle) -> Option<Worker> {
    let (give, given) = oneshot::channel();
    idle.take.send(give).ok()?;
    given.await.ok()
}

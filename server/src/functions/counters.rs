//! What the metrics tell of functions: numbers without names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::metrics::{Histogram, Kind, TIMES, Text};

/// How an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a result.
    Completed,
    /// With an error that the code threw.
    Thrown,
    /// Over its time.
    TimedOut,
    /// Over its memory.
    MemoryExceeded,
    /// Its worker was lost.
    Broken,
    /// It found no place, or no turn in time.
    Busy,
    /// There was no worker to be had.
    Unavailable,
}

const OUTCOMES: [(&str, Ended); 7] = [
    ("completed", Ended::Completed),
    ("failed", Ended::Thrown),
    ("timeout", Ended::TimedOut),
    ("memory-exceeded", Ended::MemoryExceeded),
    ("worker-lost", Ended::Broken),
    ("busy", Ended::Busy),
    ("unavailable", Ended::Unavailable),
];

/// What a worker does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its process begins, or it looks at code.
    Starting,
    /// Warm, without code.
    Warm,
    /// Warm, with code.
    Loaded,
    /// It runs code.
    Running,
    /// It is being ended.
    Ending,
}

const STATES: [(&str, State); 5] = [
    ("starting", State::Starting),
    ("warm", State::Warm),
    ("loaded", State::Loaded),
    ("running", State::Running),
    ("ending", State::Ending),
];

/// The numbers.
pub struct Counters {
    outcomes: [AtomicU64; OUTCOMES.len()],
    workers: [AtomicU64; STATES.len()],
    gone: Notify,
    starts: Histogram<Duration>,
}

/// A worker's part of the numbers, until it is dropped.
pub struct Counted {
    counters: Arc<Counters>,
    state: State,
}

impl Counters {
    /// All at nothing.
    pub fn new() -> Arc<Self> {
        let (outcomes, workers) = (Default::default(), Default::default());
        let gone = Notify::new();
        Arc::new(Self { outcomes, workers, gone, starts: Histogram::new(TIMES) })
    }

    /// Counts an invocation's end.
    pub fn note(&self, ended: Ended) {
        for ((_, outcome), count) in OUTCOMES.iter().zip(&self.outcomes) {
            if *outcome == ended {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts a worker that is ready.
    pub fn note_start(&self, time: Duration) {
        self.starts.note(time);
    }

    /// Waits until there is no worker.
    pub async fn none(&self) {
        loop {
            let mut gone = std::pin::pin!(self.gone.notified());
            // Whoever goes between the look and the wait is heard.
            gone.as_mut().enable();
            if self.workers.iter().all(|count| count.load(Ordering::Acquire) == 0) {
                return;
            }
            gone.await;
        }
    }

    fn of(&self, state: State) -> Option<&AtomicU64> {
        STATES.iter().zip(&self.workers).find(|((_, it), _)| *it == state).map(|(_, count)| count)
    }

    /// Writes them, with how many run and wait.
    pub fn write(&self, text: &mut Text, (running, waiting): (usize, usize)) {
        let name = "neo_secrets_function_invocations_total";
        let mut family = text.family(name, Kind::Counter, "Invocations that have ended.");
        for ((outcome, _), count) in OUTCOMES.iter().zip(&self.outcomes) {
            family.number(&[("outcome", outcome)], count.load(Ordering::Relaxed));
        }
        let name = "neo_secrets_function_invocations_running";
        text.family(name, Kind::Gauge, "Invocations at work.").number(&[], running);
        let name = "neo_secrets_function_invocations_waiting";
        text.family(name, Kind::Gauge, "Invocations that wait for a turn.").number(&[], waiting);
        let name = "neo_secrets_function_workers";
        let mut family = text.family(name, Kind::Gauge, "Processes that run functions.");
        for ((state, _), count) in STATES.iter().zip(&self.workers) {
            family.number(&[("state", state)], count.load(Ordering::Relaxed));
        }
        let name = "neo_secrets_function_worker_start_duration_seconds";
        let help = "From a worker's start to its word that its sandbox is on.";
        text.family(name, Kind::Histogram, help).histogram(&[], &self.starts);
    }
}

impl Counted {
    /// One more worker.
    pub fn new(counters: &Arc<Counters>, state: State) -> Self {
        let counted = Self { counters: counters.clone(), state };
        counted.add(1);
        counted
    }

    /// It goes over into another state.
    pub fn set(&mut self, state: State) {
        self.add(u64::MAX);
        self.state = state;
        self.add(1);
    }

    /// Adds, around the end of the numbers.
    fn add(&self, number: u64) {
        if let Some(count) = self.counters.of(self.state) {
            count.fetch_add(number, Ordering::AcqRel);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.add(u64::MAX);
        self.counters.gone.notify_waiters();
    }
}

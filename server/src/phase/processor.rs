//! The secure processor's channel: tries again while it is busy, and leaves it alone once it is
//! dead.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use neo_secrets_attestation::endorsements::Endorsements;
use neo_secrets_attestation::firmware::{self, FirmwareError};
use neo_secrets_attestation::roots::Roots;

use crate::limits;
use crate::metrics::{Histogram, TIMES};
use crate::platform::{Platform, PlatformError};
use crate::seal::{DerivedKey, KeyRequest};

/// Bytes of a report.
pub const REPORT_BYTES: usize = 1184;

/// MSG_KEY_REQ of one start, at most: that of the slot, and one to re-wrap it after a TCB raise.
/// Every request is one more chance that the firmware refuses it, which kills the channel.
const KEY_REQUESTS_MAX: u8 = 2;

/// One machine's secure processor. Calls block.
pub struct Processor {
    platform: Box<dyn Platform>,
    report_calls: Calls,
    key_calls: Calls,
    state: Mutex<ProcessorState>,
    last_report: Mutex<Option<[u8; REPORT_BYTES]>>,
    key_requests: AtomicU8,
    stopping: AtomicBool,
    wake: (Mutex<()>, Condvar),
}

/// The calls of one kind since the start.
pub struct Calls {
    /// The kind, in one word.
    pub name: &'static str,
    /// How long each took.
    pub times: Histogram<Duration>,
    outcomes: [AtomicU64; OUTCOMES.len()],
}

/// How a call can end: with an answer, not now, with the firmware's no, or with the channel's end.
const OUTCOMES: [&str; 4] = ["ok", "busy", "refused", "lost"];

/// How the channel fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessorState {
    /// The last call went through.
    Working,
    /// The last call failed; the next one may not.
    Failing(String),
    /// The device or the firmware failed in a way that ends the channel until the machine restarts.
    /// No further call is made.
    Dead(String),
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProcessorError {
    /// Busy for as long as the caller had patience.
    #[error("the secure processor is busy")]
    Busy,
    /// The firmware answered with an error; the channel lives.
    #[error(transparent)]
    Refused(#[from] FirmwareError),
    /// See [`ProcessorState::Dead`].
    #[error("{0}")]
    Dead(String),
    /// A third key request.
    #[error("this start has used up its key requests")]
    KeyRequests,
}

impl Calls {
    fn new(name: &'static str) -> Self {
        Calls { name, times: Histogram::new(TIMES), outcomes: Default::default() }
    }

    /// How many ended how.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.outcomes.iter().map(|count| count.load(Ordering::Relaxed));
        OUTCOMES.into_iter().zip(counts)
    }

    fn note<T>(&self, answer: &Result<Result<T, FirmwareError>, PlatformError>, time: Duration) {
        let [ok, busy, refused, lost] = &self.outcomes;
        let outcome = match answer {
            Ok(Ok(_)) => ok,
            Ok(Err(_)) => refused,
            Err(PlatformError::Busy) => busy,
            Err(_) => lost,
        };
        outcome.fetch_add(1, Ordering::Relaxed);
        self.times.note(time);
    }
}

impl Processor {
    /// A channel that nobody has used yet.
    pub fn new(platform: impl Platform) -> Self {
        Processor {
            platform: Box::new(platform),
            report_calls: Calls::new("report"),
            key_calls: Calls::new("key"),
            state: Mutex::new(ProcessorState::Working),
            last_report: Mutex::new(None),
            key_requests: AtomicU8::new(0),
            stopping: AtomicBool::new(false),
            wake: (Mutex::new(()), Condvar::new()),
        }
    }

    /// How the channel fares.
    pub fn state(&self) -> ProcessorState {
        self.lock().clone()
    }

    /// What it was asked so far, kind by kind.
    pub fn calls(&self) -> [&Calls; 2] {
        [&self.report_calls, &self.key_calls]
    }

    /// A report over this REPORT_DATA: the raw bytes. While the processor is busy it is asked
    /// again, until `patience` is over; `None` has no end but [`Processor::stop`].
    ///
    /// # Errors
    /// [`ProcessorError`]
    pub fn report(
        &self,
        report_data: &[u8; 64],
        patience: Option<Duration>,
    ) -> Result<[u8; REPORT_BYTES], ProcessorError> {
        let report = self.persist(&self.report_calls, patience, || {
            let answer = self.platform.report(report_data)?;
            Ok(firmware::report_response(&answer).copied())
        })?;
        let report = report.map_err(ProcessorError::Refused);
        self.note(report.as_ref().err());
        if let Ok(report) = &report {
            *self.last_report.lock().unwrap_or_else(PoisonError::into_inner) = Some(*report);
        }
        report
    }

    /// The last report of this start.
    pub fn last_report(&self) -> Option<[u8; REPORT_BYTES]> {
        *self.last_report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key for this request.
    ///
    /// # Errors
    /// [`ProcessorError`]
    pub fn derive_key(&self, request: &KeyRequest) -> Result<DerivedKey, ProcessorError> {
        if self.key_requests.fetch_add(1, Ordering::SeqCst) >= KEY_REQUESTS_MAX {
            return Err(ProcessorError::KeyRequests);
        }
        let key = self.persist(&self.key_calls, None, || {
            let answer = self.platform.derive_key(request.as_bytes())?;
            Ok(DerivedKey::from_response(answer.as_slice()))
        })?;
        Ok(key?)
    }

    /// What the host handed over with the machine.
    pub fn given_endorsements(&self) -> Option<Endorsements> {
        self.platform.endorsements()
    }

    /// Gives up keys for good.
    ///
    /// # Errors
    /// Where the system does not let it.
    pub fn only_reports(&self) -> std::io::Result<()> {
        self.platform.only_reports()
    }

    /// Whose reports these are.
    pub fn roots(&self) -> Roots {
        self.platform.roots()
    }

    /// Ends every wait for a busy processor, now and later.
    pub fn stop(&self) {
        let _waiters = self.wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.stopping.store(true, Ordering::SeqCst);
        self.wake.1.notify_all();
    }

    fn persist<T>(
        &self,
        calls: &Calls,
        patience: Option<Duration>,
        call: impl Fn() -> Result<Result<T, FirmwareError>, PlatformError>,
    ) -> Result<Result<T, FirmwareError>, ProcessorError> {
        let started = Instant::now();
        let mut pause = limits::BUSY_PAUSE_MIN;
        loop {
            if let ProcessorState::Dead(reason) = self.state() {
                return Err(ProcessorError::Dead(reason));
            }
            let called = Instant::now();
            let answer = call();
            calls.note(&answer, called.elapsed());
            match answer {
                Ok(answer) => return Ok(answer),
                Err(PlatformError::Busy) => {}
                Err(error) => {
                    let error = ProcessorError::Dead(error.to_string());
                    self.note(Some(&error));
                    return Err(error);
                }
            }
            let over = patience.is_some_and(|patience| started.elapsed() + pause > patience);
            if over || self.pause(pause) {
                self.note(Some(&ProcessorError::Busy));
                return Err(ProcessorError::Busy);
            }
            pause = (2 * pause).min(limits::BUSY_PAUSE_MAX);
        }
    }

    /// Waits; true where the server stops.
    fn pause(&self, pause: Duration) -> bool {
        let stopping = || self.stopping.load(Ordering::SeqCst);
        let guard = self.wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.wake.1.wait_timeout_while(guard, pause, |()| !stopping()));
        stopping()
    }

    fn note(&self, error: Option<&ProcessorError>) {
        let state = match error {
            None => ProcessorState::Working,
            Some(ProcessorError::Dead(reason)) => ProcessorState::Dead(reason.clone()),
            Some(error) => ProcessorState::Failing(error.to_string()),
        };
        let mut now = self.lock();
        if *now == state || matches!(*now, ProcessorState::Dead(_)) {
            return;
        }
        match &state {
            ProcessorState::Working => tracing::info!("the secure processor works again"),
            ProcessorState::Failing(reason) => {
                tracing::warn!(%reason, "the secure processor fails")
            }
            ProcessorState::Dead(reason) => {
                tracing::error!(%reason, "the secure processor is lost until the machine restarts");
            }
        }
        *now = state;
    }

    fn lock(&self) -> MutexGuard<'_, ProcessorState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Answer, FakePlatform};

    fn processor(answers: impl IntoIterator<Item = Answer>) -> (Processor, FakePlatform) {
        let platform = FakePlatform::new(answers);
        (Processor::new(platform.clone()), platform)
    }

    #[test]
    fn busy_is_tried_again_and_recovers() {
        let (processor, platform) = processor([Answer::Busy, Answer::Busy, Answer::Report]);
        let report = processor.report(&[7; 64], None).unwrap();
        assert_eq!(report[0x50..0x90], [7; 64]);
        assert_eq!((platform.calls(), processor.state()), (3, ProcessorState::Working));
    }

    #[test]
    fn patience_ends_and_the_next_call_is_free() {
        let (processor, platform) = processor([Answer::Busy, Answer::Report]);
        let error = processor.report(&[7; 64], Some(Duration::ZERO)).unwrap_err();
        assert!(matches!(error, ProcessorError::Busy));
        assert!(matches!(processor.state(), ProcessorState::Failing(_)));
        processor.report(&[7; 64], Some(Duration::ZERO)).unwrap();
        assert_eq!((platform.calls(), processor.state()), (2, ProcessorState::Working));
    }

    #[test]
    fn a_dead_channel_is_left_alone() {
        let (processor, platform) = processor([Answer::Firmware, Answer::Report]);
        for _ in 0..3 {
            let error = processor.report(&[7; 64], None).unwrap_err();
            assert!(matches!(error, ProcessorError::Dead(_)));
        }
        assert_eq!(platform.calls(), 1);
        assert!(matches!(processor.state(), ProcessorState::Dead(_)));
    }

    #[test]
    fn a_status_in_the_answer_is_no_death() {
        let (processor, _) = processor([Answer::Status(0x16), Answer::Report]);
        let error = processor.report(&[7; 64], None).unwrap_err();
        let ProcessorError::Refused(FirmwareError::Status { status: 0x16 }) = error else {
            panic!("{error}");
        };
        processor.report(&[7; 64], None).unwrap();
        assert_eq!(processor.state(), ProcessorState::Working);
    }

    #[test]
    fn calls_are_counted_by_how_they_ended() {
        let answers = [Answer::Busy, Answer::Report, Answer::Status(0x16), Answer::Firmware];
        let (processor, platform) = processor(answers);
        for _ in 0..4 {
            let _counted = processor.report(&[7; 64], None);
        }
        let [reports, keys] = processor.calls();
        let outcomes: Vec<_> = reports.outcomes().collect();
        assert_eq!(outcomes, [("ok", 1), ("busy", 1), ("refused", 1), ("lost", 1)]);
        assert_eq!(
            (reports.times.count(), platform.calls()),
            (4, 4),
            "none was made after the end"
        );
        assert_eq!(keys.times.count(), 0);
    }

    #[test]
    fn stopping_ends_the_wait() {
        let (processor, platform) = processor(std::iter::repeat_n(Answer::Busy, 2));
        processor.stop();
        assert!(matches!(processor.report(&[0; 64], None), Err(ProcessorError::Busy)));
        assert_eq!(platform.calls(), 1);
    }
}

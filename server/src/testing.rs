//! A platform for unit tests: counts its calls, answers from a list, and can be held.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};

use zeroize::Zeroizing;

use crate::platform::{
    Endorsements, KEY_REQUEST_BYTES, KEY_RESPONSE_BYTES, Platform, PlatformError,
    REPORT_RESPONSE_BYTES,
};

/// What one report call answers.
#[derive(Clone, Copy)]
pub enum Answer {
    /// A report of zeros but for REPORT_DATA.
    Report,
    /// An answer with this status.
    Status(u32),
    /// Busy.
    Busy,
    /// A refusal that ends the channel.
    Firmware,
}

/// Clones are the same platform.
#[derive(Clone)]
pub struct FakePlatform(Arc<(Mutex<State>, Condvar)>);

struct State {
    answers: VecDeque<Answer>,
    calls: usize,
    permits: usize,
}

impl FakePlatform {
    /// Gives these answers, then reports.
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = answers.into_iter().collect();
        FakePlatform(Arc::new((
            Mutex::new(State { answers, calls: 0, permits: usize::MAX }),
            Condvar::new(),
        )))
    }

    /// Gives reports, each only after [`FakePlatform::open_gate`].
    pub fn gated() -> Self {
        let platform = Self::new([]);
        platform.0.0.lock().unwrap().permits = 0;
        platform
    }

    /// Lets so many calls through.
    pub fn open_gate(&self, calls: usize) {
        self.0.0.lock().unwrap().permits += calls;
        self.0.1.notify_all();
    }

    /// Calls begun.
    pub fn calls(&self) -> usize {
        self.0.0.lock().unwrap().calls
    }

    /// Waits until so many calls have begun.
    pub fn await_calls(&self, calls: usize) {
        let state = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(state, |state| state.calls < calls).unwrap());
    }
}

impl Platform for FakePlatform {
    fn report(&self, data: &[u8; 64]) -> Result<[u8; REPORT_RESPONSE_BYTES], PlatformError> {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        state.calls += 1;
        changed.notify_all();
        state = changed.wait_while(state, |state| state.permits == 0).unwrap();
        state.permits -= usize::from(state.permits != usize::MAX);
        let mut answer = [0; REPORT_RESPONSE_BYTES];
        answer[4..8].copy_from_slice(&1184_u32.to_le_bytes());
        answer[32 + 0x50..32 + 0x90].copy_from_slice(data);
        match state.answers.pop_front().unwrap_or(Answer::Report) {
            Answer::Report => Ok(answer),
            Answer::Status(status) => {
                answer[..4].copy_from_slice(&status.to_le_bytes());
                Ok(answer)
            }
            Answer::Busy => Err(PlatformError::Busy),
            Answer::Firmware => Err(PlatformError::Firmware { status: 0x1_0000_0000 }),
        }
    }

    fn derive_key(
        &self,
        _: &[u8; KEY_REQUEST_BYTES],
    ) -> Result<Zeroizing<[u8; KEY_RESPONSE_BYTES]>, PlatformError> {
        Err(PlatformError::Firmware { status: 0 })
    }

    fn endorsements(&self) -> Result<Endorsements, PlatformError> {
        Ok(Endorsements { vek: vec![1], ask: vec![2], ark: vec![3], crl: None })
    }
}

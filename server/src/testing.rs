//! A platform for unit tests: counts its calls, answers from a list, and can be held.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::SystemTime;

use neo_secrets_attestation::roots::Roots;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::platform::{
    Endorsements, KEY_REQUEST_BYTES, KEY_RESPONSE_BYTES, Platform, PlatformError,
    REPORT_RESPONSE_BYTES,
};

/// What one report call answers.
#[derive(Clone, Copy)]
pub enum Answer {
    /// A report that is fit to seal by, but unsigned.
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
pub struct FakePlatform {
    chip: u8,
    shared: Arc<(Mutex<State>, Condvar)>,
}

struct State {
    answers: VecDeque<Answer>,
    calls: usize,
    permits: usize,
}

impl FakePlatform {
    /// Chip 1: gives these answers, then reports.
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = answers.into_iter().collect();
        let state = State { answers, calls: 0, permits: usize::MAX };
        FakePlatform { chip: 1, shared: Arc::new((Mutex::new(state), Condvar::new())) }
    }

    /// Another chip that gives reports.
    pub fn chip(chip: u8) -> Self {
        FakePlatform { chip, ..Self::new([]) }
    }

    /// Gives reports, each only after [`FakePlatform::open_gate`].
    pub fn gated() -> Self {
        let platform = Self::new([]);
        platform.shared.0.lock().unwrap().permits = 0;
        platform
    }

    /// Lets so many calls through.
    pub fn open_gate(&self, calls: usize) {
        self.shared.0.lock().unwrap().permits += calls;
        self.shared.1.notify_all();
    }

    /// Calls begun.
    pub fn calls(&self) -> usize {
        self.shared.0.lock().unwrap().calls
    }

    /// Waits until so many calls have begun.
    pub fn await_calls(&self, calls: usize) {
        let state = self.shared.0.lock().unwrap();
        drop(self.shared.1.wait_while(state, |state| state.calls < calls).unwrap());
    }

    fn answer(&self, report_data: &[u8; 64]) -> [u8; REPORT_RESPONSE_BYTES] {
        let mut answer = [0; REPORT_RESPONSE_BYTES];
        answer[4..8].copy_from_slice(&1184_u32.to_le_bytes());
        let mut set = |offset: usize, bytes: &[u8]| {
            answer[32 + offset..32 + offset + bytes.len()].copy_from_slice(bytes);
        };
        let tcb = [10, 0, 0, 0, 0, 0, 23, 84]; // Genoa
        set(0x000, &[3]);
        set(0x008, &0x3_0000_u64.to_le_bytes());
        set(0x034, &[1]);
        set(0x050, report_data);
        set(0x090, &[0x4D; 48]);
        set(0x160, &[0xFF; 32]);
        set(0x188, &[0x19, 0x11, 1]);
        set(0x1A0, &[self.chip; 64]);
        for offset in [0x038, 0x180, 0x1E0, 0x1F0] {
            set(offset, &tcb);
        }
        answer
    }
}

impl Platform for FakePlatform {
    fn report(&self, data: &[u8; 64]) -> Result<[u8; REPORT_RESPONSE_BYTES], PlatformError> {
        let (state, changed) = &*self.shared;
        let mut state = state.lock().unwrap();
        state.calls += 1;
        changed.notify_all();
        state = changed.wait_while(state, |state| state.permits == 0).unwrap();
        state.permits -= usize::from(state.permits != usize::MAX);
        let mut answer = self.answer(data);
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
        request: &[u8; KEY_REQUEST_BYTES],
    ) -> Result<Zeroizing<[u8; KEY_RESPONSE_BYTES]>, PlatformError> {
        let mut answer = Zeroizing::new([0; KEY_RESPONSE_BYTES]);
        let key = Sha256::new().chain_update([self.chip]).chain_update(request).finalize();
        answer[32..].copy_from_slice(&key);
        Ok(answer)
    }

    fn endorsements(&self) -> Option<Endorsements> {
        Some(Endorsements { vek: vec![1], ask: vec![2], ark: vec![3], crl: None })
    }

    fn only_reports(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn time(&self) -> SystemTime {
        SystemTime::now()
    }

    fn roots(&self) -> Roots {
        Roots::Amd
    }
}

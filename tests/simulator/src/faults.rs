//! Faults that tests inject into a simulated secure processor, and what it was asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use neo_secrets_server::platform::KEY_REQUEST_BYTES;

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The host throttles: `PlatformError::Busy`.
    Busy,
    /// The firmware refuses the message: `PlatformError::Firmware` with this status.
    Firmware {
        /// Firmware error in the low half, VMM error in the high half.
        status: u64,
    },
    /// The device fails: `PlatformError::Device`.
    Device,
    /// A key answer of status 0 whose key is all zeros. Key requests only.
    ZeroKey,
    /// A report answer that says it carries fewer bytes than a report has. Report requests only.
    TruncatedReport,
    /// A report answer of the right size full of 0xA5. Report requests only.
    GarbageReport,
    /// A report that is right but for its signature, which another chip made. Report requests only.
    ForeignSignature,
}

/// The two requests that the guest device takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Report,
    Key,
}

impl Fault {
    fn befalls(self, request: Request) -> bool {
        match self {
            Self::Busy | Self::Firmware { .. } | Self::Device => true,
            Self::ZeroKey => request == Request::Key,
            Self::TruncatedReport | Self::GarbageReport | Self::ForeignSignature => {
                request == Request::Report
            }
        }
    }
}

#[derive(Debug)]
struct Plan {
    fault: Fault,
    spared: u32,
    times: Option<u32>,
}

#[derive(Debug, Default)]
struct State {
    plans: Vec<Plan>,
    report_count: u64,
    key_requests: Vec<[u8; KEY_REQUEST_BYTES]>,
}

/// A handle on a machine's faults. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<State>>);

impl Faults {
    /// The next `times` requests that this fault can befall fail with it.
    pub fn next(&self, times: u32, fault: Fault) {
        self.state().plans.push(Plan { fault, spared: 0, times: Some(times) });
    }

    /// Every request that this fault can befall fails with it, from now on but for the first
    /// `spared`.
    pub fn for_ever_after(&self, spared: u32, fault: Fault) {
        self.state().plans.push(Plan { fault, spared, times: None });
    }

    /// Forgets every fault.
    pub fn clear(&self) {
        self.state().plans.clear();
    }

    /// How many report requests reached the processor, whatever became of them.
    pub fn report_count(&self) -> u64 {
        self.state().report_count
    }

    /// The key requests that reached the processor, in order.
    pub fn key_requests(&self) -> Vec<[u8; KEY_REQUEST_BYTES]> {
        self.state().key_requests.clone()
    }

    pub(crate) fn on_report(&self) -> Option<Fault> {
        let mut state = self.state();
        state.report_count += 1;
        state.befall(Request::Report)
    }

    pub(crate) fn on_key(&self, request: &[u8; KEY_REQUEST_BYTES]) -> Option<Fault> {
        let mut state = self.state();
        state.key_requests.push(*request);
        state.befall(Request::Key)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn befall(&mut self, request: Request) -> Option<Fault> {
        let at = self.plans.iter_mut().position(|plan| {
            let ready = plan.fault.befalls(request) && plan.spared == 0;
            if plan.fault.befalls(request) {
                plan.spared = plan.spared.saturating_sub(1);
            }
            ready
        })?;
        let plan = &mut self.plans[at];
        let fault = plan.fault;
        plan.times = plan.times.map(|times| times.saturating_sub(1));
        if plan.times == Some(0) {
            self.plans.remove(at);
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_befall_the_requests_they_can_as_often_as_asked() {
        let faults = Faults::default();
        faults.next(2, Fault::ZeroKey);
        assert_eq!(faults.on_report(), None);
        assert_eq!(faults.on_key(&[1; 32]), Some(Fault::ZeroKey));
        assert_eq!(faults.on_key(&[2; 32]), Some(Fault::ZeroKey));
        assert_eq!(faults.on_key(&[3; 32]), None);
        assert_eq!(faults.report_count(), 1);
        assert_eq!(faults.key_requests(), [[1; 32], [2; 32], [3; 32]]);
    }

    #[test]
    fn a_lasting_fault_spares_the_first_requests_only() {
        let faults = Faults::default();
        let fault = Fault::Firmware { status: 0xFF };
        faults.for_ever_after(2, fault);
        assert_eq!([faults.on_report(), faults.on_report()], [None, None]);
        assert_eq!([faults.on_report(), faults.on_key(&[0; 32])], [Some(fault), Some(fault)]);
        faults.clear();
        assert_eq!(faults.on_report(), None);
    }
}

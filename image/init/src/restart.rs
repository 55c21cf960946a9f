//! When the server is started again, and when the machine is turned off instead.

use std::time::Duration;

use crate::limits::{RESTART_PAUSE_MAX, RESTART_PAUSE_MIN, RESTART_WELL, RESTARTS};

/// What becomes of a machine whose server has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is started again after this pause.
    StartAfter(Duration),
    /// The machine is turned off: one that serves nothing is not to look alive.
    PowerOff,
}

/// Counts ends.
#[derive(Debug, Default)]
pub struct Restarts {
    in_a_row: u32,
}

impl Restarts {
    /// The server has ended after it had run this long.
    pub fn ended(&mut self, ran: Duration) -> Next {
        if ran >= RESTART_WELL {
            self.in_a_row = 0;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row > RESTARTS {
            return Next::PowerOff;
        }
        let doublings = 1_u32.checked_shl(self.in_a_row.saturating_sub(1)).unwrap_or(u32::MAX);
        Next::StartAfter(RESTART_PAUSE_MIN.saturating_mul(doublings).min(RESTART_PAUSE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end_in_the_machines_end() {
        let mut restarts = Restarts::default();
        let pauses: Vec<_> = (0..RESTARTS).map(|_| restarts.ended(Duration::ZERO)).collect();
        let after = |millis| Next::StartAfter(Duration::from_millis(millis));
        assert_eq!(pauses[..4], [after(500), after(1_000), after(2_000), after(4_000)]);
        assert_eq!(pauses[4..], [after(8_000), after(16_000), after(30_000), after(30_000)]);
        assert_eq!(restarts.ended(Duration::ZERO), Next::PowerOff);
        assert_eq!(restarts.ended(Duration::ZERO), Next::PowerOff, "and nothing else");
    }

    #[test]
    fn who_ran_well_begins_anew() {
        let mut restarts = Restarts::default();
        for _ in 0..1_000 {
            assert_eq!(restarts.ended(RESTART_WELL), Next::StartAfter(RESTART_PAUSE_MIN));
        }
        restarts.ended(Duration::ZERO);
        assert_eq!(restarts.ended(RESTART_WELL), Next::StartAfter(RESTART_PAUSE_MIN));
    }
}

//! How long a report waits for company.

use std::time::{Duration, Instant};

use crate::limits::EVIDENCE_GATHERING;

/// What the last report has shown. The first one after a pause never waits.
#[derive(Default)]
pub(super) struct Pace {
    last: Option<Last>,
}

struct Last {
    ended: Instant,
    /// From the report before it to this one's end where they followed each other, else from when it
    /// was asked for.
    period: Duration,
}

impl Pace {
    /// How long the report that is asked for now waits: until half the last one's period has passed
    /// since that ended. Where the processor itself makes callers wait, that costs nobody time; where
    /// it doesn't, it costs as much as a report takes, and every report answers more.
    pub(super) fn gathering(&self, asked: Instant) -> Duration {
        self.last.as_ref().map_or(Duration::ZERO, |last| {
            let gathering = (last.period / 2).min(EVIDENCE_GATHERING);
            gathering.saturating_sub(asked.saturating_duration_since(last.ended))
        })
    }

    /// Notes that the report that was asked for then has ended.
    pub(super) fn note(&mut self, asked: Instant, ended: Instant) {
        let follows = !self.gathering(asked).is_zero();
        let since = self.last.as_ref().filter(|_| follows).map_or(asked, |last| last.ended);
        self.last = Some(Last { ended, period: ended.saturating_duration_since(since) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A processor on which a report takes `takes`, and two ends lie `apart` at least, asked again
    /// one millisecond after each answer: the waits, and the periods.
    fn run(takes: Duration, apart: Duration) -> Vec<(Duration, Duration)> {
        let (mut pace, mut now, mut last) = (Pace::default(), Instant::now(), None::<Instant>);
        let report = |_| {
            let asked = now + ms(1);
            let waits = pace.gathering(asked);
            let free = last.map_or(asked, |last| last + apart);
            let ended = (asked + waits + takes).max(free);
            pace.note(asked, ended);
            let period = last.map_or(Duration::ZERO, |last| ended - last);
            (now, last) = (ended, Some(ended));
            (waits, period)
        };
        (0..50).map(report).collect()
    }

    #[test]
    fn the_first_report_and_one_after_a_pause_wait_for_nobody() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.gathering(now), ms(0));
        pace.note(now, now + ms(100));
        assert_eq!(pace.gathering(now + ms(110)), ms(40));
        assert_eq!(pace.gathering(now + ms(150)), ms(0));
        // After the pause, the report's own time counts.
        pace.note(now + ms(900), now + ms(920));
        assert_eq!(pace.gathering(now + ms(920)), ms(10));
    }

    #[test]
    fn a_processor_that_makes_two_reports_a_second_makes_as_many_all_the_same() {
        let reports = run(ms(5), ms(500));
        assert!(reports[1..].iter().all(|(_, period)| *period == ms(500)), "{reports:?}");
        assert_eq!(reports[49].0, ms(249));
    }

    #[test]
    fn a_fast_processor_is_slowed_down_to_half_at_most() {
        let reports = run(ms(8), ms(0));
        assert!(reports.iter().all(|(waits, period)| *waits <= ms(8) && *period <= ms(17)));
        let slow = run(ms(5_000), ms(0));
        assert!(slow.iter().all(|(waits, _)| *waits <= EVIDENCE_GATHERING));
    }
}

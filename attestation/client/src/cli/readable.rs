//! Times and durations as people write and read them.

use std::str::FromStr;

use neo_secrets_attestation::time::{TimeError, UnixTime};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;

/// How far `time` is from `now`, in the largest unit that is at least one: `3 days ago`, `in 2
/// hours`.
pub(crate) fn distance(time: UnixTime, now: UnixTime) -> String {
    let seconds = time.seconds().abs_diff(now.seconds());
    let (count, unit) = match seconds {
        0..MINUTE => return "just now".to_owned(),
        MINUTE..HOUR => (seconds / MINUTE, "minute"),
        HOUR..DAY => (seconds / HOUR, "hour"),
        _ => (seconds / DAY, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    if time <= now {
        format!("{count} {unit}{plural} ago")
    } else {
        format!("in {count} {unit}{plural}")
    }
}

/// A time for people: the date, a space, the time of day, `UTC`.
pub(crate) fn date_time(time: UnixTime) -> String {
    let text = time.to_string();
    text.replacen('T', " ", 1).replacen('Z', " UTC", 1)
}

/// Seconds, written as a number of them or with a unit: `90`, `15m`, `24h`, `7d`, `2w`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) u64);

/// A text that is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected seconds, or a number with a unit: 90, 90s, 15m, 24h, 7d, 2w")]
pub(crate) struct SpanError;

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
        let unit = match text.get(digits.len()..) {
            Some("" | "s") => 1,
            Some("m") => MINUTE,
            Some("h") => HOUR,
            Some("d") => DAY,
            Some("w") => WEEK,
            _ => return Err(SpanError),
        };
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SpanError);
        }
        let count: u64 = digits.parse().map_err(|_| SpanError)?;
        count.checked_mul(unit).map(Self).ok_or(SpanError)
    }
}

/// How long an old key works on: a [`Span`] of at most a week, as the server has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overlap(pub(crate) u64);

/// A text that is no overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected at most a week, in seconds or with a unit: 90, 90s, 15m, 24h, 7d")]
pub(crate) struct OverlapError;

impl FromStr for Overlap {
    type Err = OverlapError;

    fn from_str(text: &str) -> Result<Self, OverlapError> {
        let span = text.parse().ok().filter(|Span(seconds)| *seconds <= WEEK);
        span.map(|Span(seconds)| Self(seconds)).ok_or(OverlapError)
    }
}

/// A point in time as it is typed: RFC 3339, a date, or how far from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    At(UnixTime),
    /// Before now or after it, as the option says.
    Distant(Span),
}

/// A text that is no point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a time in UTC and whole seconds (2026-01-31T12:00:00Z), a date (2026-01-31), or a \
     distance from now (12h, 30d)"
)]
pub(crate) struct MomentError;

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        let at = |text: &str| -> Result<UnixTime, TimeError> { text.parse() };
        let distant = || {
            // A bare number could be meant for a year.
            let has_unit = text.ends_with(|character: char| character.is_ascii_alphabetic());
            text.parse().ok().filter(|_| has_unit).map(Self::Distant)
        };
        at(text)
            .or_else(|_| at(&format!("{text}T00:00:00Z")))
            .ok()
            .map(Self::At)
            .or_else(distant)
            .ok_or(MomentError)
    }
}

/// A time at which nothing can be made to expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--expires-at {0} has passed: it would be expired from the start")]
pub(crate) struct PastError(UnixTime);

impl Moment {
    /// As [`Moment::ahead`], where that is still to come.
    pub(crate) fn to_come(self, now: UnixTime) -> Result<UnixTime, PastError> {
        let time = self.ahead(now);
        if time > now { Ok(time) } else { Err(PastError(time)) }
    }

    /// The time, a distance counted back from `now`.
    pub(crate) fn ago(self, now: UnixTime) -> UnixTime {
        match self {
            Self::At(time) => time,
            Self::Distant(Span(seconds)) => {
                let seconds = now.seconds().saturating_sub(seconds);
                UnixTime::from_seconds(seconds).unwrap_or(now)
            }
        }
    }

    /// The time, a distance counted on from `now`.
    pub(crate) fn ahead(self, now: UnixTime) -> UnixTime {
        match self {
            Self::At(time) => time,
            Self::Distant(Span(seconds)) => {
                let seconds = now.seconds().saturating_add(seconds);
                UnixTime::from_seconds(seconds).unwrap_or(UnixTime::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> UnixTime {
        text.parse().unwrap()
    }

    #[test]
    fn distances_are_told_in_the_largest_whole_unit() {
        let now = time("2026-02-11T12:00:00Z");
        for (at, expected) in [
            ("2026-02-11T12:00:00Z", "just now"),
            ("2026-02-11T12:00:59Z", "just now"),
            ("2026-02-11T11:59:00Z", "1 minute ago"),
            ("2026-02-11T10:00:01Z", "1 hour ago"),
            ("2026-02-11T14:30:00Z", "in 2 hours"),
            ("2026-02-10T12:00:00Z", "1 day ago"),
            ("2027-02-11T12:00:00Z", "in 365 days"),
        ] {
            assert_eq!(distance(time(at), now), expected, "{at}");
        }
        assert_eq!(date_time(now), "2026-02-11 12:00:00 UTC");
    }

    #[test]
    fn spans_are_seconds_or_have_a_unit() {
        for (text, seconds) in
            [("0", 0), ("90", 90), ("90s", 90), ("15m", 900), ("24h", DAY), ("7d", WEEK)]
        {
            assert_eq!(text.parse(), Ok(Span(seconds)), "{text}");
        }
        for text in [
            "",
            "h",
            "-1",
            "+1",
            "1.5h",
            "1y",
            "1 h",
            "1hh",
            "99999999999999999999",
            "9999999999999999w",
        ] {
            assert_eq!(text.parse::<Span>(), Err(SpanError), "{text}");
        }
    }

    #[test]
    fn a_moment_is_a_time_a_date_or_a_distance() {
        let now = time("2026-02-11T12:00:00Z");
        let read = |text: &str| text.parse::<Moment>().unwrap();
        assert_eq!(read("2026-01-31").ago(now), time("2026-01-31T00:00:00Z"));
        assert_eq!(read("2026-01-31T01:02:03Z").ahead(now), time("2026-01-31T01:02:03Z"));
        assert_eq!(read("12h").ago(now), time("2026-02-11T00:00:00Z"));
        assert_eq!(read("1d").ahead(now), time("2026-02-12T12:00:00Z"));
        assert_eq!(read("999999999w").ahead(now), UnixTime::MAX);
        for text in ["", "tomorrow", "2026", "2026-02-30", "12"] {
            assert_eq!(text.parse::<Moment>(), Err(MomentError), "{text}");
        }
    }
}

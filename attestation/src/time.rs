//! Points in time: whole seconds, UTC. There is no clock in this package; the caller passes `now`.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use time::{Date, Month, OffsetDateTime, Time};

/// Seconds since 1970-01-01T00:00:00Z, at most 9999-12-31T23:59:59Z. Shown as RFC 3339 with `Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

/// A time that is not `YYYY-MM-DDThh:mm:ssZ` between 1970 and 9999.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not an RFC 3339 time in UTC and whole seconds (2026-01-31T12:00:00Z)")]
pub struct TimeError;

impl UnixTime {
    /// 9999-12-31T23:59:59Z.
    pub const MAX: Self = Self(253_402_300_799);

    /// `seconds` since 1970-01-01T00:00:00Z, or nothing after the year 9999.
    pub const fn from_seconds(seconds: u64) -> Option<Self> {
        if seconds <= Self::MAX.0 { Some(Self(seconds)) } else { None }
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub const fn seconds(self) -> u64 {
        self.0
    }

    /// A time of the civil calendar in UTC, or nothing where there is no such time (or a leap
    /// second).
    pub(crate) fn from_civil(date: (u16, u8, u8), time: (u8, u8, u8)) -> Option<Self> {
        let month = Month::try_from(date.1).ok()?;
        let date = Date::from_calendar_date(i32::from(date.0), month, date.2).ok()?;
        let time = Time::from_hms(time.0, time.1, time.2).ok()?;
        let seconds = date.with_time(time).assume_utc().unix_timestamp();
        Self::from_seconds(u64::try_from(seconds).ok()?)
    }
}

impl TryFrom<SystemTime> for UnixTime {
    type Error = TimeError;

    /// Cuts off the fraction of a second.
    fn try_from(time: SystemTime) -> Result<Self, TimeError> {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| TimeError)?;
        Self::from_seconds(since.as_secs()).ok_or(TimeError)
    }
}

impl From<UnixTime> for SystemTime {
    fn from(time: UnixTime) -> Self {
        Self::UNIX_EPOCH + Duration::from_secs(time.0)
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0).map_err(|_| fmt::Error)?;
        let time = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| fmt::Error)?;
        let (date, time) = (time.date(), time.time());
        write!(
            formatter,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second()
        )
    }
}

impl FromStr for UnixTime {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let [
            y0,
            y1,
            y2,
            y3,
            b'-',
            m0,
            m1,
            b'-',
            d0,
            d1,
            b'T',
            h0,
            h1,
            b':',
            i0,
            i1,
            b':',
            s0,
            s1,
            b'Z',
        ] = *text.as_bytes()
        else {
            return Err(TimeError);
        };
        let two = |high, low| two_digits(high, low).ok_or(TimeError);
        let year = u16::from(two(y0, y1)?) * 100 + u16::from(two(y2, y3)?);
        let date = (year, two(m0, m1)?, two(d0, d1)?);
        Self::from_civil(date, (two(h0, h1)?, two(i0, i1)?, two(s0, s1)?)).ok_or(TimeError)
    }
}

/// The number that two ASCII digits write.
pub(crate) fn two_digits(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| byte - b'0');
    Some(digit(high)? * 10 + digit(low)?)
}

impl Serialize for UnixTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnixTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_what_it_parses() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-06-17T01:05:04Z", 1_781_658_304),
            ("9999-12-31T23:59:59Z", UnixTime::MAX.0),
        ] {
            let time: UnixTime = text.parse().unwrap();
            assert_eq!((time.seconds(), time.to_string().as_str()), (seconds, text));
            assert_eq!(UnixTime::try_from(SystemTime::from(time)), Ok(time));
        }
        assert_eq!(UnixTime::from_seconds(UnixTime::MAX.0 + 1), None);
    }

    #[test]
    fn refuses_every_other_form() {
        for text in [
            "",
            "1969-12-31T23:59:59Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01t00:00:00Z",
            "2026-01-01T00:00:00z",
            "2026-01-01T00:00:00.0Z",
            "2026-01-01T00:00:00+00:00",
            "2026-01-01T00:00:00",
            "+026-01-01T00:00:00Z",
            " 2026-01-01T00:00:00Z",
        ] {
            assert_eq!(text.parse::<UnixTime>(), Err(TimeError), "{text:?}");
        }
    }
}

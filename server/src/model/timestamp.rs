//! Times, and how they are written.

use super::Issue;
use std::fmt;
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

const RFC3339: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
/// 9999-12-31T23:59:59Z, the last time that RFC 3339 can write.
const LAST_SECOND: u64 = 253_402_300_799;

/// A time in milliseconds since 1970, UTC, up to the year 9999; written as RFC 3339 in whole
/// seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Milliseconds since 1970; later than the year 9999 counts as its end.
    #[must_use]
    pub fn from_unix_millis(ms: u64) -> Self {
        Self(ms.min(LAST_SECOND * 1000 + 999))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn unix_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn unix_seconds(self) -> u64 {
        self.0 / 1000
    }

    /// This time, `seconds` later.
    #[must_use]
    pub fn plus_seconds(self, seconds: u64) -> Self {
        Self::from_unix_millis(self.0.saturating_add(seconds.saturating_mul(1000)))
    }
}

/// A time's text, without an allocation.
#[derive(Clone, Copy)]
pub struct TimeText([u8; 20]);

impl TimeText {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default() // digits and punctuation
    }
}

impl Timestamp {
    /// RFC 3339. Every answer has some: the library's way through a description takes a microsecond
    /// each.
    #[must_use]
    pub fn text(self) -> TimeText {
        let seconds = i64::try_from(self.unix_seconds()).unwrap_or_default();
        // Every number of seconds up to the last one is a time.
        let time =
            OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let century = u8::try_from(time.year() / 100).unwrap_or_default();
        let year = u8::try_from(time.year() % 100).unwrap_or_default();
        let mut text = *b"0000-00-00T00:00:00Z";
        let parts = [
            (0, century),
            (2, year),
            (5, time.month().into()),
            (8, time.day()),
            (11, time.hour()),
            (14, time.minute()),
            (17, time.second()),
        ];
        for (start, number) in parts {
            if let Some([tens, ones]) = text.get_mut(start..start + 2) {
                (*tens, *ones) = (digit(number / 10), digit(number));
            }
        }
        TimeText(text)
    }
}

/// A number's last decimal digit.
fn digit(number: u8) -> u8 {
    b'0' + number % 10
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text().as_str())
    }
}

impl std::str::FromStr for Timestamp {
    type Err = Issue;

    /// `2026-01-31T12:00:00Z` and no other form, from 1970 on.
    fn from_str(text: &str) -> Result<Self, Issue> {
        time::PrimitiveDateTime::parse(text, RFC3339)
            .ok()
            .and_then(|time| u64::try_from(time.assume_utc().unix_timestamp()).ok())
            .map(|seconds| Self::from_unix_millis(seconds.saturating_mul(1000)))
            .filter(|time| time.to_string() == text)
            .map_or_else(
                || Issue::err("must be a time like 2026-01-31T12:00:00Z (UTC, whole seconds)"),
                Ok,
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_text() {
        let table = [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-01-31T12:34:56Z", 1_769_862_896),
            ("2024-02-29T00:00:00Z", 1_709_164_800),
            ("9999-12-31T23:59:59Z", LAST_SECOND),
        ];
        for (text, seconds) in table {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(time.unix_seconds(), seconds);
            assert_eq!(time.to_string(), text);
        }
        for wrong in [
            "",
            "2026-01-31",
            "2026-01-31T12:34:56",
            "2026-01-31t12:34:56z",
            "2026-01-31T12:34:56+00:00",
            "2026-01-31T12:34:56.5Z",
            "2026-02-29T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:34:60Z",
            "1969-12-31T23:59:59Z",
            "10000-01-01T00:00:00Z",
            "+2026-01-31T12:34:56Z",
            " 2026-01-31T12:34:56Z",
        ] {
            assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
        }
        let later = Timestamp::from_unix_millis(1_999);
        assert_eq!((later.unix_seconds(), later.to_string().as_str()), (1, "1970-01-01T00:00:01Z"));
        assert_eq!(Timestamp::from_unix_millis(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
        for seconds in (0..LAST_SECOND).step_by(98_765_431) {
            let time = OffsetDateTime::from_unix_timestamp(seconds.cast_signed()).unwrap();
            let text = Timestamp::from_unix_millis(seconds * 1000).to_string();
            assert_eq!(text, time.format(RFC3339).unwrap());
        }
        let day_seconds = 86_400;
        for day in 0..400 * 366 {
            let time = OffsetDateTime::from_unix_timestamp(day * day_seconds).unwrap();
            let text = Timestamp(time.unix_timestamp().unsigned_abs() * 1000).to_string();
            assert_eq!(text[..10], time.date().to_string());
        }
        let end = Timestamp::from_unix_millis(u64::MAX);
        assert_eq!(end.plus_seconds(u64::MAX), end);
    }
}

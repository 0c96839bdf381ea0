//! Capture time: nanoseconds since the Unix epoch, and its text form.
//!
//! Time comes from frames only; nothing in this crate reads a clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::addr::put_digits;

/// A point in capture time, nanoseconds since 1970-01-01T00:00:00Z.
///
/// Ordered; may be negative (a capture with a broken clock). Differences saturate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Deserialize)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The latest time that can be told.
    pub const MAX: Self = Self(i64::MAX);

    /// A time from nanoseconds since the epoch.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Time passed since `earlier`; zero when `earlier` is later (a clock that stepped back).
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// [`Self::since`] in nanoseconds: what is done for every packet is cheaper with one number.
    #[must_use]
    #[inline]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        const MOST: u64 = i64::MAX.cast_unsigned();
        let later = if self.0 > earlier.0 { self } else { earlier };
        let passed = later.0.wrapping_sub(earlier.0).cast_unsigned();
        if passed < MOST { passed } else { MOST }
    }

    /// Whether it lies in the nanoseconds that begin with `from`, which has room for so many; cheaper
    /// than [`Self::nanos_since`].
    #[inline]
    pub(crate) const fn is_within(self, from: Self, nanos: u64) -> bool {
        // What lies before `from` wraps to more than any span that begins there may last.
        self.0.wrapping_sub(from.0).cast_unsigned() < nanos
    }

    /// So many nanoseconds, or none when a time so much later cannot be told.
    pub(crate) const fn room_for(self, nanos: u64) -> u64 {
        match self.0.checked_add_unsigned(nanos) {
            Some(_) => nanos,
            None => 0,
        }
    }

    /// Signed nanoseconds from `earlier` to this time.
    #[must_use]
    pub const fn signed_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// RFC 3339 text in UTC with nanoseconds, such as `2026-11-23T20:29:57.000000001Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let seconds = self.0.div_euclid(1_000_000_000);
        let nanos = self.0.rem_euclid(1_000_000_000);
        let days = seconds.div_euclid(86_400);
        let second_of_day = seconds.rem_euclid(86_400);
        let (year, month, day) = civil_from_days(days);
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        // 64 bits of nanoseconds reach from 1677 to 2262.
        for (place, number) in [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, second_of_day / 3600),
            (14..16, second_of_day / 60 % 60),
            (17..19, second_of_day % 60),
            (20..29, nanos),
        ] {
            put_digits(&mut text[place], number.unsigned_abs());
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// What is wrong with the text of a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected a time such as 2026-11-24, 2026-11-24T10:15:00Z or 2026-11-24T10:15:00.5+01:00")]
pub struct TimestampError;

impl std::str::FromStr for Timestamp {
    type Err = TimestampError;

    /// Reads a day, or RFC 3339; seconds, fraction and zone may be missing (then UTC).
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        parse(text).ok_or(TimestampError)
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let number = |text: &str, from: usize, len: usize, max: i64| {
        let digits = text.get(from..from + len)?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse::<i64>().ok()?;
        (is_number && number <= max).then_some(number)
    };
    let separator =
        |text: &str, at: usize, of: &[u8]| of.contains(text.as_bytes().get(at)?).then_some(());
    separator(text, 4, b"-")?;
    separator(text, 7, b"-")?;
    let (year, month, day) = (
        number(text, 0, 4, 9999)?,
        number(text, 5, 2, 12)?,
        number(text, 8, 2, 31)?,
    );
    let days = days_from_civil(year, month, day);
    if civil_from_days(days) != (year, month, day) {
        return None;
    }
    let clock = text.get(10..)?;
    if clock.is_empty() {
        return Some(Timestamp(days.checked_mul(86_400_000_000_000)?));
    }
    separator(clock, 0, b"T t_")?;
    separator(clock, 3, b":")?;
    let minutes = number(clock, 1, 2, 23)? * 60 + number(clock, 4, 2, 59)?;
    let mut rest = clock.get(6..)?;
    let mut nanos = 0;
    let mut seconds = 0;
    if rest.starts_with(':') {
        seconds = number(rest, 1, 2, 60)?;
        rest = rest.get(3..)?;
    }
    if let Some(fraction) = rest.strip_prefix('.') {
        let len = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let digits = fraction
            .get(..len.min(9))
            .filter(|digits| !digits.is_empty())?;
        nanos = format!("{digits:0<9}").parse::<i64>().ok()?;
        rest = fraction.get(len..)?;
    }
    let offset = match rest {
        "" | "Z" | "z" => 0,
        _ => {
            separator(rest, 0, b"+-")?;
            separator(rest, 3, b":")?;
            let minutes = number(rest, 1, 2, 23)? * 60 + number(rest, 4, 2, 59)?;
            (rest.len() == 6).then_some(if rest.starts_with('-') {
                -minutes
            } else {
                minutes
            })?
        }
    };
    let total = days * 86_400 + (minutes - offset) * 60 + seconds;
    Some(Timestamp(
        total.checked_mul(1_000_000_000)?.checked_add(nanos)?,
    ))
}

/// Day number, counted from 1970-01-01, of a Gregorian date; the inverse of [`civil_from_days`].
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Gregorian year, month and day of a day number counted from 1970-01-01.
///
/// Counts in 400-year eras that begin on 1 March, so that the leap day ends a year.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468; // days from 0000-03-01
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(rhs.as_nanos()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(rhs.as_nanos()).unwrap_or(i64::MAX)),
        )
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// For people as RFC 3339; for programs, and those alone read it back, as nanoseconds.
impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(&self.rfc3339());
        }
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_at_borders() {
        assert_eq!(
            Timestamp::from_nanos(0).rfc3339(),
            "1970-01-01T00:00:00.000000000Z"
        );
        assert_eq!(
            Timestamp::from_nanos(-1).rfc3339(),
            "1969-12-31T23:59:59.999999999Z"
        );
        let leap = Timestamp::from_nanos(1_709_164_800_000_000_001);
        assert_eq!(leap.rfc3339(), "2024-02-29T00:00:00.000000001Z");
    }

    #[test]
    fn since_never_goes_negative() {
        let (early, late) = (Timestamp::from_nanos(5), Timestamp::from_nanos(9));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early.signed_since(late), -4);
    }

    #[test]
    fn reads_what_it_writes_and_shorter_forms() {
        for nanos in [
            0,
            1,
            -1,
            1_795_515_300_123_456_789,
            -5_000_000_000_000_000_001,
        ] {
            let time = Timestamp::from_nanos(nanos);
            assert_eq!(time.rfc3339().parse(), Ok(time), "{}", time.rfc3339());
        }
        let same = "2026-11-24T10:15:00Z".parse::<Timestamp>();
        assert!(same.is_ok());
        for text in [
            "2026-11-24 10:15",
            "2026-11-24T11:15:00+01:00",
            "2026-11-24T10:15:00.000",
        ] {
            assert_eq!(text.parse(), same, "{text}");
        }
        for text in [
            "",
            "24.11.2026",
            "2026-13-01",
            "2026-02-30",
            "2026-11-24T10",
            "2026-11-24T10:15:00x",
            "2026-11-24T25:00",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_has_its_times_and_no_others() {
        let at = Timestamp::from_nanos;
        assert!(at(5).is_within(at(5), 3) && at(7).is_within(at(5), 3));
        assert!(!at(8).is_within(at(5), 3) && !at(4).is_within(at(5), 3));
        assert!(!at(i64::MIN).is_within(at(5), 3) && !at(5).is_within(at(5), 0));
        assert_eq!(at(i64::MAX - 3).room_for(3), 3);
        assert_eq!(at(i64::MAX - 3).room_for(4), 0);
        assert_eq!(
            at(i64::MAX).nanos_since(at(i64::MIN)),
            i64::MAX.cast_unsigned()
        );
        assert_eq!(at(3).nanos_since(at(4)), 0);
    }
}

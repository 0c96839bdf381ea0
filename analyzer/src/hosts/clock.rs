//! The clock behind a host's TSval (RFC 7323 §3), read from samples.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::samples::Sample;

/// How fast a host's timestamp clock runs against capture time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TimestampClock {
    /// Ticks per second of capture time.
    pub ticks_per_second: f64,
    /// All connections show the same value at the same time: counted from the host's start.
    /// `None` when only one connection was sampled.
    pub is_shared: Option<bool>,
    /// The capture time over which the rate was measured.
    pub measured_over: Duration,
}

/// Rates that hosts count at.
const RATES: [f64; 4] = [1000.0, 250.0, 100.0, 10.0];

/// How exactly hosts keep to their rates, and the rates are measured: 1 %.
const EXACT: f64 = 0.01;

/// By less than 5 % clocks may be wrong that nobody would call broken; by more than a third another rate
/// is as near.
const WRONG: RangeInclusive<f64> = 0.05..=0.35;

/// Hosts whose clocks must say the same.
const HOSTS: usize = 2;

/// How much faster than the capture's clock time passes, where the clocks of all hosts say so: each counts at
/// a usual rate, times the same factor.
pub(super) fn pace<'a>(clocks: impl Iterator<Item = &'a TimestampClock>) -> Option<f64> {
    let long = clocks.filter(|clock| clock.measured_over >= LONG_ENOUGH_FOR_PACE);
    let rates: Vec<f64> = long.map(|clock| clock.ticks_per_second).collect();
    let first = rates.first().filter(|_| rates.len() >= HOSTS)?;
    let is_usual = |rate: f64| {
        RATES
            .iter()
            .any(|usual| (rate / usual - 1.0).abs() <= EXACT)
    };
    if rates.iter().any(|rate| is_usual(*rate)) {
        return None;
    }
    let mut factors = RATES.iter().map(|usual| first / usual);
    factors.find(|factor| {
        WRONG.contains(&(factor - 1.0).abs()) && rates.iter().all(|rate| is_usual(rate / factor))
    })
}

/// Over a shorter time a tick more or less weighs too much.
const LONG_ENOUGH: Duration = Duration::from_millis(500);

/// Over a shorter time it weighs too much where the rate must be exact.
const LONG_ENOUGH_FOR_PACE: Duration = Duration::from_secs(5);

/// The clock that most sampled connections agree on. `samples`: in the order of frames.
pub(super) fn timestamp_clock(samples: &[Sample]) -> Option<TimestampClock> {
    let stamped: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.ts_val.is_some_and(|value| value != 0))
        .collect();
    let mut rates: Vec<(f64, Duration)> = stamped
        .iter()
        .filter(|first| {
            let of_flow = stamped.iter().find(|sample| sample.flow == first.flow);
            of_flow.is_some_and(|known| std::ptr::eq(*known, **first))
        })
        .filter_map(|first| {
            let last = stamped.iter().rfind(|sample| sample.flow == first.flow)?;
            let passed = last.time.since(first.time);
            let ticks = last.ts_val?.wrapping_sub(first.ts_val?);
            // Half of the range or more is backwards (RFC 7323 §5.2).
            (passed >= LONG_ENOUGH && ticks < 1 << 31)
                .then(|| (f64::from(ticks) / passed.as_secs_f64(), passed))
        })
        .collect();
    rates.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (ticks_per_second, measured_over) = *rates.get(rates.len() / 2)?;
    let is_shared = share_one_offset(&stamped, ticks_per_second);
    Some(TimestampClock {
        ticks_per_second,
        is_shared,
        measured_over,
    })
}

/// Whether neighbours of different flows show nearly the same value.
fn share_one_offset(stamped: &[&Sample], ticks_per_second: f64) -> Option<bool> {
    let pairs: Vec<bool> = stamped
        .windows(2)
        .filter(|pair| pair[0].flow != pair[1].flow)
        .filter_map(|pair| {
            let ticks = pair[1].ts_val?.wrapping_sub(pair[0].ts_val?).cast_signed();
            let expected = pair[1].time.since(pair[0].time).as_secs_f64() * ticks_per_second;
            // A tenth of a second for what a packet waited to be sent.
            Some((f64::from(ticks) - expected).abs() <= ticks_per_second.max(10.0) / 10.0)
        })
        .collect();
    let agree = pairs.iter().filter(|agrees| **agrees).count();
    (!pairs.is_empty()).then(|| agree * 5 >= pairs.len() * 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn of(offset: impl Fn(u16) -> u32) -> Option<TimestampClock> {
        let samples: Vec<Sample> = (0..20_u16)
            .map(|at| Sample {
                frame: u64::from(at),
                time: Timestamp::from_nanos(i64::from(at) * 100_000_000),
                ts_val: Some(offset(at % 2) + u32::from(at) * 25),
                ip_id: None,
                flow: at % 2,
                peer: 0,
                is_socketless: false,
            })
            .collect();
        timestamp_clock(&samples)
    }

    #[test]
    fn rate_and_offset() {
        let shared = of(|_| 77).unwrap();
        assert!((shared.ticks_per_second - 250.0).abs() < 1e-6);
        assert_eq!(shared.is_shared, Some(true));
        let own = of(|flow| u32::from(flow) * 4_000_000 + 9).unwrap();
        assert_eq!(own.is_shared, Some(false));
    }

    fn pace_of(rates: &[f64]) -> Option<f64> {
        let clocks: Vec<TimestampClock> = rates
            .iter()
            .map(|rate| TimestampClock {
                ticks_per_second: *rate,
                is_shared: None,
                measured_over: Duration::from_secs(60),
            })
            .collect();
        pace(clocks.iter())
    }

    #[test]
    fn a_wrong_pace_shows_in_the_clocks_of_all_hosts() {
        let near = |rates: &[f64], factor: f64| {
            pace_of(rates).is_some_and(|pace| (pace - factor).abs() < 0.01)
        };
        assert!(near(&[1100.0, 275.2], 1.1));
        assert!(near(&[900.5, 899.5, 90.1], 0.9));
        // One host may count as it likes, and clocks that disagree say nothing.
        assert_eq!(pace_of(&[1100.0]), None);
        assert_eq!(pace_of(&[1100.0, 1000.0]), None);
        assert_eq!(pace_of(&[1100.0, 230.0]), None);
        assert_eq!(pace_of(&[1020.0, 255.0]), None);
    }
}

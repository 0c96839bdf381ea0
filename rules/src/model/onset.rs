//! When a finding began, how it spread over the capture, and when it ended.

use analyzer::Timestamp;
use analyzer::analysis::CaptureSummary;

/// Slices of the capture in which occurrences are counted.
const SLICES: usize = 48;

/// When occurrences showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Onset {
    /// The first one.
    pub began: Timestamp,
    /// The last one, with what was waited for it.
    pub ended: Timestamp,
    /// Occurrences in each slice of the capture, all slices equally long; empty for a capture that
    /// lasts no time.
    pub slices: Vec<u64>,
}

impl Onset {
    /// The onset of occurrences at these sorted times, the last of which was over at `ended`; `None`
    /// without any.
    #[must_use]
    pub fn of(times: &[Timestamp], ended: Timestamp, capture: &CaptureSummary) -> Option<Self> {
        let (began, last) = (*times.first()?, *times.last()?);
        let length = capture.duration().as_nanos();
        let mut slices = Vec::new();
        if let (Some(start), true) = (capture.first, length > 0) {
            slices.resize(SLICES, 0);
            for time in times {
                let place = time.since(start).as_nanos() * SLICES as u128 / length;
                let slice = usize::try_from(place).unwrap_or(usize::MAX);
                slices[slice.min(SLICES - 1)] += 1;
            }
        }
        // A wait that the capture's end cut short is not longer than the capture.
        let end = capture.last.unwrap_or(last).max(last);
        Some(Self {
            began,
            ended: ended.clamp(last, end),
            slices,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_nanos(second * 1_000_000_000)
    }

    #[test]
    fn occurrences_are_counted_by_slice_of_the_capture() {
        let capture = CaptureSummary {
            first: Some(at(100)),
            last: Some(at(148)),
            ..CaptureSummary::default()
        };
        let times = [at(100), at(110), at(110), at(148)];
        let onset = Onset::of(&times, at(500), &capture).unwrap();
        assert_eq!((onset.began, onset.ended), (at(100), at(148)));
        assert_eq!(onset.slices.iter().sum::<u64>(), 4);
        assert_eq!(
            [onset.slices[0], onset.slices[10], onset.slices[47]],
            [1, 2, 1]
        );
    }

    #[test]
    fn a_capture_of_one_moment_has_no_slices() {
        let capture = CaptureSummary {
            first: Some(at(5)),
            last: Some(at(5)),
            ..CaptureSummary::default()
        };
        assert!(
            Onset::of(&[at(5)], at(5), &capture)
                .unwrap()
                .slices
                .is_empty()
        );
        assert!(Onset::of(&[], at(5), &capture).is_none());
    }
}

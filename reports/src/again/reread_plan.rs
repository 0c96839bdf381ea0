//! Which parts of a capture are read again, where reading all of it would cost too much.
//!
//! A short stretch is read whole. Of a long one pieces evenly apart are read, and all around the
//! frames that prove something: a picture cannot show more of it anyway.

use analyzer::capture::Mark;

/// Bytes of a stretch that is read whole: about five thousand full-size segments, a dozen for each
/// slot of a graph.
const WHOLE_BYTES: u64 = 8 << 20;

/// Pieces that are read of a longer stretch, at most: half as many at least, where there are places
/// to begin at. A graph has about as many slots.
const PIECES: usize = 400;

/// Bytes of all pieces of a stretch.
const PIECES_BYTES: usize = 2 << 20;

/// Bytes of one piece, at least: five full-size segments.
const PIECE_BYTES: usize = 8 << 10;

/// Marks further apart than this are the beginnings of files, which are read whole.
const FINE: u64 = 1 << 20;

/// Stored bytes of files that are read again of a longer stretch; one file at least.
const BUDGET_OF_FILES: u64 = 32 << 20;

/// A part of the capture that somebody wants to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stretch {
    /// Frames from the first number to the second.
    Frames(u64, u64),
    /// Capture time, in nanoseconds, from and to.
    Time(i64, i64),
    /// A frame that proves something, with what is around it.
    Proof(u64),
}

/// What is read in one go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    /// Where it begins; `None` for the beginning of the capture.
    pub from: Option<Mark>,
    pub until: Until,
}

/// Where a run ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Until {
    /// Before the frame of this number.
    Frame(u64),
    /// After about so many bytes.
    Bytes(usize),
}

impl Run {
    /// Whether it begins where another one ends.
    pub fn continues(&self, before: &Self) -> bool {
        let begins = self.from.map(|mark| mark.frame);
        begins.is_some_and(|frame| before.until == Until::Frame(frame))
    }
}

/// What is read, in the order of the capture.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Plan {
    pub runs: Vec<Run>,
    /// For each stretch that was asked for, the share of it that is read, 0–1.
    pub shares: Vec<f64>,
}

impl Plan {
    /// Everything up to the frame `last`.
    pub fn whole(last: u64) -> Self {
        let run = Run {
            from: None,
            until: Until::Frame(last.saturating_add(1)),
        };
        Self {
            runs: vec![run],
            shares: Vec::new(),
        }
    }

    /// What `stretches` need. Without `marks` everything up to `last` is read.
    pub fn of(marks: &[Mark], stretches: &[Stretch], last: u64) -> Self {
        if marks.is_empty() {
            return Self {
                shares: vec![1.0; stretches.len()],
                ..Self::whole(last)
            };
        }
        let mut parts = vec![Part::Skipped; marks.len()];
        let shares = stretches
            .iter()
            .map(|stretch| choose(marks, *stretch, &mut parts))
            .collect();
        Self {
            runs: runs(marks, &parts, last),
            shares,
        }
    }
}

/// How much is read of what lies between a mark and the next one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Part {
    Skipped,
    /// So many bytes.
    Piece(usize),
    Whole,
}

/// Marks what is read of one stretch; gives its share.
fn choose(marks: &[Mark], stretch: Stretch, parts: &mut [Part]) -> f64 {
    let inside: Vec<usize> = (0..marks.len())
        .filter(|&at| touches(stretch, &marks[at], marks.get(at + 1)))
        .collect();
    let (Some(&first), Some(&last)) = (inside.first(), inside.last()) else {
        return 1.0;
    };
    let end = marks.get(last + 1).unwrap_or(&marks[last]);
    let bytes = end.offset - marks[first].offset;
    if bytes <= WHOLE_BYTES {
        inside.iter().for_each(|&at| parts[at] = Part::Whole);
        return 1.0;
    }
    let count = inside.len() as u64;
    if bytes / count > FINE {
        if let Stretch::Proof(_) = stretch {
            return 0.0;
        }
        let files = (BUDGET_OF_FILES * count / bytes).clamp(1, count);
        for number in 0..files {
            let at = usize::try_from(number * count / files).unwrap_or(0);
            parts[inside[at]] = Part::Whole;
        }
        return files as f64 / count as f64;
    }
    // The same places for all stretches that are about as long: what one reads the others need not.
    let apart = inside.len().div_ceil(PIECES).next_power_of_two();
    let chosen = inside.iter().filter(|&&at| at == first || at % apart == 0);
    let pieces = chosen.clone().count();
    let piece_bytes = (PIECES_BYTES / pieces).max(PIECE_BYTES);
    for &at in chosen {
        parts[at] = parts[at].max(Part::Piece(piece_bytes));
    }
    ((pieces * piece_bytes) as f64 / bytes as f64).min(1.0)
}

/// Whether frames of the stretch may lie between `mark` and the next one.
fn touches(stretch: Stretch, mark: &Mark, next: Option<&Mark>) -> bool {
    match stretch {
        Stretch::Frames(first, last) => {
            mark.frame <= last && next.is_none_or(|next| next.frame > first)
        }
        Stretch::Proof(frame) => touches(Stretch::Frames(frame, frame), mark, next),
        Stretch::Time(from, to) => {
            mark.time.as_nanos() <= to && next.is_none_or(|next| next.time.as_nanos() >= from)
        }
    }
}

fn runs(marks: &[Mark], parts: &[Part], last: u64) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let until = marks
            .get(at + 1)
            .map_or(last.saturating_add(1), |next| next.frame);
        match part {
            Part::Skipped => {}
            Part::Piece(bytes) => runs.push(Run {
                from: Some(marks[at]),
                until: Until::Bytes(*bytes),
            }),
            Part::Whole => runs.push(Run {
                from: Some(marks[at]),
                until: Until::Frame(until),
            }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use analyzer::Timestamp;

    use super::*;

    fn marks(count: u64, apart: u64) -> Vec<Mark> {
        (0..count)
            .map(|at| Mark {
                file: 0,
                offset: 24 + at * apart,
                frame: 1 + at * 100,
                time: Timestamp::from_nanos(at as i64 * 1000),
            })
            .collect()
    }

    fn is_whole(run: &Run) -> bool {
        matches!(run.until, Until::Frame(_))
    }

    #[test]
    fn a_short_stretch_is_read_whole_and_nothing_before_or_behind_it() {
        let marks = marks(1000, 256 << 10);
        let plan = Plan::of(&marks, &[Stretch::Frames(250, 520)], 90_000);
        let run = |at: usize| Run {
            from: Some(marks[at]),
            until: Until::Frame(marks[at + 1].frame),
        };
        let runs = vec![run(2), run(3), run(4), run(5)];
        assert!(runs[1].continues(&runs[0]));
        assert_eq!((plan.runs, plan.shares), (runs, vec![1.0]));
    }

    #[test]
    fn of_many_files_some_are_read_whole() {
        let marks = marks(100, 5 << 20);
        let plan = Plan::of(&marks, &[Stretch::Frames(1, 10_000)], 10_000);
        assert_eq!(plan.shares, vec![0.06]);
        let begun: Vec<_> = plan.runs.iter().map(|run| run.from).collect();
        let expected = [0, 16, 33, 50, 66, 83].map(|at| Some(marks[at]));
        assert_eq!(begun, expected);
        // Two files that a short connection touches.
        let plan = Plan::of(&marks, &[Stretch::Frames(150, 250)], 10_000);
        assert_eq!((plan.runs.len(), plan.shares), (2, vec![1.0]));
    }

    #[test]
    fn of_a_long_stretch_pieces_evenly_apart_are_read() {
        let marks = marks(4096, 1 << 20);
        let plan = Plan::of(&marks, &[Stretch::Frames(1, u64::MAX)], 1 << 40);
        assert_eq!(plan.runs.len(), 256);
        let bytes = Until::Bytes(8 << 10);
        assert!(plan.runs.iter().all(|run| run.until == bytes));
        assert_eq!(plan.runs[1].from, Some(marks[16]));
        assert!((plan.shares[0] - 2.0 / 4095.0).abs() < 1e-4);
    }

    #[test]
    fn long_stretches_side_by_side_share_their_pieces() {
        let marks = marks(4096, 1 << 20);
        let stretches =
            [(101, 400_000), (201, 399_000)].map(|(from, to)| Stretch::Frames(from, to));
        let plan = Plan::of(&marks, &stretches, 1 << 40);
        // Each reads its own beginning beside what both read.
        assert_eq!(plan.runs.len(), 2 + 249);
        assert_eq!(plan.runs[0].from, Some(marks[1]));
        assert_eq!(plan.runs[1].from, Some(marks[2]));
        assert_eq!(plan.runs[2].from, Some(marks[16]));
    }

    #[test]
    fn an_incident_within_a_long_connection_is_read_whole() {
        let marks = marks(4096, 1 << 20);
        let stretches = [Stretch::Frames(1, u64::MAX), Stretch::Time(5_000, 6_000)];
        let plan = Plan::of(&marks, &stretches, 1 << 40);
        assert_eq!(plan.shares[1], 1.0);
        let whole: Vec<_> = plan.runs.iter().filter(|run| is_whole(run)).collect();
        assert_eq!(whole.len(), 3);
        assert_eq!(whole[0].from, Some(marks[4]));
        assert_eq!(whole[2].until, Until::Frame(701));
    }

    #[test]
    fn around_a_proof_all_is_read_unless_that_is_a_file() {
        let marks = marks(4096, 1 << 20);
        let stretches = [Stretch::Frames(1, u64::MAX), Stretch::Proof(250)];
        let plan = Plan::of(&marks, &stretches, 1 << 40);
        let whole: Vec<_> = plan.runs.iter().filter(|run| is_whole(run)).collect();
        assert_eq!(whole.len(), 1);
        assert_eq!(whole[0].from, Some(marks[2]));
        assert_eq!(whole[0].until, Until::Frame(301));
        let files = [
            marks[0],
            Mark {
                offset: 9 << 30,
                ..marks[1]
            },
        ];
        assert_eq!(Plan::of(&files, &[Stretch::Proof(5)], 90).runs, vec![]);
    }

    #[test]
    fn without_marks_everything_is_read() {
        let plan = Plan::of(&[], &[Stretch::Frames(5, 9)], 9);
        assert_eq!(plan.runs, Plan::whole(9).runs);
    }
}

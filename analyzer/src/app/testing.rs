//! What the tests of readers share: conversations, cut in any way.

use crate::direction::Direction;
use crate::event::At;
use crate::time::Timestamp;

use super::{AppFacts, AppSettings, SegmentShape, StreamReader};

pub(super) const C: Direction = Direction::ClientToServer;
pub(super) const S: Direction = Direction::ServerToClient;

/// Frame `frame`, at that many milliseconds.
pub(super) fn at(frame: u64) -> At {
    let nanos = i64::try_from(frame).unwrap() * 1_000_000;
    At {
        frame,
        time: Timestamp::from_nanos(nanos),
    }
}

/// One thing that happens on a connection.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A segment of this sender.
    Data(Direction, Vec<u8>),
    /// Octets of this sender's last segment that were not captured.
    Cut(Direction, u64),
    /// Octets of whole segments that were not captured.
    Drop(Direction, u64),
    Fin(Direction),
}

pub(super) fn data(direction: Direction, bytes: impl AsRef<[u8]>) -> Step {
    Step::Data(direction, bytes.as_ref().to_vec())
}

/// Reads the steps; every step but a cut is a frame, from 1.
pub(super) fn read_with(settings: &AppSettings, steps: &[Step]) -> AppFacts {
    let mut reader = StreamReader::new(settings, 9000);
    let mut frame = 0;
    for step in steps {
        frame += u64::from(!matches!(step, Step::Cut(..)));
        match step {
            Step::Data(direction, bytes) => {
                if reader.wants_data(*direction) {
                    reader.segment_boundary(*direction, SegmentShape::default());
                    reader.data(*direction, bytes, at(frame));
                }
            }
            Step::Cut(direction, octets) | Step::Drop(direction, octets) => {
                reader.gap(*direction, *octets, at(frame));
            }
            Step::Fin(direction) => reader.fin(*direction, at(frame)),
        }
    }
    reader.finish()
}

pub(super) fn read(steps: &[Step]) -> AppFacts {
    read_with(&AppSettings::default(), steps)
}

/// Reads the steps with every segment cut into pieces of the lengths that `cut` gives in turn;
/// the first of a segment has at least `first_min` octets. Pieces bear their step's frame, so
/// every fact but those on segments has to be the same.
pub(super) fn read_in_pieces(
    settings: &AppSettings,
    steps: &[Step],
    first_min: usize,
    mut cut: impl FnMut() -> usize,
) -> AppFacts {
    let mut reader = StreamReader::new(settings, 9000);
    for (step, frame) in steps.iter().zip(1..) {
        match step {
            Step::Data(direction, bytes) => {
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let least = if rest.len() == bytes.len() {
                        first_min
                    } else {
                        1
                    };
                    let (now, later) = rest.split_at(cut().max(least).min(rest.len()));
                    reader.data(*direction, now, at(frame));
                    rest = later;
                }
            }
            Step::Cut(direction, octets) | Step::Drop(direction, octets) => {
                reader.gap(*direction, *octets, at(frame));
            }
            Step::Fin(direction) => reader.fin(*direction, at(frame)),
        }
    }
    reader.finish()
}

/// Checks that pieces of every length, and of one octet at every place, change nothing.
#[track_caller]
pub(super) fn check_any_cut(steps: &[Step]) {
    let settings = AppSettings::default();
    let whole = read_in_pieces(&settings, steps, 1, || usize::MAX);
    let longest = steps.iter().map(|step| match step {
        Step::Data(_, bytes) => bytes.len(),
        _ => 0,
    });
    for len in 1..=longest.max().unwrap_or(0).min(400) {
        assert_eq!(
            read_in_pieces(&settings, steps, 1, || len),
            whole,
            "pieces of {len}"
        );
        let mut first = true;
        let cut = || {
            if std::mem::take(&mut first) {
                len
            } else {
                usize::MAX
            }
        };
        assert_eq!(
            read_in_pieces(&settings, steps, 1, cut),
            whole,
            "first piece of {len}"
        );
    }
}

/// Octets without structure, always the same for a seed.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

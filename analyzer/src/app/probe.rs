//! The first octets of a stream, kept until it is known what they are.

use crate::direction::Direction;

use super::reader::Piece;

/// Octets kept per direction.
pub(super) const SAMPLE_OCTETS: usize = 16 * 1024;
/// Runs kept of both directions together.
const SAMPLE_RUNS: usize = 512;

/// Both directions as they came.
#[derive(Debug, Default)]
pub(super) struct Sample {
    bytes: [Vec<u8>; 2],
    log: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    direction: Direction,
    kind: EntryKind,
    piece: Piece,
}

#[derive(Clone, Copy, Debug)]
enum EntryKind {
    Data(usize),
    Gap(u64),
    Fin,
}

/// One run as it is replayed.
#[derive(Clone, Copy, Debug)]
pub(super) enum What<'a> {
    /// Octets.
    Data(&'a [u8]),
    /// Octets that were not captured.
    Gap(u64),
    /// The end of the direction.
    Fin,
}

impl Sample {
    /// Keeps the next octets; gives those that found no room.
    pub(super) fn push<'a>(
        &mut self,
        direction: Direction,
        bytes: &'a [u8],
        piece: Piece,
    ) -> &'a [u8] {
        if self.log.len() >= SAMPLE_RUNS {
            return bytes;
        }
        let kept = &mut self.bytes[direction.index()];
        let (now, later) = bytes.split_at(bytes.len().min(SAMPLE_OCTETS - kept.len()));
        if !now.is_empty() {
            kept.extend_from_slice(now);
            self.log.push(Entry {
                direction,
                kind: EntryKind::Data(now.len()),
                piece,
            });
        }
        later
    }

    /// Keeps a gap; false when there is no room.
    pub(super) fn push_gap(&mut self, direction: Direction, octets: u64, piece: Piece) -> bool {
        self.push_entry(Entry {
            direction,
            kind: EntryKind::Gap(octets),
            piece,
        })
    }

    /// Keeps a direction's end; false when there is no room.
    pub(super) fn push_fin(&mut self, direction: Direction, piece: Piece) -> bool {
        self.push_entry(Entry {
            direction,
            kind: EntryKind::Fin,
            piece,
        })
    }

    fn push_entry(&mut self, entry: Entry) -> bool {
        let room = self.log.len() < SAMPLE_RUNS;
        if room {
            self.log.push(entry);
        }
        room
    }

    /// Every octet kept of a direction, gaps left out.
    pub(super) fn bytes(&self, direction: Direction) -> &[u8] {
        &self.bytes[direction.index()]
    }

    /// Runs of octets of a direction between gaps, each with its place in the stream.
    pub(super) fn extents(&self, direction: Direction) -> Vec<(u64, &[u8])> {
        let bytes = self.bytes(direction);
        let mut extents: Vec<(u64, &[u8])> = Vec::new();
        let (mut place, mut kept, mut start) = (0_u64, 0, 0);
        for entry in self.log.iter().filter(|entry| entry.direction == direction) {
            match entry.kind {
                EntryKind::Data(len) => {
                    kept += len;
                    place += len as u64;
                }
                EntryKind::Gap(octets) => {
                    extents.push((place - (kept - start) as u64, &bytes[start..kept]));
                    start = kept;
                    place = place.saturating_add(octets);
                }
                EntryKind::Fin => {}
            }
        }
        extents.push((place - (kept - start) as u64, &bytes[start..kept]));
        extents
    }

    /// Lengths of the segments of a direction, in order, gaps included.
    pub(super) fn segment_lengths(&self, direction: Direction) -> Vec<u64> {
        let mut lengths: Vec<u64> = Vec::new();
        for entry in self.log.iter().filter(|entry| entry.direction == direction) {
            let (octets, starts) = match entry.kind {
                EntryKind::Data(len) => (len as u64, entry.piece.starts_segment),
                EntryKind::Gap(octets) => (octets, false),
                EntryKind::Fin => continue,
            };
            match lengths.last_mut() {
                Some(last) if !starts => *last = last.saturating_add(octets),
                _ => lengths.push(octets),
            }
        }
        lengths
    }

    /// Hands everything to `take` again, in the order in which it came.
    pub(super) fn replay(&self, mut take: impl FnMut(Direction, What<'_>, Piece)) {
        let mut from = [0; 2];
        for entry in &self.log {
            let what = match entry.kind {
                EntryKind::Data(len) => {
                    let start = from[entry.direction.index()];
                    from[entry.direction.index()] += len;
                    What::Data(&self.bytes[entry.direction.index()][start..start + len])
                }
                EntryKind::Gap(octets) => What::Gap(octets),
                EntryKind::Fin => What::Fin,
            };
            take(entry.direction, what, entry.piece);
        }
    }
}

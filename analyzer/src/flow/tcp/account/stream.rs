//! Hands each direction's octets to the application reader in order, each once.

use std::collections::VecDeque;

use crate::app::{AppFacts, MessagePosition, MessageUnit, SegmentShape, StreamReader};
use crate::direction::Direction;
use crate::event::At;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::SenderState;
use crate::flow::tcp::verdict::Verdict;

/// Octets kept per direction that arrived behind a hole, with what each piece takes beside them.
const KEPT: usize = 256 << 10;

/// Pieces behind a hole, and where the stream has been read to.
#[derive(Debug)]
pub(in crate::flow::tcp) struct StreamBuffer {
    reader: StreamReader,
    halves: [Pieces; 2],
}

/// Messages that a segment let go by filling a hole.
#[derive(Clone, Copy, Debug)]
pub(in crate::flow::tcp) struct MessagesFreed {
    pub unit: MessageUnit,
    pub count: u64,
}

#[derive(Debug, Default)]
struct Pieces {
    next: Option<u64>,
    /// Where the sender's FIN lies, until it is reached.
    fin: Option<u64>,
    waiting: VecDeque<Piece>,
    kept: usize,
}

#[derive(Debug)]
struct Piece {
    start: u64,
    bytes: Vec<u8>,
    /// True length; the octets behind `bytes` were not captured.
    len: u64,
    at: At,
    oversized: bool,
}

impl Piece {
    /// What it takes of [`KEPT`]: also pieces without octets, as short snap lengths leave them.
    const fn cost(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }
}

impl StreamBuffer {
    /// Hands what comes to `reader`.
    pub fn new(reader: StreamReader) -> Self {
        Self {
            reader,
            halves: Default::default(),
        }
    }

    /// Roughly the octets it takes.
    pub const fn octets(&self) -> usize {
        self.halves[0].kept + self.halves[1].kept
    }

    /// Forgets what waits, for want of memory: the reader sees it as a gap.
    pub fn shed(&mut self) {
        for half in &mut self.halves {
            half.waiting = VecDeque::new();
            half.kept = 0;
        }
    }

    /// Passes a segment's payload on, and whatever it makes contiguous; gives the messages that
    /// had waited for it.
    pub fn deliver(
        &mut self,
        segment: &Segment<'_>,
        payload: &[u8],
        verdict: Verdict,
        senders: &[SenderState; 2],
    ) -> Option<MessagesFreed> {
        let direction = segment.direction;
        let at = At {
            frame: segment.packet.frame,
            time: segment.packet.time,
        };
        let mut freed = None;
        if segment.tcp.flags.fin() {
            self.halves[direction.index()].fin = Some(segment.end - 1);
        }
        if segment.packet.payload_len > 0
            && (verdict.brings_new_octets() || verdict == Verdict::ZeroWindowProbe)
            && self.reader.wants_data(direction)
        {
            let start = segment.start + u64::from(segment.tcp.flags.syn());
            let sender = &senders[direction.index()];
            let limit = senders[direction.reverse().index()].stats.mss;
            let oversized = segment.packet.payload_len > u32::from(limit.unwrap_or(u16::MAX));
            let readable = sender.next_unseen();
            let waiting = !self.halves[direction.index()].waiting.is_empty();
            let before = waiting.then(|| self.reader.message_position(direction));
            let pieces = &mut self.halves[direction.index()];
            let next = *pieces.next.get_or_insert_with(|| {
                sender
                    .base
                    .map_or(start, |base| start.min(base + 1).max(base + 1).min(start))
            });
            let len = u64::from(segment.packet.payload_len);
            if start <= next {
                self.pass_on(direction, start, payload, len, at, oversized);
            } else if pieces.kept + payload.len() <= KEPT {
                let piece = Piece {
                    start,
                    bytes: payload.to_vec(),
                    len,
                    at,
                    oversized,
                };
                pieces.kept += piece.cost();
                let place = pieces.waiting.partition_point(|known| known.start <= start);
                pieces.waiting.insert(place, piece);
            }
            self.drain_direction(direction, readable, at);
            freed = before.map(|before| self.messages_since(before, direction));
        } else if segment.ack.is_some()
            && !self.halves[direction.reverse().index()].waiting.is_empty()
        {
            let readable = senders[direction.reverse().index()].next_unseen();
            self.drain_direction(direction.reverse(), readable, at);
        }
        for end in Direction::BOTH {
            self.pass_end(end, at);
        }
        freed
    }

    /// Tells the reader that it has all of a direction, once the FIN follows what it was handed.
    fn pass_end(&mut self, direction: Direction, at: At) {
        let pieces = &mut self.halves[direction.index()];
        if pieces.fin.is_some() && pieces.fin == pieces.next {
            pieces.fin = None;
            self.reader.fin(direction, at);
        }
    }

    /// The messages that were completed since `before`.
    fn messages_since(&self, before: MessagePosition, direction: Direction) -> MessagesFreed {
        let after = self.reader.message_position(direction);
        let count = match after.unit {
            MessageUnit::Unknown => 0,
            MessageUnit::Http2Stream => before.open,
            _ => after.complete.saturating_sub(before.complete),
        };
        MessagesFreed {
            unit: after.unit,
            count,
        }
    }

    /// Passes on what waits below `readable`; octets that never passed become a gap.
    fn drain_direction(&mut self, direction: Direction, readable: u64, at: At) {
        loop {
            let pieces = &mut self.halves[direction.index()];
            let Some(next) = pieces.next else { return };
            let Some(first) = pieces.waiting.front() else {
                return;
            };
            if first.start > next {
                // Still missing, unless the hole was given up (acknowledged unseen).
                if next >= readable {
                    return;
                }
                let gap = first.start - next;
                pieces.next = Some(first.start);
                self.reader.gap(direction, gap, at);
                continue;
            }
            let Some(piece) = pieces.waiting.pop_front() else {
                return;
            };
            pieces.kept -= piece.cost();
            self.pass_on(
                direction,
                piece.start,
                &piece.bytes,
                piece.len,
                piece.at,
                piece.oversized,
            );
        }
    }

    fn pass_on(
        &mut self,
        direction: Direction,
        start: u64,
        bytes: &[u8],
        len: u64,
        at: At,
        oversized: bool,
    ) {
        let pieces = &mut self.halves[direction.index()];
        let next = pieces.next.unwrap_or(start);
        let known = next.saturating_sub(start);
        if known >= len {
            return;
        }
        pieces.next = Some(start + len);
        let skip = usize::try_from(known)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let fresh = &bytes[skip..];
        let cut = (len - known).saturating_sub(fresh.len() as u64);
        let shape = SegmentShape {
            oversized,
            tail_cut: cut > 0,
        };
        self.reader.segment_boundary(direction, shape);
        if !fresh.is_empty() {
            self.reader.data(direction, fresh, at);
        }
        if cut > 0 {
            self.reader.gap(direction, cut, at);
        }
    }

    /// What the payload told.
    pub fn finish(self) -> AppFacts {
        self.reader.finish()
    }
}

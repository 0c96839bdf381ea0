//! What is sent again and again and answered by nobody.

use std::time::Duration;

use analyzer::connection::Stuck;
use analyzer::event::EventKind;
use analyzer::{Connection, Direction, Timestamp};

use crate::signs::handshake::is_handshake_ignored;

/// Data that was sent in vain to the end of a connection.
pub(crate) struct Died {
    pub(crate) stuck: Stuck,
    /// The silence before it, when one came right before.
    pub(crate) silence: Duration,
}

/// Data of `direction` that was sent in vain to the end of a connection that had been served. What
/// other causes explain is left out: resets, closed windows, closed connections, ignored handshakes,
/// and sizes that never passed.
pub(crate) fn died(conn: &Connection, direction: Direction) -> Option<Died> {
    let (half, peer) = (conn.half(direction), conn.half(direction.reverse()));
    let stuck = half.stuck?;
    let heard = peer.last_segment?;
    let served = half.unacked_at_end < half.unique_bytes || peer.unique_bytes > 0;
    let too_large = stuck.first.payload_len > half.largest_acked_payload
        && stuck.first.payload_len >= SMALL
        || stuck.smaller_passed;
    let over = peer.fin.is_some() || !conn.resets.is_empty() || heard.window == 0;
    let explained = is_handshake_ignored(conn) || too_large || over;
    (served && !explained).then(|| Died {
        stuck,
        silence: silence_before(conn, &stuck).unwrap_or_default(),
    })
}

/// The silence that ended with this data, when one did.
pub(crate) fn silence_before(conn: &Connection, stuck: &Stuck) -> Option<Duration> {
    let gap = conn.idle_gaps.last.filter(|gap| !gap.survived)?;
    (gap.after.relative_seq == stuck.first.relative_seq).then(|| gap.length())
}

/// Octets that every link carries, with room for headers (RFC 791: 576 of a packet).
const SMALL: u32 = 500;

/// The times in which the connection sent the same data three times or more before it was
/// acknowledged, or in vain: from the first copy to the last.
pub(crate) fn spells(conn: &Connection) -> Vec<(Timestamp, Timestamp)> {
    let mut spells = Vec::new();
    for direction in Direction::BOTH {
        let mut run: Option<Run> = None;
        for event in &conn.events {
            let segment = event.segment;
            let EventKind::Retransmission {
                spurious: false,
                after,
                ..
            } = event.kind
            else {
                continue;
            };
            if segment.direction != direction || segment.payload_len == 0 {
                continue;
            }
            match &mut run {
                Some(run) if run.place == segment.relative_seq => {
                    run.last = segment.time;
                    run.repeats += 1;
                }
                _ => {
                    let next = Run {
                        place: segment.relative_seq,
                        first: segment.time - after,
                        last: segment.time,
                        repeats: 1,
                    };
                    spells.extend(run.replace(next).and_then(Run::spell));
                }
            }
        }
        spells.extend(run.and_then(Run::spell));
    }
    spells
}

/// Repeats of the same data in a row.
struct Run {
    place: u64,
    first: Timestamp,
    last: Timestamp,
    repeats: u32,
}

impl Run {
    fn spell(self) -> Option<(Timestamp, Timestamp)> {
        (self.repeats >= 2).then_some((self.first, self.last))
    }
}

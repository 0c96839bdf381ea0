//! What is sent again and again and answered by nobody.

use std::time::Duration;

use analyzer::event::EventKind;
use analyzer::flow::Stuck;
use analyzer::{Connection, Direction, Timestamp};

use crate::handshake::first_data_ignored;

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
    let ignored = conn.handshake.syn_acks_after_ack > 0 || !first_data_ignored(conn).is_empty();
    let too_large = stuck.first.payload_len > half.largest_acked_payload
        && stuck.first.payload_len >= SMALL
        || stuck.smaller_passed;
    let over = peer.fin.is_some() || !conn.resets.is_empty() || heard.window == 0;
    let silence = (conn.idle_gaps.last)
        .filter(|gap| !gap.survived && gap.after.relative_seq == stuck.first.relative_seq)
        .map_or(Duration::ZERO, |gap| gap.length());
    (served && !ignored && !too_large && !over).then_some(Died { stuck, silence })
}

/// Octets that every link carries, with room for headers (RFC 791: 576 of a packet).
const SMALL: u32 = 500;

/// The times in which the connection sent the same data three times or more before it was
/// acknowledged, or in vain: from the first copy to the last.
pub(crate) fn spells(conn: &Connection) -> Vec<(Timestamp, Timestamp)> {
    let mut spells = Vec::new();
    for direction in Direction::BOTH {
        // The data repeated last: its place, the times of its first and last copy, copies.
        let mut run: Option<(u64, Timestamp, Timestamp, u32)> = None;
        for event in &conn.events {
            let EventKind::Retransmission {
                spurious: false,
                after,
                ..
            } = event.kind
            else {
                continue;
            };
            let segment = event.segment;
            if segment.direction != direction || segment.payload_len == 0 {
                continue;
            }
            run = match run {
                Some((place, first, _, copies)) if place == segment.relative_seq => {
                    Some((place, first, segment.time, copies + 1))
                }
                other => {
                    spells.extend(other.and_then(spell));
                    Some((segment.relative_seq, segment.time - after, segment.time, 2))
                }
            };
        }
        spells.extend(run.and_then(spell));
    }
    spells
}

fn spell(
    (_, first, last, copies): (u64, Timestamp, Timestamp, u32),
) -> Option<(Timestamp, Timestamp)> {
    (copies >= 3).then_some((first, last))
}

//! What a server that ignored a finished handshake leaves behind.

use analyzer::connection::CapturePoint;
use analyzer::event::{EventKind, SegmentRef};
use analyzer::{Connection, Direction, Timestamp};

/// The repeats of the client's first data, known to have reached the server, that it had not
/// acknowledged by then: a server whose accept queue is full drops it with the handshake it belongs
/// to (Linux with SYN cookies sends no SYN-ACK again and takes a later copy, when there is room).
/// It reached the server where it passed a capture at the server, or where a repeated SYN-ACK echoes
/// its timestamp.
pub(crate) fn first_data_ignored(conn: &Connection) -> Vec<SegmentRef> {
    let client = conn.from_client();
    let finished = conn.handshake.syn_ack_count > 0 && conn.handshake.ack.is_some();
    let Some(first) = client.first_data.filter(|_| finished) else {
        return Vec::new();
    };
    let has_arrived = conn.handshake.syn_acks_after_arrival > 0;
    if conn.capture_point != CapturePoint::Server && !has_arrived {
        return Vec::new();
    }
    let acknowledged = acknowledged_at(conn, &first);
    conn.events
        .iter()
        .filter(|event| {
            matches!(
                event.kind,
                EventKind::Retransmission {
                    spurious: false,
                    ..
                }
            )
        })
        .map(|event| event.segment)
        .filter(|segment| {
            segment.direction == Direction::ClientToServer
                && segment.payload_len > 0
                && segment.relative_seq == first.relative_seq
                && acknowledged.is_none_or(|at| segment.time < at)
        })
        .collect()
}

/// When the server had acknowledged the client's first data, by an ACK of the whole request or by
/// data of its own.
fn acknowledged_at(conn: &Connection, first: &SegmentRef) -> Option<Timestamp> {
    let turns = &conn.turns;
    let kept = [turns.before_last.as_ref(), turns.last.as_ref()];
    let mut kept = kept.into_iter().flatten().chain(&turns.slowest);
    let own = kept.find(|turn| turn.request.first.frame == first.frame);
    let by_ack = own.and_then(|turn| turn.request_acked);
    let answer = conn.from_server().first_data;
    let by_data = answer.filter(|answer| answer.relative_ack > first.relative_seq);
    by_ack
        .into_iter()
        .chain(by_data.map(|answer| answer.time))
        .min()
}

/// When a handshake waited for a timer: from the first SYN to the last one, and from the first SYN-ACK
/// to the last one.
pub(crate) fn timer_waits(conn: &Connection) -> impl Iterator<Item = (Timestamp, Timestamp)> {
    let handshake = &conn.handshake;
    let copies = [&handshake.syns, &handshake.syn_acks];
    copies.into_iter().filter_map(|copies| {
        let (first, last) = (copies.first()?, copies.last()?);
        (first.time < last.time).then_some((first.time, last.time))
    })
}

/// Whether the server acts as if the finished handshake had not been.
pub(crate) fn is_handshake_ignored(conn: &Connection) -> bool {
    conn.handshake.syn_acks_after_ack > 0 || !first_data_ignored(conn).is_empty()
}

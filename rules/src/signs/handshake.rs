//! What a server that ignored a finished handshake leaves behind.

use analyzer::connection::CapturePoint;
use analyzer::event::{EventKind, SegmentRef};
use analyzer::{Connection, Direction};

/// The repeats of the client's first data, captured at the server, that it had not acknowledged
/// by then. The first copy had passed the capture point, so nothing on the way lost it: a server
/// whose accept queue is full drops it with the handshake it belongs to (Linux with SYN cookies
/// sends no SYN-ACK again and takes a later copy, when there is room).
pub(crate) fn first_data_ignored(conn: &Connection) -> Vec<SegmentRef> {
    let client = conn.from_client();
    let finished = conn.handshake.syn_ack_count > 0 && conn.handshake.ack.is_some();
    let Some(first) = client.first_data.filter(|_| finished) else {
        return Vec::new();
    };
    if conn.capture_point != CapturePoint::Server {
        return Vec::new();
    }
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
        })
        .collect()
}

/// Whether the server acts as if the finished handshake had not been.
pub(crate) fn is_handshake_ignored(conn: &Connection) -> bool {
    conn.handshake.syn_acks_after_ack > 0 || !first_data_ignored(conn).is_empty()
}

//! Offloaded segments: captured as one, several on the wire.

use crate::flow::tcp::TcpTracker;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::SenderState;

impl TcpTracker {
    /// How many packets a segment is on the wire.
    pub(in crate::flow::tcp) fn wire_segments(&self, segment: &Segment<'_>) -> u64 {
        segments_of(segment, self.peer_mss(segment))
    }
}

/// More payload than this was never one packet on the wire: the peer's MSS, else that of the
/// largest frames in use (9,216 octets; a host talking to itself has larger ones).
fn largest_on_wire(segment: &Segment<'_>, peer: &SenderState) -> u32 {
    const JUMBO: u32 = 9_216;
    if let Some(mss) = peer.stats.mss {
        return mss.into();
    }
    let packet = segment.packet;
    let is_within_host = packet.src == packet.dst || packet.source().ip.is_loopback();
    if is_within_host { u32::MAX } else { JUMBO }
}

/// Counts a segment with payload.
pub(in crate::flow::tcp) fn count_data(
    segment: &Segment<'_>,
    sender: &mut SenderState,
    peer: &SenderState,
) {
    sender.stats.data_segments += 1;
    if segment.packet.payload_len > largest_on_wire(segment, peer) {
        sender.stats.oversized_segments += 1;
        let more = segments_of(segment, peer.stats.mss) - 1;
        sender.stats.seldom().offloaded_segments += more;
    }
}

/// How many segments the network saw: an offloaded one is several (Linux counts them so).
pub(in crate::flow::tcp) fn segments_of(segment: &Segment<'_>, peer_mss: Option<u16>) -> u64 {
    let Some(mss) = peer_mss else { return 1 };
    // Only what both ends agreed on is on every segment (RFC 7323 §3.2).
    let options = if segment.tcp.timestamps.is_some() {
        12
    } else {
        0
    };
    let size = u32::from(mss.saturating_sub(options).max(1));
    let payload = segment.packet.payload_len;
    if payload <= size {
        return 1;
    }
    payload.div_ceil(size).into()
}

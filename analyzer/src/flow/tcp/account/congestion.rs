//! What routers and receivers say of congestion without dropping (RFC 3168).

use crate::decode::TcpFlags;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::SenderState;

/// The codepoint that a congested router writes (RFC 3168 §5).
const CONGESTION_EXPERIENCED: u8 = 3;

/// Takes what a segment of `sender` says of congestion.
#[inline]
pub(in crate::flow::tcp) fn take(sender: &mut SenderState, segment: &Segment<'_>) {
    const TOLD: u8 = TcpFlags::ECE | TcpFlags::CWR;
    if segment.packet.ecn == CONGESTION_EXPERIENCED || segment.tcp.flags.0 & TOLD != 0 {
        note(sender, segment);
    }
}

/// Counts it. On SYNs the flags only offer it (§6.1.1).
#[cold]
fn note(sender: &mut SenderState, segment: &Segment<'_>) {
    let flags = segment.tcp.flags;
    if flags.syn() {
        return;
    }
    let seldom = sender.stats.seldom();
    if segment.packet.ecn == CONGESTION_EXPERIENCED {
        seldom.congestion_marks += 1;
        seldom
            .first_congestion_mark
            .get_or_insert(segment.reference);
    }
    if flags.has(TcpFlags::ECE) {
        seldom.congestion_echoes += 1;
        seldom
            .first_congestion_echo
            .get_or_insert(segment.reference);
    }
    seldom.windows_reduced += u64::from(flags.has(TcpFlags::CWR));
}

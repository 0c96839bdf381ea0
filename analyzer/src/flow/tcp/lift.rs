//! From a packet to a segment with 64-bit numbers.

use crate::decode::{Packet, TcpFields};
use crate::direction::Direction;
use crate::event::SegmentRef;
use crate::seq::SeqNumber;

use super::segment::Segment;
use super::sender::{SenderState, split_pair};

/// Lifts a packet's numbers to where its sender and the sender's peer are. What is seen of either
/// end for the first time tells where its sequence space begins.
pub(super) fn lift<'a>(
    senders: &mut [SenderState; 2],
    packet: &'a Packet,
    tcp: &'a TcpFields,
    direction: Direction,
) -> Segment<'a> {
    let (sender, peer) = split_pair(senders, direction);
    if sender.base.is_none() {
        let first = SenderState::base_for(tcp.seq);
        // Without a SYN the first octet seen is number 1, as Wireshark counts.
        let base = if tcp.flags.syn() { first } else { first - 1 };
        sender.base = Some(base);
        sender.snd_max = first;
        sender.snd_una = first;
    } else if tcp.flags.syn() && sender.stats.packets == 0 {
        // Known only from the peer's acknowledgements so far.
        let first = sender.lift(tcp.seq);
        sender.base = Some(first);
    }
    let start = sender.lift(tcp.seq);
    let length =
        u64::from(packet.payload_len) + u64::from(tcp.flags.syn()) + u64::from(tcp.flags.fin());
    let ack = tcp.flags.ack().then(|| {
        if peer.base.is_none() && !tcp.flags.rst() {
            let base = SenderState::base_for(tcp.ack) - 1;
            peer.base = Some(base);
            peer.snd_max = base + 1;
            peer.snd_una = base + 1;
        }
        peer.lift(tcp.ack)
    });
    let window = u32::from(tcp.window_field) << if tcp.flags.syn() { 0 } else { sender.shift };
    let reference = SegmentRef {
        frame: packet.frame,
        time: packet.time,
        direction,
        flags: tcp.flags,
        seq: tcp.seq,
        ack: if tcp.flags.ack() {
            tcp.ack
        } else {
            SeqNumber(0)
        },
        relative_seq: sender.relative(start),
        relative_ack: ack.map_or(0, |ack| peer.relative(ack)),
        payload_len: packet.payload_len,
        window,
    };
    Segment {
        packet,
        tcp,
        direction,
        start,
        end: start + length,
        ack,
        reference,
    }
}

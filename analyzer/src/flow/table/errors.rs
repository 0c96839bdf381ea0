//! What a shard takes beside packets of its flows: ICMP errors, and datagrams that never became whole.

use crate::addr::Transport;
use crate::analysis::IcmpError;
use crate::connection::ConnectionSink;
use crate::decode::{IcmpFields, IcmpKind, Packet};
use crate::direction::Direction;
use crate::event::SegmentRef;
use crate::flow::entry::Flow;
use crate::flow::key::FlowKey;
use crate::flow::udp::UdpTracker;

use super::Shard;

/// ICMP errors kept per shard.
const ICMP_ERRORS: usize = 1024;

impl<S: ConnectionSink> Shard<S> {
    /// Takes an ICMP error: `hash` and `key` are of the packet that it quotes.
    pub(super) fn icmp(
        &mut self,
        (key, transport): (&FlowKey, Transport),
        hash: u64,
        packet: &Packet,
        icmp: IcmpFields,
    ) {
        let mut found = self.live(key, hash, packet.time);
        // Of a flow whose datagrams never become whole, this may be all there is to see.
        if found.is_none()
            && transport == Transport::Udp
            && icmp.kind() == IcmpKind::ReassemblyTimeout
        {
            let tracker = UdpTracker::new(packet);
            found = Some(self.insert(*key, hash, Flow::Udp(Box::new(tracker))));
        }
        if let Some(id) = found {
            self.grow(id);
            match self.flows.get_mut(id) {
                Some(Flow::Tcp(tracker)) => tracker.icmp_error(packet, icmp),
                Some(Flow::Udp(tracker)) => tracker.icmp_error(packet, icmp),
                _ => {}
            }
        }
        self.tally.icmp_error_count += 1;
        if self.tally.icmp_errors.len() < ICMP_ERRORS {
            self.tally.icmp_errors.push(IcmpError {
                segment: SegmentRef::place(packet.frame, packet.time, Direction::ClientToServer),
                icmp,
                from: packet.source(),
                to: packet.destination(),
                transport,
            });
        }
    }

    /// Takes a datagram of which a fragment never came.
    pub fn incomplete(&mut self, packet: &Packet, hash: u64, fragments_seen: u32) {
        let (key, _) = FlowKey::of(packet);
        let id = self.live(&key, hash, packet.time).unwrap_or_else(|| {
            self.insert(key, hash, Flow::Udp(Box::new(UdpTracker::new(packet))))
        });
        self.grow(id);
        if let Some(Flow::Udp(tracker)) = self.flows.get_mut(id) {
            tracker.incomplete(packet, fragments_seen);
        }
    }
}

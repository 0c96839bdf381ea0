//! What has to be done in sequence, between decoding and following connections: leaving out what the
//! recording holds twice, putting IP fragments together, joining translated connections, watching the
//! clock.

use serde::{Deserialize, Serialize};

use crate::decode::{DecodeStats, Packet, PacketKind};
use crate::filter::PacketFilter;
use crate::in_order::broadcasts::{Broadcast, Broadcasts};
use crate::in_order::conflicts::Conflicts;
use crate::in_order::damage::DamageFinder;
use crate::in_order::doubles::Doubles;
use crate::in_order::fragments::{IncompleteDatagram, Reassembler};
use crate::in_order::loops::{Circling, Loops};
use crate::in_order::neighbours::{Neighbours, Sighting};
use crate::in_order::quotes::Quotes;
use crate::in_order::steps::Steps;
use crate::in_order::times::{ClockBreak, Times};
use crate::in_order::translation::Translator;

use super::item::Item;

/// What the order of a file's frames showed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Found {
    pub times: Times,
    pub steps: Vec<ClockBreak>,
    pub stats: DecodeStats,
    pub damage: DamageFinder,
    /// Second copies of frames that were left out.
    pub doubles: u64,
    pub circling: Vec<Circling>,
    pub sightings: Vec<Sighting>,
    pub broadcasts: Vec<Broadcast>,
}

/// Takes decoded slabs in the order of the capture.
#[derive(Default)]
pub(super) struct Sequencer {
    pub doubles: Doubles,
    pub damage: DamageFinder,
    reassembler: Reassembler,
    translator: Translator,
    quotes: Quotes,
    pub loops: Loops,
    pub neighbours: Neighbours,
    pub broadcasts: Broadcasts,
    pub conflicts: Conflicts,
    pub stats: DecodeStats,
    pub times: Times,
    pub steps: Steps,
}

impl Sequencer {
    /// What has to be done in sequence with decoded slabs.
    pub fn sequence(&mut self, items: &mut [Item], filter: &PacketFilter) {
        for item in items {
            self.times.append(&item.times);
            self.stats.merge(&item.decoded.stats);
            self.loops.take(&item.circling.found);
            self.neighbours.take(&item.sightings.list);
            self.conflicts.take(&item.sightings.list);
            self.broadcasts.take(&item.sightings.broadcasts);
            let doubled = self.doubles.leave_out(&mut item.decoded, &item.signs);
            if self.damage.leave_out(&mut item.decoded) || doubled {
                item.distribute();
            }
            self.reassemble(item, filter);
            if self.quotes.resolve(&mut item.decoded.packets) {
                item.distribute();
            }
            self.translate(item);
            self.steps.take(&item.decoded.packets, &item.hashes);
        }
    }

    /// Takes what was found in a file that follows, whose first frame has the number after `offset`.
    pub fn replay(&mut self, found: Found, offset: u64) {
        self.times.append(&found.times);
        self.steps.append(&found.steps);
        self.stats.merge(&found.stats);
        self.damage.append(found.damage, offset);
        self.doubles.add(found.doubles);
        let circling = found.circling.into_iter();
        let circling: Vec<_> = circling.map(|one| one.later_by(offset)).collect();
        self.loops.take(&circling);
        let sightings = found.sightings.into_iter();
        let sightings: Vec<_> = sightings.map(|one| one.later_by(offset)).collect();
        self.neighbours.take(&sightings);
        self.conflicts.take(&sightings);
        let broadcasts = found.broadcasts.into_iter();
        let broadcasts: Vec<_> = broadcasts.map(|one| one.later_by(offset)).collect();
        self.broadcasts.take(&broadcasts);
    }

    /// Puts fragments together; datagrams that are whole join the slab's packets in frame order.
    fn reassemble(&mut self, item: &mut Item, filter: &PacketFilter) {
        if item.decoded.fragments.is_empty() {
            return;
        }
        let fragments = std::mem::take(&mut item.decoded.fragments);
        for fragment in &fragments {
            let expired = self.reassembler.expire(fragment.time);
            let expired = incomplete(&expired).filter(|(packet, _)| filter.admits(packet));
            item.incomplete.extend(expired);
            let Some(whole) = self.reassembler.push(fragment, &item.filled.slab.bytes) else {
                continue;
            };
            let base = u32::try_from(item.reassembled.len()).unwrap_or(u32::MAX);
            item.reassembled.extend_from_slice(&whole.payload);
            for mut packet in whole.packets {
                packet.payload_start = packet.payload_start.saturating_add(base);
                if !filter.admits(&packet) {
                    continue;
                }
                let packets = &mut item.decoded.packets;
                let at = packets.partition_point(|known| known.frame <= packet.frame);
                packets.insert(at, packet);
            }
        }
        item.distribute();
    }

    /// Brings the answers of translated connections to the connections they belong to.
    fn translate(&mut self, item: &mut Item) {
        let all = u32::try_from(item.decoded.packets.len()).unwrap_or(u32::MAX);
        let mut asked = item.asked.iter().copied();
        let mut next = 0;
        while next < all {
            // As long as nothing is translated only SYNs and loopback packets are looked at.
            if !self.translator.is_active() {
                let Some(at) = asked.find(|at| *at >= next) else {
                    break;
                };
                next = at;
            }
            let packet = &mut item.decoded.packets[next as usize];
            if let Some(answering) = self.translator.take(packet) {
                item.translated.push((next, answering));
            }
            next += 1;
        }
        if !item.translated.is_empty() {
            item.distribute();
        }
    }

    /// The capture is over: datagrams of which a fragment never came, with the pieces seen.
    pub fn finish(&mut self, filter: &PacketFilter) -> Vec<(Packet, u32)> {
        incomplete(&self.reassembler.finish())
            .filter(|(packet, _)| filter.admits(packet))
            .collect()
    }
}

/// UDP datagrams of which pieces were lost, as packets without payload. Without the first fragment there
/// are no ports, and nothing that they could be told of.
fn incomplete(datagrams: &[IncompleteDatagram]) -> impl Iterator<Item = (Packet, u32)> + '_ {
    /// Protocol number of UDP (RFC 768).
    const UDP: u8 = 17;
    let of_udp = datagrams
        .iter()
        .filter(|datagram| datagram.protocol == UDP && datagram.is_loss);
    of_udp.filter_map(|datagram| {
        let (src_port, dst_port) = datagram.ports?;
        let packet = Packet {
            frame: datagram.frame,
            time: datagram.time,
            src: datagram.ip.src,
            dst: datagram.ip.dst,
            src_port,
            dst_port,
            wire_len: 0,
            payload_len: datagram.total.unwrap_or(datagram.seen).saturating_sub(8),
            payload_start: 0,
            payload_captured: 0,
            ip_id: datagram.ip.identification,
            hop_limit: datagram.ip.hop_limit,
            ecn: datagram.ip.ecn,
            dont_fragment: datagram.ip.dont_fragment,
            reassembled: false,
            observation_point: datagram.observation_point,
            kind: PacketKind::Udp,
        };
        Some((packet, datagram.pieces))
    })
}

//! One packet again and again with a falling hop limit: routers that send it in a circle.
//!
//! Each slab is scanned on its own, in parallel, with a table of fixed size; what it finds is
//! merged in sequence. A capture at two points of one path shows every packet twice, with a hop
//! limit lower by one: three sightings are the least that a scan reports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::addr::{Endpoint, Transport};
use crate::decode::{Packet, PacketKind};
use crate::direction::Direction;
use crate::event::{At, SegmentRef};

/// Packets remembered at a time; copies of a looping packet follow within milliseconds.
const SLOTS: usize = 1024;
/// Sightings of one packet in a slab that are told.
const TOLD: u16 = 3;
/// Sightings of one packet that make a loop.
const PROOF: u16 = 4;
/// Flows kept.
const FLOWS: usize = 256;

/// A flow whose packets went in circles: each seen again and again, its hop limit falling.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RoutingLoop {
    /// Of the packets.
    pub transport: Transport,
    /// Their source.
    pub source: Endpoint,
    /// Where they never arrived.
    pub destination: Endpoint,
    /// Packets that circled.
    pub packets: u64,
    /// How often they were seen, all together.
    pub sightings: u64,
    /// Largest hop limit seen.
    pub hop_limit_first: u8,
    /// Smallest hop limit seen.
    pub hop_limit_last: u8,
    /// First sighting of the first of them.
    pub first: SegmentRef,
    /// Last sighting of the first of them.
    pub first_again: SegmentRef,
}

/// A packet that is remembered.
#[derive(Clone, Copy, Default)]
struct Slot {
    key: u64,
    first: u32,
    last: u32,
    /// The scan it belongs to: those of scans before count as empty.
    scan: u32,
    sightings: u16,
    hop_last: u8,
}

/// A packet that was seen several times, its hop limit falling.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Circling {
    key: u64,
    packet: Packet,
    last: At,
    hop_last: u8,
    sightings: u16,
}

impl Circling {
    /// The same with later frame numbers.
    pub fn later_by(mut self, frames: u64) -> Self {
        self.packet.frame += frames;
        self.last.frame += frames;
        self
    }
}

/// The scan of one slab.
#[derive(Default)]
pub(crate) struct Scan {
    slots: Vec<Slot>,
    /// Number of the scan.
    scan: u32,
    /// Slots that had something to tell when the slab was not over yet.
    told: Vec<u16>,
    pub found: Vec<Circling>,
}

impl Scan {
    /// Looks through the packets of a slab; `hashes` are those of their flows.
    pub fn run(&mut self, packets: &[Packet], hashes: &[u64]) {
        self.found.clear();
        if hop_limits(packets) < TOLD.into() {
            return;
        }
        self.told.clear();
        self.slots.resize(SLOTS, Slot::default());
        self.scan += 1;
        for ((packet, hash), at) in packets.iter().zip(hashes).zip(0_u32..) {
            let Some(key) = key_of(packet, *hash) else {
                continue;
            };
            let place = (key >> 54) as u16;
            let slot = &mut self.slots[usize::from(place)];
            let hop = packet.hop_limit;
            let same = slot.scan == self.scan && slot.key == key;
            if same && hop < slot.hop_last {
                (slot.last, slot.hop_last) = (at, hop);
                slot.sightings = slot.sightings.saturating_add(1);
                if slot.sightings == TOLD {
                    self.told.push(place);
                }
            } else if !same || hop > slot.hop_last {
                let fresh = Slot {
                    key,
                    first: at,
                    last: at,
                    scan: self.scan,
                    sightings: 1,
                    hop_last: hop,
                };
                let before = std::mem::replace(slot, fresh);
                if before.scan == self.scan {
                    tell(before, packets, &mut self.found);
                }
            }
        }
        self.told.sort_unstable();
        self.told.dedup();
        for place in &self.told {
            tell(self.slots[usize::from(*place)], packets, &mut self.found);
        }
        self.found.sort_by_key(|one| one.packet.frame);
    }
}

/// How many hop limits packets bear: every sighting of one that goes in circles has another.
fn hop_limits(packets: &[Packet]) -> u32 {
    let mut seen = [0_u64; 4];
    for packet in packets {
        seen[usize::from(packet.hop_limit >> 6)] |= 1 << (packet.hop_limit & 63);
    }
    seen.iter().map(|bits| bits.count_ones()).sum()
}

fn tell(slot: Slot, packets: &[Packet], found: &mut Vec<Circling>) {
    if slot.sightings < TOLD {
        return;
    }
    let last = &packets[slot.last as usize];
    found.push(Circling {
        key: slot.key,
        packet: packets[slot.first as usize],
        last: At {
            frame: last.frame,
            time: last.time,
        },
        hop_last: slot.hop_last,
        sightings: slot.sightings,
    });
}

/// What stays the same from hop to hop, mixed; `None` for what is not followed. Two packets of one
/// flow that go opposite ways differ in their numbers.
fn key_of(packet: &Packet, hash: u64) -> Option<u64> {
    let own = match packet.kind {
        PacketKind::Tcp(tcp) => u64::from(tcp.seq.0) << 32 | u64::from(tcp.ack.0),
        PacketKind::Udp => 1,
        PacketKind::IcmpError { .. } => return None,
    };
    let marks = u64::from(packet.ip_id.unwrap_or(0)) << 32 | u64::from(packet.payload_len);
    let mixed = [marks, own].into_iter().fold(hash, |sum, part| {
        (sum ^ part)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
    });
    Some(mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The packet as findings cite it; who opened its connection is not known here.
fn reference(packet: &Packet) -> SegmentRef {
    let place = SegmentRef::place(packet.frame, packet.time, Direction::ClientToServer);
    let place = SegmentRef {
        payload_len: packet.payload_len,
        ..place
    };
    match packet.kind {
        PacketKind::Tcp(tcp) => SegmentRef {
            flags: tcp.flags,
            seq: tcp.seq,
            ack: tcp.ack,
            window: u32::from(tcp.window_field),
            ..place
        },
        _ => place,
    }
}

/// Who sent it to whom.
type Route = (Transport, Endpoint, Endpoint);

/// The loops of a capture, by flow; of more than are kept, the smallest addresses stay.
#[derive(Default)]
pub(crate) struct Loops {
    flows: BTreeMap<Route, (RoutingLoop, u64)>,
    /// The chain told last, which the next slab may continue.
    open: Option<Circling>,
}

impl Loops {
    /// Takes what a slab's scan found.
    pub fn take(&mut self, found: &[Circling]) {
        for one in found {
            match &mut self.open {
                Some(open) if open.key == one.key && one.packet.hop_limit < open.hop_last => {
                    (open.last, open.hop_last) = (one.last, one.hop_last);
                    open.sightings = open.sightings.saturating_add(one.sightings);
                }
                _ => {
                    let before = self.open.replace(*one);
                    self.note(before);
                }
            }
        }
    }

    fn note(&mut self, one: Option<Circling>) {
        let Some(one) = one.filter(|one| one.sightings >= PROOF) else {
            return;
        };
        let transport = match one.packet.kind {
            PacketKind::Tcp(_) => Transport::Tcp,
            _ => Transport::Udp,
        };
        let (source, destination) = (one.packet.source(), one.packet.destination());
        let hop_first = one.packet.hop_limit;
        let (known, key) = self
            .flows
            .entry((transport, source, destination))
            .or_insert_with(|| {
                let first = reference(&one.packet);
                let first_again = SegmentRef {
                    frame: one.last.frame,
                    time: one.last.time,
                    ..first
                };
                let fresh = RoutingLoop {
                    transport,
                    source,
                    destination,
                    packets: 0,
                    sightings: 0,
                    hop_limit_first: hop_first,
                    hop_limit_last: one.hop_last,
                    first,
                    first_again,
                };
                (fresh, 0)
            });
        known.packets += u64::from(*key != one.key);
        *key = one.key;
        known.sightings += u64::from(one.sightings);
        known.hop_limit_first = known.hop_limit_first.max(hop_first);
        known.hop_limit_last = known.hop_limit_last.min(one.hop_last);
        if self.flows.len() > FLOWS {
            self.flows.pop_last();
        }
    }

    /// All loops, by addresses.
    pub fn finish(mut self) -> Vec<RoutingLoop> {
        let open = self.open.take();
        self.note(open);
        self.flows.into_values().map(|(one, _)| one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::key::FlowKey;
    use crate::time::Timestamp;

    fn packet(frame: u64, port: u16, ip_id: u16, hop_limit: u8) -> Packet {
        Packet {
            frame,
            time: Timestamp::default(),
            src: std::net::Ipv4Addr::new(10, 0, 0, 1)
                .to_ipv6_mapped()
                .octets(),
            dst: std::net::Ipv4Addr::new(10, 0, 0, 2)
                .to_ipv6_mapped()
                .octets(),
            src_port: port,
            dst_port: 53,
            wire_len: 80,
            payload_len: 40,
            payload_start: 0,
            payload_captured: 0,
            ip_id: Some(ip_id),
            hop_limit,
            ecn: 0,
            dont_fragment: true,
            reassembled: false,
            observation_point: 0,
            kind: PacketKind::Udp,
        }
    }

    fn loops(slabs: &[&[Packet]]) -> Vec<RoutingLoop> {
        let (mut scan, mut loops) = (Scan::default(), Loops::default());
        for slab in slabs {
            let hashes: Vec<u64> = slab
                .iter()
                .map(|packet| FlowKey::of(packet).0.hash64())
                .collect();
            scan.run(slab, &hashes);
            loops.take(&scan.found);
        }
        loops.finish()
    }

    #[test]
    fn falling_hop_limits_of_one_packet_are_a_loop() {
        let circle = |first: u64, id: u16| {
            (0..10_u8).map(move |n| packet(first + u64::from(n) * 2, 4000, id, 63 - n * 2))
        };
        let packets: Vec<_> = circle(1, 7)
            .zip(circle(2, 8))
            .flat_map(|(a, b)| [a, b])
            .collect();
        let found = loops(&[&packets]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].packets, found[0].sightings), (2, 20));
        assert_eq!(
            (found[0].hop_limit_first, found[0].hop_limit_last),
            (63, 45)
        );
        assert_eq!((found[0].first.frame, found[0].first_again.frame), (1, 19));
        // The same in two slabs, for one packet.
        let packets: Vec<_> = circle(1, 7).collect();
        let found = loops(&[&packets[..4], &packets[4..]]);
        assert_eq!((found[0].packets, found[0].sightings), (1, 10));
        assert_eq!(found[0].hop_limit_last, 45);
    }

    #[test]
    fn two_capture_points_repeats_and_traces_are_none() {
        // Before and behind a router, and a sender that repeats with a new identification.
        let twice = [64, 63].map(|hop| packet(1, 4000, 7, hop));
        let repeats: Vec<_> = (0..9).map(|n| packet(u64::from(n), 4000, n, 64)).collect();
        // A trace: the hop limit rises.
        let trace: Vec<_> = (1..20_u8)
            .map(|n| packet(u64::from(n), 4000, 7, n))
            .collect();
        assert!(loops(&[&twice, &repeats, &trace]).is_empty());
    }
}

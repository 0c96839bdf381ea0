//! A slab on its way: bytes, packets, and which shard takes which packet.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::addr::Endpoint;
use crate::capture::{Interface, Remark, Slab};
use crate::decode::{DecodedSlab, Packet, PacketKind, decode_slab};
use crate::filter::PacketFilter;
use crate::flow::key::{FlowKey, Sender};
use crate::in_order::doubles;
use crate::in_order::loops::Scan;
use crate::in_order::neighbours::Sightings;
use crate::in_order::times::Times;
use crate::in_order::translation::Translator;
use crate::time::Timestamp;

/// Parts of the flow table: enough for many cores, few enough that each has work in a round.
pub(super) const SHARDS: usize = 32;

/// A slab with what is needed to decode it.
#[derive(Default)]
pub(super) struct Filled {
    pub slab: Slab,
    pub interfaces: Arc<[Interface]>,
    pub bytes_read: u64,
}

/// A slab on its way through a round. Items are used again, with the memory they have.
#[derive(Default)]
pub(super) struct Item {
    pub filled: Filled,
    /// Whether what follows is of this slab.
    pub is_decoded: bool,
    pub decoded: DecodedSlab,
    /// Payloads of reassembled datagrams.
    pub reassembled: Vec<u8>,
    /// The hash of each packet's key.
    pub hashes: Vec<u64>,
    /// What is equal in two copies of one packet, of each.
    pub signs: Vec<u64>,
    /// The packets of each shard, in frame order.
    pub buckets: [Vec<Addressed>; SHARDS],
    /// Indices of packets that translation asks about in any case.
    pub asked: Vec<u32>,
    /// Indices of answers of translated connections and the address they truly came from.
    pub translated: Vec<(u32, Endpoint)>,
    /// Datagrams given up at this slab, with the pieces seen of each.
    pub incomplete: Vec<(Packet, u32)>,
    /// The times of its frames that the filter admits.
    pub times: Times,
    /// Packets of this slab that went in circles.
    pub circling: Scan,
    /// Hardware addresses that its frames show.
    pub sightings: Sightings,
}

/// A packet's index, the hash of its key, and which of the key's ends sent it.
#[derive(Clone, Copy)]
pub(super) struct Addressed {
    pub hash: u64,
    pub at: u32,
    pub sender: Sender,
}

impl Item {
    /// A slab that is to be decoded, with the memory of one of the `idle` items.
    pub fn of(filled: Filled, idle: &Receiver<Self>) -> Self {
        let idle = idle.try_recv().unwrap_or_default();
        Self {
            filled,
            is_decoded: false,
            ..idle
        }
    }

    /// Time of the first frame.
    pub fn start(&self) -> Timestamp {
        let first = self.filled.slab.frames.first();
        first.map_or(Timestamp::default(), |frame| frame.time)
    }

    /// Decodes the slab and sorts the packets that `filter` admits by shard.
    pub fn decode(&mut self, filter: &PacketFilter) {
        self.reassembled.clear();
        self.translated.clear();
        self.incomplete.clear();
        decode_slab(
            &self.filled.slab,
            &self.filled.interfaces,
            &mut self.decoded,
        );
        let times = self.filled.slab.frames.iter().map(|frame| frame.time);
        self.times = Times::of(times.filter(|time| filter.admits_time(*time)));
        if !filter.is_open() {
            self.decoded.packets.retain(|packet| filter.admits(packet));
        }
        self.distribute();
        self.circling.run(&self.decoded.packets, &self.hashes);
        let mut signs = std::mem::take(&mut self.signs);
        let payload = |packet: &Packet| self.payload(packet);
        doubles::signs(&self.decoded.packets, &self.hashes, payload, &mut signs);
        self.signs = signs;
        self.sightings
            .run(&self.filled.slab, &self.filled.interfaces, filter);
        self.is_decoded = true;
    }

    /// Sorts the packets by shard; to be called again when packets were added or changed.
    pub fn distribute(&mut self) {
        for bucket in &mut self.buckets {
            bucket.clear();
        }
        self.asked.clear();
        self.hashes.clear();
        self.hashes.reserve(self.decoded.packets.len());
        for (at, packet) in self.decoded.packets.iter().enumerate() {
            let Ok(at) = u32::try_from(at) else { break };
            if Translator::concerns(packet) {
                self.asked.push(at);
            }
            let (key, sender) = FlowKey::of(packet);
            let hash = key.hash64();
            self.hashes.push(hash);
            self.buckets[shard_of(hash, SHARDS)].push(Addressed { hash, at, sender });
        }
    }

    /// Where an answer of a translated connection came from, by its packet's index.
    #[inline]
    pub fn true_source(&self, at: u32) -> Option<Endpoint> {
        if self.translated.is_empty() {
            return None;
        }
        let place = self.translated.binary_search_by_key(&at, |(at, _)| *at);
        Some(self.translated[place.ok()?].1)
    }

    /// What is said of one of its packets.
    pub fn remarks(&self, packet: &Packet) -> &[Remark] {
        let all = &self.decoded.remarks;
        if all.is_empty() || matches!(packet.kind, PacketKind::IcmpError { .. }) {
            return &[];
        }
        let first = all.partition_point(|remark| remark.frame < packet.frame);
        let of_frame = &all[first..];
        let end = of_frame.partition_point(|remark| remark.frame == packet.frame);
        &of_frame[..end]
    }

    /// The captured payload of one of its packets.
    pub fn payload(&self, packet: &Packet) -> &[u8] {
        let bytes = if packet.reassembled {
            &self.reassembled
        } else {
            &self.filled.slab.bytes
        };
        let start = packet.payload_start as usize;
        bytes
            .get(start..start + packet.payload_captured as usize)
            .unwrap_or_default()
    }
}

/// The shard of a key's hash, of so many.
pub(super) fn shard_of(hash: u64, shards: usize) -> usize {
    // The table takes the lowest bits and the uppermost seven; the shard takes others.
    usize::try_from(hash >> 48).unwrap_or(0) % shards
}

//! The connections and UDP flows of one point.

use std::hash::BuildHasher;

use analyzer::decode::ip_from_octets;
use analyzer::{Endpoint, Transport};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::record::{ACK, FIN, Fact, RST, Record, SYN};

/// An address and a port, as packets bear them.
pub(crate) type Place = ([u8; 16], u16);

/// One connection or UDP flow at one point.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Flow {
    /// TCP or UDP.
    pub transport: Transport,
    /// The two ends, the lower one first.
    pub ends: [Place; 2],
    /// Initial sequence number of each end, where its SYN was seen.
    pub isn: [Option<u32>; 2],
    /// Which end sent a SYN without ACK.
    pub opener: Option<usize>,
    /// Which end sent a SYN-ACK.
    pub acceptor: Option<usize>,
    /// Which end spoke first.
    pub first_side: usize,
    /// TSval of the opener's SYN.
    pub syn_ts: Option<u32>,
    /// Times of its first and last packet.
    pub first: i64,
    /// See [`Self::first`].
    pub last: i64,
    /// Its first frame.
    pub first_frame: u64,
    /// Packets.
    pub packets: u64,
    /// Fewest octets of a TCP header of it that some point captured, where headers are cut before
    /// their flags.
    pub cut_after: Option<u8>,
    /// Observation point of the first packet of each side.
    places: [Option<u32>; 2],
    /// Records kept, as a range in [`super::Point::records`].
    pub range: (usize, usize),
}

impl Flow {
    /// Which end is the client: who opened it, or else the end with the higher port, or who spoke
    /// first.
    pub fn client(&self) -> usize {
        if let Some(opener) = self.opener {
            return opener;
        }
        if let Some(acceptor) = self.acceptor {
            return 1 - acceptor;
        }
        let ports = [self.ends[0].1, self.ends[1].1];
        match ports[0].cmp(&ports[1]) {
            std::cmp::Ordering::Less => 1,
            std::cmp::Ordering::Greater => 0,
            std::cmp::Ordering::Equal => self.first_side,
        }
    }

    /// Whether both initial sequence numbers are known, opener's first.
    pub fn handshake(&self) -> Option<(u32, u32)> {
        let client = self.client();
        Some((self.isn[client]?, self.isn[1 - client]?))
    }

    /// An end as the contract writes it.
    pub fn endpoint(&self, side: usize) -> Endpoint {
        let (ip, port) = self.ends[side];
        Endpoint::new(ip_from_octets(ip), port)
    }
}

/// What makes packets one flow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    transport: bool,
    low: Place,
    high: Place,
}

/// A record before its flow is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw {
    pub record: Record,
    pub key: Key,
    pub observation_point: u32,
    /// See [`Flow::cut_after`].
    pub cut_after: Option<u8>,
}

impl Raw {
    /// Orders the ends and notes who sent the packet.
    pub fn new(mut record: Record, is_tcp: bool, source: Place, target: Place, point: u32) -> Self {
        let from_low = source <= target;
        if from_low {
            record.facts |= Fact::FROM_LOW;
        }
        let (low, high) = if from_low {
            (source, target)
        } else {
            (target, source)
        };
        Self {
            record,
            key: Key {
                transport: is_tcp,
                low,
                high,
            },
            observation_point: point,
            cut_after: None,
        }
    }
}

/// Finds the flow of every packet, in frame order.
#[derive(Default)]
pub(super) struct FlowTable {
    pub flows: Vec<Flow>,
    latest: HashMap<Key, u32, FixedState>,
    /// Flows that may be kept.
    limit: usize,
    /// Packets of flows beyond that.
    pub beyond: u64,
}

impl FlowTable {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// The flow of a packet, which is added to it; `None` beyond the limit.
    pub fn take(&mut self, raw: &mut Raw) -> Option<u32> {
        let known = self.latest.get(&raw.key).copied();
        let record = &mut raw.record;
        let index = match known {
            Some(index) if !begins_anew(&self.flows[index as usize], record) => index,
            _ if self.flows.len() >= self.limit || record.has(Fact::ICMP) => {
                self.beyond += 1;
                return None;
            }
            _ => {
                let index = u32::try_from(self.flows.len()).ok()?;
                self.flows.push(new_flow(&raw.key, record));
                self.latest.insert(raw.key, index);
                index
            }
        };
        let flow = &mut self.flows[index as usize];
        record.flow = index;
        let side = record.side();
        let place = *flow.places[side].get_or_insert(raw.observation_point);
        if place != raw.observation_point {
            record.facts |= Fact::OTHER_PLACE;
        }
        flow.cut_after = match (flow.cut_after, raw.cut_after) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        flow.packets += 1;
        flow.first = flow.first.min(record.time);
        flow.last = flow.last.max(record.time);
        if record.has(Fact::TCP) && record.flags & SYN != 0 {
            note_syn(flow, record);
        }
        Some(index)
    }
}

fn new_flow(key: &Key, record: &Record) -> Flow {
    Flow {
        transport: if key.transport {
            Transport::Tcp
        } else {
            Transport::Udp
        },
        ends: [key.low, key.high],
        isn: [None; 2],
        opener: None,
        acceptor: None,
        first_side: record.side(),
        syn_ts: None,
        first: record.time,
        last: record.time,
        first_frame: record.frame,
        packets: 0,
        cut_after: None,
        places: [None; 2],
        range: (0, 0),
    }
}

fn note_syn(flow: &mut Flow, record: &Record) {
    let side = record.side();
    flow.isn[side].get_or_insert(record.seq);
    if record.flags & ACK == 0 {
        flow.opener.get_or_insert(side);
        if record.has(Fact::TIMESTAMPS) && flow.opener == Some(side) {
            flow.syn_ts.get_or_insert(record.ts_value);
        }
    } else {
        flow.acceptor.get_or_insert(side);
        // A connection whose SYN was not seen still tells where the client began.
        flow.isn[1 - side].get_or_insert(record.ack.wrapping_sub(1));
    }
}

/// Whether a segment opens another connection between the same ends.
fn begins_anew(flow: &Flow, record: &Record) -> bool {
    if !record.has(Fact::TCP) || record.flags & (SYN | FIN | RST) != SYN {
        return false;
    }
    let side = record.side();
    match flow.isn[side] {
        Some(isn) => isn != record.seq,
        // A simultaneous open, or a connection whose beginning was not captured.
        None if record.flags & ACK == 0 => flow.isn[1 - side].is_none(),
        None => false,
    }
}

/// A digest that is the same in every run.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    FixedState::with_seed(0x6d61_7463).hash_one(bytes)
}

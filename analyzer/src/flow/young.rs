//! Flows of which only a few plain packets were seen: the packets themselves.
//!
//! A tracker takes kilobytes; a flood of SYNs, a scan or a name look-up must not cost that. Until
//! a flow shows more than its first packets they are kept as [`Record`]s, and its tracker is made
//! by handing it those packets, in their order: nothing that it sees is different.

use crate::decode::{Packet, PacketKind, TcpFields, TcpFlags};
use crate::seq::SeqNumber;
use crate::time::Timestamp;

use super::key::{FlowKey, Sender};
use super::udp::{UdpTracker, may_be_copy};

/// Segments kept of a TCP flow, and octets of their payloads: a few requests with short answers.
const SEGMENTS: usize = 32;
const OCTETS_OF_SEGMENTS: usize = 1536;

/// Datagrams kept of a UDP flow, and octets of their payloads.
const DATAGRAMS: usize = 4;
const OCTETS: usize = 1024;

/// Where name servers listen (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;

/// How long an answered name look-up stays: each has a port of its own as a rule (RFC 5452 §9.2),
/// and the second answer of a duplicated question comes sooner.
const PATIENCE_LOOK_UP_S: u16 = 30;

const FROM_LOW: u8 = 1;
const HAS_TIMESTAMPS: u8 = 2;
const HAS_MSS: u8 = 4;
const HAS_SHIFT: u8 = 8;
const SACK_PERMITTED: u8 = 16;
const HAS_IP_ID: u8 = 32;
const DONT_FRAGMENT: u8 = 64;
const REASSEMBLED: u8 = 128;

/// A packet without its addresses: those are the flow's.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(2))]
pub(crate) struct Record {
    frame: u64,
    time: Timestamp,
    /// Sequence number; of a datagram its true payload length.
    seq: u32,
    /// Acknowledgement number; of a datagram its captured payload length.
    ack: u32,
    timestamps: (u32, u32),
    wire_len: u32,
    observation_point: u32,
    window_field: u16,
    ip_id: u16,
    mss: u16,
    flags: u8,
    window_shift: u8,
    hop_limit: u8,
    ecn: u8,
    marks: u8,
}

impl Record {
    /// When it passed.
    pub const fn time(&self) -> Timestamp {
        self.time
    }

    /// Its frame.
    pub const fn frame(&self) -> u64 {
        self.frame
    }

    /// Its length on the wire.
    pub const fn wire_len(&self) -> u32 {
        self.wire_len
    }

    /// Which end of the key sent it.
    pub const fn sender(&self) -> Sender {
        if self.marks & FROM_LOW != 0 {
            Sender::Low
        } else {
            Sender::High
        }
    }

    const fn flags(&self) -> TcpFlags {
        TcpFlags(self.flags)
    }

    fn of(packet: &Packet, sender: Sender) -> Self {
        let mark = |set: bool, mark: u8| if set { mark } else { 0 };
        Self {
            frame: packet.frame,
            time: packet.time,
            seq: packet.payload_len,
            ack: packet.payload_captured,
            timestamps: (0, 0),
            wire_len: packet.wire_len,
            observation_point: packet.observation_point,
            window_field: 0,
            ip_id: packet.ip_id.unwrap_or_default(),
            mss: 0,
            flags: 0,
            window_shift: 0,
            hop_limit: packet.hop_limit,
            ecn: packet.ecn,
            marks: mark(sender == Sender::Low, FROM_LOW)
                | mark(packet.ip_id.is_some(), HAS_IP_ID)
                | mark(packet.dont_fragment, DONT_FRAGMENT)
                | mark(packet.reassembled, REASSEMBLED),
        }
    }

    /// Whether it has nothing that does not fit, but for its payload.
    const fn fits(tcp: &TcpFields) -> bool {
        !(tcp.options_cut || tcp.window_cut || tcp.sack_count > 0 || tcp.flags.rst())
    }

    /// A segment that [fits](Self::fits), such as a first SYN.
    pub fn of_segment(packet: &Packet, tcp: &TcpFields, sender: Sender) -> Self {
        let mut record = Self::of(packet, sender);
        let mut mark = |set: bool, mark: u8| record.marks |= if set { mark } else { 0 };
        mark(tcp.timestamps.is_some(), HAS_TIMESTAMPS);
        mark(tcp.mss.is_some(), HAS_MSS);
        mark(tcp.window_shift.is_some(), HAS_SHIFT);
        mark(tcp.sack_permitted, SACK_PERMITTED);
        Self {
            seq: tcp.seq.0,
            ack: tcp.ack.0,
            timestamps: tcp.timestamps.unwrap_or_default(),
            window_field: tcp.window_field,
            mss: tcp.mss.unwrap_or_default(),
            flags: tcp.flags.0,
            window_shift: tcp.window_shift.unwrap_or_default(),
            ..record
        }
    }

    /// Whether it is a first SYN that can be kept as a record.
    pub fn is_syn(packet: &Packet, tcp: &TcpFields) -> bool {
        let flags = tcp.flags;
        let is_syn = flags.syn() && !flags.ack() && !flags.fin() && packet.payload_len == 0;
        is_syn && Self::fits(tcp)
    }

    const fn has(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    fn packet(&self, key: &FlowKey, payload_len: u32, captured: u32, kind: PacketKind) -> Packet {
        let [low, high] = key.ends();
        let (source, destination) = match self.sender() {
            Sender::Low => (low, high),
            Sender::High => (high, low),
        };
        Packet {
            frame: self.frame,
            time: self.time,
            src: source.0,
            dst: destination.0,
            src_port: source.1,
            dst_port: destination.1,
            wire_len: self.wire_len,
            payload_len,
            payload_start: 0,
            payload_captured: captured,
            ip_id: self.has(HAS_IP_ID).then_some(self.ip_id),
            hop_limit: self.hop_limit,
            ecn: self.ecn,
            dont_fragment: self.has(DONT_FRAGMENT),
            reassembled: self.has(REASSEMBLED),
            observation_point: self.observation_point,
            kind,
        }
    }

    /// The SYN as it was.
    pub fn syn(&self, key: &FlowKey) -> (Packet, TcpFields) {
        let tcp = self.tcp();
        (self.packet(key, 0, 0, PacketKind::Tcp(tcp)), tcp)
    }

    fn tcp(&self) -> TcpFields {
        TcpFields {
            seq: SeqNumber(self.seq),
            ack: SeqNumber(self.ack),
            flags: self.flags(),
            window_field: self.window_field,
            timestamps: self.has(HAS_TIMESTAMPS).then_some(self.timestamps),
            mss: self.has(HAS_MSS).then_some(self.mss),
            window_shift: self.has(HAS_SHIFT).then_some(self.window_shift),
            sack_permitted: self.has(SACK_PERMITTED),
            ..TcpFields::default()
        }
    }

    fn datagram(&self, key: &FlowKey) -> Packet {
        self.packet(key, self.seq, self.ack, PacketKind::Udp)
    }
}

/// A segment with its payload's lengths.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(2))]
struct YoungSegment {
    record: Record,
    payload_len: u32,
    payload_captured: u16,
}

/// The first segments of a TCP flow that began with a SYN.
#[derive(Debug)]
pub(crate) struct YoungTcp {
    segments: Vec<YoungSegment>,
    octets: Vec<u8>,
}

impl YoungTcp {
    /// A flow that was a SYN until now.
    pub fn new(syn: &Record) -> Self {
        // The SYN-ACK, the ACK and a first segment will follow.
        let mut segments = Vec::with_capacity(4);
        segments.push(YoungSegment {
            record: *syn,
            payload_len: 0,
            payload_captured: 0,
        });
        Self {
            segments,
            octets: Vec::new(),
        }
    }

    /// Keeps a segment; false when it is too much, or may end the flow or begin another.
    pub fn push(
        &mut self,
        sender: Sender,
        packet: &Packet,
        tcp: &TcpFields,
        payload: &[u8],
    ) -> bool {
        let fits = self.segments.len() < SEGMENTS
            && self.octets.len() + payload.len() <= OCTETS_OF_SEGMENTS
            && payload.len() == packet.payload_captured as usize;
        let Some(first) = self.segments.first().filter(|_| fits) else {
            return false;
        };
        let Ok(payload_captured) = u16::try_from(payload.len()) else {
            return false;
        };
        let opens = tcp.flags.syn() && !tcp.flags.ack();
        let again = first.record.sender() == sender && first.record.seq == tcp.seq.0;
        if !Record::fits(tcp) || opens && !again {
            return false;
        }
        self.segments.push(YoungSegment {
            record: Record::of_segment(packet, tcp, sender),
            payload_len: packet.payload_len,
            payload_captured,
        });
        self.octets.extend_from_slice(payload);
        true
    }

    /// The first frame.
    pub fn first_frame(&self) -> u64 {
        self.segments.first().map_or(0, |first| first.record.frame)
    }

    /// Octets kept.
    pub fn octets(&self) -> usize {
        self.segments.capacity() * size_of::<YoungSegment>() + self.octets.capacity()
    }

    /// The segments as they were, in their order.
    pub fn segments<'a>(
        &'a self,
        key: &'a FlowKey,
    ) -> impl Iterator<Item = (Packet, TcpFields, &'a [u8])> {
        let mut rest = &self.octets[..];
        self.segments.iter().map(move |segment| {
            let tcp = segment.record.tcp();
            let (len, captured) = (segment.payload_len, segment.payload_captured);
            let kind = PacketKind::Tcp(tcp);
            let packet = segment.record.packet(key, len, captured.into(), kind);
            let (payload, others) = rest.split_at(usize::from(captured).min(rest.len()));
            rest = others;
            (packet, tcp, payload)
        })
    }
}

/// The first datagrams of a UDP flow.
#[derive(Debug, Default)]
pub(crate) struct YoungUdp {
    records: Vec<Record>,
    octets: Vec<u8>,
    /// One end has the port of name servers.
    is_look_up: bool,
}

impl YoungUdp {
    /// Keeps a datagram; false when it is too much, or may be a copy of the one before.
    pub fn push(&mut self, key: &FlowKey, sender: Sender, packet: &Packet, payload: &[u8]) -> bool {
        let before = self.records.last().map(|last| last.datagram(key));
        let fits = self.records.len() < DATAGRAMS
            && self.octets.len() + payload.len() <= OCTETS
            && payload.len() == packet.payload_captured as usize
            && !before.is_some_and(|before| may_be_copy(&before, packet));
        if fits {
            self.is_look_up = [packet.src_port, packet.dst_port].contains(&DNS_PORT);
            self.records.reserve_exact(1);
            self.records.push(Record::of(packet, sender));
            self.octets.reserve_exact(payload.len());
            self.octets.extend_from_slice(payload);
        }
        fits
    }

    /// How long it may stay silent, in seconds.
    pub fn patience_s(&self) -> u16 {
        let answers = self.records.iter().map(|record| record.has(FROM_LOW));
        let both_spoke = answers.clone().any(|low| low) && answers.clone().any(|low| !low);
        if self.is_look_up && both_spoke {
            PATIENCE_LOOK_UP_S
        } else {
            UdpTracker::PATIENCE_S
        }
    }

    /// The first frame.
    pub fn first_frame(&self) -> u64 {
        self.records.first().map_or(0, Record::frame)
    }

    /// Octets kept.
    pub fn octets(&self) -> usize {
        self.octets.len()
    }

    /// The datagrams as they were, in their order.
    pub fn datagrams<'a>(&'a self, key: &'a FlowKey) -> impl Iterator<Item = (Packet, &'a [u8])> {
        let mut rest = &self.octets[..];
        self.records.iter().map(move |record| {
            let packet = record.datagram(key);
            let (payload, others) =
                rest.split_at((packet.payload_captured as usize).min(rest.len()));
            rest = others;
            (packet, payload)
        })
    }
}

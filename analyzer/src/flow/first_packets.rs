//! Flows of which only a few plain packets were seen: the packets themselves.
//!
//! A tracker takes kilobytes; a flood of SYNs, a scan or a name look-up must not cost that. Until
//! a flow shows more than its first packets they are kept as [`Record`]s, and its tracker is made
//! by handing it those packets, in their order: nothing that it sees is different.

use crate::decode::{Packet, PacketKind, TcpFields, TcpFlags};
use crate::flow::datagram::DatagramMark;
use crate::flow::key::{FlowKey, Sender};
use crate::flow::udp::UdpTracker;
use crate::seq::SeqNumber;
use crate::time::Timestamp;

/// Packets kept of a flow, and octets of their payloads.
struct Limits {
    packets: u8,
    octets: usize,
}

/// A few requests with short answers.
const SEGMENTS: Limits = Limits {
    packets: 32,
    octets: 1536,
};

const DATAGRAMS: Limits = Limits {
    packets: 4,
    octets: 1024,
};

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

/// A packet without its addresses, which are the flow's, and without its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C, packed(2))]
pub(crate) struct Record {
    frame: u64,
    time: Timestamp,
    seq: u32,
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
        if self.has(FROM_LOW) {
            Sender::Low
        } else {
            Sender::High
        }
    }

    const fn has(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    fn of(packet: &Packet, sender: Sender) -> Self {
        let mark = |set: bool, mark: u8| if set { mark } else { 0 };
        Self {
            frame: packet.frame,
            time: packet.time,
            wire_len: packet.wire_len,
            observation_point: packet.observation_point,
            ip_id: packet.ip_id.unwrap_or_default(),
            hop_limit: packet.hop_limit,
            ecn: packet.ecn,
            marks: mark(sender == Sender::Low, FROM_LOW)
                | mark(packet.ip_id.is_some(), HAS_IP_ID)
                | mark(packet.dont_fragment, DONT_FRAGMENT)
                | mark(packet.reassembled, REASSEMBLED),
            ..Self::default()
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

    fn packet(&self, key: &FlowKey, kind: PacketKind, lengths: Lengths) -> Packet {
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
            payload_len: lengths.payload,
            payload_start: 0,
            payload_captured: lengths.captured.into(),
            ip_id: self.has(HAS_IP_ID).then_some(self.ip_id),
            hop_limit: self.hop_limit,
            ecn: self.ecn,
            dont_fragment: self.has(DONT_FRAGMENT),
            reassembled: self.has(REASSEMBLED),
            observation_point: self.observation_point,
            kind,
        }
    }

    fn tcp(&self) -> TcpFields {
        TcpFields {
            seq: SeqNumber(self.seq),
            ack: SeqNumber(self.ack),
            flags: TcpFlags(self.flags),
            window_field: self.window_field,
            timestamps: self.has(HAS_TIMESTAMPS).then_some(self.timestamps),
            mss: self.has(HAS_MSS).then_some(self.mss),
            window_shift: self.has(HAS_SHIFT).then_some(self.window_shift),
            sack_permitted: self.has(SACK_PERMITTED),
            ..TcpFields::default()
        }
    }
}

/// The true length of a payload, and how much of it was captured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Lengths {
    payload: u32,
    captured: u16,
}

/// A record and its lengths as they lie in memory.
type Header = [[u8; 8]; 7];

const HEADER: usize = size_of::<Header>();

/// Where the ECN codepoint lies beside a captured length, which is far shorter.
const ECN_SHIFT: u32 = 14;

fn header_of(record: &Record, lengths: Lengths) -> Header {
    let captured_and_ecn = lengths.captured | u16::from(record.ecn) << ECN_SHIFT;
    let octets = [
        record.flags,
        record.window_shift,
        record.hop_limit,
        record.marks,
    ];
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let both = |low: u16, high: u16| u32::from(low) | u32::from(high) << 16;
    let words = [
        record.frame,
        record.time.as_nanos().cast_unsigned(),
        pair(record.seq, record.ack),
        pair(record.timestamps.0, record.timestamps.1),
        pair(record.wire_len, record.observation_point),
        pair(
            both(record.window_field, record.ip_id),
            both(record.mss, captured_and_ecn),
        ),
        pair(u32::from_le_bytes(octets), lengths.payload),
    ];
    words.map(u64::to_le_bytes)
}

fn of_header(header: &Header) -> (Record, Lengths) {
    let half = |word: [u8; 8]| {
        let [a, b, c, d, e, f, g, h] = word;
        [[a, b, c, d], [e, f, g, h]]
    };
    let pair = |word: [u8; 8]| half(word).map(u32::from_le_bytes);
    let both = |[a, b, c, d]: [u8; 4]| [[a, b], [c, d]].map(u16::from_le_bytes);
    let [frame, time, numbers, timestamps, places, fields, rest] = *header;
    let [seq, ack] = pair(numbers);
    let [ts_val, ts_ecr] = pair(timestamps);
    let [wire_len, observation_point] = pair(places);
    let [[window_field, ip_id], [mss, captured_and_ecn]] = half(fields).map(both);
    let [[flags, window_shift, hop_limit, marks], payload] = half(rest);
    let record = Record {
        frame: u64::from_le_bytes(frame),
        time: Timestamp::from_nanos(i64::from_le_bytes(time)),
        seq,
        ack,
        timestamps: (ts_val, ts_ecr),
        wire_len,
        observation_point,
        window_field,
        ip_id,
        mss,
        flags,
        window_shift,
        hop_limit,
        ecn: (captured_and_ecn >> ECN_SHIFT).to_le_bytes()[0],
        marks,
    };
    let lengths = Lengths {
        payload: u32::from_le_bytes(payload),
        captured: captured_and_ecn & ((1 << ECN_SHIFT) - 1),
    };
    (record, lengths)
}

/// Packets one behind the other, each with its captured payload: all in one place, since to go to
/// another place in memory takes longer than everything that is done there.
#[derive(Debug, Default)]
struct Pile {
    octets: Vec<u8>,
    packets: u8,
}

impl Pile {
    /// Whether a packet may be kept, and its payload is there as the packet says.
    fn has_room(&self, limits: &Limits, packet: &Packet, payload: &[u8]) -> bool {
        let payloads = self.octets.len() - usize::from(self.packets) * HEADER;
        self.packets < limits.packets
            && payloads + payload.len() <= limits.octets
            && payload.len() == packet.payload_captured as usize
    }

    /// Keeps a packet; false when its payload is longer than a header can tell.
    fn push(&mut self, record: &Record, payload_len: u32, payload: &[u8]) -> bool {
        let captured = u16::try_from(payload.len()).ok();
        let Some(captured) = captured.filter(|captured| captured >> ECN_SHIFT == 0) else {
            return false;
        };
        let lengths = Lengths {
            payload: payload_len,
            captured,
        };
        let more = HEADER + payload.len();
        if self.octets.capacity() - self.octets.len() < more {
            self.octets.reserve_exact(more.max(self.octets.len() / 2));
        }
        let header = header_of(record, lengths);
        self.octets.extend_from_slice(header.as_flattened());
        self.octets.extend_from_slice(payload);
        self.packets += 1;
        true
    }

    /// What was pushed, in its order.
    #[inline]
    fn iter(&self) -> impl Iterator<Item = (Record, Lengths, &[u8])> {
        let mut rest = &self.octets[..];
        std::iter::from_fn(move || {
            let (header, behind) = rest.split_first_chunk::<HEADER>()?;
            let (words, _) = header.as_chunks::<8>();
            let (record, lengths) = of_header(words.first_chunk()?);
            let (payload, others) = behind.split_at_checked(lengths.captured.into())?;
            rest = others;
            Some((record, lengths, payload))
        })
    }

    fn first_frame(&self) -> u64 {
        self.octets
            .first_chunk()
            .map_or(0, |frame| u64::from_le_bytes(*frame))
    }
}

/// A segment that was kept. It is made whole where it is used: as a packet it is large to pass on.
pub(crate) struct Kept<'a> {
    record: Record,
    lengths: Lengths,
    /// Its captured octets.
    pub payload: &'a [u8],
}

impl Kept<'_> {
    /// A SYN that is kept by itself.
    pub fn syn(record: Record) -> Self {
        Self {
            record,
            lengths: Lengths::default(),
            payload: &[],
        }
    }

    /// The segment as it was.
    #[inline]
    pub fn segment(&self, key: &FlowKey) -> Packet {
        let kind = PacketKind::Tcp(self.record.tcp());
        self.record.packet(key, kind, self.lengths)
    }
}

/// The first segments of a TCP flow that began with a SYN.
#[derive(Debug)]
pub(crate) struct FirstSegments(Pile);

impl FirstSegments {
    /// A flow that was a SYN until now.
    pub fn new(syn: &Record) -> Self {
        let mut pile = Pile::default();
        // What follows as a rule: the SYN-ACK, the ACK, a request and its acknowledgement.
        pile.octets.reserve_exact(6 * HEADER);
        pile.push(syn, 0, &[]);
        Self(pile)
    }

    /// Keeps a segment; false when it is too much, or may end the flow or begin another.
    pub fn push(
        &mut self,
        sender: Sender,
        packet: &Packet,
        tcp: &TcpFields,
        payload: &[u8],
    ) -> bool {
        if !Record::fits(tcp) || !self.0.has_room(&SEGMENTS, packet, payload) {
            return false;
        }
        if tcp.flags.syn() && !tcp.flags.ack() {
            let first = self.0.iter().next();
            let again = first.is_some_and(|(first, ..)| {
                first.sender() == sender && SeqNumber(first.seq) == tcp.seq
            });
            if !again {
                return false;
            }
        }
        let record = Record::of_segment(packet, tcp, sender);
        self.0.push(&record, packet.payload_len, payload)
    }

    /// Whether this acknowledges the SYN that opened it.
    pub fn is_answered_by(&self, tcp: &TcpFields) -> bool {
        let first = self.0.iter().next();
        first.is_some_and(|(first, ..)| SeqNumber(first.seq.wrapping_add(1)) == tcp.ack)
    }

    /// The first frame.
    pub fn first_frame(&self) -> u64 {
        self.0.first_frame()
    }

    /// Octets kept.
    pub fn octets(&self) -> usize {
        self.0.octets.capacity()
    }

    /// The segments, in their order.
    pub fn segments(&self) -> impl Iterator<Item = Kept<'_>> {
        self.0.iter().map(|(record, lengths, payload)| Kept {
            record,
            lengths,
            payload,
        })
    }
}

/// The first datagrams of a UDP flow.
#[derive(Debug, Default)]
pub(crate) struct FirstDatagrams(Pile);

impl FirstDatagrams {
    /// Keeps a datagram; false when it is too much, or may be a copy of the one before.
    pub fn push(&mut self, key: &FlowKey, sender: Sender, packet: &Packet, payload: &[u8]) -> bool {
        if !self.0.has_room(&DATAGRAMS, packet, payload) {
            return false;
        }
        let before = self.0.iter().last();
        if before.is_some_and(|(before, lengths, _)| {
            DatagramMark::of(&before.packet(key, PacketKind::Udp, lengths)).may_be_of(packet)
        }) {
            return false;
        }
        let record = Record::of(packet, sender);
        self.0.push(&record, packet.payload_len, payload)
    }

    /// How long it may stay silent, in seconds.
    pub fn patience_s(&self, key: &FlowKey) -> u16 {
        let is_look_up = key.ends().iter().any(|(_, port)| *port == DNS_PORT);
        let spoke = |sender: Sender| self.0.iter().any(|(one, ..)| one.sender() == sender);
        if is_look_up && spoke(Sender::Low) && spoke(Sender::High) {
            PATIENCE_LOOK_UP_S
        } else {
            UdpTracker::PATIENCE_S
        }
    }

    /// The first frame.
    pub fn first_frame(&self) -> u64 {
        self.0.first_frame()
    }

    /// Octets kept.
    pub fn octets(&self) -> usize {
        self.0.octets.capacity()
    }

    /// The datagrams as they were, in their order.
    pub fn datagrams<'a>(&'a self, key: &'a FlowKey) -> impl Iterator<Item = (Packet, &'a [u8])> {
        self.0.iter().map(|(record, lengths, payload)| {
            (record.packet(key, PacketKind::Udp, lengths), payload)
        })
    }
}

#[cfg(test)]
mod tests;

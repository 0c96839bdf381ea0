//! From the captures of one point to its flows and the records of their packets.

mod blunt;
mod flow;
mod header;
mod record;

use analyzer::capture::{CaptureReader, FileSummary, Input, Interface, ReadOptions, Slab};
use analyzer::decode::{CutSegment, DecodedSlab, Packet, PacketKind, decode_slab};
use analyzer::in_order::fragments::Reassembler;
use analyzer::{Error, PacketFilter};
use rayon::prelude::*;

pub(crate) use blunt::blunt;
pub(crate) use flow::{Flow, Place};
pub(crate) use record::{ACK, FIN, Fact, RST, Record, SYN};

use crate::requests::{Request, request_of};
use flow::{FlowTable, Raw, digest};

/// Slabs decoded side by side.
const ROUND: usize = 8;

/// How a point is read.
#[derive(Clone, Debug)]
pub(crate) struct ReadPlan<'a> {
    pub options: &'a ReadOptions,
    pub filter: &'a PacketFilter,
    /// Records that may be kept.
    pub records: usize,
    /// Flows that may be kept.
    pub flows: usize,
}

/// Everything that is kept of one point.
#[derive(Default)]
pub(crate) struct Point {
    pub name: String,
    pub flows: Vec<Flow>,
    /// Ordered by flow, then by time as captured (see [`order`]).
    pub records: Vec<Record>,
    /// SACK blocks as sent, which records point into.
    pub sacks: Vec<(u32, u32)>,
    /// HTTP requests and their answers, in frame order.
    pub requests: Vec<Request>,
    pub files: Vec<FileSummary>,
    pub packets: u64,
    /// TCP segments cut before their flags.
    pub cut_segments: u64,
    /// Packets whose records did not fit into memory.
    pub records_left_out: u64,
    /// Packets of flows that did not fit into memory.
    pub flows_left_out: u64,
    /// Smallest and largest time of its frames.
    pub first: i64,
    pub last: i64,
    /// The same of what lies before the first and behind the last time that its clock was set back.
    pub ends: (i64, i64),
}

impl Point {
    /// The records of a flow, in the order in which they were captured.
    pub fn records_of(&self, flow: &Flow) -> &[Record] {
        &self.records[flow.range.0..flow.range.1]
    }

    /// The SACK blocks of a record.
    pub fn sacks_of(&self, record: &Record) -> &[(u32, u32)] {
        let at = record.sack_at as usize;
        self.sacks
            .get(at..at + usize::from(record.sack_count))
            .unwrap_or(&[])
    }
}

/// One slab with what was made of it.
#[derive(Default)]
struct Work {
    slab: Slab,
    decoded: DecodedSlab,
    out: Extract,
}

/// What one packet or slab gives.
#[derive(Default)]
struct Extract {
    raws: Vec<Raw>,
    sacks: Vec<(u32, u32)>,
    /// Requests with the index of their record in `raws`.
    requests: Vec<(usize, Request)>,
}

/// Reads a point to its end.
///
/// # Errors
/// When no input can be read.
pub(crate) fn read_point(
    name: &str,
    inputs: &[Input],
    plan: &ReadPlan<'_>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Point, Error> {
    let mut reader = CaptureReader::open(inputs, plan.options.clone())?;
    let mut builder = Builder::new(name, plan);
    let mut works: Vec<Work> = (0..ROUND).map(|_| Work::default()).collect();
    let mut done = 0;
    loop {
        let mut filled = 0;
        while filled < ROUND && reader.read_slab(&mut works[filled].slab)? {
            filled += 1;
        }
        if filled == 0 {
            break;
        }
        let interfaces = reader.interfaces();
        works[..filled]
            .par_iter_mut()
            .for_each(|work| work.decode(interfaces, plan.filter));
        for work in &mut works[..filled] {
            builder.add(work, plan.filter);
        }
        let read = reader.bytes_read();
        progress(read - done);
        done = read;
    }
    let mut point = builder.finish();
    point.files = reader.files();
    Ok(point)
}

impl Work {
    fn decode(&mut self, interfaces: &[Interface], filter: &PacketFilter) {
        self.out.clear();
        decode_slab(&self.slab, interfaces, &mut self.decoded);
        let mut cut = self.decoded.cut_segments.iter().peekable();
        for packet in &self.decoded.packets {
            while let Some(segment) = cut.next_if(|one| one.packet.frame < packet.frame) {
                self.out.add_cut(segment, filter);
            }
            if filter.admits(packet) {
                self.out.add(&self.slab.bytes, packet);
            }
        }
        cut.for_each(|segment| self.out.add_cut(segment, filter));
    }
}

impl Extract {
    fn clear(&mut self) {
        self.raws.clear();
        self.sacks.clear();
        self.requests.clear();
    }

    fn add(&mut self, bytes: &[u8], packet: &Packet) {
        let start = packet.payload_start as usize;
        let payload = bytes
            .get(start..start + packet.payload_captured as usize)
            .unwrap_or(&[]);
        let mut record = bare(packet);
        let (mut source, mut target) =
            ((packet.src, packet.src_port), (packet.dst, packet.dst_port));
        let is_tcp = match packet.kind {
            PacketKind::IcmpError { transport, icmp } => {
                let said = format!("{icmp:?}");
                record.digest = digest(said.as_bytes());
                record.len = 0;
                record.facts |= Fact::ICMP;
                // It travels against the packet that it quotes.
                std::mem::swap(&mut source, &mut target);
                transport == analyzer::Transport::Tcp
            }
            PacketKind::Udp => {
                self.add_payload(&mut record, payload);
                add_headers(&mut record, bytes, packet);
                false
            }
            PacketKind::Tcp(_) => {
                self.add_payload(&mut record, payload);
                self.add_tcp(&mut record, bytes, packet);
                if let Some(request) = request_of(payload) {
                    self.requests.push((self.raws.len(), request));
                }
                true
            }
        };
        let point = packet.observation_point;
        self.raws
            .push(Raw::new(record, is_tcp, source, target, point));
    }

    /// A segment of which only the beginning of the header is left.
    fn add_cut(&mut self, segment: &CutSegment, filter: &PacketFilter) {
        let packet = &segment.packet;
        let PacketKind::Tcp(tcp) = packet.kind else {
            return;
        };
        if !filter.admits(packet) {
            return;
        }
        let mut record = bare(packet);
        (record.seq, record.ack) = (tcp.seq.0, tcp.ack.0);
        let ends = [(packet.src, packet.src_port), (packet.dst, packet.dst_port)];
        let point = packet.observation_point;
        self.raws.push(Raw {
            cut_after: Some(segment.known),
            ..Raw::new(record, true, ends[0], ends[1], point)
        });
    }

    fn add_payload(&mut self, record: &mut Record, payload: &[u8]) {
        if payload.len() < record.len as usize {
            record.facts |= Fact::CUT;
        }
        if !payload.is_empty() {
            record.digest = digest(payload);
        }
        let head = payload.len().min(record::HEAD);
        if head == record::HEAD || !record.has(Fact::CUT) {
            record.facts |= Fact::HEAD;
            record.head = (digest(&payload[..head]) >> 32) as u32;
        }
    }

    fn add_tcp(&mut self, record: &mut Record, bytes: &[u8], packet: &Packet) {
        let PacketKind::Tcp(tcp) = packet.kind else {
            return;
        };
        record.facts |= Fact::TCP;
        record.seq = tcp.seq.0;
        record.ack = tcp.ack.0;
        record.flags = tcp.flags.0;
        record.window = tcp.window_field;
        if !tcp.window_cut {
            record.facts |= Fact::WINDOW;
        }
        if let Some((value, echo)) = tcp.timestamps {
            record.facts |= Fact::TIMESTAMPS;
            (record.ts_value, record.ts_echo) = (value, echo);
        }
        if tcp.options_cut {
            record.facts |= Fact::OPTIONS_CUT;
        }
        if tcp.sack_permitted {
            record.facts |= Fact::SACK_PERMITTED;
        }
        record.mss = tcp.mss.unwrap_or(0);
        if let Some(shift) = tcp.window_shift {
            record.facts |= Fact::WINDOW_SHIFT;
            record.window_shift = shift;
        }
        if tcp.sack_count > 0 {
            record.sack_at = u32::try_from(self.sacks.len()).unwrap_or(u32::MAX);
            record.sack_count = tcp.sack_count;
            let blocks = tcp.sacks().iter();
            self.sacks
                .extend(blocks.map(|block| (block.left_edge.0, block.right_edge.0)));
        }
        add_headers(record, bytes, packet);
    }
}

/// What every packet tells.
fn bare(packet: &Packet) -> Record {
    let ip_id = packet.ip_id.unwrap_or(0);
    Record {
        frame: packet.frame,
        time: packet.time.as_nanos(),
        len: packet.payload_len,
        ip_id,
        hop_limit: packet.hop_limit,
        facts: if ip_id == 0 { 0 } else { Fact::IP_ID },
        ..Record::default()
    }
}

/// Takes over what only the headers tell.
fn add_headers(record: &mut Record, bytes: &[u8], packet: &Packet) {
    let headers = header::headers(bytes, packet);
    if let Some(traffic_class) = headers.traffic_class {
        record.facts |= Fact::TRAFFIC_CLASS;
        record.traffic_class = traffic_class;
    }
    record.header_len = headers.tcp_len;
    if let Some(options) = headers.options {
        record.facts |= Fact::OPTIONS;
        record.options = other_options(options);
    }
}

/// Digest of the options other than padding and those that have fields of their own.
fn other_options(options: &[u8]) -> u32 {
    let mut rest = options;
    let mut others = Vec::new();
    while let [kind, tail @ ..] = rest {
        match kind {
            0 => break,
            1 => rest = tail,
            _ => {
                let Some(len) = tail.first().map(|len| usize::from(*len)) else {
                    break;
                };
                let Some(option) = rest.get(..len).filter(|_| len >= 2) else {
                    break;
                };
                // MSS, window scale, SACK-permitted, SACK, timestamps.
                if !matches!(kind, 2..=5 | 8) {
                    others.extend_from_slice(option);
                }
                rest = &rest[len..];
            }
        }
    }
    if others.is_empty() {
        0
    } else {
        (digest(&others) >> 32) as u32
    }
}

/// Builds a point in frame order.
struct Builder {
    point: Point,
    table: FlowTable,
    reassembler: Reassembler,
    limit: usize,
    was_set_back: bool,
}

impl Builder {
    fn new(name: &str, plan: &ReadPlan<'_>) -> Self {
        Self {
            point: Point {
                name: name.to_owned(),
                first: i64::MAX,
                last: i64::MIN,
                ends: (i64::MAX, i64::MIN),
                ..Point::default()
            },
            table: FlowTable::new(plan.flows),
            reassembler: Reassembler::new(),
            limit: plan.records,
            was_set_back: false,
        }
    }

    fn add(&mut self, work: &mut Work, filter: &PacketFilter) {
        for frame in &work.slab.frames {
            let time = frame.time.as_nanos();
            self.point.first = self.point.first.min(time);
            self.point.last = self.point.last.max(time);
            let is_set_back = time < self.point.ends.1.saturating_sub(DISORDER_NS);
            self.was_set_back |= is_set_back;
            if !self.was_set_back {
                self.point.ends.0 = self.point.ends.0.min(time);
            }
            if is_set_back || time > self.point.ends.1 {
                self.point.ends.1 = time;
            }
        }
        self.point.packets += work.slab.frames.len() as u64;
        self.push_all(&mut work.out);
        for fragment in &work.decoded.fragments {
            let Some(whole) = self.reassembler.push(fragment, &work.slab.bytes) else {
                continue;
            };
            work.out.clear();
            for packet in &whole.packets {
                if filter.admits(packet) {
                    work.out.add(&whole.payload, packet);
                }
            }
            self.push_all(&mut work.out);
        }
        if let Some(last) = work.slab.frames.last() {
            self.reassembler.expire(last.time);
        }
    }

    fn push_all(&mut self, extract: &mut Extract) {
        let mut requests = extract.requests.drain(..).peekable();
        for (index, raw) in extract.raws.iter_mut().enumerate() {
            let request = requests.next_if(|(at, _)| *at == index);
            self.point.cut_segments += u64::from(raw.cut_after.is_some());
            let Some(flow) = self.table.take(raw) else {
                continue;
            };
            if self.point.records.len() >= self.limit {
                self.point.records_left_out += 1;
                continue;
            }
            let mut record = raw.record;
            if record.sack_count > 0 {
                let at = record.sack_at as usize;
                let blocks = &extract.sacks[at..at + usize::from(record.sack_count)];
                record.sack_at = u32::try_from(self.point.sacks.len()).unwrap_or(u32::MAX);
                self.point.sacks.extend_from_slice(blocks);
            }
            if let Some((_, mut request)) = request {
                request.flow = flow;
                request.frame = record.frame;
                request.time = record.time;
                request.side = record.side();
                self.point.requests.push(request);
            }
            self.point.records.push(record);
        }
    }

    fn finish(self) -> Point {
        let mut point = self.point;
        point.flows = self.table.flows;
        point.flows_left_out = self.table.beyond;
        if point.first > point.last {
            (point.first, point.last) = (0, 0);
            point.ends = (0, 0);
        }
        order(&mut point.records);
        let mut at = 0;
        for (index, flow) in point.flows.iter_mut().enumerate() {
            let count = point.records[at..]
                .iter()
                .take_while(|record| record.flow as usize == index)
                .count();
            flow.range = (at, at + count);
            at += count;
        }
        point
    }
}

/// A capture that goes back by more than this had its clock set back; less is disorder between
/// receive queues.
const DISORDER_NS: i64 = 100_000_000;

/// Orders records by flow and, within it, by time, except across a clock that was set back.
fn order(records: &mut [Record]) {
    // Still in frame order: a set-back begins a new epoch.
    let mut epochs: Vec<(u64, u32)> = Vec::new();
    let mut newest = i64::MIN;
    for record in records.iter() {
        if record.time < newest.saturating_sub(DISORDER_NS) {
            let epoch = u32::try_from(epochs.len() + 1).unwrap_or(u32::MAX);
            epochs.push((record.frame, epoch));
            newest = record.time;
        }
        newest = newest.max(record.time);
    }
    let epoch = |frame: u64| epochs.partition_point(|(first, _)| *first <= frame);
    records.par_sort_unstable_by_key(|record| {
        (record.flow, epoch(record.frame), record.time, record.frame)
    });
}

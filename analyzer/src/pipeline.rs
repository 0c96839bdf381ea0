//! Drives the stages over bounded rounds. The only file with threads.
//!
//! A reader thread fills slabs ahead. Each round takes the slabs that are ready, decodes them in
//! parallel, puts IP fragments together in sequence, and lets every shard of the flow table
//! advance by its own packets in parallel, in frame order. Nothing is shared between shards but
//! read-only input, and their number is fixed, so results do not depend on the thread count.

use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;

use crate::addr::Endpoint;
use crate::analysis::{Analysis, CaptureSummary};
use crate::capture::{CaptureReader, Input, Interface, ReadOptions, Slab};
use crate::decode::DecodeStats;
use crate::decode::{DecodedSlab, Packet, PacketKind, decode_slab};
use crate::error::Error;
use crate::filter::PacketFilter;
use crate::flow::Connection;
use crate::flow::facts::ShardFacts;
use crate::flow::ip_fragment::{IncompleteDatagram, Reassembler};
use crate::flow::key::FlowKey;
use crate::flow::table::Shard;
use crate::flow::tcp::TcpSettings;
use crate::flow::translation::Translator;
use crate::quality::{QualityKind, QualityNote};
use crate::time::Timestamp;

/// Parts of the flow table: enough for many cores, few enough that each has work in a round.
const SHARDS: usize = 32;

/// Slabs in one round, and slabs read ahead.
const ROUND: usize = 8;

/// A step back in time of less than this is the merging of two queues, not a clock that steps.
const CLOCK_STEP: Duration = Duration::from_millis(100);

/// Takes connections as they end. One sink serves one shard, so it needs no lock.
///
/// The order of calls within a shard is fixed by the input alone; merge what several sinks hold
/// by something ordered, such as [`Connection::first_frame`].
pub trait ConnectionSink: Send {
    /// A connection has ended, expired or the capture is over.
    fn connection(&mut self, connection: &Connection);
}

/// What an analysis needs to know beyond its input.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How files are read.
    pub read: ReadOptions,
    /// How connections are followed.
    pub tcp: TcpSettings,
    /// Which packets are analysed.
    pub filter: PacketFilter,
}

/// How far reading has come, for a progress display.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes read as stored.
    pub bytes_read: u64,
    /// Bytes in all, when known.
    pub total_bytes: Option<u64>,
    /// Frames decoded.
    pub frames: u64,
}

/// Reads the inputs as one capture and hands every connection to a sink.
///
/// Runs on the current rayon pool. Gives the cross-connection facts and the sinks in shard order.
///
/// # Errors
/// When no input could be read at all; a partly readable one is analysed and its damage noted.
pub fn run<S: ConnectionSink>(
    inputs: &[Input],
    settings: &Settings,
    make_sink: impl Fn() -> S,
    mut progress: impl FnMut(Progress),
) -> Result<(Analysis, Vec<S>), Error> {
    let reader = CaptureReader::open(inputs, settings.read.clone())?;
    let total_bytes = reader.total_bytes();
    std::thread::scope(|scope| {
        let (filled_sender, filled) = crossbeam_channel::bounded::<Filled>(ROUND);
        let (empty_sender, empty) = crossbeam_channel::bounded::<Slab>(2 * ROUND + 2);
        let reading = scope.spawn(move || read_ahead(reader, &filled_sender, &empty));
        let mut engine: Option<Engine<S>> = None;
        while let Ok(first) = filled.recv() {
            let mut round = vec![Item::new(first)];
            while round.len() < ROUND
                && let Ok(next) = filled.try_recv()
            {
                round.push(Item::new(next));
            }
            let start = round[0]
                .filled
                .slab
                .frames
                .first()
                .map_or(Timestamp::default(), |f| f.time);
            let start = settings.filter.from.map_or(start, |from| from.max(start));
            let engine = engine.get_or_insert_with(|| Engine::new(settings, &make_sink, start));
            engine.round(&mut round);
            if let Some(last) = round.last() {
                let frames = engine.stats.frames;
                progress(Progress {
                    bytes_read: last.filled.bytes_read,
                    total_bytes,
                    frames,
                });
            }
            for item in round {
                // The reader may be gone already; then nobody needs the memory.
                let _ = empty_sender.try_send(item.filled.slab);
            }
        }
        let (reader, outcome) = reading.join().map_err(|_| {
            Error::new(
                inputs.first().map(Input::name).unwrap_or_default(),
                "the reader failed",
            )
        })?;
        outcome?;
        let engine =
            engine.unwrap_or_else(|| Engine::new(settings, &make_sink, Timestamp::default()));
        Ok(engine.finish(&reader))
    })
}

/// A slab with what is needed to decode it.
struct Filled {
    slab: Slab,
    interfaces: Arc<[Interface]>,
    bytes_read: u64,
}

fn read_ahead(
    mut reader: CaptureReader,
    filled: &crossbeam_channel::Sender<Filled>,
    empty: &crossbeam_channel::Receiver<Slab>,
) -> (CaptureReader, Result<(), Error>) {
    let mut interfaces: Arc<[Interface]> = Arc::from([]);
    loop {
        let mut slab = empty.try_recv().unwrap_or_default();
        match reader.read_slab(&mut slab) {
            Ok(true) => {}
            Ok(false) => return (reader, Ok(())),
            Err(error) => return (reader, Err(error)),
        }
        if interfaces.len() != reader.interfaces().len() {
            interfaces = Arc::from(reader.interfaces());
        }
        let message = Filled {
            slab,
            interfaces: Arc::clone(&interfaces),
            bytes_read: reader.bytes_read(),
        };
        if filled.send(message).is_err() {
            return (reader, Ok(()));
        }
    }
}

/// A slab on its way through a round.
struct Item {
    filled: Filled,
    decoded: DecodedSlab,
    /// Payloads of reassembled datagrams.
    reassembled: Vec<u8>,
    /// Indices into the packets, per shard, in frame order.
    buckets: Vec<Vec<u32>>,
    /// Indices of packets that translation asks about in any case.
    asked: Vec<u32>,
    /// Indices of answers of translated connections and the address they truly came from.
    translated: Vec<(u32, Endpoint)>,
}

/// First and last frame time and steps back within a slab or a capture.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    newest_in_order: Option<Timestamp>,
    steps_back: u64,
    largest_step: Duration,
}

impl Times {
    fn take(&mut self, time: Timestamp) {
        if let Some(before) = self.newest_in_order {
            let back = before.since(time);
            if back >= CLOCK_STEP {
                self.steps_back += 1;
                self.largest_step = self.largest_step.max(back);
            }
        }
        self.newest_in_order = Some(time);
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
    }
}

impl Item {
    fn new(filled: Filled) -> Self {
        Self {
            filled,
            decoded: DecodedSlab::default(),
            reassembled: Vec::new(),
            buckets: vec![Vec::new(); SHARDS],
            asked: Vec::new(),
            translated: Vec::new(),
        }
    }

    fn decode(&mut self, filter: &PacketFilter) {
        decode_slab(
            &self.filled.slab,
            &self.filled.interfaces,
            &mut self.decoded,
        );
        if !filter.is_open() {
            self.decoded.packets.retain(|packet| filter.admits(packet));
        }
        self.distribute();
    }

    fn distribute(&mut self) {
        for bucket in &mut self.buckets {
            bucket.clear();
        }
        self.asked.clear();
        for (at, packet) in self.decoded.packets.iter().enumerate() {
            let Ok(at) = u32::try_from(at) else { break };
            if Translator::concerns(packet) {
                self.asked.push(at);
            }
            self.buckets[shard_of(packet)].push(at);
        }
    }

    /// Where an answer of a translated connection came from, by its packet's index.
    fn true_source(&self, at: u32) -> Option<Endpoint> {
        let place = self.translated.binary_search_by_key(&at, |(at, _)| *at);
        Some(self.translated[place.ok()?].1)
    }

    fn payload(&self, packet: &Packet) -> &[u8] {
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

fn shard_of(packet: &Packet) -> usize {
    let (key, _) = FlowKey::of(packet);
    // The table uses the low bits of its own hash of the key; the shard takes high ones.
    usize::try_from(key.hash64() >> 56).unwrap_or(0) % SHARDS
}

struct Engine<S> {
    shards: Vec<Shard<S>>,
    reassembler: Reassembler,
    translator: Translator,
    later_fragments_seen: bool,
    stats: DecodeStats,
    times: Times,
    filter: PacketFilter,
}

impl<S: ConnectionSink> Engine<S> {
    fn new(settings: &Settings, make_sink: &impl Fn() -> S, start: Timestamp) -> Self {
        let shards = (0..SHARDS)
            .map(|_| Shard::new(make_sink(), settings.tcp.clone(), start))
            .collect();
        Self {
            shards,
            reassembler: Reassembler::new(),
            translator: Translator::default(),
            later_fragments_seen: false,
            stats: DecodeStats::default(),
            times: Times::default(),
            filter: settings.filter.clone(),
        }
    }

    fn round(&mut self, items: &mut [Item]) {
        let filter = &self.filter;
        items.par_iter_mut().for_each(|item| item.decode(filter));
        for item in &mut *items {
            for frame in &item.filled.slab.frames {
                if self.filter.admits_time(frame.time) {
                    self.times.take(frame.time);
                }
            }
            self.stats.merge(&item.decoded.stats);
            self.reassemble(item);
            self.translate(item);
        }
        let items = &*items;
        self.shards
            .par_iter_mut()
            .enumerate()
            .for_each(|(number, shard)| {
                for item in items {
                    for &at in &item.buckets[number] {
                        let packet = &item.decoded.packets[at as usize];
                        shard.packet(packet, item.payload(packet));
                        if let Some(answering) = item.true_source(at) {
                            shard.answered_from(packet, answering);
                        }
                    }
                }
            });
    }

    /// Puts fragments together; datagrams that are whole join the slab's packets in frame order.
    fn reassemble(&mut self, item: &mut Item) {
        if item.decoded.fragments.is_empty() {
            return;
        }
        let fragments = std::mem::take(&mut item.decoded.fragments);
        for fragment in &fragments {
            self.later_fragments_seen |= fragment.offset > 0;
            let incomplete = self.reassembler.expire(fragment.time);
            self.give_up(&incomplete);
            let Some(whole) = self.reassembler.push(fragment, &item.filled.slab.bytes) else {
                continue;
            };
            let base = u32::try_from(item.reassembled.len()).unwrap_or(u32::MAX);
            item.reassembled.extend_from_slice(&whole.payload);
            for mut packet in whole.packets {
                packet.payload_start = packet.payload_start.saturating_add(base);
                if !self.filter.admits(&packet) {
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
        let mut next = 0;
        while next < all {
            // As long as nothing is translated only SYNs and loopback packets are looked at.
            if !self.translator.is_active() {
                let place = item.asked.partition_point(|at| *at < next);
                let Some(&at) = item.asked.get(place) else {
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

    fn give_up(&mut self, incomplete: &[IncompleteDatagram]) {
        /// Protocol number of UDP (RFC 768).
        const UDP: u8 = 17;
        for datagram in incomplete
            .iter()
            .filter(|datagram| datagram.protocol == UDP)
        {
            let (src_port, dst_port) = datagram.ports.unwrap_or_default();
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
            if self.filter.admits(&packet) {
                self.shards[shard_of(&packet)].incomplete(&packet, datagram.pieces);
            }
        }
    }

    fn finish(mut self, reader: &CaptureReader) -> (Analysis, Vec<S>) {
        let incomplete = self.reassembler.finish();
        self.give_up(&incomplete);
        let finished: Vec<(S, ShardFacts)> =
            self.shards.into_par_iter().map(Shard::finish).collect();
        let mut facts = ShardFacts::new(Timestamp::default());
        let mut sinks = Vec::with_capacity(SHARDS);
        for (at, (sink, shard_facts)) in finished.into_iter().enumerate() {
            sinks.push(sink);
            if at == 0 {
                facts = shard_facts;
            } else {
                facts.merge(shard_facts);
            }
        }
        let mut quality = reader.notes();
        quality.extend(facts.quality());
        quality.extend(clock_note(&self.times));
        quality.sort();
        let summary = CaptureSummary {
            files: reader.files(),
            interfaces: reader.interface_summaries(),
            packets: self.stats.frames,
            bytes: self.stats.wire_bytes,
            first: self.times.first,
            last: self.times.last,
            undecoded: self
                .stats
                .stops
                .iter()
                .map(|(stop, count)| (stop.to_string(), *count))
                .collect(),
            protocols: self.stats.protocols(),
        };
        let analysis = Analysis {
            summary,
            quality,
            tcp_connections: facts.tcp_connections,
            udp_flows: facts.udp_flows,
            dns_names: facts.dns_names,
            listeners: facts.listeners,
            udp_servers: facts.udp_servers,
            icmp_errors: facts.icmp_errors,
            icmp_error_count: facts.icmp_error_count,
            intervals: facts.timeline.finish(),
            later_fragments_seen: self.later_fragments_seen,
        };
        (analysis, sinks)
    }
}

fn clock_note(times: &Times) -> Option<QualityNote> {
    (times.steps_back > 0).then(|| QualityNote {
        kind: QualityKind::ClockStep,
        count: times.steps_back,
        note: format!(
            "capture time runs backwards {} times, by up to {:.3} s: durations around these places are not reliable",
            times.steps_back,
            times.largest_step.as_secs_f64()
        ),
    })
}

//! Drives the stages over bounded rounds. The only file with threads.
//!
//! A reader thread reads rounds of slabs ahead, and decodes some while the round before still waits.
//! The other slabs of a round are decoded in parallel, and what must be done in sequence is;
//! meanwhile every shard of the flow table advances by its own packets of the round before, in
//! parallel and in frame order. Nothing is shared between shards but read-only input, and their
//! number is fixed, so results do not depend on the thread count.

mod conclude;
mod item;
mod judge;
mod keys;
mod segment;
mod sequencer;
mod settings;
mod settle;
mod whole;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::analysis::Analysis;
use crate::capture::{CaptureReader, Input, Interface, SetOfParts, Slab};
use crate::decode::Packet;
use crate::error::Error;
use crate::filter::PacketFilter;
use crate::flow::key::FlowKey;
use crate::flow::table::Shard;
use crate::flow::tally::ShardTally;
use crate::time::Timestamp;

use item::{Addressed, Filled, Item, SHARDS, shard_of};
use sequencer::Sequencer;
use whole::whole;

pub use crate::connection::ConnectionSink;
pub use conclude::conclude;
pub use judge::{ShardPart, ShardRun};
pub use keys::{Border, FileKeys, KeyGatherer, Travelling};
pub use segment::{Arrival, FileFacts, Segmented, segment};
pub use settings::{Memory, Settings};
pub use settle::Settling;

/// Shards of an analysis, and the fewest of one that is spread over machines.
pub const SHARDS_OF_ONE: u32 = SHARDS as u32;

/// Packets of a shard whose flows are brought into the cache together.
const WARMED: usize = 16;

/// Slabs in one round.
const ROUND: usize = 8;

/// Slabs of an analysis, at most: in a round, in the one before it, read ahead, being filled.
const IN_FLIGHT: usize = 4 * ROUND;

/// Memory that one analysis leaves to the next: what is used again need not be asked of the
/// operating system, which hands out zeroed pages only. Analyses side by side share it.
#[derive(Default)]
pub struct Buffers(Mutex<Vec<Item>>);

impl Buffers {
    /// Those of one analysis, as many as are there.
    fn take(&self) -> Vec<Item> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = all.len().saturating_sub(IN_FLIGHT);
        all.split_off(rest)
    }

    /// Keeps the buffers of an analysis that has ended, but none that a huge frame needed.
    fn give(&self, mut idle: Vec<Item>, slabs: impl Iterator<Item = Slab>, slab_bytes: usize) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for slab in slabs.filter(|slab| slab.bytes.len() <= 2 * slab_bytes) {
            let mut item = idle.pop().unwrap_or_default();
            item.filled.slab = slab;
            all.push(item);
        }
        all.extend(idle);
    }
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
    progress: impl FnMut(Progress),
) -> Result<(Analysis, Vec<S>), Error> {
    run_with(&Buffers::default(), inputs, settings, make_sink, progress)
}

/// As [`run`], with the memory that earlier analyses left.
///
/// # Errors
/// As [`run`].
pub fn run_with<S: ConnectionSink>(
    pool: &Buffers,
    inputs: &[Input],
    settings: &Settings,
    make_sink: impl Fn() -> S,
    mut progress: impl FnMut(Progress),
) -> Result<(Analysis, Vec<S>), Error> {
    let reader = CaptureReader::open(inputs, settings.read.clone())?;
    let total_bytes = reader.total_bytes();
    std::thread::scope(|scope| {
        let (ahead_sender, ahead) = crossbeam_channel::bounded::<Vec<Ahead>>(1);
        // Room for all there are: one is made only when none is empty.
        let (empty_sender, empty) = crossbeam_channel::bounded::<Slab>(IN_FLIGHT);
        let (idle_sender, idle) = crossbeam_channel::bounded::<Item>(IN_FLIGHT);
        for mut item in pool.take() {
            let _ = empty_sender.try_send(std::mem::take(&mut item.filled.slab));
            let _ = idle_sender.try_send(item);
        }
        let filter = &settings.filter;
        let emptied = Emptied {
            slabs: empty.clone(),
            items: idle.clone(),
        };
        let reading = scope.spawn(move || read_ahead(reader, filter, &ahead_sender, &emptied));
        let mut engine: Option<Engine<S>> = None;
        // Decoded and waiting for the shards, while the next round is decoded beside them.
        let mut decoded: Vec<Item> = Vec::new();
        loop {
            let next = ahead.recv().unwrap_or_default();
            let mut round: Vec<Item> = next.into_iter().map(|ahead| ahead.item(&idle)).collect();
            if round.is_empty() && decoded.is_empty() {
                break;
            }
            if let Some(first) = round.first() {
                let start = first.start();
                let start = filter.from.map_or(start, |from| from.max(start));
                engine.get_or_insert_with(|| Engine::new(settings, &make_sink, start));
            }
            let Some(engine) = &mut engine else { break };
            let (shards, sequencer) = (&mut engine.shards, &mut engine.sequencer);
            rayon::join(
                || advance(shards, &decoded),
                || {
                    let undecoded = round.par_iter_mut().filter(|item| !item.is_decoded);
                    undecoded.for_each(|item| item.decode(filter));
                    sequencer.sequence(&mut round, filter);
                },
            );
            if let Some(last) = round.last() {
                progress(Progress {
                    bytes_read: last.filled.bytes_read,
                    total_bytes,
                    frames: engine.sequencer.stats.frames,
                });
            }
            for mut item in std::mem::replace(&mut decoded, round) {
                // The reader may be gone already; then nobody needs the memory.
                let _ = empty_sender.try_send(std::mem::take(&mut item.filled.slab));
                let _ = idle_sender.try_send(item);
            }
        }
        let (reader, outcome) = reading.join().map_err(|_| {
            Error::new(
                inputs.first().map(Input::name).unwrap_or_default(),
                "the reader failed",
            )
        })?;
        outcome?;
        let slab_bytes = settings.read.slab_bytes;
        let idle = idle.try_iter().collect();
        pool.give(idle, empty.try_iter(), slab_bytes);
        let engine =
            engine.unwrap_or_else(|| Engine::new(settings, &make_sink, Timestamp::default()));
        Ok(engine.finish(&reader, &settings.filter))
    })
}

/// A slab that was read ahead.
enum Ahead {
    Filled(Filled),
    Decoded(Box<Item>),
}

impl Ahead {
    /// As an item to decode (or decoded); `idle`: items whose memory can be used.
    fn item(self, idle: &crossbeam_channel::Receiver<Item>) -> Item {
        match self {
            Self::Filled(filled) => Item::of(filled, idle),
            Self::Decoded(item) => *item,
        }
    }
}

/// What the shards are done with: memory for the reader to use again.
struct Emptied {
    slabs: crossbeam_channel::Receiver<Slab>,
    items: crossbeam_channel::Receiver<Item>,
}

/// Reads to the end. A round is handed over at once: every handing over may wake a thread, which
/// takes long on a busy machine.
///
/// A reader that is ahead decodes large frames, as long as they lie in its cache. Of small ones so
/// many packets would wait that they were out of every cache when their turn comes.
fn read_ahead(
    mut reader: CaptureReader,
    filter: &PacketFilter,
    ahead: &crossbeam_channel::Sender<Vec<Ahead>>,
    emptied: &Emptied,
) -> (CaptureReader, Result<(), Error>) {
    /// Octets of a large frame, on average.
    const LARGE: usize = 512;
    let mut interfaces: Arc<[Interface]> = Arc::from([]);
    loop {
        let mut round = Vec::with_capacity(ROUND);
        while round.len() < ROUND {
            let mut slab = emptied.slabs.try_recv().unwrap_or_default();
            match reader.read_slab(&mut slab) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return (reader, Err(error)),
            }
            if interfaces.len() != reader.interfaces().len() {
                interfaces = Arc::from(reader.interfaces());
            }
            let is_large = slab.frames.len() * LARGE <= slab.bytes.len();
            let filled = Filled {
                slab,
                interfaces: Arc::clone(&interfaces),
                bytes_read: reader.bytes_read(),
            };
            round.push(if is_large && ahead.is_full() {
                let mut item = Box::new(Item::of(filled, &emptied.items));
                item.decode(filter);
                Ahead::Decoded(item)
            } else {
                Ahead::Filled(filled)
            });
        }
        let over = round.len() < ROUND;
        if ahead.send(round).is_err() || over {
            return (reader, Ok(()));
        }
    }
}

struct Engine<S> {
    shards: Vec<Shard<S>>,
    sequencer: Sequencer,
}

/// Lets every shard take its packets.
fn advance<S: ConnectionSink>(shards: &mut [Shard<S>], items: &[Item]) {
    if items.is_empty() {
        return;
    }
    shards
        .par_iter_mut()
        .enumerate()
        .for_each(|(number, shard)| {
            for item in items {
                give_up(shard, number, &item.incomplete);
                for batch in item.buckets[number].chunks(WARMED) {
                    shard.warm(batch.iter().map(|addressed| {
                        let packet = &item.decoded.packets[addressed.at as usize];
                        (addressed.hash, packet)
                    }));
                    for &Addressed { hash, at, sender } in batch {
                        let packet = &item.decoded.packets[at as usize];
                        shard.packet(packet, hash, sender, item.payload(packet));
                        if let Some(answering) = item.true_source(at) {
                            shard.answered_from(packet, hash, answering);
                        }
                        for remark in item.remarks(packet) {
                            shard.remark(packet, remark);
                        }
                    }
                }
            }
        });
}

/// Tells the shard `number` of those datagrams that are its own.
fn give_up<S: ConnectionSink>(shard: &mut Shard<S>, number: usize, incomplete: &[(Packet, u32)]) {
    for (packet, pieces) in incomplete {
        let hash = FlowKey::of(packet).0.hash64();
        if shard_of(hash, SHARDS) == number {
            shard.incomplete(packet, hash, *pieces);
        }
    }
}

impl<S: ConnectionSink> Engine<S> {
    fn new(settings: &Settings, make_sink: &impl Fn() -> S, start: Timestamp) -> Self {
        let budget = settings.memory.per_shard();
        let shards = (0..SHARDS)
            .map(|_| Shard::new(make_sink(), settings.tcp.clone(), start, budget))
            .collect();
        Self {
            shards,
            sequencer: Sequencer::default(),
        }
    }

    fn finish(self, reader: &CaptureReader, filter: &PacketFilter) -> (Analysis, Vec<S>) {
        let mut sequencer = self.sequencer;
        let incomplete = sequencer.finish(filter);
        let end = sequencer.times.last().unwrap_or_default();
        let finished: Vec<(S, ShardTally)> = self
            .shards
            .into_par_iter()
            .enumerate()
            .map(|(number, mut shard)| {
                give_up(&mut shard, number, &incomplete);
                shard.finish(end)
            })
            .collect();
        let mut tally = ShardTally::new(Timestamp::default());
        let mut sinks = Vec::with_capacity(SHARDS);
        for (at, (sink, of_shard)) in finished.into_iter().enumerate() {
            sinks.push(sink);
            if at == 0 {
                tally = of_shard;
            } else {
                tally.merge(of_shard);
            }
        }
        let files = SetOfParts {
            files: reader.files(),
            interfaces: reader.interface_summaries(),
            notes: reader.notes(),
            marks: reader.marks().to_vec(),
        };
        let analysis = whole(files, sequencer, tally);
        (analysis, sinks)
    }
}

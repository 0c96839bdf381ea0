//! One file of a set by itself: its packets, each with the shard that takes it, and what it tells
//! besides.
//!
//! What must be done in sequence is done within the file. What of that can be joined later is handed
//! on as it was found ([`FileFacts`]); fragments, translated addresses and the judgement of checksums
//! end with the file.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use crate::addr::Endpoint;
#[cfg(doc)]
use crate::capture::Remark;
use crate::capture::{CaptureReader, FilePart, Input, Interface};
use crate::decode::Packet;
use crate::error::Error;
use crate::time::Timestamp;

use super::item::{Filled, Item, shard_of};
use super::sequencer::{Found, Sequencer};
use super::settings::Settings;

/// Of each kind of what was found in order, the most that a file hands on: those that came first.
const FOUND: usize = 65_536;

/// What a shard takes, in order. Frames are numbered within the file.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Arrival {
    /// A packet.
    Packet {
        /// As decoded; whole, when it came in fragments.
        packet: Packet,
        /// The address that an answer truly came from, when the packet is one of a translated
        /// connection.
        answering: Option<Endpoint>,
    },
    /// A datagram of which a fragment never came.
    Incomplete {
        /// What is known of it.
        packet: Packet,
        /// Fragments seen.
        pieces: u32,
    },
    /// What is said of the packet before; the payload holds it, as [`Remark::write`] does.
    Remark {
        /// The packet, of which only frame and ends count.
        packet: Packet,
    },
}

impl Arrival {
    /// The packet.
    #[must_use]
    pub const fn packet(&self) -> &Packet {
        match self {
            Self::Packet { packet, .. } | Self::Incomplete { packet, .. } => packet,
            Self::Remark { packet } => packet,
        }
    }

    /// The packet, to be changed.
    pub const fn packet_mut(&mut self) -> &mut Packet {
        match self {
            Self::Packet { packet, .. } | Self::Incomplete { packet, .. } => packet,
            Self::Remark { packet } => packet,
        }
    }
}

/// A packet on its way to its shard.
#[derive(Clone, Copy, Debug)]
pub struct Segmented<'a> {
    /// Time of the file's first frame.
    pub start: Timestamp,
    /// Which shard takes it.
    pub shard: u32,
    /// Half of the hash of its connection's key.
    pub connection: u32,
    /// What it takes.
    pub arrival: Arrival,
    /// The captured payload.
    pub payload: &'a [u8],
}

/// What a file tells beside its packets, with frame numbers of its own.
#[derive(Debug, Serialize, Deserialize)]
pub struct FileFacts {
    /// The file.
    pub part: FilePart,
    pub(super) found: Found,
}

impl FileFacts {
    /// Times of the first and the last frame that the filter admits, however the clock ran.
    #[must_use]
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        self.found.times.first().zip(self.found.times.last())
    }
}

/// Reads a file and hands on its packets in order, each with its shard of `shards`.
///
/// A file that cannot be read gives no packet and says so in its facts.
///
/// # Errors
/// Those of `take`, which end the reading.
pub fn segment<E>(
    input: &Input,
    settings: &Settings,
    shards: u32,
    mut take: impl FnMut(Segmented<'_>) -> Result<(), E>,
) -> Result<FileFacts, E> {
    let mut part = FilePart::unread(input, &settings.read);
    let mut reader = match CaptureReader::open(std::slice::from_ref(input), settings.read.clone()) {
        Ok(reader) => reader,
        Err(error) => return Ok(unread(part, &error)),
    };
    let shards = usize::try_from(shards).unwrap_or(usize::MAX).max(1);
    let (mut sequencer, mut gathered) = (Sequencer::default(), Gathered::default());
    let mut interfaces: Arc<[Interface]> = Arc::from([]);
    let mut item = Item::default();
    loop {
        let mut slab = std::mem::take(&mut item.filled.slab);
        match reader.read_slab(&mut slab) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Ok(unread(part, &error)),
        }
        if interfaces.len() != reader.interfaces().len() {
            interfaces = Arc::from(reader.interfaces());
        }
        item.filled = Filled {
            slab,
            interfaces: Arc::clone(&interfaces),
            bytes_read: reader.bytes_read(),
        };
        if part.first.is_none() {
            part.first = Some(item.start());
        }
        item.decode(&settings.filter);
        sequencer.sequence(std::slice::from_mut(&mut item), &settings.filter);
        gathered.add(&item);
        let start = part.first.unwrap_or_default();
        hand_on(&item, (start, shards), &mut take)?;
    }
    let start = part.first.unwrap_or_default();
    for (packet, pieces) in sequencer.finish(&settings.filter) {
        take(incomplete(packet, pieces, (start, shards)))?;
    }
    part.read_by(&reader);
    let found = Found {
        times: sequencer.times,
        steps: sequencer.steps.finish(),
        stats: sequencer.stats,
        damage: sequencer.damage,
        doubles: sequencer.doubles.left_out(),
        ..gathered.found
    };
    Ok(FileFacts { part, found })
}

fn unread(mut part: FilePart, error: &Error) -> FileFacts {
    part.unreadable(error);
    FileFacts {
        part,
        found: Found::default(),
    }
}

/// Hands on the packets of a slab, those that were given up at it first.
fn hand_on<E>(
    item: &Item,
    (start, shards): (Timestamp, usize),
    take: &mut impl FnMut(Segmented<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for (packet, pieces) in &item.incomplete {
        take(incomplete(*packet, *pieces, (start, shards)))?;
    }
    let packets = item.decoded.packets.iter().zip(&item.hashes);
    let mut said = Vec::new();
    for ((packet, hash), at) in packets.zip(0_u32..) {
        take(Segmented {
            start,
            shard: number_of(shard_of(*hash, shards)),
            connection: half_of(*hash),
            arrival: Arrival::Packet {
                packet: *packet,
                answering: item.true_source(at),
            },
            payload: item.payload(packet),
        })?;
        for remark in item.remarks(packet) {
            said.clear();
            remark.write(&mut said);
            take(Segmented {
                start,
                shard: number_of(shard_of(*hash, shards)),
                connection: half_of(*hash),
                arrival: Arrival::Remark { packet: *packet },
                payload: &said,
            })?;
        }
    }
    Ok(())
}

fn incomplete(
    packet: Packet,
    pieces: u32,
    (start, shards): (Timestamp, usize),
) -> Segmented<'static> {
    let (key, _) = crate::flow::key::FlowKey::of(&packet);
    let hash = key.hash64();
    Segmented {
        start,
        shard: number_of(shard_of(hash, shards)),
        connection: half_of(hash),
        arrival: Arrival::Incomplete { packet, pieces },
        payload: &[],
    }
}

fn number_of(shard: usize) -> u32 {
    u32::try_from(shard).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "half of it is wanted")]
const fn half_of(hash: u64) -> u32 {
    hash as u32
}

/// What the order of frames shows, as far as it is news.
#[derive(Default)]
struct Gathered {
    found: Found,
    /// Addresses with the hardware addresses that showed them.
    shown: HashSet<([u8; 16], [u8; 6], bool), FixedState>,
}

impl Gathered {
    fn add(&mut self, item: &Item) {
        let found = &mut self.found;
        let room = |list: usize| FOUND.saturating_sub(list);
        let circling = item.circling.found.iter();
        let free = room(found.circling.len());
        found.circling.extend(circling.take(free).copied());
        let broadcasts = item.sightings.broadcasts.iter();
        let free = room(found.broadcasts.len());
        found.broadcasts.extend(broadcasts.take(free).copied());
        for sighting in &item.sightings.list {
            if found.sightings.len() >= FOUND {
                break;
            }
            // What was seen before is news only as a claim.
            if self
                .shown
                .insert((sighting.ip, sighting.mac, sighting.is_destination))
                || sighting.is_claim
            {
                found.sightings.push(*sighting);
            }
        }
    }
}

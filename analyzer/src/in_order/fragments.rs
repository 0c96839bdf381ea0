//! IP reassembly: pieces in, whole datagrams out, and what never became whole.
//!
//! A datagram is whole when its last piece was seen and its pieces, which never overlap, add up
//! to its length: RFC 815's hole list with the holes counted instead of listed. Overlaps are
//! attacks or broken capture: an exact copy of a piece is ignored, any other overlap discards
//! the datagram (RFC 5722 §4 for IPv6; Linux does the same for IPv4). Bounded in datagrams,
//! bytes and capture time.
//!
//! Pieces seen at different observation points are different datagrams: the same datagram seen
//! twice comes out twice, as unfragmented packets do.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decode::{DecodedSlab, Fragment, IpFields, Packet, decode_reassembled};
use crate::time::Timestamp;

/// RFC 8200 §4.5: 60 seconds.
const TIMEOUT_V6: Duration = Duration::from_secs(60);
/// Linux's `ipfrag_time`: 30 seconds. RFC 1122 §3.3.2 asks for 60 to 120, which nobody keeps.
const TIMEOUT_V4: Duration = Duration::from_secs(30);
/// Datagrams that may wait for pieces; beyond it the oldest is given up.
const MAX_DATAGRAMS: usize = 4096;
/// Octets that may wait over all datagrams; Linux's `ipfrag_high_thresh` is 4 MiB.
const MAX_BYTES: usize = 16 << 20;
/// Largest payload of a datagram that can be fragmented (a 13-bit offset in units of 8).
const MAX_DATAGRAM: u32 = 65_535 + 8;
/// Pairs of hosts of which it is known when fragments passed.
const MAX_PAIRS: usize = 4096;
/// Pieces of one datagram: one may be as short as eight octets.
const MAX_PIECES: usize = 8192;
/// Datagrams inside reassembled datagrams that are put together in turn.
const MAX_NESTING: u8 = 4;

/// What belongs to one datagram (RFC 791 §3.2, RFC 8200 §4.5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    src: [u8; 16],
    dst: [u8; 16],
    identification: u32,
    /// IPv4 only: IPv6 identifies without it.
    protocol: u8,
    observation_point: u32,
}

impl Key {
    const fn of(fragment: &Fragment) -> Self {
        let v4 = fragment.ip.identification.is_some();
        Self {
            src: fragment.ip.src,
            dst: fragment.ip.dst,
            identification: fragment.identification,
            protocol: if v4 { fragment.protocol } else { 0 },
            observation_point: fragment.observation_point,
        }
    }
}

/// A piece of a datagram.
#[derive(Debug)]
struct Piece {
    offset: u32,
    /// True length.
    len: u32,
    /// Captured octets.
    bytes: Vec<u8>,
}

/// A datagram that waits for pieces.
#[derive(Debug)]
struct Partial {
    first: Fragment,
    /// From the first fragment, when it was seen.
    ports: Option<(u16, u16)>,
    /// Protocol in the first fragment: later IPv6 fragments may tell another.
    protocol: u8,
    pieces: Vec<Piece>,
    /// Sum of the pieces' lengths.
    have: u32,
    /// Length in all, once the last piece was seen.
    total: Option<u32>,
    /// Octets held.
    held: usize,
    /// Pieces overlap: nothing more is taken, so that the rest is no datagram of its own.
    overlaps: bool,
}

/// A datagram that became whole, and the packets in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reassembled {
    /// Usually one packet. `payload_start` points into `payload`.
    pub packets: Vec<Packet>,
    /// The datagram's payload as captured.
    pub payload: Vec<u8>,
}

/// A datagram of which pieces are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IncompleteDatagram {
    /// Addresses.
    pub ip: IpFields,
    /// Protocol of its payload.
    pub protocol: u8,
    /// Ports, when the first fragment was seen.
    pub ports: Option<(u16, u16)>,
    /// Frame of the first piece that was seen.
    pub frame: u64,
    /// Its time.
    pub time: Timestamp,
    /// Observation point.
    pub observation_point: u32,
    /// Octets of payload that were seen.
    pub seen: u32,
    /// Octets in all, when the last piece was seen.
    pub total: Option<u32>,
    /// Pieces that were seen.
    pub pieces: u32,
    /// Why it was given up.
    pub reason: GivenUp,
    /// Pieces of it were on their way and did not come: the datagram is longer than what was seen,
    /// its pieces are such as a network makes, and the capture takes later pieces of this pair.
    pub is_loss: bool,
}

/// Why a datagram was given up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GivenUp {
    /// Its pieces did not come within the time that stacks wait.
    TimedOut,
    /// The capture ended.
    CaptureEnded,
    /// Its pieces overlap without being copies.
    Overlap,
    /// Too many datagrams or bytes were waiting.
    Bounds,
}

/// Source, destination and protocol.
type Pair = ([u8; 16], [u8; 16], u8);

/// Puts fragments together. Feed it in frame order.
#[derive(Debug, Default)]
pub struct Reassembler {
    /// When the latest piece that is not a datagram's first passed between two hosts.
    later_pieces: BTreeMap<Pair, Timestamp>,
    waiting: BTreeMap<Key, Partial>,
    /// Datagrams by when they began, for expiry and eviction.
    by_age: BTreeMap<(Timestamp, u64, Key), ()>,
    held: usize,
    given_up: Vec<IncompleteDatagram>,
    scratch: DecodedSlab,
}

impl Reassembler {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Datagrams that wait for pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a fragment whose octets lie in `bytes` (the slab's); gives back the datagram when
    /// it became whole by it.
    pub fn push(&mut self, fragment: &Fragment, bytes: &[u8]) -> Option<Reassembled> {
        let mut fragment = *fragment;
        let mut owned = Vec::new();
        for nesting in 0..MAX_NESTING {
            let source = if nesting == 0 {
                bytes
            } else {
                owned.as_slice()
            };
            let (partial, last) = self.add(&fragment, source)?;
            let (payload, len) = join(partial);
            self.scratch.clear();
            decode_reassembled(&payload, len, &last, &mut self.scratch);
            let packets = self.scratch.packets.clone();
            match self.scratch.fragments.first() {
                Some(inner) if packets.is_empty() => fragment = *inner,
                _ if packets.is_empty() => return None,
                _ => return Some(Reassembled { packets, payload }),
            }
            owned = payload;
        }
        None
    }

    /// Gives up what has waited too long at capture time `now`; everything given up since the
    /// last call comes back, oldest first.
    pub fn expire(&mut self, now: Timestamp) -> Vec<IncompleteDatagram> {
        while let Some((&(began, _, key), ())) = self.by_age.first_key_value() {
            if now.since(began) < TIMEOUT_V4 {
                break;
            }
            let v6 = self
                .waiting
                .get(&key)
                .is_some_and(|p| p.first.ip.identification.is_none());
            if v6 && now.since(began) < TIMEOUT_V6 {
                break;
            }
            self.give_up(&key, GivenUp::TimedOut);
        }
        std::mem::take(&mut self.given_up)
    }

    /// Gives up everything: the capture has ended.
    pub fn finish(&mut self) -> Vec<IncompleteDatagram> {
        while let Some((&(_, _, key), ())) = self.by_age.first_key_value() {
            self.give_up(&key, GivenUp::CaptureEnded);
        }
        std::mem::take(&mut self.given_up)
    }

    /// Adds a piece; the datagram comes back when it is whole, with what its packets inherit.
    fn add(&mut self, fragment: &Fragment, bytes: &[u8]) -> Option<(Partial, Fragment)> {
        let key = Key::of(fragment);
        let started = self.waiting.get(&key).map(|partial| partial.first.time);
        let timeout = if fragment.ip.identification.is_some() {
            TIMEOUT_V4
        } else {
            TIMEOUT_V6
        };
        if started.is_some_and(|began| fragment.time.since(began) >= timeout) {
            // The identification was used again.
            self.give_up(&key, GivenUp::TimedOut);
        }
        let end = fragment.offset.checked_add(fragment.len)?;
        if end > MAX_DATAGRAM {
            return None;
        }
        self.note_later_piece(fragment);
        let captured = captured(fragment, bytes);
        let by_age = &mut self.by_age;
        let partial = self.waiting.entry(key).or_insert_with(|| {
            by_age.insert((fragment.time, fragment.frame, key), ());
            Partial::new(fragment)
        });
        match partial.insert(fragment, captured) {
            Inserted::Copy => return None,
            Inserted::Overlap => {
                self.held -= partial.discard();
                return None;
            }
            Inserted::New => self.held += captured.len(),
        }
        if partial.is_whole() {
            let partial = self.remove(&key)?;
            let ip = partial.first.ip;
            let protocol = partial.protocol;
            return Some((
                partial,
                Fragment {
                    ip,
                    protocol,
                    ..*fragment
                },
            ));
        }
        while self.waiting.len() > MAX_DATAGRAMS || self.held > MAX_BYTES {
            let Some((&(_, _, oldest), ())) = self.by_age.first_key_value() else {
                break;
            };
            self.give_up(&oldest, GivenUp::Bounds);
        }
        None
    }

    fn note_later_piece(&mut self, fragment: &Fragment) {
        let pair = pair_of(fragment);
        let is_known = self.later_pieces.contains_key(&pair);
        if fragment.offset > 0 && (is_known || self.later_pieces.len() < MAX_PAIRS) {
            self.later_pieces.insert(pair, fragment.time);
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Partial> {
        let partial = self.waiting.remove(key)?;
        self.by_age
            .remove(&(partial.first.time, partial.first.frame, *key));
        self.held -= partial.held;
        Some(partial)
    }

    fn give_up(&mut self, key: &Key, reason: GivenUp) {
        let Some(partial) = self.remove(key) else {
            return;
        };
        if self.given_up.len() >= MAX_DATAGRAMS {
            return;
        }
        let reason = if partial.overlaps {
            GivenUp::Overlap
        } else {
            reason
        };
        let latest = self.later_pieces.get(&pair_of(&partial.first));
        let takes_later_pieces =
            latest.is_some_and(|latest| *latest + TIMEOUT_V4 >= partial.first.time);
        let waited = matches!(reason, GivenUp::TimedOut | GivenUp::CaptureEnded);
        self.given_up.push(IncompleteDatagram {
            is_loss: waited && takes_later_pieces && partial.lacks_pieces(),
            ip: partial.first.ip,
            protocol: partial.protocol,
            ports: partial.ports,
            frame: partial.first.frame,
            time: partial.first.time,
            observation_point: partial.first.observation_point,
            seen: partial.have,
            total: partial.total,
            pieces: u32::try_from(partial.pieces.len()).unwrap_or(u32::MAX),
            reason,
        });
    }
}

/// What became of a piece.
enum Inserted {
    New,
    Copy,
    Overlap,
}

impl Partial {
    fn new(fragment: &Fragment) -> Self {
        Self {
            first: *fragment,
            ports: None,
            protocol: fragment.protocol,
            pieces: Vec::new(),
            have: 0,
            total: None,
            held: 0,
            overlaps: false,
        }
    }

    /// Drops its pieces for good; gives back how many octets they held.
    fn discard(&mut self) -> usize {
        self.overlaps = true;
        self.pieces.clear();
        std::mem::take(&mut self.held)
    }

    /// Pieces of it must exist that were not seen, as far as it can be trusted itself.
    fn lacks_pieces(&self) -> bool {
        /// What every network takes without fragmenting it (RFC 791 §3.2: 68 octets), less a header.
        const LEAST_PIECE: u32 = 48;
        const UDP: u8 = 17;
        let end = |piece: &Piece| piece.offset + piece.len;
        let goes_on = |piece: &&Piece| self.total != Some(end(piece));
        let are_of_a_network = (self.pieces.iter().filter(goes_on))
            .all(|piece| piece.len >= LEAST_PIECE && piece.len % 8 == 0);
        // A sender that forbids fragments makes none; routers drop what is too large.
        let is_contradiction = self.pieces.len() == 1 && self.first.ip.dont_fragment;
        let first = self.pieces.first().filter(|piece| piece.offset == 0);
        let stated = first
            .filter(|_| self.protocol == UDP)
            .and_then(|piece| piece.bytes.get(4..)?.first_chunk::<2>())
            .map(|len| u32::from(u16::from_be_bytes(*len)));
        let is_longer = stated.is_none_or(|len| len > self.have);
        are_of_a_network && !is_contradiction && is_longer
    }

    fn insert(&mut self, fragment: &Fragment, captured: &[u8]) -> Inserted {
        if self.overlaps {
            return Inserted::Copy;
        }
        let (offset, len) = (fragment.offset, fragment.len);
        let end = offset + len;
        let place = self.pieces.partition_point(|piece| piece.offset < offset);
        if let Some(piece) = self.pieces.get(place)
            && (piece.offset, piece.len) == (offset, len)
        {
            return Inserted::Copy;
        }
        let before = place
            .checked_sub(1)
            .and_then(|place| self.pieces.get(place));
        let overlaps = before.is_some_and(|piece| piece.offset + piece.len > offset)
            || self
                .pieces
                .get(place)
                .is_some_and(|piece| piece.offset < end)
            || self
                .total
                .is_some_and(|total| end > total || (!fragment.more && end != total))
            || (!fragment.more && self.pieces.last().is_some_and(|p| p.offset + p.len > end));
        if overlaps || self.pieces.len() >= MAX_PIECES {
            return Inserted::Overlap;
        }
        if !fragment.more {
            self.total = Some(end);
        }
        if offset == 0 {
            self.ports = fragment.ports;
            self.protocol = fragment.protocol;
            self.first.ip = fragment.ip;
        }
        self.pieces.insert(
            place,
            Piece {
                offset,
                len,
                bytes: captured.to_vec(),
            },
        );
        self.have += len;
        self.held += captured.len();
        Inserted::New
    }

    fn is_whole(&self) -> bool {
        self.total == Some(self.have)
    }
}

const fn pair_of(fragment: &Fragment) -> Pair {
    (fragment.ip.src, fragment.ip.dst, fragment.protocol)
}

/// The captured octets of a fragment.
fn captured<'a>(fragment: &Fragment, bytes: &'a [u8]) -> &'a [u8] {
    let start = fragment.start as usize;
    bytes
        .get(start..start + fragment.captured as usize)
        .unwrap_or(&[])
}

/// The captured payload as far as it has no gap, and its true length.
fn join(partial: Partial) -> (Vec<u8>, usize) {
    let mut payload = Vec::with_capacity(partial.held);
    for piece in partial.pieces {
        payload.extend_from_slice(&piece.bytes);
        if piece.bytes.len() < piece.len as usize {
            break;
        }
    }
    (payload, partial.have as usize)
}

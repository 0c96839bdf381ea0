//! The same packet recorded twice: by the network, or by a capture at two points.
//!
//! A host that sends octets again makes a new packet: a new IP identification and, as time has
//! passed, a new TSval. A copy of one packet keeps every field. The last few packets of the
//! connection are remembered to see that.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::direction::Direction;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::send_order::IpIdClock;
use crate::flow::tcp::verdict::Verdict;
use crate::time::Timestamp;

/// How many packets back a copy is looked for.
const REMEMBERED: usize = 12;

/// The same once a packet was seen at two points: a burst may lie between.
const REMEMBERED_AT_TWO_POINTS: usize = 64;

/// A copy on another interface of the same host, or on the other side of one router, follows
/// within this time; a path that takes longer is told by equal IP identification only.
const COPY_WITHIN: Duration = Duration::from_millis(20);

/// A network that duplicates delivers the copy within this time (also over a slow path).
const NETWORK_COPY_WITHIN: Duration = Duration::from_secs(1);

/// Packets that room is made for at first.
const FEW: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Remembered {
    /// Every field that a copy keeps, hashed.
    signature: u64,
    time: Timestamp,
    observation_point: u32,
    hop_limit: u8,
}

/// The last packets of a connection.
#[derive(Clone, Debug, Default)]
pub(in crate::flow::tcp) struct RecentPackets {
    ring: Vec<Remembered>,
    next: usize,
    two_points: bool,
}

impl RecentPackets {
    /// Whether the segment is a copy of a packet seen before, and whose. `ip_ids`: its sender's;
    /// `round_trip`: of the whole path.
    pub fn copy_of(
        &mut self,
        segment: &Segment<'_>,
        signature: u64,
        ip_ids: &IpIdClock,
        round_trip: Option<Duration>,
    ) -> Option<Verdict> {
        let packet = segment.packet;
        let same = |known: &&Remembered| known.signature == signature;
        self.ring.iter().find(same)?;
        let found = self.ring.iter().filter(same).find_map(|known| {
            let apart = packet.time.since(known.time);
            let elsewhere = known.observation_point != packet.observation_point
                || known.hop_limit != packet.hop_limit;
            if elsewhere {
                // Two points of one path see every field alike but the hop limit.
                let same_id = packet.ip_id.is_some_and(|id| id != 0);
                let within = if same_id {
                    NETWORK_COPY_WITHIN
                } else {
                    COPY_WITHIN
                };
                return (apart <= within).then_some(Verdict::DuplicateFrame);
            }
            self.is_network_copy(segment, apart, ip_ids, round_trip)
                .then_some(Verdict::NetworkDuplicate)
        });
        self.two_points |= found == Some(Verdict::DuplicateFrame);
        found
    }

    /// Whether a packet with the same fields passed lately.
    pub fn knows(&self, signature: u64) -> bool {
        self.ring.iter().any(|known| known.signature == signature)
    }

    /// All fields are equal at one point: a copy by the network if nothing else can explain it.
    ///
    /// Without a telling IP identification (IPv6, or 0) equal pure ACKs are duplicate ACKs, and
    /// equal data is a copy only when it follows sooner than any sender would repeat it.
    fn is_network_copy(
        &self,
        segment: &Segment<'_>,
        apart: Duration,
        ip_ids: &IpIdClock,
        round_trip: Option<Duration>,
    ) -> bool {
        // Of a sender that counts up, 0 is one of its numbers. Linux answers strangers from no
        // socket: each such RST bears 0, whatever the socket counts.
        let counts = ip_ids.is_counter() && !segment.tcp.flags.rst();
        if segment.packet.ip_id.is_some_and(|id| id != 0 || counts) {
            return apart <= NETWORK_COPY_WITHIN;
        }
        // A SYN waits for its timer, at least 200 ms; data waits for what its receiver says.
        let is_too_soon = segment.tcp.timestamps.is_some()
            || segment.tcp.flags.syn()
            || round_trip.is_some_and(|round_trip| apart < round_trip / 2);
        segment.seq_len() > 0 && is_too_soon && apart <= Duration::from_millis(2)
    }

    /// Forgets packets after a silence of `idle`: no copy can follow so late.
    pub fn forget_after(&mut self, idle: Duration) {
        if idle > NETWORK_COPY_WITHIN {
            self.ring = Vec::new();
            self.next = 0;
        }
    }

    /// Remembers a packet that is no copy.
    pub fn remember(&mut self, segment: &Segment<'_>, signature: u64) {
        let entry = Remembered {
            signature,
            time: segment.packet.time,
            observation_point: segment.packet.observation_point,
            hop_limit: segment.packet.hop_limit,
        };
        let room = if self.two_points {
            REMEMBERED_AT_TWO_POINTS
        } else {
            REMEMBERED
        };
        if self.ring.len() < room {
            if self.ring.len() == self.ring.capacity() {
                let wanted = if self.ring.is_empty() { FEW } else { room };
                self.ring.reserve_exact(wanted - self.ring.len());
            }
            self.ring.push(entry);
        } else {
            self.ring[self.next] = entry;
            self.next += 1;
            if self.next >= room {
                self.next = 0;
            }
        }
    }
}

/// A hash of all that is equal in two copies of one packet. Two different packets of the twelve
/// that are compared agree with a chance of 2⁻⁶⁰.
pub(in crate::flow::tcp) fn signature(segment: &Segment<'_>) -> u64 {
    let (tcp, packet) = (segment.tcp, segment.packet);
    let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let (value, echo) = tcp.timestamps.unwrap_or_default();
    // What follows the SYN bears no other options than these and SACK.
    let options = if tcp.flags.syn() {
        u32::from(tcp.mss.unwrap_or_default())
            | u32::from(tcp.window_shift.unwrap_or_default()) << 16
            | u32::from(tcp.sack_permitted) << 24
    } else {
        0
    };
    let marks = u32::from(tcp.flags.0)
        | u32::from(tcp.sack_count) << 8
        | u32::from(tcp.timestamps.is_some()) << 16
        | u32::from(packet.ip_id.is_some()) << 17
        | u32::from(segment.direction == Direction::ClientToServer) << 18;
    let words = [
        pair(tcp.seq.0, tcp.ack.0),
        pair(value, echo),
        pair(
            packet.payload_len,
            u32::from(tcp.window_field) << 16 | u32::from(packet.ip_id.unwrap_or_default()),
        ),
        pair(options, marks),
    ];
    let mut hasher = FixedState::with_seed(0x636f_7079).build_hasher();
    for word in words {
        hasher.write_u64(word);
    }
    if tcp.sack_count == 0 {
        return hasher.finish();
    }
    for block in tcp.sacks() {
        hasher.write_u64(pair(block.left_edge.0, block.right_edge.0));
    }
    hasher.finish()
}

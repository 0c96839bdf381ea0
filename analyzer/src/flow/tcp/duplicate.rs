//! The same packet recorded twice: by the network, or by a capture at two points.
//!
//! A host that sends octets again makes a new packet: a new IP identification and, as time has
//! passed, a new TSval. A copy of one packet keeps every field. The last few packets of the
//! connection are remembered to see that.

use std::time::Duration;

use crate::decode::TcpFields;
use crate::time::Timestamp;

use super::{Segment, Verdict};

/// How many packets back a copy is looked for.
const REMEMBERED: usize = 12;

/// A copy on another interface of the same host, or on the other side of one router, follows
/// within this time; a path that takes longer is told by equal IP identification only.
const COPY_WITHIN: Duration = Duration::from_millis(20);

/// A network that duplicates delivers the copy within this time (also over a slow path).
const NETWORK_COPY_WITHIN: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Debug)]
struct Signature {
    tcp: TcpFields,
    payload_len: u32,
    ip_id: Option<u16>,
    source_is_client: bool,
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    signature: Signature,
    time: Timestamp,
    observation_point: u32,
    hop_limit: u8,
}

/// The last packets of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct RecentPackets {
    ring: Vec<Remembered>,
    next: usize,
}

impl RecentPackets {
    /// Whether the segment is a copy of a packet seen before, and whose.
    pub fn copy_of(&self, segment: &Segment<'_>) -> Option<Verdict> {
        let signature = signature(segment);
        let packet = segment.packet;
        self.ring.iter().find_map(|known| {
            if known.signature != signature {
                return None;
            }
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
            self.is_network_copy(segment, apart)
                .then_some(Verdict::NetworkDuplicate)
        })
    }

    /// All fields are equal at one point: a copy by the network if nothing else can explain it.
    ///
    /// Without a telling IP identification (IPv6, or 0) equal pure ACKs are duplicate ACKs, and
    /// equal data is a copy only when it follows sooner than any sender would repeat it.
    fn is_network_copy(&self, segment: &Segment<'_>, apart: Duration) -> bool {
        if segment.packet.ip_id.is_some_and(|id| id != 0) {
            return apart <= NETWORK_COPY_WITHIN;
        }
        segment.seq_len() > 0
            && !segment.tcp.flags.syn()
            && segment.tcp.timestamps.is_some()
            && apart <= Duration::from_millis(2)
    }

    /// Remembers a packet that is no copy.
    pub fn remember(&mut self, segment: &Segment<'_>) {
        let entry = Remembered {
            signature: signature(segment),
            time: segment.packet.time,
            observation_point: segment.packet.observation_point,
            hop_limit: segment.packet.hop_limit,
        };
        if self.ring.len() < REMEMBERED {
            self.ring.push(entry);
        } else {
            self.ring[self.next] = entry;
            self.next = (self.next + 1) % REMEMBERED;
        }
    }
}

fn signature(segment: &Segment<'_>) -> Signature {
    Signature {
        tcp: *segment.tcp,
        payload_len: segment.packet.payload_len,
        ip_id: segment.packet.ip_id,
        source_is_client: segment.direction == super::Direction::ClientToServer,
    }
}

//! In which order a host sent its packets, whatever order they arrived in.
//!
//! Two clocks tell: the timestamp option (RFC 7323 §3: TSval never runs backwards) and, over IPv4,
//! the identification, where the host counts it up (Linux: one counter for each socket, one step
//! for each packet, also those that were cut from one large segment).

use crate::decode::TcpFlags;
use crate::flow::tcp::segment::Segment;

/// The marks of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::flow::tcp) struct Stamp {
    pub ts_val: Option<u32>,
    pub ip_id: Option<u16>,
}

/// Two packets of one host by the time they were sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SendOrder {
    Earlier,
    /// Every mark is equal: two copies of one packet, or sent within one tick.
    Same,
    Later,
    /// No mark that could tell.
    Unknown,
}

impl Stamp {
    pub fn of(segment: &Segment<'_>) -> Self {
        Self {
            ts_val: segment.tcp.timestamps.map(|(value, _)| value),
            ip_id: segment.packet.ip_id,
        }
    }

    /// The identification, if it tells packets apart: 0 is also what hosts send that do not count.
    pub fn identification(self, ids: &IpIdClock) -> Option<u16> {
        self.ip_id.filter(|id| *id != 0 || ids.is_counter())
    }

    /// Whether this packet was sent earlier or later than `other`.
    pub fn order(self, other: Self, ids: &IpIdClock) -> SendOrder {
        if let (Some(own), Some(theirs)) = (self.ts_val, other.ts_val)
            && own != theirs
        {
            return by_sign(i64::from(own.wrapping_sub(theirs).cast_signed()));
        }
        match (self.identification(ids), other.identification(ids)) {
            (Some(own), Some(theirs)) if own == theirs => SendOrder::Same,
            (Some(own), Some(theirs)) if ids.is_counter() => {
                by_sign(i64::from(own.wrapping_sub(theirs).cast_signed()))
            }
            (None, None) if self.ts_val.is_some() && other.ts_val.is_some() => SendOrder::Same,
            _ => SendOrder::Unknown,
        }
    }
}

const fn by_sign(difference: i64) -> SendOrder {
    if difference < 0 {
        SendOrder::Earlier
    } else {
        SendOrder::Later
    }
}

/// How trustworthy a sender's IP identifications are as a clock, and what they say was not seen.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::flow::tcp) struct IpIdClock {
    newest: Option<u16>,
    /// What the packet after the newest bears when nothing lies between.
    expected: u16,
    /// Steps that fit a counter, and those that were exact.
    good: u16,
    exact: u16,
    bad: u16,
    /// The hop limit is not one that stacks with a counter for each connection begin with.
    shares: bool,
    /// Gaps that no packet of this connection can explain.
    foreign: u16,
}

/// Linux begins with this hop limit and counts for each socket; Windows begins with 128, many
/// other devices with 255, and they count for the whole host.
const LINUX_HOP_LIMIT: u8 = 64;

impl IpIdClock {
    /// Largest step between two packets of one connection that still counts as a counter: other
    /// packets of a shared counter lie between.
    const MAX_STEP: u16 = 1024;

    /// Whether [`Self::take`] will find a packet in its turn.
    pub fn is_in_turn(&self, ip_id: Option<u16>) -> bool {
        let (Some(id), Some(newest)) = (ip_id, self.newest) else {
            return true;
        };
        !(1..=Self::MAX_STEP).contains(&newest.wrapping_sub(id))
    }

    /// Whether [`Self::take`] will find none passed over before a packet that is in its turn.
    pub fn expects(&self, ip_id: Option<u16>) -> bool {
        let (Some(id), Some(_)) = (ip_id, self.newest) else {
            return true;
        };
        let gap = id.wrapping_sub(self.expected);
        gap == 0 || gap > Self::MAX_STEP
    }

    /// Takes a packet that is no copy; `segments`: how many it was on the wire.
    pub fn take(&mut self, segment: &Segment<'_>, segments: u64) -> Passage {
        let flags = segment.tcp.flags;
        let Some(id) = segment.packet.ip_id else {
            return Passage::InTurn { passed_over: 0 };
        };
        // Linux answers SYNs and strangers from no socket, hence with no counter.
        if id == 0 && (flags.has(TcpFlags::SYN | TcpFlags::ACK) || flags.rst()) {
            return Passage::InTurn { passed_over: 0 };
        }
        self.shares |= segment.packet.hop_limit > LINUX_HOP_LIMIT;
        let Some(newest) = self.newest else {
            self.advance(id, segments);
            return Passage::InTurn { passed_over: 0 };
        };
        let step = id.wrapping_sub(newest);
        if step.cast_signed() < 0 && step.cast_signed() >= -Self::MAX_STEP.cast_signed() {
            return Passage::Overtaken;
        }
        let gap = id.wrapping_sub(self.expected);
        if (1..=Self::MAX_STEP).contains(&step) {
            self.good = self.good.saturating_add(1);
            self.exact = self.exact.saturating_add(u16::from(gap == 0));
        } else {
            self.bad = self.bad.saturating_add(1);
        }
        self.advance(id, segments);
        let passed_over = if gap <= Self::MAX_STEP { gap } else { 0 };
        Passage::InTurn { passed_over }
    }

    fn advance(&mut self, id: u16, segments: u64) {
        self.newest = Some(id);
        self.expected = id.wrapping_add(u16::try_from(segments).unwrap_or(1));
    }

    /// The identifications seen so far grow like a counter.
    pub fn is_counter(&self) -> bool {
        self.good >= 2 && u32::from(self.good) >= 8 * u32::from(self.bad)
    }

    /// Notes a gap that no packet of this connection can explain.
    pub fn note_foreign(&mut self) {
        self.foreign = self.foreign.saturating_add(1);
    }

    /// Whether the counter belongs to this connection alone, so that whatever it passed over was
    /// sent on this connection and not captured.
    pub fn trust(&self) -> Trust {
        // One gap may be a window update that was lost.
        if self.bad > 0 || self.shares || self.foreign > 1 {
            Trust::None
        } else if self.exact >= 3 && 2 * u32::from(self.exact) >= u32::from(self.good) {
            Trust::PerConnection
        } else if self.good < 8 {
            Trust::NotYet
        } else {
            Trust::None
        }
    }
}

/// Where a packet stands in its sender's count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::flow::tcp) enum Passage {
    /// Newer than all before; so many packets between were not seen (yet).
    InTurn { passed_over: u16 },
    /// One of those that were passed over.
    Overtaken,
}

/// How far passed-over identifications may be read as packets of this connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trust {
    /// Not at all: no counter, or one shared with other connections.
    None,
    /// Too few packets so far.
    NotYet,
    /// Fully.
    PerConnection,
}

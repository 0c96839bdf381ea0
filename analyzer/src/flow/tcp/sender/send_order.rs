//! In which order a host sent its packets, whatever order they arrived in.
//!
//! Two clocks tell: the timestamp option (RFC 7323 §3: TSval never runs backwards) and, over IPv4,
//! the identification, where the host counts it up (Linux: one counter for each socket, one step
//! for each packet, also those that were cut from one large segment).

use crate::connection::CounterTrust;
use crate::decode::TcpFlags;
use crate::flow::tcp::segment::Segment;
use crate::time::Timestamp;

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
    newest_at: Timestamp,
    passed: PassedIds,
    /// What the packet after the newest bears when nothing lies between.
    expected: u16,
    /// Steps that fit a counter, and those that were exact.
    good: u16,
    exact: u16,
    bad: u16,
    /// The hop limit is not one that stacks with a counter for each connection begin with.
    shares: bool,
    /// What no socket sent bore 0: the counter is a socket's.
    counts_for_sockets: bool,
    /// Gaps that no packet of this connection can explain.
    foreign: u16,
    /// It passed over more than this connection can have sent: it counts for others too.
    serves_others: bool,
    /// Times between packets with the next number in each, and of those before which it passed
    /// over packets that nothing else shows, in nanoseconds.
    stood_still_ns: u64,
    moved_on_ns: u64,
}

/// Which of the identifications just below the newest have passed.
#[derive(Clone, Copy, Debug, Default)]
struct PassedIds {
    /// Bit n: the newest less n.
    bits: u128,
    /// How far below the newest the bits are known.
    known: u16,
    /// The latest packet bears a number that had not passed before.
    latest_is_first: bool,
}

impl PassedIds {
    /// Takes one above the newest by `step`, or after a leap (`None`) of which nothing below is known.
    fn advance(&mut self, step: Option<u16>) {
        let below = u16::try_from(u128::BITS - 1).unwrap_or(u16::MAX);
        let kept = step.and_then(|step| self.bits.checked_shl(step.into()));
        self.bits = kept.unwrap_or(0) | 1;
        self.known = step.map_or(0, |step| self.known.saturating_add(step).min(below));
        self.latest_is_first = step.is_some_and(|step| step > 0);
    }

    /// Takes one below the newest by `distance`.
    fn note_older(&mut self, distance: u16) {
        let bit = 1_u128.checked_shl(distance.into()).unwrap_or(0);
        self.latest_is_first = distance <= self.known && self.bits & bit == 0;
        self.bits |= bit;
    }
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
        // Linux answers SYNs, strangers and segments in TIME-WAIT from no socket, hence with no counter.
        let is_turn_of_zero = self.newest.is_some() && self.expected == 0;
        let from_no_socket = flags.has(TcpFlags::SYN | TcpFlags::ACK)
            || flags.rst()
            || segment.seq_len() == 0 && !is_turn_of_zero;
        if id == 0 && from_no_socket {
            self.counts_for_sockets |= !flags.rst();
            return Passage::InTurn { passed_over: 0 };
        }
        self.shares |= segment.packet.hop_limit > LINUX_HOP_LIMIT;
        let Some(newest) = self.newest else {
            self.advance(segment, id, segments);
            return Passage::InTurn { passed_over: 0 };
        };
        let step = id.wrapping_sub(newest);
        if step.cast_signed() < 0 && step.cast_signed() >= -Self::MAX_STEP.cast_signed() {
            self.passed.note_older(step.wrapping_neg());
            return Passage::Overtaken;
        }
        let gap = id.wrapping_sub(self.expected);
        if (1..=Self::MAX_STEP).contains(&step) {
            self.good = self.good.saturating_add(1);
            if gap == 0 {
                self.exact = self.exact.saturating_add(1);
                let silence = segment.packet.time.nanos_since(self.newest_at);
                self.stood_still_ns = self.stood_still_ns.saturating_add(silence);
            }
        } else {
            self.bad = self.bad.saturating_add(1);
        }
        self.advance(segment, id, segments);
        let passed_over = if gap <= Self::MAX_STEP { gap } else { 0 };
        Passage::InTurn { passed_over }
    }

    fn advance(&mut self, segment: &Segment<'_>, id: u16, segments: u64) {
        let step = self.newest.map(|newest| id.wrapping_sub(newest));
        let step = step.filter(|step| *step <= Self::MAX_STEP && segments == 1);
        self.passed.advance(step);
        self.newest = Some(id);
        self.newest_at = segment.packet.time;
        self.expected = id.wrapping_add(u16::try_from(segments).unwrap_or(1));
    }

    /// No packet passed before with the identification of the latest: it is nobody's copy.
    pub const fn is_first_of_its_number(&self) -> bool {
        self.passed.latest_is_first
    }

    /// Whether an identification comes next in the counter that the packets so far show. Within 256
    /// steps chance does so in one of 256 packets.
    pub fn continues_with(&self, ip_id: Option<u16>) -> bool {
        const NEXT: u16 = 256;
        let step = ip_id.zip(self.newest);
        let step = step.map(|(id, newest)| id.wrapping_sub(newest));
        self.is_counter() && step.is_some_and(|step| (1..=NEXT).contains(&step))
    }

    /// Whether an identification cannot come from the counter that the packets so far show: they
    /// bear the next number each, and it lies thousands away. A zero is what hosts send that have no
    /// socket.
    pub fn is_foreign(&self, ip_id: Option<u16>) -> bool {
        const FAR: u16 = 4 * IpIdClock::MAX_STEP;
        let (Some(id), Some(newest)) = (ip_id.filter(|id| *id != 0), self.newest) else {
            return false;
        };
        let distance = id.wrapping_sub(newest).min(newest.wrapping_sub(id));
        self.exact >= 2 && self.exact == self.good && self.bad == 0 && distance > FAR
    }

    /// The identifications seen so far grow like a counter.
    pub fn is_counter(&self) -> bool {
        self.good >= 2 && u32::from(self.good) >= 8 * u32::from(self.bad)
    }

    /// Notes a gap that no packet of this connection can explain.
    pub fn note_foreign(&mut self) {
        self.foreign = self.foreign.saturating_add(1);
    }

    /// Notes a gap larger than what this connection can have sent meanwhile.
    pub fn note_served_others(&mut self) {
        self.serves_others = true;
    }

    /// Notes that it passed over packets that nothing else shows, in a silence of so long.
    pub fn note_moved_on(&mut self, silence_ns: u64) {
        self.moved_on_ns = self.moved_on_ns.saturating_add(silence_ns);
    }

    /// A counter that others use as well goes on while this connection is silent. One that stood
    /// still for a third of the time in which it may have passed over repeats is taken for its own.
    const fn stood_still(&self) -> bool {
        self.stood_still_ns >= self.moved_on_ns / 3
    }

    /// Whether the counter belongs to this connection alone, so that whatever it passed over was
    /// sent on this connection and not captured.
    pub fn trust(&self) -> CounterTrust {
        // One gap may be a window update that was lost.
        if self.bad > 0 || self.shares || self.foreign > 1 || self.serves_others {
            CounterTrust::Shared
        } else if !self.stood_still() {
            CounterTrust::Unknown
        } else if (self.exact >= 3 || self.exact >= 1 && self.counts_for_sockets)
            && 2 * u32::from(self.exact) >= u32::from(self.good)
        {
            CounterTrust::PerConnection
        } else if self.good < 8 {
            CounterTrust::Unknown
        } else {
            CounterTrust::Shared
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

//! Steps forward of the capture's clock, as the clocks of those who send prove them.
//!
//! A clock that is set forward leaves a gap in which nothing was captured, as a pause does. Which it was
//! the timestamp option tells (RFC 7323 §3): its sender counts time in ticks of its own. A segment that
//! acknowledges what passed after the gap was sent after it, and the sender's last segment before the gap
//! was sent before it, however long either waited on its way: between the two the sender lived through the
//! gap, or there was none. So each such pair says how much of the gap the capture's clock may have
//! made at most, and must have made at least. A host that slept, and whose ticks stood still, is refuted by
//! the first of its peers for which time went on.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::decode::{Packet, PacketKind, TcpFields};
use crate::quality::{QualityKind, QualityNote};
use crate::seq::SeqNumber;
use crate::time::Timestamp;

use super::times::{ClockBreak, LEAP_NS};

/// A shorter gap, in nanoseconds, is no step that matters: timers and people need longer.
const GAP_NS: u64 = 250_000_000;

/// A step that is proved is as large as this at least, in nanoseconds.
const LEAST_NS: u64 = 100_000_000;

/// Connections whose clocks are remembered.
const SLOTS: usize = 1024;

/// Gaps of which witnesses may still speak: the latest ones.
const RECENT: usize = 64;

/// Gaps that are kept because a witness denies them.
const KEPT: usize = 256;

/// Hosts whose clocks are known.
const CLOCKS: usize = 1024;

/// Witnesses of a gap that wait until the rate of their clock is known.
const WAITING: usize = 4;

/// A packet of one end, as its own clock and the capture's have it.
#[derive(Clone, Copy, Debug, Default)]
struct Stamp {
    value: u32,
    time: Timestamp,
}

impl Stamp {
    /// Ticks up to a later one; half of the range or more is backwards (RFC 7323 §5.2).
    fn ticks_to(self, later: Self) -> Option<u32> {
        let ticks = later.value.wrapping_sub(self.value);
        (ticks < 1 << 31).then_some(ticks)
    }
}

/// Between how many ticks a second of the capture's time a clock counts, from measuring so long.
#[derive(Clone, Copy, Debug)]
struct Rate {
    slowest: f64,
    fastest: f64,
    measured_ns: u64,
}

impl Rate {
    /// From two stamps of one clock.
    fn between(first: Stamp, last: Stamp) -> Option<Self> {
        /// Fewer ticks tell nothing.
        const TICKS: u32 = 3;
        /// What a packet may wait on its way, in seconds.
        const WAITED: f64 = 0.1;
        /// RFC 7323 §5.4.
        const FASTEST: f64 = 1000.0;
        let ticks = first.ticks_to(last).filter(|ticks| *ticks >= TICKS)?;
        let measured_ns = last.time.nanos_since(first.time);
        let (ticks, passed) = (f64::from(ticks), seconds(measured_ns));
        let at_most = (ticks + 1.0) / (passed - WAITED);
        Some(Self {
            slowest: ((ticks - 1.0) / (passed + WAITED)).min(FASTEST),
            // As fast again as the fastest: capture clocks may be slow.
            fastest: if at_most > 0.0 {
                at_most.min(2.0 * FASTEST)
            } else {
                2.0 * FASTEST
            },
            measured_ns,
        })
    }
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    host: [u8; 16],
    /// The first one that was surely sent after gap number `gaps`.
    first: Option<Stamp>,
    /// The latest one before the next gap.
    last: Option<Stamp>,
    gaps: u64,
    asked: Asked,
}

/// What one end first sent after a gap, by which it shows what the other end sent later.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    /// The number of the gap.
    gap: u64,
    /// The end of its first octets, and when they passed.
    octets: Option<(SeqNumber, Timestamp)>,
    /// Its first value that its clock had not had before, and when it passed.
    value: Option<Stamp>,
}

impl Asked {
    /// When it passed, where a segment shows that its sender had it.
    fn answered_by(&self, tcp: &TcpFields) -> Option<Timestamp> {
        let acked =
            |(end, _): &(SeqNumber, Timestamp)| tcp.flags.ack() && tcp.ack.distance_from(*end) >= 0;
        if let Some((_, time)) = self.octets.filter(acked) {
            return Some(time);
        }
        let (_, echo) = tcp.timestamps?;
        let echo = Stamp {
            value: echo,
            ..Stamp::default()
        };
        let echoed = |asked: &Stamp| tcp.flags.ack() && asked.ticks_to(echo).is_some();
        self.value.filter(echoed).map(|asked| asked.time)
    }

    /// Takes a segment after gap number `gap` of an end whose clock last showed `before`.
    fn note(
        &mut self,
        packet: &Packet,
        tcp: &TcpFields,
        stamp: Stamp,
        (gap, before): (u64, Option<Stamp>),
    ) {
        if self.gap != gap {
            *self = Self {
                gap,
                ..Self::default()
            };
        }
        let octets = packet.payload_len + u32::from(tcp.flags.syn()) + u32::from(tcp.flags.fin());
        if octets > 0 {
            self.octets
                .get_or_insert((tcp.seq.advanced(octets), packet.time));
        }
        let is_later = |before: Stamp| before.ticks_to(stamp).is_some_and(|ticks| ticks > 0);
        if self.value.is_none() && before.is_some_and(is_later) {
            self.value = Some(stamp);
        }
    }
}

/// A connection.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    hash: u64,
    sides: [Side; 2],
}

/// What a sender's two segments, one before and one after a gap, say.
#[derive(Clone, Copy, Debug)]
struct Witness {
    host: [u8; 16],
    ticks: u32,
    /// Capture time that it lived through at least, had the clock gone right, in nanoseconds.
    least_ns: u64,
    /// The same, at most.
    most_ns: u64,
}

impl Witness {
    /// How large the step is at least and at most, in nanoseconds, when its clock counts at this rate.
    fn step(&self, rate: Rate) -> (u64, u64) {
        /// What a packet may have waited before it was captured.
        const WAITED: u64 = 100_000_000;
        let ticks = f64::from(self.ticks);
        let lived = |ticks: f64, rate: f64| (ticks / rate * 1e9) as u64;
        let least = self
            .least_ns
            .saturating_sub(lived(ticks + 1.0, rate.slowest));
        let most = self
            .most_ns
            .saturating_sub(lived((ticks - 1.0).max(0.0), rate.fastest));
        (least, most.saturating_add(WAITED))
    }
}

/// A time in which nothing was captured.
#[derive(Clone, Debug)]
struct Gap {
    number: u64,
    place: ClockBreak,
    /// The clock made so much of it at least, as some say.
    least_ns: u64,
    /// And so much at most, as all say.
    most_ns: u64,
    waiting: Vec<Witness>,
}

impl Gap {
    const fn is_denied(&self) -> bool {
        self.least_ns > 0 || !self.waiting.is_empty()
    }

    /// Leaps of years are told as such.
    const fn is_step(&self) -> bool {
        self.least_ns >= LEAST_NS && self.least_ns <= self.most_ns && self.most_ns < LEAP_NS
    }
}

/// How fast hosts count.
type Rates = BTreeMap<[u8; 16], Rate>;

/// Learns how fast the clocks of both ends of a connection run.
fn learn_of(rates: &mut Rates, slot: &Slot) {
    for side in &slot.sides {
        if let (Some(first), Some(last)) = (side.first, side.last) {
            learn(rates, side.host, Rate::between(first, last));
        }
    }
}

/// Keeps what was measured longest.
fn learn(rates: &mut Rates, host: [u8; 16], rate: Option<Rate>) {
    let Some(rate) = rate else { return };
    let full = rates.len() >= CLOCKS;
    match rates.get_mut(&host) {
        Some(known) if known.measured_ns < rate.measured_ns => *known = rate,
        Some(_) => {}
        None if full => {}
        None => {
            rates.insert(host, rate);
        }
    }
}

/// Finds the steps. Feed it in the order of the capture.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    slots: Vec<Slot>,
    latest: Option<Timestamp>,
    /// Gaps so far.
    gaps: u64,
    recent: VecDeque<Gap>,
    kept: Vec<Gap>,
    rates: Rates,
    /// Those of files read elsewhere.
    found: Vec<ClockBreak>,
}

impl Steps {
    /// Takes the next packets. `hashes` are those of their flows.
    pub fn take(&mut self, packets: &[Packet], hashes: &[u64]) {
        self.slots.resize(SLOTS, Slot::default());
        for (packet, hash) in packets.iter().zip(hashes) {
            let before = self.latest.replace(packet.time).unwrap_or(packet.time);
            // A step back is no gap to judge, but nothing is measured across it.
            let (on, back) = (
                packet.time.nanos_since(before),
                before.nanos_since(packet.time),
            );
            if on >= GAP_NS || back >= LEAST_NS {
                self.open(before, packet.time);
            }
            if let PacketKind::Tcp(tcp) = &packet.kind
                && let Some((value, _)) = tcp.timestamps
            {
                let time = packet.time;
                self.segment(packet, tcp, *hash, Stamp { value, time });
            }
        }
    }

    fn open(&mut self, before: Timestamp, after: Timestamp) {
        if self.recent.len() >= RECENT
            && let Some(old) = self.recent.pop_front().filter(Gap::is_denied)
            && self.kept.len() < KEPT
        {
            self.kept.push(old);
        }
        self.gaps += 1;
        self.recent.push_back(Gap {
            number: self.gaps,
            place: ClockBreak {
                before,
                after,
                by: after.since(before),
            },
            least_ns: 0,
            most_ns: after.nanos_since(before),
            waiting: Vec::new(),
        });
    }

    #[inline]
    fn segment(&mut self, packet: &Packet, tcp: &TcpFields, hash: u64, stamp: Stamp) {
        let number = |octets: [u8; 16], port: u16| (u128::from_be_bytes(octets), port);
        let of = number(packet.src, packet.src_port) > number(packet.dst, packet.dst_port);
        let slot = &mut self.slots[(hash >> 54) as usize];
        let side = &mut slot.sides[usize::from(of)];
        let is_known = slot.hash == hash && side.last.is_some() && !tcp.flags.syn();
        if is_known && side.gaps == self.gaps {
            side.last = Some(stamp);
            return;
        }
        self.beginning(packet, tcp, (hash, usize::from(of)), stamp);
    }

    /// Takes the first segments of connections, and all after a gap until one is surely sent after it.
    #[cold]
    fn beginning(&mut self, packet: &Packet, tcp: &TcpFields, flow: (u64, usize), stamp: Stamp) {
        let (hash, of) = flow;
        let slot = &mut self.slots[(hash >> 54) as usize];
        if slot.hash != hash || tcp.flags.syn() && !tcp.flags.ack() {
            learn_of(&mut self.rates, slot);
            let sides = [Side::default(); 2];
            *slot = Slot { hash, sides };
        }
        let other = &slot.sides[1 - of].asked;
        let answered = (other.gap == self.gaps).then(|| other.answered_by(tcp));
        let side = &mut slot.sides[of];
        if side.first.is_none() {
            (side.first, side.last) = (Some(stamp), Some(stamp));
            (side.host, side.gaps) = (packet.src, self.gaps);
        }
        side.asked.note(packet, tcp, stamp, (self.gaps, side.last));
        if side.gaps == self.gaps {
            side.last = Some(stamp);
        } else if let Some(passed) = answered.flatten() {
            let before = *side;
            // Rates are measured where there is no gap.
            (side.first, side.last) = (Some(stamp), Some(stamp));
            side.gaps = self.gaps;
            self.testify(&before, (passed, stamp));
        }
    }

    /// Takes what a host sent after the gaps after `side.gaps`, and when what it answers passed.
    fn testify(&mut self, side: &Side, (passed, answer): (Timestamp, Stamp)) {
        let (Some(first), Some(before)) = (side.first, side.last) else {
            return;
        };
        let host = side.host;
        learn(&mut self.rates, host, Rate::between(first, before));
        let Some(ticks) = before.ticks_to(answer) else {
            return;
        };
        let witness = Witness {
            host,
            ticks,
            least_ns: passed.nanos_since(before.time),
            most_ns: answer.time.nanos_since(before.time),
        };
        // Gaps that are forgotten may lie between the two as well.
        let is_whole = self
            .recent
            .front()
            .is_none_or(|oldest| oldest.number <= side.gaps + 1);
        let between = self.recent.iter_mut().filter(|gap| gap.number > side.gaps);
        let mut between: Vec<&mut Gap> = between.collect();
        let Some(rate) = self.rates.get(&host) else {
            if let ([gap], true) = (&mut between[..], is_whole)
                && gap.waiting.len() < WAITING
            {
                gap.waiting.push(witness);
            }
            return;
        };
        let (least, most) = witness.step(*rate);
        for gap in &mut between {
            gap.most_ns = gap.most_ns.min(most);
        }
        // A step lies in one gap; in which is known where only one has room for it.
        between.retain(|gap| gap.most_ns >= least);
        if let ([gap], true) = (&mut between[..], is_whole) {
            gap.least_ns = gap.least_ns.max(least);
        }
    }

    /// Takes those of a file read elsewhere, which comes next.
    pub fn append(&mut self, found: &[ClockBreak]) {
        let room = KEPT.saturating_sub(self.found.len());
        self.found.extend(found.iter().take(room));
    }

    /// The steps that are proved, in the order of the capture; the first ones.
    pub fn finish(mut self) -> Vec<ClockBreak> {
        for slot in &self.slots {
            learn_of(&mut self.rates, slot);
        }
        let mut found = std::mem::take(&mut self.found);
        let gaps = self.kept.into_iter().chain(self.recent);
        let settled = gaps.map(|mut gap| {
            for witness in std::mem::take(&mut gap.waiting) {
                if let Some(rate) = self.rates.get(&witness.host) {
                    let (least, most) = witness.step(*rate);
                    gap.least_ns = gap.least_ns.max(least);
                    gap.most_ns = gap.most_ns.min(most);
                }
            }
            gap
        });
        found.extend(settled.filter(Gap::is_step).map(|gap| ClockBreak {
            by: Duration::from_nanos(gap.most_ns),
            ..gap.place
        }));
        found.truncate(KEPT);
        found
    }
}

/// A caveat where there are steps.
pub(crate) fn step_note(steps: &[ClockBreak]) -> Option<QualityNote> {
    let longest = steps.iter().map(|step| step.by).max()?;
    let count = steps.len() as u64;
    let times = match count {
        1 => "once".to_owned(),
        _ => format!("{count} times"),
    };
    Some(QualityNote {
        kind: QualityKind::ClockStep,
        count,
        note: format!(
            "capture time jumps forward {times}, by up to {:.1} s, while the TCP timestamps of those who sent before and after show that no such time passed: durations that consist of it are left out",
            longest.as_secs_f64()
        ),
    })
}

#[cfg(test)]
mod tests;

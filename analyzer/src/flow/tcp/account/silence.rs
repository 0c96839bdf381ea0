//! Whether a silence is one, or the capture's clock was set forward meanwhile.
//!
//! Both ends have clocks of their own: the timestamp option counts at least one tick a second and at
//! most a thousand (RFC 7323 §5.4), so a sender whose TSval advanced by n has lived through at most
//! n + 1 seconds, and through less where it counted faster since the handshake. One end alone may have
//! been asleep; when both say so the capture is wrong.

use std::time::Duration;

use crate::connection::{IdleGap, IdleGaps};
use crate::direction::Direction;
use crate::flow::tcp::account::handshake::HandshakeTracker;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::SenderState;
use crate::in_order::times::LEAP_NS;

/// A silence worth noting, in nanoseconds.
pub(in crate::flow::tcp) const SILENCE_NS: u64 = 1_000_000_000;

/// Ticks from which the rate of a clock can be read.
const TICKS: u32 = 10;

/// What a packet may have waited to be sent or captured.
const WAITED: Duration = Duration::from_millis(250);

/// Whether more of the capture's time passed since the sender's last segment than its own clock allows.
fn denies(segment: &Segment<'_>, sender: &SenderState, handshake: &HandshakeTracker) -> bool {
    let stamps = segment.tcp.timestamps.zip(sender.newest.ts_val);
    let Some(ticks) = stamps.and_then(|((now, _), before)| ticks_between(before, now)) else {
        return false;
    };
    let passed = segment.packet.time.since(sender.last_sent);
    let lived = Duration::from_secs(u64::from(ticks) + 1);
    let by_rate = ticks_per_second(segment.direction, sender, handshake).map(|rate| {
        // A third more for how exactly the rate is known.
        Duration::from_secs_f64((f64::from(ticks) + 1.0) / rate) * 4 / 3 + WAITED
    });
    let lived = by_rate.map_or(lived, |by_rate| by_rate.min(lived));
    passed > lived
}

/// How fast a sender's clock ran at least, from the handshake to its last segment.
fn ticks_per_second(
    end: Direction,
    sender: &SenderState,
    handshake: &HandshakeTracker,
) -> Option<f64> {
    /// RFC 7323 §5.4; with a faster one less time would have passed still.
    const FASTEST: f64 = 1000.0;
    let (from, value) = handshake.first_stamp(end)?;
    let ticks = ticks_between(value, sender.newest.ts_val?)?;
    let passed = sender.last_sent.since(from).as_secs_f64();
    (ticks >= TICKS && passed > 0.0).then(|| (f64::from(ticks - 1) / passed).min(FASTEST))
}

/// How far a clock went on; half of the range or more is backwards (RFC 7323 §5.2).
fn ticks_between(from: u32, to: u32) -> Option<u32> {
    let ticks = to.wrapping_sub(from);
    (ticks < 1 << 31).then_some(ticks)
}

/// The silences of a connection while it lives; nothing is allocated before the first.
#[derive(Debug, Default)]
pub(in crate::flow::tcp) struct SilenceTracker {
    gaps: Option<Box<IdleGaps>>,
    /// Who denies the latest silence.
    denied_by: Option<Direction>,
}

impl SilenceTracker {
    /// The latest silence has ended and the other end has not been heard since.
    pub fn awaits_answer(&self) -> bool {
        let last = self.gaps.as_ref().and_then(|gaps| gaps.last.as_ref());
        last.is_some_and(|last| !last.survived)
    }

    /// Notes a silence of a second or more, and whether the other end was still there after it.
    pub fn take(
        &mut self,
        segment: &Segment<'_>,
        idle_ns: u64,
        senders: &[SenderState; 2],
        handshake: &HandshakeTracker,
    ) {
        let sender = &senders[segment.direction.index()];
        self.note_answer(segment, sender, handshake);
        // A leap of years is the capture's, and said of the whole capture.
        if !(SILENCE_NS..LEAP_NS).contains(&idle_ns) {
            return;
        }
        let before = senders
            .iter()
            .filter_map(|sender| sender.stats.last_segment)
            .max_by_key(|last| last.frame);
        if let Some(before) = before {
            let gaps = self.gaps.get_or_insert_default();
            gaps.count += 1;
            self.denied_by = denies(segment, sender, handshake).then_some(segment.direction);
            // What follows a silence that nobody answered are repeats, not another silence.
            if gaps.last.is_none_or(|last| last.survived) {
                gaps.last = Some(IdleGap {
                    before,
                    after: segment.reference,
                    survived: false,
                });
            }
        }
    }

    fn note_answer(
        &mut self,
        segment: &Segment<'_>,
        sender: &SenderState,
        handshake: &HandshakeTracker,
    ) {
        let Some(gaps) = &mut self.gaps else { return };
        let Some(last) = &mut gaps.last else { return };
        if last.survived || segment.direction == last.after.direction || segment.tcp.flags.rst() {
            return;
        }
        last.survived = true;
        let by_other = self
            .denied_by
            .take()
            .is_some_and(|by| by != segment.direction);
        let is_denied = by_other && denies(segment, sender, handshake);
        let longest = gaps
            .longest_survived
            .map_or(Duration::ZERO, |gap| gap.length());
        if !is_denied && last.length() > longest {
            gaps.longest_survived = Some(*last);
        }
    }

    /// The finished silences.
    pub fn finish(self) -> IdleGaps {
        self.gaps.map_or_else(IdleGaps::default, |gaps| *gaps)
    }
}

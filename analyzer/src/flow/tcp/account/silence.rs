//! Whether a silence is one, or the capture's clock was set forward meanwhile.
//!
//! Both ends have clocks of their own: the timestamp option counts at least one tick a second
//! (RFC 7323 §5.4), so a sender whose TSval advanced by n has lived through at most n + 1 seconds.
//! One end alone may have been asleep; when both say so the capture is wrong.

use std::time::Duration;

use crate::connection::IdleGap;
use crate::direction::Direction;

use super::half::SenderState;
use super::{Segment, TcpTracker};

/// A silence worth noting, in nanoseconds.
pub(super) const SILENCE_NS: u64 = 1_000_000_000;

/// A silence that one end's clock denies.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeniedSilence {
    by: Direction,
    excess: Duration,
}

impl DeniedSilence {
    /// Takes the segment that ends a silence.
    pub fn after_silence(segment: &Segment<'_>, sender: &SenderState) -> Option<Self> {
        let excess = beyond_own_clock(segment, sender)?;
        Some(Self {
            by: segment.direction,
            excess,
        })
    }

    /// Takes the other end's first segment after it: how far the capture's clock jumped at least,
    /// when there was no such silence.
    pub fn confirm(self, segment: &Segment<'_>, sender: &SenderState) -> Option<Duration> {
        let excess = beyond_own_clock(segment, sender)?;
        (segment.direction != self.by).then(|| excess.min(self.excess))
    }
}

/// Capture time since the sender's last segment beyond what its own clock allows.
fn beyond_own_clock(segment: &Segment<'_>, sender: &SenderState) -> Option<Duration> {
    let (now, _) = segment.tcp.timestamps?;
    let ticks = now.wrapping_sub(sender.newest.ts_val?);
    // Half of the range or more is backwards (RFC 7323 §5.2).
    let lived = u64::from(ticks & 0x7fff_ffff) + 1;
    let passed = segment.packet.time.since(sender.last_sent);
    let excess = passed.checked_sub(Duration::from_secs(lived))?;
    (ticks < 1 << 31 && !excess.is_zero()).then_some(excess)
}

impl TcpTracker {
    /// Notes a silence of a second or more, and whether the other end was still there after it.
    pub(super) fn note_idle(&mut self, segment: &Segment<'_>, idle_ns: u64) {
        if let Some(gaps) = &mut self.idle_gaps
            && let Some(last) = &mut gaps.last
            && !last.survived
            && segment.direction != last.after.direction
            && !segment.tcp.flags.rst()
        {
            last.survived = true;
            let sender = &self.senders[segment.direction.index()];
            let denied = self.denied_silence.take();
            let jump = denied.and_then(|denied| denied.confirm(segment, sender));
            let longest = gaps
                .longest_survived
                .map_or(Duration::ZERO, |gap| gap.length());
            if let Some(jump) = jump {
                gaps.clock_jumps += 1;
                gaps.clock_jump_max = gaps.clock_jump_max.max(jump);
            } else if last.length() > longest {
                gaps.longest_survived = Some(*last);
            }
        }
        if idle_ns < SILENCE_NS {
            return;
        }
        let before = self
            .senders
            .iter()
            .filter_map(|sender| sender.stats.last_segment)
            .max_by_key(|last| last.frame);
        if let Some(before) = before {
            let gaps = self.idle_gaps.get_or_insert_default();
            gaps.count += 1;
            let sender = &self.senders[segment.direction.index()];
            self.denied_silence = DeniedSilence::after_silence(segment, sender).map(Box::new);
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
}

//! Capture time in equal slices: what was sent in each, and which states sockets were in.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::analysis::{Interval, Intervals};
use crate::connection::{Connection, StateSpan, TcpState};
use crate::direction::Direction;
use crate::time::Timestamp;

use super::tcp::PATIENCE_SYN;

/// Slices of capture time in a report.
const SLICES: usize = 512;

/// How long a socket stays in TIME-WAIT: fixed in Linux, where RFC 9293 §3.4.2 asks for 2 MSL.
const TIME_WAIT: Duration = Duration::from_secs(60);

/// Seconds and states kept in which sockets leave their state unseen.
const FORGOTTEN: usize = 65_536;

/// The finest slice.
const FINEST: Duration = Duration::from_nanos(FINEST_NANOS);
const FINEST_NANOS: u64 = 1_000_000;

/// What became of the client's socket of a SYN that is summed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LoneSyn {
    /// It waits for an answer when the capture ends.
    Waits,
    /// It was given up when nothing came.
    GivenUp,
    /// It is summed when it comes; it will be given up when nothing comes.
    GivenUpLater,
}

/// A slice that was found.
#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    index: usize,
    /// When it begins, in nanoseconds since the start.
    since: u64,
    /// The same, and how long it lasts in nanoseconds: 0 where its times cannot be told.
    begin: Timestamp,
    width: u64,
}

/// Capture time in equal slices whose width doubles when there would be too many.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Timeline {
    start: Timestamp,
    doublings: u32,
    slices: Vec<Interval>,
    /// The slice asked for last: the next packet is in it as a rule.
    #[serde(skip)]
    latest: Slice,
    /// Changes of socket counts at the start of each slice: entering minus leaving.
    changes: Vec<[[i64; 11]; 2]>,
    /// Sockets per end that leave a state unseen, by the second after `start` and the state:
    /// TIME-WAIT runs out, a SYN is given up.
    forgotten: BTreeMap<(u64, usize), [i64; 2]>,
    /// Those of the second and state that came last, not yet among them.
    forgetting: Option<((u64, usize), [i64; 2])>,
}

impl Timeline {
    pub fn new(start: Timestamp) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    fn width(&self) -> Duration {
        // Times are 63 bits of nanoseconds: no capture needs as many doublings as this allows.
        FINEST
            .saturating_mul(1 << self.doublings.min(31))
            .saturating_mul(1 << self.doublings.saturating_sub(31).min(31))
    }

    /// The width in nanoseconds: times that fit 64 bits are divided far faster than durations.
    const fn width_nanos(&self) -> u64 {
        if self.doublings <= FINEST_NANOS.leading_zeros() {
            FINEST_NANOS << self.doublings
        } else {
            u64::MAX
        }
    }

    /// Index of a time, after widening the slices so that it fits.
    #[inline]
    fn index(&mut self, time: Timestamp) -> usize {
        if time.is_within(self.latest.begin, self.latest.width) {
            return self.latest.index;
        }
        self.other_index(time.nanos_since(self.start))
    }

    #[inline(never)]
    fn other_index(&mut self, since: u64) -> usize {
        let mut width = self.width_nanos();
        while since / width >= SLICES as u64 {
            self.widen();
            width = self.width_nanos();
        }
        let number = since / width;
        let index = usize::try_from(number).unwrap_or(SLICES - 1);
        if self.slices.len() <= index {
            self.slices.resize(index + 1, Interval::default());
        }
        let since = number * width;
        let begin = self.start.as_nanos().saturating_add_unsigned(since);
        let begin = Timestamp::from_nanos(begin);
        self.latest = Slice {
            index,
            since,
            begin,
            width: begin.room_for(width),
        };
        index
    }

    #[inline]
    pub fn slice(&mut self, time: Timestamp) -> &mut Interval {
        let index = self.index(time);
        &mut self.slices[index]
    }

    fn widen(&mut self) {
        self.doublings += 1;
        self.latest = Slice::default();
        for at in 0..self.slices.len().div_ceil(2) {
            let mut sum = self.slices[2 * at];
            if let Some(second) = self.slices.get(2 * at + 1) {
                add_interval(&mut sum, second);
            }
            self.slices[at] = sum;
        }
        self.slices.truncate(self.slices.len().div_ceil(2));
        // The count at the start of new slice j is that at the start of old slice 2j.
        let old = std::mem::take(&mut self.changes);
        for (at, change) in old.iter().enumerate() {
            add_changes(&mut self.changes, at.div_ceil(2), change);
        }
    }

    pub fn states(&mut self, connection: &Connection, expired_open: bool) {
        // A connection given up as silent is not known to be gone: it stays until its end.
        let given_up = expired_open.then_some(connection.end);
        for span in &connection.states {
            self.span(span, given_up);
        }
    }

    fn span(&mut self, span: &StateSpan, given_up: Option<Timestamp>) {
        if span.state == TcpState::Closed {
            return;
        }
        let from = self.boundary_after(span.from);
        self.change(from, span.end, span.state, 1);
        if span.to.is_none() && span.state == TcpState::TimeWait {
            self.forget(span.end, span.state, span.from + TIME_WAIT);
        } else if let Some(to) = span.to.or(given_up) {
            let to = self.boundary_after(to);
            self.change(to, span.end, span.state, -1);
        }
    }

    /// Adds to the sockets of one end in one state from slice `at` on.
    fn change(&mut self, at: usize, end: Direction, state: TcpState, by: i64) {
        if self.changes.len() <= at {
            self.changes.resize(at + 1, [[0; 11]; 2]);
        }
        self.changes[at][end.index()][state as usize] += by;
    }

    /// A socket leaves its state unseen at `time`, which may lie behind the end of the capture.
    fn forget(&mut self, end: Direction, state: TcpState, time: Timestamp) {
        let when = (time.nanos_since(self.start) / 1_000_000_000, state as usize);
        let (latest, sockets) = self.forgetting.get_or_insert((when, [0; 2]));
        if *latest == when {
            sockets[end.index()] += 1;
            return;
        }
        self.note_forgotten();
        let mut sockets = [0; 2];
        sockets[end.index()] = 1;
        self.forgetting = Some((when, sockets));
    }

    fn note_forgotten(&mut self) {
        let Some((when, sockets)) = self.forgetting.take() else {
            return;
        };
        if self.forgotten.len() < FORGOTTEN || self.forgotten.contains_key(&when) {
            add_sockets(self.forgotten.entry(when).or_default(), sockets);
        }
    }

    /// The client's socket of a lone SYN.
    pub fn lone_syn(&mut self, time: Timestamp, lone: LoneSyn) {
        let (client, state) = (Direction::ClientToServer, TcpState::SynSent);
        // Given up at its own time it would leave the slice in which it came.
        if lone != LoneSyn::GivenUp {
            let from = self.boundary_after(time);
            self.change(from, client, state, 1);
        }
        if lone == LoneSyn::GivenUpLater {
            self.forget(client, state, time + PATIENCE_SYN);
        }
    }

    /// First slice that starts at or after `time`.
    fn boundary_after(&mut self, time: Timestamp) -> usize {
        let index = self.index(time);
        index + usize::from(time.nanos_since(self.start) > self.latest.since)
    }

    pub fn merge(&mut self, mut other: Self) {
        while self.doublings < other.doublings {
            self.widen();
        }
        while other.doublings < self.doublings {
            other.widen();
        }
        if self.slices.len() < other.slices.len() {
            self.slices.resize(other.slices.len(), Interval::default());
        }
        for (into, from) in self.slices.iter_mut().zip(&other.slices) {
            add_interval(into, from);
        }
        for (at, change) in other.changes.iter().enumerate() {
            add_changes(&mut self.changes, at, change);
        }
        other.note_forgotten();
        for (when, sockets) in other.forgotten {
            add_sockets(self.forgotten.entry(when).or_default(), sockets);
        }
    }

    /// The finished slices with socket counts.
    pub fn finish(mut self) -> Intervals {
        let mut counts = [[0_i64; 11]; 2];
        let width = self.width();
        self.note_forgotten();
        let forgotten = std::mem::take(&mut self.forgotten);
        let mut forgotten = forgotten.into_iter().peekable();
        let none = [[0; 11]; 2];
        let states = (0..self.slices.len())
            .map(|at| {
                let change = self.changes.get(at).unwrap_or(&none);
                let begin = width.saturating_mul(u32::try_from(at).unwrap_or(u32::MAX));
                while let Some(((_, state), sockets)) =
                    forgotten.next_if(|((second, _), _)| Duration::from_secs(*second) <= begin)
                {
                    for (end, gone) in sockets.into_iter().enumerate() {
                        counts[end][state] -= gone;
                    }
                }
                let mut row = [[0_u32; 11]; 2];
                for end in 0..2 {
                    for state in 0..11 {
                        counts[end][state] += change[end][state];
                        row[end][state] = u32::try_from(counts[end][state]).unwrap_or(0);
                    }
                }
                row
            })
            .collect();
        let start = (!self.slices.is_empty()).then_some(self.start);
        Intervals {
            start,
            width,
            slices: self.slices,
            states,
        }
    }
}

fn add_interval(into: &mut Interval, from: &Interval) {
    for direction in 0..2 {
        into.packets[direction] += from.packets[direction];
        into.bytes[direction] += from.bytes[direction];
        into.retransmissions[direction] += from.retransmissions[direction];
    }
    into.resets += from.resets;
    into.opened += from.opened;
    into.failed += from.failed;
}

fn add_sockets(into: &mut [i64; 2], more: [i64; 2]) {
    for (into, more) in into.iter_mut().zip(more) {
        *into += more;
    }
}

fn add_changes(changes: &mut Vec<[[i64; 11]; 2]>, at: usize, change: &[[i64; 11]; 2]) {
    if changes.len() <= at {
        changes.resize(at + 1, [[0; 11]; 2]);
    }
    let into = changes[at].as_flattened_mut();
    for (into, more) in into.iter_mut().zip(change.as_flattened()) {
        *into += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_wait_runs_out_after_a_minute() {
        let start = Timestamp::from_nanos(1_000_000_000);
        let mut timeline = Timeline::new(start);
        let span = StateSpan {
            end: Direction::ClientToServer,
            state: TcpState::TimeWait,
            from: start + Duration::from_secs(10),
            to: None,
            inferred: false,
        };
        timeline.slice(start).opened += 1;
        timeline.slice(start + Duration::from_secs(120)).opened += 1;
        timeline.span(&span, None);
        let intervals = timeline.finish();
        let sockets = |seconds: f64| {
            let at = (seconds / intervals.width.as_secs_f64()) as usize;
            intervals.states[at][0][TcpState::TimeWait as usize]
        };
        assert_eq!([5.0, 15.0, 65.0, 75.0, 119.0].map(sockets), [0, 1, 1, 0, 0]);
    }
}

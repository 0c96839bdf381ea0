//! What became of every packet between two neighbouring points.

mod changes;
mod dropouts;
mod evidence;
mod judge;
mod origin;
mod receipt;
mod settle;

pub use changes::Changed;
pub(crate) use changes::Translation;
pub(crate) use judge::{Direction, Judged, judge};
pub(crate) use settle::{Open, settle};

/// One packet, or the pieces of one, with a fate of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Case {
    pub fate: Fate,
    /// By the clock of the hop's first point.
    pub time: i64,
    /// About when it was, or would have been, at the point that did not see it, by the same clock.
    pub elsewhere: i64,
    /// Segments on the wire.
    pub units: u64,
    /// Frames at the upstream and the downstream point, where it was seen.
    pub up: Option<u64>,
    pub down: Option<u64>,
    /// What it is.
    pub what: What,
    /// A point before the upstream one saw it, that one missed it, and no point behind it saw it.
    pub is_gone: bool,
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Fate {
    /// Left the upstream point and did not come to the downstream one.
    Lost,
    /// Passed the downstream point unseen.
    MissedDown,
    /// Passed the upstream point unseen.
    MissedUp,
    /// Began between the points.
    Made,
    /// Copied between the points.
    Duplicated,
    /// Was overtaken between the points.
    Reordered,
    /// Only the upstream point saw it, and nothing tells more (as long as cases are not settled).
    LostOrMissed,
    /// Only the upstream point saw it; that it was lost is likelier than proved.
    LikelyLost,
    /// The same of its having passed the downstream point unseen.
    LikelyMissed,
    /// Only the downstream point saw it, and nothing tells more.
    MadeOrMissed,
    /// Only the downstream point saw it, beside another one that is alike in all.
    DuplicatedOrMissed,
    /// A second record of a packet of which only one came to the downstream point: the upstream capture
    /// records some twice, or one copy was lost.
    LostOrTwice,
    /// Recorded twice by one capture: no packet.
    Twice,
}

/// The kind of packet a case is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum What {
    /// Payload, SYN or FIN.
    Data,
    /// An acknowledgement without payload.
    Acknowledgement,
    /// A reset.
    Reset,
    /// A UDP datagram.
    Datagram,
    /// An ICMP error.
    Icmp,
}

/// Counts of one direction of one connection between two neighbouring points, as the contract has
/// them.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tally {
    /// Copies that left the upstream point.
    pub segments: u64,
    /// Those that came to the downstream point.
    pub delivered: u64,
    /// Those that did not, as far as is known or likely.
    pub lost: u64,
    /// Unseen at the hop's first point.
    pub missed_at_from: u64,
    /// Unseen at the hop's second point.
    pub missed_at_to: u64,
    /// Overtaken.
    pub reordered: u64,
    /// Additional copies.
    pub duplicated: u64,
    /// Those of the lost and of the unseen at the downstream point of which nothing shows which they are: they are
    /// divided by what is likely.
    pub undecided: u64,
    /// Those of them that are counted as lost.
    pub undecided_lost: u64,
    /// Seen downstream only, and never upstream.
    pub made: u64,
    /// Rewritten fields.
    pub changed: Changed,
    /// One-way delays; absent without a common clock or without a delivered segment.
    pub delay_ms: Option<Delays>,
}

/// One-way delays in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Delays {
    /// Smallest.
    pub min: f64,
    /// Median.
    pub median: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

impl Delays {
    /// Exact quantiles (nearest rank); `None` of nothing. `nanos` is sorted.
    pub(crate) fn of(nanos: &[i64]) -> Option<Self> {
        let (first, last) = (nanos.first()?, nanos.last()?);
        let at = |share: f64| {
            let rank = (share * nanos.len() as f64).ceil() as usize;
            millis(nanos[rank.clamp(1, nanos.len()) - 1])
        };
        let middle = nanos.len() / 2;
        let median = if nanos.len() % 2 == 1 {
            millis(nanos[middle])
        } else {
            f64::midpoint(millis(nanos[middle - 1]), millis(nanos[middle]))
        };
        Some(Self {
            min: millis(*first),
            median,
            p99: at(0.99),
            max: millis(*last),
        })
    }
}

/// Milliseconds of nanoseconds.
pub(crate) fn millis(nanos: i64) -> f64 {
    nanos as f64 / 1e6
}

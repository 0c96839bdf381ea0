//! Data behind the charts.

use analyzer::Direction;
use analyzer::analysis::{self, Interval};
use analyzer::connection::{Histogram, TcpState, TimeSplit};
use serde::{Deserialize, Serialize};

use super::{millis, rounded, seconds};
use crate::words::format;

/// The capture cut into equal slices of time; one entry per slice in every list.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Intervals {
    /// Start of the first slice.
    pub start: String,
    /// Length of a slice.
    pub width_s: f64,
    /// Packets from clients.
    pub client_to_server_packets: Vec<u64>,
    /// Packets from servers.
    pub server_to_client_packets: Vec<u64>,
    /// Wire bytes from clients.
    pub client_to_server_bytes: Vec<u64>,
    /// Wire bytes from servers.
    pub server_to_client_bytes: Vec<u64>,
    /// Segments sent again by clients.
    pub client_to_server_retransmissions: Vec<u64>,
    /// Segments sent again by servers.
    pub server_to_client_retransmissions: Vec<u64>,
    /// Resets.
    pub resets: Vec<u64>,
    /// Connections that began.
    pub opened: Vec<u64>,
    /// Connections that began and were refused or never answered.
    pub failed: Vec<u64>,
    /// Sockets per state in the middle of each slice; only states that occur.
    pub states: Vec<StateSeries>,
}

/// How many sockets of one end were in one state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StateSeries {
    /// `client` or `server`.
    pub end: String,
    /// RFC spelling.
    pub state: String,
    /// One count per slice.
    pub sockets: Vec<u32>,
}

impl Intervals {
    /// `None` when the capture has no time or no slice.
    pub(crate) fn new(intervals: &analysis::Intervals) -> Option<Self> {
        let start = intervals.start?;
        if intervals.slices.is_empty() {
            return None;
        }
        let column = |pick: fn(&Interval) -> u64| intervals.slices.iter().map(pick).collect();
        Some(Self {
            start: start.rfc3339(),
            width_s: seconds(intervals.width),
            client_to_server_packets: column(|slice| slice.packets[0]),
            server_to_client_packets: column(|slice| slice.packets[1]),
            client_to_server_bytes: column(|slice| slice.bytes[0]),
            server_to_client_bytes: column(|slice| slice.bytes[1]),
            client_to_server_retransmissions: column(|slice| slice.retransmissions[0]),
            server_to_client_retransmissions: column(|slice| slice.retransmissions[1]),
            resets: column(|slice| slice.resets),
            opened: column(|slice| slice.opened),
            failed: column(|slice| slice.failed),
            states: Direction::BOTH
                .into_iter()
                .flat_map(|end| TcpState::ALL.map(|state| state_series(intervals, end, state)))
                .flatten()
                .collect(),
        })
    }
}

fn state_series(
    intervals: &analysis::Intervals,
    end: Direction,
    state: TcpState,
) -> Option<StateSeries> {
    // A closed or listening socket is no connection.
    if matches!(state, TcpState::Closed | TcpState::Listen) {
        return None;
    }
    let index = analysis::Intervals::state_index(state);
    let sockets: Vec<u32> = intervals
        .states
        .iter()
        .map(|row| row[end.index()][index])
        .collect();
    sockets.iter().any(|&count| count > 0).then(|| StateSeries {
        end: end.sender().to_owned(),
        state: state.as_str().to_owned(),
        sockets,
    })
}

/// Durations counted in buckets, with the usual percentiles.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ResponseTimes {
    /// How many.
    pub count: u64,
    /// Median.
    pub p50_ms: f64,
    /// 90th percentile.
    pub p90_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Largest.
    pub max_ms: f64,
    /// Buckets that grow by about 9 %, in order; only those that hold something.
    pub buckets: Vec<Bucket>,
}

/// One bucket.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Bucket {
    /// Middle of the bucket.
    pub ms: f64,
    /// How many fell into it.
    pub count: u64,
}

impl ResponseTimes {
    /// `None` when nothing was counted.
    pub(crate) fn new(histogram: &Histogram) -> Option<Self> {
        let quantile = |at| histogram.quantile(at).map(millis);
        Some(Self {
            count: histogram.count(),
            p50_ms: quantile(0.50)?,
            p90_ms: quantile(0.90)?,
            p95_ms: quantile(0.95)?,
            p99_ms: quantile(0.99)?,
            max_ms: quantile(1.0)?,
            buckets: histogram
                .iter()
                .map(|(middle, count)| Bucket {
                    ms: millis(middle),
                    count,
                })
                .collect(),
        })
    }
}

/// Durations over capture time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DurationsOverTime {
    /// Length of a slot.
    pub slot_s: f64,
    /// Slots that hold something, in order.
    pub slots: Vec<DurationSlot>,
}

/// One slot of [`DurationsOverTime`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DurationSlot {
    /// Start, since the capture's first frame; the first slot may begin before it.
    pub from_s: f64,
    /// How many durations.
    pub count: u64,
    /// Median.
    pub p50_ms: f64,
    /// Largest.
    pub max_ms: f64,
}

/// UDP requests of one size.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UdpSize {
    /// Smallest payload of this class.
    pub from_bytes: u32,
    /// Largest payload of this class.
    pub to_bytes: u32,
    /// Requests sent.
    pub requests: u64,
    /// Requests answered.
    pub answered: u64,
}

/// Single values of one figure, for a small histogram.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Distribution {
    /// The figure's name, with its unit.
    pub figure: String,
    /// Sorted, at most 1,000.
    pub values: Vec<f64>,
}

/// How one measure goes with another.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Relation {
    /// What the first number of a point measures, with its unit as an ending.
    pub by: String,
    /// What the second number measures.
    pub measure: String,
    /// Pairs, sorted, at most 1,000.
    pub points: Vec<(f64, f64)>,
}

impl Relation {
    pub(crate) fn new(relation: &rules::figure::Relation) -> Self {
        let points = relation.points.iter().copied();
        Self {
            by: relation.by.to_owned(),
            measure: relation.measure.to_owned(),
            points: points
                .filter(|(by, measure)| by.is_finite() && measure.is_finite())
                .collect(),
        }
    }
}

impl Distribution {
    pub(crate) fn new(figure: &str, values: &[f64]) -> Self {
        let values = values
            .iter()
            .copied()
            .filter(|value| value.is_finite())
            .map(rounded);
        Self {
            figure: figure.to_owned(),
            values: values.collect(),
        }
    }
}

/// Connection time by what was waited for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TimePart {
    /// Stable name, such as `server_think`.
    pub name: String,
    /// Words for people.
    pub label: String,
    /// Summed over connections.
    pub total_s: f64,
}

impl TimePart {
    /// Whether nobody waited for anything in it.
    fn is_rest(&self) -> bool {
        matches!(self.name.as_str(), "idle" | "client_think")
    }

    /// What most of the time went into that was not idle; without a full stop. `None` when no
    /// connection was open for any time.
    pub(crate) fn sentence(parts: &[Self]) -> Option<String> {
        let total: f64 = parts.iter().map(|part| part.total_s).sum();
        let working = || parts.iter().filter(|part| !part.is_rest());
        let busy: f64 = working().map(|part| part.total_s).sum();
        let largest = working().max_by(|a, b| a.total_s.total_cmp(&b.total_s));
        if total <= 0.0 {
            return None;
        }
        let open = format!(
            "TCP connections were open for {} in total",
            format::seconds(total)
        );
        let Some(largest) = largest.filter(|_| busy > 0.0) else {
            return Some(format!("{open} and idle all the time"));
        };
        let share = format::percentage(largest.total_s / busy);
        let label = largest.label.to_lowercase();
        let rest = total - busy;
        Some(if rest > 0.0 {
            format!(
                "{open}, {} of it idle; {share} of the other {} was {label}",
                format::percentage(rest / total),
                format::seconds(busy)
            )
        } else {
            format!("{open}; {share} of it went into: {label}")
        })
    }
}

/// The parts of a split that took any time, in the order of a connection's life.
pub(crate) fn time_parts(split: &TimeSplit) -> Vec<TimePart> {
    let parts = [
        ("handshake", "Handshake", split.handshake),
        (
            "client_think",
            "Client idle between requests",
            split.client_think,
        ),
        (
            "request_transfer",
            "Sending requests",
            split.request_transfer,
        ),
        ("server_think", "Waiting for the server", split.server_think),
        (
            "response_transfer",
            "Sending responses",
            split.response_transfer,
        ),
        ("recovery_fast", "Repairing loss, fast", split.recovery_fast),
        (
            "recovery_timeout",
            "Repairing loss, by timeout",
            split.recovery_timeout,
        ),
        (
            "receiver_window",
            "Receiver's window closed",
            split.receiver_window,
        ),
        (
            "sender_limited",
            "Sender had nothing to send",
            split.sender_limited,
        ),
        ("idle", "Idle", split.idle),
    ];
    parts
        .into_iter()
        .filter(|(.., time)| !time.is_zero())
        .map(|(name, label, time)| TimePart {
            name: name.to_owned(),
            label: label.to_owned(),
            total_s: seconds(time),
        })
        .collect()
}

/// Adds one connection's split to a total.
pub(crate) fn add_time_split(total: &mut TimeSplit, split: &TimeSplit) {
    total.handshake = total.handshake.saturating_add(split.handshake);
    total.client_think = total.client_think.saturating_add(split.client_think);
    total.request_transfer = total
        .request_transfer
        .saturating_add(split.request_transfer);
    total.server_think = total.server_think.saturating_add(split.server_think);
    total.response_transfer = total
        .response_transfer
        .saturating_add(split.response_transfer);
    total.recovery_fast = total.recovery_fast.saturating_add(split.recovery_fast);
    total.recovery_timeout = total
        .recovery_timeout
        .saturating_add(split.recovery_timeout);
    total.receiver_window = total.receiver_window.saturating_add(split.receiver_window);
    total.sender_limited = total.sender_limited.saturating_add(split.sender_limited);
    total.idle = total.idle.saturating_add(split.idle);
}

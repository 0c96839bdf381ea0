//! Keeps what the report needs of every connection while connections come and go.
//!
//! One collector serves one shard; rows lie in stores that all of them share, and are bounded: the
//! most relevant stay. Totals count every connection. Rank depends on the connection alone and
//! ties are broken by its first frame, so the rows kept are the same however connections were spread
//! over shards.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use analyzer::connection::{Close, Histogram, TimeSplit};
use analyzer::pipeline::ConnectionSink;
use analyzer::{Connection, Transport};
use serde::{Deserialize, Serialize};

use super::action::Action;
use super::actions::{ActionCounts, ActionStore, KeptActions};
use super::kept::Kept;
use super::operations::Operations;
use super::over_time::OverTime;
use super::requests::Requests;
use super::tables::TableRow;
use crate::document::{self, ConnectionRow};

/// Connections listed by default (`--connections`).
pub const DEFAULT_CONNECTIONS: usize = 10_000;

/// Connections that the top lists rest on. A row takes about 150 bytes: 15 MB at most.
const TABLE_ROWS: usize = 100_000;

/// Octets of payload that one class of UDP sizes spans: there are 2,048 classes at most.
pub(crate) const UDP_CLASS_BYTES: u32 = 32;

/// Collects connection rows and totals of one shard.
#[derive(Debug)]
pub struct ConnectionCollector {
    rows: Kept<Rank, ConnectionRow>,
    table_rows: Kept<Rank, TableRow>,
    actions: ActionStore,
    requests: Requests,
    operations: Operations,
    pub(crate) totals: Totals,
}

/// Sums over all connections, whatever is kept.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Connections.
    pub connections: u64,
    /// Response times of all turns.
    pub response_times: Histogram,
    /// Smallest round trip of each TCP connection.
    pub round_trip_times: Histogram,
    /// The same, by when the connection began.
    pub round_trips_over_time: OverTime,
    /// UDP requests and answers by size class (see [`UDP_CLASS_BYTES`]).
    pub udp_sizes: BTreeMap<u32, (u64, u64)>,
    /// What TCP connections waited for.
    pub time_split: TimeSplit,
    /// Requests and lookups, whether they are kept or not.
    pub actions: ActionCounts,
}

impl ConnectionCollector {
    /// Keeps at most `limit` connections; `None` keeps all.
    #[must_use]
    pub fn new(limit: Option<usize>) -> Self {
        Self {
            rows: Kept::new(limit.unwrap_or(usize::MAX)),
            table_rows: Kept::new(TABLE_ROWS),
            actions: ActionStore::new(),
            requests: Requests::default(),
            operations: Operations::default(),
            totals: Totals::default(),
        }
    }

    /// A collector for another shard: what both keep is bounded together.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            rows: self.rows.share(),
            table_rows: self.table_rows.share(),
            actions: self.actions.share(),
            requests: Requests::default(),
            operations: Operations::default(),
            totals: Totals::default(),
        }
    }

    /// Joins what all shards collected.
    #[must_use]
    pub fn merged(shards: impl IntoIterator<Item = Self>) -> Self {
        let mut shards = shards.into_iter();
        let mut all = shards
            .next()
            .unwrap_or_else(|| Self::new(Some(DEFAULT_CONNECTIONS)));
        for shard in shards {
            all.rows.append(shard.rows);
            all.table_rows.append(shard.table_rows);
            all.actions.append(shard.actions);
            all.requests.append(shard.requests);
            all.operations.append(shard.operations);
            all.totals.append(&shard.totals);
        }
        all
    }

    /// What it holds, for the document.
    pub(crate) fn into_parts(self) -> Collected {
        Collected {
            rows: self.rows.into_sorted(),
            table_rows: self.table_rows.into_sorted(),
            actions: self.actions.joined(),
            requests: self.requests,
            operations: self.operations,
            totals: self.totals,
        }
    }
}

/// What all shards collected.
pub(crate) struct Collected {
    /// Most relevant first.
    pub rows: Vec<ConnectionRow>,
    /// Most relevant first.
    pub table_rows: Vec<TableRow>,
    /// In the order in which they began.
    pub actions: Vec<Action>,
    pub requests: Requests,
    pub operations: Operations,
    pub totals: Totals,
}

/// What one collector counted. The rows are not in it: those of the top lists travel as
/// [`TopRows`], and the connections that are listed are given to another collector
/// [`again`](ConnectionCollector::again).
#[derive(Debug, Serialize, Deserialize)]
pub struct CollectorCounts {
    requests: Requests,
    operations: Operations,
    totals: Totals,
}

/// What the top lists and the actions rest on, of all collectors that share.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct TopRows {
    rows: Vec<(Rank, TableRow)>,
    actions: KeptActions,
}

impl ConnectionCollector {
    /// Whether a connection of this rank is among those that are listed, as far as is known by now.
    #[must_use]
    pub fn may_list(&self, rank: Rank) -> bool {
        self.rows.may_keep(rank)
    }

    /// Takes a connection of this rank that another collector took: it is listed and not counted.
    pub fn again(&mut self, rank: Rank, connection: &Connection) {
        self.rows.offer(rank, || connection.into());
    }

    /// Takes out what the top lists and the actions rest on.
    #[must_use]
    pub fn take_top_rows(&self) -> TopRows {
        TopRows {
            rows: self.table_rows.take(),
            actions: self.actions.take(),
        }
    }

    /// Adds what others' top lists and actions rest on.
    pub fn add_top_rows(&mut self, TopRows { rows, actions }: TopRows) {
        self.table_rows.put(rows);
        self.actions.put(actions);
    }

    /// What it counted.
    #[must_use]
    pub fn into_counts(self) -> CollectorCounts {
        CollectorCounts {
            requests: self.requests,
            operations: self.operations,
            totals: self.totals,
        }
    }

    /// A collector that shares the rows of this one and has counted what another has.
    #[must_use]
    pub fn share_of(&self, counts: CollectorCounts) -> Self {
        Self {
            requests: counts.requests,
            operations: counts.operations,
            totals: counts.totals,
            ..self.share()
        }
    }
}

impl Default for ConnectionCollector {
    fn default() -> Self {
        Self::new(Some(DEFAULT_CONNECTIONS))
    }
}

impl ConnectionSink for ConnectionCollector {
    fn connection(&mut self, connection: &Connection) {
        self.totals.add(connection);
        self.requests.add(connection);
        self.operations.add(connection);
        let rank = Rank::of(connection);
        self.rows.offer(rank, || connection.into());
        self.table_rows.offer(rank, || connection.into());
        self.actions.add(connection);
    }
}

impl Totals {
    fn add(&mut self, connection: &Connection) {
        self.connections += 1;
        self.actions.add(connection);
        self.response_times
            .merge(document::response_times(connection));
        let udp = connection.udp.iter().flat_map(|udp| &udp.size_classes);
        for class in udp {
            let sum = self
                .udp_sizes
                .entry(class.request_len / UDP_CLASS_BYTES)
                .or_default();
            sum.0 += class.requests;
            sum.1 += class.answered;
        }
        if connection.transport == Transport::Tcp {
            document::add_time_split(&mut self.time_split, &connection.time_split);
            if let Some(rtt) = connection.rtt() {
                self.round_trip_times.add(rtt);
                self.round_trips_over_time.add(connection.start, rtt);
            }
        }
    }

    fn append(&mut self, other: &Self) {
        self.connections += other.connections;
        self.actions.append(other.actions);
        self.response_times.merge(&other.response_times);
        self.round_trip_times.merge(&other.round_trip_times);
        self.round_trips_over_time
            .append(&other.round_trips_over_time);
        for (class, (requests, answered)) in &other.udp_sizes {
            let sum = self.udp_sizes.entry(*class).or_default();
            sum.0 += requests;
            sum.1 += answered;
        }
        document::add_time_split(&mut self.time_split, &other.time_split);
    }
}

/// How much a reader wants to see a connection. Greater is more; no two connections are equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Rank {
    trouble: u8,
    bytes: u64,
    first_frame: Reverse<u64>,
}

impl Rank {
    /// Connections that served somebody and failed, then those that failed to open or were
    /// held up, then those that carried data; the bigger first.
    #[must_use]
    pub fn of(connection: &Connection) -> Self {
        let [client, server] = &connection.halves;
        let is_tcp = connection.transport == Transport::Tcp;
        let spoke = client.payload_bytes + server.payload_bytes > 0;
        let pending = connection.turns.pending().is_some();
        let failed = is_tcp
            && (connection.close == Close::Reset || pending && connection.close != Close::Open);
        let held_up = connection.holes.count() > 0
            || connection.translated_from.is_some()
            || connection
                .halves
                .iter()
                .any(|half| half.retransmitted_segments > 0 || half.zero_windows > 0);
        let trouble = match (failed, spoke, held_up) {
            (true, true, _) => 3,
            (true, false, _) | (false, _, true) => 2,
            (false, true, false) => 1,
            (false, false, false) => 0,
        };
        Self {
            trouble,
            bytes: client.wire_bytes + server.wire_bytes,
            first_frame: Reverse(connection.first_frame),
        }
    }
}

//! Keeps what the report needs of every connection while connections come and go.
//!
//! One collector serves one shard; rows lie in stores that all of them share, and are bounded: the
//! most relevant stay. Totals count every connection. Relevance depends on the connection alone and
//! ties are broken by its first frame, so the rows kept are the same however connections were spread
//! over shards.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use analyzer::connection::{Close, Histogram, TimeSplit};
use analyzer::pipeline::ConnectionSink;
use analyzer::{Connection, Transport};
use serde::{Deserialize, Serialize};

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
    rows: Kept<ConnectionRow>,
    table_rows: Kept<TableRow>,
    requests: Requests,
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
}

impl ConnectionCollector {
    /// Keeps at most `limit` connections; `None` keeps all.
    #[must_use]
    pub fn new(limit: Option<usize>) -> Self {
        Self {
            rows: Kept::new(limit.unwrap_or(usize::MAX)),
            table_rows: Kept::new(TABLE_ROWS),
            requests: Requests::default(),
            totals: Totals::default(),
        }
    }

    /// A collector for another shard: what both keep is bounded together.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            rows: self.rows.share(),
            table_rows: self.table_rows.share(),
            requests: Requests::default(),
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
            all.requests.append(shard.requests);
            all.totals.append(&shard.totals);
        }
        all
    }

    /// Rows for the document, most relevant first.
    pub(crate) fn into_parts(self) -> (Vec<ConnectionRow>, Vec<TableRow>, Requests, Totals) {
        (
            self.rows.into_sorted(),
            self.table_rows.into_sorted(),
            self.requests,
            self.totals,
        )
    }
}

/// What one collector counted. The rows are not in it: those of the top lists travel as
/// [`TopRows`], and the connections that are listed are handed to another collector
/// [`again`](ConnectionCollector::again).
#[derive(Debug, Serialize, Deserialize)]
pub struct CollectorCounts {
    requests: Requests,
    totals: Totals,
}

/// What the top lists rest on, of all collectors that share.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct TopRows(Vec<(Rank, TableRow)>);

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

    /// Takes out what the top lists rest on.
    #[must_use]
    pub fn take_top_rows(&self) -> TopRows {
        let rows = std::mem::take(&mut *self.table_rows.heap()).into_sorted_vec();
        let rows = rows.into_iter();
        TopRows(
            rows.map(|Reverse(Ranked { rank, item })| (rank, *item))
                .collect(),
        )
    }

    /// Adds what others' top lists rest on.
    pub fn add_top_rows(&mut self, TopRows(rows): TopRows) {
        for (rank, row) in rows {
            self.table_rows.offer(rank, || row);
        }
    }

    /// What it counted.
    #[must_use]
    pub fn into_counts(self) -> CollectorCounts {
        CollectorCounts {
            requests: self.requests,
            totals: self.totals,
        }
    }

    /// A collector that shares the rows of this one and has counted what another has.
    #[must_use]
    pub fn share_of(&self, counts: CollectorCounts) -> Self {
        Self {
            requests: counts.requests,
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
        let rank = Rank::of(connection);
        self.rows.offer(rank, || connection.into());
        self.table_rows.offer(rank, || connection.into());
    }
}

impl Totals {
    fn add(&mut self, connection: &Connection) {
        self.connections += 1;
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

/// The `limit` highest-ranked items of all that were offered to handles on one store.
#[derive(Debug)]
struct Kept<T> {
    store: Arc<Store<T>>,
    /// Once the store is full: the least rank in it when this handle last looked. What ranks
    /// lower is turned away without locking.
    floor: Option<Rank>,
}

#[derive(Debug)]
struct Store<T> {
    limit: usize,
    /// The least of the kept ones on top.
    heap: Mutex<BinaryHeap<Reverse<Ranked<T>>>>,
}

impl<T> Kept<T> {
    fn new(limit: usize) -> Self {
        Self {
            store: Arc::new(Store {
                limit,
                heap: Mutex::default(),
            }),
            floor: None,
        }
    }

    /// Another handle on the same store.
    fn share(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            floor: self.floor,
        }
    }

    fn offer(&mut self, rank: Rank, item: impl FnOnce() -> T) {
        if self.store.limit == 0 || self.floor.is_some_and(|floor| rank < floor) {
            return;
        }
        let item = Box::new(item());
        let mut item = Some(Reverse(Ranked { rank, item }));
        let mut heap = self.heap();
        if heap.len() < self.store.limit {
            heap.extend(item.take());
        } else if let Some(mut least) = heap.peek_mut()
            && least.0.rank < rank
            && let Some(item) = &mut item
        {
            // The old one is dropped after the lock.
            std::mem::swap(&mut *least, item);
        }
        let full = heap.len() >= self.store.limit;
        let floor = heap.peek().filter(|_| full).map(|least| least.0.rank);
        drop(heap);
        self.floor = floor;
    }

    fn append(&mut self, other: Self) {
        if Arc::ptr_eq(&self.store, &other.store) {
            return;
        }
        for Reverse(Ranked { rank, item }) in std::mem::take(&mut *other.heap()) {
            self.offer(rank, || *item);
        }
    }

    /// Whether an item of this rank is kept, as far as is known by now.
    fn may_keep(&self, rank: Rank) -> bool {
        let limit = self.store.limit;
        let heap = self.heap();
        let least = heap.peek().filter(|_| heap.len() >= limit);
        limit > 0 && least.is_none_or(|least| rank >= least.0.rank)
    }

    fn into_sorted(self) -> Vec<T> {
        let heap = std::mem::take(&mut *self.heap());
        heap.into_sorted_vec()
            .into_iter()
            .map(|Reverse(ranked)| *ranked.item)
            .collect()
    }

    fn heap(&self) -> MutexGuard<'_, BinaryHeap<Reverse<Ranked<T>>>> {
        // Nothing panics while it is locked.
        self.store
            .heap
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// An item ordered by its rank alone.
#[derive(Debug)]
struct Ranked<T> {
    rank: Rank,
    /// Apart: a heap moves what it orders.
    item: Box<T>,
}

impl<T> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl<T> Eq for Ranked<T> {}

impl<T> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(trouble: u8, bytes: u64, frame: u64) -> Rank {
        Rank {
            trouble,
            bytes,
            first_frame: Reverse(frame),
        }
    }

    #[test]
    fn keeps_the_same_items_however_they_are_spread() {
        let ranks: Vec<_> = (0..100_u64)
            .map(|n| rank((n % 4) as u8, n * 37 % 11, n))
            .collect();
        let keep = |shards: usize| {
            let all = Kept::new(10);
            let mut kept: Vec<_> = (0..shards).map(|_| all.share()).collect();
            for (n, &rank) in ranks.iter().enumerate() {
                kept[n * 7 % shards].offer(rank, || rank.first_frame.0);
            }
            all.into_sorted()
        };
        let one = keep(1);
        assert_eq!(one.len(), 10);
        assert_eq!(one, keep(3));
        assert_eq!(one, keep(16));
    }

    #[test]
    fn most_relevant_first_and_earlier_frame_wins() {
        let mut kept = Kept::new(3);
        for (trouble, bytes, frame) in [(0, 900, 1), (3, 5, 9), (3, 5, 2), (1, 50, 3), (2, 1, 4)] {
            kept.offer(rank(trouble, bytes, frame), || frame);
        }
        assert_eq!(kept.into_sorted(), [2, 9, 4]);
    }

    #[test]
    fn a_limit_of_zero_keeps_nothing() {
        let mut kept = Kept::new(0);
        kept.offer(rank(3, 5, 9), || ());
        assert!(kept.into_sorted().is_empty());
    }
}

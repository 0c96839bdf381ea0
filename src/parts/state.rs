//! What a shard, or what could be settled of a file, came to: counts, and the connections that the end
//! of the analysis needs again.
//!
//! What rules keep of single connections is theirs, and has no form outside them. So the connections
//! themselves travel, those of which something is kept, and `conclude` hands each once more to the rules
//! that keep something of it: what was counted is not counted again, and what was kept is kept again.

use std::sync::{Arc, Mutex, PoisonError};

use analyzer::Connection;
use analyzer::pipeline::{ConnectionSink, ShardPart};
use reports::dataset::RowSink;
use reports::{CollectorCounts, ConnectionCollector, Rank, TopRows};
use rules::engine::{Engine, RuleCounts, RuleSink, Stores};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::parts::format::Octets;

/// Connections held before it is looked which of them are kept.
const LOOK_AFTER: usize = 16_384;

/// Whose state it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Origin {
    /// What a file has for itself, by the file's number.
    File(i32),
    /// A shard, by number.
    Shard(u32),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(number) => write!(to, "what is settled of file {number}"),
            Self::Shard(number) => write!(to, "shard {number}"),
        }
    }
}

/// What a shard came to.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// Whose it is.
    pub origin: Origin,
    /// What it was judged with; see [`super::judging_options`].
    pub options: u64,
    /// What it counted.
    pub part: ShardPart,
    /// What the rules counted.
    pub rules: RuleCounts,
    /// What the reports counted.
    pub collector: CollectorCounts,
    /// Connections of which something is kept.
    pub connections: Vec<Held>,
    /// What top lists rest on; with the last state of a process, for all of them.
    pub top: TopRows,
}

/// A connection of which something is kept.
#[derive(Debug, Serialize, Deserialize)]
pub struct Held {
    first_frame: u64,
    /// By rules.
    stores: Stores,
    /// By the list of connections.
    rank: Option<Rank>,
    packed: Octets,
}

impl Held {
    /// Forgets who keeps nothing of it any more; whether anybody still does.
    fn is_still_kept(&mut self, engine: &Engine, collector: &ConnectionCollector) -> bool {
        self.stores = engine.still_kept(self.first_frame, &self.stores);
        self.rank = self.rank.filter(|rank| collector.may_list(*rank));
        !self.stores.is_empty() || self.rank.is_some()
    }
}

/// Takes the connections of one shard.
pub struct StateSink {
    engine: Engine,
    rules: RuleSink,
    collector: ConnectionCollector,
    held: Vec<Held>,
    look_at: usize,
    /// Those of the dataset, when it is wanted.
    rows: Option<RowSink>,
}

impl StateSink {
    /// A sink that shares with others what `engine` and `collector` keep.
    pub fn new(engine: &Engine, collector: &ConnectionCollector, rows: Option<RowSink>) -> Self {
        Self {
            engine: engine.share(),
            rules: engine.sink(),
            collector: collector.share(),
            held: Vec::new(),
            look_at: LOOK_AFTER,
            rows,
        }
    }

    /// Lets go of connections that nobody keeps anything of.
    fn let_go(&mut self) {
        self.engine.trim();
        let (engine, collector) = (&self.engine, &self.collector);
        self.held
            .retain_mut(|held| held.is_still_kept(engine, collector));
        self.look_at = self.held.len() * 2 + LOOK_AFTER;
    }

    /// The end of the shard.
    pub fn into_state(
        mut self,
        origin: Origin,
        options: u64,
        part: ShardPart,
    ) -> (State, Option<RowSink>) {
        self.let_go();
        let state = State {
            origin,
            options,
            part,
            rules: self.rules.into_counts(),
            collector: self.collector.into_counts(),
            connections: self.held,
            top: TopRows::default(),
        };
        (state, self.rows)
    }
}

impl ConnectionSink for StateSink {
    fn connection(&mut self, connection: &Connection) {
        if let Some(rows) = &mut self.rows {
            rows.connection(connection);
        }
        let stores = self.rules.noting(connection);
        self.collector.connection(connection);
        let rank = Rank::of(connection);
        let rank = self.collector.may_list(rank).then_some(rank);
        if stores.is_empty() && rank.is_none() {
            return;
        }
        let packed = postcard::to_stdvec(connection).expect(
            "postcard refuses sequences of unknown length alone, and a connection has none",
        );
        self.held.push(Held {
            first_frame: connection.first_frame,
            stores,
            rank,
            packed: Octets(packed),
        });
        if self.held.len() > self.look_at {
            self.let_go();
        }
    }
}

/// One sink of several shards.
#[derive(Clone)]
pub struct Together(Arc<Mutex<StateSink>>);

impl Together {
    /// Has shards share a sink.
    pub fn new(sink: StateSink) -> Self {
        Self(Arc::new(Mutex::new(sink)))
    }

    /// The sink, when no shard has it any more.
    pub fn into_sink(self) -> Option<StateSink> {
        let sink = Arc::into_inner(self.0)?.into_inner();
        Some(sink.unwrap_or_else(PoisonError::into_inner))
    }
}

impl ConnectionSink for Together {
    fn connection(&mut self, connection: &Connection) {
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sink.connection(connection);
    }
}

/// Hands the connections of a state to rules and reports once more.
///
/// # Errors
/// When one cannot be read.
pub fn replay(
    connections: Vec<Held>,
    engine: &Engine,
    collector: &ConnectionCollector,
) -> Result<(), Failure> {
    // What these two count is dropped: it was counted before.
    let (mut rules, mut listing) = (engine.sink(), collector.share());
    for mut held in connections {
        if !held.is_still_kept(engine, collector) {
            continue;
        }
        let connection: Connection = postcard::from_bytes(&held.packed.0)
            .map_err(|error| Failure::Internal(format!("a connection of a state: {error}")))?;
        rules.again(&connection, &held.stores);
        if let Some(rank) = held.rank {
            listing.again(rank, &connection);
        }
    }
    Ok(())
}

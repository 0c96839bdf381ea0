//! What a shard came to: counts, and the connections that the end of the analysis needs again.
//!
//! What rules and reports keep of single connections is theirs, and has no form outside them. So the
//! connections themselves travel, those of which something is kept, and `conclude` hands them to rules
//! and reports once more: what was counted is not counted again, and what was kept is kept again.

use std::collections::BTreeMap;

use analyzer::Connection;
use analyzer::pipeline::{ConnectionSink, ShardPart};
use reports::{CollectorCounts, ConnectionCollector};
use rules::engine::{Engine, RuleCounts, RuleSink};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Connections held before it is looked which of them are kept.
const LOOK_AFTER: usize = 16_384;

/// What a shard came to.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// Which shard.
    pub shard: u32,
    /// What it was judged with; see [`super::judging_options`].
    pub options: u64,
    /// What it counted.
    pub part: ShardPart,
    /// What the rules counted.
    pub rules: RuleCounts,
    /// What the reports counted.
    pub collector: CollectorCounts,
    /// Connections of which something is kept, packed one by one.
    pub connections: Vec<Vec<u8>>,
}

/// Takes the connections of one shard.
pub struct StateSink {
    engine: Engine,
    rules: RuleSink,
    collector: ConnectionCollector,
    /// Packed connections by their first frame; a frame can begin several.
    held: BTreeMap<u64, Vec<Vec<u8>>>,
    count: usize,
    look_at: usize,
}

impl StateSink {
    /// A sink that shares with others what `engine` and `collector` keep.
    pub fn new(engine: &Engine, collector: &ConnectionCollector) -> Self {
        Self {
            engine: engine.share(),
            rules: engine.sink(),
            collector: collector.share(),
            held: BTreeMap::new(),
            count: 0,
            look_at: LOOK_AFTER,
        }
    }

    /// Lets go of connections that nobody keeps anything of.
    fn let_go(&mut self) {
        let mut kept = self.engine.kept();
        kept.extend(self.collector.kept());
        self.held
            .retain(|first_frame, _| kept.contains(first_frame));
        self.count = self.held.values().map(Vec::len).sum();
        self.look_at = self.count * 2 + LOOK_AFTER;
    }

    /// The end of the shard.
    pub fn into_state(mut self, shard: u32, options: u64, part: ShardPart) -> State {
        self.let_go();
        State {
            shard,
            options,
            part,
            rules: self.rules.into_counts(),
            collector: self.collector.into_counts(),
            connections: self.held.into_values().flatten().collect(),
        }
    }
}

impl ConnectionSink for StateSink {
    fn connection(&mut self, connection: &Connection) {
        self.rules.connection(connection);
        self.collector.connection(connection);
        let packed = postcard::to_stdvec(connection).expect(
            "postcard refuses sequences of unknown length alone, and a connection has none",
        );
        self.held
            .entry(connection.first_frame)
            .or_default()
            .push(packed);
        self.count += 1;
        if self.count > self.look_at {
            self.let_go();
        }
    }
}

/// Hands the connections of a state to rules and reports once more.
///
/// # Errors
/// When one cannot be read.
pub fn replay(
    connections: &[Vec<u8>],
    engine: &Engine,
    collector: &ConnectionCollector,
) -> Result<(), Failure> {
    // What these two count is dropped: it was counted before.
    let (mut rules, mut collector) = (engine.sink(), collector.share());
    for packed in connections {
        let connection: Connection = postcard::from_bytes(packed)
            .map_err(|error| Failure::Internal(format!("a connection of a state: {error}")))?;
        rules.connection(&connection);
        collector.connection(&connection);
    }
    Ok(())
}

//! One shard by itself, wherever its packets come from.

use serde::{Deserialize, Serialize};

use crate::capture::Remark;
use crate::connection::ConnectionSink;
use crate::flow::key::FlowKey;
use crate::flow::table::Shard;
use crate::flow::tally::ShardTally;
use crate::time::Timestamp;

use super::segment::Arrival;
use super::settings::Settings;

/// A shard of the flow table at work. It takes what [`super::segment`] hands on for it, file by file
/// in the order of their first frames and with frames that are numbered over the set.
pub struct ShardRun<S>(Shard<S>);

impl<S: ConnectionSink> ShardRun<S> {
    /// A shard before its first packet. `start` is the time of the set's first frame.
    #[must_use]
    pub fn new(sink: S, settings: &Settings, start: Timestamp) -> Self {
        let start = settings.filter.from.map_or(start, |from| from.max(start));
        let budget = settings.memory.per_shard();
        Self(Shard::new(sink, settings.tcp.clone(), start, budget))
    }

    /// Takes what comes next.
    pub fn take(&mut self, arrival: &Arrival, payload: &[u8]) {
        let packet = arrival.packet();
        let (key, sender) = FlowKey::of(packet);
        let hash = key.hash64();
        match arrival {
            Arrival::Packet { answering, .. } => {
                self.0.packet(packet, hash, sender, payload);
                if let Some(answering) = answering {
                    self.0.answered_from(packet, hash, *answering);
                }
            }
            Arrival::Incomplete { pieces, .. } => self.0.incomplete(packet, hash, *pieces),
            Arrival::Remark { .. } => {
                if let Some(remark) = Remark::read(packet.frame, payload) {
                    self.0.remark(packet, &remark);
                }
            }
        }
    }

    /// The set is over, and `end` the time of its latest frame: hands over all connections.
    #[must_use]
    pub fn finish(self, end: Timestamp) -> (S, ShardPart) {
        let (sink, mut tally) = self.0.finish(end);
        tally.hosts.settle();
        (sink, ShardPart(tally))
    }
}

/// What a shard counted over its connections, for [`super::conclude`].
#[derive(Debug, Serialize, Deserialize)]
pub struct ShardPart(pub(super) ShardTally);

//! The connections of a file that no other file has a part in, judged where the file is read.

use crate::connection::ConnectionSink;
use crate::flow::tally::ShardTally;
use crate::time::Timestamp;

use super::SHARDS_OF_ONE;
use super::judge::{ShardPart, ShardRun};
use super::keys::Travelling;
use super::segment::Segmented;
use super::settings::Settings;

/// The shards of one file at work on what is its own.
pub struct Settling<S> {
    shards: Vec<ShardRun<S>>,
    travelling: Travelling,
    frames_before: u64,
}

impl<S: ConnectionSink> Settling<S> {
    /// Shards before their first packet. `start` is the time of the set's first frame, `frames_before`
    /// the number of frames in the files that are read before this one.
    #[must_use]
    pub fn new(
        make_sink: impl Fn() -> S,
        settings: &Settings,
        travelling: Travelling,
        (start, frames_before): (Timestamp, u64),
    ) -> Self {
        let shards = (0..SHARDS_OF_ONE).map(|_| ShardRun::new(make_sink(), settings, start));
        Self {
            shards: shards.collect(),
            travelling,
            frames_before,
        }
    }

    /// Takes a packet, unless its connection is not this file's alone: false when it has to travel.
    pub fn take(&mut self, segmented: &Segmented<'_>) -> bool {
        if self.travelling.has(segmented) {
            return false;
        }
        let mut arrival = segmented.arrival;
        arrival.packet_mut().frame += self.frames_before;
        let shard = (segmented.shard % SHARDS_OF_ONE) as usize;
        self.shards[shard].take(&arrival, segmented.payload);
        true
    }

    /// The file is over, and `end` the time of the set's latest frame: hands over all connections.
    #[must_use]
    pub fn finish(self, end: Timestamp) -> (Vec<S>, ShardPart) {
        let mut sinks = Vec::with_capacity(self.shards.len());
        let mut all: Option<ShardTally> = None;
        for shard in self.shards {
            let (sink, ShardPart(tally)) = shard.finish(end);
            sinks.push(sink);
            match &mut all {
                Some(all) => all.merge(tally),
                None => all = Some(tally),
            }
        }
        (sinks, ShardPart(all.unwrap_or_default()))
    }
}

//! Framing of byte streams: how a stream is cut into messages, given or inferred.

mod counter;
mod evidence;
mod infer;
mod spec;
#[cfg(test)]
mod tests;
mod walk;

use crate::app::reader::{MessagePosition, MessageUnit};
use crate::direction::Direction;
use crate::event::At;

use super::reader::{Piece, Reader};
use super::{AppFacts, AppProtocol, FramingFacts};
use counter::{Counter, Counts};
pub(super) use infer::infer;
pub use spec::{Delimiter, FramingSpec, FramingSpecError, LengthField, LengthWidth};

/// Counts messages in both directions under one specification.
#[derive(Clone, Debug)]
pub(super) struct Framed {
    spec: FramingSpec,
    given: bool,
    halves: [Counter; 2],
    /// How rare small octets are in each direction; of inferred framings only.
    rarity: Vec<walk::Rarity>,
}

impl Framed {
    /// A reader for a framing the user gave.
    pub(super) fn given(spec: FramingSpec) -> Self {
        Self {
            given: true,
            ..Self::candidate(spec)
        }
    }

    fn candidate(spec: FramingSpec) -> Self {
        Self {
            spec,
            given: false,
            halves: [Counter::new(spec), Counter::new(spec)],
            rarity: Vec::new(),
        }
    }

    fn facts(&self, confidence: f64) -> FramingFacts {
        // A direction that does not fit an inferred framing has no messages under it.
        let of = |index: usize| {
            let half = &self.halves[index];
            if self.given || !half.fit.broken {
                half.counts.clone()
            } else {
                Counts::default()
            }
        };
        let [client, server] = [of(0), of(1)];
        FramingFacts {
            spec: self.spec.to_string(),
            given: self.given,
            confidence,
            messages: [client.messages, server.messages],
            coalesced_segments: [client.coalesced_segments, server.coalesced_segments],
            split_messages: [client.split_messages, server.split_messages],
            message_min: [client.message_min, server.message_min],
            message_max: [client.message_max, server.message_max],
            first_coalesced: [client.first_coalesced, server.first_coalesced],
            first_split: [client.first_split, server.first_split],
            lost_track: client.lost_track || server.lost_track,
        }
    }
}

impl Reader for Framed {
    fn data(&mut self, direction: Direction, bytes: &[u8], piece: Piece) {
        self.halves[direction.index()].data(bytes, piece);
    }

    fn gap(&mut self, direction: Direction, octets: u64, at: At) {
        self.halves[direction.index()].gap(octets, at);
    }

    fn fin(&mut self, _: Direction, _: At) {}

    fn wants_data(&self, direction: Direction) -> bool {
        !self.halves[direction.index()].fit.broken
    }

    fn position(&self, direction: Direction) -> MessagePosition {
        let half = &self.halves[direction.index()];
        MessagePosition {
            unit: MessageUnit::FramedMessage,
            complete: half.counts.messages,
            open: 0,
        }
    }

    fn finish(mut self: Box<Self>) -> AppFacts {
        self.halves.iter_mut().for_each(Counter::finish);
        let confidence = if self.given {
            let lost = self.halves.iter().any(|half| half.counts.lost_track);
            Some(if lost { 0.8 } else { 1.0 })
        } else {
            evidence::confidence(self.spec, &self.halves, &self.rarity)
        };
        match confidence {
            Some(confidence) => AppFacts {
                protocol: AppProtocol::Framed,
                framing: Some(Box::new(self.facts(confidence))),
                ..AppFacts::default()
            },
            None => AppFacts::default(),
        }
    }
}

//! DNS questions and their answers, over UDP and TCP.

mod message;
mod pairs;
#[cfg(test)]
mod tests;

pub(super) use message::{Message, header_is_plausible};
pub(super) use pairs::Pairs;

use crate::app::reader::{MessagePosition, MessageUnit};
use crate::direction::Direction;
use crate::event::At;

use super::reader::{Piece, Reader};
use super::{AppFacts, AppProtocol};

/// Longest message kept of a TCP stream; the rest of a longer one is skipped.
const MESSAGE_KEPT: usize = 4096;

/// DNS over TCP: messages behind a length of two octets (RFC 1035 §4.2.2).
#[derive(Debug, Default)]
pub(super) struct DnsStream {
    pairs: Pairs,
    halves: [Half; 2],
}

#[derive(Debug, Default)]
struct Half {
    /// Length and octets of the message in progress, as far as kept.
    buffer: Vec<u8>,
    /// Octets of it seen, those not kept included.
    seen: usize,
    start: Option<At>,
    complete: u64,
    lost: bool,
}

impl Half {
    /// Octets of length and message, when the length is known.
    fn wanted(&self) -> Option<usize> {
        self.buffer
            .first_chunk()
            .map(|length| usize::from(u16::from_be_bytes(*length)) + 2)
    }
}

impl Reader for DnsStream {
    fn data(&mut self, direction: Direction, mut bytes: &[u8], piece: Piece) {
        let half = &mut self.halves[direction.index()];
        while !bytes.is_empty() && !half.lost {
            let start = *half.start.get_or_insert(piece.at);
            let wanted = half.wanted().unwrap_or(2);
            let used = (wanted - half.seen).min(bytes.len());
            let kept = used.min(MESSAGE_KEPT.saturating_sub(half.buffer.len()));
            half.buffer.extend_from_slice(&bytes[..kept]);
            half.seen += used;
            bytes = &bytes[used..];
            if half.wanted() == Some(half.seen) {
                let message = &half.buffer[2..];
                let len = u32::try_from(half.seen - 2).unwrap_or(u32::MAX);
                match Message::parse(message) {
                    Some(message) => self.pairs.take(direction, message, len, start, piece.at),
                    None => half.lost = true,
                }
                half.complete += 1;
                (half.seen, half.start) = (0, None);
                half.buffer.clear();
            }
        }
    }

    fn gap(&mut self, direction: Direction, octets: u64, at: At) {
        let half = &mut self.halves[direction.index()];
        let left = half.wanted().map(|wanted| wanted - half.seen);
        match (left, usize::try_from(octets)) {
            // The message goes on beyond the gap, or ends with it: what was read of it counts.
            (Some(left), Ok(octets)) if octets < left => half.seen += octets,
            (Some(left), Ok(octets)) if octets == left => {
                let len = u32::try_from(half.seen + octets - 2).unwrap_or(u32::MAX);
                if let (Some(message), Some(start)) =
                    (Message::parse(&half.buffer[2..]), half.start)
                {
                    self.pairs.take(direction, message, len, start, at);
                }
                half.complete += 1;
                (half.seen, half.start) = (0, None);
                half.buffer.clear();
            }
            _ => half.lost = true,
        }
    }

    fn fin(&mut self, _: Direction, _: At) {}

    fn wants_data(&self, direction: Direction) -> bool {
        !self.halves[direction.index()].lost
    }

    fn position(&self, direction: Direction) -> MessagePosition {
        let complete = self.halves[direction.index()].complete;
        MessagePosition {
            unit: MessageUnit::DnsMessage,
            complete,
            open: 0,
        }
    }

    fn finish(self: Box<Self>) -> AppFacts {
        AppFacts {
            protocol: AppProtocol::Dns,
            ..self.pairs.finish()
        }
    }
}

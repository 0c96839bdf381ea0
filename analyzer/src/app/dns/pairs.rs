//! Joins DNS answers to their questions.

use std::time::Duration;

use crate::app::{AppFacts, DnsExchange, DnsUnasked};
use crate::direction::Direction;
use crate::event::At;

use super::Message;

/// Exchanges kept of one connection.
const EXCHANGES_MAX: usize = 64;

/// Answers kept that came before any question.
const EARLY_MAX: usize = 4;

/// A capture of several queues or taps writes a question by so much behind its answer, at most.
const WRITTEN_LATE: Duration = Duration::from_millis(5);

/// An answer that no question had asked for when it came.
#[derive(Debug)]
struct Early {
    direction: Direction,
    message: Message,
    len: u32,
    at: At,
}

/// The exchanges of one connection.
#[derive(Debug, Default)]
pub(in crate::app) struct Pairs {
    /// In the order of the questions, with who asked.
    exchanges: Vec<(Direction, DnsExchange)>,
    dropped: u64,
    unasked: Option<Box<DnsUnasked>>,
    early: Vec<Early>,
}

impl Pairs {
    /// Takes one message of `len` octets that began at `start` and ended at `end`.
    pub(in crate::app) fn take(
        &mut self,
        direction: Direction,
        message: Message,
        len: u32,
        start: At,
        end: At,
    ) {
        if message.response {
            self.answer(direction, message, len, end);
        } else if message.is_lookup
            && let Some((name, qtype)) = message.question
        {
            self.ask(direction, message.id, name, qtype, message.edns_size, start);
        }
    }

    /// What was read.
    pub(in crate::app) fn finish(self) -> AppFacts {
        let exchanges = self.exchanges.into_iter();
        AppFacts {
            dns: exchanges.map(|(_, exchange)| exchange).collect(),
            dns_dropped: self.dropped,
            dns_unasked: self.unasked,
            ..AppFacts::default()
        }
    }

    fn ask(
        &mut self,
        direction: Direction,
        id: u16,
        name: String,
        qtype: u16,
        edns_size: Option<u16>,
        at: At,
    ) {
        let same = self.exchanges.iter_mut().find(|(asker, exchange)| {
            *asker == direction
                && exchange.answered.is_none()
                && exchange.id == id
                && exchange.qtype == qtype
                && exchange.name == name
        });
        if let Some((_, exchange)) = same {
            exchange.repeats += 1;
            exchange.last_asked = at;
            return;
        }
        if self.exchanges.len() == EXCHANGES_MAX {
            self.dropped += 1;
            // What went well and was asked once tells least; the newest gives way otherwise.
            let Some(index) = self
                .exchanges
                .iter()
                .position(|(_, exchange)| went_well(exchange))
            else {
                return;
            };
            self.exchanges.remove(index);
        }
        let exchange = DnsExchange {
            id,
            name,
            qtype,
            asked: at,
            repeats: 0,
            last_asked: at,
            answered: None,
            rcode: None,
            truncated: false,
            answer_len: 0,
            edns_size,
            addresses: Vec::new(),
        };
        if self.exchanges.is_empty() {
            // A flow of its own for each look-up is the rule.
            self.exchanges.reserve_exact(1);
        }
        self.exchanges.push((direction, exchange));
        self.answer_early(direction, id, at);
    }

    /// Gives the question just asked the answer that was written shortly before it.
    fn answer_early(&mut self, direction: Direction, id: u16, asked: At) {
        let place = self.early.iter().position(|early| {
            let apart = asked.time.since(early.at.time);
            early.direction != direction && early.message.id == id && apart <= WRITTEN_LATE
        });
        let Some(early) = place.map(|place| self.early.remove(place)) else {
            return;
        };
        let at = At {
            time: early.at.time.max(asked.time),
            ..early.at
        };
        if self.unasked.as_ref().is_some_and(|one| one.at == early.at) {
            self.unasked = None;
        }
        self.answer(early.direction, early.message, early.len, at);
    }

    fn answer(&mut self, direction: Direction, message: Message, len: u32, at: At) {
        let asked = self.exchanges.iter_mut().find(|(asker, exchange)| {
            *asker != direction
                && exchange.answered.is_none()
                && exchange.id == message.id
                && message
                    .question
                    .as_ref()
                    .is_none_or(|(name, qtype)| *name == exchange.name && *qtype == exchange.qtype)
        });
        if let Some((_, exchange)) = asked {
            exchange.answered = Some(at);
            exchange.rcode = Some(message.rcode);
            exchange.truncated = message.truncated;
            exchange.answer_len = len;
            exchange.addresses = message.addresses;
            return;
        }
        if self.exchanges.is_empty()
            && self.unasked.is_none()
            && let Some((name, _)) = &message.question
        {
            let (id, name) = (message.id, name.clone());
            self.unasked = Some(Box::new(DnsUnasked { id, name, at }));
        }
        if self.early.len() == EARLY_MAX {
            self.early.remove(0);
        }
        self.early.push(Early {
            direction,
            message,
            len,
            at,
        });
    }
}

fn went_well(exchange: &DnsExchange) -> bool {
    exchange.rcode == Some(0) && exchange.repeats == 0 && !exchange.truncated
}

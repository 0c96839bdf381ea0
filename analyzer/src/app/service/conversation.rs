//! The turns of a conversation with a service: the first octets of what the client sends in one go, and of
//! what the service answers.

use crate::app::ServiceProtocol as Protocol;
use crate::app::calls::{CallLog, ServiceCall, ServiceCalls};
use crate::direction::Direction;
use crate::event::At;
use crate::time::Timestamp;

use super::command::{Prepared, word};
use super::{CODE_MAX, capped, kafka, ldap, memcached, mongodb, mysql, postgresql, redis, reply};

/// Octets kept of a request and of an answer.
const REQUEST_MAX: usize = 256;
const ANSWER_MAX: usize = 32;

/// Reads one connection turn by turn.
#[derive(Debug)]
pub(super) struct Conversation {
    protocol: Protocol,
    log: CallLog,
    turn: Option<Turn>,
    /// First octets of the turn's request and answer.
    request: Vec<u8>,
    answer: Vec<u8>,
    prepared: Prepared,
    /// The service asked for the text of a message, which is no command.
    text_follows: bool,
}

/// The turn in progress.
#[derive(Debug)]
struct Turn {
    asked: At,
    /// The last octets of the request.
    last: Timestamp,
    answered: Option<Timestamp>,
    /// Code of the first error.
    error: Option<String>,
    /// Octets are missing: what follows is not added to those that are kept.
    is_cut: [bool; 2],
}

impl Conversation {
    /// For a protocol whose requests can be read.
    pub(super) fn of(protocol: Protocol) -> Option<Self> {
        matches!(
            protocol,
            Protocol::MySql
                | Protocol::PostgreSql
                | Protocol::Redis
                | Protocol::Smtp
                | Protocol::Ftp
                | Protocol::MongoDb
                | Protocol::Memcached
                | Protocol::Ldap
                | Protocol::Kafka
        )
        .then(|| Self {
            protocol,
            log: CallLog::default(),
            turn: None,
            request: Vec::new(),
            answer: Vec::new(),
            prepared: Prepared::default(),
            text_follows: false,
        })
    }

    /// The client's next octets.
    pub(super) fn request(&mut self, octets: &[u8], at: At) {
        let is_cut = self.asks(at).is_cut[0];
        keep(&mut self.request, REQUEST_MAX, octets, is_cut);
    }

    /// The service's next octets.
    pub(super) fn answer(&mut self, octets: &[u8], at: At) {
        if let Some(turn) = &mut self.turn {
            turn.answered.get_or_insert(at.time);
            keep(&mut self.answer, ANSWER_MAX, octets, turn.is_cut[1]);
        }
    }

    /// Octets of one end passed unseen.
    pub(super) fn gap(&mut self, direction: Direction, at: At) {
        match direction {
            Direction::ClientToServer => self.asks(at).is_cut[0] = true,
            Direction::ServerToClient => {
                self.answer(&[], at);
                if let Some(turn) = &mut self.turn {
                    turn.is_cut[1] = true;
                }
            }
        }
    }

    /// Nobody knows any more what is said.
    pub(super) fn lose(&mut self) {
        self.turn = None;
    }

    /// The turn that the client asks in: a new one after an answer.
    fn asks(&mut self, at: At) -> &mut Turn {
        let is_over = |turn: &Turn| turn.answered.is_some();
        if self.turn.as_ref().is_some_and(is_over) {
            self.close();
        }
        let turn = self.turn.get_or_insert(Turn {
            asked: at,
            last: at.time,
            answered: None,
            error: None,
            is_cut: [false; 2],
        });
        turn.last = at.time;
        turn
    }

    /// The service stated an error.
    pub(super) fn failed(&mut self, code: &str) {
        if let Some(turn) = &mut self.turn {
            turn.error.get_or_insert_with(|| code.to_owned());
        }
    }

    pub(super) fn finish(mut self) -> Option<Box<ServiceCalls>> {
        self.close();
        self.log.finish()
    }

    /// The turn is over.
    fn close(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        let has_error = turn.error.is_some();
        let result = turn.error.or_else(|| self.result());
        let operation = match std::mem::take(&mut self.text_follows) {
            true => Some("message".to_owned()),
            false => self.operation(),
        };
        self.text_follows = self.protocol == Protocol::Smtp && result.as_deref() == Some("354");
        self.request.clear();
        self.answer.clear();
        let Some(operation) = operation else { return };
        let failed = has_error || result.is_none();
        let took = turn.answered.map(|answered| answered.since(turn.last));
        let call = ServiceCall {
            asked: turn.asked,
            operation,
            result: result.map(|code| capped(code.as_bytes(), CODE_MAX)),
        };
        self.log.push(call, took, failed);
    }

    /// What the request asks for; `None` where that is not known, or where no answer is due.
    fn operation(&mut self) -> Option<String> {
        let request = &self.request;
        match self.protocol {
            Protocol::MySql => mysql::operation(request, &self.answer, &mut self.prepared),
            Protocol::PostgreSql => postgresql::operation(request, &mut self.prepared),
            Protocol::Redis => redis::operation(request),
            Protocol::Smtp => reply::smtp_operation(request),
            Protocol::Ftp => reply::ftp_operation(request),
            Protocol::MongoDb => mongodb::operation(request),
            Protocol::Memcached => memcached::operation(request),
            Protocol::Ldap => ldap::operation(request),
            Protocol::Kafka => kafka::operation(request),
            _ => None,
        }
    }

    /// What an answer without an error says; `None` where none was captured.
    fn result(&self) -> Option<String> {
        let answer = &self.answer[..];
        answer.first()?;
        let word = match self.protocol {
            Protocol::Redis => redis::result(answer),
            Protocol::Smtp | Protocol::Ftp => Some(reply::code(answer)?),
            Protocol::Memcached => word(answer),
            _ => None,
        };
        Some(word.map_or_else(|| "ok".to_owned(), |word| capped(word, CODE_MAX)))
    }
}

/// Adds octets to the first ones, unless some are missing before them.
fn keep(kept: &mut Vec<u8>, most: usize, octets: &[u8], is_cut: bool) {
    if !is_cut {
        let room = most.saturating_sub(kept.len()).min(octets.len());
        kept.extend_from_slice(&octets[..room]);
    }
}

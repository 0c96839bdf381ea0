//! Errors that clear-text protocols state, and what was asked, read from streams that are recognised by
//! content.
//!
//! Each file holds one protocol: how long a message is, and what error it states. The reader walks
//! from message to message, keeps the first octets of one at a time and skips the rest, so bodies
//! cost nothing. Of what clients send, the first octets of each turn are kept for its operation
//! ([`conversation`]). Where a message makes no sense (a switch to TLS, compression) or its border is
//! lost with octets that were not captured, reading of that direction ends.

use crate::direction::Direction;
use crate::event::At;

use super::reader::{MessagePosition, Piece, Reader};
use super::text::capped;
use super::{AppFacts, ServiceError, ServiceErrorKind, ServiceFacts, ServiceProtocol};

mod amqp;
mod bgp;
mod command;
mod conversation;
#[cfg(test)]
mod conversation_tests;
mod datagram;
mod grpc;
mod kafka;
mod ldap;
mod memcached;
mod mongodb;
mod mysql;
mod nats;
mod postgresql;
mod redis;
mod reply;
mod sip;
mod statement;
#[cfg(test)]
mod tests;

pub(super) use datagram::DatagramErrors;
pub(super) use grpc::FailedCalls;
pub(super) use kafka::is_first_request as is_first_kafka_request;
pub(super) use ldap::is_bind as is_ldap_bind;
pub(super) use mysql::is_refusal as is_mysql_refusal;

/// First octets of a message that are looked at.
const HEAD_MAX: usize = 1024;
/// Different errors kept of a connection.
const ERRORS_MAX: usize = 8;
/// Characters kept of what an error says.
const MESSAGE_MAX: usize = 120;
/// Characters kept of a code.
const CODE_MAX: usize = 24;

/// How long the message is that some octets begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Length {
    /// More octets will tell.
    More,
    /// So many octets in all, at least one.
    Is(u64),
    /// These octets begin no message of the protocol, or none that can be read on from.
    Lost,
}

/// An error as a message states it.
#[derive(Debug)]
struct Stated {
    code: String,
    message: String,
    kind: ServiceErrorKind,
}

impl Stated {
    fn new(code: impl Into<String>, message: &[u8], kind: ServiceErrorKind) -> Self {
        Self {
            code: code.into(),
            message: capped(message, MESSAGE_MAX).trim().to_owned(),
            kind,
        }
    }
}

/// Reads one connection of a service.
#[derive(Debug)]
pub(super) struct Service {
    name: &'static str,
    facts: ServiceFacts,
    sides: [Side; 2],
    kafka: kafka::InFlight,
    conversation: Option<conversation::Conversation>,
}

/// One direction: the head of the current message, or what is left of it.
#[derive(Debug, Default)]
struct Side {
    head: Vec<u8>,
    start: Option<At>,
    skip: u64,
    messages: u64,
    lost: bool,
}

impl Service {
    /// A reader for the protocol that is recognised as `name`, when its errors can be read.
    pub(super) fn of(name: &'static str) -> Option<Self> {
        let protocol = match name {
            "mysql" => ServiceProtocol::MySql,
            "postgresql" => ServiceProtocol::PostgreSql,
            "redis" => ServiceProtocol::Redis,
            "amqp" => ServiceProtocol::Amqp,
            "bgp" => ServiceProtocol::Bgp,
            "smtp" => ServiceProtocol::Smtp,
            "ftp" => ServiceProtocol::Ftp,
            "mongodb" => ServiceProtocol::MongoDb,
            "nats" => ServiceProtocol::Nats,
            "memcached" => ServiceProtocol::Memcached,
            "ldap" => ServiceProtocol::Ldap,
            "kafka" => ServiceProtocol::Kafka,
            "sip" => ServiceProtocol::Sip,
            _ => return None,
        };
        Some(Self {
            name,
            facts: ServiceFacts::new(protocol),
            sides: Default::default(),
            kafka: kafka::InFlight::default(),
            conversation: conversation::Conversation::of(protocol),
        })
    }

    /// Whether this end states errors in this protocol.
    const fn reads(&self, direction: Direction) -> bool {
        match self.facts.protocol {
            ServiceProtocol::Amqp
            | ServiceProtocol::Bgp
            | ServiceProtocol::Kafka
            | ServiceProtocol::Sip => true,
            _ => matches!(direction, Direction::ServerToClient),
        }
    }

    fn length(&self, head: &[u8], messages: u64) -> Length {
        match self.facts.protocol {
            ServiceProtocol::MySql => mysql::length(head, messages),
            ServiceProtocol::PostgreSql => postgresql::length(head, messages),
            ServiceProtocol::Redis => redis::length(head),
            ServiceProtocol::Amqp => amqp::length(head),
            ServiceProtocol::Bgp => bgp::length(head),
            ServiceProtocol::Smtp | ServiceProtocol::Ftp => reply::length(head),
            ServiceProtocol::MongoDb => mongodb::length(head),
            ServiceProtocol::Nats => nats::length(head),
            ServiceProtocol::Memcached => memcached::length(head),
            ServiceProtocol::Ldap => ldap::length(head),
            ServiceProtocol::Kafka => kafka::length(head),
            ServiceProtocol::Sip => sip::length(head),
            // These are not read as streams of messages.
            ServiceProtocol::Grpc | ServiceProtocol::Dhcp | ServiceProtocol::Radius => Length::Lost,
        }
    }

    fn error(&mut self, direction: Direction, message: &[u8], messages: u64) -> Option<Stated> {
        match self.facts.protocol {
            ServiceProtocol::MySql => mysql::error(message, messages),
            ServiceProtocol::PostgreSql => postgresql::error(message),
            ServiceProtocol::Redis => redis::error(message),
            ServiceProtocol::Amqp => amqp::error(message),
            ServiceProtocol::Bgp => bgp::error(message),
            ServiceProtocol::Smtp => reply::smtp_error(message),
            ServiceProtocol::Ftp => reply::ftp_error(message),
            ServiceProtocol::MongoDb => mongodb::error(message),
            ServiceProtocol::Nats => nats::error(message),
            ServiceProtocol::Memcached => memcached::error(message),
            ServiceProtocol::Ldap => ldap::error(message),
            ServiceProtocol::Kafka if direction == Direction::ClientToServer => {
                self.kafka.request(message);
                None
            }
            ServiceProtocol::Kafka => self.kafka.error(message),
            ServiceProtocol::Sip => datagram::sip(message),
            ServiceProtocol::Grpc | ServiceProtocol::Dhcp | ServiceProtocol::Radius => None,
        }
    }

    /// Whether messages of this end are read.
    const fn reads_on(&self, direction: Direction) -> bool {
        self.reads(direction) && !self.sides[direction.index()].lost
    }

    /// The conversation, as long as answers can be told.
    fn conversation_read(&mut self) -> Option<&mut conversation::Conversation> {
        let is_lost = self.sides[Direction::ServerToClient.index()].lost;
        self.conversation.as_mut().filter(|_| !is_lost)
    }

    fn lose(&mut self, direction: Direction) {
        self.sides[direction.index()].lost = true;
        if direction == Direction::ServerToClient
            && let Some(conversation) = &mut self.conversation
        {
            conversation.lose();
        }
    }

    /// Takes a message, or as much of it as is kept.
    fn message(&mut self, direction: Direction, kept: usize) {
        let side = &mut self.sides[direction.index()];
        let mut head = std::mem::take(&mut side.head);
        let (messages, start) = (side.messages, side.start.take());
        side.messages += 1;
        if let (Some(stated), Some(at)) = (self.error(direction, &head[..kept], messages), start) {
            if let Some(conversation) = &mut self.conversation {
                conversation.failed(&stated.code);
            }
            self.facts.take(direction, at, stated);
        }
        head.clear();
        self.sides[direction.index()].head = head;
    }
}

impl ServiceFacts {
    fn new(protocol: ServiceProtocol) -> Self {
        Self {
            protocol,
            errors: Vec::new(),
            not_kept: 0,
        }
    }

    /// Counts an error with those of its code, or keeps it as the first.
    fn take(&mut self, direction: Direction, at: At, stated: Stated) {
        let code = capped(stated.code.as_bytes(), CODE_MAX);
        let known = self
            .errors
            .iter_mut()
            .find(|error| error.code == code && error.direction == direction);
        if let Some(error) = known {
            error.count += 1;
        } else if self.errors.len() < ERRORS_MAX {
            self.errors.push(ServiceError {
                direction,
                code,
                message: stated.message,
                kind: stated.kind,
                at,
                count: 1,
            });
        } else {
            self.not_kept += 1;
        }
    }
}

impl Reader for Service {
    fn data(&mut self, direction: Direction, mut bytes: &[u8], piece: Piece) {
        if let Some(conversation) = self.conversation_read() {
            match direction {
                Direction::ClientToServer => conversation.request(bytes, piece.at),
                Direction::ServerToClient => conversation.answer(bytes, piece.at),
            }
        }
        while !bytes.is_empty() && self.reads_on(direction) {
            let side = &mut self.sides[direction.index()];
            if side.skip > 0 {
                let now =
                    usize::try_from(side.skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
                side.skip -= now as u64;
                bytes = &bytes[now..];
                continue;
            }
            let before = side.head.len();
            if before == 0 {
                side.start = Some(piece.at);
            }
            let taken = bytes.len().min(HEAD_MAX - before);
            side.head.extend_from_slice(&bytes[..taken]);
            let (held, messages) = (side.head.len(), side.messages);
            match self.length(&self.sides[direction.index()].head, messages) {
                Length::Is(total) => {
                    let kept = usize::try_from(total).map_or(HEAD_MAX, |total| total.min(HEAD_MAX));
                    if held < kept {
                        return;
                    }
                    self.message(direction, kept);
                    self.sides[direction.index()].skip = total - kept as u64;
                    bytes = &bytes[kept.saturating_sub(before)..];
                }
                Length::More if held < HEAD_MAX => return,
                Length::More | Length::Lost => self.lose(direction),
            }
        }
    }

    fn gap(&mut self, direction: Direction, octets: u64, at: At) {
        if let Some(conversation) = self.conversation_read() {
            conversation.gap(direction, at);
        }
        let side = &mut self.sides[direction.index()];
        if side.skip >= octets {
            side.skip -= octets;
            return;
        }
        let held = side.head.len();
        let (messages, is_inside) = (side.messages, held > 0);
        let left = match self.length(&self.sides[direction.index()].head, messages) {
            Length::Is(total) if is_inside => total.saturating_sub(held as u64),
            _ => 0,
        };
        if left > 0 {
            self.message(direction, held);
        }
        self.sides[direction.index()].skip = left.saturating_sub(octets);
        if left < octets {
            self.lose(direction);
        }
    }

    fn fin(&mut self, _direction: Direction, _at: At) {}

    fn wants_data(&self, direction: Direction) -> bool {
        let by_turns = direction == Direction::ClientToServer && self.conversation.is_some();
        let answers_lost = self.sides[Direction::ServerToClient.index()].lost;
        self.reads_on(direction) || (by_turns && !answers_lost)
    }

    fn position(&self, _direction: Direction) -> MessagePosition {
        MessagePosition::default()
    }

    fn finish(self: Box<Self>) -> AppFacts {
        let Self {
            name,
            facts,
            conversation,
            ..
        } = *self;
        AppFacts {
            name: Some(name),
            service: (!facts.errors.is_empty()).then(|| Box::new(facts)),
            calls: conversation.and_then(conversation::Conversation::finish),
            ..AppFacts::default()
        }
    }
}

/// The length of a line with its end, when it is there.
fn line(head: &[u8]) -> Option<usize> {
    head.iter()
        .position(|octet| *octet == b'\n')
        .map(|end| end + 1)
}

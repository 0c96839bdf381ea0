//! What is kept of every connection until the shards are joined, to see what ended together.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::addr::{Endpoint, Transport};
use crate::connection::{Connection, Ending};
use crate::direction::Direction;
use crate::event::{At, EventKind, SegmentRef};
use crate::time::Timestamp;

/// Connections that a shard keeps a record of: the first to end.
const KEPT_PER_SHARD: usize = 2_048;

/// Connections with a record in all: those of one machine's shards.
const KEPT: usize = 32 * KEPT_PER_SHARD;

/// Times kept of a connection at which octets were acknowledged that had not passed.
const UNSEEN: usize = 4;

/// What episodes need of a TCP connection.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct ConnectionRecord {
    pub client: Endpoint,
    pub server: Endpoint,
    pub first_frame: u64,
    pub start: Timestamp,
    /// Its last packet.
    pub end: Timestamp,
    /// The SYN was captured.
    pub was_opened: bool,
    /// One end acknowledged payload of the other.
    pub is_in_use: bool,
    /// The server's SYN-ACK.
    pub accepted: Option<At>,
    /// First payload of the client.
    pub first_request: Option<At>,
    /// Last payload of the client.
    pub last_request: Option<At>,
    /// First payload of the server.
    pub first_answer: Option<At>,
    /// The FIN or RST that closed it first.
    pub close: Option<FirstClose>,
    /// Silence before it; `None` when none is known.
    pub silence: Option<Duration>,
    /// The client closed in the midst of an answer.
    pub is_cancelled: bool,
    /// A request waited for its answer when it was closed.
    pub is_waiting: bool,
    /// When octets were acknowledged that had not passed the capture point; the first ones.
    pub unseen: Box<[Timestamp]>,
}

/// The FIN or RST that closed a connection first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct FirstClose {
    pub frame: u64,
    pub time: Timestamp,
    /// Who sent it.
    pub by: Direction,
}

impl ConnectionRecord {
    fn of(connection: &Connection, ending: Option<&Ending>) -> Self {
        let at = |segment: SegmentRef| At {
            frame: segment.frame,
            time: segment.time,
        };
        let close = ending.map(|ending| ending.at);
        let [client, server] = &connection.halves;
        let halves = connection.halves.iter();
        let unseen = connection.events.iter().filter_map(|event| {
            matches!(event.kind, EventKind::AckedUnseen { .. }).then_some(event.segment.time)
        });
        Self {
            client: connection.client,
            server: connection.server,
            first_frame: connection.first_frame,
            start: connection.start,
            end: connection.end,
            is_in_use: halves.clone().any(|half| half.largest_acked_payload > 0),
            was_opened: connection.handshake.syn_count > 0,
            accepted: connection.handshake.syn_acks.first().copied().map(at),
            first_request: client.first_data.map(at),
            last_request: client.last_data.map(at),
            first_answer: server.first_data.map(at),
            close: close.map(|close| FirstClose {
                frame: close.frame,
                time: close.time,
                by: close.direction,
            }),
            silence: ending.and_then(|ending| ending.silence_before),
            is_cancelled: close.is_some_and(|close| is_cancelled(connection, close)),
            is_waiting: ending.is_some_and(|ending| ending.pending.is_some()),
            unseen: unseen.take(UNSEEN).collect(),
        }
    }

    /// The first close, when it is that of one end.
    pub fn close_of(&self, end: Direction) -> Option<FirstClose> {
        self.close.filter(|close| close.by == end)
    }

    /// Whether it was open at a time, as far as was captured.
    pub fn is_open_at(&self, time: Timestamp) -> bool {
        self.start <= time && self.close.is_none_or(|close| close.time > time)
    }
}

/// Whether the client closed in the midst of the answer to its last request: some had come, and more
/// of it came later, or HTTP says that its body was not complete.
fn is_cancelled(connection: &Connection, close: SegmentRef) -> bool {
    let response = connection.turns.last.and_then(|turn| turn.response);
    let had_begun = response.is_some_and(|response| response.first.frame < close.frame);
    let last = connection.from_server().last_data;
    let comes_later = last.is_some_and(|last| last.frame > close.frame);
    let http = connection.app.http.as_ref();
    let exchange = http.and_then(|http| http.kept.last());
    let is_incomplete = exchange.is_some_and(|exchange| {
        exchange.response_start.is_some() && exchange.response_end.is_none()
    });
    close.direction == Direction::ClientToServer && had_begun && (comes_later || is_incomplete)
}

/// Records of one shard, or of several when joined.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Records {
    pub list: Vec<ConnectionRecord>,
    /// Connections without a record.
    pub dropped: u64,
}

impl Records {
    /// Takes a connection that has ended.
    pub fn connection(&mut self, connection: &Connection, ending: Option<&Ending>) {
        if connection.transport != Transport::Tcp {
            return;
        }
        if self.list.len() < KEPT_PER_SHARD {
            self.list.push(ConnectionRecord::of(connection, ending));
        } else {
            self.dropped += 1;
        }
    }

    /// Joins another shard's, in any order as long as there is room for all.
    pub fn merge(&mut self, other: Self) {
        self.list.extend(other.list);
        self.dropped += other.dropped + self.list.len().saturating_sub(KEPT) as u64;
        self.list.truncate(KEPT);
    }
}

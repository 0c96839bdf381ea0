//! What is kept of every connection until the shards are joined, to see what ended together.

use std::net::IpAddr;

use crate::addr::{Endpoint, Transport};
use crate::connection::Connection;
use crate::direction::Direction;
use crate::event::At;
use crate::event::SegmentRef;
use crate::hosts::first_close;
use crate::time::Timestamp;

/// Connections that a shard keeps a record of: the first to end.
const KEPT_PER_SHARD: usize = 4_096;

/// What episodes need of a TCP connection.
#[derive(Clone, PartialEq, Debug)]
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
    /// Last payload of either end before the first close, whenever that was sent.
    pub last_payload: Option<Timestamp>,
    /// First payload of the server.
    pub first_answer: Option<At>,
    /// The first FIN or RST.
    pub close: Option<SegmentRef>,
}

impl ConnectionRecord {
    fn of(connection: &Connection) -> Self {
        let at = |segment: SegmentRef| At {
            frame: segment.frame,
            time: segment.time,
        };
        let close = first_close(connection);
        let [client, server] = &connection.halves;
        let payload = [client.last_data, server.last_data].into_iter().flatten();
        let before =
            payload.filter(|segment| close.is_none_or(|close| segment.frame <= close.frame));
        Self {
            client: connection.client,
            server: connection.server,
            first_frame: connection.first_frame,
            start: connection.start,
            end: connection.end,
            is_in_use: connection
                .halves
                .iter()
                .any(|half| half.largest_acked_payload > 0),
            was_opened: connection.handshake.syn_count > 0,
            accepted: connection.handshake.syn_acks.first().copied().map(at),
            first_request: client.first_data.map(at),
            last_payload: before.map(|segment| segment.time).max(),
            first_answer: server.first_data.map(at),
            close,
        }
    }

    /// The first close, when it is the client's.
    pub fn client_close(&self) -> Option<SegmentRef> {
        self.close
            .filter(|close| close.direction == Direction::ClientToServer)
    }

    /// Whether it was open at a time, as far as was captured.
    pub fn is_open_at(&self, time: Timestamp) -> bool {
        self.start <= time && self.close.is_none_or(|close| close.time > time)
    }

    pub const fn client_ip(&self) -> IpAddr {
        self.client.ip
    }
}

/// Records of one shard, or of several when joined.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub list: Vec<ConnectionRecord>,
    /// Connections without a record.
    pub dropped: u64,
}

impl Records {
    /// Takes a connection that has ended.
    pub fn connection(&mut self, connection: &Connection) {
        if connection.transport != Transport::Tcp {
            return;
        }
        if self.list.len() < KEPT_PER_SHARD {
            self.list.push(ConnectionRecord::of(connection));
        } else {
            self.dropped += 1;
        }
    }

    /// Joins another shard's, in any order.
    pub fn merge(&mut self, other: Self) {
        self.list.extend(other.list);
        self.dropped += other.dropped;
    }
}

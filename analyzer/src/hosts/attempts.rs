//! What became of connections and flows, counted at both ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::addr::Transport;
use crate::app::{At, GOODBYE_TO_FIN, TLS_GOODBYE_OCTETS};
use crate::connection::{Connection, Ending, ResetKind};
use crate::direction::Direction;
use crate::event::{EventKind, SegmentRef};

use super::distinct::{Distinct, tag};
use super::ends::Ends;
use super::kind::AddressKind;

/// Waits kept of a client.
const WAITS: usize = 32;

/// Ports below are given to services (RFC 6335 §6: system ports).
const FIRST_HIGH_PORT: u16 = 1024;

/// What became of an attempt to talk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Attempt {
    /// Payload passed both ways.
    Exchanged,
    /// It was accepted and little followed.
    Accepted,
    /// Answered by RST, or by an ICMP error.
    Refused,
    /// No answer at all.
    Silent,
    /// It began before the capture, or one direction was not captured.
    Unknown,
}

impl Attempt {
    pub fn of(connection: &Connection) -> Self {
        let (client, server) = (connection.from_client(), connection.from_server());
        if client.payload_bytes > 0 && server.payload_bytes > 0 {
            return Self::Exchanged;
        }
        let is_silent = server.packets == 0;
        if connection.transport == Transport::Udp {
            let mut kinds = connection.events.iter().map(|event| &event.kind);
            return if !is_silent || is_for_many(connection) {
                Self::Unknown
            } else if kinds.any(|kind| matches!(kind, EventKind::IcmpError(_))) {
                Self::Refused
            } else {
                Self::Silent
            };
        }
        let refused = |kind| kind == ResetKind::Refused;
        let syns = u64::from(connection.handshake.syn_count);
        if syns == 0 {
            Self::Unknown
        } else if connection.resets.iter().any(|reset| refused(reset.kind)) {
            Self::Refused
        } else if !is_silent {
            Self::Accepted
        } else if client.packets > syns {
            Self::Unknown
        } else {
            Self::Silent
        }
    }

    const fn is_fruitless(self) -> bool {
        matches!(self, Self::Accepted | Self::Refused | Self::Silent)
    }
}

/// Sent to a group of hosts: nobody need answer.
fn is_for_many(connection: &Connection) -> bool {
    AddressKind::of(connection.server.ip) == AddressKind::Group
}

/// What a host did as a client.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ClientRecord {
    pub opened: u64,
    pub exchanged: u64,
    pub accepted: u64,
    pub refused: u64,
    pub silent: u64,
    pub addresses: Distinct,
    pub destinations: Distinct,
    pub ports: Distinct,
    pub high_ports: Distinct,
    pub fruitful: Distinct,
    pub fruitless: Distinct,
    pub fruitless_addresses: Distinct,
    /// `(first frame of the connection, wait)` in order.
    pub waits: Vec<(u64, Duration)>,
    pub waits_count: u64,
}

impl ClientRecord {
    fn note_wait(&mut self, first_frame: u64, wait: Duration) {
        let at = self
            .waits
            .partition_point(|(frame, _)| *frame < first_frame);
        self.waits.insert(at, (first_frame, wait));
        self.waits.truncate(WAITS);
    }

    pub fn join(&mut self, other: &Self) {
        self.opened += other.opened;
        self.exchanged += other.exchanged;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.silent += other.silent;
        self.addresses.join(&other.addresses);
        self.destinations.join(&other.destinations);
        self.ports.join(&other.ports);
        self.high_ports.join(&other.high_ports);
        self.fruitful.join(&other.fruitful);
        self.fruitless.join(&other.fruitless);
        self.fruitless_addresses.join(&other.fruitless_addresses);
        self.waits_count += other.waits_count;
        for &(first_frame, wait) in &other.waits {
            self.note_wait(first_frame, wait);
        }
    }
}

/// What a host did as a server.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ServerRecord {
    pub asked: u64,
    pub exchanged: u64,
    pub accepted: u64,
    pub refused: u64,
    pub silent: u64,
    pub callers: Distinct,
    pub public_callers: u64,
    pub accepted_ends: Ends,
    pub answered_ends: Ends,
}

impl ServerRecord {
    pub fn join(&mut self, other: &Self) {
        self.asked += other.asked;
        self.exchanged += other.exchanged;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.silent += other.silent;
        self.callers.join(&other.callers);
        self.public_callers += other.public_callers;
        self.accepted_ends.join(&other.accepted_ends);
        self.answered_ends.join(&other.answered_ends);
    }
}

pub(super) fn note_client(
    client: &mut ClientRecord,
    connection: &Connection,
    ending: Option<&Ending>,
    attempt: Attempt,
) {
    if let Some(wait) = ending.and_then(wait_given_up) {
        client.waits_count += 1;
        client.note_wait(connection.first_frame, wait);
    }
    client.exchanged += u64::from(attempt == Attempt::Exchanged);
    client.accepted += u64::from(attempt == Attempt::Accepted);
    client.refused += u64::from(attempt == Attempt::Refused);
    client.silent += u64::from(attempt == Attempt::Silent);
    if attempt == Attempt::Unknown {
        return;
    }
    let server = connection.server;
    client.opened += 1;
    client.addresses.note(tag(server.ip));
    client.ports.note(tag(server.port));
    if server.port >= FIRST_HIGH_PORT {
        client.high_ports.note(tag(server.port));
    }
    let destination = tag((connection.transport, server));
    client.destinations.note(destination);
    if attempt.is_fruitless() {
        client.fruitless.note(destination);
        client.fruitless_addresses.note(tag(server.ip));
    } else {
        client.fruitful.note(destination);
    }
}

pub(super) fn note_server(server: &mut ServerRecord, connection: &Connection, attempt: Attempt) {
    let at = |segment: SegmentRef| At {
        frame: segment.frame,
        time: segment.time,
    };
    if let Some(ack) = connection.handshake.ack {
        server.accepted_ends.note(at(ack));
    }
    let half = connection.from_server();
    for segment in [half.first_data, half.last_data].into_iter().flatten() {
        server.answered_ends.note(at(segment));
    }
    server.exchanged += u64::from(attempt == Attempt::Exchanged);
    server.accepted += u64::from(attempt == Attempt::Accepted);
    server.refused += u64::from(attempt == Attempt::Refused);
    server.silent += u64::from(attempt == Attempt::Silent);
    if attempt == Attempt::Unknown {
        return;
    }
    server.asked += 1;
    let caller = connection.client.ip;
    server.callers.note(tag(caller));
    let is_public = AddressKind::of(caller) == AddressKind::Public;
    server.public_callers += u64::from(is_public);
}

/// How long the client waited for the answer to its last request before it closed. A goodbye that
/// leaves with the close is no request.
fn wait_given_up(ending: &Ending) -> Option<Duration> {
    let request = ending.pending?.request;
    let wait = ending.at.time.since(request.last.time);
    let is_goodbye = request.octets <= TLS_GOODBYE_OCTETS && wait <= GOODBYE_TO_FIN;
    (ending.by == Direction::ClientToServer && !is_goodbye).then_some(wait)
}

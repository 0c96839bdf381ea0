//! What is remembered of the connections of a capture, to lay host files beside them.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use analyzer::connection::{Close, ResetKind, TcpState};
use analyzer::event::SegmentRef;
use analyzer::pipeline::ConnectionSink;
use analyzer::{Connection, Direction, Endpoint, Timestamp, Transport};
use hostfiles::Interest;

use crate::model::connection_ref::ConnectionRef;

/// Connections remembered, the earliest first, at about 900 bytes each.
const WATCHED: usize = 150_000;

/// How long Linux keeps a socket in TIME-WAIT (`TCP_TIMEWAIT_LEN`).
const TIME_WAIT: Duration = Duration::from_secs(60);

/// What one end of a connection did.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    pub(super) fin: Option<Timestamp>,
    pub(super) first_data: Option<Timestamp>,
    pub(super) unique_bytes: u64,
    pub(super) retransmitted: u64,
    pub(super) rto_ms: Option<f64>,
}

/// A reset, as the packets show it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenReset {
    pub(super) by: Direction,
    pub(super) time: Timestamp,
    pub(super) kind: ResetKind,
    pub(super) own_fin_before: bool,
}

/// A connection of the capture.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) connection: ConnectionRef,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) ends: [End; 2],
    pub(super) syn: Option<SegmentRef>,
    pub(super) answer: Option<SegmentRef>,
    pub(super) resets: Vec<SeenReset>,
    /// States of its ends in the order in which they entered them.
    states: Vec<(Timestamp, Direction, TcpState)>,
    /// It was given up as silent at its end: what it is in then is not known any more.
    is_given_up: bool,
    /// Sizes of datagrams from the client, and how many.
    pub(super) datagrams: Vec<(u32, u64)>,
    /// Datagrams from the client that ask, as far as answers show it.
    pub(super) requests: Requests,
    /// Messages of a framed stream by direction, and whether all have one size.
    pub(super) messages: [Option<Messages>; 2],
}

/// Requests in datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Requests {
    pub(super) asked: u64,
    pub(super) answered: u64,
    /// The first of a size of which not all were answered.
    pub(super) first: Option<SegmentRef>,
}

impl Requests {
    fn of(conn: &Connection) -> Self {
        let mut all = Self::default();
        for class in conn.udp.iter().flat_map(|udp| &udp.size_classes) {
            all.asked += class.requests;
            all.answered += class.answered.min(class.requests);
            if class.answered < class.requests {
                all.first = all.first.or(Some(class.first_request));
            }
        }
        all
    }
}

/// The messages that one end sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Messages {
    pub(super) shortest: u64,
    pub(super) longest: u64,
}

impl Watched {
    fn of(conn: &Connection) -> Self {
        let end = |direction| {
            let half = conn.half(direction);
            End {
                fin: half.fin.map(|fin| fin.time),
                first_data: half.first_data.map(|data| data.time),
                unique_bytes: half.unique_bytes,
                retransmitted: half.retransmitted_segments,
                rto_ms: half.rto.map(|rto| rto.as_secs_f64() * 1e3),
            }
        };
        let messages = |at: usize| {
            let framing = conn.app.framing.as_ref()?;
            (framing.messages[at] > 0).then(|| Messages {
                shortest: framing.message_min[at],
                longest: framing.message_max[at],
            })
        };
        let server_data = conn.from_server().first_data;
        Self {
            connection: ConnectionRef::from(conn),
            start: conn.start,
            end: conn.end,
            ends: Direction::BOTH.map(end),
            syn: conn
                .handshake
                .syns
                .first()
                .copied()
                .or(conn.from_client().first_data),
            answer: conn.handshake.syn_acks.first().copied().or(server_data),
            resets: conn
                .resets
                .iter()
                .map(|reset| SeenReset {
                    by: reset.segment.direction,
                    time: reset.segment.time,
                    kind: reset.kind,
                    own_fin_before: reset.own_fin_before,
                })
                .collect(),
            datagrams: conn
                .udp
                .as_ref()
                .map(|udp| udp.size_counts.clone())
                .unwrap_or_default(),
            requests: Requests::of(conn),
            messages: [messages(0), messages(1)],
            states: entered(conn),
            is_given_up: conn.close == Close::Timeout,
        }
    }

    /// The state of an end at a moment; `None` when it had no socket, or nobody knows.
    pub(super) fn state_at(&self, end: Direction, time: Timestamp) -> Option<TcpState> {
        let own = self.states.iter().rev();
        let mut own = own.filter(|(from, of, _)| *of == end && *from <= time);
        let (from, _, state) = own.next()?;
        let is_over = match state {
            TcpState::Closed => true,
            TcpState::TimeWait => time.since(*from) > TIME_WAIT,
            _ => self.is_given_up && time > self.end,
        };
        (!is_over).then_some(*state)
    }

    /// The endpoint of one end.
    pub(super) fn endpoint(&self, end: Direction) -> Endpoint {
        match end {
            Direction::ClientToServer => self.connection.client,
            Direction::ServerToClient => self.connection.server,
        }
    }

    /// What the sender of a direction did.
    pub(super) fn sent(&self, end: Direction) -> &End {
        &self.ends[end.index()]
    }
}

fn entered(conn: &Connection) -> Vec<(Timestamp, Direction, TcpState)> {
    let spans = conn.states.iter();
    let mut all: Vec<_> = spans
        .map(|span| (span.from, span.end, span.state))
        .collect();
    all.sort_by_key(|(from, ..)| *from);
    all
}

/// Remembers connections while they end: one for each shard.
#[derive(Debug, Default)]
pub struct Acquaintance {
    known: BTreeMap<(u64, Transport, Endpoint, Endpoint), Watched>,
    left_out: u64,
}

/// The ends of the connections of a capture.
#[derive(Debug, Default)]
pub struct Ends {
    clients: HashSet<Endpoint>,
    called: HashSet<Endpoint>,
    addresses: HashSet<IpAddr>,
}

impl Ends {
    /// How likely a socket is one of the capture.
    #[must_use]
    pub fn interest(&self, local: Option<Endpoint>, peer: Option<Endpoint>) -> Interest {
        let is_client = |end: Option<Endpoint>| end.is_some_and(|end| self.clients.contains(&end));
        let is_called = peer.is_some_and(|end| self.called.contains(&end));
        let is_known =
            |end: Option<Endpoint>| end.is_some_and(|end| self.addresses.contains(&end.ip));
        if is_client(local) || is_client(peer) || local.is_none() && is_called {
            Interest::Sure
        } else if is_known(local) || is_known(peer) {
            Interest::Maybe
        } else {
            Interest::None
        }
    }
}

impl ConnectionSink for Acquaintance {
    fn connection(&mut self, connection: &Connection) {
        let key = (
            connection.first_frame,
            connection.transport,
            connection.client,
            connection.server,
        );
        self.known.insert(key, Watched::of(connection));
        self.bound();
    }
}

impl Acquaintance {
    fn bound(&mut self) {
        while self.known.len() > WATCHED {
            self.known.pop_last();
            self.left_out += 1;
        }
    }

    /// What all shards remember.
    #[must_use]
    pub fn merged(shards: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::default();
        for shard in shards {
            all.known.extend(shard.known);
            all.left_out += shard.left_out;
            all.bound();
        }
        all
    }

    /// Their ends, to decide which sockets of a host may be theirs.
    #[must_use]
    pub fn ends(&self) -> Ends {
        let mut ends = Ends::default();
        for one in self.known.values().map(|one| &one.connection) {
            ends.clients.insert(one.client);
            for called in [Some(one.server), one.translated_to].into_iter().flatten() {
                ends.called.insert(called);
                ends.addresses.insert(called.ip);
            }
            ends.addresses.insert(one.client.ip);
        }
        ends
    }

    pub(super) fn into_list(self) -> (Vec<Watched>, u64) {
        (self.known.into_values().collect(), self.left_out)
    }
}

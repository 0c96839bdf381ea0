//! What single connections give: `connections`, `requests` and `dns`.

use std::time::Duration;

use analyzer::app::{DnsExchange, HttpExchange};
use analyzer::event::SegmentRef;
use analyzer::flow::{CapturePoint, Turn};
use analyzer::{Connection, Direction, Endpoint, Half, Timestamp};

use super::rows::{count, hour, number, text, time};
use super::schema::ColumnType::{Boolean, Integer, Number, Text, Time};
use super::schema::{Column, Record, Table, Value, column};
use crate::document::{ConnectionRow, direction_name, millis};

/// A connection with its view in the document, which names things.
pub(super) struct ConnectionRecord<'a> {
    pub connection: &'a Connection,
    pub row: ConnectionRow,
}

impl ConnectionRecord<'_> {
    const fn client(&self) -> &Half {
        &self.connection.halves[0]
    }

    const fn server(&self) -> &Half {
        &self.connection.halves[1]
    }

    /// SYN to the ACK that completes the handshake.
    fn handshake(&self) -> Option<f64> {
        let handshake = &self.connection.handshake;
        let (syn, ack) = (handshake.syns.first()?, handshake.ack.as_ref()?);
        Some(millis(ack.time.since(syn.time)))
    }
}

fn ip(endpoint: Endpoint) -> Value {
    Value::Text(endpoint.ip.to_string())
}

fn port(endpoint: Endpoint) -> Value {
    Value::Integer(endpoint.port.into())
}

fn ms(duration: Option<Duration>) -> Value {
    number(duration.map(millis))
}

const fn capture_point(point: CapturePoint) -> &'static str {
    match point {
        CapturePoint::Client => "client",
        CapturePoint::Server => "server",
        CapturePoint::Between => "between",
        CapturePoint::Unknown => "unknown",
    }
}

/// Rows of [`CONNECTIONS`].
pub(super) enum Connections {}

impl Record for Connections {
    type Of<'a> = ConnectionRecord<'a>;
}

const CONNECTION_COLUMNS: &[Column<Connections>] = &[
    column("transport", Text, "`tcp` or `udp`", |r| {
        text(Some(&r.row.transport))
    }),
    column("client", Text, "address and port of who opened it", |r| {
        text(Some(&r.row.client))
    }),
    column("client_ip", Text, "address of who opened it", |r| {
        ip(r.connection.client)
    }),
    column("client_port", Integer, "port of who opened it", |r| {
        port(r.connection.client)
    }),
    column("server", Text, "address and port of who was called", |r| {
        text(Some(&r.row.server))
    }),
    column("server_ip", Text, "address of who was called", |r| {
        ip(r.connection.server)
    }),
    column("server_port", Integer, "port of who was called", |r| {
        port(r.connection.server)
    }),
    column(
        "server_name",
        Text,
        "Host header or TLS server name, when seen",
        |r| text(r.row.server_name.as_deref()),
    ),
    column(
        "protocol",
        Text,
        "what the payload is: `http1`, `http2`, `tls`, `dns`, `ssh`, `framed`, `unknown`, …",
        |r| text(Some(&r.row.protocol)),
    ),
    column("start_time", Time, "time of its first packet", |r| {
        time(Some(r.connection.start))
    }),
    column("end_time", Time, "time of its last packet", |r| {
        time(Some(r.connection.end))
    }),
    column("hour", Time, "the hour in which it began", |r| {
        hour(Some(r.connection.start))
    }),
    column("duration_ms", Number, "first to last packet", |r| {
        number(Some(r.row.duration_ms))
    }),
    column(
        "handshake_ms",
        Number,
        "SYN to the completing ACK; missing when not both were seen",
        |r| number(r.handshake()),
    ),
    column(
        "close",
        Text,
        "how it ended: `fin`, `reset`, `timeout` or `open`",
        |r| text(Some(&r.row.close)),
    ),
    column(
        "reset_by",
        Text,
        "who sent the first reset: `client` or `server`",
        |r| {
            text(
                r.connection
                    .resets
                    .first()
                    .map(|reset| reset.segment.direction.sender()),
            )
        },
    ),
    column("reset_kind", Text, "cause of the first reset", |r| {
        text(r.connection.resets.first().map(|reset| reset.kind.as_str()))
    }),
    column(
        "reset_confidence",
        Number,
        "how sure that cause is, 0 to 1",
        |r| number(r.row.resets.first().map(|reset| reset.confidence)),
    ),
    column("packets", Integer, "packets of both directions", |r| {
        count(r.row.packets)
    }),
    column(
        "bytes",
        Integer,
        "bytes on the wire of both directions",
        |r| count(r.row.bytes),
    ),
    column("client_packets", Integer, "packets the client sent", |r| {
        count(r.client().packets)
    }),
    column("server_packets", Integer, "packets the server sent", |r| {
        count(r.server().packets)
    }),
    column(
        "client_payload_bytes",
        Integer,
        "payload the client sent, copies included",
        |r| count(r.client().payload_bytes),
    ),
    column(
        "server_payload_bytes",
        Integer,
        "payload the server sent, copies included",
        |r| count(r.server().payload_bytes),
    ),
    column(
        "client_retransmitted_segments",
        Integer,
        "segments the client sent again",
        |r| count(r.client().retransmitted_segments),
    ),
    column(
        "server_retransmitted_segments",
        Integer,
        "segments the server sent again",
        |r| count(r.server().retransmitted_segments),
    ),
    column(
        "client_retransmitted_bytes",
        Integer,
        "payload the client sent again",
        |r| count(r.client().retransmitted_bytes),
    ),
    column(
        "server_retransmitted_bytes",
        Integer,
        "payload the server sent again",
        |r| count(r.server().retransmitted_bytes),
    ),
    column(
        "client_spurious_retransmissions",
        Integer,
        "sent again by the client although the server had it",
        |r| count(r.client().spurious_retransmissions),
    ),
    column(
        "server_spurious_retransmissions",
        Integer,
        "sent again by the server although the client had it",
        |r| count(r.server().spurious_retransmissions),
    ),
    column(
        "client_out_of_order",
        Integer,
        "originals of the client that came late",
        |r| count(r.client().out_of_order),
    ),
    column(
        "server_out_of_order",
        Integer,
        "originals of the server that came late",
        |r| count(r.server().out_of_order),
    ),
    column(
        "client_missing_bytes",
        Integer,
        "the client's bytes that were acknowledged and never captured",
        |r| count(r.client().missing_octets),
    ),
    column(
        "server_missing_bytes",
        Integer,
        "the server's bytes that were acknowledged and never captured",
        |r| count(r.server().missing_octets),
    ),
    column(
        "client_zero_windows",
        Integer,
        "times the client's receive window closed",
        |r| count(r.client().zero_windows),
    ),
    column(
        "server_zero_windows",
        Integer,
        "times the server's receive window closed",
        |r| count(r.server().zero_windows),
    ),
    column(
        "client_rtt_min_ms",
        Number,
        "smallest round trip of the client's segments, at the capture point",
        |r| ms(r.client().rtt_min),
    ),
    column(
        "server_rtt_min_ms",
        Number,
        "smallest round trip of the server's segments, at the capture point",
        |r| ms(r.server().rtt_min),
    ),
    column(
        "rtt_ms",
        Number,
        "smallest whole round trip the capture point can tell",
        |r| number(r.row.rtt_ms),
    ),
    column(
        "stall_ms",
        Number,
        "time in which bytes that had arrived waited behind a lost one",
        |r| number(Some(r.row.stall_ms)),
    ),
    column(
        "requests",
        Integer,
        "requests (turns of the conversation; datagram requests for UDP)",
        |r| count(r.row.requests),
    ),
    column("answered", Integer, "requests that got an answer", |r| {
        count(r.row.answered)
    }),
    column("response_p50_ms", Number, "median response time", |r| {
        number(r.row.response_p50_ms)
    }),
    column("response_max_ms", Number, "largest response time", |r| {
        number(r.row.response_max_ms)
    }),
    column(
        "role",
        Text,
        "how client and server were told apart: `syn`, `syn-ack` or `judged`",
        |r| text(Some(&r.row.role)),
    ),
    column(
        "capture_point",
        Text,
        "where it was captured: `client`, `server`, `between` or `unknown`",
        |r| text(Some(capture_point(r.connection.capture_point))),
    ),
    column(
        "translated_from",
        Text,
        "the address the client meant, when another one answered",
        |r| text(r.row.translated_from.as_deref()),
    ),
    column(
        "first_frame",
        Integer,
        "frame.number of its first packet: tells incarnations of one 4-tuple apart",
        |r| count(r.connection.first_frame),
    ),
    column(
        "last_frame",
        Integer,
        "frame.number of its last packet",
        |r| count(r.connection.last_frame),
    ),
];

pub(super) static CONNECTIONS: Table<Connections> = Table {
    name: "connections",
    about: "one row per connection (one incarnation of a 4-tuple)",
    columns: CONNECTION_COLUMNS,
};

/// One request that was kept, of HTTP or of a conversation read by its turns.
pub(super) struct RequestRecord<'a> {
    connection: &'a Connection,
    protocol: &'a str,
    http: Option<&'a HttpExchange>,
    asked: (u64, Timestamp),
    answered: Option<(u64, Timestamp)>,
    response_time: Option<Duration>,
    transfer_time: Option<Duration>,
}

impl<'a> RequestRecord<'a> {
    /// The requests kept of a connection, in their order.
    pub fn of(record: &'a ConnectionRecord<'_>) -> Vec<Self> {
        let connection = record.connection;
        let protocol = record.row.protocol.as_str();
        if let Some(http) = &connection.app.http {
            let of = |exchange| Self::http(connection, protocol, exchange);
            return http.kept.iter().map(of).collect();
        }
        let turns = &connection.turns;
        let latest = turns.before_last.iter().chain(&turns.last);
        let mut kept: Vec<&Turn> = turns.slowest.iter().chain(latest).collect();
        kept.sort_by_key(|turn| turn.request.first.frame);
        kept.dedup_by_key(|turn| turn.request.first.frame);
        kept.into_iter()
            .map(|turn| Self::turn(connection, protocol, turn))
            .collect()
    }

    fn http(connection: &'a Connection, protocol: &'a str, exchange: &'a HttpExchange) -> Self {
        let end = exchange.request_end.unwrap_or(exchange.request_start);
        let start = exchange.response_start;
        Self {
            connection,
            protocol,
            http: Some(exchange),
            asked: (exchange.request_start.frame, exchange.request_start.time),
            answered: start.map(|at| (at.frame, at.time)),
            response_time: start.map(|at| at.time.since(end.time)),
            transfer_time: start
                .zip(exchange.response_end)
                .map(|(start, end)| end.time.since(start.time)),
        }
    }

    fn turn(connection: &'a Connection, protocol: &'a str, turn: &Turn) -> Self {
        let at = |segment: SegmentRef| (segment.frame, segment.time);
        Self {
            connection,
            protocol,
            http: None,
            asked: at(turn.request.first),
            answered: turn.response.map(|response| at(response.first)),
            response_time: turn.response_time(),
            transfer_time: turn
                .response
                .map(|response| response.last.time.since(response.first.time)),
        }
    }
}

/// Rows of [`REQUESTS`].
pub(super) enum Requests {}

impl Record for Requests {
    type Of<'a> = RequestRecord<'a>;
}

const REQUEST_COLUMNS: &[Column<Requests>] = &[
    column("client", Text, "address and port of who asked", |r| {
        text(Some(r.connection.client.to_string()))
    }),
    column("client_ip", Text, "address of who asked", |r| {
        ip(r.connection.client)
    }),
    column("server", Text, "address and port of who was asked", |r| {
        text(Some(r.connection.server.to_string()))
    }),
    column("server_ip", Text, "address of who was asked", |r| {
        ip(r.connection.server)
    }),
    column("server_port", Integer, "port of who was asked", |r| {
        port(r.connection.server)
    }),
    column(
        "protocol",
        Text,
        "what the payload is, as in `connections`",
        |r| text(Some(r.protocol)),
    ),
    column("method", Text, "HTTP method", |r| {
        text(r.http.map(|http| http.method.as_str()))
    }),
    column("host", Text, "HTTP host", |r| {
        text(r.http.and_then(|http| http.host.as_deref()))
    }),
    column("target", Text, "HTTP target, at most 256 characters", |r| {
        text(r.http.map(|http| http.target.as_str()))
    }),
    column(
        "status",
        Integer,
        "HTTP status of the final response",
        |r| {
            r.http
                .and_then(|http| http.status)
                .map_or(Value::Missing, |status| Value::Integer(status.into()))
        },
    ),
    column("request_time", Time, "first byte of the request", |r| {
        time(Some(r.asked.1))
    }),
    column("hour", Time, "the hour in which it was asked", |r| {
        hour(Some(r.asked.1))
    }),
    column(
        "response_time",
        Time,
        "first byte of the response; missing when none came",
        |r| time(r.answered.map(|at| at.1)),
    ),
    column(
        "response_ms",
        Number,
        "last byte of the request to first byte of the response",
        |r| ms(r.response_time),
    ),
    column(
        "transfer_ms",
        Number,
        "first to last byte of the response",
        |r| ms(r.transfer_time),
    ),
    column("answered", Boolean, "whether a response began", |r| {
        Value::Boolean(r.answered.is_some())
    }),
    column(
        "request_frame",
        Integer,
        "frame.number where the request begins",
        |r| count(r.asked.0),
    ),
    column(
        "response_frame",
        Integer,
        "frame.number where the response begins",
        |r| r.answered.map_or(Value::Missing, |at| count(at.0)),
    ),
    column(
        "first_frame",
        Integer,
        "the connection, as in `connections`",
        |r| count(r.connection.first_frame),
    ),
];

pub(super) static REQUESTS: Table<Requests> = Table {
    name: "requests",
    about: "the telling requests of every connection: for HTTP the last 8, the 8 slowest and the first 8 \
            that failed (5xx, 429); for other conversations the 8 slowest turns and the last two",
    columns: REQUEST_COLUMNS,
};

/// One DNS question.
pub(super) struct DnsRecord<'a> {
    pub connection: &'a Connection,
    pub exchange: &'a DnsExchange,
}

/// Rows of [`DNS`].
pub(super) enum DnsQuestions {}

impl Record for DnsQuestions {
    type Of<'a> = DnsRecord<'a>;
}

const DNS_COLUMNS: &[Column<DnsQuestions>] = &[
    column("client", Text, "address and port of who asked", |r| {
        text(Some(r.connection.client.to_string()))
    }),
    column("client_ip", Text, "address of who asked", |r| {
        ip(r.connection.client)
    }),
    column("server", Text, "address and port of the name server", |r| {
        text(Some(r.connection.server.to_string()))
    }),
    column("server_ip", Text, "address of the name server", |r| {
        ip(r.connection.server)
    }),
    column("transport", Text, "`udp` or `tcp`", |r| {
        text(Some(r.connection.transport.as_str()))
    }),
    column(
        "name",
        Text,
        "name asked, lower case, without final dot",
        |r| text(Some(&r.exchange.name)),
    ),
    column(
        "qtype",
        Integer,
        "record type asked (1 A, 28 AAAA, …)",
        |r| Value::Integer(r.exchange.qtype.into()),
    ),
    column("asked_time", Time, "time of the first question", |r| {
        time(Some(r.exchange.asked.time))
    }),
    column("hour", Time, "the hour in which it was asked", |r| {
        hour(Some(r.exchange.asked.time))
    }),
    column(
        "repeats",
        Integer,
        "how often the question was repeated",
        |r| Value::Integer(r.exchange.repeats.into()),
    ),
    column("answered", Boolean, "whether an answer came", |r| {
        Value::Boolean(r.exchange.answered.is_some())
    }),
    column("answer_ms", Number, "first question to answer", |r| {
        ms(r.exchange
            .answered
            .map(|at| at.time.since(r.exchange.asked.time)))
    }),
    column(
        "rcode",
        Integer,
        "response code (0 no error, 2 SERVFAIL, 3 NXDOMAIN, …)",
        |r| {
            r.exchange
                .rcode
                .map_or(Value::Missing, |rcode| Value::Integer(rcode.into()))
        },
    ),
    column(
        "truncated",
        Boolean,
        "the answer says it was truncated",
        |r| Value::Boolean(r.exchange.truncated),
    ),
    column("answer_bytes", Integer, "length of the answer", |r| {
        r.exchange.answered.map_or(Value::Missing, |_| {
            Value::Integer(r.exchange.answer_len.into())
        })
    }),
    column(
        "addresses",
        Text,
        "A and AAAA records of the answer, joined by commas",
        |r| {
            let addresses: Vec<String> = r
                .exchange
                .addresses
                .iter()
                .map(ToString::to_string)
                .collect();
            text((!addresses.is_empty()).then(|| addresses.join(",")))
        },
    ),
    column(
        "asked_frame",
        Integer,
        "frame.number of the first question",
        |r| count(r.exchange.asked.frame),
    ),
    column(
        "first_frame",
        Integer,
        "the connection, as in `connections`",
        |r| count(r.connection.first_frame),
    ),
];

pub(super) static DNS: Table<DnsQuestions> = Table {
    name: "dns",
    about: "one row per DNS question, at most 64 of a connection (answered ones give way first)",
    columns: DNS_COLUMNS,
};

/// The contract's name of a direction, as a value.
pub(super) fn direction(direction: Direction) -> Value {
    Value::Text(direction_name(direction).to_owned())
}

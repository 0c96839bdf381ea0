//! Connections as rows.

use std::time::Duration;

use analyzer::connection::CapturePoint;
use analyzer::{Connection, Direction, Endpoint, Half};

use super::rows::{count, hour, number, text, time};
use super::schema::ColumnType::{Integer, Number, Text, Time};
use super::schema::{Column, Record, Table, Value, column};
use crate::document::{ConnectionRow, ProcessRow, direction_name, millis};

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

    const fn process(&self) -> Option<&ProcessRow> {
        self.row.process.as_ref()
    }

    /// SYN to the ACK that completes the handshake.
    fn handshake(&self) -> Option<f64> {
        let handshake = &self.connection.handshake;
        let (syn, ack) = (handshake.syns.first()?, handshake.ack.as_ref()?);
        Some(millis(ack.time.since(syn.time)))
    }
}

pub(super) fn ip(endpoint: Endpoint) -> Value {
    text(Some(endpoint.ip.to_string()))
}

pub(super) fn port(endpoint: Endpoint) -> Value {
    Value::Integer(endpoint.port.into())
}

pub(super) fn ms(duration: Option<Duration>) -> Value {
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
        text(Some(&*r.row.transport))
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
        |r| text(Some(&*r.row.protocol)),
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
        |r| text(Some(&*r.row.close)),
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
        |r| text(Some(&*r.row.role)),
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
        "process",
        Text,
        "the program at one end, where host evidence or the capture names it",
        |r| text(r.process().and_then(|process| process.name.as_deref())),
    ),
    column("process_pid", Integer, "its number", |r| {
        let pid = r.process().and_then(|process| process.pid);
        pid.map_or(Value::Missing, |pid| Value::Integer(pid.into()))
    }),
    column("process_host", Text, "address of its host", |r| {
        text(r.process().and_then(|process| process.host.as_deref()))
    }),
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

/// The contract's name of a direction, as a value.
pub(super) fn direction(direction: Direction) -> Value {
    text(Some(direction_name(direction)))
}

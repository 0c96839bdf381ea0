//! Connections as rows.

use analyzer::Connection;
use analyzer::app::AppProtocol;
use analyzer::connection::{CapturePoint, Histogram, Role};

use super::schema::ColumnType::{Integer, Number, Text, Time};
use super::schema::{Column, Record, Table, Value, column};
use super::schema::{count, hour, ip, millis, ms, number, port, rounded, text, time};

/// Rows of [`CONNECTIONS`].
pub enum Connections {}

impl Record for Connections {
    type Of<'a> = Connection;
}

/// SYN to the ACK that completes the handshake.
fn handshake(connection: &Connection) -> Option<f64> {
    let handshake = &connection.handshake;
    let (syn, ack) = (handshake.syns.first()?, handshake.ack.as_ref()?);
    Some(millis(ack.time.since(syn.time)))
}

/// Response times of the connection's turns, or of its datagrams.
#[must_use]
pub fn response_times(connection: &Connection) -> &Histogram {
    match &connection.udp {
        Some(udp) => &udp.response_times,
        None => &connection.turns.response_times,
    }
}

/// Requests, and those that were answered.
#[must_use]
pub fn requests(connection: &Connection) -> (u64, u64) {
    let Some(udp) = &connection.udp else {
        return (connection.turns.count, connection.turns.answered);
    };
    let classes = udp.size_classes.iter();
    let requests = classes.clone().map(|class| class.requests).sum::<u64>();
    (
        requests + udp.uncounted_requests,
        classes.map(|class| class.answered).sum(),
    )
}

/// How client and server were identified.
#[must_use]
pub const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Syn => "syn",
        Role::SynAck => "syn-ack",
        Role::Judged => "judged",
    }
}

/// What the payload is.
#[must_use]
pub fn protocol_name(connection: &Connection) -> &'static str {
    match connection.app.protocol {
        AppProtocol::Unknown => connection
            .udp
            .as_ref()
            .and_then(|udp| udp.protocol)
            .or(connection.app.name)
            .unwrap_or("unknown"),
        AppProtocol::Http1 => "http1",
        AppProtocol::Http2 => "http2",
        AppProtocol::Tls => "tls",
        AppProtocol::Dns => "dns",
        AppProtocol::Ssh => "ssh",
        AppProtocol::Framed => "framed",
    }
}

/// Host header or TLS server name.
#[must_use]
pub fn server_name(connection: &Connection) -> Option<String> {
    let app = &connection.app;
    let sni = app.tls.as_ref().and_then(|tls| tls.sni.clone());
    sni.or_else(|| {
        app.http
            .as_ref()?
            .kept
            .iter()
            .find_map(|exchange| exchange.host.clone())
    })
}

const fn capture_point(point: CapturePoint) -> &'static str {
    match point {
        CapturePoint::Client => "client",
        CapturePoint::Server => "server",
        CapturePoint::Between => "between",
        CapturePoint::Unknown => "unknown",
    }
}

const CONNECTION_COLUMNS: &[Column<Connections>] = &[
    column("transport", Text, "`tcp` or `udp`", |r| {
        text(Some(r.transport.as_str()))
    }),
    column(
        "client",
        Text,
        "address and port of the end that opened it",
        |r| text(Some(r.client.to_string())),
    ),
    column(
        "client_ip",
        Text,
        "address of the end that opened it",
        |r| ip(r.client),
    ),
    column(
        "client_port",
        Integer,
        "port of the end that opened it",
        |r| port(r.client),
    ),
    column("server", Text, "address and port of the called end", |r| {
        text(Some(r.server.to_string()))
    }),
    column("server_ip", Text, "address of the called end", |r| {
        ip(r.server)
    }),
    column("server_port", Integer, "port of the called end", |r| {
        port(r.server)
    }),
    column(
        "server_name",
        Text,
        "Host header or TLS server name, when seen",
        |r| text(server_name(r)),
    ),
    column(
        "protocol",
        Text,
        "what the payload is: `http1`, `http2`, `tls`, `dns`, `ssh`, `framed`, `unknown`, …",
        |r| text(Some(protocol_name(r))),
    ),
    column("start_time", Time, "time of its first packet", |r| {
        time(Some(r.start))
    }),
    column("end_time", Time, "time of its last packet", |r| {
        time(Some(r.end))
    }),
    column("hour", Time, "the hour in which it began", |r| {
        hour(Some(r.start))
    }),
    column("duration_ms", Number, "first to last packet", |r| {
        ms(Some(r.duration()))
    }),
    column(
        "handshake_ms",
        Number,
        "SYN to the completing ACK; missing when not both were seen",
        |r| number(handshake(r)),
    ),
    column(
        "close",
        Text,
        "how it ended: `fin`, `reset`, `timeout` or `open`",
        |r| text(Some(r.close.as_str())),
    ),
    column(
        "reset_by",
        Text,
        "who sent the first reset: `client` or `server`",
        |r| {
            text(
                r.resets
                    .first()
                    .map(|reset| reset.segment.direction.sender()),
            )
        },
    ),
    column("reset_kind", Text, "cause of the first reset", |r| {
        text(r.resets.first().map(|reset| reset.kind.as_str()))
    }),
    column(
        "reset_confidence",
        Number,
        "how sure that cause is, 0 to 1",
        |r| {
            let reset = r.resets.first();
            number(reset.map(|reset| rounded(reset.confidence.clamp(0.0, 1.0))))
        },
    ),
    column("packets", Integer, "packets of both directions", |r| {
        count(r.packets())
    }),
    column(
        "bytes",
        Integer,
        "bytes on the wire of both directions",
        |r| count(r.from_client().wire_bytes + r.from_server().wire_bytes),
    ),
    column("client_packets", Integer, "packets the client sent", |r| {
        count(r.from_client().packets)
    }),
    column("server_packets", Integer, "packets the server sent", |r| {
        count(r.from_server().packets)
    }),
    column(
        "client_payload_bytes",
        Integer,
        "payload the client sent, copies included",
        |r| count(r.from_client().payload_bytes),
    ),
    column(
        "server_payload_bytes",
        Integer,
        "payload the server sent, copies included",
        |r| count(r.from_server().payload_bytes),
    ),
    column(
        "client_retransmitted_segments",
        Integer,
        "segments the client retransmitted",
        |r| count(r.from_client().retransmitted_segments),
    ),
    column(
        "server_retransmitted_segments",
        Integer,
        "segments the server retransmitted",
        |r| count(r.from_server().retransmitted_segments),
    ),
    column(
        "client_retransmitted_bytes",
        Integer,
        "payload the client retransmitted",
        |r| count(r.from_client().retransmitted_bytes),
    ),
    column(
        "server_retransmitted_bytes",
        Integer,
        "payload the server retransmitted",
        |r| count(r.from_server().retransmitted_bytes),
    ),
    column(
        "client_spurious_retransmissions",
        Integer,
        "retransmitted by the client although the server had it",
        |r| count(r.from_client().spurious_retransmissions),
    ),
    column(
        "server_spurious_retransmissions",
        Integer,
        "retransmitted by the server although the client had it",
        |r| count(r.from_server().spurious_retransmissions),
    ),
    column(
        "client_out_of_order",
        Integer,
        "originals of the client that arrived late",
        |r| count(r.from_client().out_of_order),
    ),
    column(
        "server_out_of_order",
        Integer,
        "originals of the server that arrived late",
        |r| count(r.from_server().out_of_order),
    ),
    column(
        "client_missing_bytes",
        Integer,
        "the client's bytes that were acknowledged and never captured",
        |r| count(r.from_client().missing_octets),
    ),
    column(
        "server_missing_bytes",
        Integer,
        "the server's bytes that were acknowledged and never captured",
        |r| count(r.from_server().missing_octets),
    ),
    column(
        "client_zero_windows",
        Integer,
        "times the client's receive window closed",
        |r| count(r.from_client().zero_windows),
    ),
    column(
        "server_zero_windows",
        Integer,
        "times the server's receive window closed",
        |r| count(r.from_server().zero_windows),
    ),
    column(
        "client_rtt_min_ms",
        Number,
        "smallest round trip of the client's segments, at the capture point",
        |r| ms(r.from_client().rtt_min),
    ),
    column(
        "server_rtt_min_ms",
        Number,
        "smallest round trip of the server's segments, at the capture point",
        |r| ms(r.from_server().rtt_min),
    ),
    column(
        "rtt_ms",
        Number,
        "smallest full round trip that the capture point shows",
        |r| ms(r.rtt()),
    ),
    column(
        "stall_ms",
        Number,
        "time in which bytes that had arrived waited behind a lost one",
        |r| ms(Some(r.holes.stall_total())),
    ),
    column(
        "requests",
        Integer,
        "requests (turns of the conversation; datagram requests for UDP)",
        |r| count(requests(r).0),
    ),
    column("answered", Integer, "requests that got a response", |r| {
        count(requests(r).1)
    }),
    column("response_p50_ms", Number, "median response time", |r| {
        ms(response_times(r).quantile(0.5))
    }),
    column("response_max_ms", Number, "largest response time", |r| {
        ms(response_times(r).quantile(1.0))
    }),
    column(
        "role",
        Text,
        "how client and server were identified: `syn`, `syn-ack` or `judged`",
        |r| text(Some(role_name(r.role))),
    ),
    column(
        "capture_point",
        Text,
        "where it was captured: `client`, `server`, `between` or `unknown`",
        |r| text(Some(capture_point(r.capture_point))),
    ),
    column(
        "translated_from",
        Text,
        "the address the client meant, when another one answered",
        |r| text(r.translated_from.map(|end| end.to_string())),
    ),
    column(
        "process",
        Text,
        "the program at one end, where host evidence or the capture names it",
        |r| text(r.process.as_ref().and_then(|process| process.name.clone())),
    ),
    column("process_pid", Integer, "its number", |r| {
        let pid = r.process.as_ref().and_then(|process| process.pid);
        pid.map_or(Value::Missing, |pid| Value::Integer(pid.into()))
    }),
    column("process_host", Text, "address of its host", |r| {
        text(r.process.as_ref().and_then(|process| process.host.clone()))
    }),
    column("process_pod", Text, "its pod, as `namespace/name`", |r| {
        text(r.process.as_ref().and_then(|process| process.pod.clone()))
    }),
    column("process_container", Text, "name of its container", |r| {
        let container = r.process.as_ref().map(|process| process.container.clone());
        text(container.flatten())
    }),
    column(
        "proxied_to",
        Text,
        "whom a proxy talks to on its other side, where its own capture states it",
        |r| text(r.proxied_to.as_ref().map(|side| side.remote.to_string())),
    ),
    column(
        "first_frame",
        Integer,
        "frame.number of its first packet: distinguishes incarnations of one 4-tuple",
        |r| count(r.first_frame),
    ),
    column(
        "last_frame",
        Integer,
        "frame.number of its last packet",
        |r| count(r.last_frame),
    ),
];

pub static CONNECTIONS: Table<Connections> = Table {
    name: "connections",
    about: "one row per connection (one incarnation of a 4-tuple)",
    columns: CONNECTION_COLUMNS,
};

//! Requests step by step: the table `actions`.

use std::time::Duration;

use rules::rows::ColumnType::{Boolean, Integer, Number, Text, Time};
use rules::rows::{Column, Record, Table, Value, column};
use rules::rows::{count, hour, millis, number, text, time};

use crate::gather::{Action, Step};

/// Rows of [`ACTIONS`].
pub(super) enum UserActions {}

impl Record for UserActions {
    type Of<'a> = Action;
}

fn ms(duration: Option<Duration>) -> Value {
    number(duration.map(millis))
}

/// A step's length, loss recovery left out.
fn own(action: &Action, step: Step) -> Value {
    ms(action.step(step).map(|span| span.own()))
}

const COLUMNS: &[Column<UserActions>] = &[
    column("client", Text, "address and port of the client", |r| {
        text(Some(r.client.to_string()))
    }),
    column("client_ip", Text, "address of the client", |r| {
        text(Some(r.client.ip.to_string()))
    }),
    column("server", Text, "address and port of the server", |r| {
        text(Some(r.server.to_string()))
    }),
    column("server_ip", Text, "address of the server", |r| {
        text(Some(r.server.ip.to_string()))
    }),
    column("server_port", Integer, "port of the server", |r| {
        Value::Integer(r.server.port.into())
    }),
    column(
        "name",
        Text,
        "Host header or TLS server name, when seen",
        |r| text(r.name.clone()),
    ),
    column(
        "protocol",
        Text,
        "what the payload is, as in `connections`",
        |r| text(Some(r.protocol.clone())),
    ),
    column(
        "request",
        Text,
        "method and target, or how much was sent; missing where a connection was opened ahead of its \
         first request",
        |r| text(r.request.clone()),
    ),
    column("outcome", Text, "status, or how much came back", |r| {
        text(Some(r.outcome.clone()))
    }),
    column("start_time", Time, "beginning of the first step", |r| {
        time(r.start())
    }),
    column("hour", Time, "the hour in which it began", |r| {
        hour(r.start())
    }),
    column(
        "dns_ms",
        Number,
        "first query to last response of the lookup that the connection waited for",
        |r| own(r, Step::Dns),
    ),
    column(
        "connect_ms",
        Number,
        "first SYN to the ACK that completes the handshake",
        |r| own(r, Step::Connect),
    ),
    column(
        "tls_ms",
        Number,
        "ClientHello to the end of the TLS handshake",
        |r| own(r, Step::Tls),
    ),
    column(
        "request_ms",
        Number,
        "first to last byte of the request, without loss recovery",
        |r| own(r, Step::Request),
    ),
    column(
        "server_ms",
        Number,
        "last byte of the request to first byte of the response, or to the close where \
         no response came; without loss recovery",
        |r| own(r, Step::Server),
    ),
    column(
        "first_byte_ms",
        Number,
        "beginning of the first step to first byte of the response",
        |r| ms(r.first_byte()),
    ),
    column(
        "body_ms",
        Number,
        "first to last byte of the response, without loss recovery",
        |r| own(r, Step::Body),
    ),
    column(
        "recovery_ms",
        Number,
        "time between request and end of the response in which data waited for a retransmission",
        |r| ms(Some(r.recovery())),
    ),
    column(
        "total_ms",
        Number,
        "beginning of the first step to end of the last, pauses of the client included",
        |r| ms(Some(r.total())),
    ),
    column(
        "complete",
        Boolean,
        "whether the response was seen to its end",
        |r| Value::Boolean(r.is_complete),
    ),
    column(
        "frame",
        Integer,
        "frame.number where the request begins",
        |r| count(r.frame),
    ),
    column(
        "first_frame",
        Integer,
        "the connection, as in `connections`",
        |r| count(r.first_frame),
    ),
];

pub(super) static ACTIONS: Table<UserActions> = Table {
    name: "actions",
    about: "one row per request of `requests` over TCP with what its client waited for before it: name lookup, \
            connection and TLS handshake where the connection was opened for it; at most 25,000",
    columns: COLUMNS,
};

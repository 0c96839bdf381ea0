//! What connections carried, as rows: requests and DNS questions.

use std::time::Duration;

use analyzer::Connection;
use analyzer::app::{At, DnsExchange, HttpExchange, ServiceCall, pattern};
use analyzer::connection::Turn;
use analyzer::event::SegmentRef;

use super::connections::protocol_name;
use super::schema::ColumnType::{Boolean, Integer, Number, Text, Time};
use super::schema::{Column, Record, Table, Value, column};
use super::schema::{count, hour, ip, ms, port, text, time};

/// One request that was kept, of HTTP or of a conversation read by its turns.
pub struct RequestRecord<'a> {
    connection: &'a Connection,
    protocol: &'static str,
    http: Option<&'a HttpExchange>,
    call: Option<&'a ServiceCall>,
    asked: At,
    answered: Option<At>,
    /// The request's last octet to the response, or to the end of the connection.
    waited: Duration,
    response_time: Option<Duration>,
    transfer_time: Option<Duration>,
}

impl<'a> RequestRecord<'a> {
    /// The requests kept of a connection, in their order.
    #[must_use]
    pub fn of(connection: &'a Connection) -> Vec<Self> {
        let protocol = protocol_name(connection);
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

    fn http(
        connection: &'a Connection,
        protocol: &'static str,
        exchange: &'a HttpExchange,
    ) -> Self {
        let end = exchange.request_end.unwrap_or(exchange.request_start);
        let start = exchange.response_start;
        Self {
            connection,
            protocol,
            http: Some(exchange),
            call: None,
            asked: exchange.request_start,
            answered: start,
            waited: start.map_or(connection.end, |at| at.time).since(end.time),
            response_time: start.map(|at| at.time.since(end.time)),
            transfer_time: start
                .zip(exchange.response_end)
                .map(|(start, end)| end.time.since(start.time)),
        }
    }

    fn turn(connection: &'a Connection, protocol: &'static str, turn: &Turn) -> Self {
        let at = |segment: SegmentRef| At {
            frame: segment.frame,
            time: segment.time,
        };
        let answered = turn.response.map(|response| response.first.time);
        Self {
            connection,
            protocol,
            http: None,
            call: connection.call_of(turn),
            asked: at(turn.request.first),
            answered: turn.response.map(|response| at(response.first)),
            waited: answered
                .unwrap_or(connection.end)
                .since(turn.request.last.time),
            response_time: turn.response_time(),
            transfer_time: turn
                .response
                .map(|response| response.last.time.since(response.first.time)),
        }
    }
}

impl RequestRecord<'_> {
    /// Where the request begins.
    pub(crate) const fn asked(&self) -> At {
        self.asked
    }

    /// Where the response begins.
    pub(crate) const fn answered(&self) -> Option<At> {
        self.answered
    }
}

/// Rows of [`REQUESTS`].
pub enum Requests {}

impl Record for Requests {
    type Of<'a> = RequestRecord<'a>;
}

const REQUEST_COLUMNS: &[Column<Requests>] = &[
    column("client", Text, "address and port of the client", |r| {
        text(Some(r.connection.client.to_string()))
    }),
    column("client_ip", Text, "address of the client", |r| {
        ip(r.connection.client)
    }),
    column("server", Text, "address and port of the server", |r| {
        text(Some(r.connection.server.to_string()))
    }),
    column("server_ip", Text, "address of the server", |r| {
        ip(r.connection.server)
    }),
    column("server_port", Integer, "port of the server", |r| {
        port(r.connection.server)
    }),
    column(
        "protocol",
        Text,
        "what the payload is, as in `connections`",
        |r| text(Some(r.protocol)),
    ),
    column("method", Text, "HTTP method", |r| {
        text(r.http.map(|http| http.method.to_string()))
    }),
    column("host", Text, "HTTP host", |r| {
        text(r.http.and_then(|http| http.host.clone()))
    }),
    column("target", Text, "HTTP target, at most 256 characters", |r| {
        text(r.http.map(|http| http.target.clone()))
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
    column(
        "operation",
        Text,
        "what was asked for, identifiers and literals aside: method and path of HTTP, a statement of SQL, \
         a command of Redis, memcached, MongoDB, SMTP, FTP, LDAP or Kafka",
        |r| {
            let of_http =
                |http: &HttpExchange| format!("{} {}", http.method, pattern(&http.target));
            let of_call = |call: &ServiceCall| call.operation.clone();
            text(r.http.map(of_http).or_else(|| r.call.map(of_call)))
        },
    ),
    column(
        "result",
        Text,
        "what the server stated: the status of HTTP; of a service the code of the error, else the reply's \
         code or word, `ok` where there is none",
        |r| {
            let of_http = r
                .http
                .and_then(|http| http.status)
                .map(|status| status.to_string());
            text(of_http.or_else(|| r.call.and_then(|call| call.result.clone())))
        },
    ),
    column("request_time", Time, "first byte of the request", |r| {
        time(Some(r.asked.time))
    }),
    column("hour", Time, "the hour of the request", |r| {
        hour(Some(r.asked.time))
    }),
    column(
        "response_time",
        Time,
        "first byte of the response; missing when none came",
        |r| time(r.answered.map(|at| at.time)),
    ),
    column(
        "response_ms",
        Number,
        "last byte of the request to first byte of the response",
        |r| ms(r.response_time),
    ),
    column(
        "wait_ms",
        Number,
        "how long the client waited: `response_ms`, or to the connection's last packet where no \
         response came",
        |r| ms(Some(r.waited)),
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
        |r| count(r.asked.frame),
    ),
    column(
        "response_frame",
        Integer,
        "frame.number where the response begins",
        |r| r.answered.map_or(Value::Missing, |at| count(at.frame)),
    ),
    column(
        "first_frame",
        Integer,
        "the connection, as in `connections`",
        |r| count(r.connection.first_frame),
    ),
];

pub static REQUESTS: Table<Requests> = Table {
    name: "requests",
    about: "the most relevant requests of every connection: for HTTP the last 8, the 8 slowest and the first 8 \
            that failed (5xx, 429); for other conversations the 8 slowest turns and the last two",
    columns: REQUEST_COLUMNS,
};

/// One DNS question.
pub struct DnsRecord<'a> {
    /// The connection it was asked on.
    pub connection: &'a Connection,
    /// The question and its answer.
    pub exchange: &'a DnsExchange,
}

/// Rows of [`DNS`].
pub enum DnsQuestions {}

impl Record for DnsQuestions {
    type Of<'a> = DnsRecord<'a>;
}

const DNS_COLUMNS: &[Column<DnsQuestions>] = &[
    column("client", Text, "address and port of the client", |r| {
        text(Some(r.connection.client.to_string()))
    }),
    column("client_ip", Text, "address of the client", |r| {
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
        "queried name, lower case, without final dot",
        |r| text(Some(r.exchange.name.clone())),
    ),
    column(
        "qtype",
        Integer,
        "queried record type (1 A, 28 AAAA, …)",
        |r| Value::Integer(r.exchange.qtype.into()),
    ),
    column("asked_time", Time, "time of the first query", |r| {
        time(Some(r.exchange.asked.time))
    }),
    column("hour", Time, "the hour of the request", |r| {
        hour(Some(r.exchange.asked.time))
    }),
    column("repeats", Integer, "how often the query was retried", |r| {
        Value::Integer(r.exchange.repeats.into())
    }),
    column("answered", Boolean, "whether a response came", |r| {
        Value::Boolean(r.exchange.answered.is_some())
    }),
    column("answer_ms", Number, "first query to response", |r| {
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
        "whether the response is marked as truncated",
        |r| Value::Boolean(r.exchange.truncated),
    ),
    column("answer_bytes", Integer, "length of the response", |r| {
        r.exchange.answered.map_or(Value::Missing, |_| {
            Value::Integer(r.exchange.answer_len.into())
        })
    }),
    column(
        "addresses",
        Text,
        "A and AAAA records of the response, joined by commas",
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
        "frame.number of the first query",
        |r| count(r.exchange.asked.frame),
    ),
    column(
        "first_frame",
        Integer,
        "the connection, as in `connections`",
        |r| count(r.connection.first_frame),
    ),
];

pub static DNS: Table<DnsQuestions> = Table {
    name: "dns",
    about: "one row per DNS query, at most 64 per connection (answered ones are dropped first)",
    columns: DNS_COLUMNS,
};

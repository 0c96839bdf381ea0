//! The requests a reader asks for first: those that failed and those that took longest.
//!
//! Bounded while connections come and go; what is kept depends on the requests alone, so it is
//! the same however connections were spread over shards.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use analyzer::app::{AppProtocol, DnsExchange, HttpExchange};
use analyzer::static_name::{self, StaticName};
use analyzer::{Connection, Timestamp};
use serde::{Deserialize, Serialize};

use super::action::{has_failed, http_outcome, outcome_of};
use crate::document::{Cell, Column, ResponseTimes, Table, millis};
use crate::words::format;

/// Requests kept of each kind: failed ones, and the slowest.
const KEPT: usize = 50;

/// One request and what became of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
struct Request {
    /// Absent while nothing came back.
    response_time: Option<Duration>,
    /// Frames identify requests.
    frame: Reverse<u64>,
    start: Timestamp,
    #[serde(deserialize_with = "static_name::read")]
    protocol: StaticName,
    what: String,
    outcome: String,
    client: String,
    server: String,
}

/// What orders requests, above all else.
type Key = (Option<Duration>, Reverse<u64>);

impl Request {
    const fn key(&self) -> Key {
        (self.response_time, self.frame)
    }
}

/// The failed and the slowest requests of one shard, or of all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Requests {
    failed: BTreeSet<Request>,
    slowest: BTreeSet<Request>,
    seen: u64,
}

impl Requests {
    /// Takes the requests that a connection remembers.
    pub fn add(&mut self, connection: &Connection) {
        let app = &connection.app;
        if let Some(http) = &app.http {
            self.seen += http.requests;
            for exchange in &http.kept {
                let failed = has_failed(connection, exchange);
                let key = (
                    response_time(exchange),
                    Reverse(exchange.request_start.frame),
                );
                self.offer(failed, key, || http_request(connection, exchange));
            }
        } else if app.protocol != AppProtocol::Dns {
            self.turns(connection);
        }
        self.seen += app.dns.len() as u64 + app.dns_dropped;
        for exchange in &app.dns {
            // NXDOMAIN is an answer like any other; rules say when it is a failure.
            let failed = exchange.rcode.is_none_or(|rcode| !matches!(rcode, 0 | 3));
            let answered = exchange
                .answered
                .map(|at| at.time.since(exchange.asked.time));
            let key = (answered, Reverse(exchange.asked.frame));
            self.offer(failed, key, || dns_request(connection, exchange));
        }
    }

    /// Requests read from the direction changes of the payload.
    fn turns(&mut self, connection: &Connection) {
        let turns = &connection.turns;
        self.seen += turns.count;
        let unanswered = turns.pending().into_iter();
        for turn in turns.slowest.iter().chain(unanswered) {
            let first = turn.request.first;
            let outcome = || match &turn.response {
                Some(response) => outcome_of(connection, turn, response),
                None => "no answer".to_owned(),
            };
            let key = (turn.response_time(), Reverse(first.frame));
            let request = || Request {
                response_time: key.0,
                frame: key.1,
                start: first.time,
                protocol: "tcp",
                what: match connection.call_of(turn) {
                    Some(call) => call.operation.clone(),
                    None => format!("{} sent", format::size(turn.request.octets as f64)),
                },
                outcome: outcome(),
                client: connection.client.to_string(),
                server: connection.server.to_string(),
            };
            self.offer(turn.response.is_none(), key, request);
        }
    }

    /// Keeps a request if it is failed or slow enough; `key` is what orders it.
    fn offer(&mut self, failed: bool, key: Key, request: impl FnOnce() -> Request) {
        let list = if failed {
            &mut self.failed
        } else {
            &mut self.slowest
        };
        let least = list.first().filter(|_| list.len() >= KEPT);
        if least.is_some_and(|least| key < least.key()) {
            return;
        }
        list.insert(request());
        if list.len() > KEPT {
            list.pop_first();
        }
    }

    /// Joins what another shard kept.
    pub fn append(&mut self, other: Self) {
        self.seen += other.seen;
        for request in other.failed {
            self.offer(true, request.key(), || request);
        }
        for request in other.slowest {
            self.offer(false, request.key(), || request);
        }
    }

    /// Failed ones first, then the slowest. `None` when there was no request.
    pub fn table(self, times: Option<&ResponseTimes>, start: Option<Timestamp>) -> Option<Table> {
        let kept = self.failed.len() + self.slowest.len();
        if kept == 0 {
            return None;
        }
        let of = |list: BTreeSet<Request>| list.into_iter().rev();
        let rows = of(self.failed).chain(of(self.slowest));
        let note = times.map(|times| {
            format!(
                "All {}: half came within {}, 95 % within {}, 99 % within {}, the slowest after {}.",
                format::counted(times.count, "response"),
                format::duration(times.p50_ms),
                format::duration(times.p95_ms),
                format::duration(times.p99_ms),
                format::duration(times.max_ms),
            )
        });
        Some(Table {
            id: "requests".to_owned(),
            title: "Requests: failed, then slowest".to_owned(),
            columns: COLUMNS.map(column).into(),
            rows: rows.map(|request| request.cells(start)).collect(),
            rows_left_out: self.seen.saturating_sub(kept as u64),
            note,
        })
    }
}

const COLUMNS: [(&str, &str); 8] = [
    ("start_s", "In capture"),
    ("protocol", "Protocol"),
    ("request", "Request"),
    ("outcome", "Outcome"),
    ("response_ms", "Time to first byte"),
    ("client", "Client"),
    ("server", "Server"),
    ("frame", "Frame"),
];

fn column((name, label): (&str, &str)) -> Column {
    Column {
        name: name.to_owned(),
        label: label.to_owned(),
    }
}

impl Request {
    fn cells(self, start: Option<Timestamp>) -> Vec<Cell> {
        let since = start.map(|start| crate::document::seconds(self.start.since(start)));
        vec![
            since.map_or(Cell::Missing(()), Cell::Number),
            Cell::Text(self.protocol.to_owned()),
            Cell::Text(self.what),
            Cell::Text(self.outcome),
            self.response_time
                .map_or(Cell::Missing(()), |time| Cell::Number(millis(time))),
            Cell::Text(self.client),
            Cell::Text(self.server),
            Cell::Count(self.frame.0),
        ]
    }
}

fn response_time(exchange: &HttpExchange) -> Option<Duration> {
    let asked = exchange.request_end.unwrap_or(exchange.request_start);
    exchange
        .response_start
        .map(|response| response.time.since(asked.time))
}

fn http_request(connection: &Connection, exchange: &HttpExchange) -> Request {
    let target = format::shortened(&exchange.target, 80);
    let host = exchange.host.as_deref().unwrap_or_default();
    let host = format::shortened(host, 60);
    Request {
        response_time: response_time(exchange),
        frame: Reverse(exchange.request_start.frame),
        start: exchange.request_start.time,
        protocol: match connection.app.protocol {
            AppProtocol::Http2 => "http2",
            _ => "http1",
        },
        what: format!("{} {host}{target}", exchange.method),
        outcome: http_outcome(connection, exchange),
        client: connection.client.to_string(),
        server: connection.server.to_string(),
    }
}

fn dns_request(connection: &Connection, exchange: &DnsExchange) -> Request {
    let outcome = match exchange.rcode {
        Some(0) if exchange.truncated => "truncated".to_owned(),
        Some(0) => match exchange.addresses.len() {
            0 => "answered".to_owned(),
            1 => "1 address".to_owned(),
            several => format!("{several} addresses"),
        },
        Some(2) => "SERVFAIL".to_owned(),
        Some(3) => "NXDOMAIN".to_owned(),
        Some(5) => "REFUSED".to_owned(),
        Some(rcode) => format!("response code {rcode}"),
        None => "no answer".to_owned(),
    };
    let kind = match exchange.qtype {
        1 => "A".to_owned(),
        28 => "AAAA".to_owned(),
        other => format!("type {other}"),
    };
    Request {
        response_time: exchange
            .answered
            .map(|answer| answer.time.since(exchange.asked.time)),
        frame: Reverse(exchange.asked.frame),
        start: exchange.asked.time,
        protocol: "dns",
        what: format!("{kind} {}", format::shortened(&exchange.name, 100)),
        outcome,
        client: connection.client.to_string(),
        server: connection.server.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(frame: u64, millis: Option<u64>) -> Request {
        Request {
            response_time: millis.map(Duration::from_millis),
            frame: Reverse(frame),
            start: Timestamp::from_nanos(0),
            protocol: "http1",
            what: String::new(),
            outcome: String::new(),
            client: String::new(),
            server: String::new(),
        }
    }

    fn offer(requests: &mut Requests, failed: bool, request: Request) {
        requests.offer(failed, request.key(), || request);
    }

    #[test]
    fn keeps_the_slowest_however_they_are_spread() {
        let keep = |shards: usize| {
            let mut parts = vec![Requests::default(); shards];
            for n in 0..500_u64 {
                offer(
                    &mut parts[n as usize * 13 % shards],
                    false,
                    request(n, Some(n * 37 % 101)),
                );
            }
            let mut all = Requests::default();
            parts.into_iter().for_each(|part| all.append(part));
            all.slowest
        };
        assert_eq!(keep(1).len(), KEPT);
        assert_eq!(keep(1), keep(7));
    }

    #[test]
    fn failed_requests_stand_first_and_what_is_left_out_is_counted() {
        let mut requests = Requests {
            seen: 9,
            ..Requests::default()
        };
        offer(&mut requests, false, request(1, Some(900)));
        offer(&mut requests, true, request(2, None));
        let table = requests.table(None, None).unwrap();
        let frames: Vec<_> = table.rows.iter().map(|row| row[7].clone()).collect();
        assert_eq!(frames, [Cell::Count(2), Cell::Count(1)]);
        assert_eq!(table.rows_left_out, 7);
    }
}

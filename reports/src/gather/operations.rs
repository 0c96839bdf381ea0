//! Response times by what was asked: method and URL pattern of HTTP, record type of DNS.

use std::collections::BTreeMap;
use std::time::Duration;

use analyzer::Connection;
use analyzer::app::{HttpExchange, pattern};
use analyzer::connection::Histogram;
use analyzer::static_name::{self, StaticName};
use rules::rows::{protocol_name, server_name};
use serde::{Deserialize, Serialize};

use super::tables::ranked;
use crate::document::{Cell, Table, millis};
use crate::words::format;

/// Operations counted in one shard; later ones are counted together.
const OPERATIONS: usize = 500;

/// The path of a redacted target is the stand-in of its pattern, which is no identifier.
const STAND_IN: &str = "/name-";

/// What was asked of whom.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
struct Key {
    #[serde(deserialize_with = "static_name::read")]
    protocol: StaticName,
    server: String,
    operation: String,
}

/// How often, and how long the responses took.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
struct Operation {
    requests: u64,
    failed: u64,
    response_times: Histogram,
}

/// The operations of one shard, or of all.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Operations {
    known: BTreeMap<Key, Operation>,
    /// Operations that are not counted by themselves.
    others: Operation,
}

impl Operations {
    pub fn add(&mut self, connection: &Connection) {
        if let Some(http) = &connection.app.http {
            let server = match server_name(connection) {
                Some(name) if !http.proxy_request => format::shortened(&name, 60),
                _ => connection.server.to_string(),
            };
            let key = |operation| Key {
                protocol: protocol_name(connection),
                server: server.clone(),
                operation,
            };
            for exchange in &http.kept {
                let path = pattern_of(&exchange.target);
                let failed = exchange.status.is_none_or(|status| status >= 500);
                let operation = self.operation(key(format!("{} {path}", exchange.method)));
                operation.count(failed, response_time(exchange));
            }
            for others in &http.not_kept {
                let path = others.pattern.as_deref().unwrap_or("others");
                let operation = format!("{} {path}", others.method);
                let operation = self.operation(key(operation.trim_start().to_owned()));
                operation.requests += others.count;
                operation.failed += others.failed;
                operation.response_times.merge(&others.response_times);
            }
        }
        for exchange in &connection.app.dns {
            let operation = match exchange.qtype {
                1 => "A".to_owned(),
                28 => "AAAA".to_owned(),
                other => format!("type {other}"),
            };
            let operation = self.operation(Key {
                protocol: protocol_name(connection),
                server: connection.server.to_string(),
                operation,
            });
            let failed = exchange.rcode.is_none_or(|rcode| !matches!(rcode, 0 | 3));
            let asked = exchange.asked.time;
            operation.count(failed, exchange.answered.map(|at| at.time.since(asked)));
        }
    }

    fn operation(&mut self, key: Key) -> &mut Operation {
        if self.known.len() < OPERATIONS || self.known.contains_key(&key) {
            return self.known.entry(key).or_default();
        }
        &mut self.others
    }

    /// Joins what another shard counted.
    pub fn append(&mut self, other: Self) {
        for (key, operation) in other.known {
            self.known.entry(key).or_default().merge(&operation);
        }
        self.others.merge(&other.others);
    }

    /// The slowest first, by the 95th percentile; `None` without any response.
    pub fn table(&self) -> Option<Table> {
        let answered = self.known.iter();
        let answered = answered.filter(|(_, operation)| operation.response_times.count() > 0);
        let rows = answered.map(|(key, operation)| {
            let quantile = |at| operation.response_times.quantile(at).map_or(0.0, millis);
            let p95 = quantile(0.95);
            let cells = move || {
                vec![
                    Cell::Text(key.protocol.to_owned()),
                    Cell::Text(key.operation.clone()),
                    Cell::Text(key.server.clone()),
                    Cell::Count(operation.requests),
                    Cell::Count(operation.failed),
                    Cell::Number(quantile(0.5)),
                    Cell::Number(p95),
                    Cell::Number(quantile(0.99)),
                    Cell::Number(quantile(1.0)),
                ]
            };
            (p95, cells)
        });
        let title = "Time to first byte by operation, identifiers in paths folded";
        let mut table = ranked("operations", title, &HEADS, rows);
        let others = self.others.requests;
        table.note = (others > 0).then(|| {
            let others = format::counted(others, "request");
            format!("{others} of further operations are not counted here.")
        });
        (!table.rows.is_empty()).then_some(table)
    }
}

const HEADS: [(&str, &str); 9] = [
    ("protocol", "Protocol"),
    ("operation", "Operation"),
    ("server", "Server"),
    ("requests", "Requests"),
    ("failed", "Failed"),
    ("response_p50_ms", "Half within"),
    ("response_p95_ms", "95 % within"),
    ("response_p99_ms", "99 % within"),
    ("response_max_ms", "Slowest"),
];

impl Operation {
    fn count(&mut self, failed: bool, response_time: Option<Duration>) {
        self.requests += 1;
        self.failed += u64::from(failed);
        if let Some(time) = response_time {
            self.response_times.add(time);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.response_times.merge(&other.response_times);
    }
}

fn response_time(exchange: &HttpExchange) -> Option<Duration> {
    let asked = exchange.request_end.unwrap_or(exchange.request_start);
    let response = exchange.response_start?;
    Some(response.time.since(asked.time))
}

fn pattern_of(target: &str) -> String {
    match target.strip_prefix(STAND_IN) {
        Some(_) => target.split('?').next().unwrap_or_default().to_owned(),
        None => pattern(target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key {
            protocol: "http1",
            server: "shop.example".to_owned(),
            operation: format!("GET /{}", "x".repeat(number)),
        }
    }

    #[test]
    fn operations_are_bounded_and_joined() {
        let mut one = Operations::default();
        for number in 0..OPERATIONS + 10 {
            let time = Duration::from_millis(number as u64);
            one.operation(key(number)).count(number == 3, Some(time));
        }
        let mut all = one.clone();
        all.append(one);
        assert_eq!(all.known.len(), OPERATIONS);
        assert_eq!(all.known[&key(3)].failed, 2);
        let table = all.table().unwrap();
        let note = table.note.unwrap();
        assert!(note.starts_with("20 requests of further"), "{note}");
        let slowest = format!("GET /{}", "x".repeat(OPERATIONS - 1));
        assert_eq!(table.rows[0][1], Cell::Text(slowest));
    }

    #[test]
    fn stand_ins_of_redacted_paths_stay() {
        assert_eq!(pattern_of("/name-0123456789?name-22"), "/name-0123456789");
        assert_eq!(pattern_of("/orders/17"), "/orders/{id}");
    }
}

//! Response times by what was asked: method and URL pattern of HTTP, record type of DNS, statements and
//! commands of services.

use std::collections::BTreeMap;
use std::time::Duration;

use analyzer::Connection;
use analyzer::app::{HttpExchange, pattern};
use analyzer::connection::Histogram;
use analyzer::static_name::{self, StaticName};
use serde::{Deserialize, Serialize};

use super::action::has_failed;
use super::asked::{Asked, AskedLately, What};
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Counts", into = "Counts")]
pub(crate) struct Operations {
    /// Where each is counted.
    known: BTreeMap<Key, usize>,
    counted: Vec<Operation>,
    /// Operations that are not counted by themselves.
    others: Operation,
    /// Where what was asked lately is counted; `None` among the others.
    lately: AskedLately<Option<usize>>,
}

/// Operations as they are passed on.
#[derive(Serialize, Deserialize)]
struct Counts {
    known: BTreeMap<Key, Operation>,
    others: Operation,
}

impl From<Counts> for Operations {
    fn from(Counts { known, others }: Counts) -> Self {
        let mut operations = Self {
            others,
            ..Self::default()
        };
        for (key, operation) in known {
            operations.entry(key).merge(&operation);
        }
        operations
    }
}

impl From<Operations> for Counts {
    fn from(mut operations: Operations) -> Self {
        let counted = &mut operations.counted;
        let known = operations.known.into_iter();
        let known = known.map(|(key, at)| (key, std::mem::take(&mut counted[at])));
        Self {
            known: known.collect(),
            others: operations.others,
        }
    }
}

impl Operations {
    pub fn add(&mut self, connection: &Connection) {
        if let Some(http) = &connection.app.http {
            let asked = Asked::of_http(connection, http);
            for exchange in &http.kept {
                let what = What::Target(&exchange.method, &exchange.target);
                let failed = has_failed(connection, exchange);
                let operation = self.operation(&asked.what(what));
                operation.count(failed, response_time(exchange));
            }
            for others in &http.not_kept {
                let what = What::Pattern(&others.method, others.pattern.as_deref());
                let operation = self.operation(&asked.what(what));
                operation.requests += others.count;
                operation.failed += others.failed;
                operation.response_times.merge(&others.response_times);
            }
        }
        for call in connection
            .app
            .calls
            .iter()
            .flat_map(|calls| &calls.operations)
        {
            let what = What::Call(call.operation.as_deref());
            let operation = self.operation(&Asked::of_service(connection).what(what));
            operation.requests += call.count;
            operation.failed += call.failed;
            operation.response_times.merge(&call.response_times);
        }
        for exchange in &connection.app.dns {
            let asked = Asked::of_lookup(connection, exchange.qtype);
            let failed = exchange.rcode.is_none_or(|rcode| !matches!(rcode, 0 | 3));
            let time = exchange.asked.time;
            let response_time = exchange.answered.map(|at| at.time.since(time));
            self.operation(&asked).count(failed, response_time);
        }
    }

    fn operation(&mut self, asked: &Asked<'_>) -> &mut Operation {
        let (known, counted) = (&mut self.known, &mut self.counted);
        let at = self.lately.get(asked, || {
            let key = Key {
                protocol: asked.protocol,
                server: asked.server.to_string(),
                operation: operation_of(asked.what),
            };
            place(known, counted, key)
        });
        match at {
            Some(at) => &mut self.counted[at],
            None => &mut self.others,
        }
    }

    /// The operation of a key, however many there are.
    fn entry(&mut self, key: Key) -> &mut Operation {
        let next = self.counted.len();
        let at = *self.known.entry(key).or_insert(next);
        if at == next {
            self.counted.push(Operation::default());
        }
        &mut self.counted[at]
    }

    /// Joins what another shard counted.
    pub fn append(&mut self, other: Self) {
        for (key, at) in other.known {
            self.entry(key).merge(&other.counted[at]);
        }
        self.others.merge(&other.others);
        // What had no place may have one now.
        self.lately = AskedLately::default();
    }

    /// The slowest first, by the 95th percentile; `None` without any response.
    pub fn table(&self) -> Option<Table> {
        let known = self.known.iter();
        let answered = known.map(|(key, at)| (key, &self.counted[*at]));
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

/// The place of a key; `None` when it is new and there are enough already.
fn place(
    known: &mut BTreeMap<Key, usize>,
    counted: &mut Vec<Operation>,
    key: Key,
) -> Option<usize> {
    if known.len() >= OPERATIONS {
        return known.get(&key).copied();
    }
    let at = *known.entry(key).or_insert(counted.len());
    if at == counted.len() {
        counted.push(Operation::default());
    }
    Some(at)
}

fn operation_of(what: What<'_>) -> String {
    match what {
        What::Target(method, target) => format!("{method} {}", pattern_of(target)),
        What::Pattern(method, pattern) => {
            let operation = format!("{method} {}", pattern.unwrap_or("others"));
            operation.trim_start().to_owned()
        }
        What::Call(operation) => operation.unwrap_or("others").to_owned(),
        What::Lookup(1) => "A".to_owned(),
        What::Lookup(28) => "AAAA".to_owned(),
        What::Lookup(other) => format!("type {other}"),
    }
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

    fn asked(target: &str) -> Asked<'_> {
        Asked::named("http1", "shop.example", What::Target("GET", target))
    }

    #[test]
    fn operations_are_bounded_and_joined() {
        let mut one = Operations::default();
        for number in 0..OPERATIONS + 10 {
            let time = Duration::from_millis(number as u64);
            let pattern = format!("/{}", "x".repeat(number));
            let what = What::Pattern("GET", Some(&pattern));
            let operation = one.operation(&asked("").what(what));
            operation.count(number == 3, Some(time));
        }
        let mut all = one.clone();
        all.append(one);
        assert_eq!(all.known.len(), OPERATIONS);
        assert_eq!(all.entry(key(3)).failed, 2);
        let table = all.table().unwrap();
        let note = table.note.unwrap();
        assert!(note.starts_with("20 requests of further"), "{note}");
        let slowest = format!("GET /{}", "x".repeat(OPERATIONS - 1));
        assert_eq!(table.rows[0][1], Cell::Text(slowest));
    }

    #[test]
    fn targets_of_one_pattern_are_one_operation() {
        let mut operations = Operations::default();
        for target in ["/orders/17", "/", "/orders/18", "/orders/17"] {
            operations.operation(&asked(target)).count(false, None);
        }
        let again = Operations::from(Counts::from(operations.clone()));
        for mut operations in [operations, again] {
            let requests = operations.counted.iter().map(|one| one.requests);
            assert_eq!(requests.sum::<u64>(), 4);
            let orders = Key {
                operation: "GET /orders/{id}".to_owned(),
                ..key(0)
            };
            assert_eq!(operations.entry(orders).requests, 3);
        }
    }

    #[test]
    fn stand_ins_of_redacted_paths_stay() {
        assert_eq!(pattern_of("/name-0123456789?name-22"), "/name-0123456789");
        assert_eq!(pattern_of("/orders/17"), "/orders/{id}");
    }
}

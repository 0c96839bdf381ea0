//! Rows that meet a rule's condition, counted by group.
//!
//! All shards share one tally. What it keeps depends on the rows alone, not on the order in which
//! they come: of more groups than the limit those that are least in their columns' order stay, and
//! one that is dropped can never come back, so each that is kept is complete.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use analyzer::app::At;
use analyzer::event::SegmentRef;
use analyzer::{Connection, Direction, Endpoint, Timestamp};

use super::expression::time_text;
use super::rule::{Cost, OwnRule};
use super::tables::Source;
use crate::model::connection_ref::ConnectionRef;
use crate::model::evidence::Evidence;
use crate::model::finding::Finding;
use crate::model::observation::segment_at;
use crate::rows::{
    CONNECTIONS, DNS, DnsRecord, FINDINGS, REQUESTS, Record, RequestRecord, Table, Value,
};

/// Groups per rule, at about 8 kB each.
pub(super) const GROUPS_PER_RULE: usize = 4_096;
/// Rows of a group whose frames are evidence.
const EXAMPLES_PER_GROUP: usize = 3;
/// Connections of a group that a finding lists; their number is always given in full.
const CONNECTIONS_PER_GROUP: usize = 64;
/// Ends of a group that are kept.
const ENDS_PER_GROUP: usize = 64;

/// A rule at work on one capture.
pub(crate) struct Running {
    pub(crate) rule: Arc<OwnRule>,
    /// Connections with a row.
    pub(super) asked: AtomicU64,
    /// Rows that meet the condition, of all groups.
    pub(super) rows: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) kept: Mutex<Kept>,
}

#[derive(Default)]
pub(super) struct Kept {
    pub(super) groups: BTreeMap<Vec<String>, Tally>,
    /// The limit was reached.
    pub(super) capped: bool,
    /// The first row that the condition could not be asked about, and why.
    pub(super) failure: Option<(u64, String)>,
}

/// The rows of one group.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) rows: u64,
    /// Thousandths, so that sums do not depend on their order.
    pub(super) costs: Vec<i128>,
    pub(super) examples: Vec<Example>,
    pub(super) connections: BTreeMap<u64, ConnectionRef>,
    pub(super) connection_count: u64,
    pub(super) servers: BTreeSet<Endpoint>,
    pub(super) client_ips: BTreeSet<IpAddr>,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
}

/// One of the first rows of a group.
pub(super) struct Example {
    /// Frame of the row, frame of its connection, number of the row in that.
    place: (u64, u64, usize),
    pub(super) evidence: Vec<Evidence>,
    /// Values for the title.
    pub(super) values: Vec<String>,
}

/// A row that meets the condition.
struct Hit {
    key: Vec<String>,
    costs: Vec<i128>,
    values: Vec<String>,
    /// Columns of the condition with their values.
    note: String,
}

/// What a row is about.
struct Subject {
    at: Timestamp,
    /// The frames that show it, the first of which proves it.
    frames: Vec<(SegmentRef, &'static str)>,
}

impl Running {
    pub(crate) fn new(rule: Arc<OwnRule>) -> Self {
        Self {
            rule,
            asked: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            kept: Mutex::default(),
        }
    }

    /// Asks about the rows of one connection; what is shown of them is taken from `shown`, which is
    /// the same connection, or one whose names are masked.
    pub(crate) fn connection(&self, conn: &Connection, shown: &Connection) {
        let mut batch = Batch::new(self, conn);
        match self.rule.on {
            Source::Connections => {
                batch.ask(&CONNECTIONS, [conn, shown], conn.first_frame, || Subject {
                    at: conn.start,
                    frames: frames_of(conn),
                });
            }
            Source::Requests => {
                let requests = RequestRecord::of(conn);
                let masked = (!std::ptr::eq(conn, shown)).then(|| RequestRecord::of(shown));
                let to_show = masked.as_ref().unwrap_or(&requests);
                for (request, shown) in requests.iter().zip(to_show) {
                    let asked = request.asked();
                    batch.ask(&REQUESTS, [request, shown], asked.frame, || Subject {
                        at: asked.time,
                        frames: exchange(conn, asked, request.answered()),
                    });
                }
            }
            Source::Dns => {
                for (exchange, masked) in conn.app.dns.iter().zip(&shown.app.dns) {
                    let record = |connection, exchange| DnsRecord {
                        connection,
                        exchange,
                    };
                    let asked = exchange.asked;
                    let records = [&record(conn, exchange), &record(shown, masked)];
                    batch.ask(&DNS, records, asked.frame, || Subject {
                        at: asked.time,
                        frames: self::exchange(conn, asked, exchange.answered),
                    });
                }
            }
            Source::Findings => {}
        }
        batch.finish();
    }

    /// Asks about a finding of another rule.
    pub(crate) fn finding(&self, finding: &Finding) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let first = finding.evidence.iter().map(|one| one.segment.frame).min();
        let place = first.unwrap_or_default();
        let Some(hit) = self.hit(&FINDINGS, [finding, finding], place) else {
            return;
        };
        let times = finding.evidence.iter().map(|one| one.segment.time);
        let evidence = finding.evidence.iter().take(EXAMPLES_PER_GROUP);
        let evidence = evidence.cloned().map(|mut one| {
            one.note = format!("{} ({})", one.note, hit.note);
            one
        });
        let evidence: Vec<Evidence> = evidence.collect();
        self.rows.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let number = kept.groups.get(&hit.key).map_or(0, |tally| tally.rows);
        let Some(tally) = kept.tally(hit.key) else {
            return;
        };
        tally.add(&hit.costs, times.min().unwrap_or_default());
        for connection in &finding.connections {
            if !tally.connections.contains_key(&connection.first_frame) {
                tally.connection_count += 1;
            }
            tally.touch(*connection);
        }
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        tally.example((place, 0, number), hit.values, evidence);
    }

    /// Whether a row meets the condition, and what is counted of it. The first record is asked, the
    /// other one is shown.
    fn hit<R: Record>(
        &self,
        table: &'static Table<R>,
        [record, to_show]: [&R::Of<'_>; 2],
        frame: u64,
    ) -> Option<Hit> {
        let compiled = &self.rule.compiled;
        let of = |record: &R::Of<'_>, columns: &[usize]| -> Vec<Value> {
            let column = |at: &usize| (table.columns[*at].value)(record);
            columns.iter().map(column).collect()
        };
        let take = |columns: &[usize]| of(record, columns);
        let visible = |columns: &[usize]| of(to_show, columns);
        let asked = take(compiled.when.columns());
        match compiled.when.holds(&asked) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(reason) => {
                self.failed(frame, reason);
                return None;
            }
        }
        let costs = compiled.cost.iter().map(|cost| match cost {
            Cost::Count => 1_000,
            Cost::Of(formula) => {
                thousandths(formula.number(&take(formula.columns())).unwrap_or(0.0))
            }
        });
        let title: Vec<usize> = compiled.title.columns().collect();
        let asked = visible(compiled.when.columns());
        let names = compiled.when.names().iter().zip(&asked);
        let note: Vec<String> = names
            .map(|(name, value)| format!("{name} = {}", shown(value)))
            .collect();
        Some(Hit {
            key: visible(&compiled.group).iter().map(shown).collect(),
            costs: costs.collect(),
            values: visible(&title).iter().map(shown).collect(),
            note: note.join(", "),
        })
    }

    fn failed(&self, frame: u64, reason: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept
            .failure
            .as_ref()
            .is_none_or(|(known, _)| frame < *known)
        {
            kept.failure = Some((frame, reason));
        }
    }
}

/// The rows of one connection that meet a rule's condition.
struct Batch<'a> {
    running: &'a Running,
    conn: &'a Connection,
    connection: ConnectionRef,
    rows: usize,
    hits: Vec<(Hit, u64, usize, Subject)>,
}

impl<'a> Batch<'a> {
    fn new(running: &'a Running, conn: &'a Connection) -> Self {
        Self {
            running,
            conn,
            connection: ConnectionRef::from(conn),
            rows: 0,
            hits: Vec::new(),
        }
    }

    fn ask<R: Record>(
        &mut self,
        table: &'static Table<R>,
        records: [&R::Of<'_>; 2],
        frame: u64,
        subject: impl FnOnce() -> Subject,
    ) {
        if let Some(hit) = self.running.hit(table, records, frame) {
            self.hits.push((hit, frame, self.rows, subject()));
        }
        self.rows += 1;
    }

    fn finish(self) {
        if self.rows == 0 {
            return;
        }
        self.running.asked.fetch_add(1, Ordering::Relaxed);
        let rows = self.hits.len() as u64;
        if rows == 0 {
            return;
        }
        self.running.rows.fetch_add(rows, Ordering::Relaxed);
        let kept = &self.running.kept;
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counted = BTreeSet::new();
        for (hit, frame, number, subject) in self.hits {
            let Some(tally) = kept.tally(hit.key.clone()) else {
                continue;
            };
            if counted.insert(hit.key) {
                tally.connection_count += 1;
                tally.touch(self.connection);
            }
            tally.add(&hit.costs, subject.at);
            let place = (frame, self.conn.first_frame, number);
            if tally.wants(place) {
                let frames = subject.frames.into_iter().enumerate();
                let evidence = frames.map(|(at, (segment, what))| Evidence {
                    segment,
                    connection: self.connection,
                    note: if at == 0 {
                        format!("{what}: {}", hit.note)
                    } else {
                        what.to_owned()
                    },
                    proves: at == 0,
                });
                tally.example(place, hit.values, evidence.collect());
            }
        }
    }
}

impl Kept {
    /// The tally of a group; nothing when it lies beyond the limit.
    fn tally(&mut self, key: Vec<String>) -> Option<&mut Tally> {
        if !self.groups.contains_key(&key) {
            self.groups.insert(key.clone(), Tally::default());
            if self.groups.len() > GROUPS_PER_RULE {
                self.groups.pop_last();
                self.capped = true;
            }
        }
        self.groups.get_mut(&key)
    }
}

impl Tally {
    fn add(&mut self, costs: &[i128], at: Timestamp) {
        self.rows += 1;
        self.costs.resize(costs.len(), 0);
        for (sum, cost) in self.costs.iter_mut().zip(costs) {
            *sum = sum.saturating_add(*cost);
        }
        self.first = Some(self.first.map_or(at, |known| known.min(at)));
        self.last = Some(self.last.map_or(at, |known| known.max(at)));
    }

    fn touch(&mut self, connection: ConnectionRef) {
        self.connections.insert(connection.first_frame, connection);
        if self.connections.len() > CONNECTIONS_PER_GROUP {
            self.connections.pop_last();
        }
        self.servers.insert(connection.server);
        if self.servers.len() > ENDS_PER_GROUP {
            self.servers.pop_last();
        }
        self.client_ips.insert(connection.client.ip);
        if self.client_ips.len() > ENDS_PER_GROUP {
            self.client_ips.pop_last();
        }
    }

    fn wants(&self, place: (u64, u64, usize)) -> bool {
        let full = self.examples.len() >= EXAMPLES_PER_GROUP;
        let last = self.examples.last();
        !full || last.is_some_and(|last| place < last.place)
    }

    fn example(&mut self, place: (u64, u64, usize), values: Vec<String>, evidence: Vec<Evidence>) {
        let at = self.examples.partition_point(|known| known.place < place);
        let example = Example {
            place,
            evidence,
            values,
        };
        self.examples.insert(at, example);
        self.examples.truncate(EXAMPLES_PER_GROUP);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "saturates")]
fn thousandths(number: f64) -> i128 {
    (number * 1e3).round() as i128
}

/// A value as text; empty when it is missing.
fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Time(micros) => time_text(*micros),
        Value::Missing => "-".to_owned(),
    }
}

/// The first frame of a connection, and its first reset.
fn frames_of(conn: &Connection) -> Vec<(SegmentRef, &'static str)> {
    let handshake = conn.handshake.syns.iter().chain(&conn.handshake.syn_acks);
    let mut of_handshake = handshake.copied();
    let first = of_handshake.find(|segment| segment.frame == conn.first_frame);
    let at = At {
        frame: conn.first_frame,
        time: conn.start,
    };
    let direction = if conn.from_client().packets > 0 {
        Direction::ClientToServer
    } else {
        Direction::ServerToClient
    };
    let first = first.unwrap_or_else(|| segment_at(conn, at, direction));
    let reset = conn
        .resets
        .first()
        .map(|reset| (reset.segment, "the first reset"));
    let reset = reset.filter(|(segment, _)| segment.frame != first.frame);
    [(first, "the connection begins")]
        .into_iter()
        .chain(reset)
        .collect()
}

/// Where a question begins, and its answer.
fn exchange(conn: &Connection, asked: At, answered: Option<At>) -> Vec<(SegmentRef, &'static str)> {
    let asked = segment_at(conn, asked, Direction::ClientToServer);
    let answer = answered.map(|at| segment_at(conn, at, Direction::ServerToClient));
    let answer = answer.map(|segment| (segment, "the answer begins"));
    [(asked, "it is asked")].into_iter().chain(answer).collect()
}

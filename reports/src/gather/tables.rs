//! Top lists: connections grouped by who talked to whom, worst first.
//!
//! Every list is sorted by its figure and then by its keys, so equal figures keep one order.

use std::collections::BTreeMap;
use std::net::IpAddr;

use analyzer::connection::{Close, Histogram, ResetKind};
use analyzer::static_name::{self, StaticName};
use analyzer::{Connection, Endpoint, Transport};
use serde::{Deserialize, Serialize};

use crate::document::{
    Cell, Column as Head, ProcessRow, Table, millis, protocol_name, response_times, rounded,
};
use crate::words::format;

/// Rows of a top list.
const LIMIT: usize = 15;

/// Fewer sent segments than this say nothing about a rate.
const MIN_SEGMENTS: u64 = 20;

/// What the top lists need of one connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TableRow {
    client: IpAddr,
    server: Endpoint,
    #[serde(deserialize_with = "static_name::read")]
    protocol: StaticName,
    packets: u64,
    bytes: u64,
    retransmitted: u64,
    unanswered: u64,
    resets: u64,
    never_opened: u64,
    response_times: Histogram,
    process: Option<Box<ProcessRow>>,
}

impl From<&Connection> for TableRow {
    fn from(connection: &Connection) -> Self {
        let [client, server] = &connection.halves;
        let turns = &connection.turns;
        let ended = connection.close != Close::Open;
        Self {
            client: connection.client.ip,
            server: connection.server,
            protocol: protocol_name(connection),
            packets: connection.packets(),
            bytes: client.wire_bytes + server.wire_bytes,
            retransmitted: client.retransmitted_segments + server.retransmitted_segments,
            unanswered: if ended {
                turns.count - turns.answered.min(turns.count)
            } else {
                0
            },
            resets: u64::from(connection.close == Close::Reset && is_opened(connection)),
            never_opened: u64::from(is_never_opened(connection)),
            response_times: response_times(connection).clone(),
            process: connection
                .process
                .as_deref()
                .map(|process| Box::new(process.into())),
        }
    }
}

fn is_opened(connection: &Connection) -> bool {
    !connection
        .resets
        .iter()
        .any(|reset| reset.kind == ResetKind::Refused)
}

/// The client asked and no handshake followed.
fn is_never_opened(connection: &Connection) -> bool {
    connection.transport == Transport::Tcp
        && connection.handshake.syn_count > 0
        && (connection.handshake.syn_ack_count == 0 || !is_opened(connection))
}

/// What connections of one group add up to.
#[derive(Default)]
struct Sums {
    connections: u64,
    packets: u64,
    bytes: u64,
    retransmitted: u64,
    unanswered: u64,
    resets: u64,
    never_opened: u64,
}

impl Sums {
    fn add(&mut self, row: &TableRow) {
        self.connections += 1;
        self.packets += row.packets;
        self.bytes += row.bytes;
        self.retransmitted += row.retransmitted;
        self.unanswered += row.unanswered;
        self.resets += row.resets;
        self.never_opened += row.never_opened;
    }
}

/// Sums by client and server.
type Pairs = BTreeMap<(IpAddr, Endpoint), Sums>;

/// All top lists that have something to say. `total` is the number of connections captured.
pub(crate) fn top_lists(rows: &[TableRow], total: u64) -> Vec<Table> {
    let note = (total > rows.len() as u64).then(|| {
        format!(
            "Computed over the {} most relevant of {} connections.",
            format::count(rows.len() as u64),
            format::count(total)
        )
    });
    let mut pairs = Pairs::new();
    let mut servers = BTreeMap::<Endpoint, Sums>::new();
    let mut times = BTreeMap::<(&str, Endpoint), Histogram>::new();
    let mut processes = BTreeMap::<(String, String), Sums>::new();
    for row in rows {
        let (client, server) = (row.client, row.server);
        if let Some(process) = &row.process {
            let host = process.host.clone().unwrap_or_default();
            processes
                .entry((process.label(), host))
                .or_default()
                .add(row);
        }
        pairs.entry((client, server)).or_default().add(row);
        servers.entry(server).or_default().add(row);
        if row.response_times.count() > 0 {
            let group = times.entry((row.protocol, server)).or_default();
            group.merge(&row.response_times);
        }
    }
    let lists = [
        top_talkers(&pairs),
        slowest_servers(&times),
        retransmission_rates(&pairs),
        failing_servers(&servers),
        top_processes(&processes),
    ];
    lists
        .into_iter()
        .filter(|table| !table.rows.is_empty())
        .map(|table| Table {
            note: note.clone(),
            ..table
        })
        .collect()
}

fn top_talkers(pairs: &Pairs) -> Table {
    let rows = pairs.iter().map(|(&(client, server), sums)| {
        let cells = move || {
            vec![
                Cell::Text(client.to_string()),
                Cell::Text(server.to_string()),
                Cell::Count(sums.connections),
                Cell::Count(sums.packets),
                Cell::Count(sums.bytes),
            ]
        };
        (sums.bytes as f64, cells)
    });
    let heads = [
        ("client", "Client"),
        ("server", "Server"),
        ("connections", "Connections"),
        ("packets", "Packets"),
        ("bytes", "Bytes"),
    ];
    ranked(
        "top-talkers",
        "Clients and servers with the most bytes",
        &heads,
        rows,
    )
}

/// Processes that host evidence names.
fn top_processes(processes: &BTreeMap<(String, String), Sums>) -> Table {
    let rows = processes.iter().map(|((process, host), sums)| {
        let cells = move || {
            vec![
                Cell::Text(process.clone()),
                Cell::Text(host.clone()),
                Cell::Count(sums.connections),
                Cell::Count(sums.bytes),
                Cell::Count(sums.resets),
                Cell::Count(sums.unanswered),
            ]
        };
        (sums.bytes as f64, cells)
    });
    let heads = [
        ("process", "Process"),
        ("host", "Host"),
        ("connections", "Connections"),
        ("bytes", "Bytes"),
        ("resets", "Resets"),
        ("unanswered", "Unanswered"),
    ];
    ranked(
        "top-processes",
        "Which processes the connections belong to",
        &heads,
        rows,
    )
}

fn retransmission_rates(pairs: &Pairs) -> Table {
    let pairs = pairs
        .iter()
        .filter(|(_, sums)| sums.retransmitted > 0 && sums.packets >= MIN_SEGMENTS);
    let rows = pairs.map(|(&(client, server), sums)| {
        let percent = sums.retransmitted as f64 * 100.0 / sums.packets as f64;
        let cells = move || {
            vec![
                Cell::Text(client.to_string()),
                Cell::Text(server.to_string()),
                Cell::Count(sums.connections),
                Cell::Count(sums.packets),
                Cell::Count(sums.retransmitted),
                Cell::Number(rounded(percent)),
            ]
        };
        (percent, cells)
    });
    let heads = [
        ("client", "Client"),
        ("server", "Server"),
        ("connections", "Connections"),
        ("packets", "Packets"),
        ("retransmitted_segments", "Retransmitted"),
        ("retransmitted_percent", "Retransmitted share"),
    ];
    let title = "Clients and servers with the largest share of retransmissions";
    ranked("retransmission-rates", title, &heads, rows)
}

fn failing_servers(servers: &BTreeMap<Endpoint, Sums>) -> Table {
    let rows = servers.iter().filter_map(|(server, sums)| {
        let failures = sums.never_opened + sums.resets + sums.unanswered;
        let cells = move || {
            vec![
                Cell::Text(server.to_string()),
                Cell::Count(sums.connections),
                Cell::Count(sums.never_opened),
                Cell::Count(sums.resets),
                Cell::Count(sums.unanswered),
                Cell::Count(failures),
            ]
        };
        (failures > 0).then_some((failures as f64, cells))
    });
    let heads = [
        ("server", "Server"),
        ("connections", "Connections"),
        ("never_opened", "Never opened"),
        ("resets", "Ended by reset"),
        ("unanswered", "Requests unanswered"),
        ("failures", "Failures in all"),
    ];
    ranked("failing-servers", "Servers by failures", &heads, rows)
}

/// Response times per protocol and server, slowest 99th percentile first.
fn slowest_servers(times: &BTreeMap<(&str, Endpoint), Histogram>) -> Table {
    let rows = times.iter().map(|(&(protocol, server), times)| {
        let quantile = |at| times.quantile(at).map_or(0.0, millis);
        let p99 = quantile(0.99);
        let cells = move || {
            vec![
                Cell::Text(protocol.to_owned()),
                Cell::Text(server.to_string()),
                Cell::Count(times.count()),
                Cell::Number(quantile(0.5)),
                Cell::Number(quantile(0.9)),
                Cell::Number(quantile(0.95)),
                Cell::Number(p99),
                Cell::Number(quantile(1.0)),
            ]
        };
        (p99, cells)
    });
    let heads = [
        ("protocol", "Protocol"),
        ("server", "Server"),
        ("responses", "Responses"),
        ("response_p50_ms", "Half within"),
        ("response_p90_ms", "90 % within"),
        ("response_p95_ms", "95 % within"),
        ("response_p99_ms", "99 % within"),
        ("response_max_ms", "Slowest"),
    ];
    let title = "Response times by protocol and server";
    ranked("slowest-servers", title, &heads, rows)
}

/// The rows with the largest figures, of which alone the cells are made; those of the same figure
/// keep their order.
pub(super) fn ranked<Cells: FnOnce() -> Vec<Cell>>(
    id: &str,
    title: &str,
    heads: &[(&str, &str)],
    rows: impl Iterator<Item = (f64, Cells)>,
) -> Table {
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let all = rows.len();
    let shown = rows.into_iter().take(LIMIT).map(|(_, cells)| cells());
    table(id, title, heads, shown.collect(), all)
}

pub(super) fn table(
    id: &str,
    title: &str,
    heads: &[(&str, &str)],
    rows: Vec<Vec<Cell>>,
    all: usize,
) -> Table {
    Table {
        id: id.to_owned(),
        title: title.to_owned(),
        columns: heads
            .iter()
            .map(|&(name, label)| Head {
                name: name.to_owned(),
                label: label.to_owned(),
            })
            .collect(),
        rows_left_out: (all - rows.len()) as u64,
        rows,
        note: None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;

    fn row(client: &str, server: &str, bytes: u64, times_ms: &[u64]) -> TableRow {
        let mut response_times = Histogram::default();
        times_ms
            .iter()
            .for_each(|&ms| response_times.add(Duration::from_millis(ms)));
        let server: SocketAddr = server.parse().unwrap();
        TableRow {
            client: client.parse().unwrap(),
            server: Endpoint::new(server.ip(), server.port()),
            protocol: "http1",
            packets: 100,
            bytes,
            retransmitted: bytes / 1_000,
            unanswered: 0,
            resets: u64::from(bytes == 5_000),
            never_opened: 0,
            response_times,
            process: None,
        }
    }

    fn named<'a>(tables: &'a [Table], id: &str) -> &'a Table {
        tables.iter().find(|table| table.id == id).unwrap()
    }

    #[test]
    fn groups_sum_and_rank() {
        let rows = vec![
            row("10.0.0.1", "10.0.0.9:80", 3_000, &[10, 10, 10]),
            row("10.0.0.1", "10.0.0.9:80", 5_000, &[900]),
            row("10.0.0.2", "10.0.0.8:80", 7_000, &[20]),
        ];
        let tables = top_lists(&rows, 3);
        let talkers = named(&tables, "top-talkers");
        assert_eq!(talkers.rows[0][0], Cell::Text("10.0.0.1".to_owned()));
        assert_eq!(
            talkers.rows[0][2..],
            [Cell::Count(2), Cell::Count(200), Cell::Count(8_000)]
        );
        let slowest = named(&tables, "slowest-servers");
        let [protocol, server] = ["http1", "10.0.0.9:80"].map(|text| Cell::Text(text.to_owned()));
        assert_eq!(slowest.rows[0][..3], [protocol, server, Cell::Count(4)]);
        // A hundredth of four is less than one: the slowest itself.
        assert_eq!(slowest.rows[0][6], slowest.rows[0][7]);
        let rates = named(&tables, "retransmission-rates");
        assert_eq!(rates.rows[0].last(), Some(&Cell::Number(7.0)));
        let failing = named(&tables, "failing-servers");
        assert_eq!(failing.rows.len(), 1);
        assert!(tables.iter().all(|table| table.note.is_none()));
    }

    #[test]
    fn ties_are_ordered_by_key_and_cuts_are_counted() {
        let rows: Vec<_> = (0..40)
            .map(|n| row(&format!("10.0.0.{n}"), "10.1.0.1:1", 50, &[]))
            .collect();
        let tables = top_lists(&rows, 90);
        let talkers = named(&tables, "top-talkers");
        assert_eq!(talkers.rows.len(), LIMIT);
        assert_eq!(talkers.rows_left_out, 25);
        assert_eq!(talkers.rows[0][0], Cell::Text("10.0.0.0".to_owned()));
        assert!(
            talkers
                .note
                .as_ref()
                .unwrap()
                .contains("40 most relevant of 90")
        );
        assert_eq!(tables.len(), 1, "lists without rows are left out");
    }
}

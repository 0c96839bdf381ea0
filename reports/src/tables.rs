//! Top lists: connections grouped by who talked to whom, worst first. The only user of polars.
//!
//! Called once, after the parallel phase, on the calling thread (polars has its own threads).
//! Every list is sorted by its figure and then by its keys, so equal figures keep one order.

use analyzer::flow::{Close, Histogram, ResetKind};
use analyzer::{Connection, Transport};
use polars::prelude::*;

use crate::document::{
    Cell, Column as Head, Table, millis, protocol_name, response_times, rounded,
};
use crate::format;

/// Rows of a top list.
const LIMIT: usize = 15;

/// Fewer sent segments than this say nothing about a rate.
const MIN_SEGMENTS: u64 = 20;

/// What the top lists need of one connection.
#[derive(Clone, Debug)]
pub(crate) struct TableRow {
    client: String,
    server: String,
    protocol: &'static str,
    packets: u64,
    bytes: u64,
    retransmitted: u64,
    requests: u64,
    unanswered: u64,
    resets: u64,
    never_opened: u64,
    response_times: Histogram,
}

impl From<&Connection> for TableRow {
    fn from(connection: &Connection) -> Self {
        let [client, server] = &connection.halves;
        let turns = &connection.turns;
        let ended = connection.close != Close::Open;
        Self {
            client: connection.client.ip.to_string(),
            server: connection.server.to_string(),
            protocol: protocol_name(connection),
            packets: connection.packets(),
            bytes: client.wire_bytes + server.wire_bytes,
            retransmitted: client.retransmitted_segments + server.retransmitted_segments,
            requests: turns.count,
            unanswered: if ended {
                turns.count - turns.answered.min(turns.count)
            } else {
                0
            },
            resets: u64::from(connection.close == Close::Reset && is_opened(connection)),
            never_opened: u64::from(is_never_opened(connection)),
            response_times: response_times(connection).clone(),
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

/// All top lists that have something to say. `total` is the number of connections captured.
pub(crate) fn top_lists(rows: Vec<TableRow>, total: u64) -> PolarsResult<Vec<Table>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let note = (total > rows.len() as u64).then(|| {
        format!(
            "Computed over the {} most relevant of {} connections.",
            format::count(rows.len() as u64),
            format::count(total)
        )
    });
    let times = times_frame(&rows)?;
    let frame = connections_frame(rows)?;
    let lists = [
        top_talkers(&frame)?,
        slowest_servers(times)?,
        retransmission_rates(&frame)?,
        failing_servers(&frame)?,
    ];
    Ok(lists
        .into_iter()
        .filter(|table| !table.rows.is_empty())
        .map(|table| Table {
            note: note.clone(),
            ..table
        })
        .collect())
}

fn connections_frame(rows: Vec<TableRow>) -> PolarsResult<LazyFrame> {
    let number = |name: &str, pick: fn(&TableRow) -> u64| {
        Column::new(name.into(), rows.iter().map(pick).collect::<Vec<_>>())
    };
    let text = |name: &str, pick: fn(&TableRow) -> &str| {
        Column::new(name.into(), rows.iter().map(pick).collect::<Vec<_>>())
    };
    let columns = vec![
        text("client", |row| &row.client),
        text("server", |row| &row.server),
        number("packets", |row| row.packets),
        number("bytes", |row| row.bytes),
        number("retransmitted_segments", |row| row.retransmitted),
        number("requests", |row| row.requests),
        number("unanswered", |row| row.unanswered),
        number("resets", |row| row.resets),
        number("never_opened", |row| row.never_opened),
    ];
    Ok(DataFrame::new(rows.len(), columns)?.lazy())
}

/// One row per connection and bucket of its response times.
fn times_frame(rows: &[TableRow]) -> PolarsResult<LazyFrame> {
    let (mut groups, mut middles, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        for (middle, count) in row.response_times.iter() {
            groups.push(format!("{} {}", row.protocol, row.server));
            middles.push(millis(middle));
            counts.push(count);
        }
    }
    Ok(df!["group" => groups, "ms" => middles, "count" => counts]?.lazy())
}

fn top_talkers(frame: &LazyFrame) -> PolarsResult<Table> {
    let grouped = frame.clone().group_by([col("client"), col("server")]).agg([
        len().cast(DataType::UInt64).alias("connections"),
        sum("packets"),
        sum("bytes"),
    ]);
    let heads = [
        ("client", "Client"),
        ("server", "Server"),
        ("connections", "Connections"),
        ("packets", "Packets"),
        ("bytes", "Bytes"),
    ];
    ranked(
        "top-talkers",
        "Who moved the most bytes",
        grouped,
        "bytes",
        &heads,
    )
}

fn retransmission_rates(frame: &LazyFrame) -> PolarsResult<Table> {
    let share = col("retransmitted_segments").cast(DataType::Float64) * lit(100.0)
        / col("packets").cast(DataType::Float64);
    let grouped = frame
        .clone()
        .group_by([col("client"), col("server")])
        .agg([
            len().cast(DataType::UInt64).alias("connections"),
            sum("packets"),
            sum("retransmitted_segments"),
        ])
        .filter(col("retransmitted_segments").gt(lit(0_u64)))
        .filter(col("packets").gt_eq(lit(MIN_SEGMENTS)))
        .with_column(share.alias("retransmitted_percent"));
    let heads = [
        ("client", "Client"),
        ("server", "Server"),
        ("connections", "Connections"),
        ("packets", "Packets"),
        ("retransmitted_segments", "Sent again"),
        ("retransmitted_percent", "Share sent again"),
    ];
    let title = "Where the largest share was sent again";
    ranked(
        "retransmission-rates",
        title,
        grouped,
        "retransmitted_percent",
        &heads,
    )
}

fn failing_servers(frame: &LazyFrame) -> PolarsResult<Table> {
    let failures = col("never_opened") + col("resets") + col("unanswered");
    let grouped = frame
        .clone()
        .group_by([col("server")])
        .agg([
            len().cast(DataType::UInt64).alias("connections"),
            sum("never_opened"),
            sum("resets"),
            sum("unanswered"),
        ])
        .with_column(failures.alias("failures"))
        .filter(col("failures").gt(lit(0_u64)));
    let heads = [
        ("server", "Server"),
        ("connections", "Connections"),
        ("never_opened", "Never opened"),
        ("resets", "Ended by reset"),
        ("unanswered", "Requests unanswered"),
        ("failures", "Failures in all"),
    ];
    ranked(
        "failing-servers",
        "Servers by failures",
        grouped,
        "failures",
        &heads,
    )
}

/// Sorts, cuts and converts a grouped frame. The columns that are text are the keys.
fn ranked(
    id: &str,
    title: &str,
    grouped: LazyFrame,
    by: &str,
    heads: &[(&str, &str)],
) -> PolarsResult<Table> {
    let keys = heads
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| matches!(*name, "client" | "server"));
    let order: Vec<_> = std::iter::once(by).chain(keys).collect();
    let descending = (0..order.len()).map(|index| index == 0).collect::<Vec<_>>();
    let sorted = grouped
        .sort(
            order,
            SortMultipleOptions::default().with_order_descending_multi(descending),
        )
        .select(heads.iter().map(|(name, _)| col(*name)).collect::<Vec<_>>())
        .collect()?;
    let shown = sorted.head(Some(LIMIT));
    let rows = (0..shown.height())
        .map(|row| {
            shown
                .columns()
                .iter()
                .map(|column| Ok(cell(&column.get(row)?)))
                .collect()
        })
        .collect::<PolarsResult<Vec<Vec<Cell>>>>()?;
    Ok(table(id, title, heads, rows, sorted.height()))
}

fn table(id: &str, title: &str, heads: &[(&str, &str)], rows: Vec<Vec<Cell>>, all: usize) -> Table {
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

fn cell(value: &AnyValue<'_>) -> Cell {
    match value {
        AnyValue::UInt64(count) => Cell::Count(*count),
        AnyValue::UInt32(count) => Cell::Count(u64::from(*count)),
        AnyValue::Float64(number) if number.is_finite() => Cell::Number(rounded(*number)),
        AnyValue::String(text) => Cell::Text((*text).to_owned()),
        AnyValue::StringOwned(text) => Cell::Text(text.to_string()),
        _ => Cell::Missing(()),
    }
}

/// Response times per server, slowest 95th percentile first.
///
/// Polars adds up the buckets of all connections of a server; percentiles are then read from
/// each server's summed buckets.
fn slowest_servers(times: LazyFrame) -> PolarsResult<Table> {
    let summed = times
        .group_by([col("group"), col("ms")])
        .agg([sum("count")])
        .sort(["group", "ms"], SortMultipleOptions::default())
        .collect()?;
    let groups = summed.column("group")?.str()?;
    let ms = summed.column("ms")?.f64()?;
    let counts = summed.column("count")?.u64()?;
    let mut grouped: Vec<(&str, Vec<(f64, u64)>)> = Vec::new();
    for ((group, ms), count) in groups.iter().zip(ms.iter()).zip(counts.iter()) {
        let (Some(group), Some(ms), Some(count)) = (group, ms, count) else {
            continue;
        };
        match grouped.last_mut() {
            Some((last, buckets)) if *last == group => buckets.push((ms, count)),
            _ => grouped.push((group, vec![(ms, count)])),
        }
    }
    let mut rows: Vec<_> = grouped
        .into_iter()
        .map(|(group, buckets)| (group, quantile(&buckets, 0.99), buckets))
        .collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let all = rows.len();
    let cells = rows
        .into_iter()
        .take(LIMIT)
        .map(|(group, p99, buckets)| {
            let (protocol, server) = group.split_once(' ').unwrap_or(("", group));
            vec![
                Cell::Text(protocol.to_owned()),
                Cell::Text(server.to_owned()),
                Cell::Count(buckets.iter().map(|(_, count)| count).sum()),
                Cell::Number(quantile(&buckets, 0.5)),
                Cell::Number(quantile(&buckets, 0.9)),
                Cell::Number(quantile(&buckets, 0.95)),
                Cell::Number(p99),
                Cell::Number(quantile(&buckets, 1.0)),
            ]
        })
        .collect();
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
    Ok(table(
        "slowest-servers",
        "Response times by protocol and server",
        &heads,
        cells,
        all,
    ))
}

/// The value below which the share `at` of the counted values lies. Buckets are in order.
fn quantile(buckets: &[(f64, u64)], at: f64) -> f64 {
    let total: u64 = buckets.iter().map(|(_, count)| count).sum();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank within the count"
    )]
    let rank = ((total as f64 * at).ceil() as u64).max(1);
    let mut below = 0;
    buckets
        .iter()
        .find_map(|&(ms, count)| {
            below += count;
            (below >= rank).then_some(ms)
        })
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn row(client: &str, server: &str, bytes: u64, times_ms: &[u64]) -> TableRow {
        let mut response_times = Histogram::default();
        times_ms
            .iter()
            .for_each(|&ms| response_times.add(Duration::from_millis(ms)));
        TableRow {
            client: client.to_owned(),
            server: server.to_owned(),
            protocol: "http1",
            packets: 100,
            bytes,
            retransmitted: bytes / 1_000,
            requests: times_ms.len() as u64,
            unanswered: 0,
            resets: u64::from(bytes == 5_000),
            never_opened: 0,
            response_times,
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
        let tables = top_lists(rows, 3).unwrap();
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
        let rows = (0..40)
            .map(|n| row(&format!("10.0.0.{n:02}"), "10.1.0.1:1", 50, &[]))
            .collect();
        let tables = top_lists(rows, 90).unwrap();
        let talkers = named(&tables, "top-talkers");
        assert_eq!(talkers.rows.len(), LIMIT);
        assert_eq!(talkers.rows_left_out, 25);
        assert_eq!(talkers.rows[0][0], Cell::Text("10.0.0.00".to_owned()));
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

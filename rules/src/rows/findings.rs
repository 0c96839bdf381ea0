//! Findings as rows.

use analyzer::Timestamp;
use serde_json::{Map, Number as JsonNumber, Value as Json};

use super::schema::ColumnType::{Integer, Number, Text, Time};
use super::schema::{Column, Record, Table, Value, column};
use super::schema::{count, hour, number, rounded, text, time};
use crate::model::finding::{Figure, FigureValue, Finding};

/// Named values as JSON; what JSON cannot hold is left out.
#[must_use]
pub fn figures(figures: &[Figure]) -> Map<String, Json> {
    figures
        .iter()
        .filter_map(|f| Some((f.name.to_owned(), figure_value(&f.value)?)))
        .collect()
}

/// `None` for a number that JSON cannot hold.
fn figure_value(value: &FigureValue) -> Option<Json> {
    match value {
        FigureValue::Number(number) => JsonNumber::from_f64(rounded(*number)).map(Json::Number),
        FigureValue::Text(text) => Some(Json::String(text.clone())),
    }
}

/// Rows of [`FINDINGS`].
pub enum Findings {}

impl Record for Findings {
    type Of<'a> = Finding;
}

fn first_seen(finding: &Finding) -> Option<Timestamp> {
    finding.evidence.iter().map(|one| one.segment.time).min()
}

fn cost(finding: &Finding, name: &str) -> Value {
    let figure = |figure: &Figure| match &figure.value {
        FigureValue::Number(value) if figure.name == name => Some(*value),
        _ => None,
    };
    number(finding.cost.iter().find_map(figure))
}

/// Figures as a JSON object.
fn json(list: &[Figure]) -> Value {
    text(serde_json::to_string(&figures(list)).ok())
}

const FINDING_COLUMNS: &[Column<Findings>] = &[
    column(
        "finding",
        Text,
        "`F1`, `F2`, … in the order of the report",
        |f| text(Some(f.id.clone())),
    ),
    column("rule", Text, "rule id", |f| text(Some(f.rule))),
    column(
        "origin",
        Text,
        "`built-in`, or `user` for a rule of your own",
        |f| text(Some(f.origin.as_str())),
    ),
    column(
        "severity",
        Text,
        "`info`, `low`, `medium`, `high` or `critical`",
        |f| text(Some(f.severity.as_str())),
    ),
    column("severity_rank", Integer, "1 (info) to 5 (critical)", |f| {
        Value::Integer(f.severity as i64 + 1)
    }),
    column("confidence", Number, "confidence, 0 to 1", |f| {
        number(Some(f.confidence.clamp(0.0, 1.0)))
    }),
    column("title", Text, "one line", |f| text(Some(f.title.clone()))),
    column("summary", Text, "what happened", |f| {
        text(Some(f.summary.clone()))
    }),
    column("occurrences", Integer, "how often", |f| {
        count(f.occurrences)
    }),
    column("connections", Integer, "connections affected", |f| {
        count(f.connection_count)
    }),
    column(
        "client_ip",
        Text,
        "client address of the worst connection",
        |f| text(f.connections.first().map(|c| c.client.ip.to_string())),
    ),
    column(
        "server",
        Text,
        "server address and port of the worst connection",
        |f| text(f.connections.first().map(|c| c.server.to_string())),
    ),
    column(
        "server_ip",
        Text,
        "server address of the worst connection",
        |f| text(f.connections.first().map(|c| c.server.ip.to_string())),
    ),
    column(
        "server_port",
        Integer,
        "server port of the worst connection",
        |f| {
            f.connections
                .first()
                .map_or(Value::Missing, |c| Value::Integer(c.server.port.into()))
        },
    ),
    column(
        "first_time",
        Time,
        "time of the first frame of evidence",
        |f| time(first_seen(f)),
    ),
    column("hour", Time, "the hour of that frame", |f| {
        hour(first_seen(f))
    }),
    column(
        "requests_failed",
        Number,
        "cost: requests that failed",
        |f| cost(f, "requests_failed"),
    ),
    column("time_lost_ms", Number, "cost: time lost", |f| {
        cost(f, "time_lost_ms")
    }),
    column("cost", Text, "all costs, as a JSON object", |f| {
        json(&f.cost)
    }),
    column("figures", Text, "measured figures, as a JSON object", |f| {
        json(&f.figures)
    }),
    column(
        "explained_by",
        Text,
        "findings that cause this one, joined by commas",
        |f| text((!f.explained_by.is_empty()).then(|| f.explained_by.join(","))),
    ),
    column(
        "filter",
        Text,
        "Wireshark display filter that shows the evidence",
        |f| text(Some(f.filter.clone())),
    ),
];

pub static FINDINGS: Table<Findings> = Table {
    name: "findings",
    about: "one row per finding",
    columns: FINDING_COLUMNS,
};

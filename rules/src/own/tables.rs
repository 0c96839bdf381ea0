//! The tables a rule may ask, as its expression sees them.

use crate::model::nearest::nearest;
use crate::rows::{self, ColumnType, Record, Table};

/// What the rows of a rule are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Source {
    /// Connections.
    Connections,
    /// The most relevant requests of every connection.
    Requests,
    /// DNS questions.
    Dns,
    /// Findings of our rules, and of rules of one's own about the other tables.
    Findings,
}

impl Source {
    const ALL: [Self; 4] = [Self::Connections, Self::Requests, Self::Dns, Self::Findings];

    /// The names that `on` takes.
    pub(super) const NAMES: [&'static str; 4] = ["connections", "requests", "dns", "findings"];

    /// By the name of the table.
    pub(super) fn named(name: &str) -> Option<Self> {
        let at = Self::NAMES.iter().position(|known| *known == name)?;
        Some(Self::ALL[at])
    }

    /// The name of the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Names and types of its columns.
    pub(super) fn columns(self) -> Vec<ColumnInfo> {
        match self {
            Self::Connections => columns(&rows::CONNECTIONS),
            Self::Requests => columns(&rows::REQUESTS),
            Self::Dns => columns(&rows::DNS),
            Self::Findings => columns(&rows::FINDINGS),
        }
    }
}

/// A column as an expression sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ColumnInfo {
    pub(super) name: &'static str,
    pub(super) kind: ColumnType,
}

fn columns<R: Record>(table: &Table<R>) -> Vec<ColumnInfo> {
    let info = |column: &rows::Column<R>| ColumnInfo {
        name: column.name,
        kind: column.kind,
    };
    table.columns.iter().map(info).collect()
}

impl ColumnInfo {
    /// Why groups by this column would have no end: nearly every row has a value of its own.
    pub(super) fn endless(&self) -> Option<&'static str> {
        const OF_ONE_FINDING: [&str; 6] = [
            "finding",
            "summary",
            "cost",
            "figures",
            "explained_by",
            "filter",
        ];
        const NAMING: [&str; 7] = [
            "client_port",
            "server_port",
            "status",
            "qtype",
            "rcode",
            "severity_rank",
            "repeats",
        ];
        match self.kind {
            ColumnType::Time if self.name == "hour" => None,
            ColumnType::Time => Some("is a point in time; `hour` groups by time"),
            ColumnType::Number => Some("is a measured value"),
            ColumnType::Integer if NAMING.contains(&self.name) => None,
            ColumnType::Integer if self.name.ends_with("_frame") => Some("is a frame number"),
            ColumnType::Integer => Some("is a measured value"),
            ColumnType::Text if OF_ONE_FINDING.contains(&self.name) => {
                Some("belongs to one finding alone")
            }
            ColumnType::Text | ColumnType::Boolean => None,
        }
    }
}

/// The place of a column by its name, with a dot for the underscore or without; else what was
/// probably meant.
pub(super) fn find(columns: &[ColumnInfo], name: &str) -> Result<usize, String> {
    let written = name.replace('.', "_");
    if let Some(at) = columns.iter().position(|column| column.name == written) {
        return Ok(at);
    }
    if written == rows::CAPTURE_SET || rows::PARTITIONS.iter().any(|(known, _)| *known == written) {
        return Err(format!(
            "`{name}` is the same for all rows of a capture and cannot be asked here"
        ));
    }
    let meant = nearest(&written, columns.iter().map(|column| column.name));
    Err(format!(
        "unknown column `{name}`; did you mean `{}`?",
        meant.unwrap_or_default()
    ))
}

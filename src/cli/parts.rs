//! Arguments of the commands that do an analysis in parts.

use std::path::PathBuf;

use clap::Args;

use super::shared::{AnalysisArguments, NoRedaction, ReportingArguments};
use super::values::{ConnectionLimit, connection_limit};

/// Arguments of `pcapdoc segment`.
#[derive(Debug, Args)]
pub struct SegmentArguments {
    /// Captures of one set, or some of them; - is stdin
    #[arg(required = true, value_name = "CAPTURE")]
    pub captures: Vec<PathBuf>,
    /// Number of the first of these captures in the set
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..))]
    pub source: i32,
    /// Bytes of payload that travel with a packet, at most; what is cut off is a caveat, as a snap
    /// length is [default: all]
    #[arg(long, value_name = "BYTES")]
    pub snap: Option<usize>,
    /// What standard input is called in reports
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Shards that packets are spread over, a multiple of 32; more than one machine's 32 let more
    /// judges work side by side
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(32..=65_536))]
    pub shards: u32,
    /// Judge here what no other file of the set has a part in: only packets of connections that lie in
    /// several files travel
    #[arg(long, conflicts_with = "heads")]
    pub settle: bool,
    /// Rows of segment --heads of all files of the set, when these captures are not all of it
    #[arg(long, value_name = "ROWS", num_args = 1.., requires = "settle")]
    pub files: Vec<PathBuf>,
    /// Write what --settle must know of all files, and no packets
    #[arg(long)]
    pub heads: bool,
    /// Connections that the report will list, of those that are settled: a number or all
    #[arg(long, value_name = "N|all", default_value = "10000", value_parser = connection_limit)]
    pub connections: ConnectionLimit,
    /// Rows of connections that are settled.
    #[command(flatten)]
    pub rows: RowsArguments,
    /// How captures are analyzed.
    #[command(flatten)]
    pub analysis: AnalysisArguments,
    /// What is not done.
    #[command(flatten)]
    pub redaction: NoRedaction,
}

/// Rows of a dataset.
#[derive(Debug, Args)]
pub struct RowsArguments {
    /// Folder of a dataset that is partitioned as that of batch is: rows of connections from judge and
    /// segment --settle, of all else from conclude
    #[arg(long, id = "dataset_rows", value_name = "DIR")]
    pub rows: Option<PathBuf>,
    /// What rows call the set
    #[arg(
        long,
        value_name = "NAME",
        default_value = "set",
        requires = "dataset_rows"
    )]
    pub set: String,
}

/// Arguments of `pcapdoc judge`.
#[derive(Debug, Args)]
pub struct JudgeArguments {
    /// Rows of segment; - is stdin
    #[arg(value_name = "ROWS", default_value = "-")]
    pub rows: Vec<PathBuf>,
    /// Rows of all files of the set, when the rows to be judged are of some shards only, sorted by
    /// shard, start_ns, source and ordinal
    #[arg(long, value_name = "ROWS", num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// Connections that the report will list: a number or all
    #[arg(long, value_name = "N|all", default_value = "10000", value_parser = connection_limit)]
    pub connections: ConnectionLimit,
    /// Rows of connections.
    #[command(flatten)]
    pub dataset: RowsArguments,
    /// How captures are analyzed.
    #[command(flatten)]
    pub analysis: AnalysisArguments,
    /// What is not done.
    #[command(flatten)]
    pub redaction: NoRedaction,
}

/// Arguments of `pcapdoc conclude`.
#[derive(Debug, Args)]
pub struct ConcludeArguments {
    /// Rows of judge and, unless judge passed them on, of segment; - is stdin
    #[arg(value_name = "ROWS", default_value = "-")]
    pub states: Vec<PathBuf>,
    /// What becomes of the result.
    #[command(flatten)]
    pub reporting: ReportingArguments,
    /// Folder for a small pcapng of each finding, where the captures can be read under their names
    #[arg(long, value_name = "DIR")]
    pub evidence: Option<PathBuf>,
    /// Rows of all else.
    #[command(flatten)]
    pub rows: RowsArguments,
    /// How captures are analyzed.
    #[command(flatten)]
    pub analysis: AnalysisArguments,
    /// What is not done.
    #[command(flatten)]
    pub redaction: NoRedaction,
}

//! Arguments that several commands share.

use std::path::PathBuf;

use analyzer::Timestamp;
use analyzer::filter::{Ends, Hosts};
use clap::{Args, ValueEnum};
use reports::Severity;

use super::values::{
    ConnectionLimit, connection_limit, file_and_time, port_and_bytes, port_and_spec, severity, size,
};

/// Where results go, and in which form.
#[derive(Debug, Args)]
pub struct OutputArguments {
    /// Folder for the reports, or a file (for one format), or - for standard output
    #[arg(short, long, value_name = "DIR|FILE|-")]
    pub output: Option<PathBuf>,
    /// What to write [default: html and md files, and the summary on standard output]
    #[arg(short, long, value_delimiter = ',', value_name = "FORMAT")]
    pub format: Vec<Format>,
    /// Print at most 15 lines for a chat and write no files (same as --format summary)
    #[arg(long, conflicts_with = "format")]
    pub summary: bool,
}

/// What becomes of the result of an analysis.
#[derive(Debug, Args)]
pub struct ReportingArguments {
    /// Where results go, and in which form.
    #[command(flatten)]
    pub outputs: OutputArguments,
    /// Exit with status 1 if a finding is at least this severe
    #[arg(long, value_name = "SEVERITY", value_parser = severity())]
    pub fail_on: Option<Severity>,
    /// Number of connections listed in the JSON
    #[arg(long, value_name = "N|all", default_value = "10000", value_parser = connection_limit)]
    pub connections: ConnectionLimit,
    /// Exit with status 3 and write nothing if a file cannot be read to its end
    #[arg(long)]
    pub strict: bool,
    /// Baseline JSON report of a good day: list findings that are new, worse, better or gone
    #[arg(long, value_name = "GOOD.report.json")]
    pub against: Option<PathBuf>,
}

/// An output format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// One self-contained page
    Html,
    /// Markdown for the incident
    Md,
    /// The JSON contract
    Json,
    /// The summary for a terminal
    Terminal,
    /// At most 15 lines of Markdown for a chat
    Summary,
    /// A folder of tables, one file each
    Parquet,
}

/// How progress is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    /// Progress bars on a terminal, log lines otherwise
    Text,
    /// One JSON object per line
    Json,
}

/// What was collected on the hosts.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Host evidence")]
pub struct HostArguments {
    /// Files or folders collected on the hosts (ss, netstat, nstat, strace, lsof, iptables-save,
    /// conntrack, logs …), detected from content; see docs/host-evidence.md
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub host_evidence: Vec<PathBuf>,
    /// Time at which a file without timestamps was written
    #[arg(long, value_name = "FILE=TIME", value_parser = file_and_time)]
    pub host_evidence_time: Vec<(String, Timestamp)>,
    /// The files beside the captures are read as well (`batch`).
    #[arg(skip)]
    pub beside: bool,
}

/// What was collected on the hosts of the points of a path.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Host evidence")]
pub struct PointHostArguments {
    /// Files or folders collected on the hosts: of the point that NAME= names, or else of every point
    /// in whose capture their addresses occur; see docs/host-evidence.md
    #[arg(long, num_args = 1.., value_name = "[NAME=]PATH")]
    pub host_evidence: Vec<String>,
    /// Time at which a file without timestamps was written
    #[arg(long, value_name = "FILE=TIME", value_parser = file_and_time)]
    pub host_evidence_time: Vec<(String, Timestamp)>,
}

impl PointHostArguments {
    /// Those of one of the points with these names: what names none is everybody's.
    pub fn of_point(&self, point: &str, points: &[&str]) -> HostArguments {
        let paths =
            self.host_evidence
                .iter()
                .filter_map(|argument| match argument.split_once('=') {
                    Some((name, path)) if points.contains(&name) => {
                        (name == point).then(|| PathBuf::from(path))
                    }
                    _ => Some(PathBuf::from(argument)),
                });
        HostArguments {
            host_evidence: paths.collect(),
            host_evidence_time: self.host_evidence_time.clone(),
            beside: false,
        }
    }
}

impl HostArguments {
    /// Whether host files are to be read.
    pub const fn is_asked(&self) -> bool {
        !self.host_evidence.is_empty() || self.beside
    }
}

/// How captures are analyzed, whatever becomes of the result.
#[derive(Debug, Args)]
#[command(next_help_heading = "Analysis")]
pub struct AnalysisArguments {
    /// Only these rules (ids, or prefix*)
    #[arg(long, value_delimiter = ',', value_name = "RULE")]
    pub select: Vec<String>,
    /// All rules but these (ids, or prefix*)
    #[arg(long, value_delimiter = ',', value_name = "RULE")]
    pub ignore: Vec<String>,
    /// Receive buffer of a UDP server, as PORT=BYTES
    #[arg(long, value_name = "PORT=BYTES", value_parser = port_and_bytes)]
    pub udp_recv_buffer: Vec<(u16, u32)>,
    /// Framing of a TCP server's stream, as PORT=SPEC (u32be, u16le,offset=2, line, fixed:64, …)
    #[arg(long, value_name = "PORT=SPEC", value_parser = port_and_spec)]
    pub framing: Vec<(u16, String)>,
    /// Configuration and rule files.
    #[command(flatten)]
    pub files: RuleFiles,
    /// Only packets from this time on: 2026-11-24T10:15:00Z (UTC unless a zone is given)
    #[arg(long, value_name = "TIME")]
    pub from: Option<Timestamp>,
    /// Only packets up to this time
    #[arg(long, value_name = "TIME")]
    pub to: Option<Timestamp>,
    /// Only packets from or to these addresses or networks (10.9.0.2, 10.9.0.0/16)
    #[arg(long, value_delimiter = ',', value_name = "HOST")]
    pub host: Vec<Hosts>,
    /// Only packets from or to these ports
    #[arg(long, value_delimiter = ',', value_name = "PORT")]
    pub port: Vec<u16>,
    /// Only this connection, as reports write it: 10.9.0.1:40000-10.9.0.2:80
    #[arg(long, value_name = "ENDS")]
    pub connection: Vec<Ends>,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Memory limit, such as 512M or 2G; connections dropped to stay below it are reported
    /// [default: 1G, or a quarter of the machine's if that is less]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_memory: Option<u64>,
}

/// Configuration and rule files.
#[derive(Debug, Args)]
pub struct RuleFiles {
    /// Configuration file [default: pcapdoc.toml in this folder or a parent]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// File with your own rules ([[rule]], see docs/own-rules.md), in addition to the configuration
    #[arg(long, value_name = "FILE")]
    pub rules: Vec<PathBuf>,
}

/// What outputs hide.
#[derive(Debug, Args)]
#[command(next_help_heading = "Redaction")]
pub struct RedactionArguments {
    /// Hide addresses, names and payload in every output
    #[arg(long)]
    pub redact: bool,
    /// Redact with the secret in this file, so that several reports use the same substitutes
    /// [default: a new secret for every run]
    #[arg(long, value_name = "FILE")]
    pub redact_key: Option<PathBuf>,
}

/// Where redaction is asked for but not done: said, never overlooked.
#[derive(Debug, Args)]
pub struct NoRedaction {
    /// Refused
    #[arg(long, hide = true)]
    redact: bool,
    /// Refused
    #[arg(long, hide = true, value_name = "FILE")]
    redact_key: Option<PathBuf>,
}

impl NoRedaction {
    /// Whether redaction was asked for.
    pub const fn is_asked(&self) -> bool {
        self.redact || self.redact_key.is_some()
    }
}

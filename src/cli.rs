//! Argument definitions. They validate; what they mean is decided in [`crate::settings`] and
//! [`crate::outputs`].

use std::path::PathBuf;

use analyzer::Timestamp;
use clap::{Args, Parser, Subcommand, ValueEnum};
use reports::Severity;

mod parts;
mod shared;
mod values;

pub use parts::{ConcludeArguments, JudgeArguments, RowsArguments, SegmentArguments};
pub use shared::{
    AnalysisArguments, Format, HostArguments, LogFormat, NoRedaction, OutputArguments,
    PointHostArguments, RedactionArguments, ReportingArguments, RuleFiles,
};
pub use values::{ConnectionLimit, Since};
use values::{connection_limit, file_and_time, severity, since};

/// Explains what went wrong in a packet capture, with proof.
#[derive(Debug, Parser)]
#[command(name = "pcapdoc", version, about, after_help = EXIT_STATUSES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The log format.
    pub const fn log(&self) -> LogFormat {
        match &self.command {
            Command::Analyze(arguments) => arguments.log,
            Command::Batch(arguments) => arguments.log,
            Command::Compare(arguments) => arguments.log,
            _ => LogFormat::Text,
        }
    }
}

const EXIT_STATUSES: &str = "Exit status: 0 done; 1 a finding at or above --fail-on; \
2 invalid usage; 3 the input could not be read (with --strict: not to its end); 4 an output \
could not be written; 130 interrupted, the report covers what had been read.";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Analyze one capture (a file, or the files of one set) and report what went wrong
    Analyze(AnalyzeArguments),
    /// Show what a capture contains: format, interfaces, protocols, times, quality
    Inspect(InspectArguments),
    /// Extract the frames of one finding, with packet comments on those that prove it
    Evidence(EvidenceArguments),
    /// Render a saved JSON result in another format
    Report(ReportArguments),
    /// Locate a problem on a path from captures taken at two or more points
    Compare(CompareArguments),
    /// Analyze an archive: reports, a dataset and a roll-up; later runs process only what changed
    Batch(BatchArguments),
    /// Split captures into shards for distributed analysis (see docs/distributed.md)
    Segment(SegmentArguments),
    /// Analyze shards that segment wrote
    Judge(JudgeArguments),
    /// Merge what judge wrote into the report that analyze would give
    Conclude(ConcludeArguments),
    /// Run SQL over a dataset, Parquet files or a capture
    Query(QueryArguments),
    /// List the rules, including your own
    Rules(RuleFiles),
    /// Print a rule's documentation: what it means, how it is detected, what to do
    Explain {
        /// Rule id, such as keepalive-race
        rule: String,
        /// Configuration and rule files.
        #[command(flatten)]
        files: RuleFiles,
    },
    /// Explain how one TCP segment was classified, and how Wireshark labels it
    ExplainFrame(ExplainFrameArguments),
    /// Print a script that collects host evidence; nothing is run
    Collect(CollectArguments),
    /// Print a shell completion script
    Completions {
        /// Shell to complete for
        shell: clap_complete::Shell,
    },
}

/// Arguments of `pcapdoc collect`.
#[derive(Debug, Args)]
pub struct CollectArguments {
    /// Only what this rule needs from the hosts
    #[arg(long, value_name = "RULE")]
    pub rule: Option<String>,
    /// Process to trace
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
}

/// Arguments of `pcapdoc explain-frame`.
#[derive(Debug, Args)]
pub struct ExplainFrameArguments {
    /// Captures; several are one set
    #[arg(required = true, value_name = "CAPTURE")]
    pub captures: Vec<PathBuf>,
    /// Wireshark's frame.number
    #[arg(value_name = "FRAME", value_parser = clap::value_parser!(u64).range(1..))]
    pub frame: u64,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "terminal")]
    pub format: ExplainFormat,
    /// What is not done.
    #[command(flatten)]
    pub redaction: NoRedaction,
}

/// How `explain-frame` prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ExplainFormat {
    /// Lines for a terminal
    Terminal,
    /// One JSON document
    Json,
}

/// Arguments of `pcapdoc analyze`.
#[derive(Debug, Args)]
pub struct AnalyzeArguments {
    /// Captures (pcap, pcapng, snoop; plain or gz, zst, lz4, xz, bz2), folders and patterns of
    /// them; several are one set; - is stdin
    #[arg(required = true, value_name = "CAPTURE")]
    pub captures: Vec<PathBuf>,
    /// What becomes of the result.
    #[command(flatten)]
    pub reporting: ReportingArguments,
    /// Folder for one capture per finding: the frames of its connections, with packet comments
    #[arg(long, value_name = "DIR")]
    pub evidence: Option<PathBuf>,
    /// Open the HTML report in the browser
    #[arg(long)]
    pub open: bool,
    /// Log format on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log: LogFormat,
    /// Host evidence.
    #[command(flatten)]
    pub hosts: HostArguments,
    /// How to analyze.
    #[command(flatten)]
    pub analysis: AnalysisArguments,
    /// What to hide.
    #[command(flatten)]
    pub redaction: RedactionArguments,
}

/// Arguments of `pcapdoc compare`.
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// Captures of one path, one argument for each point: a file, a folder or a pattern in quotes,
    /// named by NAME= or else by its file name
    #[arg(required = true, value_name = "[NAME=]CAPTURE")]
    pub captures: Vec<String>,
    /// Where results go, and in which form.
    #[command(flatten)]
    pub outputs: OutputArguments,
    /// Exit with status 1 if a finding is at least this severe
    #[arg(long, value_name = "SEVERITY", value_parser = severity())]
    pub fail_on: Option<Severity>,
    /// Folder for one capture per finding, with an interface for each point
    #[arg(long, value_name = "DIR")]
    pub evidence: Option<PathBuf>,
    /// Number of connections listed in the JSON
    #[arg(long, value_name = "N|all", default_value = "10000", value_parser = connection_limit)]
    pub connections: ConnectionLimit,
    /// Log format on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log: LogFormat,
    /// How to analyze.
    #[command(flatten)]
    pub analysis: AnalysisArguments,
    /// What to hide.
    #[command(flatten)]
    pub redaction: RedactionArguments,
    /// What was collected on the hosts.
    #[command(flatten)]
    pub hosts: PointHostArguments,
}

/// Arguments of `pcapdoc inspect`.
#[derive(Debug, Args)]
pub struct InspectArguments {
    /// Captures as for analyze
    #[arg(required = true, value_name = "CAPTURE")]
    pub captures: Vec<PathBuf>,
    /// What is not done.
    #[command(flatten)]
    pub redaction: NoRedaction,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub format: InspectFormat,
    /// Exit with status 3 if a file cannot be read to its end
    #[arg(long)]
    pub strict: bool,
}

/// How `pcapdoc inspect` writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum InspectFormat {
    /// For people
    Text,
    /// One object
    Json,
}

/// Arguments of `pcapdoc evidence`.
#[derive(Debug, Args)]
pub struct EvidenceArguments {
    /// Captures as for analyze, but not a pipe: they are read twice
    #[arg(required = true, value_name = "CAPTURE")]
    pub captures: Vec<PathBuf>,
    /// Finding: its id in the report (F1) or its rule
    #[arg(value_name = "FINDING")]
    pub finding: String,
    /// File or folder to write to [default: CAPTURE.FINDING-RULE.pcapng in this folder]
    #[arg(short, long, value_name = "FILE|DIR")]
    pub output: Option<PathBuf>,
    /// How to analyze.
    #[command(flatten)]
    pub analysis: AnalysisArguments,
    /// What to hide.
    #[command(flatten)]
    pub redaction: RedactionArguments,
}

/// Arguments of `pcapdoc report`.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// What is not done.
    #[command(flatten)]
    pub redaction: NoRedaction,
    /// A report written by `pcapdoc analyze --format json`; - is stdin
    #[arg(value_name = "RESULT.json")]
    pub result: PathBuf,
    /// Where results go, and in which form.
    #[command(flatten)]
    pub outputs: OutputArguments,
}

/// Arguments of `pcapdoc batch`.
#[derive(Debug, Args)]
pub struct BatchArguments {
    /// Folders, captures and patterns of them; captures are detected from content, not file name
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Folder for the reports, the dataset, the roll-up and the state of earlier runs
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Which files form one capture: parts of a rotation, all files of a folder, or none
    #[arg(long, value_name = "HOW", default_value = "prefix")]
    pub group_by: GroupBy,
    /// Captures analyzed in parallel [default: number of threads]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Only captures with a file changed since 2026-11-24, 2026-11-24T10:00:00Z, or 36h or 7d ago
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Since>,
    /// Retry files that could not be read before
    #[arg(long)]
    pub retry: bool,
    /// Analyze again what was analyzed with other settings or another version
    #[arg(long)]
    pub refresh: bool,
    /// Print what would be done and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Write a report for captures with a finding at least this severe
    #[arg(long, value_name = "SEVERITY", value_parser = severity(), default_value = "low")]
    pub report_from: Severity,
    /// Exit with status 1 if any of these captures, analyzed now or before, has a finding at
    /// least this severe
    #[arg(long, value_name = "SEVERITY", value_parser = severity())]
    pub fail_on: Option<Severity>,
    /// Compare with the --out folder of another batch instead of the last run
    #[arg(long, value_name = "DIR")]
    pub baseline: Option<PathBuf>,
    /// Log format on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log: LogFormat,
    /// Read host evidence: the files beside the captures of a set, and those given here,
    /// detected from content; see docs/host-evidence.md
    #[arg(long, num_args = 0.., value_name = "PATH")]
    pub host_evidence: Option<Vec<PathBuf>>,
    /// Time at which a file without timestamps was written
    #[arg(long, value_name = "FILE=TIME", value_parser = file_and_time)]
    pub host_evidence_time: Vec<(String, Timestamp)>,
    /// What is not done.
    #[command(flatten)]
    pub redaction: NoRedaction,
    /// How captures are analyzed.
    #[command(flatten)]
    pub analysis: AnalysisArguments,
}

/// Which files are one capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum GroupBy {
    /// Parts of a rotated capture, recognized by name
    Prefix,
    /// All captures of a folder
    Dir,
    /// Every file on its own
    None,
}

/// Arguments of `pcapdoc query`.
#[derive(Debug, Args)]
pub struct QueryArguments {
    /// Folder of a batch or a dataset, Parquet files, or captures; the last one is the SQL
    #[arg(required_unless_present = "schema", num_args = 2.., value_name = "PATH… SQL")]
    pub paths_and_sql: Vec<String>,
    /// List the tables and their columns instead
    #[arg(long)]
    pub schema: bool,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub format: QueryFormat,
    /// File for the result [default: standard output]
    #[arg(short, long, value_name = "FILE|-")]
    pub output: Option<PathBuf>,
    /// What is not done.
    #[command(flatten)]
    pub redaction: NoRedaction,
    /// How captures are analyzed.
    #[command(flatten)]
    pub analysis: AnalysisArguments,
}

/// How the result of a query is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum QueryFormat {
    /// Aligned columns for people
    Table,
    /// With a header
    Csv,
    /// An array of objects
    Json,
    /// One Parquet file; needs --output
    Parquet,
}

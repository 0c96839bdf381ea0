//! Argument definitions. They validate; what they mean is decided in [`crate::settings`].

use std::path::PathBuf;

use analyzer::Timestamp;
use analyzer::filter::{Ends, Hosts};
use clap::{Args, Parser, Subcommand, ValueEnum};
use reports::Severity;

mod values;

pub use values::{ConnectionLimit, Since};
use values::{
    connection_limit, file_and_time, port_and_bytes, port_and_spec, severity, since, size,
};

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
    /// Take captures apart for judges on several machines: packets as rows (see docs/distributed.md)
    Segment(SegmentArguments),
    /// Judge the packets of shards: rows of segment in, rows for conclude out
    Judge(JudgeArguments),
    /// Report what files and shards came to, as analyze would have
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
    /// Folder for the reports, or a file (for one format), or - for standard output
    #[arg(short, long, value_name = "DIR|FILE|-")]
    pub output: Option<PathBuf>,
    /// What to write [default: html and md files, and the summary on standard output]
    #[arg(short, long, value_delimiter = ',', value_name = "FORMAT")]
    pub format: Vec<Format>,
    /// Print at most 15 lines for a chat and write no files (same as --format summary)
    #[arg(long, conflicts_with = "format")]
    pub summary: bool,
    /// Exit with status 1 if a finding is at least this severe
    #[arg(long, value_name = "SEVERITY", value_parser = severity())]
    pub fail_on: Option<Severity>,
    /// Folder for one capture per finding: the frames of its connections, with packet comments
    #[arg(long, value_name = "DIR")]
    pub evidence: Option<PathBuf>,
    /// Number of connections listed in the JSON
    #[arg(long, value_name = "N|all", default_value = "10000", value_parser = connection_limit)]
    pub connections: ConnectionLimit,
    /// Exit with status 3 and write nothing if a file cannot be read to its end
    #[arg(long)]
    pub strict: bool,
    /// JSON report of a good day: show what is new, worse, better or gone
    #[arg(long, value_name = "GOOD.report.json")]
    pub against: Option<PathBuf>,
    /// Open the HTML report in the browser
    #[arg(long)]
    pub open: bool,
    /// Log format on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log: LogFormat,
    /// Host evidence.
    #[command(flatten)]
    pub hosts: HostArguments,
    /// How to analyse.
    #[command(flatten)]
    pub analysis: AnalysisArguments,
    /// What to hide.
    #[command(flatten)]
    pub redaction: RedactionArguments,
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

impl HostArguments {
    /// Whether host files are to be read.
    pub const fn is_asked(&self) -> bool {
        !self.host_evidence.is_empty() || self.beside
    }
}

/// Arguments of `pcapdoc compare`.
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// Captures of one path, one argument for each point: a file, a folder or a pattern in quotes,
    /// named by NAME= or else by its file name
    #[arg(required = true, value_name = "[NAME=]CAPTURE")]
    pub captures: Vec<String>,
    /// Folder for the reports, or a file (for one format), or - for standard output
    #[arg(short, long, value_name = "DIR|FILE|-")]
    pub output: Option<PathBuf>,
    /// What to write [default: html and md files, and the summary on standard output]
    #[arg(short, long, value_delimiter = ',', value_name = "FORMAT")]
    pub format: Vec<Format>,
    /// Print the short text for a chat and write no files (same as --format summary)
    #[arg(long, conflicts_with = "format")]
    pub summary: bool,
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
    /// How to analyse.
    #[command(flatten)]
    pub analysis: AnalysisArguments,
    /// What to hide.
    #[command(flatten)]
    pub redaction: RedactionArguments,
}

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
    /// How captures are analysed.
    #[command(flatten)]
    pub analysis: AnalysisArguments,
    /// What is not done.
    #[command(flatten)]
    pub redaction: NoRedaction,
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
    /// How captures are analysed.
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
    /// Folder for the reports, or a file (for one format), or - for standard output
    #[arg(short, long, value_name = "DIR|FILE|-")]
    pub output: Option<PathBuf>,
    /// What to write [default: html and md files, and the summary on standard output]
    #[arg(short, long, value_delimiter = ',', value_name = "FORMAT")]
    pub format: Vec<Format>,
    /// Print at most 15 lines for a chat and write no file; short for --format summary
    #[arg(long, conflicts_with = "format")]
    pub summary: bool,
    /// Exit with status 1 when a finding is at least this severe
    #[arg(long, value_name = "SEVERITY", value_parser = severity())]
    pub fail_on: Option<Severity>,
    /// Number of connections listed in the JSON, the same as for judge
    #[arg(long, value_name = "N|all", default_value = "10000", value_parser = connection_limit)]
    pub connections: ConnectionLimit,
    /// Fail with status 3, and write nothing, when a file could not be read to its end
    #[arg(long)]
    pub strict: bool,
    /// Report (JSON) of a good day: say what is new, worse, gone or better since
    #[arg(long, value_name = "GOOD.report.json")]
    pub against: Option<PathBuf>,
    /// How captures are analysed.
    #[command(flatten)]
    pub analysis: AnalysisArguments,
    /// What is not done.
    #[command(flatten)]
    pub redaction: NoRedaction,
}

impl ConcludeArguments {
    /// The arguments with which `analyze` would do the same from these captures.
    pub fn into_analyze(self, captures: Vec<PathBuf>) -> AnalyzeArguments {
        AnalyzeArguments {
            captures,
            output: self.output,
            format: self.format,
            summary: self.summary,
            fail_on: self.fail_on,
            evidence: None,
            connections: self.connections,
            strict: self.strict,
            against: self.against,
            open: false,
            log: LogFormat::Text,
            hosts: HostArguments::default(),
            analysis: self.analysis,
            redaction: RedactionArguments {
                redact: false,
                redact_key: None,
            },
        }
    }
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

/// How captures are analysed, whatever becomes of the result.
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
    /// How to analyse.
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
    /// How captures are analysed.
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

/// How progress is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    /// Bars on a terminal, lines otherwise
    Text,
    /// One JSON object per line
    Json,
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
    /// How captures are analysed.
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

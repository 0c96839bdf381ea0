//! Argument definitions. They validate; what they mean is decided in [`crate::settings`].

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use analyzer::Timestamp;
use analyzer::filter::{Ends, Hosts};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use reports::Severity;

/// Explains what went wrong in a packet capture, with proof.
#[derive(Debug, Parser)]
#[command(name = "pcapdoc", version, about, after_help = EXIT_STATUSES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// How to tell what is done.
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
2 wrong use; 3 the input could not be read at all (with --strict: not to its end); 4 an output \
could not be written; 130 interrupted: what was read until then is reported.";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Analyse one capture (one file, or the files of one set) and report what went wrong
    Analyze(AnalyzeArguments),
    /// Say what is in a capture, without judging it: format, interfaces, protocols, times, quality
    Inspect(InspectArguments),
    /// Cut the frames of one finding out of a capture, with comments on those that prove it
    Evidence(EvidenceArguments),
    /// Render a result in another format, without the capture
    Report(ReportArguments),
    /// Say where on a path it happens, by captures of two or more of its points
    Compare(CompareArguments),
    /// Analyse an archive: reports, one dataset, one roll-up; a second run does what is new
    Batch(BatchArguments),
    /// Take captures apart for judges on several machines: packets as rows (see docs/distributed.md)
    Segment(SegmentArguments),
    /// Judge the packets of shards: rows of segment in, rows for conclude out
    Judge(JudgeArguments),
    /// Report what files and shards came to, as analyze would have
    Conclude(ConcludeArguments),
    /// Run SQL over a dataset, Parquet files or a capture
    Query(QueryArguments),
    /// List the rules, yours among them
    Rules(RuleFiles),
    /// Print a rule's documentation: what it means, how it is detected, what to do
    Explain {
        /// Rule id, such as keepalive-race
        rule: String,
        /// Where rules of one's own are.
        #[command(flatten)]
        files: RuleFiles,
    },
    /// Say what one TCP segment was judged to be and why, and what Wireshark calls it
    ExplainFrame(ExplainFrameArguments),
    /// Print a script that collects on a host what tells causes apart; nothing is run
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
    /// Only what this rule asks of the hosts
    #[arg(long, value_name = "RULE")]
    pub rule: Option<String>,
    /// The process whose calls are traced
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
    /// json for one document on standard output
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
    /// Print at most 15 lines for a chat and write no file; short for --format summary
    #[arg(long, conflicts_with = "format")]
    pub summary: bool,
    /// Exit with status 1 when a finding is at least this severe
    #[arg(long, value_name = "SEVERITY", value_parser = severity())]
    pub fail_on: Option<Severity>,
    /// Folder for one capture per finding: the frames of its connections, the proof commented
    #[arg(long, value_name = "DIR")]
    pub evidence: Option<PathBuf>,
    /// Connections listed in the JSON: a number or all
    #[arg(long, value_name = "N|all", default_value = "10000", value_parser = connection_limit)]
    pub connections: ConnectionLimit,
    /// Fail with status 3, and write nothing, when a file cannot be read to its end
    #[arg(long)]
    pub strict: bool,
    /// Report (JSON) of a good day: say what is new, worse, gone or better since
    #[arg(long, value_name = "GOOD.report.json")]
    pub against: Option<PathBuf>,
    /// Open the HTML report in the browser afterwards
    #[arg(long)]
    pub open: bool,
    /// How to tell what is done, on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log: LogFormat,
    /// What the hosts say.
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
    /// Files or folders with what was collected on the hosts (ss, netstat, nstat, strace, lsof,
    /// iptables-save, conntrack, logs …), told by content; see docs/host-evidence.md
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub host_evidence: Vec<PathBuf>,
    /// When a file without times was written
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
    /// Print the short text for a chat and write no file; short for --format summary
    #[arg(long, conflicts_with = "format")]
    pub summary: bool,
    /// Exit with status 1 when a finding is at least this severe
    #[arg(long, value_name = "SEVERITY", value_parser = severity())]
    pub fail_on: Option<Severity>,
    /// Folder for one capture per finding, with an interface for each point
    #[arg(long, value_name = "DIR")]
    pub evidence: Option<PathBuf>,
    /// Connections listed in the JSON: a number or all
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
    /// Octets of payload that travel with a packet, at most; what is cut off is a caveat, as a snap
    /// length is [default: all]
    #[arg(long, value_name = "OCTETS")]
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
    /// Connections listed in the JSON: a number or all, as judge was told
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
    /// How to write it
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub format: InspectFormat,
    /// Fail with status 3 when a file cannot be read to its end
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
    /// Not these rules (ids, or prefix*)
    #[arg(long, value_delimiter = ',', value_name = "RULE")]
    pub ignore: Vec<String>,
    /// Receive buffer of a UDP server, as PORT=BYTES
    #[arg(long, value_name = "PORT=BYTES", value_parser = port_and_bytes)]
    pub udp_recv_buffer: Vec<(u16, u32)>,
    /// Framing of a TCP server's stream, as PORT=SPEC (u32be, u16le,offset=2, line, fixed:64, …)
    #[arg(long, value_name = "PORT=SPEC", value_parser = port_and_spec)]
    pub framing: Vec<(u16, String)>,
    /// Where settings and rules of one's own are.
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
    /// Memory that connections may take, such as 512M or 2G; what is given up for it is a caveat
    /// [default: 1G, or a quarter of the machine's if that is less]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_memory: Option<u64>,
}

/// Where settings and rules of one's own are.
#[derive(Debug, Args)]
pub struct RuleFiles {
    /// Configuration file [default: pcapdoc.toml here or in a folder above]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Rules of your own ([[rule]], see docs/own-rules.md) beside those of the configuration file
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
    /// Redact by the secret in this file, so that several reports show the same stand-ins
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
    /// Captures as for analyze, but no pipe: they are read twice
    #[arg(required = true, value_name = "CAPTURE")]
    pub captures: Vec<PathBuf>,
    /// Which finding: its id in the report (F1) or its rule
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
    /// What `pcapdoc analyze --format json` wrote; - is stdin
    #[arg(value_name = "RESULT.json")]
    pub result: PathBuf,
    /// Folder for the reports, or a file (for one format), or - for standard output
    #[arg(short, long, value_name = "DIR|FILE|-")]
    pub output: Option<PathBuf>,
    /// What to write [default: html and md files, and the summary on standard output]
    #[arg(short, long, value_delimiter = ',', value_name = "FORMAT")]
    pub format: Vec<Format>,
    /// Print at most 15 lines for a chat and write no file; short for --format summary
    #[arg(long, conflicts_with = "format")]
    pub summary: bool,
}

/// Arguments of `pcapdoc batch`.
#[derive(Debug, Args)]
pub struct BatchArguments {
    /// Folders, captures and patterns of them; captures are told by content, whatever their names
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Folder for the reports, the dataset, the roll-up and what is known of earlier runs
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Which files are one capture: parts of a rotation by their names, all of a folder, none
    #[arg(long, value_name = "HOW", default_value = "prefix")]
    pub group_by: GroupBy,
    /// Captures analysed side by side [default: as many as threads]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Only captures with a file changed since: 2026-11-24, 2026-11-24T10:00:00Z, or 36h, 7d ago
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Since>,
    /// Try again what could not be read before
    #[arg(long)]
    pub retry: bool,
    /// Analyse again what was judged by other settings or another version
    #[arg(long)]
    pub refresh: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Write a report for captures with a finding at least this severe
    #[arg(long, value_name = "SEVERITY", value_parser = severity(), default_value = "low")]
    pub report_from: Severity,
    /// Exit with status 1 when any of these captures, analysed now or before, has a finding at
    /// least this severe
    #[arg(long, value_name = "SEVERITY", value_parser = severity())]
    pub fail_on: Option<Severity>,
    /// Compare with the --out folder of another batch instead of the last run
    #[arg(long, value_name = "DIR")]
    pub baseline: Option<PathBuf>,
    /// How to tell what is done, on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log: LogFormat,
    /// Read what was collected on the hosts: the files beside the captures of a set, and those
    /// given here, told by content; see docs/host-evidence.md
    #[arg(long, num_args = 0.., value_name = "PATH")]
    pub host_evidence: Option<Vec<PathBuf>>,
    /// When a file without times was written
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
    /// Parts of a rotated capture, told by their names
    Prefix,
    /// All captures of a folder
    Dir,
    /// Every file on its own
    None,
}

/// How progress is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    /// Bars on a terminal, lines otherwise
    Text,
    /// One JSON object a line
    Json,
}

/// A point in time, nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Since(pub u64);

/// Arguments of `pcapdoc query`.
#[derive(Debug, Args)]
pub struct QueryArguments {
    /// Folder of a batch or a dataset, Parquet files, or captures; the last one is the SQL
    #[arg(required_unless_present = "schema", num_args = 2.., value_name = "PATH… SQL")]
    pub paths_and_sql: Vec<String>,
    /// List the tables and their columns instead
    #[arg(long)]
    pub schema: bool,
    /// How the result is written
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

/// How many connections to list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionLimit {
    /// At most this many.
    AtMost(usize),
    /// All of them.
    All,
}

fn severity() -> impl TypedValueParser<Value = Severity> {
    let known = [
        (Severity::Info, "Worth knowing"),
        (Severity::Low, "A weakness"),
        (Severity::Medium, "Users may have noticed"),
        (Severity::High, "Requests failed or waited for long"),
        (Severity::Critical, "The service was down"),
    ];
    let values = known.map(|(severity, help)| PossibleValue::new(severity.as_str()).help(help));
    PossibleValuesParser::new(values).try_map(move |name| {
        let mut named = known.into_iter().map(|(severity, _)| severity);
        named
            .find(|severity| severity.as_str() == name)
            .ok_or("no severity")
    })
}

fn connection_limit(text: &str) -> Result<ConnectionLimit, String> {
    if text == "all" {
        return Ok(ConnectionLimit::All);
    }
    let number = text
        .parse()
        .map_err(|_| "expected a number or all".to_owned())?;
    Ok(ConnectionLimit::AtMost(number))
}

fn since(text: &str) -> Result<Since, String> {
    let expected = || format!("{text:?} is no time: expected 2026-11-24, RFC 3339, 36h or 7d");
    let ago = text
        .split_at_checked(text.len().saturating_sub(1))
        .and_then(|(number, unit)| {
            let seconds = match unit {
                "m" => 60,
                "h" => 3600,
                "d" => 86_400,
                _ => return None,
            };
            number.parse::<u64>().ok()?.checked_mul(seconds)
        });
    let nanos = match ago {
        Some(seconds) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.map_err(|error| error.to_string())?;
            now.saturating_sub(Duration::from_secs(seconds)).as_nanos()
        }
        None => {
            let time: Timestamp = text.parse().map_err(|_| expected())?;
            u128::try_from(time.as_nanos()).map_err(|_| expected())?
        }
    };
    u64::try_from(nanos).map(Since).map_err(|_| expected())
}

/// A number of bytes, with K, M, G or T for powers of 1,024.
fn size(text: &str) -> Result<u64, String> {
    let expected = || format!("{text:?} is no size: expected bytes, or a number with K, M, G or T");
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err(expected()),
    };
    let number: u64 = digits.parse().map_err(|_| expected())?;
    number.checked_mul(1 << shift).ok_or_else(expected)
}

fn file_and_time(text: &str) -> Result<(String, Timestamp), String> {
    let (file, time) = text.rsplit_once('=').ok_or("expected FILE=TIME")?;
    let time = time
        .parse()
        .map_err(|_| format!("{time:?} is no time: expected RFC 3339"))?;
    Ok((file.to_owned(), time))
}

fn port_and_bytes(text: &str) -> Result<(u16, u32), String> {
    let (port, bytes) = text.split_once('=').ok_or("expected PORT=BYTES")?;
    let port = port
        .parse()
        .map_err(|_| format!("{port:?} is not a port"))?;
    let bytes = bytes
        .parse()
        .map_err(|_| format!("{bytes:?} is not a number of bytes"))?;
    Ok((port, bytes))
}

fn port_and_spec(text: &str) -> Result<(u16, String), String> {
    let (port, spec) = text.split_once('=').ok_or("expected PORT=SPEC")?;
    let port = port
        .parse()
        .map_err(|_| format!("{port:?} is not a port"))?;
    spec.parse::<analyzer::app::FramingSpec>()
        .map_err(|error| error.to_string())?;
    Ok((port, spec.to_owned()))
}

//! Host evidence: what the hosts' own files say of what the capture shows.
//!
//! A capture is read twice. The first time [`Acquaintance`] remembers its connections; then the
//! host files are read and laid beside them ([`Witness::new`]); the second time the rules judge
//! connections as the hosts know them ([`Witness::settle`]), and at the end each finding is held
//! against what its rule asked for ([`Witness::testify`]).
//!
//! ```text
//! watched ◄─ join (+clock, hosts) ◄─ counters ◄─ settle ◄─ testimony/ ◄─ turn ◄─ mod
//! ```

mod clock;
mod counters;
mod declared;
mod hosts;
mod join;
mod settle;
mod snapshots;
mod testimony;
mod turn;
mod udp_buffer_full;
mod watched;

use std::collections::BTreeMap;

use analyzer::Connection;
use hostfiles::{Clock, HostFiles, Kind};

use crate::model::finding::Assessment;
use crate::model::settings::RuleSettings;

use join::Joined;
use settle::Settlement;
use testimony::Book;

pub use declared::ALL;
pub use snapshots::{HostSnapshot, StateCount};
pub use watched::{Acquaintance, Ends};

/// Host files laid beside a capture.
#[derive(Debug)]
pub struct Witness {
    joined: Joined,
    settled: Settlement,
    left_out: u64,
}

/// What became of one host file (the JSON contract).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostFileUse {
    /// Name as given.
    pub file: String,
    /// What it is.
    pub kind: &'static str,
    /// The host it is from.
    pub host: Option<String>,
    /// Lines read.
    pub lines: u64,
    /// Lines that were joined with the capture.
    pub used: u64,
    /// What a reader must know of it.
    pub note: String,
}

impl Witness {
    /// Lays files beside the connections of a capture.
    #[must_use]
    pub fn new(files: HostFiles, known: Acquaintance) -> Self {
        let (watched, left_out) = known.into_list();
        let joined = Joined::new(files, watched);
        let settled = Settlement::of(&joined);
        Self {
            joined,
            settled,
            left_out,
        }
    }

    /// Adds to the settings what the files state; what the user said himself stays.
    pub fn advise(&self, settings: &mut RuleSettings) {
        for (port, (bytes, _)) in &self.settled.buffers {
            settings.udp_recv_buffers.entry(*port).or_insert(*bytes);
        }
    }

    /// The connection as its hosts know it; `None` when they say nothing of it.
    #[must_use]
    pub fn settle(&self, connection: &Connection) -> Option<Connection> {
        self.settled.apply(&self.joined, connection)
    }

    /// Holds each finding against what its rule asks of the hosts, and says what became of each file.
    pub fn testify(
        &self,
        assessment: &mut Assessment,
        settings: &RuleSettings,
    ) -> Vec<HostFileUse> {
        let mut book = Book::new(&self.joined, &self.settled);
        for finding in &mut assessment.findings {
            let lines = book.testify(finding);
            turn::weigh(finding, &lines);
            let mut quoted = book.quoted(lines);
            // Where no file of a host names a process, the capture may.
            quoted.extend(finding.host_evidence.take().unwrap_or_default());
            finding.host_evidence = Some(quoted);
        }
        let mut found = book.found(assessment);
        let mut host_only = udp_buffer_full::all(&self.joined);
        host_only.retain(|finding| settings.is_enabled(finding.rule));
        for mut finding in host_only {
            let lines = book.testify(&finding);
            finding.host_evidence = Some(book.quoted(lines));
            found.push(finding);
        }
        assessment.findings.extend(found);
        turn::settle_order(assessment);
        self.uses(&book)
    }

    /// The hosts' listings of their sockets, beside what the packets say of the same moments.
    #[must_use]
    pub fn snapshots(&self) -> Vec<HostSnapshot> {
        snapshots::all(&self.joined)
    }

    fn uses(&self, book: &Book<'_>) -> Vec<HostFileUse> {
        let files = self.joined.files.files.iter().enumerate();
        let uses = files.map(|(number, file)| {
            let known = &self.joined.known[number];
            let host = known.host.map(|host| host.to_string());
            let used = if known.is_foreign {
                0
            } else {
                book.used(number)
            };
            HostFileUse {
                file: file.name.clone(),
                kind: file.kind.as_str(),
                host,
                lines: file.lines,
                used,
                note: self.note(number, used),
            }
        });
        uses.collect()
    }

    /// What is to be known of a file, in sentences.
    fn note(&self, number: usize, used: u64) -> String {
        let (file, known) = (&self.joined.files.files[number], &self.joined.known[number]);
        let mut notes = Vec::new();
        notes.extend(file.problem.clone());
        if file.kind == Kind::Unknown {
            if file.problem.is_none() {
                notes.push("not recognised: ignored".to_owned());
            }
            return sentences(&notes);
        }
        if known.is_foreign {
            let host = known.host.map(|host| host.to_string()).unwrap_or_default();
            notes.push(format!(
                "it is from another host ({host}), which does not occur in this capture: not used"
            ));
        }
        if known.other_time > 0 {
            notes.push(format!(
                "{} of its lines concern connections with the same ends at another time: not used",
                known.other_time
            ));
        }
        notes.extend(known.notes.iter().cloned());
        if let Some(offset) = known.offset {
            let nanos = match file.clock {
                Clock::Day => offset
                    .nanos
                    .saturating_sub(self.joined.span.0.div_euclid(DAY) * DAY),
                _ => offset.nanos,
            };
            let what = match file.clock {
                Clock::Elapsed => {
                    "its times count from its own beginning: they were set by".to_owned()
                }
                _ => format!(
                    "its clock is {} s from the capture's by the median of",
                    seconds(nanos)
                ),
            };
            notes.push(format!(
                "{what} {} of its calls and their packets",
                offset.calls
            ));
        }
        let has_sockets = matches!(
            file.kind,
            Kind::Ss | Kind::Netstat | Kind::ProcNet | Kind::Lsof
        );
        if has_sockets && file.clock == Clock::None && file.taken.is_none() && used > 0 {
            notes.push("it has no timestamps: matched by addresses alone".to_owned());
        }
        if known.host.is_none() && known.notes.is_empty() {
            notes.push("no address identifies its host".to_owned());
        }
        if known.unseen > 0 && used > 0 {
            notes.push(format!(
                "{} of its connections do not occur in the capture",
                known.unseen
            ));
        }
        if let Some(left) = self.joined.files.facts.left_out.get(&number) {
            notes.push(format!("{left} facts above the limit were left out"));
        }
        if file.unread > 0 {
            notes.push(format!("{} lines were not recognised", file.unread));
        }
        if used == 0 && notes.is_empty() {
            notes.push("nothing in it concerns the capture".to_owned());
        }
        if self.left_out > 0 {
            notes.push(format!(
                "{} connections of the capture were not compared with it",
                self.left_out
            ));
        }
        sentences(&notes)
    }
}

const DAY: i64 = 86_400 * 1_000_000_000;

/// Seconds with milliseconds, signed.
fn seconds(nanos: i64) -> String {
    let millis = nanos / 1_000_000;
    let sign = if millis < 0 { "-" } else { "+" };
    format!("{sign}{}.{:03}", millis.abs() / 1_000, millis.abs() % 1_000)
}

fn sentences(notes: &[String]) -> String {
    notes.join("; ")
}

/// Names of files and when they were written, as `--host-evidence-time` gives them.
pub type Taken = BTreeMap<String, analyzer::Timestamp>;

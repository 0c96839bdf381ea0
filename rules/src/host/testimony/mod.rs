//! What each ask finds in the files for a finding: one function for one ask.

mod calls;
mod found;
mod logs;
mod network;
mod queues;
mod resets;
mod sockets;

use std::collections::{BTreeMap, BTreeSet};

use analyzer::Timestamp;
use hostfiles::LineRef;

use crate::catalog;
use crate::host::declared;
use crate::model::ask::{Ask, HostLine, Says};
use crate::model::finding::{Assessment, Finding};
use crate::model::severity::Severity;

use super::join::Joined;
use super::settle::Settlement;
use super::watched::Watched;

/// Lines quoted of one ask.
const LINES_PER_ASK: usize = 4;
/// Lines quoted of one finding.
const LINES_PER_FINDING: usize = 24;
/// Lines of logs that are quoted of one finding: one for each request lost.
const LOG_LINES: usize = 12;

/// What a line says about a finding.
#[derive(Clone, Debug)]
pub(super) struct Line {
    at: LineRef,
    pub(super) says: Says,
    note: String,
    /// It decides; others only fit.
    pub(super) is_strong: bool,
}

impl Line {
    fn new(at: LineRef, says: Says, note: impl Into<String>) -> Self {
        Self {
            at,
            says,
            note: note.into(),
            is_strong: false,
        }
    }

    fn strong(mut self) -> Self {
        self.is_strong = true;
        self
    }
}

/// A finding beside what is known of its connections.
struct Case<'a> {
    joined: &'a Joined,
    settled: &'a Settlement,
    finding: &'a Finding,
    /// Numbers of its connections.
    connections: Vec<usize>,
}

impl<'a> Case<'a> {
    /// Its connections that are remembered.
    fn watched(&self) -> impl Iterator<Item = (usize, &'a Watched)> {
        let joined = self.joined;
        self.connections
            .iter()
            .map(move |at| (*at, &joined.watched[*at]))
    }

    /// When it began.
    fn onset(&self) -> Option<Timestamp> {
        self.finding
            .evidence
            .iter()
            .map(|evidence| evidence.segment.time)
            .min()
    }
}

/// Judges findings by host files, and keeps account of the lines that were used.
pub(super) struct Book<'a> {
    joined: &'a Joined,
    settled: &'a Settlement,
    used: BTreeMap<usize, BTreeSet<u64>>,
}

impl<'a> Book<'a> {
    pub(super) fn new(joined: &'a Joined, settled: &'a Settlement) -> Self {
        let mut book = Self {
            joined,
            settled,
            used: BTreeMap::new(),
        };
        for (row, _) in joined.rows.iter().flatten() {
            book.mark(joined.files.facts.sockets[*row].place.at);
        }
        for (socket, _) in joined.traced.iter().flatten() {
            let socket = &joined.files.facts.traced[*socket];
            book.mark(socket.place.at);
            let places = [
                socket.opened,
                socket.closed,
                socket.shutdown,
                socket.first_write,
                socket.last_write,
                socket.last_read,
            ];
            for place in places.into_iter().flatten() {
                book.mark(place.at);
            }
            for read in &socket.reads {
                book.mark(read.place.at);
            }
        }
        book
    }

    fn mark(&mut self, at: LineRef) {
        self.used.entry(at.file).or_default().insert(at.line);
    }

    /// Lines of a file that were joined with the capture.
    pub(super) fn used(&self, file: usize) -> u64 {
        self.used.get(&file).map_or(0, |lines| lines.len() as u64)
    }

    /// All that the files say of a finding.
    pub(super) fn testify(&mut self, finding: &Finding) -> Vec<Line> {
        let connections = finding.connections.iter();
        let connections =
            connections.filter_map(|one| self.joined.number(one.first_frame, one.client));
        let case = Case {
            joined: self.joined,
            settled: self.settled,
            finding,
            connections: connections.collect(),
        };
        let metas = catalog::metas().into_iter().chain(declared::ALL);
        let meta = metas.into_iter().find(|meta| meta.id == finding.rule);
        let asks = meta.map_or(&[][..], |meta| meta.host_evidence);
        let mut lines = Vec::new();
        for ask in asks {
            let mut of_ask = answer(*ask, &case);
            of_ask.retain(|line| !self.joined.known[line.at.file].is_foreign);
            of_ask.truncate(if *ask == Ask::Logs {
                LOG_LINES
            } else {
                LINES_PER_ASK
            });
            for line in of_ask {
                let known = |other: &Line| other.at == line.at && other.says == line.says;
                if !lines.iter().any(known) {
                    lines.push(line);
                }
            }
        }
        if finding.severity >= Severity::Medium {
            lines.extend(logs::changes(&case));
        }
        lines.truncate(LINES_PER_FINDING);
        lines.sort_by_key(|line| (line.says, !line.is_strong));
        lines
    }

    /// The lines as a document shows them.
    pub(super) fn quoted(&mut self, lines: Vec<Line>) -> Vec<HostLine> {
        let quote = |line: Line| {
            self.mark(line.at);
            HostLine {
                file: self.joined.files.files[line.at.file].name.clone(),
                line: line.at.line,
                text: self.joined.files.quote(line.at),
                says: line.says,
                note: line.note,
            }
        };
        lines.into_iter().map(quote).collect()
    }

    /// Findings that only a host shows.
    pub(super) fn found(&mut self, assessment: &Assessment) -> Vec<Finding> {
        let found = found::all(self.joined, assessment);
        let quoted = found.into_iter().map(|(mut finding, lines)| {
            finding.host_evidence = Some(self.quoted(lines));
            finding
        });
        quoted.collect()
    }
}

/// What the files say to one question.
fn answer(ask: Ask, case: &Case<'_>) -> Vec<Line> {
    match ask {
        Ask::Owner => sockets::owner(case),
        Ask::CloseCall => calls::close_call(case),
        Ask::Deadline => calls::deadline(case),
        Ask::Linger | Ask::UnreadData => resets::cause(case),
        Ask::Retransmissions => sockets::retransmissions(case),
        Ask::Redirects => network::redirects(case),
        Ask::Filters => network::filters(case),
        Ask::IdleLimits => network::idle_limits(case),
        Ask::ReceiveBuffer => calls::receive_buffer(case),
        Ask::SharedSocket => queues::shared_socket(case),
        Ask::ListenQueue => queues::listen_queue(case),
        Ask::ReadSizes => calls::read_sizes(case),
        Ask::DatagramDrops => queues::datagram_drops(case),
        Ask::Fragments => queues::fragments(case),
        Ask::SendLimits => sockets::send_limits(case),
        Ask::Logs => logs::requests(case),
        Ask::KernelReason => resets::kernel_reason(case),
    }
}

/// An end of a connection, in words.
fn end_name(end: analyzer::Direction) -> &'static str {
    end.sender()
}

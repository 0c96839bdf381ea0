//! Findings as a document holds them.

use analyzer::decode::TcpFlags;
use analyzer::{Timestamp, Transport};
use rules::finding::{
    self, ConnectionRef, Figure, Finding, HostCommand, HostLine, LookAlike, Origin, Remedy,
};
use rules::rows::{direction_name, figures, rounded};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Distribution, OnsetView, Relation, Severity, SpreadView, WaitsView, WhatIf, seconds};
use crate::words::format;

/// One cause, with everything a reader needs to believe and cure it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FindingView {
    /// `F1`, `F2`, … in ranked order.
    pub id: String,
    /// Rule id.
    pub rule: String,
    /// `user` for a rule of the user's own; absent for ours.
    #[serde(default, skip_serializing_if = "Origin::is_built_in")]
    pub origin: Origin,
    /// Harm, if true.
    pub severity: Severity,
    /// How sure, 0–1.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    pub confidence: f64,
    /// Why that sure.
    pub confidence_reason: String,
    /// One line, at most 80 characters: addresses and names may be folded.
    pub title: String,
    /// The title before anything was folded, while addresses may still have to be masked.
    #[serde(skip)]
    pub(crate) full_title: String,
    /// What happened here.
    pub summary: String,
    /// How often.
    pub occurrences: u64,
    /// When; absent where only host files show it, and in comparisons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onset: Option<OnsetView>,
    /// Affected connections, worst first; may be fewer than [`Self::connection_count`].
    pub connections: Vec<ConnectionKey>,
    /// Affected connections in all.
    pub connection_count: u64,
    /// Frames of the best examples.
    pub evidence: Vec<EvidenceView>,
    /// Measured figures.
    pub figures: Map<String, Value>,
    /// How figures that are medians spread, by figure name.
    pub spreads: Map<String, Value>,
    /// What it cost, in user terms.
    pub cost: Map<String, Value>,
    /// How long requests would have taken without it; absent where it delayed none, or frames do not show
    /// when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what_if: Option<WhatIf>,
    /// Why we believe it, strongest first.
    pub why: Vec<String>,
    /// What it is not.
    pub look_alikes: Vec<LookAlike>,
    /// What to change.
    pub remedy: Vec<Remedy>,
    /// How to verify on the hosts.
    pub host_commands: Vec<HostCommand>,
    /// Limits of the capture that touch this finding.
    pub caveats: Vec<CaveatView>,
    /// Findings that cause this one.
    pub explained_by: Vec<String>,
    /// A Wireshark display filter that shows the evidence.
    pub filter: String,
    /// Single values of the leading figure.
    pub distribution: Option<Distribution>,
    /// How one measure goes with another, where that is the matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<Relation>,
    /// How long each side waited before it closed, where timeouts are the matter.
    #[serde(default)]
    pub timeouts: Vec<WaitsView>,
    /// Lines of host files that support, contradict or name what it says; absent when none were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_evidence: Option<Vec<HostLine>>,
    /// The capture that holds its frames (`--evidence`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_file: Option<String>,
}

/// Which connection a finding speaks of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ConnectionKey {
    /// `tcp` or `udp`.
    pub transport: String,
    /// Who opened it.
    pub client: String,
    /// Who was called.
    pub server: String,
    /// Frame of its first packet: distinguishes incarnations of one 4-tuple.
    pub first_frame: u64,
}

/// A frame that proves something.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EvidenceView {
    /// Wireshark's `frame.number`.
    pub frame: u64,
    /// RFC 3339, UTC, nanoseconds.
    pub time: String,
    /// A fact that can be checked at that frame.
    pub note: String,
    /// The frame proves the finding; others show where it began, or only suggest it.
    #[serde(default)]
    pub proves: bool,
    /// Since the capture's first frame.
    pub elapsed_s: f64,
    /// Its connection.
    pub connection: ConnectionKey,
    /// `client_to_server` or `server_to_client`.
    pub direction: String,
    /// TCP control bits, such as `PSH,ACK`; empty for UDP.
    pub flags: String,
    /// Sequence number as sent.
    pub seq: u32,
    /// Acknowledgment number as sent.
    pub ack: u32,
    /// Offset from the sender's initial sequence number.
    pub relative_seq: u64,
    /// Offset from the peer's initial sequence number.
    pub relative_ack: u64,
    /// True payload length.
    pub payload_bytes: u32,
    /// Window after scaling.
    pub window_bytes: u32,
    /// In a comparison: the point of which the frame is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
}

impl EvidenceView {
    /// Whether the client sent it.
    #[must_use]
    pub fn is_from_client(&self) -> bool {
        self.direction == "client_to_server"
    }
}

/// A limit of the capture that touches a finding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CaveatView {
    /// One of the contract's quality kinds.
    pub kind: String,
    /// What it means for this finding.
    pub note: String,
}

impl From<ConnectionRef> for ConnectionKey {
    fn from(connection: ConnectionRef) -> Self {
        Self {
            transport: connection.transport.as_str().to_owned(),
            client: connection.client.to_string(),
            server: connection.server.to_string(),
            first_frame: connection.first_frame,
        }
    }
}

impl FindingView {
    /// Whether a time-sequence graph could show it: it cites a TCP connection.
    #[must_use]
    pub fn cites_tcp(&self) -> bool {
        let mut steps = self.evidence.iter();
        steps.any(|step| step.connection.transport == "tcp")
    }

    /// Undoes what was folded in its title, before addresses are masked: a part of one would not be found.
    pub(crate) fn unfold_title(&mut self) {
        if !self.full_title.is_empty() {
            self.title = std::mem::take(&mut self.full_title);
        }
    }

    /// Folds its title, when addresses are masked.
    pub(crate) fn fold_title(&mut self) {
        self.title = format::title(&self.title);
    }

    /// The frames of the example that is drawn first, in words.
    pub(crate) fn look(&self) -> Option<String> {
        let first = self.evidence.first()?;
        let example = self.evidence.iter();
        let mut frames: Vec<_> = example
            .filter(|step| step.connection == first.connection)
            .map(|step| step.frame)
            .collect();
        frames.sort_unstable();
        frames.dedup();
        Some(format::frames(&frames))
    }

    /// Takes over a finding; `start` is the capture's first frame time.
    pub(crate) fn new(finding: &Finding, start: Option<Timestamp>) -> Self {
        Self {
            id: finding.id.clone(),
            rule: finding.rule.to_owned(),
            origin: finding.origin,
            severity: finding.severity,
            confidence: rounded(finding.confidence.clamp(0.0, 1.0)),
            confidence_reason: finding.confidence_reason.clone(),
            title: format::title(&finding.title),
            full_title: finding.title.clone(),
            summary: finding.summary.clone(),
            occurrences: finding.occurrences,
            onset: finding
                .onset
                .as_ref()
                .map(|onset| OnsetView::new(onset, start)),
            connections: finding.connections.iter().map(|&c| c.into()).collect(),
            connection_count: finding.connection_count,
            evidence: finding
                .evidence
                .iter()
                .map(|e| evidence(e, start))
                .collect(),
            figures: figures(&finding.figures),
            spreads: spreads(&finding.figures),
            cost: figures(&finding.cost),
            what_if: None,
            why: finding.why.clone(),
            look_alikes: finding.look_alikes.clone(),
            remedy: finding.remedy.clone(),
            host_commands: finding.host_commands.clone(),
            caveats: finding
                .caveats
                .iter()
                .map(|(kind, note)| CaveatView {
                    kind: kind.as_str().to_owned(),
                    note: note.clone(),
                })
                .collect(),
            explained_by: finding.explained_by.clone(),
            filter: finding.filter.clone(),
            distribution: finding
                .distribution
                .as_ref()
                .map(|d| Distribution::new(d.figure, &d.values)),
            relation: finding.relation.as_ref().map(Relation::new),
            timeouts: finding.timeouts.iter().map(WaitsView::new).collect(),
            host_evidence: finding.host_evidence.clone(),
            evidence_file: None,
        }
    }
}

fn evidence(evidence: &finding::Evidence, start: Option<Timestamp>) -> EvidenceView {
    let segment = &evidence.segment;
    let is_tcp = evidence.connection.transport == Transport::Tcp;
    EvidenceView {
        frame: segment.frame,
        time: segment.time.rfc3339(),
        note: evidence.note.clone(),
        proves: evidence.proves,
        elapsed_s: start.map_or(0.0, |start| seconds(segment.time.since(start))),
        connection: evidence.connection.into(),
        direction: direction_name(segment.direction).to_owned(),
        flags: if is_tcp {
            flag_names(segment.flags)
        } else {
            String::new()
        },
        seq: segment.seq.0,
        ack: segment.ack.0,
        relative_seq: segment.relative_seq,
        relative_ack: segment.relative_ack,
        payload_bytes: segment.payload_len,
        window_bytes: segment.window,
        point: None,
    }
}

/// Control bits by name, as the RFC spells them, such as `PSH,ACK`.
#[must_use]
pub(crate) fn flag_names(flags: TcpFlags) -> String {
    const NAMES: [(u8, &str); 8] = [
        (TcpFlags::SYN, "SYN"),
        (TcpFlags::FIN, "FIN"),
        (TcpFlags::RST, "RST"),
        (TcpFlags::PSH, "PSH"),
        (TcpFlags::ACK, "ACK"),
        (TcpFlags::URG, "URG"),
        (TcpFlags::ECE, "ECE"),
        (TcpFlags::CWR, "CWR"),
    ];
    let set = NAMES.iter().filter(|(bit, _)| flags.has(*bit));
    set.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

fn spreads(figures: &[Figure]) -> Map<String, Value> {
    figures
        .iter()
        .filter_map(|figure| {
            let spread = figure.spread.as_ref()?;
            let view = SpreadView::from(spread);
            Some((figure.name.to_owned(), serde_json::to_value(view).ok()?))
        })
        .collect()
}

//! Makes findings in the form that all rules have.

use std::collections::BTreeMap;

use analyzer::decode::TcpFlags;
use analyzer::event::SegmentRef;
use analyzer::seq::SeqNumber;
use analyzer::{Direction, Timestamp};
use rules::Finding;
use rules::finding::{ConnectionRef, Evidence, Figure, FigureValue, Remedy, Severity};
use rules::meta::RuleMeta;

use crate::reading::{Flow, Record};
use crate::result::{Place, PlacedFinding};
use crate::tally::Facts;

/// Frames cited of flows without a partner, at most.
const LONE_CITED: usize = 6;

/// Connections listed with a finding; their number is always given in full.
const CONNECTIONS: usize = 1_000;

/// A finding that is being made.
pub(super) struct Draft<'a> {
    facts: &'a Facts<'a>,
    /// Affected connections by weight: group, and the point whose ends name it.
    groups: BTreeMap<usize, u64>,
    /// Affected connections without a partner.
    lone: Vec<ConnectionRef>,
    point: usize,
    evidence: Vec<(usize, Evidence)>,
    finding: Finding,
    place: Place,
}

impl<'a> Draft<'a> {
    /// A finding of a rule at a place; `point` is the point whose frames name the connections.
    pub fn new(facts: &'a Facts<'a>, meta: &'static RuleMeta, place: Place, point: usize) -> Self {
        Self {
            facts,
            groups: BTreeMap::new(),
            lone: Vec::new(),
            point,
            evidence: Vec::new(),
            finding: Finding {
                severity: meta.severity,
                confidence: 0.95,
                confidence_reason: "Both points show it, packet by packet.".to_owned(),
                title: meta.title.to_owned(),
                ..Finding::of(meta.id)
            },
            place,
        }
    }

    /// Title and summary.
    pub fn words(mut self, title: String, summary: String) -> Self {
        self.finding.title = title;
        self.finding.summary = summary;
        self
    }

    pub fn severity(mut self, severity: Severity) -> Self {
        self.finding.severity = severity;
        self
    }

    pub fn confidence(mut self, confidence: f64, reason: &str) -> Self {
        self.finding.confidence = confidence;
        reason.clone_into(&mut self.finding.confidence_reason);
        self
    }

    /// How often it happened.
    pub fn occurrences(mut self, count: u64) -> Self {
        self.finding.occurrences = count;
        self
    }

    pub fn because(mut self, fact: String) -> Self {
        self.finding.why.push(fact);
        self
    }

    pub fn figure(mut self, name: &'static str, value: f64) -> Self {
        self.finding.figures.push(Figure {
            name,
            value: FigureValue::Number(value),
            spread: None,
        });
        self
    }

    pub fn advise(mut self, product: &str, text: &str) -> Self {
        self.finding.remedy.push(Remedy {
            product: product.to_owned(),
            text: text.to_owned(),
            setting: None,
        });
        self
    }

    /// Counts a connection among the affected ones.
    pub fn affects(&mut self, group: usize, weight: u64) {
        *self.groups.entry(group).or_default() += weight;
    }

    /// Cites a frame of a point: `role` says who sent it, 0 the client, 1 the server.
    pub fn cite(&mut self, group: usize, point: usize, role: usize, frame: u64, note: String) {
        let Some(connection) = self.reference(group, point) else {
            return;
        };
        let Some(segment) = self.segment(group, point, role, frame) else {
            return;
        };
        self.evidence.push((
            point,
            Evidence {
                segment,
                connection,
                note,
                proves: true,
            },
        ));
    }

    /// Cites a frame of a flow that has no partner, which is affected by it.
    pub fn cite_flow(&mut self, point: usize, flow: u32, note: String) {
        let data = &self.facts.points[point];
        let flow = &data.flows[flow as usize];
        let side = flow.client();
        let connection = connection(flow, side);
        self.lone.push(connection);
        if self.evidence.len() >= LONE_CITED {
            return;
        }
        if let Some(record) = data.records_of(flow).first() {
            let segment = segment(flow, data.records_of(flow), record, record.side() == side);
            self.evidence.push((
                point,
                Evidence {
                    segment,
                    connection,
                    note,
                    proves: true,
                },
            ));
        }
    }

    /// Affected connections.
    pub fn group_count(&self) -> u64 {
        (self.groups.len() + self.lone.len()) as u64
    }

    /// How many frames are cited.
    pub fn cited(&self) -> usize {
        self.evidence.len()
    }

    fn reference(&self, group: usize, point: usize) -> Option<ConnectionRef> {
        let group = &self.facts.pairing.groups[group];
        let point_or_other = group.flows[point]
            .map(|flow| (point, flow))
            .or_else(|| group.members().next());
        let (point, flow) = point_or_other?;
        let flow = &self.facts.points[point].flows[flow as usize];
        Some(connection(flow, group.side(point, 0)))
    }

    /// The header fields of a frame, as a reader will check them.
    fn segment(&self, group: usize, point: usize, role: usize, frame: u64) -> Option<SegmentRef> {
        let group = &self.facts.pairing.groups[group];
        let data = &self.facts.points[point];
        let flow = &data.flows[group.flows[point]? as usize];
        let records = data.records_of(flow);
        let record = records.iter().find(|record| record.frame == frame)?;
        Some(segment(flow, records, record, role == 0))
    }

    /// The finding; its frames in the order of time on the common clock are as they were cited.
    pub fn finish(mut self) -> PlacedFinding {
        let mut groups: Vec<(usize, u64)> = self.groups.iter().map(|(g, w)| (*g, *w)).collect();
        groups.sort_by_key(|(group, weight)| (std::cmp::Reverse(*weight), *group));
        self.finding.connection_count = self.group_count();
        let listed = groups.iter().take(CONNECTIONS);
        self.finding.connections = listed
            .filter_map(|(group, _)| self.reference(*group, self.point))
            .chain(self.lone.iter().copied())
            .take(CONNECTIONS)
            .collect();
        let first: Vec<ConnectionRef> = self.finding.connections.iter().take(3).copied().collect();
        self.finding.filter = rules::text::connections_filter(&first);
        let evidence_points = self
            .evidence
            .iter()
            .map(|(point, _)| self.facts.place(*point))
            .collect();
        self.finding.evidence = self.evidence.into_iter().map(|(_, one)| one).collect();
        PlacedFinding {
            finding: self.finding,
            place: self.place,
            evidence_points,
        }
    }
}

fn connection(flow: &Flow, client: usize) -> ConnectionRef {
    ConnectionRef {
        first_frame: flow.first_frame,
        transport: flow.transport,
        client: flow.endpoint(client),
        server: flow.endpoint(1 - client),
        translated_to: None,
    }
}

/// The header fields of a packet, as a reader will check them.
fn segment(flow: &Flow, records: &[Record], record: &Record, from_client: bool) -> SegmentRef {
    let relative = |raw: u32, side: usize| {
        let first = records.iter().find(|record| record.side() == side);
        let begins = flow.isn[side].or(first.map(|record| record.seq));
        u64::from(raw.wrapping_sub(begins.unwrap_or(raw)))
    };
    SegmentRef {
        frame: record.frame,
        time: Timestamp::from_nanos(record.time),
        direction: if from_client {
            Direction::ClientToServer
        } else {
            Direction::ServerToClient
        },
        flags: TcpFlags(record.flags),
        seq: SeqNumber(record.seq),
        ack: SeqNumber(record.ack),
        relative_seq: relative(record.seq, record.side()),
        relative_ack: relative(record.ack, 1 - record.side()),
        payload_len: record.len,
        window: u32::from(record.window),
    }
}

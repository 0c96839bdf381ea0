//! The texts of one finding's card.

use serde::Serialize;

use super::fact::Fact;
use super::ladder;
use crate::document::{
    CaveatView, ConnectionKey, Document, EvidenceView, FindingView, HostCommand, LookAlike, Remedy,
    SpreadView,
};
use crate::error::Error;
use crate::render::charts::{self, Chart};
use crate::words::format;

/// Examples drawn per finding; further evidence is in the table.
const LADDERS: usize = 3;

/// Connections listed per finding.
const CONNECTIONS: usize = 50;

/// Everything a card shows.
#[derive(Serialize)]
pub(super) struct FindingPage {
    id: String,
    rule: String,
    severity: &'static str,
    title: String,
    summary: String,
    cost: Option<String>,
    confidence: String,
    confidence_reason: String,
    occurrences: String,
    affected: String,
    figures: Vec<Fact>,
    causes: Vec<Cause>,
    caveats: Vec<CaveatView>,
    ladders: Vec<LadderPage>,
    evidence: Vec<EvidencePage>,
    charts: Vec<Chart>,
    /// Why there is no time-sequence graph.
    untraced: Option<String>,
    why: Vec<String>,
    look_alikes: Vec<LookAlike>,
    /// The first advice, shown among the facts.
    advice: Option<Advice>,
    /// Whether there is more advice than [`Self::advice`] says.
    has_more_advice: bool,
    /// The frames of the best example.
    look: Option<String>,
    remedy: Vec<Remedy>,
    products: Vec<ProductPage>,
    host_commands: Vec<HostCommand>,
    filter: String,
    evidence_file: Option<String>,
    connections: Vec<ConnectionKey>,
    connections_left_out: Option<String>,
}

/// What to do first.
#[derive(Serialize)]
struct Advice {
    text: String,
    setting: Option<String>,
}

/// A finding that causes this one.
#[derive(Serialize)]
struct Cause {
    id: String,
    title: String,
}

/// A ladder diagram with its caption.
#[derive(Serialize)]
struct LadderPage {
    caption: String,
    start: String,
    is_tcp: bool,
    svg: String,
}

/// A row of the evidence table.
#[derive(Serialize)]
struct EvidencePage {
    frame: u64,
    time: String,
    elapsed: String,
    from: String,
    to: String,
    flags: String,
    relative: String,
    absolute: String,
    payload: String,
    window: String,
    note: String,
}

/// What to change in one product.
#[derive(Serialize)]
struct ProductPage {
    name: String,
    steps: Vec<Remedy>,
}

impl FindingPage {
    /// `index` counts from zero; the finding stands in `document`.
    pub(super) fn new(
        index: usize,
        finding: &FindingView,
        document: &Document,
    ) -> Result<Self, Error> {
        let (mut any, products) = remedies(&finding.remedy);
        let advice = finding.remedy.first().map(|first| {
            if first.product == "any" {
                any.remove(0);
            }
            Advice {
                text: format::unbroken(&format::advice(&first.product, &first.text)),
                setting: first.setting.clone(),
            }
        });
        let told = usize::from(advice.is_some());
        let left_out = finding
            .connection_count
            .saturating_sub(finding.connections.len().min(CONNECTIONS) as u64);
        Ok(Self {
            id: finding.id.clone(),
            rule: finding.rule.clone(),
            severity: finding.severity.as_str(),
            title: format::unbroken(&finding.title),
            summary: format::unbroken(&finding.summary),
            cost: format::cost_phrase(&finding.cost),
            confidence: format::confidence(finding.confidence),
            confidence_reason: finding.confidence_reason.clone(),
            occurrences: format::counted(finding.occurrences, "time"),
            affected: format::counted(finding.connection_count, "connection"),
            figures: figures(finding),
            causes: finding
                .explained_by
                .iter()
                .map(|id| cause(id, &document.findings))
                .collect(),
            caveats: finding.caveats.clone(),
            ladders: ladders(index, finding),
            evidence: finding.evidence.iter().map(evidence).collect(),
            charts: charts::of_finding(index, finding, &document.traces)?,
            untraced: document.untraced.clone().filter(|_| finding.cites_tcp()),
            why: finding.why.clone(),
            look_alikes: finding.look_alikes.clone(),
            advice,
            has_more_advice: finding.remedy.len() > told,
            look: finding.look(),
            remedy: any,
            products,
            host_commands: finding.host_commands.clone(),
            filter: finding.filter.clone(),
            evidence_file: finding.evidence_file.clone(),
            connections: finding
                .connections
                .iter()
                .take(CONNECTIONS)
                .cloned()
                .collect(),
            connections_left_out: (left_out > 0).then(|| {
                format!(
                    "{} not listed here.",
                    format::counted(left_out, "more connection")
                )
            }),
        })
    }
}

fn cause(id: &str, all: &[FindingView]) -> Cause {
    let known = all.iter().find(|finding| finding.id == id);
    Cause {
        id: id.to_owned(),
        title: known.map_or_else(String::new, |f| f.title.clone()),
    }
}

/// A figure with its unit and, when it is a median, how its values spread.
fn figures(finding: &FindingView) -> Vec<Fact> {
    let figures = finding.figures.iter().map(|(name, value)| {
        let mut text = format::figure(name, value);
        let spread = finding.spreads.get(name).cloned();
        if let Some(spread) = spread.and_then(|spread| serde_json::from_value(spread).ok()) {
            text.push_str(&spread_text(name, &spread));
        }
        Fact::new(format::figure_label(name), text)
    });
    figures.collect()
}

fn spread_text(name: &str, spread: &SpreadView) -> String {
    if spread.count < 2 {
        return String::new();
    }
    let text = |value: f64| format::figure(name, &serde_json::json!(value));
    let (count, min, max) = (
        format::count(spread.count),
        text(spread.min),
        text(spread.max),
    );
    if min == max {
        format!(" (each of {count})")
    } else {
        format!(" (median of {count}: {min} to {max})")
    }
}

/// General advice apart from advice per product, in the rule's order.
fn remedies(remedies: &[Remedy]) -> (Vec<Remedy>, Vec<ProductPage>) {
    let mut any = Vec::new();
    let mut products: Vec<ProductPage> = Vec::new();
    for remedy in remedies {
        if remedy.product == "any" {
            any.push(remedy.clone());
            continue;
        }
        match products
            .iter_mut()
            .find(|product| product.name == remedy.product)
        {
            Some(product) => product.steps.push(remedy.clone()),
            None => products.push(ProductPage {
                name: remedy.product.clone(),
                steps: vec![remedy.clone()],
            }),
        }
    }
    (any, products)
}

/// Evidence grouped by connection, in the order of first mention.
fn ladders(index: usize, finding: &FindingView) -> Vec<LadderPage> {
    let mut groups: Vec<(&ConnectionKey, Vec<&EvidenceView>)> = Vec::new();
    for step in &finding.evidence {
        match groups
            .iter_mut()
            .find(|(connection, _)| **connection == step.connection)
        {
            Some((_, steps)) => steps.push(step),
            None => groups.push((&step.connection, vec![step])),
        }
    }
    let drawn = groups.into_iter().take(LADDERS).enumerate();
    drawn
        .map(|(number, (connection, mut steps))| {
            steps.sort_by_key(|step| step.frame);
            LadderPage {
                caption: format!("{} → {}", connection.client, connection.server),
                start: steps.first().map_or_else(String::new, |step| {
                    format!(
                        "times count from frame {}, {} UTC, {} into the capture",
                        step.frame,
                        format::time_of_day(&step.time),
                        format::seconds(step.elapsed_s)
                    )
                }),
                is_tcp: connection.transport == "tcp",
                svg: ladder::render(&format!("ladder-{index}-{number}"), connection, &steps),
            }
        })
        .collect()
}

fn evidence(step: &EvidenceView) -> EvidencePage {
    let connection = &step.connection;
    let (from, to) = if step.is_from_client() {
        (&connection.client, &connection.server)
    } else {
        (&connection.server, &connection.client)
    };
    let is_tcp = connection.transport == "tcp";
    let pair = |seq: String, ack: String| {
        if is_tcp {
            format!("{seq} / {ack}")
        } else {
            "–".to_owned()
        }
    };
    EvidencePage {
        frame: step.frame,
        time: step.time.clone(),
        elapsed: format::elapsed(step.elapsed_s),
        from: from.clone(),
        to: to.clone(),
        flags: if is_tcp {
            step.flags.clone()
        } else {
            "UDP".to_owned()
        },
        relative: pair(step.relative_seq.to_string(), step.relative_ack.to_string()),
        absolute: pair(step.seq.to_string(), step.ack.to_string()),
        payload: format::count(u64::from(step.payload_bytes)),
        window: if is_tcp {
            format::count(u64::from(step.window_bytes))
        } else {
            "–".to_owned()
        },
        note: step.note.clone(),
    }
}

//! The texts of one finding's card.

use serde::Serialize;

use super::fact::Fact;
use super::ladder;
use super::timeline::When;
use crate::document::{
    ConnectionKey, Document, EvidenceView, FindingView, Remedy, SpreadView, WhatIf,
};
use crate::error::Error;
use crate::render::charts::{self, Chart};
use crate::words::format;

/// Examples drawn per finding; further evidence is in the table.
const LADDERS: usize = 3;

/// Connections listed per finding.
const CONNECTIONS: usize = 50;

/// A finding, and what its card shows beside what it says itself.
#[derive(Serialize)]
pub(super) struct FindingPage<'a> {
    #[serde(flatten)]
    finding: &'a FindingView,
    cost_phrase: Option<String>,
    without_it: Option<String>,
    when: Option<When>,
    facts: Vec<Fact>,
    causes: Vec<Cause<'a>>,
    ladders: Vec<LadderPage>,
    /// Rows of the evidence table.
    steps: Vec<EvidencePage<'a>>,
    charts: Vec<Chart>,
    /// Why there is no time-sequence graph.
    untraced: Option<&'a str>,
    /// The first advice, shown among the facts.
    advice: Option<Advice<'a>>,
    /// Whether there is more advice than [`Self::advice`] says.
    has_more_advice: bool,
    /// The frames of the best example.
    look: Option<String>,
    /// Further advice for any product.
    general: Vec<&'a Remedy>,
    products: Vec<ProductPage<'a>>,
    /// The worst of its connections.
    listed: &'a [ConnectionKey],
    connections_left_out: Option<String>,
}

/// What to do first.
#[derive(Serialize)]
struct Advice<'a> {
    text: String,
    setting: Option<&'a str>,
}

/// A finding that causes this one.
#[derive(Serialize)]
struct Cause<'a> {
    id: &'a str,
    title: &'a str,
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
struct EvidencePage<'a> {
    frame: u64,
    time: &'a str,
    elapsed: String,
    from: &'a str,
    to: &'a str,
    flags: &'a str,
    relative: String,
    absolute: String,
    payload: String,
    window: String,
    note: &'a str,
}

/// What to change in one product.
#[derive(Serialize)]
struct ProductPage<'a> {
    name: &'a str,
    steps: Vec<&'a Remedy>,
}

impl<'a> FindingPage<'a> {
    /// `index` counts from zero; the finding stands in `document`.
    pub(super) fn new(
        index: usize,
        finding: &'a FindingView,
        document: &'a Document,
    ) -> Result<Self, Error> {
        let (mut general, products) = remedies(&finding.remedy);
        let advice = finding.remedy.first().map(|first| {
            if first.product == "any" {
                general.remove(0);
            }
            Advice {
                text: format::unbroken(&format::advice(&first.product, &first.text)),
                setting: first.setting.as_deref(),
            }
        });
        let told = usize::from(advice.is_some());
        let listed = &finding.connections[..finding.connections.len().min(CONNECTIONS)];
        let left_out = finding.connection_count.saturating_sub(listed.len() as u64);
        let causes = finding.explained_by.iter();
        let untraced = document.untraced.as_deref();
        Ok(Self {
            finding,
            cost_phrase: format::cost_phrase(&finding.cost),
            without_it: finding.what_if.as_ref().map(WhatIf::sentence),
            when: finding.onset.as_ref().map(When::new),
            facts: facts(finding),
            causes: causes.map(|id| cause(id, &document.findings)).collect(),
            ladders: ladders(index, finding),
            steps: finding.evidence.iter().map(evidence).collect(),
            charts: charts::of_finding(index, finding, &document.traces)?,
            untraced: untraced.filter(|_| finding.cites_tcp()),
            advice,
            has_more_advice: finding.remedy.len() > told,
            look: finding.look(),
            general,
            products,
            listed,
            connections_left_out: (left_out > 0).then(|| {
                format!(
                    "{} not listed here.",
                    format::counted(left_out, "more connection")
                )
            }),
        })
    }
}

fn cause<'a>(id: &'a str, all: &'a [FindingView]) -> Cause<'a> {
    let known = all.iter().find(|finding| finding.id == id);
    Cause {
        id,
        title: known.map_or("", |finding| &finding.title),
    }
}

/// A figure with its unit and, when it is a median, how its values spread.
fn facts(finding: &FindingView) -> Vec<Fact> {
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
fn remedies(remedies: &[Remedy]) -> (Vec<&Remedy>, Vec<ProductPage<'_>>) {
    let (general, special): (Vec<_>, Vec<_>) =
        remedies.iter().partition(|remedy| remedy.product == "any");
    let mut products: Vec<ProductPage<'_>> = Vec::new();
    for remedy in special {
        let mut known = products.iter_mut();
        match known.find(|product| product.name == remedy.product) {
            Some(product) => product.steps.push(remedy),
            None => products.push(ProductPage {
                name: &remedy.product,
                steps: vec![remedy],
            }),
        }
    }
    (general, products)
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
                    let time = format::time_of_day(&step.time);
                    let since = format::seconds(step.elapsed_s);
                    let since = if step.elapsed_s > 0.0 {
                        format!("{since} into the capture")
                    } else {
                        "where the capture begins".to_owned()
                    };
                    format!("times count from frame {}, {time} UTC, {since}", step.frame)
                }),
                is_tcp: connection.transport == "tcp",
                svg: ladder::render(&format!("ladder-{index}-{number}"), connection, &steps),
            }
        })
        .collect()
}

fn evidence(step: &EvidenceView) -> EvidencePage<'_> {
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
        time: &step.time,
        elapsed: format::elapsed(step.elapsed_s),
        from,
        to,
        flags: if is_tcp { &step.flags } else { "UDP" },
        relative: pair(step.relative_seq.to_string(), step.relative_ack.to_string()),
        absolute: pair(step.seq.to_string(), step.ack.to_string()),
        payload: format::count(u64::from(step.payload_bytes)),
        window: if is_tcp {
            format::count(u64::from(step.window_bytes))
        } else {
            "–".to_owned()
        },
        note: &step.note,
    }
}

//! What evidence does to a finding: confidence, runner-up, verdict.

use std::collections::BTreeMap;

use crate::model::ask::Says;
use crate::model::figure::{Figure, FigureValue};
use crate::model::finding::{Assessment, Finding};
use crate::model::severity::Severity;

use super::testimony::Line;

/// Pairs of causes that look alike on the wire and that host evidence separates.
const RUNNERS_UP: [(&str, &str); 6] = [
    ("linger-zero-reset", "unread-data-reset"),
    ("unread-data-reset", "linger-zero-reset"),
    ("listen-overflow", "packet-loss"),
    ("packet-loss", "listen-overflow"),
    ("udp-truncation", "ip-fragment-loss"),
    ("injected-reset", "linger-zero-reset"),
];

/// Applies what lines say to a finding.
pub(super) fn weigh(finding: &mut Finding, lines: &[Line]) {
    let count = |says: Says, strong: bool| {
        lines
            .iter()
            .filter(|line| line.says == says && (line.is_strong || !strong))
            .count()
    };
    let supports = count(Says::Supports, true);
    let contradicts = count(Says::Contradicts, true);
    if supports > 0 && contradicts == 0 {
        let doubt = (1.0 - finding.confidence) * 0.3;
        finding.confidence = (1.0 - doubt).clamp(finding.confidence, 0.99);
        finding
            .confidence_reason
            .push_str(" The hosts' own files confirm it.");
        let runner_up = RUNNERS_UP.iter().find(|(rule, _)| *rule == finding.rule);
        finding
            .look_alikes
            .retain(|other| runner_up.is_none_or(|(_, name)| *name != other.name));
    } else if contradicts > 0 && supports == 0 {
        if finding.rule == "listen-overflow" {
            return to_loss(finding);
        }
        finding.confidence *= 0.4;
        finding
            .confidence_reason
            .push_str(" It is lowered because a host's own file contradicts it.");
    } else if contradicts > 0 {
        finding.confidence *= 0.7;
        finding
            .confidence_reason
            .push_str(" It is lowered because the hosts' files disagree.");
    } else if count(Says::Supports, false) > 0 {
        let doubt = (1.0 - finding.confidence) * 0.8;
        finding.confidence = (1.0 - doubt).clamp(finding.confidence, 0.99);
    }
}

/// A listener that dropped nothing: the same packets are lost SYNs.
fn to_loss(finding: &mut Finding) {
    let number = |name: &str| {
        let figure = finding.figures.iter().find(|figure| figure.name == name);
        figure.and_then(|figure| match figure.value {
            FigureValue::Number(number) => Some(number),
            FigureValue::Text(_) => None,
        })
    };
    let lost =
        number("syn_retransmits").unwrap_or(0.0) + number("synack_retransmits").unwrap_or(0.0);
    let server = finding
        .connections
        .first()
        .map(|one| one.server.to_string())
        .unwrap_or_default();
    finding.rule = "packet-loss";
    finding.title =
        format!("Connection attempts to {server} were lost on the path, not by its listener");
    finding.summary = format!(
        "Handshake segments with {server} had to be retransmitted. They look like those of a full accept queue, \
         but the server's own counters say that its listener dropped nothing: they were lost on the way."
    );
    finding.confidence = 0.8;
    finding.confidence_reason = "The packets alone point to listen-overflow; the server's counters show that no queue overflowed.".to_owned();
    finding.severity = finding.severity.min(Severity::Medium);
    finding.figures = vec![Figure {
        name: "segments_lost",
        value: FigureValue::Number(lost),
        spread: None,
    }];
    finding.distribution = None;
    finding.why.insert(
        0,
        "the counters of the server's queues did not rise".to_owned(),
    );
    finding
        .look_alikes
        .retain(|other| other.name != "packet-loss");
    finding.look_alikes.insert(
        0,
        crate::model::finding::LookAlike {
            name: "listen-overflow".to_owned(),
            why_not: "the server counted no overflow and no drop at its listener".to_owned(),
        },
    );
    finding.remedy.clear();
    finding.remedy.push(crate::model::finding::Remedy {
        product: "network".to_owned(),
        text: "Find where SYNs are lost: interface errors, full queues, policers, rate limits for SYNs.".to_owned(),
        setting: None,
    });
    finding.host_commands.clear();
}

/// Orders and numbers the findings again: what came in, or became less grave, finds its place.
pub(super) fn settle_order(assessment: &mut Assessment) {
    let findings = &mut assessment.findings;
    let is_ordered = findings
        .windows(2)
        .all(|pair| pair[0].severity >= pair[1].severity);
    let is_numbered = findings.iter().all(|finding| !finding.id.is_empty());
    if is_numbered && is_ordered {
        count(assessment);
        return;
    }
    // A cause stands before its symptom, however grave: only what is new moves.
    let (mut old, new): (Vec<Finding>, Vec<Finding>) = std::mem::take(findings)
        .into_iter()
        .partition(|finding| !finding.id.is_empty());
    for finding in new {
        let at = old
            .iter()
            .position(|other| other.severity < finding.severity)
            .unwrap_or(old.len());
        old.insert(at, finding);
    }
    let mut names = BTreeMap::new();
    for (at, finding) in old.iter_mut().enumerate() {
        let id = format!("F{}", at + 1);
        names.insert(std::mem::replace(&mut finding.id, id.clone()), id);
    }
    for finding in &mut old {
        finding.explained_by = finding
            .explained_by
            .iter()
            .filter_map(|id| names.get(id).cloned())
            .collect();
    }
    assessment.findings = old;
    count(assessment);
}

fn count(assessment: &mut Assessment) {
    for outcome in &mut assessment.outcomes {
        let of_rule = assessment
            .findings
            .iter()
            .filter(|finding| finding.rule == outcome.rule);
        outcome.findings = of_rule.count() as u64;
    }
}

//! From counted rows to findings.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use analyzer::{Endpoint, Timestamp};

use super::rule::OwnRule;
use super::tables::Source;
use super::tally::{GROUPS_PER_RULE, Kept, Running, Tally};
use crate::model::figure::{Figure, FigureValue};
use crate::model::finding::{Finding, Origin, Remedy, RuleOutcome};
use crate::model::text;
use crate::rows::millis;

/// Findings per rule, at about 10 kB each in a report.
const FINDINGS_PER_RULE: usize = 1_000;

/// How sure a finding is: every row was asked, but what it means only the rule's author knows.
const CONFIDENCE: f64 = 0.9;

/// A finding with what ranking and suppressions need to know about it.
pub(crate) struct Concluded {
    pub(crate) finding: Finding,
    pub(crate) connections: BTreeSet<u64>,
    pub(crate) servers: BTreeSet<Endpoint>,
    pub(crate) client_ips: BTreeSet<IpAddr>,
    pub(crate) times: Vec<Timestamp>,
}

impl Running {
    /// Findings of the groups with enough rows, notices about limits, and what the rule did.
    pub(crate) fn conclude(&self) -> (Vec<Concluded>, Vec<String>, RuleOutcome) {
        let rule = &*self.rule;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = std::mem::take(&mut *kept);
        let failures = self.failures.load(Ordering::Relaxed);
        let failed = kept.failure.as_ref().map(|(_, reason)| reason.clone());
        let mut notices = self.notices(&kept, failures);
        let groups = kept.groups.into_iter();
        let mut groups: Vec<_> = groups
            .filter(|(_, tally)| tally.rows >= rule.at_least)
            .collect();
        let found = groups.len();
        groups.sort_by_key(|(_, tally)| Reverse(tally.rows));
        groups.truncate(FINDINGS_PER_RULE);
        if found > groups.len() {
            notices.push(format!(
                "{}: {found} groups have enough rows; the {FINDINGS_PER_RULE} with the most are \
                 findings",
                rule.id
            ));
        }
        let outcome = RuleOutcome {
            rule: rule.id,
            title: rule.title,
            origin: Origin::User,
            assessed: self.asked.load(Ordering::Relaxed),
            not_assessed: failed
                .map(|reason| (reason, failures))
                .into_iter()
                .collect(),
            findings: 0,
            failure: None,
        };
        let concluded = groups
            .into_iter()
            .map(|(key, tally)| concluded(rule, &key, tally));
        (concluded.collect(), notices, outcome)
    }

    fn notices(&self, kept: &Kept, failures: u64) -> Vec<String> {
        let id = self.rule.id;
        let mut notices = Vec::new();
        if let Some((frame, reason)) = &kept.failure {
            notices.push(format!(
                "{id}: its condition could not be evaluated for {}, first at frame {frame}: {reason}",
                text::many(failures, "row")
            ));
        }
        if kept.capped {
            let counted: u64 = kept.groups.values().map(|tally| tally.rows).sum();
            let rows = self.rows.load(Ordering::Relaxed);
            notices.push(format!(
                "{id}: more than {GROUPS_PER_RULE} groups; findings use the first \
                 {GROUPS_PER_RULE} in the order of {}, and {} of others are left out",
                self.rule.group_by.join(", "),
                text::many(rows.saturating_sub(counted), "row")
            ));
        }
        notices
    }
}

fn concluded(rule: &OwnRule, key: &[String], tally: Tally) -> Concluded {
    let values = tally.examples.first().map(|example| &example.values[..]);
    let title = rule
        .compiled
        .title
        .text(values.unwrap_or_default(), tally.rows);
    let connections: Vec<_> = tally.connections.values().copied().collect();
    let of_group: Vec<String> = rule
        .group_by
        .iter()
        .zip(key)
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    let summary = summary(rule, &of_group, &tally);
    let evidence = tally.examples.into_iter().flat_map(|one| one.evidence);
    let mut evidence: Vec<_> = evidence.collect();
    evidence.sort_by_key(|one| (one.connection.first_frame, one.segment.frame));
    let remedy = rule.remedy.as_ref().map(|text| Remedy {
        product: "any".to_owned(),
        text: text.clone(),
        setting: None,
    });
    let finding = Finding {
        origin: Origin::User,
        severity: rule.severity,
        confidence: CONFIDENCE,
        confidence_reason:
            "Every row was checked; the meaning of the condition is up to the rule's \
                            author."
                .to_owned(),
        title,
        summary,
        occurrences: tally.rows,
        filter: text::connections_filter(&connections[..connections.len().min(3)]),
        connections,
        connection_count: tally.connection_count,
        evidence,
        figures: vec![figure("rows", text::number(tally.rows))],
        cost: costs(rule, &tally.costs),
        why: why(rule, &of_group),
        remedy: remedy.into_iter().collect(),
        ..Finding::of(rule.id)
    };
    Concluded {
        finding,
        connections: tally.connections.into_keys().collect(),
        servers: tally.servers,
        client_ips: tally.client_ips,
        times: tally.first.into_iter().chain(tally.last).collect(),
    }
}

fn summary(rule: &OwnRule, of_group: &[String], tally: &Tally) -> String {
    let what = match rule.on {
        Source::Connections => "connection",
        Source::Requests => "request",
        Source::Dns => "DNS query",
        Source::Findings => "finding",
    };
    let whose = if of_group.is_empty() {
        String::new()
    } else {
        format!(" with {}", of_group.join(", "))
    };
    let meets = if tally.rows == 1 { "meets" } else { "meet" };
    let seconds = match (tally.first, tally.last) {
        (Some(first), Some(last)) if last > first => {
            format!(", within {}", text::duration(millis(last.since(first))))
        }
        _ => String::new(),
    };
    format!(
        "{}{whose} {meets} the condition of {}, a rule of your own{seconds}.",
        text::many(tally.rows, what),
        rule.id
    )
}

fn why(rule: &OwnRule, of_group: &[String]) -> Vec<String> {
    let needed = text::many(rule.at_least, "row");
    let mut why = vec![format!("`{}` holds for every row counted.", rule.when)];
    if !of_group.is_empty() {
        why.push(format!("All have {}.", of_group.join(", ")));
    }
    why.push(format!(
        "The rule requires at least {needed} of `{}` ({}).",
        rule.on.as_str(),
        rule.place
    ));
    why
}

fn costs(rule: &OwnRule, sums: &[i128]) -> Vec<Figure> {
    let named = rule.cost.iter().zip(sums);
    let mut costs: Vec<Figure> = named
        .filter(|(_, sum)| **sum > 0)
        .map(|((name, _), sum)| figure(name, units(*sum)))
        .collect();
    costs.sort_by_key(|cost| cost.name);
    costs
}

#[expect(clippy::cast_precision_loss, reason = "sums stay far below 2^53")]
fn units(thousandths: i128) -> f64 {
    thousandths as f64 / 1e3
}

fn figure(name: &'static str, number: f64) -> Figure {
    Figure {
        name,
        value: FigureValue::Number(number),
        spread: None,
    }
}

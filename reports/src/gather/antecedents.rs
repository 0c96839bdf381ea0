//! What began shortly before each finding: other findings and episodes at the same hosts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use analyzer::{Analysis, Timestamp};
use rules::finding::{Finding, Severity};

use super::hosts::meaning;
use crate::document::{Antecedent, FindingView, seconds};

/// Antecedents listed per finding.
const KEPT: usize = 3;

/// Findings that are related to each other: the first ones.
const RELATED: usize = 256;

/// The share of the capture that is shortly before, and its bounds.
const SHARE: u32 = 20;
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(60);

/// Tells each of `views` what began shortly before it; they stand for `findings`, in the same order.
pub(super) fn tell(views: &mut [FindingView], findings: &[Finding], analysis: &Analysis) {
    let shortly = (analysis.summary.duration() / SHARE).clamp(LEAST, MOST);
    let told = findings.iter().take(RELATED);
    let told = told.filter(|one| one.severity > Severity::Info);
    let others: Vec<_> = told.map(|one| (one, addresses(one))).collect();
    for (view, finding) in views.iter_mut().zip(findings).take(RELATED) {
        let (Some(onset), Some(own)) = (&mut view.onset, &finding.onset) else {
            continue;
        };
        let since = |began: Timestamp| {
            let before = own.began.since(began);
            (began < own.began && before <= shortly).then_some(before)
        };
        let hosts = addresses(finding);
        let mut before: Vec<(Duration, &str, String)> = Vec::new();
        for (other, others_hosts) in &others {
            let began = other.onset.as_ref().and_then(|other| since(other.began));
            let is_symptom = other.explained_by.contains(&view.id);
            let is_near = !is_symptom && !hosts.is_disjoint(others_hosts);
            if let Some(began) = began.filter(|_| is_near) {
                before.push((began, &other.id, other.title.clone()));
            }
        }
        for episode in analysis.episodes.iter() {
            let is_near = episode.host.is_unspecified() || hosts.contains(&episode.host);
            if let Some(began) = since(episode.from).filter(|_| is_near) {
                let mut text = meaning(episode.kind).to_owned();
                if !episode.host.is_unspecified() {
                    text = format!("{}: {text}", episode.host);
                }
                before.push((began, episode.kind.as_str(), text));
            }
        }
        before.sort();
        before.truncate(KEPT);
        onset.preceded_by = before
            .into_iter()
            .map(|(before, what, text)| Antecedent {
                what: what.to_owned(),
                text,
                before_s: seconds(before),
            })
            .collect();
    }
}

/// Both ends of a finding's connections.
fn addresses(finding: &Finding) -> BTreeSet<IpAddr> {
    let connections = finding.connections.iter();
    let ends = connections.flat_map(|one| [one.client.ip, one.server.ip]);
    ends.collect()
}

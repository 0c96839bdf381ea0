//! How long requests would have taken without each finding.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use analyzer::{Endpoint, Timestamp};
use rules::finding::{Finding, Severity};

use super::action::{Action, overlap, union};
use super::actions::quantile;
use crate::document::{FindingView, Times, WhatIf, millis};
use crate::words::format;

/// Says of each of `views`, which stand for `findings` in the same order, what requests would have taken
/// without it, where frames show when it held connections up.
pub(super) fn ask(views: &mut [FindingView], findings: &[Finding], actions: &[Action]) {
    let mut of_server: BTreeMap<Endpoint, Vec<&Action>> = BTreeMap::new();
    let complete = |action: &&Action| action.is_complete && action.request.is_some();
    for action in actions.iter().filter(complete) {
        of_server.entry(action.server).or_default().push(action);
    }
    for (view, finding) in views.iter_mut().zip(findings) {
        let is_proved = finding.evidence.iter().any(|evidence| evidence.proves);
        if is_proved && finding.severity > Severity::Info {
            view.what_if = without(finding, &of_server);
        }
    }
}

/// `None` where no request was delayed.
fn without(finding: &Finding, of_server: &BTreeMap<Endpoint, Vec<&Action>>) -> Option<WhatIf> {
    let mut stalls: BTreeMap<(u64, Endpoint), Vec<(Timestamp, Timestamp)>> = BTreeMap::new();
    for stall in &finding.stalls {
        let key = (stall.connection.first_frame, stall.connection.client);
        stalls.entry(key).or_default().push((stall.from, stall.to));
    }
    let stalls: BTreeMap<_, _> = stalls
        .into_iter()
        .map(|(key, spans)| (key, union(&spans)))
        .collect();
    let servers: BTreeSet<Endpoint> = finding
        .stalls
        .iter()
        .map(|stall| stall.connection.server)
        .collect();
    let (mut measured, mut without) = (Vec::new(), Vec::new());
    let (mut delayed, mut longest) = (0, Duration::ZERO);
    let requests = servers.iter().filter_map(|server| of_server.get(server));
    for action in requests.flatten() {
        let (from, to) = (action.start()?, action.end()?);
        let key = (action.first_frame, action.client);
        let delay = stalls
            .get(&key)
            .map_or(Duration::ZERO, |spans| overlap(spans, from, to));
        delayed += u64::from(!delay.is_zero());
        longest = longest.max(delay);
        measured.push(action.total());
        without.push(action.total().saturating_sub(delay));
    }
    if delayed == 0 {
        return None;
    }
    Some(WhatIf {
        requests: measured.len() as u64,
        delayed,
        servers: match servers.first() {
            Some(only) if servers.len() == 1 => only.to_string(),
            _ => format::counted(servers.len() as u64, "server"),
        },
        measured: times(measured)?,
        without: times(without)?,
        delay_max_ms: millis(longest),
    })
}

fn times(mut times: Vec<Duration>) -> Option<Times> {
    times.sort_unstable();
    let at = |percent| quantile(&times, percent).map(millis);
    Some(Times {
        p50_ms: at(50)?,
        p95_ms: at(95)?,
        max_ms: at(100)?,
    })
}

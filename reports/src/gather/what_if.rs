//! How long requests would have taken without each finding.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use analyzer::{Endpoint, Timestamp, Transport};
use rules::finding::{Finding, Severity};

use super::action::{Action, Step, overlap, union};
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

/// When connections stood still because of a finding, and when lookups of names were repeated.
#[derive(Default)]
struct Stalls {
    of_connections: BTreeMap<(u64, Endpoint), Vec<(Timestamp, Timestamp)>>,
    of_lookups: BTreeMap<IpAddr, Vec<(Timestamp, Timestamp)>>,
}

impl Stalls {
    fn of(finding: &Finding) -> Self {
        let mut stalls = Self::default();
        for stall in &finding.stalls {
            let connection = stall.connection;
            let spans = if connection.transport == Transport::Udp {
                stalls.of_lookups.entry(connection.client.ip).or_default()
            } else {
                let key = (connection.first_frame, connection.client);
                stalls.of_connections.entry(key).or_default()
            };
            spans.push((stall.from, stall.to));
        }
        let connections = stalls.of_connections.values_mut();
        for spans in connections.chain(stalls.of_lookups.values_mut()) {
            spans.sort_unstable();
            *spans = union(spans);
        }
        stalls
    }

    /// How much of the time that an action took.
    fn delay(&self, action: &Action) -> Option<Duration> {
        let key = (action.first_frame, action.client);
        let of_connection = self.of_connections.get(&key);
        let of_connection = of_connection.map_or(Some(Duration::ZERO), |spans| {
            Some(overlap(spans, action.start()?, action.end()?))
        })?;
        let of_lookup = self.of_lookups.get(&action.client.ip);
        let of_lookup = of_lookup.zip(action.step(Step::Dns));
        let of_lookup = of_lookup.map(|(spans, dns)| overlap(spans, dns.from, dns.to));
        Some(of_connection + of_lookup.unwrap_or_default())
    }
}

/// `None` where no request was delayed.
fn without(finding: &Finding, of_server: &BTreeMap<Endpoint, Vec<&Action>>) -> Option<WhatIf> {
    let stalls = Stalls::of(finding);
    let delays_any = |actions: &[&Action]| {
        let mut delays = actions.iter().filter_map(|action| stalls.delay(action));
        delays.any(|delay| !delay.is_zero())
    };
    let stalled = finding.stalls.iter().map(|stall| stall.connection.server);
    let mut servers: BTreeSet<Endpoint> = stalled
        .filter(|server| of_server.contains_key(server))
        .collect();
    if !stalls.of_lookups.is_empty() {
        let looked_up = of_server.iter().filter(|(_, actions)| delays_any(actions));
        servers.extend(looked_up.map(|(server, _)| *server));
    }
    let (mut measured, mut without) = (Vec::new(), Vec::new());
    let (mut delayed, mut longest) = (0, Duration::ZERO);
    let requests = servers.iter().filter_map(|server| of_server.get(server));
    for action in requests.flatten() {
        let delay = stalls.delay(action)?;
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

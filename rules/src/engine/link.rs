//! Which findings cause which, and the order in which a reader should meet them.
//!
//! A link is only drawn where two findings touch: on the same connections, at the same server,
//! or one hop up the call chain at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use analyzer::analysis::CaptureSummary;
use analyzer::{Endpoint, Timestamp};

use crate::model::figure::{Figure, FigureValue};
use crate::model::finding::{Finding, Onset};
use crate::model::impact::LONG_WAIT;
use crate::model::severity::Severity;
use crate::own::Concluded;

/// A finding with what linking needs to know about it.
pub(crate) struct Draft {
    pub(crate) finding: Finding,
    /// All connections by first frame.
    pub(crate) connections: BTreeSet<u64>,
    pub(crate) servers: BTreeSet<Endpoint>,
    pub(crate) client_ips: BTreeSet<IpAddr>,
    /// Times of the occurrences, sorted.
    pub(crate) times: Vec<Timestamp>,
    /// When the last of them was over.
    pub(crate) ended: Timestamp,
}

impl Draft {
    /// The finding, with when it showed.
    pub(crate) fn dated(self, capture: &CaptureSummary) -> Finding {
        Finding {
            onset: Onset::of(&self.times, self.ended, capture),
            ..self.finding
        }
    }
}

impl From<Concluded> for Draft {
    fn from(concluded: Concluded) -> Self {
        Self {
            ended: concluded.times.last().copied().unwrap_or_default(),
            finding: concluded.finding,
            connections: concluded.connections,
            servers: concluded.servers,
            client_ips: concluded.client_ips,
            times: concluded.times,
        }
    }
}

/// How a cause must touch its symptom.
#[derive(Clone, Copy)]
enum Touch {
    /// At least a fifth of the symptom's connections bear the cause too.
    Connections,
    /// The same listening endpoint.
    Server,
    /// The symptom's server is the cause's client, and the times agree: the failure travelled up.
    Upstream,
    /// The same, where both show at the moment at which they happen: the cause comes first.
    PassedOn,
}

/// `(symptom, cause, how they must touch)`.
const LINKS: &[(&str, &str, Touch)] = &[
    ("http-error", "keepalive-race", Touch::Upstream),
    ("http-error", "client-timeout-close", Touch::Upstream),
    ("http-error", "connection-refused", Touch::Upstream),
    ("http-error", "syn-unanswered", Touch::Upstream),
    ("http-error", "listen-overflow", Touch::Upstream),
    ("http-error", "linger-zero-reset", Touch::Upstream),
    ("http-error", "unread-data-reset", Touch::Upstream),
    ("http-error", "injected-reset", Touch::Upstream),
    ("http-error", "idle-drop", Touch::Upstream),
    ("http-error", "transparent-redirect", Touch::Connections),
    ("slow-response", "client-timeout-close", Touch::Upstream),
    ("slow-response", "slow-response", Touch::Upstream),
    ("slow-response", "retransmit-hol", Touch::Upstream),
    ("slow-response", "dns-failure", Touch::Upstream),
    ("slow-response", "udp-single-socket", Touch::Server),
    ("slow-response", "bufferbloat", Touch::Connections),
    ("retransmit-hol", "packet-loss", Touch::Connections),
    ("client-timeout-close", "packet-loss", Touch::Connections),
    (
        "client-timeout-close",
        "connection-died",
        Touch::Connections,
    ),
    ("http-error", "connection-died", Touch::Upstream),
    ("http-error", "service-error", Touch::Upstream),
    ("http-error", "response-cut-short", Touch::Upstream),
    ("response-cut-short", "response-cut-short", Touch::PassedOn),
    ("linger-zero-reset", "response-cut-short", Touch::PassedOn),
    ("unread-data-reset", "response-cut-short", Touch::PassedOn),
    ("response-cut-short", "linger-zero-reset", Touch::PassedOn),
    ("response-cut-short", "unread-data-reset", Touch::PassedOn),
    ("response-cut-short", "connection-died", Touch::Upstream),
    (
        "response-cut-short",
        "zero-window-stall",
        Touch::Connections,
    ),
    ("http-error", "http2-goaway", Touch::Upstream),
    ("client-timeout-close", "retransmit-hol", Touch::Connections),
    ("client-timeout-close", "mtu-black-hole", Touch::Connections),
    ("client-timeout-close", "listen-overflow", Touch::Server),
    ("slow-response", "listen-overflow", Touch::Server),
    ("packet-loss", "listen-overflow", Touch::Connections),
    (
        "client-timeout-close",
        "zero-window-stall",
        Touch::Connections,
    ),
    ("client-timeout-close", "idle-drop", Touch::Connections),
    ("client-timeout-close", "slow-response", Touch::Server),
    (
        "client-timeout-close",
        "client-timeout-close",
        Touch::Upstream,
    ),
    (
        "close-wait-leak",
        "client-timeout-close",
        Touch::Connections,
    ),
    (
        "tls-handshake-failure",
        "mtu-black-hole",
        Touch::Connections,
    ),
    (
        "tls-handshake-failure",
        "injected-reset",
        Touch::Connections,
    ),
    (
        "tls-handshake-failure",
        "transparent-redirect",
        Touch::Connections,
    ),
    ("packet-loss", "mtu-black-hole", Touch::Connections),
    ("syn-unanswered", "routing-loop", Touch::Connections),
    ("icmp-unreachable", "routing-loop", Touch::Connections),
    ("dns-failure", "routing-loop", Touch::Connections),
    ("packet-loss", "idle-drop", Touch::Connections),
    ("packet-loss", "duplicate-address", Touch::Connections),
    ("syn-unanswered", "ttl-expired", Touch::Connections),
    ("dns-failure", "ttl-expired", Touch::Connections),
    ("dns-failure", "connection-refused", Touch::Server),
    ("dns-failure", "syn-unanswered", Touch::Server),
    ("retransmit-hol", "timeout-recovery", Touch::Connections),
    ("slow-response", "timeout-recovery", Touch::Connections),
    ("timeout-recovery", "sequence-rewritten", Touch::Connections),
    ("timeout-recovery", "path-outage", Touch::Connections),
    ("packet-loss", "corruption", Touch::Connections),
    ("window-limited", "small-window", Touch::Connections),
    ("bufferbloat", "ecn-congestion", Touch::Connections),
    ("syn-unanswered", "timestamp-rejected", Touch::Connections),
    ("packet-loss", "path-outage", Touch::Connections),
    ("retransmit-hol", "path-outage", Touch::Connections),
    ("slow-response", "path-outage", Touch::Connections),
    (
        "linger-zero-reset",
        "closed-after-accept",
        Touch::Connections,
    ),
    (
        "unread-data-reset",
        "closed-after-accept",
        Touch::Connections,
    ),
    (
        "tls-handshake-failure",
        "closed-after-accept",
        Touch::Connections,
    ),
    ("http-error", "closed-after-accept", Touch::Upstream),
    ("slow-connect", "duplicate-address", Touch::Connections),
    (
        "spurious-retransmission",
        "data-conflict",
        Touch::Connections,
    ),
    ("connection-died", "idle-drop", Touch::Connections),
    ("spurious-retransmission", "reordering", Touch::Connections),
    ("keepalive-dead-peer", "idle-drop", Touch::Connections),
    ("udp-truncation", "ip-fragment-loss", Touch::Connections),
    ("dns-failure", "ip-fragment-loss", Touch::Connections),
    ("icmp-unreachable", "dns-failure", Touch::Connections),
    ("icmp-unreachable", "connection-refused", Touch::Connections),
    (
        "connection-refused",
        "transparent-redirect",
        Touch::Connections,
    ),
    (
        "tls-handshake-failure",
        "certificate-expiry",
        Touch::Connections,
    ),
    ("slow-response", "tls-slow", Touch::Connections),
    ("slow-response", "server-saturation", Touch::Server),
    ("client-timeout-close", "server-saturation", Touch::Server),
    ("slow-response", "http2-stall", Touch::Connections),
    ("client-timeout-close", "http2-stall", Touch::Connections),
    ("bufferbloat", "slow-ack", Touch::Connections),
    ("spurious-retransmission", "slow-ack", Touch::Connections),
    ("timeout-recovery", "slow-ack", Touch::Connections),
    (
        "http-client-error",
        "client-timeout-close",
        Touch::Connections,
    ),
    ("unread-data-reset", "http-client-error", Touch::Connections),
    ("udp-unanswered", "routing-loop", Touch::Connections),
    ("udp-unanswered", "duplicate-address", Touch::Connections),
    ("udp-unanswered", "ip-fragment-loss", Touch::Connections),
];

/// `(weaker, stronger)`: both speak of attempts that got no answer, and the stronger knows why.
const SAME: &[(&str, &str)] = &[("syn-unanswered", "listen-overflow")];

/// Leaves out what another finding says of the same connections, more surely and at least as gravely; gives
/// the rules whose findings these were.
pub(crate) fn without_weaker(drafts: &mut Vec<Draft>) -> Vec<&'static str> {
    let is_said_by = |weaker: &Draft, stronger: &Draft| {
        let (weak, strong) = (&weaker.finding, &stronger.finding);
        SAME.contains(&(weak.rule, strong.rule))
            && weak.severity <= strong.severity
            && weak.confidence <= strong.confidence
            && weaker.connections.is_subset(&stronger.connections)
    };
    let is_said = |weaker: &Draft| drafts.iter().any(|stronger| is_said_by(weaker, stronger));
    let said: Vec<bool> = drafts.iter().map(is_said).collect();
    let (mut rules, mut said) = (Vec::new(), said.into_iter());
    drafts.retain(|draft| {
        let is_said = said.next().unwrap_or_default();
        rules.extend(is_said.then_some(draft.finding.rule));
        !is_said
    });
    rules
}

/// How far apart in time a failure and its echo one hop up may lie.
const ECHO: Duration = Duration::from_secs(1);

/// Links, ranks and numbers the findings; gives them in ranked order.
pub(crate) fn rank(mut drafts: Vec<Draft>) -> Vec<Draft> {
    drafts.sort_by(|a, b| {
        let key = |draft: &Draft| (draft.finding.severity, confidence_step(&draft.finding));
        key(b)
            .cmp(&key(a))
            .then_with(|| total_cost(&b.finding).total_cmp(&total_cost(&a.finding)))
            .then_with(|| b.finding.occurrences.cmp(&a.finding.occurrences))
            .then_with(|| a.finding.rule.cmp(b.finding.rule))
            .then_with(|| a.connections.first().cmp(&b.connections.first()))
    });
    let causes: Vec<Vec<usize>> = (0..drafts.len()).map(|at| causes_of(&drafts, at)).collect();
    let order = roots_first(&leading(&drafts, &causes));
    let number: BTreeMap<usize, usize> = order
        .iter()
        .enumerate()
        .map(|(rank, draft)| (*draft, rank + 1))
        .collect();
    let mut drafts: Vec<Option<Draft>> = drafts.into_iter().map(Some).collect();
    order
        .iter()
        .filter_map(|&at| {
            let mut draft = drafts[at].take()?;
            let finding = &mut draft.finding;
            finding.id = format!("F{}", number[&at]);
            let mut ranks: Vec<usize> = causes[at].iter().map(|cause| number[cause]).collect();
            ranks.sort_unstable();
            finding.explained_by = ranks.iter().map(|rank| format!("F{rank}")).collect();
            Some(draft)
        })
        .collect()
}

/// Confidence in steps of a tenth, so that noise in it does not reorder equals.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 to 10"
)]
fn confidence_step(finding: &Finding) -> u8 {
    (finding.confidence.clamp(0.0, 1.0) * 10.0).round() as u8
}

/// What a finding cost in milliseconds: whatever failed counts as much as the wait after which somebody
/// gives up. Octets say nothing of who waited for them.
fn total_cost(finding: &Finding) -> f64 {
    let of_one = |cost: &Figure| match cost.value {
        FigureValue::Number(_) if cost.name.contains("bytes") => 0.0,
        FigureValue::Number(number) if cost.name.ends_with("_ms") => number,
        FigureValue::Number(number) => number * LONG_WAIT.as_secs_f64() * 1e3,
        FigureValue::Text(_) => 0.0,
    };
    finding.cost.iter().map(of_one).sum()
}

/// The causes that stand before their symptoms: information never leads over what users noticed.
fn leading(drafts: &[Draft], causes: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let severity = |at: usize| drafts[at].finding.severity;
    let leads = |symptom: usize, cause: usize| {
        severity(cause) > Severity::Info || severity(symptom) < Severity::Medium
    };
    let of = |(symptom, causes): (usize, &Vec<usize>)| {
        let causes = causes.iter().copied();
        causes.filter(|&cause| leads(symptom, cause)).collect()
    };
    causes.iter().enumerate().map(of).collect()
}

/// Depth first along causes: every finding comes after all that explain it. `causes` has no
/// cycle among distinct ranks that matters: a finding being visited is not visited again.
fn roots_first(causes: &[Vec<usize>]) -> Vec<usize> {
    fn visit(at: usize, causes: &[Vec<usize>], seen: &mut [bool], order: &mut Vec<usize>) {
        if std::mem::replace(&mut seen[at], true) {
            return;
        }
        for &cause in &causes[at] {
            visit(cause, causes, seen, order);
        }
        order.push(at);
    }
    let (mut seen, mut order) = (vec![false; causes.len()], Vec::new());
    for at in 0..causes.len() {
        visit(at, causes, &mut seen, &mut order);
    }
    order
}

fn causes_of(drafts: &[Draft], symptom_at: usize) -> Vec<usize> {
    let symptom = &drafts[symptom_at];
    let mut causes = Vec::new();
    for (at, cause) in drafts
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != symptom_at)
    {
        let linked = LINKS.iter().any(|(of, by, touch)| {
            *of == symptom.finding.rule
                && *by == cause.finding.rule
                && touches(*touch, symptom, cause)
        });
        if linked {
            causes.push(at);
        }
    }
    // What began first leads.
    causes.sort_by_key(|at| drafts[*at].times.first().copied());
    causes
}

fn touches(touch: Touch, symptom: &Draft, cause: &Draft) -> bool {
    match touch {
        Touch::Connections => {
            let shared = symptom.connections.intersection(&cause.connections).count();
            shared > 0 && shared * 5 >= symptom.connections.len()
        }
        Touch::Server => symptom
            .servers
            .intersection(&cause.servers)
            .next()
            .is_some(),
        Touch::Upstream => {
            calls(symptom, cause)
                && cause
                    .times
                    .iter()
                    .any(|time| is_near(&symptom.times, *time))
        }
        Touch::PassedOn => {
            let by_neighbour = cause.client_ips.iter().any(IpAddr::is_loopback);
            let follows = |time: &Timestamp| within(&symptom.times, *time, *time + ECHO);
            (calls(symptom, cause) || by_neighbour && symptom.servers.is_disjoint(&cause.servers))
                && cause.times.iter().any(follows)
        }
    }
}

/// Whether the symptom's server may be the client of the cause's.
fn calls(symptom: &Draft, cause: &Draft) -> bool {
    // A server on loopback is a program of the capturing host, whatever address it calls from.
    let mut servers = symptom.servers.iter();
    servers.any(|server| server.ip.is_loopback() || cause.client_ips.contains(&server.ip))
        && symptom.servers.is_disjoint(&cause.servers)
}

fn is_near(times: &[Timestamp], time: Timestamp) -> bool {
    within(times, time - ECHO, time + ECHO)
}

fn within(times: &[Timestamp], from: Timestamp, to: Timestamp) -> bool {
    let at = times.partition_point(|known| *known < from);
    times.get(at).is_some_and(|known| *known <= to)
}

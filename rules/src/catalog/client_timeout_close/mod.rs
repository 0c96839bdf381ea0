//! `client-timeout-close`: the client gives up on a pending answer.

use std::collections::BTreeMap;
use std::time::Duration;

use analyzer::episodes::EpisodeKind;
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Endpoint};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, plural};
use crate::model::timeouts::{Wait, is_round, typical_of};
use crate::signs::causes::split_causes;

use seen::Seen;

use given_up::{GivenUp, client_close};
use words::{confidence, confusables, do_agree, reasons, remedies, waited};

declare_rule! {
    /// Clients close connections while their request is still unanswered.
    ///
    /// ## What it means
    /// The server's kernel acknowledged a request, but no complete response came within the client's timeout.
    /// The client closed the connection, because a late response could be mistaken for the response to the next
    /// request.
    ///
    /// ## Why it matters
    /// The request failed for its caller, while the server may still be working on it. The client's socket
    /// stays in FIN-WAIT-2 until the server closes too, so many timeouts leave many such sockets. Late
    /// responses meet a closed socket and draw RST.
    ///
    /// ## How it is detected
    /// - The client sends FIN (or an abortive RST) while its last request has no response, or only part of one.
    ///   `timeout_ms` runs from the end of the request to that FIN.
    /// - What proves it: an acknowledgment covers the whole request before the close, or a late response
    ///   acknowledges it; late response bytes draw RST, so nobody was waiting for them; several connections
    ///   closed at different times agree on one wait.
    /// - What refutes it: the close acknowledges more of the server's data than had passed before the request,
    ///   or the response was already there; the server's FIN crossed the client's, or was never captured; the
    ///   connection lost a race against another (RFC 8305); the program ended, or its user left the page; the
    ///   client usually closes at once; a half-closed connection accepts the response; the last message is a
    ///   goodbye.
    /// - In an unrecognised protocol the last message may expect no response. Where the server also closed
    ///   without responding, the waits must agree as well.
    ///
    /// Severity is low for a single wait, or where the server is not known to respond: a user who leaves looks
    /// the same. Waits that agree, and two or more late responses, count as lost requests.
    ///
    /// ## What to do
    /// Raise the client's timeout above the server's slowest usual response, or make the server faster.
    /// Propagate deadlines so that the server stops working for callers that have left.
    ///
    /// ## Known limits
    /// A proxy or rate limiter next to the client may acknowledge on the server's behalf. In encrypted
    /// connections a short message at the end cannot be distinguished from housekeeping and does not count as a
    /// request.
    ///
    /// ## References
    /// - RFC 9293 §3.6 (closing), §3.10.7.1
    /// - Linux ip-sysctl, tcp_fin_timeout
    pub(crate) struct ClientTimeoutClose {
        id: "client-timeout-close",
        group: Closing,
        title: "Clients time out waiting for responses",
        severity: High,
        needs: [Tcp, BothDirections],
        clouded_by: [CaptureDrops, ClockStep],
        figures: [
            timeout_ms: Milliseconds / Median,
            connections: Count / Sum,
            late_responses: Count / Sum,
        ],
        thresholds: [
            min_wait_ms = 100.0: "Shortest wait that counts as a timeout. Programs that send and close at once expect no response.",
        ],
        host_evidence: [Owner, Deadline, CloseCall, Logs],
    }
}

/// So many waits make a client's habit.
const HABIT: u64 = 10;
/// How long after a FIN nothing must come to call the request given up.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

impl Rule for ClientTimeoutClose {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        out.durations(conn.server, &conn.turns.response_times);
        let Some(close) = client_close(conn) else {
            return;
        };
        let Some(wait) = GivenUp::of(conn, close) else {
            return;
        };
        let least = Duration::from_secs_f64(ctx.threshold("min_wait_ms") / 1e3);
        if wait.length() >= least.max(conn.rtt().unwrap_or_default() * 2) {
            out.push(wait.observation());
        }
    }

    fn on_capture(&self, analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected<Seen>) {
        let least = Duration::from_secs_f64(ctx.threshold("min_wait_ms") / 1e3);
        let observations = &mut collected.observations;
        observations.retain(|one| !is_explained(analysis, one, least));
        let timers = timers::sizes(observations);
        let mut late = BTreeMap::<Endpoint, usize>::new();
        for one in observations.iter().filter(|one| one.seen.late) {
            *late.entry(one.connection.server).or_default() += 1;
        }
        let answering = &collected.durations;
        observations.retain_mut(|one| {
            let server = one.connection.server;
            let size = timers.get(&one.connection.first_frame);
            let company = Company {
                size: size.copied().unwrap_or(1),
                late: late.get(&server).copied().unwrap_or(0),
                answers: answering
                    .get(&server)
                    .is_some_and(|times| times.count() > 0),
            };
            judge(analysis, one, &company)
        });
        for one in &mut collected.observations {
            if let Some(times) = answering.get(&one.connection.server) {
                one.seen.p50_ms = times.quantile(0.5).map(ms);
                one.seen.p99_ms = times.quantile(0.99).map(ms);
            }
        }
        split_causes(&mut collected.observations, |seen| Some(seen.timeout_ms));
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let timeout = group.figure("timeout_ms").unwrap_or_default();
        let count = group.connections();
        let late = group.figure("late_responses").unwrap_or_default();
        let (server, clients) = (group.server(), group.clients_text());
        let is_http = group.having(|seen| seen.is_http) == group.observations.len() as u64;
        let typical =
            typical_of(timeout, Wait::Answer).filter(|_| is_http && do_agree(group, timeout));
        let typical = typical
            .map(|text| format!(" ({text}; the value alone does not identify the product)"))
            .unwrap_or_default();
        let late_text = if late > 0.0 {
            format!(
                " {} arrived afterwards and met a closed socket.",
                plural(late, "response")
            )
        } else {
            String::new()
        };
        let blame = if group.having(|seen| seen.held_back) == count {
            "the server did respond, but the beginning of its response was lost on the path"
        } else {
            "the server took longer than the client's timeout"
        };
        let waited = waited(group, timeout);
        let draft = confidence(group, draft, timeout);
        let (gives, failed) = match (group.client_ips().len(), count) {
            (1, 1) => ("gives", "The request failed for its caller"),
            (1, _) => ("gives", "Those requests failed for their callers"),
            _ => ("give", "Those requests failed for their callers"),
        };
        let draft = draft
            .title(format!("{clients} {gives} up on {server} after {waited}"))
            .summary(format!(
                "{clients} closed {} to {server} before the response was complete, {waited} after the request{typical}.{late_text} \
                 {failed}; {blame}.",
                many(count, "connection"),
            ));
        let draft = draft.waits(
            Wait::Answer,
            group.seen().map(|seen| seen.timeout_ms).collect(),
        );
        remedies(
            group,
            confusables(group, reasons(group, draft, late)),
            timeout,
        )
    }
}

/// What other connections say of a wait.
struct Company {
    /// How many waited as long, by independent decisions.
    size: usize,
    /// Connections of the server on which a late response proved that nobody waited any more.
    late: usize,
    /// The server is known to answer.
    answers: bool,
}

/// What happened to many connections at once explains a close, or that its client never waits: a race
/// was lost, the program ended, a page was left, or the client usually closes at once.
fn is_explained(analysis: &Analysis, one: &Observation<Seen>, least: Duration) -> bool {
    let of = |kind| {
        let episodes = &analysis.episodes;
        episodes
            .of_connection(kind, one.connection.first_frame)
            .is_some()
    };
    let client = analysis.hosts.get(one.connection.client.ip);
    let patience = client.and_then(HostProfile::usual_patience);
    let never_waits = patience.is_some_and(|(usual, waits)| waits >= HABIT && usual < least);
    of(EpisodeKind::RaceLosers)
        || of(EpisodeKind::ProgramEnd)
        || of(EpisodeKind::PageCancelled)
        || never_waits
}

/// Sets how sure it is that a client gave up, and what that cost; `false` when nothing speaks for it.
fn judge(analysis: &Analysis, one: &mut Observation<Seen>, company: &Company) -> bool {
    let (seen, is_round) = (&one.seen, is_round(one.seen.timeout_ms));
    let agreed = company.size >= 3 || (company.size >= 2 && is_round);
    let (proved, expected) = (seen.late, seen.expected || company.answers);
    // A client that only half-closed still reads what comes after the end of the capture;
    // several that do so after the same wait, as people choose it, have given up.
    let last = analysis.summary.last;
    let cut_off = !(agreed && is_round)
        && seen.undecided
        && last.is_some_and(|last| last.since(one.at) < SETTLED_AFTER);
    // Part of a response came: without a timer behind it, somebody may just have stopped.
    if seen.partial && !agreed && !is_round {
        return false;
    }
    let confidence: f64 = match (proved, agreed, expected) {
        (true, true, _) => confidence::PROVED,
        (true, false, _) => confidence::STRONG,
        (false, true, true) => confidence::STRONG,
        (false, true, false) => confidence::OPEN,
        (false, false, _) if seen.let_go && !is_round => 0.0,
        (false, false, true) if seen.let_go => confidence::EVEN,
        (false, false, true) if is_round => confidence::PROBABLE,
        (false, false, true) => confidence::OPEN,
        (false, false, false) => 0.0,
    };
    one.confidence = if cut_off {
        confidence.min(confidence::EVEN)
    } else {
        confidence
    };
    let client = analysis.hosts.get(one.connection.client.ip);
    let is_lost = !cut_off && (agreed && expected || proved && company.late >= 2);
    one.impact = if client.is_some_and(HostProfile::is_scanner) {
        Impact::NONE
    } else if is_lost {
        Impact::requests_lost(1)
    } else {
        // One wait alone may be a user who left.
        Impact::SOME
    };
    one.confidence > 0.0
}

mod given_up;
mod seen;
mod timers;
mod words;

#[cfg(test)]
mod tests;

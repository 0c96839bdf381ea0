//! `client-timeout-close`: the client gives up on a pending answer.

use std::time::Duration;

use analyzer::{Analysis, Connection};

use crate::model::context::Context;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Observations};
use crate::model::rule::Rule;
use crate::model::severity::Severity;
use crate::model::text::{many, ms, plural, time};
use crate::model::timeouts::{Wait, is_round, typical_of};
use crate::signs::causes::split_causes;

use given_up::{GivenUp, client_close};
use words::{confusables, judge, reasons, remedies};

declare_rule! {
    /// Clients close connections while their request is still unanswered.
    ///
    /// ## What it means
    /// A request was sent and acknowledged by the server's kernel, but no (complete) response came
    /// within the client's patience. The client closed the connection: it could not reuse it anyway,
    /// since a late answer would be taken for the answer to the next request.
    ///
    /// ## Why it matters
    /// The request failed for its caller, while the server may still be working on it. The client's
    /// socket waits in FIN-WAIT-2 until the server closes too; a flood of timeouts becomes a pile of
    /// such sockets. Answers that come late meet a closed socket and draw RST.
    ///
    /// ## How it is detected
    /// The client sends FIN (or an abortive RST) while its last request has no response, or only part
    /// of one. `timeout_ms` runs from the end of the request to that FIN; the same value on many
    /// connections is a configured timeout, a single round value suggests one. Late response bytes
    /// that draw RST prove that nobody waited any more. The states of both sockets are rebuilt from
    /// the packets. A connection to a server that is not known to answer is only reported when the
    /// waits agree. In a protocol that is not known a last message may want no answer: where the
    /// server closed without one as well, waits must agree too (a single round one is low), and on
    /// connections that end at one moment only a round wait does. Goodbye messages and half-closes
    /// whose answer is accepted are left out.
    /// Severity is high (a request failed), critical when most of the server's connections failed.
    ///
    /// ## What to do
    /// Raise the client's timeout above the server's slowest usual answer, or make the server faster;
    /// pass deadlines on so that the server stops working for callers that left.
    ///
    /// ## Known limits
    /// A user who presses "stop" looks the same when it happens once. In encrypted connections a
    /// short message at the end cannot be told from housekeeping and is not taken for a request.
    ///
    /// ## References
    /// - RFC 9293 §3.6 (closing), §3.10.7.1
    /// - Linux ip-sysctl, tcp_fin_timeout
    pub(crate) struct ClientTimeoutClose {
        id: "client-timeout-close",
        title: "Clients give up on pending answers",
        severity: Critical,
        needs: [Tcp, BothDirections],
        clouded_by: [CaptureDrops, ClockStep],
        figures: [
            timeout_ms: Milliseconds / Median,
            connections: Count / Sum,
            late_responses: Count / Sum,
        ],
        thresholds: [
            min_wait_ms = 100.0: "Shortest wait that counts as patience. Programs that send and close at once want no answer.",
        ],
    }
}

/// How long after a FIN nothing must come to call the request given up.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// A request whose client gave up.
pub(crate) struct Seen {
    timeout_ms: f64,
    /// The response came after the close and met a closed socket.
    late: bool,
    /// How long after the request the response came, where it came after the close.
    late_ms: Option<f64>,
    /// Part of the response came before the close.
    partial: bool,
    /// What came of it lay behind a hole.
    held_back: bool,
    /// Only the client has closed: it may still read.
    undecided: bool,
    /// The protocol says that an answer was due.
    expected: bool,
    /// Nobody knows whether one was due, and the server closed as well.
    let_go: bool,
    /// Time of the client's socket in FIN-WAIT-2.
    fin_wait_2: Option<InState>,
    /// Time of the server's socket in CLOSE-WAIT.
    close_wait: Option<InState>,
    /// Method and target.
    request: Option<String>,
    /// Response times of the server.
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// How long a socket was in a state.
struct InState {
    ms: f64,
    /// It still was when the capture ended.
    open: bool,
}

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

    fn on_capture(&self, analysis: &Analysis, _ctx: &Context<'_>, collected: &mut Collected<Seen>) {
        let timers = timers::sizes(&collected.observations);
        let answering = &collected.durations;
        collected.observations.retain_mut(|one| {
            let wait = one.seen.timeout_ms;
            let size = timers
                .get(&one.connection.first_frame)
                .copied()
                .unwrap_or(1);
            let agreed = size >= 3 || (size >= 2 && is_round(wait));
            let server_answers = answering
                .get(&one.connection.server)
                .is_some_and(|times| times.count() > 0);
            let let_go = one.seen.let_go;
            let (proved, expected) = (one.seen.late, one.seen.expected || server_answers);
            // A client that only half-closed still reads what comes after the end of the capture;
            // several that do so after the same wait, as people choose it, have given up.
            let cut_off = !(agreed && is_round(wait))
                && one.seen.undecided
                && analysis
                    .summary
                    .last
                    .is_some_and(|last| last.since(one.at) < SETTLED_AFTER);
            // Part of a response came: without a timer behind it, somebody may just have stopped.
            let partial_alone = one.seen.partial && !agreed && !is_round(wait);
            one.confidence = match (proved, agreed, expected) {
                (true, true, _) => 0.96,
                (true, false, _) => 0.9,
                (false, true, true) => 0.9,
                (false, true, false) => 0.65,
                (false, false, _) if let_go && !is_round(wait) => 0.0,
                (false, false, true) if let_go => 0.5,
                (false, false, true) if is_round(wait) => 0.75,
                (false, false, true) => 0.6,
                (false, false, false) => 0.0,
            };
            if cut_off {
                one.confidence = one.confidence.min(0.5);
            }
            if one.confidence <= 0.5 {
                one.severity = Severity::Low;
            }
            if one.confidence < 0.7 {
                one.severity = one.severity.min(Severity::Medium);
            }
            one.confidence > 0.0 && !partial_alone
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
        let typical = typical_of(timeout, Wait::Answer);
        let typical = typical
            .map(|text| format!(" ({text}; the number alone proves no product)"))
            .unwrap_or_default();
        let late_text = if late > 0.0 {
            format!(
                " {} came afterwards and met a closed socket.",
                plural(late, "response")
            )
        } else {
            String::new()
        };
        let blame = if group.having(|seen| seen.held_back) == count {
            "the server did answer, but the beginning of its response was lost on the way"
        } else {
            "the server was slower than the client's timeout"
        };
        let draft = judge(group, draft, timeout);
        let draft = draft
            .title(format!("Clients give up on {server} after {}", time(timeout)))
            .summary(format!(
                "{clients} closed {} to {server} while the request was unanswered, {} after sending it{typical}.{late_text} \
                 Those requests failed for their callers; {blame}.",
                many(count, "connection"),
                time(timeout),
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

mod given_up;
mod timers;
mod words;

#[cfg(test)]
mod tests;

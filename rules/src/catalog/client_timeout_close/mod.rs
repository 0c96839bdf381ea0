//! `client-timeout-close`: the client gives up on a pending answer.

use std::collections::BTreeMap;
use std::time::Duration;

use analyzer::app::AppProtocol;
use analyzer::connection::{ResetShape, TcpState, Turn};
use analyzer::event::SegmentRef;
use analyzer::{Analysis, Connection, Direction};

use crate::model::context::Context;
use crate::model::legacy::{Collected, Group, Legacy, Observation, Observations};
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::Narrative;
use crate::model::observation::segment_at;
use crate::model::rule::Rule;
use crate::model::severity::Severity;
use crate::model::text::{many, ms, plural, span, time};
use crate::model::timeouts::{self, Wait, is_round, typical_of};
use crate::signs::causes::split_causes;
use crate::signs::goodbye::{GOODBYE_TO_FIN, TLS_GOODBYE_OCTETS};
use crate::signs::restart::ONE_INSTANT;

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

/// The client's last handshake flight in TLS 1.3: change-cipher-spec and Finished (80 octets).
const TLS_FINISHED_OCTETS: u64 = 100;
/// How long after a FIN nothing must come to call the request given up.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

impl Rule for ClientTimeoutClose {
    type Seen = Legacy;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations) {
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

    fn on_capture(&self, analysis: &Analysis, _ctx: &Context<'_>, collected: &mut Collected) {
        let timers = timer_sizes(&collected.observations);
        let answering = &collected.durations;
        collected.observations.retain_mut(|one| {
            let wait = one.number("timeout_ms").unwrap_or_default();
            let size = timers
                .get(&one.connection.first_frame)
                .copied()
                .unwrap_or(1);
            let agreed = size >= 3 || (size >= 2 && is_round(wait));
            let server_answers = answering
                .get(&one.connection.server)
                .is_some_and(|times| times.count() > 0);
            let flag = |name| one.number(name).is_some_and(|value| value > 0.0);
            let (proved, expected) = (flag("late"), flag("expected") || server_answers);
            // A client that only half-closed still reads what comes after the end of the capture;
            // several that do so after the same wait, as people choose it, have given up.
            let cut_off = !(agreed && is_round(wait))
                && flag("undecided")
                && analysis
                    .summary
                    .last
                    .is_some_and(|last| last.since(one.at) < SETTLED_AFTER);
            // Part of a response came: without a timer behind it, somebody may just have stopped.
            let partial_alone = flag("partial") && !agreed && !is_round(wait);
            one.confidence = match (proved, agreed, expected) {
                (true, true, _) => 0.96,
                (true, false, _) => 0.9,
                (false, true, true) => 0.9,
                (false, true, false) => 0.65,
                (false, false, _) if flag("let_go") && !is_round(wait) => 0.0,
                (false, false, true) if flag("let_go") => 0.5,
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
                for (name, quantile) in [("p50_ms", 0.5), ("p99_ms", 0.99)] {
                    one.seen
                        .details
                        .extend(times.quantile(quantile).map(|value| (name, ms(value))));
                }
            }
        }
        split_causes(&mut collected.observations, "timeout_ms");
    }

    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative {
        let timeout = group.number("timeout_ms").unwrap_or_default();
        let count = group.connections();
        let late = group.number("late_responses").unwrap_or_default();
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
        let blame = if group.positive("held_back") == count {
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
        let draft = draft.waits(Wait::Answer, group.all_of("timeout_ms"));
        remedies(
            group,
            confusables(group, reasons(group, draft, late)),
            timeout,
        )
    }
}

/// The client's FIN before the server's, or its abortive RST without one.
fn client_close(conn: &Connection) -> Option<SegmentRef> {
    if let Some(fin) = conn.from_client().fin {
        let server_first = conn
            .from_server()
            .fin
            .is_some_and(|server| server.frame < fin.frame);
        return (!server_first).then_some(fin);
    }
    let abort = conn.resets.iter().find(|reset| {
        reset.segment.direction == Direction::ClientToServer && reset.shape == ResetShape::Active
    })?;
    let server_first = conn
        .from_server()
        .fin
        .is_some_and(|fin| fin.frame < abort.segment.frame);
    (!server_first).then_some(abort.segment)
}

/// A request whose sender stopped waiting.
struct GivenUp<'a> {
    conn: &'a Connection,
    close: SegmentRef,
    request_end: SegmentRef,
    /// The response came after the close.
    late: Option<SegmentRef>,
    /// Part of the response came before the close.
    partial: bool,
    /// What came of it lay behind a hole: its program could read nothing.
    held_back: bool,
}

impl<'a> GivenUp<'a> {
    fn of(conn: &'a Connection, close: SegmentRef) -> Option<Self> {
        let turn = conn.turns.last.as_ref()?;
        if conn.app.protocol == AppProtocol::Http2 {
            return Self::of_stream(conn, turn, close);
        }
        let response = turn.response.map(|response| response.first);
        // What the close does not acknowledge was behind a hole, or on its way: not read.
        let reached =
            |first: &SegmentRef| !close.flags.ack() || first.relative_seq < close.relative_ack;
        let before = response.filter(|first| first.frame < close.frame && reached(first));
        let late = response.filter(|first| first.frame > close.frame);
        let http = conn.app.http.as_deref();
        let last = http.and_then(|http| http.kept.last());
        let partial = before.is_some()
            && last
                .is_some_and(|last| last.response_start.is_some() && last.response_end.is_none())
            && http.is_some_and(|http| !http.lost_track);
        if before.is_some() && !partial {
            return None; // Answered.
        }
        let upgraded = http.is_some_and(|http| http.upgraded);
        if upgraded || turn.request.first.frame > close.frame {
            return None;
        }
        if partial && conn.from_server().missing_octets > 0 {
            return None;
        }
        let request_end = request_end(conn, turn, close)?;
        let wait = Self {
            conn,
            close,
            request_end,
            late,
            partial,
            held_back: response.is_some_and(|first| {
                let arrived = first.frame < close.frame && close.flags.ack();
                arrived && first.relative_seq > close.relative_ack
            }),
        };
        wait.is_proved(turn).then_some(wait)
    }

    /// In HTTP/2 the last bytes may be housekeeping, and several requests may wait: the oldest that
    /// has no response when the client closes.
    fn of_stream(conn: &'a Connection, turn: &Turn, close: SegmentRef) -> Option<Self> {
        let http = conn.app.http.as_deref()?;
        // A stream that was cancelled has no response either, and nobody waits for it.
        if http.lost_track || http.reset_streams != [0, 0] {
            return None;
        }
        let (oldest, end) = http.kept.iter().find_map(|stream| {
            let end = stream.request_end.filter(|end| end.frame <= close.frame);
            let answer = stream.response_start;
            let waits = answer.is_none_or(|start| start.frame > close.frame);
            end.filter(|_| waits).map(|end| (stream, end))
        })?;
        let late = oldest.response_start;
        let wait = Self {
            conn,
            close,
            request_end: segment_at(conn, end, Direction::ClientToServer),
            late: late.map(|start| segment_at(conn, start, Direction::ServerToClient)),
            partial: false,
            held_back: false,
        };
        wait.is_proved(turn).then_some(wait)
    }

    /// The request had arrived, no answer to it was missed, and none was accepted after the close.
    fn is_proved(&self, last: &Turn) -> bool {
        let resets = self.conn.resets.iter().any(|reset| {
            reset.segment.direction == Direction::ClientToServer
                && reset.segment.frame > self.close.frame
        });
        let half_closed = self.late.is_some() && !resets && self.close.flags.fin();
        let answer_missed = last.answer_missed && self.late.is_none();
        let arrived = last.request_acked.is_some() || self.late.is_some();
        arrived && !half_closed && !answer_missed
    }

    fn length(&self) -> Duration {
        self.close.time.since(self.request_end.time)
    }

    /// The protocol says that an answer was due.
    fn expected(&self) -> bool {
        matches!(
            self.conn.app.protocol,
            AppProtocol::Http1 | AppProtocol::Http2 | AppProtocol::Tls
        ) || self.conn.turns.answered > 0
    }

    /// In a protocol that is not known, of which nobody knows whether an answer was due, the server
    /// closed as well without one, or cannot answer any more: who works on an answer sends it first.
    fn is_let_go(&self) -> bool {
        let protocol = self.conn.app.protocol;
        let is_unknown = matches!(protocol, AppProtocol::Unknown | AppProtocol::Framed);
        let is_over = self.conn.from_server().fin.is_some() || self.close.flags.rst();
        is_unknown && is_over && self.late.is_none()
    }

    fn observation(&self) -> Observation {
        let conn = self.conn;
        let kind = if self.close.flags.fin() { "FIN" } else { "RST" };
        let part = match (self.partial, self.held_back) {
            (true, _) => "only part of the response came",
            (false, true) => "what came of the response lay behind a hole",
            (false, false) => "no response byte came",
        };
        let flag = |holds: bool| f64::from(u8::from(holds));
        let reset = conn.resets.iter().find(|reset| {
            reset.segment.direction == Direction::ClientToServer
                && reset.segment.frame > self.close.frame
        });
        let mut observation = Observation::untyped(conn, 0.8, Severity::High)
            .at(self.close.time)
            .weight(flag(self.late.is_some()) * 1e9 + ms(self.length()))
            .evidence(self.request_end, "last bytes of the request from client")
            .evidence(
                self.close,
                format!(
                    "{kind} from client, {} after the request; {part}",
                    span(self.length())
                ),
            )
            .evidence_if(
                self.late,
                self.late
                    .map(|late| {
                        format!(
                            "response from server, {} after the client's {kind}",
                            span(late.time.since(self.close.time))
                        )
                    })
                    .unwrap_or_default(),
            )
            .evidence_if(
                reset.map(|reset| reset.segment),
                "RST from client: the response met a closed socket",
            )
            .figure("timeout_ms", ms(self.length()))
            .figure("connections", 1.0)
            .figure("late_responses", flag(self.late.is_some()))
            .cost("requests_failed", 1.0)
            .cost("time_lost_ms", ms(self.length()))
            .detail("late", flag(self.late.is_some() && reset.is_some()))
            .detail("partial", flag(self.partial))
            .detail("held_back", flag(self.held_back))
            .detail(
                "undecided",
                flag(
                    self.close.flags.fin()
                        && self.late.is_none()
                        && conn.from_server().fin.is_none(),
                ),
            )
            .detail("expected", flag(self.expected()))
            .detail("let_go", flag(self.is_let_go()))
            .detail("from_start_ms", ms(self.close.time.since(conn.start)))
            .detail("first_use", flag(conn.turns.count == 1))
            .detail_if(
                "late_ms",
                self.late
                    .map(|late| ms(late.time.since(self.request_end.time))),
            );
        for (name, end, state) in STATES {
            if let Some((length, open)) = time_in(conn, end, state) {
                observation = observation
                    .detail(name.0, length)
                    .detail(name.1, flag(open));
            }
        }
        let pending = conn.app.http.as_ref().and_then(|http| http.kept.last());
        match pending {
            Some(last) => observation.label("request", format!("{} {}", last.method, last.target)),
            None => observation,
        }
    }
}

/// `((detail of the length, detail of "still there at the end"), whose socket, state)`.
const STATES: [((&str, &str), Direction, TcpState); 2] = [
    (
        ("fin_wait_2_ms", "fin_wait_2_open"),
        Direction::ClientToServer,
        TcpState::FinWait2,
    ),
    (
        ("close_wait_ms", "close_wait_open"),
        Direction::ServerToClient,
        TcpState::CloseWait,
    ),
];

/// Milliseconds an end spent in a state, and whether it still was when the capture ended.
fn time_in(conn: &Connection, end: Direction, state: TcpState) -> Option<(f64, bool)> {
    let span = conn
        .states
        .iter()
        .find(|span| span.end == end && span.state == state)?;
    Some((
        ms(span.to.unwrap_or(conn.end).since(span.from)),
        span.to.is_none(),
    ))
}

/// The last segment of the request proper; `None` when what stands last is no request.
fn request_end(conn: &Connection, turn: &Turn, close: SegmentRef) -> Option<SegmentRef> {
    let tls = conn.app.protocol == AppProtocol::Tls;
    if !tls {
        return Some(turn.request.last).filter(|last| last.frame <= close.frame);
    }
    let housekeeping = turn.request.octets <= TLS_GOODBYE_OCTETS;
    let only_finished = turn.request.octets <= TLS_FINISHED_OCTETS && conn.turns.count == 2;
    if housekeeping || only_finished {
        return None;
    }
    // A close alert right before the FIN is not the end of the request.
    match conn.from_client().last_burst {
        Some(burst)
            if burst.octets <= TLS_GOODBYE_OCTETS
                && close.time.since(burst.first.time) <= GOODBYE_TO_FIN =>
        {
            burst
                .before
                .filter(|before| before.direction == Direction::ClientToServer)
        }
        _ => Some(turn.request.last).filter(|last| last.frame <= close.frame),
    }
}

/// How many connections to the same server waited as long, by first frame of the connection.
fn timer_sizes(observations: &[Observation]) -> BTreeMap<u64, usize> {
    let mut by_server = BTreeMap::<_, Vec<&Observation>>::new();
    for one in observations {
        let server = by_server.entry(one.connection.server).or_default();
        server.push(one);
    }
    let mut sizes = BTreeMap::new();
    for group in by_server.values() {
        let wait = |one: &&Observation| one.number("timeout_ms").unwrap_or_default();
        let values: Vec<f64> = group.iter().map(wait).collect();
        for timer in timeouts::cluster(&values) {
            let members = timer.members.iter().map(|member| group[*member]);
            let is_chosen = timer.is_timer() && is_round(timer.median_ms);
            let size = independent(members.clone(), is_chosen);
            sizes.extend(members.map(|one| (one.connection.first_frame, size)));
        }
    }
    sizes
}

/// How many of these closes agree by themselves. Connections on which nothing was due and that were
/// closed at one moment were closed by one decision, such as the end of their program, unless the
/// wait is one that people choose.
fn independent<'a>(closes: impl Iterator<Item = &'a Observation>, is_chosen: bool) -> usize {
    let (let_go, waited): (Vec<_>, Vec<_>) =
        closes.partition(|one| one.number("let_go").is_some_and(|flag| flag > 0.0));
    let mut moments: Vec<_> = let_go.iter().map(|one| one.at).collect();
    moments.sort_unstable();
    moments.dedup_by(|later, earlier| !is_chosen && later.since(*earlier) <= ONE_INSTANT);
    waited.len() + moments.len()
}

mod words;

#[cfg(test)]
mod tests;

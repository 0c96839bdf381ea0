//! `keepalive-race`: a request crosses the server's idle close.

use std::collections::BTreeMap;
use std::time::Duration;

use analyzer::app::AppProtocol;
use analyzer::event::SegmentRef;
use analyzer::flow::{Reset, ResetKind, ResetShape, Turn};
use analyzer::{Analysis, Connection, Direction, Endpoint};

use crate::finding::Severity;
use crate::goodbye::{self, GOODBYE_TO_FIN, is_tls_housekeeping};
use crate::narrative::{Group, Narrative};
use crate::observation::{Collected, Note, Observation, Observations};
use crate::restart::{RESTART_WINDOW, restarts};
use crate::rule::{Context, Rule, RuleMeta, declare_rule};
use crate::text::{many, ms, number, span};
use crate::timeouts::split_causes;

declare_rule! {
    /// A request was sent on a kept-alive connection while the server was closing it as idle.
    ///
    /// ## What it means
    /// Both ends keep a connection open between requests, each for as long as its own idle timeout.
    /// When the server's runs out it sends FIN. A client that picks the connection for its next
    /// request at that moment has not seen the FIN yet: request and FIN cross. The server has no
    /// socket for the request any more and answers with RST; there is no response.
    ///
    /// ## Why it matters
    /// The request is lost although both programs are healthy. A load balancer turns it into a 502,
    /// a client library into "connection reset by peer" or "socket hang up". It happens to a small,
    /// steady share of requests, and more often when traffic is low.
    ///
    /// ## How it is detected
    /// The server sends FIN on a connection that was idle with nothing outstanding; the client's next
    /// request is never answered and draws RST from the server, or is read and dropped by a server that
    /// lingers (told in HTTP/1, and in TLS once it was answered after its handshake). The test that holds at every capture
    /// point is the request's ACK number: if it does not cover the FIN, the two crossed. If it does,
    /// the client wrote although it had acknowledged the close (a *late write*): the same cure, and
    /// the text says so. `idle_timeout_ms` runs from the last response to the FIN; `race_gap_ms` is
    /// request minus FIN on the server's clock, negative when the request left first. Many connections
    /// closed at one instant after different idle times are called a restart, not a race.
    /// Goodbye messages (TLS close alerts, short quit commands sent together with FIN) are no requests.
    /// Severity is high, critical when most of the server's connections lost a request. Confidence
    /// rises with the number of idle closes that agree on one value.
    ///
    /// ## What to do
    /// The side that reuses connections must give up first. Set the server's idle timeout above the
    /// client's or balancer's (65 s for the usual 60 s), or the client's pool below the server's, and
    /// let the client retry requests that may be repeated.
    ///
    /// ## Known limits
    /// In protocols other than HTTP/1 and TLS a server that lingers is not told from one that half-closes on
    /// purpose and still reads; in TLS a message that wants no answer passes for a request. A race whose RST was not captured is missed. In a protocol that was not recognised a
    /// long goodbye message sent together with FIN may pass for a request.
    ///
    /// ## References
    /// - RFC 9112 §9.3.1, §9.5, §9.6; RFC 9110 §9.2.2
    /// - RFC 9293 §3.10.7.1 (a segment to a closed connection draws RST)
    pub(crate) struct KeepaliveRace {
        id: "keepalive-race",
        title: "Requests cross the server's idle close and are lost",
        severity: Critical,
        needs: [Tcp, BothDirections],
        clouded_by: [CaptureDrops, ClockStep, OneSided],
        figures: [
            idle_timeout_ms: Milliseconds / Median,
            race_gap_ms: Milliseconds / Median,
            resets: Count / Sum,
        ],
        thresholds: [
            min_idle_ms = 200.0: "Shortest silence before the server's FIN that counts as idle. Servers do not use idle timeouts below this; a FIN right after a response is a planned close.",
        ],
    }
}

impl Rule for KeepaliveRace {
    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations) {
        let min_idle = Duration::from_secs_f64(ctx.threshold("min_idle_ms") / 1e3)
            .max(conn.rtt().unwrap_or_default() * 2);
        let Some(close) = server_close(conn) else {
            note_client_close(conn, min_idle, out);
            return;
        };
        if said_close(conn) {
            return;
        }
        let race = Race::of(conn, close);
        let last = race
            .as_ref()
            .map_or_else(|| last_activity(conn, close, None), Race::last_activity);
        let idle = last.map(|last| close.time.since(last.time));
        if idle.is_some_and(|idle| idle < min_idle) {
            return;
        }
        match (race, idle) {
            (Some(race), _) => out.push(race.observation(last)),
            (None, Some(idle)) => out.note(|| idle_note(conn, "server-idle-close", close, idle)),
            (None, None) => {}
        }
    }

    fn on_capture(&self, analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected) {
        bound_unknown_idle(analysis, ctx.threshold("min_idle_ms"), collected);
        let restarts = restarts(collected);
        for observation in &mut collected.observations {
            let server = observation.connection.server;
            if restarts.get(&server).is_some_and(|times| {
                times.iter().any(|at| {
                    observation.at.signed_since(*at).unsigned_abs()
                        <= RESTART_WINDOW.as_nanos() as u64
                })
            }) {
                observation.cause = format!("{server} restart");
                observation.severity = Severity::Low;
                observation.confidence = observation.confidence.min(0.6);
            }
        }
        split_causes(&mut collected.observations, "idle_timeout_ms");
        let harmless = idle_closes(collected, "server-idle-close", |note| {
            note.connection.server
        });
        let client_closes = idle_closes(collected, "client-idle-close", |note| {
            note.connection.server
        });
        for observation in &mut collected.observations {
            let server = observation.connection.server;
            if let Some(values) = harmless.get(&server) {
                let near = observation.number("idle_timeout_ms").unwrap_or_default();
                let agreeing = values
                    .iter()
                    .filter(|value| (*value - near).abs() <= near * 0.05)
                    .count();
                observation
                    .details
                    .push(("harmless_idle_closes", number(agreeing as u64)));
            }
            if let Some(values) = client_closes.get(&server) {
                let longest = values.iter().copied().fold(0.0, f64::max);
                observation.details.push(("client_idle_ms", longest));
            }
        }
    }

    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative {
        words::tell(group, draft)
    }
}

/// The server's FIN, or its RST where it closes idle connections that way, if it closed first
/// and left nothing unanswered by then.
fn server_close(conn: &Connection) -> Option<SegmentRef> {
    if let Some(fin) = conn.from_server().fin {
        let client_first = conn
            .from_client()
            .fin
            .is_some_and(|client| client.frame < fin.frame);
        return (!client_first).then_some(fin);
    }
    let reset = conn.resets.iter().find(|reset| {
        reset.segment.direction == Direction::ServerToClient
            && reset.shape == ResetShape::Active
            && reset.kind != ResetKind::Forged
    })?;
    conn.from_client().fin.is_none().then_some(reset.segment)
}

/// The last complete exchange announced that the connection would close.
fn said_close(conn: &Connection) -> bool {
    conn.app.http.as_ref().is_some_and(|http| {
        http.kept
            .iter()
            .rev()
            .find(|exchange| exchange.status.is_some())
            .is_some_and(|last| last.connection_close)
    })
}

/// Whether a request on which the server did not send RST was lost all the same: the server had
/// ended its stream and only read on (a lingering close, as Apache's), in a protocol whose requests
/// want a response, and the client gave up.
fn left_unanswered(conn: &Connection, turn: &Turn, request: SegmentRef, close: SegmentRef) -> bool {
    let http = conn.app.http.as_deref();
    let wants_response = match conn.app.protocol {
        AppProtocol::Http1 => http.is_some_and(|http| {
            let pending = http.kept.last().is_some_and(|last| last.status.is_none());
            pending && !http.upgraded && !http.lost_track
        }),
        AppProtocol::Tls => {
            let after_handshake = conn.turns.answered > 2;
            after_handshake && !is_tls_housekeeping(conn, turn.request.octets)
        }
        _ => false,
    };
    let ended = conn.from_client().fin.map(|fin| fin.frame);
    wants_response
        && close.flags.fin()
        && turn.request_acked.is_some()
        && turn.response.is_none()
        && !turn.answer_missed
        && ended.is_some_and(|fin| fin >= request.frame)
}

/// A request that met the server's close.
struct Race<'a> {
    conn: &'a Connection,
    close: SegmentRef,
    request: SegmentRef,
    resets: Vec<&'a Reset>,
    /// The request's ACK number covers the FIN: the client knew.
    knew: bool,
}

impl<'a> Race<'a> {
    fn of(conn: &'a Connection, close: SegmentRef) -> Option<Self> {
        let turn = conn.turns.last.as_ref()?;
        if turn.response.is_some_and(|response| {
            response.first.frame > turn.request.first.frame
                && !is_tls_housekeeping(conn, response.octets)
        }) {
            return None;
        }
        let request = request_start(conn);
        let request = request.unwrap_or(turn.request.first);
        if request.frame < close.frame && close.relative_ack > request.relative_seq {
            return None; // The server had the request when it closed.
        }
        if goodbye::is_of_client(conn, request, turn.request.octets) {
            return None;
        }
        let resets: Vec<&Reset> = conn
            .resets
            .iter()
            .filter(|reset| {
                // Where the close is itself a RST, more of them answered what came later.
                let answers = reset.segment.frame > request.frame
                    || (reset.segment.frame == close.frame && reset.count > 1);
                reset.segment.direction == Direction::ServerToClient
                    && answers
                    && reset.segment.frame >= close.frame
                    && !matches!(reset.kind, ResetKind::Forged | ResetKind::Refused)
            })
            .collect();
        if resets.is_empty() && !left_unanswered(conn, turn, request, close) {
            return None; // A server that half-closed and still reads, or a capture that ended.
        }
        let close_end =
            close.relative_seq + u64::from(close.payload_len) + u64::from(close.flags.fin());
        let knew = close.flags.fin() && request.relative_ack >= close_end;
        Some(Self {
            conn,
            close,
            request,
            resets,
            knew,
        })
    }

    fn last_activity(&self) -> Option<SegmentRef> {
        last_activity(self.conn, self.close, Some(self.request))
    }

    /// Request minus FIN on the server's clock: at the capture point the FIN is late by one way
    /// from the server and the request early by one way to it.
    fn gap_ms(&self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "nanoseconds of a gap, shown in milliseconds"
        )]
        let at_capture = self.request.time.signed_since(self.close.time) as f64 / 1e6;
        at_capture + self.conn.from_client().rtt_min.map_or(0.0, ms)
    }

    fn observation(&self, last: Option<SegmentRef>) -> Observation {
        let idle = last.map(|last| self.close.time.since(last.time));
        let resets: u64 = self.resets.iter().map(|reset| u64::from(reset.count)).sum();
        let expected_kind = self
            .resets
            .iter()
            .any(|reset| reset.kind == ResetKind::AbortedAfterClose);
        let seq_fits = self
            .resets
            .iter()
            .any(|reset| reset.segment.seq == self.request.ack);
        let confidence = match (expected_kind, seq_fits) {
            _ if self.resets.is_empty() => 0.85,
            (true, true) => 0.95,
            (true, false) | (false, true) => 0.88,
            (false, false) => 0.7,
        };
        let raw_gap = self.request.time.signed_since(self.close.time);
        let order = if raw_gap < 0 { "before" } else { "after" };
        let gap_text = span(Duration::from_nanos(raw_gap.unsigned_abs()));
        let covers = if self.knew {
            "covers"
        } else {
            "does not cover"
        };
        let first_reset = self.resets.first().map(|reset| reset.segment);
        let kind = if self.close.flags.fin() { "FIN" } else { "RST" };
        let answer = first_reset.filter(|reset| reset.frame != self.close.frame);
        let ended = (self.conn.from_client().fin).filter(|_| self.resets.is_empty());
        let mut observation = Observation::new(self.conn, confidence, Severity::High)
            .at(self.close.time)
            .weight(idle.map_or(0.0, ms))
            .evidence_if(last, last.map(|last| format!("last payload before the idle time, from {}", last.direction.sender())).unwrap_or_default())
            .evidence(self.close, match idle {
                Some(idle) => format!("{kind} from server, {} after the last payload", span(idle)),
                None => format!("{kind} from server; no payload of this connection was captured before it"),
            })
            .evidence(
                self.request,
                format!(
                    "request data from client ({}), {gap_text} {order} the {kind} at the capture point; its ACK number {covers} the {kind}",
                    many(u64::from(self.request.payload_len), "byte")
                ),
            )
            .evidence_if(
                answer,
                if answer.is_some_and(|reset| reset.seq == self.request.ack) {
                    "RST from server; its sequence number is the request's ACK number".to_owned()
                } else {
                    "RST from server; no response follows".to_owned()
                },
            )
            .evidence_if(ended, "FIN from client: it gives up, no response came")
            .figure_if("idle_timeout_ms", idle.map(ms))
            .figure("race_gap_ms", self.gap_ms())
            .figure("resets", number(resets))
            .cost("requests_failed", 1.0)
            .detail("late_write", f64::from(u8::from(self.knew)))
            .detail("seq_fits", f64::from(u8::from(seq_fits)))
            .detail_if("rtt_ms", self.conn.rtt().map(ms))
            .detail_if("reuse_age_ms", last.map(|last| ms(self.request.time.since(last.time))));
        if let Some(http) = &self.conn.app.http {
            if let Some(product) = &http.server {
                observation = observation.label("server_product", product.clone());
            }
            if let Some(promised) = http.keep_alive_timeout_s {
                observation = observation.detail("promised_ms", f64::from(promised) * 1e3);
            }
            if let Some(lost) = http.kept.last().filter(|last| last.status.is_none()) {
                observation =
                    observation.label("request", format!("{} {}", lost.method, lost.target));
            }
        }
        observation
    }
}

/// Where the capture began after a connection's last exchange, the silence in the capture is the
/// least that its idle time can have been; too little of it proves no idle close.
fn bound_unknown_idle(analysis: &Analysis, min_idle_ms: f64, collected: &mut Collected) {
    let begin = analysis.summary.first;
    collected.observations.retain_mut(|one| {
        if one.number("idle_timeout_ms").is_some() {
            return true;
        }
        let least = begin.map_or(0.0, |begin| ms(one.at.since(begin)));
        one.details.push(("idle_at_least_ms", least));
        least >= min_idle_ms
    });
}

/// Where the client's latest request begins: after a pause when there was one, since what it
/// sent before the pause (a settings frame, an acknowledgement message) was another matter.
fn request_start(conn: &Connection) -> Option<SegmentRef> {
    let turn = conn.turns.last.as_ref()?;
    let burst = conn.from_client().last_burst?;
    let inside = (turn.request.first.frame..=turn.request.last.frame).contains(&burst.first.frame);
    inside.then_some(burst.first)
}

/// The last payload before the server closed, its goodbye message not counted.
fn last_activity(
    conn: &Connection,
    close: SegmentRef,
    request: Option<SegmentRef>,
) -> Option<SegmentRef> {
    let server = conn.from_server();
    let goodbye = server.last_burst.filter(|burst| {
        is_tls_housekeeping(conn, burst.octets)
            && close.time.since(burst.first.time) <= GOODBYE_TO_FIN
    });
    if let Some(burst) = conn.from_client().last_burst
        && request.is_some_and(|request| request.frame == burst.first.frame)
        && let Some(before) = burst.before
        && before.time <= close.time
    {
        return match goodbye {
            Some(goodbye) if goodbye.first.frame <= before.frame => goodbye.before,
            _ => Some(before),
        };
    }
    if let Some(goodbye) = goodbye {
        return goodbye.before;
    }
    let served = server.last_data.filter(|data| data.frame <= close.frame);
    let sent = conn
        .from_client()
        .last_data
        .filter(|data| request.is_none() && data.frame < close.frame);
    let handshake = || {
        conn.handshake
            .ack
            .or_else(|| conn.handshake.syn_acks.first().copied())
    };
    served
        .into_iter()
        .chain(sent)
        .max_by_key(|data| data.frame)
        .or_else(handshake)
}

fn idle_note(conn: &Connection, key: &'static str, close: SegmentRef, idle: Duration) -> Note {
    let mut note = Note::new(conn, key);
    note.at = close.time;
    note.numbers = vec![ms(idle)];
    note
}

/// Remembers how long the client keeps idle connections, where it closes first.
fn note_client_close(conn: &Connection, min_idle: Duration, out: &mut Observations) {
    let Some(fin) = conn.from_client().fin else {
        return;
    };
    let Some(last) = conn
        .from_server()
        .last_data
        .filter(|data| data.frame < fin.frame)
    else {
        return;
    };
    let idle = fin.time.since(last.time);
    if conn.turns.pending().is_none() && idle >= min_idle {
        out.note(|| idle_note(conn, "client-idle-close", fin, idle));
    }
}

fn idle_closes(
    collected: &Collected,
    key: &str,
    endpoint: impl Fn(&Note) -> Endpoint,
) -> BTreeMap<Endpoint, Vec<f64>> {
    let mut closes = BTreeMap::<Endpoint, Vec<f64>>::new();
    for note in collected.notes_of(key) {
        closes
            .entry(endpoint(note))
            .or_default()
            .push(note.numbers[0]);
    }
    closes
}

#[path = "keepalive_race_words.rs"]
mod words;

#[cfg(test)]
#[path = "keepalive_race_tests.rs"]
mod tests;

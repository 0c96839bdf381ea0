//! `keepalive-race`: a request crosses the server's idle close.

use std::collections::BTreeMap;
use std::time::Duration;

use analyzer::app::AppProtocol;
use analyzer::connection::{ResetKind, Turn};
use analyzer::event::EventKind;
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, number, span};
use crate::signs::causes::split_causes;
use crate::signs::goodbye::is_tls_housekeeping;
use crate::signs::idle_close::{End, IdleClose, IdleEnd, Race, idle_closes, idle_note, is_timer};
use crate::signs::restart::{RESTART_WINDOW, restarts};

use seen::Seen;

declare_rule! {
    /// A client sent a request on a kept-alive connection while the server was closing that connection as idle.
    ///
    /// ## What it means
    /// Client and server each keep a connection open between requests for as long as their own idle timeout
    /// allows. When the server's timeout expires, the server sends FIN.
    ///
    /// A client that picks the connection for its next request at that moment has not seen the FIN yet, so
    /// request and FIN cross. The server no longer has a socket for the request. It answers with RST instead of
    /// a response.
    ///
    /// ## Why it matters
    /// The request is lost although both programs are healthy. A load balancer turns it into a 502, a client
    /// library into "connection reset by peer" or "socket hang up". It affects a small, steady share of
    /// requests, and a larger share when traffic is low.
    ///
    /// ## How it is detected
    /// - The server sends FIN on a connection that was idle, with nothing outstanding.
    /// - The client's next request is never answered: it draws RST from the server, or a server that lingers
    ///   after its FIN reads and discards it (HTTP/1; TLS once the connection was answered after its
    ///   handshake).
    /// - Where the request had arrived but the program closed before reading it, the close itself is a RST.
    ///   That counts when other connections were closed after the same idle time.
    ///
    /// What proves it, at any capture point, is the request's ACK number. If it does not cover the FIN, the two
    /// crossed. If it does, the client wrote although it had acknowledged the close (a *late write*): the fix
    /// is the same, and the text says so.
    ///
    /// What refutes it:
    /// - many connections closed at one instant after different idle times: a restart;
    /// - a goodbye message instead of a request (TLS close alert, short quit command sent with the FIN);
    /// - three or more unanswered retransmissions of the same data by either end before the close: the
    ///   connection was not idle.
    ///
    /// `idle_timeout_ms` runs from the last response to the FIN. `race_gap_ms` is request time minus FIN time
    /// on the server's clock, negative when the request left first.
    ///
    /// Severity follows the number of requests lost. It is low for a message that may be a goodbye
    /// (unrecognised protocol, length unlike the one answered before it) and info for a scanner. Confidence
    /// rises with the number of idle closes that agree on one value.
    ///
    /// ## What to do
    /// The side that reuses connections must give up first. Set the server's idle timeout above that of the
    /// client or load balancer (65 s for the usual 60 s), or the client's pool timeout below the server's. Let
    /// the client retry idempotent requests.
    ///
    /// ## Known limits
    /// In protocols other than HTTP/1 and TLS, a server that lingers looks the same as one that half-closes on
    /// purpose and still reads. In TLS, a message that expects no response counts as a request. A race whose
    /// RST was not captured is missed. In an unrecognised protocol, a long goodbye message sent with the FIN
    /// may count as a request.
    ///
    /// ## References
    /// - RFC 9112 §9.3.1, §9.5, §9.6; RFC 9110 §9.2.2
    /// - RFC 9293 §3.10.7.1 (a segment to a closed connection draws RST)
    pub(crate) struct KeepaliveRace {
        id: "keepalive-race",
        group: Closing,
        title: "Servers close idle connections while requests are in flight",
        severity: High,
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
        host_evidence: [Owner, CloseCall, Logs],
    }
}

impl Rule for KeepaliveRace {
    type Seen = Seen;
    type Fact = IdleEnd;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        ctx: &Context<'_>,
        out: &mut Observations<Seen, IdleEnd>,
    ) {
        let min_idle = Duration::from_secs_f64(ctx.threshold("min_idle_ms") / 1e3)
            .max(conn.rtt().unwrap_or_default() * 2);
        let Some(closed) = IdleClose::of(conn) else {
            note_client_close(conn, min_idle, out);
            return;
        };
        let idle = closed.idle();
        let too_soon = idle.is_some_and(|idle| idle < min_idle);
        if too_soon || closed.was_announced(conn) || is_desynchronised(conn, &closed) {
            return;
        }
        match (&closed.race, idle) {
            (Some(race), _) => out.push(observation(conn, &closed, race)),
            (None, Some(idle)) => {
                out.note(|| idle_note(conn, End::Server, closed.close, idle));
            }
            (None, None) => {}
        }
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        ctx: &Context<'_>,
        collected: &mut Collected<Seen, IdleEnd>,
    ) {
        bound_unknown_idle(analysis, ctx.threshold("min_idle_ms"), collected);
        leave_other_unread(collected);
        let restarts = restarts(collected, |seen| seen.idle_ms);
        for observation in &mut collected.observations {
            let server = observation.connection.server;
            if restarts.get(&server).is_some_and(|times| {
                times.iter().any(|at| {
                    observation.at.signed_since(*at).unsigned_abs()
                        <= RESTART_WINDOW.as_nanos() as u64
                })
            }) {
                observation.cause = format!("{server} restart");
                observation.seen.restart = true;
                observation.impact = Impact::SOME;
                observation.confidence = observation.confidence.min(confidence::OPEN);
            }
        }
        for one in &mut collected.observations {
            let client = analysis.hosts.get(one.connection.client.ip);
            if client.is_some_and(HostProfile::is_scanner) {
                one.impact = Impact::NONE;
            }
        }
        split_causes(&mut collected.observations, |seen| seen.idle_ms);
        let harmless = idle_closes(&collected.notes, End::Server);
        let client_closes = idle_closes(&collected.notes, End::Client);
        for observation in &mut collected.observations {
            let server = observation.connection.server;
            if let Some(values) = harmless.get(&server) {
                let near = observation.seen.idle_ms.unwrap_or_default();
                let agreeing = values
                    .iter()
                    .filter(|value| (*value - near).abs() <= near * 0.05)
                    .count();
                observation.seen.harmless = Some(agreeing as u64);
            }
            if let Some(values) = client_closes.get(&server) {
                let longest = values.iter().copied().fold(0.0, f64::max);
                observation.seen.client_idle_ms = Some(longest);
            }
        }
    }

    fn describe(&self, group: &Group<'_, Seen, IdleEnd>, draft: Narrative) -> Narrative {
        words::tell(group, draft)
    }
}

fn observation(conn: &Connection, closed: &IdleClose<'_>, race: &Race<'_>) -> Observation<Seen> {
    let (last, idle) = (closed.last, closed.idle());
    let resets: u64 = race.resets.iter().map(|reset| u64::from(reset.count)).sum();
    let (confidence, seq_fits) = certainty(race);
    let raw_gap = race.request.time.signed_since(closed.close.time);
    let order = if raw_gap < 0 { "before" } else { "after" };
    let gap_text = span(Duration::from_nanos(raw_gap.unsigned_abs()));
    let first_reset = race.resets.first().map(|reset| reset.segment);
    let kind = if closed.close.flags.fin() {
        "FIN"
    } else {
        "RST"
    };
    let seen = match (race.unread, race.knew) {
        (true, _) => {
            "the RST acknowledges it, but no response came: the server had not read it".to_owned()
        }
        (false, true) => format!("its ACK number covers the {kind}"),
        (false, false) => format!("its ACK number does not cover the {kind}"),
    };
    let answer = first_reset.filter(|reset| reset.frame != closed.close.frame);
    let ended = (conn.from_client().fin).filter(|_| race.resets.is_empty());
    let http = conn.app.http.as_deref();
    let lost = http
        .and_then(|http| http.kept.last())
        .filter(|last| last.status.is_none());
    Observation::new(conn, confidence, impact(conn))
            .at(closed.close.time)
            .weight(idle.map_or(0.0, ms))
            .evidence_if(last, last.map(|last| format!("last payload before the idle time, from {}", last.direction.sender())).unwrap_or_default())
            .proof(closed.close, match idle {
                Some(idle) => format!("{kind} from server, {} after the last payload", span(idle)),
                None => format!("{kind} from server; no payload of this connection was captured before it"),
            })
            .proof(
                race.request,
                format!(
                    "request data from client ({}), {gap_text} {order} the {kind} at the capture point; {seen}",
                    many(u64::from(race.request.payload_len), "byte")
                ),
            )
            .proof_if(
                answer,
                if answer.is_some_and(|reset| reset.seq == race.request.ack) {
                    "RST from server; its sequence number is the request's ACK number".to_owned()
                } else {
                    "RST from server; no response followed".to_owned()
                },
            )
            .evidence_if(ended, "FIN from client: it gives up without a response")
            .figure_if("idle_timeout_ms", idle.map(ms))
            .figure("race_gap_ms", race.gap_ms())
            .figure("resets", number(resets))
            .cost("requests_failed", 1.0)
            .seen(Seen {
                idle_ms: idle.map(ms),
                least_idle_ms: None,
                late_write: race.knew,
                unread: race.unread,
                seq_fits,
                rtt_ms: conn.rtt().map(ms),
                reuse_age_ms: last.map(|last| ms(race.request.time.since(last.time))),
                product: http.and_then(|http| http.server.clone()),
                promised_ms: http.and_then(|http| Some(f64::from(http.keep_alive_timeout_s?) * 1e3)),
                request: lost.map(|lost| format!("{} {}", lost.method, lost.target)),
                harmless: None,
                client_idle_ms: None,
                restart: false,
                is_http: is_http(conn),
            })
}

/// How sure the race is, and whether a RST answers the request by its number.
fn certainty(race: &Race<'_>) -> (f64, bool) {
    let resets = || race.resets.iter();
    let expected_kind = resets().any(|reset| reset.kind == ResetKind::AbortedAfterClose);
    let seq_fits = resets().any(|reset| reset.segment.seq == race.request.ack);
    let confidence = match (expected_kind, seq_fits) {
        _ if race.resets.is_empty() || race.unread => confidence::LIKELY,
        (true, true) => confidence::PROVED,
        (true, false) | (false, true) => confidence::STRONG,
        (false, false) => confidence::PROBABLE,
    };
    (confidence, seq_fits)
}

/// It speaks HTTP, in clear text or most likely in TLS.
const fn is_http(conn: &Connection) -> bool {
    matches!(
        conn.app.protocol,
        AppProtocol::Http1 | AppProtocol::Http2 | AppProtocol::Tls
    )
}

/// A request was lost where the protocol answers every one, or answered one of the same length just
/// before; anything else may be a goodbye, which nobody waits for.
fn impact(conn: &Connection) -> Impact {
    let octets = |turn: Option<Turn>| turn.map(|turn| turn.request.octets);
    let last = octets(conn.turns.last);
    let before = conn
        .turns
        .before_last
        .filter(|turn| turn.response.is_some());
    let is_request = is_http(conn) && !last.is_some_and(|last| is_tls_housekeeping(conn, last));
    if is_request || last.is_some() && octets(before) == last {
        Impact::requests_lost(1)
    } else {
        Impact::SOME
    }
}

/// Either end sent the same data three times or more between the last payload and the close: the ends
/// no longer agree on the sequence numbers, or one does not hear the other. Such a connection is not
/// idle.
fn is_desynchronised(conn: &Connection, closed: &IdleClose<'_>) -> bool {
    /// Further copies: a tail loss probe and one timeout are usual.
    const COPIES: u32 = 3;
    let since = closed.last.map_or(0, |last| last.frame + 1);
    // Repeats that were not kept may have been among them.
    let Some(events) = conn.events_within(since..=closed.close.frame) else {
        return true;
    };
    let mut copies = BTreeMap::<(usize, u64), u32>::new();
    for event in events {
        let segment = event.segment;
        let is_repeat = matches!(event.kind, EventKind::Retransmission { .. });
        if is_repeat && segment.payload_len > 0 {
            let place = (segment.direction.index(), segment.relative_seq);
            *copies.entry(place).or_default() += 1;
        }
    }
    copies.into_values().any(|copies| copies >= COPIES)
}

/// Where the capture began after a connection's last exchange, the silence in the capture is the
/// least that its idle time can have been; too little of it proves no idle close.
fn bound_unknown_idle(
    analysis: &Analysis,
    min_idle_ms: f64,
    collected: &mut Collected<Seen, IdleEnd>,
) {
    let begin = analysis.summary.first;
    collected.observations.retain_mut(|one| {
        if one.seen.idle_ms.is_some() {
            return true;
        }
        let least = begin.map_or(0.0, |begin| ms(one.at.since(begin)));
        one.seen.least_idle_ms = Some(least);
        least >= min_idle_ms
    });
}

/// A server has other reasons, too, to close over an unread request. It was the idle timer where
/// other connections were closed after the same silence.
fn leave_other_unread(collected: &mut Collected<Seen, IdleEnd>) {
    let mut timers = idle_closes(&collected.notes, End::Server);
    let is_unread = |one: &Observation<Seen>| one.seen.unread;
    for one in collected.observations.iter().filter(|one| !is_unread(one)) {
        let of_server = timers.entry(one.connection.server).or_default();
        of_server.extend(one.seen.idle_ms);
    }
    collected.observations.retain(|one| {
        let others = timers.get(&one.connection.server).into_iter().flatten();
        let idle = one.seen.idle_ms.unwrap_or_default();
        !is_unread(one) || is_timer(idle, others.copied())
    });
}

/// Remembers how long the client keeps idle connections, where it closes first.
fn note_client_close(conn: &Connection, min_idle: Duration, out: &mut Observations<Seen, IdleEnd>) {
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
        out.note(|| idle_note(conn, End::Client, fin, idle));
    }
}

mod seen;
mod words;

#[cfg(test)]
mod tests;

//! `unread-data-reset`: a connection closed with data its application never read.

use analyzer::app::AppProtocol;
use analyzer::connection::{Reset, ResetKind};
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Direction, QualityKind};

use crate::model::context::Context;
use crate::model::figure::most;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::severity::Severity;
use crate::model::text::{bytes, many, ms, number, other_end, plural};
use crate::signs::goodbye::is_tls_housekeeping;
use crate::signs::idle_close::{
    End, IdleClose, IdleEnd, MIN_IDLE_MS, idle_closes, idle_note, is_timer,
};

declare_rule! {
    /// An application closed a connection while received data was still unread, which resets the connection.
    ///
    /// ## What it means
    /// When a program closes a socket whose receive queue still holds bytes, the kernel sends RST instead of
    /// FIN to signal that the data was not processed.
    ///
    /// ## Why it matters
    /// The RST overtakes or destroys what the closing end had sent. A server that rejects an upload with 413
    /// and closes at once discards its own response: the client sees a reset instead of the status.
    ///
    /// ## How it is detected
    /// - RST with ACK, unprovoked, no FIN of that end before, while the resetting end held unread bytes.
    /// - What proves it: on Linux the RST's window is larger than that of the last ACK, because closing empties
    ///   the queue first; otherwise the peer's last bytes were never answered. `unread_bytes_min` is a lower
    ///   bound on the unread bytes.
    /// - What refutes harm: the peer had closed before (its last message expects no response); the response was
    ///   complete and acknowledged; the unread bytes are the closing alert of TLS, or session tickets.
    ///
    /// Severity follows the requests lost: one for each connection on which a server resets a request before a
    /// complete response arrived, or discards data that its window proves to be unread. It is info when a
    /// client closes without reading the rest (load generators stop), or when the peer had closed before.
    ///
    /// ## What to do
    /// Read or drain what the peer sends before closing: shut down writing first, then read to end of file.
    ///
    /// ## Known limits
    /// A request that arrives just as a server's idle timer expires is also unread; where other connections
    /// were closed after the same silence it is left to `keepalive-race`. With less than a few kilobytes unread
    /// the window does not change, and an abortive close by SO_LINGER looks the same. A process killed with
    /// unread data also resets.
    ///
    /// ## References
    /// - RFC 1122 §4.2.2.13; RFC 2525 §2.17
    pub(crate) struct UnreadDataReset {
        id: "unread-data-reset",
        group: Closing,
        title: "Closing with unread data resets connections",
        severity: High,
        needs: [Tcp, BothDirections],
        clouded_by: [CaptureDrops, OneSided],
        figures: [resets: Count / Sum, unread_bytes_min: Bytes / Max],
        thresholds: [
            min_confidence = 0.5: "Resets whose reading is less certain than this are left to other rules.",
        ],
        host_evidence: [UnreadData, Linger, KernelReason, Owner],
    }
}

/// A close over unread data.
pub(crate) struct Seen {
    /// Whose.
    end: &'static str,
    /// The RST's window is larger than that of the last ACK.
    jumped: bool,
    /// The peer's last bytes were never answered.
    unanswered: bool,
    /// By a client of TLS, which leaves session tickets unread.
    tickets: bool,
    /// What lay unread was the closing alert of TLS.
    goodbye: bool,
    /// The peer had closed before.
    after_close: bool,
    /// The silence before, where a request lay unread after it.
    idle_ms: Option<f64>,
}

impl Rule for UnreadDataReset {
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
        let closed = IdleClose::of(conn).filter(|closed| !closed.was_announced(conn));
        let idle = closed.as_ref().and_then(IdleClose::idle);
        let idle = idle.filter(|idle| ms(*idle) >= MIN_IDLE_MS);
        let unread = (closed.as_ref()).is_some_and(|closed| closed.is_over_unread());
        if let (Some(closed), Some(idle), false) = (closed, idle, unread) {
            out.note(|| idle_note(conn, End::Server, closed.close, idle));
        }
        let reset = conn.resets.iter().find(|reset| {
            reset.kind == ResetKind::UnreadData
                && reset.confidence >= ctx.threshold("min_confidence")
                && !reset.own_fin_before
        });
        let Some(reset) = reset else { return };
        // A client that aborts while its request is pending gave up waiting: another rule.
        let by_client = reset.segment.direction == Direction::ClientToServer;
        if by_client
            && conn.turns.pending().is_some()
            && reset.window_jump.is_none_or(|jump| jump <= 0)
        {
            return;
        }
        let idle = idle.filter(|_| unread).map(ms);
        let mut observation = observation(conn, reset, by_client);
        observation.seen.idle_ms = idle;
        out.push(observation);
    }

    /// A server whose idle timer ran out as the request came: `keepalive-race`.
    fn on_capture(
        &self,
        analysis: &Analysis,
        _: &Context<'_>,
        collected: &mut Collected<Seen, IdleEnd>,
    ) {
        for one in &mut collected.observations {
            let client = analysis.hosts.get(one.connection.client.ip);
            if client.is_some_and(HostProfile::is_scanner) {
                one.impact = Impact::NONE;
            }
        }
        let timers = idle_closes(&collected.notes, End::Server);
        collected.observations.retain(|one| {
            let others = timers.get(&one.connection.server).into_iter().flatten();
            !one.seen
                .idle_ms
                .is_some_and(|idle| is_timer(idle, others.copied()))
        });
    }

    fn describe(&self, group: &Group<'_, Seen, IdleEnd>, draft: Narrative) -> Narrative {
        let end = most(group.seen().map(|seen| seen.end)).unwrap_or_default();
        let other = other_end(end);
        let who = if end == "server" {
            group.server().to_string()
        } else {
            group.clients_text()
        };
        let unread = group.figure("unread_bytes_min").unwrap_or_default();
        let count = plural(number(group.connections()), "connection");
        let jumped = group.having(|seen| seen.jumped);
        let tickets = group.having(|seen| seen.tickets) > 0;
        let goodbyes = group.having(|seen| seen.goodbye);
        let after_close = group.having(|seen| seen.after_close);
        let cost = if after_close == group.observations.len() as u64 {
            format!("The {other} had closed before, so nobody waits for the lost data.")
        } else if goodbyes == group.observations.len() as u64 {
            "The unread data is the closing alert of TLS, sent after everything was answered: usual and harmless.".to_owned()
        } else if end == "server" {
            format!(
                "The {other} sees \"connection reset by peer\" and may lose the response that was in flight."
            )
        } else if tickets {
            "These clients leave TLS session tickets unread when they close: usual and harmless."
                .to_owned()
        } else {
            "The client did not need the rest; nobody waited for it.".to_owned()
        };
        let confidence = draft.confidence;
        let draft = draft
            .title(format!("The {end} {who} closes with unread data and resets the connection"))
            .summary(format!("The {end} {who} closed {count} before it had read at least {} from the {other}, so its kernel sent RST instead of FIN. {cost}", bytes(unread)))
            .confidence(confidence, if jumped > 0 {
                "The RST's larger window shows that close() emptied the receive queue."
            } else {
                "The peer's last bytes were never answered; the window alone does not prove it."
            })
            .because(format!("RST with ACK from the {end}, with no FIN before and no segment that provoked it"))
            .because_if(jumped > 0, || format!("on {} the RST advertises a larger window than the last ACK: close() emptied the queue", many(jumped, "connection")))
            .because_if(group.having(|seen| seen.unanswered) > 0, || format!("on {} the {other}'s last bytes were never answered", many(group.having(|seen| seen.unanswered), "connection")))
            .not("linger-zero-reset", if jumped > 0 {
                "SO_LINGER 0 leaves the window unchanged"
            } else {
                "not ruled out where the window did not change; unanswered bytes point to unread data"
            })
            .not("keepalive-race", "no FIN came first")
            .not("injected-reset", format!("hop limit and numbers are those of the {end}"));
        if draft.severity == Severity::Info {
            return draft;
        }
        remedies(group, draft)
    }
}

/// How to read to the end before the close, and what counts the closes that do not.
fn remedies(group: &Group<'_, Seen, IdleEnd>, draft: Narrative) -> Narrative {
    draft
        .set(
            "nginx",
            "keep reading after an early response",
            "lingering_close on; lingering_time 30s; lingering_timeout 5s;",
        )
        .set(
            "Java (Tomcat)",
            "swallow larger rejected bodies",
            "<Connector maxSwallowSize=\"-1\" …/>",
        )
        .set(
            "Node.js",
            "drain the rejected request",
            "req.resume() before res.end()",
        )
        .set(
            "Go",
            "read the body to its end before returning",
            "io.Copy(io.Discard, r.Body)",
        )
        .advise(
            "any",
            "shutdown(SHUT_WR), read until end of file with a time limit, then close",
        )
        .verify(
            "server",
            "nstat -az TcpExtTCPAbortOnClose",
            "grows with every close with unread data",
        )
        .verify(
            "server",
            format!("ss -tn '( sport = :{} )'", group.server().port),
            "Recv-Q above zero on connections about to close",
        )
}

fn observation(conn: &Connection, reset: &Reset, by_client: bool) -> Observation<Seen> {
    let jump = reset
        .window_jump
        .and_then(|jump| u64::try_from(jump).ok())
        .filter(|jump| *jump > 0);
    let unread = jump.unwrap_or(reset.unanswered_octets);
    let end = reset.segment.direction.sender();
    let tls = conn.app.protocol == AppProtocol::Tls;
    let pending = conn.turns.pending().is_some()
        || conn
            .app
            .http
            .as_ref()
            .and_then(|http| http.kept.last())
            .is_some_and(|last| last.response_end.is_none());
    let last_request = conn.turns.last.map(|turn| turn.request.octets);
    // The answer was complete, and what lies unread is the client's closing alert.
    let goodbye =
        !by_client && last_request.is_some_and(|octets| is_tls_housekeeping(conn, octets));
    let own = conn.half(reset.segment.direction);
    let answer_arrived = reset.bytes_unacked.min(own.unacked_at_end) == 0;
    let impact = if by_client || goodbye || reset.peer_fin_before {
        Impact::NONE
    } else if conn.is_touched_by(QualityKind::CaptureDrops) {
        // The answer, or what acknowledges it, may be among the frames that the capture missed.
        Impact::SOME
    } else if pending || !answer_arrived || jump.is_some() {
        Impact::requests_lost(1)
    } else {
        Impact::SOME
    };
    let peer = conn.half(reset.segment.direction.reverse());
    let window = match jump {
        Some(jump) => format!(
            ", window {} larger than in its last ACK",
            many(jump, "byte")
        ),
        None => String::new(),
    };
    let observation = Observation::new(conn, reset.confidence, impact)
        .cause(format!(
            "{} {end}{}",
            conn.server,
            if goodbye { " goodbye" } else { "" }
        ))
        .at(reset.segment.time)
        .weight(number(unread))
        .evidence_if(
            peer.last_data
                .filter(|data| data.frame < reset.segment.frame),
            format!(
                "last data from {}, never read",
                reset.segment.direction.reverse().sender()
            ),
        )
        .proof(
            reset.segment,
            format!("RST with ACK from {end}, no FIN before{window}"),
        )
        .figure("resets", 1.0)
        .figure("unread_bytes_min", number(unread))
        .seen(Seen {
            end,
            jumped: jump.is_some(),
            unanswered: reset.unanswered_octets > 0,
            tickets: by_client && tls,
            goodbye,
            after_close: reset.peer_fin_before,
            idle_ms: None,
        });
    if impact.requests_lost == 0 {
        observation
    } else {
        observation.cost("requests_failed", 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, C, S, figure, findings_of};

    #[test]
    fn server_that_rejects_an_upload() {
        let conn = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .request(1.0, 50_000)
            .reset(2.0, S, ResetKind::UnreadData)
            .with(|conn| conn.resets[0].window_jump = Some(46_080))
            .build();
        let findings = findings_of("unread-data-reset", &[conn]);
        assert_eq!(findings[0].severity, Severity::Medium);
        assert!((figure(&findings[0], "unread_bytes_min") - 46_080.0).abs() < f64::EPSILON);
    }

    #[test]
    fn server_whose_answer_may_be_lost_is_medium() {
        let conn = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .request(1.0, 500)
            .response(1.5, 100)
            .reset(2.0, S, ResetKind::UnreadData)
            .with(|conn| {
                conn.resets[0].bytes_unacked = 100;
                conn.halves[1].unacked_at_end = 100;
            })
            .build();
        assert_eq!(
            findings_of("unread-data-reset", &[conn])[0].severity,
            Severity::Medium
        );
    }

    #[test]
    fn after_the_client_closed_nobody_waits() {
        let conn = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .request(1.0, 18)
            .fin(1.1, C)
            .reset(1.6, S, ResetKind::UnreadData)
            .build();
        let findings = findings_of("unread-data-reset", &[conn]);
        assert_eq!(findings[0].severity, Severity::Info);
    }

    #[test]
    fn tls_client_with_unread_tickets_is_information() {
        let conn = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .request(1.0, 500)
            .response(1.5, 100)
            .reset(2.0, C, ResetKind::UnreadData)
            .protocol(AppProtocol::Tls)
            .build();
        assert_eq!(
            findings_of("unread-data-reset", &[conn])[0].severity,
            Severity::Info
        );
    }

    #[test]
    fn unread_closing_alert_of_tls_is_information() {
        let conn = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .request(1.0, 500)
            .response(1.5, 900)
            .request(1.6, 31)
            .reset(1.7, S, ResetKind::UnreadData)
            .protocol(AppProtocol::Tls)
            .build();
        let findings = findings_of("unread-data-reset", &[conn]);
        assert_eq!(findings[0].severity, Severity::Info);
        assert!(findings[0].cost.is_empty() && findings[0].remedy.is_empty());
    }

    #[test]
    fn request_that_came_as_the_idle_timer_ran_out_is_left_to_keepalive_race() {
        let used = |port| {
            let builder = Builder::tcp(port).handshake(0.0, 1.0);
            builder.request(1.0, 100).response(2.0, 500)
        };
        let unread = || {
            let mut conn = used(1)
                .request(4990.0, 100)
                .reset(5002.0, S, ResetKind::UnreadData)
                .build();
            let request = conn.turns.last.unwrap().request.first;
            conn.resets[0].segment.relative_ack = request.relative_seq + 100;
            conn
        };
        let idle = |port, fin_ms| used(port).fin(fin_ms, S).build();
        let rules = |others: [Connection; 2]| {
            let [one, two] = others;
            let connections = [unread(), one, two];
            ["unread-data-reset", "keepalive-race"]
                .map(|rule| findings_of(rule, &connections).len())
        };
        assert_eq!(rules([idle(2, 5002.0), idle(3, 5010.0)]), [0, 1]);
        assert_eq!(rules([idle(2, 5002.0), idle(3, 7000.0)]), [1, 0]);
    }

    #[test]
    fn other_resets_are_not_this() {
        let conn = Builder::tcp(1).handshake(0.0, 1.0).request(1.0, 5).reset(
            2.0,
            S,
            ResetKind::LingerZero,
        );
        assert!(findings_of("unread-data-reset", &[conn.build()]).is_empty());
    }
}

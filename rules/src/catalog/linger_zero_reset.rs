//! `linger-zero-reset`: an application closes by reset and throws data away.

use analyzer::app::AppProtocol;
use analyzer::connection::{Reset, ResetKind};
use analyzer::{Connection, Direction};

use crate::model::context::Context;
use crate::model::legacy::{Group, Legacy, Observation, Observations};
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::Narrative;
use crate::model::rule::Rule;
use crate::model::severity::Severity;
use crate::model::text::{bytes, many, number, other_end, plural};

declare_rule! {
    /// An application closed a connection by reset instead of FIN.
    ///
    /// ## What it means
    /// With `SO_LINGER` on and a linger time of zero, close() drops everything unsent or
    /// unacknowledged and sends RST at once. Nothing in the other end's packets provoked it: the
    /// application asked for an abortive close.
    ///
    /// ## Why it matters
    /// Data on its way is destroyed on both sides: what the closing end had not delivered, and what
    /// the other end's application had not read yet. The other end sees "connection reset by peer",
    /// often in the middle of a response it had nearly complete.
    ///
    /// ## How it is detected
    /// RST with ACK at the sender's next sequence number, in an established connection, no FIN of that
    /// end before, no segment that would draw a reset, and the peer's bytes acknowledged and read: the
    /// RST's window equals the window of the last ACK (Linux empties the receive queue before it resets
    /// for unread data, which makes that window larger). `bytes_unacked` is what was sent and not
    /// acknowledged when the RST left (an ACK seen less than a round trip before it had not reached the
    /// resetter): the least that was thrown away.
    /// Severity: high when such bytes existed; low after a complete exchange; info when the connection
    /// carried no data (health checks, scans).
    ///
    /// ## What to do
    /// Do not set `SO_LINGER` to zero. Half-close with shutdown(SHUT_WR), read to the end, then close.
    ///
    /// ## Known limits
    /// Below a few kilobytes of unread data the window does not move, so a close with little unread
    /// data cannot be told apart; both readings are then given. Windows and other systems abort in
    /// more situations. Bytes never handed to the network are not visible.
    ///
    /// ## References
    /// - RFC 9293 §3.10.5 (ABORT); socket(7), `SO_LINGER`
    pub(crate) struct LingerZeroReset {
        id: "linger-zero-reset",
        title: "An application closes connections by reset",
        severity: High,
        needs: [Tcp, BothDirections],
        clouded_by: [CaptureDrops, OneSided],
        figures: [resets: Count / Sum, bytes_unacked: Bytes / Sum],
        thresholds: [
            min_confidence = 0.5: "Resets whose reading as an abortive close is less sure than this are left to other rules.",
        ],
    }
}

/// Enough for the records of a TLS alert, or a few short frames of HTTP/2.
const ALERT_OCTETS: u64 = 64;

impl Rule for LingerZeroReset {
    type Seen = Legacy;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations) {
        let abort = conn.resets.iter().find(|reset| {
            reset.kind == ResetKind::LingerZero
                && !reset.own_fin_before
                && reset.confidence >= ctx.threshold("min_confidence")
        });
        let Some(reset) = abort else { return };
        // A client that aborts while its request is pending gave up waiting: another rule.
        let by_client = reset.segment.direction == Direction::ClientToServer;
        if by_client && conn.turns.pending().is_some() && reset.bytes_unacked == 0 {
            return;
        }
        // Whoever gives up a TLS session sends an alert and leaves; nothing but the alert is lost,
        // nor but acknowledgements of settings and the like on an HTTP/2 connection without streams.
        let end = reset.segment.direction;
        let lost = reset.bytes_unacked;
        let may_be_tls = matches!(conn.app.protocol, AppProtocol::Tls | AppProtocol::Unknown);
        let may_be_alert = lost > 0 && may_be_tls && conn.half(end).cut_frames > 0;
        let only_housekeeping = said_goodbye(conn, end) || may_be_alert || has_no_stream(conn);
        if lost <= ALERT_OCTETS && only_housekeeping {
            return;
        }
        out.push(observation(conn, reset));
    }

    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative {
        let lost = group.number("bytes_unacked").unwrap_or_default();
        let resets = group.number("resets").unwrap_or_default();
        let end = group.words("end").unwrap_or_default();
        let other = other_end(&end);
        let who = if end == "server" {
            group.server().to_string()
        } else {
            group.clients_text()
        };
        let runner_up = group.positive("maybe_unread");
        let (title, summary) = if lost > 0.0 {
            (
                format!(
                    "The {end} {who} resets connections and discards at least {}",
                    bytes(lost)
                ),
                format!(
                    "The {end} {who} ended {} by RST without FIN, unprovoked, while {} it had sent were not acknowledged. \
                     Those bytes, and whatever was still unsent, are lost; the {other} gets \"connection reset by peer\".",
                    plural(number(group.connections()), "connection"),
                    bytes(lost)
                ),
            )
        } else {
            (
                format!("The {end} {who} ends connections by reset instead of FIN"),
                format!(
                    "The {end} {who} ended {} by RST without FIN, unprovoked and with nothing of its own outstanding. \
                     That is how health checks and programs that avoid TIME-WAIT close on purpose; data that the \
                     {other} has not read yet can still be destroyed.",
                    plural(number(group.connections()), "connection")
                ),
            )
        };
        let reason = if runner_up > 0 {
            format!(
                "On {} a close with little unread data would look the same.",
                many(runner_up, "connection")
            )
        } else {
            "The reset's form, window and place in the exchange all fit an abortive close."
                .to_owned()
        };
        let confidence = draft.confidence;
        let draft = draft
            .title(title)
            .summary(summary)
            .confidence(confidence, reason)
            .because(format!("{}: RST with ACK at the {end}'s next sequence number, no FIN of the {end} before", plural(resets, "reset")))
            .because("no segment arrived that a socket would answer with a reset")
            .because_if(group.positive("window_same") > 0, || {
                format!("on {} the RST advertises the same window as the last ACK: nothing unread was discarded by close()", many(group.positive("window_same"), "connection"))
            })
            .because_if(lost > 0.0, || format!("{} were sent and not acknowledged when the RST left", bytes(lost)));
        remedies(group, confusables(group, draft, &end), &end)
    }
}

/// HTTP/2, and every request has its response: short frames are about the connection.
fn has_no_stream(conn: &Connection) -> bool {
    let http = conn.app.http.as_deref().filter(|http| !http.lost_track);
    conn.app.protocol == AppProtocol::Http2
        && http.is_some_and(|http| http.kept.iter().all(|stream| stream.status.is_some()))
}

/// This end sent a TLS alert, in clear text or enciphered.
fn said_goodbye(conn: &Connection, end: Direction) -> bool {
    conn.app.tls.as_ref().is_some_and(|tls| {
        tls.alerts.iter().any(|alert| alert.direction == end)
            || tls.encrypted_alert[end.index()].is_some()
    })
}

fn observation(conn: &Connection, reset: &Reset) -> Observation {
    let end = reset.segment.direction.sender();
    let exchanged = conn.halves.iter().any(|half| half.unique_bytes > 0);
    let severity = match (reset.bytes_unacked, exchanged) {
        (1.., _) => Severity::High,
        (0, true) => Severity::Low,
        (0, false) => Severity::Info,
    };
    let maybe_unread = matches!(reset.runner_up, Some((ResetKind::UnreadData, _)));
    let window_same = reset.window_jump == Some(0);
    let own = conn.half(reset.segment.direction);
    let peer = conn.half(reset.segment.direction.reverse());
    let peer_last = peer
        .last_data
        .filter(|data| data.frame < reset.segment.frame);
    let window = if window_same {
        ", window as in its last ACK"
    } else {
        ""
    };
    Observation::untyped(conn, reset.confidence, severity)
        .cause(format!("{} {end}", conn.server))
        .at(reset.segment.time)
        .weight(number(reset.bytes_unacked))
        .evidence_if(
            peer_last,
            format!(
                "last data from {}",
                reset.segment.direction.reverse().sender()
            ),
        )
        .evidence_if(
            own.last_data
                .filter(|data| data.frame < reset.segment.frame),
            format!("last data from {end}"),
        )
        .evidence(
            reset.segment,
            format!(
                "RST with ACK from {end}, no FIN before{window}; {} not acknowledged by the time it left the {end}",
                many(reset.bytes_unacked, "byte")
            ),
        )
        .figure("resets", 1.0)
        .detail("replies", f64::from(reset.count.saturating_sub(1)))
        .figure("bytes_unacked", number(reset.bytes_unacked))
        .cost("bytes_lost", number(reset.bytes_unacked))
        .detail("maybe_unread", f64::from(u8::from(maybe_unread)))
        .detail("window_same", f64::from(u8::from(window_same)))
        .label("end", end)
}

fn confusables(group: &Group<'_>, draft: Narrative, end: &str) -> Narrative {
    let unread = if group.positive("maybe_unread") > 0 {
        format!(
            "cannot be excluded on {}: very little unread data leaves the window unchanged; against it speaks that the peer's last bytes were acknowledged and answered",
            many(group.positive("maybe_unread"), "connection")
        )
    } else {
        "the RST's window did not grow, and the peer's last bytes had been answered".to_owned()
    };
    draft
        .not("unread-data-reset", unread)
        .not(
            "keepalive-race",
            "no FIN came first, and the RST does not answer a segment",
        )
        .not(
            "injected-reset",
            format!("hop limit and sequence number are those of the {end}'s other packets"),
        )
        .not("keepalive-dead-peer", "no unanswered probes came before")
}

fn remedies(group: &Group<'_>, draft: Narrative, end: &str) -> Narrative {
    let server = group.server();
    draft
        .advise("any", "close in order: shutdown(SHUT_WR) (Go: CloseWrite), read until end of file, then close")
        .set("Go", "remove the call of SetLinger, or give it a positive value", "conn.SetLinger(0)  // remove")
        .set("Java", "remove the call of setSoLinger", "socket.setSoLinger(true, 0)  // remove")
        .set("C", "remove the option", "struct linger {1, 0} with SO_LINGER  // remove")
        .advise("Linux", "if TIME-WAIT was the reason: pool connections, widen net.ipv4.ip_local_port_range, or net.ipv4.tcp_tw_reuse = 1 on the client")
        .advise("nginx / HAProxy", "nginx reset_timedout_connection and HAProxy option nolinger close this way by configuration")
        .verify(end, format!("strace -f -e trace=setsockopt,close,shutdown -p PID 2>&1 | grep -E 'SO_LINGER|close'  # the {end}'s process"), "setsockopt(SO_LINGER, {l_onoff=1, l_linger=0}) before the close")
        .verify(end, "nstat -az TcpExtTCPAbortOnData TcpOutRsts", "TCPAbortOnData grows with every abortive close")
        .verify("both", format!("ss -tn '( sport = :{0} or dport = :{0} )'", server.port), "send queues that hold data when connections vanish")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, C, S, figure, findings_of};

    fn aborted(unacked: u64) -> Connection {
        Builder::tcp(1)
            .handshake(0.0, 1.0)
            .request(1.0, 100)
            .response(2.0, 5000)
            .reset(2.1, S, ResetKind::LingerZero)
            .with(|conn| {
                conn.resets[0].bytes_unacked = unacked;
                conn.resets[0].window_jump = Some(0);
            })
            .build()
    }

    #[test]
    fn unacknowledged_bytes_make_it_high() {
        let findings = findings_of("linger-zero-reset", &[aborted(4000)]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::High);
        assert!((figure(&findings[0], "bytes_unacked") - 4000.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "resets") - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn after_a_complete_exchange_it_is_low() {
        assert_eq!(
            findings_of("linger-zero-reset", &[aborted(0)])[0].severity,
            Severity::Low
        );
    }

    #[test]
    fn acknowledged_settings_of_http2_are_no_loss() {
        let mut conn = aborted(18);
        conn.app.protocol = AppProtocol::Http2;
        conn.app.http = Some(Box::default());
        assert!(findings_of("linger-zero-reset", &[conn]).is_empty());
    }

    #[test]
    fn health_check_without_data_is_info() {
        let conn = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .reset(1.5, C, ResetKind::LingerZero)
            .build();
        assert_eq!(
            findings_of("linger-zero-reset", &[conn])[0].severity,
            Severity::Info
        );
    }

    #[test]
    fn other_resets_are_not_this() {
        let reply =
            Builder::tcp(1)
                .handshake(0.0, 1.0)
                .request(1.0, 9)
                .reset(2.0, S, ResetKind::HalfOpen);
        let unread = Builder::tcp(2).handshake(0.0, 1.0).request(1.0, 9).reset(
            2.0,
            S,
            ResetKind::UnreadData,
        );
        assert!(findings_of("linger-zero-reset", &[reply.build(), unread.build()]).is_empty());
    }

    #[test]
    fn client_that_gives_up_on_an_answer_is_another_rule() {
        let conn = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .request(1.0, 9)
            .request_acked(1.5)
            .reset(2000.0, C, ResetKind::LingerZero)
            .build();
        assert!(findings_of("linger-zero-reset", &[conn]).is_empty());
    }
}

//! `linger-zero-reset`: an application closes by reset and throws data away.

use analyzer::app::AppProtocol;
use analyzer::connection::{Reset, ResetKind};
use analyzer::event::SegmentRef;
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Direction};

use crate::model::context::Context;
use crate::model::figure::most;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{bytes, many, number, other_end, plural};
use crate::signs::goodbye::GOODBYE_TO_FIN;

declare_rule! {
    /// An application closed a connection by reset instead of FIN.
    ///
    /// ## What it means
    /// With `SO_LINGER` on and a linger time of zero, close() discards everything unsent or unacknowledged and
    /// sends RST at once. No packet of the other end provoked it: the application requested an abortive close.
    ///
    /// ## Why it matters
    /// Data in flight is destroyed on both sides: what the closing end had not delivered, and what the other
    /// end's application had not read yet. The other end sees "connection reset by peer", often in the middle
    /// of a nearly complete response.
    ///
    /// ## How it is detected
    /// - RST with ACK at the sender's next sequence number, with no FIN of that end before and no segment that
    ///   would draw a reset, on a connection whose handshake was captured or on which that end sent data.
    /// - The peer's bytes were acknowledged and read: the RST's window equals the window of the last ACK.
    ///   (Linux empties the receive queue before it resets for unread data, which makes that window larger.)
    /// - What proves a loss: bytes were sent that no acknowledgment covers, not even one that crossed the RST;
    ///   several segments were still in flight; a response was cut short. `bytes_unacked` counts the bytes for
    ///   which the resetting end had no acknowledgment when the RST left.
    /// - What refutes it: the other end had closed first, so nobody loses data; or the lost bytes are a short
    ///   message right before the reset (an alert, a logoff) that nobody waits for.
    ///
    /// Severity follows the messages lost: each connection that lost bytes in use counts as one. It is low
    /// after a complete exchange, and info when the other end had closed or the connection carried no data
    /// (health checks, scans).
    ///
    /// ## What to do
    /// Do not set `SO_LINGER` to zero. Half-close with shutdown(SHUT_WR), read to end of file, then close.
    ///
    /// ## Known limits
    /// Below a few kilobytes of unread data the window does not change, so a close with little unread data
    /// looks the same; both readings are then given. Windows and other systems abort in more situations. Bytes
    /// never sent to the network are not visible.
    ///
    /// ## References
    /// - RFC 9293 §3.10.5 (ABORT); socket(7), `SO_LINGER`
    pub(crate) struct LingerZeroReset {
        id: "linger-zero-reset",
        group: Closing,
        title: "An application closes connections by reset",
        severity: High,
        needs: [Tcp, BothDirections],
        traits: [Reset],
        clouded_by: [CaptureDrops, OneSided],
        figures: [resets: Count / Sum, bytes_unacked: Bytes / Sum],
        thresholds: [
            min_confidence = 0.5: "Resets whose reading as an abortive close is less certain than this are left to other rules.",
        ],
        host_evidence: [Linger, UnreadData, KernelReason, Owner],
    }
}

/// Enough for the records of a TLS alert, a logoff, or a few short frames of HTTP/2.
const GOODBYE_OCTETS: u64 = 64;

/// A connection that one end aborted.
pub(crate) struct Seen {
    /// Who.
    end: &'static str,
    /// A close with little unread data would look the same.
    maybe_unread: bool,
    /// The window of the RST is that of the last ACK.
    window_same: bool,
    /// A response was under way.
    in_response: bool,
    /// Bytes that nobody ever acknowledged.
    lost: u64,
}

impl Rule for LingerZeroReset {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        let abort = conn.resets.iter().find(|reset| {
            reset.kind == ResetKind::LingerZero
                && !reset.own_fin_before
                && reset.confidence >= ctx.threshold("min_confidence")
        });
        let Some(reset) = abort else { return };
        // Without a handshake a RST answers a scan, or belongs to a connection that is not known.
        let end = reset.segment.direction;
        if !conn.has_handshake() && conn.half(end).unique_bytes == 0 {
            return;
        }
        // A client that aborts while its request is pending gave up waiting: another rule.
        let by_client = reset.segment.direction == Direction::ClientToServer;
        if by_client && conn.turns.pending().is_some() && reset.bytes_unacked == 0 {
            return;
        }
        // Whoever gives up a TLS session sends an alert and leaves; nothing but the alert is lost,
        // nor but acknowledgements of settings and the like on an HTTP/2 connection without streams.
        let lost = reset.bytes_unacked;
        let may_be_tls = matches!(conn.app.protocol, AppProtocol::Tls | AppProtocol::Unknown);
        let may_be_alert = lost > 0 && may_be_tls && conn.half(end).cut_frames > 0;
        let only_housekeeping = said_goodbye(conn, end) || may_be_alert || has_no_stream(conn);
        if lost <= GOODBYE_OCTETS && only_housekeeping {
            return;
        }
        out.push(observation(conn, reset));
    }

    fn on_capture(&self, analysis: &Analysis, _: &Context<'_>, collected: &mut Collected<Seen>) {
        for one in &mut collected.observations {
            let client = analysis.hosts.get(one.connection.client.ip);
            if client.is_some_and(HostProfile::is_scanner) {
                one.impact = Impact::NONE;
            }
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let lost = group.figure("bytes_unacked").unwrap_or_default();
        let resets = group.figure("resets").unwrap_or_default();
        let end = most(group.seen().map(|seen| seen.end)).unwrap_or_default();
        let other = other_end(end);
        let who = if end == "server" {
            group.server().to_string()
        } else {
            group.clients_text()
        };
        let runner_up = group.having(|seen| seen.maybe_unread);
        let resets_text = if group.client_ips().len() > 1 && end == "client" {
            "reset"
        } else {
            "resets"
        };
        let never: u64 = group.seen().map(|seen| seen.lost).sum();
        let in_response = group.having(|seen| seen.in_response);
        let (title, summary) = if lost > 0.0 {
            (
                format!(
                    "The {end} {who} {resets_text} connections with {} in flight",
                    bytes(lost)
                ),
                format!(
                    "The {end} {who} ended {} by RST without FIN, unprovoked, with {} of its own not acknowledged. \
                     Data that had not arrived, was not read yet or was still unsent is lost; the {other} gets \"connection reset by peer\".",
                    plural(number(group.connections()), "connection"),
                    bytes(lost)
                ),
            )
        } else {
            (
                format!(
                    "The {end} {who} {} connections by reset instead of FIN",
                    if resets_text == "reset" {
                        "end"
                    } else {
                        "ends"
                    }
                ),
                format!(
                    "The {end} {who} ended {} with RST instead of FIN. Nothing provoked it and no data of its own was in flight. \
                     Health checks and programs that avoid TIME-WAIT close this way on purpose; data that the \
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
            .because_if(group.having(|seen| seen.window_same) > 0, || {
                format!("on {} the RST advertises the same window as the last ACK: nothing unread was discarded by close()", many(group.having(|seen| seen.window_same), "connection"))
            })
            .because_if(lost > 0.0, || format!("{} sent and not acknowledged when the RST left, {} to the end", bytes(lost), bytes(number(never))))
            .because_if(in_response > 0, || format!("{} ended in the middle of a response", many(in_response, "connection")));
        remedies(group, confusables(group, draft, end), end)
    }
}

/// What the resetter had sent and nobody acknowledged, not even with an acknowledgment that crossed
/// the RST.
fn bytes_lost(conn: &Connection, reset: &Reset) -> u64 {
    let never_acked = conn.half(reset.segment.direction).unacked_at_end;
    reset.bytes_unacked.min(never_acked)
}

/// The reset cut a message: bytes were never acknowledged, several segments were under way, or a
/// response was. A short message right before the reset is a goodbye, and one segment that was
/// acknowledged after all has arrived.
fn cuts_message(conn: &Connection, reset: &Reset) -> bool {
    let own = conn.half(reset.segment.direction);
    let at_once = |last: SegmentRef| reset.segment.time.since(last.time) <= GOODBYE_TO_FIN;
    let is_goodbye = reset.bytes_unacked <= GOODBYE_OCTETS && own.last_data.is_some_and(at_once);
    let under_way = reset.bytes_unacked > u64::from(own.largest_payload);
    let by_server = reset.segment.direction == Direction::ServerToClient;
    let is_cut = bytes_lost(conn, reset) > 0 || under_way;
    !is_goodbye && is_cut || by_server && is_in_response(conn, reset)
}

/// The server aborts a response that had begun, or the client one that still comes.
fn is_in_response(conn: &Connection, reset: &Reset) -> bool {
    let http = conn.app.http.as_deref().filter(|http| !http.lost_track);
    let last = http.and_then(|http| http.kept.last());
    last.is_some_and(|last| {
        let begun = last.response_start;
        let ended = last.response_end;
        begun.is_some_and(|start| start.frame < reset.segment.frame)
            && ended.is_none_or(|end| end.frame > reset.segment.frame)
    })
}

/// What the abort cost: a message for each connection on which it cut one.
fn impact(conn: &Connection, reset: &Reset) -> Impact {
    let exchanged = conn.halves.iter().any(|half| half.unique_bytes > 0);
    if !exchanged || reset.peer_fin_before {
        Impact::NONE
    } else if cuts_message(conn, reset) {
        Impact::requests_lost(1)
    } else {
        Impact::SOME
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

fn observation(conn: &Connection, reset: &Reset) -> Observation<Seen> {
    let end = reset.segment.direction.sender();
    let under_way = reset.bytes_unacked;
    let lost = bytes_lost(conn, reset);
    let in_response = is_in_response(conn, reset);
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
    Observation::new(conn, reset.confidence, impact(conn, reset))
        .cause(format!("{} {end}", conn.server))
        .at(reset.segment.time)
        .weight(number(under_way))
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
        .proof(
            reset.segment,
            format!(
                "RST with ACK from {end}, no FIN before{window}; {} not acknowledged by the time it left the {end}",
                many(under_way, "byte")
            ),
        )
        .figure("resets", 1.0)
        .figure("bytes_unacked", number(under_way))
        .cost("bytes_lost", number(lost))
        .failures("messages_lost")
        .seen(Seen {
            end,
            maybe_unread,
            window_same,
            in_response,
            lost,
        })
}

fn confusables(group: &Group<'_, Seen>, draft: Narrative, end: &str) -> Narrative {
    let unread = if group.having(|seen| seen.maybe_unread) > 0 {
        format!(
            "cannot be ruled out on {}, because very little unread data leaves the window unchanged; but the peer's last bytes were acknowledged and answered",
            many(group.having(|seen| seen.maybe_unread), "connection")
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
        .not("keepalive-dead-peer", "no unanswered probes preceded it")
}

fn remedies(group: &Group<'_, Seen>, draft: Narrative, end: &str) -> Narrative {
    let server = group.server();
    draft
        .advise("any", "close in order: shutdown(SHUT_WR) (Go: CloseWrite), read until end of file, then close")
        .set("Go", "remove the call to SetLinger, or pass a positive value", "conn.SetLinger(0)  // remove")
        .set("Java", "remove the call to setSoLinger", "socket.setSoLinger(true, 0)  // remove")
        .set("C", "remove the option", "struct linger {1, 0} with SO_LINGER  // remove")
        .advise("Linux", "if TIME-WAIT was the reason, pool connections, widen net.ipv4.ip_local_port_range, or set net.ipv4.tcp_tw_reuse = 1 on the client")
        .advise("nginx / HAProxy", "check the configuration: nginx reset_timedout_connection and HAProxy option nolinger close this way")
        .verify(end, format!("strace -f -e trace=setsockopt,close,shutdown -p PID 2>&1 | grep -E 'SO_LINGER|close'  # the {end}'s process"), "setsockopt(SO_LINGER, {l_onoff=1, l_linger=0}) before the close")
        .verify(end, "nstat -az TcpExtTCPAbortOnData TcpOutRsts", "TCPAbortOnData grows with every abortive close")
        .verify("both", format!("ss -tn '( sport = :{0} or dport = :{0} )'", server.port), "send queues that still hold data when connections disappear")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, C, S, figure, findings_of};

    fn aborted(unacked: u64) -> Connection {
        Builder::tcp(1)
            .handshake(0.0, 1.0)
            .request(1.0, 100)
            .response(2.0, 5000)
            .reset(2.1, S, ResetKind::LingerZero)
            .with(|conn| {
                conn.resets[0].bytes_unacked = unacked;
                conn.halves[1].unacked_at_end = unacked;
                conn.resets[0].window_jump = Some(0);
            })
            .build()
    }

    #[test]
    fn unacknowledged_bytes_are_a_lost_message() {
        let findings = findings_of("linger-zero-reset", &[aborted(4000)]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Medium);
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
    fn nothing_is_lost_that_a_crossing_acknowledgment_covers() {
        let mut conn = aborted(4000);
        conn.halves[1].unacked_at_end = 0;
        let findings = findings_of("linger-zero-reset", &[conn]);
        assert_eq!(findings[0].severity, Severity::Low);
    }

    #[test]
    fn a_short_goodbye_right_before_is_no_loss() {
        let conn = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .request(1.0, 100)
            .response(2.0, 34)
            .request(3.0, 7)
            .reset(3.2, C, ResetKind::LingerZero)
            .with(|conn| {
                conn.resets[0].bytes_unacked = 7;
                conn.halves[0].unacked_at_end = 7;
            })
            .build();
        let findings = findings_of("linger-zero-reset", &[conn]);
        assert_eq!(findings[0].severity, Severity::Low);
    }

    #[test]
    fn after_the_other_end_closed_nobody_is_left_to_lose() {
        let mut conn = aborted(4000);
        conn.resets[0].peer_fin_before = true;
        let findings = findings_of("linger-zero-reset", &[conn]);
        assert_eq!(findings[0].severity, Severity::Info);
    }

    #[test]
    fn a_scan_without_handshake_is_no_abort() {
        let conn = Builder::tcp(1).reset(1.5, S, ResetKind::LingerZero).build();
        assert!(findings_of("linger-zero-reset", &[conn]).is_empty());
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
    fn a_cause_in_the_payload_is_quoted() {
        let mut conn = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .reset(1.5, C, ResetKind::LingerZero)
            .build();
        conn.resets[0].reason = Some("pool member down".into());
        let findings = findings_of("linger-zero-reset", &[conn]);
        let mut notes = findings[0].evidence.iter().map(|one| &one.note);
        assert!(notes.any(|note| note.ends_with("its payload states \"pool member down\"")));
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

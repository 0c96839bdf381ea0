//! `close-wait-leak`: a program does not close what its peer has closed.

use std::collections::BTreeMap;

use analyzer::connection::TcpState;
use analyzer::{Analysis, Connection, Direction, QualityKind};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::{FigureValue, most};
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{ms, other_end, plural, time};

declare_rule! {
    /// A program keeps sockets open long after the other end has closed.
    ///
    /// ## What it means
    /// One end sent FIN; the other acknowledged it and never closed its own side. Its socket stays in
    /// CLOSE-WAIT for as long as the program lives, since no system timer ends that state.
    ///
    /// ## Why it matters
    /// Every such socket holds a file descriptor and memory. At the limit the program can neither accept nor
    /// open connections.
    ///
    /// ## How it is detected
    /// - A FIN was received and acknowledged; after it neither data nor FIN came from that end for at least 60
    ///   s or until the end of the capture.
    /// - Half-closed connections on which that end still sends, and connections that a RST ended, are excluded.
    ///
    /// The FIN and its acknowledgment prove it. Severity is low for single sockets, medium from three of one
    /// client; low too where the capture missed frames and fewer than every fourth connection stays open.
    ///
    /// ## What to do
    /// Close connections when the peer has closed: at end of file, on errors, and in pools.
    ///
    /// ## Known limits
    /// A capture that ends within a minute after the FIN shows nothing. A handler that computes for minutes
    /// looks the same.
    ///
    /// ## References
    /// - RFC 9293 §3.6, §3.3.2
    pub(crate) struct CloseWaitLeak {
        id: "close-wait-leak",
        group: Closing,
        title: "A program leaks connections that its peer has closed",
        severity: Medium,
        needs: [Tcp, BothDirections],
        traits: [CloseWait],
        clouded_by: [CaptureDrops, CutShort],
        figures: [sockets: Count / Sum, waited_ms_max: Milliseconds / Max],
        thresholds: [
            min_wait_ms = 60000.0: "Shortest time in CLOSE-WAIT that is a leak; handlers finish within a minute, or their caller has given up long before.",
        ],
        host_evidence: [Owner, CloseCall],
    }
}

/// A program leaks more than every fourth connection.
const OF_ALL: u64 = 4;

/// A socket whose peer had closed.
pub(crate) struct Seen {
    /// Whose it is.
    end: &'static str,
    /// It was not closed in the capture.
    open: bool,
}

impl Rule for CloseWaitLeak {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        for end in Direction::BOTH {
            let span = conn
                .states
                .iter()
                .find(|span| span.end == end && span.state == TcpState::CloseWait);
            let Some(span) = span else { continue };
            let Some(fin) = conn.half(end.reverse()).fin else {
                continue;
            };
            let sends = conn
                .half(end)
                .last_data
                .is_some_and(|data| data.frame > fin.frame);
            // Any RST ends CLOSE-WAIT, whoever sent it.
            let mut resets = conn.resets.iter().map(|reset| reset.segment);
            let reset = resets.find(|reset| reset.frame > fin.frame);
            let ended = span.to.or(reset.map(|reset| reset.time));
            if sends
                || conn.from_client().fin.is_some()
                    && conn.from_server().fin.is_some()
                    && ended.is_none()
            {
                continue;
            }
            let waited = ended.unwrap_or(conn.end).since(span.from);
            // Of a socket that is still open the capture's end decides.
            if ended.is_some() && ms(waited) < ctx.threshold("min_wait_ms") {
                continue;
            }
            let own_fin = conn.half(end).fin;
            // A FIN may be among the frames that the capture missed.
            let impact = if conn.is_touched_by(QualityKind::CaptureDrops) {
                Impact::SOME
            } else {
                Impact::attempts_failed(1)
            };
            out.push(
                Observation::new(conn, confidence::STRONG, impact)
                    .cause(format!("{} {}", conn.server, end.sender()))
                    .at(span.from)
                    .weight(ms(waited))
                    .proof(fin, format!("FIN from {}", end.reverse().sender()))
                    .evidence_if(
                        own_fin,
                        own_fin
                            .map(|own| {
                                format!(
                                    "FIN from {}, only {} later",
                                    end.sender(),
                                    time(ms(own.time.since(fin.time)))
                                )
                            })
                            .unwrap_or_default(),
                    )
                    .figure("sockets", 1.0)
                    .figure("waited_ms_max", ms(waited))
                    .seen(Seen {
                        end: end.sender(),
                        open: ended.is_none(),
                    }),
            );
        }
    }

    fn on_capture(&self, analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected<Seen>) {
        let end = analysis.summary.last;
        let least = ctx.threshold("min_wait_ms");
        let mut sockets = BTreeMap::<String, u64>::new();
        collected.observations.retain_mut(|one| {
            if let (true, Some(end)) = (one.seen.open, end) {
                let waited = ms(end.since(one.at));
                one.set_figure("waited_ms_max", FigureValue::Number(waited));
            }
            let waited = one.figure_value("waited_ms_max");
            let leaks = waited.is_some_and(|waited| waited >= least);
            if leaks {
                *sockets.entry(one.cause.clone()).or_default() += 1;
            }
            leaks
        });
        let mut notes = analysis.quality.iter();
        if !notes.any(|note| note.kind == QualityKind::CaptureDrops) {
            return;
        }
        for one in &mut collected.observations {
            let listener = analysis.listeners.get(&one.connection.server);
            let completed = listener.map_or(0, |facts| facts.completed);
            // A program that leaks does so each time; a capture that misses frames misses a FIN here and there.
            if sockets[&one.cause] * OF_ALL < completed {
                one.impact = Impact::SOME;
            }
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let end = most(group.seen().map(|seen| seen.end)).unwrap_or_default();
        let other = other_end(end);
        let who = if end == "server" {
            group.server().to_string()
        } else {
            group.clients_text()
        };
        let max = group.figure("waited_ms_max").unwrap_or_default();
        let sockets = group.figure("sockets").unwrap_or_default();
        let open = group.having(|seen| seen.open);
        let port = group.server().port;
        draft
            .title(format!("The {end} {who} does not close connections its peer has closed"))
            .summary(format!(
                "{} at the {end} {who} stayed in CLOSE-WAIT for up to {} after the {other} had closed; {open} still open when the capture ended. \
                 The program at the {end} leaks sockets.",
                plural(sockets, "socket"), time(max)
            ))
            .confidence(confidence::STRONG, "The FIN and its acknowledgment were captured, and no close followed.")
            .because(format!("the {other}'s FIN was acknowledged, and neither data nor FIN came from the {end} for up to {}", time(max)))
            .not("half-close in use", format!("the {end} sent no data after the {other}'s FIN"))
            .not("client-timeout-close", "abandoned requests are counted there; here the sockets were never closed")
            .set("Go", "read to end of file and close", "defer resp.Body.Close(); io.Copy(io.Discard, resp.Body)")
            .set("Java", "close in every path", "try (var response = client.execute(request)) { … }")
            .advise("any", "return connections to the pool or close them on errors as well; treat end of file on a socket as a close (EPOLLRDHUP)")
            .verify(end, format!("ss -tanp state close-wait '( sport = :{port} or dport = :{port} )'"), "the sockets and the process that holds them")
            .verify(end, "ls /proc/PID/fd | wc -l; grep 'open files' /proc/PID/limits", "how close the process is to its limit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::script::Capture;
    use crate::testkit::{at, figure, findings_in, findings_of};
    use analyzer::decode::TcpFlags;

    const ACK: u8 = TcpFlags::ACK;
    const DATA: u8 = TcpFlags::ACK | TcpFlags::PSH;
    const FIN: u8 = TcpFlags::ACK | TcpFlags::FIN;

    /// A request and its response; the client closes at 50 ms, which the server acknowledges.
    fn closed_by_client(port: u16) -> Capture {
        let mut capture = Capture::of_client(port, u64::from(port) * 100 + 1);
        capture.handshake();
        capture.client(21_000, DATA, 101, 901, 10);
        capture.server(41_000, DATA, 901, 111, 10);
        capture.client(41_100, ACK, 111, 911, 0);
        capture.client(50_000, FIN, 111, 911, 0);
        capture.server(70_000, ACK, 911, 112, 0);
        capture
    }

    /// The server closes as well, so many seconds after the capture began.
    fn closed_after(seconds: u64) -> Connection {
        let mut capture = closed_by_client(1);
        capture.server(seconds * 1_000_000, FIN, 911, 112, 0);
        capture.client(seconds * 1_000_000 + 100, ACK, 112, 912, 0);
        capture.finish()
    }

    #[test]
    fn open_to_the_end_of_a_long_capture() {
        let mut analysis = Analysis::default();
        analysis.summary.last = Some(at(90_070.0));
        let connections: Vec<_> = (1..4).map(|n| closed_by_client(n).finish()).collect();
        let findings = findings_in("close-wait-leak", &connections, &analysis);
        assert_eq!(findings[0].severity, Severity::Medium);
        assert!((figure(&findings[0], "sockets") - 3.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "waited_ms_max") - 90_000.0).abs() < 30.0);
    }

    #[test]
    fn few_of_many_in_a_capture_that_misses_frames() {
        let mut analysis = Analysis::default();
        analysis.summary.last = Some(at(90_070.0));
        let connections: Vec<_> = (1..4).map(|n| closed_by_client(n).finish()).collect();
        let listener = analysis.listeners.entry(connections[0].server).or_default();
        listener.completed = 100;
        let severity = |analysis: &Analysis| {
            findings_in("close-wait-leak", &connections, analysis)[0].severity
        };
        assert_eq!(severity(&analysis), Severity::Medium);
        analysis.quality.push(analyzer::QualityNote {
            kind: QualityKind::CaptureDrops,
            count: 1,
            note: String::new(),
        });
        assert_eq!(severity(&analysis), Severity::Low);
    }

    #[test]
    fn closed_after_minutes() {
        let findings = findings_of("close-wait-leak", &[closed_after(70)]);
        assert_eq!(findings[0].severity, Severity::Low);
    }

    #[test]
    fn short_waits_are_healthy() {
        assert!(findings_of("close-wait-leak", &[closed_after(20)]).is_empty());
    }

    #[test]
    fn a_reset_ends_close_wait() {
        let mut analysis = Analysis::default();
        analysis.summary.last = Some(at(900_000.0));
        let mut capture = closed_by_client(1);
        capture.client(80_000, TcpFlags::RST, 112, 0, 0);
        let connection = capture.finish();
        assert!(findings_in("close-wait-leak", &[connection], &analysis).is_empty());
    }

    #[test]
    fn half_close_in_use_is_healthy() {
        let mut capture = closed_by_client(1);
        capture.server(80_000_000, DATA, 911, 112, 500);
        capture.client(80_000_100, ACK, 112, 1411, 0);
        assert!(findings_of("close-wait-leak", &[capture.finish()]).is_empty());
    }
}

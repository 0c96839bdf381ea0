//! `close-wait-leak`: a program does not close what its peer has closed.

use analyzer::connection::TcpState;
use analyzer::{Analysis, Connection, Direction};

use crate::model::context::Context;
use crate::model::figure::FigureValue;
use crate::model::legacy::{Collected, Group, Legacy, Observation, Observations};
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::Narrative;
use crate::model::rule::Rule;
use crate::model::severity::Severity;
use crate::model::text::{ms, number, other_end, plural, time};

declare_rule! {
    /// A program keeps sockets open long after the other end has closed.
    ///
    /// ## What it means
    /// One end sent FIN; the other acknowledged it and never closed its own side. Its socket stays in CLOSE-WAIT,
    /// for as long as the program lives: no timer of the system ends that state.
    ///
    /// ## Why it matters
    /// Every such socket holds a file descriptor and memory. When the limit is reached the program can accept or open
    /// no connection any more.
    ///
    /// ## How it is detected
    /// FIN received and acknowledged, then neither data nor FIN from that end for at least 60 s or to the end of the
    /// capture. Half-closed connections on which that end still sends are left out. Severity is low for
    /// single sockets and medium from three.
    ///
    /// ## What to do
    /// Close connections when the peer has closed: at end of file on reading, on errors, and in pools.
    ///
    /// ## Known limits
    /// A capture that ends within a minute after the FIN shows nothing. A handler that computes
    /// for minutes looks the same.
    ///
    /// ## References
    /// - RFC 9293 §3.6, §3.3.2
    pub(crate) struct CloseWaitLeak {
        id: "close-wait-leak",
        title: "A program keeps connections that its peer has closed",
        severity: Medium,
        needs: [Tcp, BothDirections],
        clouded_by: [CaptureDrops, CutShort],
        figures: [sockets: Count / Sum, waited_ms_max: Milliseconds / Max],
        thresholds: [
            min_wait_ms = 60000.0: "Shortest time in CLOSE-WAIT that is a leak; handlers finish within a minute, or their caller gave up long ago.",
            medium_sockets = 3.0: "Sockets that make a habit of it.",
        ],
    }
}

impl Rule for CloseWaitLeak {
    type Seen = Legacy;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations) {
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
            if sends
                || conn.from_client().fin.is_some()
                    && conn.from_server().fin.is_some()
                    && span.to.is_none()
            {
                continue;
            }
            let waited = span.to.unwrap_or(conn.end).since(span.from);
            // Of a socket that is still open the capture's end decides.
            if span.to.is_some() && ms(waited) < ctx.threshold("min_wait_ms") {
                continue;
            }
            let own_fin = conn.half(end).fin;
            out.push(
                Observation::untyped(conn, 0.9, Severity::Low)
                    .cause(format!("{} {}", conn.server, end.sender()))
                    .at(span.from)
                    .weight(ms(waited))
                    .evidence(fin, format!("FIN from {}", end.reverse().sender()))
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
                    .detail("open", f64::from(u8::from(span.to.is_none())))
                    .label("end", end.sender()),
            );
        }
    }

    fn on_capture(&self, analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected) {
        let end = analysis.summary.last;
        let least = ctx.threshold("min_wait_ms");
        collected.observations.retain_mut(|one| {
            let open = one.number("open").is_some_and(|open| open > 0.0);
            if let (true, Some(end)) = (open, end) {
                let waited = ms(end.since(one.at));
                one.set_figure("waited_ms_max", FigureValue::Number(waited));
            }
            one.number("waited_ms_max")
                .is_some_and(|waited| waited >= least)
        });
        let sockets = number(collected.observations.len() as u64);
        if sockets >= ctx.threshold("medium_sockets") {
            collected
                .observations
                .iter_mut()
                .for_each(|one| one.severity = Severity::Medium);
        }
    }

    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative {
        let end = group.words("end").unwrap_or_default();
        let other = other_end(&end);
        let who = if end == "server" {
            group.server().to_string()
        } else {
            group.clients_text()
        };
        let max = group.number("waited_ms_max").unwrap_or_default();
        let sockets = group.number("sockets").unwrap_or_default();
        let open = group.positive("open");
        let port = group.server().port;
        let severity = if sockets >= group.ctx.threshold("medium_sockets") {
            Severity::Medium
        } else {
            Severity::Low
        };
        draft
            .severity(severity)
            .title(format!("The {end} {who} does not close connections its peer has closed"))
            .summary(format!(
                "{} at the {end} {who} stayed in CLOSE-WAIT for up to {} after the {other} had closed; {open} still did when the capture ended. \
                 The program at the {end} leaks sockets.",
                plural(sockets, "socket"), time(max)
            ))
            .confidence(0.9, "FIN, its acknowledgement and the missing answer were captured.")
            .because(format!("the {other}'s FIN was acknowledged, and neither data nor FIN came from the {end} for up to {}", time(max)))
            .not("half-close in use", format!("the {end} sent no data after the {other}'s FIN"))
            .not("client-timeout-close", "counts the requests given up; here the sockets were never closed at all")
            .set("Go", "read to the end and close", "defer resp.Body.Close(); io.Copy(io.Discard, resp.Body)")
            .set("Java", "close in every path", "try (var response = client.execute(request)) { … }")
            .advise("any", "give connections back to the pool or close them on errors as well; treat end of file on a socket as a close (EPOLLRDHUP)")
            .verify(&end, format!("ss -tanp state close-wait '( sport = :{port} or dport = :{port} )'"), "the sockets and the process that holds them")
            .verify(&end, "ls /proc/PID/fd | wc -l; grep 'open files' /proc/PID/limits", "how near the process is to its limit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, C, S, at, figure, findings_in, findings_of};
    use analyzer::connection::StateSpan;

    fn leaking(port: u16, to: Option<f64>) -> Builder {
        let builder = Builder::tcp(port)
            .handshake(0.0, 1.0)
            .request(1.0, 10)
            .response(2.0, 10)
            .fin(3.0, C);
        builder.with(|conn| {
            conn.states = vec![StateSpan {
                end: S,
                state: TcpState::CloseWait,
                from: at(3.0),
                to: to.map(at),
                inferred: false,
            }];
        })
    }

    #[test]
    fn open_to_the_end_of_a_long_capture() {
        let mut analysis = Analysis::default();
        analysis.summary.last = Some(at(90_003.0));
        let connections: Vec<_> = (0..3).map(|n| leaking(n, None).build()).collect();
        let findings = findings_in("close-wait-leak", &connections, &analysis);
        assert_eq!(findings[0].severity, Severity::Medium);
        assert!((figure(&findings[0], "sockets") - 3.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "waited_ms_max") - 90_000.0).abs() < 0.01);
    }

    #[test]
    fn closed_after_minutes() {
        let findings = findings_of("close-wait-leak", &[leaking(1, Some(70_003.0)).build()]);
        assert_eq!(findings[0].severity, Severity::Low);
    }

    #[test]
    fn short_waits_are_healthy() {
        assert!(findings_of("close-wait-leak", &[leaking(1, Some(20_000.0)).build()]).is_empty());
    }

    #[test]
    fn half_close_in_use_is_healthy() {
        let conn = leaking(1, Some(90_000.0)).response(80_000.0, 500).build();
        assert!(findings_of("close-wait-leak", &[conn]).is_empty());
    }
}

//! `idle-drop`: something on the path forgets idle connections.

use std::collections::BTreeMap;

use analyzer::flow::{IdleGap, ResetKind};
use analyzer::{Analysis, Connection, Endpoint, Timestamp};

use crate::finding::{FigureValue, Severity};
use crate::narrative::{Group, Narrative};
use crate::observation::{Collected, Note, Observation, Observations};
use crate::rule::{Context, Rule, RuleMeta, declare_rule};
use crate::text::{ms, number, plural, seconds, span, time};
use crate::timeouts::{Wait, typical_of};

declare_rule! {
    /// A device on the path forgot connections that were idle, and what came next was lost.
    ///
    /// ## What it means
    /// Firewalls, NAT gateways and load balancers keep a table of connections and drop entries that were silent for
    /// some time. Neither end learns of it. The next segment is discarded in silence, or answered by a RST.
    ///
    /// ## Why it matters
    /// The first request after a pause hangs until a timeout, sometimes for many minutes, while both hosts are
    /// healthy.
    ///
    /// ## How it is detected
    /// After a silence the next data is repeated without any answer, or met by RST, no FIN before; other connections to
    /// the same server work at that time. The shortest silence that died and the longest that lived bound the
    /// limit. Severity is high when the server is known to be alive, medium otherwise.
    ///
    /// ## What to do
    /// Send TCP keep-alives more often than the limit, close pooled connections before it, or raise the limit.
    ///
    /// ## Known limits
    /// When the peer itself died the same is seen; a connection that works at that time tells them apart. A server
    /// that restarted answers with RST as well.
    ///
    /// ## References
    /// - RFC 5382 REQ-5 (at least 2 h 4 min); RFC 1122 §4.2.3.6
    pub(crate) struct IdleDrop {
        id: "idle-drop",
        title: "Idle connections are forgotten on the path",
        severity: High,
        needs: [Tcp, BothDirections],
        clouded_by: [CaptureDrops, ClockStep],
        figures: [idle_ms_shortest_dead: Milliseconds / Min, idle_ms_longest_alive: Milliseconds / Max],
        thresholds: [
            min_idle_ms = 30000.0: "Shortest silence blamed on a table entry; the shortest limits in use are 30 s (UDP-like) and usually minutes.",
        ],
    }
}

impl Rule for IdleDrop {
    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations) {
        out.note(|| {
            let heard = conn.from_server().last_segment;
            let survived = conn.idle_gaps.longest_survived;
            Note {
                at: heard.map_or(conn.start, |last| last.time),
                numbers: vec![survived.map_or(0.0, |gap| ms(gap.length()))],
                ..Note::new(conn, "alive")
            }
        });
        let Some(gap) = conn.idle_gaps.last.filter(|gap| !gap.survived) else {
            return;
        };
        let fin_before = conn
            .halves
            .iter()
            .any(|half| half.fin.is_some_and(|fin| fin.frame <= gap.after.frame));
        if ms(gap.length()) < ctx.threshold("min_idle_ms")
            || gap.after.payload_len == 0
            || fin_before
        {
            return;
        }
        let sender = gap.after.direction;
        let copies = conn.half(sender).stuck.map_or(0, |stuck| stuck.copies);
        let reset = conn.resets.iter().find(|reset| {
            reset.segment.direction == sender.reverse()
                && reset.segment.frame > gap.after.frame
                && matches!(
                    reset.kind,
                    ResetKind::HalfOpen | ResetKind::Forged | ResetKind::Unknown
                )
        });
        if reset.is_none() && copies < 2 {
            return;
        }
        out.push(observation(conn, &gap, copies, reset));
    }

    fn on_capture(&self, _analysis: &Analysis, _ctx: &Context<'_>, collected: &mut Collected) {
        let mut alive = BTreeMap::<Endpoint, Vec<(u64, Timestamp, f64)>>::new();
        for note in collected.notes_of("alive") {
            let entry = (note.connection.first_frame, note.at, note.numbers[0]);
            alive.entry(note.connection.server).or_default().push(entry);
        }
        for one in &mut collected.observations {
            let own = one.connection.first_frame;
            let others = alive
                .get(&one.connection.server)
                .map_or(&[][..], Vec::as_slice);
            let works = others
                .iter()
                .any(|(frame, at, _)| *frame != own && *at >= one.at);
            let survived = others.iter().map(|(.., gap)| *gap).fold(0.0, f64::max);
            if survived > 0.0 {
                one.set_figure("idle_ms_longest_alive", FigureValue::Number(survived));
            }
            let device = one.number("device").is_some_and(|device| device > 0.0);
            one.confidence = match (works, device) {
                (true, true) => 0.95,
                (true, false) => 0.85,
                (false, true) => 0.8,
                (false, false) => 0.5,
            };
            one.severity = if works || device {
                Severity::High
            } else {
                Severity::Medium
            };
            one.details.push(("works", f64::from(u8::from(works))));
        }
    }

    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative {
        let dead = group.number("idle_ms_shortest_dead").unwrap_or_default();
        let lived = group
            .number("idle_ms_longest_alive")
            .filter(|lived| *lived < dead);
        let server = group.server();
        let between = match lived {
            Some(lived) => format!(
                "a silence of {} was survived, one of {} was not: the limit lies between",
                time(lived),
                time(dead)
            ),
            None => format!(
                "the shortest silence that died is {}: the limit is at most that",
                time(dead)
            ),
        };
        let typical = typical_of(dead, Wait::Path)
            .map(|text| format!(" ({text})"))
            .unwrap_or_default();
        let works = group.having("works") > 0;
        let keepalive = (dead / 3.0).min(300_000.0);
        let confidence = draft.confidence;
        draft
            .title(format!("Connections to {server} die after {} of silence", time(dead)))
            .summary(format!(
                "{} to {server} got no answer any more after a silence of at least {}{typical}, without FIN from either end{}. \
                 A firewall, NAT gateway or balancer on the path has most likely dropped the idle entry.",
                plural(number(group.connections()), "connection"),
                time(dead),
                if works { ", while other connections to the same server worked" } else { "" },
            ))
            .confidence(confidence, if works { "The server answers others at that time, so the path and not the server forgot the connection." } else { "No other connection shows that the server was alive at that time." })
            .because(between)
            .because_if(group.having("copies") > 0, || format!("the data after the silence was sent up to {:.0} times without any answer", group.spread("copies").map_or(0.0, |spread| spread.max)))
            .because_if(group.having("reset") > 0, || "the data after the silence was met by RST: the answering side knew no such connection".to_owned())
            .because_if(group.having("device") > 0, || "the RST's hop limit differs from the server's: a device on the path sent it".to_owned())
            .not("keepalive-dead-peer", if works { "the peer answers others at the same time" } else { "not excluded: nothing shows that the peer was alive" })
            .not("keepalive-race", "no FIN was sent")
            .not("packet-loss", "nothing came through any more, on this connection only and only after the silence")
            .set("Linux", format!("probe at least every {} s, on sockets with SO_KEEPALIVE", seconds(keepalive)), format!("net.ipv4.tcp_keepalive_time = {}", seconds(keepalive)))
            .set("Go", "probe more often (15 s unless switched off)", "net.Dialer{KeepAlive: 30 * time.Second}")
            .set("Java / JDBC", "close or test pooled connections before the limit", format!("HikariCP: keepaliveTime below {0} s, maxLifetime below {0} s", seconds(dead)))
            .advise("any", "application heartbeats and TCP_USER_TIMEOUT turn the hang into a quick error")
            .set("AWS NLB / Azure LB", "raise the idle limit; let Azure send a reset instead of silence", "NLB tcp.idle_timeout.seconds; Azure: idle timeout and TCP reset")
            .verify("client", format!("ss -tino dst {}", server.ip), "timer:(on,…) with backoff on the connection that hangs; keep-alive timer if any")
            .verify("path", "conntrack -L -p tcp | grep ESTABLISHED; sysctl net.netfilter.nf_conntrack_tcp_timeout_established", "the limit of a Linux device on the path")
    }
}

fn observation(
    conn: &Connection,
    gap: &IdleGap,
    copies: u32,
    reset: Option<&analyzer::flow::Reset>,
) -> Observation {
    let sender = gap.after.direction.sender();
    let device = reset.is_some_and(|reset| {
        // Load-balanced paths differ by one or two hops; more is another sender.
        reset
            .usual_hop_limit
            .is_some_and(|usual| usual.abs_diff(reset.hop_limit) > 2)
    });
    let last = conn
        .half(gap.after.direction)
        .stuck
        .map(|stuck| stuck.last)
        .filter(|last| last.frame != gap.after.frame);
    Observation::new(conn, 0.5, Severity::Medium)
        .at(gap.after.time)
        .weight(-ms(gap.length()))
        .evidence(gap.before, "last segment before the silence")
        .evidence(
            gap.after,
            format!("data from {sender} after {} of silence", span(gap.length())),
        )
        .evidence_if(
            last.filter(|_| copies > 1),
            format!("the same data sent for the {copies}th time, still no answer"),
        )
        .evidence_if(reset.map(|reset| reset.segment), "RST instead of an answer")
        .figure("idle_ms_shortest_dead", ms(gap.length()))
        .cost("requests_failed", 1.0)
        .detail("copies", f64::from(if copies > 1 { copies } else { 0 }))
        .detail("reset", f64::from(u8::from(reset.is_some())))
        .detail("device", f64::from(u8::from(device)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, S, figure, findings_of};
    use analyzer::flow::{IdleGaps, Stuck};

    fn dropped(port: u16, idle_ms: f64, copies: u32) -> Builder {
        let builder = Builder::tcp(port)
            .handshake(0.0, 1.0)
            .request(1.0, 10)
            .response(2.0, 10);
        builder.request(2.0 + idle_ms, 10).with(|conn| {
            let before = conn.halves[1].last_data.unwrap();
            let after = conn.halves[0].last_data.unwrap();
            let gap = IdleGap {
                before,
                after,
                survived: false,
            };
            conn.idle_gaps = IdleGaps {
                count: 1,
                longest_survived: None,
                last: Some(gap),
                ..IdleGaps::default()
            };
            conn.halves[0].stuck = Some(Stuck {
                first: after,
                last: after,
                copies,
                smaller_passed: false,
            });
        })
    }

    fn alive(port: u16) -> Connection {
        Builder::tcp(port)
            .handshake(400_000.0, 1.0)
            .request(400_001.0, 10)
            .response(400_002.0, 10)
            .build()
    }

    #[test]
    fn dead_after_silence_while_others_work() {
        let findings = findings_of("idle-drop", &[dropped(1, 360_000.0, 6).build(), alive(2)]);
        assert_eq!(findings[0].severity, Severity::High);
        assert!((figure(&findings[0], "idle_ms_shortest_dead") - 360_000.0).abs() < 0.01);
    }

    #[test]
    fn reset_after_silence() {
        let conn = dropped(1, 360_000.0, 1)
            .reset(360_003.0, S, ResetKind::HalfOpen)
            .build();
        let findings = findings_of("idle-drop", &[conn]);
        assert_eq!(findings[0].severity, Severity::Medium);
    }

    #[test]
    fn survived_silence_is_healthy() {
        let conn = dropped(1, 360_000.0, 1).with(|conn| {
            conn.idle_gaps.last.as_mut().unwrap().survived = true;
        });
        assert!(findings_of("idle-drop", &[conn.build()]).is_empty());
    }

    #[test]
    fn short_silence_is_something_else() {
        assert!(findings_of("idle-drop", &[dropped(1, 4_000.0, 6).build()]).is_empty());
    }
}

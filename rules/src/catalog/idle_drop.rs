//! `idle-drop`: something on the path forgets idle connections.

use std::collections::{BTreeMap, BTreeSet};

use analyzer::connection::{IdleGap, ResetKind};
use analyzer::{Analysis, Connection, Direction, Endpoint, QualityKind};

use crate::model::context::Context;
use crate::model::figure::FigureValue;
use crate::model::legacy::{Collected, Group, Legacy, Observation, Observations};
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::Narrative;
use crate::model::observation::Note;
use crate::model::rule::Rule;
use crate::model::severity::Severity;
use crate::model::text::{ms, number, plural, seconds, span, time};
use crate::model::timeouts::{Wait, typical_of};
use crate::signs::alive::{Alive, since_epoch_ms};
use crate::signs::in_vain::silence_before;

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
    /// After a silence the next data is repeated without any answer, or met by RST, no FIN before; other
    /// connections to the same server work at that time, or at least none in use dies as well. A silence of less
    /// than half a minute is blamed only where the server answers others meanwhile, no silence as long was
    /// survived and no connection died without one. The shortest silence that died and the longest that lived
    /// bound the limit. Severity is high when the server is known to be alive, medium otherwise.
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
            proved_idle_ms = 2000.0: "Shortest silence blamed where the server answers others while this connection repeats in vain, and no silence as long was survived. Tables that are full, or set so, forget within seconds.",
            proved_copies = 4.0: "Times the data was sent in vain after such a short silence; on a path that loses one segment in ten chance does so once in ten thousand.",
        ],
    }
}

/// What a connection says of its server.
pub(crate) enum Fact {
    /// When it was heard.
    Alive(Alive),
    /// Data was sent in vain to the end without a silence before it.
    DiedActive,
}

impl Rule for IdleDrop {
    type Seen = Legacy;
    type Fact = Fact;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Fact>) {
        out.note(|| {
            let alive = Alive::of(conn, Direction::ServerToClient);
            Note::new(conn, Fact::Alive(alive))
        });
        let gap = conn.idle_gaps.last.filter(|gap| !gap.survived);
        let died_active = conn.halves.iter().any(|half| {
            half.stuck.is_some_and(|stuck| {
                silence_before(conn, &stuck).is_none()
                    && f64::from(stuck.copies) >= ctx.threshold("proved_copies")
            })
        });
        if died_active {
            out.note(|| Note::new(conn, Fact::DiedActive));
        }
        let Some(gap) = gap else {
            return;
        };
        let fin_before = conn
            .halves
            .iter()
            .any(|half| half.fin.is_some_and(|fin| fin.frame <= gap.after.frame));
        let idle = ms(gap.length());
        if idle < ctx.threshold("proved_idle_ms") || gap.after.payload_len == 0 || fin_before {
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
        let short = idle < ctx.threshold("min_idle_ms");
        let enough = match (short, reset) {
            (false, Some(_)) => true,
            (false, None) => copies >= 2,
            // A capture with gaps makes silences of its own.
            (true, reset) => {
                reset.is_none()
                    && f64::from(copies) >= ctx.threshold("proved_copies")
                    && !conn.is_touched_by(QualityKind::CaptureDrops)
            }
        };
        if !enough {
            return;
        }
        let mut observation = observation(conn, &gap, copies, reset);
        if short {
            observation = observation.detail("until_ms", since_epoch_ms(conn.end));
        }
        out.push(observation);
    }

    fn on_capture(
        &self,
        _analysis: &Analysis,
        _ctx: &Context<'_>,
        collected: &mut Collected<Fact>,
    ) {
        let mut alive = BTreeMap::<Endpoint, Vec<&Alive>>::new();
        let mut died_active = BTreeSet::new();
        for note in &collected.notes {
            let server = note.connection.server;
            match &note.fact {
                Fact::Alive(one) => alive.entry(server).or_default().push(one),
                Fact::DiedActive => {
                    died_active.insert(server);
                }
            }
        }
        collected.observations.retain(|one| {
            let server = one.connection.server;
            let others = alive.get(&server).map_or(&[][..], Vec::as_slice);
            let is_outage = died_active.contains(&server);
            match one.number("until_ms") {
                Some(until) => !is_outage && is_proved(one, until, others),
                None => !is_outage || one.number("reset") == Some(1.0) || lives(one, others),
            }
        });
        for one in &mut collected.observations {
            let others = alive
                .get(&one.connection.server)
                .map_or(&[][..], Vec::as_slice);
            let works = lives(one, others);
            let survived = longest_survived(others);
            if survived > 0.0 {
                one.set_figure("idle_ms_longest_alive", FigureValue::Number(survived));
            }
            let device = one.number("device").is_some_and(|device| device > 0.0);
            // Few tables forget within seconds.
            let short = one.number("until_ms").is_some();
            one.confidence = match (works, device) {
                (true, true) => 0.95,
                (true, false) if short => 0.75,
                (true, false) => 0.85,
                (false, true) => 0.8,
                (false, false) => 0.5,
            };
            one.severity = if works || device {
                Severity::High
            } else {
                Severity::Medium
            };
            one.seen.details.push(("works", f64::from(u8::from(works))));
        }
    }

    fn describe(&self, group: &Group<'_, Fact>, draft: Narrative) -> Narrative {
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
        let works = group.positive("works") > 0;
        let keepalive = (dead / 3.0).clamp(1_000.0, 300_000.0);
        let keepalive = keepalive - keepalive % 1_000.0;
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
            .confidence(confidence, if group.positive("until_ms") == group.connections() { "The server answers others at that time, so the path forgot the connection; one dead server of several behind this address would look the same." } else if works { "The server answers others at that time, so the path and not the server forgot the connection." } else { "No other connection shows that the server was alive at that time." })
            .because(between)
            .because_if(group.positive("copies") > 0, || format!("the data after the silence was sent up to {:.0} times without any answer", group.spread("copies").map_or(0.0, |spread| spread.max)))
            .because_if(group.positive("reset") > 0, || "the data after the silence was met by RST: the answering side knew no such connection".to_owned())
            .because_if(group.positive("device") > 0, || "the RST's hop limit differs from the server's: a device on the path sent it".to_owned())
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

/// Whether another connection shows that the server lived.
fn lives(one: &Observation, others: &[&Alive]) -> bool {
    let own = one.connection.first_frame;
    let mut others = others.iter().filter(|other| other.first_frame != own);
    others.any(|other| other.is_heard_after(one.at))
}

fn longest_survived(others: &[&Alive]) -> f64 {
    let survived = others.iter().map(|other| other.survived_ms);
    survived.fold(0.0, f64::max)
}

/// After a short silence: the server answered others while the data was still repeated in vain
/// (`until`, in milliseconds), so the path was not down, and no silence as long was survived.
fn is_proved(one: &Observation, until: f64, others: &[&Alive]) -> bool {
    let during = since_epoch_ms(one.at)..until;
    let answers = others.iter().any(|other| {
        other.first_frame != one.connection.first_frame && other.is_heard_during(&during)
    });
    let idle = one.number("idle_ms_shortest_dead").unwrap_or_default();
    answers && longest_survived(others) < idle
}

fn observation(
    conn: &Connection,
    gap: &IdleGap,
    copies: u32,
    reset: Option<&analyzer::connection::Reset>,
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
    Observation::untyped(conn, 0.5, Severity::Medium)
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
    use std::time::Duration;

    use super::*;
    use crate::testkit::{Builder, S, figure, findings_of};
    use analyzer::connection::{IdleGaps, Stuck};

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

    /// A connection that the server answers while others repeat in vain, after a silence it survived.
    fn answered_meanwhile(survived_ms: f64) -> Connection {
        let builder = Builder::tcp(9).handshake(7_000.0, 1.0);
        let builder = builder.request(7_001.0, 10).response(7_002.0, 10);
        builder
            .with(|conn| {
                let mut before = conn.halves[1].last_data.unwrap();
                let after = conn.halves[0].last_data.unwrap();
                before.time = after.time - Duration::from_secs_f64(survived_ms / 1e3);
                conn.idle_gaps.longest_survived = Some(IdleGap {
                    before,
                    after,
                    survived: true,
                });
            })
            .build()
    }

    #[test]
    fn short_silences_are_blamed_with_proof_alone() {
        let dead = |copies| {
            let builder = dropped(1, 6_000.0, copies);
            builder
                .with(|conn| conn.end = crate::testkit::at(12_000.0))
                .build()
        };
        let found = |connections: &[Connection]| findings_of("idle-drop", connections).len();
        assert_eq!(found(&[dead(5), answered_meanwhile(2_000.0)]), 1);
        assert_eq!(found(&[dead(3), answered_meanwhile(2_000.0)]), 0);
        assert_eq!(found(&[dead(5), answered_meanwhile(7_000.0)]), 0);
        assert_eq!(found(&[dead(5)]), 0);
        // A connection in use died as well: the path was bad.
        let mut active = dropped(2, 6_000.0, 5).build();
        active.idle_gaps.last = None;
        let others = [dead(5), answered_meanwhile(2_000.0), active];
        assert_eq!(found(&others), 0);
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

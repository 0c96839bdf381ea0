//! `idle-drop`: something on the path forgets idle connections.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use analyzer::connection::{IdleGap, ResetKind};
use analyzer::episodes::EpisodeKind;
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Direction, Endpoint, QualityKind};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::FigureValue;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{ms, number, plural, seconds, span, time};
use crate::model::timeouts::{Wait, typical_of};
use crate::signs::alive::{Alive, since_epoch_ms};
use crate::signs::in_vain::silence_before;

declare_rule! {
    /// A device on the path dropped the state of idle connections, and the next data was lost.
    ///
    /// ## What it means
    /// Firewalls, NAT gateways and load balancers keep a table of connections and drop entries that were idle
    /// for some time. Neither end is notified. The device discards the next segment silently or answers it with
    /// RST.
    ///
    /// ## Why it matters
    /// The first request after a pause hangs until a timeout, sometimes for many minutes, while both hosts are
    /// healthy.
    ///
    /// ## How it is detected
    /// - After a silence, the next data is retransmitted without any answer or is answered at once by RST. No
    ///   FIN came before.
    /// - What proves it: other connections to the same server work at that time, or the RST comes from a device
    ///   on the path. A silence shorter than 30 s is blamed only where the server answers others meanwhile and
    ///   no connection died without a silence.
    /// - What refutes it: a silence at least as long was survived; one of the hosts received nothing from
    ///   anyone at that time (its own link was down); a connection in use died as well.
    ///
    /// The shortest silence that was fatal and the longest that was survived bound the limit. Severity follows
    /// the requests lost. It is low where nothing shows that the server was alive, info between peer-to-peer
    /// hosts.
    ///
    /// ## What to do
    /// Send TCP keep-alives more often than the limit, close pooled connections before it, or raise the limit.
    ///
    /// ## Known limits
    /// A peer that died looks the same; only a connection that works at that time distinguishes the two. A
    /// server that restarted also answers with RST.
    ///
    /// ## References
    /// - RFC 5382 REQ-5 (at least 2 h 4 min); RFC 1122 §4.2.3.6
    pub(crate) struct IdleDrop {
        id: "idle-drop",
        group: Closing,
        title: "The path drops idle connections",
        severity: High,
        needs: [Tcp, BothDirections],
        clouded_by: [CaptureDrops, ClockStep],
        figures: [idle_ms_shortest_dead: Milliseconds / Min, idle_ms_longest_alive: Milliseconds / Max],
        thresholds: [
            min_idle_ms = 30000.0: "Shortest silence blamed on a table entry; the shortest limits in use are 30 s (UDP-like) and usually minutes.",
            proved_idle_ms = 2000.0: "Shortest silence blamed where the server answers others while this connection retransmits without an answer, and no silence as long was survived. Tables that are full, or configured so, drop entries within seconds.",
            proved_copies = 4.0: "Times the data was sent without an answer after such a short silence; where one segment in ten is lost, chance alone does this once in ten thousand.",
        ],
        host_evidence: [Owner, IdleLimits, Filters],
    }
}

/// A RST that answers the data after the silence comes within this, or three round trips.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// What a connection says of its server.
pub(crate) enum Fact {
    /// When it was heard.
    Alive(Alive),
    /// Data was sent in vain to the end without a silence before it.
    DiedActive,
}

/// A connection that died after a silence.
pub(crate) struct Seen {
    /// How often the data after it was sent, when more than once.
    copies: Option<u32>,
    /// It was met by RST.
    reset: bool,
    /// The RST is not the server's.
    device: bool,
    /// After a short silence, which needs proof: when it was last repeated, in milliseconds since
    /// the epoch.
    until_ms: Option<f64>,
    /// Another connection shows that the server lived.
    works: bool,
}

impl Rule for IdleDrop {
    type Seen = Seen;
    type Fact = Fact;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        ctx: &Context<'_>,
        out: &mut Observations<Seen, Fact>,
    ) {
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
        let at_once = ANSWERS_WITHIN.max(conn.rtt().unwrap_or_default() * 3);
        let reset = conn.resets.iter().find(|reset| {
            reset.segment.direction == sender.reverse()
                && reset.segment.frame > gap.after.frame
                && reset.segment.time.since(gap.after.time) <= at_once
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
            observation.seen.until_ms = Some(since_epoch_ms(conn.end));
        }
        out.push(observation);
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        _ctx: &Context<'_>,
        collected: &mut Collected<Seen, Fact>,
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
            if longest_survived(others) >= idle_of(one) || is_cut_off(analysis, one) {
                return false;
            }
            match one.seen.until_ms {
                Some(until) => !is_outage && is_proved(one, until, others),
                None => !is_outage || one.seen.reset || lives(one, others),
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
            let device = one.seen.device;
            // Few tables forget within seconds.
            let short = one.seen.until_ms.is_some();
            one.confidence = match (works, device) {
                (true, true) => confidence::PROVED,
                (true, false) if short => confidence::PROBABLE,
                (true, false) => confidence::LIKELY,
                (false, true) => confidence::LIKELY,
                (false, false) => confidence::EVEN,
            };
            one.seen.works = works;
            let ends = [one.connection.client.ip, one.connection.server.ip];
            let hosts = ends.iter().filter_map(|end| analysis.hosts.get(*end));
            let is_peer_to_peer = hosts.into_iter().any(HostProfile::is_peer_to_peer);
            one.impact = if is_peer_to_peer {
                Impact::NONE
            } else if works || device || one.seen.reset {
                Impact::requests_lost(1)
            } else {
                Impact::SOME
            };
        }
    }

    fn describe(&self, group: &Group<'_, Seen, Fact>, draft: Narrative) -> Narrative {
        let dead = group.figure("idle_ms_shortest_dead").unwrap_or_default();
        let lived = group
            .figure("idle_ms_longest_alive")
            .filter(|lived| *lived < dead);
        let server = group.server();
        let between = match lived {
            Some(lived) => format!(
                "a silence of {} was survived, one of {} was not: the limit lies between the two",
                time(lived),
                time(dead)
            ),
            None => format!(
                "the shortest silence that was fatal lasted {}: the limit is at most that",
                time(dead)
            ),
        };
        let typical = typical_of(dead, Wait::Path)
            .map(|text| format!(" ({text})"))
            .unwrap_or_default();
        let works = group.having(|seen| seen.works) > 0;
        let keepalive = (dead / 3.0).clamp(1_000.0, 300_000.0);
        let keepalive = keepalive - keepalive % 1_000.0;
        let confidence = draft.confidence;
        let (end, got) = if group.having(|seen| seen.reset) == group.observations.len() as u64 {
            ("are reset", "got a RST")
        } else {
            ("die", "got no further answer")
        };
        let copies = group.seen().filter_map(|seen| seen.copies).max();
        draft
            .title(format!("Connections to {server} {end} after {} of silence", time(dead)))
            .summary(format!(
                "{} to {server} {got} after a silence of at least {}{typical}, without FIN from either end{}. \
                 A firewall, NAT gateway or load balancer on the path has most likely dropped the idle entry.",
                plural(number(group.connections()), "connection"),
                time(dead),
                if works { ", while other connections to the same server worked" } else { "" },
            ))
            .confidence(confidence, if group.having(|seen| seen.until_ms.is_some()) == group.connections() { "The server answered others at that time, so the path dropped the connection; one dead server among several behind this address would look the same." } else if works { "The server answered others at that time, so the path and not the server dropped the connection." } else { "No other connection shows that the server was alive at that time." })
            .because(between)
            .because_if(copies.is_some(), || format!("the data after the silence was sent up to {} times without any answer", copies.unwrap_or(0)))
            .because_if(group.having(|seen| seen.reset) > 0, || "RST answered the data after the silence: whoever sent it had no such connection".to_owned())
            .because_if(group.having(|seen| seen.device) > 0, || "the RST's hop limit differs from the server's: a device on the path sent it".to_owned())
            .not("keepalive-dead-peer", if works { "the peer answered others at the same time" } else { "not excluded: nothing shows that the peer was alive" })
            .not("keepalive-race", "no FIN was sent")
            .not("packet-loss", "nothing got through after the silence, on this connection only")
            .set("Linux", format!("probe at least every {} s, on sockets with SO_KEEPALIVE", seconds(keepalive)), format!("net.ipv4.tcp_keepalive_time = {}", seconds(keepalive)))
            .set("Go", "probe before the limit (every 15 s unless set)", format!("net.Dialer{{KeepAlive: {} * time.Second}}", seconds(keepalive)))
            .set("Java / JDBC", "close or test pooled connections before the limit; where it is shorter than the pool allows, switch on TCP keep-alive in the driver", format!("HikariCP: keepaliveTime below {0} s, maxLifetime below {0} s", seconds(dead)))
            .advise("any", "Use application heartbeats and TCP_USER_TIMEOUT so that a dead connection fails within seconds instead of hanging")
            .set("AWS NLB / Azure LB", "raise the idle limit; let Azure send a reset instead of silence", "NLB tcp.idle_timeout.seconds; Azure: idle timeout and TCP reset")
            .verify("client", format!("ss -tino dst {}", server.ip), "timer:(on,…) with backoff on the connection that hangs; keep-alive timer if any")
            .verify("path", "conntrack -L -p tcp | grep ESTABLISHED; sysctl net.netfilter.nf_conntrack_tcp_timeout_established", "the limit of a Linux device on the path")
    }
}

/// Whether another connection shows that the server lived.
fn lives(one: &Observation<Seen>, others: &[&Alive]) -> bool {
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
fn is_proved(one: &Observation<Seen>, until: f64, others: &[&Alive]) -> bool {
    let during = since_epoch_ms(one.at)..until;
    let answers = others.iter().any(|other| {
        other.first_frame != one.connection.first_frame && other.is_heard_during(&during)
    });
    answers && longest_survived(others) < idle_of(one)
}

/// The silence after which it died, in milliseconds.
fn idle_of(one: &Observation<Seen>) -> f64 {
    let idle = one.figure_value("idle_ms_shortest_dead");
    idle.unwrap_or_default()
}

/// One of its hosts heard nothing from anybody at that time.
fn is_cut_off(analysis: &Analysis, one: &Observation<Seen>) -> bool {
    let ends = [one.connection.client.ip, one.connection.server.ip];
    let mut ends = ends.into_iter();
    ends.any(|end| {
        let episodes = &analysis.episodes;
        episodes.covers(EpisodeKind::HostSilent, end, one.at)
    })
}

fn observation(
    conn: &Connection,
    gap: &IdleGap,
    copies: u32,
    reset: Option<&analyzer::connection::Reset>,
) -> Observation<Seen> {
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
    Observation::new(conn, confidence::EVEN, Impact::SOME)
        .at(gap.after.time)
        .measured(gap.before.time, gap.after.time)
        .weight(-ms(gap.length()))
        .evidence(gap.before, "last segment before the silence")
        .proof(
            gap.after,
            format!("data from {sender} after {} of silence", span(gap.length())),
        )
        .proof_if(
            last.filter(|_| copies > 1),
            format!("the same data, sent {copies} times so far without an answer"),
        )
        .proof_if(reset.map(|reset| reset.segment), "RST instead of an answer")
        .figure("idle_ms_shortest_dead", ms(gap.length()))
        .cost("requests_failed", 1.0)
        .seen(Seen {
            copies: Some(copies).filter(|copies| *copies > 1),
            reset: reset.is_some(),
            device,
            until_ms: None,
            works: false,
        })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::severity::Severity;
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
        assert_eq!(findings[0].severity, Severity::Medium);
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
    fn a_reset_long_after_answers_something_else() {
        let conn = dropped(1, 360_000.0, 1)
            .reset(760_003.0, S, ResetKind::HalfOpen)
            .build();
        assert!(findings_of("idle-drop", &[conn]).is_empty());
    }

    #[test]
    fn a_longer_silence_that_was_survived_refutes_it() {
        let longer = answered_meanwhile(400_000.0);
        let dead = dropped(1, 360_000.0, 6).build();
        assert!(findings_of("idle-drop", &[dead, longer]).is_empty());
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

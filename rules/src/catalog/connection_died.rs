//! `connection-died`: data is sent in vain until a connection is given up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;

use analyzer::connection::Stuck;
use analyzer::episodes::EpisodeKind;
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Direction, Timestamp};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::most;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{self, Narrative};
use crate::model::observation::{self, Note};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, number, other_end, plural, span, time};
use crate::signs::alive::{Alive, since_epoch_ms};
use crate::signs::handshake::is_handshake_ignored;
use crate::signs::in_vain::{Died, died};

declare_rule! {
    /// Data stops getting through on connections that were in use.
    ///
    /// ## What it means
    /// One end retransmits the same data and nothing acknowledges it any more. The path or the host at its end
    /// is down, or a device discards the packets of this connection.
    ///
    /// ## Why it matters
    /// The program hangs until its own timeout, or for a quarter of an hour until the system gives up. Whether
    /// its last request was processed is unknown.
    ///
    /// ## How it is detected
    /// - The same data was sent at least four times over two seconds and never acknowledged, on a connection
    ///   that had been served. The retransmissions prove it.
    /// - What refutes it: a close, a reset, a closed window, a handshake that the server ignores, or a segment
    ///   size that never got through explains the silence; a silence came before it, and no connection in use
    ///   died with it (idle-drop); one of the hosts received nothing from anyone at that time, so its own link
    ///   was down.
    /// - Connections to one host that died in one direction are one finding. Where other connections to the
    ///   host kept working, the path or a device dropped these; where none did, path and host look the same.
    ///
    /// Severity follows what was lost: one message for each connection, and a service outage where several died
    /// and the host sent nothing afterwards. It is low where the sender's own link was down.
    ///
    /// ## What to do
    /// Find what changed between the hosts at that time. Set TCP_USER_TIMEOUT and deadlines so that programs
    /// notice.
    ///
    /// ## Known limits
    /// A dead path and a dead host at its end look the same. A capture that ends within two seconds after the
    /// last answer shows nothing.
    ///
    /// ## References
    /// - RFC 9293 §3.8.3; RFC 5482; RFC 6298 §5
    pub(crate) struct ConnectionDied {
        id: "connection-died",
        group: LossAndPath,
        title: "Connections in use stop working",
        severity: High,
        needs: [Tcp, BothDirections],
        clouded_by: [CaptureDrops, CutShort, ClockStep],
        figures: [copies: Count / Max, unanswered_ms: Milliseconds / Max],
        thresholds: [
            vain_copies = 4.0: "Times the same data must have been sent without an acknowledgment; three losses in a row are one in a thousand where one segment in ten is lost.",
            vain_ms = 2000.0: "Shortest time over which it was sent; a capture that ends sooner may have missed the answer.",
            idle_ms = 2000.0: "Silence from which a connection is not in use: a device on the path may have dropped its state.",
        ],
        host_evidence: [Owner, Filters],
    }
}

/// A segment sent this often without an acknowledgment does not show that its connection lives.
const DEAD_COPIES: u32 = 3;

type Group<'a> = narrative::Group<'a, Seen, Fact>;
type Observation = observation::Observation<Seen>;
type Observations = observation::Observations<Seen, Fact>;
type Collected = observation::Collected<Seen, Fact>;

/// What one end of a connection was heard of.
pub(crate) struct Fact {
    sender: Direction,
    alive: Alive,
}

/// A connection that died.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    sender: Direction,
    /// How often the same data was sent.
    copies: u32,
    /// When for the last time.
    until: Timestamp,
    in_use: bool,
    /// Others were heard meanwhile.
    others_live: bool,
    /// One of the hosts heard nothing from anybody.
    own_link: bool,
}

impl Rule for ConnectionDied {
    type Seen = Seen;
    type Fact = Fact;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations) {
        for direction in Direction::BOTH {
            let died = died(conn, direction).filter(|Died { stuck, .. }| {
                f64::from(stuck.copies) >= ctx.threshold("vain_copies")
                    && ms(stuck.last.time.since(stuck.first.time)) >= ctx.threshold("vain_ms")
            });
            if let Some(died) = died {
                let in_use = ms(died.silence) < ctx.threshold("idle_ms");
                out.push(observation(conn, direction, &died.stuck, in_use));
            }
        }
        if is_handshake_ignored(conn) {
            return;
        }
        for direction in Direction::BOTH {
            let half = conn.half(direction);
            let is_stuck = half.stuck.is_some_and(|stuck| stuck.copies >= DEAD_COPIES);
            let is_heard = half.data_segments > 0 && half.unacked_at_end < half.unique_bytes;
            if is_heard && !is_stuck {
                out.note(|| {
                    let alive = Alive::of(conn, direction);
                    Note::new(
                        conn,
                        Fact {
                            sender: direction,
                            alive,
                        },
                    )
                });
            }
        }
    }

    fn on_capture(&self, analysis: &Analysis, _ctx: &Context<'_>, collected: &mut Collected) {
        judge_died(analysis, &mut collected.observations, &collected.notes);
    }

    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative {
        tell(group, draft)
    }
}

/// A connection on which data was sent in vain to the end.
fn observation(
    conn: &Connection,
    direction: Direction,
    stuck: &Stuck,
    in_use: bool,
) -> Observation {
    let (sender, receiver) = (direction.sender(), direction.reverse().sender());
    let heard = conn.half(direction.reverse()).last_segment;
    let pending = conn.turns.pending().is_some();
    let vain = stuck.last.time.since(stuck.first.time);
    observation::Observation::new(conn, confidence::OPEN, Impact::requests_lost(1))
        .cause(format!("{} {sender}", conn.server.ip))
        .at(stuck.first.time)
        // One in use proves more than an idle one.
        .weight(f64::from(stuck.copies) + if in_use { 100.0 } else { 0.0 })
        .figure("copies", f64::from(stuck.copies))
        .figure("unanswered_ms", ms(vain))
        .failures(if pending {
            "requests_failed"
        } else {
            "messages_lost"
        })
        .evidence_if(heard, format!("last packet captured from the {receiver}"))
        .proof(
            stuck.first,
            format!("data from {sender}, retransmitted and never acknowledged"),
        )
        .proof(
            stuck.last,
            format!(
                "the same data, sent {} times so far, {} later",
                stuck.copies,
                span(vain)
            ),
        )
        .seen(Seen {
            sender: direction,
            copies: stuck.copies,
            until: stuck.last.time,
            in_use,
            others_live: false,
            own_link: false,
        })
}

/// Several that died at one time point to the path or the host; one that died while others lived, of
/// itself. Those that had been idle count where one in use died with them.
fn judge_died(analysis: &Analysis, died: &mut Vec<Observation>, notes: &[Note<Fact>]) {
    if died.is_empty() {
        return;
    }
    let time = |one: &Observation| since_epoch_ms(one.at)..since_epoch_ms(one.seen.until);
    let mut together = BTreeMap::<String, Vec<(u64, Range<f64>, bool)>>::new();
    for one in &*died {
        let others = together.entry(one.cause.clone()).or_default();
        others.push((one.connection.first_frame, time(one), one.seen.in_use));
    }
    // Whether another one died at that time: one in use, where `one` was idle.
    let has_company = |one: &Observation| {
        let (own, during) = (one.connection.first_frame, time(one));
        (together.get(&one.cause).into_iter().flatten()).any(|(first_frame, other, in_use)| {
            *first_frame != own
                && (*in_use || one.seen.in_use)
                && other.start < during.end
                && during.start < other.end
        })
    };
    let dead: BTreeSet<_> = died.iter().map(|one| one.connection.first_frame).collect();
    let live = |note: &&Note<Fact>| !dead.contains(&note.connection.first_frame);
    let mut alive = BTreeMap::<(IpAddr, Direction), Vec<&Alive>>::new();
    for note in notes.iter().filter(live) {
        let of_host = alive.entry((note.connection.server.ip, note.fact.sender));
        of_host.or_default().push(&note.fact.alive);
    }
    died.retain(|one| one.seen.in_use || has_company(one));
    for one in died {
        let during = time(one);
        let company = has_company(one);
        let (at, connection, dead) = (one.occurrence.at, one.occurrence.connection, &mut one.seen);
        let silent = dead.sender.reverse();
        let mut others = (alive.get(&(connection.server.ip, silent)).into_iter()).flatten();
        dead.others_live = others.any(|other| other.is_heard_during(&during));
        let ends = [connection.client.ip, connection.server.ip];
        let is_silent = |end: &IpAddr| {
            let episodes = &analysis.episodes;
            episodes.covers(EpisodeKind::HostSilent, *end, at)
        };
        dead.own_link = ends.iter().any(is_silent);
        let mut hosts = ends.iter().filter_map(|end| analysis.hosts.get(*end));
        let is_peer_to_peer = hosts.any(HostProfile::is_peer_to_peer);
        let (own_link, others_live) = (dead.own_link, dead.others_live);
        one.confidence = match (others_live, company) {
            (false, true) => confidence::LIKELY,
            (false, false) => confidence::OPEN,
            (true, _) => confidence::PROBABLE,
        };
        let stopped = company && !others_live;
        one.impact = if is_peer_to_peer {
            Impact::NONE
        } else if own_link {
            Impact::SOME
        } else {
            Impact {
                stopped,
                ..Impact::requests_lost(1)
            }
        };
    }
}

/// The words for connections in use that died.
fn tell(group: &Group<'_>, draft: Narrative) -> Narrative {
    let deaths = || group.seen();
    let sender = most(deaths().map(|seen| seen.sender)).map_or("", Direction::sender);
    let receiver = other_end(sender);
    let server = group.server();
    let count = group.connections();
    let copies = deaths().map(|seen| seen.copies).max().unwrap_or(0);
    let (from, to) = group.time_span();
    let in_use = deaths().filter(|seen| seen.in_use).count() as u64;
    let lives = deaths().any(|seen| seen.others_live);
    let own_link = deaths().any(|seen| seen.own_link);
    let company = if own_link {
        "One of the hosts received nothing from anyone at that time: its own link was down."
    } else if lives {
        "Other connections kept working, so path and host were not down for all: one of several paths failed, a device dropped these connections, or one of several hosts behind the address died."
    } else if count > 1 {
        "The host sent nothing afterwards, and the connections died together."
    } else {
        "No other connection shows whether the path, the host or this connection alone was at fault; a capture at the other end would settle it."
    };
    let confidence = draft.confidence;
    draft
        .title(if lives {
            format!("{} to {server} stopped getting answers while others worked", plural(number(count), "connection"))
        } else if sender == "server" {
            format!("Data from {server} stopped reaching its clients")
        } else {
            format!("{server} stopped answering")
        })
        .summary(format!(
            "{}{} to {server}{} died{}: the {sender} sent the same data up to {copies} times and got no answer. {company}",
            plural(number(count), "connection"),
            if in_use < count { "" } else { " in use" },
            if in_use < count { format!(", {in_use} of them in use,") } else { String::new() },
            if count > 1 {
                format!(" within {}", time(ms(to.since(from))))
            } else {
                String::new()
            },
        ))
        .confidence(confidence, company)
        .because(format!("on {} data was retransmitted without an acknowledgment until the end, and the {receiver} had answered before", many(count, "connection")))
        .because_if(!lives && !own_link, || format!("no other connection to {} carried an answer at that time", server.ip))
        .not("idle-drop", if in_use < count {
            format!("connections in use died as well ({in_use} of {count}), not only idle ones")
        } else {
            "the connections were in use: no silence preceded the data that was lost".to_owned()
        })
        .not("mtu-black-hole", "data of this size had got through before, or fits every link")
        .not("listen-overflow", "the connections had been served")
        .not("client-timeout-close", "the data itself was never acknowledged: the application was not reached")
        .advise("network", format!("Check that the {receiver} was up, and find what changed between the hosts at that time: routes, links, firewall rules, security groups, a failover"))
        .advise("any", "Set TCP_USER_TIMEOUT and application deadlines so that a dead connection fails within seconds instead of hanging")
        .verify(sender, format!("ss -tino '( dport = :{0} or sport = :{0} )'", server.port), "timer:(on,…) with a growing backoff while it lasts")
        .verify("both", "ip neigh; ip route get ADDRESS; journalctl -k --since TIME", "a neighbour that failed, a route or a link that changed")
}

#[cfg(test)]
mod tests {
    use analyzer::connection::ResetKind;
    use analyzer::event::SegmentRef;

    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, C, S, findings_of};

    /// A connection that was served, and then sent the same request in vain for `vain_ms`.
    fn dead(port: u16, vain_ms: f64) -> Builder {
        let mut builder = Builder::tcp(port)
            .handshake(0.0, 1.0)
            .request(1.0, 100)
            .response(2.0, 200)
            .request(1_000.0, 100);
        let last = builder.segment(1_000.0 + vain_ms, C, 0x18, 0);
        builder.with(|conn| {
            let client = &mut conn.halves[0];
            let first = client.last_data.unwrap();
            client.unacked_at_end = 100;
            client.largest_acked_payload = 100;
            client.stuck = Some(Stuck {
                first,
                last,
                copies: 5,
                smaller_passed: false,
            });
        })
    }

    /// The same after a silence.
    fn idle_dead(port: u16) -> Connection {
        dead(port, 4_000.0)
            .with(|conn| {
                conn.idle_gaps.last = Some(analyzer::connection::IdleGap {
                    before: SegmentRef {
                        time: crate::testkit::at(-5_000.0),
                        ..conn.halves[1].last_data.unwrap()
                    },
                    after: conn.halves[0].stuck.unwrap().first,
                    survived: false,
                });
            })
            .build()
    }

    fn judged(connections: &[Connection]) -> Option<(Severity, u64)> {
        let findings = findings_of("connection-died", connections);
        findings
            .first()
            .map(|finding| (finding.severity, finding.occurrences))
    }

    #[test]
    fn connections_that_die_together_tell_of_the_path() {
        let [one, other] = [1, 2].map(|port| dead(port, 4_000.0).build());
        assert_eq!(
            judged(std::slice::from_ref(&one)),
            Some((Severity::Medium, 1))
        );
        assert_eq!(judged(&[one.clone(), other]), Some((Severity::High, 2)));
        // One that is opened and answered meanwhile.
        let answered = Builder::tcp(9)
            .handshake(3_000.0, 1.0)
            .request(3_001.0, 9)
            .response(3_002.0, 9);
        assert_eq!(
            judged(&[one, answered.build()]),
            Some((Severity::Medium, 1))
        );
    }

    #[test]
    fn idle_connections_count_where_one_in_use_died_with_them() {
        assert_eq!(judged(&[idle_dead(1), idle_dead(2)]), None);
        let in_use = dead(3, 4_000.0).build();
        let all = [idle_dead(1), idle_dead(2), in_use];
        assert_eq!(judged(&all), Some((Severity::High, 3)));
    }

    #[test]
    fn what_has_another_cause_did_not_die() {
        let reset = dead(1, 4_000.0).reset(5_100.0, S, ResetKind::HalfOpen);
        let soon_over = dead(1, 900.0);
        let closed_window = dead(1, 4_000.0).with(|conn| {
            conn.halves[1].last_segment.as_mut().unwrap().window = 0;
        });
        let too_large = dead(1, 4_000.0).with(|conn| {
            conn.halves[0].stuck.as_mut().unwrap().first.payload_len = 1400;
        });
        for builder in [reset, soon_over, closed_window, too_large] {
            assert_eq!(judged(&[builder.build()]), None);
        }
    }
}

//! `path-outage`: several connections are interrupted at one time and go on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use analyzer::connection::Outage;
use analyzer::episodes::EpisodeKind;
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Direction, Timestamp};

use crate::model::confidence;
use crate::model::connection_ref::ConnectionRef;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, number, span};
use crate::signs::alive::{Alive, since_epoch_ms};
use crate::signs::handshake::is_handshake_ignored;
use crate::signs::waits::union;

declare_rule! {
    /// For a time nothing gets through on several connections, and then all of them resume.
    ///
    /// ## What it means
    /// The path between hosts, or the link of one of them, was interrupted: a link or route that changed, a
    /// failover, radio coverage, a paused machine.
    ///
    /// ## Why it matters
    /// Everything in flight waits, and resumes only when the next TCP retransmission timer expires, which can
    /// take as long again as the interruption itself.
    ///
    /// ## How it is detected
    /// - On two or more connections that share a host, the same data was retransmitted for a second or longer,
    ///   at overlapping times, and finally acknowledged.
    /// - No other connection in the same direction between these hosts got through in that time.
    ///
    /// The retransmissions and the acknowledgment that ends them prove it for each connection.
    ///
    /// What refutes it: another connection that continues meanwhile; a closed window or an ignored handshake,
    /// which are not lost data. If one end received nothing from anyone, its own link was down rather than the
    /// path.
    ///
    /// Connections that never resumed are connection-died; a single interrupted one is packet-loss. Severity
    /// follows the total time during which clients waited.
    ///
    /// ## What to do
    /// Find what changed on the path at that time.
    ///
    /// ## Known limits
    /// Between the first lost segment and the last timer the path may have recovered earlier than it seems: the
    /// reported time is what connections lost, not how long the path was down. A paused host looks the same.
    ///
    /// ## References
    /// - RFC 6298 §5 (timer and its back-off)
    pub(crate) struct PathOutage {
        id: "path-outage",
        group: LossAndPath,
        title: "The path is interrupted for a time",
        severity: Medium,
        needs: [Tcp, BothDirections],
        clouded_by: [CaptureDrops, ClockStep],
        figures: [connections: Count / Sum, dark_ms: Milliseconds / Max],
        thresholds: [
            outage_ms = 1000.0: "Time over which the same data must have been retransmitted; the first timers take less.",
            min_connections = 2.0: "Connections interrupted at one time; one alone is packet-loss.",
        ],
    }
}

/// A connection that was interrupted.
pub(crate) struct Seen {
    sender: Direction,
    since: Timestamp,
    until: Timestamp,
    /// An address that heard nothing from anybody.
    own_link: Option<IpAddr>,
}

/// What one end of a connection was heard of.
pub(crate) struct Fact {
    heard_of: Direction,
    alive: Alive,
}

impl Rule for PathOutage {
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
        for direction in Direction::BOTH {
            let half = conn.half(direction);
            let least = ctx.threshold("outage_ms");
            let outage = half.outage.filter(|outage| {
                // A SYN-ACK may be ignored, a FIN too; data is lost.
                outage.first.payload_len > 0
                    && ms(outage.length()) >= least
                    && !is_handshake_ignored(conn)
            });
            match outage {
                Some(outage) => out.push(observation(conn, direction, &outage)),
                None if half.packets > 0 => out.note(|| {
                    let alive = Alive::of(conn, direction);
                    Note::new(
                        conn,
                        Fact {
                            heard_of: direction,
                            alive,
                        },
                    )
                }),
                None => {}
            }
        }
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        ctx: &Context<'_>,
        collected: &mut Collected<Seen, Fact>,
    ) {
        let mut alive = BTreeMap::<(IpAddr, IpAddr), Vec<&Alive>>::new();
        for note in &collected.notes {
            let ends = ends(&note.connection, note.fact.heard_of);
            alive.entry(ends).or_default().push(&note.fact.alive);
        }
        let least = ctx.threshold("min_connections");
        let mut found = Vec::new();
        for (number_of, mut group) in together(std::mem::take(&mut collected.observations))
            .into_iter()
            .enumerate()
        {
            let connections: BTreeSet<u64> =
                group.iter().map(|one| one.connection.first_frame).collect();
            if number(connections.len() as u64) < least || is_refuted(&group, &alive) {
                continue;
            }
            for one in &mut group {
                judge(one, analysis);
                one.cause = number_of.to_string();
            }
            found.extend(group);
        }
        collected.observations = found;
    }

    fn describe(&self, group: &Group<'_, Seen, Fact>, draft: Narrative) -> Narrative {
        let spells = group.seen().map(|seen| (seen.since, seen.until));
        let waited = union(spells);
        let length = span(waited);
        let mut common: Option<BTreeSet<IpAddr>> = None;
        for one in group.observations {
            let ends = BTreeSet::from([one.connection.client.ip, one.connection.server.ip]);
            common = Some(common.map_or(ends.clone(), |known| &known & &ends));
        }
        let common: Vec<IpAddr> = common.unwrap_or_default().into_iter().collect();
        let own_link = group.seen().find_map(|seen| seen.own_link);
        let place = match (own_link, common.as_slice()) {
            (Some(host), _) => format!("at {host}"),
            (None, [host]) => format!("between {host} and others"),
            (None, [one, other]) => format!("between {one} and {other}"),
            _ => "between several hosts".to_owned(),
        };
        let senders: BTreeSet<_> = group.seen().map(|seen| seen.sender.index()).collect();
        let direction = match (senders.len(), group.best().seen.sender) {
            (2.., _) => "in both directions",
            (_, Direction::ClientToServer) => "from the clients",
            (_, Direction::ServerToClient) => "from the servers",
        };
        let impact = group.impact();
        let impact = Impact {
            waited: if impact.harmed { waited } else { impact.waited },
            ..impact
        };
        draft
            .impact(group.meta, impact)
            .title(format!("Nothing gets through for up to {length} {place}"))
            .summary(format!(
                "On {} at one time nothing {direction} got through for up to {length}; then all of them resumed. {}",
                many(group.connections(), "connection"),
                match own_link {
                    Some(host) => format!("{host} received nothing from anyone in that time: its own link was down, or the host was paused."),
                    None => "Nothing else in that direction between these hosts got through meanwhile.".to_owned(),
                },
            ))
            .confidence(confidence::LIKELY, "On each connection the same data was retransmitted until it was acknowledged, at one time.")
            .because(format!("the same data was retransmitted without an acknowledgment on {} at overlapping times", many(group.connections(), "connection")))
            .not("packet-loss", "everything sent in that time was lost, on every connection")
            .not("connection-died", "the connections resumed")
            .advise("network", "find what changed at that time: a link, a route, a failover, radio coverage, a virtual machine that was migrated")
            .verify("both", "journalctl -k --since TIME; ip -s -s link show DEV", "a link that went away and came back")
    }
}

/// Sender's and receiver's address.
fn ends(connection: &ConnectionRef, sender: Direction) -> (IpAddr, IpAddr) {
    let (client, server) = (connection.client.ip, connection.server.ip);
    match sender {
        Direction::ClientToServer => (client, server),
        Direction::ServerToClient => (server, client),
    }
}

fn observation(conn: &Connection, sender: Direction, outage: &Outage) -> Observation<Seen> {
    let who = sender.sender();
    let length = outage.length();
    Observation::new(conn, confidence::LIKELY, Impact::waited(length))
        .at(outage.since)
        .weight(ms(length))
        .proof(
            outage.first,
            format!("data from {who}, first retransmission without an acknowledgment"),
        )
        .evidence(
            outage.last,
            format!("the same data, sent {} times so far", outage.copies),
        )
        .proof(
            outage.ended,
            format!("acknowledged {} after it was first sent", span(length)),
        )
        .figure("connections", 1.0)
        .figure("dark_ms", ms(length))
        .stalls([(outage.since, outage.ended.time)])
        .seen(Seen {
            sender,
            since: outage.since,
            until: outage.ended.time,
            own_link: None,
        })
}

/// Interruptions that overlap by half of the shorter one and share a host, in groups.
fn together(mut all: Vec<Observation<Seen>>) -> Vec<Vec<Observation<Seen>>> {
    all.sort_by_key(|one| (one.seen.since, one.connection.first_frame));
    let mut groups: Vec<Vec<Observation<Seen>>> = Vec::new();
    for one in all {
        let fits = |group: &&mut Vec<Observation<Seen>>| {
            group
                .iter()
                .any(|other| is_with(one_span(&one), one_span(other)) && share_host(&one, other))
        };
        match groups.iter_mut().find(fits) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

fn one_span(one: &Observation<Seen>) -> (Timestamp, Timestamp) {
    (one.seen.since, one.seen.until)
}

fn is_with(one: (Timestamp, Timestamp), other: (Timestamp, Timestamp)) -> bool {
    let (from, to) = (one.0.max(other.0), one.1.min(other.1));
    let shorter = one.1.since(one.0).min(other.1.since(other.0));
    to > from && to.since(from) >= shorter / 2
}

fn share_host(one: &Observation<Seen>, other: &Observation<Seen>) -> bool {
    let ends = |one: &Observation<Seen>| [one.connection.client.ip, one.connection.server.ip];
    ends(one).iter().any(|ip| ends(other).contains(ip))
}

/// Whether another connection in the same direction between the hosts went on in the time that all
/// were interrupted.
fn is_refuted(
    group: &[Observation<Seen>],
    alive: &BTreeMap<(IpAddr, IpAddr), Vec<&Alive>>,
) -> bool {
    let from = group.iter().map(|one| one.seen.since).max();
    let to = group.iter().map(|one| one.seen.until).min();
    let (Some(from), Some(to)) = (from, to) else {
        return true;
    };
    if to <= from {
        return false;
    }
    let dark: BTreeSet<u64> = group.iter().map(|one| one.connection.first_frame).collect();
    let during = since_epoch_ms(from)..since_epoch_ms(to);
    group.iter().any(|one| {
        // Who acknowledges what was sent is heard in the other direction.
        let (sender, receiver) = ends(&one.connection, one.seen.sender);
        let others = alive.get(&(receiver, sender)).into_iter().flatten();
        let mut others = others.filter(|other| !dark.contains(&other.first_frame));
        others.any(|other| other.is_heard_during(&during))
    })
}

fn judge(one: &mut Observation<Seen>, analysis: &Analysis) {
    let ends = [one.connection.client.ip, one.connection.server.ip];
    let silent = |end: &&IpAddr| {
        let episodes = &analysis.episodes;
        episodes.covers(EpisodeKind::HostSilent, **end, one.seen.since)
    };
    one.seen.own_link = ends.iter().find(silent).copied();
    let mut hosts = ends.iter().filter_map(|end| analysis.hosts.get(*end));
    if hosts.any(HostProfile::is_peer_to_peer) {
        one.impact = Impact::NONE;
    }
}

#[cfg(test)]
mod tests {
    use analyzer::decode::TcpFlags;

    use super::*;
    use crate::model::finding::Finding;
    use crate::model::severity::Severity;
    use crate::testkit::findings_of;
    use crate::testkit::script::Capture;

    const PUSH: u8 = TcpFlags::PSH | TcpFlags::ACK;

    /// A connection whose request at `at_ms` is repeated for 1.4 s and answered then.
    fn interrupted(number: u16, at_ms: u64) -> Connection {
        let mut capture = Capture::of_client(40_000 + number, u64::from(number) * 100 + 1);
        capture.handshake();
        capture.client(21_000, PUSH, 101, 901, 100);
        capture.server(41_000, PUSH, 901, 201, 100);
        capture.client(41_500, TcpFlags::ACK, 201, 1001, 0);
        let us = at_ms * 1000;
        for later in [0, 200_000, 600_000, 1_400_000] {
            capture.client(us + later, PUSH, 201, 1001, 100);
        }
        capture.server(us + 1_420_000, PUSH, 1001, 301, 100);
        capture.client(us + 1_420_500, TcpFlags::ACK, 301, 1101, 0);
        capture.finish()
    }

    /// One that is served at `at_ms`.
    fn served(number: u16, at_ms: u64) -> Connection {
        let mut capture = Capture::of_client(40_000 + number, u64::from(number) * 100 + 1);
        let us = at_ms * 1000;
        capture.client(us, TcpFlags::SYN, 100, 0, 0);
        capture.server(us + 20_000, TcpFlags::SYN | TcpFlags::ACK, 900, 101, 0);
        capture.client(us + 20_000, PUSH, 101, 901, 100);
        capture.server(us + 41_000, PUSH, 901, 201, 100);
        capture.finish()
    }

    fn told(connections: &[Connection]) -> Vec<Finding> {
        findings_of("path-outage", connections)
    }

    #[test]
    fn two_at_one_time_are_an_outage_of_the_path() {
        let findings = told(&[interrupted(1, 1_000), interrupted(2, 1_100)]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Medium);
        assert_eq!(findings[0].occurrences, 2);
        assert_eq!(
            findings[0].title,
            "Nothing gets through for up to 1.52 s between 10.0.0.1 and 10.0.0.2"
        );
    }

    #[test]
    fn one_alone_or_at_another_time_is_not() {
        assert!(told(&[interrupted(1, 1_000)]).is_empty());
        assert!(told(&[interrupted(1, 1_000), interrupted(2, 9_000)]).is_empty());
    }

    #[test]
    fn another_that_is_served_meanwhile_refutes_it() {
        let all = [
            interrupted(1, 1_000),
            interrupted(2, 1_100),
            served(3, 1_500),
        ];
        assert!(told(&all).is_empty());
    }
}

//! `closed-after-accept`: a server accepts connections and closes them before its first byte.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use analyzer::connection::{EndedBy, Ending, ResetKind};
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Direction, Endpoint, Timestamp};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, number, percent, share, span, time};
use crate::signs::attempts::PATIENCE;

declare_rule! {
    /// A server accepts connections and closes them before it has sent a byte.
    ///
    /// ## What it means
    /// The handshake succeeds, and then the server itself closes at once, or after the same time on each
    /// connection. Causes are a connection limit, an access list, a load balancer or port forwarder with
    /// nothing behind it, or a process that fails as soon as it serves.
    ///
    /// ## Why it matters
    /// For the client's system the connection succeeded, so it reports no connect error. Programs report an
    /// unexpected end of file or a reset and retry.
    ///
    /// ## How it is detected
    /// - The handshake was captured, the server sent no payload, and its FIN or RST is the first close of the
    ///   connection.
    /// - It came within 50 ms of the handshake's end, or within two round trips where that is longer, and
    ///   before any request or FIN had reached the server: the close acknowledges none.
    /// - Or it came a second or more after the handshake, after the same time on each connection (to a tenth),
    ///   on connections that one client opened one after the other, none of which was served.
    /// - Three or more connections to one server ended this way.
    ///
    /// The close after the handshake proves it. What refutes it: the client closed first (a probe, the loser of
    /// a race); the reset is not the server's (injected-reset), or collides with an older connection
    /// (port-reuse-collision). Each is a failed attempt, or a recovery where the same client was served soon
    /// after; those of scanners, noise and peer-to-peer partners are info.
    ///
    /// ## What to do
    /// Check the server's log at the time of the close: limits, access lists, upstreams.
    ///
    /// ## Known limits
    /// A server with nothing to send, such as one that serves empty files, closes in the same way. Fewer than
    /// three connections are not reported. A reset after a request may be the answer to the request: see
    /// unread-data-reset and linger-zero-reset.
    ///
    /// ## References
    /// - RFC 9293 §3.6 (closing); RFC 9293 §3.10.4 (abort)
    pub(crate) struct ClosedAfterAccept {
        id: "closed-after-accept",
        group: ConnectionPhase,
        title: "Connections are accepted and closed at once",
        severity: Medium,
        needs: [Tcp, BothDirections, Handshake],
        clouded_by: [CaptureDrops],
        figures: [connections: Count / Sum, open_ms: Milliseconds / Median],
        thresholds: [
            min_connections = 3.0: "Connections to one server that must end this way; one or two may be coincidence.",
            at_once_ms = 50.0: "Longest time from handshake to close that counts as at once; two round trips where that is longer.",
            delayed_ms = 1000.0: "Shortest time that may be the same delay on each connection, such as a lookup timeout.",
            same_within = 0.1: "Share by which the delays may differ.",
        ],
    }
}

/// How the server closed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delay {
    AtOnce,
    Later,
}

/// A connection that was accepted and closed.
pub(crate) struct Seen {
    delay: Delay,
    by_reset: bool,
    /// The client had sent something by then.
    asked: bool,
    open: Duration,
    until: Timestamp,
}

/// A connection that was served, from its beginning on.
pub(crate) struct Served;

impl Rule for ClosedAfterAccept {
    type Seen = Seen;
    type Fact = Served;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        ctx: &Context<'_>,
        out: &mut Observations<Seen, Served>,
    ) {
        if conn.from_server().unique_bytes > 0 {
            out.note(|| Note::new(conn, Served));
        } else if let Some(observation) = closed(conn, ctx) {
            out.push(observation);
        }
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        ctx: &Context<'_>,
        collected: &mut Collected<Seen, Served>,
    ) {
        let served = Clients::of(&collected.notes);
        let least = ctx.threshold("min_connections");
        let mut groups = BTreeMap::<Endpoint, Vec<Observation<Seen>>>::new();
        for one in std::mem::take(&mut collected.observations) {
            groups.entry(one.connection.server).or_default().push(one);
        }
        for mut group in groups.into_values() {
            let is_repeated = is_same_each_time(&group, &served, ctx);
            group.retain(|one| one.seen.delay == Delay::AtOnce || is_repeated);
            if number(group.len() as u64) < least {
                continue;
            }
            for mut one in group {
                one.impact = impact(&one, analysis, &served);
                collected.observations.push(one);
            }
        }
    }

    fn describe(&self, group: &Group<'_, Seen, Served>, draft: Narrative) -> Narrative {
        let server = group.server();
        let count = group.connections();
        let all = group.analysis.listeners.get(&server);
        let all = all.map_or(count, |facts| facts.completed.max(count));
        let resets = group.having(|seen| seen.by_reset);
        let asked = group.having(|seen| seen.asked);
        let longest = group.seen().map(|seen| seen.open).max().unwrap_or_default();
        let at_once = group.having(|seen| seen.delay == Delay::AtOnce) == count;
        let when = if at_once {
            format!("within {} of the handshake", span(longest))
        } else {
            format!("after {} each time", span(longest))
        };
        let how = match (resets, count - resets) {
            (0, _) => "by FIN",
            (_, 0) => "by RST",
            _ => "by FIN or RST",
        };
        draft
            .title(format!("{server} accepts connections and closes them {}", if at_once { "at once" } else { "without a response" }))
            .summary(format!(
                "{count} of {} to {server} ({}) were accepted and then closed by the server {how} {when}, before it had sent a byte. {}",
                many(all, "connection"),
                percent(share(count, all)),
                if asked > 0 {
                    format!("On {asked} of them the client had sent a request by then.")
                } else {
                    "The clients had not sent a request yet.".to_owned()
                },
            ))
            .confidence(if at_once { confidence::LIKELY } else { confidence::OPEN }, "Handshake and close were captured, and the server's sequence number shows that it sent no payload.")
            .because(format!("the server's {} carries the sequence number right after the handshake: nothing was sent in between", if resets > 0 { "RST or FIN" } else { "FIN" }))
            .because_if(count < all, || format!("{} to the same port were served: the listener works", many(all - count, "connection")))
            .not("connection-refused", "the handshake succeeded")
            .not("a probe", "the server closed first")
            .advise("server", format!("check its log at {when}: a connection limit, a list of allowed addresses, a process that ends on accept"))
            .advise("load balancer, port forwarder", "check whether anything answers behind it: it accepts before it has connected there")
            .verify("server", format!("ss -ltn sport = :{}; ulimit -n", server.port), "the listener's queue, and how many files the process may open")
    }
}

/// A connection that the server closed before it had sent a byte.
fn closed(conn: &Connection, ctx: &Context<'_>) -> Option<Observation<Seen>> {
    let ack = conn
        .handshake
        .ack
        .filter(|_| conn.handshake.syn_count > 0)?;
    let ending = conn.ending().filter(|ending| is_own_close(conn, ending))?;
    let open = ending.at.time.since(ack.time);
    let at_once = Duration::from_secs_f64(ctx.threshold("at_once_ms") / 1e3);
    let trips = conn.rtt().unwrap_or_default() * 2;
    let first_data = conn.from_client().first_data;
    let asked = first_data.filter(|data| data.frame < ending.at.frame);
    // What comes after a request may answer the request, and the capture may lack the request: unless
    // the close says that nothing had arrived.
    let unheard = match ending.last_acknowledged {
        Some(heard) => heard <= 1,
        None => asked.is_none(),
    };
    let unheard = unheard && (asked.is_none() || ending.how == EndedBy::Fin);
    if !unheard {
        return None;
    }
    let asked = asked.is_some();
    let delay = if open <= at_once.max(trips) {
        Delay::AtOnce
    } else if ms(open) >= ctx.threshold("delayed_ms") && first_data.is_none() {
        Delay::Later
    } else {
        return None;
    };
    let by_reset = ending.how != EndedBy::Fin;
    let found = Observation::new(conn, confidence::LIKELY, Impact::attempts_failed(1))
        .at(ending.at.time)
        .weight(if asked { 2.0 } else { 1.0 })
        .evidence(ack, "completes the handshake: the connection is accepted")
        .proof(
            ending.at,
            format!(
                "the server closes {} later, before it has sent a byte",
                time(ms(open))
            ),
        )
        .failures("connections_failed")
        .figure("connections", 1.0)
        .figure("open_ms", ms(open))
        .seen(Seen {
            delay,
            by_reset,
            asked,
            open,
            until: ending.at.time,
        });
    Some(found)
}

/// Whether the server itself closed, before its first byte, and first.
fn is_own_close(conn: &Connection, ending: &Ending) -> bool {
    let server = conn.from_server();
    let silent = server.unique_bytes == 0 && server.missing_octets == 0;
    let other_cause = |kind| {
        matches!(
            kind,
            ResetKind::Forged | ResetKind::TimeWait | ResetKind::Refused
        )
    };
    let mut resets = conn.resets.iter();
    ending.by == Direction::ServerToClient
        && ending.at.relative_seq <= 1
        && silent
        && !resets.any(|reset| other_cause(reset.kind))
}

/// When which client was served where.
struct Clients(BTreeMap<(IpAddr, Endpoint), Vec<Timestamp>>);

impl Clients {
    fn of(notes: &[Note<Served>]) -> Self {
        let mut times = BTreeMap::<_, Vec<Timestamp>>::new();
        for note in notes {
            let key = (note.connection.client.ip, note.connection.server);
            times.entry(key).or_default().push(note.at);
        }
        Self(times)
    }

    fn served(&self, one: &Observation<Seen>) -> &[Timestamp] {
        let key = (one.connection.client.ip, one.connection.server);
        self.0.get(&key).map_or(&[], Vec::as_slice)
    }
}

/// Whether those that were closed later were closed after the same time, one after the other, while
/// none was served.
fn is_same_each_time(group: &[Observation<Seen>], served: &Clients, ctx: &Context<'_>) -> bool {
    let late = group.iter().filter(|one| one.seen.delay == Delay::Later);
    let late: Vec<_> = late.collect();
    let open = |one: &&Observation<Seen>| ms(one.seen.open);
    let shortest = late.iter().map(open).fold(f64::MAX, f64::min);
    let longest = late.iter().map(open).fold(0.0, f64::max);
    let in_turn = late.windows(2).all(|pair| {
        let same_client = pair[0].connection.client.ip == pair[1].connection.client.ip;
        let opened = pair[1].seen.until - pair[1].seen.open;
        same_client && pair[0].seen.until <= opened
    });
    number(late.len() as u64) >= ctx.threshold("min_connections")
        && longest <= shortest * (1.0 + ctx.threshold("same_within"))
        && in_turn
        && late.iter().all(|one| served.served(one).is_empty())
}

fn impact(one: &Observation<Seen>, analysis: &Analysis, served: &Clients) -> Impact {
    let (client, server) = (one.connection.client.ip, one.connection.server.ip);
    let wants_nothing = |host: &HostProfile| {
        host.is_scanner() || host.is_background_noise() || host.is_peer_to_peer()
    };
    let of_client = analysis.hosts.get(client);
    let of_server = analysis.hosts.get(server);
    if of_client.is_some_and(wants_nothing)
        || of_server.is_some_and(HostProfile::only_receives_from_strangers)
    {
        return Impact::NONE;
    }
    let soon = one.seen.until..=one.seen.until + PATIENCE;
    if served.served(one).iter().any(|at| soon.contains(at)) {
        Impact::recovered(1)
    } else {
        Impact::attempts_failed(1)
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

    const FIN: u8 = TcpFlags::FIN | TcpFlags::ACK;
    const PUSH: u8 = TcpFlags::PSH | TcpFlags::ACK;

    /// A connection of its own port, whose server closes so many microseconds after the handshake.
    fn closed_after(number: u16, us: u64, asks: bool) -> Capture {
        let mut capture = Capture::of_client(40_000 + number, u64::from(number) * 100 + 1);
        let start = u64::from(number) * 10_000_000;
        capture.client(start, TcpFlags::SYN, 100, 0, 0);
        capture.server(start + 20_000, TcpFlags::SYN | TcpFlags::ACK, 900, 101, 0);
        capture.client(start + 20_000, TcpFlags::ACK, 101, 901, 0);
        let mut next = 101;
        if asks {
            capture.client(start + 20_100, PUSH, 101, 901, 80);
            next = 181;
        }
        capture.server(start + 20_000 + us, FIN, 901, 101, 0);
        capture.client(start + 21_000 + us, FIN, next, 902, 0);
        capture.server(start + 41_000 + us, TcpFlags::ACK, 902, next + 1, 0);
        capture
    }

    fn served(number: u16) -> Connection {
        let mut capture = Capture::of_client(40_000 + number, u64::from(number) * 100 + 1);
        let start = u64::from(number) * 10_000_000 - 5_000_000;
        capture.client(start, TcpFlags::SYN, 100, 0, 0);
        capture.server(start + 20_000, TcpFlags::SYN | TcpFlags::ACK, 900, 101, 0);
        capture.client(start + 20_100, PUSH, 101, 901, 80);
        capture.server(start + 50_000, PUSH, 901, 181, 80);
        capture.finish()
    }

    fn told(connections: impl IntoIterator<Item = Connection>) -> Vec<Finding> {
        let connections: Vec<_> = connections.into_iter().collect();
        findings_of("closed-after-accept", &connections)
    }

    #[test]
    fn three_that_are_closed_at_once_are_told() {
        for asks in [false, true] {
            let findings = told((1..4).map(|number| closed_after(number, 21_000, asks).finish()));
            assert_eq!(findings.len(), 1);
            assert_eq!(findings[0].severity, Severity::Medium);
            assert_eq!(findings[0].occurrences, 3);
            let proofs = findings[0].evidence.iter().filter(|one| one.proves);
            assert_eq!(proofs.count(), 3);
        }
        assert!(told((1..3).map(|number| closed_after(number, 21_000, true).finish())).is_empty());
    }

    #[test]
    fn a_client_that_is_served_right_after_recovered() {
        let closed = (1..4).map(|number| closed_after(number, 21_000, true).finish());
        let findings = told(closed.chain((2..5).map(served)));
        assert_eq!(findings[0].severity, Severity::Low);
    }

    #[test]
    fn the_same_delay_in_a_row_is_told_and_an_idle_limit_is_not() {
        let late = || (1..4).map(|number| closed_after(number, 5_000_000, false).finish());
        let findings = told(late());
        assert_eq!(findings[0].severity, Severity::Medium);
        assert!(findings[0].title.contains("without a response"));
        assert!(told(late().chain([served(4)])).is_empty());
        let unequal = (1..4)
            .map(|number| closed_after(number, 2_000_000 * u64::from(number), false).finish());
        assert!(told(unequal).is_empty());
    }

    #[test]
    fn a_close_that_answers_a_request_is_another_matter() {
        let refused = |number: u16, flags: u8| {
            let mut capture = Capture::of_client(40_000 + number, u64::from(number) * 100 + 1);
            capture.handshake();
            capture.client(20_100, PUSH, 101, 901, 80);
            capture.server(41_000, flags, 901, 181, 0);
            capture.finish()
        };
        assert!(told((1..6).map(|number| refused(number, FIN))).is_empty());
        assert!(
            told((1..6).map(|number| refused(number, TcpFlags::RST | TcpFlags::ACK))).is_empty()
        );
    }

    #[test]
    fn a_client_that_closes_first_and_a_server_that_answers_are_healthy() {
        let probe = |number: u16| {
            let mut capture = Capture::of_client(40_000 + number, u64::from(number) * 100 + 1);
            capture.handshake();
            capture.client(20_200, FIN, 101, 901, 0);
            capture.server(41_000, FIN, 901, 102, 0);
            capture.client(41_100, TcpFlags::ACK, 102, 902, 0);
            capture.finish()
        };
        assert!(told((1..6).map(probe)).is_empty());
        assert!(told((1..6).map(served)).is_empty());
    }
}

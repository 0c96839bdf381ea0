//! Every attempt to connect: how it was answered, what served the client instead, and whom its
//! failure harmed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use analyzer::connection::ResetKind;
use analyzer::decode::IcmpFields;
use analyzer::event::EventKind;
use analyzer::hosts::{HostProfile, SegmentKind};
use analyzer::{Analysis, Connection, Endpoint, Timestamp, Transport};

use crate::model::connection_ref::ConnectionRef;
use crate::model::impact::Impact;
use crate::model::observation::Note;

/// How long somebody waits for an answer before attention is lost (Nielsen, Usability Engineering,
/// 1993): what serves within it served whoever asked.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Alternatives are tried in parallel or right after a failure (RFC 8305 §5: 250 ms apart).
const AT_ONCE: Duration = Duration::from_secs(1);
/// So many failures in a row are an outage for the client, even when it is served in the end.
const OUTAGE: usize = 3;
/// No kernel repeats a SYN sooner (RFC 6298 §2.1: one second, and half of it in use).
const KERNEL_TIMER: Duration = Duration::from_millis(500);

/// How an attempt was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// By SYN-ACK.
    Accepted,
    /// By the target: RST, or ICMP port unreachable.
    Refused,
    /// By an ICMP error of other kind or of another host.
    Undeliverable,
    /// By nothing.
    Silent,
}

/// One attempt to connect.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Attempt {
    /// How it was answered.
    pub(crate) outcome: Outcome,
    /// When: the answer, or the last SYN without one.
    pub(crate) until: Timestamp,
    /// SYNs that were captured.
    pub(crate) syns: u32,
    /// SYNs were repeated sooner than any kernel does.
    hasty: bool,
    /// A SYN bears an acknowledgment number, which kernels leave zero.
    odd: bool,
}

impl Attempt {
    /// The attempt that opened `conn`; `None` for UDP, where its beginning was not captured, and
    /// where the answer may have passed unseen.
    pub(crate) fn of(conn: &Connection) -> Option<Self> {
        if conn.transport != Transport::Tcp {
            return None;
        }
        let handshake = &conn.handshake;
        let first = handshake.syns.first().or(handshake.syn_acks.first())?;
        let (outcome, until) = if let Some(answer) = handshake.syn_acks.first() {
            (Outcome::Accepted, answer.time)
        } else if let Some(refusal) = refusal(conn) {
            refusal
        } else if conn.from_server().packets > 0 || is_answered_unseen(conn) {
            return None;
        } else {
            let last = conn.from_client().last_segment.unwrap_or(*first);
            (Outcome::Silent, last.time)
        };
        let mut pairs = handshake.syns.windows(2);
        Some(Self {
            outcome,
            until,
            syns: handshake.syn_count,
            hasty: pairs.any(|pair| pair[1].time.since(pair[0].time) < KERNEL_TIMER),
            odd: handshake.syns.iter().any(|syn| syn.ack.0 != 0),
        })
    }

    /// It as a fact of its connection.
    pub(crate) fn note(self, conn: &Connection) -> Note<Self> {
        let first = conn
            .handshake
            .syns
            .first()
            .map_or(conn.start, |syn| syn.time);
        Note::new(conn, self).at(first)
    }
}

/// The client goes on as if it had been answered: only one direction was captured.
pub(crate) fn is_answered_unseen(conn: &Connection) -> bool {
    conn.from_client().unique_bytes > 0 || conn.handshake.ack.is_some()
}

/// The RST or ICMP error that answers the SYN.
fn refusal(conn: &Connection) -> Option<(Outcome, Timestamp)> {
    let reset = conn
        .resets
        .iter()
        .find(|one| one.kind == ResetKind::Refused);
    if let Some(reset) = reset {
        return Some((Outcome::Refused, reset.segment.time));
    }
    conn.events.iter().find_map(|event| match event.kind {
        EventKind::IcmpError(icmp) if is_unreachable(&icmp) => {
            let outcome = if is_refusal(&icmp, conn.server.ip) {
                Outcome::Refused
            } else {
                Outcome::Undeliverable
            };
            Some((outcome, event.segment.time))
        }
        _ => None,
    })
}

/// "Destination unreachable" of any code but "fragmentation needed".
fn is_unreachable(icmp: &IcmpFields) -> bool {
    match (icmp.v6, icmp.icmp_type) {
        (false, 3) => icmp.code != 4,
        (true, 1) => true,
        _ => false,
    }
}

/// The target itself says that the port is closed (RFC 1122 §3.2.2.1, RFC 4443 §3.1).
pub(crate) fn is_refusal(icmp: &IcmpFields, target: IpAddr) -> bool {
    let code = if icmp.v6 { 4 } else { 3 };
    is_unreachable(icmp) && icmp.code == code && icmp.reporter == target
}

/// Why nobody minds that an attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Nobody {
    /// The client is a scanner or a worm.
    Scanner,
    /// The client belongs to a peer-to-peer network, whose members come and go.
    PeerToPeer,
    /// A stranger from the Internet.
    Stranger,
    /// The SYNs were made by a tool.
    Tool,
}

impl Nobody {
    /// What `clients` clients of this kind are, in words.
    pub(crate) const fn describe(self, clients: usize) -> &'static str {
        match (self, clients) {
            (Self::Scanner, 1) => "a scanner",
            (Self::Scanner, _) => "scanners",
            (Self::PeerToPeer, 1) => "a peer-to-peer client",
            (Self::PeerToPeer, _) => "peer-to-peer clients",
            (Self::Stranger, 1) => "a stranger from the Internet",
            (Self::Stranger, _) => "strangers from the Internet",
            (Self::Tool, 1) => "a tool that makes its own SYNs",
            (Self::Tool, _) => "tools that make their own SYNs",
        }
    }

    /// What is one occurrence of it: what one client does; of strangers, what one host meets.
    pub(crate) fn cause(self, connection: &ConnectionRef) -> String {
        match self {
            Self::Stranger => format!("strangers at {}", connection.server.ip),
            _ => format!("tries of {}", connection.client.ip),
        }
    }
}

/// The attempts of one client at one endpoint.
#[derive(Default)]
struct Tries {
    /// When each began, in order, and how it was answered.
    all: Vec<(Timestamp, Outcome)>,
}

/// All attempts of a capture.
pub(crate) struct Attempts<'a> {
    analysis: &'a Analysis,
    tries: BTreeMap<IpAddr, BTreeMap<Endpoint, Tries>>,
    /// When handshakes with an endpoint began that were completed, in order.
    accepted: BTreeMap<Endpoint, Vec<Timestamp>>,
    /// SYN-ACKs without a SYN of their own: the SYN had been answered otherwise before.
    late_answers: BTreeMap<(Endpoint, Endpoint), Vec<Timestamp>>,
    /// The numbers of the names that DNS answers in the capture gave to an address.
    names: BTreeMap<IpAddr, Vec<usize>>,
    /// The addresses of each name.
    addresses: Vec<&'a BTreeSet<IpAddr>>,
}

impl<'a> Attempts<'a> {
    /// Of what was noted.
    pub(crate) fn of<'n>(
        notes: impl Iterator<Item = (&'n ConnectionRef, Timestamp, Attempt)>,
        analysis: &'a Analysis,
    ) -> Self {
        let mut tries = BTreeMap::<IpAddr, BTreeMap<Endpoint, Tries>>::new();
        let mut accepted = BTreeMap::<Endpoint, Vec<Timestamp>>::new();
        let mut late_answers = BTreeMap::<_, Vec<Timestamp>>::new();
        for (connection, at, attempt) in notes {
            let (client, server) = (connection.client.ip, connection.server);
            let of_client = tries.entry(host(client)).or_default();
            let at_server = of_client.entry(server).or_default();
            at_server.all.push((at, attempt.outcome));
            if attempt.outcome == Outcome::Accepted {
                accepted.entry(server).or_default().push(at);
                if attempt.syns == 0 {
                    let ends = (connection.client, server);
                    late_answers.entry(ends).or_default().push(at);
                }
            }
        }
        let lists = tries.values_mut().flat_map(BTreeMap::values_mut);
        lists.for_each(|tries| tries.all.sort_by_key(|(at, _)| *at));
        accepted
            .values_mut()
            .for_each(|times| times.sort_unstable());
        let mut names = BTreeMap::<IpAddr, Vec<usize>>::new();
        for (number, addresses) in analysis.dns_names.values().enumerate() {
            for address in addresses {
                names.entry(*address).or_default().push(number);
            }
        }
        Self {
            analysis,
            tries,
            accepted,
            late_answers,
            names,
            addresses: analysis.dns_names.values().collect(),
        }
    }

    /// What the failed attempt `attempt`, begun at `at`, did to the client.
    pub(crate) fn impact(
        &self,
        connection: &ConnectionRef,
        at: Timestamp,
        attempt: &Attempt,
    ) -> Impact {
        if self.nobody(connection, attempt).is_some() {
            Impact::NONE
        } else if self.is_served(connection, at, attempt) {
            Impact::recovered(1)
        } else {
            Impact {
                stopped: self.stopped(connection.server, at),
                ..Impact::attempts_failed(1)
            }
        }
    }

    /// Why nobody is harmed by a failure, when nobody is.
    pub(crate) fn nobody(&self, connection: &ConnectionRef, attempt: &Attempt) -> Option<Nobody> {
        let client = self.analysis.hosts.get(connection.client.ip);
        let hop_limits =
            client.map_or(0, |client| client.hop_limits().of(SegmentKind::Syn).count());
        if attempt.odd || attempt.hasty && hop_limits > 1 {
            return Some(Nobody::Tool);
        }
        let client = client?;
        // Who calls by a name that was looked up here is no stranger.
        let is_named = self.names.contains_key(&connection.server.ip);
        if client.is_scanner() {
            Some(Nobody::Scanner)
        } else if client.is_peer_to_peer() && !is_named {
            Some(Nobody::PeerToPeer)
        } else if client.is_background_noise() && !is_named && comes_from_afar(client) {
            Some(Nobody::Stranger)
        } else {
            None
        }
    }

    /// The numbers of the names that DNS answers in the capture gave to an address.
    pub(crate) fn names_of(&self, address: IpAddr) -> &[usize] {
        self.names.get(&address).map_or(&[], Vec::as_slice)
    }

    /// Whether the SYN of a refused attempt was accepted after all: whoever refused it was not
    /// the listener.
    pub(crate) fn is_accepted_after_all(
        &self,
        connection: &ConnectionRef,
        attempt: &Attempt,
    ) -> bool {
        let answers = self
            .late_answers
            .get(&(connection.client, connection.server));
        let within = attempt.until..=attempt.until + PATIENCE;
        answers.is_some_and(|answers| answers.iter().any(|at| within.contains(at)))
    }

    /// Whether a handshake with `server` that began between two times was answered.
    pub(crate) fn accepts_between(&self, server: Endpoint, from: Timestamp, to: Timestamp) -> bool {
        let times = self.accepted.get(&server).map_or(&[][..], Vec::as_slice);
        let next = times.partition_point(|at| *at < from);
        times.get(next).is_some_and(|at| *at <= to)
    }

    /// Whether `server` had accepted before, and never did again.
    fn stopped(&self, server: Endpoint, at: Timestamp) -> bool {
        let facts = self.analysis.listeners.get(&server);
        let last = facts.and_then(|facts| facts.last_completed);
        last.is_some_and(|last| last.time < at) && !self.accepts_between(server, at, Timestamp::MAX)
    }

    /// Whether a retry, another port, another address or the other address family served the client
    /// in time.
    fn is_served(&self, connection: &ConnectionRef, at: Timestamp, attempt: &Attempt) -> bool {
        let (server, until) = (connection.server, attempt.until);
        let Some(of_client) = self.tries.get(&host(connection.client.ip)) else {
            return false;
        };
        let retried = of_client.get(&server);
        retried.is_some_and(|tries| tries.recover_after(at, until))
            || of_client.iter().any(|(other, tries)| {
                let other_port = other.ip == server.ip && other.port != server.port;
                let other_address = other.port == server.port && other.ip != server.ip;
                let is_refused = attempt.outcome == Outcome::Refused;
                other_port && is_refused && tries.begin_between(until, until + AT_ONCE)
                    || other_address
                        && self.is_one_service(other.ip, server.ip)
                        && tries.accepted_between(at - AT_ONCE, until + PATIENCE)
                    // Whoever learns that one address refuses turns to the next one.
                    || other_address
                        && is_refused
                        && tries.accepted_between(until, until + AT_ONCE)
            })
            || self.is_other_family_served(server, at, until)
    }

    /// Whether two addresses are those of one name, or of this host.
    fn is_one_service(&self, one: IpAddr, other: IpAddr) -> bool {
        let names = self.names_of(other);
        host(one) == host(other) || self.names_of(one).iter().any(|name| names.contains(name))
    }

    /// Whether the same name was reached over the other address family: the client bears another
    /// address there.
    fn is_other_family_served(&self, server: Endpoint, at: Timestamp, until: Timestamp) -> bool {
        let names = self.names_of(server.ip).iter();
        let mut addresses = names
            .filter_map(|name| self.addresses.get(*name))
            .flat_map(|all| all.iter());
        addresses.any(|address| {
            address.is_ipv4() != server.ip.is_ipv4()
                && self.accepts_between(
                    Endpoint::new(*address, server.port),
                    at - AT_ONCE,
                    until + PATIENCE,
                )
        })
    }
}

impl Tries {
    /// Whether the attempt begun at `at` was one of a few, and one soon after them was accepted.
    fn recover_after(&self, at: Timestamp, until: Timestamp) -> bool {
        let this = self.all.partition_point(|(begun, _)| *begun < at);
        let failed = |(_, outcome): &&(Timestamp, Outcome)| *outcome != Outcome::Accepted;
        let before = self.all[..this]
            .iter()
            .rev()
            .take(OUTAGE)
            .take_while(failed)
            .count();
        let rest = &self.all[this..];
        let after = rest.iter().take(OUTAGE).take_while(failed).count();
        let next = rest.get(after);
        before + after < OUTAGE && next.is_some_and(|(begun, _)| *begun <= until + PATIENCE)
    }

    /// Whether the client came here for the first time then, and was accepted.
    fn begin_between(&self, from: Timestamp, to: Timestamp) -> bool {
        let first = self.all.first();
        first.is_some_and(|(first, _)| *first >= from) && self.accepted_between(from, to)
    }

    fn accepted_between(&self, from: Timestamp, to: Timestamp) -> bool {
        let begin = self.all.partition_point(|(at, _)| *at < from);
        let mut within = self.all[begin..].iter().take_while(|(at, _)| *at <= to);
        within.any(|(_, outcome)| *outcome == Outcome::Accepted)
    }
}

/// Values from which hop limits are counted down.
const FULL_HOP_LIMITS: [u8; 4] = [32, 64, 128, 255];

/// Routers stand between the host and the capture point.
fn comes_from_afar(host: &HostProfile) -> bool {
    let mut hop_limits = host.hop_limits().of(SegmentKind::Syn);
    hop_limits.all(|(hop_limit, _)| !FULL_HOP_LIMITS.contains(&hop_limit))
}

/// The host that has an address: all loopback addresses are one.
fn host(address: IpAddr) -> IpAddr {
    if address.is_loopback() {
        IpAddr::V6(Ipv6Addr::LOCALHOST)
    } else {
        address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::at;

    const TARGET: &str = "10.9.0.2";

    /// An attempt of 10.9.0.1, begun at `ms` and over 100 ms later.
    fn tried(
        server: &str,
        port: u16,
        ms: f64,
        outcome: Outcome,
    ) -> (ConnectionRef, Timestamp, Attempt) {
        let connection = ConnectionRef {
            first_frame: 1,
            transport: Transport::Tcp,
            client: Endpoint::new([10, 9, 0, 1].into(), 40_000),
            server: Endpoint::new(server.parse().unwrap(), port),
            translated_to: None,
        };
        let attempt = Attempt {
            outcome,
            until: at(ms + 100.0),
            syns: 2,
            hasty: false,
            odd: false,
        };
        (connection, at(ms), attempt)
    }

    /// What the first of `tries` did.
    fn impact_of(tries: &[(ConnectionRef, Timestamp, Attempt)], analysis: &Analysis) -> Impact {
        let notes = tries
            .iter()
            .map(|(connection, at, attempt)| (connection, *at, *attempt));
        let (connection, at, attempt) = &tries[0];
        Attempts::of(notes, analysis).impact(connection, *at, attempt)
    }

    #[test]
    fn retry_serves_the_client_unless_it_failed_often() {
        use Outcome::{Accepted, Refused};
        let analysis = Analysis::default();
        let refused = |ms| tried(TARGET, 80, ms, Refused);
        let soon = [refused(0.0), tried(TARGET, 80, 4_000.0, Accepted)];
        assert_eq!(impact_of(&soon, &analysis), Impact::recovered(1));
        let late = [refused(0.0), tried(TARGET, 80, 30_000.0, Accepted)];
        assert_eq!(impact_of(&late, &analysis), Impact::attempts_failed(1));
        let often = [
            refused(0.0),
            refused(500.0),
            refused(900.0),
            tried(TARGET, 80, 4_000.0, Accepted),
        ];
        assert_eq!(impact_of(&often, &analysis), Impact::attempts_failed(1));
    }

    #[test]
    fn other_port_serves_a_client_that_turns_to_it() {
        use Outcome::{Accepted, Refused, Silent};
        let analysis = Analysis::default();
        let next = tried(TARGET, 445, 150.0, Accepted);
        let turned = [tried(TARGET, 139, 0.0, Refused), next];
        assert_eq!(impact_of(&turned, &analysis), Impact::recovered(1));
        let silent = [tried(TARGET, 139, 0.0, Silent), next];
        assert_eq!(impact_of(&silent, &analysis), Impact::attempts_failed(1));
        let used_before = [turned[0], tried(TARGET, 445, -5_000.0, Accepted), next];
        assert_eq!(
            impact_of(&used_before, &analysis),
            Impact::attempts_failed(1)
        );
    }

    #[test]
    fn other_address_of_the_name_serves_the_client() {
        use Outcome::{Accepted, Silent};
        let tries = [
            tried("203.0.113.1", 443, 0.0, Silent),
            tried("203.0.113.2", 443, 300.0, Accepted),
        ];
        let mut analysis = Analysis::default();
        assert_eq!(impact_of(&tries, &analysis), Impact::attempts_failed(1));
        let addresses = tries.map(|(connection, ..)| connection.server.ip);
        let names = &mut analysis.dns_names;
        names.insert("example.com".to_owned(), addresses.into_iter().collect());
        assert_eq!(impact_of(&tries, &analysis), Impact::recovered(1));
    }
}

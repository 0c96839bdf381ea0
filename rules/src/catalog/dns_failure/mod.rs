//! `dns-failure`: questions that fail or stay without answer.

use std::collections::BTreeMap;
use std::time::Duration;

use analyzer::app::{At, DnsExchange};
use analyzer::event::EventKind;
use analyzer::{Analysis, Connection, Direction, Event, Timestamp, Transport};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations, segment_at};
use crate::model::rule::Rule;
use crate::model::text::{ms, time};
use crate::signs::named::name_of;

declare_rule! {
    /// DNS queries fail, get no response, or are answered late.
    ///
    /// ## What it means
    /// A resolver did not respond, returned a failure (SERVFAIL) or a refusal (REFUSED), reported many names as
    /// non-existent (NXDOMAIN), or took more than a second.
    ///
    /// ## Why it matters
    /// Every connection by name waits for DNS first. A lost response costs the resolver library's timeout,
    /// usually five seconds, before the query is retransmitted.
    ///
    /// ## How it is detected
    /// Queries are paired with responses by transaction id, ports and name. The queries of one client for one
    /// name and type, at any server and with any id, are one lookup until it is answered or abandoned.
    /// - *Unanswered*: the client asked again later without a response, or only the retry was answered.
    /// - *Failed*: SERVFAIL or REFUSED. *Late*: a response after a second and more.
    /// - *Truncated*: the response did not fit into a datagram (TC), and the client did not ask over TCP, or
    ///   TCP to the server failed. *From elsewhere*: an address other than the one asked responds; clients
    ///   discard that.
    /// - *Missing names*: ten and more NXDOMAIN from one server, which search domains cause: info.
    ///
    /// What proves it: the frame of the retried query, or of the failing response.
    ///
    /// What refutes it: nobody asks again; the client uses the name (Host, SNI) right after; an ICMP error
    /// gives the reason (see icmp-unreachable); nothing the client sends gets a response (see its own silence);
    /// the responses were not captured.
    ///
    /// Dynamic updates, class CHAOS, multicast DNS and NetBIOS names are left out. Servers that leave the same
    /// lookup unanswered are one finding. Severity follows the failed lookups of one client and the time
    /// waited. A response from another server, for another type, or for the name before its search domain is a
    /// recovery.
    ///
    /// ## What to do
    /// By kind: check the resolver's health and reachability, its upstream, the search list, and how the
    /// network handles parallel queries.
    ///
    /// ## Known limits
    /// Encrypted DNS is not visible. A response that took another path counts as missing.
    ///
    /// ## References
    /// - RFC 1035 §4.1.1; RFC 2308; RFC 6891; resolv.conf(5)
    pub(crate) struct DnsFailure {
        id: "dns-failure",
        group: Services,
        title: "DNS queries fail",
        severity: High,
        needs: [],
        clouded_by: [CaptureDrops, OneSided],
        figures: [failures: Count / Sum, waited_ms: Milliseconds / Max],
        thresholds: [
            retry_after_ms = 200.0: "A query sooner after the first is one of several at once, not a retry.",
            retry_within_ms = 15000.0: "A query later than this after the previous one is a new lookup; resolver libraries wait 1 to 10 seconds.",
            slow_ms = 1000.0: "Responses later than this are slow.",
            min_nxdomain = 10.0: "Number of non-existent names from which it is worth reporting.",
        ],
        host_evidence: [IdleLimits, DatagramDrops, Owner],
    }
}

/// Ports of multicast DNS, LLMNR and NetBIOS names: most questions there are not for anybody.
const CHATTER: [u16; 3] = [5353, 5355, 137];

/// Where name servers listen (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;
/// Questions so close together are a pair.
const PAIR: Duration = Duration::from_millis(20);
/// Types A and AAAA (RFC 1035 §3.2.2, RFC 3596 §2.1).
const ADDRESSES: [u16; 2] = [1, 28];

/// What a question led to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outcome {
    /// Nothing, or an answer to its repetition only.
    NoAnswer,
    /// The server failed.
    ServFail,
    /// The server refused.
    Refused,
    /// There is no such name.
    NoSuchName,
    /// An answer, late.
    Slow,
    /// An answer that did not fit, and no other.
    Truncated,
    /// The same, though the client tried TCP.
    TcpFailed,
    /// An answer from an address that was not asked.
    Elsewhere,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NoAnswer => "no response",
            Self::ServFail => "SERVFAIL",
            Self::Refused => "REFUSED",
            Self::NoSuchName => "NXDOMAIN",
            Self::Slow => "slow",
            Self::Truncated => "truncated",
            Self::TcpFailed => "truncated, and TCP fails",
            Self::Elsewhere => "answered from elsewhere",
        }
    }
}

/// What a connection shows that is no failure.
pub(crate) enum Fact {
    /// A name of this record type was answered at the time of the note.
    Answered { name: String, qtype: u16, asked: At },
    /// The client used this name at the time of the note.
    Used(String),
    /// A TCP connection to a name server came to nothing.
    TcpFailed,
    /// An answer came on a flow on which nothing was asked.
    Unasked { id: u16, name: String },
    /// The client sends data on a connection of which the server's packets were not captured.
    HalfSeen,
}

/// A question that failed.
pub(crate) struct Seen {
    outcome: Outcome,
    id: u16,
    /// The other question of the pair (A and AAAA) from the same port was answered.
    other_half: bool,
    name: String,
    qtype: u16,
    repeats: u32,
    asked: At,
    last_asked: Timestamp,
    answered: Option<Timestamp>,
    /// Questions to this server in all.
    all: u64,
}

impl Rule for DnsFailure {
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
        if let Some(name) = name_of(conn) {
            out.note(|| Note::new(conn, Fact::Used(name)));
        }
        let sends = conn.from_client().unique_bytes > 0;
        if conn.transport == Transport::Tcp && sends && conn.from_server().packets == 0 {
            out.note(|| Note::new(conn, Fact::HalfSeen));
        }
        let ports = [conn.server.port, conn.client.port];
        let chatter = ports.iter().any(|port| CHATTER.contains(port));
        if chatter || conn.server.ip.is_multicast() {
            return;
        }
        // Without a request the client itself did not see the connection established, or gave it up.
        let unserved = conn.from_server().unique_bytes == 0
            && conn.handshake.syn_count > 0
            && (conn.from_client().unique_bytes == 0 || !conn.resets.is_empty());
        if conn.server.port == DNS_PORT && unserved {
            out.note(|| Note::new(conn, Fact::TcpFailed));
        }
        if let Some(unasked) = &conn.app.dns_unasked {
            let (id, name) = (unasked.id, unasked.name.clone());
            out.note(|| Note::new(conn, Fact::Unasked { id, name }).at(unasked.at.time));
        }
        for exchange in &conn.app.dns {
            match (outcome(conn, exchange, ctx), exchange.answered) {
                (Some(Outcome::NoAnswer), None) if is_returned(conn, exchange) => {}
                (Some(outcome), _) => out.push(observation(conn, exchange, outcome)),
                (None, answered) => out.note(|| {
                    let fact = Fact::Answered {
                        name: exchange.name.clone(),
                        qtype: exchange.qtype,
                        asked: exchange.asked,
                    };
                    Note::new(conn, fact).at(answered.unwrap_or(exchange.asked).time)
                }),
            }
        }
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        ctx: &Context<'_>,
        collected: &mut Collected<Seen, Fact>,
    ) {
        let mut observations = std::mem::take(&mut collected.observations);
        // Answers that were not captured are not missing.
        let was_heard = |one: &Observation<Seen>| one.seen.outcome != Outcome::NoAnswer;
        observations.retain(|one| !analysis.is_one_way || was_heard(one));
        let within = Duration::from_secs_f64(ctx.threshold("retry_within_ms") / 1e3);
        answers::refine(&collected.notes, &mut observations, within);
        let found = lookup::judge(analysis, ctx, &collected.notes, observations);
        let mut count = BTreeMap::<String, f64>::new();
        for one in &found {
            *count.entry(one.cause.clone()).or_default() += 1.0;
        }
        let few = ctx.threshold("min_nxdomain");
        let many = |one: &Observation<Seen>| count.get(&one.cause).is_some_and(|all| *all >= few);
        collected.observations = found;
        collected
            .observations
            .retain(|one| one.seen.outcome != Outcome::NoSuchName || many(one));
    }

    fn describe(&self, group: &Group<'_, Seen, Fact>, draft: Narrative) -> Narrative {
        words::tell(group, draft)
    }
}

/// What went wrong with a question, if anything.
fn outcome(conn: &Connection, exchange: &DnsExchange, ctx: &Context<'_>) -> Option<Outcome> {
    let Some(answered) = exchange.answered else {
        return Some(Outcome::NoAnswer);
    };
    let slow = ctx.threshold("slow_ms");
    match exchange.rcode {
        Some(2) => Some(Outcome::ServFail),
        Some(5) => Some(Outcome::Refused),
        Some(3) => Some(Outcome::NoSuchName),
        Some(0) if exchange.truncated && conn.transport == Transport::Udp => {
            Some(Outcome::Truncated)
        }
        _ if ms(answered.time.since(exchange.asked.time)) < slow => None,
        // The repetition was answered at once: the question before it was lost.
        _ if ms(answered.time.since(exchange.last_asked.time)) < slow => Some(Outcome::NoAnswer),
        _ => Some(Outcome::Slow),
    }
}

/// Whether the question for the other kind of address, sent with this one from one port, was answered
/// before this one was asked again.
fn other_half_answered(conn: &Connection, exchange: &DnsExchange) -> bool {
    let is_address = |qtype| ADDRESSES.contains(&qtype);
    conn.app.dns.iter().any(|other| {
        let apart = exchange.asked.time.since(other.asked.time);
        let apart = apart.max(other.asked.time.since(exchange.asked.time));
        other.name == exchange.name
            && other.qtype != exchange.qtype
            && is_address(other.qtype)
            && is_address(exchange.qtype)
            && apart <= PAIR
            && other
                .answered
                .is_some_and(|at| at.time <= exchange.last_asked.time)
    })
}

/// An ICMP error returned the question: the address is not served at all, and says so. So may one
/// that was not kept.
fn is_returned(conn: &Connection, exchange: &DnsExchange) -> bool {
    let returns = |event: &Event| {
        let undelivered = matches!(
            event.kind,
            EventKind::IcmpError(icmp) if icmp.icmp_type == if icmp.v6 { 1 } else { 3 }
        );
        undelivered
            && event.segment.direction == Direction::ClientToServer
            && event.segment.time >= exchange.asked.time
    };
    (conn.all_events()).is_none_or(|events| events.iter().any(returns))
}

fn observation(conn: &Connection, exchange: &DnsExchange, outcome: Outcome) -> Observation<Seen> {
    let (asked, last_asked) = (exchange.asked, exchange.last_asked);
    let answered = exchange.answered;
    let until = answered.map_or(last_asked, |answered| answered);
    let repeated =
        (exchange.repeats > 0).then(|| segment_at(conn, last_asked, Direction::ClientToServer));
    let answer = answered.map(|at| segment_at(conn, at, Direction::ServerToClient));
    let waited = ms(until.time.since(asked.time));
    Observation::new(conn, confidence::STRONG, Impact::SOME)
        .cause(format!("{} {}", conn.server, outcome.as_str()))
        .at(asked.time)
        .measured(
            asked.time,
            if outcome == Outcome::Slow {
                until.time
            } else {
                asked.time
            },
        )
        .weight(waited)
        .evidence(
            segment_at(conn, asked, Direction::ClientToServer),
            format!("query for {} (id {})", exchange.name, exchange.id),
        )
        .proof_if(repeated, "the same query again: no response had come")
        .proof_if(
            answer,
            format!("response {} after the first query", time(waited)),
        )
        .figure("failures", 1.0)
        .figure("waited_ms", waited)
        .seen(Seen {
            outcome,
            id: exchange.id,
            other_half: other_half_answered(conn, exchange),
            name: exchange.name.clone(),
            qtype: exchange.qtype,
            repeats: exchange.repeats,
            asked,
            last_asked: last_asked.time,
            answered: answered.map(|at| at.time),
            all: 0,
        })
}

mod answers;
mod lookup;
mod words;

#[cfg(test)]
mod tests;

//! `timestamp-rejected`: SYNs with an older timestamp than another one of their address are ignored.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use analyzer::event::SegmentRef;
use analyzer::{Analysis, Connection, Endpoint};

use crate::model::confidence;
use crate::model::connection_ref::ConnectionRef;
use crate::model::context::Context;
use crate::model::evidence::Evidence;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, number, time};

declare_rule! {
    /// A server ignores SYNs whose timestamp is older than one it has seen from the same address.
    ///
    /// ## What it means
    /// Several hosts share one address behind a NAT, each with its own clock for TCP timestamps. A server that
    /// remembers the last timestamp of each address (Linux before 4.12 with `tcp_tw_recycle`, some load
    /// balancers and firewalls) takes the SYNs of hosts whose clock is behind for old duplicates and drops them
    /// silently.
    ///
    /// ## Why it matters
    /// Some of the hosts behind the address cannot connect for as long as others do, and no error shows why.
    ///
    /// ## How it is detected
    /// - SYNs of one address to one server carry timestamps. Each one that was retransmitted and never answered
    ///   carries an older timestamp than a SYN of that address which the server answered up to 60 s before.
    /// - No answered SYN carries an older timestamp than such a SYN.
    /// - There are at least three of either kind: so many separate by chance once in twenty times, fewer more
    ///   often.
    ///
    /// The unanswered SYN and the newer one answered before it prove it. One answered SYN with an older
    /// timestamp, or an unanswered one with a newer, refutes it. Severity follows the failed attempts.
    ///
    /// ## What to do
    /// Disable the check on the server: `net.ipv4.tcp_tw_recycle = 0`, or its equivalent on the device in front
    /// of it.
    ///
    /// ## Known limits
    /// Where the hosts' clocks overlap too little, or all SYNs fail, it looks like syn-unanswered. Segments of
    /// established connections that are dropped for their timestamp are not examined.
    ///
    /// ## References
    /// - RFC 7323 §5 (PAWS), RFC 6191 (TIME-WAIT and timestamps)
    pub(crate) struct TimestampRejected {
        id: "timestamp-rejected",
        group: ConnectionPhase,
        title: "SYNs with an older timestamp are ignored",
        severity: Medium,
        needs: [Tcp, Handshake],
        clouded_by: [CaptureDrops, OneSided],
        figures: [ignored: Count / Sum, answered: Count / Max],
        thresholds: [
            min_ignored = 3.0: "SYNs with an older timestamp that must have been ignored.",
            min_answered = 3.0: "SYNs that must have been answered, none of them with an older timestamp.",
        ],
    }
}

/// How long a server remembers the timestamp of an address (Linux: `TCP_PAWS_MSL`).
const REMEMBERED: Duration = Duration::from_secs(60);

/// An attempt to connect whose SYN bears a timestamp.
#[derive(Clone, Copy)]
pub(crate) struct Attempt {
    syn: SegmentRef,
    timestamp: u32,
    syns: u32,
    answered: bool,
}

/// An ignored SYN.
pub(crate) struct Seen {
    /// Attempts of the address that were answered.
    answered: u64,
}

impl Rule for TimestampRejected {
    type Seen = Seen;
    type Fact = Attempt;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        _ctx: &Context<'_>,
        out: &mut Observations<Seen, Attempt>,
    ) {
        let handshake = &conn.handshake;
        let (Some(syn), Some(timestamp)) = (handshake.syns.first(), handshake.syn_timestamp) else {
            return;
        };
        // One SYN alone may have been answered unseen, or be a scanner's.
        let answered = handshake.syn_ack_count > 0;
        if answered || handshake.syn_count > 1 && conn.from_server().packets == 0 {
            out.note(|| {
                let attempt = Attempt {
                    syn: *syn,
                    timestamp,
                    syns: handshake.syn_count,
                    answered,
                };
                Note::new(conn, attempt).at(syn.time)
            });
        }
    }

    fn on_capture(
        &self,
        _analysis: &Analysis,
        ctx: &Context<'_>,
        collected: &mut Collected<Seen, Attempt>,
    ) {
        let mut pairs = BTreeMap::<(IpAddr, Endpoint), Vec<&Note<Attempt>>>::new();
        for note in &collected.notes {
            let connection: &ConnectionRef = &note.connection;
            let pair = (connection.client.ip, connection.server);
            pairs.entry(pair).or_default().push(note);
        }
        for notes in pairs.values_mut() {
            notes.sort_by_key(|note| (note.fact.syn.time, note.fact.syn.frame));
            let answered = notes.iter().filter(|note| note.fact.answered).count() as u64;
            let ignored = (notes.len() as u64).saturating_sub(answered);
            if number(answered) < ctx.threshold("min_answered")
                || number(ignored) < ctx.threshold("min_ignored")
            {
                continue;
            }
            let rejected = rejected(notes).into_iter().flatten();
            let rejected = rejected.map(|(note, newer)| observation(note, newer, answered));
            collected.observations.extend(rejected);
        }
    }

    fn describe(&self, group: &Group<'_, Seen, Attempt>, draft: Narrative) -> Narrative {
        let server = group.server();
        let client = group.client().ip;
        let ignored = many(group.connections(), "attempt");
        let answered = group.seen().map(|seen| seen.answered).max().unwrap_or(0);
        draft
            .title(format!("{server} ignores SYNs of {client} with an older timestamp"))
            .summary(format!("{ignored} of {client} to connect to {server} got no answer. Each carried an older TCP timestamp than a SYN of the same address that had been answered shortly before; {answered} with newer ones were answered. Several hosts share the address, and the server takes SYNs with older timestamps for old duplicates."))
            .confidence(confidence::LIKELY, "The timestamps separate answered from ignored SYNs of the address without exception.")
            .because("every ignored SYN has an older timestamp than an answered one before it, and no answered SYN has")
            .not("syn-unanswered", "the server answers other SYNs of the same address at the same time")
            .not("listen-overflow", "a full queue would not sort SYNs by their timestamps")
            .set("Linux", "on servers before 4.12", "net.ipv4.tcp_tw_recycle = 0")
            .advise("network", format!("find the load balancer or firewall in front of {} that checks timestamps per address, and let it check them per connection", server.ip))
            .verify("server", "nstat -az TcpExtPAWSPassive TcpExtPAWSActive; sysctl net.ipv4.tcp_tw_recycle", "grows with each ignored SYN")
    }
}

/// The attempts that a server ignores which remembers the newest timestamp of the address, each with
/// the one that it remembers; `None` when an attempt fared otherwise.
fn rejected<'a>(
    notes: &[&'a Note<Attempt>],
) -> Option<Vec<(&'a Note<Attempt>, &'a Note<Attempt>)>> {
    let mut rejected = Vec::new();
    let mut newest: Option<&Note<Attempt>> = None;
    for note in notes {
        let remembered = newest.filter(|known| note.at.since(known.at) <= REMEMBERED);
        let age = |known: &Note<Attempt>| known.fact.timestamp.wrapping_sub(note.fact.timestamp);
        let older = remembered.filter(|known| age(known).cast_signed() > 0);
        match (older, note.fact.answered) {
            (Some(newer), false) => rejected.push((*note, newer)),
            (None, true) => newest = Some(note),
            (Some(_), true) | (None, false) => return None,
        }
    }
    Some(rejected)
}

fn observation(note: &Note<Attempt>, newer: &Note<Attempt>, answered: u64) -> Observation<Seen> {
    let (own, other) = (note.fact, newer.fact);
    let mut observation =
        Observation::from_note(note, confidence::LIKELY, Impact::attempts_failed(1))
            .cause(format!(
                "{} {}",
                note.connection.client.ip, note.connection.server
            ))
            .weight(f64::from(own.syns))
            .proof(
                own.syn,
                format!(
                    "SYN with an older timestamp ({}), {} later: sent {} times and never answered",
                    own.timestamp,
                    time(ms(own.syn.time.since(other.syn.time))),
                    own.syns
                ),
            )
            .figure("ignored", 1.0)
            .figure("answered", number(answered))
            .cost("connections_failed", 1.0)
            .seen(Seen { answered });
    observation.evidence.push(Evidence {
        segment: other.syn,
        connection: newer.connection,
        note: format!(
            "SYN of the same address with timestamp {}, answered",
            other.timestamp
        ),
        proves: false,
    });
    observation
}

#[cfg(test)]
mod tests {
    use analyzer::decode::TcpFlags;

    use super::*;
    use crate::model::finding::Finding;
    use crate::model::severity::Severity;
    use crate::testkit::findings_of;
    use crate::testkit::script::{Capture, MS, Marks, fields};

    /// An attempt at so many seconds whose SYN bears this timestamp.
    fn attempt(number: u16, seconds: u64, timestamp: u32, answered: bool) -> Connection {
        let mut capture = Capture::of_client(40_000 + number, u64::from(number) * 100 + 1);
        let at = seconds * 1_000 * MS;
        let marks = |later| Marks {
            ts: Some((timestamp + later, 0)),
            ip_id: None,
        };
        let syn = fields(100, 0, TcpFlags::SYN);
        capture.packet(true, at, marks(0), syn, 0);
        if answered {
            let answer = fields(900, 101, TcpFlags::SYN | TcpFlags::ACK);
            capture.packet(false, at + 20 * MS, Marks::default(), answer, 0);
            let ack = fields(101, 901, TcpFlags::ACK);
            capture.packet(true, at + 20 * MS, marks(20), ack, 0);
        } else {
            capture.packet(true, at + 1_000 * MS, marks(1_000), syn, 0);
        }
        capture.finish()
    }

    /// Two hosts in turn, whose clocks differ by a day.
    fn in_turn(fates: [bool; 6]) -> Vec<Finding> {
        let connections: Vec<_> = (0..)
            .zip(fates)
            .map(|(number, answered): (u16, bool)| {
                let seconds = u32::from(number) * 3;
                let timestamp = seconds * 1_000 + u32::from(number % 2 == 0) * 86_400_000;
                attempt(number, u64::from(seconds), timestamp, answered)
            })
            .collect();
        findings_of("timestamp-rejected", &connections)
    }

    #[test]
    fn a_clock_behind_another_of_its_address_is_ignored() {
        let findings = in_turn([true, false, true, false, true, false]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Medium);
        assert_eq!(findings[0].occurrences, 3);
        let proofs = findings[0].evidence.iter().filter(|one| one.proves);
        assert_eq!(proofs.count(), 3);
    }

    #[test]
    fn one_that_fares_otherwise_refutes_it() {
        assert!(in_turn([true, false, true, true, true, false]).is_empty());
        assert!(in_turn([true, false, false, false, true, false]).is_empty());
        assert!(in_turn([true; 6]).is_empty());
    }
}

//! `duplicate-address`: two stations hold one IP address.

use std::time::Duration;

use analyzer::analysis::{AddressConflict, Analysis};
use analyzer::event::{At, SegmentRef};
use analyzer::hosts::HostProfile;
use analyzer::{Connection, Direction, Endpoint, Transport};

use crate::model::confidence;
use crate::model::connection_ref::ConnectionRef;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{mac, many, ms, number, plural, span, time};

declare_rule! {
    /// Two hardware addresses claim one IP address by ARP, or two stacks answer one SYN.
    ///
    /// ## What it means
    /// Two stations use one address (set by hand, given by two DHCP servers, a cloned virtual machine), or one of
    /// them spoofs ARP to receive the other's traffic. Where ARP is not captured, a load balancer or
    /// alternating routes (anycast) lead the packets of one connection to two hosts.
    ///
    /// ## Why it matters
    /// Traffic to the address reaches now one station, now the other. Each resets the other's connections or
    /// leaves them unanswered.
    ///
    /// ## How it is detected
    /// - ARP packets name one IP address as their sender's, with two hardware addresses.
    /// - The two alternate: each claims the address again after the other did, so three changes or more, none
    ///   of them later than 60 s after the claim before.
    /// - Neither is an address that redundant routers share (VRRP, HSRP, GLBP).
    /// - Neither claims four addresses or more, as a router that answers for others does (proxy ARP).
    /// - Or: SYN-ACKs with two initial sequence numbers answer the same SYN, and the first number returns 100
    ///   ms or more after the second, because each stack retransmits its own.
    ///
    /// What proves it: one claim of each station and one more of each, or the three SYN-ACKs. What refutes it:
    /// a lasting change, such as a standby that takes over, a new network card, or one host that lost the
    /// attempt and answers with a new number from then on.
    ///
    /// `changes` counts how often the claim (or the answering stack) changed, `stations` names the two. A
    /// conflict of ARP alone is low: other findings measure what it does to connections. Two stacks cost the
    /// time until one of them accepted the client's data.
    ///
    /// ## What to do
    /// Find both stations by their hardware addresses in the switches' tables, and give one of them another
    /// address.
    ///
    /// ## Known limits
    /// A host with two network cards in one segment may answer with both (Linux, unless `arp_ignore` is set),
    /// and so may one that balances over its cards: both are reported here. A station that claims a whole range
    /// of addresses counts as a proxy. IPv6 neighbour discovery is not examined. Two stacks that never
    /// alternate look like one that lost the attempt.
    ///
    /// ## References
    /// - RFC 5227 §2.4 (address conflict detection), RFC 826 (ARP), RFC 1027 (proxy ARP)
    /// - RFC 9568 §7.3 (hardware addresses of VRRP)
    /// - RFC 9293 §3.4.1 (one initial sequence number for each connection)
    pub(crate) struct AddressHeldTwice {
        id: "duplicate-address",
        group: LossAndPath,
        title: "Two stations claim one IP address",
        severity: Medium,
        needs: [],
        traits: [SynAckAgain],
        clouded_by: [],
        figures: [changes: Count / Max, stations: Text / Most],
        thresholds: [
            min_changes = 3.0: "How often the claim must change from one station to the other; a takeover and its reversal are two.",
        ],
    }
}

/// A repeated SYN-ACK that comes so much later was sent after the other stack's.
const LATER: Duration = Duration::from_millis(100);

/// Who holds an address twice.
pub(crate) enum Seen {
    /// Two hardware addresses claim it.
    Stations([String; 2]),
    /// Two stacks answer one SYN: how long that delayed the connection, if it was served at last.
    Stacks(Option<Duration>),
}

impl Rule for AddressHeldTwice {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations<Seen>) {
        two_stacks(conn).into_iter().for_each(|one| out.push(one));
    }

    fn on_capture(&self, analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected<Seen>) {
        collected.observations.retain(|one| {
            let client = analysis.hosts.get(one.connection.client.ip);
            !client.is_some_and(HostProfile::is_scanner)
        });
        let least = ctx.threshold("min_changes");
        let conflicts = analysis.address_conflicts.iter();
        let conflicts = conflicts.filter(|one| number(one.changes) >= least);
        collected.observations.extend(conflicts.map(observation));
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        match &group.best().seen {
            Seen::Stations(macs) => tell_stations(group, macs, draft),
            Seen::Stacks(_) => tell_stacks(group, draft),
        }
    }
}

fn tell_stations(
    group: &Group<'_, Seen>,
    [one, other]: &[String; 2],
    draft: Narrative,
) -> Narrative {
    let address = group.server().ip;
    let changes = group.figure("changes").unwrap_or_default();
    let mut draft = draft
        .title(format!("Two stations claim the address {address}"))
        .summary(format!(
            "{one} and {other} both claim {address} by ARP: the claim changed from one to the other {}. Traffic to \
             {address} reaches now one of them, now the other.",
            plural(changes, "time"),
        ))
        .confidence(confidence::LIKELY, "Each of the two claimed the address again after the other; a host with two network cards may do so too.")
        .because(format!("each of {one} and {other} claims the address again after the other did"))
        .not("takeover by a standby", "in that case the address changes once and stays")
        .not("redundant routers", "neither hardware address is one that VRRP, HSRP or GLBP shares")
        .not("proxy ARP", "neither station claims a range of addresses")
        .advise("network", format!("find {one} and {other} in the switches' address tables, and give one of the stations another address"))
        .set("Linux", "let each NIC answer for its own address only, if both belong to one host", "net.ipv4.conf.all.arp_ignore = 1, net.ipv4.conf.all.arp_announce = 2")
        .verify("any host of the segment", format!("arping -D -c 3 -I IFACE {address}"), "answers from two hardware addresses");
    draft.filter = Some(format!("arp.src.proto_ipv4=={address}"));
    draft
}

fn tell_stacks(group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
    let server = group.server();
    let waits = group.seen().filter_map(|seen| match seen {
        Seen::Stacks(waited) => *waited,
        Seen::Stations(_) => None,
    });
    let cost = match waits.max() {
        Some(longest) => format!(
            "the connection was served {} after the first of them",
            span(longest)
        ),
        None => "the connection was not served".to_owned(),
    };
    draft
        .title(format!("Two stacks answer connections to {server}"))
        .summary(format!(
            "On {}, SYN-ACKs with two initial sequence numbers answer the same SYN of {} alternately: the client completes the handshake with one stack while the other waits; {cost}.",
            many(group.connections(), "connection"),
            group.client().ip,
        ))
        .confidence(confidence::LIKELY, "A stack that lost an attempt would not retransmit its old answer after the new one.")
        .because("the first initial sequence number returns after the second: both attempts exist at one time")
        .not("SYN cookies", "such a server retransmits no SYN-ACK, and its number does not return to an older one")
        .not("port-reuse-collision", "no older connection answers: both SYN-ACKs acknowledge this SYN")
        .advise("network", format!("find what leads packets to {server} to two hosts: a load balancer without affinity, alternating routes (ECMP, anycast), two hosts with one address, or a device that answers with the server's address"))
        .verify("any", format!("traceroute -T -p {} {}", server.port, server.ip), "two different paths or last hops")
}

/// An attempt to connect that two stacks answered in turn.
fn two_stacks(conn: &Connection) -> Option<Observation<Seen>> {
    let answers = &conn.handshake.syn_acks;
    let first = answers.first()?;
    let of_syn = |one: &&SegmentRef| one.ack == first.ack;
    let other = answers
        .iter()
        .filter(of_syn)
        .find(|one| one.seq != first.seq)?;
    let again = answers.iter().filter(of_syn);
    let mut again = again.filter(|one| one.time.since(other.time) >= LATER);
    let again = again.find(|one| one.seq == first.seq)?;
    let turns = answers.windows(2).filter(|pair| pair[0].seq != pair[1].seq);
    let answer = conn.from_server().first_data;
    let acked = conn.turns.last.and_then(|turn| turn.request_acked);
    let served = answer.map(|answer| answer.time).or(acked);
    let waited = served.map(|served| served.since(first.time));
    let impact = waited.map_or(Impact::attempts_failed(1), Impact::waited);
    let number_of = |one: &SegmentRef| format!("initial sequence number {}", one.seq.0);
    let found = Observation::new(conn, confidence::LIKELY, impact)
        .cause(format!("stacks {}", conn.server))
        .at(other.time)
        .weight(ms(waited.unwrap_or_default()))
        .evidence(
            *first,
            format!("SYN-ACK of one stack, {}", number_of(first)),
        )
        .proof(
            *other,
            format!("another SYN-ACK to the same SYN, {}", number_of(other)),
        )
        .proof(
            *again,
            format!(
                "the first stack retransmits its own, {} later",
                time(ms(again.time.since(other.time)))
            ),
        )
        .figure("changes", number(turns.count() as u64))
        .cost("time_lost_ms", ms(waited.unwrap_or_default()))
        .seen(Seen::Stacks(waited));
    Some(found)
}

fn observation(one: &AddressConflict) -> Observation<Seen> {
    let place = |at: At| SegmentRef::place(at.frame, at.time, Direction::ServerToClient);
    let [first, second, again, back] = one.claims;
    let held = Endpoint::new(one.address, 0);
    let connection = ConnectionRef {
        first_frame: first.frame,
        transport: Transport::Udp,
        client: held,
        server: held,
        translated_to: None,
    };
    let note = Note {
        connection,
        at: first.time,
        fact: (),
        limits: Vec::new(),
        owner: None,
    };
    let macs = one.macs.map(mac);
    let claims = |station: &String| format!("{station} claims the address");
    let claims_again = |station: &String| format!("{station} claims it again");
    Observation::from_note(&note, confidence::LIKELY, Impact::SOME)
        .cause(one.address.to_string())
        .weight(number(one.changes))
        .evidence(place(first), claims(&macs[0]))
        .evidence(place(second), claims(&macs[1]))
        .proof(place(again), claims_again(&macs[0]))
        .proof(place(back), claims_again(&macs[1]))
        .figure("changes", number(one.changes))
        .text("stations", macs.join(" and "))
        .seen(Seen::Stations(macs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    use analyzer::decode::TcpFlags;

    use crate::model::finding::Finding;
    use crate::model::severity::Severity;
    use crate::testkit::script::Capture;
    use crate::testkit::{at, figure, findings_in, findings_of};

    fn conflict(changes: u64) -> Analysis {
        let claim = |frame, ms| At {
            frame,
            time: at(ms),
        };
        let claims = [
            claim(1, 0.0),
            claim(2, 1.0),
            claim(5, 900.0),
            claim(6, 901.0),
        ];
        let one = AddressConflict {
            address: IpAddr::from([10, 0, 0, 7]),
            macs: [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]],
            claims,
            changes,
        };
        Analysis {
            address_conflicts: vec![one],
            ..Analysis::default()
        }
    }

    #[test]
    fn two_stations_that_claim_in_turn_are_told() {
        let findings = findings_in("duplicate-address", &[], &conflict(5));
        assert_eq!(findings.len(), 1);
        let finding = &findings[0];
        assert_eq!(finding.severity, Severity::Low);
        assert!((figure(finding, "changes") - 5.0).abs() < f64::EPSILON);
        assert!(
            finding
                .summary
                .contains("02:00:00:00:00:01 and 02:00:00:00:00:02")
        );
        let proofs = finding.evidence.iter().filter(|one| one.proves);
        let proofs: Vec<u64> = proofs.map(|one| one.segment.frame).collect();
        assert_eq!(proofs, [5, 6]);
    }

    /// A server whose SYN-ACKs bear these numbers, one a second.
    fn answered(numbers: &[u32]) -> Vec<Finding> {
        let mut capture = Capture::new();
        capture.client(0, TcpFlags::SYN, 100, 0, 0);
        for (seconds, number) in (0..).zip(numbers) {
            let at = 20_000 + seconds * 1_000_000;
            capture.server(at, TcpFlags::SYN | TcpFlags::ACK, *number, 101, 0);
        }
        let last = numbers[numbers.len() - 1] + 1;
        capture.client(3_500_000, TcpFlags::PSH | TcpFlags::ACK, 101, last, 80);
        capture.server(3_520_000, TcpFlags::PSH | TcpFlags::ACK, last, 181, 80);
        findings_of("duplicate-address", &[capture.finish()])
    }

    #[test]
    fn two_stacks_that_answer_in_turn_are_told() {
        let findings = answered(&[900, 50_000, 900]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Medium);
        let proofs = findings[0].evidence.iter().filter(|one| one.proves);
        assert_eq!(
            proofs.map(|one| one.segment.frame).collect::<Vec<_>>(),
            [3, 4]
        );
    }

    #[test]
    fn one_stack_may_forget_an_attempt() {
        assert!(answered(&[900, 50_000, 50_000]).is_empty());
        assert!(answered(&[900, 900, 900]).is_empty());
    }

    #[test]
    fn there_and_back_is_a_take_over() {
        assert!(findings_in("duplicate-address", &[], &conflict(2)).is_empty());
    }
}

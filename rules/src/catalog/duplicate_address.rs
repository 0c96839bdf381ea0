//! `duplicate-address`: two stations hold one IP address.

use analyzer::analysis::{AddressConflict, Analysis};
use analyzer::event::{At, SegmentRef};
use analyzer::{Direction, Endpoint, Transport};

use crate::model::confidence;
use crate::model::connection_ref::ConnectionRef;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation};
use crate::model::rule::Rule;
use crate::model::text::{mac, number, plural};

declare_rule! {
    /// Two hardware addresses claim one IP address by ARP, in turn.
    ///
    /// ## What it means
    /// Two stations were given the same address: by hand, by two DHCP servers, by a copied virtual
    /// machine. Or one of them forges ARP to be taken for the other.
    ///
    /// ## Why it matters
    /// Whoever speaks to the address reaches now one station, now the other. Connections of the one
    /// are reset or left without answer by the other.
    ///
    /// ## How it is detected
    /// - ARP packets name one IP address as their sender's, with two hardware addresses.
    /// - The two take turns: each claims the address again after the other did, so three changes or
    ///   more, none of them later than 60 s after the claim before.
    /// - Neither is an address that redundant routers share (VRRP, HSRP, GLBP).
    /// - Neither claims four addresses or more, as a router that answers for others does (proxy ARP).
    ///
    /// What proves it are the claims cited, one of each station and one more of each. What would refute
    /// it is a change for good: a take-over by a standby, or a new network card. `changes` counts how
    /// often the claim went over, `stations` names the two. A conflict alone is low: what it does to
    /// connections, other findings measure.
    ///
    /// ## What to do
    /// Find both stations by their hardware addresses in the tables of the switches, and give one of
    /// them another address.
    ///
    /// ## Known limits
    /// A host with two network cards in one segment may answer with both (Linux, unless `arp_ignore` is
    /// set), and so may one that balances over its cards: both are told here. Who claims a whole range
    /// of addresses is taken for a proxy. IPv6, which uses neighbour discovery, is not looked at.
    ///
    /// ## References
    /// - RFC 5227 §2.4 (address conflict detection), RFC 826 (ARP), RFC 1027 (proxy ARP)
    /// - RFC 9568 §7.3 (hardware addresses of VRRP)
    pub(crate) struct AddressHeldTwice {
        id: "duplicate-address",
        group: LossAndPath,
        title: "Two stations claim one IP address",
        severity: Low,
        needs: [],
        clouded_by: [],
        figures: [changes: Count / Max, stations: Text / Most],
        thresholds: [
            min_changes = 3.0: "How often the claim must go from one station to the other; a take-over and the way back are two.",
        ],
    }
}

/// An address that two stations claim.
pub(crate) struct Seen {
    macs: [String; 2],
}

impl Rule for AddressHeldTwice {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_capture(&self, analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected<Seen>) {
        let least = ctx.threshold("min_changes");
        let conflicts = analysis.address_conflicts.iter();
        let conflicts = conflicts.filter(|one| number(one.changes) >= least);
        collected.observations.extend(conflicts.map(observation));
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let address = group.server().ip;
        let [one, other] = &group.best().seen.macs;
        let changes = group.figure("changes").unwrap_or_default();
        let mut draft = draft
            .title(format!("Two stations claim the address {address}"))
            .summary(format!(
                "{one} and {other} both claim {address} by ARP: the claim went from one to the other {}. Who speaks to \
                 {address} reaches now one of them, now the other.",
                plural(changes, "time"),
            ))
            .confidence(confidence::LIKELY, "Each of the two claimed the address again after the other; a host with two network cards may do so too.")
            .because(format!("each of {one} and {other} claims the address again after the other did"))
            .not("take-over by a standby", "then the address changes for good")
            .not("redundant routers", "neither hardware address is one that VRRP, HSRP or GLBP share")
            .not("proxy ARP", "neither station claims a range of addresses")
            .advise("network", format!("look for {one} and {other} in the tables of the switches, and give one of the stations another address"))
            .set("Linux", "let each card answer for its own address only, if both belong to one host", "net.ipv4.conf.all.arp_ignore = 1, net.ipv4.conf.all.arp_announce = 2")
            .verify("any host of the segment", format!("arping -D -c 3 -I IFACE {address}"), "answers from two hardware addresses");
        draft.filter = Some(format!("arp.src.proto_ipv4=={address}"));
        draft
    }
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
        .seen(Seen { macs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{at, figure, findings_in};
    use std::net::IpAddr;

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

    #[test]
    fn there_and_back_is_a_take_over() {
        assert!(findings_in("duplicate-address", &[], &conflict(2)).is_empty());
    }
}

//! `asymmetric-path`: the two directions of a connection pass different stations next to the capture point.

use std::collections::BTreeSet;
use std::net::IpAddr;

use analyzer::event::{At, SegmentRef};
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Direction, Transport};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{mac, many, plural};
use crate::signs::handshake::is_handshake_ignored;

declare_rule! {
    /// Packets to an address go to one station, packets from it come from another.
    ///
    /// ## What it means
    /// The two directions of a connection take different ways: two routers, two network cards of one host, or a
    /// load balancer whose servers answer the client directly (direct server return).
    ///
    /// ## Why it matters
    /// It harms nobody by itself. A firewall or NAT that sees only one direction drops what does not fit its
    /// state: a client whose SYN-ACK arrives by another way completes a handshake that the device then discards,
    /// which looks like a full accept queue (listen-overflow) or a dead path. A capture on one of the ways shows
    /// one direction only.
    ///
    /// ## How it is detected
    /// - On Ethernet, all packets to the address have one hardware address as their destination, and all packets
    ///   from it have another one as their source.
    /// - A TCP connection with that address was captured in both directions.
    ///
    /// One packet of each direction proves it. What refutes it: a hardware address that redundant routers share
    /// (VRRP, HSRP, GLBP), which receives but does not send; one hardware address that both ends send from, or one
    /// that no station has, as in captures of something else than Ethernet; more than one hardware address in a direction, as
    /// in captures at several points or after a takeover. Confidence is lower where no packet shows the first one
    /// as a sender: it may be shared in a way that is not known here. Info; where the handshake of such a connection was
    /// ignored and it was never served, it counts as a failed attempt.
    ///
    /// ## What to do
    /// Where connections fail, check that every device that keeps state (firewall, NAT, load balancer) sees both
    /// directions: align routes and their metrics, or let the device share its state with its partner.
    ///
    /// ## Known limits
    /// Clusters of switches or firewalls with a shared hardware address of their own look the same. Ways that
    /// part further away are not visible here. Every fourth packet is examined.
    ///
    /// ## References
    /// - RFC 9568 §7.3 (hardware addresses of VRRP)
    /// - RFC 3234 §1.2 and §3 (middleboxes and the state they keep)
    pub(crate) struct AsymmetricPath {
        id: "asymmetric-path",
        group: LossAndPath,
        title: "The two directions take different ways",
        severity: Medium,
        needs: [Tcp, BothDirections],
        clouded_by: [DuplicateFrames],
        figures: [connections: Count / Sum, stations: Text / Most],
        thresholds: [],
    }
}

/// The group bit of a hardware address (IEEE 802 §8.2.2), which no sender has.
const GROUP: u8 = 1;

/// What may be said of a connection.
pub(crate) struct Ends {
    /// Its handshake was ignored, as by a device that saw half of it, and it was not served.
    is_ignored: bool,
}

/// The two ways of a connection.
pub(crate) struct Seen {
    /// The address, at one end of the connection.
    address: IpAddr,
    /// Hardware addresses: of packets to it, and of packets from it.
    to: String,
    from: String,
    is_ignored: bool,
    /// The first is seen to send packets, too.
    is_station: bool,
}

impl Rule for AsymmetricPath {
    type Seen = Seen;
    type Fact = Ends;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        _ctx: &Context<'_>,
        out: &mut Observations<Seen, Ends>,
    ) {
        if conn.transport == Transport::Tcp && !conn.is_one_sided() {
            let is_ignored = conn.turns.answered == 0 && is_handshake_ignored(conn);
            out.note(|| Note::new(conn, Ends { is_ignored }));
        }
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        _ctx: &Context<'_>,
        collected: &mut Collected<Seen, Ends>,
    ) {
        let sources = analysis
            .hosts
            .iter()
            .flat_map(HostProfile::hardware_addresses);
        let stations: BTreeSet<[u8; 6]> = sources.map(|one| one.mac).collect();
        let parted = |ip: IpAddr, other: IpAddr| {
            let other = analysis.hosts.get(other)?;
            ways(&shown(analysis.hosts.get(ip)?, other))
        };
        let found = collected.notes.iter().filter_map(|note| {
            let (client, server) = (note.connection.client.ip, note.connection.server.ip);
            let ends = [
                (server, client, Direction::ClientToServer),
                (client, server, Direction::ServerToClient),
            ];
            let mut parted = ends
                .into_iter()
                .filter_map(|(ip, other, towards)| Some((ip, towards, parted(ip, other)?)));
            let (ip, towards, ways) = parted.next()?;
            let is_station = stations.contains(&ways[0].0);
            Some(observation(note, (ip, towards), ways, is_station))
        });
        collected.observations.extend(found);
    }

    fn describe(&self, group: &Group<'_, Seen, Ends>, draft: Narrative) -> Narrative {
        let best = &group.best().seen;
        let (address, to, from) = (best.address, &best.to, &best.from);
        let addresses: BTreeSet<IpAddr> = group.seen().map(|seen| seen.address).collect();
        let ignored = group.having(|seen| seen.is_ignored);
        draft
            .title(format!("Packets to {address} go to {to}, packets from it come from {from}"))
            .summary(format!(
                "On {} with {}, each direction passes another station: packets to {address} go to {to}, and packets from it come from {from}. A firewall or NAT on one of the two ways sees half of these connections.",
                many(group.connections(), "connection"),
                plural(addresses.len() as f64, "such address"),
            ))
            .confidence(
                if best.is_station { confidence::LIKELY } else { confidence::OPEN },
                "Both hardware addresses were read from packets; whether they belong to one device is not on the wire.",
            )
            .because("all packets examined of a direction have the same hardware address")
            .because_if(best.is_station, || format!("{to} sends packets here as well: it is a station of its own"))
            .because_if(ignored > 0, || {
                format!("the handshakes of {} were ignored, as by a device that saw half of them", many(ignored, "connection"))
            })
            .not("redundant routers", "neither hardware address is one that VRRP, HSRP or GLBP shares")
            .advise("network", "where these connections fail, let every device that keeps state see both directions")
            .verify("any", format!("ip route get {address}; ip neigh"), "the router for this address, and its hardware address")
    }
}

/// A hardware address of a host.
#[derive(Clone, Copy)]
struct Shown {
    mac: [u8; 6],
    first: At,
    /// ARP named it before any packet came from it.
    is_claim: bool,
    is_shared: bool,
}

impl Shown {
    /// Whether a station can have it.
    const fn is_station(&self) -> bool {
        let [first, a, b, c, d, e] = self.mac;
        first & GROUP == 0 && first | a | b | c | d | e != 0
    }
}

/// How packets come to a host, how they come from it, and how they come from the `other` end.
fn shown(host: &HostProfile, other: &HostProfile) -> [Vec<Shown>; 3] {
    let to = host.reached_at();
    [to, host.hardware_addresses(), other.hardware_addresses()].map(|all| {
        let shown = all.iter().map(|one| Shown {
            mac: one.mac,
            first: one.first,
            is_claim: one.claimed == Some(one.first),
            is_shared: one.is_of_several_routers(),
        });
        shown.collect()
    })
}

/// The one hardware address of packets to a host and the one of packets from it, where they differ and are of single
/// stations. What makes Ethernet of something else writes one header for both directions: the other end's packets, of
/// which one has to be seen, come from the same address then.
fn ways([to, from, other]: &[Vec<Shown>; 3]) -> Option<[([u8; 6], At); 2]> {
    let ([to], [from]) = (&to[..], &from[..]) else {
        return None;
    };
    let is_made_up = other.is_empty() || other.iter().any(|one| one.mac == from.mac);
    let are_stations = [to, from]
        .iter()
        .all(|one| one.is_station() && !one.is_shared);
    // An answer to ARP may come from another card than packets do.
    let is_parted = to.mac != from.mac && are_stations && !from.is_claim && !is_made_up;
    is_parted.then_some([(to.mac, to.first), (from.mac, from.first)])
}

fn observation(
    note: &Note<Ends>,
    (address, towards): (IpAddr, Direction),
    [(to, there), (from, back)]: [([u8; 6], At); 2],
    is_station: bool,
) -> Observation<Seen> {
    let place = |at: At, direction| SegmentRef::place(at.frame, at.time, direction);
    let (to, from) = (mac(to), mac(from));
    let impact = if note.fact.is_ignored {
        Impact::attempts_failed(1)
    } else {
        Impact::NONE
    };
    let confidence = if is_station {
        confidence::LIKELY
    } else {
        confidence::OPEN
    };
    Observation::from_note(note, confidence, impact)
        .cause(format!("{to} {from}"))
        .weight(f64::from(u8::from(note.fact.is_ignored)))
        .proof(
            place(there, towards),
            format!("a packet to {address} goes to {to}"),
        )
        .proof(
            place(back, towards.reverse()),
            format!("a packet from {address} comes from {from}"),
        )
        .failures("connections_failed")
        .figure("connections", 1.0)
        .text("stations", format!("{to} and {from}"))
        .seen(Seen {
            address,
            to,
            from,
            is_ignored: note.fact.is_ignored,
            is_station,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::testkit::{Builder, at, findings_of};

    const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn seen(mac: [u8; 6]) -> Shown {
        Shown {
            mac,
            first: At {
                frame: u64::from(mac[5]),
                time: at(0.0),
            },
            is_claim: false,
            is_shared: false,
        }
    }

    fn parted(to: &[Shown], from: &[Shown], other: [u8; 6]) -> Vec<u64> {
        let found = ways(&[to.to_vec(), from.to_vec(), vec![seen(other)]]);
        let found = found.into_iter().flatten();
        found.map(|(_, first)| first.frame).collect()
    }

    #[test]
    fn one_station_for_each_direction_is_told() {
        assert_eq!(parted(&[seen(A)], &[seen(B)], OWN), [10, 11]);
    }

    #[test]
    fn one_router_and_several_are_not() {
        assert!(parted(&[seen(A)], &[seen(A)], OWN).is_empty());
        assert!(parted(&[seen(A), seen(B)], &[seen(B)], OWN).is_empty());
        assert!(parted(&[], &[seen(B)], OWN).is_empty());
    }

    #[test]
    fn shared_and_made_up_addresses_are_not() {
        let shared = Shown {
            is_shared: true,
            ..seen(A)
        };
        let claimed = Shown {
            is_claim: true,
            ..seen(B)
        };
        assert!(parted(&[shared], &[seen(B)], OWN).is_empty());
        assert!(parted(&[seen(A)], &[claimed], OWN).is_empty());
        assert!(parted(&[seen([0; 6])], &[seen(B)], OWN).is_empty());
        assert!(parted(&[seen(A)], &[seen([1, 0, 0, 0, 0, 2])], OWN).is_empty());
        assert!(parted(&[seen(A)], &[seen(B)], B).is_empty());
    }

    #[test]
    fn nothing_is_said_without_hardware_addresses() {
        let conn = Builder::tcp(1).handshake(0.0, 1.0).request(2.0, 50);
        let conn = conn.response(3.0, 50).build();
        assert!(findings_of("asymmetric-path", &[conn]).is_empty());
    }
}

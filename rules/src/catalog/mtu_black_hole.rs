//! `mtu-black-hole`: large segments vanish, small ones pass.

use std::collections::BTreeMap;
use std::net::IpAddr;

use analyzer::connection::Stuck;
use analyzer::event::EventKind;
use analyzer::{Analysis, Connection, Direction, Half};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::most;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, number, plural};

declare_rule! {
    /// Segments above a certain size never arrive, while smaller ones do.
    ///
    /// ## What it means
    /// A link on the path carries smaller packets than the ends assume. Its router should report that by ICMP;
    /// when that message is filtered, large packets are lost silently.
    ///
    /// ## Why it matters
    /// Connections open and small exchanges work; the first large message hangs until a timeout. A typical
    /// symptom: TLS stops after the ClientHello.
    ///
    /// ## How it is detected
    /// - The same large segment is sent at least three times and never acknowledged.
    /// - Smaller segments of the same end are acknowledged, including pieces of the large one.
    /// - No larger segment got through on any connection of the two hosts in that direction.
    ///
    /// Severity is high.
    ///
    /// ## What to do
    /// Let ICMP "fragmentation needed" and "packet too big" pass, clamp the MSS, or lower the MTU.
    ///
    /// ## Known limits
    /// A peer that dies just when a large segment is sent looks similar; smaller segments that pass later rule
    /// that out. A capture taken before segmentation offload shows sizes that never reach the wire.
    ///
    /// ## References
    /// - RFC 2923; RFC 4821; RFC 1191; RFC 8201
    pub(crate) struct MtuBlackHole {
        id: "mtu-black-hole",
        group: LossAndPath,
        title: "Large segments are lost on the path",
        severity: High,
        needs: [Tcp, BothDirections],
        clouded_by: [CaptureDrops, Offload],
        figures: [largest_passed_bytes: Bytes / Max, smallest_lost_bytes: Bytes / Min],
        thresholds: [
            min_copies = 3.0: "Times the segment must have been sent without an acknowledgment; by then, chance loss of one segment is rarer than one in a million.",
            min_lost_bytes = 500.0: "Smallest size that a link could refuse; every IPv4 link carries 576 bytes.",
        ],
        host_evidence: [Filters],
    }
}

/// Known path sizes as the largest IPv4 payload of TCP with timestamps (52 bytes of headers).
const LINKS: [(u32, &str); 6] = [
    (1398, "1450 bytes: VXLAN"),
    (1368, "1420 bytes: WireGuard"),
    (1386, "1438 bytes: IPsec"),
    (1440, "1492 bytes: PPPoE"),
    (1424, "1476 bytes: GRE"),
    (1448, "1500 bytes: Ethernet, behind jumbo frames"),
];

/// The largest payload of one end that was acknowledged.
pub(crate) struct Fact {
    sender: &'static str,
    largest: u32,
}

/// Data too big for the path.
pub(crate) struct Seen {
    sender: &'static str,
    /// An ICMP error named the path's packet size.
    icmp: bool,
    /// Smaller segments sent later got through.
    smaller_passed: bool,
    /// The sender went on in smaller segments at last.
    went_on: bool,
}

/// Somebody waited while the segment was repeated; where no smaller ones took its place, what it
/// carried was lost.
fn impact(half: &Half, stuck: &Stuck) -> Impact {
    Impact {
        requests_lost: u64::from(half.too_large.is_none()),
        ..Impact::waited(stuck.last.time.since(stuck.first.time))
    }
}

/// Whether a segment that never arrived was too large: smaller ones pass, or the peer lives.
fn is_too_large(conn: &Connection, direction: Direction, stuck: &Stuck, ctx: &Context<'_>) -> bool {
    let half = conn.half(direction);
    let size = stuck.first.payload_len;
    let smaller_acked = half.largest_acked_payload > 0 || stuck.smaller_passed;
    let peer_lives = conn
        .half(direction.reverse())
        .last_segment
        .is_some_and(|last| last.frame > stuck.first.frame);
    f64::from(stuck.copies) >= ctx.threshold("min_copies")
        && f64::from(size) >= ctx.threshold("min_lost_bytes")
        && half.largest_acked_payload < size
        && (smaller_acked || peer_lives && size > 1000)
}

fn observation(conn: &Connection, direction: Direction, stuck: &Stuck) -> Observation<Seen> {
    let half = conn.half(direction);
    let size = stuck.first.payload_len;
    let icmp = conn
        .events
        .iter()
        .find(|event| matches!(event.kind, EventKind::IcmpError(icmp) if icmp.mtu > 0));
    let sender = direction.sender();
    Observation::new(
        conn,
        if stuck.smaller_passed {
            confidence::PROVED
        } else {
            confidence::LIKELY
        },
        impact(half, stuck),
    )
    .cause(format!("{} {} {sender}", conn.client.ip, conn.server.ip))
    .at(stuck.first.time)
    .weight(f64::from(stuck.copies))
    .proof(
        stuck.first,
        format!(
            "segment of {} from {sender} that gets no acknowledgment",
            many(u64::from(size), "byte")
        ),
    )
    .proof(
        stuck.last,
        format!("the last of {} copies of it", stuck.copies),
    )
    .evidence_if(
        icmp.map(|event| event.segment),
        "ICMP error that reports the path MTU",
    )
    .figure(
        "largest_passed_bytes",
        f64::from(half.largest_acked_payload),
    )
    .figure("smallest_lost_bytes", f64::from(size))
    .cost(
        "connections_broken",
        f64::from(u8::from(half.too_large.is_none())),
    )
    .stalls(
        half.too_large
            .map(|stuck| (stuck.first.time, stuck.last.time)),
    )
    .seen(Seen {
        sender,
        icmp: icmp.is_some(),
        smaller_passed: stuck.smaller_passed,
        went_on: half.too_large.is_some(),
    })
}

impl Rule for MtuBlackHole {
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
            out.note(|| {
                let (sender, largest) = (direction.sender(), half.largest_acked_payload);
                Note::new(conn, Fact { sender, largest })
            });
            if let Some(stuck) = half.too_large.or(half.stuck)
                && is_too_large(conn, direction, &stuck, ctx)
            {
                out.push(observation(conn, direction, &stuck));
            }
        }
    }

    fn on_capture(
        &self,
        _analysis: &Analysis,
        _ctx: &Context<'_>,
        collected: &mut Collected<Seen, Fact>,
    ) {
        let mut passed = BTreeMap::<(IpAddr, IpAddr, &str), f64>::new();
        for note in &collected.notes {
            let key = (
                note.connection.client.ip,
                note.connection.server.ip,
                note.fact.sender,
            );
            let largest = passed.entry(key).or_default();
            *largest = largest.max(f64::from(note.fact.largest));
        }
        collected.observations.retain(|one| {
            let sender = one.seen.sender;
            let key = (one.connection.client.ip, one.connection.server.ip, sender);
            let lost = one.figure_value("smallest_lost_bytes").unwrap_or_default();
            passed.get(&key).is_none_or(|largest| *largest < lost)
        });
    }

    fn describe(&self, group: &Group<'_, Seen, Fact>, draft: Narrative) -> Narrative {
        let sender = most(group.seen().map(|seen| seen.sender)).unwrap_or_default();
        let (client, server) = (group.client(), group.server());
        let passed = group.figure("largest_passed_bytes").unwrap_or_default();
        let lost = group.figure("smallest_lost_bytes").unwrap_or_default();
        let fits = |size: &&(u32, &str)| passed <= f64::from(size.0) && f64::from(size.0) < lost;
        let confidence = draft.confidence;
        let icmp = group.having(|seen| seen.icmp) > 0;
        // The report tells the size, and sizes that lie far apart fit any link.
        let mut links = LINKS.iter().filter(fits);
        let link = match (links.next(), links.next()) {
            (Some((_, name)), None) if !icmp => format!(" A path of {name} would fit."),
            _ => String::new(),
        };
        let peer = if sender == "server" { server } else { client };
        let (from, to) = match sender {
            "server" => (server.ip, client.ip),
            _ => (client.ip, server.ip),
        };
        draft
            .title(format!("Segments of {lost:.0} bytes from {from} to {to} are lost, smaller ones pass"))
            .summary(format!(
                "{} {}: the {sender} retransmits segments of {lost:.0} bytes without an acknowledgment, while segments of up to {} get through. The path \
                 carries smaller packets than the {sender} assumes.{link}",
                plural(number(group.connections()), "connection"),
                if group.seen().all(|seen| seen.went_on) { "stalled until smaller segments were sent" } else if group.connections() == 1 { "hangs" } else { "hang" },
                plural(passed, "byte")
            ))
            .confidence(confidence, "Size alone separates the segments that pass from those that are lost.")
            .because(format!("the largest acknowledged segment has {}, the smallest one never acknowledged {lost:.0}", plural(passed, "byte")))
            .because_if(group.having(|seen| seen.smaller_passed) > 0, || "smaller segments sent later got through".to_owned())
            .because(if icmp { "an ICMP error reports the path MTU, and the sender does not act on it" } else { "no ICMP error about the path MTU reached the capture point" })
            .not("packet-loss", "random loss does not hit the same large segment every time and spare the small ones")
            .not("dead peer", "the peer acknowledges smaller segments")
            .set("firewall", if icmp { "check that the sender's own host does not drop the ICMP message with the path MTU, which reaches the capture point" } else { "let the ICMP messages pass that report the path MTU to senders" }, "ICMP type 3 code 4; ICMPv6 type 2")
            .set("Linux router", "clamp the MSS of forwarded connections", "iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu")
            .set("Linux", format!("let the {sender} probe for the path MTU itself"), "net.ipv4.tcp_mtu_probing = 1")
            .advise("any", "or lower the MTU of the interface (tunnels: VXLAN 1450, WireGuard 1420)")
            .verify(sender, format!("ping -M do -s {:.0} {}", (lost + 20.0).max(0.0), if peer == server { client.ip } else { server.ip }), "no answer at the lost size, answers below it")
            .verify(sender, "ip route get ADDRESS; tracepath -n ADDRESS", "the path MTU the kernel assumes, and where it changes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, S, figure, findings_of};
    use analyzer::connection::Stuck;

    fn hanging(port: u16, passed: u32, copies: u32) -> Connection {
        let mut builder = Builder::tcp(port).handshake(0.0, 1.0).request(1.0, 300);
        let first = builder.segment(2.0, S, 0x10, 1448);
        let last = builder.segment(900.0, S, 0x10, 1448);
        builder
            .with(|conn| {
                conn.halves[1].largest_acked_payload = passed;
                conn.halves[1].stuck = Some(Stuck {
                    first,
                    last,
                    copies,
                    smaller_passed: true,
                });
            })
            .build()
    }

    #[test]
    fn large_segments_vanish() {
        let findings = findings_of("mtu-black-hole", &[hanging(1, 600, 5), hanging(2, 400, 4)]);
        assert_eq!(findings.len(), 1);
        assert!((figure(&findings[0], "largest_passed_bytes") - 600.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "smallest_lost_bytes") - 1448.0).abs() < f64::EPSILON);
    }

    #[test]
    fn only_a_link_that_alone_fits_is_named() {
        let named = |passed: u32| findings_of("mtu-black-hole", &[hanging(1, passed, 5)]);
        assert!(named(1430)[0].summary.contains("PPPoE would fit"));
        assert!(!named(600)[0].summary.contains("would fit"));
    }

    #[test]
    fn nothing_acknowledged_but_the_peer_lives() {
        let mut conn = hanging(1, 0, 4);
        let later = conn.halves[1].last_data.unwrap();
        conn.halves[0].last_segment = Some(analyzer::event::SegmentRef {
            frame: later.frame + 5,
            ..later
        });
        assert_eq!(findings_of("mtu-black-hole", &[conn]).len(), 1);
    }

    #[test]
    fn size_that_passed_elsewhere_is_loss() {
        assert!(
            findings_of("mtu-black-hole", &[hanging(1, 600, 5), hanging(2, 1448, 1)]).is_empty()
        );
    }

    #[test]
    fn one_repetition_is_loss() {
        assert!(findings_of("mtu-black-hole", &[hanging(1, 600, 2)]).is_empty());
    }
}

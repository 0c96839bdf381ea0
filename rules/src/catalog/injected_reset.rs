//! `injected-reset`: a reset that its supposed sender did not send.

use std::net::IpAddr;
use std::time::Duration;

use analyzer::connection::{Reset, ResetKind};
use analyzer::hosts::{Hosts, SegmentKind};
use analyzer::{Analysis, Connection, Direction, QualityKind};

use crate::model::context::Context;
use crate::model::figure::{median, most};
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, number, plural, time};

declare_rule! {
    /// A device on the path sent a reset with the address of one end.
    ///
    /// ## What it means
    /// Firewalls, intrusion prevention and filters end connections by sending RST with a forged source address.
    /// Each end believes that the other closed.
    ///
    /// ## Why it matters
    /// Healthy connections break, and the search starts at the wrong host: neither end sent the reset.
    ///
    /// ## How it is detected
    /// - The connection was live: neither end had closed or reset it before.
    /// - What proves it: the RST's hop limit fits neither the sender's other packets nor, counted from the
    ///   usual start values 64, 128 and 255, their distance; or its IP identification is far from a counter
    ///   that the sender's other packets follow one by one; or the sender carries on with data that continues
    ///   its stream, its hop limit and its counter.
    /// - What refutes it: the RST carries the next number of the sender's own counter, or the hop limit of its
    ///   SYN-ACKs; the RST rejects the SYN-ACK of a raw-socket tool; one user-mode network stack answers for
    ///   many addresses; the later data comes from another hardware address.
    ///
    /// An IP identification of zero or missing timestamps alone prove nothing: real resets of closed sockets
    /// look the same. Severity follows the requests that were broken; a connection that was idle with nothing
    /// pending lost none (low).
    ///
    /// ## What to do
    /// Find the device: the hop limit shows how far away it is.
    ///
    /// ## Known limits
    /// A route change alters the hop limit of all packets, which is taken into account only when later packets
    /// are captured. A device that copies the hop limit is missed.
    ///
    /// ## References
    /// - RFC 5961 §3; RFC 9293 §3.5.3
    pub(crate) struct InjectedReset {
        id: "injected-reset",
        group: Closing,
        title: "A device on the path resets connections",
        severity: High,
        needs: [Tcp],
        traits: [Reset],
        clouded_by: [DuplicateFrames, OneSided],
        figures: [
            resets: Count / Sum,
            ttl_expected: Count / Median,
            ttl_seen: Count / Median,
        ],
        thresholds: [
            min_hop_difference = 3.0: "Difference of the hop limits that counts; load-balanced paths differ by one or two.",
            min_confidence = 0.6: "Resets that are less certain to be forged are not reported.",
        ],
        host_evidence: [Filters, KernelReason, Owner],
    }
}

/// From here on a connection without a pending request counts as idle.
const IDLE: Duration = Duration::from_secs(1);
/// A capture of several queues writes a segment by so much behind others, at most.
const WRITTEN_LATE: Duration = Duration::from_millis(5);
/// Hop counts above this are no distance that anybody could look for.
const FARTHEST_HOPS: f64 = 30.0;

/// A reset in another's name.
pub(crate) struct Seen {
    /// In whose name.
    end: Direction,
    hop_limit: u8,
    /// The silence before it, where nothing was pending.
    idle: Option<Duration>,
    /// That end carried on after it.
    carried_on: bool,
    /// How long after it, at least where that was kept.
    carried_on_after: Option<Duration>,
    /// Its hop limit is not that end's.
    differs: bool,
}

impl Rule for InjectedReset {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        let forged = conn.resets.iter().find(|reset| {
            reset.kind == ResetKind::Forged
                && reset.confidence >= ctx.threshold("min_confidence")
                && !(reset.own_fin_before || reset.peer_fin_before)
        });
        if let Some(reset) = forged {
            let differs = reset.usual_hop_limit.is_some_and(|usual| {
                f64::from(usual.abs_diff(reset.hop_limit)) >= ctx.threshold("min_hop_difference")
            });
            // It may refuse what the other end sent out of place; then its sender goes on.
            let peer = conn.half(reset.segment.direction.reverse());
            if reset.sender_carried_on && !differs && peer.packets == 0 {
                out.not_assessed("only one direction was captured");
                return;
            }
            out.push(observation(conn, reset, differs));
        }
    }

    fn on_capture(&self, analysis: &Analysis, _: &Context<'_>, collected: &mut Collected<Seen>) {
        let mut quality = analysis.quality.iter();
        let disordered = quality.any(|note| note.kind == QualityKind::CaptureDisorder);
        collected.observations.retain(|one| {
            // Written behind the RST, sent before it.
            let seen = &one.seen;
            let at_once = seen
                .carried_on_after
                .is_some_and(|after| after <= WRITTEN_LATE);
            if disordered && at_once && !seen.differs {
                return false;
            }
            let end = match one.seen.end {
                Direction::ClientToServer => one.connection.client,
                Direction::ServerToClient => one.connection.server,
            };
            !is_own(&analysis.hosts, end.ip, one)
        });
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let end = most(group.seen().map(|seen| seen.end)).map_or("", Direction::sender);
        let idle = median(group.seen().filter_map(|seen| seen.idle.map(ms)));
        let idle = idle.filter(|_| group.having(|seen| seen.idle.is_some()) == group.connections());
        let (server, seen) = (group.server(), group.figure("ttl_seen").unwrap_or_default());
        let expected = group.figure("ttl_expected");
        let carried_on = group.having(|seen| seen.carried_on);
        // Senders start at 64, 128 or 255; what is missing was used up on the way.
        let start = [64.0, 128.0, 255.0]
            .into_iter()
            .find(|start| *start >= seen)
            .unwrap_or(255.0);
        let hops = expected
            .filter(|expected| (expected - seen).abs() >= 1.0)
            .map(|expected| format!(" (hop limit {seen:.0} instead of {expected:.0})"))
            .unwrap_or_else(|| {
                if carried_on > 0 {
                    format!(", since the {end} went on sending")
                } else {
                    ", as their IP identification shows".to_owned()
                }
            });
        let when = idle.map_or_else(String::new, |idle| {
            format!(" after {} of silence, with nothing pending", time(idle))
        });
        let place = if start - seen > FARTHEST_HOPS {
            format!("on the path to the {end}")
        } else {
            format!(
                "about {} from the capture point towards the {end} (the device's packets probably start at {start:.0})",
                plural(start - seen, "hop")
            )
        };
        let confidence = draft.confidence;
        draft
            .title(format!("A device on the path resets connections as the {end} ({server})"))
            .summary(format!(
                "{} to {server} {} ended{when} by RST segments that carry the {end}'s address but were not sent by it{hops}. \
                 Firewalls, filters and intrusion prevention between the ends do that.",
                plural(number(group.connections()), "connection"),
                if group.connections() == 1 { "was" } else { "were" },
            ))
            .confidence(confidence, "The reset does not match its supposed sender; the log of the device at that distance would settle which one sent it.")
            .because_if(group.having(|seen| seen.differs) > 0, || format!("on {} the hop limit differs from that of the {end}'s other packets", many(group.having(|seen| seen.differs), "connection")))
            .because_if(carried_on > 0, || format!("on {} the {end} went on sending afterwards", many(carried_on, "connection")))
            .not("linger-zero-reset", "an end that aborts uses its own hop limit and stops sending")
            .not("route change", "the packets right before the reset carry the usual hop limit")
            .advise("any", format!("check the logs of the firewall, intrusion prevention, content filter or load balancer {place}"))
            .advise("Linux", "drop packets that connection tracking marks INVALID, or set net.netfilter.nf_conntrack_tcp_be_liberal = 1: they can cause resets at a NAT")
            .verify("capture", format!("traceroute -n -T -p {} {}", server.port, server.ip), "which device is at that distance")
    }
}

fn observation(conn: &Connection, reset: &Reset, differs: bool) -> Observation<Seen> {
    let end = reset.segment.direction.sender();
    let usual = reset.usual_hop_limit.filter(|_| differs);
    let hops = usual.map_or_else(String::new, |usual| {
        format!(
            ", hop limit {} where the {end}'s other packets carry {usual}",
            reset.hop_limit
        )
    });
    let after = conn.half(reset.segment.direction).last_segment;
    let after = after.filter(|after| after.frame > reset.segment.frame && reset.sender_carried_on);
    let was_pending = conn.turns.last.is_some_and(|turn| {
        turn.request.first.frame < reset.segment.frame
            && (turn.response).is_none_or(|response| response.first.frame > reset.segment.frame)
    });
    let idle = Some(reset.idle_before).filter(|idle| *idle >= IDLE && !was_pending);
    let impact = match idle {
        Some(_) => Impact::SOME,
        None => Impact::requests_lost(1),
    };
    let strength = u8::from(differs) + u8::from(reset.sender_carried_on);
    Observation::new(conn, reset.confidence, impact)
        .cause(format!("{} {end}", conn.server))
        .at(reset.segment.time)
        .weight(f64::from(strength))
        .proof(
            reset.segment,
            format!("RST with the address of the {end}{hops}"),
        )
        .proof_if(after, format!("the {end} keeps sending after this RST"))
        .figure("resets", f64::from(reset.count))
        .figure("ttl_seen", f64::from(reset.hop_limit))
        .figure_if("ttl_expected", reset.usual_hop_limit.map(f64::from))
        .cost("connections_broken", 1.0)
        .seen(Seen {
            end: reset.segment.direction,
            hop_limit: reset.hop_limit,
            idle,
            carried_on: reset.sender_carried_on,
            carried_on_after: after.map(|after| after.time.since(reset.segment.time)),
            differs,
        })
}

/// What is known of the host in whose name it came explains the reset: its SYN-ACKs come from as far
/// away (a balancer, of which only the data comes from behind it), one stack beside the capturing host
/// answers in the name of many, or what carried on comes from another hardware address, so that it may
/// be forged itself.
fn is_own(hosts: &Hosts, ip: IpAddr, one: &Observation<Seen>) -> bool {
    let Some(host) = hosts.get(ip) else {
        return false;
    };
    let seen = &one.seen;
    let bears_it = host.hop_limits().has(SegmentKind::Syn, seen.hop_limit);
    let mut hardware = host.hardware_addresses().iter();
    host.shared_front().is_some()
        || seen.differs && !seen.carried_on && bears_it
        || seen.carried_on && !seen.differs && hardware.any(|known| known.first.time > one.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, S, figure, findings_of};

    fn forged(seen: u8, usual: u8, carried_on: bool) -> Connection {
        let builder =
            Builder::tcp(1)
                .handshake(0.0, 1.0)
                .request(1.0, 100)
                .reset(1.5, S, ResetKind::Forged);
        builder
            .with(|conn| {
                conn.resets[0].hop_limit = seen;
                conn.resets[0].usual_hop_limit = Some(usual);
                conn.resets[0].sender_carried_on = carried_on;
            })
            .response(2.0, 100)
            .build()
    }

    #[test]
    fn other_hop_limit_betrays_the_device() {
        let findings = findings_of("injected-reset", &[forged(247, 52, false)]);
        assert!((figure(&findings[0], "ttl_seen") - 247.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "ttl_expected") - 52.0).abs() < f64::EPSILON);
    }

    #[test]
    fn sender_that_carries_on_betrays_it_too() {
        assert_eq!(
            findings_of("injected-reset", &[forged(64, 64, true)]).len(),
            1
        );
    }

    #[test]
    fn real_resets_are_silent() {
        let real = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .reset(1.5, S, ResetKind::HalfOpen)
            .build();
        assert!(findings_of("injected-reset", &[real]).is_empty());
    }
}

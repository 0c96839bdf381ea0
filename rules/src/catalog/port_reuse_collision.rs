//! `port-reuse-collision`: a new connection meets the remains of an old one.

use analyzer::event::{EventKind, SegmentRef};
use analyzer::{Analysis, Connection, Direction, Endpoint};

use crate::model::context::Context;
use crate::model::legacy::{Collected, Group, Legacy, Observation, Observations};
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::Narrative;
use crate::model::rule::Rule;
use crate::model::severity::Severity;
use crate::model::text::{many, ms, number, plural, time};

declare_rule! {
    /// A new connection reused the addresses and ports of one that its peer still remembers.
    ///
    /// ## What it means
    /// A client opens a connection with a port that belonged to an earlier connection, which the server still
    /// holds. The server answers the SYN with an acknowledgement of the old connection; the client resets
    /// that and has to try again.
    ///
    /// ## Why it matters
    /// Connecting takes longer, from some milliseconds to a second or more; behind devices that drop such SYNs it fails.
    ///
    /// ## How it is detected
    /// A SYN with a new sequence number draws a plain ACK with the old numbers (challenge ACK), the client answers RST,
    /// and the SYN comes again; or the SYN on a reused port had to be repeated. Reuse that the server accepts at once
    /// is legal and silent. Severity is low, medium from three collisions that cost a second each.
    ///
    /// ## What to do
    /// Keep connections alive, give the client more ports or addresses, do not bind to a fixed port.
    ///
    /// ## Known limits
    /// Without the challenge ACK (a device on the path drops such SYNs) a repeated SYN on a reused port is taken for loss,
    /// unless the same server challenged others.
    ///
    /// ## References
    /// - RFC 9293 §3.10.7.4; RFC 5961 §4; RFC 6191; RFC 6056
    pub(crate) struct PortReuseCollision {
        id: "port-reuse-collision",
        title: "New connections collide with old ones on the same port",
        severity: Medium,
        needs: [Tcp],
        clouded_by: [CaptureDrops, OneSided],
        figures: [collisions: Count / Sum, delay_ms: Milliseconds / Median],
        thresholds: [
            medium_delay_ms = 500.0: "Delay that users notice.",
            medium_collisions = 3.0: "Collisions that make a pattern.",
        ],
    }
}

impl Rule for PortReuseCollision {
    type Seen = Legacy;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations) {
        let Some(syn) = conn.handshake.syns.first().copied() else {
            return;
        };
        let challenge = older(conn, Direction::ServerToClient);
        let repeated = conn.port_reuse && conn.handshake.syn_count > 1;
        if challenge.is_none() && !repeated {
            return;
        }
        let syn_ack = conn.handshake.syn_acks.first().copied();
        let again = conn.handshake.syns.get(1).copied();
        let delay = syn_ack.map(|syn_ack| ms(syn_ack.time.since(syn.time)));
        out.push(
            Observation::untyped(
                conn,
                if challenge.is_some() { 0.95 } else { 0.5 },
                Severity::Low,
            )
            .at(syn.time)
            .weight(delay.unwrap_or_default())
            .evidence(syn, "SYN with a new sequence number")
            .evidence_if(
                challenge,
                challenge.map_or_else(String::new, |ack| {
                    format!(
                        "plain ACK instead of SYN-ACK: it acknowledges {}, a number of an older connection, where {} was due",
                        ack.ack.0,
                        syn.seq.0.wrapping_add(1)
                    )
                }),
            )
            .evidence_if(
                older(conn, Direction::ClientToServer),
                "RST from client refuses that ACK; its sequence number is the ACK's number",
            )
            .evidence_if(
                again,
                again.map_or_else(String::new, |again| {
                    format!(
                        "the same SYN again, {} after the first",
                        time(ms(again.time.since(syn.time)))
                    )
                }),
            )
            .evidence_if(syn_ack, "SYN-ACK at last")
            .figure("collisions", 1.0)
            .figure_if("delay_ms", delay)
            .cost("time_lost_ms", delay.unwrap_or_default())
            .detail("challenged", f64::from(u8::from(challenge.is_some())))
            .detail("never", f64::from(u8::from(syn_ack.is_none()))),
        );
    }

    fn on_capture(&self, _analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected) {
        // Repeated SYNs alone are more likely loss, unless a challenge shows what happens there.
        let challenged: Vec<Endpoint> = collected
            .observations
            .iter()
            .filter(|one| one.number("challenged").is_some_and(|yes| yes > 0.0))
            .map(|one| one.connection.server)
            .collect();
        collected
            .observations
            .retain(|one| challenged.contains(&one.connection.server));
        let costly = |one: &&Observation| {
            one.number("delay_ms")
                .is_none_or(|delay| delay >= ctx.threshold("medium_delay_ms"))
        };
        if number(collected.observations.iter().filter(costly).count() as u64)
            >= ctx.threshold("medium_collisions")
        {
            collected
                .observations
                .iter_mut()
                .for_each(|one| one.severity = Severity::Medium);
        }
    }

    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative {
        let server = group.server();
        let collisions = group.number("collisions").unwrap_or_default();
        let delay = group.number("delay_ms");
        let mut cost = delay
            .map(|delay| format!(" Connecting took {} in all.", time(delay)))
            .unwrap_or_default();
        if group.positive("never") > 0 {
            cost.push_str(&format!(
                " {} never connected.",
                many(group.positive("never"), "attempt")
            ));
        }
        let confidence = draft.confidence;
        draft
            .title(format!("New connections to {server} collide with old ones on the same port"))
            .summary(format!(
                "{}, a SYN from {} used a port whose earlier connection {server} still held; the server answered with an acknowledgement of the old one.{cost}",
                plural(collisions, "time"), group.clients_text()
            ))
            .confidence(confidence, "The challenge acknowledgement with the old connection's numbers was captured.")
            .because("the SYN has a new sequence number, so it is no retransmission")
            .because_if(group.positive("challenged") > 0, || "the server answered with a plain ACK bearing the old connection's numbers".to_owned())
            .not("listen-overflow", "the SYN was answered, only not with SYN-ACK")
            .not("syn retransmission", "a repeated SYN would bear the same sequence number")
            .advise("client", "keep connections open and reuse them, so that ports are not used up")
            .set("Linux (client)", "more ports, chosen at random", "net.ipv4.ip_local_port_range = 15000 65000; net.ipv4.tcp_tw_reuse = 1")
            .set("Linux (NAT)", "let the translation spread ports", "iptables … -j MASQUERADE --random-fully")
            .advise("client", "do not bind outgoing connections to a fixed source port")
            .verify("client", format!("ss -tan state time-wait dst {} | wc -l", server.ip), "ports that are still held; about 28,000 are available by default")
            .verify("server", "nstat -az TcpExtTCPChallengeACK TcpExtTCPSYNChallenge", "grows with every collision")
    }
}

/// The segment of an older connection of the same ports that came from `direction`'s sender.
fn older(conn: &Connection, direction: Direction) -> Option<SegmentRef> {
    conn.events
        .iter()
        .find(|event| event.kind == EventKind::ChallengeAck && event.segment.direction == direction)
        .map(|event| event.segment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, C, S, figure, findings_of};

    /// SYN, challenge, RST, the SYN again after `retry_ms`, SYN-ACK a millisecond later.
    fn collided(port: u16, retry_ms: f64) -> Connection {
        let mut builder = Builder::tcp(port);
        let syn = builder.segment(0.0, C, 2, 0);
        let challenge = builder.segment(1.0, S, 0x10, 0);
        let refusal = builder.segment(1.1, C, 4, 0);
        let again = builder.segment(retry_ms, C, 2, 0);
        let syn_ack = builder.segment(retry_ms + 1.0, S, 0x12, 0);
        builder
            .event(challenge, EventKind::ChallengeAck)
            .event(refusal, EventKind::ChallengeAck)
            .with(|conn| {
                conn.handshake.syn_count = 2;
                conn.handshake.syns = vec![syn, again];
                conn.handshake.syn_ack_count = 1;
                conn.handshake.syn_acks = vec![syn_ack];
            })
            .build()
    }

    fn reused(port: u16, syns: u32) -> Connection {
        Builder::tcp(port)
            .handshake(0.0, 1.0)
            .with(|conn| {
                conn.port_reuse = true;
                conn.handshake.syn_count = syns;
            })
            .build()
    }

    #[test]
    fn challenge_and_reset_then_accepted() {
        let findings = findings_of("port-reuse-collision", &[collided(1, 11.0)]);
        assert_eq!(findings[0].severity, Severity::Low);
        assert!((figure(&findings[0], "collisions") - 1.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "delay_ms") - 12.0).abs() < 0.01);
    }

    #[test]
    fn several_are_one_finding_and_worse_when_each_costs_a_second() {
        let connections: Vec<_> = (1..4).map(|port| collided(port, 1000.0)).collect();
        let findings = findings_of("port-reuse-collision", &connections);
        assert!((figure(&findings[0], "collisions") - 3.0).abs() < f64::EPSILON);
        assert_eq!(findings[0].severity, Severity::Medium);
    }

    #[test]
    fn legal_reuse_is_silent() {
        assert!(findings_of("port-reuse-collision", &[reused(1, 1)]).is_empty());
    }

    #[test]
    fn repeated_syn_without_challenge_is_loss() {
        assert!(findings_of("port-reuse-collision", &[reused(1, 2)]).is_empty());
    }
}

//! `port-reuse-collision`: a new connection meets the remains of an old one.

use std::collections::BTreeMap;

use analyzer::event::EventKind;
use analyzer::{Analysis, Connection, Direction, Endpoint, Timestamp};

use crate::finding::{FigureValue, Severity};
use crate::narrative::{Group, Narrative};
use crate::observation::{Collected, Note, Observation, Observations};
use crate::rule::{Context, Rule, RuleMeta, declare_rule};
use crate::text::{ms, number, plural, time};

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
    /// The old connection must be in the capture, or the challenge ACK be seen. A lost SYN on a reused port looks
    /// the same when it happens once.
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
    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations) {
        let syn_ack = conn.handshake.syn_acks.first();
        if let Some(syn_ack) = syn_ack {
            let mut note = Note::new(conn, "accepted");
            note.at = syn_ack.time;
            out.note(note);
        }
        let challenge = conn.events.iter().find(|event| {
            event.kind == EventKind::ChallengeAck
                && event.segment.direction == Direction::ServerToClient
        });
        let syn = conn.handshake.syns.first();
        let reset = challenge.and_then(|challenge| {
            conn.resets.iter().map(|reset| reset.segment).find(|reset| {
                reset.direction == Direction::ClientToServer
                    && reset.frame > challenge.segment.frame
            })
        });
        let repeated = conn.port_reuse && conn.handshake.syn_count > 1;
        // A challenge ACK that answers a suspicious RST is no collision: the client's RST follows it here.
        let collided = challenge.filter(|_| reset.is_some() || repeated);
        if collided.is_none() && !repeated {
            return;
        }
        let at = collided.map(|event| event.segment).or(syn.copied());
        let Some(at) = at else { return };
        let delay = syn
            .zip(syn_ack)
            .filter(|_| repeated)
            .map(|(syn, syn_ack)| ms(syn_ack.time.since(syn.time)));
        out.push(
            Observation::new(
                conn,
                if collided.is_some() { 0.9 } else { 0.5 },
                Severity::Low,
            )
            .at(at.time)
            .weight(f64::from(u8::from(collided.is_some())))
            .evidence_if(
                syn.copied().filter(|_| repeated),
                "SYN on a port used before in this capture",
            )
            .evidence_if(
                collided.map(|event| event.segment),
                "plain ACK with the numbers of the old connection answers the SYN",
            )
            .evidence_if(reset, "RST from client ends the old connection")
            .evidence_if(syn_ack.copied().filter(|_| repeated), "SYN-ACK at last")
            .figure("collisions", 1.0)
            .figure_if("delay_ms", delay)
            .cost("time_lost_ms", delay.unwrap_or(0.0))
            .detail("challenged", f64::from(u8::from(collided.is_some()))),
        );
    }

    fn on_capture(&self, _analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected) {
        let mut accepted = BTreeMap::<(Endpoint, Endpoint), Vec<Timestamp>>::new();
        for note in collected.notes_of("accepted") {
            accepted
                .entry((note.connection.client, note.connection.server))
                .or_default()
                .push(note.at);
        }
        for one in &mut collected.observations {
            if one.number("delay_ms").is_some() {
                continue;
            }
            // The challenge belongs to the old connection; the new one is accepted afterwards.
            let key = (one.connection.client, one.connection.server);
            let next = accepted
                .get(&key)
                .and_then(|times| times.iter().filter(|time| **time > one.at).min());
            if let Some(next) = next {
                one.set_figure("delay_ms", FigureValue::Number(ms(next.since(one.at))));
            }
        }
        // Repeated SYNs alone are more likely loss, unless a challenge shows what happens there.
        let challenged: Vec<Endpoint> = collected
            .observations
            .iter()
            .filter(|one| one.number("challenged").is_some_and(|yes| yes > 0.0))
            .map(|one| one.connection.server)
            .collect();
        collected.observations.retain(|one| {
            one.number("challenged").is_some_and(|yes| yes > 0.0)
                || challenged.contains(&one.connection.server)
        });
        let costly = |one: &&Observation| {
            one.number("delay_ms")
                .is_some_and(|delay| delay >= ctx.threshold("medium_delay_ms"))
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
        let cost = delay
            .map(|delay| format!(" Connecting took {} longer.", time(delay)))
            .unwrap_or_default();
        let confidence = draft.confidence;
        draft
            .title(format!("New connections to {server} collide with old ones on the same port"))
            .summary(format!(
                "{}, a SYN from {} used a port whose earlier connection {server} still held; the server answered with an acknowledgement of the old one.{cost}",
                plural(collisions, "time"), group.clients_text()
            ))
            .confidence(confidence, "The challenge acknowledgement with the old connection's numbers was captured.")
            .because("the SYN has a new sequence number, so it is no retransmission")
            .because_if(group.having("challenged") > 0, || "the server answered with a plain ACK bearing the old connection's numbers".to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, C, S, at, figure, findings_of};
    use analyzer::flow::ResetKind;

    fn old(port: u16) -> Connection {
        let mut builder = Builder::tcp(port)
            .handshake(0.0, 1.0)
            .request(1.0, 10)
            .response(2.0, 10);
        let challenge = builder.segment(1000.0, S, 0x10, 0);
        builder
            .event(challenge, EventKind::ChallengeAck)
            .reset(1000.2, C, ResetKind::TimeWait)
            .build()
    }

    fn new(port: u16, ms: f64, syns: u32) -> Connection {
        let conn = Builder::tcp(port).handshake(ms, 1.0).build();
        Connection {
            first_frame: conn.first_frame + 100,
            port_reuse: true,
            handshake: analyzer::flow::Handshake {
                syn_count: syns,
                ..conn.handshake
            },
            start: at(ms),
            ..conn
        }
    }

    #[test]
    fn challenge_and_reset_then_accepted() {
        let findings = findings_of("port-reuse-collision", &[old(1), new(1, 1011.0, 1)]);
        assert_eq!(findings.len(), 1);
        assert!((figure(&findings[0], "collisions") - 1.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "delay_ms") - 11.0).abs() < 0.01);
    }

    #[test]
    fn several_are_one_finding() {
        let findings = findings_of("port-reuse-collision", &[old(1), old(2), new(2, 2500.0, 1)]);
        assert!((figure(&findings[0], "collisions") - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn legal_reuse_is_silent() {
        assert!(findings_of("port-reuse-collision", &[new(1, 1000.0, 1)]).is_empty());
    }

    #[test]
    fn repeated_syn_without_challenge_is_loss() {
        assert!(findings_of("port-reuse-collision", &[new(1, 1000.0, 2)]).is_empty());
    }
}

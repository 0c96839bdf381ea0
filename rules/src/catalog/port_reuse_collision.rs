//! `port-reuse-collision`: a new connection meets the remains of an old one.

use std::time::Duration;

use analyzer::event::{EventKind, SegmentRef};
use analyzer::{Analysis, Connection, Direction, Endpoint};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, plural, time};
use crate::signs::handshake::timer_waits;

declare_rule! {
    /// A new connection reused the addresses and ports of one that its peer still holds.
    ///
    /// ## What it means
    /// A client opens a connection from a port that belonged to an earlier connection, which the server still
    /// holds. The server answers the SYN with an acknowledgment of the old connection; the client resets that
    /// and has to retry.
    ///
    /// ## Why it matters
    /// Connecting takes some milliseconds to a second or more longer. Behind devices that drop such SYNs it
    /// fails.
    ///
    /// ## How it is detected
    /// - A SYN with a new sequence number draws a plain ACK with numbers that are not its own (challenge ACK),
    ///   and the client answers with RST or retransmits its SYN.
    /// - Or a SYN on a reused port is retransmitted to a server that challenged others.
    ///
    /// The challenge ACK proves it. A SYN-ACK to the first SYN refutes it: reuse that the server accepts at
    /// once is legal and harmless. An ACK that, by its timestamp, can belong to the new connection is no
    /// challenge. The time that clients waited decides the severity.
    ///
    /// ## What to do
    /// Keep connections alive, give the client more ports or addresses, do not bind to a fixed port.
    ///
    /// ## Known limits
    /// Without the challenge ACK (a device on the path drops such SYNs), a retransmitted SYN on a reused port
    /// counts as loss unless the same server challenged others.
    ///
    /// ## References
    /// - RFC 9293 §3.10.7.4; RFC 5961 §4; RFC 6191; RFC 6056
    pub(crate) struct PortReuseCollision {
        id: "port-reuse-collision",
        group: ConnectionPhase,
        title: "New connections collide with old ones on the same port",
        severity: Medium,
        needs: [Tcp],
        clouded_by: [CaptureDrops, OneSided],
        figures: [collisions: Count / Sum, delay_ms: Milliseconds / Median],
        thresholds: [],
        host_evidence: [Owner],
    }
}

/// A SYN that met an old connection.
pub(crate) struct Seen {
    /// The server answered with an ACK of the old connection.
    challenged: bool,
    /// The SYN was never answered.
    never: bool,
}

impl Rule for PortReuseCollision {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations<Seen>) {
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
        let delay = syn_ack.map(|syn_ack| syn_ack.time.since(syn.time));
        out.push(
            Observation::new(
                conn,
                if challenge.is_some() { confidence::PROVED } else { confidence::EVEN },
                impact(delay),
            )
            .at(syn.time)
            .weight(delay.map_or(0.0, ms))
            .evidence(syn, "SYN with a new sequence number")
            .proof_if(
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
            .proof_if(
                again,
                again.map_or_else(String::new, |again| {
                    format!(
                        "the same SYN retransmitted, {} after the first",
                        time(ms(again.time.since(syn.time)))
                    )
                }),
            )
            .evidence_if(syn_ack, "SYN-ACK")
            .figure("collisions", 1.0)
            .figure_if("delay_ms", delay.map(ms))
            .cost("time_lost_ms", delay.map_or(0.0, ms))
            .stalls(timer_waits(conn))
            .seen(Seen {
                challenged: challenge.is_some(),
                never: syn_ack.is_none(),
            }),
        );
    }

    fn on_capture(
        &self,
        _analysis: &Analysis,
        _ctx: &Context<'_>,
        collected: &mut Collected<Seen>,
    ) {
        // Repeated SYNs alone are more likely loss, unless a challenge shows what happens there.
        let challenged: Vec<Endpoint> = collected
            .observations
            .iter()
            .filter(|one| one.seen.challenged)
            .map(|one| one.connection.server)
            .collect();
        collected
            .observations
            .retain(|one| challenged.contains(&one.connection.server));
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let server = group.server();
        let collisions = group.figure("collisions").unwrap_or_default();
        let delay = group.figure("delay_ms");
        let mut cost = delay
            .map(|delay| format!(" Connecting took {}.", time(delay)))
            .unwrap_or_default();
        if group.having(|seen| seen.never) > 0 {
            cost.push_str(&format!(
                " {} never connected.",
                many(group.having(|seen| seen.never), "attempt")
            ));
        }
        let confidence = draft.confidence;
        draft
            .title(format!("New connections to {server} collide with old ones on the same port"))
            .summary(format!(
                "{}: a SYN from {} used a port whose earlier connection {server} still held, and was answered with an acknowledgment of the old one.{cost}",
                plural(collisions, "collision"), group.clients_text()
            ))
            .confidence(confidence, "The challenge ACK with the old connection's numbers was captured.")
            .because("the SYN has a new sequence number, so it is no retransmission")
            .because_if(group.having(|seen| seen.challenged) > 0, || "the server answered with a plain ACK that carries the old connection's numbers".to_owned())
            .not("listen-overflow", "the SYN was answered, but not with SYN-ACK")
            .not("syn retransmission", "a retransmitted SYN would carry the same sequence number")
            .advise("client", "keep connections open and reuse them, so that the client does not run out of ports")
            .set("Linux (client)", "use more ports, chosen at random", "net.ipv4.ip_local_port_range = 15000 65000; net.ipv4.tcp_tw_reuse = 1")
            .set("Linux (NAT)", "randomise the ports that NAT assigns", "iptables … -j MASQUERADE --random-fully")
            .advise("client", "do not bind outgoing connections to a fixed source port")
            .verify("client", format!("ss -tan state time-wait dst {} | wc -l", server.ip), "ports still in TIME-WAIT; about 28,000 are available by default")
            .verify("server", "nstat -az TcpExtTCPChallengeACK TcpExtTCPSYNChallenge", "grows with every collision")
    }
}

/// Who was served later waited; who never was had one attempt fail.
fn impact(delay: Option<Duration>) -> Impact {
    delay.map_or(Impact::attempts_failed(1), Impact::waited)
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
    use crate::model::severity::Severity;
    use crate::testkit::script::Capture;
    use crate::testkit::{figure, findings_of};
    use analyzer::decode::TcpFlags;

    const SYN: u8 = TcpFlags::SYN;
    const ACK: u8 = TcpFlags::ACK;
    const RST: u8 = TcpFlags::RST;
    const DATA: u8 = TcpFlags::ACK | TcpFlags::PSH;
    const FIN: u8 = TcpFlags::ACK | TcpFlags::FIN;

    /// Microseconds at which the second connection begins, and its client's first number.
    const AGAIN: u64 = 1_000_000;
    const ISS: u32 = 9_000_000;

    /// A connection whose client has sent ten bytes, all acknowledged: the server expects 111.
    fn used(port: u16) -> Capture {
        let mut capture = Capture::of_client(port, u64::from(port) * 100 + 1);
        capture.handshake();
        capture.client(21_000, DATA, 101, 901, 10);
        capture.server(41_000, ACK, 901, 111, 0);
        capture
    }

    /// SYN-ACK and ACK of the second connection, the first of them at a time in microseconds.
    fn accepted(mut capture: Capture, at_us: u64) -> Vec<Connection> {
        capture.server(at_us, SYN | ACK, 5_000_000, ISS + 1, 0);
        capture.client(at_us, ACK, ISS + 1, 5_000_001, 0);
        capture.finish_all()
    }

    /// The client forgot its connection, the server did not: challenge, RST, and the SYN again
    /// `retry_ms` after the first; accepted a millisecond later.
    fn collided(port: u16, retry_ms: u64) -> Vec<Connection> {
        let mut capture = used(port);
        let again = AGAIN + retry_ms * 1_000;
        capture.client(AGAIN, SYN, ISS, 0, 0);
        capture.server(AGAIN + 1_000, ACK, 901, 111, 0);
        capture.client(AGAIN + 1_100, RST, 111, 0, 0);
        capture.client(again, SYN, ISS, 0, 0);
        accepted(capture, again + 1_000)
    }

    /// The first connection was closed by both ends; the server takes the next one, whose SYN was
    /// sent once or twice.
    fn reused(port: u16, syns: u64) -> Vec<Connection> {
        let mut capture = used(port);
        capture.client(50_000, FIN, 111, 901, 0);
        capture.server(70_000, FIN, 901, 112, 0);
        capture.client(70_100, ACK, 112, 902, 0);
        for number in 0..syns {
            capture.client(AGAIN + number * 1_000_000, SYN, ISS, 0, 0);
        }
        accepted(capture, AGAIN + (syns - 1) * 1_000_000 + 20_000)
    }

    #[test]
    fn challenge_and_reset_then_accepted() {
        let findings = findings_of("port-reuse-collision", &collided(1, 11));
        assert_eq!(findings[0].severity, Severity::Low);
        assert!((figure(&findings[0], "collisions") - 1.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "delay_ms") - 12.0).abs() < 0.01);
    }

    #[test]
    fn several_are_one_finding_and_worse_when_each_costs_a_second() {
        let connections: Vec<_> = (1..4).flat_map(|port| collided(port, 1_000)).collect();
        let findings = findings_of("port-reuse-collision", &connections);
        assert!((figure(&findings[0], "collisions") - 3.0).abs() < f64::EPSILON);
        assert!(findings[0].severity >= Severity::Medium);
    }

    /// The same with timestamps: the server echoes `echo` in its challenge, 5 µs after the SYN.
    fn challenged_with_timestamps(echo: u32) -> Vec<Connection> {
        use crate::testkit::script::{Marks, fields};
        let mut capture = used(1);
        let at = |us: u64| (AGAIN + us) * 1_000;
        let marks = |ts| Marks {
            ts: Some(ts),
            ip_id: None,
        };
        capture.packet(true, at(0), marks((5_000, 0)), fields(ISS, 0, SYN), 0);
        capture.packet(false, at(5), marks((70, echo)), fields(901, 111, ACK), 0);
        capture.client(AGAIN + 100, RST, 111, 0, 0);
        capture.packet(true, at(998_000), marks((5_250, 0)), fields(ISS, 0, SYN), 0);
        accepted(capture, AGAIN + 999_000)
    }

    #[test]
    fn challenge_echoes_an_older_or_a_newer_timestamp() {
        for echo in [4_000, 300_000_000] {
            let findings = findings_of("port-reuse-collision", &challenged_with_timestamps(echo));
            assert_eq!(findings.len(), 1, "{echo}");
        }
    }

    #[test]
    fn legal_reuse_is_silent() {
        let connections = reused(1, 1);
        assert!(connections[1].port_reuse);
        assert!(findings_of("port-reuse-collision", &connections).is_empty());
    }

    #[test]
    fn repeated_syn_without_challenge_is_loss() {
        let connections = reused(1, 2);
        assert_eq!(connections[1].handshake.syn_count, 2);
        assert!(findings_of("port-reuse-collision", &connections).is_empty());
    }
}

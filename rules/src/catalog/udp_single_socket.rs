//! `udp-single-socket`: one pair of sockets carries a hot path.

use analyzer::{Analysis, Connection};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::{FigureValue, median};
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{ms, number, rounded, time};

declare_rule! {
    /// One pair of UDP sockets carries nearly all datagrams of a busy server.
    ///
    /// ## What it means
    /// All datagrams between two hosts use the same two addresses and ports, so they pass through one socket on
    /// each side, one receive queue of the network card and, in most cases, one CPU core.
    ///
    /// ## Why it matters
    /// Threads that share one socket wait for its lock: the rate stays flat however many workers there are,
    /// while CPU cores idle. More sockets spread the work.
    ///
    /// ## How it is detected
    /// - Towards one server endpoint, one 4-tuple carries at least 90 % of the client datagrams at a high
    ///   sustained rate.
    /// - What proves the pattern: the first and last datagram of the flow and their number.
    /// - What refutes it: other flows to the same server. QUIC, media and tunnels use one flow by design and
    ///   are left out.
    ///
    /// Severity is low: it points to the design and does not prove a limit, even where the rate is flat.
    ///
    /// ## What to do
    /// Use several client sockets and pick one per datagram. Let the server open one socket per core with
    /// SO_REUSEPORT. Send and receive in batches.
    ///
    /// ## Known limits
    /// Whether the socket is the limit is not visible on the wire: check the host. A capture filtered to one
    /// flow shows one flow.
    ///
    /// ## References
    /// - socket(7), `SO_REUSEPORT`; RFC 8085
    pub(crate) struct UdpSingleSocket {
        id: "udp-single-socket",
        group: UdpAndIp,
        title: "One pair of UDP sockets carries a busy path",
        severity: Low,
        needs: [Udp],
        clouded_by: [CaptureDrops, OneSided],
        figures: [packets_per_second: PerSecond / Max, share_percent: Percent / Max],
        thresholds: [
            min_packets_per_second = 2000.0: "Rate from which the pattern is worth reporting; far below what one socket can carry.",
            min_share_percent = 90.0: "Share of the server's datagrams in one flow that counts as nearly all.",
        ],
        host_evidence: [SharedSocket, DatagramDrops, Owner],
    }
}

/// Protocols that use one flow by design.
const BY_DESIGN: [&str; 10] = [
    "quic",
    "rtp",
    "rtcp",
    "srtp",
    "vxlan",
    "geneve",
    "wireguard",
    "gtp",
    "ipsec",
    "dtls",
];
/// A peak this close above the median rate is a plateau: the rate follows no bursts.
const PLATEAU: f64 = 1.15;

/// A flow that carries most of a server's datagrams.
pub(crate) struct Seen {
    /// From the client.
    datagrams: u64,
    /// The rate is flat.
    plateau: bool,
    answer_p50_ms: Option<f64>,
    answer_p99_ms: Option<f64>,
}

impl Rule for UdpSingleSocket {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        let Some(udp) = &conn.udp else { return };
        let seconds = conn.duration().as_secs_f64();
        let (Some(first), Some(last)) =
            (conn.from_client().first_data, conn.from_client().last_data)
        else {
            return;
        };
        if udp
            .protocol
            .is_some_and(|protocol| BY_DESIGN.contains(&protocol))
            || seconds < 1.0
        {
            return;
        }
        let mean = number(conn.from_client().packets) / seconds;
        // Short flows have few whole seconds: their median would speak of cut ones.
        let rate = if udp.active_seconds >= 5 {
            udp.median_per_second
        } else {
            mean
        };
        if rate < ctx.threshold("min_packets_per_second") {
            return;
        }
        let plateau = udp.active_seconds >= 5 && number(udp.peak_per_second) <= rate * PLATEAU;
        let answers = &udp.response_times;
        out.push(
            Observation::new(conn, confidence::OPEN, Impact::SOME)
                .at(first.time)
                .weight(rate)
                .evidence(first, "first datagram of the flow from client")
                .proof(
                    last,
                    format!(
                        "last one: {} datagrams from client in {seconds:.1} s",
                        conn.from_client().packets
                    ),
                )
                .figure("packets_per_second", rate)
                .seen(Seen {
                    datagrams: conn.from_client().packets,
                    plateau,
                    answer_p50_ms: answers.quantile(0.5).map(ms),
                    answer_p99_ms: answers.quantile(0.99).map(ms),
                }),
        );
    }

    fn on_capture(&self, analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected<Seen>) {
        let least = ctx.threshold("min_share_percent");
        collected.observations.retain_mut(|one| {
            let sent = number(one.seen.datagrams);
            let all = analysis.udp_servers.get(&one.connection.server);
            let all = all.map_or(sent, |facts| number(facts.datagrams)).max(sent);
            let share = sent / all.max(1.0) * 100.0;
            one.set_figure("share_percent", FigureValue::Number(share));
            share >= least
        });
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let rate = group.figure("packets_per_second").unwrap_or_default();
        let share = group.figure("share_percent").unwrap_or_default();
        let (client, server) = (group.client(), group.server());
        let flat = group.having(|seen| seen.plateau) > 0;
        let p50 = median(group.seen().filter_map(|seen| seen.answer_p50_ms));
        let p99 = median(group.seen().filter_map(|seen| seen.answer_p99_ms));
        let confidence = if flat {
            confidence::OPEN
        } else {
            confidence::EVEN
        };
        draft
            .title(format!("One UDP flow carries {share:.0} % of the datagrams to {server}"))
            .summary(format!(
                "{client} sends {} datagrams a second to {server} through one pair of sockets: {share:.0} % of all datagrams to that server. \
                 One lock, one receive queue and usually one CPU core handle them.{}",
                rounded(rate),
                if flat { " The rate is flat, as it is when a socket is the limit." } else { "" }
            ))
            .confidence(confidence, "The traffic pattern is measured; only the host shows whether the socket is the limit.")
            .because(format!("one 4-tuple has {share:.1} % of the client datagrams of this server"))
            .because_if(flat, || "the busiest second is within 15 % of the median second".to_owned())
            .because_if(p50.is_some(), || {
                format!("responses took {} (median) and {} (99th percentile)", time(p50.unwrap_or_default()), time(p99.unwrap_or_default()))
            })
            .not("tunnel or media flow", "the payload is no protocol that uses one flow by design")
            .not("packet-loss", "lost datagrams would leave gaps in the rate; this pattern comes from the design")
            .set("Go", "use a pool of connected sockets and choose one per send; more goroutines on one socket do not help", "conns[rand.Intn(len(conns))].Write(buf)")
            .set("Linux", "server: one socket per core on the same port", "setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1) before bind")
            .set("C", "send and receive in batches", "sendmmsg(2), recvmmsg(2), UDP_SEGMENT (GSO), UDP_GRO")
            .set("Linux", "spread flows over the NIC's queues by port", "ethtool -N DEV rx-flow-hash udp4 sdfn")
            .verify("client", format!("ss -uanp dst {} ; lsof -nP -iUDP@{}", server.ip, server.ip), "one descriptor shared by all workers")
            .verify("client", "strace -c -f -p PID", "futex and pselect6 (or epoll_pwait) far above sendto: workers wait for one lock")
            .verify("server", format!("ss -ulnpm '( sport = :{} )'; nstat -az UdpRcvbufErrors UdpInErrors", server.port), "how many sockets share the port, and drops in their queues")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, C, figure, findings_in, findings_of};
    use analyzer::analysis::UdpServerFacts;

    fn flow(rate: u64, protocol: Option<&'static str>) -> Connection {
        let mut builder = Builder::udp(1);
        builder.segment(0.0, C, 0, 100);
        builder.segment(10_000.0, C, 0, 100);
        builder
            .with(|conn| {
                conn.halves[0].packets = rate * 10;
                let udp = conn.udp.as_mut().unwrap();
                udp.active_seconds = 10;
                udp.median_per_second = number(rate);
                udp.peak_per_second = rate + rate / 20;
                udp.protocol = protocol;
            })
            .build()
    }

    #[test]
    fn hot_flow_is_a_hint() {
        let findings = findings_of("udp-single-socket", &[flow(5_000, None)]);
        assert_eq!(findings[0].severity, Severity::Low);
        assert!((figure(&findings[0], "packets_per_second") - 5000.0).abs() < 0.5);
        assert!((figure(&findings[0], "share_percent") - 100.0).abs() < 0.5);
    }

    #[test]
    fn flat_rate_is_told_and_no_proof_of_a_limit() {
        let findings = findings_of("udp-single-socket", &[flow(30_000, None)]);
        assert_eq!(findings[0].severity, Severity::Low);
        assert!(findings[0].summary.contains("The rate is flat"));
    }

    #[test]
    fn tunnels_and_slow_flows_are_left_alone() {
        assert!(findings_of("udp-single-socket", &[flow(30_000, Some("wireguard"))]).is_empty());
        assert!(findings_of("udp-single-socket", &[flow(500, None)]).is_empty());
    }

    #[test]
    fn one_of_many_flows_is_left_alone() {
        let conn = flow(5_000, None);
        let mut analysis = Analysis::default();
        let facts = UdpServerFacts {
            datagrams: 200_000,
            flows: 4,
            busiest: 50_000,
        };
        analysis.udp_servers.insert(conn.server, facts);
        assert!(findings_in("udp-single-socket", &[conn], &analysis).is_empty());
    }
}

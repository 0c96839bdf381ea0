//! `syn-unanswered`: connection attempts that nobody answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use analyzer::event::EventKind;
use analyzer::{Analysis, Connection};

use crate::model::context::Context;
use crate::model::legacy::{Collected, Group, Legacy, Observation, Observations};
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::Narrative;
use crate::model::rule::Rule;
use crate::model::severity::Severity;
use crate::model::text::{list, ms, number, plural, time};
use crate::signs::held::{self, Held};

declare_rule! {
    /// Connection attempts get no answer of any kind.
    ///
    /// ## What it means
    /// The client's SYN and its repetitions leave, and nothing comes back: no SYN-ACK, no RST, no ICMP.
    ///
    /// ## Why it matters
    /// The caller waits for its whole connect timeout (Linux: 127 s unless the program sets one) before it
    /// learns that nothing is there.
    ///
    /// ## How it is detected
    /// SYNs without any answer, repeated at least once or followed by at least three seconds of capture, to a
    /// listener that completed no handshake in that time. Newer Linux repeats after 1, 1, 1, 1 s and then
    /// doubles; older after 1, 2, 4 s. One client that tries many ports once is called a scan (info).
    /// Severity is high: connections failed.
    ///
    /// ## What to do
    /// Check security groups and packet filters for silent drops, the route, and whether the host is up.
    ///
    /// ## Known limits
    /// When answers take a path that is not captured, the client's later segments show it and the connection is
    /// not assessed; if the client gave up, that cannot be told. Unanswered SYNs to a listener that serves others
    /// at the same time belong to listen-overflow or loss.
    ///
    /// ## References
    /// - RFC 9293 §3.8.1; RFC 6298 §5.7
    pub(crate) struct SynUnanswered {
        id: "syn-unanswered",
        title: "Connection attempts get no answer",
        severity: High,
        needs: [Tcp],
        clouded_by: [CaptureDrops, OneSided, CutShort],
        figures: [attempts: Count / Sum, waited_ms: Milliseconds / Max],
        thresholds: [
            scan_ports = 10.0: "Different silent ports of one client that make a scan.",
            min_wait_ms = 3000.0: "How long the capture must go on after a single SYN to call it unanswered; a lost one would have been repeated.",
        ],
    }
}

/// Addresses that try one listener once each: of as many clients some would have repeated a SYN.
const FLOOD_CLIENTS: usize = 1_000;

impl Rule for SynUnanswered {
    type Seen = Legacy;
    type Fact = Held;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations<Held>) {
        let Some(first) = conn.handshake.syns.first() else {
            held::note(conn, Held, out);
            return;
        };
        if conn.from_server().packets > 0 || conn.handshake.syn_ack_count > 0 {
            return;
        }
        if conn.from_client().unique_bytes > 0 || conn.handshake.ack.is_some() {
            out.not_assessed("only one direction was captured");
            return;
        }
        let icmp = conn
            .events
            .iter()
            .any(|event| matches!(event.kind, EventKind::IcmpError(_)));
        if icmp || !conn.resets.is_empty() {
            return;
        }
        let kept = conn.handshake.syns.last().copied().unwrap_or(*first);
        let last = conn.from_client().last_segment.unwrap_or(kept);
        let waited = last.time.since(first.time);
        let gaps: Vec<String> = conn
            .handshake
            .syns
            .windows(2)
            .map(|pair| format!("{:.1}", pair[1].time.since(pair[0].time).as_secs_f64()))
            .collect();
        // RFC 9293 §3.8.1 with RFC 6298 §2.1: a client that hears nothing repeats after a second. One
        // that does not may have been answered unseen, or given up early, or be a scanner.
        let (confidence, severity) = if conn.handshake.syn_count > 1 {
            (0.9, Severity::High)
        } else {
            (0.5, Severity::Low)
        };
        out.push(
            Observation::untyped(conn, confidence, severity)
                .at(first.time)
                .weight(ms(waited))
                .evidence(*first, "first SYN, never answered")
                .evidence_if(
                    Some(last).filter(|last| last.frame != first.frame),
                    format!(
                        "last of {} SYNs, {} after the first, still no answer",
                        conn.handshake.syn_count,
                        time(ms(waited))
                    ),
                )
                .figure("attempts", 1.0)
                .figure("waited_ms", ms(waited))
                .cost("connections_failed", 1.0)
                .detail("syns", f64::from(conn.handshake.syn_count))
                .label("gaps", list(&gaps)),
        );
    }

    fn on_capture(&self, analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected<Held>) {
        let least = Duration::from_secs_f64(ctx.threshold("min_wait_ms") / 1e3);
        let end = analysis.summary.last;
        let mut ports = BTreeMap::<IpAddr, BTreeSet<(IpAddr, u16)>>::new();
        for one in &collected.observations {
            let server = one.connection.server;
            ports
                .entry(one.connection.client.ip)
                .or_default()
                .insert((server.ip, server.port));
        }
        let held = held::last_seen(collected.notes.iter());
        collected.observations.retain_mut(|one| {
            let repeated = one.number("syns").is_some_and(|syns| syns > 1.0);
            let waited = end.is_some_and(|end| end.since(one.at) >= least);
            // A listener that serves others at that time: overflow or loss, not silence.
            let serving = analysis
                .listeners
                .get(&one.connection.server)
                .is_some_and(|facts| {
                    facts
                        .first_completed
                        .is_some_and(|first| first.time <= one.at + least)
                        && facts
                            .last_completed
                            .is_some_and(|last| last.time + least >= one.at)
                });
            // Connections from before the capture live: the host is up, whatever the SYNs met.
            let lived_on = held
                .get(&one.connection.server)
                .and_then(|times| times.last())
                .is_some_and(|last| *last >= one.at);
            if lived_on {
                one.severity = one.severity.min(Severity::Low);
                one.confidence = one.confidence.min(0.5);
            }
            let client = one.connection.client.ip;
            if ports
                .get(&client)
                .is_some_and(|ports| number(ports.len() as u64) >= ctx.threshold("scan_ports"))
            {
                one.cause = format!("scan {client}");
                one.severity = Severity::Info;
                one.cost.clear();
            }
            (repeated || waited) && !serving
        });
    }

    fn describe(&self, group: &Group<'_, Held>, draft: Narrative) -> Narrative {
        let count = group.number("attempts").unwrap_or_default();
        if group.best().cause.starts_with("scan ") {
            let client = group.client().ip;
            return draft
                .title(format!("{client} tries many silent ports: a scan"))
                .summary(format!("{client} sent SYNs to {} addresses and ports that never answer. That is a scan or discovery, not a broken service.", group.servers().len()))
                .because(format!("{} went to different ports", plural(count, "attempt")))
                .advise("any", "find out who runs it if it is not yours");
        }
        let server = group.server();
        let waited = group.number("waited_ms").unwrap_or_default();
        let facts = group.analysis.listeners.get(&server);
        let worked = facts.is_some_and(|facts| facts.completed > 0);
        // Those of a flood are summed, not judged one by one.
        let unanswered = facts.map_or(0, |facts| facts.unanswered);
        let summed = number(unanswered) > count
            && facts.is_some_and(|facts| facts.clients.len() >= FLOOD_CLIENTS);
        let gaps = group.best().words("gaps").unwrap_or_default().to_owned();
        let is_flood = summed && gaps.is_empty();
        let confidence = draft.confidence;
        let draft = if is_flood {
            draft.advise("server", "if it is a flood, SYN cookies keep the listener open to others (net.ipv4.tcp_syncookies = 1); have it dropped before it reaches the server")
        } else {
            draft
        };
        draft
            .title(format!("Nobody answers connection attempts to {server}"))
            .summary(format!(
                "{}{} from {} to {server} got no answer of any kind; {}. {}",
                if summed {
                    format!("Of {} without answer these were judged one by one: ", plural(number(unanswered), "attempt"))
                } else {
                    String::new()
                },
                plural(count, "attempt"),
                group.clients_text(),
                if gaps.is_empty() { "none was repeated".to_owned() } else { format!("the longest tried for {}", time(waited)) },
                if worked { "The listener served connections at another time, so it went away or came later." } else { "No connection to it succeeded in this capture." },
            ))
            .confidence(confidence, if gaps.is_empty() {
                "No answer was captured, but no SYN was repeated either, as a client does that hears nothing: the answer may have passed unseen."
            } else {
                "SYNs without answer were captured; an answer on another path cannot be excluded."
            })
            .because(format!("{:.0} SYN segments, no SYN-ACK, no RST, no ICMP error", group.sum("syns")))
            .because_if(!gaps.is_empty(), || format!("the SYN was repeated after {gaps} s, as a client does that hears nothing"))
            .because_if(is_flood, || format!("more than {FLOOD_CLIENTS} addresses sent one SYN each and none repeated it: made-up senders, as of a SYN flood, do so; clients do not"))
            .not("connection-refused", "a closed port on a host that is up would answer with RST")
            .not("listen-overflow", "the listener completed no other handshake at that time")
            .not("one-sided capture", "the client never went on as if it had been answered")
            .advise("network", format!("look for a silent drop of TCP port {}: security group, network ACL, firewall DROP rule", server.port))
            .advise("network", format!("check that {} is up and routed, in both directions", server.ip))
            .set("Go", "fail sooner", "net.Dialer{Timeout: 3 * time.Second}")
            .set("nginx", "fail sooner", "proxy_connect_timeout 3s;")
            .set("Linux", "fail sooner everywhere", "net.ipv4.tcp_syn_retries = 3")
            .verify("server", format!("tcpdump -ni any 'tcp port {} and tcp[tcpflags] & tcp-syn != 0'", server.port), "whether the SYNs arrive at all")
            .verify("server", "iptables -S; nft list ruleset", "rules that drop in silence")
            .verify("client", format!("traceroute -n -T -p {} {}", server.port, server.ip), "where the path ends")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, C, S, at, figure, findings_in, findings_of};

    fn silent(port: u16, retries: u32) -> Builder {
        let mut builder = Builder::tcp(port);
        let syns: Vec<_> = (0..=retries)
            .map(|n| builder.segment(f64::from(n) * 1000.0, C, 2, 0))
            .collect();
        builder.with(|conn| {
            conn.handshake.syn_count = retries + 1;
            conn.handshake.syns = syns;
        })
    }

    #[test]
    fn repeated_syns_without_answer() {
        let findings = findings_of(
            "syn-unanswered",
            &[silent(1, 3).build(), silent(2, 2).build()],
        );
        assert_eq!(findings.len(), 1);
        assert!((figure(&findings[0], "attempts") - 2.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "waited_ms") - 3000.0).abs() < 0.01);
    }

    #[test]
    fn single_syn_counts_when_the_capture_goes_on() {
        let mut analysis = Analysis::default();
        assert!(findings_in("syn-unanswered", &[silent(1, 0).build()], &analysis).is_empty());
        analysis.summary.last = Some(at(9000.0));
        assert_eq!(
            findings_in("syn-unanswered", &[silent(1, 0).build()], &analysis).len(),
            1
        );
    }

    #[test]
    fn many_senders_of_one_syn_each_look_like_a_flood() {
        let conn = silent(1, 0).build();
        let mut analysis = Analysis::default();
        analysis.summary.last = Some(at(9000.0));
        let listener = analysis.listeners.entry(conn.server).or_default();
        (listener.attempts, listener.unanswered) = (5_000_000, 5_000_000);
        listener.clients = (0..1024_u32)
            .map(|number| IpAddr::V4((0x0b00_0000 + number).into()))
            .collect();
        let findings = findings_in("syn-unanswered", &[conn], &analysis);
        assert!(
            findings[0]
                .summary
                .starts_with("Of 5000000 attempts without answer")
        );
        assert!(findings[0].remedy[0].text.contains("SYN cookies"));
    }

    #[test]
    fn older_connections_that_live_show_that_the_host_is_up() {
        let older = Builder::tcp(9).request(0.0, 50).response(9000.0, 90);
        let findings = findings_of("syn-unanswered", &[silent(1, 3).build(), older.build()]);
        assert_eq!(findings[0].severity, Severity::Low);
    }

    #[test]
    fn answered_connections_are_not_this() {
        let conn = silent(1, 2)
            .with(|conn| conn.handshake.syn_ack_count = 1)
            .build();
        assert!(findings_of("syn-unanswered", &[conn]).is_empty());
    }

    #[test]
    fn client_that_goes_on_shows_a_one_sided_capture() {
        let mut builder = silent(1, 0);
        builder.segment(5.0, C, 0x18, 100);
        assert!(findings_of("syn-unanswered", &[builder.build()]).is_empty());
        let mut answered = silent(2, 1);
        answered.segment(5.0, S, 0x12, 0);
        assert!(findings_of("syn-unanswered", &[answered.build()]).is_empty());
    }
}

//! `connection-churn`: a client opens a new connection for every request.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use analyzer::event::SegmentRef;
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Endpoint, Timestamp};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, number, percent};

declare_rule! {
    /// A client opens dozens of connections to one server every second, one request each.
    ///
    /// ## What it means
    /// Connections are not kept or pooled: every request costs a handshake, and every connection that the
    /// client closes occupies one of its ports during TIME-WAIT (60 s on Linux).
    ///
    /// ## Why it matters
    /// Handshakes take round trips and, with TLS, CPU time. A client that opens more connections a second than
    /// its ephemeral ports allow within TIME-WAIT runs out of ports, and calls fail for reasons that have
    /// nothing to do with the server.
    ///
    /// ## How it is detected
    /// - At least `min_connections` connections of one client address to one server begin within one second.
    /// - Each is complete in the capture, with at most one request and response.
    ///
    /// The frame that opens the busiest second proves it. Figures compare the rate with the 28,232 ephemeral
    /// ports of Linux over 60 s, and give the share of the connections' time that their handshakes took.
    /// Nothing has failed yet: low.
    ///
    /// ## What to do
    /// Reuse connections: a pool in the client, keep-alive towards upstreams (nginx `keepalive` with HTTP/1.1,
    /// HAProxy `http-reuse`), HTTP/2, or several commands on one connection.
    ///
    /// ## Known limits
    /// Load generators and health checks look the same. Clients behind one address count as one.
    ///
    /// ## References
    /// - RFC 9293 §3.6.1 (TIME-WAIT); Linux: ip_local_port_range, tcp_max_tw_buckets
    /// - RFC 9112 §9.3 (persistence)
    pub(crate) struct ConnectionChurn {
        id: "connection-churn",
        group: Application,
        title: "A client opens a connection for every request",
        severity: Low,
        needs: [Tcp, BothDirections, Handshake],
        clouded_by: [CaptureDrops, CutShort],
        figures: [
            connections: Count / Max,
            ports_percent: Percent / Max,
            handshake_percent: Percent / Max,
        ],
        thresholds: [
            min_connections = 50.0: "Connections that begin within one second; a browser page opens six to a host, a dozen with its frames.",
        ],
    }
}

/// Ephemeral ports of a Linux host unless set otherwise, and how long TIME-WAIT holds one.
const EPHEMERAL_PORTS: f64 = 28_232.0;
const TIME_WAIT_S: f64 = 60.0;
/// Connections that last longer are no churn.
const SHORT: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);

/// A short connection of at most one request.
pub(crate) struct Short {
    syn: SegmentRef,
    handshake: Duration,
    lasted: Duration,
}

/// The busiest second.
pub(crate) struct Seen {
    per_second: u64,
}

impl Rule for ConnectionChurn {
    type Seen = Seen;
    type Fact = Short;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        _ctx: &Context<'_>,
        out: &mut Observations<Seen, Short>,
    ) {
        let handshake = &conn.handshake;
        let (Some(syn), Some(ack)) = (handshake.syns.first(), handshake.ack) else {
            return;
        };
        let is_complete =
            conn.halves.iter().all(|half| half.fin.is_some()) || !conn.resets.is_empty();
        let one_request = conn.turns.count == 1 && conn.turns.answered == 1;
        if is_complete && one_request && conn.duration() < SHORT {
            out.note(|| {
                let fact = Short {
                    syn: *syn,
                    handshake: ack.time.since(syn.time),
                    lasted: conn.duration(),
                };
                Note::new(conn, fact).at(syn.time)
            });
        }
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        ctx: &Context<'_>,
        collected: &mut Collected<Seen, Short>,
    ) {
        let mut pairs = BTreeMap::<(IpAddr, Endpoint), Vec<&Note<Short>>>::new();
        for note in &collected.notes {
            let ends = (note.connection.client.ip, note.connection.server);
            pairs.entry(ends).or_default().push(note);
        }
        for ((client, _), mut notes) in pairs {
            let scans = analysis
                .hosts
                .get(client)
                .is_some_and(HostProfile::is_scanner);
            notes.sort_by_key(|note| (note.at, note.connection.first_frame));
            let times: Vec<Timestamp> = notes.iter().map(|note| note.at).collect();
            let Some((first, count)) = busiest(&times) else {
                continue;
            };
            if !scans && number(count as u64) >= ctx.threshold("min_connections") {
                let observation = observation(&notes, first, count as u64);
                collected.observations.push(observation);
            }
        }
    }

    fn describe(&self, group: &Group<'_, Seen, Short>, draft: Narrative) -> Narrative {
        let (client, server) = (group.client().ip, group.server());
        let per_second = many(group.best().seen.per_second, "connection");
        let share = group.figure("handshake_percent").unwrap_or_default();
        let ports = group.figure("ports_percent").unwrap_or_default();
        draft
            .title(format!("{client} opens a connection to {server} for every request"))
            .summary(format!(
                "{client} opened {per_second} to {server} within one second, each for a single request. Handshakes took {} of the connections' time; at this rate TIME-WAIT would hold {} of the ephemeral ports of a Linux host.",
                percent(share / 100.0),
                percent(ports / 100.0),
            ))
            .confidence(confidence::STRONG, "Every connection counted was captured from SYN to close.")
            .because("each connection carried one request and one response and was closed within a second")
            .not("port-reuse-collision", "no new connection met an old one on the same port")
            .advise("client", "pool connections, or send several requests on one")
            .set("nginx", "keep connections to upstreams", "upstream … { keepalive 32; }  proxy_http_version 1.1;  proxy_set_header Connection \"\";")
            .verify("client", "ss -tan state time-wait | wc -l; sysctl net.ipv4.ip_local_port_range", "how close the client is to using up its ports")
    }
}

/// The first of the most times that lie within one second, and how many they are.
fn busiest(times: &[Timestamp]) -> Option<(usize, usize)> {
    let mut best = None;
    let mut from = 0;
    for (to, time) in times.iter().enumerate() {
        while *time > times[from] + SECOND {
            from += 1;
        }
        let count = to + 1 - from;
        if best.is_none_or(|(_, known)| count > known) {
            best = Some((from, count));
        }
    }
    best
}

fn observation(notes: &[&Note<Short>], first: usize, count: u64) -> Observation<Seen> {
    let of =
        |time: fn(&Short) -> Duration| notes.iter().map(|note| ms(time(&note.fact))).sum::<f64>();
    let (handshakes, lasted) = (of(|fact| fact.handshake), of(|fact| fact.lasted));
    let share = if lasted > 0.0 {
        handshakes / lasted
    } else {
        0.0
    };
    let ports = number(count) * TIME_WAIT_S / EPHEMERAL_PORTS * 100.0;
    let note = notes[first];
    Observation::from_note(note, confidence::STRONG, Impact::SOME)
        .cause(format!(
            "{} {}",
            note.connection.client.ip, note.connection.server
        ))
        .at(note.at)
        .weight(number(count))
        .count(notes.len() as u64)
        .proof(
            note.fact.syn,
            format!(
                "the first of {} that begin within one second",
                many(count, "connection")
            ),
        )
        .figure("connections", number(count))
        .figure("ports_percent", ports)
        .figure("handshake_percent", share.min(1.0) * 100.0)
        .seen(Seen { per_second: count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, C, S, figure, findings_of};

    /// A connection of one request, which begins at `start` ms.
    fn short(number: u16, start: f64) -> Connection {
        Builder::tcp(number)
            .handshake(start, 1.0)
            .request(start + 2.0, 100)
            .response(start + 4.0, 100)
            .fin(start + 5.0, C)
            .fin(start + 6.0, S)
            .build()
    }

    #[test]
    fn a_connection_a_request() {
        let busy: Vec<Connection> = (1..=60).map(|n| short(n, f64::from(n) * 10.0)).collect();
        let findings = findings_of("connection-churn", &busy);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Low);
        assert!((figure(&findings[0], "connections") - 60.0).abs() < f64::EPSILON);
    }

    #[test]
    fn few_or_slow_ones_are_as_they_should_be() {
        let few: Vec<Connection> = (1..=40).map(|n| short(n, f64::from(n) * 10.0)).collect();
        assert!(findings_of("connection-churn", &few).is_empty());
        let slow: Vec<Connection> = (1..=60).map(|n| short(n, f64::from(n) * 100.0)).collect();
        assert!(findings_of("connection-churn", &slow).is_empty());
    }

    #[test]
    fn connections_that_are_used_again_are_no_churn() {
        let kept = |n: u16| {
            let start = f64::from(n) * 10.0;
            Builder::tcp(n)
                .handshake(start, 1.0)
                .request(start + 2.0, 100)
                .response(start + 4.0, 100)
                .request(start + 5.0, 100)
                .response(start + 6.0, 100)
                .fin(start + 7.0, C)
                .fin(start + 8.0, S)
                .build()
        };
        let kept: Vec<Connection> = (1..=60).map(kept).collect();
        assert!(findings_of("connection-churn", &kept).is_empty());
    }
}

//! `half-open`: one end no longer knows a connection that the other keeps.

use std::time::Duration;

use analyzer::connection::{Reset, ResetKind, ResetShape};
use analyzer::event::EventKind;
use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, span, time};

declare_rule! {
    /// One end, or a device before it, no longer knows a connection that the other end keeps.
    ///
    /// ## What it means
    /// After a silence one end sends a keep-alive probe and is answered by RST. The other host was restarted,
    /// or a NAT gateway, firewall or load balancer dropped the connection's state.
    ///
    /// ## Why it matters
    /// Until the probe, one end believed it was connected. Whatever the other end sent in that time never
    /// arrived, and the next request would have failed.
    ///
    /// ## How it is detected
    /// - A keep-alive probe is answered by RST.
    /// - The RST's sequence number is the probe's acknowledgment number, as RFC 9293 §3.10.7.1 requires of a
    ///   host without such a connection.
    /// - Neither end had closed, and the connection had been silent for a second or longer.
    ///
    /// The probe and the RST prove it. Data answered by RST after a long silence belongs to idle-drop. A hop
    /// limit unlike that of the end's other segments shows that a device answered.
    ///
    /// ## What to do
    /// Find what dropped the connection's state, and probe or use idle connections more often than that.
    ///
    /// ## Known limits
    /// A process that ends without FIN on a host that stays up resets at once, not at the probe; where that
    /// reset was lost, it looks the same.
    ///
    /// ## References
    /// - RFC 9293 §3.5.1 (half-open connections), §3.8.4 (keep-alives)
    pub(crate) struct HalfOpen {
        id: "half-open",
        group: Closing,
        title: "One end no longer knows the connection",
        severity: Medium,
        needs: [Tcp, BothDirections],
        traits: [Reset],
        clouded_by: [CaptureDrops],
        figures: [connections: Count / Sum, idle_ms: Milliseconds / Median],
        thresholds: [],
        host_evidence: [Owner, IdleLimits],
    }
}

/// A connection that one end had forgotten.
pub(crate) struct Seen {
    idle: Duration,
    /// Who had forgotten it, as the RST says.
    by: Direction,
    /// Hop limits of the RST and of its end's other segments, where they differ.
    hop_limits: Option<(u8, u8)>,
}

impl Rule for HalfOpen {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations<Seen>) {
        let found = conn.resets.iter().find_map(|reset| forgotten(conn, reset));
        if let Some(observation) = found {
            out.push(observation);
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let best = group.best();
        let (forgot, keeps) = match best.seen.by {
            Direction::ClientToServer => (best.connection.client, best.connection.server),
            Direction::ServerToClient => (best.connection.server, best.connection.client),
        };
        let connections = many(group.connections(), "connection");
        let longest = group.seen().map(|seen| seen.idle).max().unwrap_or_default();
        let (longest, host) = (span(longest), forgot.ip);
        let device = best.seen.hop_limits;
        let who = match device {
            Some(_) => format!("a device before {host}"),
            None => host.to_string(),
        };
        let advice = if device.is_some() {
            format!(
                "find the NAT gateway, firewall or load balancer in front of {host} and raise its idle limit above {longest}"
            )
        } else {
            format!(
                "find out whether {host} was restarted or its process ended without a FIN, or raise the idle limit of a NAT gateway in front of it"
            )
        };
        draft
            .title(format!("{}{host} no longer knows connections that {} keeps", if device.is_some() { "A device before " } else { "" }, keeps.ip))
            .summary(format!("On {connections}, idle for up to {longest}, a keep-alive probe from {} was answered by RST from the address of {host}: {who} no longer had the connection, although neither end had closed it.", keeps.ip))
            .confidence(if device.is_some() { confidence::LIKELY } else { confidence::PROBABLE }, "The RST takes its sequence number from the probe it answers; the uptime of the host would settle who dropped the connection.")
            .because("the RST carries the probe's acknowledgment number as its sequence number, as a host without the connection sends it")
            .because_if(device.is_some(), || {
                let (reset, usual) = device.unwrap_or_default();
                format!("the RST came with hop limit {reset}, the other segments of {host} with {usual}: another device answered")
            })
            .not("idle-drop", "the probe was answered, not dropped in silence")
            .not("injected-reset", "the RST answers a probe after a silence; it ends no live connection")
            .advise("network", advice)
            .set("Linux", "probe idle connections sooner (with SO_KEEPALIVE set)", "net.ipv4.tcp_keepalive_time = 60")
            .verify(&host.to_string(), "ss -tan; uptime", "whether the connection exists there, and since when the host runs")
    }
}

/// The probe that `reset` answers, when it shows that its end has no such connection.
fn forgotten(conn: &Connection, reset: &Reset) -> Option<Observation<Seen>> {
    let probe = reset.answers?;
    let is_reply = reset.shape == ResetShape::Reply && reset.segment.seq == probe.ack;
    let fits = matches!(
        reset.kind,
        ResetKind::HalfOpen | ResetKind::Forged | ResetKind::Unknown
    );
    let closed = reset.own_fin_before || reset.peer_fin_before || reset.sender_carried_on;
    let mut events = conn.events.iter();
    let is_probe = events
        .any(|event| event.segment.frame == probe.frame && event.kind == EventKind::KeepAlive);
    if !is_reply || !fits || closed || !is_probe {
        return None;
    }
    let gap = conn
        .idle_gaps
        .last
        .filter(|gap| !gap.survived && gap.after.frame <= probe.frame)?;
    let idle = gap.length();
    let usual = reset
        .usual_hop_limit
        .filter(|usual| *usual != reset.hop_limit);
    let later = time(ms(reset.segment.time.since(probe.time)));
    let observation = Observation::new(conn, confidence::LIKELY, Impact::requests_lost(1))
        .cause(format!("{:?} {}", reset.segment.direction, conn.server))
        .at(reset.segment.time)
        .weight(ms(idle))
        .evidence(gap.before, "last packet before the silence")
        .evidence(
            probe,
            format!(
                "keep-alive probe, {} later",
                span(probe.time.since(gap.before.time))
            ),
        )
        .proof(
            reset.segment,
            format!("RST, {later} later; its sequence number is the probe's acknowledgment number"),
        )
        .figure("connections", 1.0)
        .figure("idle_ms", ms(idle))
        .cost("connections_failed", 1.0)
        .seen(Seen {
            idle,
            by: reset.segment.direction,
            hop_limits: usual.map(|usual| (reset.hop_limit, usual)),
        });
    Some(observation)
}

#[cfg(test)]
mod tests {
    use crate::testkit::script::Capture;
    use crate::testkit::{figure, findings_of};
    use analyzer::decode::TcpFlags;

    const ACK: u8 = TcpFlags::ACK;
    const RST: u8 = TcpFlags::RST;

    /// An exchange, 30 s of silence, and a keep-alive probe of the server at 30 s.
    fn probed() -> Capture {
        let mut capture = Capture::new();
        capture.handshake();
        capture.client(21_000, ACK | TcpFlags::PSH, 101, 901, 50);
        capture.server(41_000, ACK | TcpFlags::PSH, 901, 151, 50);
        capture.client(41_100, ACK, 151, 951, 0);
        capture.server(30_000_000, ACK, 950, 151, 0);
        capture
    }

    #[test]
    fn probe_is_answered_by_a_reset() {
        let mut capture = probed();
        capture.client(30_001_000, RST, 151, 0, 0);
        let findings = findings_of("half-open", &[capture.finish()]);
        assert_eq!(findings.len(), 1);
        assert!(figure(&findings[0], "idle_ms") > 29_900.0);
        assert!(findings[0].title.starts_with("10.0.0.1 no longer knows"));
    }

    #[test]
    fn probe_that_is_answered_proves_nothing() {
        let mut capture = probed();
        capture.client(30_001_000, ACK, 151, 951, 0);
        assert!(findings_of("half-open", &[capture.finish()]).is_empty());
    }

    #[test]
    fn reset_of_ones_own_accord_is_not_this() {
        let mut capture = probed();
        capture.client(30_001_000, ACK, 151, 951, 0);
        capture.client(40_000_000, RST | ACK, 151, 951, 0);
        assert!(findings_of("half-open", &[capture.finish()]).is_empty());
    }
}

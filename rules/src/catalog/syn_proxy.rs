//! `syn-proxy`: a device answers connection attempts for the server.

use analyzer::hosts::SegmentKind;
use analyzer::{Analysis, Connection};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::many;

declare_rule! {
    /// A device answers SYNs with the server's address and a window of zero, and opens the window later.
    ///
    /// ## What it means
    /// A SYN proxy (a firewall against SYN floods, `SYNPROXY` of Linux, some load balancers) first completes
    /// the handshake with the client and only then connects to the server. Until then it must not accept data,
    /// so it advertises a window of zero.
    ///
    /// ## Why it matters
    /// A successful handshake does not prove that the server is up: if it is down, the client sees a connection
    /// that resets or hangs instead of a refusal. The handshake's round trips are those to the device.
    ///
    /// ## How it is detected
    /// - The SYN-ACK advertises a window of zero, and the same end advertises a larger one later.
    ///
    /// The SYN-ACK proves it. A server that is short of memory may also do this, but only for a time. A hop
    /// limit of SYN-ACKs unlike that of later data shows where the device is. Info: it harms nobody.
    ///
    /// ## What to do
    /// Nothing, where it is intended. Read the other findings of these connections with it in mind.
    ///
    /// ## Known limits
    /// Proxies that advertise the server's usual window are not detected.
    ///
    /// ## References
    /// - RFC 4987 §3.6 (SYN proxies)
    pub(crate) struct SynProxy {
        id: "syn-proxy",
        group: ConnectionPhase,
        title: "A device answers connection attempts for the server",
        severity: Info,
        needs: [Tcp, BothDirections, Handshake],
        clouded_by: [],
        figures: [connections: Count / Sum],
        thresholds: [],
    }
}

/// Hop limits of the server's SYN-ACKs and of what it sends later, where they differ.
pub(crate) struct Seen {
    hop_limits: Option<(u8, u8)>,
}

impl Rule for SynProxy {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations<Seen>) {
        let opened = conn.from_server().window_max.is_some_and(|most| most > 0);
        let answer = conn.handshake.syn_acks.first();
        let cut = conn.handshake.options_unknown;
        let Some(answer) = answer.filter(|answer| answer.window == 0 && opened && !cut) else {
            return;
        };
        out.push(
            Observation::new(conn, confidence::PROBABLE, Impact::NONE)
                .at(answer.time)
                .proof(*answer, "SYN-ACK with a window of zero")
                .figure("connections", 1.0)
                .seen(Seen { hop_limits: None }),
        );
    }

    fn on_capture(&self, analysis: &Analysis, _ctx: &Context<'_>, collected: &mut Collected<Seen>) {
        for one in &mut collected.observations {
            let server = analysis.hosts.get(one.connection.server.ip);
            let usual = |kind| server.and_then(|server| server.hop_limits().usual(kind));
            let limits = usual(SegmentKind::Syn).zip(usual(SegmentKind::Other));
            one.seen.hop_limits = limits.filter(|(answer, later)| answer != later);
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let server = group.server();
        let limits = group.best().seen.hop_limits;
        draft
            .title(format!("A device answers connection attempts on behalf of {server}"))
            .summary(format!(
                "On {} the SYN-ACK of {server} came with a window of zero that was opened later: a SYN proxy completed the handshake before it contacted the server.",
                many(group.connections(), "connection"),
            ))
            .confidence(if limits.is_some() { confidence::LIKELY } else { confidence::PROBABLE }, "A server with room for a connection also has room for data; a capture at the server would settle it.")
            .because("the SYN-ACK allows no data")
            .because_if(limits.is_some(), || {
                let (answer, later) = limits.unwrap_or_default();
                format!("SYN-ACKs have hop limit {answer}, later segments {later}: another host sent them")
            })
            .not("zero-window-stall", "the window was zero from the first segment on, before there was any data")
            .advise("network", "do not take a successful handshake as proof that the server is up")
    }
}

#[cfg(test)]
mod tests {
    use analyzer::decode::{TcpFields, TcpFlags};

    use crate::model::finding::Finding;
    use crate::model::severity::Severity;
    use crate::testkit::findings_of;
    use crate::testkit::script::{Capture, Marks, fields};

    /// A connection whose SYN-ACK has this window, and that is served if `serves`.
    fn opened(window: u16, serves: bool) -> Vec<Finding> {
        let mut capture = Capture::new();
        capture.client(0, TcpFlags::SYN, 100, 0, 0);
        let answer = TcpFields {
            window_field: window,
            ..fields(900, 101, TcpFlags::SYN | TcpFlags::ACK)
        };
        capture.packet(false, 20_000_000, Marks::default(), answer, 0);
        capture.client(20_000, TcpFlags::ACK, 101, 901, 0);
        if serves {
            capture.server_window(60_000, 901, 101, 60_000);
            capture.client(61_000, TcpFlags::PSH | TcpFlags::ACK, 101, 901, 80);
            capture.server(81_000, TcpFlags::PSH | TcpFlags::ACK, 901, 181, 80);
        }
        findings_of("syn-proxy", &[capture.finish()])
    }

    #[test]
    fn a_window_that_opens_later_shows_a_proxy() {
        let findings = opened(0, true);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Info);
    }

    #[test]
    fn a_usual_window_and_one_that_never_opens_do_not() {
        assert!(opened(60_000, true).is_empty());
        assert!(opened(0, false).is_empty());
    }
}

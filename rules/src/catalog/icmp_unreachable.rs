//! `icmp-unreachable`: routers and hosts say that packets cannot be delivered.

use std::collections::BTreeSet;

use analyzer::decode::IcmpFields;
use analyzer::event::EventKind;
use analyzer::{Analysis, Connection, Direction, Endpoint, Transport};

use crate::model::context::Context;
use crate::model::legacy::{Collected, Group, Legacy, Observation, Observations};
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::Narrative;
use crate::model::observation::Note;
use crate::model::rule::Rule;
use crate::model::severity::Severity;
use crate::model::text::{number, plural};

declare_rule! {
    /// ICMP errors say that packets of captured traffic could not be delivered.
    ///
    /// ## What it means
    /// A router or the destination host returns the start of a packet with the reason why it went no
    /// further: no route, no such host, no such port, forbidden by a filter.
    ///
    /// ## Why it matters
    /// It is the network's own statement about what failed, and it names who says so.
    ///
    /// ## How it is detected
    /// ICMP type 3 (but "fragmentation needed") and ICMPv6 type 1 that quote a packet of a captured flow. Answers to a client
    /// that has closed its port meanwhile (late DNS answers) are info. Severity: low for single messages, medium from
    /// three about a destination that never answered. Refused TCP connections belong to connection-refused.
    ///
    /// ## What to do
    /// By code: routing, the host, the port, or the filter that the reporter applies.
    ///
    /// ## Known limits
    /// Routers limit how many errors they send, so the count is a lower bound. Traceroute provokes such errors on purpose.
    ///
    /// ## References
    /// - RFC 792; RFC 4443 §3.1; RFC 1812 §5.2.7; RFC 5927 (TCP treats most as hints)
    pub(crate) struct IcmpUnreachable {
        id: "icmp-unreachable",
        title: "Packets cannot be delivered",
        severity: Medium,
        needs: [],
        clouded_by: [CaptureDrops],
        figures: [messages: Count / Sum],
        thresholds: [
            medium_messages = 3.0: "Messages about a silent destination from which it is broken rather than busy.",
        ],
    }
}

/// Ports traceroute sends to by default.
const TRACEROUTE: std::ops::RangeInclusive<u16> = 33_434..=33_534;

/// Something of the server was captured.
pub(crate) struct Fact;

impl Rule for IcmpUnreachable {
    type Seen = Legacy;
    type Fact = Fact;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations<Fact>) {
        if conn.from_server().packets > 0 {
            out.note(|| Note::new(conn, Fact));
        }
        let errors: Vec<_> = conn
            .events
            .iter()
            .filter_map(|event| match event.kind {
                EventKind::IcmpError(icmp) => {
                    reason(&icmp).map(|reason| (event.segment, icmp, reason))
                }
                _ => None,
            })
            .collect();
        let Some((first, icmp, reason)) = errors.first().copied() else {
            return;
        };
        let refused = conn.transport == Transport::Tcp && conn.handshake.syn_ack_count == 0;
        let traceroute = conn.transport == Transport::Udp && TRACEROUTE.contains(&conn.server.port);
        if refused || traceroute {
            return;
        }
        // The quoted packet came from the server: the client no longer wanted it.
        let late = first.direction == Direction::ServerToClient;
        let to = if late { conn.client } else { conn.server };
        out.push(
            Observation::untyped(
                conn,
                0.95,
                if late { Severity::Info } else { Severity::Low },
            )
            .cause(format!(
                "{} {reason} {late}",
                if late { conn.server } else { to }
            ))
            .at(first.time)
            .weight(number(errors.len() as u64))
            .count(errors.len() as u64)
            .evidence(
                first,
                format!(
                    "ICMP error from {}: {reason}; it quotes a packet to {to}",
                    icmp.reporter
                ),
            )
            .figure("messages", number(errors.len() as u64))
            .detail("late", f64::from(u8::from(late)))
            .label("reason", reason)
            .label("reporter", icmp.reporter.to_string()),
        );
    }

    fn on_capture(&self, _analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected<Fact>) {
        let answered: BTreeSet<Endpoint> = collected
            .notes
            .iter()
            .map(|note| note.connection.server)
            .collect();
        let mut counts = std::collections::BTreeMap::<String, f64>::new();
        for one in &collected.observations {
            *counts.entry(one.cause.clone()).or_default() +=
                one.number("messages").unwrap_or_default();
        }
        for one in &mut collected.observations {
            let many = counts
                .get(&one.cause)
                .is_some_and(|count| *count >= ctx.threshold("medium_messages"));
            let silent = !answered.contains(&one.connection.server);
            if many && silent && one.severity == Severity::Low {
                one.severity = Severity::Medium;
            }
        }
    }

    fn describe(&self, group: &Group<'_, Fact>, draft: Narrative) -> Narrative {
        let server = group.server();
        let reason = group.words("reason").unwrap_or_default();
        let reporter = group.words("reporter").unwrap_or_default();
        let messages = group.number("messages").unwrap_or_default();
        let late = group.positive("late") > 0;
        let (title, summary) = if late {
            (
                format!("Answers of {server} reach clients that no longer listen"),
                format!(
                    "{} quote packets from {server}: the client had closed its port before the answer came. Usual for answers after a timeout; harmless by itself.",
                    plural(messages, "ICMP error")
                ),
            )
        } else {
            (
                format!("Packets to {server} cannot be delivered: {reason}"),
                format!(
                    "{} from {reporter} say about packets to {server}: {reason}.",
                    plural(messages, "ICMP error")
                ),
            )
        };
        let port = reason.starts_with("port");
        let draft = draft
            .title(title)
            .summary(summary)
            .confidence(0.95, "The errors quote the very packets they speak of.")
            .because(format!(
                "{reporter} reports \"{reason}\" and quotes the packet"
            ))
            .not(
                "traceroute",
                "the quoted packets are not to traceroute's ports",
            )
            .not(
                "connection-refused",
                "refused TCP connections are reported there",
            );
        let draft = if late {
            draft.advise("client", "wait longer for answers, or ignore: the answer was late (see dns-failure or slow answers)")
        } else if port {
            draft.advise(
                "server",
                format!(
                    "no program has port {} open on {}: start it, or correct the address",
                    server.port, server.ip
                ),
            )
        } else if reason.contains("prohibited") {
            draft.advise(
                "network",
                format!("a filter on {reporter} forbids this traffic: allow it or stop sending"),
            )
        } else {
            draft.advise(
                "network",
                format!(
                    "{reporter} has no way to {}: check its routes and whether the host is up",
                    server.ip
                ),
            )
        };
        draft
            .verify(
                "client",
                format!("ip route get {}", server.ip),
                "the route this host uses",
            )
            .verify(
                "server",
                format!("ss -lnp '( sport = :{} )'", server.port),
                "whether a program has the port open",
            )
    }
}

/// The reason in words; `None` for errors of other kinds (time exceeded, packet too big).
fn reason(icmp: &IcmpFields) -> Option<&'static str> {
    Some(match (icmp.v6, icmp.icmp_type, icmp.code) {
        (false, 3, 0) | (true, 1, 0) => "no route to the network",
        (false, 3, 1) | (true, 1, 3) => "host unreachable",
        (false, 3, 2) => "protocol unreachable",
        (false, 3, 3) | (true, 1, 4) => "port unreachable",
        (false, 3, 9 | 10 | 13) | (true, 1, 1 | 5) => "administratively prohibited",
        (false, 3, 4) => return None,
        (false, 3, _) | (true, 1, _) => "destination unreachable",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, C, S, figure, findings_of};

    fn error(direction: Direction, icmp_type: u8, code: u8, count: u32) -> Builder {
        let mut builder = Builder::udp(1);
        let packet = builder.segment(1.0, direction, 0, 100);
        let icmp = IcmpFields {
            icmp_type,
            code,
            v6: false,
            mtu: 0,
            reporter: "10.9.0.2".parse().unwrap(),
            quoted_seq: None,
        };
        for _ in 0..count {
            builder = builder.event(packet, EventKind::IcmpError(icmp));
        }
        builder
    }

    #[test]
    fn silent_port_is_medium() {
        let findings = findings_of("icmp-unreachable", &[error(C, 3, 3, 4).build()]);
        assert_eq!(findings[0].severity, Severity::Medium);
        assert!((figure(&findings[0], "messages") - 4.0).abs() < f64::EPSILON);
        assert!(findings[0].title.contains("port unreachable"));
    }

    #[test]
    fn late_answers_are_information() {
        assert_eq!(
            findings_of("icmp-unreachable", &[error(S, 3, 3, 1).build()])[0].severity,
            Severity::Info
        );
    }

    #[test]
    fn other_errors_are_not_this() {
        assert!(findings_of("icmp-unreachable", &[error(C, 11, 0, 4).build()]).is_empty());
        assert!(findings_of("icmp-unreachable", &[error(C, 3, 4, 4).build()]).is_empty());
    }

    #[test]
    fn traceroute_provokes_them_on_purpose() {
        let conn = error(C, 3, 3, 4)
            .with(|conn| conn.server.port = 33_440)
            .build();
        assert!(findings_of("icmp-unreachable", &[conn]).is_empty());
    }
}

//! `icmp-unreachable`: routers and hosts say that packets cannot be delivered.

use std::collections::BTreeSet;
use std::net::IpAddr;

use analyzer::decode::IcmpFields;
use analyzer::event::EventKind;
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Direction, Endpoint, Transport};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::most;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{number, plural};
use crate::signs::attempts::is_refusal;

declare_rule! {
    /// ICMP errors report that packets of captured traffic could not be delivered.
    ///
    /// ## What it means
    /// A router or the destination host returns the start of a packet with the reason why it was not delivered:
    /// no route, no such host, no such port, forbidden by a filter.
    ///
    /// ## Why it matters
    /// The network itself states what failed and which device says so.
    ///
    /// ## How it is detected
    /// - An ICMP error of type 3 (except "fragmentation needed"), or an ICMPv6 error of type 1, quotes a packet
    ///   of a captured flow.
    /// - A SYN that the target itself answers with "port unreachable" belongs to connection-refused.
    /// - Responses to a client that has closed its port meanwhile (late DNS responses) are info, as are errors
    ///   that a scanner or a traceroute provokes.
    ///
    /// The quoted packet proves that it was not delivered. The number of failed flows of one client decides the
    /// severity. A destination that otherwise answered is not down (low).
    ///
    /// ## What to do
    /// By code: check routing, the host, the port, or the filter of the reporting device.
    ///
    /// ## Known limits
    /// Routers limit how many errors they send, so the count is a lower bound. Traceroute provokes such errors
    /// on purpose.
    ///
    /// ## References
    /// - RFC 792; RFC 4443 §3.1; RFC 1812 §5.2.7; RFC 5927 (TCP treats most as hints)
    pub(crate) struct IcmpUnreachable {
        id: "icmp-unreachable",
        group: UdpAndIp,
        title: "Packets cannot be delivered",
        severity: Medium,
        needs: [],
        clouded_by: [CaptureDrops],
        figures: [messages: Count / Sum],
        thresholds: [],
        host_evidence: [Filters],
    }
}

/// Ports traceroute sends to by default.
const TRACEROUTE: std::ops::RangeInclusive<u16> = 33_434..=33_534;

/// Something of the server was captured.
pub(crate) struct Fact;

/// ICMP errors that quote packets of a connection.
pub(crate) struct Seen {
    reason: &'static str,
    reporter: IpAddr,
    /// They quote the server's: the client no longer wanted them.
    late: bool,
}

impl Rule for IcmpUnreachable {
    type Seen = Seen;
    type Fact = Fact;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        _ctx: &Context<'_>,
        out: &mut Observations<Seen, Fact>,
    ) {
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
        let refused = conn.transport == Transport::Tcp
            && conn.handshake.syn_ack_count == 0
            && is_refusal(&icmp, conn.server.ip);
        let traceroute = conn.transport == Transport::Udp && TRACEROUTE.contains(&conn.server.port);
        if refused || traceroute {
            return;
        }
        // The quoted packet came from the server: the client no longer wanted it.
        let late = first.direction == Direction::ServerToClient;
        let to = if late { conn.client } else { conn.server };
        out.push(
            Observation::new(
                conn,
                confidence::PROVED,
                if late {
                    Impact::NONE
                } else {
                    Impact::attempts_failed(1)
                },
            )
            .cause(format!(
                "{} {reason} {late}",
                if late { conn.server } else { to }
            ))
            .at(first.time)
            .weight(number(errors.len() as u64))
            .count(errors.len() as u64)
            .failures("attempts_failed")
            .proof(
                first,
                format!(
                    "ICMP error from {}: {reason}; it quotes a packet to {to}",
                    icmp.reporter
                ),
            )
            .figure("messages", number(errors.len() as u64))
            .seen(Seen {
                reason,
                reporter: icmp.reporter,
                late,
            }),
        );
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        _ctx: &Context<'_>,
        collected: &mut Collected<Seen, Fact>,
    ) {
        let answered: BTreeSet<Endpoint> = collected
            .notes
            .iter()
            .map(|note| note.connection.server)
            .collect();
        for one in &mut collected.observations {
            let client = analysis.hosts.get(one.connection.client.ip);
            if one.seen.late || client.is_some_and(HostProfile::is_scanner) {
                one.impact = Impact::NONE;
            } else if answered.contains(&one.connection.server) {
                one.impact = Impact::SOME;
            }
        }
    }

    fn describe(&self, group: &Group<'_, Seen, Fact>, draft: Narrative) -> Narrative {
        let server = group.server();
        let reason = most(group.seen().map(|seen| seen.reason)).unwrap_or_default();
        let reporter = most(group.seen().map(|seen| seen.reporter.to_string())).unwrap_or_default();
        let messages = group.figure("messages").unwrap_or_default();
        let late = group.having(|seen| seen.late) > 0;
        let (title, summary) = if late {
            (
                format!("Responses of {server} reach clients that no longer listen"),
                format!(
                    "{} for packets from {server}: the client had closed its port before the response came. That is usual for responses after a timeout and harmless by itself.",
                    plural(messages, "ICMP error")
                ),
            )
        } else {
            (
                format!("Packets to {server} cannot be delivered: {reason}"),
                format!(
                    "{} from {reporter} for packets to {server}: {reason}.",
                    plural(messages, "ICMP error")
                ),
            )
        };
        let port = reason.starts_with("port");
        let draft = draft
            .title(title)
            .summary(summary)
            .confidence(
                confidence::PROVED,
                "The errors quote the packets they refer to.",
            )
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
            draft.advise("client", "wait longer for responses, or ignore this: the response was late (see dns-failure or slow-response)")
        } else if port {
            draft.advise(
                "server",
                format!(
                    "start the program, or correct the address: no program has port {} open on {}",
                    server.port, server.ip
                ),
            )
        } else if reason.contains("prohibited") {
            draft.advise(
                "network",
                format!("allow this traffic in the filter on {reporter}, or stop sending it"),
            )
        } else {
            draft.advise(
                "network",
                format!(
                    "check the routes of {reporter} to {} and whether the host is up",
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
    use crate::model::severity::Severity;
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
    fn flows_of_one_client_that_fail_add_up() {
        let once = findings_of("icmp-unreachable", &[error(C, 3, 3, 4).build()]);
        assert_eq!(once[0].severity, Severity::Low);
        assert!((figure(&once[0], "messages") - 4.0).abs() < f64::EPSILON);
        assert!(once[0].title.contains("port unreachable"));
        let flows: Vec<_> = (1..=3_u16)
            .map(|n| {
                error(C, 3, 1, 1)
                    .with(|conn| conn.first_frame = n.into())
                    .build()
            })
            .collect();
        let findings = findings_of("icmp-unreachable", &flows);
        assert_eq!(findings[0].severity, Severity::Medium);
    }

    #[test]
    fn connection_that_a_router_forbids_is_told_here() {
        let conn = error(C, 3, 13, 1).with(|conn| conn.transport = Transport::Tcp);
        let findings = findings_of("icmp-unreachable", &[conn.build()]);
        assert!(findings[0].title.contains("administratively prohibited"));
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

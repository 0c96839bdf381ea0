//! `mtu-reduced`: a router asks for smaller packets, and gets them.

use analyzer::decode::IcmpKind;
use analyzer::event::EventKind;
use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::many;

declare_rule! {
    /// A router rejects packets as too large, and the sender continues with smaller ones.
    ///
    /// ## What it means
    /// A link on the path, such as a tunnel or a VPN, carries smaller packets than the hosts' own links. Path
    /// MTU discovery worked as designed.
    ///
    /// ## Why it matters
    /// It costs the rejected packets and a round trip, once for each path. It works only as long as nothing
    /// filters these ICMP messages (mtu-black-hole).
    ///
    /// ## How it is detected
    /// - ICMP "fragmentation needed" or "packet too big" quotes a packet of the connection.
    /// - The same end sends the data again, or more, and all of its data is acknowledged.
    ///
    /// The ICMP message proves it. Data that stays unacknowledged afterwards would refute it. Info.
    ///
    /// ## What to do
    /// Nothing, or lower the MSS at the tunnel so that no packet is rejected.
    ///
    /// ## Known limits
    /// An MSS that a device lowers during the handshake avoids the rejection and is not reported.
    ///
    /// ## References
    /// - RFC 1191, RFC 8201 (path MTU discovery)
    pub(crate) struct MtuReduced {
        id: "mtu-reduced",
        group: LossAndPath,
        title: "A router asks for smaller packets and gets them",
        severity: Info,
        needs: [Tcp, BothDirections],
        clouded_by: [],
        figures: [mtu_bytes: Bytes / Min, connections: Count / Sum],
        thresholds: [],
    }
}

/// Who was asked, and what for.
pub(crate) struct Seen {
    sender: Direction,
    reporter: std::net::IpAddr,
}

impl Rule for MtuReduced {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations<Seen>) {
        let mut errors = conn.events.iter().filter_map(|event| match event.kind {
            EventKind::IcmpError(icmp) if icmp.kind() == IcmpKind::TooBig => {
                Some((event.segment, icmp))
            }
            _ => None,
        });
        let Some((error, icmp)) = errors.next() else {
            return;
        };
        // The quoted packet's direction is that of its sender.
        let half = conn.half(error.direction);
        let sends_on = half.last_data.is_some_and(|last| last.time > error.time);
        let went_on = sends_on || half.refused_repeats > 0;
        if !went_on || half.unacked_at_end > 0 {
            return;
        }
        let mtu = (icmp.mtu > 0).then_some(f64::from(icmp.mtu));
        let asks = match icmp.mtu {
            0 => String::new(),
            mtu => format!(", and asks for {mtu} bytes at most"),
        };
        out.push(
            Observation::new(conn, confidence::PROVED, Impact::NONE)
                .cause(format!("{} {}", icmp.reporter, icmp.mtu))
                .at(error.time)
                .proof(
                    error,
                    format!(
                        "ICMP error of {}: the packet it quotes is too large{asks}",
                        icmp.reporter
                    ),
                )
                .evidence_if(
                    half.last_data,
                    if sends_on {
                        "data that was acknowledged afterwards"
                    } else {
                        "last data of that end"
                    },
                )
                .figure_if("mtu_bytes", mtu)
                .figure("connections", 1.0)
                .seen(Seen {
                    sender: error.direction,
                    reporter: icmp.reporter,
                }),
        );
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let Seen { sender, reporter } = &group.best().seen;
        let mtu = group.figure("mtu_bytes");
        let room = mtu.map_or_else(String::new, |mtu| format!(" of more than {mtu:.0} bytes"));
        draft
            .title(format!("{reporter} rejects packets{room}; path MTU discovery works"))
            .summary(format!(
                "On {} {reporter} rejected packets{room} from the {}, which continued with smaller ones: a link behind it has a smaller MTU than the hosts' own. It cost only a round trip.",
                many(group.connections(), "connection"),
                sender.sender(),
            ))
            .confidence(confidence::PROVED, "The ICMP message quotes the packet, and later data of the same end was acknowledged.")
            .because("all data of that end was finally acknowledged")
            .not("mtu-black-hole", "the ICMP message reached the sender, and smaller packets got through")
            .advise("network", "clamp the MSS to the path MTU at the tunnel, so that no packet is rejected")
    }
}

#[cfg(test)]
mod tests {
    use analyzer::decode::IcmpFields;

    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, C, S, findings_of};

    /// A request that a router refuses at 5 ms as too large.
    fn refused() -> Builder {
        let mut builder = Builder::tcp(1).handshake(0.0, 1.0).request(2.0, 1400);
        let error = builder.segment(5.0, C, 0, 0);
        let icmp = IcmpFields {
            icmp_type: 3,
            code: 4,
            v6: false,
            mtu: 1400,
            reporter: [10, 9, 0, 254].into(),
            quoted_seq: None,
        };
        builder.event(error, EventKind::IcmpError(icmp))
    }

    #[test]
    fn smaller_packets_that_get_through_are_information() {
        let went_on = refused().request(6.0, 1300).response(8.0, 100);
        let findings = findings_of("mtu-reduced", &[went_on.build()]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Info);
    }

    #[test]
    fn what_stays_without_acknowledgment_is_another_matter() {
        let vain = refused().request(6.0, 1400).with(|conn| {
            conn.halves[0].unacked_at_end = 1400;
        });
        assert!(findings_of("mtu-reduced", &[vain.build()]).is_empty());
        let healthy = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .request(2.0, 1400)
            .response(4.0, 100);
        let healthy = healthy.fin(5.0, S);
        assert!(findings_of("mtu-reduced", &[healthy.build()]).is_empty());
    }
}

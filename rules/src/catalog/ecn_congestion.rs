//! `ecn-congestion`: routers mark packets instead of dropping them.

use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, number, other_end, percent, plural, share};

declare_rule! {
    /// A congested router marks packets (ECN), or their receiver reports such marks.
    ///
    /// ## What it means
    /// Both ends agreed on explicit congestion notification. A router whose queue grows sets "congestion
    /// experienced" instead of dropping. The receiver echoes it (ECE) until the sender confirms that it has
    /// slowed down (CWR).
    ///
    /// ## Why it matters
    /// The marks show congestion before anything is lost: a link on the path is full. A sender that does not
    /// slow down fills it until it drops packets.
    ///
    /// ## How it is detected
    /// - Ten or more packets of one direction carry the mark, and at least one in a hundred of them; or the
    ///   receiver echoes marks made behind the capture point in ten acknowledgments or more, and the sender
    ///   confirms three times or never that it slowed down (a receiver repeats one echo until it does).
    /// - A sender that received echoes and never sends CWR does not slow down, or a device strips the flag.
    ///
    /// The marked packet or the echo proves it. Packets without either refute it. Low.
    ///
    /// ## What to do
    /// Find the full link (bufferbloat measures its delay), and give it more capacity or the transfers less.
    ///
    /// ## Known limits
    /// In networks that mark on purpose at short queues (DCTCP, L4S) marks are the usual way of control.
    ///
    /// ## References
    /// - RFC 3168 §5 and §6.1; RFC 8257; RFC 9331
    pub(crate) struct EcnCongestion {
        id: "ecn-congestion",
        group: LossAndPath,
        title: "Routers mark packets for congestion",
        severity: Low,
        needs: [Tcp],
        traits: [CongestionMark],
        clouded_by: [],
        figures: [marked: Count / Sum, marked_percent: Percent / Max, echoes: Count / Sum],
        thresholds: [
            min_marked = 10.0: "Marked packets, or echoes of marks; fewer are a passing burst.",
            min_reductions = 3.0: "Times the sender slowed down because of echoes; fewer are a passing burst.",
            min_percent = 1.0: "Share of a direction's packets that must carry the mark.",
        ],
    }
}

/// Whose packets were marked.
pub(crate) struct Seen {
    sender: Direction,
    /// It said that it slowed down.
    slows: bool,
    /// Marks were seen here, not only echoed.
    seen_here: bool,
}

impl Rule for EcnCongestion {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        let least = ctx.threshold("min_marked");
        for sender in Direction::BOTH {
            let (half, peer) = (conn.half(sender), conn.half(sender.reverse()));
            let marked_share = share(half.congestion_marks, half.packets) * 100.0;
            let seen_here = number(half.congestion_marks) >= least
                && marked_share >= ctx.threshold("min_percent");
            let reductions = number(half.windows_reduced);
            let is_echoed = number(peer.congestion_echoes) >= least
                && (reductions < 1.0 || reductions >= ctx.threshold("min_reductions"));
            if !seen_here && !is_echoed {
                continue;
            }
            let proof = half.first_congestion_mark.filter(|_| seen_here);
            let at = proof
                .or(peer.first_congestion_echo)
                .map_or(conn.start, |at| at.time);
            out.push(
                Observation::new(conn, confidence::STRONG, Impact::SOME)
                    .cause(format!("{} {}", conn.server, sender.sender()))
                    .at(at)
                    .weight(number(half.congestion_marks + peer.congestion_echoes))
                    .proof_if(proof, "carries \"congestion experienced\"")
                    .proof_if(peer.first_congestion_echo, "echoes it (ECE)")
                    .figure("marked", number(half.congestion_marks))
                    .figure("marked_percent", marked_share)
                    .figure("echoes", number(peer.congestion_echoes))
                    .seen(Seen {
                        sender,
                        slows: half.windows_reduced > 0,
                        seen_here,
                    }),
            );
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let server = group.server();
        let seen = &group.best().seen;
        let sender = seen.sender.sender();
        let receiver = other_end(sender);
        let marked = group.figure("marked").unwrap_or_default();
        let most = group.figure("marked_percent").unwrap_or_default() / 100.0;
        let echoes = group.figure("echoes").unwrap_or_default();
        let place = if seen.seen_here {
            format!(
                "{} of the {sender} came marked, up to {} of a connection's",
                plural(marked, "packet"),
                percent(most)
            )
        } else {
            format!(
                "the marks were made between the capture point and the {receiver}, which echoes them"
            )
        };
        let slows = group.having(|seen| seen.slows) > 0;
        draft
            .title(format!("Routers mark the {sender}'s packets for congestion ({server})"))
            .summary(format!(
                "On {} {place}. The {receiver} echoed it in {}. {}",
                many(group.connections(), "connection"),
                plural(echoes, "segment"),
                if slows { format!("The {sender} confirmed that it slowed down.") } else { format!("The {sender} never confirmed that it slowed down.") },
            ))
            .confidence(confidence::STRONG, "The marks are in the packets' headers.")
            .because_if(seen.seen_here, || format!("{} with \"congestion experienced\"", plural(marked, "packet")))
            .because_if(echoes > 0.0, || format!("{} with ECE", plural(echoes, "segment")))
            .because_if(!slows && echoes > 0.0, || format!("no segment of the {sender} carries CWR: it does not slow down, or a device strips the flag"))
            .not("packet-loss", "the router marks instead of dropping")
            .advise("network", "find the link whose queue is full on this path; its router counts ECN marks")
            .verify("router", "tc -s qdisc show", "ecn_mark grows at the full queue")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, C, S, findings_of};

    /// A download of 200 packets, so many of them marked, and echoed.
    fn download(marked: u64, echoed: u64) -> Connection {
        let mut builder = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .request(2.0, 100)
            .response(3.0, 1400);
        let mark = builder.segment(4.0, S, 0x10, 1400);
        let echo = builder.segment(5.0, C, 0x50, 0);
        let builder = builder.with(|conn| {
            let [client, server] = &mut conn.halves;
            server.packets = 200;
            server.congestion_marks = marked;
            server.first_congestion_mark = (marked > 0).then_some(mark);
            client.congestion_echoes = echoed;
            client.first_congestion_echo = (echoed > 0).then_some(echo);
        });
        builder.build()
    }

    #[test]
    fn marks_and_echoes_are_told() {
        for (marked, echoed) in [(12, 30), (0, 30), (12, 0)] {
            let findings = findings_of("ecn-congestion", &[download(marked, echoed)]);
            assert_eq!(findings.len(), 1, "{marked} {echoed}");
            assert_eq!(findings[0].severity, Severity::Low);
        }
    }

    #[test]
    fn a_few_are_not() {
        assert!(findings_of("ecn-congestion", &[download(3, 4)]).is_empty());
        assert!(findings_of("ecn-congestion", &[download(0, 0)]).is_empty());
    }
}

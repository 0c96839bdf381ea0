//! `ip-fragment-loss`: datagrams of which a fragment never came.

use analyzer::{Analysis, Connection};

use crate::model::context::Context;
use crate::model::legacy::{Collected, Group, Legacy, Observation, Observations};
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::Narrative;
use crate::model::rule::Rule;
use crate::model::severity::Severity;
use crate::model::text::{many, number, plural};

declare_rule! {
    /// Datagrams arrived incomplete: some of their IP fragments are missing.
    ///
    /// ## What it means
    /// A datagram larger than the path's packet size travels in fragments. When one is lost or filtered, the receiver
    /// throws the others away after a while.
    ///
    /// ## Why it matters
    /// The whole message is lost although most of it arrived. Filters that drop fragments by policy make every
    /// large datagram fail, while small ones pass.
    ///
    /// ## How it is detected
    /// UDP datagrams of which at least one fragment was seen and others never. When the capture holds no later fragment
    /// at all, its filter (`port …`) has dropped them: then nothing is reported. Severity is medium, high
    /// from ten datagrams.
    ///
    /// ## What to do
    /// Keep datagrams within the path MTU (1232 bytes for DNS), or let fragments pass.
    ///
    /// ## Known limits
    /// Fragments without the first one cannot be assigned to ports and are not counted. Drops by the capture
    /// look the same.
    ///
    /// ## References
    /// - RFC 791; RFC 8200 §4.5; RFC 8900
    pub(crate) struct IpFragmentLoss {
        id: "ip-fragment-loss",
        title: "Fragments of datagrams are missing",
        severity: High,
        needs: [Udp],
        clouded_by: [CaptureDrops, CutShort],
        figures: [datagrams: Count / Sum, fragments_missing: Count / Sum],
        thresholds: [
            high_datagrams = 10.0: "Incomplete datagrams from which it is a pattern rather than loss.",
        ],
    }
}

impl Rule for IpFragmentLoss {
    type Seen = Legacy;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations) {
        let Some(udp) = conn.udp.as_ref().filter(|udp| udp.incomplete_count > 0) else {
            return;
        };
        let count = udp.incomplete_count;
        let first = udp
            .incomplete
            .first()
            .map_or(conn.start, |(segment, _)| segment.time);
        let mut observation = Observation::untyped(conn, 0.85, Severity::Medium)
            .at(first)
            .weight(number(count))
            .count(count)
            .figure("datagrams", number(count))
            // At least one of each; how many a datagram had is only known from its last one.
            .figure("fragments_missing", number(count))
            .cost("messages_lost", number(count))
            .detail("reassembled", number(udp.reassembled))
            .detail(
                "first_frame",
                number(
                    udp.incomplete
                        .first()
                        .map_or(0, |(segment, _)| segment.frame),
                ),
            )
            .detail(
                "end_frame",
                number(
                    udp.incomplete
                        .last()
                        .map_or(0, |(segment, seen)| segment.frame + u64::from(*seen)),
                ),
            );
        for (segment, seen) in udp.incomplete.iter().take(3) {
            let note = format!(
                "first fragment; {} of the datagram seen, the rest never came",
                many(u64::from(*seen), "fragment")
            );
            observation = observation.evidence(*segment, note);
        }
        out.push(observation);
    }

    fn on_capture(&self, analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected) {
        if !analysis.later_fragments_seen {
            collected.observations.clear();
        }
        let frames = number(analysis.summary.packets);
        collected.observations.retain(|one| {
            one.number("datagrams").unwrap_or_default() > 1.0 || !is_cut_by_capture(one, frames)
        });
        for one in &mut collected.observations {
            if one
                .number("datagrams")
                .is_some_and(|count| count >= ctx.threshold("high_datagrams"))
            {
                one.severity = Severity::High;
            }
        }
    }

    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative {
        let server = place(group);
        let lost = group.number("datagrams").unwrap_or_default();
        let whole = group.sum("reassembled");
        draft
            .title(format!("{} with {server} lost fragments", plural(lost, "datagram")))
            .summary(format!(
                "{} exchanged with {server} never became complete: at least one IP fragment of each is missing, so the whole datagram is lost. \
                 {whole:.0} fragmented datagrams of the same flows arrived whole.",
                plural(lost, "datagram")
            ))
            .confidence(0.85, "First fragments were captured without the rest, and the capture does hold later fragments.")
            .because("first fragments were seen whose later ones never passed the capture point")
            .because_if(whole == 0.0, || "no fragmented datagram of these flows was ever complete: a filter that drops fragments fits better than loss".to_owned())
            .not("capture filter", "later fragments of other datagrams were captured, so the filter lets them through")
            .not("udp-truncation", "the datagrams never reached the receiver's buffer")
            .advise("sender", "keep datagrams within the path MTU: 1,472 bytes on plain Ethernet with IPv4, 1,452 with IPv6, 1,232 to be safe")
            .set("DNS", "limit answers and let large ones use TCP", "EDNS buffer size 1232")
            .advise("firewall", "let fragments of allowed traffic pass, or reassemble before filtering")
            .verify("receiver", "nstat -az IpReasmFails IpReasmTimeout Ip6ReasmFails", "grows with every incomplete datagram")
            .verify("sender", format!("ping -M do -s 1472 {}", group.server().ip), "whether a full Ethernet frame passes unfragmented")
    }
}

/// The capture begins or ends inside the datagram.
fn is_cut_by_capture(one: &Observation, frames: f64) -> bool {
    let at = |name| one.number(name).unwrap_or_default();
    let begun_before = at("first_frame") <= 2.0 && one.connection.server.port == 0;
    let goes_on = frames > 0.0 && at("end_frame") > frames;
    begun_before || goes_on
}

/// The server, without a port where no first fragment told it.
fn place(group: &Group<'_>) -> String {
    let server = group.server();
    if server.port == 0 {
        server.ip.to_string()
    } else {
        server.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, C, figure, findings_in};

    fn incomplete(count: u64) -> Connection {
        let mut builder = Builder::udp(1);
        let first = builder.segment(1.0, C, 0, 1472);
        builder
            .with(|conn| {
                let udp = conn.udp.as_mut().unwrap();
                udp.incomplete = vec![(first, 1)];
                udp.incomplete_count = count;
            })
            .build()
    }

    fn analysis(later: bool) -> Analysis {
        Analysis {
            later_fragments_seen: later,
            ..Analysis::default()
        }
    }

    #[test]
    fn incomplete_datagrams_are_counted() {
        let findings = findings_in("ip-fragment-loss", &[incomplete(3)], &analysis(true));
        assert_eq!(findings[0].severity, Severity::Medium);
        assert!((figure(&findings[0], "datagrams") - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn lone_datagram_that_the_capture_cuts_is_no_finding() {
        let mut analysis = analysis(true);
        analysis.summary.packets = 1;
        assert!(findings_in("ip-fragment-loss", &[incomplete(1)], &analysis).is_empty());
        assert_eq!(
            findings_in("ip-fragment-loss", &[incomplete(3)], &analysis).len(),
            1
        );
    }

    #[test]
    fn many_are_a_pattern() {
        assert_eq!(
            findings_in("ip-fragment-loss", &[incomplete(30)], &analysis(true))[0].severity,
            Severity::High
        );
    }

    #[test]
    fn capture_filter_that_drops_fragments_is_no_finding() {
        assert!(findings_in("ip-fragment-loss", &[incomplete(3)], &analysis(false)).is_empty());
    }

    #[test]
    fn complete_datagrams_are_healthy() {
        assert!(findings_in("ip-fragment-loss", &[incomplete(0)], &analysis(true)).is_empty());
    }
}

//! `ip-fragment-loss`: datagrams of which a fragment never came.

use std::net::IpAddr;

use analyzer::connection::UdpFacts;
use analyzer::decode::IcmpKind;
use analyzer::event::{EventKind, SegmentRef};
use analyzer::{Analysis, Connection, Direction, Event};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{self, Narrative};
use crate::model::observation::{self, Collected, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, number, plural};

type Observation = observation::Observation<Seen>;
type Group<'a> = narrative::Group<'a, Seen>;

declare_rule! {
    /// Datagrams arrived incomplete: some of their IP fragments are missing.
    ///
    /// ## What it means
    /// A datagram larger than the path MTU travels in fragments. When one is lost or filtered, the receiver
    /// discards the others after a timeout.
    ///
    /// ## Why it matters
    /// The whole message is lost although most of it arrived. Filters that drop fragments by policy make every
    /// large datagram fail, while small ones pass.
    ///
    /// ## How it is detected
    /// - The first fragment of a UDP datagram was captured and others never were, while later fragments between
    ///   the same two hosts were captured within half a minute. Where none was, the capture filter (`port …`)
    ///   has dropped them.
    /// - Or the receiver reports it itself: ICMP "reassembly time exceeded".
    /// - Fragments that overlap, that are shorter than any network makes them, or that already hold the length
    ///   in the UDP header are not loss.
    ///
    /// What proves it: the report; requests that get no answer while every whole one does; a request that is
    /// sent again; or a flow of which no fragmented datagram ever arrives whole. What refutes it: a later fragment
    /// of the same datagram. Each such datagram is a lost message. With none of these the capture may have missed
    /// the fragment: low.
    ///
    /// ## What to do
    /// Keep datagrams within the path MTU (1232 bytes for DNS), or let fragments pass.
    ///
    /// ## Known limits
    /// Fragments without the first one cannot be assigned to ports and are not counted.
    ///
    /// ## References
    /// - RFC 791; RFC 8200 §4.5; RFC 8900
    pub(crate) struct IpFragmentLoss {
        id: "ip-fragment-loss",
        group: UdpAndIp,
        title: "Fragments of datagrams are missing",
        severity: High,
        needs: [Udp],
        clouded_by: [CaptureDrops, CutShort],
        figures: [datagrams: Count / Sum, fragments_missing: Count / Sum],
        thresholds: [],
        host_evidence: [Fragments],
    }
}

/// What the words need of one flow.
pub(crate) struct Seen {
    /// Fragmented datagrams of the flow that arrived whole.
    reassembled: u64,
    /// Reports by ICMP that fragments did not come in time.
    reports: u64,
    /// Frame of the first fragment of the first; 0 where none was captured.
    first_frame: u64,
    /// Least frame at which the last one could have ended; 0 where none was captured.
    end_frame: u64,
    /// The ends behave as if they had not arrived.
    is_missed: bool,
}

impl Rule for IpFragmentLoss {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations<Seen>) {
        let Some(udp) = conn.udp.as_ref() else {
            return;
        };
        let reports: Vec<_> = conn.events.iter().filter_map(reassembly_timeout).collect();
        let count = udp.incomplete_count.max(reports.len() as u64);
        if count == 0 {
            return;
        }
        let first = udp.incomplete.first().map(|(segment, _)| segment.time);
        let reported = reports.first().map(|(segment, _)| segment.time);
        let end = |(segment, seen): &(SegmentRef, u32)| segment.frame + u64::from(*seen);
        let is_missed = !reports.is_empty() || is_missed(udp);
        let (sure, impact) = if is_missed {
            (confidence::LIKELY, Impact::requests_lost(count))
        } else {
            (confidence::EVEN, Impact::SOME)
        };
        let mut observation = observation::Observation::new(conn, sure, impact)
            .at(first.or(reported).unwrap_or(conn.start))
            .weight(number(count))
            .count(count)
            .figure("datagrams", number(count))
            // At least one of each; how many a datagram had is only known from its last one.
            .figure("fragments_missing", number(count))
            .cost("messages_lost", number(count))
            .seen(Seen {
                reassembled: udp.reassembled,
                reports: reports.len() as u64,
                first_frame: (udp.incomplete.first()).map_or(0, |(segment, _)| segment.frame),
                end_frame: udp.incomplete.last().map_or(0, end),
                is_missed,
            });
        for (segment, seen) in udp.incomplete.iter().take(3) {
            let note = format!(
                "first fragment; {} of the datagram captured, the rest never arrived",
                many(u64::from(*seen), "fragment")
            );
            observation = observation.proof(*segment, note);
        }
        for (segment, reporter) in reports.iter().take(2) {
            let note =
                format!("ICMP from {reporter}: not all fragments of the datagram arrived in time");
            observation = observation.proof(*segment, note);
        }
        out.push(observation);
    }

    fn on_capture(&self, analysis: &Analysis, _ctx: &Context<'_>, collected: &mut Collected<Seen>) {
        let frames = analysis.summary.packets;
        collected
            .observations
            .retain(|one| one.count > 1 || !is_cut_by_capture(one, frames));
    }

    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative {
        let server = place(group);
        let lost = group.figure("datagrams").unwrap_or_default();
        let whole = number(group.seen().map(|seen| seen.reassembled).sum());
        let reports = number(group.seen().map(|seen| seen.reports).sum());
        let missed = group.having(|seen| seen.is_missed);
        let sure = draft.confidence;
        draft
            .title(format!("{} with {server} lost fragments", plural(lost, "datagram")))
            .summary(format!(
                "{} exchanged with {server} stayed incomplete: at least one IP fragment of each is missing, so the whole datagram is lost. \
                 {whole:.0} fragmented datagrams of the same flows arrived whole.",
                plural(lost, "datagram")
            ))
            .confidence(
                sure,
                if reports > 0.0 {
                    "The receiver reported by ICMP that fragments did not arrive."
                } else if missed > 0 {
                    "First fragments were captured without the rest, although the capture holds later fragments of these hosts, and the ends behave as if the datagrams had not arrived."
                } else {
                    "First fragments were captured without the rest; nothing that the ends do shows whether the network lost it or the capture missed it."
                },
            )
            .because_if(reports > 0.0, || format!("{} by ICMP: reassembly time exceeded", plural(reports, "report")))
            .because_if(reports == 0.0, || "first fragments passed the capture point and later ones never did".to_owned())
            .because_if(whole == 0.0, || "no fragmented datagram of these flows was ever complete: a filter that drops fragments explains it better than loss".to_owned())
            .not("capture filter", "later fragments of other datagrams were captured, so the filter lets them through")
            .not("udp-truncation", "the datagrams never reached the receiver's buffer")
            .advise("sender", "keep datagrams within the path MTU: 1,472 bytes on plain Ethernet with IPv4, 1,452 with IPv6, 1,232 to be safe")
            .set("DNS", "limit the size of UDP responses so that larger ones use TCP", "EDNS buffer size 1232")
            .advise("firewall", "let fragments of allowed traffic pass, or reassemble before filtering")
            .verify("receiver", "nstat -az IpReasmFails IpReasmTimeout Ip6ReasmFails", "grows with every incomplete datagram")
            .verify("sender", format!("ping -M do -s 1472 {}", group.server().ip), "whether a full Ethernet frame passes unfragmented")
    }
}

/// Incomplete datagrams from which it is no chance that none was whole.
const NONE_WHOLE: u64 = 3;

/// Whether the ends behave as if what is incomplete had not arrived: each whole request is answered and
/// nothing else is, requests are sent again, or none that came in fragments was ever whole.
fn is_missed(udp: &UdpFacts) -> bool {
    let classes = &udp.size_classes;
    let answered: u64 = classes.iter().map(|class| class.answered).sum();
    let requests: u64 = classes.iter().map(|class| class.requests).sum();
    let asks = |(segment, _): &(SegmentRef, u32)| segment.direction == Direction::ClientToServer;
    let only_whole = requests > 0 && answered == requests && udp.unasked == 0;
    only_whole && udp.incomplete.iter().any(asks)
        || classes.iter().any(|class| class.first_repeat.is_some())
        || udp.reassembled == 0 && udp.incomplete_count >= NONE_WHOLE
}

/// The report of a host that waited for fragments in vain, and the host.
fn reassembly_timeout(event: &Event) -> Option<(SegmentRef, IpAddr)> {
    match event.kind {
        EventKind::IcmpError(icmp) if icmp.kind() == IcmpKind::ReassemblyTimeout => {
            Some((event.segment, icmp.reporter))
        }
        _ => None,
    }
}

/// The capture begins or ends inside the datagram.
fn is_cut_by_capture(one: &Observation, frames: u64) -> bool {
    let seen = &one.seen;
    if seen.reports > 0 {
        return false;
    }
    let begun_before = seen.first_frame <= 2 && one.connection.server.port == 0;
    let goes_on = frames > 0 && seen.end_frame > frames;
    begun_before || goes_on
}

/// The server, without a port where no first fragment shows it.
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
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, C, figure, findings_in};
    use analyzer::connection::SizeClass;

    fn incomplete(count: u64) -> Connection {
        let mut builder = Builder::udp(1);
        let first = builder.segment(1.0, C, 0, 1472);
        builder
            .with(|conn| {
                let udp = conn.udp.as_mut().unwrap();
                udp.incomplete = vec![(first, 1)];
                udp.incomplete_count = count;
                udp.reassembled = 100;
            })
            .build()
    }

    /// Of a flow whose whole requests are answered, and of `unasked` answers to others.
    fn answered(count: u64, unasked: u64) -> Connection {
        let mut conn = incomplete(count);
        let udp = conn.udp.as_mut().unwrap();
        udp.unasked = unasked;
        udp.size_classes = vec![SizeClass {
            request_len: 3972,
            requests: 20,
            answered: 20,
            answer_min: 4,
            answer_max: 4,
            first_request: udp.incomplete[0].0,
            first_answer: None,
            first_repeat: None,
        }];
        conn
    }

    #[test]
    fn incomplete_datagrams_are_counted() {
        let findings = findings_in("ip-fragment-loss", &[answered(2, 0)], &Analysis::default());
        assert_eq!(findings[0].severity, Severity::Medium);
        assert!((figure(&findings[0], "datagrams") - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn lone_datagram_that_the_capture_cuts_is_no_finding() {
        let mut analysis = Analysis::default();
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
            findings_in("ip-fragment-loss", &[answered(30, 0)], &Analysis::default())[0].severity,
            Severity::High
        );
    }

    #[test]
    fn what_the_capture_may_have_missed_is_low() {
        for conn in [incomplete(30), answered(30, 28)] {
            let findings = findings_in("ip-fragment-loss", &[conn], &Analysis::default());
            assert_eq!(findings[0].severity, Severity::Low);
        }
    }

    #[test]
    fn complete_datagrams_are_healthy() {
        assert!(findings_in("ip-fragment-loss", &[incomplete(0)], &Analysis::default()).is_empty());
    }
}

//! `broadcast-loop`: switches send a broadcast round and round, or a station floods them with it.

use std::net::IpAddr;

use analyzer::analysis::{Analysis, BroadcastKind, BroadcastLoop};
use analyzer::event::{At, SegmentRef};
use analyzer::{Direction, Endpoint, Transport};

use crate::model::confidence;
use crate::model::connection_ref::ConnectionRef;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation};
use crate::model::rule::Rule;
use crate::model::text::{mac, ms, number, plural, span, time};

declare_rule! {
    /// One broadcast frame passes many times within moments: switches loop it, or a station floods.
    ///
    /// ## What it means
    /// Ethernet frames have no hop limit: where two paths between switches are open at once, a broadcast
    /// circulates forever, and every new one joins it. A defective station that sends one ARP request without
    /// pause looks the same.
    ///
    /// ## Why it matters
    /// Every station of the segment has to process every copy. The switches learn the sender's address on one
    /// port, then on the other, and forward its frames the wrong way. A loop does not end by itself.
    ///
    /// ## How it is detected
    /// - A broadcast frame was captured whole, and identical copies of it followed.
    /// - It is one that nobody sends twice so soon: ARP for IPv4 (one request a second at most), or IPv4 with
    ///   an identification, which is unique to each datagram.
    /// - At least 20 copies came, none later than 100 ms after the one before, and 20 ms apart or less on
    ///   average.
    ///
    /// The first and the last copy prove it. Any difference between copies, or a pause as long as a timer,
    /// would refute it. `copies` counts all of them, `interval_ms` is the mean time between copies. A frame
    /// that came a hundred times or more has stopped the segment: it counts as a service outage and a lost
    /// message. Fewer copies did little harm.
    ///
    /// ## What to do
    /// Find the two ports between which the sender's address moves, disconnect one, and protect the rest by
    /// spanning tree or the switches' loop protection. Where only one port shows the address, that station is
    /// the source.
    ///
    /// ## Known limits
    /// With ARP alone, a loop and a flooding station look the same. Datagrams without identification, IPv6,
    /// other kinds of frames, frames cut short and multicasts are not examined.
    ///
    /// ## References
    /// - IEEE 802.1Q §13 (spanning tree protocols)
    /// - RFC 826 (ARP), RFC 1122 §2.3.2.1 (at most one ARP request a second), RFC 6864 (IPv4 identification)
    pub(crate) struct BroadcastsThatCircle {
        id: "broadcast-loop",
        group: LossAndPath,
        title: "A broadcast frame loops on the segment",
        severity: High,
        needs: [],
        traits: [],
        clouded_by: [DuplicateFrames],
        figures: [copies: Count / Sum, interval_ms: Milliseconds / Min],
        thresholds: [
            min_copies = 20.0: "Copies of one frame in a row; a capture at several points of one segment shows a few of each.",
            stop_copies = 100.0: "Copies of one frame from which the segment counts as stopped; bursts of retries end sooner.",
        ],
    }
}

/// A frame that circled.
pub(crate) struct Seen {
    what: String,
    is_datagram: bool,
}

impl Rule for BroadcastsThatCircle {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_capture(&self, analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected<Seen>) {
        let (least, stop) = (ctx.threshold("min_copies"), ctx.threshold("stop_copies"));
        for one in &analysis.broadcast_loops {
            let copies = number(one.copies);
            if copies >= least {
                collected
                    .observations
                    .push(observation(one, copies >= stop));
            }
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let seen = &group.best().seen;
        let source = group.client().ip;
        let copies = group.figure("copies").unwrap_or_default();
        let interval = group.figure("interval_ms").unwrap_or_default();
        let frames = group.connections();
        let many = if frames > 1 {
            format!(" {} looped in all.", plural(number(frames), "frame"))
        } else {
            String::new()
        };
        let (confidence, reason) = if seen.is_datagram {
            (
                confidence::PROVED,
                "The copies have one identification and are the same in every byte.",
            )
        } else {
            (
                confidence::STRONG,
                "The copies are the same in every byte, and a host sends an ARP request at most once a second.",
            )
        };
        let mut draft = draft
            .title(format!("A broadcast of {source} loops on the segment"))
            .summary(format!(
                "{} passed {copies:.0} times in all, up to one every {}, identical in every byte.{many} Switches loop it, or \
                 a station sends it without pause; all stations of the segment have to process every copy.",
                seen.what,
                time(interval),
            ))
            .confidence(confidence, reason)
            .because("the copies are identical, and no protocol timer resends a broadcast this fast")
            .not("periodic ARP requests", "they come a second or more apart")
            .not("frames that the capture holds twice", format!("that shows each frame a few times, not {copies:.0} times"))
            .advise("network", format!("find the address of {source} in the switches: the two ports between which it moves are the loop"))
            .set("switches", "let station ports shut down when a switch or a loop appears on them", "spanning-tree bpduguard enable; storm-control broadcast level 1.00")
            .verify("switch", "show mac address-table notification mac-move", "addresses that move between two ports");
        let sources = group.client_ips().into_iter().take(3);
        let filters: Vec<String> = sources.map(filter).collect();
        draft.filter = Some(filters.join(" || "));
        draft
    }
}

/// A display filter for what a station sends to all.
fn filter(source: IpAddr) -> String {
    format!("eth.dst==ff:ff:ff:ff:ff:ff && (arp.src.proto_ipv4=={source} || ip.src=={source})")
}

fn observation(one: &BroadcastLoop, has_stopped: bool) -> Observation<Seen> {
    let place = |at: At| SegmentRef::place(at.frame, at.time, Direction::ClientToServer);
    let connection = ConnectionRef {
        first_frame: one.first.frame,
        transport: Transport::Udp,
        client: Endpoint::new(one.source, 0),
        server: Endpoint::new(one.target, 0),
        translated_to: None,
    };
    let note = Note {
        connection,
        at: one.first.time,
        fact: (),
        limits: Vec::new(),
        owner: None,
    };
    let impact = if has_stopped {
        Impact {
            stopped: true,
            ..Impact::requests_lost(1)
        }
    } else {
        Impact::SOME
    };
    let (source, target, station) = (one.source, one.target, mac(one.mac));
    let what = match one.kind {
        BroadcastKind::ArpRequest => {
            format!("The ARP request of {source} ({station}) for {target}")
        }
        BroadcastKind::ArpReply => format!("An ARP answer of {source} ({station}) to all"),
        BroadcastKind::Ip => format!("A datagram of {source} ({station}) for {target}"),
    };
    let again = format!(
        "copy {} of the same frame, {} after the first",
        one.copies,
        span(one.length())
    );
    Observation::from_note(&note, confidence::STRONG, impact)
        .cause("broadcasts that circle")
        .weight(number(one.copies))
        .evidence(place(one.first), "the frame's first copy")
        .proof(place(one.last), again)
        .figure("copies", number(one.copies))
        .figure("interval_ms", ms(one.interval()))
        .seen(Seen {
            what,
            is_datagram: one.kind == BroadcastKind::Ip,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{at, figure, findings_in};

    fn circling(first: u64, copies: u64, length_ms: f64) -> Analysis {
        let place = |frame, ms| At {
            frame,
            time: at(ms),
        };
        let one = BroadcastLoop {
            kind: BroadcastKind::ArpRequest,
            mac: [2, 0, 0, 0, 0, 3],
            source: IpAddr::from([10, 0, 0, 3]),
            target: IpAddr::from([10, 0, 0, 5]),
            copies,
            first: place(first, 0.0),
            last: place(first + copies - 1, length_ms),
        };
        Analysis {
            broadcast_loops: vec![one],
            ..Analysis::default()
        }
    }

    #[test]
    fn a_frame_that_circles_hundreds_of_times_stops_the_segment() {
        let findings = findings_in("broadcast-loop", &[], &circling(1, 501, 5000.0));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::High);
        assert!((figure(&findings[0], "copies") - 501.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "interval_ms") - 10.0).abs() < 1e-6);
        assert!(findings[0].evidence.iter().any(|one| one.proves));
        assert!(findings[0].summary.contains("02:00:00:00:00:03"));
    }

    #[test]
    fn several_frames_of_one_loop_are_one_finding() {
        let mut analysis = circling(1, 200, 1000.0);
        analysis
            .broadcast_loops
            .extend(circling(2, 300, 1000.0).broadcast_loops);
        let findings = findings_in("broadcast-loop", &[], &analysis);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].summary.contains("2 frames"));
    }

    #[test]
    fn short_bursts_harm_little_and_a_few_copies_are_none() {
        let findings = findings_in("broadcast-loop", &[], &circling(1, 30, 100.0));
        assert_eq!(findings[0].severity, Severity::Low);
        assert!(findings_in("broadcast-loop", &[], &circling(1, 4, 0.1)).is_empty());
    }
}

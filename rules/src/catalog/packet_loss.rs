//! `packet-loss`: segments lost on the way and sent again.

use std::collections::BTreeMap;

use analyzer::event::{EventKind, RetransmissionKind};
use analyzer::flow::CapturePoint;
use analyzer::{Analysis, Connection, Direction, Endpoint};

use crate::finding::{FigureValue, Severity};
use crate::handshake::first_data_ignored;
use crate::narrative::{Group, Narrative};
use crate::observation::{Collected, Note, Observation, Observations};
use crate::rule::{Context, Rule, RuleMeta, declare_rule};
use crate::text::{many, number, percent, plural, span};

declare_rule! {
    /// Segments were lost on the network and had to be sent again.
    ///
    /// ## What it means
    /// Some segments of one direction never arrived. TCP notices and sends them again.
    ///
    /// ## Why it matters
    /// Every loss costs at least a round trip for what waits behind it, a timeout 200 ms and more, and makes the
    /// sender slow down. On long paths 0.1 % already limits throughput; from 1 % on users notice.
    ///
    /// ## How it is detected
    /// Retransmissions that were needed are counted, per server and direction: not those the receiver already had
    /// (DSACK, or acknowledged before), not keep-alives or window probes, not copies made by the capture or
    /// the network. Where the lost copy was captured, the loss lies between the capture point and the receiver;
    /// where only the repair was seen, between the sender and the capture point. Connections that died
    /// altogether (the same segment repeated in vain) are left out. Severity: info for single losses, low above
    /// 0.1 %, medium from 1 % and ten segments, high from 5 %.
    ///
    /// ## What to do
    /// Find the place by side and direction: interface errors, full queues, policers, overloaded receivers.
    ///
    /// ## Known limits
    /// Without timestamps or SACK some needless retransmissions are counted as losses. Losses by the capture itself
    /// are kept apart as capture drops.
    ///
    /// ## References
    /// - RFC 5681, RFC 6298, RFC 6675, RFC 8985
    pub(crate) struct PacketLoss {
        id: "packet-loss",
        title: "Segments are lost on the path",
        severity: High,
        needs: [Tcp, BothDirections],
        clouded_by: [CaptureDrops, DuplicateFrames, ClockStep],
        figures: [loss_percent: Percent / Max, segments_lost: Count / Sum],
        thresholds: [
            low_percent = 0.1: "Loss rate from which long paths lose throughput (rate is about 1.2 MSS / (RTT * sqrt(loss))).",
            medium_percent = 1.0: "Loss rate that users notice.",
            high_percent = 5.0: "Loss rate at which connections hardly move.",
            min_segments = 10.0: "Lost segments below which a rate says little.",
        ],
    }
}

/// A segment sent this often without an acknowledgement belongs to a dead path, not to loss.
const DEAD_COPIES: u32 = 3;

impl Rule for PacketLoss {
    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations) {
        // What a full accept queue ignores was not lost on the way.
        if conn.handshake.syn_acks_after_ack > 0 || !first_data_ignored(conn).is_empty() {
            return;
        }
        for direction in Direction::BOTH {
            let half = conn.half(direction);
            let never_acknowledged = half.unacked_at_end >= half.unique_bytes;
            // Many copies of one segment in a connection that began unseen: what came before may
            // explain them, such as a handshake that the server ignored.
            let only_copies = !conn.has_handshake()
                && half.retransmitted_segments >= 2
                && half.segments_on_wire() <= half.retransmitted_segments + 1;
            if half.data_segments == 0
                || never_acknowledged
                || only_copies
                || half.stuck.is_some_and(|stuck| stuck.copies >= DEAD_COPIES)
            {
                continue;
            }
            // What was lost before the capture point was sent as well.
            let unseen = half.lost_before_capture + half.repeats_lost_before_capture;
            out.note(|| Note {
                numbers: vec![number(half.segments_on_wire() + unseen)],
                ..Note::new(conn, direction.sender())
            });
            // What passed here right before its receiver was hardly lost; the DSACK that says that
            // it arrived twice was cut.
            let arrived = conn.handshake.options_unknown && is_at_receiver(conn, direction);
            let lost_after = if arrived { 0 } else { half.lost_after_capture };
            let placed = half.lost_before_capture + lost_after;
            // SYNs, SYN-ACKs and FINs may be repeated because the other end ignores them.
            let control = half.retransmissions_by_kind[3];
            let needed = half
                .retransmitted_segments
                .saturating_sub(half.spurious_retransmissions)
                .saturating_sub(control);
            let lost = if placed > 0 || arrived {
                placed.min(needed)
            } else {
                needed
            };
            if lost > 0 {
                let lost = lost + half.repeats_lost_before_capture;
                out.push(observation(conn, direction, lost, lost_after));
            }
        }
    }

    fn on_capture(&self, _analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected) {
        let mut sent = BTreeMap::<(Endpoint, &str), f64>::new();
        for note in &collected.notes {
            *sent.entry((note.connection.server, note.key)).or_default() += note.numbers[0];
        }
        let mut lost = BTreeMap::<String, f64>::new();
        for one in &collected.observations {
            *lost.entry(one.cause.clone()).or_default() +=
                one.number("segments_lost").unwrap_or_default();
        }
        for one in &mut collected.observations {
            let sender = one.words("sender").unwrap_or_default().to_owned();
            let all = sent
                .get(&(one.connection.server, sender.as_str()))
                .copied()
                .unwrap_or(0.0);
            let gone = lost.get(&one.cause).copied().unwrap_or(0.0);
            let rate = if all > 0.0 {
                (gone / all * 100.0).min(100.0)
            } else {
                0.0
            };
            let many = gone >= ctx.threshold("min_segments");
            one.severity = match rate {
                rate if many && rate >= ctx.threshold("high_percent") => Severity::High,
                rate if many && rate >= ctx.threshold("medium_percent") => Severity::Medium,
                rate if rate >= ctx.threshold("low_percent") && gone >= 3.0 => Severity::Low,
                _ => Severity::Info,
            };
            one.set_figure("loss_percent", FigureValue::Number(rate));
            one.details.push(("sent", all));
        }
    }

    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative {
        let sender = group.words("sender").unwrap_or_default();
        let receiver = if sender == "server" {
            "client"
        } else {
            "server"
        };
        let server = group.server();
        let lost = group.number("segments_lost").unwrap_or_default();
        let rate = group.number("loss_percent").unwrap_or_default() / 100.0;
        let (before, after) = (group.sum("before"), group.sum("after"));
        let point = group.words("point").unwrap_or_default();
        let place = if before > after * 3.0 {
            format!("between the {sender} and the capture point ({point})")
        } else if after > before * 3.0 {
            format!("between the capture point ({point}) and the {receiver}")
        } else if before + after > 0.0 {
            format!("on both sides of the capture point ({point})")
        } else {
            "at a place the packets do not tell".to_owned()
        };
        let (fast, timeout) = (group.sum("fast"), group.sum("timeout"));
        draft
            .title(format!("{} of the {sender}'s segments are lost ({server})", percent(rate)))
            .summary(format!(
                "The {sender} (server {server}) had to send {} again that had been lost, {} of {:.0}. The loss lies {place}.",
                plural(lost, "segment"),
                percent(rate),
                group.median("sent").unwrap_or_default()
            ))
            .confidence(0.9, "Only retransmissions that the receiver needed are counted.")
            .because_if(after > 0.0, || format!("{} passed the capture point and had to be repeated: lost behind it", plural(after, "segment")))
            .because_if(before > 0.0, || format!("{} first passed the capture point as a retransmission: lost before it", plural(before, "segment")))
            .because_if(fast + timeout > 0.0, || format!("repairs by fast retransmission or probe: {fast:.0}; by timeout: {timeout:.0}"))
            .not("spurious-retransmission", "retransmissions of bytes the receiver already had are not counted")
            .not("reordering", "late originals are told apart by timestamp and IP identification")
            .not("capture drops", "bytes that were acknowledged without ever being captured are not counted")
            .advise("network", format!("look {place}: interface errors (duplex, cable, optics), full queues, policers"))
            .set("Linux", format!("receive ring and backlog of the {receiver}"), "ethtool -g DEV; ethtool -G DEV rx 4096; net.core.netdev_max_backlog")
            .advise("cloud", "instances have packet-rate and bandwidth limits that drop without a sign in the guest's counters; compare with the provider's metrics")
            .set("Linux", "keep recovery cheap", "net.ipv4.tcp_sack = 1, net.ipv4.tcp_recovery = 1; BBR where loss is random")
            .verify("both", "ip -s -s link show DEV; ethtool -S DEV | grep -iE 'drop|err|miss|crc'", "which interface drops")
            .verify(&sender, "nstat -az TcpRetransSegs TcpExtTCPLostRetransmit; tc -s qdisc show", "retransmissions and drops in this host's own queue")
    }
}

/// Whether the capture point is where what `direction`'s sender sends arrives.
fn is_at_receiver(conn: &Connection, direction: Direction) -> bool {
    match direction {
        Direction::ClientToServer => conn.capture_point == CapturePoint::Server,
        Direction::ServerToClient => conn.capture_point == CapturePoint::Client,
    }
}

fn observation(conn: &Connection, direction: Direction, lost: u64, lost_after: u64) -> Observation {
    let half = conn.half(direction);
    let sender = direction.sender();
    let repairs: Vec<_> = conn
        .events
        .iter()
        .filter(|event| event.segment.direction == direction)
        .filter_map(|event| match event.kind {
            EventKind::Retransmission {
                kind,
                spurious: false,
                original_frame,
                after,
            } if kind != RetransmissionKind::Control
                && (original_frame.is_none() || lost_after > 0) =>
            {
                Some((event.segment, original_frame, after))
            }
            _ => None,
        })
        .collect();
    let mut observation = Observation::new(conn, 0.9, Severity::Info)
        .cause(format!("{} {sender}", conn.server))
        .at(repairs
            .first()
            .map_or(conn.start, |(segment, ..)| segment.time))
        .weight(number(lost))
        .count(lost)
        .figure("segments_lost", number(lost))
        .detail("before", number(half.lost_before_capture))
        .detail("after", number(lost_after))
        .detail(
            "fast",
            number(half.retransmissions_by_kind[0] + half.retransmissions_by_kind[2]),
        )
        .detail("timeout", number(half.retransmissions_by_kind[1]))
        .label("sender", sender)
        .label("point", conn.capture_point.describe());
    for (segment, original, after) in repairs.into_iter().take(3) {
        let seen = match original {
            Some(frame) => format!("the copy in frame {frame} was lost behind the capture point"),
            None => "its first copy never passed the capture point".to_owned(),
        };
        observation = observation.evidence(
            segment,
            format!(
                "retransmission of {} from {sender} after {}; {seen}",
                many(u64::from(segment.payload_len), "byte"),
                span(after)
            ),
        );
    }
    let fallback = half.last_data.filter(|_| observation.evidence.is_empty());
    observation.evidence_if(
        fallback,
        format!(
            "last data of the {sender} on a connection with {}",
            many(lost, "lost segment")
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, S, figure, findings_of};
    use std::time::Duration;

    fn lossy(sent: u64, lost: u64, spurious: u64) -> Connection {
        let mut builder = Builder::tcp(1)
            .handshake(0.0, 10.0)
            .request(1.0, 100)
            .response(2.0, 1400);
        let again = builder.segment(30.0, S, 0x10, 1400);
        let kind = EventKind::Retransmission {
            kind: RetransmissionKind::Fast,
            spurious: false,
            original_frame: Some(5),
            after: Duration::from_millis(28),
        };
        builder
            .event(again, kind)
            .with(|conn| {
                conn.halves[1].data_segments = sent;
                conn.halves[1].retransmitted_segments = lost + spurious;
                conn.halves[1].spurious_retransmissions = spurious;
                conn.halves[1].lost_after_capture = lost;
            })
            .build()
    }

    #[test]
    fn rate_over_the_direction_decides_the_severity() {
        let findings = findings_of("packet-loss", &[lossy(1000, 20, 0)]);
        assert_eq!(findings[0].severity, Severity::Medium);
        assert!((figure(&findings[0], "loss_percent") - 2.0).abs() < 0.001);
        assert!((figure(&findings[0], "segments_lost") - 20.0).abs() < f64::EPSILON);
        assert!(
            findings[0].summary.contains("and the client"),
            "{}",
            findings[0].summary
        );
    }

    #[test]
    fn single_loss_is_information() {
        assert_eq!(
            findings_of("packet-loss", &[lossy(10, 1, 0)])[0].severity,
            Severity::Info
        );
    }

    #[test]
    fn needless_retransmissions_are_no_loss() {
        assert!(findings_of("packet-loss", &[lossy(1000, 0, 20)]).is_empty());
    }

    #[test]
    fn repeated_handshakes_are_no_loss_of_data() {
        let mut conn = lossy(100, 10, 0);
        conn.halves[1].lost_after_capture = 0;
        conn.halves[1].retransmissions_by_kind[3] = 10;
        assert!(findings_of("packet-loss", &[conn]).is_empty());
    }

    #[test]
    fn dead_path_is_no_loss_rate() {
        let mut conn = lossy(100, 10, 0);
        let segment = conn.halves[1].last_data.unwrap();
        conn.halves[1].stuck = Some(analyzer::flow::Stuck {
            first: segment,
            last: segment,
            copies: 7,
            smaller_passed: false,
        });
        assert!(findings_of("packet-loss", &[conn]).is_empty());
    }
}

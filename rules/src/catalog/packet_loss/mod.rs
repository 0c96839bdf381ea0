//! `packet-loss`: segments lost on the way and sent again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use analyzer::connection::{CapturePoint, Outage};
use analyzer::event::{EventKind, RetransmissionKind, SegmentRef};
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Direction, Endpoint};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::{FigureValue, median, most};
use crate::model::impact::{Impact, Slowed};
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::Narrative;
use crate::model::observation::{self, Note};
use crate::model::rule::Rule;
use crate::model::text::{end_at, many, ms, number, other_end, percent, plural, rounded, span};
use crate::signs::handshake::is_handshake_ignored;

use seen::{Collected, Fact, Group, Observation, Observations, Seen};

declare_rule! {
    /// Segments were lost on the network and had to be retransmitted.
    ///
    /// ## What it means
    /// Some segments of one direction never arrived. TCP detects that and retransmits them.
    ///
    /// ## Why it matters
    /// Every loss delays what waits behind it by at least a round trip, a timeout by 200 ms and more, and makes
    /// the sender slow down. On long paths a loss rate of 0.1 % already limits throughput; from 1 % on users
    /// notice.
    ///
    /// ## How it is detected
    /// Retransmissions that were needed are counted, per server and direction. Left out are:
    /// - retransmissions of data the receiver already had (DSACK, or acknowledged before);
    /// - keep-alives and window probes;
    /// - copies made by the capture or the network;
    /// - retransmissions indicated only by a pause and the sender's identification counter, which are listed
    ///   but not counted.
    ///
    /// Where the lost copy was captured, the loss lies between the capture point and the receiver. Where only
    /// the retransmission was captured, it lies between the sender and the capture point. Segments of one
    /// flight lost together are one loss event.
    ///
    /// Severity is info for single losses; low above 0.1 %; medium from 1 %, ten segments and three events;
    /// high from 5 % and five events. One or two events in which nothing got through for a second are reported
    /// as an outage of that direction: low. Connections that died while retransmitting belong to
    /// `connection-died`.
    ///
    /// ## What to do
    /// Find the place by side and direction: interface errors, full queues, policers, overloaded receivers.
    ///
    /// ## Known limits
    /// Without timestamps or SACK some unneeded retransmissions are counted as losses. Losses of the capture
    /// itself are counted apart, as capture drops.
    ///
    /// ## References
    /// - RFC 5681, RFC 6298, RFC 6675, RFC 8985
    pub(crate) struct PacketLoss {
        id: "packet-loss",
        group: LossAndPath,
        title: "Segments are lost on the path",
        severity: High,
        needs: [Tcp, BothDirections],
        clouded_by: [CaptureDrops, DuplicateFrames, ClockStep, CaptureDisorder],
        figures: [loss_percent: Percent / Max, segments_lost: Count / Sum],
        thresholds: [
            low_percent = 0.1: "Loss rate from which long paths lose throughput (rate is about 1.2 MSS / (RTT * sqrt(loss))).",
            medium_percent = 1.0: "Loss rate that users notice.",
            high_percent = 5.0: "Loss rate at which connections hardly move.",
            min_segments = 10.0: "Lost segments below which a rate says little.",
            medium_events = 3.0: "Loss events (segments of one flight lost together are one) below which a loss is an incident, not a rate.",
            high_events = 5.0: "Loss events from which a high rate is not coincidence.",
            outage_ms = 1000.0: "Time over which the same data is retransmitted without an acknowledgment that counts as an outage: the first timeouts take less.",
        ],
        host_evidence: [Retransmissions, KernelReason],
    }
}

/// A segment sent this often without an acknowledgment belongs to a dead path, not to loss.
const DEAD_COPIES: u32 = 3;

impl Rule for PacketLoss {
    type Seen = Seen;
    type Fact = Fact;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations) {
        // What a full accept queue ignores was not lost on the way.
        if is_handshake_ignored(conn) {
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
            out.note(|| {
                let fact = Fact {
                    sender: direction,
                    segments: half.segments_on_wire() + unseen,
                };
                Note::new(conn, fact)
            });
            // What passed here right before its receiver was hardly lost; the DSACK that says that
            // it arrived twice was cut.
            let arrived = conn.handshake.options_unknown && is_at_receiver(conn, direction);
            let after = half
                .lost_after_capture
                .saturating_sub(half.spurious_retransmissions);
            let lost_after = if arrived { 0 } else { after };
            let placed = half.lost_before_capture + lost_after;
            // SYNs, SYN-ACKs and FINs may be repeated because the other end ignores them.
            let control = half
                .repeated(RetransmissionKind::Control)
                .saturating_sub(half.spurious_control);
            let needed = half
                .retransmitted_segments
                .saturating_sub(half.spurious_retransmissions)
                .saturating_sub(half.presumed_repeats)
                .saturating_sub(half.refused_repeats)
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

    fn on_capture(&self, analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected) {
        let mut sent = BTreeMap::<(Endpoint, Direction), u64>::new();
        for note in &collected.notes {
            let of_sender = sent.entry((note.connection.server, note.fact.sender));
            *of_sender.or_default() += note.fact.segments;
        }
        let mut lost = BTreeMap::<String, (f64, u64)>::new();
        for one in &collected.observations {
            let (segments, events) = lost.entry(one.cause.clone()).or_default();
            *segments += one.figure_value("segments_lost").unwrap_or_default();
            *events += one.seen.events;
        }
        for one in &mut collected.observations {
            let Observation { occurrence, seen } = one;
            let all = sent.get(&(occurrence.connection.server, seen.sender));
            seen.sent = all.copied().unwrap_or(0);
            let (gone, events) = lost.get(&occurrence.cause).copied().unwrap_or_default();
            let rate = if seen.sent > 0 {
                (gone / number(seen.sent) * 100.0).min(100.0)
            } else {
                0.0
            };
            let wanted = !is_probing(analysis, one.connection.client.ip)
                && !is_probing(analysis, one.connection.server.ip);
            one.impact = if wanted {
                impact(ctx, rate, gone, events)
            } else {
                Impact::NONE
            };
            one.set_figure("loss_percent", FigureValue::Number(rate));
        }
    }

    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative {
        if is_outage(group) {
            return words::tell_outage(group, draft);
        }
        let losses = || group.seen();
        let sender = most(losses().map(|seen| seen.sender)).map_or("", Direction::sender);
        let receiver = other_end(sender);
        let server = group.server();
        let end = end_at(sender, server);
        let lost = group.figure("segments_lost").unwrap_or_default();
        let rate = group.figure("loss_percent").unwrap_or_default() / 100.0;
        let sum = |part: fn(&Seen) -> u64| number(losses().map(part).sum());
        let (before, after) = (sum(|seen| seen.before), sum(|seen| seen.after));
        let points = losses().map(|seen| seen.point.describe());
        let point = most(points).unwrap_or_default();
        let place = if before > after * 3.0 {
            format!("between the {sender} and the capture point ({point})")
        } else if after > before * 3.0 {
            format!("between the capture point ({point}) and the {receiver}")
        } else if before + after > 0.0 {
            format!("on both sides of the capture point ({point})")
        } else {
            "at a place the packets do not show".to_owned()
        };
        let (fast, timeout) = (sum(|seen| seen.fast), sum(|seen| seen.timeout));
        let presumed = sum(|seen| seen.presumed);
        draft
            .title(format!("{} of the {sender}'s segments are lost ({server})", percent(rate)))
            .summary(format!(
                "{} of {} transmissions of the {end} ({}) did not arrive and had to be retransmitted. The loss is {place}.",
                rounded(lost),
                rounded(median(losses().map(|seen| number(seen.sent))).unwrap_or_default()),
                percent(rate)
            ))
            .confidence(confidence::STRONG, "Only retransmissions that the receiver needed are counted.")
            .because_if(after > 0.0, || format!("{} passed the capture point and had to be retransmitted: lost behind it", plural(after, "segment")))
            .because_if(before > 0.0, || format!("{} first passed the capture point as a retransmission: lost before it", plural(before, "segment")))
            .because_if(presumed > 0.0, || format!("not counted: {} indicated only by a pause and the sender's IP identification or PSH flags", plural(presumed, "further retransmission")))
            .because_if(fast + timeout > 0.0, || format!("repairs by fast retransmission or probe: {fast:.0}; by timeout: {timeout:.0}"))
            .not("spurious-retransmission", "retransmissions of bytes the receiver already had are not counted")
            .not("reordering", "late originals are recognised by timestamp and IP identification")
            .not("capture drops", "bytes that were acknowledged without ever being captured are not counted")
            .advise("network", format!("look {place}: interface errors (duplex, cable, optics), full queues, policers"))
            .set("Linux", format!("receive ring and backlog of the {receiver}"), "ethtool -g DEV; ethtool -G DEV rx 4096; net.core.netdev_max_backlog")
            .advise("cloud", "check the provider's metrics: instances have packet-rate and bandwidth limits whose drops the guest does not count")
            .set("Linux", "keep loss recovery fast", "net.ipv4.tcp_sack = 1, net.ipv4.tcp_recovery = 1; BBR where loss is random")
            .verify("both", "ip -s -s link show DEV; ethtool -S DEV | grep -iE 'drop|err|miss|crc'", "which interface drops")
            .verify(sender, "nstat -az TcpRetransSegs TcpExtTCPLostRetransmit; tc -s qdisc show", "retransmissions and drops in this host's own queue")
    }
}

/// Whether the losses are one or two times in which nothing got through, best described by their times.
fn is_outage(group: &Group<'_>) -> bool {
    let Some(outage) = group.best().seen.outage else {
        return false;
    };
    // Several connections that nothing gets through at one time are one event.
    let at_one_time = |one: Outage| one.since < outage.ended.time && outage.since < one.ended.time;
    let is_same = group
        .seen()
        .all(|seen| seen.outage.is_some_and(at_one_time));
    let events = group.seen().map(|seen| seen.events);
    let events: u64 = if is_same {
        events.max().unwrap_or_default()
    } else {
        events.sum()
    };
    ms(outage.length()) >= group.ctx.threshold("outage_ms")
        && number(events) < group.ctx.threshold("medium_events")
}

/// Whether `host` scans: nobody waits for what it loses.
fn is_probing(analysis: &Analysis, host: IpAddr) -> bool {
    (analysis.hosts.get(host)).is_some_and(HostProfile::is_scanner)
}

/// What `lost` segments in so many loss events, at a rate in percent, do to transfers.
fn impact(ctx: &Context<'_>, rate: f64, lost: f64, events: u64) -> Impact {
    let many = lost >= ctx.threshold("min_segments");
    let again = |least| many && number(events) >= least;
    match rate {
        rate if again(ctx.threshold("high_events")) && rate >= ctx.threshold("high_percent") => {
            Impact::slowed(Slowed::Badly)
        }
        rate if again(ctx.threshold("medium_events"))
            && rate >= ctx.threshold("medium_percent") =>
        {
            Impact::slowed(Slowed::Noticeably)
        }
        rate if rate >= ctx.threshold("low_percent") && lost >= 3.0 => {
            Impact::slowed(Slowed::Slightly)
        }
        _ => Impact::NONE,
    }
}

/// Whether the capture point is where what `direction`'s sender sends arrives.
fn is_at_receiver(conn: &Connection, direction: Direction) -> bool {
    match direction {
        Direction::ClientToServer => conn.capture_point == CapturePoint::Server,
        Direction::ServerToClient => conn.capture_point == CapturePoint::Client,
    }
}

/// What was sent again because it was lost: the segment, the frame of the copy before it where that
/// passed the capture point, and how long after it. `with_seen`: those as well whose copy before passed.
fn repairs(
    conn: &Connection,
    direction: Direction,
    with_seen: bool,
) -> Vec<(SegmentRef, Option<u64>, Duration)> {
    conn.events
        .iter()
        .filter(|event| event.segment.direction == direction)
        .filter_map(|event| match event.kind {
            EventKind::Retransmission {
                kind,
                spurious: false,
                presumed: false,
                original_frame,
                after,
            } if kind != RetransmissionKind::Control && (original_frame.is_none() || with_seen) => {
                Some((event.segment, original_frame, after))
            }
            _ => None,
        })
        .collect()
}

fn observation(conn: &Connection, direction: Direction, lost: u64, lost_after: u64) -> Observation {
    let half = conn.half(direction);
    let sender = direction.sender();
    let repairs = repairs(conn, direction, lost_after > 0);
    let mut observation = observation::Observation::new(conn, confidence::STRONG, Impact::NONE)
        .cause(format!("{} {sender}", conn.server))
        .at(repairs
            .first()
            .map_or(conn.start, |(segment, ..)| segment.time))
        .weight(number(lost))
        .count(lost)
        .figure("segments_lost", number(lost))
        .seen(Seen {
            sender: direction,
            sent: 0,
            before: half.lost_before_capture,
            after: lost_after,
            fast: half.repeated(RetransmissionKind::Fast)
                + half.repeated(RetransmissionKind::TailLossProbe),
            timeout: half.repeated(RetransmissionKind::Timeout),
            events: half.loss_events.clamp(1, lost),
            presumed: half.presumed_repeats,
            outage: half.outage,
            point: conn.capture_point,
        });
    if let Some(outage) = half.outage {
        observation = observation
            .cost("time_lost_ms", ms(outage.length()))
            .proof(
                outage.first,
                format!("data from {sender}, first retransmission without an acknowledgment"),
            )
            .proof(
                outage.ended,
                format!(
                    "first acknowledgment of it, {} after it was first sent",
                    span(outage.length())
                ),
            );
    }
    for (segment, original, after) in repairs.into_iter().take(3) {
        let mut cited = observation.evidence.iter();
        if cited.any(|evidence| evidence.segment.frame == segment.frame) {
            continue;
        }
        let seen = match original {
            Some(frame) => format!("the copy in frame {frame} was lost behind the capture point"),
            None => "its first copy never passed the capture point".to_owned(),
        };
        observation = observation.proof(
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

mod seen;
mod words;

#[cfg(test)]
mod tests;

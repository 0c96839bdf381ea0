//! `zero-window-stall`: a receiver that does not read stops its sender.

use std::cmp::Reverse;
use std::time::Duration;

use analyzer::event::{EventKind, SegmentRef};
use analyzer::{Connection, Direction, Timestamp};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::most;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, number, other_end, plural, span, time};

declare_rule! {
    /// A receiver's buffer was full, so the sender had to stop.
    ///
    /// ## What it means
    /// The receiving application reads more slowly than data arrives. Its kernel advertises a zero receive
    /// window; the sender may send only window probes until the window opens again.
    ///
    /// ## Why it matters
    /// The transfer stops for as long as the application does not read, however fast the network is.
    ///
    /// ## How it is detected
    /// - One end advertises a window of zero (not on SYN, FIN or RST) and opens it later.
    /// - Stalls shorter than one round trip or 20 ms are left out.
    ///
    /// The two advertisements prove it. The total time waited and the longest stall decide the severity.
    ///
    /// ## What to do
    /// Make the receiving application read faster: check CPU, locks, garbage collection, disk, and work done
    /// between reads.
    ///
    /// ## Known limits
    /// Deliberate back-pressure (media players, printers, throttled downloads) looks the same. Without the
    /// handshake the window scale is unknown, but zero is zero at any scale.
    ///
    /// ## References
    /// - RFC 9293 §3.8.6.1; RFC 6429
    pub(crate) struct ZeroWindowStall {
        id: "zero-window-stall",
        group: Application,
        title: "A receiver reads too slowly and stops its sender",
        severity: High,
        needs: [Tcp, BothDirections],
        traits: [ZeroWindow],
        clouded_by: [CaptureDrops, ClockStep],
        figures: [stalls: Count / Sum, stall_ms_total: Milliseconds / Sum, stall_ms_max: Milliseconds / Max],
        thresholds: [
            min_stall_ms = 20.0: "Shortest stall reported.",
        ],
        host_evidence: [SendLimits, Owner],
    }
}

/// A reader that closed its window.
pub(crate) struct Seen {
    reader: &'static str,
    /// Window probes of the other end.
    probes: u64,
    /// Its largest window in bytes, where it was scaled.
    window_max: Option<u64>,
}

/// The longest stall, as far as the connection's events show it.
struct Stall {
    /// The segment that closed the window.
    closed: Option<SegmentRef>,
    /// The segment that opened it again, and after how long.
    opened: Option<(SegmentRef, Duration)>,
}

fn worst_stall(conn: &Connection, reader: Direction) -> Stall {
    let events = (conn.events.iter()).filter(|event| event.segment.direction == reader);
    let opened = events.clone().filter_map(|event| match event.kind {
        EventKind::WindowOpened { closed_for } => Some((event.segment, closed_for)),
        _ => None,
    });
    let opened = opened.max_by_key(|(segment, closed_for)| (*closed_for, Reverse(segment.frame)));
    let mut closed = events.filter(|event| event.kind == EventKind::WindowClosed);
    let before = |event: &&analyzer::Event| {
        opened.is_none_or(|(segment, _)| event.segment.frame < segment.frame)
    };
    let closed = closed.rfind(before).map(|event| event.segment);
    Stall {
        // One that never opens again is shown by the last window of zero.
        closed: closed.or(conn.half(reader).last_segment.filter(|_| opened.is_none())),
        opened,
    }
}

/// When the reader's window was closed, as far as the connection's events show it.
fn stalls(conn: &Connection, reader: Direction) -> impl Iterator<Item = (Timestamp, Timestamp)> {
    let events = (conn.events.iter()).filter(move |event| event.segment.direction == reader);
    events.filter_map(|event| match event.kind {
        EventKind::WindowOpened { closed_for } => {
            let opened = event.segment.time;
            Some((opened - closed_for, opened))
        }
        _ => None,
    })
}

impl Rule for ZeroWindowStall {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        let least = Duration::from_secs_f64(ctx.threshold("min_stall_ms") / 1e3);
        let least = least.max(conn.rtt().unwrap_or_default());
        for direction in Direction::BOTH {
            let half = conn.half(direction);
            if half.zero_windows == 0 || half.zero_window_max < least {
                continue;
            }
            let longest = ms(half.zero_window_max);
            let impact = Impact::stalled(half.zero_window_max, half.zero_window_total);
            let reader = direction.sender();
            let stall = worst_stall(conn, direction);
            out.push(
                Observation::new(conn, confidence::PROVED, impact)
                    .cause(format!("{} {reader}", conn.server))
                    .at(stall.closed.map_or(conn.start, |segment| segment.time))
                    .weight(longest)
                    .proof_if(
                        stall.closed,
                        format!("{reader} advertises a window of zero"),
                    )
                    .proof_if(
                        stall.opened.map(|(segment, _)| segment),
                        stall
                            .opened
                            .map(|(_, closed_for)| {
                                format!("{reader} opens its window after {}", span(closed_for))
                            })
                            .unwrap_or_default(),
                    )
                    .figure("stalls", number(half.zero_windows))
                    .figure("stall_ms_total", ms(half.zero_window_total))
                    .figure("stall_ms_max", longest)
                    .cost("time_lost_ms", ms(half.zero_window_total))
                    .stalls(stalls(conn, direction))
                    .seen(Seen {
                        reader,
                        probes: conn.half(direction.reverse()).zero_window_probes,
                        window_max: half.window_max.map(u64::from),
                    }),
            );
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let reader = most(group.seen().map(|seen| seen.reader)).unwrap_or_default();
        let sender = other_end(reader);
        let server = group.server();
        let longest = group.figure("stall_ms_max").unwrap_or_default();
        let total = group.figure("stall_ms_total").unwrap_or_default();
        let stalls = group.figure("stalls").unwrap_or_default();
        let probes = number(group.seen().map(|seen| seen.probes).sum());
        let window_max = group.seen().filter_map(|seen| seen.window_max).max();
        draft
            .title(format!("The {reader} reads too slowly and stops the {sender} up to {} ({server})", time(longest)))
            .summary(format!(
                "The {reader}'s receive buffer was full {} on {} with {server}; the {sender} waited {} in all, {} at worst. The application at the {reader} did not read in time.",
                plural(stalls, "time"), many(group.connections(), "connection"), time(total), time(longest)
            ))
            .confidence(confidence::PROVED, "Both the zero window and its reopening were captured.")
            .because(format!("the {reader} advertised a window of zero {}", plural(stalls, "time")))
            .because_if(probes > 0.0, || format!("the {sender} sent {}", plural(probes, "window probe")))
            .because_if(window_max.is_some(), || format!("its window was {} bytes at most", window_max.unwrap_or(0)))
            .not("retransmit-hol", "no segment was missing; the bytes had arrived and were unread")
            .not("slow network", format!("the {sender} had data to send and the network was free; only the receive window was closed"))
            .advise(reader, "find what keeps the application from reading: CPU, a lock, garbage collection, a slow disk, work between two reads, a bounded queue")
            .advise("Linux", "do not set SO_RCVBUF (it switches autotuning off); raise the maximum of net.ipv4.tcp_rmem only when the application reads fast enough")
            .verify(reader, format!("ss -tnmp '( sport = :{0} or dport = :{0} )'", server.port), "Recv-Q full and not shrinking")
            .verify(reader, "nstat -az TcpExtTCPToZeroWindowAdv TcpExtTCPFromZeroWindowAdv TcpExtPruneCalled", "how often this host closed and opened its windows")
            .verify(reader, "strace -f -tt -e trace=read,recvfrom -p PID", "time between reads")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, C, figure, findings_of};

    fn stalled(stall_ms: u64) -> Connection {
        let mut builder = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .request(1.0, 10)
            .response(2.0, 5000);
        let closed = builder.segment(3.0, C, 0x10, 0);
        let opened = builder.segment(3.0 + stall_ms as f64, C, 0x10, 0);
        let closed_for = Duration::from_millis(stall_ms);
        builder
            .event(closed, EventKind::WindowClosed)
            .event(opened, EventKind::WindowOpened { closed_for })
            .with(|conn| {
                let half = &mut conn.halves[0];
                (
                    half.zero_windows,
                    half.zero_window_max,
                    half.zero_window_total,
                ) = (1, closed_for, closed_for);
            })
            .build()
    }

    #[test]
    fn long_stall_is_high() {
        let findings = findings_of("zero-window-stall", &[stalled(3500)]);
        assert_eq!(findings[0].severity, Severity::High);
        assert!((figure(&findings[0], "stall_ms_max") - 3500.0).abs() < 0.01);
    }

    #[test]
    fn short_stall_is_low() {
        assert_eq!(
            findings_of("zero-window-stall", &[stalled(100)])[0].severity,
            Severity::Low
        );
    }

    #[test]
    fn shorter_than_noticeable_is_silent() {
        assert!(findings_of("zero-window-stall", &[stalled(5)]).is_empty());
    }

    #[test]
    fn open_window_is_healthy() {
        let conn = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .request(1.0, 10)
            .response(2.0, 10)
            .build();
        assert!(findings_of("zero-window-stall", &[conn]).is_empty());
    }
}

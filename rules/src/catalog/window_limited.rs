//! `window-limited`: the receiver's window, not the path, sets the pace.

use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::{FigureValue, median, most};
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{bytes, end_at, ms, number, percent, time};

declare_rule! {
    /// The receiver's window limits a transfer while the path could carry more.
    ///
    /// ## What it means
    /// The sender may have no more in flight than the receiver's window allows. On a long path that is one
    /// window per round trip, however fast the links are.
    ///
    /// ## Why it matters
    /// Transfers are slow on an idle network, and more bandwidth does not help.
    ///
    /// ## How it is detected
    /// - After at least half of a transfer's segments, less than two more fitted into the advertised window.
    /// - Nothing was lost, the window never closed, and the round trip stayed near its shortest: no queue grew,
    ///   so the path was not full.
    ///
    /// Severity is low, since nothing fails.
    ///
    /// ## What to do
    /// Let the receiver's buffer grow to twice rate times round trip, and do not fix its size in the
    /// application.
    ///
    /// ## Known limits
    /// The handshake must be captured, since it carries the window scale. It is visible on the sender's side
    /// only. A limit by the sender's own buffer looks the same as one by the application.
    ///
    /// ## References
    /// - RFC 7323 §2; RFC 9293 §3.8.6
    pub(crate) struct WindowLimited {
        id: "window-limited",
        group: Application,
        title: "The receiver's window limits a transfer",
        severity: Low,
        needs: [Tcp, BothDirections, Handshake, NoCaptureDrops],
        traits: [FullWindow],
        clouded_by: [CaptureDrops, Offload],
        figures: [limit_bytes: Bytes / Median, throughput_bps: PerSecond / Max],
        thresholds: [
            min_segments = 200.0: "Segments from which a transfer is long enough to have a meaningful rate.",
            min_share_percent = 50.0: "Share of them that filled the window.",
            min_rtt_ms = 5.0: "On shorter paths a window is refilled faster than it matters.",
        ],
        host_evidence: [SendLimits, Owner],
    }
}

/// A transfer that its receiver's window limits.
pub(crate) struct Seen {
    receiver: &'static str,
    /// Of the time in which the window was full, 0–1.
    share: f64,
    rtt_ms: f64,
    /// The receiver offered no window scaling.
    unscaled: bool,
}

impl Rule for WindowLimited {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        if conn.handshake.options_unknown {
            return;
        }
        for direction in Direction::BOTH {
            let (half, peer) = (conn.half(direction), conn.half(direction.reverse()));
            let segments = number(half.data_segments);
            let share = number(half.window_full_segments) / segments.max(1.0);
            let (Some(rtt), Some(srtt), Some(first), Some(last)) =
                (conn.rtt(), half.srtt, half.first_data, half.last_data)
            else {
                continue;
            };
            let seconds = last.time.since(first.time).as_secs_f64();
            let full = segments >= ctx.threshold("min_segments")
                && share * 100.0 >= ctx.threshold("min_share_percent");
            let path_is_free = half.retransmitted_segments * 100 <= half.segments_on_wire()
                && peer.zero_windows == 0
                && srtt < rtt * 3 / 2;
            if !full || !path_is_free || ms(rtt) < ctx.threshold("min_rtt_ms") || seconds <= 0.0 {
                continue;
            }
            let flight = number(half.window_full_octets);
            let window = peer.window_max.map_or(flight, f64::from);
            // A flight rests up to two segments below the window it fills.
            let limit = if flight >= window * 0.8 {
                window
            } else {
                flight
            };
            let receiver = direction.reverse().sender();
            let mut one = Observation::new(conn, confidence::LIKELY, Impact::SOME)
                .cause(format!("{} {receiver}", conn.server))
                .weight(number(half.unique_bytes))
                .proof_if(
                    half.window_full_first,
                    "segment after which the window has no room for two more",
                )
                .evidence(last, "last data of the transfer")
                .figure("limit_bytes", limit)
                .seen(Seen {
                    receiver,
                    share,
                    rtt_ms: ms(rtt),
                    unscaled: peer.window_shift.is_none(),
                });
            one.set_figure(
                "throughput_bps",
                FigureValue::Number(number(half.unique_bytes) * 8.0 / seconds),
            );
            out.push(one);
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let limit = group.figure("limit_bytes").unwrap_or_default();
        let rate = group.figure("throughput_bps").unwrap_or_default() / 1e6;
        let rtt = median(group.seen().map(|seen| seen.rtt_ms)).unwrap_or_default();
        let share = median(group.seen().map(|seen| seen.share)).unwrap_or_default();
        let receiver = most(group.seen().map(|seen| seen.receiver)).unwrap_or_default();
        let server = group.server();
        let end = end_at(receiver, server);
        draft
            .title(format!("The {receiver}'s window of {} limits a transfer to {rate:.1} Mbit/s ({server})", bytes(limit)))
            .summary(format!(
                "The {end} allows {} in flight; with a round trip of {} that makes {rate:.1} Mbit/s, whatever the links could carry. \
                 {} of the segments filled the window, and no queue grew meanwhile.",
                bytes(limit), time(rtt), percent(share)
            ))
            .confidence(confidence::LIKELY, "Flights and windows were measured on the sender's side.")
            .because(format!("after {} of the segments less than two more fitted into the window", percent(share)))
            .because("nothing was lost and the round trip stayed near its shortest: the path was not full")
            .because_if(group.having(|seen| seen.unscaled) > 0, || format!("the {receiver} offered no window scaling in its SYN: its limit is 65,535 bytes"))
            .not("zero-window-stall", "the window never closed: the application reads as fast as data arrives")
            .not("packet-loss", "loss would have kept the flight below the window")
            .set("Linux receiver", "let the buffer grow to twice rate times round trip", "net.ipv4.tcp_rmem = 4096 131072 16777216; net.ipv4.tcp_window_scaling = 1")
            .advise("application", "do not set SO_RCVBUF: it switches the kernel's autotuning off")
            .verify(receiver, format!("ss -tmi '( dport = :{0} or sport = :{0} )'", server.port), "rcv_space and the r and rb sizes of skmem")
            .verify("sender", "ss -ti", "rwnd_limited: the time spent waiting for the receiver's window")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, C, S, figure, findings_of};

    fn transfer(full: u64, srtt_ms: u64) -> Connection {
        let mut builder = Builder::tcp(1)
            .handshake(0.0, 40.0)
            .request(50.0, 100)
            .response(100.0, 1400);
        builder.segment(2_100.0, S, 0x10, 1400);
        builder
            .with(|conn| {
                let half = &mut conn.halves[S.index()];
                half.data_segments = 1000;
                half.unique_bytes = 1_400_000;
                half.window_full_segments = full;
                half.window_full_octets = 64_000;
                half.srtt = Some(Duration::from_millis(srtt_ms));
                half.rtt_min = Some(Duration::from_millis(40));
                half.last_data = half.last_segment;
                half.window_full_first = half.last_segment;
                conn.halves[C.index()].rtt_min = None;
                conn.halves[C.index()].window_max = Some(65_535);
            })
            .build()
    }

    #[test]
    fn flights_that_fill_the_window_are_found() {
        let findings = findings_of("window-limited", &[transfer(800, 42)]);
        assert_eq!(findings[0].severity, Severity::Low);
        assert!((figure(&findings[0], "limit_bytes") - 65_535.0).abs() < 0.5);
    }

    #[test]
    fn full_paths_and_idle_windows_are_not_limited() {
        assert!(findings_of("window-limited", &[transfer(800, 90)]).is_empty());
        assert!(findings_of("window-limited", &[transfer(100, 42)]).is_empty());
    }
}

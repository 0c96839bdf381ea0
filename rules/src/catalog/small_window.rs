//! `small-window`: a receiver never offers room for two segments.

use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{bytes, many, number, percent};

declare_rule! {
    /// A receiver never offers room for two full segments, so that its sender waits after each.
    ///
    /// ## What it means
    /// The receive buffer is tiny: `SO_RCVBUF` set to a few hundred bytes, an embedded stack with one buffer,
    /// or a device that lowers the window to slow a transfer down.
    ///
    /// ## Why it matters
    /// Each round trip carries one segment. A receiver that delays acknowledgments waits for a second one that
    /// cannot come, which adds 40 to 200 ms each time.
    ///
    /// ## How it is detected
    /// - The largest window that the receiver advertised on the whole connection is below two segments of its own
    ///   MSS, and never zero; both SYNs were captured, so that scaling is known.
    /// - The other end sent 20 segments or more, and after half of them there was no room for another.
    ///
    /// The segment that fills the window proves it. One advertisement with more room would refute it.
    ///
    /// ## What to do
    /// Raise the receive buffer, or leave it to the system.
    ///
    /// ## Known limits
    /// Small devices do this by design. A window that is small only for a while belongs to window-limited or
    /// zero-window-stall.
    ///
    /// ## References
    /// - RFC 9293 §3.8.6.2 (silly window syndrome); RFC 1122 §4.2.3.3
    pub(crate) struct SmallWindow {
        id: "small-window",
        group: Application,
        title: "A receiver never offers room for two segments",
        severity: Low,
        needs: [Tcp, BothDirections, Handshake],
        clouded_by: [Offload],
        figures: [window_bytes: Bytes / Max, segments: Count / Sum],
        thresholds: [
            min_segments = 20.0: "Segments sent into the small window; fewer may be a short exchange.",
            min_full_percent = 50.0: "Share of them after which no room was left.",
        ],
    }
}

/// A small window.
pub(crate) struct Seen {
    receiver: Direction,
    mss: u16,
    /// Share of segments after which no room was left.
    full: f64,
}

impl Rule for SmallWindow {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        if !conn.handshake.tells_scales() {
            return;
        }
        for sender in Direction::BOTH {
            let receiver = sender.reverse();
            let (half, peer) = (conn.half(sender), conn.half(receiver));
            let (Some(window), Some(mss)) = (peer.window_max, peer.mss) else {
                continue;
            };
            let Some(first) = half.window_full_first else {
                continue;
            };
            let segments = number(half.data_segments);
            let full = number(half.window_full_segments) / segments.max(1.0);
            if window >= 2 * u32::from(mss)
                || peer.zero_windows > 0
                || segments < ctx.threshold("min_segments")
                || full * 100.0 < ctx.threshold("min_full_percent")
            {
                continue;
            }
            out.push(
                Observation::new(conn, confidence::LIKELY, Impact::SOME)
                    .cause(format!("{} {}", conn.server, receiver.sender()))
                    .at(first.time)
                    .weight(segments)
                    .proof(
                        first,
                        format!(
                            "fills the window: the {} never advertises more than {window} bytes",
                            receiver.sender()
                        ),
                    )
                    .figure("window_bytes", f64::from(window))
                    .figure("segments", segments)
                    .seen(Seen {
                        receiver,
                        mss,
                        full,
                    }),
            );
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let server = group.server();
        let seen = &group.best().seen;
        let receiver = seen.receiver.sender();
        let window = bytes(group.figure("window_bytes").unwrap_or_default());
        draft
            .title(format!("The {receiver} never offers room for two segments ({server})"))
            .summary(format!(
                "On {} the {receiver} advertised {window} at most, with segments of {} bytes: each round trip carries one. After {} of the segments there was no room for another.",
                many(group.connections(), "connection"),
                seen.mss,
                percent(seen.full),
            ))
            .confidence(confidence::LIKELY, "Every window that the receiver advertised was captured.")
            .because(format!("the largest window, {window}, is below two segments"))
            .not("zero-window-stall", "the window is never closed")
            .not("window-limited", "that is a window too small for the path; this one is too small for any")
            .advise(receiver, "leave SO_RCVBUF unset, so that the system sizes the buffer, or raise it to several segments")
            .verify(receiver, "ss -tmin", "rb… in skmem: the receive buffer")
    }
}

#[cfg(test)]
mod tests {
    use analyzer::decode::{TcpFields, TcpFlags};

    use crate::model::finding::Finding;
    use crate::model::severity::Severity;
    use crate::testkit::findings_of;
    use crate::testkit::script::{Capture, Marks, fields};

    /// A download of 30 segments into a window of this size.
    fn download(window: u16) -> Vec<Finding> {
        let mut capture = Capture::new();
        let syn = |flags, seq, ack| TcpFields {
            mss: Some(1000),
            ..fields(seq, ack, flags)
        };
        capture.packet(true, 0, Marks::default(), syn(TcpFlags::SYN, 100, 0), 0);
        let answer = syn(TcpFlags::SYN | TcpFlags::ACK, 900, 101);
        capture.packet(false, 20_000_000, Marks::default(), answer, 0);
        let mut at = 20_100_000;
        for number in 0..30_u32 {
            let seq = 901 + number * 1000;
            let ack = TcpFields {
                window_field: window,
                ..fields(101, seq, TcpFlags::ACK)
            };
            capture.packet(true, at, Marks::default(), ack, 0);
            capture.packet(
                false,
                at + 20_000_000,
                Marks::default(),
                fields(seq, 101, TcpFlags::ACK),
                1000,
            );
            at += 60_000_000;
        }
        findings_of("small-window", &[capture.finish()])
    }

    #[test]
    fn room_for_one_segment_is_told() {
        let findings = download(1_400);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Low);
    }

    #[test]
    fn room_for_more_is_not() {
        assert!(download(4_000).is_empty());
    }
}

//! Why a segment got its verdict: the facts it was judged on, in words, beside the other reading.

use std::time::Duration;

use crate::connection::{CapturePoint, CounterTrust};
use crate::decode::{Packet, TcpFields};
use crate::event::{RetransmissionKind, SegmentRef};
use crate::flow::tcp::{Beside, KnownBefore, SendOrder, TcpTracker, Verdict};

use super::wireshark::{WiresharkName, WiresharkView};

/// A verdict that lost, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OtherReading {
    /// Name of the verdict.
    pub verdict: &'static str,
    /// Why it lost.
    pub because: String,
}

/// What one segment was judged to be.
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    /// The segment; its direction is that of the connection.
    pub segment: SegmentRef,
    /// The verdict.
    pub verdict: Verdict,
    /// The facts it rests on, most telling first.
    pub because: Vec<String>,
    /// The next best reading.
    pub instead_of: Option<OtherReading>,
    /// What Wireshark's sequence analysis calls it.
    pub wireshark: Vec<WiresharkName>,
    /// For a retransmission: a DSACK or what arrived later proved it needless.
    pub spurious: bool,
    /// Where the capture was taken, judged from the whole connection, and how sure (0–1).
    pub capture_point: (CapturePoint, f64),
}

/// Follows one connection and explains one of its frames.
#[derive(Debug)]
pub struct Explainer {
    frame: u64,
    wireshark: WiresharkView,
    explanation: Option<Explanation>,
}

impl Explainer {
    /// Waits for `frame`.
    #[must_use]
    pub fn new(frame: u64) -> Self {
        Self {
            frame,
            wireshark: WiresharkView::default(),
            explanation: None,
        }
    }

    /// Passes the next packet of the connection to its tracker.
    pub fn segment(&mut self, tracker: &mut TcpTracker, packet: &Packet, tcp: &TcpFields) {
        let direction = tracker.direction_of(packet);
        let wireshark = self.wireshark.segment(packet, tcp, direction);
        if packet.frame != self.frame {
            tracker.segment(packet, tcp, &[]);
            return;
        }
        let facts = tracker.known_before(packet, tcp, direction);
        let (verdict, _) = tracker.segment(packet, tcp, &[]);
        let (because, instead_of) = facts.words(verdict);
        self.explanation = Some(Explanation {
            segment: facts.reference,
            verdict,
            because,
            instead_of,
            wireshark,
            spurious: false,
            capture_point: (CapturePoint::Unknown, 0.0),
        });
    }

    /// What was found, completed by what the rest of the connection proved.
    #[must_use]
    pub fn finish(self, tracker: &TcpTracker) -> Option<Explanation> {
        let mut explanation = self.explanation?;
        explanation.capture_point = tracker.capture_point();
        if tracker.was_needless(self.frame) {
            explanation.spurious = true;
            explanation.because.push(
                "a DSACK, or an acknowledgment that it cannot have drawn, proves that the receiver already had every byte"
                    .into(),
            );
        }
        Some(explanation)
    }
}

fn ms(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1e3)
}

impl Beside {
    fn words(&self, what: &str) -> String {
        let Self { frame, apart, .. } = self;
        let apart = ms(*apart);
        match self.order {
            SendOrder::Earlier => format!(
                "{} is older than that of frame {frame}, {what} {apart} before: it was sent first",
                self.by
            ),
            SendOrder::Later => format!(
                "{} is newer than that of frame {frame}, {what} {apart} before: it was sent after it",
                self.by
            ),
            SendOrder::Same => {
                format!(
                    "its identification and timestamp are those of frame {frame}, {what} {apart} before"
                )
            }
            SendOrder::Unknown => format!(
                "frame {frame}, {what}, came {apart} before; neither TSval nor IP identification shows which was sent first"
            ),
        }
    }
}

impl Beside {
    /// Of a repeat: marks that say it was sent first were not taken for its sender's clock.
    fn words_of_repeat(&self, what: &str) -> String {
        let order = match self.order {
            SendOrder::Earlier => SendOrder::Unknown,
            order => order,
        };
        Self { order, ..*self }.words(what)
    }
}

type Words = (Vec<String>, Option<OtherReading>);

impl KnownBefore {
    fn words(&self, verdict: Verdict) -> Words {
        match verdict {
            Verdict::New => self.new_words(),
            Verdict::OutOfOrder => self.late_words(),
            Verdict::Retransmission(kind) => self.repeat_words(kind),
            Verdict::NetworkDuplicate => (
                vec![if self.copied {
                    "every field equals a packet seen before, identification and timestamp included: one packet, delivered twice".into()
                } else {
                    "all its bytes have passed, and its identification or timestamp shows that it was sent no later than they were: one packet, delivered twice".into()
                }],
                self.other("retransmission", "a host that retransmits makes a new packet with a new identification and timestamp"),
            ),
            Verdict::DuplicateFrame => (
                vec!["every field equals a packet seen before at another point of the path (interface, VLAN or hop limit differ)".into()],
                self.other("retransmission", "the capture recorded one packet twice"),
            ),
            Verdict::PartlyNew => (
                vec![format!("{} of its {} bytes had not been sent before", self.unseen, self.seq_len)],
                None,
            ),
            Verdict::KeepAlive => (
                vec!["no byte or one, just below the highest byte sent, and everything was acknowledged".into()],
                self.other("zero-window-probe", "the peer's window is open"),
            ),
            Verdict::ZeroWindowProbe => (
                vec!["no byte or one, just below the highest byte sent, while the peer advertises a zero window".into()],
                self.other("keep-alive", "the peer's window is closed"),
            ),
            Verdict::OutsideWindow => (
                vec!["its sequence number is more than 2^30 bytes from the end of the stream (RFC 7323, section 2.3)".into()],
                None,
            ),
            Verdict::Acknowledgement => (self.acknowledgement_words(), None),
            Verdict::Reset => (vec!["RST is set".into()], None),
        }
    }

    fn other(&self, verdict: &'static str, because: &str) -> Option<OtherReading> {
        Some(OtherReading {
            verdict,
            because: because.into(),
        })
    }

    fn acknowledgement_words(&self) -> Vec<String> {
        let mut words = vec!["it carries no payload, SYN or FIN".to_owned()];
        if self.ahead > 0 {
            words.push(format!(
                "its sequence number is {} bytes beyond what was captured: those were sent before it",
                self.ahead
            ));
        }
        words
    }

    fn new_words(&self) -> Words {
        if self.ahead < 0 {
            return (
                vec!["its bytes were acknowledged before they were captured: the capture wrote the ACK first".into()],
                self.other("retransmission", "no copy of these bytes had passed"),
            );
        }
        let mut words = vec![if self.ahead == 0 {
            "it begins where the stream ended".to_owned()
        } else {
            format!(
                "it begins {} bytes beyond the end of the stream: it opens a gap",
                self.ahead
            )
        }];
        words.push(match self.trust {
            CounterTrust::PerConnection => {
                "the identification counter passed over no packet that could have carried it".into()
            }
            _ => "nothing shows that it was sent before".into(),
        });
        let other = self.other(
            "retransmission",
            "no earlier copy passed, and nothing suggests one that was lost upstream",
        );
        (words, other)
    }

    fn late_words(&self) -> Words {
        let compared = self.hole.as_ref().map_or_else(
            || "the bytes had arrived in a retransmission that was sent later".to_owned(),
            |hole| hole.words("which showed the gap"),
        );
        let mut words = vec![compared];
        if let (Some(hole), Some(rtt)) = (&self.hole, self.rtt) {
            words.push(format!(
                "it filled the gap after {}; a retransmission would have taken a round trip ({})",
                ms(hole.apart),
                ms(rtt)
            ));
        }
        (
            words,
            self.other(
                "retransmission",
                "it was sent before the segment that overtook it",
            ),
        )
    }

    fn repeat_words(&self, kind: RetransmissionKind) -> Words {
        let mut words = Vec::new();
        if let Some(hole) = &self.hole {
            words.push(hole.words_of_repeat("which showed the gap it fills"));
        } else if let Some(copy) = &self.copy {
            words.push(copy.words_of_repeat("the copy of the same bytes"));
        } else if self.ahead >= 0 {
            words.push("it begins where the stream ended, but its identification, the PSH flag before it or the timestamp it echoes shows that a copy was lost upstream".into());
        } else {
            words.push("all its bytes had passed before".into());
        }
        words.push(self.trigger(kind));
        if self.acknowledged {
            words.push("the receiver had acknowledged all of it before".into());
        } else if self.sacked {
            words.push("the receiver had reported all of it by SACK before".into());
        }
        let other = if self.hole.is_some() {
            self.other(
                "out-of-order",
                "it was sent after the segment that showed the gap, so it did not just arrive late",
            )
        } else if self.ahead >= 0 {
            self.other(
                "new",
                "a packet that must have carried these bytes was sent before and never arrived",
            )
        } else {
            self.other(
                "network-duplicate",
                "its identification or timestamp differs from the previous copy: the host made a new packet",
            )
        };
        (words, other)
    }

    fn trigger(&self, kind: RetransmissionKind) -> String {
        match kind {
            RetransmissionKind::Fast => format!(
                "sent on evidence of loss (RFC 5681, 6675, 8985): {}",
                if self.duplicate_acks > 0 || self.later_sacked {
                    format!(
                        "{} duplicate ACKs{}",
                        self.duplicate_acks,
                        if self.later_sacked {
                            ", later bytes reported by SACK"
                        } else {
                            ""
                        }
                    )
                } else {
                    "later bytes had passed here".into()
                }
            ),
            RetransmissionKind::Timeout => format!(
                "sent {} after the last progress; the retransmission timeout is about {} (RFC 6298)",
                ms(self.quiet),
                ms(self.rto)
            ),
            RetransmissionKind::TailLossProbe => format!(
                "the end of the flight, retransmitted after {} without an acknowledgment: a tail loss probe (RFC 8985, section 7)",
                ms(self.quiet)
            ),
            RetransmissionKind::Control => "a retransmitted SYN or FIN".into(),
            RetransmissionKind::Unknown if self.peer_window_closed => {
                "the peer's window is closed".into()
            }
            RetransmissionKind::Unknown => "the packets do not show what triggered it".into(),
        }
    }
}

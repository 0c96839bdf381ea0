//! `sender-limited`: a transfer is slow because its sender has nothing to send.

use std::time::Duration;

use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{bytes, many, ms, number, percent, time};

declare_rule! {
    /// A transfer waits for its own sender: nothing is in flight, and the window is open.
    ///
    /// ## What it means
    /// The program sends its data in pieces, with pauses between them: it reads from a slow disk or another
    /// service, or paces itself.
    ///
    /// ## Why it matters
    /// Neither the network nor the receiver can make such a transfer faster, so there is nothing to find there.
    ///
    /// ## How it is detected
    /// - One end sent 200 kB or more with next to no loss, and the other's window never closed.
    /// - For half of the transfer's time, and at least a second, everything sent had been acknowledged, the
    ///   window was open, and nothing more was sent.
    ///
    /// The silence between an acknowledgment and the next data proves it. Data in flight all the time would
    /// refute it. Info: a sender with nothing to send is often intended.
    ///
    /// ## What to do
    /// Find what the sender waits for. Give the connection larger pieces, or several at once.
    ///
    /// ## Known limits
    /// What the program does is not on the wire. Streamed media is paced on purpose. Where the peer answers each
    /// block, the time until its answer is a response time and not the sender's.
    ///
    /// ## References
    /// - RFC 7661 (application-limited senders)
    pub(crate) struct SenderLimited {
        id: "sender-limited",
        group: Application,
        title: "A transfer waits for its own sender",
        severity: Info,
        needs: [Tcp, BothDirections],
        clouded_by: [CaptureDrops],
        figures: [waited_ms: Milliseconds / Sum, sent_bytes: Bytes / Sum],
        thresholds: [
            min_bytes = 200000.0: "Size from which it is a transfer, not a conversation.",
            min_waited_ms = 1000.0: "Time in which the sender had nothing to send.",
            min_share_percent = 50.0: "Share of the transfer's time that this must take.",
        ],
    }
}

/// A transfer that waited for its sender.
pub(crate) struct Seen {
    sender: Direction,
    waited: Duration,
    share: f64,
}

impl Rule for SenderLimited {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        let [client, server] = &conn.halves;
        let sender = if server.unique_bytes >= client.unique_bytes {
            Direction::ServerToClient
        } else {
            Direction::ClientToServer
        };
        let (half, peer) = (conn.half(sender), conn.half(sender.reverse()));
        let split = &conn.time_split;
        let waited = split.sender_limited;
        let moving = split.request_transfer
            + split.response_transfer
            + split.recovery_fast
            + split.recovery_timeout
            + split.receiver_window
            + waited;
        let share = waited.as_secs_f64() / moving.as_secs_f64().max(f64::EPSILON);
        let is_free =
            half.retransmitted_segments * 100 <= half.segments_on_wire() && peer.zero_windows == 0;
        let Some(last) = half.last_data.filter(|_| is_free) else {
            return;
        };
        if number(half.unique_bytes) < ctx.threshold("min_bytes")
            || ms(waited) < ctx.threshold("min_waited_ms")
            || share * 100.0 < ctx.threshold("min_share_percent")
        {
            return;
        }
        out.push(
            Observation::new(conn, confidence::PROBABLE, Impact::NONE)
                .cause(format!("{} {}", conn.server, sender.sender()))
                .weight(ms(waited))
                .evidence_if(half.first_data, "first data of the transfer")
                .evidence(last, "last data of the transfer")
                .figure("waited_ms", ms(waited))
                .figure("sent_bytes", number(half.unique_bytes))
                .seen(Seen {
                    sender,
                    waited,
                    share,
                }),
        );
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let server = group.server();
        let best = &group.best().seen;
        let sender = best.sender.sender();
        let sent = bytes(group.figure("sent_bytes").unwrap_or_default());
        let (waited, share) = (time(ms(best.waited)), percent(best.share));
        draft
            .title(format!("Transfers wait for their own {sender} ({server})"))
            .summary(format!(
                "The {sender} sent {sent} on {} and had nothing to send for {share} of the time ({waited} on one of them): everything was acknowledged, the window was open, and neither loss nor the receiver held it back.",
                many(group.connections(), "connection"),
            ))
            .confidence(confidence::PROBABLE, "What the program waited for is not on the wire; `strace` on the sender would settle it.")
            .because(format!("nothing was in flight for {waited}, with the window open"))
            .not("window-limited", "the window had room")
            .not("packet-loss", "next to nothing was retransmitted")
            .advise(sender, "find what its program waits for: a disk, another service, a pause of its own")
            .verify(sender, "ss -tin", "app_limited, and a delivery rate far below the pacing rate")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, findings_of};

    fn transfer(limited_ms: u64, lost: u64) -> Connection {
        let builder = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .request(2.0, 100)
            .response(3.0, 1400);
        let builder = builder.with(|conn| {
            let server = &mut conn.halves[1];
            server.unique_bytes = 1_000_000;
            server.data_segments = 700;
            server.retransmitted_segments = lost;
            conn.time_split.response_transfer = Duration::from_millis(1_000);
            conn.time_split.sender_limited = Duration::from_millis(limited_ms);
        });
        builder.build()
    }

    #[test]
    fn a_sender_with_pauses_is_information() {
        let findings = findings_of("sender-limited", &[transfer(4_000, 0)]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Info);
    }

    #[test]
    fn a_busy_sender_and_a_lossy_path_are_not() {
        assert!(findings_of("sender-limited", &[transfer(200, 0)]).is_empty());
        assert!(findings_of("sender-limited", &[transfer(4_000, 100)]).is_empty());
    }
}

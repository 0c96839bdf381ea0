//! A SYN that meets an older connection of the same ports, which its peer still holds.
//!
//! The server answers with a plain ACK that bears the old connection's numbers, the client
//! refuses that with RST (RFC 9293 §3.10.7.3, §3.10.7.4; RFC 5961 §4) and sends its SYN again.
//! Neither segment says anything about the connection that is being opened, so both are kept
//! out of its sequence numbers and states.

use crate::connection::Role;
use crate::decode::TcpFields;
use crate::direction::Direction;
use crate::event::EventKind;
use crate::flow::tcp::TcpTracker;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::SenderState;
use crate::flow::tcp::verdict::Verdict;
use crate::time::Timestamp;

/// Octets that a capture may have missed before the first answer it shows. An older connection's
/// number lies as near above a new one's by chance once in 4,096 times.
const MISSED_AT_MOST: u64 = 1 << 20;

/// Nanoseconds between two ticks of the fastest timestamp clock in use, Linux's of microseconds
/// (RFC 7323 §5.4 asks for a millisecond at least).
const FASTEST_TICK: u64 = 1_000;

impl TcpTracker {
    /// Nothing but the client's SYN is known of this connection.
    pub(in crate::flow::tcp) fn is_opening(&self) -> bool {
        let client = &self.senders[Direction::ClientToServer.index()];
        self.role == Role::Syn
            && self.handshake.seen().syn_ack_count == 0
            && self.handshake.seen().ack.is_none()
            && client.stats.unique_bytes == 0
            && client.base == Some(client.snd_una)
    }

    /// Whether this packet belongs to such an older connection: an ACK that the client cannot
    /// take for an answer to its SYN, or the RST with which the client refuses it.
    pub(in crate::flow::tcp) fn is_of_older_connection(
        &self,
        tcp: &TcpFields,
        direction: Direction,
        time: Timestamp,
    ) -> bool {
        let client = &self.senders[Direction::ClientToServer.index()];
        let Some(iss) = client.base.filter(|_| self.is_opening()) else {
            return false;
        };
        match direction {
            // RFC 9293 §3.10.7.3: acceptable is ISS < SEG.ACK =< SND.NXT.
            Direction::ServerToClient => {
                let ack = client.lift(tcp.ack);
                tcp.flags.ack()
                    && !tcp.flags.syn()
                    && !tcp.flags.rst()
                    && (ack <= iss || ack > client.snd_max)
                    && !answers_what_was_missed(tcp, client, ack, time)
            }
            // Its number is that of the ACK it refuses, which a one-sided capture does not show.
            Direction::ClientToServer => {
                let seq = client.lift(tcp.seq);
                tcp.flags.rst() && !tcp.flags.ack() && (seq < iss || seq > client.snd_max)
            }
        }
    }

    /// Notes it.
    pub(in crate::flow::tcp) fn on_older_connection(&mut self, segment: &Segment<'_>) -> Verdict {
        self.event(segment, EventKind::ChallengeAck);
        if segment.tcp.flags.rst() {
            Verdict::Reset
        } else {
            Verdict::Acknowledgement
        }
    }
}

/// Whether the segment answers this connection after all, of which the capture missed what came
/// between: it echoes a TSval that the client's clock can have reached since its SYN or, where no
/// timestamps tell, acknowledges a little more than the SYN.
fn answers_what_was_missed(
    tcp: &TcpFields,
    client: &SenderState,
    ack: u64,
    time: Timestamp,
) -> bool {
    let syn = client.outstanding.front();
    let syn = syn.and_then(|syn| Some((syn.first.ts_val?, syn.first_sent)));
    let echo = tcp.timestamps.map(|(_, echo)| echo);
    match echo.zip(syn) {
        Some((echo, (sent, sent_at))) => {
            let ticks = u64::from(echo.wrapping_sub(sent));
            ticks <= time.nanos_since(sent_at) / FASTEST_TICK
        }
        None => (1..=MISSED_AT_MOST).contains(&ack.saturating_sub(client.snd_max)),
    }
}

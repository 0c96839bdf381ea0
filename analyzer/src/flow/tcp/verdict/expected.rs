//! The segment that was to be expected: it goes on where its sender was, on an established
//! connection on which nothing is open.
//!
//! Of a long transfer nearly every segment is one. What [`TcpTracker::judge`] asks about copies,
//! handshakes, silences, losses, probes, closed windows and ends cannot matter then, so that a few
//! comparisons spare it. All conditions are asked before anything is changed, and `judge` stays the
//! reference: with [`TcpSettings::judge_all`](crate::flow::tcp::TcpSettings::judge_all) it takes every segment, and tests hold the two
//! against each other.

use crate::decode::{Packet, TcpFields, TcpFlags};
use crate::direction::Direction;
use crate::event::SegmentRef;
use crate::flow::tcp::TcpTracker;
use crate::flow::tcp::account::silence::SILENCE_NS;
use crate::flow::tcp::segment::{Segment, low32};
use crate::flow::tcp::sender::rtt::Progress;
use crate::flow::tcp::sender::split_pair;
use crate::flow::tcp::verdict::acknowledge::advance;
use crate::flow::tcp::verdict::offload::count_data;
use crate::flow::tcp::verdict::{Verdict, recent_packets};
use crate::seq::SeqRange;

/// What is known of a segment that was to be expected.
#[derive(Clone, Copy, Debug)]
pub(in crate::flow::tcp) struct Expected {
    direction: Direction,
    /// Its lifted acknowledgement.
    ack: u64,
}

impl TcpTracker {
    /// What is known of a segment that [`Self::take_expected`] may take.
    pub(in crate::flow::tcp) fn expects(
        &self,
        packet: &Packet,
        tcp: &TcpFields,
        direction: Direction,
    ) -> Option<Expected> {
        const JUDGED: u8 = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST | TcpFlags::ACK;
        let [client, server] = &self.senders;
        let (sender, peer) = match direction {
            Direction::ClientToServer => (client, server),
            Direction::ServerToClient => (server, client),
        };
        if tcp.seq.0 != low32(sender.snd_max)
            || tcp.flags.0 & JUDGED != TcpFlags::ACK
            || tcp.sack_count > 0
            || tcp.options_cut
            || tcp.window_field == 0
        {
            return None;
        }
        let ack = peer.lift(tcp.ack);
        // A copy of a packet brings neither new octets nor a new acknowledgement.
        let goes_on = packet.payload_len > 0 || ack > peer.snd_una;
        if !goes_on || ack < peer.snd_una || ack > peer.snd_max {
            return None;
        }
        let elapsed = packet.time.signed_since(self.end);
        let answers_silence = self.silences.awaits_answer();
        let is_undisturbed = self.states.both_established()
            && (0..SILENCE_NS.cast_signed()).contains(&elapsed)
            && !answers_silence
            && self.resets.is_empty()
            && !self.is_opening()
            && !self.judge_all;
        let sends_on = sender.holes.is_empty()
            && sender.missing.is_empty()
            && sender.fin_at.is_none()
            && sender.window_closed_at.is_none()
            && sender.passed_over.is_empty()
            && sender.ip_ids.is_in_turn(packet.ip_id);
        let receives_all = peer.holes.is_empty()
            && peer.sacked.is_empty()
            && peer.sack_holes.is_empty()
            && peer.fin_at.is_none()
            && peer.duplicate_acks == 0
            && peer.unanswered_probes == 0
            && peer.repeated_to <= peer.snd_una
            && peer.window_closed_at.is_none();
        let is_expected = is_undisturbed && sends_on && receives_all;
        let is_known = sender.base.is_some() && peer.base.is_some();
        (is_expected && is_known).then_some(Expected { direction, ack })
    }

    /// Takes a segment that [`Self::expects`]: what [`Self::judge`] does, as far as it matters.
    pub(in crate::flow::tcp) fn take_expected(
        &mut self,
        packet: &Packet,
        tcp: &TcpFields,
        payload: &[u8],
        Expected { direction, ack }: Expected,
    ) -> Verdict {
        let (sender, peer) = split_pair(&mut self.senders, direction);
        let start = sender.snd_max;
        let segment = &Segment {
            packet,
            tcp,
            direction,
            start,
            end: start + u64::from(packet.payload_len),
            ack: Some(ack),
            reference: SegmentRef {
                frame: packet.frame,
                time: packet.time,
                direction,
                flags: tcp.flags,
                seq: tcp.seq,
                ack: tcp.ack,
                relative_seq: sender.relative(start),
                relative_ack: peer.relative(ack),
                payload_len: packet.payload_len,
                window: u32::from(tcp.window_field) << sender.shift,
            },
        };
        self.recent
            .remember(segment, recent_packets::signature(segment));
        self.count(segment);
        self.end = packet.time;
        self.last_frame = self.last_frame.max(packet.frame);
        if self.senders[direction.index()].ip_ids.expects(packet.ip_id) {
            self.note_expected_identification(segment);
        } else {
            self.note_identification(segment);
        }
        let progress = self.acknowledge_expected(segment, ack);
        self.note_progress(segment, progress);
        self.on_window(segment);
        let verdict = if packet.payload_len > 0 {
            let verdict = self.send_expected(segment);
            self.senders[direction.index()].note_contents(segment, payload);
            verdict
        } else {
            Verdict::Acknowledgement
        };
        self.note_data(segment, verdict);
        let scales_known = self.handshake.seen().tells_scales();
        self.split
            .advance(segment, verdict, &self.senders, scales_known);
        self.deliver(segment, payload, verdict);
        self.senders[direction.index()].stats.last_segment = Some(segment.reference);
        verdict
    }

    fn acknowledge_expected(&mut self, segment: &Segment<'_>, ack: u64) -> Option<Progress> {
        let time = segment.packet.time;
        let (sender, peer) = split_pair(&mut self.senders, segment.direction);
        peer.ack_passed = time;
        let progress = (ack > peer.snd_una).then(|| {
            sender.stats.acks_drawn += 1;
            let echo = segment.tcp.timestamps.map(|(_, echo)| echo);
            let round_trip = sender.rtt.min_ns();
            peer.acks_under_way.note(time, peer.snd_una, round_trip);
            advance(peer, ack, time, echo)
        });
        self.turns.acknowledged(segment.direction, ack, time);
        progress
    }

    fn send_expected(&mut self, segment: &Segment<'_>) -> Verdict {
        let payload = segment.packet.payload_len;
        let (sender, peer) = split_pair(&mut self.senders, segment.direction);
        sender.stats.payload_bytes += u64::from(payload);
        sender.stats.unique_bytes += u64::from(payload);
        count_data(segment, sender, peer);
        let repeats_before = self.repeats;
        let verdict = self.on_new(segment, SeqRange::new(segment.start, segment.end));
        self.senders[segment.direction.index()].note_sent(segment);
        if verdict == Verdict::New {
            self.note_burst(segment);
        }
        let sender = &self.senders[segment.direction.index()];
        self.turns.data(segment, sender);
        if self.repeats > repeats_before {
            self.turns.repeated(segment.packet.frame);
        }
        verdict
    }
}

//! Connections: the read model that rules see, and the trackers that fill it.
//!
//! `client` sent the SYN; where no SYN was captured the role is judged and
//! [`Connection::role`] says how. Sender variables mean *as inferred at the capture point*.
//! Every list here is bounded; the counters beside it tell the whole.

use std::time::Duration;

use crate::addr::{Endpoint, Transport};
use crate::app::{AppFacts, MessageUnit};
use crate::event::{Event, RetransmissionKind, SegmentRef};
use crate::quality::QualityKind;
use crate::time::Timestamp;

pub(crate) mod arena;
pub(crate) mod facts;
pub mod ip_fragment;
pub(crate) mod key;
pub(crate) mod table;
pub mod tcp;
pub(crate) mod translation;
pub mod udp;
pub(crate) mod young;

/// One direction of a connection, named by its sender.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// What the client sent.
    ClientToServer,
    /// What the server sent.
    ServerToClient,
}

impl Direction {
    /// Both, in the order of the JSON contract.
    pub const BOTH: [Self; 2] = [Self::ClientToServer, Self::ServerToClient];

    /// The other direction.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::ClientToServer => Self::ServerToClient,
            Self::ServerToClient => Self::ClientToServer,
        }
    }

    /// `0` for client to server, `1` for server to client.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Who sends in this direction: `client` or `server`.
    #[must_use]
    pub const fn sender(self) -> &'static str {
        match self {
            Self::ClientToServer => "client",
            Self::ServerToClient => "server",
        }
    }
}

/// How it was decided which end is the client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Its SYN was captured.
    Syn,
    /// The server's SYN-ACK was captured.
    SynAck,
    /// Judged by ports and by who spoke first.
    Judged,
}

/// How a connection ended in this capture (JSON contract).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Close {
    /// Both ends sent FIN.
    Fin,
    /// A RST ended it.
    Reset,
    /// Silent for longer than the tracker waits.
    Timeout,
    /// Still open when the capture ended.
    Open,
}

impl Close {
    /// The name in the JSON contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Open => "open",
        }
    }
}

/// Where the capture was taken, seen from one connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CapturePoint {
    /// At or next to the client.
    Client,
    /// At or next to the server.
    Server,
    /// Somewhere between.
    Between,
    /// The packets do not tell.
    Unknown,
}

impl CapturePoint {
    /// Words for a sentence: `at the client`, ….
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Client => "at the client",
            Self::Server => "at the server",
            Self::Between => "between client and server",
            Self::Unknown => "at an unknown point",
        }
    }
}

/// The states of RFC 9293 §3.3.2, for one end, as an observer sees them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TcpState {
    /// LISTEN (only a server's state before a SYN; never reported with a duration).
    Listen,
    /// SYN-SENT.
    SynSent,
    /// SYN-RECEIVED.
    SynReceived,
    /// ESTABLISHED.
    Established,
    /// FIN-WAIT-1.
    FinWait1,
    /// FIN-WAIT-2.
    FinWait2,
    /// CLOSE-WAIT.
    CloseWait,
    /// CLOSING.
    Closing,
    /// LAST-ACK.
    LastAck,
    /// TIME-WAIT.
    TimeWait,
    /// CLOSED.
    Closed,
}

impl TcpState {
    /// All states, in the order in which reports list them.
    pub const ALL: [Self; 11] = [
        Self::Listen,
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::Closing,
        Self::LastAck,
        Self::TimeWait,
        Self::Closed,
    ];

    /// RFC spelling, such as `FIN-WAIT-2`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::CloseWait => "CLOSE-WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST-ACK",
            Self::TimeWait => "TIME-WAIT",
            Self::Closed => "CLOSED",
        }
    }
}

/// One end in one state for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateSpan {
    /// Whose socket: the client's is `ClientToServer`'s sender.
    pub end: Direction,
    /// The state.
    pub state: TcpState,
    /// When it was entered, as seen at the capture point.
    pub from: Timestamp,
    /// When it was left; `None` while it lasted to the end of what was captured.
    pub to: Option<Timestamp>,
    /// Inferred rather than seen (for instance TIME-WAIT running out).
    pub inferred: bool,
}

/// The handshake as captured. Lists hold the first eight of each; counts tell the whole.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Handshake {
    /// SYNs of the client, the first copy and its retransmissions.
    pub syns: Vec<SegmentRef>,
    /// SYN-ACKs of the server.
    pub syn_acks: Vec<SegmentRef>,
    /// The client's ACK that completes the handshake.
    pub ack: Option<SegmentRef>,
    /// How many SYNs were seen.
    pub syn_count: u32,
    /// How many SYN-ACKs were seen.
    pub syn_ack_count: u32,
    /// SYN-ACKs sent after the client's ACK had already passed the capture point.
    pub syn_acks_after_ack: u32,
    /// The SYN's options were cut or the SYN was not captured: scale and MSS are unknown.
    pub options_unknown: bool,
}

impl Handshake {
    /// Whether both SYNs were seen whole, so that the scale of the windows is known
    /// (RFC 7323 §2.2).
    #[must_use]
    pub const fn tells_scales(&self) -> bool {
        self.syn_count > 0 && self.syn_ack_count > 0 && !self.options_unknown
    }
}

/// A run of data in one direction without data in the other between.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Span {
    /// First segment with new data.
    pub first: SegmentRef,
    /// Last segment with new data.
    pub last: SegmentRef,
    /// Octets of new data.
    pub octets: u64,
}

/// A request and its response, read from the direction changes of the payload.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Turn {
    /// The client's data.
    pub request: Span,
    /// When the server's acknowledgement of the whole request passed the capture point.
    pub request_acked: Option<Timestamp>,
    /// The server's data that followed.
    pub response: Option<Span>,
    /// When the client's acknowledgement of all response data so far passed.
    pub response_acked: Option<Timestamp>,
}

impl Turn {
    /// From the last request octet to the first response octet, at the capture point.
    #[must_use]
    pub fn response_time(&self) -> Option<Duration> {
        self.response
            .map(|response| response.first.time.since(self.request.last.time))
    }
}

/// The turns of a connection: all counted, the telling ones kept.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Turns {
    /// How many were opened.
    pub count: u64,
    /// How many got a response.
    pub answered: u64,
    /// Data the server sent before the client sent any.
    pub greeting: Option<Span>,
    /// The latest turn, answered or pending.
    pub last: Option<Turn>,
    /// The turn before the latest.
    pub before_last: Option<Turn>,
    /// The slowest answered ones by response time, slowest first, at most eight.
    pub slowest: Vec<Turn>,
    /// Response times of all answered turns, counted per bucket.
    pub response_times: Histogram,
}

impl Turns {
    /// The latest turn, when its request has no response at all.
    #[must_use]
    pub fn pending(&self) -> Option<&Turn> {
        self.last.as_ref().filter(|turn| turn.response.is_none())
    }
}

/// Durations counted in buckets that grow by about 9 % (eight per doubling).
///
/// Merging adds counts, so any grouping of connections gives the same histogram.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Histogram {
    /// `(bucket, count)` in bucket order; only buckets that hold something.
    buckets: Vec<(u16, u64)>,
}

impl Histogram {
    /// Buckets per doubling of the duration.
    const PER_OCTAVE: f64 = 8.0;

    /// Counts one duration.
    pub fn add(&mut self, duration: Duration) {
        self.add_count(Self::bucket_of(duration), 1);
    }

    /// Adds all counts of another histogram.
    pub fn merge(&mut self, other: &Self) {
        for &(bucket, count) in &other.buckets {
            self.add_count(bucket, count);
        }
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// The duration below which the share `quantile` (0–1) of the counted ones lies: the middle
    /// of its bucket, so right within about 5 %. `None` when nothing was counted.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let total = self.count();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank within the count"
        )]
        let rank = ((total as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64).clamp(1, total.max(1));
        let mut below = 0;
        self.buckets.iter().find_map(|&(bucket, count)| {
            below += count;
            (below >= rank).then(|| Self::middle_of(bucket))
        })
    }

    /// `(middle of bucket, count)` in order.
    pub fn iter(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.buckets
            .iter()
            .map(|&(bucket, count)| (Self::middle_of(bucket), count))
    }

    fn add_count(&mut self, bucket: u16, count: u64) {
        match self
            .buckets
            .binary_search_by_key(&bucket, |(known, _)| *known)
        {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    fn bucket_of(duration: Duration) -> u16 {
        let micros = duration.as_secs_f64() * 1e6;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "log2 of at most 2^64 times 8"
        )]
        let bucket = ((micros + 1.0).log2() * Self::PER_OCTAVE) as u16;
        bucket
    }

    fn middle_of(bucket: u16) -> Duration {
        let micros = ((f64::from(bucket) + 0.5) / Self::PER_OCTAVE).exp2() - 1.0;
        Duration::from_secs_f64(micros.max(0.0) / 1e6)
    }
}

/// A hole in one direction's octets that kept later ones from the application.
#[derive(Clone, PartialEq, Debug)]
pub struct HoleEpisode {
    /// Whose octets were missing.
    pub direction: Direction,
    /// First evidence of data behind the hole: the later segment (receiver side) or the ACK with
    /// the first SACK block or third duplicate (sender side).
    pub opened: SegmentRef,
    /// What filled it: the retransmission (receiver side) or the ACK that passed it (sender side).
    pub filled: SegmentRef,
    /// The first retransmission that went into the hole, when captured.
    pub repair: Option<SegmentRef>,
    /// How the repair was triggered.
    pub repair_kind: RetransmissionKind,
    /// Segments sent again for this hole.
    pub repairs: u32,
    /// Octets missing when the hole opened.
    pub missing_octets: u64,
    /// Octets that waited behind it when it was filled.
    pub blocked_octets: u64,
    /// Segments that waited behind it when it was filled.
    pub blocked_segments: u32,
    /// From the first octet blocked until the hole was filled, brought to the receiver's view.
    pub stall: Duration,
    /// Judged from SACK or duplicate ACKs at the sender's side.
    pub seen_at_sender: bool,
    /// Messages that could be read only when it was filled; of HTTP/2: the streams open then.
    /// 0 where the payload was not understood, and at the sender's side.
    pub blocked_messages: u64,
    /// What `blocked_messages` counts.
    pub message_unit: MessageUnit,
}

/// All holes of a connection: counted whole, the longest eight kept.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Holes {
    /// How many holes were opened and filled by a retransmission.
    pub count: u64,
    /// Sum of their stalls.
    pub stall_total: Duration,
    /// The longest stall.
    pub stall_max: Duration,
    /// Octets that waited, summed over holes.
    pub blocked_octets: u64,
    /// The longest, longest first.
    pub longest: Vec<HoleEpisode>,
}

/// The cause of a reset (RULES.md, reset taxonomy).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ResetKind {
    /// Answers a SYN: nobody listens.
    Refused,
    /// An application closed with `SO_LINGER` 0 (or was told to abort).
    LingerZero,
    /// An application closed with unread data in its receive queue.
    UnreadData,
    /// Data met a socket that its application had closed.
    AbortedAfterClose,
    /// The peer has no such connection (restart, idle drop, other host).
    HalfOpen,
    /// Keep-alive or user timeout ran out.
    KeepaliveExpired,
    /// Answers a segment to a connection in TIME-WAIT, or a collision of incarnations.
    TimeWait,
    /// Not sent by the end whose address it bears.
    Forged,
    /// The packets do not tell.
    Unknown,
}

impl ResetKind {
    /// The name used in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::LingerZero => "linger-zero",
            Self::UnreadData => "unread-data",
            Self::AbortedAfterClose => "aborted-after-close",
            Self::HalfOpen => "half-open",
            Self::KeepaliveExpired => "keepalive-expired",
            Self::TimeWait => "time-wait",
            Self::Forged => "forged",
            Self::Unknown => "unknown",
        }
    }
}

/// How a RST was made, from its own fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetShape {
    /// RST+ACK at the sender's next sequence number: an end gave up by itself.
    Active,
    /// Answers a segment that no socket wanted; sequence number taken from its ACK.
    Reply,
    /// Neither fits.
    Unclear,
}

/// One reset (with its repetitions) and the evidence for its kind.
#[derive(Clone, PartialEq, Debug)]
pub struct Reset {
    /// The first RST of this kind from this end.
    pub segment: SegmentRef,
    /// RST segments of this end and kind.
    pub count: u32,
    /// Judged cause.
    pub kind: ResetKind,
    /// How sure, 0–1.
    pub confidence: f64,
    /// The next best reading and why it lost.
    pub runner_up: Option<(ResetKind, &'static str)>,
    /// Active or reply.
    pub shape: ResetShape,
    /// The segment of the peer that a reply reset answers.
    pub answers: Option<SegmentRef>,
    /// Octets the resetter had sent and did not know to be acknowledged when it sent the RST:
    /// acknowledgements that passed less than a round trip before had not reached it.
    pub bytes_unacked: u64,
    /// Window of the RST minus window of the resetter's last ACK, in octets, when both are known
    /// and the shape is active: what close() emptied from the receive queue.
    pub window_jump: Option<i64>,
    /// Octets of the peer that arrived after the resetter's last data: never answered.
    pub unanswered_octets: u64,
    /// The resetter's own FIN came before.
    pub own_fin_before: bool,
    /// The peer's FIN came before.
    pub peer_fin_before: bool,
    /// Silence on the connection right before the RST (and before the segment it answers).
    pub idle_before: Duration,
    /// Hop limit of the RST.
    pub hop_limit: u8,
    /// Hop limit of the same end's other packets, when one value is typical.
    pub usual_hop_limit: Option<u8>,
    /// The supposed sender carried on with data or ACKs afterwards.
    pub sender_carried_on: bool,
}

/// Counters and extremes of one direction; all about what its *sender* sent.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Half {
    /// Packets seen (copies made by the capture not counted).
    pub packets: u64,
    /// Octets on the wire of those packets.
    pub wire_bytes: u64,
    /// Sum of payload lengths of every frame seen, copies included, as tshark sums `tcp.len`.
    pub payload_bytes: u64,
    /// Distinct payload octets: the stream's length as far as seen.
    pub unique_bytes: u64,
    /// Segments sent again (data, SYN, FIN), see the JSON contract.
    pub retransmitted_segments: u64,
    /// Payload octets sent again.
    pub retransmitted_bytes: u64,
    /// Retransmissions by kind: fast, timeout, tail loss probe, control, unknown.
    pub retransmissions_by_kind: [u64; 5],
    /// Retransmissions the receiver did not need.
    pub spurious_retransmissions: u64,
    /// Originals that arrived after a later one.
    pub out_of_order: u64,
    /// Copies made by the network.
    pub network_duplicates: u64,
    /// Copies made by the capture (the same packet seen at two points).
    pub duplicate_frames: u64,
    /// Keep-alive probes sent.
    pub keep_alives: u64,
    /// Zero-window probes sent.
    pub zero_window_probes: u64,
    /// Duplicate ACKs sent (RFC 5681 §2).
    pub duplicate_acks: u64,
    /// Payload octets the peer acknowledged that never passed the capture point.
    pub missing_octets: u64,
    /// Frames of this direction cut by the snap length.
    pub cut_frames: u64,
    /// Segments longer than the peer's MSS allows: captured before segmentation.
    pub oversized_segments: u64,
    /// Smallest round trip of this direction's sender visible at the capture point.
    pub rtt_min: Option<Duration>,
    /// Largest one.
    pub rtt_max: Option<Duration>,
    /// Smoothed round trip at the end (RFC 6298 §2).
    pub srtt: Option<Duration>,
    /// Number of samples.
    pub rtt_samples: u64,
    /// Retransmission timeout estimate at the end (RFC 6298 §2, Linux minimum 200 ms).
    pub rto: Option<Duration>,
    /// MSS option this end sent.
    pub mss: Option<u16>,
    /// Window shift this end sent; `None` when absent or unseen.
    pub window_shift: Option<u8>,
    /// This end sent SACK-permitted.
    pub sack_permitted: bool,
    /// This end sends timestamps.
    pub timestamps: bool,
    /// Largest payload of one segment or datagram.
    pub largest_payload: u32,
    /// Smallest window this end advertised after the handshake.
    pub window_min: Option<u32>,
    /// Largest window this end advertised.
    pub window_max: Option<u32>,
    /// Times this end's window closed.
    pub zero_windows: u64,
    /// Time this end's window was closed.
    pub zero_window_total: Duration,
    /// Longest time it was closed.
    pub zero_window_max: Duration,
    /// First FIN.
    pub fin: Option<SegmentRef>,
    /// When the peer's acknowledgement of the FIN passed.
    pub fin_acked: Option<Timestamp>,
    /// First segment with payload.
    pub first_data: Option<SegmentRef>,
    /// Last segment with new payload.
    pub last_data: Option<SegmentRef>,
    /// Last segment of any kind.
    pub last_segment: Option<SegmentRef>,
    /// Octets sent and not acknowledged when the connection ended.
    pub unacked_at_end: u64,
    /// The hop limit most of its packets bear.
    pub hop_limit: Option<u8>,
    /// Segments with payload, retransmissions included, copies made by the capture not.
    pub data_segments: u64,
    /// Of the needed retransmissions: those whose lost copy never passed the capture point.
    pub lost_before_capture: u64,
    /// Retransmissions that were lost before the capture point in their turn, as far as the
    /// sender's identification counter shows them.
    pub repeats_lost_before_capture: u64,
    /// Of the needed retransmissions: those whose lost copy had passed the capture point.
    pub lost_after_capture: u64,
    /// What this end sent after the latest pause of the connection's payload; see [`Burst`].
    pub last_burst: Option<Burst>,
    /// Largest payload of one segment that the peer acknowledged (by ACK or SACK).
    pub largest_acked_payload: u32,
    /// The segment at the oldest unacknowledged octet when the connection ended.
    pub stuck: Option<Stuck>,
    /// Small segments held back until the peer's delayed acknowledgement came.
    pub held_writes: HeldWrites,
    /// Round trips measured while at least eight segments were in flight.
    pub loaded_rtts: Histogram,
    /// Round trips measured with at most two segments in flight, after the first loaded one.
    pub unloaded_rtts: Histogram,
    /// The longest loaded round trip: the acknowledgement that ended it.
    pub longest_rtt_at: Option<SegmentRef>,
    /// Segments after which less than two more fitted into the peer's window.
    pub window_full_segments: u64,
    /// The first of them.
    pub window_full_first: Option<SegmentRef>,
    /// Largest number of octets in flight when a segment had filled the window.
    pub window_full_octets: u64,
}

/// The payload an end sent after the latest pause: at least 100 ms and three smoothed round trips
/// in which neither end sent new payload. Tells what an idle close was preceded by, even when
/// the closing end said goodbye first (a TLS alert, an HTTP/2 GOAWAY).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Burst {
    /// The last segment with new payload before the pause, of either end; `None` when the burst
    /// is the first payload of the connection.
    pub before: Option<SegmentRef>,
    /// First segment of the burst.
    pub first: SegmentRef,
    /// Octets of new payload this end sent in the burst.
    pub octets: u64,
}

/// A segment that was sent and never acknowledged.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Stuck {
    /// The first copy captured.
    pub first: SegmentRef,
    /// The last copy captured (the same as `first` when it was sent once).
    pub last: SegmentRef,
    /// How often it was sent.
    pub copies: u32,
    /// Later octets of this end were acknowledged by SACK, or smaller segments got through.
    pub smaller_passed: bool,
}

/// Write-write-read against delayed acknowledgements: a small segment is outstanding, the rest of
/// the message waits for its ACK, which comes alone and late; then the rest is sent at once.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HeldWrites {
    /// How often this end's rest waited (at least 20 ms and more than 1.5 round trips).
    pub count: u64,
    /// How long, from the small segment to the acknowledgement that released the rest.
    pub waits: Histogram,
    /// The first occurrence: the small segment, the late acknowledgement, the released rest.
    pub first: Option<[SegmentRef; 3]>,
}

/// A time in which no packet of the connection passed, keep-alive probes included.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct IdleGap {
    /// Last packet before it.
    pub before: SegmentRef,
    /// First packet after it.
    pub after: SegmentRef,
    /// The other end sent something after `after` other than a RST: the connection lived on.
    pub survived: bool,
}

impl IdleGap {
    /// How long it lasted.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.after.time.since(self.before.time)
    }
}

/// Silences of at least one second.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct IdleGaps {
    /// How many.
    pub count: u64,
    /// The longest one that the connection survived.
    pub longest_survived: Option<IdleGap>,
    /// The latest one, survived or not.
    pub last: Option<IdleGap>,
    /// How many were none: the capture's clock was set forward, as both ends' timestamps show.
    pub clock_jumps: u64,
    /// At least how far.
    pub clock_jump_max: Duration,
}

/// A connection's whole life by what it was waiting for; the parts add up to the duration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TimeSplit {
    /// SYN to the completing ACK.
    pub handshake: Duration,
    /// After a response (or the handshake), before the next request: the client thinks.
    pub client_think: Duration,
    /// First to last octet of requests, undisturbed.
    pub request_transfer: Duration,
    /// Request complete, response not begun: the server thinks.
    pub server_think: Duration,
    /// First to last octet of responses, undisturbed.
    pub response_transfer: Duration,
    /// Waiting for repairs of loss, by fast retransmission: only what no other data came in.
    pub recovery_fast: Duration,
    /// Waiting for repairs of loss, by timeout or tail loss probe.
    pub recovery_timeout: Duration,
    /// More was to be sent, but the receiver's window was closed or full (`tcpi_rwnd_limited`).
    pub receiver_window: Duration,
    /// Transfer in progress, nothing in flight and window open: the sender had nothing to send.
    pub sender_limited: Duration,
    /// Nothing for longer than any of these explain.
    pub idle: Duration,
}

impl TimeSplit {
    /// All parts together: the connection's duration.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.handshake
            + self.client_think
            + self.request_transfer
            + self.server_think
            + self.response_transfer
            + self.recovery_fast
            + self.recovery_timeout
            + self.receiver_window
            + self.sender_limited
            + self.idle
    }
}

/// Datagrams of one size from the client and what became of them.
#[derive(Clone, PartialEq, Debug)]
pub struct SizeClass {
    /// UDP payload octets of the request.
    pub request_len: u32,
    /// How many were sent.
    pub requests: u64,
    /// How many were answered.
    pub answered: u64,
    /// Smallest answer.
    pub answer_min: u32,
    /// Largest answer.
    pub answer_max: u32,
    /// First request of this size.
    pub first_request: SegmentRef,
    /// Its answer, or that of the first answered one.
    pub first_answer: Option<SegmentRef>,
}

/// What is kept of a UDP flow beyond its counters.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct UdpFacts {
    /// Request sizes and their answers, by size, at most 128; further sizes are only counted.
    pub size_classes: Vec<SizeClass>,
    /// `(UDP payload octets, requests)` by size, at most 2048 sizes.
    pub size_counts: Vec<(u32, u64)>,
    /// Requests whose size found no place in `size_counts` any more.
    pub uncounted_requests: u64,
    /// Largest number of client datagrams in one second of capture time.
    pub peak_per_second: u64,
    /// Client datagrams per second, median over seconds between first and last.
    pub median_per_second: f64,
    /// Seconds with at least one client datagram.
    pub active_seconds: u64,
    /// Answer time (request to next answer), counted per bucket.
    pub response_times: Histogram,
    /// A protocol recognised by content that uses one flow by design (`quic`, `rtp`, `vxlan`,
    /// `wireguard`, …) or another name (`dns`); `None` when unknown.
    pub protocol: Option<&'static str>,
    /// Datagrams that came in fragments and were reassembled.
    pub reassembled: u64,
    /// Datagrams of which a fragment never came: `(first frame, fragments seen)`, at most eight.
    pub incomplete: Vec<(SegmentRef, u32)>,
    /// How many datagrams were never complete.
    pub incomplete_count: u64,
}

/// One connection (one incarnation of a 4-tuple) with everything that is known about it.
#[derive(Clone, PartialEq, Debug)]
pub struct Connection {
    /// TCP or UDP.
    pub transport: Transport,
    /// Who opened it.
    pub client: Endpoint,
    /// Who was called.
    pub server: Endpoint,
    /// How the roles were decided.
    pub role: Role,
    /// Frame of its first packet: also its identity, and the order of connections.
    pub first_frame: u64,
    /// Frame of its last packet.
    pub last_frame: u64,
    /// Time of its first packet.
    pub start: Timestamp,
    /// Time of its last packet.
    pub end: Timestamp,
    /// `[client to server, server to client]`; see [`Connection::half`].
    pub halves: [Half; 2],
    /// How it ended.
    pub close: Close,
    /// The handshake.
    pub handshake: Handshake,
    /// Request/response turns.
    pub turns: Turns,
    /// Loss that held data back.
    pub holes: Holes,
    /// Resets, at most eight entries, in order.
    pub resets: Vec<Reset>,
    /// Both ends' states over time.
    pub states: Vec<StateSpan>,
    /// Other facts in frame order, capped.
    pub events: Vec<Event>,
    /// Events beyond the cap.
    pub events_dropped: u64,
    /// Where it was captured.
    pub capture_point: CapturePoint,
    /// How sure the capture point is, 0–1.
    pub capture_point_confidence: f64,
    /// The same 4-tuple was used before in this capture.
    pub port_reuse: bool,
    /// The two directions bore different server addresses: the address the SYN went to, when it
    /// is not `server` (RULES.md 6).
    pub translated_from: Option<Endpoint>,
    /// What the payload is.
    pub app: AppFacts,
    /// Silences of a second or more.
    pub idle_gaps: IdleGaps,
    /// UDP only.
    pub udp: Option<UdpFacts>,
    /// Where the time went (TCP).
    pub time_split: TimeSplit,
}

impl Connection {
    /// What `direction`'s sender sent.
    #[must_use]
    pub fn half(&self, direction: Direction) -> &Half {
        &self.halves[direction.index()]
    }

    /// What the client sent.
    #[must_use]
    pub fn from_client(&self) -> &Half {
        self.half(Direction::ClientToServer)
    }

    /// What the server sent.
    #[must_use]
    pub fn from_server(&self) -> &Half {
        self.half(Direction::ServerToClient)
    }

    /// First to last packet.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.end.since(self.start)
    }

    /// Packets of both directions.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.halves.iter().map(|half| half.packets).sum()
    }

    /// Only one direction was captured although the other is proven to exist (its data is
    /// acknowledged), or nothing can be said.
    #[must_use]
    pub fn is_one_sided(&self) -> bool {
        self.halves.iter().any(|half| half.packets == 0)
    }

    /// Whether a limit of the capture touches this connection. Those of the capture as a whole
    /// (its clock, its end) touch every one.
    #[must_use]
    pub fn is_touched_by(&self, limit: QualityKind) -> bool {
        let any = |holds: fn(&Half) -> bool| self.halves.iter().any(holds);
        match limit {
            QualityKind::CaptureDrops => any(|half| half.missing_octets > 0),
            QualityKind::DuplicateFrames => {
                any(|half| half.duplicate_frames > 0) || self.is_mirrored()
            }
            QualityKind::Snaplen => any(|half| half.cut_frames > 0),
            QualityKind::OneSided => self.is_one_sided(),
            QualityKind::Offload => any(|half| half.oversized_segments > 0),
            QualityKind::ClockStep | QualityKind::CutShort | QualityKind::Summed => true,
        }
    }

    /// At least a quarter of all packets are copies of others, in every field: no network does
    /// that, but a mirror port that copies packets as they enter and as they leave.
    #[must_use]
    pub fn is_mirrored(&self) -> bool {
        /// Fewer may be chance.
        const LEAST: u64 = 4;
        let copies: u64 = self.halves.iter().map(|half| half.network_duplicates).sum();
        copies >= LEAST && copies * 4 >= self.packets()
    }

    /// A SYN or SYN-ACK was captured.
    #[must_use]
    pub fn has_handshake(&self) -> bool {
        self.handshake.syn_count + self.handshake.syn_ack_count > 0
    }

    /// The whole network round trip, as well as the capture point can tell: the client's part
    /// and the server's part together. `None` when neither was measured.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        match (self.from_client().rtt_min, self.from_server().rtt_min) {
            (Some(client), Some(server)) => Some(client + server),
            (one, other) => one.or(other),
        }
    }

    /// Seconds-to-frame text `client → server` used in titles.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} → {}", self.client, self.server)
    }
}

//! The read model of a connection: all that rules see of it.
//!
//! `client` sent the SYN; where no SYN was captured the role is judged and
//! [`Connection::role`] says how. Sender variables mean *as inferred at the capture point*.
//! Every list here is bounded; the counters beside it tell the whole.

mod ending;
mod half;
mod hole;
mod idle_gap;
mod process;
mod proxied_to;
mod reset;
mod state;
mod time_split;
mod turn;
mod udp_facts;

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::addr::{Endpoint, Transport};
use crate::app::{AppFacts, HttpExchange, ServiceCall};
use crate::direction::Direction;
use crate::event::{Event, SegmentRef};
use crate::quality::QualityKind;
use crate::time::Timestamp;

pub use crate::histogram::Histogram;
pub use ending::{EndedBy, Ending};
pub use half::{
    Burst, CopyMarks, CounterTrust, DataConflict, Drain, Half, HeldWrites, LateAcks, Outage,
    Probes, Stuck, SuspectedRepeats,
};
pub use hole::{HoleEpisode, Holes, Waits};
pub use idle_gap::{IdleGap, IdleGaps};
pub use process::Process;
pub use proxied_to::ProxiedTo;
pub use reset::{Reset, ResetKind, ResetShape};
pub use state::{StateSpan, TcpState};
pub use time_split::TimeSplit;
pub use turn::{AnsweredTurn, Span, Turn, TurnRun, Turns};
pub use udp_facts::{SizeClass, UdpFacts};

/// How it was decided which end is the client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Its SYN was captured.
    Syn,
    /// The server's SYN-ACK was captured.
    SynAck,
    /// Judged by ports and by who spoke first.
    Judged,
}

/// How a connection ended in this capture (JSON contract).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
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

/// The handshake as captured. Lists hold the first eight of each; counts tell the whole.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
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
    /// SYN-ACKs that echo a newer timestamp than any SYN bore: the server had received a later
    /// segment of the client, wherever this was captured (RFC 7323 §4.3).
    pub syn_acks_after_arrival: u32,
    /// The SYN's options were cut or the SYN was not captured: scale and MSS are unknown.
    pub options_unknown: bool,
    /// The timestamp of the client's latest SYN (RFC 7323 §3).
    pub syn_timestamp: Option<u32>,
    /// The timestamp of the server's first SYN-ACK.
    pub syn_ack_timestamp: Option<u32>,
    /// Ends whose SYN offers Multipath TCP (RFC 8684): with both, the octets belong to a stream that
    /// other connections carry as well.
    pub multipath_offers: u8,
}

impl Handshake {
    /// Whether both SYNs were seen whole, so that the scale of the windows is known
    /// (RFC 7323 §2.2).
    #[must_use]
    pub const fn tells_scales(&self) -> bool {
        self.syn_count > 0 && self.syn_ack_count > 0 && !self.options_unknown
    }
}

/// One connection (one incarnation of a 4-tuple) with everything that is known about it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
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
    /// Other facts in frame order, capped: whoever concludes from what is *not* here asks
    /// [`Self::all_events`] or [`Self::events_within`].
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
    /// is not `server`.
    pub translated_from: Option<Endpoint>,
    /// What the payload is.
    pub app: AppFacts,
    /// Silences of a second or more.
    pub idle_gaps: IdleGaps,
    /// UDP only.
    pub udp: Option<UdpFacts>,
    /// Where the time went (TCP).
    pub time_split: TimeSplit,
    /// The program at one of its ends, where it is known.
    pub process: Option<Box<Process>>,
    /// Where a proxy carries it on, when the proxy's own capture states that.
    pub proxied_to: Option<Box<ProxiedTo>>,
}

impl Connection {
    /// One of which nothing is known, to be filled where it lies: kilobytes would be copied if it were
    /// put together of parts.
    #[inline(never)]
    pub(crate) fn unseen() -> Self {
        let nobody = Endpoint::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Self {
            transport: Transport::Tcp,
            client: nobody,
            server: nobody,
            role: Role::Judged,
            first_frame: 0,
            last_frame: 0,
            start: Timestamp::default(),
            end: Timestamp::default(),
            halves: Default::default(),
            close: Close::Open,
            handshake: Handshake::default(),
            turns: Turns::default(),
            holes: Holes::default(),
            resets: Vec::new(),
            states: Vec::new(),
            events: Vec::new(),
            events_dropped: 0,
            capture_point: CapturePoint::Unknown,
            capture_point_confidence: 0.0,
            port_reuse: false,
            translated_from: None,
            app: AppFacts::default(),
            idle_gaps: IdleGaps::default(),
            udp: None,
            time_split: TimeSplit::default(),
            process: None,
            proxied_to: None,
        }
    }

    /// What `direction`'s sender sent.
    #[must_use]
    pub fn half(&self, direction: Direction) -> &Half {
        &self.halves[direction.index()]
    }

    /// Whether the response of an exchange found no client: it had reset the connection, or closed it and
    /// then reset it at what came.
    #[must_use]
    pub fn came_too_late(&self, exchange: &HttpExchange) -> bool {
        let Some(response) = exchange.response_start else {
            return false;
        };
        let mut resets = self.resets.iter().map(|reset| reset.segment);
        let closed = self.from_client().fin;
        let is_closed = closed.is_some_and(|fin| fin.frame < response.frame);
        resets.any(|reset| {
            let by_client = reset.direction == Direction::ClientToServer;
            by_client && (is_closed || reset.frame < response.frame)
        })
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
    #[inline]
    pub fn packets(&self) -> u64 {
        self.halves.iter().map(|half| half.packets).sum()
    }

    /// Only one direction was captured although the other is proven to exist (its data is
    /// acknowledged), or nothing can be said.
    #[must_use]
    #[inline]
    pub fn is_one_sided(&self) -> bool {
        self.halves.iter().any(|half| half.packets == 0)
    }

    /// All events in frame order; `None` when there were more than are kept, so that what is not in
    /// the list may have happened all the same.
    #[must_use]
    pub fn all_events(&self) -> Option<&[Event]> {
        (self.events_dropped == 0).then_some(&self.events[..])
    }

    /// The events of these frames; `None` when some of them may not have been kept.
    #[must_use]
    pub fn events_within(
        &self,
        frames: RangeInclusive<u64>,
    ) -> Option<impl Iterator<Item = &Event>> {
        let kept_before = self.events.last().map_or(0, |last| last.segment.frame);
        let known = self.events_dropped == 0 || *frames.end() < kept_before;
        let within = move |event: &&Event| frames.contains(&event.segment.frame);
        known.then(|| self.events.iter().filter(within))
    }

    /// Whether a limit of the capture touches this connection. Those of the capture as a whole
    /// (its clock, its end) touch every one.
    #[must_use]
    #[inline]
    pub fn is_touched_by(&self, limit: QualityKind) -> bool {
        let any = |holds: fn(&Half) -> bool| self.halves.iter().any(holds);
        match limit {
            QualityKind::CaptureDrops => any(|half| half.missing_octets > 0),
            QualityKind::DuplicateFrames => {
                any(|half| half.duplicate_frames > 0) || self.is_mirrored()
            }
            QualityKind::Snaplen => any(|half| half.cut_frames > 0),
            QualityKind::OneSided => self.is_one_sided(),
            QualityKind::CaptureDisorder => any(|half| half.written_late > 0),
            QualityKind::Offload => any(|half| half.oversized_segments > 0),
            QualityKind::ClockStep
            | QualityKind::CutShort
            | QualityKind::BadChecksum
            | QualityKind::Summed
            | QualityKind::TwoPoints => true,
        }
    }

    /// At least a quarter of all packets are copies of others, in every field: no network does
    /// that, but a mirror port that copies packets as they enter and as they leave.
    #[must_use]
    #[inline]
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

    /// What was asked in a turn, where the service's requests are read and it was kept.
    #[must_use]
    pub fn call_of(&self, turn: &Turn) -> Option<&ServiceCall> {
        let mut kept = self.app.calls.as_ref()?.kept.iter();
        kept.find(|call| call.asked.frame == turn.request.first.frame)
    }

    /// `client → server`, as titles name it.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} → {}", self.client, self.server)
    }
}

/// Takes connections as they end. One sink serves one shard, so it needs no lock.
///
/// The order of calls within a shard is fixed by the input alone; merge what several sinks hold
/// by something ordered, such as [`Connection::first_frame`].
pub trait ConnectionSink: Send {
    /// A connection has ended, expired or the capture is over.
    fn connection(&mut self, connection: &Connection);
}

//! What a finished connection shows, as a set of bits that is computed once for all rules.
//!
//! On an ordinary connection nothing happened that most rules speak of. A rule that can say nothing
//! without certain traits declares them; the engine skips it by one AND where none of them shows.

use analyzer::Connection;
use analyzer::connection::TcpState;
use analyzer::event::EventKind;

/// One thing that a connection shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Trait {
    /// A RST came.
    Reset,
    /// Segments were sent again that the receiver had.
    NeedlessRepeat,
    /// Originals arrived after later ones.
    LateOriginal,
    /// A window was closed.
    ZeroWindow,
    /// Keep-alive probes at its end were not answered.
    UnansweredProbe,
    /// Octets that were missing held others back.
    Hole,
    /// An end waited for its application to close.
    CloseWait,
    /// Round trips under load were measured.
    LoadedRoundTrip,
    /// Segments filled the receiver's window.
    FullWindow,
    /// The rest of a message waited for an acknowledgement.
    HeldWrite,
    /// The payload is HTTP.
    Http,
    /// The payload is TLS.
    Tls,
    /// The payload is that of a service whose answers are read.
    Service,
    /// The payload is a framed stream.
    Framing,
    /// Requests of a datagram protocol whose servers answer each one.
    DatagramRequest,
    /// Acknowledgements that came late.
    LateAck,
    /// Turns that follow one another without a pause.
    TurnRun,
    /// Answered turns.
    Answer,
    /// An ICMP error quotes one of its packets.
    RouterError,
    /// A router marked packets, or an end echoed such marks.
    CongestionMark,
    /// Segments ended beyond the receiver's window.
    BeyondWindow,
    /// Segments were sent again after a timeout.
    TimeoutRepeat,
    /// SACK blocks lay where the peer's stream cannot be.
    ImpossibleSack,
    /// More than one SYN-ACK came.
    SynAckAgain,
    /// Much data in segments of a few bytes.
    SmallSegments,
}

/// Segments from which on a direction can be one of small segments, and what they carry at most on average.
const SMALL_SEGMENTS: (u64, u64) = (200, 128);

/// Whether this direction's data went out in hundreds of segments of a few bytes.
pub(crate) fn is_of_small_segments(half: &analyzer::Half) -> bool {
    let (segments, octets) = SMALL_SEGMENTS;
    half.data_segments >= segments && half.unique_bytes / half.data_segments <= octets
}

impl Trait {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 25] = [
        Self::Reset,
        Self::NeedlessRepeat,
        Self::LateOriginal,
        Self::ZeroWindow,
        Self::UnansweredProbe,
        Self::Hole,
        Self::CloseWait,
        Self::LoadedRoundTrip,
        Self::FullWindow,
        Self::HeldWrite,
        Self::Http,
        Self::Tls,
        Self::Service,
        Self::Framing,
        Self::DatagramRequest,
        Self::LateAck,
        Self::TurnRun,
        Self::Answer,
        Self::RouterError,
        Self::CongestionMark,
        Self::BeyondWindow,
        Self::TimeoutRepeat,
        Self::ImpossibleSack,
        Self::SynAckAgain,
        Self::SmallSegments,
    ];

    /// Text for catalogues.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Reset => "a RST",
            Self::NeedlessRepeat => "needless retransmissions",
            Self::LateOriginal => "segments out of order",
            Self::ZeroWindow => "a closed window",
            Self::UnansweredProbe => "unanswered keep-alive probes",
            Self::Hole => "a hole",
            Self::CloseWait => "CLOSE-WAIT",
            Self::LoadedRoundTrip => "round trips under load",
            Self::FullWindow => "a full window",
            Self::HeldWrite => "writes held back",
            Self::Http => "HTTP",
            Self::Tls => "TLS",
            Self::Service => "a service's answers",
            Self::Framing => "framed messages",
            Self::DatagramRequest => "requests in datagrams",
            Self::LateAck => "late acknowledgments",
            Self::TurnRun => "turns without a pause",
            Self::Answer => "answered requests",
            Self::RouterError => "an ICMP error",
            Self::CongestionMark => "congestion marks",
            Self::BeyondWindow => "segments beyond the window",
            Self::TimeoutRepeat => "retransmissions by timeout",
            Self::ImpossibleSack => "impossible SACK blocks",
            Self::SynAckAgain => "several SYN-ACKs",
            Self::SmallSegments => "data in small segments",
        }
    }

    fn shows(self, conn: &Connection) -> bool {
        let any = |holds: fn(&analyzer::Half) -> bool| conn.halves.iter().any(holds);
        match self {
            Self::Reset => !conn.resets.is_empty(),
            Self::NeedlessRepeat => any(|half| half.spurious_retransmissions > 0),
            Self::LateOriginal => any(|half| half.out_of_order > 0),
            Self::ZeroWindow => any(|half| half.zero_windows > 0),
            Self::UnansweredProbe => any(|half| half.unanswered_probes.is_some()),
            Self::Hole => !conn.holes.longest.is_empty(),
            Self::CloseWait => {
                let mut states = conn.states.iter().map(|span| span.state);
                states.any(|state| state == TcpState::CloseWait)
            }
            Self::LoadedRoundTrip => any(|half| half.loaded_rtts.count() > 0),
            Self::FullWindow => any(|half| half.window_full_segments > 0),
            Self::HeldWrite => any(|half| half.held_writes.count > 0),
            Self::Http => conn.app.http.is_some(),
            Self::Tls => conn.app.tls.is_some(),
            Self::Service => conn.app.service.is_some(),
            Self::Framing => conn.app.framing.is_some(),
            Self::DatagramRequest => conn.app.requests.is_some(),
            Self::LateAck => any(|half| half.late_acks.is_some()),
            Self::TurnRun => conn.turns.longest_run.is_some(),
            Self::Answer => conn.turns.answered > 0,
            Self::RouterError => conn
                .events
                .iter()
                .any(|event| matches!(event.kind, EventKind::IcmpError(_))),
            Self::CongestionMark => {
                any(|half| half.congestion_marks > 0 || half.congestion_echoes > 0)
            }
            Self::BeyondWindow => any(|half| half.beyond_window > 0),
            Self::TimeoutRepeat => any(|half| half.retransmissions_by_kind[1] > 0),
            Self::ImpossibleSack => any(|half| half.impossible_sacks > 0),
            Self::SynAckAgain => conn.handshake.syn_ack_count > 1,
            Self::SmallSegments => any(is_of_small_segments),
        }
    }
}

/// A set of traits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traits(u32);

impl Traits {
    /// What every connection has: for a rule that has to see them all. (A rule that looks at none
    /// declares an empty list.)
    pub const ANY: Self = Self(1 << 31);

    /// These only.
    #[must_use]
    pub const fn narrowed(self, list: &[Trait]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < list.len() {
            bits |= 1 << list[at] as u32;
            at += 1;
        }
        Self(bits)
    }

    /// What a connection shows.
    #[must_use]
    pub fn of(conn: &Connection) -> Self {
        let shown = Trait::ALL.into_iter().filter(|one| one.shows(conn));
        let bits = shown.fold(Self::ANY.0, |bits, one| bits | 1 << one as u32);
        Self(bits)
    }

    /// Whether both have one in common.
    #[must_use]
    pub const fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Its traits, in order; none of a set that every connection meets.
    pub fn iter(self) -> impl Iterator<Item = Trait> {
        let has = move |one: &Trait| self.0 >> *one as u32 & 1 == 1;
        Trait::ALL.into_iter().filter(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_meet_where_they_share_a_trait() {
        let resets = Traits::ANY.narrowed(&[Trait::Reset, Trait::Hole]);
        assert!(resets.meet(Traits::ANY.narrowed(&[Trait::Hole])));
        assert!(!resets.meet(Traits::ANY.narrowed(&[Trait::Http])));
        assert!(!resets.meet(Traits::ANY));
        assert!(Traits::ANY.meet(Traits(Traits::ANY.0 | 1)));
        assert_eq!(resets.iter().count(), 2);
        assert_eq!(Traits::ANY.iter().count(), 0);
        for (at, one) in Trait::ALL.into_iter().enumerate() {
            assert_eq!(one as usize, at);
        }
    }
}

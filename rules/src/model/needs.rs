//! What a connection must offer before a rule may judge it.
//!
//! A rule that cannot see must not be silent as if all were well: what fails here is counted as
//! *not assessed*, with the reason.

use analyzer::{Connection, Transport};

/// One thing a rule needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Need {
    /// A TCP connection; others are not the rule's business and are not counted.
    Tcp,
    /// A UDP flow; others are not the rule's business and are not counted.
    Udp,
    /// Packets of both directions.
    BothDirections,
    /// The SYN or SYN-ACK was captured.
    Handshake,
    /// No octets that were acknowledged are missing from the capture.
    NoCaptureDrops,
    /// A payload that was recognised and could be read to the end.
    ReadablePayload,
}

/// Whether a rule may judge a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fitness {
    /// It may.
    Fit,
    /// The connection is not of the kind the rule speaks of.
    NotApplicable,
    /// It should, but the capture does not show enough: the reason.
    NotAssessed(&'static str),
}

impl Need {
    /// All of them, in the order of their discriminants.
    const ALL: [Self; 6] = [
        Self::Tcp,
        Self::Udp,
        Self::BothDirections,
        Self::Handshake,
        Self::NoCaptureDrops,
        Self::ReadablePayload,
    ];

    /// Text for catalogues.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::BothDirections => "both directions captured",
            Self::Handshake => "the handshake captured",
            Self::NoCaptureDrops => "no bytes missing from the capture",
            Self::ReadablePayload => "payload that could be read",
        }
    }

    fn check(self, conn: &Connection) -> Fitness {
        let met = |met: bool, reason| {
            if met {
                Fitness::Fit
            } else {
                Fitness::NotAssessed(reason)
            }
        };
        match self {
            Self::Tcp if conn.transport != Transport::Tcp => Fitness::NotApplicable,
            Self::Udp if conn.transport != Transport::Udp => Fitness::NotApplicable,
            Self::Tcp | Self::Udp => Fitness::Fit,
            // A SYN without an answer has one direction because there never was another.
            Self::BothDirections if never_answered(conn) => Fitness::NotApplicable,
            Self::BothDirections => met(!conn.is_one_sided(), "only one direction was captured"),
            Self::Handshake => met(
                conn.has_handshake(),
                "the capture begins after the handshake",
            ),
            Self::NoCaptureDrops => met(
                conn.halves.iter().all(|half| half.missing_octets == 0),
                "bytes of the connection are missing from the capture",
            ),
            Self::ReadablePayload => met(
                conn.halves.iter().all(|half| half.cut_frames == 0),
                "payload was cut by the snap length",
            ),
        }
    }
}

/// A set of needs, a bit for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct NeedSet(u8);

impl NeedSet {
    /// These.
    pub(crate) fn of(needs: &[Need]) -> Self {
        Self(needs.iter().fold(0, |bits, need| bits | 1 << *need as u8))
    }
}

/// What a connection offers: every need, checked once for all rules.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    fitness: [Fitness; Need::ALL.len()],
    met: NeedSet,
}

impl Offer {
    /// Checks all needs.
    #[must_use]
    pub fn of(conn: &Connection) -> Self {
        let fitness = Need::ALL.map(|need| need.check(conn));
        let bits = fitness.iter().enumerate();
        let bits = bits.map(|(at, fitness)| u8::from(*fitness == Fitness::Fit) << at);
        Self {
            fitness,
            met: NeedSet(bits.sum()),
        }
    }

    /// Whether everything in a set is offered.
    #[must_use]
    pub(crate) const fn meets(&self, needs: NeedSet) -> bool {
        needs.0 & !self.met.0 == 0
    }

    /// Whether everything in `needs` is offered: the first thing that is not decides.
    #[must_use]
    pub fn fitness(&self, needs: &[Need]) -> Fitness {
        needs
            .iter()
            .map(|need| self.fitness[*need as usize])
            .find(|fitness| *fitness != Fitness::Fit)
            .unwrap_or(Fitness::Fit)
    }
}

/// Nothing but the client's SYNs was ever seen.
fn never_answered(conn: &Connection) -> bool {
    conn.transport == Transport::Tcp
        && conn.from_server().packets == 0
        && conn.handshake.syn_count > 0
        && conn.from_client().unique_bytes == 0
}

//! What is seen of connections that end elsewhere.

use analyzer::Endpoint;
use analyzer::event::SegmentRef;

use crate::model::{narrative, observation};

pub(super) type Group<'a> = narrative::Group<'a, Seen, Fact>;
pub(super) type Collected = observation::Collected<Seen, Fact>;
pub(super) type Observations = observation::Observations<Seen, Fact>;

/// What one connection shows of names and addresses.
pub(crate) enum Fact {
    /// A name that its client asked DNS for, and got addresses.
    Asked(String),
    /// Its SYN.
    Syn {
        syn: SegmentRef,
        /// The name that the client used.
        name: Option<String>,
    },
    /// The name that the client used.
    Named {
        name: String,
        /// Where it stands.
        said: Option<SegmentRef>,
    },
}

/// Where a connection was led.
pub(crate) struct Seen {
    /// Name and address it was meant for, in words.
    pub(super) intended: String,
    pub(super) actual: Endpoint,
    pub(super) how: How,
    /// The change was made on the client's own host.
    pub(super) local: bool,
    /// The port is one of a service mesh.
    pub(super) mesh: bool,
}

/// What shows that the destination was changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum How {
    /// SYN and SYN-ACK bear different addresses.
    Answer,
    /// Datagrams are answered from another address.
    Datagram,
    /// A loopback destination of a source that is none.
    Loopback,
    /// A name whose addresses are others.
    Named,
    /// One SYN towards two destinations.
    SameSyn,
}

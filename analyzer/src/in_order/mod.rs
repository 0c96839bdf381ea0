//! What has to be done in the order of the capture, before packets are spread over connections:
//! leaving out what the recording holds twice, putting fragments together, joining translated connections, seeing loops, clock steps,
//! hardware addresses and who claims them.

pub(crate) mod broadcasts;
pub(crate) mod conflicts;
pub(crate) mod damage;
pub(crate) mod doubles;
pub mod fragments;
pub(crate) mod loops;
pub mod neighbours;
pub(crate) mod quotes;
pub(crate) mod steps;
pub(crate) mod times;
pub(crate) mod translation;

pub use broadcasts::{BroadcastKind, BroadcastLoop};
pub use conflicts::AddressConflict;
pub use damage::DamagedPackets;
pub use loops::RoutingLoop;
pub use times::ClockBreak;

//! The trackers that follow connections and fill their read model, and the table that holds them.

mod arena;
mod datagram;
mod entry;
mod first_packets;
mod half_open;
pub(crate) mod key;
mod remarks;
pub(crate) mod table;
pub(crate) mod tally;
pub mod tcp;
mod timeline;
pub mod udp;

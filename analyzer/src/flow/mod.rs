//! The trackers that follow connections and fill their read model, and the table that holds them.

pub(crate) mod arena;
pub(crate) mod facts;
mod half_open;
pub(crate) mod key;
mod live_flow;
pub(crate) mod table;
pub mod tcp;
mod timeline;
pub mod udp;
pub(crate) mod young;

//! From capture bytes to connections and events: the part of pcapdoc that knows packets.
//!
//! Data flows one way: [`capture`] cuts files into frames, [`decode`] turns a frame into a flat
//! [`decode::Packet`], [`flow`] advances the connection the packet belongs to, and what is
//! worth judging comes out as [`connection::Connection`] values with their [`event::Event`]s. The
//! [`pipeline`] drives these stages over bounded rounds, in parallel and deterministically.
//!
//! Nothing here knows a rule or a report. Nothing reads a clock, the environment or a locale:
//! time comes from frames only, so the same input gives the same result on any thread count.

pub mod addr;
pub mod analysis;
pub mod app;
pub mod capture;
pub mod confidence;
pub mod connection;
pub mod cursor;
pub mod decode;
pub mod direction;
pub mod episodes;
pub mod error;
pub mod event;
pub mod explain;
pub mod filter;
pub mod flow;
mod histogram;
pub mod hosts;
pub mod in_order;
pub mod inspect;
pub mod pipeline;
pub mod quality;
pub mod seq;
pub mod static_name;
pub mod time;

pub use addr::{Endpoint, Transport};
pub use analysis::{Analysis, CaptureSummary};
pub use connection::{Connection, Half};
pub use direction::Direction;
pub use error::Error;
pub use event::{Event, EventKind};
pub use filter::PacketFilter;
pub use quality::{QualityKind, QualityNote};
pub use time::Timestamp;

//! What a report needs of every connection, kept while connections come and go, and the document
//! made of it.

mod antecedents;
mod collector;
mod draft;
mod hosts;
mod over_time;
mod requests;
mod tables;

pub use collector::{CollectorCounts, ConnectionCollector, DEFAULT_CONNECTIONS, Rank, TopRows};
pub(crate) use draft::tool;
pub use draft::{Afterwards, Draft};

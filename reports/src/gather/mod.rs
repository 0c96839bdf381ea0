//! What a report needs of every connection, kept while connections come and go, and the document
//! made of it.

mod antecedents;
mod collector;
mod draft;
mod hosts;
mod kept;
mod over_time;
mod requests;
mod tables;

pub use collector::{CollectorCounts, ConnectionCollector, DEFAULT_CONNECTIONS};
pub(crate) use draft::tool;
pub use draft::{Afterwards, Draft};

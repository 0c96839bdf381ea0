//! What a report needs of every connection, kept while connections come and go, and the document
//! made of it.

mod action;
mod actions;
mod antecedents;
mod asked;
mod collector;
mod draft;
mod hosts;
mod kept;
mod lookups;
mod operations;
mod over_time;
mod requests;
mod tables;
mod what_if;

pub(crate) use action::{Action, Step};
pub use collector::{CollectorCounts, ConnectionCollector, DEFAULT_CONNECTIONS, Rank, TopRows};
pub(crate) use draft::tool;
pub use draft::{Afterwards, Draft};

//! From findings and connection rows to what people read.
//!
//! [`Document`] is the one view model and the JSON contract; [`render`] writes it in every format.
//! Nothing here judges, reads a clock or the environment, or trusts a string: whatever came out of
//! packets passes [`words::escape`] on its way out.
//!
//! ```text
//! ConnectionCollector ┐
//! Analysis            ├─► Draft ─► Document ─► json · html · markdown · terminal · summary
//! Assessment, RunInfo ┘      ▲
//!               read again, hashes
//! ```
//!
//! Its rooms, each importing only from those before it (`tests/layers.rs` of the program):
//!
//! ```text
//! words ◄─ document ◄─ against ◄─ gather ◄─ redact ◄─ again ◄─ render, dataset
//! ```
#![forbid(unsafe_code)]

pub mod again;
pub mod against;
pub mod comparison;
pub mod dataset;
pub mod document;
mod error;
mod gather;
pub mod redact;
pub mod render;
pub mod words;

pub use document::{Document, RunInfo, Severity};
pub use error::Error;
pub use gather::{
    Afterwards, CollectorCounts, ConnectionCollector, DEFAULT_CONNECTIONS, Draft, Rank, TopRows,
};
pub use redact::Redactor;

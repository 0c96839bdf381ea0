//! From findings and connection rows to what people read.
//!
//! [`Document`] is the one view model and the JSON contract; [`html`], [`markdown`],
//! [`terminal`] and [`json`] render it. Nothing here judges, reads a clock or the environment,
//! or trusts a string: whatever came out of packets passes [`words::escape`] on its way out.
//!
//! ```text
//! ConnectionCollector ┐
//! Analysis            ├─► Document ─► json · html · markdown · terminal
//! Assessment, RunInfo ┘
//! ```
#![forbid(unsafe_code)]

pub mod charts;
pub mod collector;
pub mod dataset;
pub mod document;
mod error;
pub mod evidence;
pub mod html;
pub mod json;
pub mod markdown;
mod over_time;
pub mod redact;
mod requests;
mod reread;
mod reread_plan;
pub mod rollup;
pub mod summary;
mod tables;
pub mod terminal;
pub mod trace;
pub mod words;

pub use collector::{ConnectionCollector, DEFAULT_CONNECTIONS};
pub use document::{Document, RunInfo, Severity};
pub use error::Error;
pub use redact::Redactor;

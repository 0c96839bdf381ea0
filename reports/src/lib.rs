//! From findings and connection rows to what people read.
//!
//! [`Document`] is the one view model and the JSON contract; [`html`], [`markdown`],
//! [`terminal`] and [`json`] render it. Nothing here judges, reads a clock or the environment,
//! or trusts a string: whatever came out of packets passes [`escape`] on its way out.
//!
//! ```text
//! ConnectionCollector ┐
//! Analysis            ├─► Document ─► json · html · markdown · terminal
//! Assessment, RunInfo ┘
//! ```
#![forbid(unsafe_code)]

pub mod charts;
pub mod collector;
pub mod comparison;
pub mod dataset;
pub mod document;
pub mod escape;
pub mod evidence;
pub mod format;
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

pub use collector::{ConnectionCollector, DEFAULT_CONNECTIONS};
pub use document::{Document, RunInfo, Severity};
pub use redact::Redactor;

/// Why a report could not be made. All but [`Error::Write`] and [`Error::Read`] are defects of
/// ours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The output could not be written.
    #[error("could not write the report: {0}")]
    Write(#[from] std::io::Error),
    /// A result file is not one of ours, or of a version we do not know.
    #[error("{0}")]
    Read(String),
    /// A table of the dataset could not be made.
    #[error("could not make a table: {0}")]
    Table(#[from] polars::error::PolarsError),
    /// A template does not fit the view model.
    #[error("could not render the page: {0}")]
    Template(#[from] minijinja::Error),
    /// A chart could not be drawn.
    #[error("could not draw a chart: {0}")]
    Chart(String),
}

//! The dataset: what was found, as tables that any tool can query.
//!
//! Every table declares its columns once ([`rules::rows::Table`]): name, type, meaning and how
//! the value is taken from a record. The Parquet files, `pcapdoc query --schema` and the documentation all
//! come from that declaration.
//!
//! ```text
//! Connection ─► RowSink (per shard, bounded: spills to disk) ┐
//! Assessment, Analysis, Document ─► records ─────────────────┴─► Tables ─► TableFiles ─► SQL
//! ```
//!
//! Times are UTC with microseconds and no zone (what every reader understands); exact frame
//! times are a frame number away. Counts are signed 64-bit: Spark reads no unsigned integers.

mod actions;
mod describe;
mod files;
mod findings;
mod output;
mod query;
mod row_buffer;
mod sink;

pub use describe::{TableSchema, describe, markdown, tables};
pub use files::{TableFiles, copy_without};
pub use output::{Rendering, render};
pub use query::{QueryError, Source, run};
pub use rules::rows::ColumnType;
pub use sink::{RowSink, Spill, Tables};

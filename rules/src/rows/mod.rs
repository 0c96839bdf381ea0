//! The rows of the dataset that rules of the user's own may ask about: connections, requests, DNS
//! questions and findings, column by column.
//!
//! Every table declares its columns once: name, type, meaning and how the value is taken from a
//! record. The Parquet files, `pcapdoc query`, the documentation and the expressions of
//! [`crate::own`] all read that declaration.

mod connections;
mod exchanges;
mod findings;
mod schema;

pub use connections::{
    CONNECTIONS, Connections, protocol_name, requests, response_times, role_name, server_name,
};
pub use exchanges::{DNS, DnsQuestions, DnsRecord, REQUESTS, RequestRecord, Requests};
pub use findings::{FINDINGS, Findings, figures};
pub use schema::{
    CAPTURE_SET, Column, ColumnType, PARTITIONS, Record, Table, Value, column, count,
    direction_name, hour, millis, number, rounded, text, time,
};

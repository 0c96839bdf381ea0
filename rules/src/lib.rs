//! From events to findings. One rule is one file.

pub mod finding;

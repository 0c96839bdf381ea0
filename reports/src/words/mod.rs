//! Words for people: numbers with their units, and text that came out of packets made harmless.

pub mod escape;
pub mod format;

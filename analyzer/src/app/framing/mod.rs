//! Framing of byte streams: how a stream is cut into messages, given or inferred.

mod spec;

pub use spec::{Delimiter, FramingSpec, FramingSpecError, LengthField, LengthWidth};

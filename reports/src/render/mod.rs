//! The document in every format that is written. Renderers add layout and wording, never facts.

pub mod charts;
pub mod html;
pub mod json;
pub mod markdown;
pub mod rollup;
pub mod summary;
pub mod terminal;

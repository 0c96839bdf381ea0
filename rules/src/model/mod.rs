//! What rules speak in: declarations, what was seen, what is concluded. Knows neither rules nor engine.

pub mod ask;
pub mod confidence;
pub mod connection_ref;
pub mod context;
pub mod evidence;
pub mod explain;
pub mod figure;
pub mod finding;
pub mod impact;
pub mod meta;
pub mod narrative;
pub mod nearest;
pub mod needs;
pub mod observation;
pub mod occurrence;
pub mod onset;
pub mod owner;
pub mod rule;
pub mod settings;
pub mod severity;
pub mod text;
pub mod timeouts;
pub mod traits;
pub mod waits;

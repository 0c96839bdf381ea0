//! One file per subcommand.

pub mod analyze;
pub mod batch;
pub mod collect;
pub mod compare;
pub mod completions;
pub mod conclude;
pub mod evidence;
pub mod explain_frame;
pub mod inspect;
pub mod judge;
pub mod query;
pub mod report;
pub mod rules;
pub mod segment;

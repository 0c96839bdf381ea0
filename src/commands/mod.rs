//! One file per subcommand.

pub mod analyze;
pub mod completions;
pub mod rules;

//! `pcapdoc rules` and `pcapdoc explain`: the rules' own documentation.

use std::process::ExitCode;

use rules::engine::Engine;
use rules::{explain as text, settings};

use crate::failure::Failure;
use crate::output;

/// Lists all rules.
pub fn list() -> Result<ExitCode, Failure> {
    let listing = text::listing(&Engine::full_catalogue());
    output::write_stdout(|out| out.write_all(listing.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints one rule's documentation.
pub fn explain(rule: &str) -> Result<ExitCode, Failure> {
    let meta = settings::find_rule(rule, "pcapdoc explain")
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let explanation = text::explain(meta);
    output::write_stdout(|out| out.write_all(explanation.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}

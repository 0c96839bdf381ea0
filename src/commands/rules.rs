//! `pcapdoc rules` and `pcapdoc explain`: the rules' own documentation.

use std::process::ExitCode;

use rules::engine::Engine;
use rules::{explain as text, own, settings};

use crate::cli::RuleFiles;
use crate::failure::Failure;
use crate::output;
use crate::settings::rule_settings;

/// Lists all rules, the user's own last.
pub fn list(files: &RuleFiles) -> Result<ExitCode, Failure> {
    let settings = rule_settings(files)?.rules;
    let listing = text::listing(&Engine::full_catalogue()) + &own::listing(&settings.own);
    output::write_stdout(|out| out.write_all(escaped(&listing).as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints one rule's documentation.
pub fn explain(rule: &str, files: &RuleFiles) -> Result<ExitCode, Failure> {
    let settings = rule_settings(files)?.rules;
    let explanation = match settings.own_rule(rule) {
        Some(own) => own::explain(own),
        None => text::explain(
            settings::rule_named(&settings, rule, "pcapdoc explain")
                .map_err(|error| Failure::Usage(error.to_string()))?,
        ),
    };
    output::write_stdout(|out| out.write_all(escaped(&explanation).as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}

/// Lines as a terminal may show them: the user's own rules are text from a file.
fn escaped(text: &str) -> String {
    let lines = text.lines().map(reports::words::escape::terminal);
    lines.fold(String::new(), |all, line| all + &line + "\n")
}

//! `pcapdoc completions`: a shell completion script.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output;

/// Prints the script for a shell.
pub fn run(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pcapdoc", &mut script);
    output::write_stdout(|out| out.write_all(&script))?;
    Ok(ExitCode::SUCCESS)
}

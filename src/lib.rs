//! `pcapdoc`: explains what went wrong in a packet capture, with proof.
//!
//! This is the program alone: arguments, progress, files and exit statuses. It analyses and
//! renders nothing itself. It is a library so that tests can analyse thousands of captures without
//! a process for each ([`analyze`]).

mod analysis;
mod capture_names;
mod cli;
mod commands;
mod failure;
mod hashes;
mod inputs;
mod interrupt;
mod layout;
mod log;
mod output;
mod outputs;
mod parts;
mod progress;
mod settings;
mod store;

use std::process::ExitCode;

use clap::Parser;
use reports::Document;
use serde_json::json;

use cli::{Cli, Command};

pub use failure::Failure;

/// The result that `pcapdoc analyze` with these arguments would write, without writing or masking
/// it: options that say where, how and in which form results go change nothing.
///
/// # Errors
/// As the program fails.
pub fn analyze(arguments: &[&str]) -> Result<Document, Failure> {
    let words = ["pcapdoc", "analyze"].iter().chain(arguments);
    match Cli::try_parse_from(words) {
        Ok(Cli {
            command: Command::Analyze(arguments),
        }) => commands::analyze::document(&arguments),
        Ok(_) => Err(Failure::Usage("another subcommand".to_owned())),
        Err(error) => Err(Failure::Usage(error.to_string())),
    }
}

/// The whole program, with the arguments of the process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log::choose(cli.log());
    interrupt::listen();
    match run(cli) {
        Ok(status) => status,
        // A reader that has seen enough is no failure.
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            let message = failure.to_string();
            log::say(
                "error",
                &format!("pcapdoc: {message}"),
                json!({"message": message}),
            );
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    must_not_ask_to_redact(&cli.command)?;
    match cli.command {
        Command::Analyze(arguments) => commands::analyze::run(&arguments),
        Command::Inspect(arguments) => commands::inspect::run(&arguments),
        Command::Evidence(arguments) => commands::evidence::run(&arguments),
        Command::Report(arguments) => commands::report::run(&arguments),
        Command::Compare(arguments) => commands::compare::run(&arguments),
        Command::Batch(arguments) => commands::batch::run(&arguments),
        Command::Segment(arguments) => commands::segment::run(&arguments),
        Command::Judge(arguments) => commands::judge::run(&arguments),
        Command::Conclude(arguments) => commands::conclude::run(arguments),
        Command::Query(arguments) => commands::query::run(&arguments),
        Command::Rules(files) => commands::rules::list(&files),
        Command::Explain { rule, files } => commands::rules::explain(&rule, &files),
        Command::ExplainFrame(arguments) => commands::explain_frame::run(&arguments),
        Command::Collect(arguments) => commands::collect::run(&arguments),
        Command::Completions { shell } => commands::completions::run(shell),
    }
}

/// Names and addresses must not slip out of a command that cannot hide them.
fn must_not_ask_to_redact(command: &Command) -> Result<(), Failure> {
    let (name, redaction) = match command {
        Command::Inspect(arguments) => ("inspect", &arguments.redaction),
        Command::Report(arguments) => ("report", &arguments.redaction),
        Command::Batch(arguments) => ("batch", &arguments.redaction),
        Command::Segment(arguments) => ("segment", &arguments.redaction),
        Command::Judge(arguments) => ("judge", &arguments.redaction),
        Command::Conclude(arguments) => ("conclude", &arguments.redaction),
        Command::Query(arguments) => ("query", &arguments.redaction),
        Command::ExplainFrame(arguments) => ("explain-frame", &arguments.redaction),
        _ => return Ok(()),
    };
    if redaction.is_asked() {
        return Err(Failure::Usage(format!(
            "{name} cannot redact, so nothing was done: `pcapdoc analyze --redact` and \
             `pcapdoc evidence --redact` can"
        )));
    }
    Ok(())
}

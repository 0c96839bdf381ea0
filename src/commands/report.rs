//! `pcapdoc report`: a result rendered again, without its capture.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::process::ExitCode;

use crate::cli::ReportArguments;
use crate::failure::Failure;
use crate::outputs::Plan;

/// Runs the subcommand.
pub fn run(arguments: &ReportArguments) -> Result<ExitCode, Failure> {
    let plan = Plan::of(&stem(&arguments.result), &arguments.outputs)?;
    if plan.tables().is_some() {
        return Err(Failure::Usage(
            "a result does not hold the tables: pcapdoc analyze CAPTURE --format parquet writes them"
                .to_owned(),
        ));
    }
    let failed = |message: &dyn std::fmt::Display| {
        Failure::Input(analyzer::Error::new(
            arguments.result.clone(),
            message.to_string(),
        ))
    };
    let input: Box<dyn Read> = if arguments.result == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(&arguments.result).map_err(|error| failed(&error))?)
    };
    let document =
        reports::render::json::read(BufReader::new(input)).map_err(|error| failed(&error))?;
    plan.write(&document)?;
    Ok(ExitCode::SUCCESS)
}

/// The result's name without its endings.
fn stem(result: &Path) -> String {
    if result == Path::new("-") {
        return "stdin".to_owned();
    }
    let name = result.file_name().unwrap_or(result.as_os_str());
    let name = name.to_string_lossy();
    let name = name.strip_suffix(".json").unwrap_or(&name);
    name.strip_suffix(".report").unwrap_or(name).to_owned()
}

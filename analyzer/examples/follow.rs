//! Follows the connections of captures and does nothing with them: the share of the analyzer alone,
//! for profiles and instruction counts. usage: follow TIMES FILE...

use std::path::PathBuf;

use pcapdoc_analyzer::Connection;
use pcapdoc_analyzer::capture::Input;
use pcapdoc_analyzer::pipeline::{self, ConnectionSink, Settings};

#[derive(Default)]
struct Count(u64);

impl ConnectionSink for Count {
    fn connection(&mut self, _: &Connection) {
        self.0 += 1;
    }
}

fn main() -> Result<(), pcapdoc_analyzer::Error> {
    let mut arguments = std::env::args_os().skip(1);
    let times = arguments
        .next()
        .and_then(|times| times.to_str()?.parse().ok());
    let inputs: Vec<Input> = arguments
        .map(|name| Input::Path(PathBuf::from(name)))
        .collect();
    for _ in 0..times.unwrap_or(0) {
        let settings = Settings::default();
        let (analysis, counts) = pipeline::run(&inputs, &settings, Count::default, |_| {})?;
        let connections: u64 = counts.iter().map(|count| count.0).sum();
        println!(
            "{} packets, {connections} connections",
            analysis.summary.packets
        );
    }
    Ok(())
}

//! Segments that were to be expected take a short way: what is known of a connection must be the
//! same as when every segment is judged in full.

use std::path::{Path, PathBuf};

use pcapdoc_analyzer::Connection;
use pcapdoc_analyzer::capture::Input;
use pcapdoc_analyzer::flow::tcp::TcpSettings;
use pcapdoc_analyzer::pipeline::{self, ConnectionSink, Settings};

#[derive(Default)]
struct Collect(Vec<Connection>);

impl ConnectionSink for Collect {
    fn connection(&mut self, connection: &Connection) {
        self.0.push(connection.clone());
    }
}

/// The connections of a capture in order; none where it cannot be read.
fn connections(capture: &Path, judge_all: bool) -> Vec<Connection> {
    let settings = Settings {
        tcp: TcpSettings {
            judge_all,
            ..TcpSettings::default()
        },
        ..Settings::default()
    };
    let inputs = [Input::Path(capture.to_owned())];
    let Ok((_, sinks)) = pipeline::run(&inputs, &settings, Collect::default, |_| {}) else {
        return Vec::new();
    };
    let mut all: Vec<Connection> = sinks.into_iter().flat_map(|sink| sink.0).collect();
    all.sort_by_key(|connection| connection.first_frame);
    all
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn every_capture_gives_the_same_connections_when_all_is_judged_in_full() {
    let mut files = Vec::new();
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    for folder in ["captures", "formats"] {
        files_below(&testdata.join(folder), &mut files);
    }
    let mut compared = 0;
    for file in &files {
        let (short, in_full) = (connections(file, false), connections(file, true));
        assert!(short == in_full, "{}", file.display());
        compared += short.len();
    }
    assert!(compared > 2_000, "only {compared} connections");
}

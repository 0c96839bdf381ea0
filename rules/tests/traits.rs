//! No rule is skipped that would have spoken: what it declares of traits is enough, on every capture
//! of the test data.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use analyzer::Connection;
use analyzer::capture::Input;
use analyzer::pipeline::{self, ConnectionSink, Settings};
use pcapdoc_rules::Engine;
use pcapdoc_rules::settings::RuleSettings;

struct Asking {
    engine: Arc<Engine>,
    wrong: Vec<(u64, Vec<&'static str>)>,
    connections: u64,
}

impl ConnectionSink for Asking {
    fn connection(&mut self, connection: &Connection) {
        self.connections += 1;
        let skipped = self.engine.wrongly_skipped(connection);
        if !skipped.is_empty() {
            self.wrong.push((connection.first_frame, skipped));
        }
    }
}

fn captures(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of test data") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            captures(&path, all);
        } else if path.extension().is_some_and(|ext| ext != "json") {
            all.push(path);
        }
    }
}

#[test]
fn no_rule_is_skipped_that_would_have_spoken() {
    let engine = Arc::new(Engine::new(RuleSettings::default()));
    let mut all = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/captures");
    captures(&folder, &mut all);
    all.sort();
    let mut connections = 0;
    for path in all {
        let make_sink = || Asking {
            engine: Arc::clone(&engine),
            wrong: Vec::new(),
            connections: 0,
        };
        let input = [Input::Path(path.clone())];
        // What cannot be read is told of by other tests.
        let Ok((_, sinks)) = pipeline::run(&input, &Settings::default(), make_sink, |_| {}) else {
            continue;
        };
        for sink in sinks {
            connections += sink.connections;
            assert!(
                sink.wrong.is_empty(),
                "{}: {:?}",
                path.display(),
                sink.wrong
            );
        }
    }
    assert!(
        connections > 1_000,
        "only {connections} connections were seen"
    );
}

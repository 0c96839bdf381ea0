//! Every rule has captures of real stacks: two that it must find, and two of its folder that it must
//! leave alone. What a script writes packet by packet does not count.

use std::collections::BTreeSet;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::{common, list, text};

/// Captures of each kind that a rule has at least.
const ENOUGH: usize = 2;

pub fn case() -> Trial {
    Trial::test("enough::captures of every rule", || {
        let truths = common::captures_with_truth();
        let real: Vec<_> = truths
            .iter()
            .filter(|(_, truth)| !is_written(truth))
            .collect();
        let mut short = Vec::new();
        for rule in rules::engine::Engine::catalogue() {
            let found = real.iter().filter(|(_, truth)| finds(truth, rule.id));
            let left = real.iter().filter(|(path, truth)| {
                folder(path) == Some(rule.id) && !finds(truth, rule.id) && !may_find(truth, rule.id)
            });
            let (found, left) = (found.count(), left.count());
            if found < ENOUGH || left < ENOUGH {
                short.push(format!(
                    "{}: {found} to find, {left} to leave alone",
                    rule.id
                ));
            }
        }
        if short.is_empty() {
            return Ok(());
        }
        Err(Failed::from(short.join("\n")))
    })
}

fn folder(capture: &Path) -> Option<&str> {
    capture.parent()?.file_name()?.to_str()
}

fn finds(truth: &Value, rule: &str) -> bool {
    let due = list(&truth["expect"]["findings"]);
    due.iter().any(|finding| text(finding, "rule") == rule)
}

fn may_find(truth: &Value, rule: &str) -> bool {
    let allowed = list(&truth["expect"]["may"]);
    allowed.iter().any(|name| name == rule)
}

/// Whether its script writes packets itself.
fn is_written(truth: &Value) -> bool {
    let names = text(truth, "made").split([',', ':', ' ']);
    let scripts: BTreeSet<&str> = names
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "py"))
        .collect();
    scripts.iter().any(|script| {
        let source = std::fs::read_to_string(common::root().join(script));
        source
            .unwrap_or_else(|error| panic!("{script}: {error}"))
            .contains("write_cases(")
    })
}

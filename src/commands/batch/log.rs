//! How a batch tells what it does: bars on a terminal, lines otherwise, JSON on request.
//! Everything goes to standard error.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use analyzer::pipeline::Progress;
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::entry::{Entry, Outcome};
use super::sets::CaptureSet;
use crate::log;

/// Tells what a batch does.
pub struct Log {
    kind: Kind,
    started: Instant,
    sets: usize,
    done: usize,
    findings: u64,
    packets: u64,
    /// Bytes of finished sets.
    bytes: u64,
    total_bytes: u64,
    /// Bytes of running sets so far.
    running: BTreeMap<usize, u64>,
}

enum Kind {
    Bars {
        overall: ProgressBar,
        all: MultiProgress,
        current: BTreeMap<usize, ProgressBar>,
    },
    Lines,
}

impl Log {
    /// A log of `sets` sets of `total_bytes` in all.
    pub fn new(sets: usize, total_bytes: u64) -> Self {
        let kind = if io::stderr().is_terminal() && !log::is_json() && sets > 0 {
            bars(total_bytes)
        } else {
            Kind::Lines
        };
        Self {
            kind,
            started: Instant::now(),
            sets,
            done: 0,
            findings: 0,
            packets: 0,
            bytes: 0,
            total_bytes,
            running: BTreeMap::new(),
        }
    }

    /// A plain message with its fields as JSON.
    pub fn say(&self, event: &str, text: &str, fields: Value) {
        match &self.kind {
            Kind::Bars { all, .. } => {
                // A message that cannot be shown does not make the result worse.
                let _ = all.println(text);
            }
            Kind::Lines => log::say(event, text, fields),
        }
    }

    /// A set that is being read.
    pub fn progress(&mut self, index: usize, set: &CaptureSet, progress: Progress) {
        self.running.insert(index, progress.bytes_read);
        let Kind::Bars {
            overall,
            all,
            current,
        } = &mut self.kind
        else {
            return;
        };
        let bar = current.entry(index).or_insert_with(|| {
            let bar = all.add(ProgressBar::new(set.bytes()));
            set_style(&bar, "  {bar:20} {bytes}/{total_bytes} {msg}");
            bar.set_message(set.name.clone());
            bar
        });
        bar.set_position(progress.bytes_read);
        overall.set_position(self.bytes + self.running.values().sum::<u64>());
    }

    /// A set that is done.
    pub fn done(&mut self, index: usize, set: &CaptureSet, entry: &Entry) {
        self.running.remove(&index);
        self.done += 1;
        self.bytes += set.bytes();
        let place = format!("[{}/{}]", self.done, self.sets);
        let (text, fields) = match &entry.outcome {
            Outcome::Done { summary, .. } => {
                self.findings += summary.findings.len() as u64;
                self.packets += summary.packets;
                let worst = summary.severity.map(reports::Severity::as_str);
                let text = format!(
                    "{place} {}: {} frames, {}",
                    set.name,
                    summary.packets,
                    match (summary.findings.len(), worst) {
                        (0, _) | (_, None) => "nothing found".to_owned(),
                        (1, Some(worst)) => format!("1 finding ({worst})"),
                        (n, Some(worst)) => format!("{n} findings (worst: {worst})"),
                    }
                );
                let fields = json!({"set": set.name, "packets": summary.packets, "bytes": set.bytes(),
                    "findings": summary.findings.len(), "severity": worst});
                (text, fields)
            }
            Outcome::Failed { reason } => {
                let text = format!("{place} {}: not read: {reason}", set.name);
                (text, json!({"set": set.name, "error": reason}))
            }
        };
        if let Kind::Bars {
            overall, current, ..
        } = &mut self.kind
        {
            if let Some(bar) = current.remove(&index) {
                bar.finish_and_clear();
            }
            overall.set_position(self.bytes + self.running.values().sum::<u64>());
            overall.set_message(format!(
                "{}/{} sets, {} frames, {} findings",
                self.done, self.sets, self.packets, self.findings
            ));
            // The bars tell enough of what went well.
            if matches!(entry.outcome, Outcome::Done { .. }) {
                return;
            }
        }
        self.say("set", &text, fields);
    }

    /// The end.
    pub fn finish(&mut self, text: &str, fields: Value) {
        if let Kind::Bars { overall, .. } = &self.kind {
            overall.finish_and_clear();
        }
        let seconds = self.started.elapsed().as_secs_f64();
        let text = format!(
            "{text} ({} read in {seconds:.1} s)",
            HumanBytes(self.total_bytes)
        );
        self.say("end", &text, fields);
    }
}

fn bars(total_bytes: u64) -> Kind {
    let all = MultiProgress::new();
    let overall = all.add(ProgressBar::new(total_bytes));
    set_style(
        &overall,
        "{bar:32} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta} {msg}",
    );
    overall.enable_steady_tick(Duration::from_millis(200));
    Kind::Bars {
        overall,
        all,
        current: BTreeMap::new(),
    }
}

fn set_style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

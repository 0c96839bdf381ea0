//! The progress bar: on standard error, only when that is a terminal.

use std::time::Duration;

use analyzer::pipeline::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::log;

/// Shows how far reading has come.
pub struct Meter(ProgressBar);

impl Meter {
    /// A bar that hides itself when standard error is no terminal or a program's log.
    pub fn new() -> Self {
        let target = if log::is_json() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(10)
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Moves the bar.
    pub fn show(&self, progress: Progress) {
        if let (Some(total), None) = (progress.total_bytes, self.0.length()) {
            self.0.set_length(total);
            if let Ok(style) = ProgressStyle::with_template(
                "{bar:32} {bytes}/{total_bytes} {bytes_per_sec} {msg} ETA {eta}",
            ) {
                self.0.set_style(style);
            }
        }
        self.0.set_position(progress.bytes_read);
        self.0.set_message(format!("{} frames", progress.frames));
    }

    /// Says what is done after reading.
    pub fn finish(self) {
        self.0.finish_and_clear();
    }
}

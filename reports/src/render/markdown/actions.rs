//! Requests step by step, in short.

use super::pictures::Charts;
use super::{Page, ROWS, text};
use crate::document::{Actions, step_label};
use crate::words::format;

impl Page {
    pub(super) fn actions(&mut self, actions: &Actions, charts: &Charts) {
        self.block(format_args!("## Requests step by step"));
        match &charts.actions {
            Some(chart) => self.pictures(std::slice::from_ref(chart), charts),
            None => {
                if let Some(title) = actions.title() {
                    self.block(format_args!("{}.", text(&title)));
                }
            }
        }
        let heads = ["Step", "Measured", "Half within", "95 % within", "Slowest"];
        self.table_head(&heads, |at| at > 0);
        for times in &actions.steps {
            self.row(&[
                text(step_label(&times.step)),
                format::count(times.count),
                format::duration(times.p50_ms),
                format::duration(times.p95_ms),
                format::duration(times.max_ms),
            ]);
        }
        self.out.push('\n');
        if let Some(note) = &actions.note {
            self.block(format_args!("{}", text(&format::sentence(note))));
        }
        let heads = [
            "Slowest requests",
            "Outcome",
            "Frame",
            "Longest steps",
            "Total",
        ];
        self.table_head(&heads, |at| matches!(at, 2 | 4));
        for row in actions.slowest.iter().take(ROWS) {
            self.row(&[
                text(&row.what()),
                text(&row.outcome),
                row.frame.to_string(),
                text(&row.in_words()),
                row.took(),
            ]);
        }
        self.out.push('\n');
    }
}

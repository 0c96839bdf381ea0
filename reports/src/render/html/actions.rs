//! Requests step by step: the slowest as bars, and how long each step took.

use serde::Serialize;

use super::table::{HeadPage, TablePage, number_cell, text_cell};
use crate::document::{Actions, Document, step_label};
use crate::render::charts::{self, Chart};
use crate::words::format;

/// The section of the page.
#[derive(Serialize)]
pub(super) struct ActionsPage {
    chart: Option<Chart>,
    steps: TablePage,
}

impl ActionsPage {
    pub fn new(actions: &Actions, document: &Document) -> Self {
        Self {
            chart: charts::of_actions(document),
            steps: steps(actions),
        }
    }
}

fn steps(actions: &Actions) -> TablePage {
    let heads = [
        ("Step", false),
        ("Measured", true),
        ("Half within", true),
        ("95 % within", true),
        ("Slowest", true),
    ];
    let rows = actions.steps.iter().map(|times| {
        let ms = |ms: f64| number_cell(ms, format::duration(ms));
        vec![
            text_cell(step_label(&times.step).to_owned()),
            number_cell(times.count as f64, format::count(times.count)),
            ms(times.p50_ms),
            ms(times.p95_ms),
            ms(times.max_ms),
        ]
    });
    TablePage {
        id: "action-steps".to_owned(),
        title: format!("How long each step of {} took", actions.base()),
        note: actions.note.as_ref().map(|note| format::sentence(note)),
        heads: heads
            .map(|(label, number)| HeadPage {
                label: label.to_owned(),
                number,
            })
            .into(),
        rows: rows.collect(),
        left_out: None,
    }
}

//! A terminal has 80 columns, a chat takes 15 lines, whatever was captured.

use reports::render::{summary, terminal};

use crate::Lab;

pub fn complaints(lab: &Lab) -> Vec<String> {
    let document = lab.analysed();
    let mut complaints = Vec::new();
    let screen = terminal::render(&document, terminal::Style::default());
    let wide = screen.lines().filter(|line| line.chars().count() > 80);
    complaints.extend(wide.map(|line| format!("more than 80 columns: {line}")));
    if screen.contains('\u{1b}') {
        complaints.push("colour where none was asked for".to_owned());
    }
    let summary = summary::render(&document);
    if !(1..=15).contains(&summary.lines().count()) {
        complaints.push(format!("a summary of more than 15 lines:\n{summary}"));
    }
    complaints
}

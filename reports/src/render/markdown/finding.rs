//! One finding: what happened, its evidence, what to change.

use super::diagram::{diagram, segment};
use super::{Page, cell_code, code, text};
use crate::document::{ConnectionKey, EvidenceView, FindingView, HostLine, Remedy};
use crate::words::{escape, format};

/// Frames drawn and listed per finding; the page and the JSON hold all.
const FRAMES: usize = 10;

/// Affected connections named per finding.
const CONNECTIONS: usize = 10;

impl Page {
    pub(super) fn finding(&mut self, finding: &FindingView) {
        self.block(format_args!(
            "## {}: {}",
            text(&finding.id),
            text(&finding.title)
        ));
        self.block(format_args!("{}", text(&finding.summary)));
        self.list(key_facts(finding));
        for caveat in &finding.caveats {
            self.block(format_args!(
                "> **Caveat, {}:** {}",
                text(&caveat.kind),
                text(&caveat.note)
            ));
        }
        self.proof(finding);
    }

    /// The second half of a finding, behind its pictures.
    pub(super) fn remedies(&mut self, finding: &FindingView) {
        self.host_lines(finding.host_evidence.as_deref().unwrap_or_default());
        if !finding.why.is_empty() {
            self.block(format_args!("### Why we conclude this"));
            self.list(finding.why.iter().map(|fact| text(fact)));
        }
        if !finding.look_alikes.is_empty() {
            self.block(format_args!("### What it is not"));
            self.list(
                finding
                    .look_alikes
                    .iter()
                    .map(|other| format!("**{}**: {}", text(&other.name), text(&other.why_not))),
            );
        }
        self.remedy(&finding.remedy);
        if !finding.host_commands.is_empty() {
            self.block(format_args!("### How to confirm on the hosts"));
            for command in &finding.host_commands {
                let (host, tells) = (text(&command.host), text(&command.tells));
                self.block(format_args!("**{host}**: {tells}"));
                self.block(format_args!("{}", code(&command.command, "sh")));
            }
        }
        self.connections(finding);
    }

    /// The best example as a diagram, all examples as a table.
    fn proof(&mut self, finding: &FindingView) {
        let Some(first) = finding.evidence.first() else {
            return;
        };
        self.block(format_args!("### Evidence"));
        let mut example: Vec<_> = finding
            .evidence
            .iter()
            .filter(|step| step.connection == first.connection)
            .take(FRAMES)
            .collect();
        example.sort_by_key(|step| step.frame);
        self.block(format_args!(
            "{}",
            code(&diagram(&first.connection, &example), "mermaid")
        ));
        self.table_head(
            &["Frame", "Time (UTC)", "From", "Segment", "What it shows"],
            |at| at == 0,
        );
        for step in finding.evidence.iter().take(FRAMES) {
            self.row(&[
                step.frame.to_string(),
                text(format::time_of_day(&step.time)),
                text(sender(step)),
                text(&segment(step)),
                text(&step.note),
            ]);
        }
        self.out.push('\n');
        if finding.evidence.len() > FRAMES {
            let left_out = (finding.evidence.len() - FRAMES) as u64;
            self.block(format_args!(
                "{} in the HTML and JSON reports.",
                format::counted(left_out, "more frame")
            ));
        }
        if let Some(file) = &finding.evidence_file {
            self.block(format_args!(
                "Its frames, with these notes as packet comments: {}",
                escape::markdown_code(file)
            ));
        }
        if !finding.filter.is_empty() {
            self.block(format_args!("Wireshark display filter:"));
            self.block(format_args!("{}", code(&finding.filter, "")));
        }
    }

    /// Lines of host files about a finding.
    fn host_lines(&mut self, lines: &[HostLine]) {
        if lines.is_empty() {
            return;
        }
        self.block(format_args!("### What the hosts say"));
        self.list(lines.iter().map(|line| {
            // What the capture itself says stands in the note already.
            let quoted = if line.note.contains(&line.text) {
                String::new()
            } else {
                format!(": {}", escape::markdown_code(&line.text))
            };
            format!(
                "**{}**: {} ({}:{}{quoted})",
                line.says.as_str(),
                text(&line.note),
                text(&line.file),
                line.line
            )
        }));
    }

    /// General advice as text, advice per product as a table.
    fn remedy(&mut self, remedy: &[Remedy]) {
        // The first advice for any product stands among the facts.
        let told = usize::from(remedy.first().is_some_and(|first| first.product == "any"));
        let remedy = &remedy[told..];
        if remedy.len() + told < 2 {
            return;
        }
        self.block(format_args!("### How to fix it"));
        for step in remedy.iter().filter(|step| step.product == "any") {
            self.step(step);
        }
        let products = remedy.iter().filter(|step| step.product != "any");
        if products.clone().next().is_none() {
            return;
        }
        self.table_head(&["Where", "What", "Setting"], |_| false);
        for step in products {
            self.row(&[
                text(&step.product),
                text(&step.text),
                step.setting.as_deref().map_or_else(String::new, cell_code),
            ]);
        }
        self.out.push('\n');
    }

    fn step(&mut self, step: &Remedy) {
        self.block(format_args!("{}", text(&step.text)));
        if let Some(setting) = &step.setting {
            self.block(format_args!("{}", code(setting, "")));
        }
    }

    fn connections(&mut self, finding: &FindingView) {
        let total = finding.connection_count;
        self.block(format_args!(
            "<details><summary>{} affected</summary>",
            format::counted(total, "connection")
        ));
        let shown = finding.connections.iter().take(CONNECTIONS);
        let left_out = total.saturating_sub(shown.len() as u64);
        let mut items: Vec<_> = shown.map(connection).collect();
        if left_out > 0 {
            items.push(format!("{} more", format::count(left_out)));
        }
        self.list(items);
        self.block(format_args!("</details>"));
    }
}

fn key_facts(finding: &FindingView) -> Vec<String> {
    let whose = if finding.origin.is_built_in() {
        ""
    } else {
        ", a rule of your own"
    };
    let mut facts = vec![format!(
        "Severity: **{}** ({}{whose})",
        finding.severity.as_str(),
        escape::markdown_code(&finding.rule)
    )];
    if let Some(cost) = format::cost_phrase(&finding.cost) {
        facts.push(format!("Impact: {}", text(&cost)));
    }
    if let Some(what_if) = &finding.what_if {
        facts.push(format!("Without it: {}", text(&what_if.sentence())));
    }
    if let Some(remedy) = finding.remedy.first() {
        let advice = format::advice(&remedy.product, &remedy.text);
        let setting = remedy.setting.as_deref().map(escape::markdown_code);
        let setting = setting.map_or_else(String::new, |setting| format!(" {setting}"));
        facts.push(format!("Fix: {}{setting}", text(&advice)));
    }
    if let Some(look) = finding.look() {
        facts.push(format!("Evidence: {look}"));
    }
    let mut sure = format!("Confidence: {}", format::confidence(finding.confidence));
    if !finding.confidence_reason.is_empty() {
        sure.push_str(&format!(": {}", text(&finding.confidence_reason)));
    }
    facts.push(sure);
    facts.push(format!(
        "Seen: {}, {} affected",
        format::counted(finding.occurrences, "time"),
        format::counted(finding.connection_count, "connection")
    ));
    if let Some(when) = &finding.onset {
        let bars = when.bars().map(|bars| format!(" {bars}"));
        let bars = bars.unwrap_or_default();
        facts.push(format!("When: {}{bars}", text(&when.when())));
        for before in &when.preceded_by {
            facts.push(format!("Began {}", text(&before.phrase())));
        }
    }
    for (name, value) in &finding.figures {
        let (label, value) = (format::figure_label(name), format::figure(name, value));
        facts.push(format!("{}: {}", text(&label), text(&value)));
    }
    if !finding.explained_by.is_empty() {
        facts.push(format!(
            "Caused by: {}",
            text(&finding.explained_by.join(", "))
        ));
    }
    facts
}

fn sender(step: &EvidenceView) -> &str {
    if step.is_from_client() {
        &step.connection.client
    } else {
        &step.connection.server
    }
}

fn connection(key: &ConnectionKey) -> String {
    format!(
        "{} {} → {}, from frame {}",
        text(&key.transport),
        text(&key.client),
        text(&key.server),
        key.first_frame
    )
}

//! The evidence of one connection as a Mermaid sequence diagram.

use crate::document::{ConnectionKey, EvidenceView};
use crate::words::{escape, format};

/// A Mermaid sequence diagram.
pub(super) fn diagram(connection: &ConnectionKey, steps: &[&EvidenceView]) -> String {
    let (client, server) = (
        escape::mermaid(&connection.client),
        escape::mermaid(&connection.server),
    );
    let mut lines = vec![
        "sequenceDiagram".to_owned(),
        format!("    participant C as client {client}"),
        format!("    participant S as server {server}"),
    ];
    let mut before = steps.first().map_or(0.0, |step| step.elapsed_s);
    for step in steps {
        let gap = step.elapsed_s - before;
        if gap >= 0.001 {
            lines.push(format!(
                "    Note over C,S: {} later",
                escape::mermaid(&format::seconds(gap))
            ));
        }
        before = step.elapsed_s;
        let arrow = match (step.is_from_client(), step.flags.contains("RST")) {
            (true, false) => "C->>S",
            (true, true) => "C-xS",
            (false, false) => "S->>C",
            (false, true) => "S-xC",
        };
        lines.push(format!(
            "    {arrow}: frame {}: {}",
            step.frame,
            escape::mermaid(&segment(step))
        ));
    }
    lines.join("\n")
}

/// Flags, relative sequence numbers and length, as tcpdump writes them.
pub(super) fn segment(step: &EvidenceView) -> String {
    if step.connection.transport == "udp" {
        return format!("UDP {} B", step.payload_bytes);
    }
    // A place known by its frame alone has no header fields to show.
    if step.flags.is_empty() {
        return "segment".to_owned();
    }
    let mut segment = format!("{} seq {}", step.flags, step.relative_seq);
    if step.flags.contains("ACK") {
        segment.push_str(&format!(" ack {}", step.relative_ack));
    }
    if step.payload_bytes > 0 {
        segment.push_str(&format!(" len {}", step.payload_bytes));
    }
    segment
}

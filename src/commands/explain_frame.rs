//! `pcapdoc explain-frame`: what one segment was judged to be, and why.

use std::fmt::Write;
use std::process::ExitCode;

use analyzer::capture::{Input, ReadOptions};
use analyzer::explain::{ExplainedFrame, FrameReading, explain_frame};
use analyzer::flow::tcp::Verdict;
use serde_json::{Value, json};

use crate::cli::{ExplainFormat, ExplainFrameArguments};
use crate::commands::evidence;
use crate::failure::Failure;
use crate::output;

/// Why a frame is not judged.
const DAMAGED: &str = "a checksum in it is wrong, while other packets of its sender have right ones: whom it reached discarded it";

/// Why a second copy is not judged.
const DOUBLED: &str = "every field equals a packet just before it, and the recording holds nearly every frame twice: the first copy is judged";

/// Runs the subcommand.
pub fn run(arguments: &ExplainFrameArguments) -> Result<ExitCode, Failure> {
    evidence::must_be_readable_twice(&arguments.captures)?;
    let inputs: Vec<Input> = arguments
        .captures
        .iter()
        .cloned()
        .map(Input::Path)
        .collect();
    let frame = arguments.frame;
    let reading = explain_frame(&inputs, &ReadOptions::default(), frame)
        .map_err(Failure::Input)?
        .ok_or_else(|| {
            Failure::Usage(format!(
                "the capture has no frame {frame}, or that frame holds no TCP segment; give Wireshark's frame.number"
            ))
        })?;
    let text = match (&arguments.format, &reading) {
        (ExplainFormat::Terminal, FrameReading::Judged(explained)) => terminal(explained),
        (ExplainFormat::Json, FrameReading::Judged(explained)) => {
            format!("{:#}\n", document(explained))
        }
        (format, FrameReading::Damaged) => left_out(*format, frame, "damaged", DAMAGED),
        (format, FrameReading::Doubled) => left_out(*format, frame, "duplicate-frame", DOUBLED),
    };
    output::write_stdout(|out| out.write_all(text.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}

/// What is said of a frame that is not judged.
fn left_out(format: ExplainFormat, frame: u64, verdict: &str, because: &str) -> String {
    match format {
        ExplainFormat::Terminal => format!("Frame {frame}: {verdict}\nBecause\n  - {because}\n"),
        ExplainFormat::Json => {
            let document = json!({
                "schema_version": 1,
                "frame": frame,
                "verdict": verdict,
                "because": [because],
            });
            format!("{document:#}\n")
        }
    }
}

fn kind(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Retransmission(kind) => Some(kind.as_str()),
        _ => None,
    }
}

fn document(explained: &ExplainedFrame) -> Value {
    let explanation = &explained.explanation;
    let segment = &explanation.segment;
    let (point, confidence) = explanation.capture_point;
    json!({
        "schema_version": 1,
        "frame": segment.frame,
        "time": segment.time.rfc3339(),
        "connection": {
            "transport": "tcp",
            "client": explained.client.to_string(),
            "server": explained.server.to_string(),
        },
        "sender": segment.direction.sender(),
        "segment": {
            "flags": segment.flags.letters(),
            "relative_seq": segment.relative_seq,
            "relative_ack": segment.relative_ack,
            "payload_bytes": segment.payload_len,
            "window_bytes": segment.window,
        },
        "verdict": explanation.verdict.name(),
        "kind": kind(explanation.verdict),
        "spurious": explanation.spurious,
        "because": explanation.because,
        "instead_of": explanation.instead_of.as_ref().map(|other| json!({
            "verdict": other.verdict,
            "because": other.because,
        })),
        "wireshark": explanation.wireshark.iter().map(|name| json!({
            "field": name.field,
            "because": name.because,
        })).collect::<Vec<_>>(),
        "capture_point": { "place": point.describe(), "confidence": confidence },
    })
}

fn terminal(explained: &ExplainedFrame) -> String {
    let explanation = &explained.explanation;
    let segment = &explanation.segment;
    let kind = kind(explanation.verdict).map_or(String::new(), |kind| format!(" ({kind})"));
    let spurious = if explanation.spurious {
        ", spurious"
    } else {
        ""
    };
    let mut text = String::new();
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{arguments}");
    };
    line(format_args!(
        "Frame {}: {}{kind}{spurious}",
        segment.frame,
        explanation.verdict.name()
    ));
    line(format_args!(
        "  {} of {} → {}: [{}] seq {} len {} ack {} win {}",
        segment.direction.sender(),
        explained.client,
        explained.server,
        segment.flags.letters(),
        segment.relative_seq,
        segment.payload_len,
        segment.relative_ack,
        segment.window
    ));
    line(format_args!("Because"));
    for reason in &explanation.because {
        line(format_args!("  - {reason}"));
    }
    if let Some(other) = &explanation.instead_of {
        line(format_args!("Not {}", other.verdict));
        line(format_args!("  - {}", other.because));
    }
    line(format_args!("Wireshark"));
    if explanation.wireshark.is_empty() {
        line(format_args!("  - sets no tcp.analysis flag"));
    }
    for name in &explanation.wireshark {
        line(format_args!("  - {}: {}", name.field, name.because));
    }
    let (point, confidence) = explanation.capture_point;
    line(format_args!(
        "Captured {} (confidence {:.0} %)",
        point.describe(),
        confidence * 100.0
    ));
    text
}

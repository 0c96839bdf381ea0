//! `strace -c`: how often each call was made, and its share of the time.

use super::{Format, Known};
use crate::limits;
use crate::model::{CallShare, Facts, Kind};
use crate::out::Out;
use crate::place::LineRef;

pub(super) const KNOWN: Known = Known {
    kind: Kind::StraceSummary,
    // Behind the calls themselves (`-C`) it is a part of their file.
    recognise: |head| {
        let before = head.iter().take(40).position(|line| is_header(line));
        before.is_some_and(|at| head[..at].iter().all(|line| !line.contains('(')))
    },
    make: || Box::new(Summary),
};

fn is_header(line: &str) -> bool {
    line.contains("% time") && line.contains("calls") && line.contains("syscall")
}

struct Summary;

impl Format for Summary {
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        take(line, at, out)
            || line.starts_with("---")
            || line.starts_with("strace:")
            || line.contains("total")
    }
}

/// Takes a line of the table; says whether it is one.
pub(super) fn take(line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
    let Some(call) = row(line, at) else {
        return is_header(line) || line.ends_with(" total");
    };
    let facts = &mut out.facts;
    let (list, left_out) = (&mut facts.calls, &mut facts.left_out);
    Facts::add(list, left_out, at.file, limits::FACTS, call);
    true
}

/// ` 98.24    1.234567         123     10000       500 futex`.
fn row(line: &str, at: LineRef) -> Option<CallShare> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let percent: f64 = words.first()?.parse().ok()?;
    let _: f64 = words.get(1)?.parse().ok()?;
    let calls = words.get(3)?.parse().ok()?;
    let call = *words.last()?;
    let is_call = call.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '_');
    (is_call && words.len() >= 5 && call != "total" && percent.is_finite()).then(|| CallShare {
        at,
        call: call.to_owned(),
        percent,
        calls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_and_without_errors() {
        let one = row(
            " 61.20    1.837402         153     12001      4100 futex",
            LineRef::default(),
        )
        .unwrap();
        assert_eq!((one.call.as_str(), one.calls), ("futex", 12_001));
        let one = row(
            "  0.00    0.000000           0         3           read",
            LineRef::default(),
        )
        .unwrap();
        assert_eq!(one.calls, 3);
        assert!(
            row(
                "100.00    1.837402         153     12001      4100 total",
                LineRef::default()
            )
            .is_none()
        );
    }
}

//! Access logs in the common and combined formats, with what is usually added behind them.

use super::{Format, Known};
use crate::model::{Kind, LogLine};
use crate::out::Out;
use crate::place::{LineRef, Place};
use crate::text::{address, between, endpoint, log_time};

pub(super) const KNOWN: Known = Known {
    kind: Kind::AccessLog,
    recognise: |head| {
        let rows = head.iter().take(20).filter(|line| row(line).is_some());
        rows.count() * 2 >= head.len().clamp(1, 20)
    },
    make: || Box::new(AccessLog),
};

struct AccessLog;

impl Format for AccessLog {
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        let Some((mut row, time)) = row(line) else {
            return false;
        };
        let (time, clock) = time;
        out.file.clock = clock;
        row.place = Place {
            at,
            time: Some(time),
        };
        out.facts.log(row);
        true
    }
}

/// `10.0.0.1 - - [24/Nov/2026:10:15:00 +0000] "GET / HTTP/1.1" 502 157 "-" "curl" 0.003 …`.
fn row(line: &str) -> Option<(LogLine, (i64, crate::model::Clock))> {
    let mut words = line.split(' ');
    // A virtual host may stand before.
    let client = words.by_ref().take(2).find_map(address)?;
    let time = log_time(between(line, "[", &[']'])?)?;
    let (_, behind) = line.split_once("] \"")?;
    let (request, behind) = quoted_end(behind)?;
    let mut words = behind.split_ascii_whitespace();
    let status: u16 = words.next()?.parse().ok()?;
    if !(100..=599).contains(&status) && status != 0 {
        return None;
    }
    let upstream = behind.split([' ', '"', ',', '=']).find_map(|word| {
        let end = endpoint(word)?;
        (end.port != 0 && !end.ip.is_unspecified()).then_some(end)
    });
    Some((
        LogLine {
            client: Some(client),
            status: Some(status),
            upstream,
            duration_ms: duration(behind),
            message: request.to_owned(),
            ..LogLine::default()
        },
        time,
    ))
}

/// A quoted text, whose quote was taken off, and what stands behind it.
fn quoted_end(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// `request_time=0.003`, `rt=0.003`, `0.003` alone behind the quoted fields.
fn duration(behind: &str) -> Option<f64> {
    let named = ["request_time=", "rt=", "request_time:", "duration="];
    let named = named
        .iter()
        .find_map(|name| between(behind, name, &[' ', ',', '"']));
    let is_seconds = |word: &&str| {
        let (whole, fraction) = word.split_once('.').unwrap_or_default();
        fraction.len() == 3 && !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit())
    };
    let last = behind.rsplit_once('"').map_or("", |(_, rest)| rest);
    let text = named.or_else(|| last.split_ascii_whitespace().find(is_seconds))?;
    let seconds: f64 = text.trim_matches('"').parse().ok()?;
    seconds.is_finite().then_some(seconds * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combined_and_what_is_added() {
        let (one, _) = row("10.0.0.1 - - [24/Nov/2026:10:15:00 +0000] \"GET /\\\"a HTTP/1.1\" 502 157 \"-\" \"curl/8\" 0.003 0.002 10.9.0.2:8080").unwrap();
        assert_eq!((one.status, one.duration_ms), (Some(502), Some(3.0)));
        assert_eq!(one.upstream.unwrap().to_string(), "10.9.0.2:8080");
        let (one, _) = row("fd00::1 - bob [24/Nov/2026:10:15:00 +0000] \"-\" 400 0").unwrap();
        assert_eq!(one.status, Some(400));
        assert!(row("hello [24/Nov/2026:10:15:00 +0000] \"x\" 200 1").is_none());
    }
}

//! HAProxy's HTTP log, Envoy's access log (its default text, and JSON), and that of an AWS ALB.

use serde_json::Value;

use super::{Format, Known};
use crate::model::{Clock, Kind, LogLine};
use crate::out::Out;
use crate::place::{LineRef, Place};
use crate::text::{between, endpoint, iso_time, log_time};

pub(super) const KNOWN: Known = Known {
    kind: Kind::AccessLog,
    recognise: |head| {
        let rows = head.iter().take(20).filter(|line| row(line).is_some());
        rows.count() * 2 >= head.len().clamp(1, 20)
    },
    make: || Box::new(ProxyLog),
};

type Row = (LogLine, Option<(i64, Clock)>);

struct ProxyLog;

impl Format for ProxyLog {
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        let Some((mut row, time)) = row(line) else {
            return false;
        };
        if let Some((_, clock)) = time {
            out.file.clock = clock;
        }
        row.place = Place {
            at,
            time: time.map(|(time, _)| time),
        };
        out.facts.log(row);
        true
    }
}

fn row(line: &str) -> Option<Row> {
    haproxy(line)
        .or_else(|| envoy(line))
        .or_else(|| envoy_json(line))
        .or_else(|| alb(line))
}

fn millis(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

/// `… haproxy[12]: 10.0.0.1:5000 [24/Nov/2026:10:15:00.123] front back/srv 0/0/1/2/3 502 209 - -
/// SH-- 1/1/0/0/0 0/0 "GET / HTTP/1.1"`.
fn haproxy(line: &str) -> Option<Row> {
    let (before, behind) = line.split_once(" [")?;
    let client = endpoint(before.rsplit(' ').next()?)?;
    let (time, behind) = behind.split_once("] ")?;
    let time = log_time(time)?;
    let words: Vec<&str> = behind.split_ascii_whitespace().collect();
    let timers = words.get(2)?;
    if timers.split('/').count() < 3 || !words.get(1)?.contains('/') {
        return None;
    }
    let status: i32 = words.get(3)?.parse().ok()?;
    let flags = words.get(7)?;
    let is_flags = flags.len() >= 2
        && flags
            .bytes()
            .all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    is_flags.then(|| {
        let line = LogLine {
            client: Some(client.ip),
            client_port: Some(client.port),
            status: u16::try_from(status).ok(),
            duration_ms: timers
                .rsplit('/')
                .next()
                .and_then(|text| millis(text.trim_start_matches('+'))),
            flags: (*flags).to_owned(),
            message: (*words.get(1).unwrap_or(&"")).to_owned(),
            ..LogLine::default()
        };
        (line, Some(time))
    })
}

/// `[2026-11-24T10:15:00.000Z] "GET / HTTP/1.1" 503 UF 0 91 5 - "-" "curl" "id" "host" "10.9.0.2:80"`.
fn envoy(line: &str) -> Option<Row> {
    let (time, behind) = line.strip_prefix('[')?.split_once("] \"")?;
    let time = iso_time(time)?;
    let (request, behind) = behind.split_once("\" ")?;
    let words: Vec<&str> = behind.split_ascii_whitespace().collect();
    let status = words.first()?.parse().ok()?;
    let flags = words
        .get(1)
        .filter(|flags| **flags != "-")
        .copied()
        .unwrap_or_default();
    let upstream = behind
        .split('"')
        .filter_map(endpoint)
        .find(|end| end.port != 0);
    let line = LogLine {
        upstream,
        status: Some(status),
        // Received, sent, duration; Istio puts two texts before them.
        duration_ms: words.iter().skip(2).filter_map(|word| millis(word)).nth(2),
        flags: flags.to_owned(),
        message: request.to_owned(),
        ..LogLine::default()
    };
    Some((line, Some(time)))
}

fn envoy_json(line: &str) -> Option<Row> {
    if !line.starts_with('{') || !line.contains("response_code") {
        return None;
    }
    let all: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| all.get(name).and_then(Value::as_str);
    let status = all.get("response_code").and_then(|code| match code {
        Value::Number(code) => code.as_u64(),
        Value::String(code) => code.parse().ok(),
        _ => None,
    });
    let client = text("downstream_remote_address").and_then(endpoint);
    let flags = text("response_flags").filter(|flags| *flags != "-");
    let row = LogLine {
        client: client.map(|end| end.ip),
        client_port: client.map(|end| end.port),
        upstream: text("upstream_host").and_then(endpoint),
        status: status.and_then(|status| u16::try_from(status).ok()),
        duration_ms: all.get("duration").and_then(Value::as_f64),
        flags: flags.unwrap_or_default().to_owned(),
        message: text("response_code_details").unwrap_or_default().to_owned(),
        ..LogLine::default()
    };
    let time = text("start_time").and_then(iso_time);
    (row.status.is_some()).then_some((row, time))
}

/// `http 2026-11-24T10:15:00.123456Z app/lb/id 10.0.0.1:2817 10.9.0.2:80 0.000 0.001 -1 502 - 34 0 "GET …`.
fn alb(line: &str) -> Option<Row> {
    let mut words = line.split(' ');
    let kinds = ["http", "https", "h2", "grpcs", "ws", "wss"];
    if !kinds.contains(&words.next()?) {
        return None;
    }
    let time = iso_time(words.next()?)?;
    let _balancer = words.next()?;
    let client = endpoint(words.next()?)?;
    let target = words.next()?;
    let times: Vec<f64> = words
        .by_ref()
        .take(3)
        .filter_map(|word| word.parse().ok())
        .collect();
    let status = words.next()?.parse().ok()?;
    let row = LogLine {
        client: Some(client.ip),
        client_port: Some(client.port),
        upstream: endpoint(target),
        status: Some(status),
        duration_ms: times
            .iter()
            .all(|time| *time >= 0.0)
            .then(|| times.iter().sum::<f64>() * 1e3),
        message: between(line, "\"", &['"']).unwrap_or_default().to_owned(),
        ..LogLine::default()
    };
    Some((row, Some(time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_products() {
        let one = row("Nov 24 10:15:00 lb haproxy[12]: 10.0.0.1:5000 [24/Nov/2026:10:15:00.123] front back/srv 0/0/1/-1/3 502 209 - - SH-- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"").unwrap().0;
        assert_eq!(
            (one.status, one.flags.as_str(), one.client_port),
            (Some(502), "SH--", Some(5000))
        );
        let one = row("[2026-11-24T10:15:00.000Z] \"GET / HTTP/1.1\" 503 UF 0 91 5 - \"-\" \"curl/8\" \"id\" \"host\" \"10.9.0.2:80\"").unwrap().0;
        assert_eq!((one.flags.as_str(), one.duration_ms), ("UF", Some(5.0)));
        assert_eq!(one.upstream.unwrap().to_string(), "10.9.0.2:80");
        let one = row("{\"start_time\":\"2026-11-24T10:15:00Z\",\"response_code\":504,\"response_flags\":\"UT\",\"upstream_host\":\"10.9.0.2:80\",\"duration\":15000}").unwrap().0;
        assert_eq!((one.status, one.duration_ms), (Some(504), Some(15_000.0)));
        let one = row("http 2026-11-24T10:15:00.123456Z app/lb/1 10.0.0.1:2817 10.9.0.2:80 0.000 0.001 -1 502 - 34 0 \"GET http://x:80/ HTTP/1.1\" \"curl\" - -").unwrap().0;
        assert_eq!((one.status, one.client_port), (Some(502), Some(2817)));
    }
}

//! The error logs of nginx and Apache.

use super::{Format, Known};
use crate::model::{Kind, LogLine};
use crate::out::Out;
use crate::place::{LineRef, Place};
use crate::text::{address, between, endpoint, iso_time};

pub(super) const KNOWN: Known = Known {
    kind: Kind::AccessLog,
    recognise: |head| {
        let known = head.iter().take(20).filter(|line| row(line).is_some());
        known.count() * 2 >= head.len().clamp(1, 20)
    },
    make: || Box::new(ErrorLog),
};

struct ErrorLog;

impl Format for ErrorLog {
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        let Some(mut row) = row(line) else {
            return false;
        };
        let time = iso_time(line).map(|(time, clock)| {
            out.file.clock = clock;
            time
        });
        row.place = Place { at, time };
        if !row.message.is_empty() && row.client.is_some() {
            out.facts.log(row);
        }
        true
    }
}

/// `2026/11/24 10:15:00 [error] 12#12: *3 upstream prematurely closed connection while reading
/// response header from upstream, client: 10.0.0.1, server: _, request: "GET / HTTP/1.1",
/// upstream: "http://10.9.0.2:8080/", host: "x"`.
fn row(line: &str) -> Option<LogLine> {
    iso_time(line)?;
    let levels = [
        "[error] ",
        "[crit] ",
        "[warn] ",
        "[alert] ",
        "[emerg] ",
        "[notice] ",
        "[info] ",
    ];
    let found = levels
        .iter()
        .find_map(|level| Some(line.find(level)? + level.len()));
    let behind = line.get(found.filter(|at| *at < 40)?..)?;
    let (_, message) = behind.split_once(": ")?;
    // The number of the connection.
    let message = message
        .strip_prefix('*')
        .and_then(|text| text.split_once(' '))
        .map_or(message, |(_, text)| text);
    let client = between(line, ", client: ", &[',', '\n']);
    let upstream = between(line, ", upstream: \"", &['"']);
    let upstream = upstream.map(|text| text.split_once("://").map_or(text, |(_, rest)| rest));
    let upstream = upstream.and_then(|text| endpoint(text.split('/').next().unwrap_or(text)));
    Some(LogLine {
        client: client.and_then(address),
        upstream,
        message: message
            .split(", client:")
            .next()
            .unwrap_or(message)
            .to_owned(),
        ..LogLine::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_names_client_and_upstream() {
        let one = row("2026/11/24 10:15:00 [error] 12#13: *3 upstream prematurely closed connection while reading response header from upstream, client: 10.0.0.1, server: _, request: \"GET /a HTTP/1.1\", upstream: \"http://10.9.0.2:8080/a\", host: \"x\"").unwrap();
        assert_eq!(one.upstream.unwrap().to_string(), "10.9.0.2:8080");
        assert!(one.message.starts_with("upstream prematurely closed"));
        let one = row("2026/11/24 10:15:00 [notice] 1#1: start worker processes").unwrap();
        assert_eq!(one.client, None);
        assert!(row("2026-11-24T10:15:00Z host app[1]: hello").is_none());
    }
}

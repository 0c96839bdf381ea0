//! What logs and journals say.

use std::collections::{BTreeMap, BTreeSet};

use analyzer::{Direction, Timestamp};
use hostfiles::{Clock, LogLine};

use super::{Case, Line};
use crate::host::watched::Watched;
use crate::model::ask::Says;
use crate::model::text::time;

/// How far a request's log line may lie from the end of its connection's trouble.
const NEAR_NS: i64 = 2_000_000_000;
/// How long before the onset a change is looked for.
const BEFORE_NS: i64 = 900_000_000_000;

/// Whether a line is about the failure that a rule speaks of.
fn fits(rule: &str, line: &LogLine) -> bool {
    let status = line.status.unwrap_or(0);
    let message = line.message.as_str();
    let flags = line.flags.as_str();
    match rule {
        "keepalive-race" => {
            status == 502
                || message.contains("prematurely closed")
                || message.contains("reset by peer")
                || flags.starts_with("SH")
                || flags.contains("UC")
        }
        "client-timeout-close" => {
            matches!(status, 499 | 504 | 408)
                || message.contains("timed out")
                || flags.starts_with(['c', 's'])
                || flags.contains("UT")
                || flags.contains("DC")
        }
        "response-cut-short" => {
            status >= 500
                || message.contains("prematurely closed")
                || message.contains("timed out")
                || message.contains("reset by peer")
                || flags.starts_with(['S', 's'])
                || flags.contains("UC")
        }
        "tls-handshake-failure" => message.contains("SSL") || flags.contains("UF"),
        "slow-response" => line.duration_ms.is_some_and(|duration| duration >= 1_000.0),
        _ => status >= 400 || !message.is_empty() && status == 0,
    }
}

/// When the trouble of a connection showed.
fn moments(one: &Watched) -> Vec<i64> {
    let fins = Direction::BOTH
        .into_iter()
        .filter_map(|end| one.sent(end).fin);
    let resets = one.resets.iter().map(|reset| reset.time);
    let mut all: Vec<i64> = fins.chain(resets).map(Timestamp::as_nanos).collect();
    all.push(one.end.as_nanos());
    all
}

/// What a log line states.
fn told(line: &LogLine) -> String {
    let mut parts = vec!["the request's own log line".to_owned()];
    parts.extend(line.status.map(|status| format!("status {status}")));
    if !line.flags.is_empty() {
        parts.push(format!("flags {}", line.flags));
    }
    parts.extend(
        line.duration_ms
            .map(|duration| format!("after {}", time(duration))),
    );
    parts.join(", ")
}

/// The log lines of the requests that a finding speaks of, one for each connection.
pub(super) fn requests(case: &Case<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut used = BTreeSet::new();
    let logs = case.joined.files.facts.logs.iter();
    let fitting: Vec<&LogLine> = logs.filter(|line| fits(case.finding.rule, line)).collect();
    for (_, one) in case.watched() {
        let (client, server) = (one.connection.client, one.connection.server);
        let near = |line: &LogLine| {
            let file = &case.joined.files.files[line.place.at.file];
            let time = line.place.time.filter(|_| file.clock == Clock::Epoch);
            let Some(time) = time else {
                // Local times of an unknown zone: the minutes and seconds are the same in nearly all.
                const QUARTER: i64 = 900_000_000_000;
                let time = line.place.time?;
                let apart = moments(one).into_iter().map(|moment| {
                    let apart = moment.saturating_sub(time).rem_euclid(QUARTER);
                    apart.min(QUARTER - apart)
                });
                return apart.min();
            };
            moments(one)
                .into_iter()
                .map(|moment| moment.saturating_sub(time).saturating_abs())
                .min()
        };
        let of_connection = |line: &&&LogLine| {
            let by_port = line.client == Some(client.ip) && line.client_port == Some(client.port);
            let by_upstream = line.upstream == Some(server);
            let by_client = line.client == Some(client.ip) && line.client_port.is_none();
            // The proxy that called the server logs its own clients.
            let by_proxy = case.joined.host_of(line.place.at) == Some(client.ip);
            let by_host = line.upstream.is_none() && (by_client || by_proxy);
            (by_port || by_upstream || by_host) && !used.contains(&line.place.at)
        };
        let limit = one.start.nanos_since(Timestamp::from_nanos(0));
        let limit = limit.min(NEAR_NS.unsigned_abs());
        let mut nearest = BTreeMap::<usize, (i64, &LogLine)>::new();
        for line in fitting.iter().filter(of_connection) {
            let Some(apart) = near(line).filter(|apart| apart.unsigned_abs() <= limit) else {
                continue;
            };
            let known = nearest.entry(line.place.at.file).or_insert((apart, line));
            if (apart, line.place.at) < (known.0, known.1.place.at) {
                *known = (apart, line);
            }
        }
        for (_, line) in nearest.into_values() {
            used.insert(line.place.at);
            lines.push(Line::new(line.place.at, Says::Supports, told(line)).strong());
        }
    }
    lines
}

/// What changed on a host shortly before: to be looked at first, never a cause.
pub(super) fn changes(case: &Case<'_>) -> Vec<Line> {
    let Some(onset) = case.onset().map(Timestamp::as_nanos) else {
        return Vec::new();
    };
    const DAY: i64 = 86_400_000_000_000;
    let events = case.joined.files.facts.events.iter().filter_map(|event| {
        let time = event.place.time?;
        let file = &case.joined.files.files[event.place.at.file];
        let before = match file.clock {
            Clock::Epoch | Clock::Local => onset.checked_sub(time)?,
            // The day is not stated.
            _ => onset.saturating_sub(time).rem_euclid(DAY),
        };
        (-BEFORE_NS / 15..=BEFORE_NS)
            .contains(&before)
            .then_some((event, before))
    });
    let mut events: Vec<_> = events.collect();
    events.sort_by_key(|(event, before)| {
        (
            std::cmp::Reverse(event.rank),
            before.saturating_abs(),
            event.place.at,
        )
    });
    let lines = events.into_iter().take(3).map(|(event, before)| {
        let apart = time(before.unsigned_abs() as f64 / 1e6);
        let when = if before >= 0 { "before" } else { "after" };
        Line::new(
            event.place.at,
            Says::Names,
            format!(
                "{apart} {when} the onset: check this first; nothing proves that it is the cause"
            ),
        )
    });
    lines.collect()
}

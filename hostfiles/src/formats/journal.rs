//! journald and syslog as text, and `kubectl get events`.

use super::{Format, Known};
use crate::model::{Clock, Kind, SystemEvent};
use crate::out::Out;
use crate::place::{LineRef, Place};
use crate::text::{between, iso_time, seconds, syslog_time};

pub(super) const KNOWN: Known = Known {
    kind: Kind::Journal,
    recognise: |head| {
        let first = &head[..head.len().min(20)];
        let rows = first.iter().filter(|line| is_row(line)).count();
        first.iter().any(|line| {
            is_kubernetes(line)
                || line.starts_with("-- Logs begin")
                || line.starts_with("-- Journal begins")
        }) || rows * 2 > first.len() && rows > 0
    },
    make: || Box::new(Journal),
};

fn is_kubernetes(line: &str) -> bool {
    line.contains("LAST SEEN") && line.contains("REASON") && line.contains("MESSAGE")
}

/// `… host unit[12]: text`.
fn is_row(line: &str) -> bool {
    let Some((_, behind)) = stamp(line) else {
        return false;
    };
    if exported(line).is_some() {
        return true;
    }
    let mut words = behind.split_ascii_whitespace();
    words.next().is_some() && words.next().is_some_and(|word| word.ends_with(':'))
}

/// The year of lines that tell none: no more is known than that a difference of days is one.
const NO_YEAR: i64 = 1972;

/// The time at the beginning, and what stands behind it.
fn stamp(line: &str) -> Option<((i64, Clock), &str)> {
    if let Some(found) = exported(line) {
        return Some(found);
    }
    // `short-full` begins with the day of the week and names the zone behind the clock.
    let dated = line.split_once(' ').filter(|(day, _)| day.len() == 3);
    if let Some((_, dated)) = dated
        && let Some((time, clock)) = iso_time(dated)
    {
        let mut words = dated.splitn(4, ' ').skip(2);
        let clock = if words.next() == Some("UTC") {
            Clock::Epoch
        } else {
            clock
        };
        return Some(((time, clock), words.next()?));
    }
    if let Some(found) = iso_time(line) {
        // The clock may stand behind a space.
        let clock = line.get(11..)?;
        let behind = clock.split_once(' ').map_or("", |(_, behind)| behind);
        return Some((found, behind));
    }
    // `short-unix`: seconds since 1970.
    if let Some((word, behind)) = line.split_once(' ')
        && word.contains('.')
        && let Some(time) = seconds(word).filter(|time| *time > SINCE_1998)
    {
        return Some(((time, Clock::Epoch), behind));
    }
    let behind = line.get(15..)?;
    let time = syslog_time(line.get(..15)?, NO_YEAR).or_else(|| {
        // With a fraction: `Nov 24 10:15:00.123456`.
        let end = line.get(15..)?.find(' ')? + 15;
        syslog_time(line.get(..end)?, NO_YEAR)
    })?;
    let behind = behind.split_once(' ').map_or("", |(_, rest)| rest);
    Some(((time, Clock::Day), behind))
}

/// A line of `-o json`: microseconds since 1970, and the message.
fn exported(line: &str) -> Option<((i64, Clock), &str)> {
    if !line.starts_with('{') {
        return None;
    }
    let micros: i64 = between(line, "\"__REALTIME_TIMESTAMP\":\"", &['"'])?
        .parse()
        .ok()?;
    let message = between(line, "\"MESSAGE\":\"", &['"']).unwrap_or("");
    Some(((micros.checked_mul(1_000)?, Clock::Epoch), message))
}

/// Nanoseconds since 1970 that no uptime has.
const SINCE_1998: i64 = 900_000_000 * 1_000_000_000;

const DAY: i64 = 86_400 * 1_000_000_000;

struct Journal;

impl Format for Journal {
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        if is_kubernetes(line) || line.starts_with("--") {
            return true;
        }
        let Some(((time, clock), behind)) = stamp(line) else {
            // `5m Warning Unhealthy pod/x …`: ages tell no time.
            let rank = rank(line);
            if rank > 1 {
                let place = Place { at, time: None };
                out.facts.event(SystemEvent { place, rank });
            }
            return rank > 1 || line.starts_with(' ');
        };
        let time = if clock == Clock::Day {
            time.rem_euclid(DAY)
        } else {
            time
        };
        out.file.clock = clock;
        // Of an exported line the message alone tells.
        let rank = rank(if line.starts_with('{') { behind } else { line });
        if rank > 1 {
            let place = Place {
                at,
                time: Some(time),
            };
            out.facts.event(SystemEvent { place, rank });
        }
        true
    }
}

/// How telling a line is: what began, ended, failed or changed.
fn rank(line: &str) -> u8 {
    const FIRST: [&str; 18] = [
        "Started ",
        "Stopped ",
        "Stopping ",
        "Reloaded ",
        "Reloading ",
        "Restarting",
        "Failed ",
        "failed with",
        "Killing",
        "Killed",
        "Out of memory",
        "oom-kill",
        "table full",
        "link is not ready",
        "Link is Down",
        "NIC Link is",
        "segfault",
        "Main process exited",
    ];
    const SECOND: [&str; 14] = [
        "Created",
        "Scheduled",
        "Unhealthy",
        "BackOff",
        "Pulled",
        "Rollout",
        "ScalingReplicaSet",
        "sysctl",
        "iptables",
        "nft",
        "configuration",
        "deploy",
        "upgrade",
        "SYN flooding",
    ];
    let any = |words: &[&str]| words.iter().any(|word| line.contains(word));
    match (any(&FIRST), any(&SECOND)) {
        (true, _) => 3,
        (_, true) => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_and_without_a_year() {
        assert!(is_row(
            "Nov 24 10:15:00 web systemd[1]: Started nginx.service."
        ));
        assert!(is_row(
            "2026-11-24T10:15:00+0000 web systemd[1]: Stopped app."
        ));
        assert!(is_row("2026-11-24 10:15:00 web systemd[1]: Stopped app."));
        assert!(!is_row("hello world"));
        let ((time, clock), _) = stamp("Nov 24 10:15:00 web systemd[1]: x").unwrap();
        assert_eq!(
            (time.rem_euclid(DAY), clock),
            ((10 * 60 + 15) * 60 * 1_000_000_000, Clock::Day)
        );
        assert_eq!(rank("systemd[1]: Started nginx"), 3);
        assert_eq!(rank("5m Warning Unhealthy pod/x Readiness probe"), 2);
    }
}

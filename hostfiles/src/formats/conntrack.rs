//! `conntrack -L`, `-E` and `-S`, and `/proc/net/nf_conntrack`.

use analyzer::{Endpoint, Transport};

use super::{Format, Known};
use crate::model::{Clock, Counter, Kind, Translation};
use crate::out::Out;
use crate::place::{LineRef, Place};
use crate::text::{pair, seconds};

pub(super) const KNOWN: Known = Known {
    kind: Kind::Conntrack,
    recognise: |head| {
        let is_entry = |line: &&str| entry(line, Place::default()).is_some() || is_statistic(line);
        head.iter().take(20).any(is_entry)
    },
    make: || Box::new(Conntrack),
};

fn is_statistic(line: &str) -> bool {
    line.trim_start().starts_with("cpu=") && line.contains("insert_failed=")
}

struct Conntrack;

impl Format for Conntrack {
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        if is_statistic(line) {
            for (name, value) in line
                .split_ascii_whitespace()
                .filter_map(|word| word.split_once('='))
            {
                if let Ok(value) = value.parse()
                    && name != "cpu"
                {
                    out.facts.counter(Counter {
                        place: Place { at, time: out.time },
                        snapshot: out.snapshot,
                        name: format!("conntrack.{name}"),
                        value,
                        is_increment: false,
                    });
                }
            }
            return true;
        }
        // `[1796050973.123456]   [NEW] tcp …` (`-E -o timestamp`).
        let stamp = line
            .trim_start()
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'));
        let time = stamp.and_then(|(stamp, _)| seconds(stamp.trim()));
        let time = time.filter(|time| *time > 900_000_000_000_000_000);
        if time.is_some() {
            out.file.clock = Clock::Epoch;
        }
        let place = Place {
            at,
            time: time.or(out.time),
        };
        let Some(entry) = entry(line, place) else {
            return line.starts_with("conntrack v");
        };
        out.facts.translation(entry);
        true
    }

    fn has_snapshots(&self) -> bool {
        true
    }
}

fn entry(line: &str, place: Place) -> Option<Translation> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let transport = words.iter().find_map(|word| match *word {
        "tcp" => Some(Transport::Tcp),
        "udp" => Some(Transport::Udp),
        _ => None,
    })?;
    let field = |name: &str, nth: usize| {
        let values = words.iter().filter_map(|word| word.strip_prefix(name));
        values.into_iter().nth(nth)
    };
    let end = |ip: &str, port: &str, nth| -> Option<Endpoint> {
        pair(field(ip, nth)?, field(port, nth)?)
    };
    let first = words.iter().position(|word| word.starts_with("src="))?;
    // `tcp 6 431999 ESTABLISHED src=…`; UDP has no state.
    let before = &words[..first];
    let is_state = |word: &&&str| {
        word.len() > 2
            && word
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit())
            && word.starts_with(|letter: char| letter.is_ascii_uppercase())
    };
    let timeout = before.iter().rev().find_map(|word| word.parse().ok());
    let numbers = before
        .iter()
        .filter(|word| word.parse::<u64>().is_ok())
        .count();
    Some(Translation {
        place,
        transport,
        source: end("src=", "sport=", 0)?,
        destination: end("dst=", "dport=", 0)?,
        reply_source: end("src=", "sport=", 1)?,
        reply_destination: end("dst=", "dport=", 1)?,
        // The protocol's number comes first.
        timeout_s: timeout.filter(|_| numbers >= 2),
        is_unreplied: line.contains("[UNREPLIED]"),
        state: before
            .iter()
            .rev()
            .find(is_state)
            .map_or_else(String::new, |state| (*state).to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_events() {
        let line = "tcp      6 431999 ESTABLISHED src=10.9.0.1 dst=10.96.0.10 sport=40000 dport=80 src=10.9.0.2 dst=10.9.0.1 sport=8080 dport=40000 [ASSURED] mark=0 use=1";
        let one = entry(line, Place::default()).unwrap();
        assert_eq!(
            (one.timeout_s, one.state.as_str()),
            (Some(431_999), "ESTABLISHED")
        );
        assert_eq!(one.reply_source.to_string(), "10.9.0.2:8080");
        let line = "[1796050973.123456]\t    [NEW] udp      17 30 src=10.9.0.1 dst=10.9.0.53 sport=5 dport=53 [UNREPLIED] src=10.9.0.53 dst=10.9.0.1 sport=53 dport=5";
        let one = entry(line, Place::default()).unwrap();
        assert!(one.is_unreplied);
        assert_eq!((one.timeout_s, one.state.as_str()), (Some(30), ""));
        let line = "ipv4     2 tcp      6 117 SYN_SENT src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 [UNREPLIED] src=2.2.2.2 dst=1.1.1.1 sport=2 dport=1 mark=0 zone=0 use=2";
        assert_eq!(entry(line, Place::default()).unwrap().state, "SYN_SENT");
    }
}

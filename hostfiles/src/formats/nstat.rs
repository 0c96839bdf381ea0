//! `nstat`, as text or as JSON, and `/proc/net/{snmp,netstat}`.

use serde_json::Value;

use super::{Format, Known};
use crate::model::{Counter, Kind};
use crate::out::Out;
use crate::place::{LineRef, Place};

pub(super) const KNOWN: Known = Known {
    kind: Kind::Nstat,
    recognise,
    make: || Box::<Nstat>::default(),
};

fn recognise(head: &[&str]) -> bool {
    let is_start = |line: &&str| {
        line.starts_with("#kernel") || line.starts_with("#nstat") || line.starts_with("{\"kernel\"")
    };
    let is_table = |line: &&str| table_name(line).is_some();
    let rows = head
        .iter()
        .take(12)
        .filter(|line| row(line).is_some())
        .count();
    let first = &head[..head.len().min(5)];
    first.iter().any(|line| is_start(line) || is_table(line)) || rows >= 3
}

/// `TcpExtListenOverflows  3  0.0`.
fn row(line: &str) -> Option<(&str, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (name, value) = (words.next()?, words.next()?);
    let rate = words.next();
    let is_name = name.starts_with(|letter: char| letter.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_rate = rate.is_some_and(|rate| rate.parse::<f64>().is_ok());
    (is_name && is_rate && words.next().is_none())
        .then(|| value.parse().ok())?
        .map(|value| (name, value))
}

/// `TcpExt` of a line of `/proc/net/netstat`.
fn table_name(line: &str) -> Option<&str> {
    let (name, rest) = line.split_once(": ")?;
    let tables = [
        "Ip", "Icmp", "IcmpMsg", "Tcp", "Udp", "UdpLite", "TcpExt", "IpExt", "MPTcpExt",
    ];
    let is_number = |word: &str| word.parse::<i64>().is_ok();
    let mut words = rest.split_ascii_whitespace();
    let is_table = tables.contains(&name)
        && words
            .next()
            .is_some_and(|word| is_number(word) || !rest.contains("  "))
        && rest.split_ascii_whitespace().count() > 1;
    is_table.then_some(name)
}

#[derive(Default)]
struct Nstat {
    /// `nstat` without `-a`: what changed since its last run.
    is_increment: bool,
    /// The names of a table, whose values stand on the next line.
    names: Option<(String, Vec<String>)>,
}

impl Nstat {
    fn add(&self, name: String, value: u64, at: LineRef, out: &mut Out<'_>) {
        let place = Place { at, time: out.time };
        let (snapshot, is_increment) = (out.snapshot, self.is_increment);
        out.facts.counter(Counter {
            place,
            snapshot,
            name,
            value,
            is_increment,
        });
    }
}

impl Format for Nstat {
    fn line(&mut self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        if line.starts_with('#') {
            out.snapshot += 1;
            // The history is named by its age: `#12345.678 sampling_interval=…`, `#kernel`.
            return true;
        }
        if line.starts_with('{') {
            return self.json(line, at, out);
        }
        if let Some((name, value)) = row(line) {
            self.add(name.to_owned(), value, at, out);
            return true;
        }
        let Some(table) = table_name(line) else {
            return false;
        };
        let words = line[table.len() + 2..].split_ascii_whitespace();
        match self.names.take() {
            Some((named, names)) if named == table => {
                if table == "Ip" {
                    out.snapshot += 1;
                }
                for (name, value) in names.into_iter().zip(words) {
                    if let Ok(value) = value.parse() {
                        self.add(format!("{table}{name}"), value, at, out);
                    }
                }
            }
            _ => self.names = Some((table.to_owned(), words.map(str::to_owned).collect())),
        }
        true
    }

    fn has_snapshots(&self) -> bool {
        true
    }
}

impl Nstat {
    /// `{"kernel":{"IpInReceives":0,…}}`, on one line.
    fn json(&self, line: &str, at: LineRef, out: &mut Out<'_>) -> bool {
        let Ok(Value::Object(all)) = serde_json::from_str(line) else {
            return false;
        };
        out.snapshot += 1;
        for counters in all.values().filter_map(Value::as_object) {
            for (name, value) in counters {
                if let Some(value) = value.as_u64() {
                    self.add(name.clone(), value, at, out);
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::Interest;
    use crate::read::{HostFiles, Source};

    #[test]
    fn all_forms_name_the_same_counter() {
        for text in [
            "#kernel\nTcpExtListenOverflows           3                  0.0\n",
            "{\"kernel\":{\"IpInReceives\":9,\"TcpExtListenOverflows\":3}}\n",
            "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 0 3\n",
        ] {
            let source = Source::Bytes("n".to_owned(), text.as_bytes().to_vec());
            let files = HostFiles::of(vec![source], &std::collections::BTreeMap::new(), &|_, _| {
                Interest::Sure
            });
            assert_eq!(files.files[0].kind, Kind::Nstat, "{text}");
            let mut all = files.facts.counters.iter();
            let found = all.find(|one| one.name == "TcpExtListenOverflows").unwrap();
            assert_eq!(found.value, 3);
        }
    }
}

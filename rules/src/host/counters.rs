//! Counters of a host: by how much they rose, or what they are.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hostfiles::{Counter, HostFile, Kind, Place};

use super::join::{Joined, Known};

/// What a counter did.
#[derive(Clone, Debug)]
pub(super) struct Count {
    /// By how much it rose, or its value where there is one reading only.
    pub(super) value: u64,
    /// The reading before, where there are two.
    pub(super) before: Option<u64>,
    /// The line of the last reading; `None` where the tool leaves zeros out.
    pub(super) place: Option<Place>,
    /// The value counts from the start of the host.
    pub(super) since_start: bool,
}

impl Count {
    /// In words.
    pub(super) fn words(&self, name: &str) -> String {
        match self.before {
            Some(before) => format!("{name} rose by {} (from {before})", self.value),
            None if self.since_start => format!("{name} is {} since the host started", self.value),
            None => format!("{name} rose by {}", self.value),
        }
    }
}

/// The readings of one host, each by name.
type Reading<'a> = BTreeMap<&'a str, &'a Counter>;

impl Joined {
    /// What a counter of a host did; `None` when no file of that host has counters.
    pub(super) fn count(&self, host: Option<IpAddr>, name: &str) -> Option<Count> {
        let is_counted = |(file, known): (&HostFile, &Known)| {
            known.host == host && matches!(file.kind, Kind::Nstat | Kind::Conntrack)
        };
        if !self.files.files.iter().zip(&self.known).any(is_counted) {
            return None;
        }
        let mut readings = BTreeMap::<(usize, u32), Reading<'_>>::new();
        for counter in &self.files.facts.counters {
            let at = counter.place.at;
            let known = &self.known[at.file];
            if known.host == host && !known.is_foreign {
                let reading = readings.entry((at.file, counter.snapshot)).or_default();
                let sum = reading.entry(counter.name.as_str()).or_insert(counter);
                if counter.value > sum.value {
                    *sum = counter; // Of several processors, the largest.
                }
            }
        }
        let table = name.split("Ext").next().unwrap_or(name);
        let table = table.get(..3.min(table.len())).unwrap_or(table);
        let tells = |reading: &Reading<'_>| {
            reading.contains_key(name) || reading.keys().any(|other| other.starts_with(table))
        };
        let mut readings: Vec<_> = readings
            .into_iter()
            .filter(|(_, reading)| tells(reading))
            .collect();
        let time = |reading: &Reading<'_>| reading.values().find_map(|counter| counter.place.time);
        let grown = |reading: &Reading<'_>| {
            let names = [
                "IpInReceives",
                "TcpInSegs",
                "TcpExtTCPPureAcks",
                "UdpInDatagrams",
            ];
            names
                .iter()
                .find_map(|name| reading.get(name))
                .map(|counter| counter.value)
        };
        readings.sort_by_key(|(key, reading)| (time(reading), grown(reading), *key));
        let value = |reading: &Reading<'_>| reading.get(name).map_or(0, |counter| counter.value);
        let (_, last) = readings.last()?;
        let place = last.get(name).map(|counter| counter.place);
        match readings.as_slice() {
            [(_, only)] => Some(Count {
                value: value(only),
                before: None,
                place,
                // `nstat` without `-a` leaves zeros out and counts from its last run.
                since_start: only.values().any(|counter| counter.value == 0) || only.len() > 60,
            }),
            [(_, first), .., (_, last)] => Some(Count {
                value: value(last).saturating_sub(value(first)),
                before: Some(value(first)),
                place,
                since_start: false,
            }),
            [] => None,
        }
    }
}

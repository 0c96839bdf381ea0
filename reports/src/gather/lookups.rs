//! Name lookups, and which connection each of them led to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use analyzer::app::DnsExchange;
use analyzer::{Connection, Timestamp};
use serde::{Deserialize, Serialize};

/// Types of queries for addresses: A and AAAA.
const OF_ADDRESSES: [u16; 2] = [1, 28];

/// A client that gets no usable response asks again within this: resolvers wait 1 to 5 s, some of
/// them twice as long before a second round.
const RETRY: Duration = Duration::from_secs(10);

/// A connection that begins later than this after the response was not waiting for it.
const USED_WITHIN: Duration = Duration::from_secs(1);

/// Lookups of one address that are looked through for one connection.
const CANDIDATES: usize = 64;

/// One query for the addresses of a name, and its response.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(super) struct Lookup {
    client: IpAddr,
    name: String,
    asked: Timestamp,
    frame: u64,
    last_asked: Timestamp,
    answered: Option<Timestamp>,
    addresses: Vec<IpAddr>,
}

impl Lookup {
    /// How many queries for addresses a connection remembers.
    pub fn count_of(connection: &Connection) -> u64 {
        exchanges(connection).count() as u64
    }

    /// The queries for addresses that a connection remembers.
    pub fn of(connection: &Connection) -> impl Iterator<Item = Self> {
        exchanges(connection).map(|exchange| Self {
            client: connection.client.ip,
            name: exchange.name.clone(),
            asked: exchange.asked.time,
            frame: exchange.asked.frame,
            last_asked: exchange.last_asked.time,
            answered: exchange.answered.map(|at| at.time),
            addresses: exchange.addresses.clone(),
        })
    }
}

fn exchanges(connection: &Connection) -> impl Iterator<Item = &DnsExchange> {
    let exchanges = connection.app.dns.iter();
    exchanges.filter(|exchange| OF_ADDRESSES.contains(&exchange.qtype))
}

/// The queries by which a client found the addresses of a name: those for both address families,
/// and further attempts until one was answered with an address.
#[derive(Debug)]
struct Resolution {
    client: IpAddr,
    name: String,
    from: Timestamp,
    /// When the latest of its queries was answered or last sent.
    until: Timestamp,
    answers: Vec<Timestamp>,
    /// Each address with the response that bore it.
    addresses: Vec<(IpAddr, Timestamp)>,
}

impl Resolution {
    fn begins_with(lookup: &Lookup) -> Self {
        let mut resolution = Self {
            client: lookup.client,
            name: lookup.name.clone(),
            from: lookup.asked,
            until: lookup.asked,
            answers: Vec::new(),
            addresses: Vec::new(),
        };
        resolution.add(lookup);
        resolution
    }

    /// Whether a later query of the same client for the same name belongs to it.
    fn goes_on_with(&self, lookup: &Lookup) -> bool {
        let waits_still = lookup.asked <= self.until;
        let again = self.addresses.is_empty() && lookup.asked.since(self.until) <= RETRY;
        self.client == lookup.client && self.name == lookup.name && (waits_still || again)
    }

    fn add(&mut self, lookup: &Lookup) {
        self.until = self.until.max(lookup.answered.unwrap_or(lookup.last_asked));
        if let Some(answered) = lookup.answered {
            self.answers.push(answered);
            let addresses = lookup.addresses.iter();
            self.addresses
                .extend(addresses.map(|address| (*address, answered)));
        }
    }
}

/// All resolutions that no connection has used yet.
#[derive(Debug, Default)]
pub(super) struct Resolutions {
    all: Vec<Resolution>,
    /// By client and address: when the address was known.
    by_address: BTreeMap<(IpAddr, IpAddr), BTreeSet<(Timestamp, usize)>>,
}

impl Resolutions {
    pub fn new(mut lookups: Vec<Lookup>) -> Self {
        lookups.sort_by(|a, b| {
            let key = |one: &Lookup| (one.client, one.asked, one.frame);
            a.name.cmp(&b.name).then_with(|| key(a).cmp(&key(b)))
        });
        let mut all: Vec<Resolution> = Vec::new();
        for lookup in &lookups {
            match all.last_mut().filter(|last| last.goes_on_with(lookup)) {
                Some(last) => last.add(lookup),
                None => all.push(Resolution::begins_with(lookup)),
            }
        }
        let mut resolutions = Self {
            all,
            ..Self::default()
        };
        for (index, resolution) in resolutions.all.iter().enumerate() {
            for (address, known) in &resolution.addresses {
                let of_address = resolutions
                    .by_address
                    .entry((resolution.client, *address))
                    .or_default();
                of_address.insert((*known, index));
            }
        }
        resolutions
    }

    /// The lookup that a connection of `client` to the address `called`, begun at `began`, was waiting
    /// for: from the first query to the last response before it. Only the first connection after a
    /// lookup gets it, so connections come by time. `name` is the one that the connection states.
    pub fn take(
        &mut self,
        client: IpAddr,
        called: IpAddr,
        name: Option<&str>,
        began: Timestamp,
    ) -> Option<(Timestamp, Timestamp)> {
        let known = self.by_address.get(&(client, called))?;
        let recent = (began - RETRY, 0)..=(began, usize::MAX);
        let mut recent = known.range(recent).rev().take(CANDIDATES);
        let (index, span) = recent.find_map(|&(_, index)| {
            let resolution = &self.all[index];
            let answers = resolution.answers.iter();
            let last = answers.filter(|answer| **answer <= began).max()?;
            let is_awaited = began.since(*last) <= USED_WITHIN;
            let is_meant = name.is_none_or(|name| is_name(&resolution.name, name));
            (is_awaited && is_meant).then_some((index, (resolution.from, *last)))
        })?;
        let resolution = &self.all[index];
        for (address, known) in &resolution.addresses {
            let key = (resolution.client, *address);
            if let Some(of_address) = self.by_address.get_mut(&key) {
                of_address.remove(&(*known, index));
            }
        }
        Some(span)
    }
}

/// Whether the name asked for is the one that a connection states, perhaps with a search domain.
fn is_name(asked: &str, stated: &str) -> bool {
    asked
        .strip_prefix(stated)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_nanos(1_700_000_000_000_000_000 + ms * 1_000_000)
    }

    fn lookup(name: &str, asked: i64, answered: Option<i64>, addresses: &[IpAddr]) -> Lookup {
        Lookup {
            client: CLIENT,
            name: name.to_owned(),
            asked: at(asked),
            frame: asked.unsigned_abs(),
            last_asked: at(asked),
            answered: answered.map(at),
            addresses: addresses.to_vec(),
        }
    }

    fn take(from: &mut Resolutions, name: Option<&str>, began: i64) -> Option<(i64, i64)> {
        let (from, to) = from.take(CLIENT, SERVER, name, at(began))?;
        let ms = |time: Timestamp| (time.as_nanos() - at(0).as_nanos()) / 1_000_000;
        Some((ms(from), ms(to)))
    }

    #[test]
    fn a_lookup_belongs_to_the_first_connection_after_it() {
        let mut all = Resolutions::new(vec![lookup("shop.example", 0, Some(20), &[SERVER])]);
        assert_eq!(take(&mut all, Some("shop.example"), 10), None, "before it");
        assert_eq!(take(&mut all, Some("other.example"), 25), None);
        assert_eq!(take(&mut all, Some("shop.example"), 25), Some((0, 20)));
        assert_eq!(take(&mut all, Some("shop.example"), 26), None, "used");
    }

    #[test]
    fn both_families_and_further_attempts_are_one_resolution() {
        let mut all = Resolutions::new(vec![
            lookup("shop.example", 0, None, &[]),
            lookup("shop.example", 5_000, Some(5_010), &[SERVER]),
            lookup("shop.example", 5_001, Some(5_300), &[]),
        ]);
        assert_eq!(take(&mut all, None, 5_301), Some((0, 5_300)));
        // A client that does not wait for the second family.
        let mut all = Resolutions::new(vec![
            lookup("shop.example", 0, Some(10), &[SERVER]),
            lookup("shop.example", 1, Some(900), &[]),
        ]);
        assert_eq!(take(&mut all, Some("shop"), 12), Some((0, 10)));
    }

    #[test]
    fn a_connection_long_after_the_response_was_not_waiting() {
        let mut all = Resolutions::new(vec![lookup("shop.example", 0, Some(20), &[SERVER])]);
        assert_eq!(take(&mut all, Some("shop.example"), 1_500), None);
    }
}

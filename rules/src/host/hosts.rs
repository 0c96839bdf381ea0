//! Which host each file is from.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use analyzer::{Endpoint, Transport};
use hostfiles::{Kind, Opening};

use super::join::Joined;

impl Joined {
    /// Says which host each file is from.
    pub(super) fn name_hosts(&mut self) {
        let mut ends = BTreeSet::new();
        for one in &self.watched {
            ends.extend([one.connection.client.ip, one.connection.server.ip]);
            ends.extend(one.connection.translated_to.map(|end| end.ip));
        }
        let mut by_peer = self.hosts_by_peer();
        let mut by_rows = BTreeMap::<usize, BTreeMap<IpAddr, u64>>::new();
        for (at, rows) in self.rows.iter().enumerate() {
            for (row, end) in rows {
                let file = self.files.facts.sockets[*row].place.at.file;
                let ip = self.watched[at].endpoint(*end).ip;
                *by_rows.entry(file).or_default().entry(ip).or_default() += 1;
            }
        }
        for number in 0..self.files.files.len() {
            let file = &self.files.files[number];
            let own = file.addresses.iter().filter(|(ip, _)| ends.contains(ip));
            let mut own: BTreeMap<IpAddr, u64> = own.map(|(ip, count)| (*ip, *count)).collect();
            if own.is_empty() {
                own = by_rows
                    .remove(&number)
                    .or_else(|| by_peer.remove(&number))
                    .unwrap_or_default();
            }
            let most = own.values().max().copied();
            let best: Vec<IpAddr> = own
                .iter()
                .filter(|(_, count)| Some(**count) == most)
                .map(|(ip, _)| *ip)
                .collect();
            match best.as_slice() {
                [] if !file.addresses.is_empty() => {
                    let other = file.addresses.iter().max_by_key(|(_, count)| **count);
                    self.known[number].host = other.map(|(ip, _)| *ip);
                    self.known[number].is_foreign = true;
                }
                [] => {}
                [one] => self.known[number].host = Some(*one),
                several => {
                    let names: Vec<String> =
                        several.iter().take(3).map(ToString::to_string).collect();
                    // Several addresses of one host are no two hosts, unless they talk to each other.
                    if self.talk(several) {
                        self.known[number].notes.push(format!(
                            "it could be from {}: no host is assigned",
                            names.join(" or ")
                        ));
                    } else {
                        self.known[number].host = several.first().copied();
                    }
                }
            }
        }
        self.name_by_listeners();
        self.name_by_neighbours();
    }

    /// Whether two of these addresses are the ends of one connection.
    fn talk(&self, ips: &[IpAddr]) -> bool {
        self.watched.iter().any(|one| {
            let (client, server) = (one.connection.client.ip, one.connection.server.ip);
            client != server && ips.contains(&client) && ips.contains(&server)
        })
    }

    /// Hosts of files that name only the other ends: who called these servers, who was called by
    /// these clients.
    fn hosts_by_peer(&self) -> HashMap<usize, BTreeMap<IpAddr, u64>> {
        let mut callers = HashMap::<Endpoint, BTreeSet<IpAddr>>::new();
        let mut called = HashMap::<Endpoint, BTreeSet<IpAddr>>::new();
        let mut called_by = HashMap::<IpAddr, BTreeSet<IpAddr>>::new();
        for one in &self.watched {
            let (client, server) = (one.connection.client, one.connection.server);
            for end in [Some(server), one.connection.translated_to]
                .into_iter()
                .flatten()
            {
                callers.entry(end).or_default().insert(client.ip);
            }
            called.entry(client).or_default().insert(server.ip);
            called_by.entry(client.ip).or_default().insert(server.ip);
        }
        let mut hosts = HashMap::<usize, BTreeMap<IpAddr, u64>>::new();
        let mut vote = |file: usize, ips: Option<&BTreeSet<IpAddr>>| {
            if let Some(ips) = ips.filter(|ips| ips.len() == 1)
                && let Some(ip) = ips.first()
            {
                *hosts.entry(file).or_default().entry(*ip).or_default() += 1;
            }
        };
        for socket in &self.files.facts.traced {
            for sender in &socket.senders {
                vote(socket.place.at.file, called.get(sender));
            }
            let Some(peer) = socket.peer else { continue };
            let ips = match socket.opening {
                Opening::Accept => called.get(&peer),
                _ => callers.get(&peer).or_else(|| called.get(&peer)),
            };
            vote(socket.place.at.file, ips);
        }
        for line in &self.files.facts.logs {
            let file = line.place.at.file;
            match (line.upstream, line.client) {
                (Some(upstream), _) => vote(file, callers.get(&upstream)),
                (None, Some(client)) => vote(file, called_by.get(&client)),
                _ => {}
            }
        }
        hosts
    }

    /// Files of one folder come from one host.
    fn name_by_neighbours(&mut self) {
        let mut folders = BTreeMap::<String, BTreeSet<IpAddr>>::new();
        for (file, known) in self.files.files.iter().zip(&self.known) {
            let hosts = folders.entry(file.folder.clone()).or_default();
            hosts.extend(known.host);
        }
        for (file, known) in self.files.files.iter().zip(&mut self.known) {
            if known.host.is_some() || file.kind == Kind::Unknown || !known.notes.is_empty() {
                continue;
            }
            let hosts = folders.get(&file.folder).into_iter().flatten();
            let hosts: Vec<IpAddr> = hosts.copied().collect();
            match hosts.as_slice() {
                [one] => {
                    known.host = Some(*one);
                    known.notes.push(
                        "it names no address: it belongs to the host of its folder".to_owned(),
                    );
                }
                [] => {}
                several => {
                    let names: Vec<String> =
                        several.iter().take(3).map(ToString::to_string).collect();
                    known.notes.push(format!(
                        "it names no address and could be from {}: no host is assigned",
                        names.join(" or ")
                    ));
                }
            }
        }
    }

    /// A listener of a port that one address of the capture serves.
    fn name_by_listeners(&mut self) {
        let mut servers = BTreeMap::<(Transport, u16), BTreeSet<IpAddr>>::new();
        for one in &self.watched {
            let server = one.connection.server;
            servers
                .entry((one.connection.transport, server.port))
                .or_default()
                .insert(server.ip);
        }
        let rows = self.files.facts.sockets.iter();
        let rows = rows.filter(|row| row.peer.is_none());
        let rows = rows.map(|row| (row.place.at.file, row.transport, row.local));
        let bound = self.files.facts.traced.iter().filter_map(|socket| {
            let is_bound = socket.peer.is_none() && socket.opening != Opening::Connect;
            let transport = socket.transport.filter(|_| is_bound)?;
            Some((socket.place.at.file, transport, socket.local?))
        });
        let mut found = BTreeMap::<usize, BTreeSet<IpAddr>>::new();
        for (file, transport, local) in rows.chain(bound) {
            if let Some(ips) = servers.get(&(transport, local.port)) {
                found.entry(file).or_default().extend(ips);
            }
        }
        for (number, ips) in found {
            let known = &mut self.known[number];
            if known.host.is_none() && ips.len() == 1 && !known.is_foreign {
                known.host = ips.first().copied();
                known.notes = vec![
                    "it belongs to the only address of the capture that serves its listeners' ports"
                        .to_owned(),
                ];
            }
        }
    }
}

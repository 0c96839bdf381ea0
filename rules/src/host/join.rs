//! Which line of which host belongs to which connection.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use analyzer::{Direction, Endpoint, Transport};
use hostfiles::{Clock, HostFiles, LineRef, Opening, SocketRow, TracedSocket};

use super::watched::Watched;

const SECOND: i64 = 1_000_000_000;
pub(super) const DAY: i64 = 86_400 * SECOND;
/// How far from the capture a snapshot or trace may lie: what closed in it is gone by then.
pub(super) const NEAR: i64 = 300 * SECOND;
/// Calls that must agree before a clock is corrected by less than it differs in itself.
const NEAREST: i64 = SECOND / 20;

/// How a file's clock differs from the capture's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offset {
    /// To be added to the file's times.
    pub(super) nanos: i64,
    /// Calls it rests on.
    pub(super) calls: usize,
}

/// What is known of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// The host it is from.
    pub(super) host: Option<IpAddr>,
    /// It is from a host of which the capture has nothing.
    pub(super) is_foreign: bool,
    /// Some of it is from another time.
    pub(super) other_time: u64,
    /// Sockets of it of which the capture has nothing.
    pub(super) unseen: u64,
    /// For the reader.
    pub(super) notes: Vec<String>,
    pub(super) offset: Option<Offset>,
}

/// Host files laid beside the connections of a capture.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) files: HostFiles,
    pub(super) known: Vec<Known>,
    pub(super) watched: Vec<Watched>,
    /// Rows of snapshots for each connection, with the end whose they are.
    pub(super) rows: Vec<Vec<(usize, Direction)>>,
    /// Sockets of traced programs for each connection.
    pub(super) traced: Vec<Vec<(usize, Direction)>>,
    /// Connections by first frame and ends.
    pub(super) numbers: HashMap<(u64, Endpoint), usize>,
    /// Who sends datagrams to a server.
    datagram_clients: HashMap<Endpoint, BTreeSet<Endpoint>>,
    /// Rows of sockets without a peer.
    listeners: Vec<usize>,
    /// First and last time of the capture.
    pub(super) span: (i64, i64),
}

type Tuples = HashMap<(Transport, Endpoint, Endpoint), Vec<(usize, Direction)>>;

impl Joined {
    pub(super) fn new(files: HostFiles, watched: Vec<Watched>) -> Self {
        let first = watched.iter().map(|one| one.start.as_nanos()).min();
        let last = watched.iter().map(|one| one.end.as_nanos()).max();
        let numbers = watched.iter().enumerate();
        let numbers =
            numbers.map(|(at, one)| ((one.connection.first_frame, one.connection.client), at));
        let rows = files.facts.sockets.iter().enumerate();
        let listeners = rows.filter(|(_, row)| row.peer.is_none());
        let mut all = Self {
            datagram_clients: datagram_clients(&watched),
            listeners: listeners.map(|(at, _)| at).collect(),
            known: vec![Known::default(); files.files.len()],
            rows: vec![Vec::new(); watched.len()],
            traced: vec![Vec::new(); watched.len()],
            numbers: numbers.collect(),
            span: (first.unwrap_or(0), last.unwrap_or(0)),
            files,
            watched,
        };
        let translations = std::mem::take(&mut all.files.facts.translations);
        let near = translations
            .into_iter()
            .filter(|one| all.is_near(one.place));
        all.files.facts.translations = near.collect();
        let tuples = all.tuples();
        all.join_rows(&tuples);
        all.join_traced(&tuples);
        all.name_hosts();
        all.set_clocks();
        all.join_rest();
        all.set_clocks();
        all.drop_other_times();
        all
    }

    /// Connections by what a host calls its own end and the other, translations included.
    fn tuples(&self) -> Tuples {
        let mut tuples = Tuples::new();
        for (at, one) in self.watched.iter().enumerate() {
            let connection = &one.connection;
            let (transport, client, server) =
                (connection.transport, connection.client, connection.server);
            for called in [Some(server), connection.translated_to]
                .into_iter()
                .flatten()
            {
                let key = (transport, client, called);
                tuples
                    .entry(key)
                    .or_default()
                    .push((at, Direction::ClientToServer));
                let key = (transport, called, client);
                tuples
                    .entry(key)
                    .or_default()
                    .push((at, Direction::ServerToClient));
            }
        }
        // What a device translates has other ends before it than behind it.
        for entry in &self.files.facts.translations {
            let before = (entry.transport, entry.source, entry.destination);
            let behind = (entry.transport, entry.reply_destination, entry.reply_source);
            let turned =
                |(transport, one, other): (Transport, Endpoint, Endpoint)| (transport, other, one);
            for (from, to) in [
                (before, behind),
                (behind, before),
                (turned(before), turned(behind)),
                (turned(behind), turned(before)),
            ] {
                if from != to
                    && !tuples.contains_key(&to)
                    && let Some(known) = tuples.get(&from).cloned()
                {
                    tuples.insert(to, known);
                }
            }
        }
        tuples
    }

    /// The one of several connections with the same ends that a row speaks of.
    fn alive_at(
        &self,
        found: &[(usize, Direction)],
        time: Option<i64>,
    ) -> Option<(usize, Direction)> {
        if let [one] = found {
            return Some(*one);
        }
        let time = time?;
        let begun = found.iter().filter(|(at, _)| {
            self.watched[*at].start.as_nanos() <= time.saturating_add(SECOND / 2)
        });
        begun.max_by_key(|(at, _)| self.watched[*at].start).copied()
    }

    fn join_rows(&mut self, tuples: &Tuples) {
        for number in 0..self.files.facts.sockets.len() {
            let row = &self.files.facts.sockets[number];
            let file = row.place.at.file;
            let Some(peer) = row.peer else { continue };
            // A listing of UDP alone does not say so where all sockets are connected.
            let other = match row.transport {
                Transport::Tcp => Transport::Udp,
                Transport::Udp => Transport::Tcp,
            };
            let found = tuples.get(&(row.transport, row.local, peer));
            let found = found.or_else(|| tuples.get(&(other, row.local, peer)));
            let Some(found) = found else {
                self.known[file].unseen += 1;
                continue;
            };
            if !self.is_near(row.place) {
                self.known[file].other_time += 1;
                continue;
            }
            match self.alive_at(found, self.time_of(row.place)) {
                Some((at, end)) => self.rows[at].push((number, end)),
                None => {
                    let note = "several connections had the same ends, and no time shows which one is meant".to_owned();
                    if !self.known[file].notes.contains(&note) {
                        self.known[file].notes.push(note);
                    }
                }
            }
        }
    }

    /// Joins traced sockets whose ends are known, or of which only one connection can be meant.
    fn join_traced(&mut self, tuples: &Tuples) {
        let mut by_client = HashMap::<(Endpoint, u16), Vec<(usize, Direction)>>::new();
        for (at, one) in self.watched.iter().enumerate() {
            let key = (one.connection.client, one.connection.server.port);
            by_client
                .entry(key)
                .or_default()
                .push((at, Direction::ServerToClient));
        }
        for number in 0..self.files.facts.traced.len() {
            let socket = &self.files.facts.traced[number];
            let Some(peer) = socket.peer else { continue };
            let found = match socket.local {
                Some(local) if !local.ip.is_unspecified() => {
                    let transport = socket.transport.unwrap_or(Transport::Tcp);
                    tuples.get(&(transport, local, peer))
                }
                // Accepted by a listener on any address: its port and the client identify it.
                Some(local) => by_client.get(&(peer, local.port)),
                None => None,
            };
            let Some(found) = found else { continue };
            if let Some((at, end)) = self.begun_with(found, socket) {
                self.traced[at].push((number, end));
            }
        }
    }

    /// The one of several connections with equal ends that a traced socket is.
    fn begun_with(
        &self,
        found: &[(usize, Direction)],
        socket: &TracedSocket,
    ) -> Option<(usize, Direction)> {
        if let [one] = found {
            return Some(*one);
        }
        let file = &self.files.files[socket.place.at.file];
        let opened = socket.opened?.time.filter(|_| file.clock == Clock::Epoch)?;
        found
            .iter()
            .min_by_key(|(at, _)| self.watched[*at].start.as_nanos().abs_diff(opened))
            .copied()
    }

    /// Traced clients whose own port is not stated: by the order or the time in which they connected.
    fn join_rest(&mut self) {
        let mut taken: BTreeSet<usize> = BTreeSet::new();
        for (at, sockets) in self.traced.iter().enumerate() {
            if sockets
                .iter()
                .any(|(_, end)| *end == Direction::ClientToServer)
            {
                taken.insert(at);
            }
        }
        let mut calls = BTreeMap::<(usize, Transport, Endpoint), Vec<usize>>::new();
        for (number, socket) in self.files.facts.traced.iter().enumerate() {
            let is_client = socket.opening == Opening::Connect && socket.local.is_none();
            if let (true, Some(peer)) = (is_client, socket.peer) {
                let transport = socket.transport.unwrap_or(Transport::Tcp);
                calls
                    .entry((socket.place.at.file, transport, peer))
                    .or_default()
                    .push(number);
            }
        }
        for ((file, transport, peer), mut sockets) in calls {
            let host = self.known[file].host;
            let is_it = |at: &usize| {
                let connection = &self.watched[*at].connection;
                let called = connection.server == peer || connection.translated_to == Some(peer);
                called
                    && connection.transport == transport
                    && host.is_none_or(|host| connection.client.ip == host)
                    && !taken.contains(at)
            };
            let mut free: Vec<usize> = (0..self.watched.len()).filter(is_it).collect();
            free.sort_by_key(|at| {
                (
                    self.watched[*at].start,
                    self.watched[*at].connection.first_frame,
                )
            });
            sockets.sort_by_key(|number| self.files.facts.traced[*number].opened);
            if free.len() == sockets.len() {
                for (at, number) in free.into_iter().zip(sockets) {
                    self.traced[at].push((number, Direction::ClientToServer));
                    taken.insert(at);
                }
                continue;
            }
            for number in sockets {
                let opened = self.files.facts.traced[number]
                    .opened
                    .and_then(|call| self.time_of(call));
                let Some(opened) = opened else { continue };
                let distance = |at: &&usize| self.watched[**at].start.as_nanos().abs_diff(opened);
                let nearest = free.iter().min_by_key(distance).copied();
                if let Some(at) = nearest.filter(|at| {
                    self.watched[*at].start.as_nanos().abs_diff(opened) <= NEAREST.unsigned_abs()
                }) {
                    self.traced[at].push((number, Direction::ClientToServer));
                    free.retain(|other| *other != at);
                }
            }
        }
    }

    /// The connections of a finding.
    pub(super) fn number(&self, first_frame: u64, client: Endpoint) -> Option<usize> {
        self.numbers.get(&(first_frame, client)).copied()
    }

    /// Rows for one end of a connection.
    pub(super) fn rows_of(&self, at: usize, end: Direction) -> impl Iterator<Item = &SocketRow> {
        let rows = self.rows[at].iter().filter(move |(_, of)| *of == end);
        rows.map(|(row, _)| &self.files.facts.sockets[*row])
    }

    /// Traced sockets of one end of a connection.
    pub(super) fn traced_of(
        &self,
        at: usize,
        end: Direction,
    ) -> impl Iterator<Item = &TracedSocket> {
        let sockets = self.traced[at].iter().filter(move |(_, of)| *of == end);
        sockets.map(|(socket, _)| &self.files.facts.traced[*socket])
    }

    /// Sockets without a peer that serve an endpoint: listeners, and servers of datagrams.
    pub(super) fn serving(&self, transport: Transport, server: Endpoint) -> Vec<&SocketRow> {
        let rows = self.listeners.iter();
        let rows = rows.map(|row| &self.files.facts.sockets[*row]);
        let serves = |row: &&SocketRow| {
            let known = &self.known[row.place.at.file];
            row.peer.is_none()
                && row.transport == transport
                && row.local.port == server.port
                && !known.is_foreign
                && (row.local.ip == server.ip
                    || row.local.ip.is_unspecified() && known.host == Some(server.ip))
                && self.is_near(row.place)
        };
        rows.filter(serves).collect()
    }

    /// Whether a traced socket serves datagrams at an endpoint.
    pub(super) fn serves(&self, socket: &TracedSocket, server: Endpoint) -> bool {
        if socket.transport != Some(Transport::Udp) || socket.opening == Opening::Connect {
            return false;
        }
        let host = self.host_of(socket.place.at);
        match socket.local {
            Some(local) if local.port == server.port => {
                local.ip == server.ip
                    || host == Some(server.ip)
                    || host.is_none() && local.ip.is_unspecified()
            }
            Some(_) => false,
            // Traced from later on than its bind(): its peers identify it.
            None => {
                let clients = self.datagram_clients.get(&server);
                clients
                    .is_some_and(|clients| socket.senders.iter().any(|one| clients.contains(one)))
            }
        }
    }

    /// The host of a line.
    pub(super) fn host_of(&self, at: LineRef) -> Option<IpAddr> {
        self.known.get(at.file).and_then(|known| known.host)
    }
}

fn datagram_clients(watched: &[Watched]) -> HashMap<Endpoint, BTreeSet<Endpoint>> {
    let mut clients = HashMap::<Endpoint, BTreeSet<Endpoint>>::new();
    for one in watched.iter().map(|one| &one.connection) {
        if one.transport == Transport::Udp {
            clients.entry(one.server).or_default().insert(one.client);
        }
    }
    clients
}

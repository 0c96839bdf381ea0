//! What host files settle before the rules judge: causes of resets, buffers, processes.

use std::collections::{BTreeMap, HashMap};

use analyzer::connection::{Process, ResetKind};
use analyzer::{Connection, Direction, Endpoint, Timestamp, Transport};
use hostfiles::{Place, TracedSocket};

use super::join::Joined;

/// How sure a reset's cause is that a traced call shows.
const TRACED: f64 = 0.98;
/// That a snapshot or the kernel's own word shows.
const SEEN: f64 = 0.95;
/// That counters of the host show.
const COUNTED: f64 = 0.85;

/// A reset whose cause a host file states.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    /// As the packets alone read.
    pub(super) was: ResetKind,
    pub(super) is: ResetKind,
    confidence: f64,
    /// Octets that lay unread.
    unread: u64,
    pub(super) places: Vec<(Place, String)>,
}

/// What is settled.
#[derive(Debug, Default)]
pub(super) struct Settlement {
    /// By connection (its number) and end.
    pub(super) resets: HashMap<(usize, usize), Settled>,
    /// Buffers of UDP servers' reads, by port, with the call that shows them.
    pub(super) buffers: BTreeMap<u16, (u32, Place)>,
    processes: HashMap<usize, Process>,
}

impl Settlement {
    pub(super) fn of(joined: &Joined) -> Self {
        let mut all = Self::default();
        let aborts = aborts(joined);
        for at in 0..joined.watched.len() {
            if let Some(process) = process(joined, at) {
                all.processes.insert(at, process);
            }
            for end in Direction::BOTH {
                if let Some(settled) = reset(joined, &aborts, at, end) {
                    all.resets.insert((at, end.index()), settled);
                }
            }
        }
        by_counters(joined, &mut all);
        all.buffers = buffers(joined);
        all
    }

    /// The connection as the hosts know it; `None` when they say nothing of it.
    pub(super) fn apply(&self, joined: &Joined, conn: &Connection) -> Option<Connection> {
        let at = joined.number(conn.first_frame, conn.client)?;
        let process = self.processes.get(&at);
        let known = |reset: &&analyzer::connection::Reset| {
            let settled = self.resets.get(&(at, reset.segment.direction.index()));
            settled.is_some_and(|settled| settles(reset, settled))
        };
        if process.is_none() && !conn.resets.iter().any(|reset| known(&reset)) {
            return None;
        }
        let mut conn = conn.clone();
        // Of what the capture itself names, pod and container stay.
        if let Some(process) = process {
            let known = conn.process.take();
            let (pod, container) = known
                .map(|known| (known.pod, known.container))
                .unwrap_or_default();
            conn.process = Some(Box::new(Process {
                pod,
                container,
                ..process.clone()
            }));
        }
        for reset in &mut conn.resets {
            let Some(settled) = self.resets.get(&(at, reset.segment.direction.index())) else {
                continue;
            };
            if settles(reset, settled) {
                reset.kind = settled.is;
                reset.confidence = settled.confidence;
                reset.runner_up = None;
                if settled.is == ResetKind::UnreadData {
                    reset.unanswered_octets = reset.unanswered_octets.max(settled.unread);
                }
            }
        }
        Some(conn)
    }
}

fn is_close(kind: ResetKind) -> bool {
    matches!(kind, ResetKind::LingerZero | ResetKind::UnreadData)
}

fn settles(reset: &analyzer::connection::Reset, settled: &Settled) -> bool {
    reset.kind == settled.was && !reset.own_fin_before
}

/// Resets that the kernel itself says came of a close over unread data, by who sent them.
type Aborts = HashMap<(Endpoint, Endpoint), Place>;

fn aborts(joined: &Joined) -> Aborts {
    let words = joined.files.facts.words.iter();
    let aborts = words
        .filter(|word| word.event == "tcp_send_reset" && word.reason.contains("ABORT_ON_CLOSE"));
    aborts
        .filter_map(|word| Some((word.ends?, word.place)))
        .collect()
}

/// The cause of the reset that an end sent, where its own host states it.
fn reset(joined: &Joined, aborts: &Aborts, at: usize, end: Direction) -> Option<Settled> {
    let one = &joined.watched[at];
    let reset = one
        .resets
        .iter()
        .find(|reset| reset.by == end && is_close(reset.kind) && !reset.own_fin_before)?;
    let received = one.sent(end.reverse()).unique_bytes;
    let settled = |is, confidence, unread, places| Settled {
        was: reset.kind,
        is,
        confidence,
        unread,
        places,
    };
    if let Some(socket) = joined
        .traced_of(at, end)
        .find(|socket| socket.closed.is_some())
    {
        return by_calls(socket, received)
            .map(|(is, unread, places)| settled(is, TRACED, unread, places));
    }
    let ends = (one.endpoint(end), one.endpoint(end.reverse()));
    if let Some(place) = aborts.get(&ends) {
        let note =
            "the kernel reset the connection because data was unread at the close".to_owned();
        return Some(settled(
            ResetKind::UnreadData,
            SEEN,
            1,
            vec![(*place, note)],
        ));
    }
    let unread = joined
        .rows_of(at, end)
        .filter(|row| row.recv_q.is_some_and(|octets| octets > 0));
    let unread = unread.filter(|row| {
        let time = joined.time_of(row.place);
        time.is_none_or(|time| Timestamp::from_nanos(time) <= reset.time)
    });
    let row = unread.last()?;
    let octets = row.recv_q.unwrap_or(0);
    let note = format!("{octets} bytes were unread before the reset");
    Some(settled(
        ResetKind::UnreadData,
        SEEN,
        octets,
        vec![(row.place, note)],
    ))
}

/// What a reset is, how many octets it discards, and the lines that say so.
type Said = (ResetKind, u64, Vec<(Place, String)>);

/// What the calls of a program say of its reset.
fn by_calls(socket: &TracedSocket, received: u64) -> Option<Said> {
    let closed = socket.closed?;
    if let Some(linger) = socket
        .linger
        .filter(|linger| linger.on && linger.seconds == 0)
    {
        let note = "SO_LINGER is set to zero seconds before the close: the close aborts".to_owned();
        let close = "the close that resets".to_owned();
        return Some((
            ResetKind::LingerZero,
            0,
            vec![(linger.place, note), (closed, close)],
        ));
    }
    // Only a trace from the beginning on shows that an option was never set and what was read.
    socket.opened?;
    let unread = received
        .checked_sub(socket.bytes_read)
        .filter(|unread| *unread > 0)?;
    let note = format!(
        "an ordinary close, SO_LINGER never set, after {} of {received} bytes were read: {unread} were unread",
        socket.bytes_read
    );
    Some((ResetKind::UnreadData, unread, vec![(closed, note)]))
}

/// Resets that nothing else separates, by the counter of closes over unread data.
fn by_counters(joined: &Joined, all: &mut Settlement) {
    let mut by_host = BTreeMap::<std::net::IpAddr, Vec<(usize, Direction, ResetKind)>>::new();
    for (at, one) in joined.watched.iter().enumerate() {
        for reset in one
            .resets
            .iter()
            .filter(|reset| is_close(reset.kind) && !reset.own_fin_before)
        {
            by_host
                .entry(one.endpoint(reset.by).ip)
                .or_default()
                .push((at, reset.by, reset.kind));
        }
    }
    for (host, resets) in by_host {
        let Some(count) = joined.count(Some(host), "TcpExtTCPAbortOnClose") else {
            continue;
        };
        let words = count.words("TCPAbortOnClose");
        let is = match (count.value, count.since_start) {
            (0, _) => ResetKind::LingerZero,
            (rose, false) if rose >= resets.len() as u64 => ResetKind::UnreadData,
            _ => continue,
        };
        let note = match is {
            ResetKind::LingerZero => format!("{words}: no close met unread data"),
            _ => format!("{words}: as many closes met unread data as connections were reset"),
        };
        let places: Vec<(Place, String)> =
            count.place.map(|place| (place, note)).into_iter().collect();
        for (at, end, was) in resets {
            all.resets
                .entry((at, end.index()))
                .or_insert_with(|| Settled {
                    was,
                    is,
                    confidence: COUNTED,
                    unread: 1,
                    places: places.clone(),
                });
        }
    }
}

/// Buffers that a datagram filled although a longer one was sent.
fn buffers(joined: &Joined) -> BTreeMap<u16, (u32, Place)> {
    let mut largest = BTreeMap::<Endpoint, u32>::new();
    for one in joined
        .watched
        .iter()
        .filter(|one| one.connection.transport == Transport::Udp)
    {
        let size = one
            .datagrams
            .iter()
            .map(|(size, _)| *size)
            .max()
            .unwrap_or(0);
        let known = largest.entry(one.connection.server).or_default();
        *known = size.max(*known);
    }
    let mut found = BTreeMap::<u16, (u32, Place)>::new();
    for socket in &joined.files.facts.traced {
        let Some(read) = socket.filled else { continue };
        let asked = u32::try_from(read.asked).unwrap_or(u32::MAX);
        for (server, sent) in &largest {
            if *sent > asked && joined.serves(socket, *server) {
                found.entry(server.port).or_insert((asked, read.place));
            }
        }
    }
    found
}

/// The program at one end of a connection: the client's where both are known.
fn process(joined: &Joined, at: usize) -> Option<Process> {
    let files = &joined.files;
    for end in Direction::BOTH {
        let host = Some(joined.watched[at].endpoint(end).ip.to_string());
        let row = joined.rows_of(at, end).find(|row| !row.users.is_empty());
        if let Some(row) = row
            && let Some(user) = row.users.first()
        {
            return Some(Process {
                name: Some(user.name.clone()),
                pid: user.pid,
                pod: None,
                container: None,
                host,
                source: files.files[row.place.at.file].name.clone(),
            });
        }
        let socket = joined
            .traced_of(at, end)
            .find(|socket| socket.pid.is_some());
        if let Some(socket) = socket
            && let Some(pid) = socket.pid
        {
            let file = socket.place.at.file;
            return Some(Process {
                name: files.process_name(file, pid).map(str::to_owned),
                pid: Some(pid),
                pod: None,
                container: None,
                host,
                source: files.files[file].name.clone(),
            });
        }
    }
    served(joined, at)
}

/// A server of datagrams has one socket for all clients.
fn served(joined: &Joined, at: usize) -> Option<Process> {
    let connection = &joined.watched[at].connection;
    if connection.transport != Transport::Udp {
        return None;
    }
    let rows = joined.serving(Transport::Udp, connection.server);
    let row = rows.into_iter().find(|row| !row.users.is_empty())?;
    let user = row.users.first()?;
    Some(Process {
        name: Some(user.name.clone()),
        pid: user.pid,
        pod: None,
        container: None,
        host: Some(connection.server.ip.to_string()),
        source: joined.files.files[row.place.at.file].name.clone(),
    })
}

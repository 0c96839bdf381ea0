//! Listings of a host's sockets beside what the packets say of the same moment.

use std::collections::{BTreeMap, BTreeSet};

use analyzer::connection::TcpState;
use analyzer::{Direction, Timestamp, Transport};

use super::join::Joined;

/// Listings kept, the earliest first.
const SNAPSHOTS: usize = 512;

/// All of a host's TCP connections in one listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostSnapshot {
    /// Name of its file.
    pub file: String,
    /// The host.
    pub host: Option<String>,
    /// Which end of its connections it is.
    pub end: Direction,
    /// When it was taken, in the time of the capture.
    pub time: Timestamp,
    /// Sockets by state, in the order of RFC 9293.
    pub states: Vec<StateCount>,
    /// Sockets of which the capture has no packet.
    pub unseen: u64,
    /// Why both differ, in sentences; empty when they agree.
    pub differences: Vec<String>,
}

/// How many sockets are in one state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateCount {
    /// The state.
    pub state: TcpState,
    /// As the host lists it.
    pub host: u64,
    /// As the packets of the host's connections say.
    pub capture: u64,
}

/// A row of a listing.
struct Listed {
    state: TcpState,
    /// The connection that it is, with the host's end of it.
    of: Option<(usize, Direction)>,
}

/// All listings with a time, the earliest first.
pub(super) fn all(joined: &Joined) -> Vec<HostSnapshot> {
    let mut known = BTreeMap::<usize, (usize, Direction)>::new();
    for (at, rows) in joined.rows.iter().enumerate() {
        known.extend(rows.iter().map(|(row, end)| (*row, (at, *end))));
    }
    let mut listings = BTreeMap::<(i64, usize), Vec<Listed>>::new();
    for (number, row) in joined.files.facts.sockets.iter().enumerate() {
        let file = row.place.at.file;
        let (Some(time), Some(_), Some(state)) =
            (joined.time_of(row.place), row.peer, state(row.state))
        else {
            continue;
        };
        if row.transport != Transport::Tcp || joined.known[file].is_foreign {
            continue;
        }
        let of = known.get(&number).copied();
        listings
            .entry((time, file))
            .or_default()
            .push(Listed { state, of });
    }
    let listings = listings.into_iter();
    let snapshots =
        listings.filter_map(|((time, file), rows)| snapshot(joined, (time, file), &rows));
    snapshots.take(SNAPSHOTS).collect()
}

/// The state that a tool's name stands for.
fn state(name: &str) -> Option<TcpState> {
    let name = match name {
        "ESTAB" => "ESTABLISHED",
        "SYN-RECV" => "SYN-RECEIVED",
        other => other,
    };
    let mut known = TcpState::ALL.into_iter();
    known.find(|state| {
        state.as_str() == name && !matches!(state, TcpState::Listen | TcpState::Closed)
    })
}

fn snapshot(joined: &Joined, (time, file): (i64, usize), rows: &[Listed]) -> Option<HostSnapshot> {
    let time = Timestamp::from_nanos(time);
    let clients = rows.iter().filter_map(|row| row.of);
    let clients = clients
        .filter(|(_, end)| *end == Direction::ClientToServer)
        .count();
    let joined_rows = rows.iter().filter(|row| row.of.is_some()).count();
    // Without any connection of the capture, nothing is there to be laid beside it.
    let end = match joined_rows {
        0 => return None,
        all if clients * 2 >= all => Direction::ClientToServer,
        _ => Direction::ServerToClient,
    };
    let host = joined.known[file].host;
    let mut counts = BTreeMap::<TcpState, (u64, u64)>::new();
    let mut listed = BTreeSet::new();
    let mut other_states = BTreeMap::<(TcpState, Option<TcpState>), u64>::new();
    let mut unseen = 0;
    for row in rows {
        counts.entry(row.state).or_default().0 += 1;
        let Some((at, of_end)) = row.of else {
            unseen += 1;
            continue;
        };
        listed.insert((at, of_end));
        let seen = joined.watched[at].state_at(of_end, time);
        if seen != Some(row.state) {
            *other_states.entry((row.state, seen)).or_default() += 1;
        }
    }
    let mut unlisted = BTreeMap::<TcpState, u64>::new();
    for (at, one) in joined.watched.iter().enumerate() {
        let is_of_host = host.is_none_or(|host| one.endpoint(end).ip == host);
        let Some(seen) = one.state_at(end, time).filter(|_| is_of_host) else {
            continue;
        };
        counts.entry(seen).or_default().1 += 1;
        if !listed.contains(&(at, end)) && host.is_some() {
            *unlisted.entry(seen).or_default() += 1;
        }
    }
    let states = counts
        .into_iter()
        .map(|(state, (host, capture))| StateCount {
            state,
            host,
            capture,
        });
    Some(HostSnapshot {
        file: joined.files.files[file].name.clone(),
        host: host.map(|host| host.to_string()),
        end,
        time,
        states: states.collect(),
        unseen,
        differences: differences(unseen, &other_states, &unlisted),
    })
}

fn differences(
    unseen: u64,
    other_states: &BTreeMap<(TcpState, Option<TcpState>), u64>,
    unlisted: &BTreeMap<TcpState, u64>,
) -> Vec<String> {
    let mut all = Vec::new();
    if unseen > 0 {
        all.push(format!(
            "{unseen} listed: no packet of them was captured (silent while the capture ran, on another interface, or filtered out)"
        ));
    }
    for ((host, seen), count) in other_states {
        let why = match (host, seen) {
            (_, None | Some(TcpState::Closed)) => {
                "by the packets closed or not yet open: the host keeps it longer, or its last packets were not captured"
            }
            (TcpState::TimeWait, Some(_)) => {
                "the other end's last packets reached the host and not the capture"
            }
            (TcpState::Established, Some(TcpState::CloseWait | TcpState::FinWait1)) => {
                "the FIN passed the capture point and not yet, or never, the host"
            }
            _ => "packets between the two moments, or packets that only one of them saw",
        };
        let seen = seen.map_or("absent", TcpState::as_str);
        all.push(format!(
            "{count} listed as {}, by the packets {seen}: {why}",
            host.as_str()
        ));
    }
    for (state, count) in unlisted {
        let why = match state {
            TcpState::TimeWait => {
                "TIME-WAIT is cut short where its table is full, or sockets are reused"
            }
            TcpState::SynReceived => "a listener's requests are listed only by `ss state syn-recv`",
            _ => {
                "opened or closed between the two moments, or left out by the options of the listing"
            }
        };
        all.push(format!(
            "{count} not listed, by the packets {}: {why}",
            state.as_str()
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tools_are_states_of_connections() {
        assert_eq!(state("ESTAB"), Some(TcpState::Established));
        assert_eq!(state("SYN-RECV"), Some(TcpState::SynReceived));
        assert_eq!(state("FIN-WAIT-2"), Some(TcpState::FinWait2));
        assert_eq!(state("LISTEN"), None);
        assert_eq!(state("UNCONN"), None);
    }

    #[test]
    fn what_differs_is_explained() {
        assert!(differences(0, &BTreeMap::new(), &BTreeMap::new()).is_empty());
        let other = BTreeMap::from([((TcpState::Established, Some(TcpState::CloseWait)), 2)]);
        let unlisted = BTreeMap::from([(TcpState::TimeWait, 3)]);
        let all = differences(1, &other, &unlisted);
        assert!(all[0].starts_with("1 listed: no packet"));
        assert!(all[1].starts_with("2 listed as ESTABLISHED, by the packets CLOSE-WAIT: the FIN"));
        assert!(all[2].starts_with("3 not listed, by the packets TIME-WAIT"));
    }
}

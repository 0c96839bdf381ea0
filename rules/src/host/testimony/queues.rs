//! What queues and counters say.

use std::net::IpAddr;

use analyzer::{Endpoint, Transport};
use hostfiles::TracedSocket;

use super::{Case, Line};
use crate::host::counters::Count;
use crate::model::ask::Says;

fn server(case: &Case<'_>) -> Option<Endpoint> {
    case.finding.connections.first().map(|one| one.server)
}

/// A counter of a host; of a file whose host is not known where no other is.
fn count(case: &Case<'_>, host: IpAddr, name: &str) -> Option<(Count, bool)> {
    let of_host = case
        .joined
        .count(Some(host), name)
        .map(|count| (count, true));
    of_host.or_else(|| case.joined.count(None, name).map(|count| (count, false)))
}

/// The accept queue: what overflowed, and how full it is.
pub(super) fn listen_queue(case: &Case<'_>) -> Vec<Line> {
    let Some(server) = server(case) else {
        return Vec::new();
    };
    let is_overflow = case.finding.rule == "listen-overflow";
    let mut lines = Vec::new();
    for row in case.joined.serving(Transport::Tcp, server) {
        let (Some(waiting), Some(room)) = (row.recv_q, row.send_q) else {
            continue;
        };
        if row.state == "LISTEN" && waiting > room && room > 0 {
            let note = format!(
                "{waiting} connections wait for accept() where {room} may: the queue is full"
            );
            lines.push(Line::new(row.place.at, Says::Supports, note).strong());
        }
    }
    let names = [
        "TcpExtListenOverflows",
        "TcpExtListenDrops",
        "TcpExtTCPReqQFullDrop",
    ];
    let counts: Vec<_> = names
        .into_iter()
        .filter_map(|name| Some((name, count(case, server.ip, name)?)))
        .collect();
    let rose: Vec<_> = counts
        .iter()
        .filter(|(_, (count, _))| count.value > 0)
        .collect();
    for (name, (count, is_known)) in &rose {
        let Some(place) = count.place else { continue };
        let words = count.words(name.trim_start_matches("TcpExt"));
        let note = if *is_known {
            words
        } else {
            format!("{words}, on a host that no address identifies: it may be this one")
        };
        let line = Line::new(place.at, Says::Supports, note);
        lines.push(if *is_known && !count.since_start {
            line.strong()
        } else {
            line
        });
    }
    let overflows = counts
        .iter()
        .find(|(name, _)| *name == "TcpExtListenOverflows");
    if let Some((_, (count, true))) = overflows
        && rose.is_empty()
        && lines.is_empty()
        && is_overflow
    {
        for (name, (count, _)) in counts
            .iter()
            .filter(|(_, (count, _))| count.place.is_some())
        {
            let Some(place) = count.place else { continue };
            let note = format!(
                "{}: the listener dropped nothing",
                count.words(name.trim_start_matches("TcpExt"))
            );
            lines.push(Line::new(place.at, Says::Contradicts, note).strong());
        }
        if lines.is_empty() && count.place.is_none() {
            lines.extend(anything_of(case, server.ip));
        }
    }
    lines
}

/// A counter file of a host that leaves zeros out: its first line stands for what is not in it.
fn anything_of(case: &Case<'_>, host: IpAddr) -> Option<Line> {
    let counters = &case.joined.files.facts.counters;
    let of_host = |at| case.joined.host_of(at) == Some(host);
    let counter = counters
        .iter()
        .rev()
        .find(|counter| counter.name.starts_with("TcpExt") && of_host(counter.place.at))?;
    let note = "neither ListenOverflows nor ListenDrops is among the counters that rose: the listener dropped nothing";
    Some(Line::new(counter.place.at, Says::Contradicts, note).strong())
}

/// Datagrams that found no room.
pub(super) fn datagram_drops(case: &Case<'_>) -> Vec<Line> {
    let Some(server) = server(case) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for row in case.joined.serving(Transport::Udp, server) {
        if let Some(drops) = row.drops.filter(|drops| *drops > 0) {
            let note = format!(
                "the server's socket dropped {drops} datagrams: its receive buffer was full"
            );
            lines.push(Line::new(row.place.at, Says::Supports, note).strong());
        }
    }
    if let Some((count, is_known)) = count(case, server.ip, "UdpRcvbufErrors")
        && count.value > 0
        && let Some(place) = count.place
    {
        let line = Line::new(
            place.at,
            Says::Supports,
            format!(
                "{}: datagrams found the receive buffer full",
                count.words("UdpRcvbufErrors")
            ),
        );
        lines.push(if is_known && !count.since_start {
            line.strong()
        } else {
            line
        });
    }
    lines
}

/// Fragments that were not put together.
pub(super) fn fragments(case: &Case<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for one in case.finding.connections.iter().take(16) {
        for host in [one.server.ip, one.client.ip] {
            if let Some((count, is_known)) = count(case, host, "IpReasmFails")
                && count.value > 0
                && let Some(place) = count.place
            {
                let line = Line::new(
                    place.at,
                    Says::Supports,
                    format!(
                        "{}: datagrams lacked fragments",
                        count.words("IpReasmFails")
                    ),
                );
                lines.push(if is_known && !count.since_start {
                    line.strong()
                } else {
                    line
                });
            }
        }
    }
    lines
}

/// Share of the time in futex from which threads wait for each other more than they work.
const FUTEX_PERCENT: f64 = 20.0;

/// One socket for all, and what its threads wait for.
pub(super) fn shared_socket(case: &Case<'_>) -> Vec<Line> {
    let mut lines = waits_of_threads(case);
    lines.extend(sockets_of_flow(case));
    if let Some(server) = server(case) {
        lines.extend(sockets_of_port(case, server));
    }
    lines.sort_by_key(|line| !line.is_strong);
    lines
}

/// Share of time that the finding's hosts spend in futex calls.
fn waits_of_threads(case: &Case<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    let hosts: Vec<IpAddr> = case
        .finding
        .connections
        .iter()
        .flat_map(|one| [one.client.ip, one.server.ip])
        .collect();
    for call in &case.joined.files.facts.calls {
        let host = case.joined.host_of(call.at);
        if call.call != "futex" || host.is_some_and(|host| !hosts.contains(&host)) {
            continue;
        }
        let note = format!(
            "{} % of the time in calls is futex ({} calls)",
            call.percent, call.calls
        );
        if call.percent >= FUTEX_PERCENT {
            let line = Line::new(
                call.at,
                Says::Supports,
                format!("{note}: threads wait for each other"),
            );
            lines.push(if host.is_some() { line.strong() } else { line });
        } else {
            lines.push(Line::new(
                call.at,
                Says::Contradicts,
                format!("{note}: threads hardly wait for each other"),
            ));
        }
    }
    lines
}

/// The one socket of the flow at each watched end, and the threads that use it.
fn sockets_of_flow(case: &Case<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (at, _) in case.watched() {
        for end in analyzer::Direction::BOTH {
            for socket in case
                .joined
                .traced_of(at, end)
                .filter(|socket| socket.threads.len() > 1)
            {
                lines.push(used_by_threads(socket));
            }
            for row in case.joined.rows_of(at, end).take(1) {
                lines.push(Line::new(
                    row.place.at,
                    Says::Supports,
                    format!("the {}'s one socket of this flow", super::end_name(end)),
                ));
            }
        }
    }
    lines
}

/// How many sockets serve the server's port, and the threads that use each.
fn sockets_of_port(case: &Case<'_>, server: Endpoint) -> Vec<Line> {
    let mut lines = Vec::new();
    let rows = case.joined.serving(Transport::Udp, server);
    let mut files = rows.iter().map(|row| row.place.at.file).collect::<Vec<_>>();
    files.dedup();
    for file in files {
        let of_file: Vec<_> = rows
            .iter()
            .filter(|row| row.place.at.file == file)
            .collect();
        let says = if of_file.len() == 1 {
            Says::Supports
        } else {
            Says::Contradicts
        };
        let note = format!(
            "{} of the server for port {}",
            crate::model::text::many(of_file.len() as u64, "socket"),
            server.port
        );
        lines.extend(
            of_file
                .first()
                .map(|row| Line::new(row.place.at, says, note)),
        );
    }
    for socket in case
        .joined
        .files
        .facts
        .traced
        .iter()
        .filter(|socket| socket.threads.len() > 1)
    {
        if case.joined.serves(socket, server) {
            lines.push(used_by_threads(socket));
        }
    }
    lines
}

fn used_by_threads(socket: &TracedSocket) -> Line {
    let note = format!(
        "{} threads (at least) use this one socket",
        socket.threads.len()
    );
    Line::new(socket.place.at, Says::Supports, note).strong()
}

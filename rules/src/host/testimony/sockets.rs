//! What snapshots of sockets say.

use std::collections::BTreeMap;

use analyzer::{Direction, Timestamp};
use hostfiles::{LineRef, SocketRow};

use super::{Case, Line, end_name};
use crate::model::ask::Says;

/// The state in which sockets pile up that a rule speaks of.
fn telling_state(rule: &str) -> &'static [&'static str] {
    match rule {
        "client-timeout-close" => &["FIN-WAIT-2", "FIN-WAIT-1"],
        "close-wait-leak" => &["CLOSE-WAIT"],
        "syn-unanswered" | "slow-connect" => &["SYN-SENT"],
        _ => &[],
    }
}

/// Whose the connections are, and in which state the host has them.
pub(super) fn owner(case: &Case<'_>) -> Vec<Line> {
    let mut groups = BTreeMap::<(bool, &str, String, bool, usize), (LineRef, u64)>::new();
    let telling = telling_state(case.finding.rule);
    for (at, _) in case.watched() {
        for end in Direction::BOTH {
            let rows: Vec<&SocketRow> = case.joined.rows_of(at, end).collect();
            let user = rows.iter().find_map(|row| row.users.first());
            for row in &rows {
                let owner = match user.or(row.users.first()) {
                    Some(user) => match user.pid {
                        Some(pid) => format!("{}[{pid}]", user.name),
                        None => user.name.clone(),
                    },
                    None => traced_owner(case, at, end).unwrap_or_default(),
                };
                let tells = telling.contains(&row.state);
                if !tells && (owner.is_empty() || row.users.is_empty()) {
                    continue;
                }
                let is_client = end == Direction::ClientToServer;
                let key = (!tells, row.state, owner, is_client, row.place.at.file);
                let entry = groups.entry(key).or_insert((row.place.at, 0));
                entry.1 += 1;
            }
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|((quiet, ..), (at, count))| (*quiet, std::cmp::Reverse(*count), *at));
    let lines = groups
        .into_iter()
        .map(|((quiet, state, owner, is_client, _), (at, count))| {
            let end = if is_client { "client" } else { "server" };
            let state = if state.is_empty() {
                "an unnamed state"
            } else {
                state
            };
            let note = if owner.is_empty() {
                format!("the {end} has {count} of these connections in {state}, without an owner")
            } else {
                format!("the {end}'s {owner} has {count} of these connections in {state}")
            };
            let says = if quiet { Says::Names } else { Says::Supports };
            let line = Line::new(at, says, note);
            if quiet { line } else { line.strong() }
        });
    let mut lines: Vec<Line> = lines.collect();
    if !lines.iter().any(|line| line.note.contains('[')) {
        lines.extend(traced_names(case));
    }
    lines
}

/// Processes that only a trace names.
fn traced_names(case: &Case<'_>) -> Option<Line> {
    case.watched().find_map(|(at, _)| {
        Direction::BOTH.into_iter().find_map(|end| {
            let socket = case
                .joined
                .traced_of(at, end)
                .find(|socket| socket.pid.is_some())?;
            let owner = traced_owner(case, at, end)?;
            let note = format!("the {}'s {owner} has the connection open", end_name(end));
            Some(Line::new(
                socket.opened.unwrap_or(socket.place).at,
                Says::Names,
                note,
            ))
        })
    })
}

fn traced_owner(case: &Case<'_>, at: usize, end: Direction) -> Option<String> {
    let socket = case
        .joined
        .traced_of(at, end)
        .find(|socket| socket.pid.is_some())?;
    let pid = socket.pid?;
    let name = case.joined.files.process_name(socket.place.at.file, pid);
    Some(format!("{}[{pid}]", name.unwrap_or("process")))
}

/// Retransmissions as the kernel counts them, beside ours.
pub(super) fn retransmissions(case: &Case<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (at, one) in case.watched() {
        for end in Direction::BOTH {
            let ours = one.sent(end).retransmitted;
            for row in case.joined.rows_of(at, end) {
                let Some(tcp) = &row.tcp else { continue };
                let Some(theirs) = tcp.retransmitted else {
                    continue;
                };
                if theirs == 0 && ours == 0 {
                    continue;
                }
                let time = case.joined.time_of(row.place).map(Timestamp::from_nanos);
                let is_whole = time.is_some_and(|time| time >= one.end);
                let rto = match (tcp.rto_ms, one.sent(end).rto_ms) {
                    (Some(theirs), Some(ours)) => {
                        format!("; its timeout is {theirs} ms, the capture's estimate {ours:.0} ms")
                    }
                    (Some(theirs), None) => format!("; its timeout is {theirs} ms"),
                    _ => String::new(),
                };
                let end = end_name(end);
                let (says, words) = match theirs.cmp(&ours) {
                    std::cmp::Ordering::Equal => {
                        (Says::Supports, "agrees with the capture".to_owned())
                    }
                    std::cmp::Ordering::Less if !is_whole && theirs > 0 => (
                        Says::Supports,
                        format!("had not ended: the capture shows {ours} in all"),
                    ),
                    std::cmp::Ordering::Less if !is_whole => continue,
                    _ => (
                        Says::Contradicts,
                        format!("disagrees with the capture, which shows {ours}"),
                    ),
                };
                let note = format!(
                    "the {end}'s kernel retransmitted {theirs} segments, which {words}{rto}"
                );
                let line = Line::new(row.place.at, says, note);
                lines.push(if says == Says::Supports {
                    line.strong()
                } else {
                    line
                });
            }
        }
    }
    lines.sort_by_key(|line| (line.says == Says::Contradicts, line.at));
    lines
}

/// Who limited a transfer.
pub(super) fn send_limits(case: &Case<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (at, _) in case.watched() {
        for end in Direction::BOTH {
            for row in case.joined.rows_of(at, end) {
                let Some(tcp) = &row.tcp else { continue };
                let end = end_name(end);
                if let Some(limited) = tcp.rwnd_limited_ms.filter(|limited| *limited > 0.0) {
                    let note =
                        format!("the {end} was held back by its peer's window for {limited} ms");
                    lines.push(Line::new(row.place.at, Says::Supports, note).strong());
                } else if let Some(limited) = tcp.sndbuf_limited_ms.filter(|limited| *limited > 0.0)
                {
                    let note =
                        format!("the {end} was held back by its own send buffer for {limited} ms");
                    lines.push(Line::new(row.place.at, Says::Names, note));
                }
            }
        }
    }
    lines
}

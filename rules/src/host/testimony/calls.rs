//! What traced calls say.

use analyzer::{Direction, Timestamp};
use hostfiles::TracedSocket;

use super::{Case, Line, end_name};
use crate::host::watched::Messages;
use crate::model::ask::Says;
use crate::model::text::many;

/// How far a close and its FIN may lie apart, clocks set.
const AT_ONCE_MS: f64 = 50.0;

/// The end that closes in a rule's story.
fn closer(rule: &str) -> Option<Direction> {
    match rule {
        "client-timeout-close" => Some(Direction::ClientToServer),
        "keepalive-race" => Some(Direction::ServerToClient),
        _ => None,
    }
}

/// The call that closed, and when.
pub(super) fn close_call(case: &Case<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (at, one) in case.watched() {
        let ends =
            closer(case.finding.rule).map_or_else(|| Direction::BOTH.to_vec(), |end| vec![end]);
        for end in ends {
            for socket in case.joined.traced_of(at, end) {
                if let Some(line) = closed(case, one, end, socket) {
                    lines.push(line);
                }
            }
            if case.finding.rule == "close-wait-leak" {
                lines.extend(never_closed(case, at, one, end));
            }
        }
    }
    lines
}

fn closed(
    case: &Case<'_>,
    one: &crate::host::watched::Watched,
    end: Direction,
    socket: &TracedSocket,
) -> Option<Line> {
    if case.finding.rule == "close-wait-leak" {
        return None;
    }
    let call = socket.shutdown.or(socket.closed)?;
    let name = if socket.shutdown.is_some() {
        "shutdown()"
    } else {
        "close()"
    };
    let reset = one
        .resets
        .iter()
        .find(|reset| reset.by == end)
        .map(|reset| reset.time);
    let packet = one.sent(end).fin.or(reset)?;
    let time = case.joined.time_of(call).map(Timestamp::from_nanos);
    let idle = socket
        .last_read
        .max(socket.last_write)
        .and_then(|last| Some(call.time?.saturating_sub(last.time?) as f64 / 1e9));
    let idle = idle
        .filter(|idle| *idle >= 0.001)
        .map_or_else(String::new, |idle| {
            format!(" after {idle:.3} s without a call that moved data")
        });
    let end = end_name(end);
    Some(match time {
        Some(time) => {
            let apart = packet.signed_since(time) as f64 / 1e6;
            if apart.abs() > AT_ONCE_MS {
                return None;
            }
            Line::new(call.at, Says::Supports, format!("the {end}'s program itself closed{idle}: {name}, {apart:+.1} ms from its packet")).strong()
        }
        None => Line::new(
            call.at,
            Says::Supports,
            format!("the {end}'s program itself closed{idle}: {name}"),
        )
        .strong(),
    })
}

/// A trace that saw the peer's end and no close.
fn never_closed(
    case: &Case<'_>,
    at: usize,
    one: &crate::host::watched::Watched,
    end: Direction,
) -> Option<Line> {
    one.sent(end.reverse()).fin?;
    let socket = case
        .joined
        .traced_of(at, end)
        .find(|socket| socket.closed.is_none())?;
    let read = socket.end_read?;
    let note = format!(
        "the {}'s program read the end of its peer's data and did not close",
        end_name(end)
    );
    Some(Line::new(read.at, Says::Supports, note).strong())
}

/// Whether the client's deadline is a socket option, or a timer of the program.
pub(super) fn deadline(case: &Case<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (at, _) in case.watched() {
        for socket in case.joined.traced_of(at, Direction::ClientToServer) {
            if let Some(option) = socket.timeout {
                lines.push(Line::new(
                    option.at,
                    Says::Names,
                    "the deadline is a socket option",
                ));
                continue;
            }
            let (Some(_), Some(closed)) = (socket.opened, socket.closed) else {
                continue;
            };
            let waits = socket
                .polled
                .map_or("", |_| ", the socket is waited for by epoll");
            let note = format!(
                "no SO_RCVTIMEO or SO_SNDTIMEO was set on it{waits}: the deadline is a timer of the program, which closes"
            );
            lines.push(Line::new(closed.at, Says::Supports, note).strong());
            if let Some(polled) = socket.polled {
                lines.push(Line::new(
                    polled.at,
                    Says::Names,
                    "epoll waits for it: no call blocks with a timeout of its own",
                ));
            }
        }
    }
    lines
}

/// Sizes asked for and given by a reader of datagrams.
pub(super) fn receive_buffer(case: &Case<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    let Some(server) = case.finding.connections.first().map(|one| one.server) else {
        return lines;
    };
    let largest = case
        .watched()
        .flat_map(|(_, one)| &one.datagrams)
        .map(|(size, _)| *size)
        .max()
        .unwrap_or(0);
    if let Some((bytes, place)) = case.settled.buffers.get(&server.port) {
        let note = format!(
            "the server reads with a buffer of {bytes} bytes, which a datagram filled; the largest sent has {largest}"
        );
        lines.push(Line::new(place.at, Says::Supports, note).strong());
    }
    for socket in &case.joined.files.facts.traced {
        if !case.joined.serves(socket, server) {
            continue;
        }
        if let Some(cut) = socket.cut {
            lines.push(
                Line::new(
                    cut.at,
                    Says::Supports,
                    "the kernel reports that the datagram was cut (MSG_TRUNC)",
                )
                .strong(),
            );
        } else if socket.filled.is_none()
            && let Some(read) = socket
                .reads
                .iter()
                .find(|read| read.asked >= u64::from(largest))
        {
            let note = format!(
                "the server reads with a buffer of {} bytes: no datagram of this capture fills it",
                read.asked
            );
            lines.push(Line::new(read.place.at, Says::Contradicts, note).strong());
        }
    }
    lines
}

/// How often one read was not one message.
pub(super) fn read_sizes(case: &Case<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (at, one) in case.watched() {
        for end in Direction::BOTH {
            // What this end reads are the messages of the other.
            let Some(messages) = one.messages[end.reverse().index()] else {
                continue;
            };
            for socket in case.joined.traced_of(at, end) {
                lines.extend(misfits(socket, messages, end));
            }
        }
    }
    lines
}

fn misfits(socket: &TracedSocket, messages: Messages, end: Direction) -> Option<Line> {
    let (mut offset, mut odd, mut first, mut joined, mut parts) =
        (0_u64, 0_u64, None, 0_u64, 0_u64);
    let is_fixed = messages.shortest == messages.longest && messages.shortest > 0;
    for read in &socket.reads {
        let is_part = read.given < messages.shortest
            || is_fixed
                && (!offset.is_multiple_of(messages.shortest)
                    || !read.given.is_multiple_of(messages.shortest));
        let is_several = read.given > messages.longest;
        offset = offset.saturating_add(read.given);
        if is_part || is_several {
            odd += 1;
            joined += u64::from(is_several);
            parts += u64::from(is_part && !is_several);
            first = first.or(Some(read));
        }
    }
    let all = socket.reads.len() as u64;
    let end = end_name(end);
    let sizes = format!(
        "messages of {} to {} bytes",
        messages.shortest, messages.longest
    );
    match first {
        Some(read) => {
            let note = format!(
                "{odd} of {} of the {end} were not one message ({joined} got more than one, {parts} a part; {sizes}): this one asked for {} bytes and got {}",
                many(all, "read"),
                read.asked,
                read.given
            );
            Some(Line::new(read.place.at, Says::Supports, note).strong())
        }
        None => {
            let read = socket.reads.first()?;
            let note = format!(
                "each of {} of the {end} may have been one message ({sizes})",
                many(all, "read")
            );
            Some(Line::new(read.place.at, Says::Names, note))
        }
    }
}

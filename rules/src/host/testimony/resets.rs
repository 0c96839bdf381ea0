//! Why a connection was reset, by its own host.

use analyzer::Direction;
use analyzer::connection::ResetKind;

use super::{Case, Line, end_name};
use crate::model::ask::Says;

fn kind_of(rule: &str) -> Option<ResetKind> {
    match rule {
        "linger-zero-reset" => Some(ResetKind::LingerZero),
        "unread-data-reset" => Some(ResetKind::UnreadData),
        _ => None,
    }
}

/// What settled the cause of resets, and whether the packets alone read otherwise.
pub(super) fn cause(case: &Case<'_>) -> Vec<Line> {
    let Some(kind) = kind_of(case.finding.rule) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for at in &case.connections {
        for end in Direction::BOTH {
            let Some(settled) = case.settled.resets.get(&(*at, end.index())) else {
                continue;
            };
            let says = if settled.is == kind {
                Says::Supports
            } else {
                Says::Contradicts
            };
            let turned = if settled.was == settled.is {
                String::new()
            } else {
                format!("; the packets alone read as {}", settled.was.as_str())
            };
            for (place, note) in &settled.places {
                lines.push(
                    Line::new(place.at, says, format!("{}: {note}{turned}", end_name(end)))
                        .strong(),
                );
            }
        }
    }
    if lines.is_empty() {
        lines.extend(by_counter(case, kind));
    }
    lines
}

/// A counter that fits without deciding: of a host that is not known, or since its start.
fn by_counter(case: &Case<'_>, kind: ResetKind) -> Option<Line> {
    let mut resets = case.watched().flat_map(|(_, one)| {
        let mine = one.resets.iter().filter(move |reset| reset.kind == kind);
        mine.map(move |reset| one.endpoint(reset.by).ip)
    });
    let host = resets.next()?;
    let name = "TcpExtTCPAbortOnClose";
    let of_host = case.joined.count(Some(host), name);
    let count = of_host.or_else(|| case.joined.count(None, name))?;
    let fits = (kind == ResetKind::UnreadData) == (count.value > 0);
    let note = count.words("TCPAbortOnClose");
    let note = format!("{note}, which counts closes over unread data; it may be of this host");
    let says = if fits { Says::Supports } else { Says::Names };
    Some(Line::new(count.place?.at, says, note))
}

/// The kernel's own word.
pub(super) fn kernel_reason(case: &Case<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for word in &case.joined.files.facts.words {
        let Some((from, to)) = word.ends else {
            continue;
        };
        let is_of = |at: &usize| {
            let connection = &case.joined.watched[*at].connection;
            let ends = (connection.client, connection.server);
            ends == (from, to) || ends == (to, from)
        };
        if !case.connections.iter().any(is_of) || word.reason.is_empty() {
            continue;
        }
        let reason = &word.reason;
        let is_drop = word.event == "kfree_skb";
        let abort = reason.contains("ABORT_ON_CLOSE");
        let filter = reason.contains("NETFILTER");
        let says = match case.finding.rule {
            "unread-data-reset" if abort => Says::Supports,
            "linger-zero-reset" if abort => Says::Contradicts,
            "connection-refused" if reason.contains("NO_SOCKET") => Says::Supports,
            "syn-unanswered" | "packet-loss" if is_drop => Says::Supports,
            _ => Says::Names,
        };
        let what = if is_drop {
            "dropped the packet"
        } else {
            "sent or retransmitted it"
        };
        let line = Line::new(
            word.place.at,
            says,
            format!("the kernel {what} for the reason {reason}"),
        );
        lines.push(if abort || filter || says == Says::Supports {
            line.strong()
        } else {
            line
        });
    }
    lines
}

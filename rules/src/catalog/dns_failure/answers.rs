//! What other flows show of an answer: that it came from elsewhere, or could not be had over TCP.

use std::time::Duration;

use analyzer::event::SegmentRef;
use analyzer::{Direction, Timestamp};

use super::{Fact, Outcome, Seen};
use crate::model::connection_ref::ConnectionRef;
use crate::model::evidence::Evidence;
use crate::model::observation::{Note, Observation};

/// Tells the questions apart whose answer came from another address, and those whose truncated answer
/// could not be had over TCP.
pub(super) fn refine(
    notes: &[Note<Fact>],
    observations: &mut [Observation<Seen>],
    within: Duration,
) {
    for one in observations {
        match one.seen.outcome {
            Outcome::NoAnswer if one.seen.answered.is_none() => from_elsewhere(notes, one, within),
            Outcome::Truncated => over_tcp(notes, one, within),
            _ => {}
        }
    }
}

fn from_elsewhere(notes: &[Note<Fact>], one: &mut Observation<Seen>, within: Duration) {
    let asked = one.seen.asked.time;
    let stray = notes.iter().find(|note| {
        let fits = matches!(
            &note.fact,
            Fact::Unasked { id, name } if *id == one.seen.id && *name == one.seen.name
        );
        fits && note.connection.client == one.connection.client
            && note.connection.server.ip != one.connection.server.ip
            && note.connection.server.port == one.connection.server.port
            && is_soon(asked, note.at, within)
    });
    if let Some(stray) = stray {
        one.seen.outcome = Outcome::Elsewhere;
        let said = format!(
            "a response with this id and name comes from {}, which was not queried",
            stray.connection.server
        );
        prove(
            one,
            stray.connection,
            stray,
            said,
            Direction::ServerToClient,
        );
    }
}

fn over_tcp(notes: &[Note<Fact>], one: &mut Observation<Seen>, within: Duration) {
    let answered = one.seen.answered.unwrap_or(one.seen.asked.time);
    let failed = notes.iter().find(|note| {
        matches!(note.fact, Fact::TcpFailed)
            && note.connection.client.ip == one.connection.client.ip
            && note.connection.server == one.connection.server
            && is_soon(answered, note.at, within)
    });
    if let Some(failed) = failed {
        one.seen.outcome = Outcome::TcpFailed;
        let said = "the client tries TCP, as it must, and gets no answer there".to_owned();
        prove(
            one,
            failed.connection,
            failed,
            said,
            Direction::ClientToServer,
        );
    }
}

fn is_soon(from: Timestamp, at: Timestamp, within: Duration) -> bool {
    from <= at && at.since(from) <= within
}

fn prove(
    one: &mut Observation<Seen>,
    connection: ConnectionRef,
    note: &Note<Fact>,
    said: String,
    direction: Direction,
) {
    one.cause = format!("{} {}", one.connection.server, one.seen.outcome.as_str());
    one.evidence.push(Evidence {
        segment: SegmentRef::place(connection.first_frame, note.at, direction),
        connection,
        note: said,
        proves: true,
    });
}

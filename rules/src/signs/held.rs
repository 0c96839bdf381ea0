//! Servers known to be up by connections that were opened before the capture began.

use std::collections::BTreeMap;

use analyzer::{Connection, Endpoint, Timestamp};

use crate::model::observation::{Collected, Note, Observations};

const KEY: &str = "held-connection";

/// Remembers a connection without SYN whose server sends: somebody accepted it.
pub(crate) fn note(conn: &Connection, out: &mut Observations) {
    if conn.handshake.syn_count > 0 || conn.from_server().packets == 0 {
        return;
    }
    out.note(|| Note {
        at: conn.end,
        ..Note::new(conn, KEY)
    });
}

/// When each such connection was last seen, by server, in order.
pub(crate) fn last_seen(collected: &Collected) -> BTreeMap<Endpoint, Vec<Timestamp>> {
    let mut times = BTreeMap::<Endpoint, Vec<Timestamp>>::new();
    for note in collected.notes_of(KEY) {
        times
            .entry(note.connection.server)
            .or_default()
            .push(note.at);
    }
    times.values_mut().for_each(|times| times.sort_unstable());
    times
}

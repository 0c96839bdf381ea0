//! Servers known to be up by connections that were opened before the capture began.

use std::collections::BTreeMap;

use analyzer::{Connection, Endpoint, Timestamp};

use crate::model::observation::{Note, Observations};

/// A connection from before the capture was last seen then.
pub(crate) struct Held;

/// Remembers a connection without SYN whose server sends: somebody accepted it.
pub(crate) fn note<S, F>(conn: &Connection, held: F, out: &mut Observations<S, F>) {
    if conn.handshake.syn_count > 0 || conn.from_server().packets == 0 {
        return;
    }
    out.note(|| Note::new(conn, held).at(conn.end));
}

/// When each such connection was last seen, by server, in order.
pub(crate) fn last_seen<'a, F: 'a>(
    held: impl Iterator<Item = &'a Note<F>>,
) -> BTreeMap<Endpoint, Vec<Timestamp>> {
    let mut times = BTreeMap::<Endpoint, Vec<Timestamp>>::new();
    for note in held {
        times
            .entry(note.connection.server)
            .or_default()
            .push(note.at);
    }
    times.values_mut().for_each(|times| times.sort_unstable());
    times
}

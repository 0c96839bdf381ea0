//! A server's close of an idle connection, and the request that met it.

use std::collections::BTreeMap;
use std::time::Duration;

use analyzer::app::AppProtocol;
use analyzer::connection::{Reset, ResetKind, ResetShape, Turn};
use analyzer::event::SegmentRef;
use analyzer::{Connection, Direction, Endpoint};

use crate::model::observation::Note;
use crate::model::text::ms;
use crate::signs::goodbye::{self, GOODBYE_TO_FIN, is_tls_housekeeping};

/// Shortest silence before a close that counts as idle, in milliseconds: the default of `keepalive-race`.
pub(crate) const MIN_IDLE_MS: f64 = 200.0;

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Who opened it.
    Client,
    /// Who was called.
    Server,
}

/// A harmless close of an idle connection.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct IdleEnd {
    /// Who closed.
    pub(crate) by: End,
    /// The silence before it, in milliseconds.
    pub(crate) idle_ms: f64,
}

/// So many other closes after the same idle time make it a timer's.
const OTHERS: usize = 2;

/// How one connection was closed by its server, and after what silence.
pub(crate) struct IdleClose<'a> {
    /// The server's FIN, or its RST without one.
    pub close: SegmentRef,
    /// The last payload before the silence, when it was captured.
    pub last: Option<SegmentRef>,
    /// The request that met the close.
    pub race: Option<Race<'a>>,
}

impl<'a> IdleClose<'a> {
    /// `None` when the server did not close first.
    pub fn of(conn: &'a Connection) -> Option<Self> {
        let close = server_close(conn)?;
        let race = Race::of(conn, close);
        let last = last_activity(conn, close, race.as_ref().map(|race| race.request));
        Some(Self { close, last, race })
    }

    /// The last complete exchange announced that the connection would close.
    pub fn was_announced(&self, conn: &Connection) -> bool {
        conn.app.http.as_ref().is_some_and(|http| {
            http.kept
                .iter()
                .rev()
                .find(|exchange| exchange.status.is_some())
                .is_some_and(|last| last.connection_close)
        })
    }

    /// A request had arrived and was not read.
    pub fn is_over_unread(&self) -> bool {
        self.race.as_ref().is_some_and(|race| race.unread)
    }

    /// The silence before the close.
    pub fn idle(&self) -> Option<Duration> {
        self.last.map(|last| self.close.time.since(last.time))
    }
}

/// A fact about a close of an idle connection.
pub(crate) fn idle_note(
    conn: &Connection,
    by: End,
    close: SegmentRef,
    idle: Duration,
) -> Note<IdleEnd> {
    let idle_ms = ms(idle);
    Note::new(conn, IdleEnd { by, idle_ms }).at(close.time)
}

/// The idle times before the closes of one end, in milliseconds, by server.
pub(crate) fn idle_closes(notes: &[Note<IdleEnd>], by: End) -> BTreeMap<Endpoint, Vec<f64>> {
    let mut closes = BTreeMap::<Endpoint, Vec<f64>>::new();
    for note in notes.iter().filter(|note| note.fact.by == by) {
        let of_server = closes.entry(note.connection.server).or_default();
        of_server.push(note.fact.idle_ms);
    }
    closes
}

/// Whether enough of a server's `others`, its idle times before other closes in milliseconds,
/// agree with `idle_ms` to make it that of a timer.
pub(crate) fn is_timer(idle_ms: f64, others: impl Iterator<Item = f64>) -> bool {
    let slack = (idle_ms * 0.02).max(50.0);
    let agreeing = others.filter(|other| (other - idle_ms).abs() <= slack);
    agreeing.take(OTHERS).count() == OTHERS
}

/// The server's FIN, or its RST where it closes idle connections that way, if it closed first
/// and left nothing unanswered by then.
fn server_close(conn: &Connection) -> Option<SegmentRef> {
    if let Some(fin) = conn.from_server().fin {
        let client_first = conn
            .from_client()
            .fin
            .is_some_and(|client| client.frame < fin.frame || conn.answers_fin(&fin));
        return (!client_first).then_some(fin);
    }
    let reset = conn.resets.iter().find(|reset| {
        reset.segment.direction == Direction::ServerToClient
            && reset.shape == ResetShape::Active
            && reset.kind != ResetKind::Forged
    })?;
    conn.from_client().fin.is_none().then_some(reset.segment)
}

/// Whether a request on which the server did not send RST was lost all the same: the server had
/// ended its stream and only read on (a lingering close, as Apache's), in a protocol whose requests
/// want a response, and the client gave up.
fn left_unanswered(conn: &Connection, turn: &Turn, request: SegmentRef, close: SegmentRef) -> bool {
    let http = conn.app.http.as_deref();
    let wants_response = match conn.app.protocol {
        AppProtocol::Http1 => http.is_some_and(|http| {
            let pending = http.kept.last().is_some_and(|last| last.status.is_none());
            pending && !http.upgraded && !http.lost_track
        }),
        AppProtocol::Tls => {
            let after_handshake = conn.turns.answered > 2;
            after_handshake && !is_tls_housekeeping(conn, turn.request.octets)
        }
        _ => false,
    };
    let ended = conn.from_client().fin.map(|fin| fin.frame);
    wants_response
        && close.flags.fin()
        && turn.request_acked.is_some()
        && turn.response.is_none()
        && !turn.answer_missed
        && ended.is_some_and(|fin| fin >= request.frame)
}

/// A request that met the server's close.
pub(crate) struct Race<'a> {
    conn: &'a Connection,
    close: SegmentRef,
    /// Where the request begins.
    pub request: SegmentRef,
    /// The server's resets that answer it.
    pub resets: Vec<&'a Reset>,
    /// The request's ACK number covers the FIN: the client knew.
    pub knew: bool,
    /// The request had reached the server's kernel, which is why the close was a RST: the server's
    /// program closed without reading it. As long as no timer is known it may have had other reasons.
    pub unread: bool,
}

impl<'a> Race<'a> {
    fn of(conn: &'a Connection, close: SegmentRef) -> Option<Self> {
        let turn = conn.turns.last.as_ref()?;
        if turn.response.is_some_and(|response| {
            response.first.frame > turn.request.first.frame
                && !is_tls_housekeeping(conn, response.octets)
        }) {
            return None;
        }
        let request = request_start(conn);
        let request = request.unwrap_or(turn.request.first);
        // Its number tells, wherever the two stand in the capture.
        let unread = close.relative_ack > request.relative_seq;
        if unread && !may_lie_unread(conn, close, request) {
            return None; // The server had read the request when it closed.
        }
        if goodbye::is_of_client(conn, request, turn.request.octets) {
            return None;
        }
        let resets: Vec<&Reset> = conn
            .resets
            .iter()
            .filter(|reset| {
                // Where the close is itself a RST, more of them answered what came later.
                let answers = reset.segment.frame > request.frame
                    || (reset.segment.frame == close.frame && reset.count > 1);
                reset.segment.direction == Direction::ServerToClient
                    && answers
                    && reset.segment.frame >= close.frame
                    && !matches!(reset.kind, ResetKind::Forged | ResetKind::Refused)
            })
            .collect();
        if resets.is_empty() && !left_unanswered(conn, turn, request, close) {
            return None; // A server that half-closed and still reads, or a capture that ended.
        }
        let close_end =
            close.relative_seq + u64::from(close.payload_len) + u64::from(close.flags.fin());
        let knew = close.flags.fin() && request.relative_ack >= close_end;
        Some(Self {
            conn,
            close,
            request,
            resets,
            knew,
            unread,
        })
    }

    /// Request minus FIN on the server's clock: at the capture point the FIN is late by one way
    /// from the server and the request early by one way to it.
    pub fn gap_ms(&self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "nanoseconds of a gap, shown in milliseconds"
        )]
        let at_capture = self.request.time.signed_since(self.close.time) as f64 / 1e6;
        at_capture + self.conn.from_client().rtt_min.map_or(0.0, ms)
    }
}

/// Whether a program that closed as its idle timer ran out may have left the request unread: its
/// kernel then sends RST instead of FIN, soon after the request came.
fn may_lie_unread(conn: &Connection, close: SegmentRef, request: SegmentRef) -> bool {
    let waited = close.time.since(request.time);
    last_activity(conn, close, Some(request)).is_some_and(|last| {
        close.flags.rst() && waited.saturating_mul(2) <= close.time.since(last.time)
    })
}

/// Where the client's latest request begins: after a pause when there was one, since what it
/// sent before the pause (a settings frame, an acknowledgement message) was another matter.
fn request_start(conn: &Connection) -> Option<SegmentRef> {
    let turn = conn.turns.last.as_ref()?;
    let burst = conn.from_client().last_burst?;
    let inside = (turn.request.first.frame..=turn.request.last.frame).contains(&burst.first.frame);
    inside.then_some(burst.first)
}

/// The last payload before the server closed, its goodbye message not counted.
fn last_activity(
    conn: &Connection,
    close: SegmentRef,
    request: Option<SegmentRef>,
) -> Option<SegmentRef> {
    let server = conn.from_server();
    let goodbye = server.last_burst.filter(|burst| {
        is_tls_housekeeping(conn, burst.octets)
            && close.time.since(burst.first.time) <= GOODBYE_TO_FIN
    });
    if let Some(burst) = conn.from_client().last_burst
        && request.is_some_and(|request| request.frame == burst.first.frame)
        && let Some(before) = burst.before
        && before.time <= close.time
    {
        return match goodbye {
            Some(goodbye) if goodbye.first.frame <= before.frame => goodbye.before,
            _ => Some(before),
        };
    }
    if let Some(goodbye) = goodbye {
        return goodbye.before;
    }
    let served = server.last_data.filter(|data| data.frame <= close.frame);
    let sent = conn
        .from_client()
        .last_data
        .filter(|data| request.is_none() && data.frame < close.frame);
    let handshake = || {
        conn.handshake
            .ack
            .or_else(|| conn.handshake.syn_acks.first().copied())
    };
    served
        .into_iter()
        .chain(sent)
        .max_by_key(|data| data.frame)
        .or_else(handshake)
}

//! The evidence of one connection: a request whose client stopped waiting.

use std::time::Duration;

use analyzer::app::AppProtocol;
use analyzer::connection::{ResetShape, TcpState, Turn};
use analyzer::event::SegmentRef;
use analyzer::{Connection, Direction};

use super::seen::{InState, Seen};
use crate::model::confidence;
use crate::model::impact::Impact;
use crate::model::observation::{Observation, segment_at};
use crate::model::text::{ms, span};
use crate::signs::goodbye::{GOODBYE_TO_FIN, TLS_GOODBYE_OCTETS};

/// The client's last handshake flight in TLS 1.3: change-cipher-spec and Finished (80 bytes).
const TLS_FINISHED_OCTETS: u64 = 100;

/// The client's FIN before the server's, or its abortive RST without one.
pub(super) fn client_close(conn: &Connection) -> Option<SegmentRef> {
    if let Some(fin) = conn.from_client().fin {
        let server_first = conn
            .from_server()
            .fin
            .is_some_and(|server| server.frame < fin.frame);
        return (!server_first).then_some(fin);
    }
    let abort = conn.resets.iter().find(|reset| {
        reset.segment.direction == Direction::ClientToServer && reset.shape == ResetShape::Active
    })?;
    let server_first = conn
        .from_server()
        .fin
        .is_some_and(|fin| fin.frame < abort.segment.frame);
    (!server_first).then_some(abort.segment)
}

/// A request whose sender stopped waiting.
pub(super) struct GivenUp<'a> {
    conn: &'a Connection,
    close: SegmentRef,
    request_end: SegmentRef,
    /// The response came after the close.
    late: Option<SegmentRef>,
    /// Part of the response came before the close.
    partial: bool,
    /// What came of it lay behind a hole: its program could read nothing.
    held_back: bool,
}

impl<'a> GivenUp<'a> {
    pub(super) fn of(conn: &'a Connection, close: SegmentRef) -> Option<Self> {
        let turn = conn.turns.last.as_ref()?;
        if conn.app.protocol == AppProtocol::Http2 {
            return Self::of_stream(conn, turn, close);
        }
        let response = turn.response.map(|response| response.first);
        // What the close does not acknowledge was behind a hole, or on its way: not read.
        let reached =
            |first: &SegmentRef| !close.flags.ack() || first.relative_seq < close.relative_ack;
        let before = response.filter(|first| first.frame < close.frame && reached(first));
        if response.is_some_and(|first| lay_ready(conn, &first, close)) {
            return None;
        }
        let late = response.filter(|first| first.frame > close.frame);
        let http = conn.app.http.as_deref();
        let last = http.and_then(|http| http.kept.last());
        let partial = before.is_some()
            && last
                .is_some_and(|last| last.response_start.is_some() && last.response_end.is_none())
            && http.is_some_and(|http| !http.lost_track);
        if before.is_some() && !partial {
            return None; // Answered.
        }
        let upgraded = http.is_some_and(|http| http.upgraded);
        if upgraded || turn.request.first.frame > close.frame {
            return None;
        }
        if partial && conn.from_server().missing_octets > 0 {
            return None;
        }
        if !partial && (acknowledges_more(conn, turn, close) || answer_passed_unseen(conn)) {
            return None;
        }
        let request_end = request_end(conn, turn, close)?;
        let wait = Self {
            conn,
            close,
            request_end,
            late,
            partial,
            held_back: response.is_some_and(|first| {
                let arrived = first.frame < close.frame && close.flags.ack();
                arrived && first.relative_seq > close.relative_ack
            }),
        };
        wait.is_proved(turn).then_some(wait)
    }

    /// In HTTP/2 the last bytes may be housekeeping, and several requests may wait: the oldest that
    /// has no response when the client closes.
    fn of_stream(conn: &'a Connection, turn: &Turn, close: SegmentRef) -> Option<Self> {
        let http = conn.app.http.as_deref()?;
        // A stream that was cancelled has no response either, and nobody waits for it.
        if http.lost_track || http.reset_streams != [0, 0] {
            return None;
        }
        let (oldest, end) = http.kept.iter().find_map(|stream| {
            let end = stream.request_end.filter(|end| end.frame <= close.frame);
            let answer = stream.response_start;
            let waits = answer.is_none_or(|start| start.frame > close.frame);
            end.filter(|_| waits).map(|end| (stream, end))
        })?;
        let late = oldest.response_start;
        let wait = Self {
            conn,
            close,
            request_end: segment_at(conn, end, Direction::ClientToServer),
            late: late.map(|start| segment_at(conn, start, Direction::ServerToClient)),
            partial: false,
            held_back: false,
        };
        wait.is_proved(turn).then_some(wait)
    }

    /// The request had arrived before the close, no answer to it was missed, and none was accepted
    /// after the close. A late answer proves the arrival where it acknowledges the request.
    fn is_proved(&self, last: &Turn) -> bool {
        let resets = self.conn.resets.iter().any(|reset| {
            reset.segment.direction == Direction::ClientToServer
                && reset.segment.frame > self.close.frame
        });
        let half_closed = self.late.is_some() && !resets && self.close.flags.fin();
        let answer_missed = last.answer_missed && self.late.is_none();
        let request_end = self.request_end.relative_seq + u64::from(self.request_end.payload_len);
        let answers = |late: SegmentRef| late.relative_ack >= request_end;
        let acknowledged = last.request_acked.is_some_and(|at| at <= self.close.time);
        let arrived = acknowledged || self.late.is_some_and(answers);
        arrived && !half_closed && !answer_missed && !self.server_closed_unasked()
    }

    /// The server closed by itself, without an answer: its FIN crossed the client's.
    fn server_closed_unasked(&self) -> bool {
        let crossed = |fin: SegmentRef| fin.relative_ack <= self.close.relative_seq;
        self.late.is_none()
            && self.close.flags.fin()
            && self.conn.from_server().fin.is_some_and(crossed)
    }

    pub(super) fn length(&self) -> Duration {
        self.close.time.since(self.request_end.time)
    }

    /// It speaks HTTP, in clear text or most likely in TLS.
    fn is_http(&self) -> bool {
        matches!(
            self.conn.app.protocol,
            AppProtocol::Http1 | AppProtocol::Http2 | AppProtocol::Tls
        )
    }

    /// The protocol says that an answer was due.
    fn expected(&self) -> bool {
        matches!(
            self.conn.app.protocol,
            AppProtocol::Http1 | AppProtocol::Http2 | AppProtocol::Tls
        ) || self.conn.turns.answered > 0
    }

    /// In a protocol that is not known, of which nobody knows whether an answer was due, the server
    /// closed as well without one, or cannot answer any more: who works on an answer sends it first.
    fn is_let_go(&self) -> bool {
        let protocol = self.conn.app.protocol;
        let is_unknown = matches!(protocol, AppProtocol::Unknown | AppProtocol::Framed);
        let is_over = self.conn.from_server().fin.is_some() || self.close.flags.rst();
        is_unknown && is_over && self.late.is_none()
    }

    pub(super) fn observation(&self) -> Observation<Seen> {
        let conn = self.conn;
        let kind = if self.close.flags.fin() { "FIN" } else { "RST" };
        let part = match (self.partial, self.held_back) {
            (true, _) => "only part of the response came",
            (false, true) => "what arrived of the response lay behind a gap",
            (false, false) => "no response byte arrived",
        };
        let is_late = f64::from(u8::from(self.late.is_some()));
        let reset = conn.resets.iter().find(|reset| {
            reset.segment.direction == Direction::ClientToServer
                && reset.segment.frame > self.close.frame
        });
        let pending = conn.app.http.as_ref().and_then(|http| http.kept.last());
        Observation::new(conn, confidence::LIKELY, Impact::SOME)
            .at(self.close.time)
            .weight(is_late * 1e9 + ms(self.length()))
            .proof(self.request_end, "last bytes of the request from client")
            .proof(
                self.close,
                format!(
                    "{kind} from client, {} after the request; {part}",
                    span(self.length())
                ),
            )
            .proof_if(
                self.late,
                self.late
                    .map(|late| {
                        format!(
                            "response from server, {} after the client's {kind}",
                            span(late.time.since(self.close.time))
                        )
                    })
                    .unwrap_or_default(),
            )
            .evidence_if(
                reset.map(|reset| reset.segment),
                "RST from client: the response met a closed socket",
            )
            .figure("timeout_ms", ms(self.length()))
            .figure("connections", 1.0)
            .figure("late_responses", is_late)
            .cost("requests_failed", 1.0)
            .cost("time_lost_ms", ms(self.length()))
            .seen(Seen {
                timeout_ms: ms(self.length()),
                late: self.late.is_some() && reset.is_some(),
                late_ms: (self.late).map(|late| ms(late.time.since(self.request_end.time))),
                partial: self.partial,
                held_back: self.held_back,
                undecided: self.close.flags.fin()
                    && self.late.is_none()
                    && conn.from_server().fin.is_none(),
                expected: self.expected(),
                is_http: self.is_http(),
                let_go: self.is_let_go(),
                fin_wait_2: time_in(conn, Direction::ClientToServer, TcpState::FinWait2),
                close_wait: time_in(conn, Direction::ServerToClient, TcpState::CloseWait),
                request: pending.map(|last| format!("{} {}", last.method, last.target)),
                p50_ms: None,
                p99_ms: None,
            })
    }
}

/// Whether a response lay ready for the client's program when it closed, although the close does not
/// acknowledge it: it comes next in the stream, and longer ago than the way to the client takes.
fn lay_ready(conn: &Connection, first: &SegmentRef, close: SegmentRef) -> bool {
    let way = conn.from_server().rtt_min.unwrap_or_default();
    close.flags.ack()
        && first.frame < close.frame
        && first.relative_seq == close.relative_ack
        && close.time.since(first.time) > way * 2
}

/// Whether the close acknowledges more of the server than had passed when the request was sent: what
/// came was an answer, captured as such or not.
fn acknowledges_more(conn: &Connection, turn: &Turn, close: SegmentRef) -> bool {
    let before = [
        conn.turns.before_last.and_then(|turn| turn.response),
        conn.turns.greeting,
    ];
    let ends = before.iter().flatten().map(|span| end_of(&span.last));
    let known = ends.fold(turn.request.last.relative_ack, u64::max);
    close.flags.ack() && close.relative_ack > known
}

/// Whether the server sent what the capture cannot place: payload outside of its stream, or a FIN
/// beyond all that was captured of it.
fn answer_passed_unseen(conn: &Connection) -> bool {
    let server = conn.from_server();
    let unplaced = server.unique_bytes == 0 && server.payload_bytes > 0;
    let known = server.last_data.map_or(1, |last| end_of(&last));
    unplaced || conn.has_handshake() && server.fin.is_some_and(|fin| end_of(&fin) > known)
}

/// The stream offset behind the payload of a segment.
fn end_of(segment: &SegmentRef) -> u64 {
    segment.relative_seq + u64::from(segment.payload_len)
}

/// How long an end was in a state.
fn time_in(conn: &Connection, end: Direction, state: TcpState) -> Option<InState> {
    let span = conn
        .states
        .iter()
        .find(|span| span.end == end && span.state == state)?;
    Some(InState {
        ms: ms(span.to.unwrap_or(conn.end).since(span.from)),
        open: span.to.is_none(),
    })
}

/// The last segment of the request proper; `None` when what stands last is no request.
fn request_end(conn: &Connection, turn: &Turn, close: SegmentRef) -> Option<SegmentRef> {
    let tls = conn.app.protocol == AppProtocol::Tls;
    if !tls {
        return Some(turn.request.last).filter(|last| last.frame <= close.frame);
    }
    let housekeeping = turn.request.octets <= TLS_GOODBYE_OCTETS;
    let only_finished = turn.request.octets <= TLS_FINISHED_OCTETS && conn.turns.count == 2;
    if housekeeping || only_finished {
        return None;
    }
    // A close alert right before the FIN is not the end of the request.
    match conn.from_client().last_burst {
        Some(burst)
            if burst.octets <= TLS_GOODBYE_OCTETS
                && close.time.since(burst.first.time) <= GOODBYE_TO_FIN =>
        {
            burst
                .before
                .filter(|before| before.direction == Direction::ClientToServer)
        }
        _ => Some(turn.request.last).filter(|last| last.frame <= close.frame),
    }
}

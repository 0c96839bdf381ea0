//! HTTP/1.x: heads, body borders, and which response answers which request (RFC 9112).
//!
//! Each direction is a row of messages: head, body, head, …. Heads are kept until they are
//! whole, bodies are counted. Responses answer requests in order. Where octets are missing the
//! reader goes on at the next segment that begins with a head; a head that is only cut (snap
//! length) is read as far as it goes and its message ends where the next one begins.

mod body;
mod head;
mod pending;
#[cfg(test)]
mod tests;

use crate::app::reader::{MessagePosition, MessageUnit};
use crate::direction::Direction;
use crate::event::At;

use super::reader::{Piece, Reader};
use super::{AppFacts, AppProtocol, HttpCut, HttpExchange, HttpFacts};
use body::{Body, Chunked, Progress};
use head::{Head, Line};
use pending::{Asked, Pending};

pub(super) use head::looks_like_head;

/// Longest head; servers refuse longer ones as a rule.
const HEAD_MAX: usize = 16 * 1024;

/// Reads both directions of an HTTP/1.x connection.
#[derive(Debug, Default)]
pub(super) struct Http1 {
    facts: HttpFacts,
    pending: Pending,
    /// Who sends the requests: the client, unless the roles were judged wrongly.
    asker: Option<Direction>,
    sides: [Side; 2],
    /// The response in progress, as its head announced it.
    announced: Announced,
}

/// What a response's head said about its body.
#[derive(Clone, Copy, Debug, Default)]
struct Announced {
    length: Option<u64>,
    endless: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Side {
    state: State,
    /// Octets of the head in progress.
    head: Vec<u8>,
    head_start: Option<At>,
    /// A head has been read.
    begun: bool,
    /// No octet of the body has been read, and it may never come: the request waits for
    /// `100 Continue`, or the response may answer a HEAD that was not captured.
    body_may_be_absent: bool,
    /// The sender's FIN was reached.
    ended: bool,
    /// Last octets seen, or known to have passed.
    last: Option<At>,
    /// Messages known complete.
    complete: u64,
}

/// What the next octets of a direction are.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// A head, or an empty line before it.
    #[default]
    Head,
    Body(Body),
    /// Nobody knows; a segment that begins with a head ends this.
    Lost,
    /// Another protocol (upgrade, CONNECT).
    Opaque,
}

impl Reader for Http1 {
    fn data(&mut self, direction: Direction, bytes: &[u8], piece: Piece) {
        let mut is_head = piece.starts_segment && self.resume(direction, bytes, piece.at);
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = match self.sides[direction.index()].state {
                State::Head => self.read_head(direction, rest, piece, std::mem::take(&mut is_head)),
                State::Body(body) => self.read_body(direction, body, rest, piece.at),
                State::Lost | State::Opaque => rest.len(),
            };
            rest = &rest[used..];
        }
        self.sides[direction.index()].last = Some(piece.at);
    }

    fn gap(&mut self, direction: Direction, octets: u64, at: At) {
        let side = &mut self.sides[direction.index()];
        let same_segment = side.last.is_some_and(|last| last.frame == at.frame);
        match side.state {
            State::Head if !side.head.is_empty() && same_segment => self.head_cut(direction, at),
            State::Head | State::Lost => self.lose(direction),
            State::Body(mut body) => match body.skip(octets) {
                Progress::Within => side.state = State::Body(body),
                Progress::Ended(_) => self.message_end(direction, at),
                Progress::Broken => self.lose(direction),
            },
            State::Opaque => {}
        }
        self.sides[direction.index()].last = Some(at);
    }

    fn fin(&mut self, direction: Direction, _: At) {
        self.sides[direction.index()].ended = true;
    }

    fn wants_data(&self, direction: Direction) -> bool {
        !matches!(self.sides[direction.index()].state, State::Opaque)
    }

    fn position(&self, direction: Direction) -> MessagePosition {
        let complete = self.sides[direction.index()].complete;
        MessagePosition {
            unit: MessageUnit::HttpMessage,
            complete,
            open: 0,
        }
    }

    fn finish(mut self: Box<Self>) -> AppFacts {
        self.facts.cut = self.cut().map(Box::new);
        for direction in Direction::BOTH {
            let side = &self.sides[direction.index()];
            let Some(last) = side.last else { continue };
            match side.state {
                State::Body(Body::Unknown) => self.message_end(direction, last),
                State::Body(Body::UntilClose) if side.ended => self.message_end(direction, last),
                State::Head if !side.head.is_empty() => self.head_cut(direction, last),
                _ => {}
            }
        }
        (self.facts.kept, self.facts.not_kept) = self.pending.finish();
        AppFacts {
            protocol: AppProtocol::Http1,
            http: Some(Box::new(self.facts)),
            ..AppFacts::default()
        }
    }
}

impl Http1 {
    /// The response in progress, where the server's FIN ended it.
    fn cut(&self) -> Option<HttpCut> {
        let side = &self.sides[Direction::ServerToClient.index()];
        let State::Body(body) = side.state else {
            return None;
        };
        let is_known = self.asker == Some(Direction::ClientToServer)
            && side.ended
            && !self.facts.lost_track
            && !self.announced.endless;
        let exchange = self.pending.in_progress().filter(|_| is_known)?;
        Some(HttpCut {
            missing: body.missing()?,
            exchange: exchange.clone(),
            count: 1,
            promised: self.announced.length,
        })
    }

    /// A segment that begins with a head ends what has no other end; whether it did.
    fn resume(&mut self, direction: Direction, bytes: &[u8], at: At) -> bool {
        let side = &mut self.sides[direction.index()];
        let may_resume = match side.state {
            State::Lost => true,
            State::Body(body) => body == Body::Unknown || side.body_may_be_absent,
            State::Head | State::Opaque => false,
        };
        if !may_resume || looks_like_head(bytes, true) != Some(true) {
            return false;
        }
        if matches!(side.state, State::Lost) {
            side.state = State::Head;
        } else {
            let end = side.last.unwrap_or(at);
            self.message_end(direction, end);
        }
        true
    }

    /// `is_head`: `bytes` are known to look like a head.
    fn read_head(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        piece: Piece,
        is_head: bool,
    ) -> usize {
        let at = piece.at;
        let side = &mut self.sides[direction.index()];
        if side.head.is_empty() {
            // Empty lines before a head are passed over (RFC 9112 §2.2).
            let blank = bytes
                .iter()
                .take_while(|octet| matches!(octet, b'\r' | b'\n'))
                .count();
            if blank > 0 {
                return blank;
            }
            if let Some(used) = self.read_head_at_once(direction, bytes, piece, is_head) {
                return used;
            }
        }
        let side = &mut self.sides[direction.index()];
        side.head_start.get_or_insert(at);
        let before = side.head.len();
        let taken = bytes.len().min(HEAD_MAX - before);
        side.head.extend_from_slice(&bytes[..taken]);
        if looks_like_head(&side.head, false) == Some(false) {
            self.lose(direction);
        } else if let Some(end) = head_end(&side.head, before) {
            side.head.truncate(end);
            self.head_complete(direction, at);
            return end - before;
        } else if side.head.len() == HEAD_MAX {
            self.lose(direction);
        }
        bytes.len()
    }

    /// Reads a head of which nothing is kept and nothing more will come: whole, or cut.
    fn read_head_at_once(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        piece: Piece,
        is_head: bool,
    ) -> Option<usize> {
        let end = head_end(&bytes[..bytes.len().min(HEAD_MAX)], 0);
        let octets = match end {
            Some(end) => &bytes[..end],
            None if piece.tail_cut && bytes.len() < HEAD_MAX => bytes,
            None => return None,
        };
        let is_cut = end.is_none();
        let looks = if is_head {
            Some(true)
        } else {
            looks_like_head(octets, is_cut)
        };
        let head = match looks {
            Some(true) if is_cut => Head::parse_cut(octets),
            Some(true) | None if !is_cut => Head::parse(octets),
            _ => None,
        };
        match head {
            Some(head) => self.take_head(direction, head, piece.at, piece.at, is_cut),
            None => self.lose(direction),
        }
        // What follows octets that are no head is passed over with them.
        let used = if matches!(self.sides[direction.index()].state, State::Lost) {
            bytes.len()
        } else {
            octets.len()
        };
        Some(used)
    }

    fn read_body(&mut self, direction: Direction, mut body: Body, bytes: &[u8], at: At) -> usize {
        let progress = body.read(bytes);
        let side = &mut self.sides[direction.index()];
        side.body_may_be_absent = false;
        match progress {
            Progress::Within => side.state = State::Body(body),
            Progress::Ended(used) => {
                self.message_end(direction, at);
                return used;
            }
            Progress::Broken => self.lose(direction),
        }
        bytes.len()
    }

    /// The head in progress is whole.
    fn head_complete(&mut self, direction: Direction, at: At) {
        let side = &mut self.sides[direction.index()];
        let octets = std::mem::take(&mut side.head);
        let start = side.head_start.take().unwrap_or(at);
        match Head::parse(&octets) {
            Some(head) => self.take_head(direction, head, start, at, false),
            None => self.lose(direction),
        }
    }

    /// The head in progress will not become whole.
    fn head_cut(&mut self, direction: Direction, at: At) {
        let side = &mut self.sides[direction.index()];
        let octets = std::mem::take(&mut side.head);
        let start = side.head_start.take().unwrap_or(at);
        let looks = looks_like_head(&octets, true) == Some(true);
        match Head::parse_cut(&octets).filter(|_| looks) {
            Some(head) => self.take_head(direction, head, start, at, true),
            None => self.lose(direction),
        }
    }

    fn take_head(&mut self, direction: Direction, head: Head, start: At, at: At, cut: bool) {
        let is_request = matches!(head.line, Line::Request { .. });
        let asker = if is_request {
            direction
        } else {
            direction.reverse()
        };
        if *self.asker.get_or_insert(asker) != asker {
            self.lose(direction);
            return;
        }
        self.sides[direction.index()].begun = true;
        let after = if is_request {
            self.take_request(head, start)
        } else {
            self.take_response(head, start)
        };
        let side = &mut self.sides[direction.index()];
        match after {
            After::Body(_) | After::Nothing if cut => side.state = State::Body(Body::Unknown),
            After::Body(body) => side.state = State::Body(body),
            After::Nothing => self.message_end(direction, at),
            After::Opaque => {
                self.message_end(direction, at);
                self.sides
                    .iter_mut()
                    .for_each(|side| side.state = State::Opaque);
            }
        }
    }

    fn take_request(&mut self, head: Head, start: At) -> After {
        let Line::Request { method, target } = head.line else {
            return After::Nothing;
        };
        // A response whose end nobody knows ended before the next request began.
        if let Some(asker) = self.asker
            && let side = &self.sides[asker.reverse().index()]
            && matches!(side.state, State::Body(Body::Unknown))
            && let Some(last) = side.last
        {
            self.message_end(asker.reverse(), last);
        }
        self.facts.requests += 1;
        self.facts.proxy_request |= method == "CONNECT"
            || ["http://", "https://"]
                .iter()
                .any(|scheme| target.starts_with(scheme));
        self.pending.ask(HttpExchange {
            method,
            target,
            host: head.host,
            request_start: start,
            request_end: None,
            status: None,
            response_start: None,
            response_end: None,
            connection_close: head.close,
        });
        if let Some(asker) = self.asker {
            self.sides[asker.index()].body_may_be_absent = head.expects_continue;
        }
        match (head.chunked, head.content_length) {
            (true, _) => After::Body(Body::Chunked(Chunked::START)),
            (false, Some(length)) if length > 0 => After::Body(Body::Length(length)),
            _ => After::Nothing,
        }
    }

    fn take_response(&mut self, head: Head, start: At) -> After {
        let Line::Response { status } = head.line else {
            return After::Nothing;
        };
        let facts = &mut self.facts;
        facts.count_status(status, start);
        facts.server = facts.server.take().or(head.server);
        facts.keep_alive_timeout_s = head.keep_alive_timeout_s.or(facts.keep_alive_timeout_s);
        if status < 200 && status != 101 {
            return After::Nothing;
        }
        facts.responses += 1;
        facts.too_many_requests += u64::from(status == 429);
        if let Some(asker) = self.asker
            && matches!(self.sides[asker.index()].state, State::Body(Body::Unknown))
            && let Some(last) = self.sides[asker.index()].last
        {
            self.pending.request_end(last);
        }
        self.announced = Announced {
            length: head.content_length.filter(|_| !head.chunked),
            endless: head.endless,
        };
        let request = self.pending.answer(status, start, head.close);
        if let Some(asker) = self.asker {
            self.sides[asker.reverse().index()].body_may_be_absent = request.is_none();
        }
        if status == 101 {
            self.facts.upgraded = true;
            return After::Opaque;
        }
        match request {
            Some(Asked::Connect) if status < 300 => After::Opaque,
            Some(Asked::Head) => After::Nothing,
            _ if matches!(status, 204 | 304) => After::Nothing,
            _ if head.chunked => After::Body(Body::Chunked(Chunked::START)),
            _ => match head.content_length {
                Some(0) => After::Nothing,
                Some(length) => After::Body(Body::Length(length)),
                None => After::Body(Body::UntilClose),
            },
        }
    }

    /// The current message of `direction` ended at `at`; a head comes next.
    fn message_end(&mut self, direction: Direction, at: At) {
        let side = &mut self.sides[direction.index()];
        side.state = State::Head;
        side.body_may_be_absent = false;
        side.complete += 1;
        if self.asker == Some(direction) {
            self.pending.request_end(at);
        } else {
            self.pending.response_end(at);
        }
    }

    fn lose(&mut self, direction: Direction) {
        let side = &mut self.sides[direction.index()];
        side.state = State::Lost;
        side.head = Vec::new();
        side.head_start = None;
        // A stream that was joined in mid-stream is not lost before its first head.
        if side.begun {
            self.facts.lost_track = true;
            if self.asker != Some(direction) {
                self.pending.response_lost();
            }
        }
    }
}

/// What follows a head.
enum After {
    Nothing,
    Body(Body),
    Opaque,
}

/// The end of the head in `octets`, of which those before `before` were searched already.
fn head_end(octets: &[u8], before: usize) -> Option<usize> {
    let from = before.saturating_sub(2);
    memchr::memchr_iter(b'\n', octets.get(from..)?).find_map(|at| {
        let behind = from + at + 1;
        match octets.get(behind..)? {
            [b'\n', ..] => Some(behind + 1),
            [b'\r', b'\n', ..] => Some(behind + 2),
            _ => None,
        }
    })
}

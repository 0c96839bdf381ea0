//! HTTP/2 in clear text: streams, their requests and responses, resets and GOAWAY (RFC 9113).

mod frames;
mod hpack;
mod huffman;
mod static_table;
#[cfg(test)]
mod tests;
mod windows;

use std::collections::BTreeMap;

use crate::app::reader::{MessagePosition, MessageUnit};
use crate::direction::Direction;
use crate::event::At;

use super::exchange_log::ExchangeLog;
use super::reader::{Piece, Reader};
use super::service::FailedCalls;
use super::text::capped;
use super::{
    AppFacts, AppProtocol, HttpCut, HttpExchange, HttpFacts, HttpGoaway, HttpStreamResets,
    HttpUnanswered,
};
use frames::{CONTINUATION, DATA, Frame, Frames, GOAWAY, HEADERS, PUSH_PROMISE, RST_STREAM};
use hpack::{Field, Hpack};
use windows::Windows;

pub(super) use frames::PREFACE;

/// Streams followed at a time; the oldest gives way.
const STREAMS_MAX: usize = 256;
/// Codes of streams that were reset, of both ends.
const RESET_CODES_MAX: usize = 8;
/// Characters kept of what a GOAWAY says for people.
const DEBUG_MAX: usize = 64;
/// Longest header block, over all its frames.
const BLOCK_MAX: usize = 32 * 1024;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Reads both directions of an HTTP/2 connection.
#[derive(Debug, Default)]
pub(super) struct Http2 {
    frames: [Frames; 2],
    state: Streams,
}

/// What the frames told.
#[derive(Debug, Default)]
struct Streams {
    facts: HttpFacts,
    halves: [Half; 2],
    /// By stream identifier.
    open: BTreeMap<u32, Stream>,
    log: ExchangeLog,
    /// Calls of gRPC that failed.
    calls: FailedCalls,
    windows: Windows,
}

#[derive(Debug, Default)]
struct Half {
    hpack: Hpack,
    /// A header block that goes on in CONTINUATION frames.
    block: Option<Block>,
    /// Streams this end is done with.
    complete: u64,
    /// Its FIN was reached.
    ended: bool,
}

#[derive(Debug)]
struct Block {
    octets: Vec<u8>,
    stream: u32,
    end_stream: bool,
    /// A promised request, which opens no stream of the client.
    promised: bool,
    whole: bool,
    start: At,
}

#[derive(Debug)]
struct Stream {
    order: u64,
    /// Who opened it.
    asker: Direction,
    exchange: HttpExchange,
}

/// Fields of a block that matter.
#[derive(Debug, Default)]
struct Fields {
    method: String,
    path: String,
    authority: Option<String>,
    status: Option<u16>,
    server: Option<String>,
    /// Status of a gRPC call, and what is said with it.
    grpc_status: Option<u32>,
    grpc_message: String,
}

impl Reader for Http2 {
    fn data(&mut self, direction: Direction, bytes: &[u8], piece: Piece) {
        let frames = &mut self.frames[direction.index()];
        let was_lost = frames.is_lost();
        frames.data(bytes, piece, |frame| self.state.frame(direction, frame));
        if frames.is_lost() && !was_lost {
            self.state.lose(direction);
        }
    }

    fn gap(&mut self, direction: Direction, octets: u64, at: At) {
        let frames = &mut self.frames[direction.index()];
        frames.gap(octets, at, |frame| self.state.frame(direction, frame));
        if frames.is_lost() {
            self.state.lose(direction);
        }
    }

    fn fin(&mut self, direction: Direction, _: At) {
        self.state.halves[direction.index()].ended = true;
    }

    fn wants_data(&self, _: Direction) -> bool {
        true
    }

    fn position(&self, direction: Direction) -> MessagePosition {
        let complete = self.state.halves[direction.index()].complete;
        MessagePosition {
            unit: MessageUnit::Http2Stream,
            complete,
            open: self.state.open.len() as u64,
        }
    }

    fn finish(self: Box<Self>) -> AppFacts {
        let cut = self.cut().map(Box::new);
        let Streams {
            mut facts,
            open,
            mut log,
            calls,
            windows,
            ..
        } = self.state;
        for (id, stream) in open {
            if let Some(goaway) = &mut facts.goaway {
                goaway.left(id, &stream, true);
            }
            log.push(stream.order, stream.exchange);
        }
        (facts.kept, facts.not_kept) = log.finish();
        if self.frames.iter().any(Frames::has_preface) {
            facts.window_stalls = windows.finish();
        }
        facts.lost_track |= !self.frames.iter().any(Frames::has_preface);
        facts.cut = cut;
        AppFacts {
            protocol: AppProtocol::Http2,
            http: Some(Box::new(facts)),
            service: calls.finish(),
            ..AppFacts::default()
        }
    }
}

impl Http2 {
    /// Streams of the client that the server's FIN left open, without the GOAWAY that would say which of
    /// them it gave up.
    fn cut(&self) -> Option<HttpCut> {
        let Streams {
            facts,
            halves,
            open,
            ..
        } = &self.state;
        let is_known = halves[Direction::ServerToClient.index()].ended
            && facts.goaway.is_none()
            && !facts.lost_track
            && self.frames.iter().all(|frames| !frames.is_lost())
            && self.frames.iter().any(Frames::has_preface);
        let of_client = |stream: &&Stream| stream.asker == Direction::ClientToServer;
        let mut left = open.values().filter(of_client).filter(|_| is_known);
        let first = left.next()?;
        Some(HttpCut {
            exchange: first.exchange.clone(),
            count: 1 + left.count() as u64,
            promised: None,
            missing: 0,
        })
    }
}

impl Streams {
    fn lose(&mut self, direction: Direction) {
        self.facts.lost_track = true;
        self.windows.lose();
        let half = &mut self.halves[direction.index()];
        half.hpack.forget();
        half.block = None;
    }

    fn frame(&mut self, direction: Direction, frame: &Frame<'_>) {
        self.windows.frame(direction, frame);
        match frame.kind {
            HEADERS | PUSH_PROMISE => self.headers(direction, frame),
            CONTINUATION => self.continuation(direction, frame),
            DATA if frame.flags & END_STREAM != 0 => {
                self.end_stream(direction, frame.stream, frame.end)
            }
            RST_STREAM => {
                self.facts.reset_streams[direction.index()] += 1;
                self.reset(direction, frame);
                self.close(frame.stream);
            }
            GOAWAY => self.goaway(direction, frame),
            _ => {}
        }
    }

    /// Counts a stream with those that the same end reset with the same code.
    fn reset(&mut self, direction: Direction, frame: &Frame<'_>) {
        let Some(code) = number(frame.body, 0) else {
            return;
        };
        let resets = &mut self.facts.stream_resets;
        let known = resets
            .iter_mut()
            .find(|known| (known.direction, known.code) == (direction, code));
        if let Some(known) = known {
            known.count += 1;
            known.last = frame.start;
        } else if resets.len() < RESET_CODES_MAX {
            resets.push(HttpStreamResets {
                direction,
                code,
                count: 1,
                first: frame.start,
                last: frame.start,
            });
        }
    }

    fn goaway(&mut self, direction: Direction, frame: &Frame<'_>) {
        let (Some(last), Some(code)) = (number(frame.body, 0), number(frame.body, 4)) else {
            return;
        };
        // The first bit is reserved (RFC 9113 §6.8).
        let last = last & 0x7fff_ffff;
        let debug = capped(frame.body.get(8..).unwrap_or_default(), DEBUG_MAX);
        if let Some(known) = &mut self.facts.goaway {
            if known.direction == direction {
                // A shutdown in two steps names its last stream in the second; an error after a
                // shutdown counts.
                if last < known.last_stream || known.code == 0 && code != 0 {
                    known.last_stream = known.last_stream.min(last);
                    (known.code, known.debug, known.at) = (code, debug, frame.start);
                }
            }
            return;
        }
        self.facts.goaway = Some(Box::new(HttpGoaway {
            direction,
            code,
            last_stream: last,
            debug,
            at: frame.start,
            unprocessed: HttpUnanswered::default(),
            unanswered: HttpUnanswered::default(),
        }));
    }

    fn headers(&mut self, direction: Direction, frame: &Frame<'_>) {
        let promised = frame.kind == PUSH_PROMISE;
        let fragment = without_padding(frame, promised).unwrap_or_default();
        self.halves[direction.index()].block = Some(Block {
            octets: fragment.to_vec(),
            stream: frame.stream,
            end_stream: !promised && frame.flags & END_STREAM != 0,
            promised,
            whole: frame.whole,
            start: frame.start,
        });
        if frame.flags & END_HEADERS != 0 {
            self.block_end(direction, frame.end);
        }
    }

    fn continuation(&mut self, direction: Direction, frame: &Frame<'_>) {
        if let Some(block) = &mut self.halves[direction.index()].block {
            let room = BLOCK_MAX.saturating_sub(block.octets.len());
            block.whole &= frame.whole && frame.body.len() <= room;
            block
                .octets
                .extend_from_slice(&frame.body[..frame.body.len().min(room)]);
            if frame.flags & END_HEADERS != 0 {
                self.block_end(direction, frame.end);
            }
        }
    }

    fn block_end(&mut self, direction: Direction, at: At) {
        let half = &mut self.halves[direction.index()];
        let Some(block) = half.block.take() else {
            return;
        };
        let mut fields = Fields::default();
        let read = half
            .hpack
            .read(&block.octets, |field, value| fields.take(field, value));
        if !read || !block.whole {
            half.hpack.forget();
        }
        if block.promised {
            return;
        }
        if let Some(code) = fields.grpc_status {
            let said = fields.grpc_message.as_bytes();
            self.calls.take(direction, block.start, code, said);
        }
        if let Some(status) = fields.status {
            self.response(block.stream, status, fields.server, block.start);
        } else if block.stream % 2 == 1
            && !self.open.contains_key(&block.stream)
            && !fields.is_empty()
        {
            self.request(direction, block.stream, fields, block.start);
        }
        if block.end_stream {
            self.end_stream(direction, block.stream, at);
        }
    }

    fn request(&mut self, asker: Direction, stream: u32, fields: Fields, start: At) {
        if self.open.len() == STREAMS_MAX
            && let Some((_, oldest)) = self.open.pop_first()
        {
            self.log.push(oldest.order, oldest.exchange);
        }
        let exchange = HttpExchange {
            method: fields.method.into(),
            target: fields.path,
            host: fields.authority,
            request_start: start,
            request_end: None,
            status: None,
            response_start: None,
            response_end: None,
            connection_close: false,
        };
        self.open.insert(
            stream,
            Stream {
                order: self.facts.requests,
                asker,
                exchange,
            },
        );
        self.facts.requests += 1;
        self.facts.streams += 1;
    }

    fn response(&mut self, stream: u32, status: u16, server: Option<String>, start: At) {
        let facts = &mut self.facts;
        facts.count_status(status, start);
        facts.server = facts.server.take().or(server);
        if status < 200 {
            return;
        }
        facts.responses += 1;
        facts.too_many_requests += u64::from(status == 429);
        if let Some(stream) = self.open.get_mut(&stream) {
            stream.exchange.status = Some(status);
            stream.exchange.response_start.get_or_insert(start);
        }
    }

    /// The sender of `direction` is done with the stream.
    fn end_stream(&mut self, direction: Direction, id: u32, at: At) {
        self.halves[direction.index()].complete += 1;
        let Some(stream) = self.open.get_mut(&id) else {
            return;
        };
        let exchange = &mut stream.exchange;
        if direction == stream.asker {
            exchange.request_end = Some(at);
        } else {
            exchange.response_end = Some(at);
        }
        if exchange.response_end.is_some() {
            self.close(id);
        }
    }

    fn close(&mut self, id: u32) {
        if let Some(stream) = self.open.remove(&id) {
            if let Some(goaway) = &mut self.facts.goaway {
                goaway.left(id, &stream, false);
            }
            self.log.push(stream.order, stream.exchange);
        }
    }
}

impl HttpGoaway {
    /// Takes note of a stream of the peer that is over without a response, or still open at the end.
    fn left(&mut self, id: u32, stream: &Stream, is_open: bool) {
        let exchange = &stream.exchange;
        if exchange.response_start.is_some() || stream.asker == self.direction {
            return;
        }
        if id > self.last_stream {
            self.unprocessed.add(exchange.request_start);
        } else if is_open {
            self.unanswered.add(exchange.request_start);
        }
    }
}

/// The 32-bit number at a place of a frame's body.
fn number(body: &[u8], at: usize) -> Option<u32> {
    let octets = body.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*octets))
}

impl Fields {
    fn take(&mut self, field: Field, value: &[u8]) {
        match field {
            Field::Method => self.method = capped(value, 16),
            Field::Path => self.path = capped(value, 256),
            Field::Authority => {
                self.authority.get_or_insert_with(|| capped(value, 256));
            }
            Field::Status => {
                self.status = std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse().ok())
            }
            Field::Server => self.server = Some(capped(value, 64)),
            Field::GrpcStatus => {
                let text = std::str::from_utf8(value).ok();
                self.grpc_status = text.and_then(|text| text.parse().ok());
            }
            Field::GrpcMessage => self.grpc_message = capped(value, 120),
            Field::Other => {}
        }
    }

    /// Nothing of a request: trailers, or a block that was not understood.
    const fn is_empty(&self) -> bool {
        self.method.is_empty() && self.path.is_empty() && self.authority.is_none()
    }
}

/// The header block fragment of a frame, without padding, priority or promised stream.
fn without_padding<'a>(frame: &Frame<'a>, promised: bool) -> Option<&'a [u8]> {
    let mut body = frame.body;
    let mut padding = 0;
    if frame.flags & PADDED != 0 {
        let (first, rest) = body.split_first()?;
        (padding, body) = (usize::from(*first), rest);
    }
    if promised {
        body = body.get(4..)?;
    } else if frame.flags & PRIORITY != 0 {
        body = body.get(5..)?;
    }
    // Of a frame that is cut, the padding is what was cut first.
    let end = if frame.whole {
        body.len().checked_sub(padding)?
    } else {
        body.len()
    };
    body.get(..end)
}

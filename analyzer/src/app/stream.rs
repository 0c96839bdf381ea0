//! Reads both directions of one TCP connection's stream.
//!
//! First the octets are sampled until they are recognised; then a protocol's reader takes the
//! sample and all that follows. What fills the sample unrecognised is tried for a framing, and
//! is opaque when it has none: its memory is freed and no more octets are wanted.

use std::fmt;

use crate::direction::Direction;
use crate::event::At;

use super::dns::DnsStream;
use super::framing::{self, Framed};
use super::http1::Http1;
use super::http2::Http2;
use super::opening::Prefix;
use super::probe::{Sample, What};
use super::reader::{MessagePosition, Piece, Reader};
use super::recognise::{self, Recognised, Verdict};
use super::service::Service;
use super::tls::Tls;
use super::{AppFacts, AppProtocol, FramingSpec};

/// What the user said about payloads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AppSettings {
    /// Framing by server port (`--framing PORT=SPEC`); the first entry of a port counts.
    pub framings: Vec<(u16, FramingSpec)>,
}

/// Reads both directions of one TCP connection's stream.
///
/// Bounded: about 16 KiB are kept per direction at most, and nothing is allocated before the first
/// payload octet. A stream recognised as opaque costs nothing more ([`Self::wants_data`]).
pub struct StreamReader {
    spec: Option<FramingSpec>,
    /// [`Self::segment_boundary`] was called and the segment's octets are yet to come.
    boundary: [Option<SegmentShape>; 2],
    /// What each end said first.
    openings: Option<Box<[Prefix; 2]>>,
    state: State,
}

/// What matters of a segment beside its octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SegmentShape {
    /// Longer than the MSS (captured before segmentation): message starts inside it are not
    /// counted as coalesced.
    pub oversized: bool,
    /// Its last octets were not captured.
    pub tail_cut: bool,
}

enum State {
    /// No payload yet.
    Idle,
    Active(Box<Active>),
    /// Nothing more to learn.
    Done(Done),
}

struct Active {
    segments: [Segment; 2],
    reading: Reading,
}

/// The segment a direction is in.
#[derive(Clone, Copy, Default)]
struct Segment {
    frame: Option<u64>,
    shape: SegmentShape,
}

enum Reading {
    Sampling(Sampling),
    Protocol(Box<dyn Reader>),
}

/// The sample, and how far each direction has been judged.
#[derive(Default)]
struct Sampling {
    sample: Sample,
    sides: [Side; 2],
}

#[derive(Clone, Copy, Default)]
struct Side {
    /// The direction's first run of octets is no protocol's opening.
    ruled_out: bool,
    /// Segments judged in mid-stream.
    later_segments: u32,
}

/// What a stream is of which nothing more can be learnt.
#[derive(Clone, Copy)]
struct Done(AppProtocol, Option<&'static str>);

/// Longer gaps are read as this one: sums of octets stay far from their limits.
const GAP_MAX: u64 = 1 << 40;

/// Segments looked at in a direction whose opening told nothing.
const LATER_SEGMENTS: u32 = 16;

impl StreamReader {
    /// A reader for a connection to `server_port`, which decides only whether a framing was given.
    #[must_use]
    pub fn new(settings: &AppSettings, server_port: u16) -> Self {
        let given = settings
            .framings
            .iter()
            .find(|(port, _)| *port == server_port);
        Self {
            spec: given.map(|(_, spec)| *spec),
            boundary: [None; 2],
            openings: None,
            state: State::Idle,
        }
    }

    /// Whether octets of this direction can still tell anything. Once false it stays false, and
    /// [`Self::data`], [`Self::gap`] and [`Self::segment_boundary`] need not be called any more.
    #[must_use]
    pub fn wants_data(&self, direction: Direction) -> bool {
        let openings = self.openings.as_deref();
        if openings.is_none_or(|both| !both[direction.index()].is_known()) {
            return true;
        }
        match &self.state {
            State::Idle => true,
            State::Active(active) => match &active.reading {
                Reading::Sampling(_) => true,
                Reading::Protocol(reader) => reader.wants_data(direction),
            },
            State::Done(_) => false,
        }
    }

    fn opening(&mut self, direction: Direction) -> &mut Prefix {
        &mut self.openings.get_or_insert_default()[direction.index()]
    }

    /// Takes the next stream octets, each octet once and in order.
    ///
    /// A call whose frame differs from the one before it begins a new segment; so does the call
    /// after [`Self::segment_boundary`].
    pub fn data(&mut self, direction: Direction, bytes: &[u8], at: At) {
        if bytes.is_empty() {
            return;
        }
        self.opening(direction).take(bytes, at);
        if matches!(self.state, State::Idle) {
            self.state = State::Active(Box::new(Active::new(self.spec)));
        }
        let boundary = self.boundary[direction.index()].take();
        if let State::Active(active) = &mut self.state {
            let piece = active.piece(direction, at, boundary);
            if let Err(done) = active.data(direction, bytes, piece) {
                self.state = State::Done(done);
            }
        }
    }

    /// Says that the next octets of this direction begin a segment.
    pub fn segment_boundary(&mut self, direction: Direction, shape: SegmentShape) {
        self.boundary[direction.index()] = Some(shape);
    }

    /// Takes note of octets that passed and were not captured: the cut tail of a segment (`at` is
    /// its frame) or a capture drop (`at` is the first frame that proves it).
    pub fn gap(&mut self, direction: Direction, octets: u64, at: At) {
        if octets == 0 {
            return;
        }
        self.opening(direction).gap(at);
        let octets = octets.min(GAP_MAX);
        if matches!(self.state, State::Idle) {
            self.state = State::Active(Box::new(Active::new(self.spec)));
        }
        if let State::Active(active) = &mut self.state
            && let Err(done) = active.gap(direction, octets, at)
        {
            self.state = State::Done(done);
        }
    }

    /// Takes note that this direction's sender is done: its FIN follows what was handed over.
    pub fn fin(&mut self, direction: Direction, at: At) {
        if let State::Active(active) = &mut self.state {
            active.fin(direction, at);
        }
    }

    /// How many messages of this direction are known complete so far.
    #[must_use]
    pub fn message_position(&self, direction: Direction) -> MessagePosition {
        match &self.state {
            State::Active(active) => match &active.reading {
                Reading::Protocol(reader) => reader.position(direction),
                Reading::Sampling(_) => MessagePosition::default(),
            },
            State::Idle | State::Done(_) => MessagePosition::default(),
        }
    }

    /// What the payload told.
    #[must_use]
    pub fn finish(self) -> AppFacts {
        let openings = self.openings;
        let outcome = match self.state {
            State::Idle => return AppFacts::default(),
            State::Done(done) => Err(done),
            State::Active(active) => match active.reading {
                Reading::Sampling(mut sampling) => sampling.conclude(),
                Reading::Protocol(reader) => Ok(reader),
            },
        };
        let facts = match outcome {
            Ok(reader) => reader.finish(),
            Err(Done(protocol, name)) => AppFacts {
                protocol,
                name,
                ..AppFacts::default()
            },
        };
        AppFacts {
            openings: openings
                .map(|both| both.map(|prefix| prefix.opened()))
                .unwrap_or_default(),
            ..facts
        }
    }
}

impl fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Idle => "idle",
            State::Active(active) => match &active.reading {
                Reading::Sampling(_) => "sampling",
                Reading::Protocol(_) => "reading",
            },
            State::Done(_) => "done",
        };
        f.debug_struct("StreamReader")
            .field("spec", &self.spec)
            .field("state", &state)
            .finish()
    }
}

impl Active {
    fn new(spec: Option<FramingSpec>) -> Self {
        let reading = match spec {
            Some(spec) => Reading::Protocol(Box::new(Framed::given(spec))),
            None => Reading::Sampling(Sampling::default()),
        };
        Self {
            segments: [Segment::default(); 2],
            reading,
        }
    }

    fn piece(&mut self, direction: Direction, at: At, boundary: Option<SegmentShape>) -> Piece {
        let segment = &mut self.segments[direction.index()];
        let starts_segment = boundary.is_some() || segment.frame != Some(at.frame);
        if starts_segment {
            segment.shape = boundary.unwrap_or_default();
        }
        segment.frame = Some(at.frame);
        Piece {
            at,
            starts_segment,
            oversized: segment.shape.oversized,
            tail_cut: segment.shape.tail_cut,
        }
    }

    /// Takes octets; gives what the stream is when nothing more can be learnt.
    fn data(&mut self, direction: Direction, bytes: &[u8], piece: Piece) -> Result<(), Done> {
        let mut rest = bytes;
        if let Reading::Sampling(sampling) = &mut self.reading {
            rest = sampling.sample.push(direction, bytes, piece);
            let outcome = match sampling.judge(direction, bytes, piece) {
                Some(recognised) => sampling.begin(recognised),
                None if rest.is_empty() => return Ok(()),
                None => sampling.conclude(),
            };
            self.reading = Reading::Protocol(outcome?);
        }
        if let Reading::Protocol(reader) = &mut self.reading
            && !rest.is_empty()
        {
            let starts_segment = piece.starts_segment && rest.len() == bytes.len();
            reader.data(
                direction,
                rest,
                Piece {
                    starts_segment,
                    ..piece
                },
            );
        }
        Ok(())
    }

    fn gap(&mut self, direction: Direction, octets: u64, at: At) -> Result<(), Done> {
        if let Reading::Sampling(sampling) = &mut self.reading {
            let piece = Piece {
                at,
                starts_segment: false,
                oversized: false,
                tail_cut: false,
            };
            let kept = sampling.sample.push_gap(direction, octets, piece);
            let outcome = match sampling.judge_cut(direction) {
                Some(recognised) => sampling.begin(recognised),
                None if kept => return Ok(()),
                None => sampling.conclude(),
            };
            self.reading = Reading::Protocol(outcome?);
            if kept {
                return Ok(());
            }
        }
        if let Reading::Protocol(reader) = &mut self.reading {
            reader.gap(direction, octets, at);
        }
        Ok(())
    }

    fn fin(&mut self, direction: Direction, at: At) {
        match &mut self.reading {
            // Without room the end is not noted; nothing that is read from a sample needs it.
            Reading::Sampling(sampling) => {
                let piece = Piece {
                    at,
                    starts_segment: false,
                    oversized: false,
                    tail_cut: false,
                };
                sampling.sample.push_fin(direction, piece);
            }
            Reading::Protocol(reader) => reader.fin(direction, at),
        }
    }
}

impl Sampling {
    /// Looks at what `bytes` (already in the sample) added.
    fn judge(&mut self, direction: Direction, bytes: &[u8], piece: Piece) -> Option<Recognised> {
        let side = &mut self.sides[direction.index()];
        let verdict = if !side.ruled_out {
            recognise::first_octets(self.sample.bytes(direction), false)
        } else if piece.starts_segment && side.later_segments < LATER_SEGMENTS {
            side.later_segments += 1;
            recognise::later_segment(bytes)
        } else {
            return None;
        };
        match verdict {
            Verdict::Is(recognised) => Some(recognised),
            Verdict::Maybe => None,
            Verdict::No => {
                side.ruled_out = true;
                None
            }
        }
    }

    /// Judges a first run that goes no further.
    fn judge_cut(&mut self, direction: Direction) -> Option<Recognised> {
        let side = &mut self.sides[direction.index()];
        if side.ruled_out {
            return None;
        }
        side.ruled_out = true;
        match recognise::first_octets(self.sample.bytes(direction), true) {
            Verdict::Is(recognised) => Some(recognised),
            Verdict::Maybe | Verdict::No => None,
        }
    }

    /// Hands the sample to the reader of what was recognised.
    fn begin(&self, recognised: Recognised) -> Result<Box<dyn Reader>, Done> {
        let mut reader: Box<dyn Reader> = match recognised {
            Recognised::Http1 => Box::new(Http1::default()),
            Recognised::Http2 => Box::new(Http2::default()),
            Recognised::Tls => Box::new(Tls::default()),
            Recognised::Dns => Box::new(DnsStream::default()),
            Recognised::Ssh => return Err(Done(AppProtocol::Ssh, None)),
            Recognised::Named(name) => match Service::of(name) {
                Some(service) => Box::new(service),
                None => return Err(Done(AppProtocol::Unknown, Some(name))),
            },
        };
        self.sample.replay(|direction, what, piece| match what {
            What::Data(bytes) => reader.data(direction, bytes, piece),
            What::Gap(octets) => reader.gap(direction, octets, piece.at),
            What::Fin => reader.fin(direction, piece.at),
        });
        Ok(reader)
    }

    /// Decides with what there is: the sample is full, or the stream is over.
    fn conclude(&mut self) -> Result<Box<dyn Reader>, Done> {
        let recognised = Direction::BOTH
            .into_iter()
            .find_map(|side| self.judge_cut(side));
        if let Some(recognised) = recognised {
            return self.begin(recognised);
        }
        match framing::infer(&self.sample) {
            Some(framed) => Ok(Box::new(framed)),
            None => Err(Done(AppProtocol::Unknown, None)),
        }
    }
}

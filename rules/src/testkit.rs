//! Connections for tests of rules: fed packet by packet to the analyzer's tracker ([`script`]), or,
//! where packets cannot say it, built by hand ([`Builder`]).

use std::time::Duration;

use analyzer::app::{AppFacts, AppProtocol};
use analyzer::connection::{
    CapturePoint, Close, Half, Handshake, Histogram, Holes, IdleGaps, Reset, ResetKind, ResetShape,
    Role, Span, TimeSplit, Turn, Turns,
};
use analyzer::decode::TcpFlags;
use analyzer::event::{Event, EventKind, SegmentRef};
use analyzer::pipeline::ConnectionSink as _;
use analyzer::seq::SeqNumber;
use analyzer::{Analysis, Connection, Direction, Endpoint, Timestamp, Transport};

use crate::{Assessment, Engine, Finding, RuleSettings};

/// Packet scripts: a rule's test says what passes, and the rule sees what a tracker makes of it.
#[path = "../../analyzer/tests/segments/mod.rs"]
pub(crate) mod script;

pub(crate) use Direction::{ClientToServer as C, ServerToClient as S};

/// Capture time of `ms` milliseconds.
pub(crate) fn at(ms: f64) -> Timestamp {
    Timestamp::from_nanos((ms * 1e6) as i64)
}

/// Builds one connection step by step; every segment gets the next frame number.
pub(crate) struct Builder {
    pub(crate) conn: Connection,
    frame: u64,
    /// Next sequence offset per direction.
    next: [u64; 2],
}

impl Builder {
    /// A TCP connection of client port `40000 + number` to `10.9.0.2:80`, without packets; its
    /// frames begin at `number * 1000 + 1`.
    pub(crate) fn tcp(number: u16) -> Self {
        Self::new(Transport::Tcp, number)
    }

    /// A UDP flow of client port `40000 + number` to `10.9.0.2:80`.
    pub(crate) fn udp(number: u16) -> Self {
        let mut builder = Self::new(Transport::Udp, number);
        builder.conn.udp = Some(analyzer::connection::UdpFacts::default());
        builder
    }

    fn new(transport: Transport, number: u16) -> Self {
        let first_frame = u64::from(number) * 1000 + 1;
        let conn = Connection {
            transport,
            client: Endpoint::new("10.9.0.1".parse().unwrap(), 40_000 + number),
            server: Endpoint::new("10.9.0.2".parse().unwrap(), 80),
            role: Role::Syn,
            first_frame,
            last_frame: first_frame,
            start: at(0.0),
            end: at(0.0),
            halves: [Half::default(), Half::default()],
            close: Close::Open,
            handshake: Handshake::default(),
            turns: Turns::default(),
            holes: Holes::default(),
            resets: Vec::new(),
            states: Vec::new(),
            events: Vec::new(),
            events_dropped: 0,
            capture_point: CapturePoint::Server,
            capture_point_confidence: 0.9,
            port_reuse: false,
            translated_from: None,
            process: None,
            proxied_to: None,
            app: AppFacts::default(),
            idle_gaps: IdleGaps::default(),
            udp: None,
            time_split: TimeSplit::default(),
        };
        Self {
            conn,
            frame: first_frame - 1,
            next: [0, 0],
        }
    }

    /// A segment at `ms`, counted in its half; the ACK number covers all that was sent so far.
    pub(crate) fn segment(
        &mut self,
        ms: f64,
        direction: Direction,
        flags: u8,
        len: u32,
    ) -> SegmentRef {
        self.frame += 1;
        let (own, peer) = (direction.index(), direction.reverse().index());
        let flags = TcpFlags(flags);
        let segment = SegmentRef {
            frame: self.frame,
            time: at(ms),
            direction,
            flags,
            seq: SeqNumber(1000 + self.next[own] as u32),
            ack: SeqNumber(if flags.0 == TcpFlags::SYN {
                0
            } else {
                1000 + self.next[peer] as u32
            }),
            relative_seq: self.next[own],
            relative_ack: self.next[peer],
            payload_len: len,
            window: 64_000,
        };
        self.next[own] += u64::from(len) + u64::from(flags.syn()) + u64::from(flags.fin());
        if self.frame == self.conn.first_frame {
            self.conn.start = at(ms);
        }
        self.conn.end = at(ms);
        self.conn.last_frame = self.frame;
        let half = &mut self.conn.halves[own];
        half.packets += 1;
        half.last_segment = Some(segment);
        if len > 0 {
            half.data_segments += 1;
            half.payload_bytes += u64::from(len);
            half.unique_bytes += u64::from(len);
            half.first_data.get_or_insert(segment);
            half.last_data = Some(segment);
            half.largest_payload = half.largest_payload.max(len);
        }
        if flags.fin() {
            half.fin.get_or_insert(segment);
        }
        segment
    }

    /// SYN, SYN-ACK and ACK from `ms` on, `rtt_ms` apart in all.
    pub(crate) fn handshake(mut self, ms: f64, rtt_ms: f64) -> Self {
        let syn = self.segment(ms, C, TcpFlags::SYN, 0);
        let syn_ack = self.segment(ms, S, TcpFlags::SYN | TcpFlags::ACK, 0);
        let ack = self.segment(ms + rtt_ms, C, TcpFlags::ACK, 0);
        self.conn.handshake = Handshake {
            syns: vec![syn],
            syn_acks: vec![syn_ack],
            ack: Some(ack),
            syn_count: 1,
            syn_ack_count: 1,
            ..Handshake::default()
        };
        // Captured at the server: its round trip is the whole, the client's next to nothing.
        self.conn.halves[1].rtt_min = Some(Duration::from_secs_f64(rtt_ms / 1e3));
        self.conn.halves[0].rtt_min = Some(Duration::from_micros(20));
        self
    }

    /// A request of `len` octets at `ms`, without response yet.
    pub(crate) fn request(mut self, ms: f64, len: u32) -> Self {
        let segment = self.segment(ms, C, TcpFlags::PSH | TcpFlags::ACK, len);
        let span = Span {
            first: segment,
            last: segment,
            octets: u64::from(len),
        };
        let turn = Turn {
            request: span,
            request_acked: None,
            response: None,
            answer_missed: false,
            response_acked: None,
            repeats: 0,
        };
        self.conn.turns.before_last = self.conn.turns.last;
        self.conn.turns.last = Some(turn);
        self.conn.turns.count += 1;
        self
    }

    /// The response of `len` octets at `ms` to the last request.
    pub(crate) fn response(mut self, ms: f64, len: u32) -> Self {
        let segment = self.segment(ms, S, TcpFlags::PSH | TcpFlags::ACK, len);
        let turns = &mut self.conn.turns;
        if let Some(turn) = &mut turns.last {
            turn.request_acked = Some(at(ms));
            turn.response = Some(Span {
                first: segment,
                last: segment,
                octets: u64::from(len),
            });
            turns.answered += 1;
            let took = turn.response_time().unwrap_or_default();
            turns.response_times.add(took);
            turns.slowest.push(*turn);
            turns
                .slowest
                .sort_by_key(|turn| std::cmp::Reverse(turn.response_time()));
            turns.slowest.truncate(8);
        }
        self
    }

    /// The last request is acknowledged at `ms` without data.
    pub(crate) fn request_acked(mut self, ms: f64) -> Self {
        self.segment(ms, S, TcpFlags::ACK, 0);
        if let Some(turn) = &mut self.conn.turns.last {
            turn.request_acked = Some(at(ms));
        }
        self
    }

    /// FIN of one end.
    pub(crate) fn fin(mut self, ms: f64, direction: Direction) -> Self {
        self.segment(ms, direction, TcpFlags::FIN | TcpFlags::ACK, 0);
        self
    }

    /// A RST of one end, with the fields a judged one bears.
    pub(crate) fn reset(mut self, ms: f64, direction: Direction, kind: ResetKind) -> Self {
        let reply = matches!(
            kind,
            ResetKind::AbortedAfterClose
                | ResetKind::HalfOpen
                | ResetKind::TimeWait
                | ResetKind::Refused
        );
        let flags = if reply {
            TcpFlags::RST
        } else {
            TcpFlags::RST | TcpFlags::ACK
        };
        let answers = self.conn.half(direction.reverse()).last_segment;
        let before = self.conn.end;
        let mut segment = self.segment(ms, direction, flags, 0);
        if let (true, Some(answered)) = (reply, answers) {
            segment.seq = answered.ack;
            segment.relative_seq = answered.relative_ack;
        }
        self.conn.close = Close::Reset;
        self.conn.resets.push(Reset {
            segment,
            count: 1,
            kind,
            confidence: 0.9,
            runner_up: None,
            shape: if reply {
                ResetShape::Reply
            } else {
                ResetShape::Active
            },
            answers: answers.filter(|_| reply),
            bytes_unacked: 0,
            window_jump: None,
            unanswered_octets: 0,
            own_fin_before: self.conn.half(direction).fin.is_some(),
            peer_fin_before: self.conn.half(direction.reverse()).fin.is_some(),
            idle_before: at(ms).since(before),
            hop_limit: 64,
            usual_hop_limit: Some(64),
            sender_carried_on: false,
            reason: None,
            stated: None,
        });
        self
    }

    /// Any other event.
    pub(crate) fn event(mut self, segment: SegmentRef, kind: EventKind) -> Self {
        self.conn.events.push(Event { segment, kind });
        self
    }

    /// Changes what the builder has no word for.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Connection)) -> Self {
        change(&mut self.conn);
        self
    }

    /// Recognised as `protocol`.
    pub(crate) fn protocol(self, protocol: AppProtocol) -> Self {
        self.with(|conn| conn.app.protocol = protocol)
    }

    pub(crate) fn build(self) -> Connection {
        self.conn
    }
}

/// A histogram of `count` durations of `ms`.
pub(crate) fn histogram(ms: f64, count: usize) -> Histogram {
    let mut histogram = Histogram::default();
    (0..count).for_each(|_| histogram.add(Duration::from_secs_f64(ms / 1e3)));
    histogram
}

/// Runs all rules over `connections`.
pub(crate) fn assess(connections: &[Connection], analysis: &Analysis) -> Assessment {
    assess_with(RuleSettings::default(), connections, analysis)
}

/// Runs the rules that `settings` enable.
pub(crate) fn assess_with(
    settings: RuleSettings,
    connections: &[Connection],
    analysis: &Analysis,
) -> Assessment {
    let engine = Engine::new(settings);
    let mut sink = engine.sink();
    connections
        .iter()
        .for_each(|connection| sink.connection(connection));
    engine.finish(vec![sink], analysis)
}

/// The findings of one rule alone.
pub(crate) fn findings_of(rule: &str, connections: &[Connection]) -> Vec<Finding> {
    findings_in(rule, connections, &Analysis::default())
}

/// The findings of one rule alone, with facts about the whole capture.
pub(crate) fn findings_in(
    rule: &str,
    connections: &[Connection],
    analysis: &Analysis,
) -> Vec<Finding> {
    let mut settings = RuleSettings::default();
    settings.select(&[rule.to_owned()]).unwrap();
    let assessment = assess_with(settings, connections, analysis);
    for outcome in &assessment.outcomes {
        assert_eq!(outcome.failure, None);
    }
    assessment.findings
}

/// The number of a figure.
pub(crate) fn figure(finding: &Finding, name: &str) -> f64 {
    let figure = finding.figures.iter().find(|figure| figure.name == name);
    match figure.map(|figure| &figure.value) {
        Some(crate::model::figure::FigureValue::Number(number)) => *number,
        other => panic!("figure {name} is {other:?}"),
    }
}

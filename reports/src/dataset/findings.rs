//! What a whole capture gives beside findings: `evidence`, `intervals` and `captures`.

use std::time::Duration;

use analyzer::analysis::{Interval, Intervals};
use analyzer::connection::TcpState;
use analyzer::{Analysis, QualityKind, Timestamp};
use rules::finding::{Evidence, Finding};
use rules::rows::ColumnType::{Integer, Number, Text, Time};
use rules::rows::{Column, Record, Table, Value, column};
use rules::rows::{count, direction_name, number, text, time};

use crate::document::{Document, flag_names, seconds};

/// One frame of evidence.
pub(super) struct EvidenceRecord<'a> {
    pub finding: &'a Finding,
    pub evidence: &'a Evidence,
}

/// Rows of [`EVIDENCE`].
pub(super) enum Frames {}

impl Record for Frames {
    type Of<'a> = EvidenceRecord<'a>;
}

const EVIDENCE_COLUMNS: &[Column<Frames>] = &[
    column("finding", Text, "the finding, as in `findings`", |r| {
        text(Some(r.finding.id.clone()))
    }),
    column("rule", Text, "rule id", |r| text(Some(r.finding.rule))),
    column("frame", Integer, "Wireshark's frame.number", |r| {
        count(r.evidence.segment.frame)
    }),
    column("frame_time", Time, "time of the frame", |r| {
        time(Some(r.evidence.segment.time))
    }),
    column(
        "note",
        Text,
        "a fact that can be checked at that frame",
        |r| text(Some(r.evidence.note.clone())),
    ),
    column("transport", Text, "`tcp` or `udp`", |r| {
        text(Some(r.evidence.connection.transport.as_str()))
    }),
    column("client", Text, "address and port of the client", |r| {
        text(Some(r.evidence.connection.client.to_string()))
    }),
    column("server", Text, "address and port of the server", |r| {
        text(Some(r.evidence.connection.server.to_string()))
    }),
    column(
        "direction",
        Text,
        "`client_to_server` or `server_to_client`",
        |r| text(Some(direction_name(r.evidence.segment.direction))),
    ),
    column("flags", Text, "TCP control bits, such as `PSH,ACK`", |r| {
        text(Some(flag_names(r.evidence.segment.flags)))
    }),
    column(
        "relative_seq",
        Integer,
        "offset from the sender's initial sequence number",
        |r| count(r.evidence.segment.relative_seq),
    ),
    column(
        "relative_ack",
        Integer,
        "offset from the peer's initial sequence number",
        |r| count(r.evidence.segment.relative_ack),
    ),
    column("payload_bytes", Integer, "payload length", |r| {
        count(r.evidence.segment.payload_len.into())
    }),
    column(
        "first_frame",
        Integer,
        "the connection, as in `connections`",
        |r| count(r.evidence.connection.first_frame),
    ),
];

pub(super) static EVIDENCE: Table<Frames> = Table {
    name: "evidence",
    about: "one row per frame that proves a finding",
    columns: EVIDENCE_COLUMNS,
};

/// One slice of capture time.
pub(super) struct IntervalRecord<'a> {
    start: Timestamp,
    width: Duration,
    slice: &'a Interval,
    states: Option<&'a [[u32; 11]; 2]>,
}

impl<'a> IntervalRecord<'a> {
    /// The slices of a capture.
    pub fn of(intervals: &'a Intervals) -> Vec<Self> {
        let Some(start) = intervals.start else {
            return Vec::new();
        };
        let mut at = start;
        let mut records = Vec::with_capacity(intervals.slices.len());
        for (index, slice) in intervals.slices.iter().enumerate() {
            records.push(Self {
                start: at,
                width: intervals.width,
                slice,
                states: intervals.states.get(index),
            });
            at = at + intervals.width;
        }
        records
    }

    fn sockets(&self, end: usize, state: TcpState) -> Value {
        let index = Intervals::state_index(state);
        self.states.map_or(Value::Missing, |states| {
            Value::Integer(states[end][index].into())
        })
    }
}

/// Rows of [`INTERVALS`].
pub(super) enum Slices {}

impl Record for Slices {
    type Of<'a> = IntervalRecord<'a>;
}

const INTERVAL_COLUMNS: &[Column<Slices>] = &[
    column("start_time", Time, "start of the slice", |r| {
        time(Some(r.start))
    }),
    column("width_s", Number, "length of the slice", |r| {
        number(Some(seconds(r.width)))
    }),
    column("client_packets", Integer, "packets from clients", |r| {
        count(r.slice.packets[0])
    }),
    column("server_packets", Integer, "packets from servers", |r| {
        count(r.slice.packets[1])
    }),
    column("client_bytes", Integer, "wire bytes from clients", |r| {
        count(r.slice.bytes[0])
    }),
    column("server_bytes", Integer, "wire bytes from servers", |r| {
        count(r.slice.bytes[1])
    }),
    column(
        "client_retransmissions",
        Integer,
        "segments retransmitted by clients",
        |r| count(r.slice.retransmissions[0]),
    ),
    column(
        "server_retransmissions",
        Integer,
        "segments retransmitted by servers",
        |r| count(r.slice.retransmissions[1]),
    ),
    column("resets", Integer, "resets", |r| count(r.slice.resets)),
    column("opened", Integer, "connections that began", |r| {
        count(r.slice.opened)
    }),
    column(
        "failed",
        Integer,
        "connections that began and were refused or never answered",
        |r| count(r.slice.failed),
    ),
    column(
        "client_established",
        Integer,
        "client sockets in ESTABLISHED",
        |r| r.sockets(0, TcpState::Established),
    ),
    column(
        "server_established",
        Integer,
        "server sockets in ESTABLISHED",
        |r| r.sockets(1, TcpState::Established),
    ),
    column(
        "client_close_wait",
        Integer,
        "client sockets in CLOSE-WAIT",
        |r| r.sockets(0, TcpState::CloseWait),
    ),
    column(
        "server_close_wait",
        Integer,
        "server sockets in CLOSE-WAIT",
        |r| r.sockets(1, TcpState::CloseWait),
    ),
    column(
        "client_time_wait",
        Integer,
        "client sockets in TIME-WAIT",
        |r| r.sockets(0, TcpState::TimeWait),
    ),
    column(
        "server_time_wait",
        Integer,
        "server sockets in TIME-WAIT",
        |r| r.sockets(1, TcpState::TimeWait),
    ),
];

pub(super) static INTERVALS: Table<Slices> = Table {
    name: "intervals",
    about: "the capture cut into at most 512 equal slices of time",
    columns: INTERVAL_COLUMNS,
};

/// A capture as a whole.
pub(super) struct CaptureRecord<'a> {
    pub analysis: &'a Analysis,
    pub document: &'a Document,
}

impl CaptureRecord<'_> {
    fn quality(&self, kind: QualityKind) -> Value {
        let notes = self.analysis.quality.iter();
        count(notes.filter(|n| n.kind == kind).map(|n| n.count).sum())
    }

    fn files(&self) -> String {
        let files = self.document.capture.files.iter();
        files
            .map(|file| file.name.as_str())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Rows of [`CAPTURES`].
pub(super) enum Captures {}

impl Record for Captures {
    type Of<'a> = CaptureRecord<'a>;
}

const CAPTURE_COLUMNS: &[Column<Captures>] = &[
    column("files", Integer, "files of the set that were read", |r| {
        count(r.document.capture.files.len() as u64)
    }),
    column("file_names", Text, "their names, one a line", |r| {
        text(Some(r.files()))
    }),
    column("stored_bytes", Integer, "their size as stored", |r| {
        count(r.document.capture.files.iter().map(|file| file.bytes).sum())
    }),
    column("packets", Integer, "frames", |r| {
        count(r.analysis.summary.packets)
    }),
    column("bytes", Integer, "length of the frames on the wire", |r| {
        count(r.analysis.summary.bytes)
    }),
    column("start_time", Time, "first frame", |r| {
        time(r.analysis.summary.first)
    }),
    column("end_time", Time, "last frame", |r| {
        time(r.analysis.summary.last)
    }),
    column("duration_s", Number, "first to last frame", |r| {
        number(Some(r.document.capture.duration_s))
    }),
    column(
        "link_types",
        Text,
        "LINKTYPE_ names, joined by commas",
        |r| text(Some(r.document.capture.link_types.join(","))),
    ),
    column("tcp_connections", Integer, "TCP connections", |r| {
        count(r.analysis.tcp_connections)
    }),
    column("udp_flows", Integer, "UDP flows", |r| {
        count(r.analysis.udp_flows)
    }),
    column("findings", Integer, "findings", |r| {
        count(r.document.findings.len() as u64)
    }),
    column(
        "severity",
        Text,
        "worst severity; missing without findings",
        |r| text(r.document.verdict.severity.map(crate::Severity::as_str)),
    ),
    column("verdict", Text, "the verdict in one sentence", |r| {
        text(Some(r.document.verdict.sentence.clone()))
    }),
    column(
        "capture_drops",
        Integer,
        "frames the capturing host dropped, and bytes missing from connections",
        |r| r.quality(QualityKind::CaptureDrops),
    ),
    column(
        "duplicate_frames",
        Integer,
        "frames recorded more than once",
        |r| r.quality(QualityKind::DuplicateFrames),
    ),
    column(
        "cut_frames",
        Integer,
        "frames cut by the snap length",
        |r| r.quality(QualityKind::Snaplen),
    ),
    column(
        "one_sided_connections",
        Integer,
        "connections captured in one direction only",
        |r| r.quality(QualityKind::OneSided),
    ),
    column("clock_steps", Integer, "steps of the capture clock", |r| {
        r.quality(QualityKind::ClockStep)
    }),
    column(
        "cut_short",
        Integer,
        "files that end inside a record, are damaged or were not read",
        |r| r.quality(QualityKind::CutShort),
    ),
];

pub(super) static CAPTURES: Table<Captures> = Table {
    name: "captures",
    about: "one row per capture or set of rotated files",
    columns: CAPTURE_COLUMNS,
};

//! What limits a capture, counted over its connections and put into words.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{QualityKind, QualityNote};

/// A number with its noun: "1 frame", "3 frames".
fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// What limits the capture, counted over the connections of a shard or of several when merged.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct LimitCounts {
    /// Bytes that were acknowledged and never passed, and the connections that lack some.
    pub missing_octets: u64,
    pub missing_connections: u64,
    /// Second copies of a packet that the capture made.
    pub duplicate_frames: u64,
    /// Connections of which one direction was captured.
    pub one_sided: u64,
    /// Connections and flows of which both were.
    pub two_sided: u64,
    /// Frames cut by the snap length.
    pub cut_frames: u64,
    /// Segments larger than any on the wire.
    pub oversized: u64,
    /// Segments written after the acknowledgment that covers them, their connections, and by how
    /// much at most.
    pub written_late: u64,
    pub written_late_connections: u64,
    pub written_late_max: Duration,
    /// Lone SYNs that were summed.
    pub lone_syns_summed: u64,
    /// Connections and flows to servers for which there was no room.
    pub unlisted: u64,
    /// Connections that ended for want of memory.
    pub given_up: u64,
    /// Words of the capture about packets for which there was no room.
    pub remarks_left_out: u64,
}

impl LimitCounts {
    /// Adds what another shard counted.
    pub fn merge(&mut self, other: &Self) {
        self.given_up += other.given_up;
        self.remarks_left_out += other.remarks_left_out;
        self.lone_syns_summed += other.lone_syns_summed;
        self.unlisted += other.unlisted;
        self.missing_octets += other.missing_octets;
        self.missing_connections += other.missing_connections;
        self.duplicate_frames += other.duplicate_frames;
        self.one_sided += other.one_sided;
        self.two_sided += other.two_sided;
        self.cut_frames += other.cut_frames;
        self.oversized += other.oversized;
        self.written_late += other.written_late;
        self.written_late_connections += other.written_late_connections;
        self.written_late_max = self.written_late_max.max(other.written_late_max);
    }

    /// Whether answers were not captured at all: one end of a TCP connection shows that it heard the other,
    /// and of nothing were both directions captured.
    pub const fn is_one_way(&self) -> bool {
        self.one_sided > 0 && self.two_sided == 0
    }

    /// The caveats that follow; `servers_listed`: how many servers are listed at most.
    pub fn notes(&self, servers_listed: usize) -> Vec<QualityNote> {
        let mut notes = Notes(Vec::new());
        self.note_frames(&mut notes);
        self.note_order(&mut notes);
        self.note_sums(&mut notes, servers_listed);
        notes.0
    }

    fn note_frames(&self, notes: &mut Notes) {
        notes.add(
            QualityKind::CaptureDrops,
            self.missing_octets,
            format!(
                "{} in {} acknowledged but never captured: the capture missed frames, so loss cannot be counted there",
                counted(self.missing_octets, "byte"),
                counted(self.missing_connections, "connection")
            ),
        );
        notes.add(
            QualityKind::DuplicateFrames,
            self.duplicate_frames,
            format!(
                "{}, captured at another point or written twice by a mirror port: each packet is judged once",
                counted(self.duplicate_frames, "duplicate frame")
            ),
        );
        notes.add(
            QualityKind::Snaplen,
            self.cut_frames,
            format!(
                "{} cut by the snap length: the rest of the payload is unknown",
                counted(self.cut_frames, "frame")
            ),
        );
        notes.add(
            QualityKind::OneSided,
            self.one_sided,
            format!(
                "{} captured in one direction only",
                counted(self.one_sided, "connection")
            ),
        );
        notes.add(
            QualityKind::Offload,
            self.oversized,
            format!(
                "{} larger than the peer's MSS: captured before segmentation or after coalescing, so packet counts differ from the wire",
                counted(self.oversized, "segment")
            ),
        );
    }

    fn note_order(&self, notes: &mut Notes) {
        notes.add(
            QualityKind::CaptureDisorder,
            self.written_late,
            format!(
                "{} in {} written after the acknowledgment that covers them, by up to {:.3} ms: several queues or taps wrote the capture, so packets close together may have passed in another order",
                counted(self.written_late, "segment"),
                counted(self.written_late_connections, "connection"),
                self.written_late_max.as_secs_f64() * 1e3
            ),
        );
    }

    fn note_sums(&self, notes: &mut Notes, servers_listed: usize) {
        notes.add(
            QualityKind::Summed,
            self.lone_syns_summed,
            format!(
                "{} of a single SYN without an answer, many thousand to one server: counted per server and not judged or listed one by one",
                counted(self.lone_syns_summed, "connection attempt")
            ),
        );
        notes.add(
            QualityKind::Summed,
            self.unlisted,
            format!(
                "{} or flows beyond the limit of {servers_listed} servers: missing from per-server figures",
                counted(self.unlisted, "connection")
            ),
        );
        notes.add(
            QualityKind::Summed,
            self.given_up,
            format!(
                "{}, closed or silent for longest, ended early to stay within --max-memory: their later packets are shown as separate connections",
                counted(self.given_up, "connection")
            ),
        );
        notes.add(
            QualityKind::Summed,
            self.remarks_left_out,
            format!(
                "what the capture states beside {} (process, cause of a reset, other side of a proxy) was not kept: too many connections had such marks at one time, and some connections lack them",
                counted(self.remarks_left_out, "packet")
            ),
        );
    }
}

/// The caveats that apply: those whose count is not zero.
struct Notes(Vec<QualityNote>);

impl Notes {
    fn add(&mut self, kind: QualityKind, count: u64, note: String) {
        if count > 0 {
            self.0.push(QualityNote { kind, count, note });
        }
    }
}

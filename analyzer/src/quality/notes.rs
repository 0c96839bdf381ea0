//! What limits a capture, counted over its connections and told in words.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{QualityKind, QualityNote};

/// What limits the capture, counted over the connections of a shard or of several when merged.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct LimitCounts {
    /// Octets that were acknowledged and never passed, and the connections that lack some.
    pub missing_octets: u64,
    pub missing_connections: u64,
    /// Second copies of a packet that the capture made.
    pub duplicate_frames: u64,
    /// Connections of which one direction was captured.
    pub one_sided: u64,
    /// Frames cut by the snap length.
    pub cut_frames: u64,
    /// Segments larger than any on the wire.
    pub oversized: u64,
    /// Connections across which the capture's clock jumped forward, and how far at least.
    pub clock_jumps: u64,
    pub clock_jump_max: Duration,
    /// Segments written after the acknowledgement that covers them, their connections, and by how
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
}

impl LimitCounts {
    /// Adds what another shard counted.
    pub fn merge(&mut self, other: &Self) {
        self.given_up += other.given_up;
        self.lone_syns_summed += other.lone_syns_summed;
        self.unlisted += other.unlisted;
        self.missing_octets += other.missing_octets;
        self.missing_connections += other.missing_connections;
        self.duplicate_frames += other.duplicate_frames;
        self.one_sided += other.one_sided;
        self.cut_frames += other.cut_frames;
        self.oversized += other.oversized;
        self.written_late += other.written_late;
        self.written_late_connections += other.written_late_connections;
        self.written_late_max = self.written_late_max.max(other.written_late_max);
        self.clock_jumps += other.clock_jumps;
        self.clock_jump_max = self.clock_jump_max.max(other.clock_jump_max);
    }

    /// The caveats that follow; `servers_told_apart`: how many servers are listed at most.
    pub fn notes(&self, servers_told_apart: usize) -> Vec<QualityNote> {
        let mut notes = Vec::new();
        let mut note = |kind, count: u64, text: String| {
            if count > 0 {
                notes.push(QualityNote {
                    kind,
                    count,
                    note: text,
                });
            }
        };
        note(
            QualityKind::CaptureDrops,
            self.missing_octets,
            format!(
                "{} octets in {} connections were acknowledged but never captured: the capture missed frames, so loss cannot be counted there",
                self.missing_octets, self.missing_connections
            ),
        );
        note(
            QualityKind::DuplicateFrames,
            self.duplicate_frames,
            format!(
                "{} frames are second copies of a packet, seen at another point or written twice by a mirror; they are judged once",
                self.duplicate_frames
            ),
        );
        note(
            QualityKind::Snaplen,
            self.cut_frames,
            format!(
                "{} frames were cut by the snap length; what their payload said is not known",
                self.cut_frames
            ),
        );
        note(
            QualityKind::OneSided,
            self.one_sided,
            format!(
                "{} connections were captured in one direction only",
                self.one_sided
            ),
        );
        note(
            QualityKind::Offload,
            self.oversized,
            format!(
                "{} segments are larger than the peer's MSS: captured before segmentation or after coalescing, so packet counts are not those of the wire",
                self.oversized
            ),
        );
        note(
            QualityKind::CaptureDisorder,
            self.written_late,
            format!(
                "{} segments in {} connections were written after the acknowledgement that covers them, by up to {:.3} ms: the capture was written by several queues or taps, and what stands close together in it may have passed in another order",
                self.written_late,
                self.written_late_connections,
                self.written_late_max.as_secs_f64() * 1e3
            ),
        );
        note(
            QualityKind::ClockStep,
            self.clock_jumps,
            format!(
                "capture time jumps forward by at least {:.0} s in {} connections, while both ends' TCP timestamps tell that no such time passed: durations across the jump are not reliable",
                self.clock_jump_max.as_secs_f64(),
                self.clock_jumps
            ),
        );
        note(
            QualityKind::Summed,
            self.lone_syns_summed,
            format!(
                "{} attempts to connect were a single SYN without any answer, many thousand to one server: they are counted per server and not judged or listed one by one",
                self.lone_syns_summed
            ),
        );
        note(
            QualityKind::Summed,
            self.unlisted,
            format!(
                "{} connections and flows went to more servers than are told apart ({servers_told_apart}): what is told per server leaves them out",
                self.unlisted
            ),
        );
        note(
            QualityKind::Summed,
            self.given_up,
            format!(
                "{} connections that were closed, or had been silent for longest, were ended early to stay within the memory allowed (--max-memory): what came on them later is shown as connections of their own",
                self.given_up
            ),
        );
        notes
    }
}

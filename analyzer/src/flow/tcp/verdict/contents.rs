//! Octets that pass twice: whether the second copy says the same.

use crate::connection::{CopyMarks, DataConflict};
use crate::event::At;
use crate::flow::tcp::TcpTracker;
use crate::flow::tcp::segment::Segment;
use crate::flow::tcp::sender::contents::LEAST;
use crate::flow::tcp::sender::{Outstanding, split_pair};

impl TcpTracker {
    /// Compares a segment that begins below its sender's end with what passed before.
    pub(in crate::flow::tcp) fn compare_contents(&mut self, segment: &Segment<'_>, payload: &[u8]) {
        let (sender, peer) = split_pair(&mut self.senders, segment.direction);
        if segment.start >= sender.snd_max || segment.tcp.flags.syn() || payload.len() < LEAST {
            return;
        }
        let mut compared = 0;
        let mut different: Option<Outstanding> = None;
        for known in sender.passed_before(segment) {
            let skip = usize::try_from(known.range.start - segment.start).unwrap_or(usize::MAX);
            let again = payload.get(skip..).unwrap_or_default();
            let Some(is_equal) = known.contents.is_equal(again) else {
                continue;
            };
            compared += 1;
            if !is_equal {
                different = different.or(Some(*known));
            }
        }
        if compared == 0 {
            return;
        }
        let seldom = sender.stats.seldom();
        seldom.copies_compared += 1;
        let Some(known) = different else { return };
        let answer = peer.stats.last_segment;
        let of_first = known.range.end - sender.base.unwrap_or_default();
        let taken = answer.filter(|answer| answer.flags.ack() && answer.relative_ack >= of_first);
        let conflict = DataConflict {
            first: At {
                frame: known.frame,
                time: known.last_sent,
            },
            second: segment.reference,
            octets: known.range.end.min(segment.end) - known.range.start,
            taken,
            marks: [
                CopyMarks {
                    hop_limit: known.contents.hop_limit,
                    ip_id: known.latest.ip_id,
                    timestamps: known.latest.ts_val.is_some(),
                },
                CopyMarks {
                    hop_limit: segment.packet.hop_limit,
                    ip_id: segment.packet.ip_id,
                    timestamps: segment.tcp.timestamps.is_some(),
                },
            ],
            count: 1,
        };
        match &mut seldom.conflict {
            Some(first) => first.count += 1,
            none => *none = Some(conflict),
        }
    }
}

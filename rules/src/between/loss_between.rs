//! `loss-between`: segments leave one point and never come to the next.

use crate::model::meta::declare_rule;

declare_rule! {
    /// Segments left one capture point and never reached the next one.
    ///
    /// ## What it means
    /// The packet was captured at the upstream point and not at the downstream one, and no acknowledgment shows that
    /// it passed there unseen. Whatever lies between the two points lost it: a queue that overflowed, a filter, a bad
    /// link, a device that dropped the connection from its table.
    ///
    /// ## Why it matters
    /// Each lost segment costs a retransmission and, at the end of a transfer, often a full timeout. A loss that is
    /// placed between two points is not at the server and not at the client.
    ///
    /// ## How it is detected
    /// - Every packet at the upstream point is matched to its copy at the downstream point by byte range, IP
    ///   identification, timestamps and time, so that a lost first copy and its retransmission are distinguished.
    /// - A packet without a copy is lost, unless its bytes were acknowledged before the downstream point saw any
    ///   copy of them, or a point further down saw it: then the capture missed it (`capture-missed`).
    /// - Connection attempts that leave one point and never reach the next count as well, where other
    ///   connections do come.
    /// - Severity by the share of segments: low, medium from `medium_percent`, high from `high_percent` or when
    ///   a connection that was in use is cut for good.
    ///
    /// ## What to do
    /// Look at the devices between the two points: interface drops and errors, queue drops, firewall logs at the
    /// times
    /// given. Capture at a point between them to halve the stretch.
    ///
    /// ## Known limits
    /// Acknowledgments and datagrams leave no trace at the receiver. Where the downstream capture missed other
    /// packets,
    /// such a packet is counted as lost or as missed by which of the two is more frequent.
    ///
    /// ## References
    /// - RFC 2680 (one-way loss); RFC 2018 (selective acknowledgment)
    pub(crate) struct LossBetween {
        id: "loss-between",
        group: Comparison,
        title: "Segments are lost between two points",
        severity: High,
        needs: [],
        clouded_by: [CaptureDrops, CutShort],
        figures: [lost: Count / Sum, segments: Count / Sum, lost_percent: Percent / Max, connections_cut: Count / Sum],
        thresholds: [
            medium_percent = 1.0: "Share of segments from which transfers slow down noticeably.",
            high_percent = 5.0: "Share of segments from which most transfers stall.",
        ],
    }
}

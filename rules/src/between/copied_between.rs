//! `copied-between`: the network delivers packets twice.

use crate::model::meta::declare_rule;

declare_rule! {
    /// Packets left one capture point once and came to the next one more than once.
    ///
    /// ## What it means
    /// A device or link between the points copies packets: a link that retransmits by itself, a short-lived
    /// loop, a mirror port whose copies leak, two paths that both deliver.
    ///
    /// ## Why it matters
    /// Copies cost capacity and make senders believe that a retransmission was unneeded. Datagrams are handled
    /// twice.
    ///
    /// ## How it is detected
    /// More copies with the same IP identification, timestamps and payload at the downstream point than at the
    /// upstream
    /// one. Severity: info, low from `low_percent`.
    ///
    /// ## What to do
    /// Look for bridging loops, mirror sessions and bonding in broadcast mode between the two points.
    ///
    /// ## Known limits
    /// A capture that records a packet on two interfaces looks alike; such copies are left out where the file
    /// names the
    /// interfaces.
    ///
    /// ## References
    /// - RFC 5560 (one-way packet duplication)
    pub(crate) struct CopiedBetween {
        id: "copied-between",
        group: Comparison,
        title: "Packets are copied between two points",
        severity: Low,
        needs: [],
        clouded_by: [DuplicateFrames],
        figures: [copies: Count / Sum, segments: Count / Sum],
        thresholds: [
            low_percent = 1.0: "Share of segments from which copies cost noticeable capacity.",
        ],
    }
}

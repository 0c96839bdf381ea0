//! `delay-between`: packets wait between two points.

use crate::model::meta::declare_rule;

declare_rule! {
    /// Packets took much longer than the shortest delay in the same direction.
    ///
    /// ## What it means
    /// A device or link between the two points delays packets at times: a queue that fills, a link that
    /// retransmits, an overloaded device.
    ///
    /// ## Why it matters
    /// Every request waits for it, and a sender may take the wait for a loss.
    ///
    /// ## How it is detected
    /// One-way delays of all packets that both points saw, by clocks that the least delays in both directions
    /// compare. The
    /// 99th percentile exceeds the least delay by `low_ms` (low) or `medium_ms` (medium), and is at least twice
    /// as long.
    ///
    /// ## What to do
    /// Compare with the load of the links between the two points at the times of the slowest packets; use active
    /// queue
    /// management (fq_codel, CAKE) where a queue fills.
    ///
    /// ## Known limits
    /// The least delay itself is known only to within the error of the clocks, which is stated; the wait above
    /// it does
    /// not depend on that error.
    ///
    /// ## References
    /// - RFC 7679 (one-way delay); RFC 3393 (delay variation)
    pub(crate) struct DelayBetween {
        id: "delay-between",
        group: Comparison,
        title: "Packets wait between two points",
        severity: Medium,
        needs: [],
        clouded_by: [ClockStep],
        figures: [delay_ms_p99: Milliseconds / Max, delay_ms_min: Milliseconds / Min, delay_ms_max: Milliseconds / Max],
        thresholds: [
            low_ms = 30.0: "Wait above the least delay that interactive users begin to notice.",
            medium_ms = 100.0: "Wait above the least delay that every user notices.",
        ],
    }
}

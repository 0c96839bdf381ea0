//! `capture-missed`: packets that a point must have carried and its capture does not hold.

use crate::model::meta::declare_rule;

declare_rule! {
    /// Packets passed a capture point that its capture does not hold.
    ///
    /// ## What it means
    /// The capture lost them, not the network: the capturing host was too slow, a mirror port dropped them, or
    /// the capture was not running at that time.
    ///
    /// ## Why it matters
    /// Such gaps look like packet loss in this capture alone.
    ///
    /// ## How it is detected
    /// - A packet at one point has no copy at the other.
    /// - Its bytes were acknowledged before the other point saw any copy of them, or a point further on saw it,
    ///   or packets of the other end arrived from there meanwhile.
    ///
    /// Severity is info, low from `low_percent`.
    ///
    /// ## What to do
    /// Capture with a larger buffer (`tcpdump -B`), a shorter snap length or a filter. Start all captures
    /// before the test and stop them after it.
    ///
    /// ## Known limits
    /// Acknowledgments and datagrams leave no trace at the receiver: they count as missed where the capture
    /// missed others.
    ///
    /// ## References
    /// - pcap(3), `pcap_set_buffer_size`
    pub(crate) struct CaptureMissed {
        id: "capture-missed",
        group: Comparison,
        title: "A capture missed packets that passed its point",
        severity: Low,
        needs: [],
        clouded_by: [],
        figures: [missed: Count / Sum, missed_percent: Percent / Max],
        thresholds: [
            low_percent = 0.1: "Share of packets from which the capture misleads when it is read alone.",
        ],
    }
}

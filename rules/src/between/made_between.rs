//! `made-between`: packets that no end sent.

use crate::model::meta::declare_rule;

declare_rule! {
    /// Packets came to one capture point that never passed the one before it.
    ///
    /// ## What it means
    /// A device between the two points made them: a firewall that resets connections, a proxy that acknowledges
    /// for the
    /// server, a router that reports an error, a filter that answers with a page of its own.
    ///
    /// ## Why it matters
    /// A reset that neither end sent looks to each end as if the other had closed. Server and client logs then blame
    /// each other.
    ///
    /// ## How it is detected
    /// - The packet is at the downstream point and not at the upstream one.
    /// - It is a reset or an ICMP error, and the upstream capture did not miss other packets; or its hop limit is not
    ///   one that the sender's packets have there; or it carries other bytes than the sender's segment of the same
    ///   place; or it acknowledges bytes before they reached the upstream point.
    /// - Severity: high for resets of connections that carried data and for forged payload, medium for other
    /// resets and
    ///   forged datagrams, low for ICMP errors, info for acknowledgments.
    ///
    /// ## What to do
    /// Find the device between the two points: its log at the times given, idle timeouts, inspection and filter
    /// rules.
    ///
    /// ## Known limits
    /// Where the upstream capture missed packets, a reset with the usual hop limit may have passed it unseen.
    ///
    /// ## References
    /// - RFC 9293 §3.5.3 (reset processing); RFC 3360 (inappropriate resets considered harmful)
    pub(crate) struct MadeBetween {
        id: "made-between",
        group: Comparison,
        title: "A device between two points makes packets",
        severity: High,
        needs: [],
        clouded_by: [CaptureDrops],
        figures: [made: Count / Sum, resets: Count / Sum],
        thresholds: [],
    }
}

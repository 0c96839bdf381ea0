//! `changed-between`: fields that a device rewrites.

use crate::model::meta::declare_rule;

declare_rule! {
    /// Packets came to the next capture point with other fields than they left with.
    ///
    /// ## What it means
    /// A device between the points rewrites addresses, sequence numbers, options, the window, DSCP or ECN marks, or
    /// the payload. Much of it is intended: address translation, clamping of the maximum segment size, marking.
    ///
    /// ## Why it matters
    /// A removed window scale limits a connection to 64 kB a round trip; removed SACK or timestamps make recovery
    /// from loss slow; cleared ECN marks hide congestion; changed payload is another message.
    ///
    /// ## How it is detected
    /// The fields of each packet are compared with those of its copy at the next point. Hop limits and checksums
    /// are not
    /// reported. Severity: medium for window scale and payload, low for SACK, window and cleared ECN or DSCP
    /// marks, info
    /// for the rest.
    ///
    /// ## What to do
    /// If it is not intended, turn it off on the device between the two points.
    ///
    /// ## Known limits
    /// Segments that an offload cut or joined are compared by the fields that their pieces share.
    ///
    /// ## References
    /// - RFC 7323 (window scale, timestamps); RFC 2018; RFC 3168; RFC 2474; RFC 3022 (address translation)
    pub(crate) struct ChangedBetween {
        id: "changed-between",
        group: Comparison,
        title: "A device between two points rewrites packets",
        severity: Medium,
        needs: [],
        clouded_by: [Snaplen, Offload],
        figures: [changed: Count / Sum, segments: Count / Sum],
        thresholds: [],
    }
}

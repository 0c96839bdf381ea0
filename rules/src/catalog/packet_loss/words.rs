//! What `packet-loss` says of times in which nothing got through.

use super::seen::Group;
use crate::model::confidence;
use crate::model::narrative::Narrative;
use crate::model::text::{end_at, ms, other_end, plural, time};

/// The words for one or two times in which one direction was dark.
pub(super) fn tell_outage(group: &Group<'_>, draft: Narrative) -> Narrative {
    let seen = &group.best().seen;
    let sender = seen.sender.sender();
    let receiver = other_end(sender);
    let server = group.server();
    let end = end_at(sender, server);
    let lost = group.figure("segments_lost").unwrap_or_default();
    let outage = seen.outage;
    let length = time(outage.map_or(0.0, |outage| ms(outage.length())));
    let copies = outage.map_or(0, |outage| outage.copies);
    draft
        .title(format!("No data from the {sender} got through for {length} ({server})"))
        .summary(format!(
            "Data from the {end} did not reach the {receiver} for {length}: the same data was sent {copies} times until it was acknowledged. {} lost in all.",
            if lost > 1.0 { format!("{} were", plural(lost, "segment")) } else { "One segment was".to_owned() },
        ))
        .confidence(confidence::STRONG, "The same data was retransmitted until it was acknowledged, and nothing sent after it was acknowledged earlier.")
        .because(format!("one segment was retransmitted for {length} without an acknowledgment, then the transfer resumed"))
        .not("loss rate", "the losses fall into one or two intervals and do not spread over the whole transfer")
        .not("spurious-retransmission", "retransmissions of bytes the receiver already had are not counted")
        .advise("network", format!("find what interrupted the path from the {sender} at that time: a link or route that changed, a failover, radio coverage"))
        .verify("both", "ip -s -s link show DEV; journalctl -k --since TIME", "an interface or route that went away and came back")
}

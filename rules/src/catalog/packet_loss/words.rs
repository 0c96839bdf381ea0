//! What `packet-loss` says of connections on which nothing gets through any more.

use analyzer::Direction;

use super::{Group, Seen};
use crate::model::figure::most;
use crate::model::narrative::Narrative;
use crate::model::text::{many, ms, number, other_end, plural, time};

/// The words for connections in use that died.
pub(super) fn tell_died(group: &Group<'_>, draft: Narrative) -> Narrative {
    let deaths = || group.seen().filter_map(Seen::dead);
    let sender = most(deaths().map(|seen| seen.sender)).map_or("", Direction::sender);
    let receiver = other_end(sender);
    let server = group.server();
    let count = group.connections();
    let copies = deaths().map(|seen| seen.copies).max().unwrap_or(0);
    let (from, to) = group.time_span();
    let in_use = deaths().filter(|seen| seen.in_use).count() as u64;
    let lives = deaths().any(|seen| seen.others_live);
    let company = if lives {
        "Others were heard meanwhile, so path and host were not down for all: one of several paths, a device that dropped these connections, or one of several hosts behind the address."
    } else if count > 1 {
        "Nothing of the host was heard meanwhile, and they died together."
    } else {
        "No other connection shows whether the path or the host was at fault, or this connection alone."
    };
    let confidence = draft.confidence;
    draft
        .title(if lives {
            format!("{} to {server} died in use while others lived", plural(number(count), "connection"))
        } else if sender == "server" {
            format!("What server {server} sends does not get through any more")
        } else {
            format!("Nothing gets through to {server} any more")
        })
        .summary(format!(
            "{}{} to {server}{} died{}: the {sender} sent the same data up to {copies} times and got no answer. {company}",
            plural(number(count), "connection"),
            if in_use < count { "" } else { " in use" },
            if in_use < count { format!(", {in_use} of them in use,") } else { String::new() },
            if count > 1 {
                format!(" within {}", time(ms(to.since(from))))
            } else {
                String::new()
            },
        ))
        .confidence(confidence, company)
        .because(format!("on {} data was repeated in vain to the end, and the {receiver} had answered before", many(count, "connection")))
        .because_if(!lives, || format!("no other connection to {} was heard of at that time", server.ip))
        .not("idle-drop", if in_use < count {
            format!("connections in use died as well ({in_use} of {count}), not only idle ones")
        } else {
            "the connections were in use: no silence came before the data that was lost".to_owned()
        })
        .not("mtu-black-hole", "data of this size had got through before, or fits every link")
        .not("listen-overflow", "the connections had been served")
        .not("client-timeout-close", "the data itself was never acknowledged: the application was not reached")
        .advise("network", format!("find what changed at that time between the hosts: routes, links, firewall rules, security groups, a fail-over; was the {receiver} up?"))
        .advise("any", "TCP_USER_TIMEOUT and application deadlines turn the hang into a quick error")
        .verify(sender, format!("ss -tino '( dport = :{0} or sport = :{0} )'", server.port), "timer:(on,…) with a growing backoff while it lasts")
        .verify("both", "ip neigh; ip route get ADDRESS; journalctl -k --since TIME", "a neighbour that failed, a route or a link that changed")
}

/// The words for one or two times in which one direction was dark.
pub(super) fn tell_outage(group: &Group<'_>, draft: Narrative) -> Narrative {
    let seen = group.best().seen.lost();
    let sender = seen.map_or("", |seen| seen.sender.sender());
    let receiver = other_end(sender);
    let server = group.server();
    let lost = group.figure("segments_lost").unwrap_or_default();
    let outage = seen.and_then(|seen| seen.outage);
    let length = time(outage.map_or(0.0, |outage| ms(outage.length())));
    let copies = outage.map_or(0, |outage| outage.copies);
    draft
        .title(format!("Nothing from the {sender} got through for {length} ({server})"))
        .summary(format!(
            "What the {sender} (server {server}) sent did not reach the {receiver} for {length}: the same data was sent {copies} times until it was acknowledged. {} lost in all.",
            if lost > 1.0 { format!("{} were", plural(lost, "segment")) } else { "One segment was".to_owned() },
        ))
        .confidence(0.9, "The same data was repeated until it was acknowledged, and nothing sent after it was reported before.")
        .because(format!("one segment was repeated for {length} without an acknowledgement, then all went on"))
        .not("loss rate", "the losses fall into one or two spells, not over the whole transfer")
        .not("spurious-retransmission", "retransmissions of bytes the receiver already had are not counted")
        .advise("network", format!("find what interrupted the way from the {sender} at that time: a link or route that changed, a fail-over, radio coverage"))
        .verify("both", "ip -s -s link show DEV; journalctl -k --since TIME", "an interface or route that went away and came back")
}

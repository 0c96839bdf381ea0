//! What `transparent-redirect` says: places, confusables and cures.

use analyzer::Endpoint;

use super::seen::{Group, How};
use crate::model::figure::{counted, most};
use crate::model::narrative::Narrative;
use crate::model::text::{number, plural};

/// The words for one destination.
pub(super) fn tell(group: &Group<'_>, draft: Narrative) -> Narrative {
    let intended = destinations(group);
    let (actual, how) = (destination(group), how(group));
    let count = number(group.connections());
    let clients = group.clients_text();
    let were = if group.connections() == 1 {
        "was"
    } else {
        "were"
    };
    let local = is_local(group);
    let place = if local {
        format!(
            "The change happens on the host {clients} itself (REDIRECT or DNAT in its own packet filter)."
        )
    } else {
        "A DNAT rule between the client and the capture point changes the destination, or a load balancer does so by design.".to_owned()
    };
    let confidence = draft.confidence;
    let draft = draft
            .title(format!("Connections meant for {intended} end at {actual}"))
            .summary(format!(
                "{} from {clients} meant for {intended} {were} answered by {actual}. {place} The responses come from another \
                 program, and the intended server never sees these calls.",
                plural(count, "connection")
            ))
            .confidence(confidence, match how {
                How::Loopback => "A loopback destination with a source that is not loopback exists only behind translation.",
                How::Datagram => "A datagram to a loopback address was answered from an address to which the client never sent anything.",
                How::Answer => "SYN and SYN-ACK of one connection carry different server addresses.",
                How::SameSyn => "The same SYN was seen towards two destinations.",
                How::Named => "The evidence is names: DNS and the Host header or SNI disagree with the connected address. The translation rules of the host would settle it.",
            });
    let draft = reasons(group, draft, how, &intended, actual);
    remedies(group, draft)
}

/// What the connections were meant for: the most frequent, and how many others.
fn destinations(group: &Group<'_>) -> String {
    let all = counted(group.seen().map(|seen| seen.intended.as_str()));
    let first = all.first().map(|(text, _)| *text).unwrap_or_default();
    match all.len() {
        0 | 1 => first.to_owned(),
        more => format!(
            "{first} and {}",
            plural(number(more as u64 - 1), "other destination")
        ),
    }
}

/// Where the connections ended, most of them.
fn destination(group: &Group<'_>) -> Endpoint {
    most(group.seen().map(|seen| seen.actual)).unwrap_or(group.server())
}

/// What most of them show.
fn how(group: &Group<'_>) -> How {
    most(group.seen().map(|seen| seen.how)).unwrap_or(How::Named)
}

fn is_local(group: &Group<'_>) -> bool {
    group.having(|seen| seen.local) > 0
}

fn reasons(
    group: &Group<'_>,
    draft: Narrative,
    how: How,
    intended: &str,
    actual: Endpoint,
) -> Narrative {
    let client = group.client().ip;
    let draft = match how {
        How::Loopback => draft.because(format!("the destination {actual} is a loopback address although the source {client} is not: such packets never leave a host and arise only from translation on it")),
        How::Answer => draft.because(format!("the SYN went to one address and the SYN-ACK, with matching ports and numbers, came from another: {intended} and {actual} are the two sides of a translation")),
        How::Datagram => draft.because(format!("datagrams of {client} go to {actual}, and their responses carry the intended address: {intended}")),
        How::SameSyn => draft.because(format!("one SYN, identified by source port and initial sequence number, was captured towards {intended} and again towards {actual}")),
        How::Named => draft.because(format!("{client} queried DNS for the name, got addresses that do not include {actual}, and still sent the name to {actual}; others reach the named address")),
    };
    draft
        .not("plain loopback traffic", "client and server would both have loopback addresses")
        .not("explicit proxy", "requests carry no absolute URI and no CONNECT: the client does not know about a proxy")
        .not("virtual hosts", "several names on the right address would still go to the right address")
        .because_if(group.having(|seen| seen.mesh) > 0, || {
            "the port is one that service meshes use for their sidecars: expected there, as long as the responses are right".to_owned()
        })
}

/// The command that removes the rule, with the addresses measured.
fn deletion(group: &Group<'_>) -> String {
    let actual = destination(group);
    let port = actual.port;
    let server = group.server();
    let tool = if server.ip.is_ipv4() {
        "iptables"
    } else {
        "ip6tables"
    };
    let proto = group.best().connection.transport.as_str();
    if is_local(group) && matches!(how(group), How::Answer | How::Datagram) {
        format!(
            "{tool} -t nat -D CHAIN -p {proto} -d {} --dport {} -j REDIRECT --to-ports {port}  # CHAIN as listed by {tool} -t nat -S",
            server.ip, server.port
        )
    } else {
        format!(
            "{tool} -t nat -D CHAIN RULE  # the REDIRECT or DNAT rule to {actual}, as listed by {tool} -t nat -S"
        )
    }
}

fn remedies(group: &Group<'_>, draft: Narrative) -> Narrative {
    let port = destination(group).port;
    let host = if is_local(group) { "client" } else { "path" };
    draft
        .set("Linux", "find the rule that changes the destination, then delete it or narrow it to the traffic it is meant for", deletion(group))
        .set("Service mesh", "exclude the ports or addresses that must not be intercepted", "Istio: traffic.sidecar.istio.io/excludeOutboundPorts, excludeOutboundIPRanges")
        .advise("Kubernetes", "expect destinations changed from a service address to a pod: kube-proxy does that")
        .verify(host, "iptables -t nat -S | grep -E 'REDIRECT|DNAT'; ip6tables -t nat -S | grep -E 'REDIRECT|DNAT'", format!("the rule that sends these connections to port {port}"))
        .verify(host, "nft list ruleset | grep -nE 'redirect|dnat'", "the same rule where nftables is used directly")
        .verify(host, format!("conntrack -L -p tcp --src {} 2>/dev/null | head", group.client().ip), "original and reply addresses of each connection side by side")
        .verify(host, format!("ss -ltnp '( sport = :{port} )'"), "the program that answers instead")
}

//! What `udp-truncation` says: grounds, confusables and cures.

use super::seen::{Fact, Ground, Seen};
use crate::model::figure::{median, most};
use crate::model::narrative::{self, Narrative};
use crate::model::text::plural;

type Group<'a> = narrative::Group<'a, Seen, Fact>;

/// The words for one server's datagrams.
pub(super) fn tell(group: &Group<'_>, draft: Narrative) -> Narrative {
    let buffer = group.figure("receive_buffer_bytes").unwrap_or_default();
    let largest = group.figure("largest_datagram_bytes").unwrap_or_default();
    let count = group.figure("datagrams").unwrap_or_default();
    let server = group.server();
    let ground = most(group.seen().map(|seen| seen.ground)).unwrap_or(Ground::Answers);
    let smallest = smallest_failed(group);
    let confidence = draft.confidence;
    let (title, summary, reason) = match ground {
        Ground::Proved => (
            format!(
                "{server} reads datagrams into a buffer of {buffer:.0} bytes and loses the rest"
            ),
            format!(
                "Responses of {server} grow with the request up to {buffer:.0} bytes and never beyond, while {} of up to \
                 {largest:.0} bytes were sent. The server's read buffer holds {buffer:.0} bytes; longer datagrams are cut without an error.",
                plural(count, "datagram")
            ),
            "The responses follow the request size up to one value and stay there.",
        ),
        Ground::Configured => (
            format!("Datagrams to {server} exceed its receive buffer of {buffer:.0} bytes"),
            format!(
                "{} to {server} are longer than its configured receive buffer of {buffer:.0} bytes (the largest has {largest:.0}): the kernel discards the rest of each.",
                plural(count, "datagram")
            ),
            "The buffer size was given in the configuration, and the datagram sizes are measured.",
        ),
        Ground::Answers => (
            format!("{server} handles datagrams above about {buffer:.0} bytes differently"),
            format!(
                "Requests of up to {buffer:.0} bytes to {server} are answered normally; the {} above that, from {smallest:.0} bytes on, are not. \
                 A receive buffer between those sizes would explain it.",
                plural(count, "datagram")
            ),
            "Size alone separates answered datagrams from the others, but the cut itself is not on the wire; `strace` on the server would settle it.",
        ),
    };
    let draft = draft
        .title(title)
        .summary(summary)
        .confidence(confidence, reason);
    remedies(group, facts(group, draft, ground), buffer, largest)
}

/// The smallest size that does not get through, half-way over the flows.
fn smallest_failed(group: &Group<'_>) -> f64 {
    let sizes = group.seen().map(|seen| f64::from(seen.smallest_failed));
    median(sizes).unwrap_or_default()
}

fn facts(group: &Group<'_>, draft: Narrative, ground: Ground) -> Narrative {
    let smallest = smallest_failed(group);
    let largest_worked = median(group.seen().map(|seen| f64::from(seen.largest_worked)));
    let buffer = group.figure("receive_buffer_bytes").unwrap_or_default();
    let draft = match ground {
        Ground::Proved => draft
            .because(format!("requests of up to {buffer:.0} bytes are answered at full length"))
            .because(format!("every response to a request of {smallest:.0} bytes or more stops at the same length")),
        Ground::Configured => draft.because(format!("the receive buffer of {buffer:.0} bytes was given; the smallest datagram above it has {smallest:.0} bytes")),
        Ground::Answers => draft.because(format!("the largest size that works is {:.0} bytes, the smallest that does not is {smallest:.0}: {buffer:.0}, a common buffer size, lies between", largest_worked.unwrap_or(buffer))),
    };
    draft
        .not("ip-fragment-loss", if smallest <= 1_472.0 {
            "the smallest datagram affected fits into one Ethernet frame, so no fragments were needed".to_owned()
        } else if ground == Ground::Proved {
            "the large datagrams were answered, so all their fragments arrived".to_owned()
        } else {
            format!("not ruled out: {smallest:.0} bytes need fragments, which may be lost on the path")
        })
        .not("cut capture", "sizes come from UDP length fields, not from the captured lengths")
}

fn remedies(group: &Group<'_>, draft: Narrative, buffer: f64, largest: f64) -> Narrative {
    let server = group.server();
    let (headers, v6) = if server.ip.is_ipv4() {
        (28, "IPv4")
    } else {
        (48, "IPv6")
    };
    draft
        .advise("server", format!("read into a buffer for the largest valid message (the largest seen has {largest:.0} bytes; 65,535 is always enough)"))
        .set("Go", "detect truncated messages", "buf := make([]byte, 65535); n, oobn, flags, addr, err := conn.ReadMsgUDP(buf, oob); flags&syscall.MSG_TRUNC != 0")
        .set("C", "detect truncated messages", "recvmsg() and test msg.msg_flags & MSG_TRUNC; or ioctl(FIONREAD) before the read")
        .set("Python", "read with a sufficient size", "sock.recvfrom(65535)")
        .advise("client", format!("or keep every datagram within {buffer:.0} bytes, and within the path MTU less {headers} bytes of headers ({v6})"))
        .advise("any", "send messages that do not fit over TCP with framing, or split them in the application")
        .verify("server", format!("strace -f -e trace=recvfrom,recvmsg,read -p $(ss -lunp 'sport = :{}' | grep -o 'pid=[0-9]*' | head -1 | cut -d= -f2)", server.port), format!("the size argument of the read: {buffer:.0} would confirm"))
        .verify("server", "nstat -az UdpInErrors UdpRcvbufErrors UdpInCsumErrors", "errors of the socket's queue, which would be another cause")
}

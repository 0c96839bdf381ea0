//! What `listen-overflow` says of one listener.

use super::seen::{Fact, Seen};
use crate::model::figure::spread;
use crate::model::narrative::{Group, Narrative};
use crate::model::text::{list, many, ms, number, percent, plural, share, span, time};

pub(super) fn describe(group: &Group<'_, Seen, Fact>, draft: Narrative) -> Narrative {
    let server = group.server();
    let syns = group.figure("syn_retransmits").unwrap_or_default();
    let syn_acks = group.figure("synack_retransmits").unwrap_or_default();
    let count = number(group.connections());
    let never = group.having(|seen| seen.never);
    let delay = spread(
        &mut group
            .seen()
            .filter_map(|seen| seen.delay)
            .map(ms)
            .collect::<Vec<_>>(),
    );
    let delay = delay
        .map(|spread| {
            format!(
                " Those that got through waited {} (longest {}).",
                time(spread.median),
                time(spread.max)
            )
        })
        .unwrap_or_default();
    let (from, to) = group.time_span();
    let listener = group.analysis.listeners.get(&server);
    let attempts = listener.map_or(0, |facts| facts.attempts);
    let confidence = draft.confidence;
    let held = group.best().seen.held.map(number);
    let reason = if held.is_some() && group.having(|seen| seen.ignored.is_some()) == 0 {
        "The listener completed no handshake in this capture, though older connections to it work: a firewall that drops new ones cannot be ruled out."
    } else if group.having(|seen| seen.ignored.is_some()) > 0 {
        "The server ignored completed handshakes that it had received."
    } else {
        "SYNs went unanswered together while the listener served others, as from a full queue; the server's ListenOverflows counter would settle it."
    };
    let within = if to > from {
        format!(" opened within {}", span(to.since(from)))
    } else {
        String::new()
    };
    let completed = listener.map_or(0, |facts| facts.completed);
    let although = match held {
        Some(held) => format!(
            " although {} from before the capture still worked",
            plural(held, "connection")
        ),
        None if completed > group.connections() => " although it accepted others".to_owned(),
        None => String::new(),
    };
    let draft = draft
            .title(format!("Listener {server} drops new connections: its queues are full"))
            .summary(format!(
                "The listener {server} dropped {}{within}{although}: {} retransmitted.{delay}{}",
                many(group.connections(), "connection"),
                sent_again(group, syns, syn_acks),
                if never > 0 { format!(" {} never got through.", many(never, "connection")) } else { String::new() },
            ))
            .confidence(confidence, reason)
            .because_if(group.having(|seen| seen.ignored.is_some_and(|ignored| ignored.after_ack)) > 0, || format!("on {} the server retransmitted its SYN-ACK after the client's ACK had passed the capture point: the kernel ignored that ACK, as it does when the accept queue is full", many(group.having(|seen| seen.ignored.is_some_and(|ignored| ignored.after_ack)), "connection")))
            .because_if(group.having(|seen| seen.ignored.is_some_and(|ignored| ignored.data)) > 0, || format!("on {} the server ignored the client's first data although the handshake was complete for the client", many(group.having(|seen| seen.ignored.is_some_and(|ignored| ignored.data)), "connection")))
            .because_if(syns > 0.0, || format!("{} without an answer", plural(syns, "retransmitted SYN")))
            .because_if(completed > group.connections(), || format!("{completed} of {} to this listener completed in the capture, so it is up and reachable", many(attempts, "attempt")))
            .because_if(count > 2.5, || format!("{} of the attempts in that time were affected, too many at once for random loss", percent(group.best().seen.share)))
            .not("syn-unanswered", "the listener answered others at that time")
            .not("connection-refused", "no attempt was answered with RST")
            .not("packet-loss", format!("{} ({} of all attempts) affected, and only while connecting", many(group.connections(), "connection"), percent(share(group.connections(), attempts))));
    remedies(group, draft)
}

/// What had to be sent again, in words.
fn sent_again(group: &Group<'_, Seen, Fact>, syns: f64, syn_acks: f64) -> String {
    let ignored = group.having(|seen| seen.ignored.is_some_and(|ignored| ignored.data));
    let mut parts = Vec::new();
    if syns > 0.0 {
        parts.push(plural(syns, "SYN"));
    }
    if syn_acks > 0.0 {
        parts.push(plural(syn_acks, "SYN-ACK"));
    }
    if ignored > 0 {
        parts.push(format!("the first data of {}", many(ignored, "connection")));
    }
    let verb = if parts.len() == 1 && (syns + syn_acks - 1.0).abs() < 0.5 {
        "was"
    } else {
        "were"
    };
    format!("{} {verb}", list(&parts))
}

fn remedies(group: &Group<'_, Seen, Fact>, draft: Narrative) -> Narrative {
    let server = group.server();
    draft
        .set("Linux", "check that the program still calls accept(); if it does, raise this limit and its listen() backlog, of which the kernel uses the smaller", "net.core.somaxconn = 4096; net.ipv4.tcp_max_syn_backlog = 8192")
        .set("nginx", "listen backlog (511 unless set)", format!("listen {} backlog=4096 reuseport;", server.port))
        .set("Node.js", "listen backlog (511 unless set)", format!("server.listen({{ port: {}, backlog: 4096 }})", server.port))
        .set("Java (Tomcat)", "accept queue (100 unless set)", "<Connector acceptCount=\"4096\" …/>")
        .set("gunicorn / uvicorn", "accept queue (2048 unless set)", "--backlog 4096, and more workers")
        .set("Go", "takes net.core.somaxconn when the program starts: raise that, then restart", "sysctl -w net.core.somaxconn=4096")
        .set("any", "several listeners on one port, each with its own queue and thread", "setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1)")
        .advise("any", "accept in a dedicated loop and pass connections to workers; keep connections alive so that fewer are opened")
        .advise("Linux", "leave net.ipv4.tcp_abort_on_overflow at 0: a reset turns a delay into an error")
        .verify("server", "nstat -az TcpExtListenOverflows TcpExtListenDrops TcpExtTCPReqQFullDoCookies", "both counters grow with every drop")
        .verify("server", format!("ss -ltn '( sport = :{} )'", server.port), "Recv-Q (waiting) at or above Send-Q (the backlog) while it happens")
}

//! What `keepalive-race` says: judgement, reasons, confusables and cures.

use super::seen::Seen;
use crate::model::confidence;
use crate::model::figure::{counted, median, most};
use crate::model::narrative::{Group, Narrative};
use crate::model::text::{list, many, number, plural, seconds, time};
use crate::model::timeouts::{self, Wait, typical_of};
use crate::signs::advice;
use crate::signs::idle_close::{End, IdleEnd, idle_closes};

/// The words for one group of lost requests, or for a restart.
pub(super) fn tell(group: &Group<'_, Seen, IdleEnd>, draft: Narrative) -> Narrative {
    if group.best().seen.restart {
        return describe_restart(group, draft);
    }
    let measured = group.figure("idle_timeout_ms");
    let idle = measured.unwrap_or_else(|| least_idle(group));
    let after = match measured {
        Some(idle) => time(idle),
        None => format!("more than {}", time(idle)),
    };
    let failed = group.occurrences();
    let (server, clients) = (group.server(), group.clients_text());
    let late = group.having(|seen| seen.late_write);
    let measured_http = measured.filter(|_| is_http(group));
    let typical = measured_http.and_then(|idle| typical_of(idle, Wait::ServerIdle));
    let draft = judge(group, draft, idle);
    let how = if late * 2 > failed {
        format!("{clients} kept writing on connections whose close had already been acknowledged")
    } else {
        let unread = if group.having(|seen| seen.unread) > 0 {
            " or not yet read"
        } else {
            ""
        };
        format!("the next request from {clients} was in flight{unread} at that moment")
    };
    let typical_text = typical
        .map(|text| format!(" ({text}; the value alone does not identify the product)"))
        .unwrap_or_default();
    let is_late = late == failed;
    let what = if is_http(group) { "request" } else { "message" };
    let gateway = if is_http(group) {
        "; a proxy returns 502"
    } else {
        ""
    };
    let title = if is_late {
        let verb = if group.client_ips().len() == 1 {
            "keeps"
        } else {
            "keep"
        };
        format!("{clients} {verb} writing to idle connections that {server} has closed")
    } else {
        format!("{server} closes idle connections after {after} as {what}s arrive")
    };
    let draft = draft
            .title(title)
            .summary(format!(
                "Server {server} closed connections that had been idle for {after}{typical_text}, and {how}. \
                 {} got {}; the client sees \"connection reset\" or end of file{gateway}.",
                plural(number(failed), what),
                if resets_came(group) { "RST instead of a response" } else { "no response" },
            ));
    let draft = remedies(group, reasons(group, draft, &after, late), idle);
    confusables(group, waits(group, draft), idle)
}

/// All of it is HTTP: only then do its products have settings for it.
fn is_http(group: &Group<'_, Seen, IdleEnd>) -> bool {
    group.having(|seen| seen.is_http) == group.observations.len() as u64
}

/// A server that lingers after its FIN sends none.
fn resets_came(group: &Group<'_, Seen, IdleEnd>) -> bool {
    group.figure("resets").is_some_and(|resets| resets > 0.0)
}

/// The longest silence seen before a FIN whose last exchange lies before the capture.
fn least_idle(group: &Group<'_, Seen, IdleEnd>) -> f64 {
    let least = group.spread(|seen| seen.least_idle_ms);
    least.map_or(0.0, |spread| spread.max)
}

/// Confidence by agreement on one timer.
fn judge(group: &Group<'_, Seen, IdleEnd>, draft: Narrative, idle: f64) -> Narrative {
    let failed = group.occurrences();
    let base = draft.confidence;
    let agreeing = group
        .spread(|seen| seen.idle_ms)
        .filter(|spread| spread.count >= 3 && spread.max - spread.min <= (idle * 0.04).max(50.0));
    let (confidence, reason) = match agreeing {
        Some(spread) => (
            base + 0.03,
            format!(
                "{} connections were closed after idle times within {} of each other: a timer.",
                spread.count,
                time(spread.max - spread.min)
            ),
        ),
        None if failed == 1 => (base - 0.03, "The full signature was seen once.".to_owned()),
        None => (base, format!("The full signature was seen {failed} times.")),
    };
    draft.confidence(confidence, reason)
}

fn reasons(
    group: &Group<'_, Seen, IdleEnd>,
    draft: Narrative,
    after: &str,
    late: u64,
) -> Narrative {
    let unread = group.having(|seen| seen.unread);
    let crossed = group.occurrences() - late - unread;
    let rtt = median(group.seen().filter_map(|seen| seen.rtt_ms));
    let harmless = median(group.seen().filter_map(|seen| seen.harmless).map(number));
    let harmless = harmless.unwrap_or_default();
    let promised = median(group.seen().filter_map(|seen| seen.promised_ms));
    let requests = counted(group.seen().filter_map(|seen| seen.request.as_deref()));
    draft
        .because_if(crossed > 0, || {
            let rtt = rtt.map(|rtt| format!(" (round trip {})", time(rtt))).unwrap_or_default();
            format!("{}: the request's ACK number does not cover the server's FIN, so the client had not seen it when it wrote{rtt}", many(crossed, "time"))
        })
        .because_if(late > 0, || {
            format!("{}: the client had acknowledged the FIN and still wrote: its pool does not watch idle sockets", many(late, "time"))
        })
        .because_if(unread > 0, || {
            format!("{}: the request had arrived, but the server's program closed without reading it, so the kernel sent RST instead of FIN", many(unread, "time"))
        })
        .because(format!("the server closed first, {after} after the last payload and with no request outstanding"))
        .because_if(group.having(|seen| seen.seq_fits) > 0, || {
            format!("on {} the RST's sequence number is the request's ACK number: a closed socket answered that segment", many(group.having(|seen| seen.seq_fits), "connection"))
        })
        .because_if(harmless > 0.0, || {
            format!("after the same idle time the server also closed {} with no request in flight", plural(harmless, "connection"))
        })
        .because_if(promised.is_some(), || {
            format!("the server's Keep-Alive header promises {}", time(promised.unwrap_or_default()))
        })
        .because_if(!requests.is_empty(), || {
            let lost: Vec<String> = requests.iter().take(3).map(|(request, times)| match times {
                1 => (*request).to_owned(),
                times => format!("{request} ({times} times)"),
            }).collect();
            format!("lost requests: {}", list(&lost))
        })
}

/// The idle times before either side's close: of the lost requests and of the harmless closes.
fn waits(group: &Group<'_, Seen, IdleEnd>, draft: Narrative) -> Narrative {
    let mut server: Vec<f64> = group.seen().filter_map(|seen| seen.idle_ms).collect();
    let closed_by = |end| {
        let mut closes = idle_closes(group.notes, end);
        closes.remove(&group.server()).unwrap_or_default()
    };
    server.extend(closed_by(End::Server));
    draft
        .waits(Wait::ServerIdle, server)
        .waits(Wait::ClientIdle, closed_by(End::Client))
}

fn remedies(group: &Group<'_, Seen, IdleEnd>, draft: Narrative, idle: f64) -> Narrative {
    // The reusing side still held the connection at this age, so its own timeout is longer.
    let reuse = group
        .spread(|seen| seen.reuse_age_ms)
        .map_or(idle, |spread| spread.max);
    let client_idle = median(group.seen().filter_map(|seen| seen.client_idle_ms));
    let target = timeouts::above(client_idle.unwrap_or(0.0).max(reuse).max(60_000.0));
    let text = match client_idle {
        Some(client) => format!(
            "Make the client's idle timeout the shorter one: the server closes after {}, the client keeps connections for {}",
            time(idle),
            time(client)
        ),
        None => format!(
            "Set the server's idle timeout to {} s (now {}) so that it exceeds that of the client or load balancer (60 s on most load balancers)",
            seconds(target.as_secs_f64() * 1e3),
            time(idle)
        ),
    };
    let draft = draft.advise("any", text);
    let draft = if is_http(group) {
        let product = most(group.seen().filter_map(|seen| seen.product.as_deref()));
        advice::client_pool(advice::server_idle_timeout(draft, target, product), idle)
    } else {
        draft
    };
    let (client, server) = (group.client(), group.server());
    let draft = draft
        .verify(
            "server",
            format!("ss -tano state established '( sport = :{} )'", server.port),
            "idle connections and their age; run it again to see them disappear at the timeout",
        )
        .verify(
            "client",
            format!("ss -tan state close-wait dst {}", server.ip),
            "pooled sockets whose peer has closed: the next request on any of them fails",
        );
    if resets_came(group) {
        draft
            .verify("server", "nstat -az TcpExtTCPAbortOnData TcpOutRsts", "TCPAbortOnData grows by one for every request that met a closed socket")
            .verify("client", format!("strace -f -tt -e trace=sendto,write,recvfrom,read -p PID 2>&1 | grep -B2 ECONNRESET  # PID of the process at {}", client.ip), "the write of the request followed by ECONNRESET")
    } else {
        draft
    }
}

fn confusables(group: &Group<'_, Seen, IdleEnd>, draft: Narrative, idle: f64) -> Narrative {
    let unread = group.having(|seen| seen.unread);
    let spread = group
        .spread(|seen| seen.idle_ms)
        .map_or(0.0, |spread| spread.max - spread.min);
    draft
        .not("server restart", if group.connections() > 1 {
            format!("idle ages at the close agree within {}, and the closes are spread over time; a restart closes connections of every age at one instant", time(spread))
        } else {
            "no other connections were closed at that instant after different idle times".to_owned()
        })
        .not("client-timeout-close", "the server closed first, and nothing was outstanding when it did")
        .not("unread-data-reset", if unread > 0 {
            format!("{} had not been read when the server closed, after {} of silence as on the other connections: its idle timer expired", plural(number(unread), "request"), time(idle))
        } else {
            format!("the RST follows the server's FIN after {} of silence, so the application had closed before the request arrived", time(idle))
        })
        .not("linger-zero-reset", if unread > 0 {
            "a request had just arrived when the server reset the connection, and its other closes are FINs"
        } else {
            "the server closed with FIN; the RST answers a later segment"
        })
        .not("announced close", "no response carried \"Connection: close\" before the FIN")
}

fn describe_restart(group: &Group<'_, Seen, IdleEnd>, draft: Narrative) -> Narrative {
    let (server, failed) = (group.server(), group.occurrences());
    let known = group.having(|seen| seen.idle_ms.is_some());
    let told = known * 2 > group.observations.len() as u64;
    let ages = group
        .spread(|seen| seen.idle_ms)
        .filter(|_| told)
        .map_or_else(String::new, |spread| {
            format!(" (from {} to {})", time(spread.min), time(spread.max))
        });
    let (which, end) = if told {
        (
            "connections of different idle age",
            "A stopping process does that; an idle timeout does not.",
        )
    } else {
        (
            "connections whose last exchange lies before the capture",
            "That looks like a stopping process; connections that were last used together \
             and reached the same idle timeout would look the same.",
        )
    };
    draft
        .title(format!("Server {server} closed many idle connections at one instant: a restart or reload"))
        .summary(format!(
            "Server {server} closed {which}{ages} within one second, and {} met the closed sockets. {end}",
            plural(number(failed), "request")
        ))
        .confidence(if told { confidence::OPEN } else { confidence::EVEN }, "Closes at one instant point to a restart; the server's log of that time would settle it.")
        .because("the closes lie within one second of each other although each connection has its own idle timer")
        .not("keepalive-race", "an idle timer would close each connection at the same age, not at the same moment")
        .advise("any", "Let the process drain before it stops: stop accepting, answer with \"Connection: close\", close idle connections, then exit")
        .set("Kubernetes", "give load balancers time to stop sending before the process ends", "lifecycle.preStop: sleep 10")
        .verify("server", "journalctl -u SERVICE --since '5 minutes ago'", "a stop or reload at the time of the FINs")
}

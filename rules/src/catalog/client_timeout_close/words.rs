//! What `client-timeout-close` says: judgement, reasons, confusables and cures.

use std::time::Duration;

use analyzer::Timestamp;

use super::seen::Seen;
use crate::model::figure::{counted, median};
use crate::model::narrative::{Group, Narrative};
use crate::model::text::{list, many, plural, time};
use crate::model::timeouts::{self, is_round};

pub(super) fn confidence(group: &Group<'_, Seen>, draft: Narrative, timeout: f64) -> Narrative {
    let failed = group.connections();
    let reason = if failed >= 3 && do_agree(group, timeout) {
        let spread = group.spread(|seen| Some(seen.timeout_ms));
        format!(
            "{failed} connections waited equally long, within {}: a configured timeout.",
            time(spread.map_or(0.0, |spread| spread.max - spread.min))
        )
    } else if group.having(|seen| seen.late) > 0 {
        "Late responses drew resets: the client was no longer waiting for them.".to_owned()
    } else if is_round(timeout) {
        "The wait is a typical configured value; more occurrences of it would settle it.".to_owned()
    } else if failed == 1 {
        "It happened once, so it may be a user who stopped waiting; a second wait of this length would settle it.".to_owned()
    } else {
        "The waits do not agree on one value, so some may be users who stopped waiting.".to_owned()
    };
    let confidence = draft.confidence;
    draft.confidence(confidence, reason)
}

/// Whether the waits are one value.
pub(super) fn do_agree(group: &Group<'_, Seen>, timeout: f64) -> bool {
    let spread = group.spread(|seen| Some(seen.timeout_ms));
    let range = spread.map_or(0.0, |spread| spread.max - spread.min);
    range <= (timeout * 0.04).max(50.0)
}

/// How long the clients waited: the typical wait where they agree, else the shortest and the longest.
pub(super) fn waited(group: &Group<'_, Seen>, timeout: f64) -> String {
    match group.spread(|seen| Some(seen.timeout_ms)) {
        Some(spread) if !do_agree(group, timeout) => {
            format!("{} to {}", time(spread.min), time(spread.max))
        }
        _ => time(timeout),
    }
}

pub(super) fn reasons(group: &Group<'_, Seen>, draft: Narrative, late: f64) -> Narrative {
    let peak = most_at_once(group);
    let fin_wait_2 = group.spread(|seen| Some(seen.fin_wait_2.as_ref()?.ms));
    let close_wait = group.spread(|seen| Some(seen.close_wait.as_ref()?.ms));
    let is_open = |seen: &Seen| seen.fin_wait_2.as_ref().is_some_and(|state| state.open);
    let p50 = median(group.seen().filter_map(|seen| seen.p50_ms));
    let p99 = median(group.seen().filter_map(|seen| seen.p99_ms));
    let requests = counted(group.seen().filter_map(|seen| seen.request.as_deref()));
    draft
        .because("the request was acknowledged from the server's address before the client closed, and no complete response followed")
        .because_if(group.spread(|seen| Some(seen.timeout_ms)).is_some_and(|spread| spread.count > 1), || {
            let spread = group.spread(|seen| Some(seen.timeout_ms));
            let (min, max) = spread.map_or((0.0, 0.0), |spread| (spread.min, spread.max));
            let (min, max) = (time(min), time(max));
            let waits = if min == max { min } else { format!("{min} to {max}") };
            format!("the client closed {waits} after the request on every connection")
        })
        .because_if(late > 0.0, || {
            let after = late_ms(group).map(|late| format!(", typically {} after the request", time(late)));
            format!("{} arrived after the close{}", plural(late, "response"), after.unwrap_or_default())
        })
        .because_if(p99.is_some(), || {
            format!(
                "this server's responses, late ones included, took {} (median) and {} (99th percentile)",
                time(p50.unwrap_or_default()),
                time(p99.unwrap_or_default())
            )
        })
        .because_if(fin_wait_2.is_some_and(|spread| spread.max > 0.0), || {
            let (median, max) = fin_wait_2.map_or((0.0, 0.0), |spread| (spread.median, spread.max));
            format!(
                "the client's sockets stayed in FIN-WAIT-2 for {} (longest {}), up to {} at once; still there at the end of the capture: {}",
                time(median), time(max), many(peak, "socket"), group.having(is_open)
            )
        })
        .because_if(close_wait.is_some_and(|spread| spread.max > 0.0), || {
            let (median, max) = close_wait.map_or((0.0, 0.0), |spread| (spread.median, spread.max));
            format!("the server's sockets stayed in CLOSE-WAIT for {} (longest {}): its handler did not notice that the client had left", time(median), time(max))
        })
        .because_if(!requests.is_empty(), || {
            let requests: Vec<String> = requests.iter().take(3).map(|(text, _)| (*text).to_owned()).collect();
            format!("abandoned requests: {}", list(&requests))
        })
}

/// How long after the request late responses came.
fn late_ms(group: &Group<'_, Seen>) -> Option<f64> {
    median(group.seen().filter_map(|seen| seen.late_ms))
}

/// Most sockets in FIN-WAIT-2 at one time, from when each entered it and how long it stayed.
fn most_at_once(group: &Group<'_, Seen>) -> u64 {
    let mut changes: Vec<(Timestamp, i64)> = Vec::new();
    for one in group.observations {
        if let Some(state) = &one.seen.fin_wait_2 {
            changes.push((one.at, 1));
            changes.push((one.at + Duration::from_secs_f64(state.ms / 1e3), -1));
        }
    }
    changes.sort_unstable();
    let (mut now, mut peak) = (0, 0);
    for (_, change) in changes {
        now += change;
        peak = peak.max(now);
    }
    u64::try_from(peak).unwrap_or(0)
}

pub(super) fn confusables(group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
    draft
        .not("slow-response", "the request was never answered in time; requests that were slow but answered are counted there")
        .not("keepalive-race", "a request was pending and the client closed first")
        .not("packet-loss", "the request was acknowledged, so it was not lost; if loss delayed the response, that is a finding of its own")
        .not("deliberate half-close", if group.having(|seen| seen.late) > 0 {
            "late responses drew RST; a client that half-closes still reads"
        } else {
            "the client closed after waiting, not right after its request"
        })
}

pub(super) fn remedies(group: &Group<'_, Seen>, draft: Narrative, timeout: f64) -> Narrative {
    let (client, server) = (group.client(), group.server());
    let p99 = median(group.seen().filter_map(|seen| seen.p99_ms));
    let needed = late_ms(group).or(p99).unwrap_or(0.0);
    let target = timeouts::above(needed.max(timeout)).as_secs();
    let waited = waited(group, timeout);
    let past = |seen: &Seen| Some(seen.late_ms? - seen.timeout_ms);
    let slow = match median(group.seen().filter_map(past)) {
        Some(past) => format!(
            "late responses came {} after the client had closed",
            time(past)
        ),
        None => format!("the server did not respond within {waited}"),
    };
    let first = if group.having(|seen| seen.held_back) == group.connections() {
        format!(
            "Find what drops the server's segments on the path: within {waited} the client could read nothing of the response"
        )
    } else {
        format!(
            "Find out first why the server is slow, then set a timeout above its 99th percentile: {slow}"
        )
    };
    let draft = draft.advise("any", first);
    let draft = if group.having(|seen| seen.is_http) == group.observations.len() as u64 {
        http_timeouts(draft, target)
    } else {
        draft
    };
    draft
        .advise("server", "Stop working when the client has left (Go: request context; nginx: proxy_ignore_client_abort off) and propagate deadlines to calls further down")
        .advise("Linux", "Leave net.ipv4.tcp_fin_timeout alone: it only shortens how long abandoned sockets stay in FIN-WAIT-2 and prevents no timeout")
        .verify("client", format!("ss -tano state fin-wait-2 dst {} | wc -l", server.ip), "sockets whose peer has not closed yet: one for each abandoned request")
        .verify("server", format!("ss -tanp state close-wait '( sport = :{} )'", server.port), "connections the client has closed and the handler still holds")
        .verify("client", format!("strace -f -tt -e trace=shutdown,close,epoll_pwait -p PID  # process at {}", client.ip), "close() at the deadline; Go programs keep deadlines in user space, so no socket option shows them")
}

/// Where timeouts for an answer are set, by product.
fn http_timeouts(draft: Narrative, target: u64) -> Narrative {
    draft
        .set("Go", "client", format!("http.Client{{Timeout: {target} * time.Second}} or a context deadline; Transport.ResponseHeaderTimeout"))
        .set("Java", "client", format!("HttpRequest.timeout(Duration.ofSeconds({target}))"))
        .set("Python", "client (requests)", format!("requests.get(url, timeout={target})"))
        .set("nginx", "as a proxy (504 in its log; 499 when its own client left)", format!("proxy_read_timeout {target}s;"))
        .set("Envoy", "route", format!("timeout: {target}s"))
        .set("HAProxy", "as a proxy (sH in its log)", format!("timeout server {target}s"))
        .set("AWS ALB", "balancer", format!("idle_timeout.timeout_seconds={target}"))
}

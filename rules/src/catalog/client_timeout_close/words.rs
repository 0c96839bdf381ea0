//! What `client-timeout-close` says: judgement, reasons, confusables and cures.

use std::time::Duration;

use analyzer::Timestamp;

use crate::model::legacy::Group;
use crate::model::narrative::Narrative;
use crate::model::severity::Severity;
use crate::model::text::{list, many, plural, time};
use crate::model::timeouts::{self, is_round};

pub(super) fn judge(group: &Group<'_>, draft: Narrative, timeout: f64) -> Narrative {
    let failed = group.connections();
    let attempts = group
        .analysis
        .listeners
        .get(&group.server())
        .map_or(0, |facts| facts.attempts);
    let mostly = failed >= 5 && failed * 2 > attempts && attempts > 0;
    let severity = if mostly && draft.severity == Severity::High {
        Severity::Critical
    } else {
        draft.severity
    };
    let spread = group.spread("timeout_ms");
    let range = spread.map_or(0.0, |spread| spread.max - spread.min);
    let reason = if failed >= 3 && range <= (timeout * 0.04).max(50.0) {
        format!(
            "{failed} connections waited the same time within {}: a configured timeout.",
            time(range)
        )
    } else if group.positive("late") > 0 {
        "Late responses drew resets: nobody waited for them any more.".to_owned()
    } else if is_round(timeout) {
        "The wait is a value people configure, but it was seen too rarely to be sure.".to_owned()
    } else {
        "The waits do not agree on one value; some may be users who stopped waiting.".to_owned()
    };
    let confidence = draft.confidence;
    draft.severity(severity).confidence(confidence, reason)
}

pub(super) fn reasons(group: &Group<'_>, draft: Narrative, late: f64) -> Narrative {
    let peak = peak_in_state(group, "fin_wait_2_ms");
    let states = |name: &str| group.spread(name).map(|spread| (spread.median, spread.max));
    draft
        .because("the server's kernel acknowledged the request, so it arrived; no complete response followed before the client closed")
        .because_if(group.spread("timeout_ms").is_some_and(|spread| spread.count > 1), || {
            let spread = group.spread("timeout_ms");
            let (min, max) = spread.map_or((0.0, 0.0), |spread| (spread.min, spread.max));
            format!("the client closed {} to {} after the request on all of them", time(min), time(max))
        })
        .because_if(late > 0.0, || {
            let after = group.median("late_ms").map(|late| format!(", typically {} after the request", time(late)));
            format!("{} arrived after the close{}", plural(late, "response"), after.unwrap_or_default())
        })
        .because_if(group.median("p99_ms").is_some(), || {
            format!(
                "what this server did answer, late responses included, took {} (median) and {} (99th percentile)",
                time(group.median("p50_ms").unwrap_or_default()),
                time(group.median("p99_ms").unwrap_or_default())
            )
        })
        .because_if(states("fin_wait_2_ms").is_some(), || {
            let (median, max) = states("fin_wait_2_ms").unwrap_or_default();
            format!(
                "the client's sockets stayed in FIN-WAIT-2 for {} (longest {}), up to {} at once; {} were still there at the end of the capture",
                time(median), time(max), many(peak, "socket"), group.positive("fin_wait_2_open")
            )
        })
        .because_if(states("close_wait_ms").is_some(), || {
            let (median, max) = states("close_wait_ms").unwrap_or_default();
            format!("the server's sockets stayed in CLOSE-WAIT for {} (longest {}): its handler did not notice that the client left", time(median), time(max))
        })
        .because_if(!group.words_counted("request").is_empty(), || {
            let requests: Vec<String> = group.words_counted("request").into_iter().take(3).map(|(text, _)| text).collect();
            format!("abandoned requests: {}", list(&requests))
        })
}

/// Most sockets in a state at one time, from when each entered it and how long it stayed.
pub(super) fn peak_in_state(group: &Group<'_>, detail: &str) -> u64 {
    let mut changes: Vec<(Timestamp, i64)> = Vec::new();
    for one in group.observations {
        if let Some(length) = one.number(detail) {
            changes.push((one.at, 1));
            changes.push((one.at + Duration::from_secs_f64(length / 1e3), -1));
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

pub(super) fn confusables(group: &Group<'_>, draft: Narrative) -> Narrative {
    draft
        .not("slow-response", "the request was never answered in time; slow but answered requests are counted there")
        .not("keepalive-race", "a request was pending and the client closed first")
        .not("packet-loss", "the request was acknowledged and not lost; if loss delayed the answer, the loss is its own finding")
        .not("deliberate half-close", if group.positive("late") > 0 {
            "late responses drew RST; a client that half-closes still reads"
        } else {
            "the client closed after waiting, not right after its request"
        })
}

pub(super) fn remedies(group: &Group<'_>, draft: Narrative, timeout: f64) -> Narrative {
    let (client, server) = (group.client(), group.server());
    let needed = group
        .median("late_ms")
        .or_else(|| group.median("p99_ms"))
        .unwrap_or(0.0);
    let target = timeouts::above(needed.max(timeout)).as_secs();
    let slow = if group.positive("late") > 0 {
        format!(
            "answers came {} after the request: above the client's {}",
            time(needed),
            time(timeout)
        )
    } else {
        format!("the server did not answer within {}", time(timeout))
    };
    let first = if group.positive("held_back") == group.connections() {
        format!(
            "within {} the client could read nothing of the response; find what drops the server's segments on the way",
            time(timeout)
        )
    } else {
        format!(
            "{slow}; find out why the server is slow first, then choose a timeout above its 99th percentile"
        )
    };
    draft
        .advise("any", first)
        .set("Go", "client", format!("http.Client{{Timeout: {target} * time.Second}} or a context deadline; Transport.ResponseHeaderTimeout"))
        .set("Java", "client", format!("HttpRequest.timeout(Duration.ofSeconds({target}))"))
        .set("Python", "client (requests)", format!("requests.get(url, timeout={target})"))
        .set("nginx", "as a proxy (504 in its log; 499 when its own client left)", format!("proxy_read_timeout {target}s;"))
        .set("Envoy", "route", format!("timeout: {target}s"))
        .set("HAProxy", "as a proxy (sH in its log)", format!("timeout server {target}s"))
        .set("AWS ALB", "balancer", format!("idle_timeout.timeout_seconds={target}"))
        .advise("server", "stop working when the client has left (Go: request context; nginx: proxy_ignore_client_abort off) and pass deadlines on to further calls")
        .advise("Linux", "net.ipv4.tcp_fin_timeout only shortens how long abandoned sockets wait in FIN-WAIT-2; it cures no timeout")
        .verify("client", format!("ss -tano state fin-wait-2 dst {} | wc -l", server.ip), "sockets whose peer has not closed yet: one per request given up")
        .verify("server", format!("ss -tanp state close-wait '( sport = :{} )'", server.port), "connections the client has closed and the handler still holds")
        .verify("client", format!("strace -f -tt -e trace=shutdown,close,epoll_pwait -p PID  # process at {}", client.ip), "close() at the deadline; Go programs keep deadlines in user space, so no socket option shows them")
}

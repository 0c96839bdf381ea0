//! What the finding says.

use analyzer::Endpoint;
use analyzer::app::{HttpCut, HttpExchange};

use super::seen::{Manner, Seen, Served, TOGETHER};
use crate::model::figure::counted;
use crate::model::narrative::{Group, Narrative};
use crate::model::text::{bytes, list, many, number, percent, share, span};

/// Characters of a target that a sentence holds.
const TARGET_MAX: usize = 60;

/// What is missing of a response.
pub(super) fn lacks(cut: &HttpCut) -> String {
    match (cut.promised, cut.missing) {
        (Some(promised), missing) => format!(
            "{} of {} are missing",
            bytes(number(missing)),
            bytes(number(promised))
        ),
        (None, _) if cut.count > 1 => {
            format!(
                "it and {} were not finished",
                many(cut.count - 1, "other stream")
            )
        }
        (None, 0) if cut.exchange.response_start.is_none() => "it never began".to_owned(),
        (None, 0) => "its end was never sent".to_owned(),
        (None, missing) => format!("{} of its chunk are missing", bytes(number(missing))),
    }
}

/// Method, target and host of a request.
pub(super) fn request(exchange: &HttpExchange) -> String {
    let target = &exchange.target;
    let shortened: String = if target.chars().count() <= TARGET_MAX {
        target.clone()
    } else {
        target.chars().take(TARGET_MAX - 1).chain(['…']).collect()
    };
    let host = exchange.host.as_ref();
    let host = host.map(|host| format!(" of {host}")).unwrap_or_default();
    format!("{} {shortened}{host}", exchange.method)
}

pub(super) fn describe(group: &Group<'_, Seen, Served>, draft: Narrative) -> Narrative {
    let server = group.server();
    let cut = group.occurrences();
    let of_server = group
        .notes
        .iter()
        .filter(|note| note.connection.server == server);
    let all = of_server
        .map(|note| note.fact.responses)
        .sum::<u64>()
        .max(cut);
    let best = &group.best().seen;
    let missing = group
        .figure("missing_bytes")
        .filter(|missing| *missing > 0.0);
    let short = missing.map(|missing| format!(", {} short", bytes(missing)));
    let requests = counted(group.seen().map(|seen| seen.request.as_str()));
    let requests: Vec<String> = requests
        .iter()
        .take(3)
        .map(|(one, _)| (*one).to_owned())
        .collect();
    let (first, last) = group.time_span();
    let together = group.connections() > 1 && last.since(first) <= TOGETHER;
    let product = best.product.as_deref();
    let product = product.map(|product| format!(" ({product})"));
    let part = if all > cut {
        format!(
            "{cut} of {} ({})",
            many(all, "response"),
            percent(share(cut, all))
        )
    } else {
        many(cut, "response")
    };
    let confidence = draft.confidence;
    let was = if cut == 1 { "it was" } else { "they were" };
    let draft = draft
        .title(format!(
            "{server} closes in the middle of {}{}",
            many(cut, "response"),
            short.unwrap_or_default()
        ))
        .summary(format!(
            "{server}{} ended {part} by FIN before {was} complete. The response to {}: {}. {}{} got only a part.",
            product.unwrap_or_default(),
            best.request,
            best.lacks,
            if best.looks_served { "Its status had been sent before, so error rates do not show it; " } else { "So " },
            group.clients_text(),
        ))
        .confidence(
            confidence,
            "The response states where it ends, and the FIN's sequence number follows the last byte received.",
        )
        .because("the FIN carries the sequence number right after the last byte of the response: nothing was lost on the way, the server sent no more")
        .because("the client had not closed: its FIN or RST comes later, or never")
        .because(manner_seen(best.manner, group))
        .because_if(together, || {
            format!("{} ended within {} of one another: one process or host ended", many(group.connections(), "connection"), span(last.since(first)))
        })
        .because_if(requests.len() > 1, || format!("requests: {}", list(&requests)))
        .not("client-timeout-close", "the server closed first")
        .not("packet-loss", "no byte is missing before the FIN")
        .not("linger-zero-reset", "the server closed with FIN, not RST");
    // Who waited for different times does not give up at one moment.
    let manner = if together {
        Manner::AtOnce
    } else {
        best.manner
    };
    remedies(draft, manner, server)
}

/// What the time before the FIN shows.
fn manner_seen(manner: Manner, group: &Group<'_, Seen, Served>) -> String {
    let alike = group.seen().filter(|seen| seen.manner == manner);
    let silence = alike.map(|seen| seen.silence).max().unwrap_or_default();
    let count = many(group.having(|seen| seen.manner == manner), "connection");
    match manner {
        Manner::AtOnce => format!(
            "on {count} the FIN follows the last byte within {}: the response broke off while it was being sent",
            span(silence)
        ),
        Manner::AfterSilence => format!(
            "on {count} the server was silent for up to {} before its FIN: something waited and gave up",
            span(silence)
        ),
        Manner::SlowReader => format!(
            "on {count} the client's receive window had been closed: the server may have given up on a client that does not read"
        ),
    }
}

fn remedies(draft: Narrative, manner: Manner, server: Endpoint) -> Narrative {
    let draft = match manner {
        Manner::AtOnce => draft
            .advise("server", "find out what ended the process at the time of the FIN: the out-of-memory killer (exit status 137), a crash or uncaught exception after the head was sent, a worker's time limit (gunicorn `WORKER TIMEOUT`), a deployment that does not drain")
            .advise("proxy", "look for `upstream prematurely closed connection while reading upstream` (nginx), termination state `SD` (HAProxy) or flag `UC` (Envoy): then the server behind it ended"),
        Manner::AfterSilence => draft
            .advise("proxy", "compare the silence with its time limit for reading (nginx `proxy_read_timeout`, HAProxy `timeout server`, Envoy `stream_idle_timeout`): then the server behind it stopped sending")
            .advise("server", "compare the silence with the time limit of its workers (gunicorn `--timeout`, PHP `max_execution_time`) and check what the handler waited for"),
        Manner::SlowReader => draft
            .advise("client", "read faster, or request less at a time: its receive window was closed")
            .advise("server", "compare with its time limit for sending (nginx `send_timeout`); if a proxy reads slowly because its own client does, let it buffer more of the response (nginx `proxy_max_temp_file_size`, `proxy_buffers`)"),
    };
    draft
        .advise("client", "treat a body shorter than its Content-Length, or without its last chunk, as a failed request, and retry what is safe to retry")
        .verify("server", "journalctl -k --since -1h | grep -iE 'out of memory|killed process|segfault'", "whether the kernel ended a process at the time of the FIN")
        .verify("client", format!("curl -sS -o /dev/null -w '%{{http_code}} %{{size_download}}\\n' http://{server}/; echo $?"), "exit status 18: the transfer ended before it was complete")
}

//! `response-cut-short`: a server closes in the middle of a response.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use analyzer::app::HttpCut;
use analyzer::connection::EndedBy;
use analyzer::event::SegmentRef;
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Direction, QualityKind};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations, segment_at};
use crate::model::rule::Rule;
use crate::model::text::{ms, number, span};
use crate::signs::attempts::PATIENCE;

use seen::{Asked, Manner, Seen, Served};

declare_rule! {
    /// A server closes its connection in the middle of a response, without an error code.
    ///
    /// ## What it means
    /// A response states where it ends: by Content-Length, by its last chunk, or by END_STREAM in HTTP/2. Here
    /// the server's FIN comes first. A killed process (out of memory, a worker's time limit, a restart without
    /// draining) and an exception after the head was sent both end this way: the kernel still sends what is
    /// queued, then an ordinary FIN. A proxy whose own server failed in mid-response can only do the same.
    ///
    /// ## Why it matters
    /// The status was a success, so error rates look healthy. The client has part of a file: careful programs report
    /// "transfer closed with outstanding data" or "unexpected EOF", others use or cache the part.
    ///
    /// ## How it is detected
    /// - In unencrypted HTTP/1 and HTTP/2, with the request captured: the server's FIN carries the sequence
    ///   number right after the last byte of the response, and the response is not complete. Bytes are counted
    ///   by sequence numbers: frames that are cut or missing in the capture do not shorten a response.
    /// - The server closed first: no FIN or RST of the client precedes its FIN.
    /// - HTTP/2: streams of the client are open at the server's FIN, and no GOAWAY was sent.
    ///
    /// The head of the response and the FIN prove it together. What refutes it: the client closed first (it
    /// cancelled); bytes between the last one captured and the FIN were lost; the response has no body (HEAD,
    /// 204, 304) or ends with the connection (HTTP/1.0 without a length, upgraded connections, tunnels, event
    /// streams).
    ///
    /// Each cut response counts as a lost request, or as recovered where the client's next request for the same
    /// target, within ten seconds, got a complete response. Error pages (4xx, 5xx) count as no loss, and a
    /// scanner's requests as no harm.
    ///
    /// ## What to do
    /// Find out what ended the process at the time of the FIN; on a proxy, what its own server did. Let clients
    /// compare the length received with the length promised, and retry what is safe to retry.
    ///
    /// ## Known limits
    /// Encrypted connections show no lengths, and a missing close_notify alone proves little. Responses that end
    /// with RST are findings of linger-zero-reset or unread-data-reset. A client that half-closes after its request
    /// is taken for one that cancelled. A server that sends a wrong Content-Length and closes looks the same.
    ///
    /// ## References
    /// - RFC 9112 §8 (incomplete messages), §6.3 (length of a body); RFC 9113 §8.1 (END_STREAM)
    pub(crate) struct ResponseCutShort {
        id: "response-cut-short",
        group: Services,
        title: "Responses end before they are complete",
        severity: High,
        needs: [Tcp, BothDirections],
        traits: [Http],
        clouded_by: [CaptureDrops, CaptureDisorder],
        figures: [responses: Count / Sum, promised_bytes: Bytes / Sum, missing_bytes: Bytes / Sum, silence_ms: Milliseconds / Median],
        thresholds: [
            wait_ms = 1000.0: "Silence before the FIN from which a timer is more likely than a process that ended while sending; a receive window closed that long is a client that does not read.",
        ],
        host_evidence: [Logs, Owner, CloseCall],
    }
}

/// Requests remembered of a connection.
const ASKED_MAX: usize = 8;

impl Rule for ResponseCutShort {
    type Seen = Seen;
    type Fact = Served;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        ctx: &Context<'_>,
        out: &mut Observations<Seen, Served>,
    ) {
        let Some(http) = conn.app.http.as_deref() else {
            return;
        };
        out.note(|| {
            let latest = http.kept.iter().rev().take(ASKED_MAX);
            let served = Served {
                responses: http.responses,
                asked: latest.map(Asked::of).collect(),
            };
            Note::new(conn, served)
        });
        if let Some(cut) = http.cut.as_deref()
            && let Some(fin) = server_fin(conn)
        {
            out.push(observation(conn, cut, fin, ctx));
        }
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        _ctx: &Context<'_>,
        collected: &mut Collected<Seen, Served>,
    ) {
        if collected.observations.is_empty() {
            return;
        }
        let mut by_client = BTreeMap::<IpAddr, Vec<Asked>>::new();
        for note in &collected.notes {
            let asked = by_client.entry(note.connection.client.ip).or_default();
            asked.extend(&note.fact.asked);
        }
        by_client
            .values_mut()
            .for_each(|asked| asked.sort_unstable());
        for one in &mut collected.observations {
            let ip = one.connection.client.ip;
            let client = analysis.hosts.get(ip);
            let asked = by_client.get(&ip).map_or(&[][..], Vec::as_slice);
            if client.is_some_and(HostProfile::is_scanner) {
                one.impact = Impact::NONE;
            } else if is_served_soon(one, asked) {
                one.impact = Impact::recovered(one.count);
            }
        }
    }

    fn describe(&self, group: &Group<'_, Seen, Served>, draft: Narrative) -> Narrative {
        words::describe(group, draft)
    }
}

/// The FIN by which the server closed the connection first.
fn server_fin(conn: &Connection) -> Option<SegmentRef> {
    let ending = conn.ending()?;
    let by_server = ending.by == Direction::ServerToClient && ending.how == EndedBy::Fin;
    by_server.then_some(ending.at)
}

/// Whether the client's next request for the same got a whole response.
fn is_served_soon(one: &Observation<Seen>, asked: &[Asked]) -> bool {
    let (own, fin) = (one.seen.asked, one.at);
    let from = asked.partition_point(|other| other.at <= own.at);
    let next = asked[from..].iter().find(|other| other.what == own.what);
    next.is_some_and(|next| next.is_whole && (fin..=fin + PATIENCE).contains(&next.at))
}

fn manner(conn: &Connection, silence: Duration, ctx: &Context<'_>) -> Manner {
    let wait = ctx.threshold("wait_ms");
    if ms(conn.from_client().zero_window_max) >= wait {
        Manner::SlowReader
    } else if ms(silence) >= wait {
        Manner::AfterSilence
    } else {
        Manner::AtOnce
    }
}

fn observation(
    conn: &Connection,
    cut: &HttpCut,
    fin: SegmentRef,
    ctx: &Context<'_>,
) -> Observation<Seen> {
    let exchange = &cut.exchange;
    let last = conn.from_server().last_data;
    let last = last.filter(|last| last.frame < fin.frame);
    let silence = last.map_or(Duration::ZERO, |last| fin.time.since(last.time));
    let lacks = words::lacks(cut);
    let is_error_page = exchange.status.is_some_and(|status| status >= 400);
    let impact = match is_error_page {
        true => Impact::SOME,
        false => Impact::requests_lost(cut.count),
    };
    let drops = conn.is_touched_by(QualityKind::CaptureDrops);
    let sure = if drops {
        confidence::STRONG
    } else {
        confidence::PROVED
    };
    let began = exchange.response_start.map(|at| {
        let status = exchange.status.unwrap_or_default();
        let promise = cut
            .promised
            .map(|octets| format!(", Content-Length {octets}"));
        let segment = segment_at(conn, at, Direction::ServerToClient);
        (
            segment,
            format!("response {status}{}", promise.unwrap_or_default()),
        )
    });
    let request = words::request(exchange);
    let mut observation = Observation::new(conn, sure, impact)
        .at(fin.time)
        .weight(number(cut.missing))
        .count(cut.count)
        .evidence(
            segment_at(conn, exchange.request_start, Direction::ClientToServer),
            format!("request {request}"),
        );
    if let Some((segment, note)) = began {
        observation = observation.proof(segment, note);
    }
    let before = last.map(|_| format!(" {} after its last byte", span(silence)));
    observation = observation
        .proof(
            fin,
            format!("FIN of the server{}: {lacks}", before.unwrap_or_default()),
        )
        .figure("responses", number(cut.count))
        .figure("silence_ms", ms(silence))
        .figure_if("promised_bytes", cut.promised.map(number))
        .figure_if("missing_bytes", cut.promised.map(|_| number(cut.missing)));
    if !is_error_page {
        observation = observation.cost("requests_failed", number(cut.count));
    }
    let http = conn.app.http.as_deref();
    observation.seen(Seen {
        manner: manner(conn, silence, ctx),
        silence,
        request,
        lacks,
        looks_served: exchange.status.is_some() && !is_error_page,
        product: http.and_then(|http| http.server.clone()),
        asked: Asked::of(exchange),
    })
}

mod seen;
mod words;

#[cfg(test)]
mod tests;

//! `http-error`: servers answer with errors.

use std::collections::BTreeMap;

use analyzer::app::HttpExchange;
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Direction, Endpoint};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::{FigureValue, counted};
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations, segment_at};
use crate::model::rule::Rule;
use crate::model::text::{list, number, percent, plural, shortened};

declare_rule! {
    /// A server answers requests with 5xx or 429.
    ///
    /// ## What it means
    /// The request arrived and was answered, but the response reports that the server (or what stands behind
    /// it) failed, or that the client sends too many requests.
    ///
    /// ## Why it matters
    /// The request failed for its caller. Gateway codes (502, 503, 504) point one hop further.
    ///
    /// ## How it is detected
    /// - Status codes 500 to 599 and 429 in clear-text HTTP/1 and HTTP/2, per server.
    /// - Where a finding on the server's own upstream connections coincides, it is given as the cause.
    ///
    /// The response's status line proves it. From three errors that are 5 % of the responses, each failed
    /// request counts as lost; below that, only each client's own count. Errors sent to a scanner harm nobody.
    ///
    /// ## What to do
    /// Follow the cause where one was found; otherwise check the server's own log for these requests.
    ///
    /// ## Known limits
    /// Encrypted connections show no status. 4xx other than 429 are errors of the clients and are not judged.
    ///
    /// ## References
    /// - RFC 9110 §15.6; RFC 6585 §4
    pub(crate) struct HttpError {
        id: "http-error",
        group: Services,
        title: "A server answers with errors",
        severity: High,
        needs: [Tcp],
        traits: [Http],
        clouded_by: [CaptureDrops, Snaplen],
        figures: [responses: Count / Sum, errors: Count / Sum, share_percent: Percent / Max],
        thresholds: [],
        host_evidence: [Logs, Owner],
    }
}

/// A connection without errors.
pub(crate) struct Fact {
    responses: u64,
}

/// Of fewer responses a percentage says little.
const FEW: f64 = 10.0;

/// The first response of a connection that is an error, when it was kept.
pub(crate) struct Seen {
    failed: Option<Failed>,
}

/// A request that was answered with an error.
struct Failed {
    status: u16,
    /// Method and target.
    request: String,
}

/// Errors below which their share is no rate.
const RATE_ERRORS: f64 = 3.0;
/// Share of the responses from which users notice, percent.
const RATE_PERCENT: f64 = 5.0;

impl Rule for HttpError {
    type Seen = Seen;
    type Fact = Fact;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        _ctx: &Context<'_>,
        out: &mut Observations<Seen, Fact>,
    ) {
        let Some(http) = &conn.app.http else { return };
        if http.responses == 0 {
            return;
        }
        let errors = http.by_class[4] + http.too_many_requests;
        if errors == 0 {
            let responses = http.responses;
            out.note(|| Note::new(conn, Fact { responses }));
            return;
        }
        let failed: Vec<&HttpExchange> = http
            .kept
            .iter()
            .filter(|one| one.status.is_some_and(is_error))
            .collect();
        let at = failed
            .first()
            .and_then(|one| one.response_start)
            .map_or(conn.start, |at| at.time);
        let mut observation =
            Observation::new(conn, confidence::STATED, Impact::attempts_failed(errors))
                .at(at)
                .weight(number(errors))
                .count(errors)
                .figure("responses", number(http.responses))
                .figure("errors", number(errors))
                .cost("requests_failed", number(errors));
        for one in failed.iter().take(3) {
            let Some(start) = one.response_start else {
                continue;
            };
            let status = one.status.unwrap_or_default();
            let request = format!("{} {}", one.method, shortened(&one.target));
            observation = observation
                .evidence(
                    segment_at(conn, one.request_start, Direction::ClientToServer),
                    format!("request {request}"),
                )
                .proof(
                    segment_at(conn, start, Direction::ServerToClient),
                    format!("response {status} to that request"),
                );
        }
        let first = failed.first().map(|one| Failed {
            status: one.status.unwrap_or_default(),
            request: format!("{} {}", one.method, shortened(&one.target)),
        });
        out.push(observation.seen(Seen { failed: first }));
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        _ctx: &Context<'_>,
        collected: &mut Collected<Seen, Fact>,
    ) {
        let mut healthy = BTreeMap::<Endpoint, f64>::new();
        for note in &collected.notes {
            *healthy.entry(note.connection.server).or_default() += number(note.fact.responses);
        }
        let mut totals = BTreeMap::<Endpoint, (f64, f64)>::new();
        for one in &collected.observations {
            let total = totals.entry(one.connection.server).or_default();
            total.0 += one.figure_value("responses").unwrap_or_default();
            total.1 += one.figure_value("errors").unwrap_or_default();
        }
        for one in &mut collected.observations {
            let server = one.connection.server;
            // The responses of connections without errors are counted once, with the first.
            let rest = healthy.remove(&server).unwrap_or(0.0);
            let total = totals.entry(server).or_default();
            total.0 += rest;
            let own = one.figure_value("responses").unwrap_or_default();
            one.set_figure("responses", FigureValue::Number(own + rest));
            let share = total.1 / total.0.max(1.0) * 100.0;
            one.set_figure("share_percent", FigureValue::Number(share));
            let client = analysis.hosts.get(one.connection.client.ip);
            one.impact = if client.is_some_and(HostProfile::is_scanner) {
                Impact::NONE
            } else {
                harm(total.1, share, one.count)
            };
        }
    }

    fn describe(&self, group: &Group<'_, Seen, Fact>, draft: Narrative) -> Narrative {
        let server = group.server();
        let errors = group.figure("errors").unwrap_or_default();
        let responses = group.figure("responses").unwrap_or_default();
        let share = group.figure("share_percent").unwrap_or_default() / 100.0;
        let failed = || group.seen().filter_map(|seen| seen.failed.as_ref());
        let statuses = counted(failed().map(|failed| failed.status)).into_iter();
        let statuses: Vec<String> = statuses.map(|(status, _)| status.to_string()).collect();
        let requests = counted(failed().map(|failed| (failed.status, failed.request.as_str())));
        let requests = requests.into_iter().take(3);
        let requests: Vec<String> = requests
            .map(|((status, request), _)| format!("{status} {request}"))
            .collect();
        let part = if responses < FEW {
            format!("{errors:.0} of {}", plural(responses, "request"))
        } else {
            format!("{} of its requests", percent(share))
        };
        let is = if errors > 1.0 {
            "are errors"
        } else {
            "is an error"
        };
        let draft = draft
            .title(format!("{server} answers {part} with {}", list(&statuses)))
            .summary(format!(
                "{} of {responses:.0} from {server} {is} ({}). {}",
                plural(errors, "response"),
                list(&statuses),
                statuses.first().map_or("", |status| meaning(status)),
            ))
            .confidence(
                confidence::STATED,
                "The status codes were read from the responses.",
            )
            .because_if(!requests.is_empty(), || {
                format!("for example: {}", list(&requests))
            })
            .not("client errors", "4xx other than 429 are not counted")
            .not(
                "slow-response",
                "these requests were answered, with an error",
            );
        let draft = statuses.iter().fold(draft, |draft, status| match status.as_str() {
            "502" => draft.advise("proxy", "502: check whether this report has a keepalive-race, refused or reset connections to the upstream, else the proxy's error log; the connection to the upstream broke"),
            "503" => draft.advise("server", "503: check health checks, connection limits and listen-overflow; there was no capacity or no healthy upstream"),
            "504" => draft.advise("proxy", "504: check client-timeout-close and slow-response for the upstream, which did not respond within the proxy's timeout"),
            "429" => draft.advise("client", "429: slow down as Retry-After requires, or have the limit raised"),
            _ => draft.advise("server", format!("{status}: look for these requests in the application's log")),
        });
        draft.verify(
            "server",
            format!(
                "grep -E '\" (5[0-9]{{2}}|429) ' access.log | tail  # on {}",
                server.ip
            ),
            "the same requests in the server's log, with upstream times and addresses",
        )
    }
}

fn is_error(status: u16) -> bool {
    (500..600).contains(&status) || status == 429
}

fn meaning(status: &str) -> &'static str {
    match status {
        "502" => "A gateway returns 502 when it gets no valid response from the server behind it.",
        "503" => "A server returns 503 when it cannot take the request now.",
        "504" => "A gateway returns 504 when it waited too long for the server behind it.",
        "429" => "A server returns 429 when a client sends too many requests.",
        _ => "The server itself failed on these requests.",
    }
}

/// What `count` errors of a server did that gave so many in all, that share of its responses: requests
/// lost where errors are more than single events, else failed attempts of one client.
fn harm(errors: f64, share_percent: f64, count: u64) -> Impact {
    if errors >= RATE_ERRORS && share_percent >= RATE_PERCENT {
        Impact::requests_lost(count)
    } else {
        Impact::attempts_failed(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, at, figure, findings_of};
    use analyzer::app::{At, HttpFacts};

    fn served(port: u16, responses: u64, errors: u64) -> Connection {
        let place = |frame, time| {
            Some(At {
                frame,
                time: at(time),
            })
        };
        let exchange = HttpExchange {
            method: "GET".into(),
            target: "/a".to_owned(),
            host: None,
            request_start: place(4, 1.0).unwrap(),
            request_end: place(4, 1.0),
            status: Some(if errors > 0 { 502 } else { 200 }),
            response_start: place(5, 2.0),
            response_end: place(5, 2.0),
            connection_close: false,
        };
        let http = HttpFacts {
            responses,
            by_class: [0, responses - errors, 0, 0, errors],
            kept: vec![exchange],
            ..HttpFacts::default()
        };
        let builder = Builder::tcp(port)
            .handshake(0.0, 1.0)
            .request(1.0, 50)
            .response(2.0, 50);
        builder
            .with(|conn| conn.app.http = Some(Box::new(http)))
            .build()
    }

    #[test]
    fn share_is_taken_over_all_responses_of_the_server() {
        let findings = findings_of("http-error", &[served(1, 10, 6), served(2, 90, 0)]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::High);
        assert!((figure(&findings[0], "responses") - 100.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "errors") - 6.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "share_percent") - 6.0).abs() < 0.001);
    }

    #[test]
    fn mostly_errors_are_high() {
        assert_eq!(
            findings_of("http-error", &[served(1, 8, 8)])[0].severity,
            Severity::High
        );
    }

    #[test]
    fn one_response_makes_no_share() {
        let findings = findings_of("http-error", &[served(1, 1, 1)]);
        assert_eq!(findings[0].severity, Severity::Low);
        assert!(findings[0].title.contains("1 of 1 request with"));
    }

    #[test]
    fn one_in_a_thousand_is_low() {
        assert_eq!(
            findings_of("http-error", &[served(1, 1000, 1)])[0].severity,
            Severity::Low
        );
    }

    #[test]
    fn healthy_service_is_silent() {
        assert!(findings_of("http-error", &[served(1, 50, 0)]).is_empty());
    }
}

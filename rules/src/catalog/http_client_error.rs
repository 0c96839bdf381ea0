//! `http-client-error`: a server suddenly rejects requests that it used to accept.

use std::collections::BTreeMap;
use std::time::Duration;

use analyzer::app::{HttpClientErrors, HttpFacts};
use analyzer::event::SegmentRef;
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Direction, Endpoint, Timestamp};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, number, percent, plural, share, span};

declare_rule! {
    /// The share of 4xx responses of a server jumps.
    ///
    /// ## What it means
    /// For a while a server answers many requests with one status of class 4xx, though it did not before or after:
    /// a release that lost routes (404), expired keys (403), a new limit of size (413, 431), clients that give up
    /// (499) or send too slowly (408).
    ///
    /// ## Why it matters
    /// 4xx counts as the client's fault and alarms nobody. When the share jumps, something changed.
    ///
    /// ## How it is detected
    /// At least `min_errors` responses of one status within a span of time in which they are at least a fifth of the
    /// responses, and `min_factor` times their share in the rest of the capture, which has to hold at least
    /// `min_others` other responses. The first and the last of them prove it. 401 and 407 (challenges) and 429 (see http-error) are
    /// left out, and responses to scanners.
    ///
    /// What refutes it: an even share over the capture (that is how the site is).
    ///
    /// ## What to do
    /// Compare the log at the first of them with what was deployed or changed then.
    ///
    /// ## Known limits
    /// Of connections with many requests only the first and the last response of a status have a time. HTTPS shows nothing.
    ///
    /// ## References
    /// - RFC 9110 §15.5; nginx: 499
    pub(crate) struct HttpClientError {
        id: "http-client-error",
        group: Services,
        title: "Client errors of a server jump",
        severity: Low,
        needs: [],
        traits: [Http],
        clouded_by: [CaptureDrops, CutShort],
        figures: [
            errors: Count / Sum,
            share_percent: Percent / Max,
            usual_percent: Percent / Max,
        ],
        thresholds: [
            min_errors = 10.0: "Responses of one status within the span.",
            min_factor = 5.0: "Their share within the span against that in the rest.",
            min_others = 20.0: "Responses outside of the span; a base needs some.",
        ],
        host_evidence: [Logs],
    }
}

/// Errors further apart do not belong to one span.
const APART: Duration = Duration::from_secs(10);
/// The least share of the errors in their span.
const SHARE: f64 = 0.2;
/// Challenges, and what http-error reports.
const ELSEWHERE: [u16; 3] = [401, 407, 429];

/// What one connection says of its responses.
pub(crate) struct Answers {
    responses: u64,
    end: Timestamp,
    errors: Vec<HttpClientErrors>,
}

/// A span of errors.
pub(crate) struct Seen {
    status: u16,
    length: Duration,
    others: u64,
}

impl Rule for HttpClientError {
    type Seen = Seen;
    type Fact = Answers;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        _ctx: &Context<'_>,
        out: &mut Observations<Seen, Answers>,
    ) {
        if let Some(http) = &conn.app.http
            && http.responses > 0
        {
            out.note(|| Note::new(conn, Answers::of(http, conn.end)));
        }
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        ctx: &Context<'_>,
        collected: &mut Collected<Seen, Answers>,
    ) {
        let mut servers = BTreeMap::<Endpoint, Vec<&Note<Answers>>>::new();
        let is_scanner = |note: &Note<Answers>| {
            let client = analysis.hosts.get(note.connection.client.ip);
            client.is_some_and(HostProfile::is_scanner)
        };
        let notes = collected.notes.iter().filter(|note| !is_scanner(note));
        for note in notes {
            servers
                .entry(note.connection.server)
                .or_default()
                .push(note);
        }
        let mut found = Vec::new();
        for notes in servers.values() {
            let statuses = notes.iter().flat_map(|note| &note.fact.errors);
            let mut statuses: Vec<u16> = statuses.map(|errors| errors.status).collect();
            statuses.sort_unstable();
            statuses.dedup();
            statuses.retain(|status| !ELSEWHERE.contains(status));
            found.extend(
                statuses
                    .iter()
                    .filter_map(|status| jump(notes, *status, ctx)),
            );
        }
        collected.observations.extend(found);
    }

    fn describe(&self, group: &Group<'_, Seen, Answers>, draft: Narrative) -> Narrative {
        let server = group.server();
        let seen = &group.best().seen;
        let figure = |name| group.figure(name).unwrap_or_default();
        let errors = plural(figure("errors"), "response");
        let (now, usual) = (
            figure("share_percent") / 100.0,
            figure("usual_percent") / 100.0,
        );
        let status = seen.status;
        draft
            .title(format!("{server} answers {} of its requests with {status} for a while", percent(now)))
            .summary(format!(
                "{errors} of {server} within {} bear the status {status}, {} of all there; of {} outside of that time {}.",
                span(seen.length),
                percent(now),
                many(seen.others, "response"),
                if usual > 0.0 {
                    format!("{} do", percent(usual))
                } else {
                    "none does".to_owned()
                },
            ))
            .confidence(confidence::STATED, "The statuses were read from the responses.")
            .because(meaning(status))
            .not("http-error", "the server says that the requests are wrong, not that it failed")
            .advise("server", "look what changed at the first of them: a release, a route, a key, a limit")
            .verify("server", format!("grep ' {status} ' access.log | head"), "which requests are rejected, and from when on")
    }
}

impl Answers {
    fn of(http: &HttpFacts, end: Timestamp) -> Self {
        Self {
            responses: http.responses,
            end,
            errors: http.client_errors.clone(),
        }
    }
}

/// Errors of one status on one connection.
struct Burst<'a> {
    note: &'a Note<Answers>,
    errors: HttpClientErrors,
}

/// The span with most errors of a status, when their share jumps there.
fn jump(notes: &[&Note<Answers>], status: u16, ctx: &Context<'_>) -> Option<Observation<Seen>> {
    let bursts = notes.iter().flat_map(|note| {
        let errors = note
            .fact
            .errors
            .iter()
            .filter(|errors| errors.status == status);
        errors.map(|errors| Burst {
            note,
            errors: *errors,
        })
    });
    let mut bursts: Vec<Burst<'_>> = bursts.collect();
    bursts.sort_by_key(|burst| (burst.errors.first.time, burst.errors.first.frame));
    let mut spans: Vec<(Timestamp, Vec<&Burst<'_>>)> = Vec::new();
    for burst in &bursts {
        let until = burst.errors.last.time;
        match spans.last_mut() {
            Some((end, members)) if burst.errors.first.time <= *end + APART => {
                *end = until.max(*end);
                members.push(burst);
            }
            _ => spans.push((until, vec![burst])),
        }
    }
    let count = |of: &[&Burst<'_>]| of.iter().map(|one| one.errors.count).sum::<u64>();
    let (until, members) = spans.into_iter().max_by_key(|(_, of)| count(of))?;
    let first = *members.first()?;
    let from = first.errors.first.time;
    let all: u64 = notes.iter().map(|note| note.fact.responses).sum();
    let errors_of_all: u64 = bursts.iter().map(|one| one.errors.count).sum();
    let errors = count(&members);
    let within = notes.iter().map(|note| responses_within(note, from, until));
    let inside = within.sum::<u64>().max(errors);
    let outside = all.saturating_sub(inside);
    let now = share(errors, inside);
    let usual = share(errors_of_all - errors, outside);
    // None among so many is as good as one.
    let base = usual.max(1.0 / number(outside.max(1)));
    let jumps = number(errors) >= ctx.threshold("min_errors")
        && number(outside) >= ctx.threshold("min_others")
        && now >= SHARE
        && now >= base * ctx.threshold("min_factor");
    if !jumps {
        return None;
    }
    let last = members.iter().max_by_key(|one| one.errors.last.frame)?;
    let place =
        |at: analyzer::app::At| SegmentRef::place(at.frame, at.time, Direction::ServerToClient);
    let observation = Observation::from_note(first.note, confidence::STATED, Impact::SOME)
        .cause(format!("{} {status}", first.note.connection.server))
        .at(from)
        .weight(number(errors))
        .count(errors)
        .proof(
            place(first.errors.first),
            format!("status {status}, the first of {errors}"),
        )
        .proof(
            place(last.errors.last),
            format!("status {status}, the last of them"),
        )
        .figure("errors", number(errors))
        .figure("share_percent", now * 100.0)
        .figure("usual_percent", usual * 100.0)
        .seen(Seen {
            status,
            length: until.since(from),
            others: outside,
        });
    Some(observation)
}

/// Responses of a connection within a time: its share of the connection's life.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most the number of responses"
)]
fn responses_within(note: &Note<Answers>, from: Timestamp, until: Timestamp) -> u64 {
    let (start, end) = (note.at, note.fact.end);
    if end < from || start > until {
        return 0;
    }
    let life = end.since(start).as_secs_f64();
    let inside = end.min(until).since(start.max(from)).as_secs_f64();
    let part = if life > 0.0 { inside / life } else { 1.0 };
    (number(note.fact.responses) * part.min(1.0)).round() as u64
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "400: the request is malformed, as the server sees it",
        403 => "403: who asks is known and not allowed",
        404 | 410 => "404 and 410: nothing is there under that name",
        408 => {
            "408: the request did not come in time (see client-timeout-close and packet-loss for the reason)"
        }
        413 | 414 | 431 => {
            "413, 414 and 431: body, target or head are larger than a limit of the server"
        }
        499 => {
            "499: the client had closed before there was an answer (nginx; see client-timeout-close)"
        }
        _ => "the server rejects these requests, not the connection",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, at, figure, findings_of};
    use analyzer::app::{AppProtocol, At};

    /// A connection of one response at `ms`.
    fn answered(number: u16, ms: f64, status: u16) -> Connection {
        let place = At {
            frame: u64::from(number) * 1000 + 5,
            time: at(ms + 2.0),
        };
        let errors = HttpClientErrors {
            status,
            count: 1,
            first: place,
            last: place,
        };
        let http = HttpFacts {
            requests: 1,
            responses: 1,
            client_errors: (status >= 400).then_some(errors).into_iter().collect(),
            ..HttpFacts::default()
        };
        let builder = Builder::tcp(number)
            .handshake(ms, 0.5)
            .request(ms + 1.0, 90);
        let builder = builder.response(ms + 2.0, 90).protocol(AppProtocol::Http1);
        let builder = builder.with(|conn| {
            conn.start = at(ms);
            conn.app.http = Some(Box::new(http));
        });
        builder.build()
    }

    #[test]
    fn a_jump_is_low_and_told_once() {
        let status = |n: u16| {
            if (60..90).contains(&n) && n.is_multiple_of(2) {
                404
            } else {
                200
            }
        };
        let all: Vec<_> = (1..150)
            .map(|n| answered(n, f64::from(n) * 500.0, status(n)))
            .collect();
        let findings = findings_of("http-client-error", &all);
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Low));
        assert!((figure(&findings[0], "errors") - 15.0).abs() < f64::EPSILON);
    }

    #[test]
    fn an_even_share_few_errors_and_challenges_are_silent() {
        let of = |status: &dyn Fn(u16) -> u16| -> Vec<Connection> {
            (1..150)
                .map(|n| answered(n, f64::from(n) * 500.0, status(n)))
                .collect()
        };
        let even = of(&|n| if n % 3 == 0 { 404 } else { 200 });
        let few = of(&|n| if (60..65).contains(&n) { 404 } else { 200 });
        let challenged = of(&|n| if (60..90).contains(&n) { 401 } else { 200 });
        for all in [even, few, challenged] {
            assert!(findings_of("http-client-error", &all).is_empty());
        }
    }
}

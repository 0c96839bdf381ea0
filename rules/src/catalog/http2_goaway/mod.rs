//! `http2-goaway`: HTTP/2 ends a session, or streams of it, before they are answered.

use std::time::Duration;

use analyzer::app::{HttpFacts, HttpGoaway, HttpStreamResets};
use analyzer::{Analysis, Connection, Direction, Timestamp};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations, segment_at};
use crate::model::rule::Rule;
use crate::model::text::{many, number, plural};

declare_rule! {
    /// An end of an HTTP/2 session closes it or refuses streams, and requests go unanswered.
    ///
    /// ## What it means
    /// GOAWAY names the last stream that its sender will process and the reason for closing. Later streams were
    /// never processed: they crossed the GOAWAY on the wire, which is the keep-alive race of HTTP/2.
    ///
    /// With an error code (`ENHANCE_YOUR_CALM` for a client that sends too many requests or pings,
    /// `PROTOCOL_ERROR`, `INTERNAL_ERROR`, …) the whole session fails. `REFUSED_STREAM` rejects one stream in
    /// the same way. A client that opens streams and cancels them at once causes work whose result nobody
    /// reads.
    ///
    /// ## Why it matters
    /// Unprocessed streams can be retried safely, but many clients report them as failed calls. A server that
    /// closes sessions by number of requests or by age does so all day.
    ///
    /// ## How it is detected
    /// In unencrypted HTTP/2, frame by frame:
    /// - GOAWAY from the server with streams of the client beyond its last stream that got no response, in
    ///   flight at that time or sent afterwards; of a shutdown in two steps the second counts.
    /// - GOAWAY with an error code, from either end.
    /// - RST_STREAM with `REFUSED_STREAM`.
    /// - At least `storm_resets` streams that a client cancels, at `storm_per_second` or more, and at least
    ///   half of all streams it opens.
    ///
    /// The frame with GOAWAY or RST_STREAM proves it. Requests count as lost unless the client contacts a
    /// server on the same port again afterwards; where the capture ends within a second, that is unknown.
    ///
    /// ## What to do
    /// Let clients retry streams that a GOAWAY left unprocessed or that were refused: RFC 9113 §8.7 allows it
    /// for every method. Shut down in two steps (a GOAWAY that names no last stream, then the true one a round
    /// trip later). Against `ENHANCE_YOUR_CALM` with `too_many_pings`, ping less often than the server permits.
    ///
    /// ## Known limits
    /// Encrypted sessions show none of this. Without the session's start, names and methods may be missing. A
    /// client that retries on another port, or from another address of its own, is not recognised.
    ///
    /// ## References
    /// - RFC 9113 §6.4 (RST_STREAM), §6.8 (GOAWAY), §7 (error codes), §8.7 (request reliability)
    /// - gRPC: keepalive user guide (`too_many_pings`)
    pub(crate) struct StreamsGivenUp {
        id: "http2-goaway",
        group: Services,
        title: "HTTP/2 sessions are closed while requests are in flight",
        severity: Medium,
        needs: [Tcp],
        clouded_by: [CaptureDrops, Snaplen, CutShort],
        figures: [streams: Count / Sum, sessions: Count / Sum],
        thresholds: [
            storm_resets = 100.0: "Cancelled streams of one session that make a storm; leaving a page cancels tens.",
            storm_per_second = 20.0: "Cancelled streams a second; a person cannot cancel so fast, a program in a loop does.",
        ],
    }
}

/// Error codes that a rule speaks of (RFC 9113 §7).
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// So much of the capture has to follow before silence shows that nobody asked again.
const KNOWN_AFTER: Duration = Duration::from_secs(1);

/// What was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// The session, with this code.
    Session(u32),
    /// Single streams, refused.
    Streams,
    /// Streams, by the client that opened them.
    Storm,
}

/// One session.
pub(crate) struct Seen {
    what: What,
    by: Direction,
    debug: String,
    /// Streams without a response.
    lost: u64,
}

/// When a client asked last on a connection.
pub(crate) struct Asked(Timestamp);

impl Rule for StreamsGivenUp {
    type Seen = Seen;
    type Fact = Asked;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        ctx: &Context<'_>,
        out: &mut Observations<Seen, Asked>,
    ) {
        let Some(http) = conn.app.http.as_deref().filter(|http| http.streams > 0) else {
            return;
        };
        let last = http.kept.iter().map(|exchange| exchange.request_start.time);
        if let Some(last) = last.max() {
            out.note(|| Note::new(conn, Asked(last)));
        }
        if let Some(goaway) = http.goaway.as_deref()
            && let Some(observation) = given_up(conn, http, goaway)
        {
            out.push(observation);
        }
        for resets in &http.stream_resets {
            if resets.code == REFUSED_STREAM && resets.direction == Direction::ServerToClient {
                out.push(refused(conn, resets));
            } else if is_storm(http, resets, ctx) {
                out.push(storm(conn, resets));
            }
        }
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        _ctx: &Context<'_>,
        collected: &mut Collected<Seen, Asked>,
    ) {
        let end = analysis.summary.last;
        for one in &mut collected.observations {
            if one.seen.lost == 0 || !matches!(one.seen.what, What::Session(_)) {
                continue;
            }
            let asked_again = collected.notes.iter().any(|note| {
                let [then, now] = [one.connection, note.connection];
                note.fact.0 > one.at
                    && now.first_frame != then.first_frame
                    && now.client.ip == then.client.ip
                    && now.server.port == then.server.port
            });
            if asked_again {
                one.impact = Impact::recovered(one.seen.lost);
            } else if end.is_none_or(|end| end < one.at + KNOWN_AFTER) {
                one.impact = Impact::SOME;
            }
        }
    }

    fn describe(&self, group: &Group<'_, Seen, Asked>, draft: Narrative) -> Narrative {
        let seen = &group.best().seen;
        let streams = group.figure("streams").unwrap_or_default();
        let sessions = many(group.connections(), "session");
        let (server, client) = (group.server(), group.client().ip);
        let speaker = match seen.by {
            Direction::ClientToServer => client.to_string(),
            Direction::ServerToClient => server.to_string(),
        };
        let unanswered = plural(streams, "stream");
        let code = stated(seen);
        let draft = match seen.what {
            What::Session(0) => draft
                .title(format!("{server} closes HTTP/2 sessions while requests are in flight"))
                .summary(format!("{server} sent GOAWAY on {sessions} with {unanswered} of {client} beyond its last one: it never processed them. Requests and GOAWAY crossed on the wire, as requests cross the FIN of an idle connection."))
                .because("the streams have higher numbers than the last stream that GOAWAY names, and no response"),
            What::Session(_) => draft
                .title(format!("{speaker} ends HTTP/2 sessions with {code}"))
                .summary(format!("{speaker} sent GOAWAY with {code} on {sessions}; {unanswered} had no response by then."))
                .because(format!("GOAWAY carries the error code {code}")),
            What::Streams => draft
                .title(format!("{server} refuses HTTP/2 streams"))
                .summary(format!("{server} reset {unanswered} on {sessions} with REFUSED_STREAM and processed none of them, usually because more streams were open than it allows."))
                .because("RST_STREAM carries REFUSED_STREAM"),
            What::Storm => draft
                .title(format!("{client} opens HTTP/2 streams and cancels them at once"))
                .summary(format!("{client} cancelled {unanswered} on {sessions} with {server}, faster than it could use a response."))
                .because("at least half of all streams were reset by the client that opened them"),
        };
        draft
            .confidence(
                confidence::PROVED,
                "The code and the last stream were read from the frame.",
            )
            .not(
                "linger-zero-reset",
                "HTTP/2 announces the close, before any TCP reset",
            )
            .advise(
                if seen.by == Direction::ClientToServer {
                    "client"
                } else {
                    "any"
                },
                advice(seen),
            )
            .verify(
                &server.ip.to_string(),
                "journalctl --since -1h | grep -iE 'goaway|http2|h2'",
                "why the server closed the session",
            )
    }
}

fn given_up(conn: &Connection, http: &HttpFacts, goaway: &HttpGoaway) -> Option<Observation<Seen>> {
    let unprocessed = goaway.unprocessed;
    // Responses that were not captured are no loss.
    let failed = goaway.code != 0 && !http.lost_track;
    let unanswered = if failed { goaway.unanswered.count } else { 0 };
    let lost = unprocessed.count + unanswered;
    if goaway.code == 0 && unprocessed.count == 0 {
        return None;
    }
    let impact = match lost {
        0 => Impact::SOME,
        lost => Impact::requests_lost(lost),
    };
    let first = unprocessed
        .first
        .or(goaway.unanswered.first.filter(|_| failed));
    let seen = Seen {
        what: What::Session(goaway.code),
        by: goaway.direction,
        debug: goaway.debug.clone(),
        lost,
    };
    let said = format!(
        "GOAWAY, last stream {}, {}",
        goaway.last_stream,
        stated(&seen)
    );
    let mut observation = Observation::new(conn, confidence::PROVED, impact)
        .cause(format!(
            "{} {} {}",
            conn.server,
            goaway.direction.sender(),
            goaway.code
        ))
        .at(goaway.at.time)
        .weight(number(lost));
    if let Some(first) = first {
        let segment = segment_at(conn, first, goaway.direction.reverse());
        observation = observation.evidence(segment, "start of a stream that got no response");
    }
    let segment = segment_at(conn, goaway.at, goaway.direction);
    let mut observation = observation
        .proof(segment, said)
        .figure("streams", number(lost))
        .figure("sessions", 1.0);
    if lost > 0 {
        observation = observation.cost("requests_failed", number(lost));
    }
    Some(observation.seen(seen))
}

fn refused(conn: &Connection, resets: &HttpStreamResets) -> Observation<Seen> {
    Observation::new(conn, confidence::PROVED, Impact::recovered(resets.count))
        .cause(format!("{} refused", conn.server))
        .at(resets.first.time)
        .weight(number(resets.count))
        .count(resets.count)
        .proof(
            segment_at(conn, resets.first, resets.direction),
            "RST_STREAM with REFUSED_STREAM",
        )
        .figure("streams", number(resets.count))
        .figure("sessions", 1.0)
        .seen(Seen {
            what: What::Streams,
            by: resets.direction,
            debug: String::new(),
            lost: resets.count,
        })
}

fn is_storm(http: &HttpFacts, resets: &HttpStreamResets, ctx: &Context<'_>) -> bool {
    let seconds = resets.last.time.since(resets.first.time).as_secs_f64();
    resets.code == CANCEL
        && resets.direction == Direction::ClientToServer
        && number(resets.count) >= ctx.threshold("storm_resets")
        && number(resets.count) >= ctx.threshold("storm_per_second") * seconds
        && resets.count * 2 >= http.streams
}

fn storm(conn: &Connection, resets: &HttpStreamResets) -> Observation<Seen> {
    Observation::new(conn, confidence::STRONG, Impact::SOME)
        .cause(format!("{} storm {}", conn.server, conn.client.ip))
        .at(resets.first.time)
        .weight(number(resets.count))
        .count(resets.count)
        .proof(
            segment_at(conn, resets.first, resets.direction),
            format!(
                "the first of {} that the client cancels",
                many(resets.count, "stream")
            ),
        )
        .figure("streams", number(resets.count))
        .figure("sessions", 1.0)
        .seen(Seen {
            what: What::Storm,
            by: resets.direction,
            debug: String::new(),
            lost: 0,
        })
}

/// The code's name, and what was said with it.
fn stated(seen: &Seen) -> String {
    let What::Session(code) = seen.what else {
        return String::new();
    };
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
    let name = name.map_or_else(|| format!("error code {code}"), |name| (*name).to_owned());
    if seen.debug.is_empty() {
        name
    } else {
        format!("{name} ({})", seen.debug)
    }
}

const fn advice(seen: &Seen) -> &'static str {
    match seen.what {
        What::Session(0) => {
            "let clients retry the streams that GOAWAY left unprocessed, and let the server shut down in two steps; raise limits on requests or age of a session (nginx keepalive_requests, Envoy max_requests_per_connection, gRPC MaxConnectionAge) if it happens often"
        }
        What::Session(ENHANCE_YOUR_CALM) => {
            "let clients ping and open streams less often than the server permits (gRPC keepalive time against the server's minimum of 5 minutes), or permit more"
        }
        What::Session(_) => {
            "find out in the logs of both ends what broke the session: a proxy or library that violates HTTP/2, a limit on headers, a crash of the handler"
        }
        What::Streams => {
            "let clients keep to SETTINGS_MAX_CONCURRENT_STREAMS or open more sessions, and retry refused streams"
        }
        What::Storm => {
            "find out why the client cancels its requests: a deadline shorter than a round trip, or an attack (CVE-2023-44487) that the server should limit"
        }
    }
}

#[cfg(test)]
mod tests;

//! `chatty-exchange`: one action takes many turns, and the path's round trip is paid for each; or much
//! data goes out a few bytes at a time.

mod tinygrams;

use std::collections::BTreeMap;
use std::time::Duration;

use analyzer::Connection;
use analyzer::app::{AppProtocol, HttpExchange};
use analyzer::connection::TurnRun;

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{bytes, many, ms, number, percent, plural, shortened, time};

declare_rule! {
    /// A client asks dozens of small questions one after the other, each only when it has the answer before.
    ///
    /// ## What it means
    /// The program needs many answers for one thing that it does and fetches them one by one: a query for each row of
    /// another (N+1), a command a key, a call an item. Each costs a round trip, whatever the server does.
    ///
    /// ## Why it matters
    /// Next to the server nobody notices. Over a distance the same code is slow in proportion to the round trip,
    /// and neither bandwidth nor a faster server helps.
    ///
    /// Data that goes out a few bytes at a time, one segment a write, costs more in headers than in data, and both
    /// hosts a system call, an interrupt and an acknowledgment for each.
    ///
    /// ## How it is detected
    /// A run of at least `min_turns` turns on one connection, each request sent within 20 ms of the answer before (or of
    /// its acknowledgment, where the capture is far from the client), of at most `max_turn_bytes` bytes a turn on
    /// average, where the turns times the round trip make up at least half of the run and at least `least_ms`. The first request
    /// and the last answer of the run prove it. The finding says where most of the GET requests kept ask for the same.
    ///
    /// Small segments: a direction with at least 200 segments of at most 128 bytes on average, at least ten of them a
    /// message, and at least ten within 10 ms: a buffer would have merged these without anybody noticing. This is
    /// information: nobody waits for it.
    ///
    /// What refutes it: pauses between the turns (a person, a timer); a server that takes most of the time
    /// (see slow-response); large answers (a transfer in pieces). HTTP/1, databases, caches, directories, mail and file
    /// services are looked at, and streams whose framing is known; in others (TLS, terminals, desktops) turns are not known to be
    /// requests. Severity: by the time that one exchange instead would have saved, where the run is shorter than a minute;
    /// longer ones are programs that nobody waits for.
    ///
    /// ## What to do
    /// Ask for many things at once: a join or `IN (…)`, `MGET` or a pipeline, a batch call, a bulk interface.
    /// Or run the program next to the server. Small segments: write through a buffer, and flush once a message.
    ///
    /// ## Known limits
    /// Whether the turns could be one is not visible; a loop of polls looks the same. Runs over several connections are not seen.
    ///
    /// ## References
    /// - Redis: pipelining; PostgreSQL: pipeline mode; Fowler, Patterns of Enterprise Application Architecture
    ///   (Remote Facade, Lazy Load); RFC 896 (small packets)
    pub(crate) struct ChattyExchange {
        id: "chatty-exchange",
        group: Application,
        title: "Many small turns, a round trip each",
        severity: Medium,
        needs: [Tcp, BothDirections],
        traits: [TurnRun, SmallSegments],
        clouded_by: [CaptureDrops],
        figures: [
            turns: Count / Max,
            round_trip_ms: Milliseconds / Median,
            run_ms: Milliseconds / Max,
            saved_ms: Milliseconds / Max,
            small_segments: Count / Sum,
            segment_bytes: Bytes / Median,
        ],
        thresholds: [
            min_turns = 30.0: "Turns in a row; a handshake, a log-in and a mail take a dozen.",
            least_ms = 300.0: "Time that the round trips of a run take in all.",
            max_turn_bytes = 4096.0: "Bytes a turn on average; what is more moves data in pieces.",
        ],
        host_evidence: [ReadSizes],
    }
}

/// The share of a run that its round trips have to take.
const SHARE: f64 = 0.5;
/// Nobody waits longer than that for one action; a run that lasts longer is a loop.
const ACTION: Duration = Duration::from_secs(60);
/// Protocols beside HTTP in which each turn is a request and its answer.
const ASKED: [&str; 6] = [
    "postgresql",
    "mysql",
    "redis",
    "memcached",
    "mongodb",
    "ldap",
];

/// Of the requests kept, so many ask for the same before that is worth a word.
const SAME: usize = 10;

/// Of a longer target the end is not kept.
const WHOLE_TARGET: usize = 256;

/// What was seen.
pub(crate) enum Seen {
    Turns(Run),
    Tinygrams(tinygrams::Seen),
}

/// A run of turns.
pub(crate) struct Run {
    /// The share of the run that its round trips take.
    share: f64,
    octets_each: f64,
    same: Option<Same>,
}

/// The request that most of those kept are.
struct Same {
    request: String,
    times: usize,
    kept: usize,
}

impl Same {
    fn sentence(&self) -> String {
        format!(
            "{} of the {} requests kept as examples are the same, {}: an answer that the client keeps need not be asked for again",
            self.times, self.kept, self.request
        )
    }
}

impl Rule for ChattyExchange {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        for Observation { occurrence, seen } in tinygrams::seen(conn) {
            let seen = Seen::Tinygrams(seen);
            out.push(Observation { occurrence, seen });
        }
        let (Some(run), Some(round_trip)) = (&conn.turns.longest_run, conn.rtt()) else {
            return;
        };
        let turns = number(run.turns.into());
        if turns < ctx.threshold("min_turns") || !is_of_requests(conn) {
            return;
        }
        let length = run.last.time.since(run.first.time);
        let paid = round_trip * run.turns;
        let share = ms(paid) / ms(length).max(f64::MIN_POSITIVE);
        let octets_each = number(run.octets) / turns;
        let is_chatty = share >= SHARE
            && ms(paid) >= ctx.threshold("least_ms")
            && octets_each <= ctx.threshold("max_turn_bytes");
        if is_chatty {
            // The round trip is the least that was measured; no more than all can be saved.
            let saved = (paid - round_trip).min(length);
            let seen = Run {
                share: share.min(1.0),
                octets_each,
                same: same_request(conn),
            };
            out.push(observation(conn, run, round_trip, saved).seen(Seen::Turns(seen)));
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let best = group.best();
        let run = match &best.seen {
            Seen::Turns(run) => run,
            Seen::Tinygrams(seen) => return tinygrams::describe(group, seen, draft),
        };
        let figure = |name| group.figure(name).unwrap_or_default();
        let (client, server) = (best.connection.client.ip, group.server());
        let turns = plural(figure("turns"), "turn");
        let round_trip = time(figure("round_trip_ms"));
        let saved = time(figure("saved_ms"));
        draft
            .title(format!("{client} takes {turns} of {round_trip} with {server} for one task"))
            .summary(format!(
                "{client} sent one small request after the other to {server}, each as soon as it had the answer before: {turns} in {}. Round trips are {} of that; in one exchange {saved} would be saved.",
                time(figure("run_ms")),
                percent(run.share),
            ))
            .confidence(confidence::LIKELY, "Turns, pauses and the round trip were measured; that the requests could be one is an inference.")
            .because(format!("{} a turn on average", bytes(run.octets_each)))
            .because("no pause of the client between the turns: nobody typed or waited for a timer")
            .because_if(run.same.is_some(), || run.same.as_ref().map_or_else(String::new, Same::sentence))
            .not("slow-response", "the server answers within about a round trip")
            .not("window-limited", "the turns carry little data")
            .advise("client", "fetch what belongs together in one request: a join or IN (…), a pipeline or MGET, a batch call")
            .advise("any", "where that cannot be changed, run the client next to the server")
            .verify("client", "the statement or call log of the program at that time", "the same request again and again with another key")
    }
}

/// Whether a turn is a request and its answer.
fn is_of_requests(conn: &Connection) -> bool {
    match conn.app.protocol {
        AppProtocol::Http1 | AppProtocol::Framed => true,
        AppProtocol::Unknown => conn.app.name.is_some_and(|name| ASKED.contains(&name)),
        _ => false,
    }
}

/// The HTTP request that most of those kept are.
fn same_request(conn: &Connection) -> Option<Same> {
    let kept = &conn.app.http.as_deref()?.kept;
    // What else is asked for stands in a body, or beyond what is kept of a target.
    let whole = |one: &&HttpExchange| one.method == "GET" && one.target.len() < WHOLE_TARGET;
    let mut times = BTreeMap::<_, usize>::new();
    for one in kept.iter().filter(whole) {
        *times.entry((&one.host, &one.target)).or_default() += 1;
    }
    let ((_, target), times) = times.into_iter().max_by_key(|(_, times)| *times)?;
    let is_most = times >= SAME && times * 2 > kept.len();
    is_most.then(|| Same {
        request: format!("GET {}", shortened(target)),
        times,
        kept: kept.len(),
    })
}

fn observation(
    conn: &Connection,
    run: &TurnRun,
    round_trip: Duration,
    saved: Duration,
) -> Observation {
    let length = run.last.time.since(run.first.time);
    let impact = if length <= ACTION {
        Impact::waited(saved)
    } else {
        Impact::SOME
    };
    let turns = u64::from(run.turns);
    Observation::new(conn, confidence::LIKELY, impact)
        .cause(format!("{} {}", conn.client.ip, conn.server))
        .at(run.first.time)
        .weight(ms(saved))
        .count(turns)
        .proof(
            run.first,
            format!(
                "the first request of {} without a pause",
                many(turns, "turn")
            ),
        )
        .proof(run.last, "the answer to the last of them")
        .figure("turns", number(turns))
        .figure("round_trip_ms", ms(round_trip))
        .figure("run_ms", ms(length))
        .figure("saved_ms", ms(saved))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::Finding;
    use crate::model::severity::Severity;
    use crate::testkit::script::Capture;
    use crate::testkit::{figure, findings_of};
    use analyzer::decode::TcpFlags;

    const PUSH: u8 = TcpFlags::PSH | TcpFlags::ACK;

    /// `turns` turns at the client over 20 ms, each after a pause and with an answer of `len` bytes.
    fn found(turns: u32, pause_us: u64, len: u32) -> Vec<Finding> {
        let mut capture = Capture::new();
        capture.handshake();
        let (mut at, mut seq, mut ack) = (30_000, 101, 901);
        for _ in 0..turns {
            capture.client(at, PUSH, seq, ack, 40);
            capture.server(at + 20_000, PUSH, ack, seq + 40, len);
            (seq, ack) = (seq + 40, ack + len);
            at += 20_000 + pause_us;
        }
        let mut conn = capture.finish();
        conn.app.name = Some("postgresql");
        conn.halves[0].rtt_min = Some(Duration::from_millis(20));
        conn.halves[1].rtt_min = None;
        findings_of("chatty-exchange", &[conn])
    }

    #[test]
    fn a_query_a_row_is_chatty() {
        let findings = found(100, 300, 60);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Medium);
        assert!((figure(&findings[0], "turns") - 100.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "saved_ms") - 1_980.0).abs() < 1.0);
    }

    #[test]
    fn few_turns_pauses_and_transfers_are_not() {
        assert!(found(20, 300, 60).is_empty());
        assert!(found(100, 60_000, 60).is_empty());
        assert!(found(100, 300, 1_460 * 4).is_empty());
    }
}

//! `server-saturation`: a server answers the later, the more requests it has at a time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use analyzer::app::AppProtocol;
use analyzer::event::SegmentRef;
use analyzer::{Analysis, Connection, Direction, Endpoint, Timestamp, Transport};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::Relation;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, number, plural, rounded, time};
use crate::signs::waits::union;

declare_rule! {
    /// A server's answers take the longer, the more requests wait there at the same time.
    ///
    /// ## What it means
    /// The server works on so many requests at a time and no more (threads, processes, a pool of connections behind it, one
    /// lock, one disk). Beyond that requests queue, and each waits for those before it.
    ///
    /// ## Why it matters
    /// The rate stays where it is however much is asked; only the wait grows. Retries and timeouts add to the queue.
    /// The number of requests at the bend and the rate there say what the server can do.
    ///
    /// ## How it is detected
    /// For every request to one server it is counted how many others were outstanding when it was sent, over all connections.
    /// Over at least `min_requests` requests the time to answer goes with that number (rank correlation by Spearman ≥
    /// `min_correlation`), its median in the fifth with most company is `min_factor` times that in the fifth with
    /// least, and answers come steadily while many wait. The slowest request of the crowded fifth and its
    /// neighbours prove it.
    ///
    /// What refutes it: a pause of the whole server (no answer to anybody for most of the wait); a rate of answers that
    /// grows with the number waiting (then the requests are slow by themselves); something sent again
    /// meanwhile (such exchanges are left out). HTTP/1, TLS once its handshake is over, and the request protocols of databases and
    /// caches are looked at. Severity: by the time on the clock in which somebody waited a second or longer.
    ///
    /// ## What to do
    /// Find what is limited: workers, pool, lock, processor. Raise that, or limit what comes in before it queues.
    ///
    /// ## Known limits
    /// Of each connection the first 64 answered requests are known; the time after the first list is full is not
    /// looked at. Several requests at once on one connection (HTTP/2, pipelining) count as one.
    ///
    /// ## References
    /// - Little, A Proof for the Queuing Formula L = λW, 1961; Gunther, Guerrilla Capacity Planning, 2007
    pub(crate) struct ServerSaturation {
        id: "server-saturation",
        group: Application,
        title: "Answers slow down with the number of requests",
        severity: Medium,
        needs: [Tcp, BothDirections],
        traits: [Answer],
        clouded_by: [CaptureDrops, ClockStep],
        figures: [
            requests: Count / Max,
            outstanding_at_knee: Count / Max,
            outstanding_most: Count / Max,
            answers_per_second: PerSecond / Max,
            few_ms: Milliseconds / Max,
            many_ms: Milliseconds / Max,
        ],
        thresholds: [
            min_requests = 50.0: "Requests to one server; fewer show no dependence.",
            min_correlation = 0.6: "Rank correlation of time to answer and requests outstanding.",
            min_factor = 3.0: "Median time to answer with most company against that with least.",
            slow_ms = 100.0: "Median with most company, below which nobody minds.",
        ],
        host_evidence: [Owner, Logs],
    }
}

/// Protocols beside HTTP in which each turn is a request and its answer.
const ASKED: [&str; 6] = [
    "postgresql",
    "mysql",
    "redis",
    "memcached",
    "mongodb",
    "ldap",
];
/// From here on a wait counts by itself.
const NOTICED: Duration = Duration::from_secs(1);
/// Requests that have to be outstanding at the most.
const CROWD: u64 = 4;

/// A request and its answer, small: a connection has up to 64 of them.
#[derive(Clone, Copy)]
struct Exchange {
    asked: Timestamp,
    took_us: u32,
    /// Frames after the connection's first.
    frames_after: u32,
}

impl Exchange {
    fn answered(&self) -> Timestamp {
        self.asked + self.took()
    }

    fn took(&self) -> Duration {
        Duration::from_micros(self.took_us.into())
    }
}

/// The exchanges of a connection.
pub(crate) struct Asked {
    exchanges: Vec<Exchange>,
    /// There were more.
    is_cut: bool,
}

/// What is concluded of one server.
pub(crate) struct Seen {
    /// Median time to answer in each fifth of the requests by company, and the largest company in it.
    fifths: [(u64, Duration); 5],
    correlation: f64,
    /// Time to answer by company.
    relation: Relation,
}

/// A request among those of its server.
struct Request {
    note: usize,
    exchange: Exchange,
    /// Others that waited when it was sent.
    outstanding: u64,
}

impl Rule for ServerSaturation {
    type Seen = Seen;
    type Fact = Asked;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        _ctx: &Context<'_>,
        out: &mut Observations<Seen, Asked>,
    ) {
        let from = asks_from(conn).filter(|_| conn.turns.answered > 0);
        let Some(from) = from else {
            return;
        };
        out.note(|| {
            let answers = conn.turns.answers();
            let exchanges = answers
                .filter(|answer| answer.asked >= from && !answer.repeated)
                .map(|answer| Exchange {
                    asked: answer.asked,
                    took_us: u32::try_from(answer.took.as_micros()).unwrap_or(u32::MAX),
                    frames_after: u32::try_from(answer.frame.saturating_sub(conn.first_frame))
                        .unwrap_or(u32::MAX),
                });
            let exchanges: Vec<_> = exchanges.collect();
            let is_cut = conn.turns.first_answered.len() as u64 > 0
                && conn.turns.answered > conn.turns.first_answered.len() as u64;
            Note::new(conn, Asked { exchanges, is_cut })
        });
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        ctx: &Context<'_>,
        collected: &mut Collected<Seen, Asked>,
    ) {
        let mut servers = BTreeMap::<Endpoint, Vec<usize>>::new();
        for (at, note) in collected.notes.iter().enumerate() {
            servers.entry(note.connection.server).or_default().push(at);
        }
        for notes in servers.values() {
            let mut requests = requests(&collected.notes, notes);
            requests.retain(|one| {
                let (asked, answered) = (one.exchange.asked, one.exchange.answered());
                !analysis.is_stretched(asked, answered)
            });
            if number(requests.len() as u64) >= ctx.threshold("min_requests") {
                let found = conclude(&collected.notes, requests, ctx);
                collected.observations.extend(found);
            }
        }
    }

    fn describe(&self, group: &Group<'_, Seen, Asked>, draft: Narrative) -> Narrative {
        let server = group.server();
        let seen = &group.best().seen;
        let figure = |name| group.figure(name).unwrap_or_default();
        let (few, crowded) = (time(figure("few_ms")), time(figure("many_ms")));
        let knee = figure("outstanding_at_knee");
        let rate = rounded(figure("answers_per_second"));
        let steps = seen.fifths.map(|(outstanding, median)| {
            format!("up to {}: {}", many(outstanding, "other"), time(ms(median)))
        });
        draft
            .relation(&seen.relation)
            .title(format!("{server} answers in {few} with little waiting, in {crowded} with much"))
            .summary(format!(
                "Over {} to {server} the time to answer grows with the number of requests that wait: with up to {} it is as usual, with {:.0} it is {crowded} (median). Meanwhile it answers {rate} requests a second and no more.",
                plural(figure("requests"), "request"),
                plural(knee, "other"),
                figure("outstanding_most"),
            ))
            .confidence(confidence::LIKELY, "Time to answer and requests outstanding were measured on every exchange; answers came steadily, so the server worked all the time.")
            .because(format!("median time to answer by company, a fifth of the requests each: {}", steps.join("; ")))
            .because(format!("rank correlation {:.2}", seen.correlation))
            .not("slow-response", "the same requests are answered fast while little else waits")
            .not("packet-loss", "exchanges in which something was sent again are not counted")
            .advise("server", "find what is limited to so many at a time: workers, threads, a pool of connections to the next service, a lock")
            .advise("any", "limit concurrency before the server, so that what cannot be served soon is refused soon")
            .verify("server", format!("ss -tn state established '( sport = :{} )' | wc -l; top -H", server.port), "how many requests are there at a time, and whether processors or workers are all busy")
    }
}

/// From when on the turns of a connection are requests; `None` for what is no such protocol.
fn asks_from(conn: &Connection) -> Option<Timestamp> {
    match conn.app.protocol {
        AppProtocol::Http1 => Some(conn.start),
        AppProtocol::Tls => Some(conn.app.tls.as_ref()?.client_data?.time),
        AppProtocol::Unknown => {
            let name = conn.app.name?;
            (conn.transport == Transport::Tcp && ASKED.contains(&name)).then_some(conn.start)
        }
        _ => None,
    }
}

/// All requests of these connections up to where every list is complete, in the order in which they were
/// sent, with their company.
fn requests(notes: &[Note<Asked>], of: &[usize]) -> Vec<Request> {
    let last = |asked: &Asked| asked.exchanges.iter().map(|one| one.asked).max();
    let cut = of.iter().map(|at| &notes[*at].fact);
    let cut = cut.filter(|asked| asked.is_cut).filter_map(last).min();
    let all = of.iter().flat_map(|&note| {
        let exchanges = notes[note].fact.exchanges.iter();
        exchanges.map(move |exchange| (note, *exchange))
    });
    let mut all: Vec<_> = all
        .filter(|(_, exchange)| cut.is_none_or(|cut| exchange.asked <= cut))
        .collect();
    all.sort_by_key(|(note, exchange)| (exchange.asked, *note, exchange.frames_after));
    let mut open = BinaryHeap::new();
    let mut requests = Vec::with_capacity(all.len());
    for (note, exchange) in all {
        while open
            .peek()
            .is_some_and(|Reverse(end)| *end <= exchange.asked)
        {
            open.pop();
        }
        requests.push(Request {
            note,
            exchange,
            outstanding: open.len() as u64,
        });
        open.push(Reverse(exchange.answered()));
    }
    requests
}

/// What the requests of one server show.
fn conclude(
    notes: &[Note<Asked>],
    mut requests: Vec<Request>,
    ctx: &Context<'_>,
) -> Option<Observation<Seen>> {
    let correlation = rank_correlation(&requests);
    if correlation < ctx.threshold("min_correlation") {
        return None;
    }
    requests.sort_by_key(|one| (one.outstanding, one.exchange.asked, one.note));
    let fifth = requests.len() / 5;
    let fifths: Vec<&[Request]> = (0..5)
        .map(|at| {
            let end = if at == 4 {
                requests.len()
            } else {
                (at + 1) * fifth
            };
            &requests[at * fifth..end]
        })
        .collect();
    let (alone, crowd) = (fifths[0], fifths[4]);
    let (few, crowded) = (median(alone), median(crowd));
    let grows = ms(crowded) >= ctx.threshold("slow_ms")
        && ms(crowded) >= ms(few) * ctx.threshold("min_factor");
    let most = crowd.last().map_or(0, |one| one.outstanding);
    if !grows || most < CROWD || !is_steady(&requests, crowd) || rises(alone, crowd) {
        return None;
    }
    let worst = crowd.iter().max_by_key(|one| one.exchange.took_us)?;
    let knee = requests
        .iter()
        .filter(|one| one.exchange.took() <= few * 3 / 2)
        .map(|one| one.outstanding)
        .max();
    let long = requests.iter().map(|one| &one.exchange);
    let long = long.filter(|exchange| exchange.took() >= NOTICED);
    let waited = union(long.map(|exchange| (exchange.asked, exchange.answered())));
    let impact = if waited.is_zero() {
        Impact::SOME
    } else {
        Impact::waited(waited)
    };
    let place = |one: &Request| {
        let frame = notes[one.note].connection.first_frame + u64::from(one.exchange.frames_after);
        SegmentRef::place(frame, one.exchange.asked, Direction::ClientToServer)
    };
    let told = |one: &Request| {
        format!(
            "a request sent while {} others waited, answered {} later",
            one.outstanding,
            time(ms(one.exchange.took()))
        )
    };
    let note = &notes[worst.note];
    let observation = Observation::from_note(note, confidence::LIKELY, impact)
        .at(worst.exchange.asked)
        .weight(ms(worst.exchange.took()))
        .count(requests.len() as u64)
        .proof(place(worst), told(worst))
        .figure("requests", number(requests.len() as u64))
        .figure("outstanding_at_knee", number(knee.unwrap_or(0).min(most)))
        .figure("outstanding_most", number(most))
        .figure("answers_per_second", rate(&requests, crowd))
        .figure("few_ms", ms(few))
        .figure("many_ms", ms(crowded))
        .seen(Seen {
            fifths: [0, 1, 2, 3, 4].map(|at| {
                let most = fifths[at].last().map_or(0, |one| one.outstanding);
                (most, median(fifths[at]))
            }),
            correlation,
            relation: relation(&requests),
        });
    Some(observation)
}

/// Time to answer by company, for the picture.
fn relation(requests: &[Request]) -> Relation {
    let points = requests.iter();
    let points = points.map(|one| (number(one.outstanding), ms(one.exchange.took())));
    Relation::new(
        "requests_outstanding",
        "time_to_answer_ms",
        points.collect(),
    )
}

fn median(requests: &[Request]) -> Duration {
    let mut took: Vec<u32> = requests.iter().map(|one| one.exchange.took_us).collect();
    took.sort_unstable();
    let middle = took.get(took.len() / 2).copied().unwrap_or(0);
    Duration::from_micros(middle.into())
}

/// The times at which answers to these came, in order.
fn answers(requests: &[Request]) -> Vec<Timestamp> {
    let mut times: Vec<_> = requests.iter().map(|one| one.exchange.answered()).collect();
    times.sort_unstable();
    times
}

/// Answers came all the time that the crowd waited: for half of it at least, a third of those that waited
/// before were answered in the first three quarters of the wait. A server that stands still answers none.
fn is_steady(all: &[Request], crowd: &[Request]) -> bool {
    let times = answers(all);
    let come_before = |time: Timestamp| times.partition_point(|answer| *answer <= time) as u64;
    let is_served = |one: &&Request| {
        let exchange = &one.exchange;
        let until = exchange.asked + exchange.took() * 3 / 4;
        let answered = come_before(until) - come_before(exchange.asked);
        answered * 3 >= one.outstanding
    };
    crowd.iter().filter(is_served).count() * 2 >= crowd.len()
}

/// Answers a second of the whole server while any of a crowd waited.
fn rate(all: &[Request], crowd: &[Request]) -> f64 {
    let times = answers(all);
    let waits = || {
        crowd
            .iter()
            .map(|one| (one.exchange.asked, one.exchange.answered()))
    };
    let mut ordered: Vec<_> = waits().collect();
    ordered.sort_unstable();
    // Answers that an earlier wait has not counted.
    let (mut counted, mut next) = (0, 0);
    for (from, to) in ordered {
        let first = times.partition_point(|time| *time <= from).max(next);
        let end = times.partition_point(|time| *time <= to).max(first);
        counted += end - first;
        next = end;
    }
    let waited = union(waits());
    if waited.is_zero() {
        0.0
    } else {
        number(counted as u64) / waited.as_secs_f64()
    }
}

/// By Little's law the rate is company divided by time. Where it grows with the company nothing queues: the
/// requests take long by themselves, and many of them run at a time.
fn rises(alone: &[Request], crowd: &[Request]) -> bool {
    let rate = |of: &[Request]| {
        let company: u64 = of.iter().map(|one| one.outstanding + 1).sum();
        let time: f64 = of.iter().map(|one| ms(one.exchange.took())).sum();
        if time > 0.0 {
            number(company) / time
        } else {
            f64::INFINITY
        }
    };
    rate(crowd) > rate(alone) * 3.0
}

/// Spearman's rank correlation of time to answer and company.
fn rank_correlation(requests: &[Request]) -> f64 {
    let took = ranks(requests.iter().map(|one| one.exchange.took_us.into()));
    let company = ranks(requests.iter().map(|one| one.outstanding));
    let mean = (number(requests.len() as u64) + 1.0) / 2.0;
    let (mut both, mut one, mut other) = (0.0, 0.0, 0.0);
    for (took, company) in took.iter().zip(&company) {
        both += (took - mean) * (company - mean);
        one += (took - mean).powi(2);
        other += (company - mean).powi(2);
    }
    if one > 0.0 && other > 0.0 {
        both / (one * other).sqrt()
    } else {
        0.0
    }
}

/// The rank of each value, that of equals being their mean.
fn ranks(values: impl Iterator<Item = u64>) -> Vec<f64> {
    let values: Vec<u64> = values.collect();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|at| values[*at]);
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    for equals in order.chunk_by(|one, other| values[*one] == values[*other]) {
        let to = from + equals.len();
        let rank = number((from + 1 + to) as u64) / 2.0;
        for &at in equals {
            ranks[at] = rank;
        }
        from = to;
    }
    ranks
}

#[cfg(test)]
mod tests;

//! `slow-response`: a server takes unusually long to begin its answer.

use std::time::Duration;

use analyzer::app::{AppProtocol, HttpExchange};
use analyzer::connection::Turn;
use analyzer::episodes::EpisodeKind;
use analyzer::{Analysis, Connection, Direction, Timestamp};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::{FigureValue, counted, median};
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{list, many, ms, number, span, time};
use crate::signs::waits::union;

declare_rule! {
    /// A server took much longer than usual to begin its response, and the network was not the reason.
    ///
    /// ## What it means
    /// The request was acknowledged at once, so it reached the server's kernel; the first byte of the response
    /// came late. The time was spent in the application or in what it waits for.
    ///
    /// ## Why it matters
    /// Callers wait. When the wait exceeds their timeout, the request fails.
    ///
    /// ## How it is detected
    /// The time from the last request byte to the first response byte is compared with the server's own median
    /// over the capture:
    /// - in HTTP, where every response is waited for: above 1 s, or above 100 ms and five times the median of
    ///   at least five responses;
    /// - in other protocols: only above five times that median. Where half of the responses are as late, they
    ///   are events or timers, not responses.
    ///
    /// Left out are:
    /// - exchanges with a retransmission, or in which lost segments held data back;
    /// - exchanges whose request was acknowledged late: after half of the time, or later than a round trip plus
    ///   the longest delayed acknowledgment (500 ms);
    /// - a single byte at the start of the capture (a keep-alive probe), upgraded connections (WebSocket) and
    ///   SSH.
    ///
    /// The last bytes of the request and the first of the response prove it. In HTTP the total time that
    /// callers waited longer than a second decides the severity. In other protocols it is low, since the server
    /// may have waited for an event.
    ///
    /// What requests would have taken without it counts waits of a second and longer up to the server's median.
    ///
    /// ## What to do
    /// Find what the named requests wait for: database, lock, pool, cold start, another service.
    ///
    /// ## Known limits
    /// Long polling is slow by design; requests whose target indicates it (`poll`, `watch`, `events`, …) are
    /// left out. Measured at the client, one round trip is part of the time.
    ///
    /// ## References
    /// - RFC 9110; RFC 6202 (long polling)
    pub(crate) struct SlowResponse {
        id: "slow-response",
        group: Application,
        title: "A server takes unusually long to answer",
        severity: High,
        needs: [Tcp, BothDirections],
        clouded_by: [CaptureDrops, ClockStep],
        figures: [response_ms_max: Milliseconds / Max, response_ms_p50: Milliseconds / Median],
        thresholds: [
            slow_ms = 1000.0: "Always slow: people notice a second.",
            unusual_ms = 100.0: "Shortest time called unusual, whatever the median.",
            unusual_factor = 5.0: "Multiple of the server's median that is unusual.",
            min_answers = 5.0: "Responses of the server from which their median defines what is usual.",
        ],
        host_evidence: [Logs, Owner],
    }
}

/// No acknowledgment may be delayed longer (RFC 1122 §4.2.3.2).
const DELAYED_ACK: Duration = Duration::from_millis(500);

/// Protocols whose ends send when they have something to say: what follows is no answer to what came before.
const UNASKED: [&str; 6] = ["bgp", "bittorrent", "nats", "telnet", "vnc", "xmpp"];

/// Words in a request target that ask a server to wait for an event.
const WAITING_WORDS: [&str; 10] = [
    "wait",
    "watch",
    "events",
    "stream",
    "subscribe",
    "subscription",
    "subscriptions",
    "notifications",
    "comet",
    "changes",
];

/// Responses of one connection that were slow.
pub(crate) struct Seen {
    http: bool,
    /// How many.
    slow: u64,
    /// The request of the slowest was acknowledged after this time.
    acked_ms: Option<f64>,
    /// Method and target of the slowest.
    request: Option<String>,
    /// 95th percentile of the server's response times.
    p95_ms: Option<f64>,
    /// Answers of the server.
    answered: u64,
    /// When callers waited long, from the request to the response; nothing outside HTTP.
    waits: Vec<(Timestamp, Timestamp)>,
}

impl Rule for SlowResponse {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        out.durations(conn.server, &conn.turns.response_times);
        let upgraded = conn.app.http.as_ref().is_some_and(|http| http.upgraded);
        let unasked = conn.app.name.is_some_and(|name| UNASKED.contains(&name));
        if upgraded || unasked || conn.app.protocol == AppProtocol::Ssh {
            return;
        }
        let least = ctx.threshold("unusual_ms").min(ctx.threshold("slow_ms"));
        let slow: Vec<&Turn> = conn
            .turns
            .slowest
            .iter()
            .filter(|turn| turn.response_time().is_some_and(|took| ms(took) >= least))
            .filter(|turn| is_servers_time(conn, turn) && !asks_to_wait(conn, turn))
            .filter(|turn| !is_probe(conn, turn))
            .collect();
        let Some(worst) = slow.first() else { return };
        let Some((response, took)) = worst.response.zip(worst.response_time()) else {
            return;
        };
        let http = matches!(conn.app.protocol, AppProtocol::Http1 | AppProtocol::Http2);
        let waits = slow.iter().filter_map(|turn| {
            let long = ms(turn.response_time()?) >= ctx.threshold("slow_ms");
            long.then_some((turn.request.last.time, turn.response?.first.time))
        });
        let waits: Vec<_> = if http { waits.collect() } else { Vec::new() };
        let impact = cost(waits.iter().copied());
        let observation = Observation::new(conn, confidence::LIKELY, impact)
            .at(worst.request.last.time)
            .measured(worst.request.last.time, response.first.time)
            .weight(ms(took))
            .proof(worst.request.last, "last bytes of the request from client")
            .proof(
                response.first,
                format!("first byte of the response, {} later", span(took)),
            )
            .figure("response_ms_max", ms(took))
            .seen(Seen {
                http,
                slow: slow.len() as u64,
                acked_ms: (worst.request_acked).map(|at| ms(at.since(worst.request.last.time))),
                request: exchange_of(conn, worst)
                    .map(|exchange| format!("{} {}", exchange.method, exchange.target)),
                p95_ms: None,
                answered: 0,
                waits,
            });
        out.push(observation);
    }

    fn on_capture(&self, analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected<Seen>) {
        let durations = &collected.durations;
        collected.observations.retain_mut(|one| {
            let Some(times) = durations.get(&one.connection.server) else {
                return false;
            };
            let took = one.figure_value("response_ms_max").unwrap_or_default();
            // A client that hears from nobody waits for its link, not for one server.
            let until = one.at + Duration::from_secs_f64(took / 1e3);
            let (silent, client) = (EpisodeKind::HostSilent, one.connection.client.ip);
            if analysis.episodes.fill(silent, client, one.at, until) {
                return false;
            }
            let median = times.quantile(0.5).map_or(took, ms);
            one.set_figure("response_ms_p50", FigureValue::Number(median));
            one.seen.p95_ms = times.quantile(0.95).map(ms);
            one.seen.answered = times.count();
            one.cost.push(("time_lost_ms", (took - median).max(0.0)));
            if number(times.count()) >= ctx.threshold("min_answers") {
                let usual = Duration::from_secs_f64(median / 1e3);
                let late = one.seen.waits.iter().map(|(from, to)| (*from + usual, *to));
                let late: Vec<_> = late.filter(|(from, to)| from < to).collect();
                one.stalls.extend(late);
            }
            // A median needs company before anything can be called unusual.
            let unusual = took >= ctx.threshold("unusual_ms")
                && took >= median * ctx.threshold("unusual_factor")
                && number(times.count()) >= ctx.threshold("min_answers");
            unusual || one.seen.http && took >= ctx.threshold("slow_ms")
        });
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let server = group.server();
        let max = group.figure("response_ms_max").unwrap_or_default();
        let typical = group.figure("response_ms_p50").unwrap_or_default();
        let requests = group.seen().filter_map(|seen| seen.request.as_deref());
        let requests = counted(requests).into_iter().take(3);
        let requests: Vec<String> = requests.map(|(text, _)| text.to_owned()).collect();
        let slow: u64 = group.seen().map(|seen| seen.slow).sum();
        let answered = median(group.seen().map(|seen| number(seen.answered)));
        let acked = median(group.seen().filter_map(|seen| seen.acked_ms));
        let p95 = median(group.seen().filter_map(|seen| seen.p95_ms));
        let http = group.having(|seen| seen.http) > 0;
        let (confidence, reason) = if http {
            (
                confidence::LIKELY,
                "The request was acknowledged promptly and no loss came in between.",
            )
        } else {
            (
                confidence::OPEN,
                "The network was not the reason; this protocol does not show whether the server was slow or waited for an event.",
            )
        };
        let answered = answered.unwrap_or_default();
        // What was left out here may have taken longer still.
        let several = answered >= group.ctx.threshold("min_answers") && typical <= max;
        let (usual, half) = if several {
            let half = format!(
                "; half of the server's {answered:.0} answers came within {}",
                time(typical)
            );
            (format!(" (median {})", time(typical)), half)
        } else {
            (String::new(), String::new())
        };
        let up_to = if slow > 1 { "up to " } else { "" };
        let waits = group.seen().flat_map(|seen| seen.waits.iter().copied());
        draft
            .impact(group.meta, cost(waits))
            .title(format!("{server} takes {up_to}{} to answer{usual}", time(max)))
            .summary(format!(
                "{} to {server} waited {up_to}{} for the first byte of the response{half}. \
                 {} been acknowledged, so the time was spent in the server.",
                many(slow.max(1), "request"),
                time(max),
                if slow > 1 { "The requests had" } else { "The request had" },
            ))
            .confidence(confidence, reason)
            .because_if(acked.is_some(), || format!("the server's kernel acknowledged {} within {}, long before the response", if slow > 1 { "these requests" } else { "the request" }, time(acked.unwrap_or_default())))
            .because_if(several && p95.is_some(), || format!("median {}, 95th percentile {}, slowest {}", time(typical), time(p95.unwrap_or_default()), time(max)))
            .because_if(!requests.is_empty(), || format!("slowest requests: {}", list(&requests)))
            .not("packet-loss", "no lost segment held these requests or responses back")
            .not("zero-window-stall", "the response had not begun, so no window could hold it back")
            .not("client-timeout-close", "these requests were answered in the end")
            .advise("server", "find what these requests wait for: slow queries, locks, connection pools, garbage collection, cold starts, another service (its connections may be in this capture)")
            .advise("any", format!("set callers' timeouts above the 99th percentile and below their own caller's; this server took up to {}", time(max)))
            .verify("server", format!("ss -ltnp '( sport = :{} )'; top -H -p PID", server.port), "whether the process uses CPU or waits")
            .verify("server", "strace -f -c -p PID", "what it waits for: futex (locks), recvfrom (another service), fsync (disk)")
    }
}

/// The HTTP exchange of a turn, when it was kept.
fn exchange_of<'a>(conn: &'a Connection, turn: &Turn) -> Option<&'a HttpExchange> {
    let http = conn.app.http.as_ref()?;
    let mut kept = http.kept.iter();
    kept.find(|one| one.request_start.frame == turn.request.first.frame)
}

/// The request names something that is answered when an event comes: long polling, a stream.
fn asks_to_wait(conn: &Connection, turn: &Turn) -> bool {
    exchange_of(conn, turn).is_some_and(|exchange| {
        let target = exchange.target.to_lowercase();
        target
            .split(|letter: char| !letter.is_ascii_alphanumeric())
            .any(|word| word.contains("poll") || WAITING_WORDS.contains(&word))
    })
}

/// What long waits cost: those that overlap count once.
fn cost(waits: impl Iterator<Item = (Timestamp, Timestamp)>) -> Impact {
    let waited = union(waits);
    if waited.is_zero() {
        Impact::SOME
    } else {
        Impact::waited(waited)
    }
}

/// A single byte with which the capture of an older connection begins: a keep-alive probe (RFC 9293
/// §3.8.4) repeats the last byte sent, which passed before.
fn is_probe(conn: &Connection, turn: &Turn) -> bool {
    let first = conn.halves[0].first_data.map(|segment| segment.frame);
    !conn.has_handshake() && turn.request.octets == 1 && first == Some(turn.request.first.frame)
}

/// The request went through at once and nothing was lost while its answer was awaited.
fn is_servers_time(conn: &Connection, turn: &Turn) -> bool {
    let Some((response, took)) = turn.response.zip(turn.response_time()) else {
        return false;
    };
    let acked = turn
        .request_acked
        .map_or(Duration::ZERO, |at| at.since(turn.request.last.time));
    let lost = conn.holes.longest.iter().any(|hole| {
        hole.opened.frame >= turn.request.first.frame && hole.opened.frame <= response.first.frame
    });
    // An answer that met a closed socket belongs to client-timeout-close.
    let unwanted = conn.resets.iter().any(|reset| {
        reset.segment.direction == Direction::ClientToServer
            && reset
                .answers
                .is_some_and(|answered| answered.frame >= response.first.frame)
    });
    // An acknowledgement later than any delay allows shows that the request arrived late: a piece of
    // it was lost, though its repeat was not captured.
    let at_once = conn.halves[0]
        .rtt_min
        .is_none_or(|round_trip| acked <= round_trip + DELAYED_ACK);
    at_once && acked * 2 <= took && !lost && turn.repeats == 0 && !unwanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, C, figure, findings_of, histogram};
    use analyzer::connection::ResetKind;

    fn answered(port: u16, after_ms: f64) -> Builder {
        let builder = Builder::tcp(port)
            .handshake(0.0, 1.0)
            .request(1.0, 100)
            .request_acked(1.5);
        builder
            .response(1.0 + after_ms, 500)
            .protocol(AppProtocol::Http1)
            .with(|conn| {
                conn.turns.slowest[0].request_acked = Some(crate::testkit::at(1.5));
            })
    }

    #[test]
    fn above_a_second_is_medium() {
        let findings = findings_of("slow-response", &[answered(1, 2500.0).build()]);
        assert_eq!(findings[0].severity, Severity::Medium);
        assert!((figure(&findings[0], "response_ms_max") - 2500.0).abs() < 0.01);
    }

    #[test]
    fn unusual_for_this_server_is_low() {
        let usual = answered(2, 10.0)
            .with(|conn| conn.turns.response_times = histogram(10.0, 50))
            .build();
        let findings = findings_of("slow-response", &[usual, answered(1, 300.0).build()]);
        assert_eq!(findings[0].severity, Severity::Low);
        assert!((figure(&findings[0], "response_ms_p50") - 10.0).abs() < 1.0);
    }

    #[test]
    fn usual_times_are_silent() {
        assert!(
            findings_of(
                "slow-response",
                &[answered(1, 300.0).build(), answered(2, 280.0).build()]
            )
            .is_empty()
        );
    }

    #[test]
    fn answer_that_nobody_awaits_any_more_is_another_rule() {
        let conn = answered(1, 2500.0)
            .reset(2502.0, C, ResetKind::AbortedAfterClose)
            .build();
        assert!(findings_of("slow-response", &[conn]).is_empty());
    }

    #[test]
    fn overlapping_waits_count_once() {
        let both = [answered(1, 2500.0).build(), answered(2, 2500.0).build()];
        let findings = findings_of("slow-response", &both);
        assert_eq!(findings[0].severity, Severity::Medium);
        let longer = [answered(1, 3100.0).build()];
        let findings = findings_of("slow-response", &longer);
        assert_eq!(findings[0].severity, Severity::High);
    }

    #[test]
    fn waits_below_a_second_do_not_add_up() {
        let usual = answered(9, 10.0).with(|conn| {
            conn.turns.response_times = histogram(10.0, 50);
        });
        let mut connections: Vec<_> = (1..5).map(|port| answered(port, 650.0).build()).collect();
        connections.push(usual.build());
        let findings = findings_of("slow-response", &connections);
        assert_eq!(findings[0].severity, Severity::Low);
    }

    #[test]
    fn a_request_that_arrived_late_is_not_the_servers() {
        let conn = answered(1, 4600.0).with(|conn| {
            conn.halves[0].rtt_min = Some(Duration::from_millis(245));
            conn.turns.slowest[0].request_acked = Some(crate::testkit::at(1600.0));
        });
        assert!(findings_of("slow-response", &[conn.build()]).is_empty());
    }

    #[test]
    fn one_answer_has_no_median() {
        let findings = findings_of("slow-response", &[answered(1, 4003.7).build()]);
        assert!(!findings[0].title.contains("median"));
        let figure = |name| figure(&findings[0], name);
        assert!(figure("response_ms_p50") <= figure("response_ms_max"));
    }

    #[test]
    fn what_always_takes_long_elsewhere_waits_for_an_event() {
        let slow = |port| {
            let conn = answered(port, 15_000.0).protocol(AppProtocol::Unknown);
            conn.with(|conn| conn.turns.response_times = histogram(15_000.0, 9))
        };
        assert!(findings_of("slow-response", &[slow(1).build()]).is_empty());
        let usual = answered(2, 10.0).with(|conn| {
            conn.turns.response_times = histogram(10.0, 50);
        });
        let findings = findings_of("slow-response", &[slow(1).build(), usual.build()]);
        assert_eq!(findings[0].severity, Severity::Low);
    }

    #[test]
    fn a_lone_octet_in_the_middle_is_a_probe() {
        let usual = answered(2, 10.0).with(|conn| {
            conn.turns.response_times = histogram(10.0, 50);
        });
        let probe = answered(1, 15_000.0).with(|conn| {
            conn.app.protocol = AppProtocol::Tls;
            conn.handshake = Default::default();
            conn.turns.slowest[0].request.octets = 1;
        });
        assert!(findings_of("slow-response", &[usual.build(), probe.build()]).is_empty());
    }

    #[test]
    fn repeated_request_is_the_networks_time() {
        let conn = answered(1, 2500.0).with(|conn| {
            conn.turns.slowest[0].request_acked = Some(crate::testkit::at(2400.0));
        });
        assert!(findings_of("slow-response", &[conn.build()]).is_empty());
    }
}

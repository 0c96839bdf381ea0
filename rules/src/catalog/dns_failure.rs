//! `dns-failure`: questions that fail or stay without answer.

use std::collections::BTreeMap;
use std::net::IpAddr;

use analyzer::app::DnsExchange;
use analyzer::{Analysis, Connection, Direction, Timestamp};

use crate::model::context::Context;
use crate::model::figure::{counted, median, most};
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations, segment_at};
use crate::model::rule::Rule;
use crate::model::severity::Severity;
use crate::model::text::{list, ms, number, percent, plural, share, time};

declare_rule! {
    /// DNS questions fail, stay without answer, or are answered late.
    ///
    /// ## What it means
    /// A resolver did not answer, answered that it failed (SERVFAIL) or refused (REFUSED), said again and again that
    /// names do not exist (NXDOMAIN), or took more than a second.
    ///
    /// ## Why it matters
    /// Every connection by name waits for DNS first. A lost answer costs the resolver library's timeout, usually five
    /// seconds, before the question is repeated.
    ///
    /// ## How it is detected
    /// Questions are paired with answers by transaction id, ports and name. Unanswered ones count when they were
    /// repeated or when the capture went on for two more seconds. A question that a second server answered soon is
    /// low. Runs of NXDOMAIN through search domains are normal and info. Multicast DNS is left out.
    /// Severity: medium for unanswered and failed questions, high from ten when they are a fifth of all.
    ///
    /// ## What to do
    /// By kind: the resolver's health and reachability, its upstream, the search list, the network's handling of
    /// parallel questions.
    ///
    /// ## Known limits
    /// Encrypted DNS is not visible. An answer that took another path counts as missing.
    ///
    /// ## References
    /// - RFC 1035 §4.1.1; RFC 2308; RFC 6891; resolv.conf(5)
    pub(crate) struct DnsFailure {
        id: "dns-failure",
        title: "DNS questions fail",
        severity: High,
        needs: [],
        clouded_by: [CaptureDrops, OneSided],
        figures: [failures: Count / Sum, waited_ms: Milliseconds / Max],
        thresholds: [
            min_wait_ms = 2000.0: "How long a question without repetition must stay unanswered; resolvers answer or fail within that.",
            slow_ms = 1000.0: "Answers later than this are slow.",
            min_nxdomain = 10.0: "Names that do not exist, from which it is worth a hint.",
            high_failures = 10.0: "Failures from which it is an outage rather than an accident.",
        ],
    }
}

/// Ports of multicast DNS, LLMNR and NetBIOS names: most questions there are not for anybody.
const CHATTER: [u16; 3] = [5353, 5355, 137];
/// A question answered by another server within this time did little harm.
const SECOND_SERVER_MS: f64 = 2_000.0;

/// A name that was asked for.
pub(crate) struct Fact {
    name: String,
    answered: bool,
}

/// A question that failed.
pub(crate) struct Seen {
    kind: &'static str,
    name: String,
    repeats: u32,
    /// Questions to this server in all.
    all: u64,
}

impl Rule for DnsFailure {
    type Seen = Seen;
    type Fact = Fact;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        ctx: &Context<'_>,
        out: &mut Observations<Seen, Fact>,
    ) {
        let chatter = CHATTER.contains(&conn.server.port) || conn.server.ip.is_multicast();
        if conn.app.dns.is_empty() || chatter {
            return;
        }
        for exchange in &conn.app.dns {
            out.note(|| {
                let fact = Fact {
                    name: exchange.name.clone(),
                    answered: exchange.answered.is_some(),
                };
                Note::new(conn, fact).at(exchange.answered.unwrap_or(exchange.asked).time)
            });
            if let Some(kind) = failure(exchange, ctx) {
                out.push(observation(conn, exchange, kind));
            }
        }
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        ctx: &Context<'_>,
        collected: &mut Collected<Seen, Fact>,
    ) {
        let mut answered = BTreeMap::<(IpAddr, String), Vec<Timestamp>>::new();
        let mut asked = BTreeMap::<_, u64>::new();
        for note in &collected.notes {
            *asked.entry(note.connection.server).or_default() += 1;
            if note.fact.answered {
                let key = (note.connection.client.ip, note.fact.name.clone());
                answered.entry(key).or_default().push(note.at);
            }
        }
        let end = analysis.summary.last;
        collected.observations.retain_mut(|one| {
            if one.seen.kind != "no answer" {
                return true;
            }
            let name = one.seen.name.clone();
            let later = answered
                .get(&(one.connection.client.ip, name))
                .and_then(|times| {
                    times
                        .iter()
                        .find(|time| **time >= one.at)
                        .map(|time| ms(time.since(one.at)))
                });
            let rest = end.map_or(0.0, |end| ms(end.since(one.at)));
            let repeated = one.seen.repeats > 0;
            let waited = later.unwrap_or(rest);
            let waited = waited.max(one.figure_value("waited_ms").unwrap_or_default());
            if later.is_some() {
                one.set_figure(
                    "waited_ms",
                    crate::model::figure::FigureValue::Number(waited),
                );
            }
            if later.is_some_and(|later| later <= SECOND_SERVER_MS) {
                one.severity = Severity::Low;
            }
            repeated || later.is_some() || rest >= ctx.threshold("min_wait_ms")
        });
        let mut failed = BTreeMap::<String, f64>::new();
        for one in &collected.observations {
            *failed.entry(one.cause.clone()).or_default() += 1.0;
        }
        for one in &mut collected.observations {
            let count = failed.get(&one.cause).copied().unwrap_or(0.0);
            let all = asked.get(&one.connection.server).copied().unwrap_or(0);
            one.seen.all = all;
            if count >= ctx.threshold("high_failures")
                && count * 5.0 >= number(all)
                && one.severity == Severity::Medium
            {
                one.severity = Severity::High;
            }
        }
        let few = ctx.threshold("min_nxdomain");
        collected.observations.retain(|one| {
            one.seen.kind != "NXDOMAIN" || failed.get(&one.cause).is_some_and(|count| *count >= few)
        });
    }

    fn describe(&self, group: &Group<'_, Seen, Fact>, draft: Narrative) -> Narrative {
        let server = group.server();
        let kind = most(group.seen().map(|seen| seen.kind)).unwrap_or_default();
        let failures = group.figure("failures").unwrap_or_default();
        let waited = group.figure("waited_ms").unwrap_or_default();
        let all = median(group.seen().map(|seen| number(seen.all))).unwrap_or_default();
        let names = counted(group.seen().map(|seen| seen.name.as_str())).into_iter();
        let names: Vec<String> = names.take(3).map(|(name, _)| name.to_owned()).collect();
        let repeats: u64 = group.seen().map(|seen| u64::from(seen.repeats)).sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts"
        )]
        let part = percent(share(failures as u64, all as u64));
        let what = match kind {
            "no answer" => format!("Resolver {server} leaves questions without answer"),
            "slow" => format!("Resolver {server} answers slowly"),
            "NXDOMAIN" => format!("Resolver {server} is asked for many names that do not exist"),
            rcode => format!("Resolver {server} answers {rcode}"),
        };
        let confidence = draft.confidence;
        let draft = draft
            .title(what)
            .summary(format!(
                "{} of {all:.0} to {server} ({part}) ended with \"{kind}\", for example {}. The longest wait was {}.",
                plural(failures, "question"), list(&names), time(waited)
            ))
            .confidence(confidence, "Questions and answers were paired by id, ports and name.")
            .because(format!("{}: {kind}", plural(failures, "question")))
            .because_if(kind == "no answer", || format!("they were repeated {repeats} times in all"))
            .not("answered by a second server", "questions that another server answered within two seconds are rated low");
        let draft = match kind {
            "no answer" => draft
                .set("Linux", "parallel A and AAAA questions from one port can collide in connection tracking: ask one after the other", "options single-request-reopen timeout:2 attempts:3  # /etc/resolv.conf")
                .advise("Kubernetes", "a node-local DNS cache avoids the translation that loses questions")
                .advise("network", format!("check that {server} is up and that UDP answers come back through firewall and NAT")),
            "NXDOMAIN" => draft.set("Kubernetes", "search domains multiply questions: write names with a final dot, or lower ndots", "dnsConfig: options: [{name: ndots, value: \"1\"}]"),
            "slow" => draft.advise("resolver", "look at its cache, its upstream and its load"),
            _ => draft.advise("resolver", format!("{kind} comes from the resolver: check its upstream, DNSSEC validation, access list and the zone of these names")),
        };
        draft
            .verify(
                "client",
                format!(
                    "dig @{} -p {} {} +tries=1",
                    server.ip,
                    server.port,
                    names.first().map_or("NAME", String::as_str)
                ),
                "whether the question is answered now, and how fast",
            )
            .verify(
                "client",
                "cat /etc/resolv.conf; conntrack -S | grep insert_failed",
                "search list, timeouts, and questions lost in connection tracking",
            )
    }
}

/// What went wrong with a question, if anything.
fn failure(exchange: &DnsExchange, ctx: &Context<'_>) -> Option<&'static str> {
    let Some(answered) = exchange.answered else {
        return Some("no answer");
    };
    match exchange.rcode {
        Some(2) => Some("SERVFAIL"),
        Some(5) => Some("REFUSED"),
        Some(3) => Some("NXDOMAIN"),
        _ if ms(answered.time.since(exchange.asked.time)) >= ctx.threshold("slow_ms") => {
            Some("slow")
        }
        _ => None,
    }
}

fn observation(conn: &Connection, exchange: &DnsExchange, kind: &'static str) -> Observation<Seen> {
    let severity = match kind {
        "NXDOMAIN" => Severity::Info,
        "slow" => Severity::Low,
        _ => Severity::Medium,
    };
    let until = exchange.answered.map_or(conn.end, |answered| answered.time);
    let waited = ms(until.since(exchange.asked.time));
    let note = format!("question for {} (id {})", exchange.name, exchange.id);
    let answer = exchange
        .answered
        .map(|at| segment_at(conn, at, Direction::ServerToClient));
    Observation::new(conn, 0.9, severity)
        .cause(format!("{} {kind}", conn.server))
        .at(exchange.asked.time)
        .weight(waited)
        .evidence(
            segment_at(conn, exchange.asked, Direction::ClientToServer),
            note,
        )
        .evidence_if(
            answer,
            format!("answer to it, {} later: {kind}", time(waited)),
        )
        .figure("failures", 1.0)
        .figure("waited_ms", waited)
        .cost(
            "lookups_failed",
            f64::from(u8::from(severity >= Severity::Medium)),
        )
        .seen(Seen {
            kind,
            name: exchange.name.clone(),
            repeats: exchange.repeats,
            all: 0,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, C, at, figure, findings_in, findings_of};
    use analyzer::app::{AppProtocol, At};

    fn asked(port: u16, answer: Option<(f64, u8)>, repeats: u32) -> Connection {
        let mut builder = Builder::udp(port);
        let question = builder.segment(10.0, C, 0, 40);
        let exchange = DnsExchange {
            id: 7,
            name: "a.example".to_owned(),
            qtype: 1,
            asked: At {
                frame: question.frame,
                time: question.time,
            },
            repeats,
            answered: answer.map(|(ms, _)| At {
                frame: question.frame + 1,
                time: at(10.0 + ms),
            }),
            rcode: answer.map(|(_, rcode)| rcode),
            truncated: false,
            answer_len: 80,
            edns_size: None,
            addresses: Vec::new(),
        };
        builder
            .protocol(AppProtocol::Dns)
            .with(|conn| conn.app.dns = vec![exchange])
            .build()
    }

    #[test]
    fn unanswered_and_repeated() {
        let findings = findings_of("dns-failure", &[asked(1, None, 2)]);
        assert_eq!(findings[0].severity, Severity::Medium);
        assert!((figure(&findings[0], "failures") - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn failed_answers_by_kind() {
        let findings = findings_of(
            "dns-failure",
            &[asked(1, Some((5.0, 2)), 0), asked(2, Some((5.0, 5)), 0)],
        );
        assert_eq!(findings.len(), 2);
    }

    #[test]
    fn second_server_makes_it_low() {
        let mut other = asked(2, Some((500.0, 0)), 0);
        other.server.ip = "10.9.0.3".parse().unwrap();
        let findings = findings_of("dns-failure", &[asked(1, None, 0), other]);
        assert_eq!(findings[0].severity, Severity::Low);
    }

    #[test]
    fn healthy_answers_and_single_missing_names_are_silent() {
        let mut analysis = Analysis::default();
        analysis.summary.last = Some(at(100.0));
        let connections = [
            asked(1, Some((5.0, 0)), 0),
            asked(2, Some((5.0, 3)), 0),
            asked(3, None, 0),
        ];
        let others: Vec<_> = connections.into_iter().collect();
        let mut third = others;
        third[2].app.dns[0].name = "b.example".to_owned();
        assert!(findings_in("dns-failure", &third, &analysis).is_empty());
    }
}

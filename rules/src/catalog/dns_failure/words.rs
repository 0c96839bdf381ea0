//! What `dns-failure` says: outcomes, waits and cures.

use std::collections::BTreeMap;

use super::{Fact, Outcome, Seen};
use crate::model::figure::{counted, most};
use crate::model::narrative::{self, Narrative};
use crate::model::text::{list, many, number, percent, plural, share, time};

type Group<'a> = narrative::Group<'a, Seen, Fact>;

/// The words for the servers of one cause.
pub(super) fn tell(group: &Group<'_>, draft: Narrative) -> Narrative {
    let outcome = most(group.seen().map(|seen| seen.outcome)).unwrap_or(Outcome::NoAnswer);
    let failed = group.observations.len() as u64;
    let waited = group.figure("waited_ms").unwrap_or_default();
    let servers: Vec<String> = group.servers().iter().map(ToString::to_string).collect();
    let names = names(group);
    let all = group.observations.iter();
    let all: BTreeMap<_, _> = all
        .map(|one| (one.connection.server, one.seen.all))
        .collect();
    let all: u64 = all.values().sum();
    let halves = group.having(|seen| seen.outcome == Outcome::NoAnswer && seen.other_half);
    let confidence = draft.confidence;
    let draft = draft
        .title(title(outcome, &servers))
        .summary(format!(
            "{failed} of {} to {} ({}) {}, for example {}.{}",
            many(all, "question"),
            list(&servers),
            percent(share(failed, all)),
            became(outcome, number(failed)),
            list(&names),
            wait(outcome, waited)
        ))
        .confidence(confidence, "Queries and responses were paired by id, ports and name.")
        .because(format!("{} {}", plural(number(failed), "question"), became(outcome, number(failed))))
        .because_if(outcome == Outcome::NoAnswer, || {
            let repeats: u64 = group.seen().map(|seen| u64::from(seen.repeats)).sum();
            format!(
                "the clients retried: {} with the same id, the rest with a new id or at another server",
                many(repeats, "repetition")
            )
        })
        .because_if(halves > 0, || {
            format!(
                "{} was one of a pair (A and AAAA) sent from one port, of which the other was answered: connection tracking that handles both at one time is known to lose one",
                many(halves, "question")
            )
        })
        .not(
            "answered another way",
            "lookups answered by another server, for another record type or for the name without its search domain count as recovered",
        );
    remedies(group, draft, outcome)
}

/// The names asked for most often.
fn names(group: &Group<'_>) -> Vec<String> {
    let names = counted(group.seen().map(|seen| seen.name.as_str())).into_iter();
    names.take(3).map(|(name, _)| name.to_owned()).collect()
}

fn title(outcome: Outcome, servers: &[String]) -> String {
    let one = servers.len() < 2;
    let who = format!(
        "{} {}",
        if one { "resolver" } else { "resolvers" },
        list(servers)
    );
    let verb = |single: &str, several: &str| if one { single } else { several }.to_owned();
    let what = match outcome {
        Outcome::NoAnswer => verb("leaves queries unanswered", "leave queries unanswered"),
        Outcome::Slow => verb("answers slowly", "answer slowly"),
        Outcome::NoSuchName => verb(
            "is asked for many names that do not exist",
            "are asked for many names that do not exist",
        ),
        Outcome::Truncated => verb(
            "truncates responses that no client fetches over TCP",
            "truncate responses that no client fetches over TCP",
        ),
        Outcome::TcpFailed => verb(
            "truncates responses and cannot be reached over TCP",
            "truncate responses and cannot be reached over TCP",
        ),
        Outcome::Elsewhere => {
            return format!("Queries to {who} are answered from another address");
        }
        Outcome::ServFail | Outcome::Refused => {
            format!("{} {}", verb("answers", "answer"), outcome.as_str())
        }
    };
    format!("{} {what}", who.replacen('r', "R", 1))
}

/// What so many questions led to, as the end of a sentence.
fn became(outcome: Outcome, questions: f64) -> String {
    let were = if questions < 1.5 { "was" } else { "were" };
    match outcome {
        Outcome::NoAnswer => "got no response".to_owned(),
        Outcome::Slow => format!("{were} answered late"),
        Outcome::NoSuchName => "asked for names that do not exist (NXDOMAIN)".to_owned(),
        Outcome::Truncated => {
            "got a truncated response, which no client fetched over TCP".to_owned()
        }
        Outcome::TcpFailed => "got a truncated response, and TCP failed".to_owned(),
        Outcome::Elsewhere => format!("{were} answered from another address"),
        Outcome::ServFail | Outcome::Refused => format!("{were} answered {}", outcome.as_str()),
    }
}

/// How long somebody waited, in words.
fn wait(outcome: Outcome, waited: f64) -> String {
    let longest = time(waited);
    match outcome {
        Outcome::NoAnswer => format!(
            " The longest lookup took {longest} from its first query to its last, or to the response."
        ),
        Outcome::ServFail | Outcome::Refused | Outcome::Slow => {
            format!(" The longest of them took {longest}.")
        }
        Outcome::NoSuchName | Outcome::Truncated => String::new(),
        Outcome::TcpFailed | Outcome::Elsewhere => {
            " The client cannot use such a response.".to_owned()
        }
    }
}

fn remedies(group: &Group<'_>, draft: Narrative, outcome: Outcome) -> Narrative {
    let server = group.server();
    let names = names(group);
    let draft = match outcome {
        Outcome::NoAnswer => draft
            .set("Linux", "send A and AAAA queries one after the other: in parallel from one port they can collide in connection tracking", "options single-request-reopen timeout:2 attempts:3  # /etc/resolv.conf")
            .advise("Kubernetes", "use a node-local DNS cache, which avoids the translation that loses queries")
            .advise("network", format!("check that {server} is up and that UDP responses pass firewall and NAT")),
        Outcome::NoSuchName => draft.set("Kubernetes", "write names with a final dot, or lower ndots: search domains multiply queries", "dnsConfig: options: [{name: ndots, value: \"1\"}]"),
        Outcome::Slow => draft.advise("resolver", "check its cache, its upstream and its load"),
        Outcome::Truncated | Outcome::TcpFailed => draft
            .advise("network", format!("allow TCP to port {} of {server}, as RFC 7766 requires", server.port))
            .advise("client", "retry over TCP when the response is truncated (glibc does; some small libraries do not), or offer a larger EDNS buffer"),
        Outcome::Elsewhere => draft
            .advise("network", format!("bind the resolver to {}, or make the translation in front of it cover both directions: responses must leave from the address that was asked", server.ip)),
        Outcome::ServFail | Outcome::Refused => draft.advise("resolver", format!("{} comes from the resolver: check its upstream, DNSSEC validation, access list and the zone of these names", outcome.as_str())),
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
            "whether the query is answered now, and how fast",
        )
        .verify(
            "client",
            "cat /etc/resolv.conf; conntrack -S | grep insert_failed",
            "search list, timeouts, and queries lost in connection tracking",
        )
}

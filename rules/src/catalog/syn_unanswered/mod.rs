//! `syn-unanswered`: connection attempts that nobody answers.

mod causes;
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use analyzer::event::SegmentRef;
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Endpoint, Timestamp};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{list, many, ms, number, plural, time};
use crate::signs::attempts::{Attempt, Attempts, Nobody, Outcome, is_answered_unseen};

use seen::{Fact, Seen};

declare_rule! {
    /// Connection attempts get no answer of any kind.
    ///
    /// ## What it means
    /// The client sends and retransmits its SYN, and nothing comes back: no SYN-ACK, no RST, no ICMP error.
    ///
    /// ## Why it matters
    /// The caller waits for its whole connect timeout (Linux: 127 s unless the program sets one) before the
    /// attempt fails.
    ///
    /// ## How it is detected
    /// - SYNs get no answer of any kind, and each is retransmitted at least once or followed by at least three
    ///   seconds of capture. Linux retransmits after 1, 2 and 4 s; newer versions after 1, 1, 1 and 1 s first.
    /// - The listener completes no handshake that began since. One that serves others meanwhile refutes it
    ///   (listen-overflow or loss); what it served before does not.
    /// - Answers are captured at all: not only one direction of everything.
    /// - Attempts of a scanner, a worm, a peer-to-peer client or a tool, or of an Internet host that exchanges
    ///   nothing with anyone, harm nobody (info).
    /// - Severity is low where a retry, another port or address, or the other address family served the client
    ///   within ten seconds, and for one or two attempts of a client. It is high for three or more of one
    ///   client at one destination or at one time, for two that wait at the same time, and for a listener that
    ///   had accepted connections before.
    ///
    /// The retransmitted SYN proves that nothing came back, as far as this capture shows. Attempts at one
    /// listener, of one client at one time, or at addresses of one name are one finding.
    ///
    /// ## What to do
    /// Check security groups and packet filters for silent drops, then the route, then whether the host is up.
    ///
    /// ## Known limits
    /// When responses take a path that is not captured, the client's later segments show it, and the connection
    /// is not assessed; a client that gave up leaves no such sign. Unanswered SYNs to a listener that serves
    /// others at the same time belong to listen-overflow or packet-loss.
    ///
    /// ## References
    /// - RFC 9293 §3.8.1; RFC 6298 §5.7
    pub(crate) struct SynUnanswered {
        id: "syn-unanswered",
        group: ConnectionPhase,
        title: "Connection attempts get no answer",
        severity: High,
        needs: [Tcp],
        clouded_by: [CaptureDrops, OneSided, CutShort],
        figures: [attempts: Count / Sum, waited_ms: Milliseconds / Max],
        thresholds: [
            min_wait_ms = 3000.0: "How long the capture must go on after a single SYN to call it unanswered; a lost one would have been retransmitted.",
        ],
        host_evidence: [Filters, ListenQueue, KernelReason],
    }
}

/// Destinations that a summary names.
const NAMED: usize = 3;

/// Addresses that try one listener once each: of as many clients some would have repeated a SYN.
const FLOOD_CLIENTS: usize = 1_000;

impl Rule for SynUnanswered {
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
        let attempt = Attempt::of(conn);
        let begin = conn.handshake.syns.first();
        let heard = conn.from_server().last_segment.map(|last| last.time);
        let answered_unseen = begin.is_some() && heard.is_none() && is_answered_unseen(conn);
        let fact = Fact {
            attempt,
            heard,
            answered_unseen,
        };
        out.note(|| Note::new(conn, fact).at(begin.map_or(conn.start, |syn| syn.time)));
        let (Some(first), Some(attempt)) = (begin, attempt) else {
            if answered_unseen {
                out.not_assessed("only one direction was captured");
            }
            return;
        };
        // A client that resets its own SYN heard something.
        if attempt.outcome == Outcome::Silent && conn.resets.is_empty() {
            out.push(silent(conn, attempt, *first));
        }
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        ctx: &Context<'_>,
        collected: &mut Collected<Seen, Fact>,
    ) {
        let least = Duration::from_secs_f64(ctx.threshold("min_wait_ms") / 1e3);
        let end = analysis.summary.last;
        let notes = collected.notes.iter();
        let tried = notes.filter_map(|note| Some((&note.connection, note.at, note.fact.attempt?)));
        let attempts = Attempts::of(tried, analysis);
        let mut heard = BTreeMap::<Endpoint, Timestamp>::new();
        for note in &collected.notes {
            if let Some(time) = note.fact.heard {
                let last = heard.entry(note.connection.server).or_insert(time);
                *last = time.max(*last);
            }
        }
        let unseen = collected
            .notes
            .iter()
            .filter(|note| note.fact.answered_unseen);
        let half_seen: BTreeSet<IpAddr> = unseen.map(|note| note.connection.client.ip).collect();
        collected.observations.retain(|one| {
            // What comes back to this client was not captured, so an answer would not have been.
            let (client, server) = (one.connection.client, one.connection.server);
            let was_heard = (analysis.hosts.get(server.ip)).is_some_and(HostProfile::was_heard);
            if analysis.is_one_way || half_seen.contains(&client.ip) && !was_heard {
                return false;
            }
            let repeated = one.seen.attempt.syns > 1;
            let waited = end.is_some_and(|end| end.since(one.at) >= least);
            // A listener that serves others meanwhile: overflow or loss, not silence.
            let serving = attempts.accepts_between(
                one.connection.server,
                one.at,
                one.seen.attempt.until + least,
            );
            (repeated || waited) && !serving
        });
        for one in &mut collected.observations {
            one.seen.nobody = attempts.nobody(&one.connection, &one.seen.attempt);
            one.impact = attempts.impact(&one.connection, one.at, &one.seen.attempt);
            // What is connected lives on: the host is up, whatever the SYNs met.
            let last_heard = heard.get(&one.connection.server);
            let lives_on = last_heard.is_some_and(|last| *last >= one.seen.attempt.until);
            // A single SYN may have been answered unseen, or its sender is no kernel.
            let is_weak = one.seen.attempt.syns < 2;
            if (lives_on || is_weak) && one.seen.nobody.is_none() {
                one.impact = Impact::SOME;
                one.confidence = one.confidence.min(confidence::EVEN);
            }
            if one.seen.nobody.is_some() {
                one.cost.clear();
            }
        }
        causes::name(&mut collected.observations, &attempts);
    }

    fn describe(&self, group: &Group<'_, Seen, Fact>, draft: Narrative) -> Narrative {
        let count = group.figure("attempts").unwrap_or_default();
        if let Some(nobody) = group.best().seen.nobody {
            return describe_harmless(group, draft, nobody);
        }
        let draft = draft.impact(group.meta, causes::impact(group.observations));
        if group.servers().len() > 1 {
            return describe_many(group, draft);
        }
        let server = group.server();
        let waited = group.figure("waited_ms").unwrap_or_default();
        let facts = group.analysis.listeners.get(&server);
        let worked = facts.is_some_and(|facts| facts.completed > 0);
        // Those of a flood are summed, not judged one by one.
        let unanswered = facts.map_or(0, |facts| facts.unanswered);
        let summed = number(unanswered) > count
            && facts.is_some_and(|facts| facts.clients.len() >= FLOOD_CLIENTS);
        let gaps = group.best().seen.gaps.clone();
        let is_flood = summed && gaps.is_empty();
        let confidence = draft.confidence;
        let recovered = causes::impact(group.observations).recovered;
        let draft = if is_flood {
            draft.advise("server", "If it is a flood, set net.ipv4.tcp_syncookies = 1 so that the listener stays open to others, and have the flood dropped upstream of the server")
        } else {
            draft
        };
        draft
            .title(format!("{server} does not answer connection attempts"))
            .summary(format!(
                "{}{} from {} to {server} got no answer of any kind; {}. {}{}",
                if summed {
                    format!("Of {} without an answer, these were examined one by one: ", plural(number(unanswered), "attempt"))
                } else {
                    String::new()
                },
                plural(count, "attempt"),
                group.clients_text(),
                if gaps.is_empty() { "none was retransmitted".to_owned() } else { format!("the longest tried for {}", time(waited)) },
                if worked { "The listener served connections at another time, so it stopped or started within the capture." } else { "No connection to it succeeded in this capture." },
                recovered_text(recovered),
            ))
            .confidence(confidence, if gaps.is_empty() {
                "No answer was captured, but no SYN was retransmitted either, which an unanswered client would do: the answer may have taken a path that was not captured."
            } else {
                "SYNs without an answer were captured; a capture at the destination would rule out an answer on another path."
            })
            .because(syns_text(group))
            .because_if(!gaps.is_empty(), || format!("the SYN was retransmitted after {gaps} s, as a client does when nothing comes back"))
            .because_if(is_flood, || format!("more than {FLOOD_CLIENTS} addresses sent one SYN each and none retransmitted it: spoofed senders of a SYN flood do that, real clients do not"))
            .not("connection-refused", "a closed port on a host that is up would answer with RST")
            .not("listen-overflow", "the listener completed no other handshake at that time")
            .not("one-sided capture", "the client never continued as if it had been answered")
            .advise("network", format!("Look for a silent drop of TCP port {}: security group, network ACL, firewall DROP rule", server.port))
            .advise("network", format!("Check that {} is up and routed in both directions", server.ip))
            .set("Go", "fail sooner", "net.Dialer{Timeout: 3 * time.Second}")
            .set("nginx", "fail sooner", "proxy_connect_timeout 3s;")
            .set("Linux", "fail sooner everywhere", "net.ipv4.tcp_syn_retries = 3")
            .verify("server", format!("tcpdump -ni any 'tcp port {} and tcp[tcpflags] & tcp-syn != 0'", server.port), "whether the SYNs arrive at all")
            .verify("server", "iptables -S; nft list ruleset", "rules that drop silently")
            .verify("client", format!("traceroute -n -T -p {} {}", server.port, server.ip), "where the path ends")
    }
}

/// The observation of an attempt that nobody answered.
fn silent(conn: &Connection, attempt: Attempt, first: SegmentRef) -> Observation<Seen> {
    let waited = attempt.until.since(first.time);
    let kept = conn.handshake.syns.last().copied().unwrap_or(first);
    let last = conn.from_client().last_segment.unwrap_or(kept);
    let pairs = conn.handshake.syns.windows(2);
    let gaps: Vec<String> = pairs
        .map(|pair| format!("{:.1}", pair[1].time.since(pair[0].time).as_secs_f64()))
        .collect();
    // RFC 9293 §3.8.1 with RFC 6298 §2.1: a client that hears nothing repeats after a second. One
    // that does not may have been answered unseen, or given up early, or be a scanner.
    let confidence = if attempt.syns > 1 {
        confidence::STRONG
    } else {
        confidence::EVEN
    };
    let observation = Observation::new(conn, confidence, Impact::attempts_failed(1))
        .at(first.time)
        .weight(ms(waited))
        .figure("attempts", 1.0)
        .figure("waited_ms", ms(waited))
        .cost("connections_failed", 1.0);
    let observation = if last.frame == first.frame {
        observation.proof(first, "SYN, never answered")
    } else {
        let (syns, waited) = (attempt.syns, time(ms(waited)));
        observation
            .evidence(first, "first captured SYN, never answered")
            .proof(
                last,
                format!("last of {syns} SYNs, {waited} after the first, without an answer"),
            )
    };
    observation.seen(Seen {
        attempt,
        gaps: list(&gaps),
        nobody: None,
    })
}

/// How many SYNs nobody answered, in words.
fn syns_text(group: &Group<'_, Seen, Fact>) -> String {
    let syns = group.seen().map(|seen| u64::from(seen.attempt.syns)).sum();
    format!(
        "{}, no SYN-ACK, no RST, no ICMP error",
        many(syns, "SYN segment")
    )
}

fn recovered_text(recovered: u64) -> String {
    if recovered == 0 {
        return String::new();
    }
    let attempts = many(recovered, "attempt");
    format!(
        " A retry, another port or another address served the client after {attempts} within seconds."
    )
}

fn describe_harmless(group: &Group<'_, Seen, Fact>, draft: Narrative, nobody: Nobody) -> Narrative {
    let clients = group.clients_text();
    let attempts = plural(group.figure("attempts").unwrap_or_default(), "attempt");
    let who = nobody.describe(group.client_ips().len());
    let ports = many(group.servers().len() as u64, "port");
    let confidence = draft.confidence;
    draft
        .title(format!("Nothing answers {clients}: {who}"))
        .summary(format!("{attempts} of {clients} at {ports} got no answer. The client's other traffic shows {who}, not users of a failing service."))
        .confidence(confidence, "What the client does elsewhere in the capture shows what it is.")
        .because(format!("{attempts} at {ports} got no answer"))
        .advise("any", "Find out who runs it if it comes from your own network")
}

/// Several destinations that one client, or clients that have one of them in common, hear nothing of.
fn describe_many(group: &Group<'_, Seen, Fact>, draft: Narrative) -> Narrative {
    let attempts = plural(group.figure("attempts").unwrap_or_default(), "attempt");
    let waited = time(group.figure("waited_ms").unwrap_or_default());
    let servers = group.servers();
    let addresses: BTreeSet<IpAddr> = servers.iter().map(|server| server.ip).collect();
    let names: Vec<String> = servers
        .iter()
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    let more = match servers.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let clients = group.clients_text();
    let verb = if group.client_ips().len() == 1 {
        "gets"
    } else {
        "get"
    };
    let confidence = draft.confidence;
    let recovered = recovered_text(causes::impact(group.observations).recovered);
    draft
        .title(format!("{clients} {verb} no answer from {} destinations", servers.len()))
        .summary(format!("{attempts} from {clients} got no answer of any kind; the longest tried for {waited}. They went to {}{more} at one time or to one destination, so one cause is likelier than {} separate failures.{recovered}", names.join(", "), servers.len()))
        .confidence(confidence, "SYNs without an answer were captured; a capture at the destination would rule out an answer on another path.")
        .because(syns_text(group))
        .because(format!("nothing answered at {}", many(addresses.len() as u64, "address")))
        .not("connection-refused", "a closed port on a host that is up would answer with RST")
        .not("one-sided capture", "the clients never continued as if they had been answered")
        .advise("network", "Look for what the destinations have in common: a filter, a route, a provider, a stale name or address")
        .advise("client", "Check where these addresses come from (DNS, configuration) and whether they are still valid")
        .verify("client", format!("traceroute -n -T -p {} {}", group.server().port, group.server().ip), "where the path ends")
        .verify("client", format!("ip route get {}", group.server().ip), "the route this host uses")
}

#[cfg(test)]
mod tests;

//! `slow-connect`: a handshake succeeds late.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use analyzer::episodes::EpisodeKind;
use analyzer::event::{EventKind, SegmentRef};
use analyzer::{Analysis, Connection, Endpoint, Timestamp};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{list, many, ms, percent, share, span, time};
use crate::signs::handshake::{is_handshake_ignored, timer_waits};
use crate::signs::in_vain;
use crate::signs::waits::union;

declare_rule! {
    /// Connections are established, but late.
    ///
    /// ## What it means
    /// A SYN or its answer was lost or dropped and had to be retransmitted, or the answer itself came late. The
    /// client's kernel retransmits a SYN after one second (older systems: three), then after twice as long.
    ///
    /// ## Why it matters
    /// Clients wait 1, 3, 7 or more seconds before they can send the first byte. The server's logs and response
    /// times do not show it.
    ///
    /// ## How it is detected
    /// - The handshake completes 500 ms or more after its first SYN, and takes three times longer than the
    ///   connection's round trip explains.
    /// - A SYN or SYN-ACK was retransmitted, or the first SYN-ACK was late.
    /// - What refutes it: a challenge ACK (port-reuse-collision); a server that ignored a completed handshake,
    ///   or three attempts and a fifth of all affected together, as from a full queue (listen-overflow); data
    ///   between the same hosts that was retransmitted without an answer at that time (an outage).
    ///
    /// The SYN and the segment that completes the handshake prove it. Severity is low where the first
    /// retransmission led to the connection, since a single packet was lost; otherwise the time that clients
    /// waited decides.
    ///
    /// ## What to do
    /// Find where SYNs or SYN-ACKs are lost (compare captures of both ends). Use connection pools so that no
    /// request waits for a handshake.
    ///
    /// ## Known limits
    /// A dropped SYN and a lost one look the same. A capture that begins between the copies of a SYN shows less
    /// than the whole wait.
    ///
    /// ## References
    /// - RFC 9293 §3.8.1; RFC 6298 §2.1 and §5.7
    pub(crate) struct SlowConnect {
        id: "slow-connect",
        group: ConnectionPhase,
        title: "Connections are established late",
        severity: Medium,
        needs: [Tcp],
        clouded_by: [CaptureDrops],
        figures: [connect_ms: Milliseconds / Median, syn_repeats: Count / Sum, connections: Count / Sum],
        thresholds: [
            min_connect_ms = 500.0: "Time from the first SYN to the handshake's end from which it may be called late.",
            min_times_usual = 3.0: "How many times longer than the round trip of the connection it must take.",
        ],
        host_evidence: [ListenQueue, Owner],
    }
}

/// As many connections that suffer together point to a full queue: listen-overflow.
const TOGETHER: usize = 3;
/// The same, as a share of the attempts in that time.
const TOGETHER_SHARE: f64 = 0.2;
/// What follows a repeat within this time follows from it: no timer runs out sooner.
const REPAIRED: Duration = Duration::from_millis(500);
/// How far around the trouble attempts are counted.
const AROUND: Duration = Duration::from_millis(500);

/// Why it took so long.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// SYNs got no answer.
    SynRepeated,
    /// SYN-ACKs did not reach the client.
    SynAckRepeated,
    /// The first SYN-ACK came late.
    AnsweredLate,
}

/// A handshake that took long.
pub(crate) struct Seen {
    cause: Cause,
    until: Timestamp,
    /// A single packet was lost, and its repeat led to the connection.
    repaired: bool,
    gaps: String,
}

/// What the rule keeps of other connections.
pub(crate) enum Fact {
    /// A SYN was sent then.
    Opened,
    /// The same data was sent in vain from then on, to the given time.
    InVain(Timestamp),
}

impl Rule for SlowConnect {
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
        for (from, to) in in_vain::spells(conn) {
            out.note(|| Note::new(conn, Fact::InVain(to)).at(from));
        }
        let handshake = &conn.handshake;
        let Some(syn) = handshake.syns.first() else {
            return;
        };
        out.note(|| Note::new(conn, Fact::Opened).at(syn.time));
        let (Some(syn_ack), Some(ack)) = (handshake.syn_acks.first(), handshake.ack) else {
            return;
        };
        // A later sequence number: packets of the handshake were not seen, nor when it was complete.
        if ack.relative_seq != syn.relative_seq + 1 {
            return;
        }
        let took = ack.time.since(syn.time);
        let usual = conn.rtt().unwrap_or_default();
        // Answered at once and not again: the client, or the capture, took its time over the ACK.
        let answered_after = syn_ack.time.since(syn.time);
        if handshake.syn_count + handshake.syn_ack_count <= 2 && answered_after * 2 < took {
            return;
        }
        let mut events = conn.events.iter();
        if ms(took) < ctx.threshold("min_connect_ms")
            || ms(took) < ms(usual) * ctx.threshold("min_times_usual")
            || is_handshake_ignored(conn)
            || events.any(|event| event.kind == EventKind::ChallengeAck)
        {
            return;
        }
        out.push(slow(conn, *syn, *syn_ack, ack));
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        _ctx: &Context<'_>,
        collected: &mut Collected<Seen, Fact>,
    ) {
        let company = Company::of(&collected.notes);
        let mut by_server = BTreeMap::<Endpoint, Vec<Timestamp>>::new();
        for one in &collected.observations {
            by_server
                .entry(one.connection.server)
                .or_default()
                .push(one.at);
        }
        by_server.retain(|server, times| company.suffers_as_a_whole(*server, times));
        collected.observations.retain(|one| {
            let (client, server) = (one.connection.client.ip, one.connection.server);
            let dark = |kind| {
                analysis
                    .episodes
                    .between(kind, client, server.ip, one.at)
                    .is_some()
            };
            !by_server.contains_key(&server)
                && !company.is_on_bad_path(client, server.ip, one.at)
                && !dark(EpisodeKind::PathDark)
                && !dark(EpisodeKind::HostSilent)
        });
    }

    fn describe(&self, group: &Group<'_, Seen, Fact>, draft: Narrative) -> Narrative {
        let server = group.server();
        let longest = group.seen().zip(group.observations);
        let longest = longest.map(|(seen, one)| seen.until.since(one.at)).max();
        let longest = span(longest.unwrap_or_default());
        let count = group.connections();
        let attempts = group
            .analysis
            .listeners
            .get(&server)
            .map_or(count, |facts| facts.attempts);
        let of_all = match attempts {
            1 => "The only connection".to_owned(),
            _ => format!(
                "{count} of {} ({})",
                many(attempts, "connection"),
                percent(share(count, attempts))
            ),
        };
        let (after, outcome) = match count {
            1 => (longest.clone(), "It succeeded"),
            _ => (format!("up to {longest}"), "Each succeeded"),
        };
        let repeated = |cause| group.having(|seen| seen.cause == cause);
        let causes = [
            (
                Cause::SynRepeated,
                "SYNs that got no answer and were retransmitted",
            ),
            (
                Cause::SynAckRepeated,
                "SYN-ACKs retransmitted until the client's ACK came",
            ),
            (Cause::AnsweredLate, "a SYN-ACK that came late"),
        ];
        let causes: Vec<String> = causes
            .into_iter()
            .filter(|(cause, _)| repeated(*cause) > 0)
            .map(|(cause, what)| format!("{what} on {}", many(repeated(cause), "connection")))
            .collect();
        let gaps = group.best().seen.gaps.clone();
        let is_late = repeated(Cause::AnsweredLate) == count;
        draft
            .impact(group.meta, impact(group.observations))
            .title(format!("Connecting to {server} takes {after}"))
            .summary(format!("{of_all} to {server} completed the handshake late, after {after}: {}. {outcome} in the end, so applications log no error.", list(&causes)))
            .confidence(confidence::STRONG, "Both the first SYN and the end of the handshake were captured.")
            .because(format!("the handshake took {longest} from the first captured SYN to the client's ACK"))
            .because_if(!gaps.is_empty(), || format!("the SYN was retransmitted after {gaps} s"))
            .because(list(&causes))
            .not("listen-overflow", "no burst of attempts was affected together, and no completed handshake was ignored")
            .not("a long path", "the handshake took several times the round trip of the connection")
            .advise("network", if is_late { format!("find what delays the SYN-ACK of {server}: a busy host, a proxy or a device that answers on its behalf") } else { format!("capture at both ends to see where SYNs to {server} or their answers are lost") })
            .advise("client", "pool connections and open them ahead of need, so that no request waits for a handshake")
            .verify("server", "nstat -az TcpExtListenDrops TcpExtListenOverflows TcpExtTCPReqQFullDrop", "grow when the server itself drops SYNs")
            .verify("client", format!("ss -tin dst {}", server.ip), "retransmissions of its connections")
    }
}

fn slow(
    conn: &Connection,
    syn: SegmentRef,
    syn_ack: SegmentRef,
    ack: SegmentRef,
) -> Observation<Seen> {
    let handshake = &conn.handshake;
    let syns = handshake.syn_count.saturating_sub(1);
    let syn_acks = handshake.syn_ack_count.saturating_sub(1);
    let answered_at_once = handshake
        .syns
        .get(1)
        .is_none_or(|again| syn_ack.time < again.time);
    let cause = match (syns + syn_acks, answered_at_once) {
        (0, _) => Cause::AnsweredLate,
        (_, true) => Cause::SynAckRepeated,
        (_, false) => Cause::SynRepeated,
    };
    let took = ack.time.since(syn.time);
    let repaired = is_repaired_at_once(conn, ack);
    let pairs = handshake.syns.windows(2);
    let gaps: Vec<String> = pairs
        .map(|pair| format!("{:.1}", pair[1].time.since(pair[0].time).as_secs_f64()))
        .collect();
    let later = |segment: SegmentRef| time(ms(segment.time.since(syn.time)));
    Observation::new(
        conn,
        confidence::STRONG,
        if repaired {
            Impact::recovered(1)
        } else {
            Impact::waited(took)
        },
    )
    .at(syn.time)
    .measured(syn.time, ack.time)
    .weight(ms(took))
    .evidence(syn, "first captured SYN")
    .evidence(syn_ack, format!("SYN-ACK, {} later", later(syn_ack)))
    .proof(
        ack,
        format!(
            "the client's ACK completes the handshake, {} after the SYN",
            later(ack)
        ),
    )
    .figure("connect_ms", ms(took))
    .figure("syn_repeats", f64::from(syns))
    .figure("connections", 1.0)
    .cost("time_lost_ms", ms(took))
    .stalls(stalls(conn, syn, syn_ack))
    .seen(Seen {
        cause,
        until: ack.time,
        repaired,
        gaps: list(&gaps),
    })
}

/// What of the handshake was waiting for a timer; where nothing was retransmitted, for the SYN-ACK beyond
/// the round trip.
fn stalls(conn: &Connection, syn: SegmentRef, syn_ack: SegmentRef) -> Vec<(Timestamp, Timestamp)> {
    let waits: Vec<_> = timer_waits(conn).collect();
    if !waits.is_empty() {
        return waits;
    }
    let due = conn.rtt().map(|round_trip| syn.time + round_trip);
    let late = due.filter(|due| *due < syn_ack.time);
    late.map(|due| (due, syn_ack.time)).into_iter().collect()
}

/// Whether the first repeat led to the connection: a single packet was lost.
fn is_repaired_at_once(conn: &Connection, ack: SegmentRef) -> bool {
    let handshake = &conn.handshake;
    let at_once = REPAIRED.max(conn.rtt().unwrap_or_default() * 2);
    let again = handshake.syns.get(1).or(handshake.syn_acks.get(1));
    handshake.syn_count <= 2 && again.is_some_and(|again| ack.time.since(again.time) < at_once)
}

/// What the connections cost together: waits that overlap count once.
fn impact(observations: &[Observation<Seen>]) -> Impact {
    let (once, waited): (Vec<_>, Vec<_>) = observations.iter().partition(|one| one.seen.repaired);
    let waited = union(waited.into_iter().map(|one| (one.at, one.seen.until)));
    Impact {
        recovered: once.len() as u64,
        ..Impact::waited(waited)
    }
}

/// What other connections say of servers and paths.
#[derive(Default)]
struct Company {
    attempts: BTreeMap<Endpoint, Vec<Timestamp>>,
    in_vain: BTreeMap<(IpAddr, IpAddr), Vec<(Timestamp, Timestamp)>>,
}

impl Company {
    fn of(notes: &[Note<Fact>]) -> Self {
        let mut all = Self::default();
        for note in notes {
            let server = note.connection.server;
            match note.fact {
                Fact::Opened => all.attempts.entry(server).or_default().push(note.at),
                Fact::InVain(to) => {
                    let hosts = (note.connection.client.ip, server.ip);
                    all.in_vain.entry(hosts).or_default().push((note.at, to));
                }
            }
        }
        all
    }

    fn is_on_bad_path(&self, client: IpAddr, server: IpAddr, at: Timestamp) -> bool {
        let spells = self.in_vain.get(&(client, server));
        let mut spells = spells.into_iter().flatten();
        spells.any(|(from, to)| (*from..=*to).contains(&at))
    }

    /// So many of the attempts in that time were late that a full queue is likelier than loss.
    fn suffers_as_a_whole(&self, server: Endpoint, late: &[Timestamp]) -> bool {
        let (Some(first), Some(last)) = (late.iter().min(), late.iter().max()) else {
            return false;
        };
        let around = *first - AROUND..=*last + AROUND;
        let attempts = self.attempts.get(&server).into_iter().flatten();
        let during = attempts.filter(|at| around.contains(*at)).count() as u64;
        late.len() >= TOGETHER && share(late.len() as u64, during) >= TOGETHER_SHARE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::script::Capture;
    use crate::testkit::{figure, findings_of};
    use analyzer::decode::TcpFlags;

    const SYN: u8 = TcpFlags::SYN;
    const ACK: u8 = TcpFlags::ACK;

    /// SYNs at these times in milliseconds, an answer 20 ms after the last one, and an exchange.
    fn connected(port: u16, syns: &[u64]) -> Connection {
        let mut capture = Capture::of_client(port, u64::from(port) * 100 + 1);
        let start = u64::from(port) * 60_000_000;
        for at in syns {
            capture.client(start + at * 1_000, SYN, 100, 0, 0);
        }
        let answered = start + syns.last().copied().unwrap_or_default() * 1_000 + 20_000;
        capture.server(answered, SYN | ACK, 900, 101, 0);
        capture.client(answered + 100, ACK, 101, 901, 0);
        capture.client(answered + 1_000, ACK | TcpFlags::PSH, 101, 901, 50);
        capture.server(answered + 21_000, ACK | TcpFlags::PSH, 901, 151, 50);
        capture.client(answered + 21_100, ACK, 151, 951, 0);
        capture.finish()
    }

    #[test]
    fn third_syn_is_answered() {
        let findings = findings_of("slow-connect", &[connected(1, &[0, 3_000, 9_000])]);
        assert_eq!(findings[0].severity, Severity::Medium);
        assert!((figure(&findings[0], "connect_ms") - 9_020.1).abs() < 0.01);
        assert!((figure(&findings[0], "syn_repeats") - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn one_lost_syn_is_low() {
        let findings = findings_of("slow-connect", &[connected(1, &[0, 3_000])]);
        assert_eq!(findings[0].severity, Severity::Low);
    }

    #[test]
    fn answer_within_the_usual_time_is_not_this() {
        assert!(findings_of("slow-connect", &[connected(1, &[0])]).is_empty());
    }

    #[test]
    fn all_that_suffer_together_are_a_full_queue() {
        let connections: Vec<_> = (1..=4)
            .map(|port| connected(port, &[0, 1_000, 3_000]))
            .collect();
        assert!(findings_of("slow-connect", &connections).is_empty());
    }
}

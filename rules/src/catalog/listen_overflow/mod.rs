//! `listen-overflow`: a listener cannot keep up with new connections.

mod seen;
mod words;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use analyzer::connection::{CapturePoint, ResetKind};
use analyzer::event::{EventKind, SegmentRef};
use analyzer::{Analysis, Connection, Endpoint, Timestamp};

use crate::model::confidence;
use crate::model::connection_ref::ConnectionRef;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{ms, number, share, time};
use crate::signs::handshake::{first_data_ignored, is_handshake_ignored, timer_waits};
use crate::signs::in_vain;
use crate::signs::waits::union;

use seen::{Fact, Ignored, Seen};

declare_rule! {
    /// A listening server drops new connections because its queues are full.
    ///
    /// ## What it means
    /// The kernel queues completed handshakes until the program accepts them. When the program is too slow or
    /// the queue too short, Linux ignores the client's final handshake segment (and its data) or drops new
    /// SYNs. Neither side gets an error; the client retries after a second or more.
    ///
    /// ## Why it matters
    /// Callers wait 1, 3 or 7 seconds to connect, or believe they are connected to a server that does not know
    /// them. It happens in bursts, under peak load, and leaves no line in the application's log.
    ///
    /// ## How it is detected
    /// (a) The server ignores a completed handshake on a listener that serves others:
    /// - it retransmits its SYN-ACK a round trip or more after the client's first data, or that data is
    ///   retransmitted and was not acknowledged before;
    /// - the ACK or the data had arrived: it had passed a capture at the server, or the retransmitted SYN-ACK
    ///   echoes a timestamp that only a segment later than the SYN carried.
    ///
    /// A client that sends no data proves nothing: a listener that defers accepting retransmits SYN-ACKs as
    /// well.
    ///
    /// (b) SYNs are retransmitted without an answer:
    /// - at least three connections and a fifth of the attempts in that time are affected, which random loss
    ///   does not do;
    /// - established connections keep working, and data between the same hosts is not retransmitted without an
    ///   answer: host and path are up;
    /// - the client had not used the port before.
    ///
    /// Severity is low for two or three connections of one client, or more that each lost one SYN: loss near
    /// that client looks the same. Otherwise the time that clients waited and the requests lost decide.
    ///
    /// ## What to do
    /// Raise the listen backlog *and* `net.core.somaxconn`, accept faster, or spread the load with
    /// SO_REUSEPORT.
    ///
    /// ## Known limits
    /// From the client's side only the pattern distinguishes a dropped SYN from a lost one. Without timestamps,
    /// a device that drops the client's ACK and data behind the capture point looks the same. A SYN flood also
    /// fills the queues.
    ///
    /// ## References
    /// - listen(2); Linux ip-sysctl, tcp_abort_on_overflow, tcp_max_syn_backlog
    /// - RFC 9293 §3.10.7.4; RFC 6298 §5.7 (SYN retransmission)
    pub(crate) struct ListenOverflow {
        id: "listen-overflow",
        group: ConnectionPhase,
        title: "A listener drops new connections",
        severity: High,
        needs: [Tcp],
        clouded_by: [CaptureDrops, OneSided],
        figures: [
            syn_retransmits: Count / Sum,
            synack_retransmits: Count / Sum,
            connections: Count / Sum,
        ],
        thresholds: [
            min_connections = 3.0: "Connections with unanswered SYNs that must coincide; one or two are ordinary loss.",
            min_share_percent = 20.0: "Share of the attempts in that time that must be affected; loss affects a few percent at most.",
        ],
        host_evidence: [ListenQueue, Owner],
    }
}

/// So many connections of one client suffer from a short loss at its side as well.
const FEW: usize = 3;

/// How far around the trouble attempts are counted: the first SYN retry comes after a second.
const AROUND: Duration = Duration::from_millis(500);

impl Rule for ListenOverflow {
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
        let ignored = ignored(conn);
        if ignored.is_none() {
            for (from, to) in in_vain::spells(conn) {
                out.note(|| Note::new(conn, Fact::InVain { until: to }).at(from));
            }
        }
        let syn = conn.handshake.syns.first();
        out.note(|| {
            let heard = conn.from_server().last_segment.map(|last| last.time);
            let opened = syn.is_some();
            Note::new(conn, Fact::Connection { opened, heard })
                .at(syn.map_or(conn.start, |syn| syn.time))
        });
        let Some(syn) = syn else {
            return;
        };
        let mut resets = conn.resets.iter();
        // One that was not kept may have been a challenge.
        let challenged = conn.all_events().is_none_or(|events| {
            let mut events = events.iter();
            events.any(|event| event.kind == EventKind::ChallengeAck)
        });
        if resets.any(|reset| reset.kind == ResetKind::Refused) || challenged {
            return; // The SYN was answered, if not with SYN-ACK.
        }
        if let Some(ignored) = ignored {
            out.push(ignoring(conn, *syn, ignored));
        } else if conn.handshake.syn_count > 1 && !conn.port_reuse && !is_handshake_ignored(conn) {
            out.push(dropping(conn, *syn));
        }
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        ctx: &Context<'_>,
        collected: &mut Collected<Seen, Fact>,
    ) {
        let company = Company::of(&collected.notes);
        let mut by_server = BTreeMap::<Endpoint, Vec<Observation<Seen>>>::new();
        for one in std::mem::take(&mut collected.observations) {
            if one.seen.ignored.is_some() || !company.is_on_bad_path(&one) {
                let server = one.connection.server;
                by_server.entry(server).or_default().push(one);
            }
        }
        for (server, mut ours) in by_server {
            let listener = analysis.listeners.get(&server);
            let completed = listener.map_or(0, |facts| facts.completed);
            let burst = company.burst_share(server, &ours);
            let is_burst = number(ours.len() as u64) >= ctx.threshold("min_connections")
                && burst * 100.0 >= ctx.threshold("min_share_percent")
                && company.is_up(server, &ours);
            let proved = ours.iter().filter(|one| is_proved(one)).count();
            let held = company.held_since(server, &ours);
            if completed == 0 && held == 0 || proved == 0 && !is_burst {
                continue;
            }
            ours.retain(|one| is_burst || one.seen.ignored.is_some());
            for one in &mut ours {
                one.seen.share = burst;
                // A new rule of a firewall would look the same.
                one.seen.held = (completed == 0).then_some(held);
                one.confidence = match (proved > 0, is_burst) {
                    (true, true) => confidence::PROVED,
                    (true, false) => one.confidence,
                    _ if completed == 0 => confidence::EVEN,
                    _ => confidence::PROBABLE,
                };
            }
            collected.observations.extend(ours);
        }
    }

    fn describe(&self, group: &Group<'_, Seen, Fact>, draft: Narrative) -> Narrative {
        let draft = draft.impact(group.meta, impact(group.observations));
        words::describe(group, draft)
    }
}

/// What the connections suffered together: the time on the clock in which anybody waited and was
/// served, and the requests that never were.
fn impact(observations: &[Observation<Seen>]) -> Impact {
    let is_any_proved = observations.iter().any(is_proved);
    let mut clients: Vec<IpAddr> = observations
        .iter()
        .map(|one| one.connection.client.ip)
        .collect();
    clients.dedup();
    // A full queue drops repeats as well, which loss seldom does.
    let is_once = |one: &Observation<Seen>| {
        one.figure_value("syn_retransmits") == Some(1.0) && !one.seen.never
    };
    let is_loss_likely = observations.len() <= FEW || observations.iter().all(is_once);
    if !is_any_proved && clients.len() == 1 && is_loss_likely {
        return Impact::SOME;
    }
    let served = observations.iter().filter(|one| !one.seen.never);
    let waited = union(served.map(|one| (one.at, one.seen.until)));
    let lost = observations.iter().filter(|one| one.seen.never);
    let impacts = lost.map(|one| {
        let lost = match one.seen.ignored {
            Some(_) => Impact::requests_lost(1),
            None => Impact::attempts_failed(1),
        };
        (one.connection.client.ip, lost)
    });
    Impact::of_clients(&mut impacts.into_iter()).and(Impact::waited(waited))
}

/// What the connections of a capture say of listeners and paths.
#[derive(Default)]
struct Company {
    attempts: BTreeMap<Endpoint, Vec<Timestamp>>,
    in_vain: BTreeMap<(IpAddr, IpAddr), Vec<(Timestamp, Timestamp)>>,
    /// Connections to an address: when each began, and when its server was last heard.
    lives: BTreeMap<IpAddr, Vec<(Timestamp, Timestamp)>>,
    /// When the servers of connections from before the capture were last heard.
    held: BTreeMap<Endpoint, Vec<Timestamp>>,
}

impl Company {
    fn of(notes: &[Note<Fact>]) -> Self {
        let mut all = Self::default();
        for note in notes {
            let server = note.connection.server;
            match note.fact {
                Fact::InVain { until } => {
                    let spells = all.in_vain.entry(hosts(&note.connection)).or_default();
                    spells.push((note.at, until));
                }
                Fact::Connection { opened, heard } => {
                    if opened {
                        all.attempts.entry(server).or_default().push(note.at);
                    }
                    let Some(heard) = heard else { continue };
                    let lives = all.lives.entry(server.ip).or_default();
                    lives.push((note.at, heard));
                    if !opened {
                        all.held.entry(server).or_default().push(heard);
                    }
                }
            }
        }
        all
    }

    /// Whether the host of a listener was up while its clients suffered: what was connected lived
    /// on. One that restarts forgets its connections.
    fn is_up(&self, server: Endpoint, ours: &[Observation<Seen>]) -> bool {
        let (_, last) = begins(ours);
        let vain = ours.iter().map(|one| one.seen.last_vain).min();
        let mut lives = self.lives.get(&server.ip).into_iter().flatten();
        vain.is_some_and(|vain| lives.any(|(begun, heard)| *begun <= last && *heard >= vain))
    }

    /// Data between the same hosts was sent in vain when it suffered.
    fn is_on_bad_path(&self, one: &Observation<Seen>) -> bool {
        let spells = self.in_vain.get(&hosts(&one.connection));
        let mut spells = spells.into_iter().flatten();
        spells.any(|(from, until)| (*from..=*until).contains(&one.at))
    }

    /// The share of the attempts around the trouble that suffered.
    fn burst_share(&self, server: Endpoint, ours: &[Observation<Seen>]) -> f64 {
        let (first, last) = begins(ours);
        let around = first - AROUND..=last + AROUND;
        let attempts = self.attempts.get(&server).into_iter().flatten();
        let during = attempts.filter(|at| around.contains(*at)).count() as u64;
        share(ours.len() as u64, during)
    }

    /// Connections from before the capture that lived when the trouble began.
    fn held_since(&self, server: Endpoint, ours: &[Observation<Seen>]) -> u64 {
        let (first, _) = begins(ours);
        let held = self.held.get(&server).into_iter().flatten();
        held.filter(|at| **at >= first).count() as u64
    }
}

/// When the first and the last of them began.
fn begins(ours: &[Observation<Seen>]) -> (Timestamp, Timestamp) {
    let times = ours.iter().map(|one| one.at);
    (
        times.clone().min().unwrap_or_default(),
        times.max().unwrap_or_default(),
    )
}

fn is_proved(one: &Observation<Seen>) -> bool {
    one.seen.ignored.is_some_and(|ignored| ignored.is_proved)
}

fn hosts(one: &ConnectionRef) -> (IpAddr, IpAddr) {
    (one.client.ip, one.server.ip)
}

/// How the server ignored a finished handshake, when it did: the client had sent data, and a round
/// trip passed before the server, or the client, repeated itself.
fn ignored(conn: &Connection) -> Option<Ignored> {
    let data = conn.from_client().first_data?;
    let handshake = &conn.handshake;
    handshake.ack?;
    let rtt = conn.rtt().unwrap_or_default();
    let late =
        |syn_ack: &&SegmentRef| syn_ack.time > data.time && syn_ack.time.since(data.time) >= rtt;
    let after_ack =
        handshake.syn_acks_after_ack > 0 && handshake.syn_acks.iter().any(|one| late(&one));
    let data_ignored = !first_data_ignored(conn).is_empty() || is_first_data_in_vain(conn);
    let has_arrived =
        conn.capture_point == CapturePoint::Server || handshake.syn_acks_after_arrival > 0;
    (after_ack || data_ignored).then_some(Ignored {
        is_proved: has_arrived,
        after_ack,
        data: data_ignored,
    })
}

/// The client's first data was sent again and nothing of it was ever acknowledged.
fn is_first_data_in_vain(conn: &Connection) -> bool {
    let client = conn.from_client();
    conn.handshake.syn_ack_count > 0
        && client.first_data.is_some()
        && client.retransmitted_segments > u64::from(conn.handshake.syn_count.saturating_sub(1))
        && conn.from_server().unique_bytes == 0
        && conn.from_server().fin.is_none()
        && conn.halves.iter().all(|half| half.missing_octets == 0)
        && client.unacked_at_end >= client.unique_bytes
        && conn
            .turns
            .last
            .is_none_or(|turn| turn.request_acked.is_none())
}

/// The first SYN-ACK that followed the client's ACK.
fn repeated_syn_ack(conn: &Connection) -> Option<SegmentRef> {
    let ack = conn.handshake.ack?;
    let mut syn_acks = conn.handshake.syn_acks.iter();
    syn_acks.find(|syn_ack| syn_ack.frame > ack.frame).copied()
}

fn ignoring(conn: &Connection, syn: SegmentRef, ignored: Ignored) -> Observation<Seen> {
    let repeats = first_data_ignored(conn);
    let never = is_first_data_in_vain(conn);
    let first_data = conn.from_client().first_data;
    let first_sent = first_data.map_or(syn.time, |data| data.time);
    let proof = "SYN-ACK retransmitted although the client's data had passed";
    let proof = if conn.handshake.syn_acks_after_arrival > 0 {
        "SYN-ACK retransmitted; a copy echoes the timestamp of a later segment, which had therefore arrived"
    } else {
        proof
    };
    let again = repeats
        .last()
        .copied()
        .or(conn.from_client().stuck.map(|stuck| stuck.last));
    let confidence = if ignored.is_proved {
        confidence::STRONG
    } else {
        confidence::PROBABLE
    };
    let until = again.map_or(conn.end, |again| again.time);
    base(conn, syn, confidence, until)
        .evidence_if(
            conn.handshake.ack,
            "the client's ACK that completes the handshake",
        )
        .evidence_if(first_data, "first data from client")
        .proof_if(repeated_syn_ack(conn).filter(|_| ignored.after_ack), proof)
        .proof_if(
            again.filter(|_| ignored.data),
            again.map_or_else(String::new, |again| {
                let later = time(ms(again.time.since(first_sent)));
                format!("retransmission of that data, {later} after it was first sent")
            }),
        )
        .seen(Seen {
            until,
            last_vain: until,
            delay: None,
            ignored: Some(ignored),
            never,
            share: 0.0,
            held: None,
        })
}

fn dropping(conn: &Connection, syn: SegmentRef) -> Observation<Seen> {
    let handshake = &conn.handshake;
    let last = handshake.syns.last().copied().unwrap_or(syn);
    let answer = handshake.syn_acks.first().copied();
    let until = answer.unwrap_or(last).time;
    let later = time(ms(last.time.since(syn.time)));
    base(conn, syn, confidence::OPEN, until)
        .evidence(syn, "first SYN")
        .proof(last, format!("SYN retransmitted, {later} after the first"))
        .evidence_if(answer, "SYN-ACK after the retransmissions")
        .seen(Seen {
            until,
            last_vain: last.time,
            delay: answer.map(|answer| answer.time.since(syn.time)),
            ignored: None,
            never: answer.is_none(),
            share: 0.0,
            held: None,
        })
}

fn base(conn: &Connection, syn: SegmentRef, confidence: f64, until: Timestamp) -> Observation {
    let handshake = &conn.handshake;
    let syns = f64::from(handshake.syn_count.saturating_sub(1));
    let syn_acks = f64::from(handshake.syn_ack_count.saturating_sub(1));
    Observation::new(conn, confidence, Impact::waited(until.since(syn.time)))
        .at(syn.time)
        .weight(f64::from(
            handshake.syn_acks_after_ack * 10 + handshake.syn_count,
        ))
        .figure("syn_retransmits", syns)
        .figure("synack_retransmits", syn_acks)
        .figure("connections", 1.0)
        .cost("connections_delayed_or_lost", 1.0)
        .cost("time_lost_ms", ms(until.since(syn.time)))
        .stalls(timer_waits(conn))
        .stalls(ignored_for(conn))
}

/// How long the first request was retransmitted before the server took it.
fn ignored_for(conn: &Connection) -> Option<(Timestamp, Timestamp)> {
    let first = conn.from_client().first_data?;
    let last = first_data_ignored(conn).into_iter().next_back()?;
    Some((first.time, last.time))
}

#[cfg(test)]
mod tests;

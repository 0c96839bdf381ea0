//! `listen-overflow`: a listener cannot keep up with new connections.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use analyzer::connection::CapturePoint;
use analyzer::event::{EventKind, SegmentRef};
use analyzer::{Analysis, Connection, Endpoint, Timestamp};

use crate::model::connection_ref::ConnectionRef;
use crate::model::context::Context;
use crate::model::legacy::{Collected, Group, Legacy, Observation, Observations};
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::Narrative;
use crate::model::observation::Note;
use crate::model::rule::Rule;
use crate::model::severity::Severity;
use crate::model::text::{list, many, ms, number, percent, plural, share, time};
use crate::signs::handshake::{first_data_ignored, is_handshake_ignored};
use crate::signs::held;
use crate::signs::in_vain;

declare_rule! {
    /// A listening server drops new connections because its queues are full.
    ///
    /// ## What it means
    /// The kernel queues finished handshakes until the program accepts them. When the program is too slow
    /// or the queue too short, Linux ignores the client's last handshake segment (and its data) or drops new
    /// SYNs. Nobody gets an error; the client tries again after a second or more.
    ///
    /// ## Why it matters
    /// Callers wait 1, 3 or 7 seconds to connect, or believe they are connected while nobody listens to
    /// them. It happens in bursts, at the worst moment, and leaves no line in the application's log.
    ///
    /// ## How it is detected
    /// (a) The handshake's last segment was seen, yet the server repeats its SYN-ACK, or the client's first data is
    /// repeated and never acknowledged, on a listener that serves others. (b) SYNs are repeated without
    /// an answer while the same listener accepts others just before or after: reported when at least three
    /// connections and a fifth of the attempts in that time suffer, which random loss does not do, and
    /// data between the same hosts is not repeated in vain at that time, as on a path that is down.
    /// Severity is high. Confidence is highest for (a) captured at the server.
    ///
    /// ## What to do
    /// Raise the listen backlog *and* net.core.somaxconn, accept faster, spread the load with SO_REUSEPORT.
    ///
    /// ## Known limits
    /// From the client's side a dropped SYN cannot be told from a lost one except by the company it keeps. A listener
    /// that defers accepting until data comes also repeats SYN-ACKs; connections without data count only
    /// in numbers. A SYN flood fills the queues as well.
    ///
    /// ## References
    /// - listen(2); Linux ip-sysctl, tcp_abort_on_overflow, tcp_max_syn_backlog
    /// - RFC 9293 §3.10.7.4; RFC 6298 §5.7 (SYN retransmission)
    pub(crate) struct ListenOverflow {
        id: "listen-overflow",
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
            min_connections = 3.0: "Connections with unanswered SYNs that must come together; one or two are usual loss.",
            min_share_percent = 20.0: "Share of the attempts in that time that must suffer; loss strikes a few percent at most.",
        ],
    }
}

/// How far around the trouble attempts are counted: the first SYN retry comes after a second.
const AROUND: Duration = Duration::from_millis(500);

/// What other connections tell of the listener and the path.
pub(crate) enum Fact {
    /// A SYN was sent then.
    Attempt,
    /// The same data was sent in vain from then on.
    InVain {
        /// The last copy.
        until: Timestamp,
    },
    /// A connection from before the capture was last seen then.
    Held,
}

impl Rule for ListenOverflow {
    type Seen = Legacy;
    type Fact = Fact;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations<Fact>) {
        if !ignored_handshake(conn) {
            for (from, to) in in_vain::spells(conn) {
                out.note(|| Note::new(conn, Fact::InVain { until: to }).at(from));
            }
        }
        let Some(syn) = conn.handshake.syns.first() else {
            held::note(conn, Fact::Held, out);
            return;
        };
        out.note(|| Note::new(conn, Fact::Attempt).at(syn.time));
        let refused = conn
            .resets
            .iter()
            .any(|reset| reset.kind == analyzer::connection::ResetKind::Refused);
        let challenged = conn
            .events
            .iter()
            .any(|event| event.kind == EventKind::ChallengeAck);
        if refused || challenged {
            return; // The SYN was answered, if not with SYN-ACK.
        }
        if ignored_handshake(conn) {
            out.push(ignored(conn, *syn));
        } else if conn.handshake.syn_count > 1 {
            out.push(dropped(conn, *syn));
        }
    }

    fn on_capture(&self, analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected<Fact>) {
        let mut attempts = BTreeMap::<Endpoint, Vec<Timestamp>>::new();
        let mut in_vain = BTreeMap::<_, Vec<(Timestamp, Timestamp)>>::new();
        let mut held = Vec::new();
        for note in &collected.notes {
            let server = note.connection.server;
            match note.fact {
                Fact::Attempt => attempts.entry(server).or_default().push(note.at),
                Fact::InVain { until } => {
                    let spells = in_vain.entry(hosts(&note.connection)).or_default();
                    spells.push((note.at, until));
                }
                Fact::Held => held.push(note),
            }
        }
        let held = held::last_seen(held.into_iter());
        let mut by_server = BTreeMap::<Endpoint, Vec<Observation>>::new();
        let observations = std::mem::take(&mut collected.observations);
        let on_bad_path = |one: &Observation| {
            let spells = in_vain.get(&hosts(&one.connection));
            let mut spells = spells.into_iter().flatten();
            spells.any(|(from, until)| (*from..=*until).contains(&one.at))
        };
        for one in observations
            .into_iter()
            .filter(|one| is_ignored(one) || !on_bad_path(one))
        {
            by_server
                .entry(one.connection.server)
                .or_default()
                .push(one);
        }
        for (server, mut ours) in by_server {
            let completed = analysis
                .listeners
                .get(&server)
                .map_or(0, |facts| facts.completed);
            let times = attempts.remove(&server).unwrap_or_default();
            let burst = burst_share(&ours, &times);
            let is_burst = number(ours.len() as u64) >= ctx.threshold("min_connections")
                && burst * 100.0 >= ctx.threshold("min_share_percent");
            let strong = ours.iter().filter(|one| is_strong(one)).count();
            let begin = ours.iter().map(|one| one.at).min().unwrap_or_default();
            let live = |times: &Vec<Timestamp>| times.iter().filter(|at| **at >= begin).count();
            let held = held.get(&server).map_or(0, live);
            let serves = completed > 0 || held > 0;
            if !serves || (strong == 0 && !is_burst) {
                continue;
            }
            ours.retain(|one| is_burst || is_ignored(one));
            for one in &mut ours {
                one.seen.details.push(("share", burst));
                if completed == 0 {
                    // A new rule of a firewall would look the same.
                    one.seen.details.push(("held", number(held as u64)));
                    one.severity = one.severity.min(Severity::Medium);
                }
                one.confidence = match (strong > 0, is_burst) {
                    (true, true) => 0.93,
                    (true, false) => one.confidence,
                    _ if completed == 0 => 0.5,
                    _ => 0.75,
                };
                if strong == 1 && !is_burst {
                    one.severity = Severity::Medium;
                }
            }
            collected.observations.extend(ours);
        }
    }

    fn describe(&self, group: &Group<'_, Fact>, draft: Narrative) -> Narrative {
        let server = group.server();
        let syns = group.number("syn_retransmits").unwrap_or_default();
        let syn_acks = group.number("synack_retransmits").unwrap_or_default();
        let count = number(group.connections());
        let never = group.positive("never");
        let delay = group.spread("delay_ms").filter(|spread| spread.max > 0.0);
        let delay = delay
            .map(|spread| {
                format!(
                    " Those that got through waited {} (longest {}).",
                    time(spread.median),
                    time(spread.max)
                )
            })
            .unwrap_or_default();
        let (from, to) = group.time_span();
        let listener = group.analysis.listeners.get(&server);
        let attempts = listener.map_or(0, |facts| facts.attempts);
        let confidence = draft.confidence;
        let held = group.median("held");
        let reason = if held.is_some() && group.positive("ignored") == 0 {
            "The listener completed no handshake in this capture, though older connections to it live: a firewall that drops new ones cannot be excluded."
        } else if group.positive("ignored") > 0 {
            "The server ignored handshakes it had received while it accepted others."
        } else {
            "SYNs went unanswered together while the listener served others; a full queue and loss differ only in that."
        };
        let draft = draft
            .title(format!("Listener {server} drops new connections: its queues are full"))
            .summary(format!(
                "Of the connections opened within {} the listener {server} left {} unanswered or half-open although {}: {} sent again.{delay}{}",
                time(ms(to.since(from))),
                format_args!("{count:.0}"),
                held.map_or_else(|| "it accepted others".to_owned(), |held| format!("{} from before the capture live", plural(held, "connection"))),
                sent_again(group, syns, syn_acks),
                if never > 0 { format!(" {} never got through.", plural(number(never), "connection")) } else { String::new() },
            ))
            .confidence(confidence, reason)
            .because_if(group.positive("after_ack") > 0, || format!("on {} the server repeated SYN-ACK after the client's acknowledgement had passed the capture point: the kernel ignored it because the accept queue was full", many(group.positive("after_ack"), "connection")))
            .because_if(group.positive("data_ignored") > 0, || format!("on {} the client's first data was ignored although the handshake was complete for the client: it was sent again until there was room, or in vain", many(group.positive("data_ignored"), "connection")))
            .because_if(syns > 0.0, || format!("{} without answer", plural(syns, "repeated SYN")))
            .because(format!("{} of {} to this listener completed in the capture, so it is up and reachable", listener.map_or(0, |facts| facts.completed), many(attempts, "attempt")))
            .because_if(group.median("share").is_some(), || format!("{} of the attempts in that time suffered, too many together for random loss", percent(group.median("share").unwrap_or_default())))
            .not("syn-unanswered", "the listener answers others in the same time")
            .not("connection-refused", "no attempt was answered with RST")
            .not("packet-loss", format!("{} connections suffer at once and only while connecting ({} of all attempts)", group.connections(), percent(share(group.connections(), attempts))));
        remedies(group, draft)
    }
}

/// What had to be sent again, in words.
fn sent_again(group: &Group<'_, Fact>, syns: f64, syn_acks: f64) -> String {
    let ignored = group.positive("data_ignored");
    let mut parts = Vec::new();
    if syns > 0.0 {
        parts.push(plural(syns, "SYN"));
    }
    if syn_acks > 0.0 {
        parts.push(plural(syn_acks, "SYN-ACK"));
    }
    if ignored > 0 {
        parts.push(format!("the first data of {}", many(ignored, "connection")));
    }
    let verb = if parts.len() == 1 && (syns + syn_acks - 1.0).abs() < 0.5 {
        "was"
    } else {
        "were"
    };
    format!("{} {verb}", list(&parts))
}

/// The handshake was complete at the client, yet the server acts as if it were not.
fn ignored_handshake(conn: &Connection) -> bool {
    is_handshake_ignored(conn) || data_ignored(conn)
}

/// The client's first data was sent again and nothing of it was ever acknowledged.
fn data_ignored(conn: &Connection) -> bool {
    let client = conn.from_client();
    conn.handshake.syn_ack_count > 0
        && conn.handshake.ack.is_some()
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

/// Proof enough without company: the server demonstrably ignored a finished handshake.
fn is_strong(one: &Observation) -> bool {
    let has = |name| one.number(name).is_some_and(|value| value > 0.0);
    has("ignored") && has("sent_data") && has("at_server")
}

fn is_ignored(one: &Observation) -> bool {
    one.number("ignored").is_some_and(|value| value > 0.0)
}

fn hosts(one: &ConnectionRef) -> (IpAddr, IpAddr) {
    (one.client.ip, one.server.ip)
}

/// The share of the attempts around the trouble that suffered.
fn burst_share(ours: &[Observation], attempts: &[Timestamp]) -> f64 {
    let first = ours.iter().map(|one| one.at).min().unwrap_or_default() - AROUND;
    let last = ours.iter().map(|one| one.at).max().unwrap_or_default() + AROUND;
    let during = attempts
        .iter()
        .filter(|at| (first..=last).contains(*at))
        .count() as u64;
    share(ours.len() as u64, during)
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn ignored(conn: &Connection, syn: SegmentRef) -> Observation {
    let handshake = &conn.handshake;
    let after_ack = handshake.syn_acks_after_ack > 0;
    let at_server = conn.capture_point == CapturePoint::Server;
    let repeats = first_data_ignored(conn);
    let first_sent = conn
        .from_client()
        .first_data
        .map_or(syn.time, |data| data.time);
    let repeated = handshake
        .syn_acks
        .iter()
        .rev()
        .find(|syn_ack| handshake.ack.is_some_and(|ack| syn_ack.frame > ack.frame));
    let confidence = if at_server { 0.9 } else { 0.7 };
    base(conn, syn, confidence)
        .evidence_if(
            handshake.ack,
            "the client's ACK that completes the handshake",
        )
        .evidence_if(
            repeated.copied(),
            "SYN-ACK sent again although the ACK had passed",
        )
        .evidence_if(
            conn.from_client().first_data.filter(|_| !after_ack),
            if data_ignored(conn) {
                "first data from client; it is sent again and never acknowledged"
            } else {
                "first data from client; it passed here and had to be sent again"
            },
        )
        .evidence_if(
            repeats.last().copied(),
            repeats.last().map_or_else(String::new, |last| {
                format!(
                    "the same data again, {} after it was first sent",
                    time(ms(last.time.since(first_sent)))
                )
            }),
        )
        .detail("ignored", 1.0)
        .detail("at_server", flag(at_server))
        .detail("after_ack", flag(after_ack))
        .detail(
            "data_ignored",
            flag(data_ignored(conn) || !repeats.is_empty()),
        )
        .detail("never", flag(data_ignored(conn)))
}

fn dropped(conn: &Connection, syn: SegmentRef) -> Observation {
    let handshake = &conn.handshake;
    let last = handshake
        .syns
        .last()
        .copied()
        .filter(|last| last.frame != syn.frame);
    let answer = handshake.syn_acks.first().copied();
    base(conn, syn, 0.6)
        .evidence(syn, "first SYN")
        .evidence_if(
            last,
            last.map(|last| {
                format!(
                    "SYN again, {} after the first",
                    time(ms(last.time.since(syn.time)))
                )
            })
            .unwrap_or_default(),
        )
        .evidence_if(answer, "SYN-ACK, only now")
        .detail("never", flag(answer.is_none()))
}

fn base(conn: &Connection, syn: SegmentRef, confidence: f64) -> Observation {
    let handshake = &conn.handshake;
    let through = handshake
        .syn_acks
        .first()
        .map(|answer| ms(answer.time.since(syn.time)));
    let delay = through.filter(|_| handshake.syn_count > 1);
    Observation::untyped(conn, confidence, Severity::High)
        .at(syn.time)
        .weight(f64::from(
            handshake.syn_acks_after_ack * 10 + handshake.syn_count,
        ))
        .figure(
            "syn_retransmits",
            f64::from(handshake.syn_count.saturating_sub(1)),
        )
        .figure(
            "synack_retransmits",
            f64::from(handshake.syn_ack_count.saturating_sub(1)),
        )
        .figure("connections", 1.0)
        .cost("connections_delayed_or_lost", 1.0)
        .cost("time_lost_ms", delay.unwrap_or(0.0))
        .detail_if("delay_ms", delay)
        .detail("sent_data", flag(conn.from_client().unique_bytes > 0))
}

fn remedies(group: &Group<'_, Fact>, draft: Narrative) -> Narrative {
    let server = group.server();
    draft
        .set("Linux", "the kernel's limit: the smaller of it and the program's own backlog counts", "net.core.somaxconn = 4096; net.ipv4.tcp_max_syn_backlog = 8192")
        .set("nginx", "listen backlog (511 unless set)", format!("listen {} backlog=4096 reuseport;", server.port))
        .set("Node.js", "listen backlog (511 unless set)", format!("server.listen({{ port: {}, backlog: 4096 }})", server.port))
        .set("Java (Tomcat)", "accept queue (100 unless set)", "<Connector acceptCount=\"4096\" …/>")
        .set("gunicorn / uvicorn", "accept queue (2048 unless set)", "--backlog 4096, and more workers")
        .set("Go", "takes net.core.somaxconn when the program starts: raise that, then restart", "sysctl -w net.core.somaxconn=4096")
        .set("any", "several listeners on one port, each with its own queue and thread", "setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1)")
        .advise("any", "accept in a loop of its own and hand connections on; keep connections alive so that fewer are opened")
        .advise("Linux", "leave net.ipv4.tcp_abort_on_overflow at 0: a reset would turn a delay into an error")
        .verify("server", "nstat -az TcpExtListenOverflows TcpExtListenDrops TcpExtTCPReqQFullDoCookies", "both counters grow with every drop")
        .verify("server", format!("ss -ltn '( sport = :{} )'", server.port), "Recv-Q (waiting) at or above Send-Q (the backlog) while it happens")
}

#[cfg(test)]
mod tests;

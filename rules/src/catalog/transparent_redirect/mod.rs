//! `transparent-redirect`: somebody else answers.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use analyzer::event::SegmentRef;
use analyzer::{Analysis, Connection, Direction, Endpoint, Transport};

use crate::model::context::Context;
use crate::model::figure::{counted, most};
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{self, Narrative};
use crate::model::observation::{self, Note, Observation};
use crate::model::rule::Rule;
use crate::model::severity::Severity;
use crate::model::text::{number, plural};

declare_rule! {
    /// Connections reach another server than the one they were meant for.
    ///
    /// ## What it means
    /// Address translation on the way, usually an iptables rule of a sidecar on the client's own host,
    /// changes the destination of connections. The program, DNS and `netstat` all show the right address;
    /// only the packets show where the connection really goes.
    ///
    /// ## Why it matters
    /// Answers come from the wrong program, or the calls fail while the intended server never sees them.
    /// Nothing on the client but the packets gives it away.
    ///
    /// ## How it is detected
    /// Any of: a connection to 127.0.0.0/8 or ::1 from an address that is not loopback; a SYN to one address
    /// answered from another with matching ports and numbers; the same SYN (port and initial sequence
    /// number) towards two destinations within moments; a client that asked DNS for a name and connects, under
    /// that name, to an address no answer contained, while others reach the named one.
    /// High severity for a redirect to the client's own host; low for destinations changed elsewhere, which
    /// load balancers do by design, and for the usual ports of a service mesh.
    ///
    /// ## What to do
    /// List the translation rules of the client's host (`iptables -t nat -S`, `nft list ruleset`) and remove or
    /// narrow the one that matches.
    ///
    /// ## Known limits
    /// Translation beyond the capture point that also rewrites the answers leaves no trace but DNS and
    /// Host. A mesh that redirects everything by design is reported as low. Stale DNS can look like a redirect.
    ///
    /// ## References
    /// - netfilter REDIRECT and DNAT targets (iptables-extensions(8))
    /// - RFC 1122 §3.2.1.3 (loopback addresses never leave a host)
    pub(crate) struct TransparentRedirect {
        id: "transparent-redirect",
        title: "Connections reach another server than intended",
        severity: High,
        needs: [],
        clouded_by: [DuplicateFrames, OneSided],
        figures: [intended: Text / Most, actual: Text / Most],
        thresholds: [
            same_syn_ms = 50.0: "Two sightings of one SYN before and after translation lie closer than this; both are seen on one host.",
        ],
    }
}

/// Inbound, outbound and tunnel ports of the usual meshes (Istio, Linkerd).
const MESH_PORTS: [u16; 6] = [15_001, 15_006, 15_008, 15_053, 4_140, 4_143];

type Group<'a> = narrative::Group<'a, Seen, Fact>;
type Collected = observation::Collected<Seen, Fact>;
type Observations = observation::Observations<Seen, Fact>;

/// What one connection tells of names and addresses.
pub(crate) enum Fact {
    /// A name that its client asked DNS for, and got addresses.
    Asked(String),
    /// Its SYN.
    Syn {
        syn: SegmentRef,
        /// The name that the client used.
        name: Option<String>,
    },
    /// The name that the client used.
    Named {
        name: String,
        /// Where it stands.
        said: Option<SegmentRef>,
    },
}

/// Where a connection was led.
pub(crate) struct Seen {
    /// Name and address it was meant for, in words.
    intended: String,
    actual: Endpoint,
    how: How,
    /// The change was made on the client's own host.
    local: bool,
    /// The port is one of a service mesh.
    mesh: bool,
}

/// What shows that the destination was changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    /// SYN and SYN-ACK bear different addresses.
    Answer,
    /// Datagrams are answered from another address.
    Datagram,
    /// A loopback destination of a source that is none.
    Loopback,
    /// A name whose addresses are others.
    Named,
    /// One SYN towards two destinations.
    SameSyn,
}

impl Rule for TransparentRedirect {
    type Seen = Seen;
    type Fact = Fact;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations) {
        for exchange in conn
            .app
            .dns
            .iter()
            .filter(|exchange| !exchange.addresses.is_empty())
        {
            out.note(|| Note::new(conn, Fact::Asked(exchange.name.clone())));
        }
        if let Some((intended, actual)) = translated(conn) {
            out.push(observation(conn, intended, actual));
            return;
        }
        if conn.transport != Transport::Tcp {
            return;
        }
        if let Some(syn) = conn.handshake.syns.first() {
            out.note(|| {
                let (syn, name) = (*syn, name_of(conn));
                Note::new(conn, Fact::Syn { syn, name }).at(syn.time)
            });
        }
        if let Some(name) = name_of(conn) {
            let said = conn.from_client().first_data;
            out.note(|| Note::new(conn, Fact::Named { name, said }));
        }
    }

    fn on_capture(&self, analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected) {
        let within = Duration::from_secs_f64(ctx.threshold("same_syn_ms") / 1e3);
        let mut found = same_syn(collected, within);
        found.extend(other_than_named(collected, analysis));
        let known: BTreeSet<u64> = collected
            .observations
            .iter()
            .map(|one| one.connection.first_frame)
            .collect();
        found.retain(|one| !known.contains(&one.connection.first_frame));
        collected.observations.extend(found);
    }

    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative {
        let intended = destinations(group);
        let (actual, how) = (destination(group), how(group));
        let count = number(group.connections());
        let clients = group.clients_text();
        let local = is_local(group);
        let place = if local {
            format!(
                "The change happens on the host {clients} itself (REDIRECT or DNAT in its own packet filter)."
            )
        } else {
            "The change happens between the client and the capture point, or by a balancer that does so on purpose.".to_owned()
        };
        let confidence = draft.confidence;
        let draft = draft
            .title(format!("Connections meant for {intended} end at {actual}"))
            .summary(format!(
                "{} from {clients} meant for {intended} were answered by {actual}. {place} The answers are those of another \
                 program, and the intended server never sees these calls.",
                plural(count, "connection")
            ))
            .confidence(confidence, match how {
                How::Loopback => "A loopback destination with a source that is not loopback exists only behind translation.",
                How::Datagram => "A datagram to a loopback address was answered from an address that the client never sent to.",
                How::Answer => "SYN and SYN-ACK of one connection bear different addresses of the server.",
                How::SameSyn => "The same SYN was seen towards two destinations.",
                How::Named => "Rests on names: DNS and the Host header or SNI against the address connected to.",
            });
        let draft = reasons(group, draft, how, &intended, actual);
        remedies(group, draft)
    }
}

/// Intended and actual destination, where the packets of the connection alone tell.
fn translated(conn: &Connection) -> Option<(Option<Endpoint>, Endpoint)> {
    if let Some(other) = conn.translated_from {
        // The loopback one is where a REDIRECT led; otherwise the SYN named the intended one.
        return Some(if is_loopback(other.ip) || other.ip == conn.client.ip {
            (Some(conn.server), other)
        } else {
            (Some(other), conn.server)
        });
    }
    (is_loopback(conn.server.ip) && !is_loopback(conn.client.ip)).then_some((None, conn.server))
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.is_loopback()
}

/// The name the client used: Host header (no proxy request) or SNI, without port, lower case.
fn name_of(conn: &Connection) -> Option<String> {
    let http = conn.app.http.as_ref().filter(|http| !http.proxy_request);
    let host = http.and_then(|http| http.kept.iter().find_map(|exchange| exchange.host.clone()));
    let sni = conn.app.tls.as_ref().and_then(|tls| tls.sni.clone());
    let name = host.or(sni)?.to_lowercase();
    let name = if name.starts_with('[') {
        name.as_str()
    } else {
        name.split(':').next().unwrap_or("")
    };
    (!name.is_empty()).then(|| name.trim_end_matches('.').to_owned())
}

fn observation(
    conn: &Connection,
    intended: Option<Endpoint>,
    actual: Endpoint,
) -> Observation<Seen> {
    let local = is_loopback(actual.ip) || actual.ip == conn.client.ip;
    let mesh = MESH_PORTS.contains(&actual.port);
    let wrong = conn.app.http.as_ref().is_some_and(|http| {
        http.responses > 0 && (http.by_class[3] + http.by_class[4]) * 2 > http.responses
    });
    let severity = match (local, mesh && !wrong) {
        (true, false) => Severity::High,
        _ => Severity::Low,
    };
    let name = name_of(conn);
    let intended_text = match (&name, intended) {
        (Some(name), Some(endpoint)) if *name != endpoint.ip.to_string() => {
            format!("{name} ({endpoint})")
        }
        (_, Some(endpoint)) => endpoint.to_string(),
        (Some(name), None) => name.clone(),
        (None, None) => "an unknown address".to_owned(),
    };
    let how = match (intended, conn.transport) {
        (None, _) => How::Loopback,
        (Some(_), Transport::Tcp) => How::Answer,
        (Some(_), Transport::Udp) => How::Datagram,
    };
    let syn = conn.handshake.syns.first().copied();
    let answer = conn.handshake.syn_acks.first().copied();
    let observation = Observation::new(conn, 0.97, severity)
        .cause(cause(actual, intended, local))
        .weight(number(conn.packets()))
        .evidence_if(
            syn.or(conn.from_client().first_data),
            if local {
                format!(
                    "segment from {} to {actual}: the client's own host",
                    conn.client.ip
                )
            } else {
                format!(
                    "SYN from {} to {}",
                    conn.client.ip,
                    intended.unwrap_or(actual)
                )
            },
        )
        .evidence_if(
            answer.filter(|_| intended.is_some()),
            format!("SYN-ACK of the same connection from {}", conn.server),
        )
        .text("actual", actual.to_string())
        .cost("requests_misdirected", number(conn.turns.count.max(1)));
    let observation = if intended.is_some() || name.is_some() {
        observation.text("intended", intended_text.clone())
    } else {
        observation
    };
    observation.seen(Seen {
        intended: intended_text,
        actual,
        how,
        local,
        mesh,
    })
}

/// One rule on a host usually sends many destinations to one place; elsewhere every service has a
/// translation of its own.
fn cause(actual: Endpoint, intended: Option<Endpoint>, local: bool) -> String {
    match intended.filter(|_| !local) {
        Some(intended) => format!("{actual} {intended}"),
        None => actual.to_string(),
    }
}

/// The same SYN towards two destinations: before and after translation.
fn same_syn(collected: &Collected, within: Duration) -> Vec<Observation<Seen>> {
    let syns = collected.notes.iter().filter_map(|note| match &note.fact {
        Fact::Syn { syn, name } => Some((note, syn, name)),
        _ => None,
    });
    let mut syns: Vec<_> = syns.collect();
    // By the number first: it tells nearly all of them apart at once.
    syns.sort_by_key(|(note, syn, _)| (syn.seq.0, note.connection.client));
    let sightings = syns.chunk_by(|(one, syn, _), (other, again, _)| {
        syn.seq == again.seq && one.connection.client == other.connection.client
    });
    let mut found = Vec::new();
    for notes in sightings.filter(|notes| notes.len() > 1) {
        let ((before, first, _), (after, again, name)) = (notes[0], notes[1]);
        let (intended, actual) = (before.connection.server, after.connection.server);
        if intended == actual || after.at.since(before.at) > within {
            continue;
        }
        let local = is_loopback(actual.ip) || actual.ip == after.connection.client.ip;
        let severity = if local { Severity::High } else { Severity::Low };
        let intended_text = match name {
            Some(name) => format!("{name} ({intended})"),
            None => intended.to_string(),
        };
        found.push(
            Observation::from_note(after, 0.9, severity)
                .cause(cause(actual, Some(intended), local))
                .evidence(*first, format!("SYN to {intended}"))
                .evidence(
                    *again,
                    format!("the same SYN (source port and sequence number) to {actual}"),
                )
                .text("intended", intended_text.clone())
                .text("actual", actual.to_string())
                .cost("requests_misdirected", 1.0)
                .seen(Seen {
                    intended: intended_text,
                    actual,
                    how: How::SameSyn,
                    local,
                    mesh: false,
                }),
        );
    }
    found
}

/// Connections under a name whose DNS answers do not contain the address connected to, by the
/// very client that asked, while the named address is reached by others.
fn other_than_named(collected: &Collected, analysis: &Analysis) -> Vec<Observation<Seen>> {
    let (mut asked, mut named) = (BTreeSet::<(IpAddr, &str)>::new(), Vec::new());
    for note in &collected.notes {
        match &note.fact {
            Fact::Asked(name) => {
                asked.insert((note.connection.client.ip, name));
            }
            Fact::Named { name, said } => named.push((note, name.as_str(), said)),
            Fact::Syn { .. } => {}
        }
    }
    if asked.is_empty() {
        return Vec::new();
    }
    let reached = named.iter();
    let reached = reached.map(|(note, name, _)| (*name, note.connection.server.ip));
    let reached: BTreeSet<(&str, IpAddr)> = reached.collect();
    let mut found = Vec::new();
    for (note, name, said) in named {
        let Some(addresses) = analysis.dns_names.get(name) else {
            continue;
        };
        let (client, server) = (note.connection.client, note.connection.server);
        let named_reached = addresses.iter().any(|ip| reached.contains(&(name, *ip)));
        let elsewhere = !addresses.contains(&server.ip) && !addresses.contains(&client.ip);
        if !(elsewhere && named_reached && asked.contains(&(client.ip, name))) {
            continue;
        }
        let Some(first) = addresses.first() else {
            continue;
        };
        let intended = format!("{name} ({})", Endpoint::new(*first, server.port));
        let segment = said.unwrap_or(SegmentRef::place(
            note.connection.first_frame,
            note.at,
            Direction::ClientToServer,
        ));
        found.push(
            Observation::from_note(note, 0.65, Severity::Medium)
                .cause(format!("{server} {intended}"))
                .evidence(
                    segment,
                    format!("first data of a connection to {server} that names {name}"),
                )
                .text("intended", intended.clone())
                .text("actual", server.to_string())
                .cost("requests_misdirected", 1.0)
                .seen(Seen {
                    intended,
                    actual: server,
                    how: How::Named,
                    local: is_loopback(server.ip) || server.ip == client.ip,
                    mesh: false,
                }),
        );
    }
    found
}

/// What the connections were meant for: the most frequent, and how many others.
fn destinations(group: &Group<'_>) -> String {
    let all = counted(group.seen().map(|seen| seen.intended.as_str()));
    let first = all.first().map(|(text, _)| *text).unwrap_or_default();
    match all.len() {
        0 | 1 => first.to_owned(),
        more => format!(
            "{first} and {}",
            plural(number(more as u64 - 1), "other destination")
        ),
    }
}

/// Where the connections ended, most of them.
fn destination(group: &Group<'_>) -> Endpoint {
    most(group.seen().map(|seen| seen.actual)).unwrap_or(group.server())
}

/// What most of them show.
fn how(group: &Group<'_>) -> How {
    most(group.seen().map(|seen| seen.how)).unwrap_or(How::Named)
}

fn is_local(group: &Group<'_>) -> bool {
    group.having(|seen| seen.local) > 0
}

fn reasons(
    group: &Group<'_>,
    draft: Narrative,
    how: How,
    intended: &str,
    actual: Endpoint,
) -> Narrative {
    let client = group.client().ip;
    let draft = match how {
        How::Loopback => draft.because(format!("the destination {actual} is a loopback address although the source {client} is not: such packets never leave a host and are only made by translation on it")),
        How::Answer => draft.because(format!("the SYN went to one address and the SYN-ACK, with matching ports and numbers, bears another: {intended} and {actual} are two faces of one connection")),
        How::Datagram => draft.because(format!("datagrams of {client} go to {actual}, and their answers bear the address they were meant for: {intended}")),
        How::SameSyn => draft.because(format!("one SYN, told by source port and initial sequence number, was captured towards {intended} and again towards {actual}")),
        How::Named => draft.because(format!("{client} asked DNS for the name, got addresses that do not include {actual}, and sent the name to {actual} all the same; others reach the named address")),
    };
    draft
        .not("plain loopback traffic", "client and server would both bear loopback addresses")
        .not("explicit proxy", "requests carry no absolute URI and no CONNECT: the client does not know about a proxy")
        .not("virtual hosts", "several names on the right address would still go to the right address")
        .because_if(group.having(|seen| seen.mesh) > 0, || {
            "the port is one that service meshes use for their sidecars: expected there, as long as the answers are right".to_owned()
        })
}

/// The command that removes the rule, with the addresses measured.
fn deletion(group: &Group<'_>) -> String {
    let actual = destination(group);
    let port = actual.port;
    let server = group.server();
    let tool = if server.ip.is_ipv4() {
        "iptables"
    } else {
        "ip6tables"
    };
    let proto = group.best().connection.transport.as_str();
    if is_local(group) && matches!(how(group), How::Answer | How::Datagram) {
        format!(
            "{tool} -t nat -D CHAIN -p {proto} -d {} --dport {} -j REDIRECT --to-ports {port}  # CHAIN as listed by {tool} -t nat -S",
            server.ip, server.port
        )
    } else {
        format!(
            "{tool} -t nat -D CHAIN RULE  # the REDIRECT or DNAT rule to {actual}, as listed by {tool} -t nat -S"
        )
    }
}

fn remedies(group: &Group<'_>, draft: Narrative) -> Narrative {
    let port = destination(group).port;
    let host = if is_local(group) { "client" } else { "path" };
    draft
        .set("Linux", "find the rule that changes the destination, then delete it or narrow it to the traffic it is meant for", deletion(group))
        .set("Service mesh", "exclude the ports or addresses that must not be intercepted", "Istio: traffic.sidecar.istio.io/excludeOutboundPorts, excludeOutboundIPRanges")
        .advise("Kubernetes", "destinations changed from a service address to a pod are kube-proxy's work and expected")
        .verify(host, "iptables -t nat -S | grep -E 'REDIRECT|DNAT'; ip6tables -t nat -S | grep -E 'REDIRECT|DNAT'", format!("the rule that sends these connections to port {port}"))
        .verify(host, "nft list ruleset | grep -nE 'redirect|dnat'", "the same rule where nftables is used directly")
        .verify(host, format!("conntrack -L -p tcp --src {} 2>/dev/null | head", group.client().ip), "original and reply addresses of each connection side by side")
        .verify(host, format!("ss -ltnp '( sport = :{port} )'"), "the program that answers instead")
}

#[cfg(test)]
mod tests;

//! `transparent-redirect`: somebody else answers.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use analyzer::event::SegmentRef;
use analyzer::{Analysis, Connection, Direction, Endpoint, Transport};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::Narrative;
use crate::model::observation::{Note, Observation};
use crate::model::rule::Rule;
use crate::model::text::number;
use crate::signs::named::name_of;

use seen::{Collected, Fact, Group, How, Observations, Seen};

declare_rule! {
    /// Connections reach a different server than the intended one.
    ///
    /// ## What it means
    /// Address translation on the path, usually an iptables rule of a sidecar on the client's own host, changes
    /// the destination of connections. The program, DNS and `netstat` all show the intended address; only the
    /// packets show where the connection really goes.
    ///
    /// ## Why it matters
    /// Responses come from the wrong program, or the calls fail while the intended server never sees them.
    /// Nothing on the client shows it except the packets.
    ///
    /// ## How it is detected
    /// Any of:
    /// - a connection to 127.0.0.0/8 or ::1 from an address that is not loopback, and an answer to it;
    /// - a SYN to one address answered from another with matching ports and numbers;
    /// - the same SYN (port and initial sequence number) sent to two addresses within moments, and no third;
    /// - a client that queried DNS for a name and connects, under that name, to an address that no response
    ///   contained, while others reach the named one.
    ///
    /// What proves it: the answer, the second SYN, or the data that carries the name. What refutes it: nothing
    /// answers; a group or broadcast address, which any host may answer; the probes of MPLS paths, which go to
    /// 127/8 by design (RFC 8029, RFC 5884); a proxy on the client's own loopback that the client calls itself.
    ///
    /// Severity follows the requests that reached the wrong program. It is low for destinations changed
    /// elsewhere, which load balancers do by design, and for the usual ports of a service mesh.
    ///
    /// ## What to do
    /// List the translation rules of the client's host (`iptables -t nat -S`, `nft list ruleset`) and remove or
    /// narrow the one that matches.
    ///
    /// ## Known limits
    /// Translation beyond the capture point that also rewrites the responses leaves no trace but DNS and Host.
    /// A mesh that redirects everything by design is reported as low. Stale DNS can look like a redirect.
    ///
    /// ## References
    /// - netfilter REDIRECT and DNAT targets (iptables-extensions(8))
    /// - RFC 1122 §3.2.1.3 (loopback addresses never leave a host); RFC 8029 §2.1
    pub(crate) struct TransparentRedirect {
        id: "transparent-redirect",
        group: ConnectionPhase,
        title: "Connections reach a different server than intended",
        severity: High,
        needs: [],
        clouded_by: [DuplicateFrames, OneSided],
        figures: [intended: Text / Most, actual: Text / Most],
        thresholds: [
            same_syn_ms = 50.0: "Two sightings of one SYN before and after translation lie closer than this; both are seen on one host.",
        ],
        host_evidence: [Redirects, Owner],
    }
}

/// Inbound, outbound and tunnel ports of the usual meshes (Istio, Linkerd).
const MESH_PORTS: [u16; 6] = [15_001, 15_006, 15_008, 15_053, 4_140, 4_143];

/// LSP ping (RFC 8029) and BFD (RFC 5884) address the far end of an MPLS path as 127/8.
const MPLS_PROBES: [u16; 2] = [3_503, 3_784];

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
        words::tell(group, draft)
    }
}

/// Intended and actual destination, where the packets of the connection alone show it.
fn translated(conn: &Connection) -> Option<(Option<Endpoint>, Endpoint)> {
    let called = conn.translated_from.unwrap_or(conn.server);
    let probe = conn.transport == Transport::Udp && MPLS_PROBES.contains(&called.port);
    let is_group = |ip: IpAddr| ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    if probe || is_group(called.ip) || conn.from_server().packets == 0 {
        return None;
    }
    if let Some(other) = conn.translated_from {
        // Another port of the same address: tools that probe many send all SYNs with one number.
        if other.ip == conn.server.ip {
            return None;
        }
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
    let requests = conn.turns.count.max(1);
    let impact = match (local, mesh && !wrong) {
        (true, false) => Impact::requests_lost(requests),
        _ => Impact::SOME,
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
    let answer = answer.or(conn.from_server().first_data);
    let observation = Observation::new(conn, confidence::STATED, impact)
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
        .proof_if(
            answer,
            format!("answer of the same connection from {}", conn.server),
        )
        .text("actual", actual.to_string())
        .cost("requests_misdirected", number(requests));
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
    // By the number first: it separates nearly all of them at once.
    syns.sort_by_key(|(note, syn, _)| (syn.seq.0, note.connection.client));
    let sightings = syns.chunk_by(|(one, syn, _), (other, again, _)| {
        syn.seq == again.seq && one.connection.client == other.connection.client
    });
    let mut found = Vec::new();
    for notes in sightings.filter(|notes| notes.len() > 1) {
        let ((before, first, _), (after, again, name)) = (notes[0], notes[1]);
        let (intended, actual) = (before.connection.server, after.connection.server);
        // Tools that probe many ports or addresses send all their SYNs with one number.
        let others = notes.iter().map(|(note, ..)| note.connection.server);
        let probes = others.collect::<BTreeSet<_>>().len() > 2;
        let late = after.at.since(before.at) > within;
        if intended.ip == actual.ip || probes || late {
            continue;
        }
        let local = is_loopback(actual.ip) || actual.ip == after.connection.client.ip;
        let impact = if local {
            Impact::requests_lost(1)
        } else {
            Impact::SOME
        };
        let intended_text = match name {
            Some(name) => format!("{name} ({intended})"),
            None => intended.to_string(),
        };
        found.push(
            Observation::from_note(after, confidence::STRONG, impact)
                .cause(cause(actual, Some(intended), local))
                .evidence(*first, format!("SYN to {intended}"))
                .proof(
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
        // It calls its own loopback: a proxy or tunnel that it knows of.
        let by_own_proxy = is_loopback(client.ip) && is_loopback(server.ip);
        if by_own_proxy {
            continue;
        }
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
            Observation::from_note(note, confidence::OPEN, Impact::requests_lost(1))
                .cause(format!("{server} {intended}"))
                .proof(
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

mod seen;
mod words;

#[cfg(test)]
mod tests;

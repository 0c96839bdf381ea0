//! `udp-unanswered`: requests in datagrams that nobody answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use analyzer::app::{At, DhcpClient, Unanswered};
use analyzer::event::SegmentRef;
use analyzer::hosts::{AddressKind, HostProfile, Hosts};
use analyzer::{Analysis, Connection, Direction, Endpoint, Timestamp};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{mac, many, ms, number, plural, time};

#[cfg(test)]
mod tests;

declare_rule! {
    /// Requests of NTP, SNMP, RADIUS, IKE, STUN, QUIC, SIP, TFTP or DHCP get no answer.
    ///
    /// ## What it means
    /// In these protocols a server answers every request. Here several in a row were sent to one server and
    /// nothing came back: nobody listens and the refusal is filtered, a filter drops request or answer, the server
    /// does not know the client (RADIUS, SNMP), or it is gone.
    ///
    /// ## Why it matters
    /// The client gets no sign that it asks in vain. It waits out every timeout, again and again: log-ins hang,
    /// clocks drift, tunnels and calls do not come up, hosts stay without address.
    ///
    /// ## How it is detected
    /// At least `min_requests` requests of one client to one server over a second and longer, after which
    /// nothing came from there, neither to this client nor to another. What proves it is a request that was sent again
    /// as it was (who has its answer does not ask again), or that the capture shows what else reaches the client
    /// meanwhile. DHCP clients are followed by hardware address: DHCPDISCOVER again and again, and no message that
    /// shows that an address was offered.
    ///
    /// Where the capture holds nothing that ever reached the client, it is info.
    ///
    /// What refutes it: any answer, also one from another port of that server (TFTP); an ICMP error, which says why
    /// (see icmp-unreachable and connection-refused); a client that hears nobody at all meanwhile. Messages that
    /// need no answer are left out: traps, indications, broadcasts, checks of candidates for a direct path (ICE).
    /// DNS has a rule of its own. Requests for which somebody waits (RADIUS, IKE, SIP, TFTP, DHCP) count as lost,
    /// polls of NTP and SNMP and attempts by QUIC and STUN as one failed attempt; an answer by another server, or TCP to
    /// the same host, as a recovery.
    ///
    /// ## What to do
    /// Capture at the server: do the requests arrive, and does an answer leave?
    ///
    /// ## Known limits
    /// Nothing is reported where only requests were captured and all of them differ. Scans look the same.
    ///
    /// ## References
    /// - RFC 5905 §9.2 (NTP); RFC 3416 §4 (SNMP); RFC 5080 §2.2.1 (RADIUS); RFC 7296 §2.1 (IKEv2)
    /// - RFC 8489 §6.2.1 (STUN); RFC 9000 §17.2.2, RFC 9308 §2 (QUIC); RFC 3261 §17.1 (SIP); RFC 1350 §4 (TFTP)
    /// - RFC 2131 §4.1 (DHCP)
    pub(crate) struct UdpUnanswered {
        id: "udp-unanswered",
        group: UdpAndIp,
        title: "Requests in datagrams stay without answer",
        severity: Medium,
        needs: [Udp],
        traits: [DatagramRequest],
        clouded_by: [CaptureDrops, OneSided],
        figures: [requests: Count / Sum, asked_for_ms: Milliseconds / Max],
        thresholds: [
            min_requests = 3.0: "Requests in a row without answer; one or two are lost now and then.",
            least_ms = 1000.0: "From the first to the last of them: several sent at once are lost at once.",
        ],
        host_evidence: [Filters, DatagramDrops, Owner],
    }
}

/// An answer may still come so long after the last request.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// What one flow shows.
pub(crate) enum Fact {
    /// Requests of a protocol.
    Flow {
        protocol: &'static str,
        unanswered: Option<Unanswered>,
        answered: Option<Timestamp>,
        refused: bool,
    },
    /// Clients that ask for an address.
    Dhcp(Vec<DhcpClient>),
}

/// What asks in vain.
pub(crate) struct Seen {
    protocol: &'static str,
    server: Endpoint,
    /// Requests that were sent again as they were.
    repeated: u64,
    /// Another server answered, or TCP did.
    served: bool,
    /// The capture holds nothing that reached the client.
    is_deaf: bool,
}

impl Rule for UdpUnanswered {
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
        let (Some(requests), Some(protocol)) = (&conn.app.requests, conn.app.name) else {
            return;
        };
        out.note(|| {
            let fact = if requests.dhcp_clients.is_empty() {
                let answer = conn.from_server().last_data;
                Fact::Flow {
                    protocol,
                    unanswered: requests.unanswered,
                    answered: answer.map(|answer| answer.time),
                    refused: !conn.events.is_empty(),
                }
            } else {
                Fact::Dhcp(requests.dhcp_clients.clone())
            };
            Note::new(conn, fact)
        });
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        ctx: &Context<'_>,
        collected: &mut Collected<Seen, Fact>,
    ) {
        if analysis.is_one_way {
            return;
        }
        let answers = Answers::of(&collected.notes);
        let silent = silent_pairs(&collected.notes, &answers);
        let limits = (ctx.threshold("min_requests"), ctx.threshold("least_ms"));
        let lasting = |one: &&Silent<'_>| {
            number(one.count) >= limits.0 && ms(one.last.time.since(one.first.time)) >= limits.1
        };
        let found = silent.values().filter(lasting);
        let found: Vec<_> = found
            .filter_map(|one| one.observation(analysis, &answers))
            .collect();
        collected.observations.extend(together(found));
        (collected.observations).extend(dhcp(&collected.notes, limits));
    }

    fn describe(&self, group: &Group<'_, Seen, Fact>, draft: Narrative) -> Narrative {
        let seen = &group.best().seen;
        let requests = group.figure("requests").unwrap_or_default();
        let long = group.figure("asked_for_ms").unwrap_or_default();
        let servers: BTreeSet<Endpoint> = group.seen().map(|seen| seen.server).collect();
        let name = proper(seen.protocol);
        let (who, clients) = if seen.protocol == "dhcp" {
            let clients = many(group.observations.len() as u64, "client");
            ("No DHCP server".to_owned(), clients)
        } else if servers.len() == 1 {
            (
                format!("{name} server {}", seen.server),
                group.clients_text(),
            )
        } else {
            (
                many(servers.len() as u64, &format!("{name} server")),
                group.clients_text(),
            )
        };
        let repeated: u64 = group.seen().map(|seen| seen.repeated).sum();
        let title = if seen.protocol == "dhcp" {
            format!("{who} answers {clients}")
        } else if servers.len() == 1 {
            format!("{who} does not answer {clients}")
        } else {
            format!("{who} do not answer {clients}")
        };
        let asked = plural(requests, "request");
        let served = group.having(|seen| seen.served) > 0;
        let (confidence, reason) = if group.having(|seen| !seen.is_deaf) == 0 {
            (
                confidence::EVEN,
                "The client repeated its requests, but the capture holds nothing at all that reached it.",
            )
        } else if repeated > 0 {
            (
                confidence::PROVED,
                "The client repeated the same request: it had no answer.",
            )
        } else {
            (
                confidence::LIKELY,
                "The capture shows what else reached the client, and no answer among it.",
            )
        };
        draft
            .title(title)
            .summary(format!(
                "{asked} of {name}, sent over up to {}, got no answer, and nothing else shows that one was received.{}",
                time(long),
                if served { " The client was served in another way." } else { "" },
            ))
            .confidence(confidence, reason)
            .because_if(repeated > 0, || format!("{repeated} of them repeat a request as it was"))
            .not("icmp-unreachable", "no ICMP error answers these requests")
            .not("dns-failure", "these are not questions to a resolver")
            .advise("server", advice(seen.protocol))
            .advise("any", "look for a filter on the way that passes neither the requests nor the answers: capture on both sides of it")
            .verify("server", format!("ss -lunp; tcpdump -n -c 10 udp port {}", seen.server.port), "whether anybody listens, and whether the requests arrive")
    }
}

/// Who answered what, and when last.
struct Answers {
    /// By server and protocol.
    servers: BTreeMap<(Endpoint, &'static str), Timestamp>,
    /// By client and protocol.
    clients: BTreeMap<(IpAddr, &'static str), Timestamp>,
}

impl Answers {
    fn of(notes: &[Note<Fact>]) -> Self {
        let mut answers = Self {
            servers: BTreeMap::new(),
            clients: BTreeMap::new(),
        };
        for note in notes {
            if let Fact::Flow {
                protocol,
                answered: Some(at),
                ..
            } = note.fact
            {
                let ends = note.connection;
                let server = answers.servers.entry((ends.server, protocol)).or_insert(at);
                *server = at.max(*server);
                let client = answers.clients.entry((ends.client.ip, protocol));
                let client = client.or_insert(at);
                *client = at.max(*client);
            }
        }
        answers
    }
}

/// What one client asks of one server in vain, over all its flows.
struct Silent<'a> {
    note: &'a Note<Fact>,
    protocol: &'static str,
    count: u64,
    different: u64,
    first: At,
    last: At,
    refused: bool,
}

fn silent_pairs<'a>(
    notes: &'a [Note<Fact>],
    answers: &Answers,
) -> BTreeMap<(Endpoint, &'static str, IpAddr), Silent<'a>> {
    let mut pairs = BTreeMap::new();
    for note in notes {
        let Fact::Flow {
            protocol,
            unanswered: Some(waiting),
            refused,
            ..
        } = note.fact
        else {
            continue;
        };
        let (server, client) = (note.connection.server, note.connection.client.ip);
        let answered = answers.servers.get(&(server, protocol));
        let is_answered_since = answered.is_some_and(|at| *at >= waiting.first.time);
        if is_answered_since || is_group(server.ip) {
            continue;
        }
        let pair = pairs.entry((server, protocol, client)).or_insert(Silent {
            note,
            protocol,
            count: 0,
            different: 0,
            first: waiting.first,
            last: waiting.last,
            refused: false,
        });
        pair.count += waiting.count;
        pair.different += waiting.different;
        pair.refused |= refused;
        if waiting.first.time < pair.first.time {
            (pair.first, pair.note) = (waiting.first, note);
        }
        if waiting.last.time > pair.last.time {
            pair.last = waiting.last;
        }
    }
    pairs
}

/// Multicast and broadcast, also that of a network of 256 addresses.
fn is_group(ip: IpAddr) -> bool {
    let is_networks = matches!(ip, IpAddr::V4(ip) if ip.octets()[3] == 255);
    is_networks || AddressKind::of(ip) == AddressKind::Group || ip.is_unspecified()
}

impl Silent<'_> {
    /// It as an occurrence, when it is proved.
    fn observation(&self, analysis: &Analysis, answers: &Answers) -> Option<Observation<Seen>> {
        let ends = self.note.connection;
        let (client, server) = (ends.client.ip, ends.server);
        let hosts = &analysis.hosts;
        let caller = hosts.get(client);
        let until = self.last.time + ANSWER_TIME;
        let hears = |host: Option<&HostProfile>| {
            host.is_some_and(|host| host.received_between(self.first.time, until))
        };
        let may_hear = caller.is_none_or(|host| {
            host.may_have_received_between(self.first.time, until)
                || host.first_received().is_none()
        });
        // One that serves files answers from a port of its own.
        let speaks = hosts.may_have_spoken_between(server.ip, client, self.first.time, until);
        let answered_elsewhere = self.protocol == "tftp" && speaks;
        let repeated = self.count - self.different;
        let proved = repeated > 0 && may_hear || hears(caller);
        if self.refused || answered_elsewhere || !proved {
            return None;
        }
        let others = answers.clients.get(&(client, self.protocol));
        let other_server = others.is_some_and(|at| *at >= self.first.time);
        let over_tcp = self.protocol == "quic"
            && hosts.get(server.ip).is_some_and(|host| {
                host.accepted_between(self.first.time - ANSWER_TIME * 15, until + ANSWER_TIME * 15)
            });
        let served = other_server || over_tcp;
        // Who never received anything in the capture may have been answered out of its sight.
        let is_deaf = caller.is_some_and(|host| host.first_received().is_none());
        let impact = if is_deaf || is_nobody(hosts, client) {
            Impact::NONE
        } else if served {
            Impact::recovered(1)
        } else if is_awaited(self.protocol) && repeated > 0 {
            Impact::requests_lost(self.different)
        } else {
            Impact::attempts_failed(1)
        };
        let place = |at: At| SegmentRef::place(at.frame, at.time, Direction::ClientToServer);
        let name = proper(self.protocol);
        let request = format!("a request of {name} that nothing answers");
        let observation = Observation::from_note(self.note, confidence::LIKELY, impact)
            .cause(format!("{} {server}", self.protocol))
            .at(self.first.time)
            .weight(number(self.count))
            .count(self.count)
            .cost("requests_failed", number(impact.requests_lost))
            .proof(place(self.first), request)
            .proof(
                place(self.last),
                format!("the last of {} in a row", many(self.count, "request")),
            )
            .figure("requests", number(self.count))
            .figure("asked_for_ms", ms(self.last.time.since(self.first.time)))
            .seen(Seen {
                protocol: self.protocol,
                server,
                repeated,
                served,
                is_deaf,
            });
        Some(observation)
    }
}

/// A scanner, a peer of peers, or a stranger: nobody who is served here.
fn is_nobody(hosts: &Hosts, client: IpAddr) -> bool {
    hosts.get(client).is_some_and(|host| {
        host.is_scanner() || host.is_peer_to_peer() || host.is_background_noise()
    })
}

/// Somebody waits for the answer: a log-in, a tunnel, a call, a file.
fn is_awaited(protocol: &str) -> bool {
    matches!(protocol, "radius" | "ike" | "sip" | "tftp" | "dhcp")
}

/// What one client asks of several silent servers is one cause: its own side of the path.
fn together(mut found: Vec<Observation<Seen>>) -> Vec<Observation<Seen>> {
    let mut servers = BTreeMap::<(IpAddr, &'static str), BTreeSet<Endpoint>>::new();
    let of = |one: &Observation<Seen>| (one.connection.client.ip, one.seen.protocol);
    for one in &found {
        servers.entry(of(one)).or_default().insert(one.seen.server);
    }
    for one in &mut found {
        let (client, protocol) = of(one);
        if servers[&(client, protocol)].len() > 1 {
            one.cause = format!("{protocol} of {client}");
        }
    }
    found
}

/// DHCP clients that are offered nothing.
fn dhcp(notes: &[Note<Fact>], limits: (f64, f64)) -> Vec<Observation<Seen>> {
    let clients = notes.iter().filter_map(|note| match &note.fact {
        Fact::Dhcp(clients) => Some((note, clients)),
        Fact::Flow { .. } => None,
    });
    let all = clients.flat_map(|(note, clients)| clients.iter().map(move |one| (note, one)));
    let mut served = BTreeMap::<[u8; 6], Timestamp>::new();
    for (_, client) in all.clone() {
        if let Some(at) = client.served {
            let last = served.entry(client.hardware).or_insert(at.time);
            *last = at.time.max(*last);
        }
    }
    let in_vain = all.filter(|(_, client)| {
        let is_served = served.get(&client.hardware);
        number(client.discovers) >= limits.0
            && ms(client.last.time.since(client.first.time)) >= limits.1
            && is_served.is_none_or(|at| *at < client.first.time)
    });
    let observation = |(note, client): (&Note<Fact>, &DhcpClient)| {
        let place = |at: At| SegmentRef::place(at.frame, at.time, Direction::ClientToServer);
        let asks = format!("DHCPDISCOVER of {}", mac(client.hardware));
        Observation::from_note(note, confidence::LIKELY, Impact::requests_lost(1))
            .cause("dhcp")
            .at(client.first.time)
            .weight(number(client.discovers))
            .count(client.discovers)
            .failures("requests_failed")
            .proof(place(client.first), format!("{asks} that nothing answers"))
            .proof(
                place(client.last),
                format!("{asks}, the last of {}", client.discovers),
            )
            .figure("requests", number(client.discovers))
            .figure(
                "asked_for_ms",
                ms(client.last.time.since(client.first.time)),
            )
            .seen(Seen {
                protocol: "dhcp",
                server: note.connection.server,
                repeated: client.discovers - 1,
                served: false,
                is_deaf: false,
            })
    };
    in_vain.map(observation).collect()
}

/// The protocol as the field writes it.
fn proper(protocol: &str) -> String {
    match protocol {
        "radius" | "ntp" | "snmp" | "ike" | "stun" | "quic" | "sip" | "tftp" | "dhcp" => {
            protocol.to_uppercase()
        }
        other => other.to_owned(),
    }
}

fn advice(protocol: &str) -> &'static str {
    match protocol {
        "radius" => {
            "check that the server knows the client's address and shares its secret: it drops what it does not know without a word"
        }
        "snmp" => {
            "check that the agent runs, that the community or user is known there, and that its access list admits the manager"
        }
        "ntp" => {
            "check that the server runs and serves this client's network (`allow`, `restrict`), and whether it limits the rate"
        }
        "ike" => {
            "check the peer's address and that UDP 500 and 4500 pass; many gateways drop proposals of peers they do not know"
        }
        "quic" => {
            "let UDP 443 pass where HTTP/3 is wanted, or refuse it with ICMP so that clients fall back at once"
        }
        "dhcp" => {
            "check that a DHCP server or a relay serves this network or VLAN, and that its pool is not used up"
        }
        _ => {
            "check that the service runs, that it listens on this address, and that a filter lets it answer"
        }
    }
}

//! `tls-no-resumption`: a client makes full TLS handshakes where it could resume sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use analyzer::app::{At, TlsFacts};
use analyzer::event::SegmentRef;
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Direction, Endpoint};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, number, plural, time};

declare_rule! {
    /// A client makes a full TLS handshake for every connection although the server resumes sessions.
    ///
    /// ## What it means
    /// The client's program does not keep TLS sessions: each new process or each new context begins without them, or
    /// the cache is off. The server offers them in vain.
    ///
    /// ## Why it matters
    /// A full handshake costs both ends a signature and a key exchange, some kilobytes of certificates, and, up to
    /// TLS 1.2, a round trip more. At hundreds of connections a second it is what the server's processors do.
    ///
    /// ## How it is detected
    /// - At least `min_handshakes` complete handshakes of one client address with one server, less than a minute apart
    ///   on average.
    /// - All name the same host, and none resumes a session or asks to. Up to TLS 1.2 the server's certificate shows that
    ///   a handshake was full. Hellos that were cut are not counted.
    /// - The server offers it: it gave this client a ticket (which TLS up to 1.2 shows), or resumed another
    ///   client's session.
    ///
    /// The ClientHello of the last of them proves it, and the ticket where there is one. Nobody waits noticeably, so
    /// severity is info.
    ///
    /// What refutes it: one handshake of that client that resumes a session, or asks to.
    ///
    /// ## What to do
    /// Keep connections open; where that is not possible, let the client keep sessions.
    ///
    /// ## Known limits
    /// TLS 1.3 enciphers tickets: the finding then needs another client whose session the server resumes. Resumption
    /// after a HelloRetryRequest is not seen. Several programs behind one address look like one client.
    ///
    /// ## References
    /// - RFC 5077 (session tickets), RFC 8446 §2.2 and §4.6.1
    pub(crate) struct TlsNoResumption {
        id: "tls-no-resumption",
        group: Services,
        title: "Full TLS handshakes where sessions could be resumed",
        severity: Info,
        needs: [Tcp, BothDirections, Handshake],
        traits: [Tls],
        clouded_by: [CutShort],
        figures: [
            full_handshakes: Count / Max,
            handshake_ms: Milliseconds / Median,
            round_trip_ms: Milliseconds / Median,
        ],
        thresholds: [
            min_handshakes = 20.0: "Full handshakes; a page load makes a dozen at once before it has a ticket.",
        ],
        host_evidence: [Owner],
    }
}

/// TLS 1.3 on the wire.
const TLS13: u16 = 0x0304;

/// A server by its name, where clients tell one.
type Named<'a> = (Endpoint, Option<&'a str>);

/// Tickets live for five minutes at least with all usual servers; who comes back this often could use one.
const APART: Duration = Duration::from_secs(60);

/// What a handshake says of resumption.
pub(crate) struct Handshake {
    name: Option<String>,
    hello: At,
    took: Duration,
    round_trip: Option<Duration>,
    /// The client resumes a session, or asks to.
    asks: bool,
    /// It is no full handshake: the server took a session up.
    resumed: bool,
    /// The server gives a session ticket.
    ticket: Option<At>,
}

impl Rule for TlsNoResumption {
    /// Whether the client was given tickets.
    type Seen = bool;
    type Fact = Handshake;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        _ctx: &Context<'_>,
        out: &mut Observations<bool, Handshake>,
    ) {
        if let Some(fact) = conn.app.tls.as_deref().and_then(|tls| handshake(conn, tls)) {
            out.note(|| Note::new(conn, fact));
        }
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        ctx: &Context<'_>,
        collected: &mut Collected<bool, Handshake>,
    ) {
        let mut pairs = BTreeMap::<(IpAddr, Named<'_>), Vec<&Note<Handshake>>>::new();
        let mut resuming = BTreeSet::<Named<'_>>::new();
        for note in &collected.notes {
            let server = (note.connection.server, note.fact.name.as_deref());
            let client = note.connection.client.ip;
            pairs.entry((client, server)).or_default().push(note);
            if note.fact.resumed {
                resuming.insert(server);
            }
        }
        let mut found = Vec::new();
        for ((client, server), notes) in pairs {
            let scans = (analysis.hosts.get(client)).is_some_and(HostProfile::is_scanner);
            let count = notes.len();
            if scans || number(count as u64) < ctx.threshold("min_handshakes") {
                continue;
            }
            let (first, last) = (notes[0], notes[count - 1]);
            let together = last.fact.hello.time.since(first.fact.hello.time);
            let often = together.as_secs_f64() < APART.as_secs_f64() * number(count as u64);
            let ticket = notes.iter().find_map(|note| note.fact.ticket);
            if often
                && !notes.iter().any(|note| note.fact.asks)
                && (ticket.is_some() || resuming.contains(&server))
            {
                found.push(observation(&notes, last, ticket));
            }
        }
        collected.observations.extend(found);
    }

    fn describe(&self, group: &Group<'_, bool, Handshake>, draft: Narrative) -> Narrative {
        let figure = |name| group.figure(name).unwrap_or_default();
        let (client, server) = (group.client().ip, group.server());
        let handshakes = plural(figure("full_handshakes"), "full TLS handshake");
        let round_trip = group.figure("round_trip_ms");
        let beside = round_trip.map_or_else(String::new, |ms| {
            format!(" at a round trip of {}", time(ms))
        });
        draft
            .title(format!("{client} makes {handshakes} with {server}"))
            .summary(format!(
                "{client} made {handshakes} with {server} and asked in none of them to resume a session, although the server {}. The median took {}{beside}.",
                if group.best().seen { "gave it session tickets" } else { "resumes sessions of others" },
                time(figure("handshake_ms")),
            ))
            .confidence(confidence::LIKELY, "Every hello counted was captured whole; several programs behind one address may each have made few.")
            .not("connection-churn", "it is the handshakes that cost here, however many requests each connection carried")
            .advise("client", "keep connections open between requests; else share one TLS context or session cache between connections")
            .verify("server", format!("sleep 1 | openssl s_client -connect {server} -sess_out s.pem; sleep 1 | openssl s_client -connect {server} -sess_in s.pem | grep Reused"), "that the server resumes sessions")
    }
}

/// What a complete handshake whose ClientHello was captured whole says.
fn handshake(conn: &Connection, tls: &TlsFacts) -> Option<Handshake> {
    let (hello, complete) = (tls.client_hello?, tls.handshake_complete?);
    let asks = tls.asks_to_resume?;
    // Up to TLS 1.2 a session may also be taken up by its id; then no certificate is sent.
    let resumed = match tls.version? {
        TLS13.. => tls.resumes,
        _ => tls.certificate.is_none(),
    };
    Some(Handshake {
        name: tls.sni.clone(),
        hello,
        took: complete.time.since(hello.time),
        round_trip: conn.rtt(),
        asks: asks || resumed,
        resumed,
        ticket: tls.ticket,
    })
}

fn median(mut values: Vec<Duration>) -> Option<Duration> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn observation(
    notes: &[&Note<Handshake>],
    last: &Note<Handshake>,
    ticket: Option<At>,
) -> Observation<bool> {
    let count = notes.len() as u64;
    let took = notes.iter().map(|note| note.fact.took).collect();
    let trips = notes
        .iter()
        .filter_map(|note| note.fact.round_trip)
        .collect();
    let place = |at: At, direction| SegmentRef::place(at.frame, at.time, direction);
    let given = ticket.map(|at| place(at, Direction::ServerToClient));
    Observation::from_note(last, confidence::LIKELY, Impact::NONE)
        .cause(format!(
            "{} {}",
            last.connection.client.ip, last.connection.server
        ))
        .at(notes[0].fact.hello.time)
        .measured(notes[0].fact.hello.time, last.fact.hello.time)
        .weight(number(count))
        .count(count)
        .proof_if(given, "the server gives a session ticket")
        .proof(
            place(last.fact.hello, Direction::ClientToServer),
            format!(
                "the last of {} that ask for no session",
                many(count, "ClientHello")
            ),
        )
        .figure("full_handshakes", number(count))
        .figure_if("handshake_ms", median(took).map(ms))
        .figure_if("round_trip_ms", median(trips).map(ms))
        .seen(given.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::Finding;
    use crate::testkit::{Builder, at, figure, findings_of};
    use analyzer::app::{AppProtocol, TlsCertificate};

    /// What a connection shows: asks, ticket given, resumed.
    type Said = (Option<bool>, bool, bool);

    const FULL: Said = (Some(false), true, false);

    fn connection(number: u16, start: f64, (asks, ticket, resumed): Said) -> Connection {
        let place = |ms: f64| {
            Some(At {
                frame: u64::from(number) * 1000 + 4,
                time: at(start + ms),
            })
        };
        let certificate = TlsCertificate {
            subject: "shop.example".to_owned(),
            not_before: at(0.0),
            not_after: at(1e9),
            at: place(30.0).expect("a place"),
        };
        let tls = TlsFacts {
            client_hello: place(20.0),
            server_hello: place(30.0),
            handshake_complete: place(40.0),
            version: Some(0x0303),
            asks_to_resume: asks,
            certificate: (!resumed).then(|| Box::new(certificate)),
            ticket: place(40.0).filter(|_| ticket),
            ..TlsFacts::default()
        };
        Builder::tcp(number)
            .handshake(start, 10.0)
            .request(start + 20.0, 300)
            .response(start + 30.0, 3000)
            .protocol(AppProtocol::Tls)
            .with(|conn| conn.app.tls = Some(Box::new(tls)))
            .build()
    }

    fn found(count: u16, apart_ms: f64, said: Said, other: Option<Said>) -> Vec<Finding> {
        let connections = (1..=count).map(|n| connection(n, f64::from(n) * apart_ms, said));
        let other = other.map(|said| connection(count + 1, apart_ms, said));
        let all: Vec<Connection> = connections.chain(other).collect();
        findings_of("tls-no-resumption", &all)
    }

    #[test]
    fn tickets_that_nobody_uses() {
        let findings = found(30, 500.0, FULL, None);
        assert_eq!(findings.len(), 1);
        assert!((figure(&findings[0], "full_handshakes") - 30.0).abs() < f64::EPSILON);
    }

    #[test]
    fn few_rare_unknown_or_without_a_ticket_are_not() {
        assert!(found(10, 500.0, FULL, None).is_empty());
        assert!(found(30, 120_000.0, FULL, None).is_empty());
        assert!(found(30, 500.0, (None, true, false), None).is_empty());
        assert!(found(30, 500.0, (Some(false), false, false), None).is_empty());
    }

    #[test]
    fn sessions_that_are_taken_up_by_their_id_are_not() {
        assert!(found(30, 500.0, (Some(false), false, true), None).is_empty());
    }

    #[test]
    fn a_client_that_asks_once_keeps_sessions() {
        assert!(found(30, 500.0, FULL, Some((Some(true), false, true))).is_empty());
        // Refused, with a new ticket.
        assert!(found(30, 500.0, FULL, Some((Some(true), true, false))).is_empty());
    }
}

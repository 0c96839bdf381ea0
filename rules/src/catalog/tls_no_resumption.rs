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
    /// - None of their hellos asks for the resumption of a session. Hellos that were cut are not counted.
    /// - The server can: it gave this client a ticket (which TLS up to 1.2 shows), or it resumed another
    ///   client's session.
    ///
    /// A ClientHello of the last of them and the ticket prove it. Nobody waits noticeably for it: info.
    ///
    /// What refutes it: one hello of that client that asks for resumption.
    ///
    /// ## What to do
    /// Keep connections open; where that is not possible, let the client keep sessions.
    ///
    /// ## Known limits
    /// In TLS 1.3 tickets are enciphered: what shows is only that the server resumes somebody's session. Several programs
    /// behind one address look like one client.
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

/// Tickets live for five minutes at least with all usual servers; who comes back this often could use one.
const APART: Duration = Duration::from_secs(60);

/// What a handshake says of resumption.
#[derive(Clone, Copy)]
pub(crate) struct Handshake {
    hello: At,
    took: Duration,
    round_trip: Option<Duration>,
    /// The client asks to resume a session.
    asks: bool,
    /// The server shows that it resumes sessions: a ticket, or a session taken up.
    grants: Option<At>,
}

impl Rule for TlsNoResumption {
    type Seen = ();
    type Fact = Handshake;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        _ctx: &Context<'_>,
        out: &mut Observations<(), Handshake>,
    ) {
        if let Some(fact) = conn.app.tls.as_deref().and_then(|tls| handshake(conn, tls)) {
            out.note(|| Note::new(conn, fact));
        }
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        ctx: &Context<'_>,
        collected: &mut Collected<(), Handshake>,
    ) {
        let mut pairs = BTreeMap::<(IpAddr, Endpoint), Vec<&Note<Handshake>>>::new();
        let mut resuming = BTreeSet::<Endpoint>::new();
        for note in &collected.notes {
            let (client, server) = (note.connection.client.ip, note.connection.server);
            pairs.entry((client, server)).or_default().push(note);
            if note.fact.asks && note.fact.grants.is_some() {
                resuming.insert(server);
            }
        }
        for ((client, server), notes) in pairs {
            let scans = (analysis.hosts.get(client)).is_some_and(HostProfile::is_scanner);
            let count = notes.len();
            if scans || number(count as u64) < ctx.threshold("min_handshakes") {
                continue;
            }
            let (first, last) = (notes[0], notes[count - 1]);
            let together = last.fact.hello.time.since(first.fact.hello.time);
            let often = together.as_secs_f64() < APART.as_secs_f64() * number(count as u64);
            let ticket = notes.iter().find_map(|note| note.fact.grants);
            if often
                && !notes.iter().any(|note| note.fact.asks)
                && (ticket.is_some() || resuming.contains(&server))
            {
                let one = observation(&notes, last, ticket);
                collected.observations.push(one);
            }
        }
    }

    fn describe(&self, group: &Group<'_, (), Handshake>, draft: Narrative) -> Narrative {
        let figure = |name| group.figure(name).unwrap_or_default();
        let (client, server) = (group.client().ip, group.server());
        let handshakes = plural(figure("full_handshakes"), "full TLS handshake");
        draft
            .title(format!("{client} makes {handshakes} with {server}"))
            .summary(format!(
                "{client} made {handshakes} with {server} and asked in none of them to resume a session, although the server does that. Each took {} at a round trip of {}.",
                time(figure("handshake_ms")),
                time(figure("round_trip_ms")),
            ))
            .confidence(confidence::LIKELY, "Every hello counted was captured whole; several programs behind one address may each have made few.")
            .not("connection-churn", "it is the handshakes that cost here, however many requests each connection carried")
            .advise("client", "keep connections open between requests; else share one TLS context or session cache between connections")
            .verify("server", format!("openssl s_client -connect {server} -reconnect </dev/null | grep -E 'New|Reused'"), "that the server resumes sessions")
    }
}

/// What a complete handshake whose ClientHello was captured whole says.
fn handshake(conn: &Connection, tls: &TlsFacts) -> Option<Handshake> {
    let (hello, complete) = (tls.client_hello?, tls.handshake_complete?);
    let taken_up = tls.server_hello.filter(|_| tls.resumes);
    Some(Handshake {
        hello,
        took: complete.time.since(hello.time),
        round_trip: conn.rtt(),
        asks: tls.asks_to_resume?,
        grants: tls.ticket.or(taken_up),
    })
}

fn observation(
    notes: &[&Note<Handshake>],
    last: &Note<Handshake>,
    ticket: Option<At>,
) -> Observation {
    let count = notes.len() as u64;
    let mut took: Vec<f64> = notes.iter().map(|note| ms(note.fact.took)).collect();
    took.sort_by(f64::total_cmp);
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
        .figure("handshake_ms", took[took.len() / 2])
        .figure_if("round_trip_ms", last.fact.round_trip.map(ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::Finding;
    use crate::testkit::{Builder, at, figure, findings_of};
    use analyzer::app::AppProtocol;

    /// What the hellos of a connection say: asked, ticket given, taken up.
    type Said = (Option<bool>, bool, bool);

    const FULL: Said = (Some(false), true, false);

    fn connection(number: u16, start: f64, (asks, ticket, resumes): Said) -> Connection {
        let place = |ms: f64| {
            Some(At {
                frame: u64::from(number) * 1000 + 4,
                time: at(start + ms),
            })
        };
        let tls = TlsFacts {
            client_hello: place(20.0),
            server_hello: place(30.0),
            handshake_complete: place(40.0),
            asks_to_resume: asks,
            resumes,
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
        findings_of(
            "tls-no-resumption",
            &connections.chain(other).collect::<Vec<_>>(),
        )
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
    fn a_client_that_asks_once_keeps_sessions() {
        assert!(found(30, 500.0, FULL, Some((Some(true), false, true))).is_empty());
    }
}

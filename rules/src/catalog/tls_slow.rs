//! `tls-slow`: a TLS handshake takes much longer than its round trips.

use std::collections::BTreeMap;
use std::time::Duration;

use analyzer::app::{At, TlsFacts};
use analyzer::{Analysis, Connection, Direction, Endpoint, EventKind, Timestamp};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations, segment_at};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, time};
use crate::signs::waits::union;

declare_rule! {
    /// A TLS handshake takes hundreds of milliseconds beyond its round trips.
    ///
    /// ## What it means
    /// One end is busy or blocked during the handshake: a server short of CPU or entropy, with its key in an HSM,
    /// or waiting for another service before it answers; a client that checks a certificate's status (OCSP, CRL)
    /// or asks its user.
    ///
    /// ## Why it matters
    /// Every new connection pays it before the first request, and no request log shows it.
    ///
    /// ## How it is detected
    /// The handshake from ClientHello to the last Finished is cut where the ends take turns; from each part the round trip to that
    /// end is taken off, and another whole one for what may need two (a second ClientHello, a long chain of certificates).
    /// A part that is left with at least `slow_ms` is that end's. The record before it and the one that ends it prove it.
    ///
    /// A device on the way that answers SYNs in the server's name makes the round trip look short. So a server has to be next to
    /// the capture point (its hop limit is fresh, its round trip below a millisecond), or to have taken a third of
    /// that time at most in two other handshakes of the capture.
    ///
    /// What refutes it: anything sent again meanwhile (see packet-loss). Severity: by the time on the clock in
    /// which somebody waited a second or longer for a server next to the capture point; all else is low.
    ///
    /// ## What to do
    /// At the server: processor, entropy, key operations, session resumption. At the client: where it looks up the state
    /// of certificates, and whether that is reachable.
    ///
    /// ## Known limits
    /// What is a Finished in TLS 1.3 is judged by its length. Handshakes whose beginning was not captured are left out.
    ///
    /// ## References
    /// - RFC 8446 §2, RFC 5246 §7.3; RFC 6960 (OCSP)
    pub(crate) struct TlsSlow {
        id: "tls-slow",
        group: Services,
        title: "TLS handshakes are slow",
        severity: High,
        needs: [Tcp, BothDirections, Handshake],
        traits: [Tls],
        clouded_by: [CaptureDrops, ClockStep],
        figures: [
            handshakes: Count / Sum,
            slow_ms_max: Milliseconds / Max,
            handshake_ms: Milliseconds / Median,
            round_trip_ms: Milliseconds / Median,
        ],
        thresholds: [
            slow_ms = 300.0: "What one end takes beyond the round trips; an RSA signature takes a few milliseconds.",
        ],
        host_evidence: [Owner],
    }
}

/// From here on a wait counts by itself.
const NOTICED: Duration = Duration::from_secs(1);

/// Handshakes of a server that show what is usual.
const USUAL: usize = 2;
/// A server that answers within this is in the same network.
const NEXT_DOOR: Duration = Duration::from_millis(1);

/// A part of a handshake.
#[derive(Clone, Copy)]
struct Part {
    /// Whose time it is.
    of: Direction,
    from: At,
    to: At,
    /// The record that ends it.
    ends_with: &'static str,
}

/// A handshake in which one end took long.
pub(crate) struct Seen {
    of: Direction,
    /// When that end had to act, were it not for the round trips, and when it did.
    wait: (Timestamp, Timestamp),
    lost: Duration,
    /// It is the end that the capture point is next to.
    is_near: bool,
}

impl Rule for TlsSlow {
    type Seen = Seen;
    /// What the server took beyond round trips.
    type Fact = Duration;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        ctx: &Context<'_>,
        out: &mut Observations<Seen, Duration>,
    ) {
        let (Some(tls), Some(round_trip)) = (&conn.app.tls, conn.rtt()) else {
            return;
        };
        let Some(parts) = parts(tls) else {
            return;
        };
        let own = |part: &Part| {
            let to_end = conn.half(part.of.reverse()).rtt_min.unwrap_or_default();
            let took = part.to.time.since(part.from.time);
            took.saturating_sub(to_end + round_trip)
        };
        let parts = || parts.iter().flatten();
        let of_server = parts().filter(|part| part.of == Direction::ServerToClient);
        if let Some(slowest) = of_server.map(own).max() {
            out.note(|| Note::new(conn, slowest));
        }
        let Some(slowest) = parts().max_by_key(|part| own(part)) else {
            return;
        };
        let lost = own(slowest);
        if ms(lost) < ctx.threshold("slow_ms") || repeats_within(conn, tls) {
            return;
        }
        let whole = tls.handshake_complete.zip(tls.client_hello);
        let whole = whole.map(|(complete, hello)| ms(complete.time.since(hello.time)));
        let end = slowest.of.sender();
        let observation = Observation::new(conn, confidence::LIKELY, Impact::SOME)
            .cause(format!("{} {end}", conn.server))
            .at(slowest.from.time)
            .measured(slowest.from.time, slowest.to.time)
            .weight(ms(lost))
            .proof(
                segment_at(conn, slowest.from, slowest.of.reverse()),
                format!("now it is the {end}'s turn"),
            )
            .proof(
                segment_at(conn, slowest.to, slowest.of),
                format!(
                    "{}, {} later",
                    slowest.ends_with,
                    time(ms(slowest.to.time.since(slowest.from.time)))
                ),
            )
            .figure("handshakes", 1.0)
            .figure("slow_ms_max", ms(lost))
            .figure_if("handshake_ms", whole)
            .figure("round_trip_ms", ms(round_trip))
            .stalls([(slowest.to.time - lost, slowest.to.time)])
            .seen(Seen {
                of: slowest.of,
                wait: (slowest.to.time - lost, slowest.to.time),
                lost,
                is_near: is_next_to_server(conn),
            });
        out.push(observation);
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        _ctx: &Context<'_>,
        collected: &mut Collected<Seen, Duration>,
    ) {
        let mut servers = BTreeMap::<Endpoint, Vec<Duration>>::new();
        for note in &collected.notes {
            let server = note.connection.server;
            servers.entry(server).or_default().push(note.fact);
        }
        let is_front = |server: Endpoint| {
            let host = analysis.hosts.get(server.ip);
            host.is_some_and(|host| host.shared_front().is_some())
        };
        collected.observations.retain(|one| {
            let server = one.connection.server;
            let fast = servers.get(&server).into_iter().flatten();
            let fast = fast.filter(|took| **took <= one.seen.lost / 3).count();
            one.seen.of == Direction::ClientToServer
                || one.seen.is_near && !is_front(server)
                || fast >= USUAL
        });
    }

    fn describe(&self, group: &Group<'_, Seen, Duration>, draft: Narrative) -> Narrative {
        let server = group.server();
        let of = group.best().seen.of;
        let figure = |name| group.figure(name).unwrap_or_default();
        let (lost, round_trip) = (time(figure("slow_ms_max")), time(figure("round_trip_ms")));
        let handshakes = many(group.connections(), "handshake");
        let (who, advice) = match of {
            Direction::ServerToClient => (
                format!("the server {server}"),
                "check CPU and entropy, whether the key lies in an HSM, and which services the server calls during the handshake; let sessions resume",
            ),
            Direction::ClientToServer => (
                group.clients_text(),
                "check what the client does with the certificate: status lookups (OCSP, CRL) that do not get through, a store on a network, a question to its user",
            ),
        };
        // What overlaps on the clock is one wait.
        let near = group.seen().filter(|seen| seen.is_near);
        let long = near.map(|seen| seen.wait);
        let long = long.filter(|(from, to)| to.since(*from) >= NOTICED);
        let waited = union(long);
        let impact = if of == Direction::ServerToClient && !waited.is_zero() {
            Impact::waited(waited)
        } else {
            Impact::SOME
        };
        let title = match of {
            Direction::ServerToClient => {
                format!("{server} takes up to {lost} for its part of TLS handshakes")
            }
            Direction::ClientToServer => {
                format!("{who} takes up to {lost} for its part of TLS handshakes with {server}")
            }
        };
        draft
            .impact(group.meta, impact)
            .title(title)
            .summary(format!(
                "In {handshakes} {who} took up to {lost} beyond the round trip of {round_trip} to send its next record. Nothing was retransmitted meanwhile.",
            ))
            .confidence(confidence::LIKELY, "The records were captured and the round trip was measured; what the end did meanwhile is not visible.")
            .not("packet-loss", "nothing was sent again during these handshakes")
            .not("slow-connect", "the TCP handshake was over before")
            .advise(of.sender(), advice)
            .verify(of.sender(), "strace -f -tt -e trace=network -p PID", "what the process waits for in mid-handshake")
    }
}

/// The parts of a handshake, in order; `None` when it did not get to its end.
fn parts(tls: &TlsFacts) -> Option<[Option<Part>; 4]> {
    let (hello, answer, complete) = (
        tls.client_hello?,
        tls.server_hello?,
        tls.handshake_complete?,
    );
    let (flight, finished) = (tls.server_flight_end?, tls.client_finished?);
    let part = |of: Direction, from: At, to: At, ends_with: &'static str| {
        (to.time >= from.time).then_some(Part {
            of,
            from,
            to,
            ends_with,
        })
    };
    let (client, server) = (Direction::ClientToServer, Direction::ServerToClient);
    Some([
        part(server, hello, answer, "the ServerHello"),
        part(
            server,
            answer,
            flight,
            "the last record of the server's flight",
        ),
        part(client, flight, finished, "the client's Finished"),
        part(server, finished, complete, "the server's Finished"),
    ])
}

/// The server itself answers, and no device on the way: no router has counted its hop limit down, and
/// its round trip is that of one network.
fn is_next_to_server(conn: &Connection) -> bool {
    let is_fresh = matches!(conn.from_server().hop_limit, Some(64 | 128 | 255));
    let round_trip = conn.from_client().rtt_min;
    is_fresh && round_trip.is_some_and(|round_trip| round_trip <= NEXT_DOOR)
}

/// Something was sent again, or is missing, between ClientHello and the last Finished.
fn repeats_within(conn: &Connection, tls: &TlsFacts) -> bool {
    let (Some(hello), Some(complete)) = (tls.client_hello, tls.handshake_complete) else {
        return true;
    };
    let disturbs = |kind: &EventKind| {
        matches!(
            kind,
            EventKind::Retransmission { .. }
                | EventKind::OutOfOrder { .. }
                | EventKind::AckedUnseen { .. }
        )
    };
    let events = conn.events_within(hello.frame..=complete.frame);
    events.is_none_or(|mut events| events.any(|event| disturbs(&event.kind)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::Finding;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, C, S, at, findings_of};
    use analyzer::app::AppProtocol;
    use analyzer::event::RetransmissionKind;

    /// ClientHello at 20 ms; the other moments in ms after it.
    fn handshake(hello: f64, flight: f64, finished: f64) -> Builder {
        let place = |frame: u64, ms: f64| {
            Some(At {
                frame: 1000 + frame,
                time: at(20.0 + ms),
            })
        };
        let tls = TlsFacts {
            client_hello: place(4, 0.0),
            server_hello: place(5, hello),
            server_flight_end: place(6, flight),
            client_finished: place(7, finished),
            handshake_complete: place(7, finished),
            ..TlsFacts::default()
        };
        let builder = Builder::tcp(1).handshake(0.0, 10.0).request(20.0, 300);
        let builder = builder
            .response(20.0 + hello, 3000)
            .protocol(AppProtocol::Tls);
        builder.with(|conn| {
            conn.app.tls = Some(Box::new(tls));
            conn.halves[1].hop_limit = Some(64);
        })
    }

    fn found(builder: Builder) -> Vec<Finding> {
        findings_of("tls-slow", &[builder.build()])
    }

    #[test]
    fn a_late_server_is_told_and_graded_by_the_wait() {
        let findings = found(handshake(1500.0, 1501.0, 1512.0));
        assert_eq!(
            (findings.len(), findings[0].severity),
            (1, Severity::Medium)
        );
        let findings = found(handshake(20.0, 501.0, 512.0));
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Low));
        assert!(findings[0].title.starts_with("10.9.0.2:80 takes"));
    }

    #[test]
    fn beyond_a_router_the_server_has_to_be_faster_at_other_times() {
        let far = |number: u16, hello: f64| {
            let builder = handshake(hello, hello + 1.0, hello + 12.0);
            let builder = builder.with(|conn| {
                conn.halves[1].hop_limit = Some(57);
                conn.first_frame = u64::from(number) * 1000 + 1;
            });
            builder.build()
        };
        assert!(findings_of("tls-slow", &[far(1, 1500.0)]).is_empty());
        let all = [far(1, 1500.0), far(2, 20.0), far(3, 30.0)];
        let findings = findings_of("tls-slow", &all);
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Low));
    }

    #[test]
    fn a_late_client_waits_for_itself() {
        let findings = found(handshake(15.0, 16.0, 5_030.0));
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Low));
        assert!(findings[0].title.starts_with("10.9.0.1 takes"));
    }

    #[test]
    fn round_trips_and_repeats_are_not_slow() {
        assert!(found(handshake(15.0, 16.0, 30.0)).is_empty());
        let mut builder = handshake(1500.0, 1501.0, 1512.0);
        let repeat = builder.segment(1400.0, C, 0x18, 10);
        let _ = S;
        let kind = EventKind::Retransmission {
            kind: RetransmissionKind::Timeout,
            spurious: false,
            presumed: false,
            original_frame: Some(1004),
            after: Duration::from_secs(1),
        };
        assert!(found(builder.event(repeat, kind)).is_empty());
    }
}

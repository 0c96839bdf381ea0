//! `tls-handshake-failure`: TLS that never gets to data.

use std::time::Duration;

use analyzer::app::{Opening, TlsAlert, TlsFacts};
use analyzer::connection::ResetKind;
use analyzer::episodes::EpisodeKind;
use analyzer::event::SegmentRef;
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Direction, QualityKind};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::most;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{self, Narrative};
use crate::model::observation::{Collected, Observation, Observations, segment_at};
use crate::model::rule::Rule;
use crate::model::text::plural;
use crate::signs::goodbye::GOODBYE_TO_FIN;

declare_rule! {
    /// TLS handshakes end in an alert or a close before any data flows.
    ///
    /// ## What it means
    /// Client and server did not agree on a version, a cipher, a certificate or the requested name. One end
    /// sends an alert, or just closes.
    ///
    /// ## Why it matters
    /// No request was sent at all. Clients report a certificate or protocol error, often without detail.
    ///
    /// ## How it is detected
    /// - What proves it: a fatal alert in clear text before application data; or FIN or RST from the server
    ///   right after the ClientHello, without a ServerHello and before the client closed.
    /// - In TLS 1.3 later alerts are encrypted. A client that closes immediately after the server's part of the
    ///   handshake (long enough to hold a certificate), without sending its own part, rejected it. A server
    ///   that answers the client's part with one encrypted alert and closes rejected that part.
    /// - What refutes it: warnings, after which the handshake continues; connections without a ClientHello
    ///   (health checks); clients that timed out, lost a race or ended.
    ///
    /// Each failure counts as a lost request; failures of scanners are info.
    ///
    /// ## What to do
    /// By alert: check the certificate chain and its validity, trusted issuers, protocol versions, or the
    /// server name.
    ///
    /// ## Known limits
    /// Failures after the ServerHello of TLS 1.3 do not show their reason; scanners that only read the
    /// certificate look like clients that reject it. A snap length that cuts the alert hides its number.
    ///
    /// ## References
    /// - RFC 8446 §6; RFC 5246 §7.2; RFC 6066; RFC 7301
    pub(crate) struct TlsHandshakeFailure {
        id: "tls-handshake-failure",
        group: Services,
        title: "TLS handshakes fail",
        severity: High,
        needs: [Tcp],
        traits: [Tls],
        clouded_by: [CaptureDrops, Snaplen],
        figures: [failures: Count / Sum],
        thresholds: [],
        host_evidence: [Logs, Owner],
    }
}

type Group<'a> = narrative::Group<'a, Seen>;

/// A handshake that failed.
pub(crate) struct Seen {
    reason: String,
    /// Who ended it.
    end: Direction,
    /// What the confidence rests on.
    why: &'static str,
    /// The number of the alert, or of the one that such an end stands for.
    alert: Option<u8>,
    /// It shows in a close, not by an alert in clear text.
    by_close: bool,
    /// The name that the client asked for.
    sni: String,
    version: &'static str,
}

impl Rule for TlsHandshakeFailure {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations<Seen>) {
        let Some(tls) = &conn.app.tls else { return };
        let Some(hello) = tls.client_hello else {
            return;
        };
        if is_answered_otherwise(conn) {
            return;
        }
        let Some(failure) = Failure::of(conn, tls) else {
            return;
        };
        // What says that it went on may be among the frames that the capture missed.
        let is_stated = failure.confidence >= confidence::STATED;
        let impact = if is_stated || !conn.is_touched_by(QualityKind::CaptureDrops) {
            Impact::requests_lost(1)
        } else {
            Impact::SOME
        };
        let hello = segment_at(conn, hello, Direction::ClientToServer);
        let sni = tls.sni.clone().unwrap_or_else(|| "no name".to_owned());
        out.push(
            Observation::new(conn, failure.confidence, impact)
                .cause(format!("{} {}", conn.server, failure.reason))
                .at(failure.segment.time)
                .evidence(hello, format!("ClientHello for {sni}"))
                .proof(failure.segment, failure.note)
                .figure("failures", 1.0)
                .cost("connections_failed", 1.0)
                .seen(Seen {
                    reason: failure.reason,
                    end: failure.segment.direction,
                    why: failure.why,
                    alert: failure.alert,
                    by_close: failure.confidence < confidence::STATED,
                    sni,
                    version: version(tls.version),
                }),
        );
    }

    fn on_capture(&self, analysis: &Analysis, _: &Context<'_>, collected: &mut Collected<Seen>) {
        // Clients close the connections that lost a race, and all when they end, at any moment.
        let closed_by_chance = |one: &Observation<Seen>| {
            [EpisodeKind::RaceLosers, EpisodeKind::ProgramEnd]
                .into_iter()
                .any(|kind| {
                    let first_frame = one.connection.first_frame;
                    (analysis.episodes.of_connection(kind, first_frame)).is_some()
                })
        };
        let by_client = |one: &Observation<Seen>| one.seen.end == Direction::ClientToServer;
        (collected.observations)
            .retain(|one| !(one.seen.by_close && by_client(one) && closed_by_chance(one)));
        for one in &mut collected.observations {
            let client = analysis.hosts.get(one.connection.client.ip);
            if client.is_some_and(HostProfile::is_scanner) {
                one.impact = Impact::NONE;
            }
        }
    }

    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative {
        let server = group.server();
        let reason = most(group.seen().map(|seen| seen.reason.as_str())).unwrap_or_default();
        let end = most(group.seen().map(|seen| seen.end)).map_or("", Direction::sender);
        let sni = most(group.seen().map(|seen| seen.sni.as_str())).unwrap_or_default();
        let version = most(group.seen().map(|seen| seen.version)).unwrap_or_default();
        let why = most(group.seen().map(|seen| seen.why)).unwrap_or_default();
        let failures = group.figure("failures").unwrap_or_default();
        let confidence = draft.confidence;
        let alert = most(group.seen().map(|seen| seen.alert)).flatten();
        let draft = draft
            .title(format!("TLS handshakes with {server} fail: {}", reason.trim_start_matches("an ")))
            .summary(format!(
                "{} with {server} (requested name: {sni}, version {version}) ended before any data: {reason} from the {end}. No request was answered.",
                plural(failures, "TLS handshake")
            ))
            .confidence(confidence, why)
            .because(format!("after the ClientHello the {end} sent {reason}"))
            .because("no application data from the server followed")
            .not("client-timeout-close", "an answer ended the handshake, not a client timeout")
            .not("health check without TLS", "a ClientHello was sent");
        cures(draft, alert, sni).verify(
            "client",
            format!("openssl s_client -connect {server} -servername {sni} </dev/null"),
            "the same failure with the certificate chain and the reason",
        )
    }
}

/// The server does not speak TLS at all: another rule's (`wrong-protocol`).
fn is_answered_otherwise(conn: &Connection) -> bool {
    let [Some(client), Some(server)] = conn.app.openings else {
        return false;
    };
    let is_other = matches!(
        server.by,
        Opening::HttpResponse(_) | Opening::HttpRequest | Opening::Ssh | Opening::Greeting
    );
    client.by == Opening::TlsHandshake && is_other
}

/// How a handshake ended.
struct Failure {
    reason: String,
    /// What ended it, and whose it is.
    segment: SegmentRef,
    note: String,
    /// The number of an alert in clear text, or of the one that such an end stands for.
    alert: Option<u8>,
    confidence: f64,
    /// What the confidence rests on.
    why: &'static str,
}

impl Failure {
    fn of(conn: &Connection, tls: &TlsFacts) -> Option<Self> {
        if let Some(refusal) = Self::refused_by_server(conn, tls) {
            return Some(refusal);
        }
        if tls.client_data.is_some() && tls.server_data.is_some() {
            return None;
        }
        let fatal = |alert: &&TlsAlert| {
            alert.level == FATAL && !matches!(alert.description, CLOSE_NOTIFY | USER_CANCELED)
        };
        if let Some(alert) = tls.alerts.iter().find(fatal) {
            let name = alert_name(alert.description);
            return Some(Self {
                reason: format!("alert {} ({name})", alert.description),
                segment: segment_at(conn, alert.at, alert.direction),
                note: format!("alert {}: {name}", alert.description),
                alert: Some(alert.description),
                confidence: confidence::STATED,
                why: "The alert was sent in clear text.",
            });
        }
        if tls.server_hello.is_some() {
            return Self::refused_by_client(conn, tls);
        }
        let (segment, how) = first_close(conn, Direction::ServerToClient)?;
        (!sent_unseen(conn, segment)).then(|| Self {
            reason: format!("{how} without ServerHello"),
            segment,
            note: format!("{how} from server instead of a ServerHello"),
            alert: None,
            confidence: confidence::LIKELY,
            why: "The server closed right after the ClientHello without giving a reason; its log would.",
        })
    }

    /// The client closes as soon as it has the server's part of the handshake, without its own.
    fn refused_by_client(conn: &Connection, tls: &TlsFacts) -> Option<Self> {
        let (segment, how) = first_close(conn, Direction::ClientToServer)?;
        let client = conn.from_client();
        let hello = conn.turns.before_last.or(conn.turns.last)?;
        let flight = hello.response?.first;
        // Its Finished would be longer; an alert in cipher and a change of ciphers are not.
        let only_alert = conn.turns.count <= 2
            && client.unique_bytes <= hello.request.octets + TO_REFUSE
            && client.cut_frames == 0
            && !sent_unseen(conn, segment);
        let at_once = flight.frame < segment.frame
            && flight.relative_seq < segment.relative_ack
            && segment.time.since(flight.time) <= REFUSES_WITHIN;
        // A session that is resumed needs no certificate, and a retry request bears none.
        let has_certificate = hello.response?.octets >= CERTIFICATE_FLIGHT;
        let refuses = tls.handshake_complete.is_none() && only_alert && at_once && has_certificate;
        refuses.then(|| Self {
            reason: format!("{how} instead of the client's part"),
            segment,
            note: format!(
                "{how} from client after the server's part of the handshake: usually it rejects the certificate"
            ),
            alert: Some(CERTIFICATE_UNKNOWN),
            confidence: confidence::LIKELY,
            why: "The client closed as soon as it had the server's certificate. The reason is not on the wire, and a scanner that only reads certificates looks the same; the client's log would settle it.",
        })
    }

    /// In TLS 1.3 a server that refuses the client's certificate can only say so in cipher, after
    /// the client's part: an alert is all that ever comes from it, and it closes.
    fn refused_by_server(conn: &Connection, tls: &TlsFacts) -> Option<Self> {
        let done = tls.handshake_complete?;
        // A request may have been sent before the alert came.
        let turn = match (conn.turns.count, conn.turns.last) {
            (2, last) => last?,
            (3, Some(last)) if last.response.is_none() => conn.turns.before_last?,
            _ => return None,
        };
        let response = turn.response?;
        let (close, _) = close_of(conn, Direction::ServerToClient)?;
        let client_left =
            (conn.from_client().fin).is_some_and(|fin| fin.frame < response.first.frame);
        let refuses = tls.version == Some(TLS13)
            && response.octets == ENCIPHERED_ALERT
            && response.first.frame > done.frame
            && !turn.answer_missed
            && !client_left
            && turn.response_time()? <= REFUSES_WITHIN
            && close.time.since(response.first.time) <= GOODBYE_TO_FIN;
        refuses.then(|| Self {
            reason: "an encrypted alert after the client's part".to_owned(),
            segment: response.first,
            note: "an encrypted alert from server, the only data it sends after the handshake: usually the client's certificate is missing or rejected".to_owned(),
            alert: Some(CERTIFICATE_REQUIRED),
            confidence: confidence::PROBABLE,
            why: "The alert is encrypted: its size, its position and the close after it identify it as an alert, but not its number. The server's log would settle it.",
        })
    }
}

const TLS13: u16 = 0x0304;
/// The record of an alert in TLS 1.3: header, alert, type and tag.
const ENCIPHERED_ALERT: u64 = 24;
/// A change of ciphers and an alert in cipher, rounded up; the shortest Finished is longer.
const TO_REFUSE: u64 = 40;
/// The server's flight is at least as long with a certificate: the shortest in use take 300 bytes,
/// beside a ServerHello of 90.
const CERTIFICATE_FLIGHT: u64 = 390;
/// Programs refuse at once; who closes later has stopped waiting.
const REFUSES_WITHIN: Duration = Duration::from_secs(1);
const CERTIFICATE_UNKNOWN: u8 = 46;
const CERTIFICATE_REQUIRED: u8 = 116;

/// After a warning the handshake goes on.
const FATAL: u8 = 2;
/// Says goodbye; no failure.
const CLOSE_NOTIFY: u8 = 0;
/// The user gave up during the handshake; no failure of the ends.
const USER_CANCELED: u8 = 90;

/// FIN or RST of `end`; forged resets are another rule's.
fn close_of(conn: &Connection, end: Direction) -> Option<(SegmentRef, &'static str)> {
    let reset = conn
        .resets
        .iter()
        .find(|reset| reset.segment.direction == end && reset.kind != ResetKind::Forged);
    let fin = conn.half(end).fin.map(|fin| (fin, "FIN"));
    fin.or(reset.map(|reset| (reset.segment, "RST")))
}

/// FIN or RST of `end` when it closed first; where its number and the capture's order disagree, nobody knows.
fn first_close(conn: &Connection, end: Direction) -> Option<(SegmentRef, &'static str)> {
    let peer_closed = close_of(conn, end.reverse());
    let peer_closed = peer_closed.map_or(u64::MAX, |(close, _)| close.frame);
    close_of(conn, end)
        .filter(|(segment, _)| segment.frame < peer_closed && !conn.answers_fin(segment))
}

/// Its number shows that its sender sent bytes before its close that the capture does not show.
fn sent_unseen(conn: &Connection, close: SegmentRef) -> bool {
    conn.has_handshake() && close.relative_seq > 1 + conn.half(close.direction).unique_bytes
}

fn version(number: Option<u16>) -> &'static str {
    match number {
        Some(TLS13) => "TLS 1.3",
        Some(0x0303) => "TLS 1.2",
        Some(0x0302) => "TLS 1.1",
        Some(0x0301) => "TLS 1.0",
        _ => "unknown",
    }
}

/// Names of RFC 8446 §6 and RFC 5246 §7.2, in words.
fn alert_name(description: u8) -> &'static str {
    match description {
        10 => "unexpected message",
        20 => "bad record MAC",
        40 => "handshake failure",
        42 => "bad certificate",
        43 => "unsupported certificate",
        44 => "certificate revoked",
        45 => "certificate expired",
        46 => "certificate unknown",
        47 => "illegal parameter",
        48 => "unknown certificate authority",
        49 => "access denied",
        50 => "decode error",
        51 => "decrypt error",
        70 => "protocol version",
        71 => "insufficient security",
        80 => "internal error",
        86 => "inappropriate fallback",
        109 => "missing extension",
        112 => "unrecognized name",
        116 => "certificate required",
        120 => "no application protocol",
        _ => "unnamed alert",
    }
}

fn cures(draft: Narrative, alert: Option<u8>, sni: &str) -> Narrative {
    match alert {
        Some(42..=46) => draft.advise("server", "check the certificate's validity, chain and use; renew it if it has expired"),
        Some(48) => draft.advise("client", "send the full chain from the server, or install the issuer on the client, which does not trust it"),
        Some(70 | 86) => draft.set("server", "offer a version that the client supports", "nginx: ssl_protocols TLSv1.2 TLSv1.3;"),
        Some(40 | 71) => draft.advise("both", "compare both configurations, which have no common cipher, group or signature; old clients need TLS 1.2 suites"),
        Some(112) => draft.advise("server", format!("add a certificate or virtual host for \"{sni}\", or correct the name the client uses")),
        Some(CERTIFICATE_REQUIRED) => draft.advise("client", "configure a client certificate that the server trusts: it requires one (mutual TLS)"),
        Some(120) => draft.advise("both", "enable an ALPN protocol that both support (h2, http/1.1): they have none in common"),
        _ => draft.advise("server", "check its TLS log; a plain-text service on this port, or a filter by name, closes in the same way"),
    }
}

#[cfg(test)]
mod tests;

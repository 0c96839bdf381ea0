//! `tls-handshake-failure`: TLS that never gets to data.

use analyzer::app::TlsAlert;
use analyzer::event::SegmentRef;
use analyzer::flow::ResetKind;
use analyzer::{Analysis, Connection, Direction};

use crate::finding::Severity;
use crate::narrative::{Group, Narrative};
use crate::observation::{Collected, Observation, Observations, segment_at};
use crate::rule::{Context, Rule, RuleMeta, declare_rule};
use crate::text::plural;

declare_rule! {
    /// TLS handshakes end in an alert or a close before any data flows.
    ///
    /// ## What it means
    /// Client and server could not agree: on version or ciphers, on a certificate, or on the name asked for. One end says
    /// so in an alert, or just closes.
    ///
    /// ## Why it matters
    /// No request was sent at all. Clients report a certificate or protocol error, often without detail.
    ///
    /// ## How it is detected
    /// A fatal alert in clear text before application data, or FIN or RST from the server right after the ClientHello
    /// without a ServerHello. In TLS 1.3 later alerts are encrypted and cannot be read. Connections
    /// without a ClientHello (health checks) and clients that gave up waiting are not counted. Severity: medium,
    /// high from three failures.
    ///
    /// ## What to do
    /// By alert: certificate chain and validity, trusted issuers, protocol versions, server name.
    ///
    /// ## Known limits
    /// Failures after the ServerHello of TLS 1.3 are invisible. A snap length that cuts the alert hides its number.
    ///
    /// ## References
    /// - RFC 8446 §6; RFC 5246 §7.2; RFC 6066; RFC 7301
    pub(crate) struct TlsHandshakeFailure {
        id: "tls-handshake-failure",
        title: "TLS handshakes fail",
        severity: High,
        needs: [Tcp],
        clouded_by: [CaptureDrops, Snaplen],
        figures: [failures: Count / Sum],
        thresholds: [
            high_failures = 3.0: "Failures from which it is no accident.",
        ],
    }
}

impl Rule for TlsHandshakeFailure {
    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations) {
        let Some(tls) = &conn.app.tls else { return };
        let Some(hello) = tls.client_hello else {
            return;
        };
        if tls.client_data.is_some() && tls.server_data.is_some() {
            return;
        }
        let fatal = |alert: &&TlsAlert| !matches!(alert.description, CLOSE_NOTIFY | USER_CANCELED);
        let alert = tls.alerts.iter().find(fatal);
        let hello = segment_at(conn, hello, Direction::ClientToServer);
        let sni = tls.sni.clone().unwrap_or_else(|| "no name".to_owned());
        let (reason, end, segment, note) = if let Some(alert) = alert {
            let segment = segment_at(conn, alert.at, alert.direction);
            let name = alert_name(alert.description);
            (
                format!("alert {} ({name})", alert.description),
                alert.direction,
                segment,
                format!("alert {}: {name}", alert.description),
            )
        } else if let Some((segment, how)) = closed_by_server(conn)
            .filter(|(close, _)| tls.server_hello.is_none() && !sent_unseen(conn, *close))
        {
            (
                format!("{how} without ServerHello"),
                Direction::ServerToClient,
                segment,
                format!("{how} from server instead of a ServerHello"),
            )
        } else {
            return;
        };
        let confidence = if alert.is_some() { 0.97 } else { 0.85 };
        out.push(
            Observation::new(conn, confidence, Severity::Medium)
                .cause(format!("{} {reason}", conn.server))
                .at(segment.time)
                .evidence(hello, format!("ClientHello for {sni}"))
                .evidence(segment, note)
                .figure("failures", 1.0)
                .cost("connections_failed", 1.0)
                .detail(
                    "alert",
                    alert.map_or(-1.0, |alert| f64::from(alert.description)),
                )
                .label("reason", reason)
                .label("end", end.sender())
                .label("sni", sni)
                .label("version", version(tls.version)),
        );
    }

    fn on_capture(&self, _analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected) {
        let mut counts = std::collections::BTreeMap::<String, f64>::new();
        for one in &collected.observations {
            *counts.entry(one.cause.clone()).or_default() += 1.0;
        }
        for one in &mut collected.observations {
            if counts
                .get(&one.cause)
                .is_some_and(|count| *count >= ctx.threshold("high_failures"))
            {
                one.severity = Severity::High;
            }
        }
    }

    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative {
        let server = group.server();
        let reason = group.words("reason").unwrap_or_default();
        let end = group.words("end").unwrap_or_default();
        let sni = group.words("sni").unwrap_or_default();
        let version = group.words("version").unwrap_or_default();
        let failures = group.number("failures").unwrap_or_default();
        let confidence = draft.confidence;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an alert number"
        )]
        let alert = group
            .median("alert")
            .filter(|alert| *alert >= 0.0)
            .map(|alert| alert as u8);
        let draft = draft
            .title(format!("TLS handshakes with {server} fail: {reason}"))
            .summary(format!(
                "{} with {server} (name asked for: {sni}, version {version}) ended before any data: {reason} from the {end}. No request was sent.",
                plural(failures, "TLS handshake")
            ))
            .confidence(confidence, if alert.is_some() { "The alert was sent in clear text." } else { "The server closed right after the ClientHello; it did not say why." })
            .because(format!("after the ClientHello the {end} sent {reason}"))
            .because("no application data followed")
            .not("client-timeout-close", "the handshake was ended by an answer, not by a client that stopped waiting")
            .not("health check without TLS", "a ClientHello was sent");
        cures(draft, alert, &sni).verify(
            "client",
            format!("openssl s_client -connect {server} -servername {sni} </dev/null"),
            "the same failure with the certificate chain and the reason",
        )
    }
}

/// Says goodbye; no failure.
const CLOSE_NOTIFY: u8 = 0;
/// The user gave up during the handshake; no failure of the ends.
const USER_CANCELED: u8 = 90;

/// FIN or RST of the server when it closed first; forged resets are another rule's.
fn closed_by_server(conn: &Connection) -> Option<(SegmentRef, &'static str)> {
    let client_closed = conn.from_client().fin.map_or(u64::MAX, |fin| fin.frame);
    let reset = conn.resets.iter().find(|reset| {
        reset.segment.direction == Direction::ServerToClient && reset.kind != ResetKind::Forged
    });
    let fin = conn.from_server().fin.map(|fin| (fin, "FIN"));
    fin.or(reset.map(|reset| (reset.segment, "RST")))
        .filter(|(segment, _)| segment.frame < client_closed)
}

/// Its number tells that the server sent octets before its close that the capture does not show.
fn sent_unseen(conn: &Connection, close: SegmentRef) -> bool {
    conn.has_handshake() && close.relative_seq > 1 + conn.from_server().unique_bytes
}

fn version(number: Option<u16>) -> &'static str {
    match number {
        Some(0x0304) => "TLS 1.3",
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
        Some(48) => draft.advise("client", "the issuer is not trusted there: send the full chain from the server, or install the issuer at the client"),
        Some(70 | 86) => draft.set("server", "offer a version the client has", "nginx: ssl_protocols TLSv1.2 TLSv1.3;"),
        Some(40 | 71) => draft.advise("both", "no common cipher, group or signature: compare the two configurations; old clients need TLS 1.2 suites"),
        Some(112) => draft.advise("server", format!("no certificate or virtual host for \"{sni}\": add it, or correct the name the client uses")),
        Some(116) => draft.advise("client", "the server wants a client certificate (mutual TLS): configure one"),
        Some(120) => draft.advise("both", "no common protocol in ALPN (h2, http/1.1): enable one that both speak"),
        _ => draft.advise("server", "see its TLS log; a plain-text service on this port, or a filter by name, closes in the same way"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, C, S, at, figure, findings_of};
    use analyzer::app::{AppProtocol, At, TlsFacts};

    fn hello(port: u16, alert: Option<u8>) -> Builder {
        let builder = Builder::tcp(port)
            .handshake(0.0, 1.0)
            .request(1.0, 517)
            .protocol(AppProtocol::Tls);
        let frame = builder.conn.last_frame;
        let alerts = alert.map(|description| TlsAlert {
            direction: S,
            level: 2,
            description,
            at: At {
                frame: frame + 1,
                time: at(2.0),
            },
        });
        builder.with(|conn| {
            conn.app.tls = Some(Box::new(TlsFacts {
                client_hello: Some(At {
                    frame,
                    time: at(1.0),
                }),
                sni: Some("a.example".to_owned()),
                version: Some(0x0303),
                alerts: alerts.into_iter().collect(),
                ..TlsFacts::default()
            }));
        })
    }

    #[test]
    fn alerts_are_named() {
        let connections: Vec<_> = (1..4)
            .map(|n| hello(n, Some(48)).response(2.0, 7).build())
            .collect();
        let findings = findings_of("tls-handshake-failure", &connections);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::High);
        assert!((figure(&findings[0], "failures") - 3.0).abs() < f64::EPSILON);
        assert!(findings[0].title.contains("unknown certificate authority"));
    }

    #[test]
    fn server_that_closes_on_the_hello() {
        let conn = hello(1, None).fin(2.0, S).build();
        assert_eq!(findings_of("tls-handshake-failure", &[conn]).len(), 1);
    }

    #[test]
    fn goodbye_alert_is_healthy() {
        let conn = hello(1, Some(0)).response(2.0, 7).build();
        assert!(findings_of("tls-handshake-failure", &[conn]).is_empty());
    }

    #[test]
    fn client_that_closes_first_gave_up() {
        let conn = hello(1, None).fin(2.0, C).fin(2.1, S).build();
        assert!(findings_of("tls-handshake-failure", &[conn]).is_empty());
    }
}

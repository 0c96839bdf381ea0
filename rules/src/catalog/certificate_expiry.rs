//! `certificate-expiry`: a server's certificate has expired, or soon will have.

use analyzer::app::{TlsCertificate, TlsFacts};
use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations, segment_at};
use crate::model::rule::Rule;
use crate::model::text::{many, number, plural};

declare_rule! {
    /// A server shows a certificate that is past its end, or close to it.
    ///
    /// ## What it means
    /// The certificate's `notAfter` lies before the time of the capture, or within the next `soon_days` days and nobody
    /// has renewed it although little of its life is left.
    ///
    /// ## Why it matters
    /// From that second on every client that checks refuses the connection, all of them at once.
    ///
    /// ## How it is detected
    /// TLS up to 1.2 sends the certificate in clear; its `notAfter` is compared with the capture's clock. The frame in which
    /// the certificate begins proves it. Soon means: at most `soon_days` days and at most a sixth of its life,
    /// since certificates of a few days are renewed within days. Handshakes that a client refused with the alert
    /// certificate_expired are failed attempts; where clients went on nobody is harmed yet.
    ///
    /// What refutes it: a capture clock that is wrong; a certificate that is not valid yet by that clock says as much, and nothing
    /// is concluded from it.
    ///
    /// ## What to do
    /// Renew it, reload the server, and look at what was to renew it.
    ///
    /// ## Known limits
    /// TLS 1.3 encrypts certificates. Only the server's own one is looked at, not those of its issuers.
    ///
    /// ## References
    /// - RFC 5280 §4.1.2.5; RFC 5246 §7.4.2
    pub(crate) struct CertificateExpiry {
        id: "certificate-expiry",
        group: Services,
        title: "A certificate has expired or is about to",
        severity: High,
        needs: [Tcp],
        traits: [Tls],
        clouded_by: [ClockStep],
        figures: [days_left: Count / Min, refused: Count / Sum],
        thresholds: [
            soon_days = 14.0: "Days before its end within which a renewal is overdue; ACME clients renew 30 days ahead.",
        ],
    }
}

const DAY_S: f64 = 86_400.0;
/// The share of its life that is left when a renewal is overdue: ACME clients renew at a third.
const OVERDUE: f64 = 1.0 / 6.0;
/// AlertDescription certificate_expired (RFC 5246 §7.2).
const CERTIFICATE_EXPIRED: u8 = 45;

/// A certificate and its time.
pub(crate) struct Seen {
    subject: String,
    until: String,
    days_left: f64,
}

impl Rule for CertificateExpiry {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        let Some((tls, certificate)) = shown(conn) else {
            return;
        };
        let now = certificate.at.time;
        let days = |nanos: i64| seconds(nanos) / DAY_S;
        let left = days(certificate.not_after.signed_since(now));
        let life = days(certificate.not_after.signed_since(certificate.not_before));
        let is_soon = left <= ctx.threshold("soon_days") && left <= life * OVERDUE;
        if certificate.not_before > now || !is_soon {
            return;
        }
        let refused = tls.alerts.iter().any(|alert| {
            alert.direction == Direction::ClientToServer && alert.description == CERTIFICATE_EXPIRED
        });
        let until = certificate.not_after.rfc3339();
        let until = format!("{} {} UTC", &until[..10], &until[11..19]);
        let impact = if refused {
            Impact::attempts_failed(1)
        } else {
            Impact::SOME
        };
        let observation = Observation::new(conn, confidence::STATED, impact)
            .cause(format!("{} {until}", certificate.subject))
            .at(now)
            .weight(if refused { 1.0 } else { 0.0 })
            .proof(
                segment_at(conn, certificate.at, Direction::ServerToClient),
                format!("the server's certificate: valid until {until}"),
            )
            .cost("connections_failed", number(impact.attempts_failed))
            .figure("days_left", left)
            .figure("refused", number(u64::from(refused)))
            .seen(Seen {
                subject: certificate.subject.clone(),
                until,
                days_left: left,
            });
        out.push(observation);
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let seen = &group.best().seen;
        let server = group.server();
        let whose = if seen.subject.is_empty() {
            format!("The certificate of {server}")
        } else {
            format!("The certificate of {} ({server})", seen.subject)
        };
        let refused = group.figure("refused").unwrap_or_default();
        let when = if seen.days_left < 0.0 {
            format!("expired {} ago", in_days(-seen.days_left))
        } else {
            format!("expires in {}", in_days(seen.days_left))
        };
        draft
            .title(format!("{whose} {when}"))
            .summary(format!(
                "{whose} {} valid until {}; it was shown on {}.{}",
                if seen.days_left < 0.0 { "was" } else { "is" },
                seen.until,
                many(group.connections(), "connection"),
                if refused > 0.0 {
                    format!(" {} refused it.", plural(refused, "handshake"))
                } else {
                    " Clients went on.".to_owned()
                },
            ))
            .confidence(confidence::STATED, "The time was read from the certificate and compared with the capture's clock.")
            .because(format!("notAfter is {}", seen.until))
            .not("tls-handshake-failure", "this names why clients refuse, or soon will")
            .advise("server", "renew the certificate and reload the server; then find out why it was not renewed by itself")
            .verify("client", format!("openssl s_client -connect {server} </dev/null 2>/dev/null | openssl x509 -noout -subject -enddate"), "which certificate is shown now")
    }
}

fn shown(conn: &Connection) -> Option<(&TlsFacts, &TlsCertificate)> {
    let tls = conn.app.tls.as_deref()?;
    Some((tls, tls.certificate.as_deref()?))
}

#[expect(clippy::cast_precision_loss, reason = "days, not nanoseconds, matter")]
fn seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

/// Days, or hours below two of them.
fn in_days(days: f64) -> String {
    if days < 2.0 {
        plural((days * 24.0).floor(), "hour")
    } else {
        plural(days.floor(), "day")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, at, figure, findings_of};
    use analyzer::Timestamp;
    use analyzer::app::{AppProtocol, At, TlsAlert};

    const DAY_NS: i64 = 86_400_000_000_000;

    /// A certificate with so many days behind it and before it; `alert` is the client's answer.
    fn with(number: u16, behind: i64, left: i64, alert: Option<u8>) -> Connection {
        let place = At {
            frame: 5,
            time: at(2.0),
        };
        let certificate = TlsCertificate {
            subject: "a.example".to_owned(),
            not_before: Timestamp::from_nanos(-behind * DAY_NS),
            not_after: Timestamp::from_nanos(left * DAY_NS),
            at: place,
        };
        let alerts = alert.map(|description| TlsAlert {
            direction: Direction::ClientToServer,
            level: 2,
            description,
            at: place,
        });
        let tls = TlsFacts {
            certificate: Some(Box::new(certificate)),
            alerts: alerts.into_iter().collect(),
            ..TlsFacts::default()
        };
        let builder = Builder::tcp(number).handshake(0.0, 1.0).request(1.0, 200);
        let builder = builder.response(2.0, 2000).protocol(AppProtocol::Tls);
        builder
            .with(|conn| conn.app.tls = Some(Box::new(tls)))
            .build()
    }

    #[test]
    fn an_expired_one_that_clients_refuse_is_high() {
        let all: Vec<_> = (1..=3)
            .map(|number| with(number, 90, -3, Some(45)))
            .collect();
        let findings = findings_of("certificate-expiry", &all);
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::High));
        assert!(
            findings[0].title.ends_with("expired 3 days ago"),
            "{}",
            findings[0].title
        );
        assert!((figure(&findings[0], "refused") - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn one_that_clients_accept_or_that_ends_soon_is_low() {
        for left in [-3, 5] {
            let findings = findings_of("certificate-expiry", &[with(1, 90, left, None)]);
            assert_eq!((findings.len(), findings[0].severity), (1, Severity::Low));
        }
    }

    #[test]
    fn long_lives_short_lives_and_wrong_clocks_are_silent() {
        for (behind, left) in [(300, 60), (1, 6), (-10, 5)] {
            let findings = findings_of("certificate-expiry", &[with(1, behind, left, None)]);
            assert!(findings.is_empty(), "{behind} {left}");
        }
    }
}

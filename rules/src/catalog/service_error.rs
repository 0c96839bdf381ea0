//! `service-error`: services state errors in clear text.

use analyzer::app::{ServiceError as Stated, ServiceErrorKind as Kind, ServiceProtocol};
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Observation, Observations, segment_at};
use crate::model::rule::Rule;
use crate::model::text::{many, number, plural};

declare_rule! {
    /// A database, broker, router, mail or file server reports an error in clear text.
    ///
    /// ## What it means
    /// The service was reached and answered, but its answer is an error of its protocol: too many connections,
    /// a shutdown, a failed login, a session that is refused or ended.
    ///
    /// ## Why it matters
    /// The network worked. The code names what the service lacks or rejects, which timing alone cannot show.
    ///
    /// ## How it is detected
    /// Protocols are recognised by their first bytes, not by their ports, and read message by message:
    /// - MySQL and MariaDB: ERR packets, also in place of the greeting.
    /// - PostgreSQL: ErrorResponse with its SQLSTATE.
    /// - Redis: error replies, except cluster redirections.
    /// - AMQP 0-9-1: `connection.close` and `channel.close` with a reply code of 300 or above.
    /// - BGP: NOTIFICATION messages from either end.
    /// - SMTP and FTP: replies of 4yz and 5yz.
    /// - MongoDB: replies with `ok: 0`.
    /// - NATS: `-ERR`.
    /// - memcached (text): `SERVER_ERROR`, `CLIENT_ERROR` and `ERROR`.
    /// - gRPC in unencrypted HTTP/2: `grpc-status`, except cancelled calls.
    /// - SIP: final responses 4xx to 6xx, except challenges and cancelled calls.
    /// - DHCP: DHCPNAK; RADIUS: Access-Reject.
    /// - Kafka: error codes in responses to group, login and producer requests; of a producer, that of the first
    ///   partition.
    /// - LDAP: result codes, except comparisons, referrals, SASL steps and noSuchObject.
    ///
    /// The frame with the error proves it. One finding holds one code of one service. For errors of capacity and
    /// availability, each answered request counts as lost. Failed logins and refused sessions are failed
    /// attempts. Objects not found, sessions ended by an operator and other protocol errors are low.
    /// Errors sent to a scanner harm nobody.
    ///
    /// ## What to do
    /// Look up the code in the service's documentation, and the same moment in its log.
    ///
    /// ## Known limits
    /// Encrypted or compressed sessions show no errors, nor do sessions whose start was not captured, except
    /// BGP. After a gap in the capture, a direction is read on only where the missing bytes lie within a
    /// message. Eight codes are kept per connection.
    ///
    /// ## References
    /// - MySQL server error message reference; PostgreSQL appendix A (error codes); Redis serialization
    ///   protocol; AMQP 0-9-1 §1.2
    /// - RFC 4271 §4.5, RFC 4486, RFC 9003 (BGP); RFC 5321 §4.2 (SMTP); RFC 959 §4.2 (FTP)
    /// - gRPC status codes; RFC 3261 §21 (SIP); RFC 2131 §3.1 (DHCP); RFC 2865 §4.4 (RADIUS)
    /// - MongoDB error codes; NATS client protocol; memcached protocol.txt; RFC 4511 §4.1.9 (LDAP);
    ///   Kafka protocol guide (error codes)
    pub(crate) struct ServiceError {
        id: "service-error",
        group: Services,
        title: "A service reports an error",
        severity: Medium,
        needs: [],
        traits: [Service],
        clouded_by: [CaptureDrops, Snaplen],
        figures: [errors: Count / Sum],
        thresholds: [],
        host_evidence: [Logs, Owner],
    }
}

/// An error that a service stated.
pub(crate) struct Seen {
    protocol: ServiceProtocol,
    direction: Direction,
    code: String,
    message: String,
    kind: Kind,
}

/// Characters of a message in a title.
const TITLE_MAX: usize = 60;

impl Rule for ServiceError {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations<Seen>) {
        let Some(service) = &conn.app.service else {
            return;
        };
        for error in &service.errors {
            out.push(observation(conn, service.protocol, error));
        }
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        _ctx: &Context<'_>,
        collected: &mut Collected<Seen, ()>,
    ) {
        for one in &mut collected.observations {
            let client = analysis.hosts.get(one.connection.client.ip);
            if client.is_some_and(HostProfile::is_scanner) {
                one.impact = Impact::NONE;
                one.cost.clear();
            }
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let best = group.best();
        let seen = &best.seen;
        let name = seen.protocol.name();
        let (speaker, host) = match seen.direction {
            Direction::ClientToServer => {
                let client = best.connection.client.ip;
                (format!("{name} client {client}"), client)
            }
            Direction::ServerToClient => {
                let server = best.connection.server;
                (format!("{name} {server}"), server.ip)
            }
        };
        let errors = group.figure("errors").unwrap_or_default();
        let times = plural(errors, "error");
        let connections = many(group.connections(), "connection");
        let code = stated(&seen.code, &seen.message);
        draft
            .title(format!(
                "{speaker} {} {}",
                verb(seen.protocol, seen.direction),
                stated(&seen.code, &shortened(&seen.message))
            ))
            .summary(format!(
                "{speaker} reported {times} of code {code} on {connections}. {}",
                meaning(seen.kind)
            ))
            .confidence(confidence::STATED, "The code was read from the message.")
            .not(
                "packet-loss",
                "the service was reached and answered in its own protocol",
            )
            .advise("server", advice(seen.kind))
            .verify(
                &host.to_string(),
                command(seen.protocol),
                "the same error at the same time, or the limit it names",
            )
    }
}

fn observation(conn: &Connection, protocol: ServiceProtocol, error: &Stated) -> Observation<Seen> {
    let speaker = match error.direction {
        Direction::ClientToServer => conn.client.ip.to_string(),
        Direction::ServerToClient => conn.server.to_string(),
    };
    let harm = harm(error.kind, error.count);
    Observation::new(conn, confidence::STATED, harm)
        .cause(format!(
            "{} {speaker} {}",
            protocol.name(),
            family(protocol, &error.code)
        ))
        .at(error.at.time)
        .weight(number(error.count))
        .count(error.count)
        .cost(
            "requests_failed",
            number(harm.attempts_failed + harm.requests_lost),
        )
        .proof(
            segment_at(conn, error.at, error.direction),
            format!(
                "{} error {}",
                protocol.name(),
                stated(&error.code, &error.message)
            ),
        )
        .figure("errors", number(error.count))
        .seen(Seen {
            protocol,
            direction: error.direction,
            code: error.code.clone(),
            message: error.message.clone(),
            kind: error.kind,
        })
}

/// The code, or the one that says the same: speakers reject the connection that loses a collision with
/// either (RFC 4486 §4).
fn family(protocol: ServiceProtocol, code: &str) -> &str {
    match (protocol, code) {
        (ServiceProtocol::Bgp, "6/5") => "6/7",
        _ => code,
    }
}

/// What so many errors of a kind did to those who asked.
const fn harm(kind: Kind, count: u64) -> Impact {
    match kind {
        Kind::Capacity | Kind::Availability => Impact::requests_lost(count),
        Kind::Authentication | Kind::Refused => Impact::attempts_failed(count),
        Kind::NotFound | Kind::Other => Impact::SOME,
    }
}

/// A code and what it says, if that is known. Where the words are the code, they are said once.
fn stated(code: &str, message: &str) -> String {
    if message.is_empty() {
        code.to_owned()
    } else if message.starts_with(code) {
        message.to_owned()
    } else {
        format!("{code} {message}")
    }
}

fn shortened(message: &str) -> String {
    if message.chars().count() <= TITLE_MAX {
        message.to_owned()
    } else {
        message.chars().take(TITLE_MAX - 1).chain(['…']).collect()
    }
}

const fn verb(protocol: ServiceProtocol, direction: Direction) -> &'static str {
    match (protocol, direction) {
        (ServiceProtocol::Bgp, _) => "sends NOTIFICATION",
        (_, Direction::ClientToServer) => "closes with error",
        (_, Direction::ServerToClient) => "returns error",
    }
}

const fn meaning(kind: Kind) -> &'static str {
    match kind {
        Kind::Capacity => "The service has reached a limit of connections, memory or space.",
        Kind::Availability => "The service could not serve, or ended the session.",
        Kind::Authentication => {
            "The service rejects the client's identity or denies it the right to do this."
        }
        Kind::Refused => {
            "The service refused the session, channel or transfer because of its parameters."
        }
        Kind::NotFound => "The requested object does not exist there.",
        Kind::Other => "It is a regular part of the protocol, or an operator requested it.",
    }
}

const fn command(protocol: ServiceProtocol) -> &'static str {
    match protocol {
        ServiceProtocol::MySql => "SHOW GLOBAL STATUS LIKE '%connect%'",
        ServiceProtocol::PostgreSql => {
            "SELECT state, count(*) FROM pg_stat_activity GROUP BY state"
        }
        ServiceProtocol::Redis => "redis-cli INFO all | grep -E 'errorstat|clients|memory'",
        ServiceProtocol::Amqp => "rabbitmq-diagnostics log_tail",
        ServiceProtocol::Bgp => "show bgp neighbors",
        ServiceProtocol::Smtp | ServiceProtocol::Ftp => {
            "journalctl --since -1h | grep -E 'ftp|mail|smtp'"
        }
        ServiceProtocol::MongoDb => "mongosh --eval 'db.serverStatus().connections; rs.status()'",
        ServiceProtocol::Nats => "curl -s http://127.0.0.1:8222/varz",
        ServiceProtocol::Memcached => "printf 'stats\\r\\nquit\\r\\n' | nc 127.0.0.1 11211",
        ServiceProtocol::Grpc => "journalctl --since -1h | grep -i grpc",
        ServiceProtocol::Sip => "journalctl --since -1h | grep -iE 'sip|kamailio|asterisk'",
        ServiceProtocol::Dhcp => "journalctl --since -1h | grep -i dhcp",
        ServiceProtocol::Radius => "journalctl --since -1h | grep -i radius",
        ServiceProtocol::Ldap => "journalctl --since -1h | grep -E 'slapd|ldap'",
        ServiceProtocol::Kafka => "kafka-topics.sh --describe --unavailable-partitions",
    }
}

const fn advice(kind: Kind) -> &'static str {
    match kind {
        Kind::Capacity => {
            "compare the limit with the load (connection pools of all clients together, memory, disk), then raise the limit or lower the load"
        }
        Kind::Availability => {
            "find in the log what stopped, blocked or failed over at that time; let clients retry with a pause"
        }
        Kind::Authentication => "check the account, its password or key, and its rights",
        Kind::Refused => {
            "compare what the client requests with what the service is configured to allow"
        }
        Kind::NotFound => "check the requested name",
        Kind::Other => "look up the code; it may be intended",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, at, figure, findings_of};
    use analyzer::app::{At, ServiceFacts};

    fn stating(number: u16, protocol: ServiceProtocol, errors: Vec<Stated>) -> Connection {
        let facts = ServiceFacts {
            protocol,
            errors,
            not_kept: 0,
        };
        let builder = Builder::tcp(number).handshake(0.0, 1.0).request(1.0, 50);
        let builder = builder.response(2.0, 50);
        builder
            .with(|conn| conn.app.service = Some(Box::new(facts)))
            .build()
    }

    fn error(code: &str, message: &str, kind: Kind) -> Stated {
        Stated {
            direction: Direction::ServerToClient,
            code: code.to_owned(),
            message: message.to_owned(),
            kind,
            at: At {
                frame: 5,
                time: at(2.0),
            },
            count: 1,
        }
    }

    #[test]
    fn a_full_server_loses_requests() {
        let full = error("1040", "Too many connections", Kind::Capacity);
        let full = |number| stating(number, ServiceProtocol::MySql, vec![full.clone()]);
        let findings = findings_of("service-error", &[full(1)]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Medium);
        let title = &findings[0].title;
        assert!(title.starts_with("MySQL "), "{title}");
        assert!(title.ends_with("returns error 1040 Too many connections"));
        let findings = findings_of("service-error", &[full(1), full(2), full(3)]);
        // The rule's limit: what the error cost its user is not seen.
        assert_eq!(
            (findings.len(), findings[0].severity),
            (1, Severity::Medium)
        );
        assert!((figure(&findings[0], "errors") - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn each_code_is_a_finding_and_a_dialogue_is_low() {
        let errors = vec![
            error("550", "no such user", Kind::Other),
            error("535", "authentication failed", Kind::Authentication),
        ];
        let findings = findings_of(
            "service-error",
            &[stating(1, ServiceProtocol::Smtp, errors)],
        );
        assert_eq!(findings.len(), 2);
        assert!(findings.iter().all(|one| one.severity == Severity::Low));
    }

    #[test]
    fn a_reset_by_an_operator_is_low_and_named() {
        let reset = error("6/4", "Cease: Administrative Reset", Kind::Other);
        let findings = findings_of(
            "service-error",
            &[stating(1, ServiceProtocol::Bgp, vec![reset])],
        );
        assert_eq!(findings[0].severity, Severity::Low);
        let title = &findings[0].title;
        assert!(title.ends_with("sends NOTIFICATION 6/4 Cease: Administrative Reset"));
    }

    #[test]
    fn collisions_are_one_finding_by_either_code() {
        let rejected = error("6/5", "Cease: Connection Rejected", Kind::Other);
        let resolved = error("6/7", "Cease: Connection Collision Resolution", Kind::Other);
        let conns = [rejected, resolved].map(|one| stating(1, ServiceProtocol::Bgp, vec![one]));
        let findings = findings_of("service-error", &conns);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Low);
    }

    #[test]
    fn a_service_without_errors_is_silent() {
        let quiet = stating(1, ServiceProtocol::Redis, Vec::new());
        assert!(findings_of("service-error", &[quiet]).is_empty());
    }
}

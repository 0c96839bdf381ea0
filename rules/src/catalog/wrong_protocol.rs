//! `wrong-protocol`: the ends of a connection do not speak the same protocol.

use analyzer::app::{Opened, Opening};
use analyzer::hosts::HostProfile;
use analyzer::{Analysis, Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Note, Observation, Observations, segment_at};
use crate::model::rule::Rule;
use crate::model::text::many;

declare_rule! {
    /// Client and server each open with a protocol that the other does not speak.
    ///
    /// ## What it means
    /// TLS meets a port that speaks plain HTTP, or plain HTTP a port that speaks TLS; HTTP meets SSH; an
    /// HTTP/2-only client meets an HTTP/1 server; a load balancer sends a PROXY header to a server that does
    /// not expect one. The connection works, the protocol does not.
    ///
    /// ## Why it matters
    /// Every such connection fails, and the resulting log lines (`wrong version number`, `bad record MAC`,
    /// `malformed response`) suggest a network fault.
    ///
    /// ## How it is detected
    /// By the first bytes of each end, on connections whose handshake was captured:
    /// - a ClientHello answered by an HTTP/1 response, an SSH version or a greeting of a mail or file server;
    /// - an HTTP/1 request answered by a TLS alert or an SSH version;
    /// - an HTTP/2 preface answered by an HTTP/1 response that is an error, or by a TLS alert;
    /// - a PROXY header answered by HTTP status 400 or a TLS alert.
    ///
    /// Both frames prove it. A server that answers a ClientHello with nothing but a TLS alert is
    /// `tls-handshake-failure`. Scanners and unknown Internet hosts try protocols; nobody is harmed.
    /// Clients that the same port serves on other connections lost nothing.
    ///
    /// ## What to do
    /// Correct the scheme or port on the client (`http://` against `https://`), or the listener of the server
    /// (`ssl` of nginx's `listen`, `proxy_protocol`, h2c). Configure the health checks of load balancers for
    /// the same protocol.
    ///
    /// ## Known limits
    /// Connections whose first bytes were not captured are not judged. Servers that close silently are not
    /// found. nginx answers plain HTTP on a TLS port in plain HTTP with an error page that states the problem.
    ///
    /// ## References
    /// - RFC 8446 §5.1 (records), RFC 9112 §2.1, RFC 9113 §3.4, RFC 4253 §4.2
    /// - HAProxy: The PROXY protocol, versions 1 and 2
    pub(crate) struct WrongProtocol {
        id: "wrong-protocol",
        group: Services,
        title: "Client and server do not speak the same protocol",
        severity: Medium,
        needs: [Tcp, BothDirections, Handshake],
        clouded_by: [CaptureDrops, Snaplen],
        figures: [connections: Count / Sum],
        thresholds: [],
    }
}

/// What the ends open with.
pub(crate) struct Seen {
    client: Opening,
    server: Opening,
}

/// The server answers the client in the client's own protocol.
pub(crate) struct Served {
    /// The client begins with a PROXY header.
    proxied: bool,
}

impl Rule for WrongProtocol {
    type Seen = Seen;
    type Fact = Served;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        _ctx: &Context<'_>,
        out: &mut Observations<Seen, Served>,
    ) {
        let [Some(client), Some(server)] = conn.app.openings else {
            return;
        };
        if agree(client.by, server.by) {
            let proxied = client.by == Opening::Proxy;
            out.note(|| Note::new(conn, Served { proxied }));
        } else if differ(client.by, server.by) {
            out.push(observation(conn, client, server));
        }
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        _ctx: &Context<'_>,
        collected: &mut Collected<Seen, Served>,
    ) {
        // A server that takes the header from some refuses others for what follows it.
        let notes = &collected.notes;
        collected.observations.retain(|one| {
            let mut served = notes.iter().filter(|note| note.fact.proxied);
            one.seen.client != Opening::Proxy
                || !served.any(|note| note.connection.server == one.connection.server)
        });
        for one in &mut collected.observations {
            let (client, server) = (one.connection.client.ip, one.connection.server);
            let profile = analysis.hosts.get(client);
            let tries = |host: &HostProfile| host.is_scanner() || host.is_background_noise();
            if profile.is_some_and(tries) {
                one.impact = Impact::NONE;
                continue;
            }
            let is_served = collected.notes.iter().any(|note| {
                note.connection.client.ip == client && note.connection.server == server
            });
            if is_served {
                one.impact = Impact::recovered(1);
            }
        }
    }

    fn describe(&self, group: &Group<'_, Seen, Served>, draft: Narrative) -> Narrative {
        let seen = &group.best().seen;
        let server = group.server();
        let (asks, answers) = (spoken(seen.client), spoken(seen.server));
        let connections = many(group.connections(), "connection");
        draft
            .title(format!("{server} answers {asks} with {answers}"))
            .summary(format!(
                "On {connections} {} opened with {asks}, and {server} answered with {answers}: they do not speak the same protocol, and nothing else was exchanged.",
                group.clients_text()
            ))
            .confidence(confidence::PROVED, "The first bytes of both ends were captured.")
            .because(format!("the client's first bytes are {asks}, the server's are {answers}"))
            .not("tls-handshake-failure", "the ends never negotiated: one of them does not speak the protocol of the other")
            .advise("any", advice(seen))
            .verify(
                "client",
                format!("curl -v http://{server}/ ; openssl s_client -connect {server} </dev/null"),
                "which of the two the port speaks",
            )
    }
}

/// Both speak the same protocol.
const fn agree(client: Opening, server: Opening) -> bool {
    use Opening::{Http2Preface, HttpRequest, HttpResponse, Other, Proxy, Ssh, TlsHandshake};
    matches!(
        (client, server),
        (TlsHandshake | Proxy, TlsHandshake)
            | (HttpRequest | Proxy, HttpResponse(100..=399))
            | (Http2Preface, Other)
            | (Ssh, Ssh)
    )
}

/// One of them does not speak the other's.
const fn differ(client: Opening, server: Opening) -> bool {
    use Opening::{
        Greeting, Http2Preface, HttpRequest, HttpResponse, Proxy, Ssh, TlsAlert, TlsHandshake,
    };
    matches!(
        (client, server),
        (TlsHandshake, HttpResponse(400..=599) | Ssh | Greeting)
            | (HttpRequest, TlsAlert(_) | Ssh)
            | (Http2Preface, HttpResponse(400..=599) | TlsAlert(_))
            | (Proxy, HttpResponse(400) | TlsAlert(_))
            | (Ssh, HttpResponse(400..=599) | TlsAlert(_))
    )
}

fn observation(conn: &Connection, client: Opened, server: Opened) -> Observation<Seen> {
    let first = segment_at(conn, client.at, Direction::ClientToServer);
    let answer = segment_at(conn, server.at, Direction::ServerToClient);
    Observation::new(conn, confidence::PROVED, Impact::attempts_failed(1))
        .cause(format!("{} {:?} {:?}", conn.server, client.by, server.by))
        .at(server.at.time)
        .evidence(
            first,
            format!("the client opens with {}", spoken(client.by)),
        )
        .proof(
            answer,
            format!("the server opens with {}", spoken(server.by)),
        )
        .figure("connections", 1.0)
        .cost("connections_failed", 1.0)
        .seen(Seen {
            client: client.by,
            server: server.by,
        })
}

fn spoken(opening: Opening) -> String {
    match opening {
        Opening::TlsHandshake => "TLS".to_owned(),
        Opening::TlsAlert(description) => format!("a TLS alert ({description})"),
        Opening::HttpRequest => "plain HTTP".to_owned(),
        Opening::HttpResponse(status) => format!("plain HTTP, status {status}"),
        Opening::Http2Preface => "HTTP/2 in clear text".to_owned(),
        Opening::Ssh => "SSH".to_owned(),
        Opening::Proxy => "a PROXY header".to_owned(),
        Opening::Greeting => "the greeting of a mail or file server".to_owned(),
        Opening::Other => "something else".to_owned(),
    }
}

const fn advice(seen: &Seen) -> &'static str {
    match (seen.client, seen.server) {
        (Opening::TlsHandshake, Opening::HttpResponse(_)) => {
            "use http:// or the TLS port, or enable TLS on this port (nginx: listen … ssl): it speaks plain HTTP"
        }
        (Opening::TlsHandshake, Opening::Greeting) => {
            "use STARTTLS, or the port for implicit TLS (465, 993, 995, 990): this port begins in clear text"
        }
        (Opening::HttpRequest, Opening::TlsAlert(_)) => {
            "use https:// or the plain port, also in the load balancer's health check: this port speaks TLS"
        }
        (Opening::Http2Preface, _) => {
            "let the client begin with HTTP/1.1 or negotiate by ALPN, or enable h2c: the port does not speak HTTP/2 in clear text"
        }
        (Opening::Proxy, _) => {
            "disable the PROXY header on the load balancer, or enable it on the server (nginx: listen … proxy_protocol): the server reads it as a request"
        }
        _ => "correct the port that the client connects to",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, at, findings_of};
    use analyzer::app::At;

    fn opened(number: u16, client: Opening, server: Opening) -> Connection {
        let place = |frame, ms, by| {
            Some(Opened {
                by,
                at: At {
                    frame: u64::from(number) * 1000 + frame,
                    time: at(ms),
                },
            })
        };
        Builder::tcp(number)
            .handshake(0.0, 1.0)
            .request(1.0, 100)
            .response(2.0, 100)
            .with(|conn| conn.app.openings = [place(4, 1.0, client), place(5, 2.0, server)])
            .build()
    }

    #[test]
    fn tls_that_meets_http() {
        let findings = findings_of(
            "wrong-protocol",
            &[opened(1, Opening::TlsHandshake, Opening::HttpResponse(400))],
        );
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Low);
        assert!(
            findings[0]
                .title
                .contains("answers TLS with plain HTTP, status 400")
        );
        let many: Vec<Connection> = (1..5)
            .map(|number| opened(number, Opening::HttpRequest, Opening::TlsAlert(70)))
            .collect();
        // The rule's limit: a client that is set up wrongly harms itself alone.
        let findings = findings_of("wrong-protocol", &many);
        assert_eq!(findings[0].severity, Severity::Medium);
    }

    #[test]
    fn ends_that_agree_are_silent() {
        for (client, server) in [
            (Opening::TlsHandshake, Opening::TlsHandshake),
            (Opening::TlsHandshake, Opening::TlsAlert(40)),
            (Opening::HttpRequest, Opening::HttpResponse(400)),
            (Opening::HttpRequest, Opening::Other),
            (Opening::Other, Opening::HttpResponse(400)),
            (Opening::Proxy, Opening::HttpResponse(200)),
            (Opening::Ssh, Opening::Ssh),
        ] {
            let conn = opened(1, client, server);
            assert!(
                findings_of("wrong-protocol", &[conn]).is_empty(),
                "{client:?} {server:?}"
            );
        }
    }

    #[test]
    fn a_proxy_header_that_others_may_send_is_expected() {
        let refused = || opened(1, Opening::Proxy, Opening::HttpResponse(400));
        assert_eq!(findings_of("wrong-protocol", &[refused()]).len(), 1);
        let taken = opened(2, Opening::Proxy, Opening::HttpResponse(200));
        assert!(findings_of("wrong-protocol", &[refused(), taken]).is_empty());
    }

    #[test]
    fn a_client_that_is_served_as_well_is_low() {
        let mut all: Vec<Connection> = (1..5)
            .map(|number| opened(number, Opening::Http2Preface, Opening::HttpResponse(505)))
            .collect();
        all.push(opened(6, Opening::HttpRequest, Opening::HttpResponse(200)));
        let findings = findings_of("wrong-protocol", &all);
        assert_eq!(findings[0].severity, Severity::Low);
    }
}

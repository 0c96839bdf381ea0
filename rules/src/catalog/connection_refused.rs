//! `connection-refused`: nobody listens where clients connect.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use analyzer::connection::ResetKind;
use analyzer::event::EventKind;
use analyzer::{Analysis, Connection, Timestamp};

use crate::model::context::Context;
use crate::model::legacy::{Collected, Group, Legacy, Observation, Observations};
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::Narrative;
use crate::model::observation::Note;
use crate::model::rule::Rule;
use crate::model::severity::Severity;
use crate::model::text::{ms, number, plural, time};

declare_rule! {
    /// Connection attempts are refused: nobody listens at that address and port.
    ///
    /// ## What it means
    /// The host is reachable, but answers the first segment of a connection with RST (or with an ICMP
    /// "unreachable"): no program listens on that port, or a firewall rejects it.
    ///
    /// ## Why it matters
    /// Every attempt fails at once. During a restart the window without a listener is an outage.
    ///
    /// ## How it is detected
    /// RST with ACK that answers a SYN, or an ICMP unreachable error that quotes it. Whether the listener
    /// served others before or after tells "never worked" from "went away". One client that tries
    /// many ports is called a scan (info). A client that at once succeeds at another address of the same port
    /// (IPv6 first, then IPv4) makes it low. Severity is otherwise medium, high from three attempts on.
    ///
    /// ## What to do
    /// Start the program, correct the port or the address it binds to, or drain before stopping.
    ///
    /// ## Known limits
    /// A firewall that rejects with a TCP reset looks like a closed port; its distance may differ.
    ///
    /// ## References
    /// - RFC 9293 §3.10.7.1; RFC 8305 (several addresses)
    pub(crate) struct ConnectionRefused {
        id: "connection-refused",
        title: "Connection attempts are refused",
        severity: High,
        needs: [Tcp],
        clouded_by: [CaptureDrops],
        figures: [attempts: Count / Sum],
        thresholds: [
            scan_ports = 10.0: "Different refused ports of one client that make a scan rather than a broken service; half as many when it tries each only once.",
        ],
    }
}

/// A client that has another address at hand tries it within this time.
const FALLBACK: Duration = Duration::from_secs(1);

/// The client's SYN was answered.
pub(crate) struct Fact;

impl Rule for ConnectionRefused {
    type Seen = Legacy;
    type Fact = Fact;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations<Fact>) {
        let Some(syn) = conn.handshake.syns.first() else {
            return;
        };
        if conn.handshake.syn_ack_count > 0 {
            out.note(|| Note::new(conn, Fact).at(syn.time));
            return;
        }
        let refused = conn
            .resets
            .iter()
            .find(|reset| reset.kind == ResetKind::Refused);
        let unreachable = conn.events.iter().find(|event| {
            matches!(event.kind, EventKind::IcmpError(icmp) if is_unreachable(icmp.v6, icmp.icmp_type))
        });
        let (segment, note) = match (refused, unreachable) {
            (Some(reset), _) => (reset.segment, "RST from server answers the SYN".to_owned()),
            (None, Some(event)) => (
                event.segment,
                "ICMP unreachable error quotes the SYN".to_owned(),
            ),
            (None, None) => return,
        };
        out.push(
            Observation::untyped(conn, 0.97, Severity::Medium)
                .at(syn.time)
                .evidence(*syn, "SYN from client")
                .evidence(
                    segment,
                    format!("{note}, {} later", time(ms(segment.time.since(syn.time)))),
                )
                .figure("attempts", 1.0)
                .cost("connections_failed", 1.0)
                .detail("icmp", f64::from(u8::from(refused.is_none()))),
        );
    }

    fn on_capture(&self, _analysis: &Analysis, ctx: &Context<'_>, collected: &mut Collected<Fact>) {
        let mut ports = BTreeMap::<IpAddr, BTreeSet<(IpAddr, u16)>>::new();
        for one in &collected.observations {
            let server = one.connection.server;
            ports
                .entry(one.connection.client.ip)
                .or_default()
                .insert((server.ip, server.port));
        }
        let connected: Vec<(IpAddr, u16, Timestamp)> = collected
            .notes
            .iter()
            .map(|note| {
                (
                    note.connection.client.ip,
                    note.connection.server.port,
                    note.at,
                )
            })
            .collect();
        let mut per_server = BTreeMap::<_, u64>::new();
        let mut attempts = BTreeMap::<IpAddr, usize>::new();
        for one in &collected.observations {
            *per_server.entry(one.connection.server).or_default() += 1;
            *attempts.entry(one.connection.client.ip).or_default() += 1;
        }
        for one in &mut collected.observations {
            let (client, server) = (one.connection.client.ip, one.connection.server);
            let tried = ports.get(&client).map_or(0, BTreeSet::len);
            let fell_back = connected.iter().any(|(ip, port, at)| {
                *ip == client
                    && *port == server.port
                    && *at >= one.at
                    && at.since(one.at) <= FALLBACK
            });
            // Half as many are enough where none is tried again: clients of a service come back.
            let needed = if attempts.get(&client) == Some(&tried) {
                ctx.threshold("scan_ports") / 2.0
            } else {
                ctx.threshold("scan_ports")
            };
            if number(tried as u64) >= needed {
                one.cause = format!("scan {client}");
                one.severity = Severity::Info;
                one.cost.clear();
            } else if fell_back {
                one.severity = Severity::Low;
                one.seen.details.push(("fell_back", 1.0));
            } else if per_server.get(&server).is_some_and(|count| *count >= 3) {
                one.severity = Severity::High;
            }
        }
    }

    fn describe(&self, group: &Group<'_, Fact>, draft: Narrative) -> Narrative {
        let count = group.number("attempts").unwrap_or_default();
        if group.best().cause.starts_with("scan ") {
            return describe_scan(group, draft, count);
        }
        let server = group.server();
        let listener = group.analysis.listeners.get(&server);
        let (from, to) = group.time_span();
        let window = time(ms(to.since(from)));
        let worked = listener.filter(|facts| facts.completed > 0);
        let before = worked
            .and_then(|facts| facts.first_completed)
            .is_some_and(|first| first.time < from);
        let after = worked
            .and_then(|facts| facts.last_completed)
            .is_some_and(|last| last.time > to);
        let story = match (before, after) {
            (true, true) => format!(
                "It served connections before and after: it was down for about {window} (a restart or a crash)."
            ),
            (true, false) => {
                "It served connections before and none afterwards: the program stopped.".to_owned()
            }
            (false, true) => {
                "It served connections only later: clients came before the program was ready."
                    .to_owned()
            }
            (false, false) => "No connection to it succeeded in this capture.".to_owned(),
        };
        let icmp = group.positive("icmp") > 0;
        let fell_back = if group.positive("fell_back") > 0 {
            " Clients then reached another address at once, so little was lost."
        } else {
            ""
        };
        draft
            .title(format!("{server} refuses connections"))
            .summary(format!("{} from {} to {server} refused within {window}. {story}{fell_back}", plural(count, "attempt"), group.clients_text()))
            .confidence(0.97, "The refusal itself was captured.")
            .because(if icmp { "ICMP unreachable errors answer the SYNs".to_owned() } else { "RST segments with the ACK bit answer the SYNs: the host is up and nobody listens on the port".to_owned() })
            .because_if(worked.is_some(), || format!("{} handshakes with this listener completed in the capture", worked.map_or(0, |facts| facts.completed)))
            .not("syn-unanswered", "the host answers at once; a silent drop would leave the SYN without answer")
            .not("listen-overflow", "a full accept queue drops in silence and refuses nobody")
            .advise("any", format!("start the program, or correct the port ({}) or the address it binds to (127.0.0.1 is not reachable from outside)", server.port))
            .advise("Kubernetes / balancers", "send traffic only after the readiness probe passes, and drain before stopping")
            .advise("firewall", "a rule that rejects with tcp-reset looks the same: check whether the host itself answers")
            .verify("server", format!("ss -ltnp '( sport = :{} )'", server.port), "whether a program listens, and on which address")
            .verify("client", format!("nc -vz {} {}", server.ip, server.port), "whether it is refused now")
    }
}

fn is_unreachable(v6: bool, icmp_type: u8) -> bool {
    icmp_type == if v6 { 1 } else { 3 }
}

fn describe_scan(group: &Group<'_, Fact>, draft: Narrative, count: f64) -> Narrative {
    let client = group.client().ip;
    let ports = group.servers().len();
    draft
        .title(format!("{client} tries many closed ports: a scan"))
        .summary(format!("{client} tried {ports} ports that refuse connections ({}). That is a port scan or a health check gone astray, not a broken service.", plural(count, "attempt")))
        .confidence(0.9, "Many different ports of one client were refused.")
        .because(format!("{ports} different addresses or ports were refused to one client"))
        .advise("any", "find out who runs it if it is not yours")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Builder, C, S, figure, findings_of};

    fn refused(port: u16) -> Builder {
        let mut builder = Builder::tcp(port);
        let syn = builder.segment(f64::from(port), C, 2, 0);
        builder
            .with(|conn| {
                conn.handshake.syn_count = 1;
                conn.handshake.syns = vec![syn];
            })
            .reset(f64::from(port) + 0.1, S, ResetKind::Refused)
    }

    #[test]
    fn refusals_of_one_server_are_one_finding() {
        let connections: Vec<_> = (1..5).map(|n| refused(n).build()).collect();
        let findings = findings_of("connection-refused", &connections);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::High);
        assert!((figure(&findings[0], "attempts") - 4.0).abs() < f64::EPSILON);
    }

    #[test]
    fn fallback_to_another_address_is_low() {
        let mut other = Builder::tcp(9).handshake(5.0, 1.0).build();
        other.server.ip = "10.9.0.7".parse().unwrap();
        let findings = findings_of("connection-refused", &[refused(1).build(), other]);
        assert_eq!(findings[0].severity, Severity::Low);
    }

    #[test]
    fn many_ports_are_a_scan() {
        let connections: Vec<_> = (1..15)
            .map(|n| refused(n).with(|conn| conn.server.port = 1000 + n).build())
            .collect();
        let findings = findings_of("connection-refused", &connections);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Info);
    }

    #[test]
    fn few_ports_are_a_scan_when_none_is_tried_again() {
        let at_port = |n: u16, port: u16| refused(n).with(|conn| conn.server.port = port).build();
        let mut connections: Vec<_> = (1..7).map(|n| at_port(n, 1000 + n)).collect();
        let findings = findings_of("connection-refused", &connections);
        assert_eq!(findings[0].severity, Severity::Info);
        connections.push(at_port(8, 1001));
        let findings = findings_of("connection-refused", &connections);
        assert!(findings[0].severity >= Severity::Medium);
    }

    #[test]
    fn reset_of_an_open_connection_is_not_this() {
        let conn = Builder::tcp(1)
            .handshake(0.0, 1.0)
            .reset(2.0, S, ResetKind::HalfOpen)
            .build();
        assert!(findings_of("connection-refused", &[conn]).is_empty());
    }
}

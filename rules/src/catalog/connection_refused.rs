//! `connection-refused`: nobody listens where clients connect.

use analyzer::connection::ResetKind;
use analyzer::event::{EventKind, SegmentRef};
use analyzer::{Analysis, Connection};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Collected, Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, ms, plural, time};
use crate::signs::attempts::{Attempt, Attempts, Nobody, Outcome, is_refusal};

declare_rule! {
    /// Connection attempts are refused: nothing listens at that address and port.
    ///
    /// ## What it means
    /// The host is reachable, but it answers the first segment of a connection with RST or with an ICMP "port
    /// unreachable". No program listens on that port, or a firewall rejects the attempt.
    ///
    /// ## Why it matters
    /// Every attempt fails at once. A restart leaves a window without a listener, which is an outage.
    ///
    /// ## How it is detected
    /// - A SYN is answered by RST with ACK, or by an ICMP "port unreachable" from the target itself. ICMP
    ///   errors from other hosts or with other codes belong to icmp-unreachable.
    /// - The same SYN is not answered by SYN-ACK afterwards. A SYN-ACK refutes it, as the RST was then not the
    ///   listener's.
    /// - Attempts of a scanner, a worm or a peer-to-peer client, or of an Internet host that exchanges nothing
    ///   with anyone, harm nobody (info).
    /// - Severity is low where a retry, another port or address, or the other address family served the client
    ///   within ten seconds, and for one or two attempts of a client. It is high for three or more of one
    ///   client, and for a listener that had accepted connections before and never does again.
    ///
    /// The refusal itself proves it. Whether the listener served others before or after distinguishes "never
    /// worked" from "stopped".
    ///
    /// ## What to do
    /// Start the program, correct the port or the address it binds to, or drain before stopping.
    ///
    /// ## Known limits
    /// A firewall that rejects with a TCP reset looks like a closed port; its hop limit may differ.
    ///
    /// ## References
    /// - RFC 9293 §3.10.7.1; RFC 8305 (several addresses)
    pub(crate) struct ConnectionRefused {
        id: "connection-refused",
        group: ConnectionPhase,
        title: "Connection attempts are refused",
        severity: High,
        needs: [Tcp],
        clouded_by: [CaptureDrops],
        figures: [attempts: Count / Sum],
        thresholds: [],
        host_evidence: [Filters, Owner, KernelReason],
    }
}

/// A SYN that was refused.
pub(crate) struct Seen {
    attempt: Attempt,
    /// By an ICMP error.
    icmp: bool,
    /// Why that harmed nobody.
    nobody: Option<Nobody>,
}

impl Rule for ConnectionRefused {
    type Seen = Seen;
    type Fact = Attempt;

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(
        &self,
        conn: &Connection,
        _ctx: &Context<'_>,
        out: &mut Observations<Seen, Attempt>,
    ) {
        let Some(attempt) = Attempt::of(conn) else {
            return;
        };
        out.note(|| attempt.note(conn));
        let refusal = refusal(conn, &attempt);
        let (Some(syn), Some((segment, icmp))) = (conn.handshake.syns.first(), refusal) else {
            return;
        };
        let what = if icmp {
            "ICMP port unreachable from the target quotes the SYN"
        } else {
            "RST from server answers the SYN"
        };
        let later = time(ms(segment.time.since(syn.time)));
        out.push(
            Observation::new(conn, confidence::STATED, Impact::attempts_failed(1))
                .at(syn.time)
                .evidence(*syn, "SYN from client")
                .proof(segment, format!("{what}, {later} later"))
                .figure("attempts", 1.0)
                .cost("connections_failed", 1.0)
                .seen(Seen {
                    attempt,
                    icmp,
                    nobody: None,
                }),
        );
    }

    fn on_capture(
        &self,
        analysis: &Analysis,
        _ctx: &Context<'_>,
        collected: &mut Collected<Seen, Attempt>,
    ) {
        let notes = collected.notes.iter();
        let attempts = Attempts::of(
            notes.map(|note| (&note.connection, note.at, note.fact)),
            analysis,
        );
        let observations = &mut collected.observations;
        observations
            .retain(|one| !attempts.is_accepted_after_all(&one.connection, &one.seen.attempt));
        for one in observations {
            let nobody = attempts.nobody(&one.connection, &one.seen.attempt);
            if let Some(nobody) = nobody {
                one.cause = nobody.cause(&one.connection);
                one.cost.clear();
            }
            one.seen.nobody = nobody;
            one.impact = attempts.impact(&one.connection, one.at, &one.seen.attempt);
        }
    }

    fn describe(&self, group: &Group<'_, Seen, Attempt>, draft: Narrative) -> Narrative {
        let count = group.figure("attempts").unwrap_or_default();
        if let Some(nobody) = group.best().seen.nobody {
            return describe_harmless(group, draft, nobody);
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
            (true, true) if to == from => {
                "It served connections before and after: the failure was short.".to_owned()
            }
            (true, true) => format!(
                "It served connections before and after: it was down for about {window} (a restart or a crash)."
            ),
            (true, false) => {
                "It served connections before and none afterwards: the program stopped.".to_owned()
            }
            (false, true) => {
                "It served connections only later: clients connected before the program was ready."
                    .to_owned()
            }
            (false, false) => "No connection to it succeeded in this capture.".to_owned(),
        };
        let icmp = group.having(|seen| seen.icmp) > 0;
        let recovered = group.impact().recovered;
        let recovered = match recovered {
            0 => String::new(),
            some => format!(
                " A retry, another port or another address served the client after {} within seconds.",
                many(some, "attempt")
            ),
        };
        draft
            .title(format!("{server} refuses connections"))
            .summary(format!("{}. {story}{recovered}", refusals(group, count)))
            .confidence(confidence::STATED, "The refusal itself was captured.")
            .because(if icmp { "ICMP \"port unreachable\" errors from the target itself answer the SYNs".to_owned() } else { "RST segments with the ACK flag answer the SYNs: the host is up and nothing listens on the port".to_owned() })
            .because_if(worked.is_some(), || format!("{} with this listener completed in the capture", many(worked.map_or(0, |facts| facts.completed), "handshake")))
            .not("syn-unanswered", "the host answers at once; a silent drop would leave the SYN unanswered")
            .not("listen-overflow", "a full accept queue drops silently and refuses nobody")
            .advise("any", format!("Start the program, or correct the port ({}) or the address it binds to (127.0.0.1 is not reachable from outside)", server.port))
            .advise("Kubernetes / balancers", "Send traffic only after the readiness probe passes, and drain before stopping")
            .advise("firewall", "Check whether the host itself answers: a rule that rejects with tcp-reset looks the same")
            .verify("server", format!("ss -ltnp '( sport = :{} )'", server.port), "whether a program listens, and on which address")
            .verify("client", format!("nc -vz {} {}", server.ip, server.port), "whether it is refused now")
    }
}

/// How many attempts of whom were refused, in words.
fn refusals(group: &Group<'_, Seen, Attempt>, count: f64) -> String {
    let server = group.server();
    let (from, to) = group.time_span();
    let (attempts, clients) = (plural(count, "attempt"), group.clients_text());
    let verb = if count > 1.5 { "were" } else { "was" };
    let within = if to > from {
        format!(" within {}", time(ms(to.since(from))))
    } else {
        String::new()
    };
    format!("{attempts} from {clients} to {server} {verb} refused{within}")
}

/// The segment that refused the attempt, and whether it is an ICMP error.
fn refusal(conn: &Connection, attempt: &Attempt) -> Option<(SegmentRef, bool)> {
    if attempt.outcome != Outcome::Refused {
        return None;
    }
    let reset = conn
        .resets
        .iter()
        .find(|reset| reset.kind == ResetKind::Refused);
    if let Some(reset) = reset {
        return Some((reset.segment, false));
    }
    let error = conn.events.iter().find(|event| {
        matches!(event.kind, EventKind::IcmpError(icmp) if is_refusal(&icmp, conn.server.ip))
    });
    error.map(|event| (event.segment, true))
}

fn describe_harmless(
    group: &Group<'_, Seen, Attempt>,
    draft: Narrative,
    nobody: Nobody,
) -> Narrative {
    let clients = group.clients_text();
    let who = nobody.describe(group.client_ips().len());
    let attempts = plural(group.figure("attempts").unwrap_or_default(), "attempt");
    let ports = many(group.servers().len() as u64, "port");
    draft
        .title(format!("Closed ports refuse {clients}: {who}"))
        .summary(format!("{attempts} of {clients} at {ports}: nothing listens there. The client's other traffic shows {who}, not users of a failing service."))
        .confidence(confidence::STRONG, "What the client does elsewhere in the capture shows what it is.")
        .because(format!("{ports} refused {attempts}"))
        .advise("any", "Find out who runs it if it comes from your own network")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, C, S, at, figure, findings_in, findings_of};

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
    fn one_or_two_attempts_are_a_single_event() {
        let once = findings_of("connection-refused", &[refused(1).build()]);
        assert_eq!(once[0].severity, Severity::Low);
        let other_clients: Vec<_> = (1..9_u8)
            .map(|n| {
                let of = |conn: &mut Connection| conn.client.ip = [10, 9, 1, n].into();
                refused(n.into()).with(of).build()
            })
            .collect();
        let findings = findings_of("connection-refused", &other_clients);
        assert_eq!(findings[0].severity, Severity::Low);
    }

    #[test]
    fn listener_that_went_away_is_high() {
        let conn = refused(500).build();
        let mut analysis = Analysis::default();
        let listener = analysis.listeners.entry(conn.server).or_default();
        let completed = analyzer::app::At {
            frame: 1,
            time: at(100.0),
        };
        (listener.completed, listener.last_completed) = (1, Some(completed));
        let findings = findings_in("connection-refused", &[conn], &analysis);
        assert_eq!(findings[0].severity, Severity::High);
    }

    #[test]
    fn syn_that_is_accepted_after_all_was_not_refused() {
        let mut builder = Builder::tcp(1);
        let answer = builder.segment(3.0, S, 0x12, 0);
        let accepted = builder.with(|conn| {
            conn.first_frame = 1900;
            conn.handshake.syn_ack_count = 1;
            conn.handshake.syn_acks = vec![answer];
        });
        let findings = findings_of(
            "connection-refused",
            &[refused(1).build(), accepted.build()],
        );
        assert!(findings.is_empty());
    }

    #[test]
    fn icmp_error_of_a_router_is_no_refusal() {
        let with_error = |n: u16, reporter: &str| {
            let mut builder = refused(n).with(|conn| conn.resets.clear());
            let quoted = builder.segment(f64::from(n), C, 2, 0);
            let icmp = analyzer::decode::IcmpFields {
                icmp_type: 3,
                code: 3,
                v6: false,
                mtu: 0,
                reporter: reporter.parse().unwrap(),
                quoted_seq: None,
            };
            let unanswered = builder.with(|conn| conn.halves[1].packets = 0);
            unanswered.event(quoted, EventKind::IcmpError(icmp)).build()
        };
        assert!(findings_of("connection-refused", &[with_error(1, "10.9.0.254")]).is_empty());
        assert_eq!(
            findings_of("connection-refused", &[with_error(1, "10.9.0.2")]).len(),
            1
        );
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

//! Situations of `dns-failure`, built by hand.

use analyzer::app::{AppProtocol, At, DnsExchange, TlsFacts};
use analyzer::decode::IcmpFields;
use analyzer::event::EventKind;
use analyzer::{Analysis, Connection};

use crate::model::severity::Severity;
use crate::testkit::{Builder, C, at, figure, findings_in, findings_of};

/// A question at `ms` with `(milliseconds to the answer, rcode)`, and repeated a second later each time.
fn asked(port: u16, ms: f64, answer: Option<(f64, u8)>, repeats: u32) -> Builder {
    let mut builder = Builder::udp(port);
    let question = builder.segment(ms, C, 0, 40);
    let place = |ms: f64, offset: u64| At {
        frame: question.frame + offset,
        time: at(ms),
    };
    let exchange = DnsExchange {
        id: 7,
        name: "a.example".to_owned(),
        qtype: 1,
        asked: place(ms, 0),
        repeats,
        last_asked: place(f64::from(repeats).mul_add(1_000.0, ms), u64::from(repeats)),
        answered: answer.map(|(later, _)| place(ms + later, 9)),
        rcode: answer.map(|(_, rcode)| rcode),
        truncated: false,
        answer_len: 80,
        edns_size: None,
        addresses: Vec::new(),
    };
    builder
        .protocol(AppProtocol::Dns)
        .with(|conn| conn.app.dns = vec![exchange])
}

fn to_server(last: u8) -> impl FnOnce(&mut Connection) {
    move |conn| conn.server.ip = [10, 9, 0, last].into()
}

fn named(name: &str) -> impl FnOnce(&mut Connection) {
    let name = name.to_owned();
    move |conn| conn.app.dns[0].name = name
}

fn severities(connections: &[Connection]) -> Vec<Severity> {
    let findings = findings_of("dns-failure", connections);
    findings.iter().map(|finding| finding.severity).collect()
}

#[test]
fn asked_again_in_vain_for_seconds() {
    let findings = findings_of("dns-failure", &[asked(1, 10.0, None, 4).build()]);
    assert_eq!(findings[0].severity, Severity::High);
    assert!((figure(&findings[0], "failures") - 1.0).abs() < f64::EPSILON);
    assert!((figure(&findings[0], "waited_ms") - 4_000.0).abs() < 0.5);
}

#[test]
fn asked_once_or_at_several_servers_at_once_proves_nothing() {
    let other = asked(2, 10.1, None, 0).with(to_server(3)).build();
    assert!(severities(&[asked(1, 10.0, None, 0).build(), other]).is_empty());
}

#[test]
fn resolvers_that_all_keep_silent_are_one_fault() {
    let second = asked(2, 1_010.0, None, 1).with(to_server(3)).build();
    let third = asked(3, 3_010.0, None, 1).with(to_server(4)).build();
    let findings = findings_of(
        "dns-failure",
        &[asked(1, 10.0, None, 0).build(), second, third],
    );
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::High);
    assert!((figure(&findings[0], "waited_ms") - 4_000.0).abs() < 0.5);
    assert!(findings[0].title.starts_with("Resolvers 10.9.0.2:80"));
}

#[test]
fn another_server_that_answers_soon_makes_it_low() {
    let other = asked(2, 500.0, Some((20.0, 0)), 0)
        .with(to_server(3))
        .build();
    let first = asked(1, 10.0, None, 0).build();
    let findings = findings_of("dns-failure", &[first, other]);
    assert_eq!(findings[0].severity, Severity::Low);
    let proof = findings[0].evidence.iter().find(|evidence| evidence.proves);
    assert_eq!(
        proof.map(|proof| proof.connection.client.port),
        Some(40_002)
    );
}

#[test]
fn repetition_that_is_answered_at_once_shows_a_lost_question() {
    let findings = findings_of(
        "dns-failure",
        &[asked(1, 10.0, Some((2_010.0, 0)), 2).build()],
    );
    assert!(findings[0].title.contains("unanswered"));
    assert_eq!(findings[0].severity, Severity::Medium);
}

/// A call of `a.example`.
fn call(port: u16, ms: f64) -> Connection {
    let call = Builder::tcp(port).handshake(ms, 1.0).with(|conn| {
        conn.start = at(ms);
        conn.app.tls = Some(Box::new(TlsFacts {
            sni: Some("a.example".to_owned()),
            ..TlsFacts::default()
        }));
    });
    call.build()
}

#[test]
fn client_that_uses_the_name_was_answered() {
    assert!(severities(&[asked(1, 10.0, None, 2).build(), call(2, 1_500.0)]).is_empty());
}

#[test]
fn half_of_a_pair_that_is_lost_costs_the_wait_for_its_repetition() {
    let mut lost = asked(1, 10.0, Some((5_020.0, 0)), 1).build();
    lost.app.dns[0].qtype = 28;
    lost.app.dns[0].last_asked.time = at(5_015.0);
    let answered = asked(2, 10.0, Some((20.0, 0)), 0).build();
    let findings = findings_of("dns-failure", &[lost, answered, call(3, 5_040.0)]);
    assert_eq!(findings[0].severity, Severity::High);
    assert!((figure(&findings[0], "waited_ms") - 5_020.0).abs() < 0.5);
}

#[test]
fn client_whose_servers_were_not_captured_may_have_been_answered() {
    let half = Builder::tcp(2).request(20.0, 100).build();
    assert!(severities(&[asked(1, 10.0, None, 2).build(), half]).is_empty());
}

#[test]
fn returned_questions_belong_to_icmp_unreachable() {
    let mut builder = asked(1, 10.0, None, 2);
    let packet = builder.segment(60.0, C, 0, 40);
    let icmp = IcmpFields {
        icmp_type: 3,
        code: 3,
        v6: false,
        mtu: 0,
        reporter: "10.9.0.2".parse().unwrap(),
        quoted_seq: None,
    };
    let conn = builder.event(packet, EventKind::IcmpError(icmp)).build();
    assert!(severities(&[conn]).is_empty());
}

#[test]
fn failed_answers_by_kind_and_by_count() {
    let single = [
        asked(1, 10.0, Some((5.0, 2)), 0).build(),
        asked(2, 10.0, Some((5.0, 5)), 0)
            .with(named("b.example"))
            .build(),
    ];
    assert_eq!(severities(&single), [Severity::Low, Severity::Low]);
    let names = ["a.example", "b.example", "c.example"];
    let several = (1..).zip(names);
    let several: Vec<_> = several
        .map(|(port, name)| {
            asked(port, 10.0, Some((5.0, 2)), 0)
                .with(named(name))
                .build()
        })
        .collect();
    assert_eq!(severities(&several), [Severity::High]);
}

#[test]
fn variant_of_a_search_domain_is_low_when_the_name_resolves() {
    let variants = [
        "a.example.corp.test",
        "a.example.lab.test",
        "a.example.test",
    ];
    let mut all: Vec<_> = (1..)
        .zip(variants)
        .map(|(port, name)| {
            asked(port, 10.0, Some((5.0, 5)), 0)
                .with(named(name))
                .build()
        })
        .collect();
    all.push(asked(9, 20.0, Some((5.0, 0)), 0).build());
    assert_eq!(severities(&all), [Severity::Low]);
}

#[test]
fn healthy_answers_and_single_missing_names_are_silent() {
    let connections = [
        asked(1, 10.0, Some((5.0, 0)), 0).build(),
        asked(2, 10.0, Some((5.0, 3)), 0).build(),
    ];
    assert!(findings_in("dns-failure", &connections, &Analysis::default()).is_empty());
}

/// A truncated answer over UDP, at 10 ms.
fn truncated() -> Connection {
    let asked = asked(1, 10.0, Some((3.0, 0)), 0);
    asked.with(|conn| conn.app.dns[0].truncated = true).build()
}

/// With a TCP connection in the capture.
fn told(connections: &[Connection]) -> Vec<crate::Finding> {
    let analysis = Analysis {
        tcp_connections: 1,
        ..Analysis::default()
    };
    findings_in("dns-failure", connections, &analysis)
}

#[test]
fn truncated_answers_are_fetched_over_tcp_or_told() {
    let findings = told(&[truncated()]);
    assert_eq!(findings[0].severity, Severity::Low);
    assert!(findings[0].title.contains("no client fetches over TCP"));
    // Without any TCP the capture may have left it out.
    assert!(severities(&[truncated()]).is_empty());
    let over_tcp = asked(2, 20.0, Some((3.0, 0)), 0);
    let over_tcp = over_tcp.with(|conn| conn.transport = analyzer::Transport::Tcp);
    assert!(told(&[truncated(), over_tcp.build()]).is_empty());
}

#[test]
fn a_truncated_answer_that_tcp_cannot_bring_is_a_failure() {
    let mut udp = truncated();
    udp.server.port = 53;
    let mut tcp = Builder::tcp(2);
    let syn = tcp.segment(20.0, C, 2, 0);
    let tcp = tcp.with(|conn| {
        conn.server.port = 53;
        conn.handshake.syns = vec![syn];
        conn.handshake.syn_count = 1;
    });
    let findings = told(&[udp, tcp.build()]);
    assert!(findings[0].title.contains("cannot be reached over TCP"));
    let proofs = findings[0].evidence.iter().filter(|one| one.proves);
    assert!(
        proofs
            .map(|one| one.segment.frame)
            .any(|frame| frame == syn.frame)
    );
}

#[test]
fn an_answer_from_another_address_is_no_answer() {
    let question = asked(1, 10.0, None, 2).build();
    let mut stray = asked(1, 13.0, None, 0).with(to_server(3)).build();
    stray.first_frame += 1;
    let unasked = |name: &str| {
        let mut stray = stray.clone();
        stray.app.dns.clear();
        stray.app.dns_unasked = Some(Box::new(analyzer::app::DnsUnasked {
            id: 7,
            name: name.to_owned(),
            at: At {
                frame: stray.first_frame,
                time: at(13.0),
            },
        }));
        stray
    };
    let findings = findings_of("dns-failure", &[question.clone(), unasked("a.example")]);
    assert_eq!(findings[0].severity, Severity::Medium);
    assert!(findings[0].title.ends_with("answered from another address"));
    let other = findings_of("dns-failure", &[question, unasked("b.example")]);
    assert!(other[0].title.contains("unanswered"));
}

#[test]
fn a_name_that_is_looked_up_at_intervals_is_not_asked_again() {
    let every = |port: u16, ms: f64, answer| asked(port, ms, answer, 0).build();
    let well = Some((9.0, 0));
    let regular = [
        every(1, 10.0, well),
        every(2, 10_010.0, well),
        every(3, 20_010.0, None),
        every(4, 30_020.0, well),
    ];
    assert!(severities(&regular).is_empty());
    // Sooner than usual it waits for an answer.
    let sooner = [
        every(1, 10.0, well),
        every(2, 10_010.0, well),
        every(3, 20_010.0, None),
        every(4, 25_010.0, well),
    ];
    assert_eq!(severities(&sooner).len(), 1);
}

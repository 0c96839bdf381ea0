//! The engine on connections built by hand: grouping, links, ranking, bounds on failure.

use std::time::Duration;

use analyzer::connection::{HoleEpisode, Holes, ResetKind};
use analyzer::event::RetransmissionKind;

use analyzer::QualityKind;

use super::*;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::declare_rule;
use crate::model::narrative::Group;
use crate::model::narrative::Narrative;
use crate::model::observation::{Observation, Observations};
use crate::model::severity::Severity;
use crate::testkit::{Builder, C, S, assess, assess_with, at};

fn late_write(port: u16, closed_at: f64) -> Connection {
    Builder::tcp(port)
        .handshake(0.0, 1.0)
        .request(1.0, 100)
        .response(2.0, 500)
        .fin(closed_at, S)
        .request(closed_at + 1.0, 100)
        .reset(closed_at + 1.2, S, ResetKind::AbortedAfterClose)
        .build()
}

fn with_loss(port: u16) -> Connection {
    let mut builder = Builder::tcp(port)
        .handshake(0.0, 40.0)
        .request(50.0, 100)
        .response(100.0, 1400);
    let opened = builder.segment(101.0, S, 0x10, 1400);
    let filled = builder.segment(401.0, S, 0x10, 1400);
    let stall = Duration::from_millis(300);
    builder
        .with(|conn| {
            conn.halves[1].data_segments = 20;
            conn.halves[1].retransmitted_segments = 1;
            conn.halves[1].lost_after_capture = 1;
            conn.holes.waits[1].add(opened.time, filled.time, 1400);
            conn.holes = Holes {
                waits: conn.holes.waits.clone(),
                longest: vec![HoleEpisode {
                    direction: S,
                    opened,
                    filled,
                    at_least: false,
                    too_large: false,
                    repair: Some(filled),
                    repair_kind: RetransmissionKind::Timeout,
                    repairs: 1,
                    missing_octets: 1400,
                    blocked_octets: 1400,
                    stall,
                    seen_at_sender: false,
                    confirmed: true,
                    blocked_messages: 0,
                    message_unit: analyzer::app::MessageUnit::Unknown,
                }],
            };
        })
        .build()
}

#[test]
fn occurrences_at_one_server_are_one_finding() {
    let mut other = late_write(3, 5000.0);
    other.server.port = 81;
    let connections = [late_write(1, 5000.0), late_write(2, 5001.0), other];
    let findings = assess(&connections, &Analysis::default()).findings;
    assert_eq!(
        findings
            .iter()
            .map(|one| one.occurrences)
            .collect::<Vec<_>>(),
        [2, 1]
    );
    assert_eq!(findings[0].id, "F1");
    assert_eq!(findings[0].connections.len(), 2);
    let frames: Vec<u64> = findings[0]
        .evidence
        .iter()
        .map(|one| one.segment.frame)
        .collect();
    assert!(
        frames[..4].is_sorted(),
        "evidence in frame order: {frames:?}"
    );
    assert!(
        findings[0].filter.contains("tcp.port==40001"),
        "{}",
        findings[0].filter
    );
}

#[test]
fn the_most_frequent_of_too_many_causes_are_findings() {
    let mut connections = Vec::new();
    for number in 0..=1_200 {
        let mut connection = late_write(number, 5000.0);
        connection.first_frame = number.into();
        connection.server.port = number;
        connections.push(connection);
    }
    let mut again = late_write(1_200, 6000.0);
    again.server.port = 1_200;
    again.first_frame = 2_000;
    connections.push(again);
    let assessment = assess(&connections, &Analysis::default());
    let findings = assessment.findings;
    assert_eq!(findings.len(), 1_000);
    assert!(findings.iter().any(|one| one.occurrences == 2));
    let told = assessment
        .notices
        .iter()
        .any(|one| one.contains("1201 causes"));
    assert!(told, "{:?}", assessment.notices);
}

#[test]
fn symptoms_name_their_causes() {
    let findings = assess(&[with_loss(1)], &Analysis::default()).findings;
    let rules: Vec<_> = findings.iter().map(|one| one.rule).collect();
    assert_eq!(rules, ["retransmit-hol", "packet-loss"]);
    assert_eq!(findings[0].explained_by, ["F2"]);
}

/// A finding of `rule` on these connections.
fn draft(rule: &'static str, severity: Severity, connections: &[u64]) -> Draft {
    let mut finding = assess(&[with_loss(1)], &Analysis::default())
        .findings
        .remove(0);
    (finding.rule, finding.severity) = (rule, severity);
    Draft {
        finding,
        connections: connections.iter().copied().collect(),
        servers: std::collections::BTreeSet::new(),
        client_ips: std::collections::BTreeSet::new(),
        times: Vec::new(),
        ended: analyzer::Timestamp::default(),
    }
}

#[test]
fn causes_come_before_their_symptoms_unless_they_are_only_information() {
    let ranked = |severity| {
        let symptom = draft("retransmit-hol", Severity::Medium, &[1]);
        let ranked = rank(vec![symptom, draft("packet-loss", severity, &[1])]);
        let rules = ranked.iter().map(|one| one.finding.rule);
        rules.collect::<Vec<_>>()
    };
    assert_eq!(ranked(Severity::Info), ["retransmit-hol", "packet-loss"]);
    assert_eq!(ranked(Severity::Low), ["packet-loss", "retransmit-hol"]);
}

#[test]
fn attempts_without_an_answer_are_told_by_who_knows_why() {
    let left = |severity, connections: &[u64]| {
        let full = draft("listen-overflow", Severity::Medium, &[1, 2, 3]);
        let mut drafts = vec![draft("syn-unanswered", severity, connections), full];
        without_weaker(&mut drafts);
        drafts.len()
    };
    assert_eq!(left(Severity::Low, &[1, 3]), 1);
    assert_eq!(left(Severity::High, &[1, 3]), 2, "it is graver");
    assert_eq!(left(Severity::Low, &[1, 4]), 2, "one is another's");
}

#[test]
fn a_gateways_502_is_explained_by_the_race_behind_it() {
    // The gateway 10.9.0.1 lost a request to its upstream; its own client got 502 at that moment.
    let upstream = late_write(1, 5000.0);
    let place = |frame, ms| {
        Some(analyzer::app::At {
            frame,
            time: at(ms),
        })
    };
    let front = Builder::tcp(2)
        .handshake(0.0, 1.0)
        .request(5000.5, 90)
        .response(5002.0, 150)
        .with(|conn| {
            conn.client.ip = "192.0.2.5".parse().unwrap();
            conn.server = analyzer::Endpoint::new("10.9.0.1".parse().unwrap(), 80);
            conn.app.http = Some(Box::new(analyzer::app::HttpFacts {
                responses: 1,
                by_class: [0, 0, 0, 0, 1],
                kept: vec![analyzer::app::HttpExchange {
                    method: "GET".into(),
                    target: "/".to_owned(),
                    host: None,
                    request_start: place(2004, 5000.5).unwrap(),
                    request_end: None,
                    status: Some(502),
                    response_start: place(2005, 5002.0),
                    response_end: place(2005, 5002.0),
                    connection_close: false,
                }],
                ..analyzer::app::HttpFacts::default()
            }));
        })
        .build();
    let findings = assess(&[upstream, front], &Analysis::default()).findings;
    let error = findings
        .iter()
        .find(|one| one.rule == "http-error")
        .unwrap();
    let race = findings
        .iter()
        .find(|one| one.rule == "keepalive-race")
        .unwrap();
    assert_eq!(error.explained_by, std::slice::from_ref(&race.id));
}

#[test]
fn shards_and_their_order_do_not_matter() {
    let connections: Vec<_> = (0..40)
        .map(|n| late_write(n, 5000.0 + f64::from(n)))
        .collect();
    let whole = assess(&connections, &Analysis::default());
    for shards in [2_usize, 7, 16] {
        let engine = Engine::new(RuleSettings::default());
        let mut sinks: Vec<RuleSink> = (0..shards).map(|_| engine.sink()).collect();
        for (index, connection) in connections.iter().rev().enumerate() {
            sinks[index % shards].connection(connection);
        }
        sinks.reverse();
        assert_eq!(engine.finish(sinks, &Analysis::default()), whole);
    }
}

#[test]
fn what_could_not_be_judged_is_counted() {
    let mut one_sided = late_write(1, 5000.0);
    one_sided.halves[1] = analyzer::Half::default();
    let assessment = assess(&[one_sided, late_write(2, 5000.0)], &Analysis::default());
    let outcome = assessment
        .outcomes
        .iter()
        .find(|one| one.rule == "keepalive-race")
        .unwrap();
    assert_eq!(outcome.assessed, 1);
    assert_eq!(
        outcome.not_assessed,
        [("only one direction was captured".to_owned(), 1)]
    );
    assert_eq!(outcome.findings, 1);
    let ids: Vec<_> = assessment.outcomes.iter().map(|one| one.rule).collect();
    assert!(ids.is_sorted(), "outcomes by rule id");
}

#[test]
fn accepted_findings_are_hidden_and_said_to_be() {
    let text = "[[ignore]]\nrule = \"keepalive-*\"\nserver = \"10.9.0.2\"\nreason = \"known\"\n\
                [[ignore]]\nrule = \"dns-failure\"\nreason = \"old\"\nexpires = \"2020-01-01\"\n";
    let settings = RuleSettings::from_toml(text, "pcapdoc.toml").unwrap();
    let mut analysis = Analysis::default();
    analysis.summary.last = Some(analyzer::Timestamp::from_nanos(1_700_000_000_000_000_000));
    let assessment = assess_with(settings, &[late_write(1, 5000.0)], &analysis);
    assert!(assessment.findings.is_empty());
    assert!(
        assessment.notices[0].contains("1 finding of keepalive-* at 10.9.0.2 not shown: known")
    );
    assert!(assessment.notices[1].contains("ended on 2020-01-01"));
}

declare_rule! {
    /// Fails on purpose.
    pub(crate) struct Failing {
        id: "failing",
        group: Application,
        title: "Fails on purpose",
        severity: Low,
        needs: [Tcp],
        clouded_by: [],
        figures: [],
        thresholds: [],
    }
}

impl Rule for Failing {
    type Seen = ();
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations) {
        out.push(Observation::new(conn, 1.0, Impact::requests_lost(3)));
        assert!(conn.client.port != 40_001, "cannot bear this port");
    }

    fn describe(&self, _group: &Group<'_>, draft: Narrative) -> Narrative {
        draft
    }
}

#[test]
fn a_failing_rule_loses_one_call_and_says_so() {
    let inner = Inner {
        own: Vec::new(),
        rules: vec![Box::new(Adapter::new(&Failing))],
        gates: vec![Gate::of(Failing.meta())],
        settings: RuleSettings::default(),
    };
    let engine = Engine {
        inner: Arc::new(inner),
    };
    let mut sink = engine.sink();
    for port in 1..4 {
        sink.connection(&late_write(port, 5000.0));
    }
    let assessment = engine.finish(vec![sink], &Analysis::default());
    let failure = assessment.outcomes[0].failure.as_deref().unwrap();
    assert!(
        failure.contains("frame 1001") && failure.contains("cannot bear this port"),
        "{failure}"
    );
    assert_eq!(
        assessment.findings[0].occurrences, 2,
        "the other calls count"
    );
}

#[test]
fn healthy_traffic_gives_nothing_above_low() {
    let web = |port: u16| {
        Builder::tcp(port)
            .handshake(0.0, 20.0)
            .request(21.0, 200)
            .response(60.0, 30_000)
    };
    let connections = [
        web(1).fin(100.0, C).fin(120.0, S).build(),
        // Idle keep-alive closed cleanly by the server, then by the client.
        web(2).fin(65_060.0, S).fin(65_080.0, C).build(),
        web(3).fin(90_060.0, C).fin(90_080.0, S).build(),
        // Health checks without data that end in RST, and load generators that stop.
        Builder::tcp(4)
            .handshake(0.0, 1.0)
            .reset(1.1, C, ResetKind::LingerZero)
            .build(),
        web(5).reset(100.0, C, ResetKind::UnreadData).build(),
        // TLS client that leaves session tickets unread.
        web(6)
            .reset(100.0, C, ResetKind::UnreadData)
            .protocol(analyzer::app::AppProtocol::Tls)
            .build(),
        // Half-close: FIN first, response later, no reset.
        Builder::tcp(7)
            .handshake(0.0, 20.0)
            .request(21.0, 200)
            .request_acked(41.0)
            .fin(21.1, C)
            .response(900.0, 5000)
            .fin(901.0, S)
            .build(),
        // A reused port that was accepted at once.
        web(8).with(|conn| conn.port_reuse = true).build(),
    ];
    for finding in assess(&connections, &Analysis::default()).findings {
        assert!(
            finding.severity <= Severity::Low,
            "{}: {}",
            finding.rule,
            finding.title
        );
    }
}

fn quality(kinds: &[QualityKind]) -> Vec<analyzer::QualityNote> {
    let note = |kind: &QualityKind| analyzer::QualityNote {
        kind: *kind,
        count: 1,
        note: kind.as_str().to_owned(),
    };
    kinds.iter().map(note).collect()
}

fn caveats_of(connection: &Connection, analysis: &Analysis) -> Vec<QualityKind> {
    let findings = assess(std::slice::from_ref(connection), analysis).findings;
    let race = findings.iter().find(|one| one.rule == "keepalive-race");
    let caveats = race.expect("the race").caveats.iter();
    caveats.map(|(kind, _)| *kind).collect()
}

#[test]
fn a_finding_carries_the_caveats_that_touch_it() {
    use QualityKind::{CaptureDrops, ClockStep, CutShort, OneSided};
    let mut analysis = Analysis {
        quality: quality(&[CaptureDrops, OneSided, ClockStep, CutShort]),
        ..Analysis::default()
    };
    let mut conn = late_write(1, 5000.0);
    // The clock is the whole capture's; what other connections lack is not this one's matter, and
    // the rule does not care for the capture's end.
    assert_eq!(caveats_of(&conn, &analysis), [ClockStep]);
    conn.halves[1].missing_octets = 10;
    assert_eq!(caveats_of(&conn, &analysis), [CaptureDrops, ClockStep]);
    conn.halves[1].missing_octets = 0;
    // A host that says it dropped frames may have dropped any.
    analysis.summary.interfaces = vec![analyzer::analysis::InterfaceSummary {
        index: 0,
        name: None,
        link_type: "EN10MB".to_owned(),
        snaplen: 0,
        frames: 10,
        drops: Some(3),
    }];
    assert_eq!(caveats_of(&conn, &analysis), [CaptureDrops, ClockStep]);
}

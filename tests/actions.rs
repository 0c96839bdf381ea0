//! Requests step by step, over all captures: steps follow each other, the figures rest on what they say,
//! and lookups stand before the connections that waited for them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::common;
use crate::packets::{ACK, Capture, PSH, SYN};
use reports::Document;
use reports::document::{ActionRow, Actions, FindingView};

fn analysed(capture: &str) -> Document {
    let path = common::root().join("testdata/captures").join(capture);
    pcapdoc::analyze(&[path.to_str().expect("UTF-8")]).expect("a capture")
}

fn actions(capture: &str) -> Actions {
    analysed(capture).actions.expect("requests")
}

fn finding(capture: &str, rule: &str) -> FindingView {
    let findings = analysed(capture).findings.into_iter();
    let mut of_rule = findings.filter(|finding| finding.rule == rule);
    of_rule
        .next()
        .unwrap_or_else(|| panic!("{capture}: no {rule}"))
}

fn count(actions: &Actions, step: &str) -> u64 {
    let mut steps = actions.steps.iter();
    let times = steps.find(|times| times.step == step);
    times.map_or(0, |times| times.count)
}

/// What is wrong with a request.
fn wrong_row(row: &ActionRow) -> Option<String> {
    /// Times are rounded to the microsecond.
    const ROUNDING: f64 = 0.002;
    let mut until = 0.0;
    for step in &row.steps {
        if step.from_ms + ROUNDING < until {
            return Some(format!(
                "{} begins before the step before it ended",
                step.step
            ));
        }
        if step.recovery_ms > step.ms + ROUNDING {
            return Some(format!("{} is shorter than its recovery", step.step));
        }
        until = step.from_ms + step.ms;
    }
    let ends = (until - row.total_ms).abs() < ROUNDING;
    (!ends).then(|| format!("ends after {until} ms of {}", row.total_ms))
}

fn wrong(actions: &Actions, duration_s: f64) -> Vec<String> {
    let rows = actions.slowest.iter();
    let mut wrong: Vec<String> = rows.filter_map(wrong_row).collect();
    let is_sorted = actions
        .slowest
        .is_sorted_by(|a, b| a.total_ms >= b.total_ms);
    if !is_sorted || actions.slowest.len() > 10 {
        wrong.push("not the ten slowest in order".to_owned());
    }
    for times in &actions.steps {
        let is_rising = times.p50_ms <= times.p95_ms && times.p95_ms <= times.max_ms;
        if !is_rising || times.max_ms > duration_s * 1e3 + 0.01 {
            wrong.push(format!("figures of {}", times.step));
        }
    }
    if actions.count > actions.seen || (actions.count < actions.seen) != actions.note.is_some() {
        wrong.push(format!("{} of {} requests", actions.count, actions.seen));
    }
    if count(actions, "total") > actions.count {
        wrong.push("more requests than there are".to_owned());
    }
    wrong
}

#[test]
fn steps_follow_each_other_in_all_captures() {
    let captures = common::captures_with_truth();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut complaints = Vec::new();
        while let Some((path, _)) = captures.get(next.fetch_add(1, Ordering::Relaxed)) {
            let path = path.to_str().expect("UTF-8");
            let document = pcapdoc::analyze(&[path]).unwrap_or_else(|e| panic!("{path}: {e}"));
            if let Some(actions) = &document.actions {
                let found = wrong(actions, document.capture.duration_s).into_iter();
                complaints.extend(found.map(|what| format!("{path}: {what}")));
            }
        }
        complaints
    };
    let complaints: Vec<String> = thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        let done = workers.into_iter();
        done.flat_map(|worker| worker.join().expect("no panic"))
            .collect()
    });
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// Each of six clients looks the name up once and opens two connections.
#[test]
fn a_lookup_stands_before_the_first_connection_after_it() {
    let actions = actions("transparent-redirect/not-virtual-hosts.pcap.gz");
    assert_eq!(count(&actions, "dns"), 6);
    assert_eq!(count(&actions, "connect"), 12);
    assert_eq!(actions.count, 24);
    let looked_up = actions.slowest.iter();
    let mut looked_up = looked_up.filter(|row| row.steps[0].step == "dns");
    assert!(looked_up.all(|row| row.steps[1].step == "connect" && row.name.is_some()));
}

/// The ledger of the lab's relay holds back three of the server's segments, each on another connection.
#[test]
fn loss_recovery_is_a_part_of_the_body() {
    let actions = actions("retransmit-hol/some-of-many.pcap.gz");
    assert_eq!((actions.count, count(&actions, "recovery")), (12, 3));
    let recovers = |row: &&ActionRow| row.steps.iter().any(|step| step.recovery_ms > 0.0);
    let slow = actions.slowest.iter().find(recovers).expect("a slow one");
    let body = slow.steps.last().expect("steps");
    assert_eq!(body.step, "body");
    assert!(body.recovery_ms > 50.0 && body.recovery_ms < body.ms);
}

#[test]
fn a_lost_syn_is_a_part_of_connect_and_would_not_be_without_the_finding() {
    let capture = "kernel/syn-lost/client.pcap.gz";
    let connect = actions(capture);
    let connect = connect.steps.iter().find(|times| times.step == "connect");
    assert!(connect.is_some_and(|connect| connect.p50_ms > 1_000.0));
    let what_if = finding(capture, "listen-overflow")
        .what_if
        .expect("a delay");
    assert_eq!((what_if.requests, what_if.delayed), (12, 12));
    assert!(what_if.measured.p50_ms > 1_000.0 && what_if.without.p50_ms < 100.0);
}

#[test]
fn a_finding_that_delays_no_request_says_nothing_of_it() {
    let refused = finding("keepalive-race/nginx-proxy-502.pcap", "keepalive-race");
    assert!(refused.what_if.is_none());
}

/// A client that repeats its query for a name after five seconds, and then connects to what it got.
#[test]
fn a_repeated_lookup_delays_the_request_that_waited_for_the_name() {
    let (client, resolver) = ("198.51.100.7", ("192.0.2.53", 53));
    let server = ("192.0.2.10", 80);
    let query = |flags: &[u8], answers: u8| {
        let mut message = vec![0x12, 0x34];
        message.extend_from_slice(flags);
        message.extend_from_slice(&[0, 1, 0, answers, 0, 0, 0, 0]);
        message.extend_from_slice(b"\x04shop\x07example\x00\x00\x01\x00\x01");
        message
    };
    let mut answer = query(&[0x81, 0x80], 1);
    answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 10]);
    let mut capture = Capture::new();
    for number in 0..4 {
        let (asking, calling) = ((client, 30_000 + number), (client, 50_000 + number));
        capture.udp(asking, resolver, &query(&[1, 0], 0));
        capture.wait_ms(5_000);
        capture.udp(asking, resolver, &query(&[1, 0], 0));
        capture.wait_ms(1);
        capture.udp(resolver, asking, &answer);
        capture.tcp(calling, server, SYN, 100, 0, b"");
        capture.tcp(server, calling, SYN | ACK, 500, 101, b"");
        capture.tcp(calling, server, ACK, 101, 501, b"");
        let request = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";
        capture.tcp(calling, server, ACK | PSH, 101, 501, request);
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        capture.tcp(
            server,
            calling,
            ACK | PSH,
            501,
            101 + request.len() as u32,
            response,
        );
        capture.wait_ms(1_000);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("repeated.pcap");
    std::fs::write(&path, capture.next_file()).expect("a writable folder");
    let document = pcapdoc::analyze(&[path.to_str().expect("UTF-8")]).expect("a capture");
    let mut of_rule = document
        .findings
        .into_iter()
        .filter(|one| one.rule == "dns-failure");
    let what_if = of_rule.next().expect("a finding").what_if.expect("a delay");
    assert_eq!((what_if.requests, what_if.delayed), (4, 4));
    assert_eq!(what_if.servers, "192.0.2.10:80");
    assert!(what_if.measured.p50_ms > 5_000.0 && what_if.without.p50_ms < 100.0);
}

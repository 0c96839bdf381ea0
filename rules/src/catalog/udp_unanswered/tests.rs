//! Situations of `udp-unanswered`, built by hand.

use super::*;
use crate::model::severity::Severity;
use crate::testkit::{Builder, C, S, at, figure, findings_of};
use analyzer::app::DatagramRequests;

fn place(frame: u64, ms: f64) -> At {
    At {
        frame,
        time: at(ms),
    }
}

/// A flow on which `count` requests, `different` of them different, wait from 0 to 5 s.
fn asking(number: u16, protocol: &'static str, count: u64, different: u64) -> Connection {
    let requests = DatagramRequests {
        count,
        unanswered: Some(Unanswered {
            count,
            different,
            first: place(u64::from(number) * 1000 + 1, 0.0),
            last: place(u64::from(number) * 1000 + 2, 5_000.0),
        }),
        dhcp_clients: Vec::new(),
    };
    let mut builder = Builder::udp(number);
    builder.segment(0.0, C, 0, 48);
    builder.segment(5_000.0, C, 0, 48);
    builder
        .with(|conn| {
            conn.app.name = Some(protocol);
            conn.app.requests = Some(Box::new(requests));
        })
        .build()
}

fn found(connections: &[Connection]) -> Vec<crate::Finding> {
    findings_of("udp-unanswered", connections)
}

#[test]
fn repeated_requests_are_lost() {
    let findings = found(&[asking(1, "radius", 3, 1)]);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::Medium);
    assert!((figure(&findings[0], "requests") - 3.0).abs() < f64::EPSILON);
}

#[test]
fn any_answer_of_the_server_refutes_it() {
    let other = {
        let mut builder = Builder::udp(2);
        builder.segment(100.0, C, 0, 48);
        builder.segment(9_000.0, S, 0, 48);
        builder.with(|conn| {
            conn.app.name = Some("radius");
            conn.app.requests = Some(Box::default());
        })
    };
    assert!(found(&[asking(1, "radius", 3, 1), other.build()]).is_empty());
    assert!(found(&[asking(1, "radius", 2, 1)]).is_empty());
}

use super::*;
use crate::model::severity::Severity;
use crate::testkit::{Builder, figure, findings_of};

/// Bursts of 1 to 12 requests at one moment, each on a connection of its own, to a server that takes 60 ms a
/// request: one at a time, or all at a time.
fn bursts(one_at_a_time: bool) -> Vec<Connection> {
    let mut connections = Vec::new();
    let mut port = 0;
    for burst in 0..12_u16 {
        for place in 0..=burst {
            port += 1;
            let start = f64::from(burst) * 2_000.0 + f64::from(place) * 0.1;
            let took = if one_at_a_time {
                60.0 * f64::from(place + 1)
            } else {
                60.0
            };
            let builder = Builder::tcp(port).handshake(start, 0.2);
            let builder = builder
                .request(start + 1.0, 100)
                .response(start + 1.0 + took, 100);
            connections.push(builder.protocol(AppProtocol::Http1).build());
        }
    }
    connections
}

#[test]
fn who_serves_one_at_a_time_makes_the_others_wait() {
    let findings = findings_of("server-saturation", &bursts(true));
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::Low);
    assert!((figure(&findings[0], "outstanding_most") - 11.0).abs() < f64::EPSILON);
    let rate = figure(&findings[0], "answers_per_second");
    assert!((14.0..20.0).contains(&rate), "{rate}");
}

#[test]
fn who_serves_all_at_a_time_is_not_saturated() {
    assert!(findings_of("server-saturation", &bursts(false)).is_empty());
}

#[test]
fn a_pause_of_the_whole_server_is_none() {
    // All of a burst are answered at the end of a pause.
    let pause = |burst: u16, place: u16| {
        let port = burst * 20 + place + 1;
        let start = f64::from(burst) * 2_000.0 + f64::from(place) * 40.0;
        let long = if burst.is_multiple_of(2) {
            3.0
        } else {
            500.0 - f64::from(place) * 40.0
        };
        let builder = Builder::tcp(port).handshake(start, 0.2);
        let builder = builder
            .request(start + 1.0, 100)
            .response(start + 1.0 + long, 100);
        builder.protocol(AppProtocol::Http1).build()
    };
    let all: Vec<_> = (0..12)
        .flat_map(|burst| (0..10).map(move |place| pause(burst, place)))
        .collect();
    assert!(findings_of("server-saturation", &all).is_empty());
}

use crate::app::testing::{C, S, Step, at, check_any_cut, data, read};
use crate::app::{AppFacts, AppProtocol, HttpFacts};

fn http(facts: AppFacts) -> HttpFacts {
    assert_eq!(facts.protocol, AppProtocol::Http1);
    *facts.http.expect("HTTP facts")
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: one.example\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nServer: test/1\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn keep_alive_connection() {
    let head = "HTTP/1.1 503 Busy\r\nKeep-Alive: timeout=5, max=10\r\nContent-Length: 0\r\n\r\n";
    let steps = [data(C, GET), data(S, OK), data(C, GET), data(S, head)];
    let facts = http(read(&steps));
    assert_eq!((facts.requests, facts.responses), (2, 2));
    assert_eq!(facts.by_class, [0, 1, 0, 0, 1]);
    assert_eq!(facts.keep_alive_timeout_s, Some(5));
    assert_eq!(facts.server.as_deref(), Some("test/1"));
    assert!(!facts.lost_track && !facts.proxy_request && !facts.upgraded);
    let first = &facts.kept[0];
    assert_eq!(
        (first.method.as_ref(), first.target.as_str()),
        ("GET", "/a")
    );
    assert_eq!(first.host.as_deref(), Some("one.example"));
    assert_eq!(
        (first.request_start, first.request_end),
        (at(1), Some(at(1)))
    );
    assert_eq!(
        (first.response_start, first.response_end),
        (Some(at(2)), Some(at(2)))
    );
    assert_eq!(facts.kept[1].status, Some(503));
    assert_eq!(facts.kept[1].response_end, Some(at(4)));
    check_any_cut(&steps);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let two = format!("{GET}{}", GET.replace("/a", "/b"));
    let steps = [
        data(C, two),
        data(
            S,
            format!("{OK}HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
        ),
    ];
    let facts = http(read(&steps));
    let kept: Vec<_> = facts
        .kept
        .iter()
        .map(|kept| (kept.target.as_str(), kept.status))
        .collect();
    assert_eq!(kept, [("/a", Some(200)), ("/b", Some(404))]);
    check_any_cut(&steps);
}

#[test]
fn chunked_bodies_with_extensions_and_trailers() {
    let post = "POST /up HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                4;a=b\r\nabcd\r\n0\r\nX: y\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n\
                  A\r\n0123456789\r\n1 \r\nx\r\n000\r\n\r\n";
    let steps = [data(C, post), data(S, answer), data(C, GET), data(S, OK)];
    let facts = http(read(&steps));
    assert_eq!(
        (facts.requests, facts.responses, facts.lost_track),
        (2, 2, false)
    );
    assert_eq!(facts.kept[0].response_end, Some(at(2)));
    assert_eq!(facts.kept[1].response_end, Some(at(4)));
    check_any_cut(&steps);
}

#[test]
fn continue_is_no_final_response() {
    let put = "PUT /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let created = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
    let steps = [
        data(C, put),
        data(S, "HTTP/1.1 100 Continue\r\n\r\n"),
        data(C, "abcd"),
        data(S, created),
    ];
    let facts = http(read(&steps));
    assert_eq!((facts.requests, facts.responses), (1, 1));
    assert_eq!(facts.by_class, [1, 1, 0, 0, 0]);
    let only = &facts.kept[0];
    assert_eq!(
        (only.request_end, only.response_start),
        (Some(at(3)), Some(at(4)))
    );
    check_any_cut(&steps);
}

#[test]
fn body_refused_before_it_was_sent() {
    let put = "PUT /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4000\r\n\r\n";
    let refused = "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
    let facts = http(read(&[
        data(C, put),
        data(S, refused),
        data(C, GET),
        data(S, OK),
    ]));
    assert_eq!(
        (facts.requests, facts.responses, facts.lost_track),
        (2, 2, false)
    );
    assert_eq!(facts.kept[1].status, Some(200));
}

#[test]
fn responses_without_body() {
    let head = GET.replace("GET", "HEAD");
    let unchanged = "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n";
    let empty = "HTTP/1.1 204 No Content\r\n\r\n";
    let long = "HTTP/1.1 200 OK\r\nContent-Length: 123456\r\n\r\n";
    let steps = [
        data(C, head),
        data(S, long),
        data(C, GET),
        data(S, unchanged),
        data(C, GET),
        data(S, empty),
        data(C, GET),
        data(S, OK),
    ];
    let facts = http(read(&steps));
    assert_eq!((facts.responses, facts.lost_track), (4, false));
    assert!(facts.kept.iter().all(|kept| kept.response_end.is_some()));
    check_any_cut(&steps);
}

#[test]
fn body_until_close() {
    let steps = [
        data(C, GET),
        data(S, "HTTP/1.0 200 OK\r\n\r\nabc"),
        data(S, "def"),
        Step::Fin(S),
        Step::Fin(C),
    ];
    let facts = http(read(&steps));
    assert_eq!(facts.kept[0].response_end, Some(at(3)));
    assert!(facts.kept[0].connection_close);
    let late = [
        steps[0].clone(),
        steps[1].clone(),
        Step::Fin(S),
        steps[2].clone(),
    ];
    assert_eq!(http(read(&late)).kept[0].response_end, Some(at(4)));
    let unfinished = http(read(&steps[..3]));
    assert_eq!(unfinished.kept[0].response_end, None);
    check_any_cut(&steps);
}

#[test]
fn upgrade_and_connect_make_the_rest_opaque() {
    let upgrade = "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let switching = "HTTP/1.1 101 Switching Protocols\r\n\r\n\x01\x02frames";
    let facts = http(read(&[data(C, upgrade), data(S, switching), data(C, GET)]));
    assert!(facts.upgraded && !facts.lost_track);
    assert_eq!(
        (facts.requests, facts.responses, facts.kept[0].status),
        (1, 1, Some(101))
    );
    let connect = "CONNECT one.example:443 HTTP/1.1\r\nHost: one.example:443\r\n\r\n";
    let steps = [
        data(C, connect),
        data(S, "HTTP/1.1 200 OK\r\n\r\n"),
        data(C, "\x16\x03\x01"),
    ];
    let facts = http(read(&steps));
    assert!(facts.proxy_request && !facts.upgraded && !facts.lost_track);
    check_any_cut(&steps);
}

#[test]
fn absolute_target_is_a_proxy_request() {
    let get = "GET http://one.example/ HTTP/1.1\r\nHost: one.example\r\n\r\n";
    assert!(http(read(&[data(C, get)])).proxy_request);
}

#[test]
fn unanswered_and_incomplete() {
    let part = &OK[..OK.len() - 2];
    let facts = http(read(&[data(C, GET), data(S, part)]));
    assert_eq!(
        (facts.kept[0].status, facts.kept[0].response_end),
        (Some(200), None)
    );
    let facts = http(read(&[data(C, GET), data(S, OK), data(C, GET)]));
    assert_eq!(facts.kept[1].status, None);
    assert_eq!(facts.kept[1].request_end, Some(at(3)));
}

#[test]
fn gap_inside_a_body_is_skipped() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab";
    let steps = [
        data(C, GET),
        data(S, head),
        Step::Drop(S, 90),
        data(S, "12345678"),
        data(C, GET),
        data(S, OK),
    ];
    let facts = http(read(&steps));
    assert_eq!((facts.responses, facts.lost_track), (2, false));
    assert_eq!(facts.kept[0].response_end, Some(at(4)));
}

#[test]
fn gap_over_a_head_loses_track_and_finds_it_again() {
    let steps = [
        data(C, GET),
        data(S, OK),
        data(C, GET),
        Step::Drop(S, OK.len() as u64),
        data(C, GET),
        data(S, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
    ];
    let facts = http(read(&steps));
    assert!(facts.lost_track);
    let statuses: Vec<_> = facts.kept.iter().map(|kept| kept.status).collect();
    assert_eq!(statuses, [Some(200), None, Some(404)]);
}

#[test]
fn heads_cut_by_the_snap_length() {
    let get = "GET /a/long/target HTTP/1.1\r\nHost: one.example\r\nUser-Ag";
    let ok = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: to";
    let mut steps = Vec::new();
    for _ in 0..3 {
        steps.extend([
            data(C, get),
            Step::Cut(C, 100),
            data(S, ok),
            Step::Cut(S, 300),
        ]);
        steps.extend([data(S, "body that goes on"), Step::Cut(S, 1400)]);
    }
    let facts = http(read(&steps));
    assert_eq!(
        (facts.requests, facts.responses, facts.lost_track),
        (3, 3, false)
    );
    for (kept, turn) in facts.kept.iter().zip(0..) {
        assert_eq!(kept.host.as_deref(), Some("one.example"));
        assert_eq!(kept.target, "/a/long/target");
        assert_eq!(kept.request_end, Some(at(turn * 3 + 1)));
        assert_eq!(kept.response_start, Some(at(turn * 3 + 2)));
        assert_eq!(kept.response_end, Some(at(turn * 3 + 3)));
    }
    // Cut inside the first line.
    let steps = [
        data(C, "GET /a/very/long/tar"),
        Step::Cut(C, 100),
        data(S, ok),
        Step::Cut(S, 9),
    ];
    let facts = http(read(&steps));
    assert_eq!(
        (facts.kept[0].target.as_str(), facts.kept[0].status),
        ("/a/very/long/tar", Some(200))
    );
}

#[test]
fn joined_in_mid_stream() {
    let steps = [
        data(S, "rest of a body"),
        data(S, "more of it"),
        data(C, GET),
        data(S, OK),
    ];
    let facts = http(read(&steps));
    assert_eq!(
        (facts.requests, facts.responses, facts.lost_track),
        (1, 1, false)
    );
    assert_eq!(facts.kept[0].response_end, Some(at(4)));
}

#[test]
fn only_one_side_captured() {
    let facts = http(read(&[data(S, OK), data(S, OK)]));
    assert_eq!((facts.requests, facts.responses), (0, 2));
    let facts = http(read(&[data(C, GET), data(C, GET)]));
    assert_eq!((facts.requests, facts.kept.len()), (2, 2));
}

#[test]
fn roles_judged_wrongly() {
    let facts = http(read(&[
        data(S, GET),
        data(C, OK),
        data(S, GET),
        data(C, OK),
    ]));
    assert_eq!(
        (facts.requests, facts.responses, facts.lost_track),
        (2, 2, false)
    );
    assert_eq!(facts.kept[0].response_end, Some(at(2)));
}

#[test]
fn nonsense_after_a_message_loses_track() {
    let facts = http(read(&[
        data(C, GET),
        data(S, format!("{OK}\x00\x01\x02garbage")),
    ]));
    assert!(facts.lost_track);
    let endless = [
        data(C, "GET / HTTP/1.1\r\nX: "),
        data(C, vec![b'a'; 100_000]),
    ];
    let facts = http(read(&endless));
    assert_eq!(facts.requests, 0);
}

#[test]
fn the_servers_fin_cuts_a_response() {
    let cut = |steps: &[Step]| {
        check_any_cut(steps);
        let cut = http(read(steps)).cut;
        cut.map(|cut| (cut.promised, cut.missing))
    };
    let ends = |octets: &str| cut(&[data(C, GET), data(S, octets), Step::Fin(S)]);
    let part = &OK[..OK.len() - 2];
    assert_eq!(ends(part), Some((Some(5), 2)));
    assert_eq!(ends(OK), None);
    assert_eq!(
        ends(&format!("{OK}{part}")),
        None,
        "nobody asked for a second one"
    );
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(ends(&format!("{chunked}A\r\n01234")), Some((None, 5)));
    assert_eq!(
        ends(&format!("{chunked}A\r\n0123456789\r\n")),
        Some((None, 0))
    );
    for last in ["0", "0\r\n", "0\r\nX: y\r\n"] {
        assert_eq!(ends(&format!("{chunked}{last}")), None);
    }
    // Of two requests in a row the second is cut.
    let two = format!("{GET}{}", GET.replace("/a", "/b"));
    let pipelined = [data(C, two), data(S, format!("{OK}{part}")), Step::Fin(S)];
    let found = http(read(&pipelined)).cut.map(|cut| cut.exchange.target);
    assert_eq!(found.as_deref(), Some("/b"));
    // An interim response is none of its own (RFC 9110 §15.2).
    let interim = format!("HTTP/1.1 100 Continue\r\n\r\n{part}");
    assert_eq!(ends(&interim), Some((Some(5), 2)));
    // Octets that were not captured count.
    let skipped = [data(C, GET), data(S, part), Step::Cut(S, 1), Step::Fin(S)];
    assert_eq!(cut(&skipped), Some((Some(5), 1)));
    assert_eq!(cut(&[data(C, GET), data(S, part)]), None);
    assert_eq!(cut(&[data(C, GET), data(S, part), Step::Fin(C)]), None);
}

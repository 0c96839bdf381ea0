use crate::app::testing::{C, S, Step, at, check_any_cut, data, read};
use crate::app::{AppFacts, AppProtocol, HttpFacts};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn http2(facts: AppFacts) -> HttpFacts {
    assert_eq!(facts.protocol, AppProtocol::Http2);
    *facts.http.expect("HTTP facts")
}

fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), body].concat()
}

/// RFC 7541 C.4: GET / of www.example.com, Huffman-coded, in three requests.
const REQUESTS: [&[u8]; 3] = [
    &[
        0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90,
        0xf4, 0xff,
    ],
    &[
        0x82, 0x86, 0x84, 0xbe, 0x58, 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf,
    ],
    &[
        0x82, 0x87, 0x85, 0xbf, 0x40, 0x88, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f, 0x89,
        0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf,
    ],
];

fn opening() -> Vec<u8> {
    [PREFACE, &frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])].concat()
}

#[test]
fn streams_interleave() {
    let steps = [
        data(
            C,
            [
                opening(),
                frame(1, 5, 1, REQUESTS[0]),
                frame(1, 4, 3, REQUESTS[1]),
            ]
            .concat(),
        ),
        data(S, [frame(4, 0, 0, &[]), frame(4, 1, 0, &[])].concat()),
        data(
            C,
            [frame(0, 1, 3, b"body"), frame(1, 5, 5, REQUESTS[2])].concat(),
        ),
        // Literal :status 503, then indexed 200.
        data(S, frame(1, 5, 3, &[0x48, 3, b'5', b'0', b'3'])),
        data(S, frame(1, 4, 1, &[0x88])),
        data(S, frame(0, 0, 1, &[7; 5000])),
        data(
            S,
            [frame(0, 1, 1, &[7; 50]), frame(3, 0, 5, &[0, 0, 0, 8])].concat(),
        ),
        data(S, frame(7, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 0])),
    ];
    let facts = http2(read(&steps));
    assert_eq!((facts.requests, facts.streams, facts.responses), (3, 3, 2));
    assert_eq!(facts.by_class, [0, 1, 0, 0, 1]);
    assert_eq!((facts.reset_streams, facts.lost_track), ([0, 1], false));
    assert_eq!(
        facts
            .goaway
            .map(|goaway| (goaway.direction, goaway.code, goaway.last_stream, goaway.at)),
        Some((S, 0, 5, at(8)))
    );
    let [refused] = facts.stream_resets.as_slice() else {
        panic!("{:?}", facts.stream_resets)
    };
    assert_eq!((refused.direction, refused.code, refused.count), (S, 8, 1));
    let [one, three, five] = facts.kept.as_slice() else {
        panic!("{:?}", facts.kept)
    };
    assert_eq!((one.method.as_ref(), one.target.as_str()), ("GET", "/"));
    assert_eq!(one.host.as_deref(), Some("www.example.com"));
    assert_eq!(
        (one.request_end, one.response_start, one.response_end),
        (Some(at(1)), Some(at(5)), Some(at(7)))
    );
    assert_eq!(
        (three.host.as_deref(), three.status),
        (Some("www.example.com"), Some(503))
    );
    assert_eq!(
        (three.request_start, three.request_end),
        (at(1), Some(at(3)))
    );
    assert_eq!((five.target.as_str(), five.status), ("/index.html", None));
    check_any_cut(&steps);
}

#[test]
fn padding_priority_and_continuation() {
    let block = REQUESTS[0];
    let padded = [&[3][..], &[0, 0, 0, 0, 16], &block[..4], &[0; 3]].concat();
    let steps = [
        data(
            C,
            [
                opening(),
                frame(1, 0x29, 1, &padded),
                frame(9, 4, 1, &block[4..]),
            ]
            .concat(),
        ),
        data(
            S,
            [
                frame(1, 4, 1, &[0x08, 3, b'1', b'0', b'3']),
                frame(1, 5, 1, &[0x89]),
            ]
            .concat(),
        ),
    ];
    let facts = http2(read(&steps));
    assert_eq!(facts.kept[0].host.as_deref(), Some("www.example.com"));
    assert_eq!((facts.by_class, facts.responses), ([1, 1, 0, 0, 0], 1));
    assert_eq!(
        (facts.kept[0].status, facts.kept[0].response_end),
        (Some(204), Some(at(2)))
    );
    check_any_cut(&steps);
}

#[test]
fn gaps() {
    let steps = [
        data(C, [opening(), frame(1, 5, 1, REQUESTS[0])].concat()),
        data(
            S,
            [
                frame(1, 4, 1, &[0x88]),
                frame(0, 0, 1, &[1; 1000])[..100].to_vec(),
            ]
            .concat(),
        ),
        Step::Drop(S, 909),
        data(S, frame(0, 1, 1, b"end")),
        Step::Drop(C, 500),
        data(C, frame(1, 5, 5, REQUESTS[1])),
    ];
    let facts = http2(read(&steps));
    assert!(facts.lost_track);
    assert_eq!(facts.kept[0].response_end, Some(at(4)));
    // The authority was an entry of the table that is not trusted any more.
    assert_eq!((facts.requests, facts.kept[1].host.as_deref()), (2, None));
}

#[test]
fn hostile_blocks() {
    for block in [
        &[0xff; 64][..],
        &[0x3f; 64],
        &[0x40; 64],
        &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff],
    ] {
        let facts = http2(read(&[data(
            C,
            [opening(), frame(1, 5, 1, block)].concat(),
        )]));
        assert!(facts.requests <= 1);
    }
    let many: Vec<u8> = (0..2000)
        .flat_map(|id| frame(1, 4, id * 2 + 1, REQUESTS[0]))
        .collect();
    let facts = http2(read(&[data(C, [opening(), many].concat())]));
    assert_eq!(facts.requests, 2000);
    assert!(facts.kept.len() <= 24);
}

#[test]
fn what_a_goaway_leaves_undone() {
    let goaway = |last: u32, code: u32, debug: &[u8]| {
        let body = [&last.to_be_bytes()[..], &code.to_be_bytes(), debug].concat();
        data(S, frame(7, 0, 0, &body))
    };
    let steps = [
        data(C, [opening(), frame(1, 5, 1, REQUESTS[0])].concat()),
        // A shutdown in two steps: nothing is refused before the second.
        goaway(0x7fff_ffff, 0, b""),
        data(C, frame(1, 5, 3, REQUESTS[1])),
        goaway(1, 0, b""),
        data(
            C,
            [frame(1, 5, 5, REQUESTS[2]), frame(3, 0, 3, &[0, 0, 0, 8])].concat(),
        ),
    ];
    let facts = http2(read(&steps));
    let left = facts.goaway.expect("a GOAWAY");
    assert_eq!((left.code, left.last_stream), (0, 1));
    assert_eq!(
        (left.unprocessed.count, left.unprocessed.first),
        (2, Some(at(3)))
    );
    assert_eq!(
        (left.unanswered.count, left.unanswered.first),
        (1, Some(at(1)))
    );
    check_any_cut(&steps);
    let steps = [
        data(C, [opening(), frame(1, 5, 1, REQUESTS[0])].concat()),
        data(S, frame(1, 5, 1, &[0x88])),
        goaway(1, 11, b"too_many_pings"),
    ];
    let calm = http2(read(&steps)).goaway.expect("a GOAWAY");
    assert_eq!((calm.code, calm.debug.as_str()), (11, "too_many_pings"));
    assert_eq!((calm.unprocessed.count, calm.unanswered.count), (0, 0));
}

#[test]
fn calls_of_grpc_that_fail() {
    // Literal without indexing: grpc-status 14, grpc-message "no host".
    let status = |code: &[u8]| {
        let name = b"grpc-status";
        [&[0, name.len() as u8][..], name, &[code.len() as u8], code].concat()
    };
    let message = [&[0, 12][..], b"grpc-message", &[7], b"no host"].concat();
    let call = data(C, [opening(), frame(1, 5, 1, REQUESTS[0])].concat());
    let failed = [status(b"14"), message].concat();
    let steps = [
        call.clone(),
        data(S, frame(1, 4, 1, &[0x88])),
        data(S, frame(1, 5, 1, &failed)),
    ];
    let facts = read(&steps).service.expect("an error");
    assert_eq!(
        (facts.errors[0].code.as_str(), facts.errors[0].at),
        ("UNAVAILABLE", at(3))
    );
    assert_eq!(facts.errors[0].message, "no host");
    check_any_cut(&steps);
    let done = [
        call,
        data(S, frame(1, 5, 1, &[&[0x88][..], &status(b"0")].concat())),
    ];
    assert_eq!(read(&done).service, None);
}

#[test]
fn the_servers_fin_leaves_streams_open() {
    let mut steps = vec![
        data(
            C,
            [
                opening(),
                frame(1, 5, 1, REQUESTS[0]),
                frame(1, 5, 3, REQUESTS[1]),
            ]
            .concat(),
        ),
        data(S, [frame(4, 0, 0, &[]), frame(1, 4, 1, &[0x88])].concat()),
        data(S, frame(0, 0, 1, &[7; 50])),
    ];
    assert_eq!(http2(read(&steps)).cut, None);
    let without = steps.clone();
    steps.push(Step::Fin(S));
    let cut = http2(read(&steps)).cut.expect("two streams");
    assert_eq!((cut.count, cut.exchange.status), (2, Some(200)));
    check_any_cut(&steps);
    // A GOAWAY says what became of them.
    let goaway = data(S, frame(7, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 0]));
    let announced = [without, vec![goaway, Step::Fin(S)]].concat();
    assert_eq!(http2(read(&announced)).cut, None);
}

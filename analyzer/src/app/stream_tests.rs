//! Whole streams: recognition, bounds, and properties over any conversation.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::app::reader::MessageUnit;
use crate::direction::Direction;

use super::testing::{C, S, Step, at, data, noise, read, read_in_pieces};
use super::{AppFacts, AppProtocol, AppSettings, Opening, StreamReader};

fn reader() -> StreamReader {
    StreamReader::new(&AppSettings::default(), 9000)
}

/// Nothing but what each end said first.
fn opened_only(facts: &AppFacts) -> AppFacts {
    AppFacts {
        openings: facts.openings,
        ..AppFacts::default()
    }
}

#[test]
fn nothing_said_nothing_known() {
    assert_eq!(reader().finish(), AppFacts::default());
    let facts = read(&[Step::Fin(C), Step::Drop(S, 100)]);
    assert_eq!(facts, opened_only(&facts));
    let [client, server] = facts.openings;
    assert_eq!((client, server.unwrap().by), (None, Opening::Other));
}

#[test]
fn bulk_is_given_up() {
    let mut reader = reader();
    for (frame, segment) in noise(1, 40_000).chunks(1448).enumerate() {
        reader.data(S, segment, at(frame as u64));
    }
    // What the other end says first is of interest whatever this one says.
    assert!(reader.wants_data(C) && !reader.wants_data(S));
    reader.data(S, b"GET / HTTP/1.1\r\n\r\n", at(99));
    reader.data(C, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", at(100));
    assert!(!reader.wants_data(C));
    let facts = reader.finish();
    assert_eq!(facts, opened_only(&facts));
    assert_eq!(facts.openings[0].unwrap().by, Opening::HttpRequest);
}

#[test]
fn named_protocols_are_not_read() {
    let facts = read(&[data(S, "SSH-2.0-x\r\n"), data(C, "SSH-2.0-y\r\n")]);
    assert_eq!(facts.protocol, AppProtocol::Ssh);
    let lines: Vec<Step> = (0..40).map(|_| data(C, "NOOP\r\n")).collect();
    let facts = read(&[vec![data(S, "220 mail ESMTP\r\n")], lines].concat());
    assert_eq!(
        (facts.protocol, facts.name),
        (AppProtocol::Unknown, Some("smtp"))
    );
}

#[test]
fn positions_count_complete_messages() {
    let mut reader = reader();
    assert_eq!(reader.message_position(C).unit, MessageUnit::Unknown);
    reader.data(C, b"GET / HTTP/1.1\r\n\r\nGET /", at(1));
    let position = reader.message_position(C);
    assert_eq!(
        (position.unit, position.complete),
        (MessageUnit::HttpMessage, 1)
    );
    assert_eq!(reader.message_position(S).complete, 0);
}

const TALK: [&[u8]; 12] = [
    b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    b"\0\0\x01\x01\x05\0\0\0\x01\x82",
    b"\x16\x03\x01\x00\x31\x01\0\0\x2d\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\0\0\x02\x13\x01\x01\0\0\0",
    b"\x15\x03\x03\0\x02\x02\x28",
    b"\x17\x03\x03\0\x14aaaaaaaaaaaaaaaaaaaa",
    b"\0\x1d\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01",
    b"a line\n",
    b"\0\0\0\x08abcdefgh",
    b"",
];

fn any_step() -> impl Strategy<Value = Step> {
    let direction = || prop_oneof![Just(C), Just(S)];
    prop_oneof![
        8 => (direction(), 0..TALK.len()).prop_map(|(direction, index)| data(direction, TALK[index])),
        2 => (direction(), vec(any::<u8>(), 0..80)).prop_map(|(direction, bytes)| data(direction, bytes)),
        1 => (direction(), 0..3000_u64).prop_map(|(direction, octets)| Step::Cut(direction, octets)),
        1 => (direction(), any::<u64>()).prop_map(|(direction, octets)| Step::Drop(direction, octets)),
        1 => direction().prop_map(Step::Fin),
    ]
}

fn any_spec() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "u8",
        "u16be",
        "u32le",
        "u32be,offset=3,adjust=-7",
        "fixed:1",
        "fixed:13",
        "line",
        "delimiter:00",
        "delimiter:0a0b0a0c",
    ])
}

proptest! {
    #[test]
    fn any_conversation_is_read(steps in vec(any_step(), 0..60)) {
        let facts = read(&steps);
        prop_assert!(facts.http.is_none_or(|http| http.kept.len() <= 24));
        prop_assert!(facts.dns.len() <= 64);
    }

    #[test]
    fn any_conversation_under_any_framing(steps in vec(any_step(), 0..40), spec in any_spec()) {
        let settings = AppSettings { framings: vec![(9000, spec.parse().unwrap())] };
        let facts = super::testing::read_with(&settings, &steps);
        prop_assert!(facts.framing.is_none_or(|framing| framing.message_min <= framing.message_max));
    }

    /// How segments cut a stream does not change what was said in it.
    #[test]
    fn any_cut_gives_the_same_facts(
        first in 0..9_usize,
        mut rest in vec(any_step(), 0..20),
        lens in vec(1..40_usize, 1..20),
    ) {
        // Where octets are missing or make no sense, reading goes on at a segment that begins
        // with a message, so a segment's first piece has to be long enough to tell.
        rest.retain(|step| matches!(step, Step::Data(..) | Step::Fin(_)));
        let opener = if matches!(first, 1 | 2) { S } else { C };
        rest.insert(0, data(opener, TALK[first]));
        let settings = AppSettings::default();
        let whole = read_in_pieces(&settings, &rest, 16, || usize::MAX);
        let mut turn = lens.iter().cycle();
        let pieces = read_in_pieces(&settings, &rest, 16, || *turn.next().unwrap());
        prop_assert_eq!(pieces, whole);
    }

    #[test]
    fn any_octets_in_any_order(segments in vec((any::<bool>(), vec(any::<u8>(), 0..200)), 0..40)) {
        let mut reader = reader();
        for (index, (from_client, bytes)) in segments.iter().enumerate() {
            let direction = if *from_client { C } else { S };
            reader.data(direction, bytes, at(index as u64));
            let _ = (reader.wants_data(C), reader.message_position(direction));
        }
        for direction in Direction::BOTH {
            reader.gap(direction, u64::MAX, at(1000));
            reader.fin(direction, at(1001));
        }
        let _ = reader.finish();
    }
}

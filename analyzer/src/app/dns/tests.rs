use proptest::prelude::*;

use super::Message;
use crate::app::testing::{C, S, at, check_any_cut, data, read};
use crate::app::{AppProtocol, DatagramReader, DnsExchange};

fn name(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in text.split('.') {
        octets.push(u8::try_from(label.len()).unwrap());
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets
}

fn header(id: u16, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    [id, flags]
        .into_iter()
        .chain(counts)
        .flat_map(u16::to_be_bytes)
        .collect()
}

fn question(id: u16, text: &str) -> Vec<u8> {
    let edns = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];
    [
        header(id, 0x0100, [1, 0, 0, 1]),
        name(text),
        vec![0, 1, 0, 1],
        edns.to_vec(),
    ]
    .concat()
}

fn answer(id: u16, text: &str, rcode: u16) -> Vec<u8> {
    let record = |last: u8| vec![0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, last];
    let head = header(id, 0x8180 | rcode, [1, 2, 0, 0]);
    [head, name(text), vec![0, 1, 0, 1], record(1), record(2)].concat()
}

fn exchange(questions: &[(bool, Vec<u8>)]) -> Vec<DnsExchange> {
    let mut reader = DatagramReader::default();
    for ((from_client, bytes), frame) in questions.iter().zip(1..) {
        let direction = if *from_client { C } else { S };
        let len = u32::try_from(bytes.len()).unwrap();
        reader.datagram(direction, bytes, len, at(frame), (40_000, 53));
    }
    let facts = reader.finish();
    assert_eq!(facts.protocol, AppProtocol::Dns);
    facts.dns
}

#[test]
fn updates_and_questions_about_the_server_are_no_lookups() {
    let update = [
        header(9, 0x2800, [1, 0, 0, 0]),
        name("example.com"),
        vec![0, 6, 0, 1],
    ];
    let version = [
        header(10, 0x0100, [1, 0, 0, 0]),
        name("version.bind"),
        vec![0, 16, 0, 3],
    ];
    let all = exchange(&[(true, update.concat()), (true, version.concat())]);
    assert!(all.is_empty());
}

#[test]
fn question_repeated_and_answered() {
    let asked = question(7, "WWW.Example.com");
    let answered = answer(7, "www.example.com", 0);
    let len = u32::try_from(answered.len()).unwrap();
    let all = exchange(&[(true, asked.clone()), (true, asked), (false, answered)]);
    let [only] = all.as_slice() else {
        panic!("one exchange: {all:?}")
    };
    assert_eq!(
        (only.name.as_str(), only.qtype, only.repeats),
        ("www.example.com", 1, 1)
    );
    assert_eq!(
        (only.asked, only.answered, only.rcode),
        (at(1), Some(at(3)), Some(0))
    );
    assert_eq!(
        (only.edns_size, only.answer_len, only.truncated),
        (Some(1232), len, false)
    );
    let addresses: Vec<_> = only.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.0.2.1", "192.0.2.2"]);
}

#[test]
fn answers_find_their_question() {
    let all = exchange(&[
        (true, question(1, "a.example")),
        (true, question(2, "b.example")),
        (false, answer(2, "b.example", 3)),
        (false, answer(3, "b.example", 0)),
    ]);
    assert_eq!(all[0].answered, None);
    assert_eq!((all[1].answered, all[1].rcode), (Some(at(3)), Some(3)));
}

#[test]
fn answered_exchanges_give_way() {
    let mut steps = Vec::new();
    for id in 0..100 {
        let text = format!("host{id}.example");
        steps.push((true, question(id, &text)));
        if id != 5 {
            steps.push((false, answer(id, &text, 0)));
        }
    }
    let all = exchange(&steps);
    assert_eq!(all.len(), 64);
    assert!(
        all.iter()
            .any(|exchange| exchange.id == 5 && exchange.answered.is_none())
    );
    assert_eq!(all.last().map(|exchange| exchange.id), Some(99));
}

#[test]
fn over_tcp() {
    let framed = |message: Vec<u8>| {
        [
            u16::try_from(message.len()).unwrap().to_be_bytes().to_vec(),
            message,
        ]
        .concat()
    };
    let steps = [
        data(C, framed(question(9, "a.example"))),
        data(
            S,
            [
                framed(answer(9, "a.example", 2)),
                framed(answer(8, "x.example", 0)),
            ]
            .concat(),
        ),
    ];
    let facts = read(&steps);
    assert_eq!(facts.protocol, AppProtocol::Dns);
    assert_eq!(
        (facts.dns[0].rcode, facts.dns[0].answered),
        (Some(2), Some(at(2)))
    );
    check_any_cut(&steps);
}

#[test]
fn compression_loops_end() {
    let head = header(1, 0x8180, [1, 0, 0, 0]);
    for pointer in [[0xc0, 12], [0xc0, 14], [0xff, 0xff]] {
        let bytes = [head.clone(), pointer.to_vec(), vec![0, 1, 0, 1]].concat();
        assert_eq!(Message::parse(&bytes), None);
    }
    // A label, then a pointer to it: the name never ends.
    let bytes = [head, vec![1, b'a', 0xc0, 12], vec![0, 1, 0, 1]].concat();
    assert_eq!(Message::parse(&bytes), None);
}

#[test]
fn odd_names_stay_in_bounds() {
    let long = vec!["a".repeat(63); 4].join(".");
    assert_eq!(Message::parse(&question(1, &long)), None);
    let wild = [
        header(1, 0, [1, 0, 0, 0]),
        vec![3, 0, b'.', 0xff, 0, 0, 1, 0, 1],
    ]
    .concat();
    assert_eq!(
        Message::parse(&wild).unwrap().question.unwrap().0,
        "\\000\\.\\255"
    );
}

#[test]
fn cut_answers_tell_what_they_can() {
    let whole = answer(7, "www.example.com", 0);
    let cut = Message::parse(&whole[..whole.len() - 10]).unwrap();
    assert_eq!((cut.addresses.len(), cut.complete), (1, false));
    assert_eq!(Message::parse(&whole[..20]), None);
}

proptest! {
    #[test]
    fn any_octets(bytes in proptest::collection::vec(any::<u8>(), 0..300), flags in any::<bool>()) {
        let mut bytes = bytes;
        if flags && bytes.len() > 12 {
            bytes[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 9, 0, 0, 0, 1]);
        }
        if let Some(message) = Message::parse(&bytes) {
            prop_assert!(message.addresses.len() <= 16);
            prop_assert!(message.question.is_none_or(|(name, _)| name.len() <= 255));
        }
    }
}

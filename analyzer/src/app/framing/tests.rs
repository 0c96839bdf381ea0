use super::FramingSpec;
use crate::app::testing::{C, S, Step, at, data, noise, read, read_in_pieces, read_with};
use crate::app::{AppFacts, AppProtocol, AppSettings, FramingFacts, SegmentShape};

fn given(spec: &str) -> AppSettings {
    AppSettings {
        framings: vec![(9000, spec.parse().unwrap())],
    }
}

fn framing(facts: AppFacts) -> FramingFacts {
    assert_eq!(facts.protocol, AppProtocol::Framed);
    *facts.framing.expect("framing facts")
}

#[track_caller]
fn infers(steps: &[Step], spec: &str) -> FramingFacts {
    let facts = framing(read(steps));
    assert_eq!(facts.spec, spec);
    assert!(
        !facts.given && facts.confidence > 0.5 && facts.confidence < 1.0,
        "{facts:?}"
    );
    facts
}

#[track_caller]
fn infers_nothing(steps: &[Step]) {
    let facts = read(steps);
    assert_eq!(
        (facts.protocol, &facts.framing),
        (AppProtocol::Unknown, &None)
    );
}

/// Message sizes that vary without pattern: 1 to `max` octets.
fn sizes(seed: u64, count: usize, max: usize) -> Vec<usize> {
    noise(seed, count * 2)
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| usize::from(u16::from_be_bytes(*pair)) % max + 1)
        .collect()
}

fn u32be(seed: u64, len: usize) -> Vec<u8> {
    [
        &u32::try_from(len).unwrap().to_be_bytes()[..],
        &noise(seed, len),
    ]
    .concat()
}

/// Cuts a stream into segments of at most `mss` octets.
fn segments(stream: &[u8], mss: usize) -> Vec<Step> {
    stream.chunks(mss).map(|segment| data(C, segment)).collect()
}

#[test]
fn counts_of_a_given_framing() {
    let message = |len: usize| [&[u8::try_from(len).unwrap()][..], &vec![b'x'; len]].concat();
    let steps = [
        data(C, message(3)),
        data(C, [message(1), message(2), message(0)].concat()),
        data(C, [&message(5)[..], &message(4)[..2]].concat()),
        data(C, &message(4)[2..]),
        data(S, &message(9)[..4]),
        data(S, &message(9)[4..7]),
        data(S, [&message(9)[7..], &message(1)].concat()),
    ];
    let facts = framing(read_with(&given("u8"), &steps));
    assert_eq!(facts.messages, [6, 2]);
    assert_eq!(facts.coalesced_segments, [2, 0]);
    assert_eq!(facts.split_messages, [1, 1]);
    assert_eq!((facts.message_min, facts.message_max), ([1, 2], [6, 10]));
    assert_eq!(
        (facts.first_coalesced, facts.first_split),
        ([Some(at(2)), None], [Some(at(3)), Some(at(5))])
    );
    assert_eq!(
        (facts.given, facts.confidence, facts.lost_track),
        (true, 1.0, false)
    );
}

#[test]
fn given_lines_delimiters_and_sizes() {
    let steps = [data(C, "a\nbb\nc"), data(C, "cc\n\n")];
    let facts = framing(read_with(&given("line"), &steps));
    assert_eq!(
        (
            facts.messages[0],
            facts.coalesced_segments[0],
            facts.split_messages[0]
        ),
        (4, 1, 1)
    );
    let steps = [
        data(C, "a\r\n\r"),
        data(C, "\nb\r\r\n\r\n"),
        data(C, "\r\n\r"),
        data(C, "\n"),
    ];
    let facts = framing(read_with(&given("delimiter:0d0a0d0a"), &steps));
    assert_eq!(
        (
            facts.messages[0],
            facts.split_messages[0],
            facts.message_max[0]
        ),
        (3, 2, 6)
    );
    let steps = [data(C, [0; 64]), data(C, [0; 96]), data(C, [0; 32])];
    let facts = framing(read_with(&given("fixed:64"), &steps));
    assert_eq!(
        (
            facts.messages[0],
            facts.coalesced_segments[0],
            facts.split_messages[0]
        ),
        (3, 1, 1)
    );
}

#[test]
fn oversized_segments_are_not_coalesced() {
    let mut reader = crate::app::StreamReader::new(&given("fixed:4"), 9000);
    let oversized = |oversized| SegmentShape {
        oversized,
        tail_cut: false,
    };
    reader.segment_boundary(C, oversized(true));
    reader.data(C, &[0; 400], at(1));
    reader.segment_boundary(C, oversized(false));
    reader.data(C, &[0; 8], at(2));
    let facts = framing(reader.finish());
    assert_eq!((facts.messages[0], facts.coalesced_segments[0]), (102, 1));
}

#[test]
fn gaps_in_a_given_framing() {
    let message = u32be(1, 100);
    let steps = [
        data(C, &message[..50]),
        Step::Cut(C, 54),
        data(C, &message),
        data(C, &message[..10]),
        Step::Drop(C, 80),
        data(C, &message[90..]),
    ];
    let facts = framing(read_with(&given("u32be"), &steps));
    assert_eq!(
        (facts.messages[0], facts.split_messages[0], facts.lost_track),
        (3, 1, false)
    );
    // The second message's header lies in the part that was cut.
    let steps = [
        data(C, &message[..50]),
        Step::Cut(C, 158),
        data(C, &message),
        data(C, &message),
    ];
    let facts = framing(read_with(&given("u32be"), &steps));
    assert_eq!(
        (facts.messages[0], facts.lost_track, facts.confidence),
        (2, true, 0.8)
    );
    let steps = [data(C, [0; 10]), Step::Drop(C, 100), data(C, [0; 18])];
    let facts = framing(read_with(&given("fixed:16"), &steps));
    assert_eq!((facts.messages[0], facts.lost_track), (8, false));
}

#[test]
fn given_framing_that_does_not_fit() {
    let facts = framing(read_with(
        &given("u32be"),
        &[data(C, u32be(1, 9)), data(C, [0xff; 99])],
    ));
    assert_eq!((facts.messages[0], facts.lost_track), (1, true));
}

#[test]
fn pieces_of_a_segment_change_nothing() {
    let stream: Vec<u8> = (1..40)
        .flat_map(|len| u32be(len, sizes(len, 1, 90)[0]))
        .collect();
    for spec in [
        "u32be",
        "fixed:7",
        "line",
        "delimiter:0a00",
        "u16le,offset=1,adjust=3",
    ] {
        let steps = segments(&stream, 100);
        let whole = read_in_pieces(&given(spec), &steps, 1, || usize::MAX);
        for len in 1..100 {
            assert_eq!(
                read_in_pieces(&given(spec), &steps, 1, || len),
                whole,
                "{spec} by {len}"
            );
        }
    }
}

#[test]
fn length_fields_are_found() {
    type Encode = fn(usize) -> Vec<u8>;
    let encodings: [(&str, Encode); 7] = [
        ("u32be", |len| {
            u32::try_from(len).unwrap().to_be_bytes().to_vec()
        }),
        ("u32le", |len| {
            u32::try_from(len).unwrap().to_le_bytes().to_vec()
        }),
        ("u16be", |len| {
            u16::try_from(len).unwrap().to_be_bytes().to_vec()
        }),
        ("u16le,offset=2,adjust=-4", |len| {
            [
                &[0xab, 0xcd][..],
                &u16::try_from(len + 4).unwrap().to_le_bytes(),
            ]
            .concat()
        }),
        ("u8", |len| vec![u8::try_from(len).unwrap()]),
        ("u32be,offset=4", |len| {
            [b"MAGI", &u32::try_from(len).unwrap().to_be_bytes()[..]].concat()
        }),
        ("u32be,offset=1,adjust=-4", |len| {
            [&[b'Q'][..], &u32::try_from(len + 4).unwrap().to_be_bytes()].concat()
        }),
    ];
    for (spec, encode) in encodings {
        let steps: Vec<Step> = sizes(3, 60, 200)
            .into_iter()
            .zip(1..)
            .map(|(len, seed)| {
                let direction = if seed % 2 == 0 { S } else { C };
                data(direction, [encode(len), noise(seed, len)].concat())
            })
            .collect();
        let facts = infers(&steps, spec);
        assert_eq!(facts.messages, [30, 30]);
        assert_eq!(
            (facts.coalesced_segments, facts.split_messages),
            ([0, 0], [0, 0])
        );
    }
}

#[test]
fn glued_and_cut_messages_are_found() {
    let lens = sizes(5, 300, 700);
    let stream: Vec<u8> = lens
        .iter()
        .flat_map(|len| u32be(*len as u64, *len))
        .collect();
    let facts = infers(&segments(&stream, 1448), "u32be");
    assert_eq!(facts.messages[0], 300);
    let mut starts = vec![0];
    for len in &lens {
        starts.push(starts[starts.len() - 1] + len + 4);
    }
    let split = starts
        .windows(2)
        .filter(|pair| pair[0] / 1448 != (pair[1] - 1) / 1448)
        .count();
    let coalesced = (0..stream.len().div_ceil(1448))
        .filter(|segment| {
            starts[..300]
                .iter()
                .filter(|start| **start / 1448 == *segment)
                .count()
                > 1
        })
        .count();
    assert_eq!(facts.split_messages[0], split as u64);
    assert_eq!(facts.coalesced_segments[0], coalesced as u64);
}

#[test]
fn large_messages_are_followed_beyond_the_sample() {
    let stream: Vec<u8> = sizes(6, 60, 9000)
        .iter()
        .flat_map(|len| u32be(9, *len))
        .collect();
    assert_eq!(infers(&segments(&stream, 1448), "u32be").messages[0], 60);
}

#[test]
fn constant_messages_and_lines() {
    let steps: Vec<Step> = (0..60)
        .map(|seed| data(C, noise(seed, 64 * (1 + seed as usize % 2))))
        .collect();
    let facts = infers(&steps, "fixed:64");
    assert_eq!((facts.messages[0], facts.coalesced_segments[0]), (90, 30));
    let steps: Vec<Step> = (0..40)
        .map(|line| {
            data(
                if line % 2 == 0 { C } else { S },
                format!("line {line}\r\n"),
            )
        })
        .collect();
    assert_eq!(infers(&steps, "line").messages, [20, 20]);
    let steps: Vec<Step> = (0..40)
        .map(|line| data(C, format!("{{\"line\":{line}}}\0")))
        .collect();
    assert_eq!(infers(&steps, "delimiter:00").messages, [40, 0]);
}

#[test]
fn one_direction_may_have_no_framing() {
    let steps: Vec<Step> = sizes(7, 60, 300)
        .into_iter()
        .zip(1..)
        .flat_map(|(len, seed)| [data(C, u32be(seed, len)), data(S, "ok")])
        .collect();
    let facts = infers(&steps, "u32be");
    assert_eq!(facts.messages, [60, 0]);
}

#[test]
fn constant_replies_do_not_disturb() {
    // Begun at the wrong octet, the replies fall into step by themselves.
    let steps: Vec<Step> = sizes(8, 60, 60)
        .into_iter()
        .zip(1..)
        .flat_map(|(len, seed)| {
            let head = u32::try_from(len).unwrap().to_be_bytes();
            let request = [&head[..], &[7], &noise(seed, len)].concat();
            [data(C, request), data(S, b"\0\0\0\x02\x07ok")]
        })
        .collect();
    assert_eq!(infers(&steps, "u32be,adjust=1").messages, [60, 60]);
}

#[test]
fn encodings_that_frame_themselves_infer_nothing() {
    // One LDAP message of 40,000 octets whose contents repeat something like a length field.
    let mut ldap = vec![0x30, 0x82, 0x9c, 0x40, 2, 1, 1, 0x63, 0x82, 0x9c, 0x39];
    ldap.extend([8, 0x25, 0x73, 0x25, 0x73, 0x25, 0x73, 0x25].repeat(5_000));
    infers_nothing(&segments(&ldap, 1448));
    let fix = b"8=FIX.4.2\x019=70\x0135=0\x0149=BUYER\x0156=SELLER\x0110=120\x01".repeat(30);
    infers_nothing(&segments(&fix, 57));
}

#[test]
fn too_few_messages_infer_nothing() {
    let steps: Vec<Step> = (1..20)
        .map(|seed| data(C, u32be(seed, 30 + seed as usize)))
        .collect();
    infers_nothing(&steps);
}

#[test]
fn bulk_infers_nothing() {
    for seed in 0..300 {
        let len = 2000 + 997 * seed as usize % 200_000;
        infers_nothing(&segments(&noise(seed, len), 1448));
        let mut steps = segments(&noise(seed, len), 1448);
        steps.insert(0, data(S, noise(seed + 1000, 90)));
        infers_nothing(&steps);
    }
    for octet in [0, 1, 2, 4, b'a', b'\n', 0x40, 0xff] {
        infers_nothing(&segments(&vec![octet; 60_000], 1448));
        infers_nothing(&segments(&vec![octet; 60_000], 1000));
    }
}

#[test]
fn small_random_writes_infer_nothing() {
    for seed in 0..300 {
        let steps: Vec<Step> = sizes(seed, 50, 300)
            .into_iter()
            .zip(0..)
            .map(|(len, index)| {
                data(
                    if index % 3 == 0 { S } else { C },
                    noise(seed * 77 + index, len),
                )
            })
            .collect();
        infers_nothing(&steps);
    }
}

#[test]
fn sparse_and_counting_bulk_infers_nothing() {
    let sparse: Vec<u8> = noise(1, 60_000)
        .into_iter()
        .map(|octet| if octet < 6 { octet } else { 0 })
        .collect();
    infers_nothing(&segments(&sparse, 1448));
    let counting: Vec<u8> = (0..15_000_u32).flat_map(u32::to_le_bytes).collect();
    infers_nothing(&segments(&counting, 1448));
    let small: Vec<u8> = noise(2, 15_000)
        .into_iter()
        .flat_map(|value| u32::from(value).to_be_bytes())
        .collect();
    infers_nothing(&segments(&small, 1448));
    let samples: Vec<u8> = (0..30_000_u32)
        .flat_map(|step| u16::try_from(step % 100).unwrap().to_le_bytes())
        .collect();
    infers_nothing(&segments(&samples, 1448));
}

#[test]
fn a_document_is_no_framing() {
    let text: String = (0..2000)
        .map(|line| format!("{line}: some words in a row\n"))
        .collect();
    infers_nothing(&segments(text.as_bytes(), 1448));
    let mut steps = vec![data(S, "give me the document\r\n")];
    for block in text.as_bytes().chunks(4096) {
        steps.extend(segments(block, 1448));
    }
    infers_nothing(&steps);
}

#[test]
fn messages_written_in_small_parts_are_found() {
    let stream: Vec<u8> = sizes(6, 60, 90)
        .iter()
        .flat_map(|len| u32be(9, *len))
        .collect();
    let facts = infers(&segments(&stream, 11), "u32be");
    assert_eq!(facts.messages[0], 60);
}

#[test]
fn equal_writes_are_no_framing() {
    for len in [1, 36, 512, 1024, 1448] {
        let steps: Vec<Step> = (0..80).map(|seed| data(C, noise(seed, len))).collect();
        infers_nothing(&steps);
    }
}

#[test]
fn specs_are_small() {
    assert!(size_of::<FramingSpec>() <= 24);
    assert!(size_of::<crate::app::StreamReader>() <= 64);
}

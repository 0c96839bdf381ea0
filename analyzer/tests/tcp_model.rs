//! The tracker against an observer who knows everything: a slow and obvious model of a sender, a
//! wire and a receiver. The model knows when each packet was sent and which octets it carried, and
//! judges from that alone; the tracker sees only what passes the capture point.

mod segments;

use pcapdoc_analyzer::decode::TcpFlags;
use pcapdoc_analyzer::flow::tcp::Verdict;
use proptest::prelude::*;

use segments::{Capture, MS, Marks, fields};

/// From the sender to the capture point; the receiver is next to it.
const ONE_WAY: u64 = 20 * MS;

/// One packet as its sender sent it.
#[derive(Clone, Copy, Debug)]
struct Sent {
    order: usize,
    at: u64,
    start: u32,
    len: u32,
    repeat: bool,
}

/// What is to happen to an original: how late it is, whether it is lost, delivered twice, and
/// whether the sender repeats it (after a round trip).
#[derive(Clone, Copy, Debug)]
struct Fate {
    len: u32,
    late_ms: u64,
    lost: bool,
    twice: bool,
    repeated: bool,
}

fn fate() -> impl Strategy<Value = Fate> {
    let late = prop_oneof![8 => Just(0), 1 => 1_u64..8];
    (
        // One octet at the end of the stream, once more, is a keep-alive.
        2_u32..1448,
        late,
        prop::bool::weighted(0.08),
        prop::bool::weighted(0.05),
        prop::bool::weighted(0.05),
    )
        .prop_map(|(len, late_ms, lost, twice, needless)| Fate {
            len,
            late_ms,
            lost,
            twice,
            repeated: lost || needless,
        })
}

/// Everything sent, in order of sending: an original each millisecond, repeats two round trips
/// after their original.
fn send(fates: &[Fate]) -> Vec<Sent> {
    let mut packets = Vec::new();
    let mut start = 1;
    for (fate, number) in fates.iter().zip(0_u64..) {
        let at = (100 + number) * MS;
        packets.push((at, start, fate, false));
        if fate.repeated {
            // Half a tick later, so that no two packets are sent at one time.
            packets.push((at + 4 * ONE_WAY + MS / 2, start, fate, true));
        }
        start += fate.len;
    }
    packets.sort_by_key(|(at, ..)| *at);
    let sent = packets.into_iter().enumerate();
    sent.map(|(order, (at, start, fate, repeat))| Sent {
        order,
        at,
        start,
        len: fate.len,
        repeat,
    })
    .collect()
}

/// What arrives at the capture point, in order of arrival.
fn deliver(sent: &[Sent], fates: &[Fate]) -> Vec<(u64, Sent)> {
    let mut arrivals = Vec::new();
    let mut originals = fates.iter();
    for packet in sent {
        let on_time = packet.at + ONE_WAY;
        if packet.repeat {
            arrivals.push((on_time, *packet));
            continue;
        }
        let fate = originals.next().expect("an original for each fate");
        let copies = if fate.lost {
            0
        } else {
            1 + usize::from(fate.twice)
        };
        arrivals.extend((0..copies).map(|_| (on_time + fate.late_ms * MS, *packet)));
    }
    arrivals.sort_by_key(|(at, packet)| (*at, packet.order));
    arrivals
}

/// The verdict of one who knows the order of sending.
fn model(packet: &Sent, arrived: &[Sent]) -> Option<&'static str> {
    if arrived.iter().any(|known| known.order == packet.order) {
        return Some("network-duplicate");
    }
    let overtaken = arrived
        .iter()
        .any(|known| !known.repeat && known.start > packet.start);
    match (packet.repeat, overtaken) {
        // A repeat at the stream's end, every copy before it lost: nothing needs to show it.
        (true, false) if !arrived.iter().any(|known| known.start == packet.start) => None,
        (true, _) => Some("retransmission"),
        (false, true) => Some("out-of-order"),
        (false, false) => Some("new"),
    }
}

fn run(fates: &[Fate], isn: u32, stamps: bool, ids: bool) -> Result<(), TestCaseError> {
    let sent = send(fates);
    let mut capture = Capture::new();
    let peer = 5_000_u32;
    let marks = |at: u64, order: usize| Marks {
        ts: stamps.then(|| (u32::try_from(at / MS).expect("within the test"), 1)),
        ip_id: ids.then(|| {
            u16::try_from(order & 0xffff)
                .expect("16 bits")
                .wrapping_add(65_500)
        }),
    };
    let answer = Marks {
        ts: stamps.then_some((1, 1)),
        ip_id: None,
    };
    let no_id = |at| Marks {
        ip_id: None,
        ..marks(at, 0)
    };
    capture.packet(true, MS, no_id(MS), fields(isn, 0, TcpFlags::SYN), 0);
    capture.packet(
        false,
        MS + 1000,
        answer,
        fields(peer, isn.wrapping_add(1), TcpFlags::SYN | TcpFlags::ACK),
        0,
    );
    let established = MS + 2 * ONE_WAY;
    capture.packet(
        true,
        established,
        no_id(established),
        fields(isn.wrapping_add(1), peer + 1, TcpFlags::ACK),
        0,
    );
    let mut arrived: Vec<Sent> = Vec::new();
    for (at, packet) in deliver(&sent, fates) {
        let expected = model(&packet, &arrived);
        let seq = isn.wrapping_add(packet.start);
        let verdict = capture.packet(
            true,
            at,
            marks(packet.at, packet.order),
            fields(seq, peer + 1, TcpFlags::ACK),
            packet.len,
        );
        if let Some(expected) = expected {
            prop_assert_eq!(
                verdict.name(),
                expected,
                "frame {}: {:?}",
                capture.frame,
                packet
            );
        }
        arrived.push(packet);
        let mut next = 1;
        while let Some(known) = arrived.iter().find(|known| known.start == next) {
            next += known.len;
        }
        let ack = isn.wrapping_add(next);
        capture.packet(
            false,
            at + 1000,
            answer,
            fields(peer + 1, ack, TcpFlags::ACK),
            0,
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_model_by_both_marks(fates in prop::collection::vec(fate(), 1..120), isn: u32) {
        run(&fates, isn, true, true)?;
    }

    #[test]
    fn agrees_with_the_model_by_timestamps(fates in prop::collection::vec(fate(), 1..120), isn: u32) {
        run(&fates, isn, true, false)?;
    }

    #[test]
    fn agrees_with_the_model_by_identifications(fates in prop::collection::vec(fate(), 1..120), isn: u32) {
        run(&fates, isn, false, true)?;
    }
}

#[test]
fn ten_gigabytes_wrap_twice() {
    const LEN: u32 = 60_000;
    const SEGMENTS: u32 = 180_000;
    let mut capture = Capture::new();
    let (isn, peer) = (u32::MAX - 7, 9);
    let none = Marks::default();
    capture.packet(true, 0, none, fields(isn, 0, TcpFlags::SYN), 0);
    capture.packet(
        false,
        MS,
        none,
        fields(peer, isn.wrapping_add(1), TcpFlags::SYN | TcpFlags::ACK),
        0,
    );
    let mut seq = isn.wrapping_add(1);
    for number in 0..SEGMENTS {
        let at = (2 + u64::from(number)) * MS;
        let verdict = capture.packet(true, at, none, fields(seq, peer + 1, TcpFlags::ACK), LEN);
        assert_eq!(verdict, Verdict::New, "segment {number}");
        if number == SEGMENTS / 2 {
            let later = at + MS; // A round trip is two: what comes sooner than half is a copy.
            let verdict =
                capture.packet(true, later, none, fields(seq, peer + 1, TcpFlags::ACK), LEN);
            assert_eq!(verdict.name(), "retransmission");
        }
        seq = seq.wrapping_add(LEN);
        capture.packet(
            false,
            at + MS / 2,
            none,
            fields(peer + 1, seq, TcpFlags::ACK),
            0,
        );
    }
    let connection = capture.finish();
    let half = connection.from_client();
    assert_eq!(half.unique_bytes, u64::from(LEN) * u64::from(SEGMENTS));
    assert_eq!(half.retransmitted_segments, 1);
    assert_eq!((half.out_of_order, half.missing_octets), (0, 0));
}

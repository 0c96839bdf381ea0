//! `data-conflict`: the same octets of a stream pass twice and differ.

use analyzer::connection::{self, CopyMarks, Half};
use analyzer::event::SegmentRef;
use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations};
use crate::model::rule::Rule;
use crate::model::text::{many, number};

declare_rule! {
    /// The same bytes of a connection pass twice, and the copies differ.
    ///
    /// ## What it means
    /// A retransmission repeats the original byte for byte. Where the second copy differs, one of the two is
    /// not the sender's: someone on the path sends with its address, or a device or its memory changes data.
    ///
    /// ## Why it matters
    /// The receiver takes the copy that comes first and silently drops the other. Its program has then read
    /// data that the other end never sent.
    ///
    /// ## How it is detected
    /// - A segment overlaps bytes that had passed, and of these the first 64 bytes of an earlier segment were
    ///   captured both times (16 where the overlap is short, or all of a shorter segment from 8 bytes on). They
    ///   differ.
    /// - A copy is foreign when its hop limit is not that of its end's other packets while the other copy's is,
    ///   or when it lacks the timestamps that both ends agreed on.
    /// - Both copies of one packet (the same IP identification) are no conflict of the sender: a device changed
    ///   it between two points of the capture.
    /// - Where every retransmission differs, the capture's payload was made unreadable, and nothing is
    ///   reported.
    ///
    /// The two copies prove it. An acknowledgment of the first before the second passed proves that the
    /// receiver took the first. Equal contents would refute it. Where a foreign copy was taken, the end's own
    /// data was lost: medium, high from three on. Otherwise it is low.
    ///
    /// ## What to do
    /// Where a foreign packet won, find the device whose distance the hop limit shows, and use TLS, which such
    /// packets cannot imitate. Otherwise look for a device that rewrites payload, and for defective memory.
    ///
    /// ## Known limits
    /// Differences behind the first 64 bytes of a segment are not seen, nor those in bytes that were
    /// acknowledged long before. A sender may itself send other data when its program changes a buffer that the
    /// kernel has not copied (`sendfile`, `MSG_ZEROCOPY`). Tests of intrusion detection do it on purpose.
    ///
    /// ## References
    /// - RFC 9293 §3.4 and §3.10.7.4 (each byte has one number, and is taken once)
    /// - RFC 7323 §3.2 (timestamps in every segment, once agreed)
    /// - RFC 5961 §5 (blind data injection)
    pub(crate) struct DataConflict {
        id: "data-conflict",
        group: LossAndPath,
        title: "The same bytes pass twice with different contents",
        severity: High,
        needs: [Tcp],
        clouded_by: [DuplicateFrames],
        figures: [conflicts: Count / Sum],
        thresholds: [],
    }
}

/// Repeats that differ, one like the other, show a capture whose payload was made unreadable.
const ALL_DIFFER: u64 = 3;

/// Whose the copies are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// The foreign one came first, and the receiver took it.
    ForeignTaken,
    /// One is foreign; the receiver took the other, or nobody knows.
    Foreign,
    /// Both bear the marks of the same end.
    Own,
}

/// Two copies that differ.
pub(crate) struct Seen {
    verdict: Verdict,
    /// Who is named as their sender.
    sender: Direction,
    /// What shows that one is foreign.
    signs: Vec<String>,
}

impl Rule for DataConflict {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, _ctx: &Context<'_>, out: &mut Observations<Seen>) {
        for direction in Direction::BOTH {
            if let Some(conflict) = conn.half(direction).conflict {
                let found = observation(conn, direction, &conflict);
                found.into_iter().for_each(|one| out.push(one));
            }
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let best = group.best();
        let (named, other) = match best.seen.sender {
            Direction::ClientToServer => (best.connection.client, best.connection.server),
            Direction::ServerToClient => (best.connection.server, best.connection.client),
        };
        let connections = many(group.connections(), "connection");
        let (title, what) = match best.seen.verdict {
            Verdict::ForeignTaken => (
                format!("{other} accepts data that a third party sends as {named}"),
                format!("{other} acknowledged the first copy, which is not from {named}, before the data of {named} itself passed, and silently drops the latter."),
            ),
            Verdict::Foreign => (
                format!("A third party sends data as {named}"),
                format!("One of the copies is not from {named}; nothing shows that {other} took it."),
            ),
            Verdict::Own => (
                format!("Retransmissions of {named} differ from the original data"),
                "Both copies carry the header values of the same end: a device or defective memory changed one of them, or the program changed the data while it was being sent.".to_owned(),
            ),
        };
        let is_foreign = best.seen.verdict != Verdict::Own;
        let signs = best.seen.signs.clone();
        let mut draft = draft
            .title(title)
            .summary(format!("On {connections}, bytes with the same sequence numbers passed twice and differ. {what}"))
            .confidence(
                match (is_foreign, signs.len()) {
                    (true, 2..) => confidence::PROVED,
                    (true, _) => confidence::LIKELY,
                    (false, _) => confidence::PROBABLE,
                },
                "Both copies were captured at the same place of the stream and compared.",
            )
            .because("the same sequence numbers carry different bytes in the two frames cited");
        for sign in signs {
            draft = draft.because(sign);
        }
        draft = draft
            .not("retransmission", "a retransmission carries the same bytes")
            .not(
                "changed-between",
                "the copies are two packets: each has its own IP identification or header values",
            );
        if is_foreign {
            draft
                .advise("network", format!("find the device or host that sends as {}: an injecting middlebox, a captive portal, an attacker on the segment; compare the hardware addresses of the two frames", named.ip))
                .advise("any", "use TLS: such packets cannot imitate it, so the connection fails instead of accepting them")
        } else {
            draft
                .advise("network", "look for devices on the path that rewrite payload (application gateways, optimisers, traffic shapers with a cache)")
                .advise("any", format!("check the memory of {} and of the devices before it, and whether its program changes buffers passed to sendfile or MSG_ZEROCOPY", named.ip))
        }
    }
}

fn observation(
    conn: &Connection,
    direction: Direction,
    conflict: &connection::DataConflict,
) -> Option<Observation<Seen>> {
    let half = conn.half(direction);
    let [first, second] = conflict.marks;
    let one_packet = first.ip_id.is_some_and(|id| id != 0) && first.ip_id == second.ip_id;
    let agreed = conn.halves.iter().all(|half| half.timestamps);
    let of_first = foreign_signs(first, second, half, agreed);
    let of_second = foreign_signs(second, first, half, agreed);
    let is_scrambled = half.copies_compared >= ALL_DIFFER
        && conflict.count == half.copies_compared
        && of_first.is_empty()
        && of_second.is_empty();
    if one_packet || is_scrambled {
        return None;
    }
    let verdict = match (!of_first.is_empty(), !of_second.is_empty(), conflict.taken) {
        (true, false, Some(_)) => Verdict::ForeignTaken,
        (true, false, None) | (false, true, _) => Verdict::Foreign,
        (true, true, _) | (false, false, _) => Verdict::Own,
    };
    let impact = match verdict {
        Verdict::ForeignTaken => Impact::requests_lost(1),
        Verdict::Foreign | Verdict::Own => Impact::SOME,
    };
    let sender = direction.sender();
    let first = SegmentRef::place(conflict.first.frame, conflict.first.time, direction);
    let place = conflict.second.relative_seq;
    let found = Observation::new(conn, confidence::LIKELY, impact)
        .cause(format!("{} {verdict:?}", conn.server))
        .at(conflict.second.time)
        .weight(number(conflict.count))
        .count(conflict.count)
        .proof(
            first,
            format!("data with the address of the {sender}, from sequence number {place} on"),
        )
        .evidence_if(conflict.taken, "acknowledges the first copy")
        .proof(
            conflict.second,
            format!(
                "the same {} bytes of the {sender} with different contents",
                conflict.octets
            ),
        )
        .figure("conflicts", number(conflict.count))
        .seen(Seen {
            verdict,
            sender: direction,
            signs: [of_first, of_second].concat(),
        });
    Some(found)
}

/// What shows that one copy is not from the end that `half` is of, while the other one is.
fn foreign_signs(
    marks: CopyMarks,
    other: CopyMarks,
    half: &Half,
    timestamps_agreed: bool,
) -> Vec<String> {
    let mut signs = Vec::new();
    if let Some(usual) = half.hop_limit
        && marks.hop_limit != usual
        && other.hop_limit == usual
    {
        signs.push(format!(
            "one copy came with hop limit {}, the other and most packets of that end with {usual}: it was sent from another distance",
            marks.hop_limit
        ));
    }
    if timestamps_agreed && !marks.timestamps && other.timestamps {
        signs.push(
            "one copy lacks the timestamp option, which both ends agreed on and must send in every segment"
                .to_owned(),
        );
    }
    signs
}

#[cfg(test)]
mod tests {
    use analyzer::decode::TcpFlags;

    use crate::model::finding::Finding;
    use crate::model::severity::Severity;
    use crate::testkit::findings_of;
    use crate::testkit::script::{Capture, MS, Marks, fields};

    const PUSH: u8 = TcpFlags::PSH | TcpFlags::ACK;
    const FORGED: &[u8] = b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\n\r\n";
    const TRUE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

    fn marks(ts: Option<(u32, u32)>, ip_id: u16) -> Marks {
        Marks {
            ts,
            ip_id: Some(ip_id),
        }
    }

    /// A request, and two answers at the same place: the first at 41 ms, the second at 60 ms.
    fn answered_twice(
        first: (&[u8], Marks, u8),
        second: (&[u8], Marks, u8),
        acked: bool,
    ) -> Vec<Finding> {
        let mut capture = Capture::new();
        let stamped = |at| Some((at, at));
        capture.packet(
            true,
            0,
            marks(stamped(1), 1),
            fields(100, 0, TcpFlags::SYN),
            0,
        );
        capture.packet(
            false,
            20 * MS,
            marks(stamped(1), 1),
            fields(900, 101, TcpFlags::SYN | TcpFlags::ACK),
            0,
        );
        capture.packet(
            true,
            20 * MS,
            marks(stamped(2), 2),
            fields(101, 901, TcpFlags::ACK),
            0,
        );
        capture.packet(
            true,
            21 * MS,
            marks(stamped(2), 3),
            fields(101, 901, PUSH),
            80,
        );
        let (payload, of_first, hop_limit) = first;
        capture.hop_limit = hop_limit;
        capture.payload(false, 41 * MS, of_first, fields(901, 181, PUSH), payload);
        capture.hop_limit = 64;
        let end = 901 + u32::try_from(payload.len()).unwrap();
        if acked {
            capture.packet(
                true,
                42 * MS,
                marks(stamped(4), 4),
                fields(181, end, TcpFlags::ACK),
                0,
            );
        }
        let (payload, of_second, hop_limit) = second;
        capture.hop_limit = hop_limit;
        capture.payload(false, 60 * MS, of_second, fields(901, 181, PUSH), payload);
        findings_of("data-conflict", &[capture.finish()])
    }

    #[test]
    fn a_forged_answer_that_wins_the_race_is_told() {
        let forged = (FORGED, marks(None, 7), 60);
        let own = (TRUE, marks(Some((5, 2)), 2), 64);
        let findings = answered_twice(forged, own, true);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Medium);
        let proofs = findings[0].evidence.iter().filter(|one| one.proves);
        assert_eq!(
            proofs.map(|one| one.segment.frame).collect::<Vec<_>>(),
            [5, 7]
        );
        assert!(
            findings[0]
                .title
                .contains("accepts data that a third party sends")
        );
        // It comes too late.
        let late = answered_twice(own, forged, true);
        assert_eq!(late[0].severity, Severity::Low);
    }

    #[test]
    fn own_data_that_changes_is_low() {
        let one = (FORGED, marks(Some((4, 2)), 2), 64);
        let other = (TRUE, marks(Some((5, 2)), 3), 64);
        let findings = answered_twice(one, other, true);
        assert_eq!(findings[0].severity, Severity::Low);
    }

    #[test]
    fn equal_copies_and_one_packet_changed_are_none() {
        let one = (TRUE, marks(Some((4, 2)), 2), 64);
        let again = (TRUE, marks(Some((5, 2)), 3), 64);
        assert!(answered_twice(one, again, false).is_empty());
        // Cut short by its sender's next try.
        let longer = (
            &[TRUE, b" and more"].concat()[..],
            marks(Some((5, 2)), 3),
            64,
        );
        assert!(answered_twice(one, longer, true).is_empty());
        let changed = (FORGED, marks(Some((4, 2)), 2), 60);
        assert!(answered_twice(one, changed, false).is_empty());
    }

    #[test]
    fn probes_with_an_octet_of_anything_are_no_data() {
        let mut capture = Capture::new();
        capture.handshake();
        capture.payload(
            true,
            21 * MS,
            Marks::default(),
            fields(101, 901, PUSH),
            b"ping ping ping",
        );
        capture.server(41_000, TcpFlags::ACK, 901, 115, 0);
        capture.payload(
            true,
            60_000 * MS,
            Marks::default(),
            fields(114, 901, TcpFlags::ACK),
            b"x",
        );
        assert!(findings_of("data-conflict", &[capture.finish()]).is_empty());
    }
}

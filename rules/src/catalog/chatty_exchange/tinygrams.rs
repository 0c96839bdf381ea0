//! Data that goes out a few bytes at a time.

use std::time::Duration;

use analyzer::connection::Half;
use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::impact::Impact;
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::Observation;
use crate::model::text::{bytes, many, number, percent, plural};

/// Segments of a message, and within the time in which they could be merged, from which they are many.
const MANY: f64 = 10.0;
/// Nobody notices data that is that much later.
const UNNOTICED: Duration = Duration::from_millis(10);
/// Headers of a segment: IP, TCP and timestamps.
const HEADERS: f64 = 52.0;

/// A direction of small segments.
pub(crate) struct Seen {
    direction: Direction,
    /// Segments of the greatest length that would carry the same.
    would_do: u64,
    octets_each: f64,
}

/// The directions whose data goes out in small segments.
pub(super) fn seen(conn: &Connection) -> impl Iterator<Item = Observation<Seen>> {
    let small = Direction::BOTH.into_iter().filter(|direction| {
        let half = conn.half(*direction);
        let is_whole = half.missing_octets == 0 && half.offloaded_segments == 0;
        is_whole && is_merged_unnoticed(conn, half)
    });
    small.filter_map(|direction| observation(conn, direction))
}

/// Whether many segments make a message, and go out so close together that a buffer would have merged
/// many of them unnoticed.
fn is_merged_unnoticed(conn: &Connection, half: &Half) -> bool {
    if !crate::model::traits::is_of_small_segments(half) {
        return false;
    }
    let (Some(first), Some(last)) = (half.first_data, half.last_data) else {
        return false;
    };
    let segments = number(half.data_segments);
    let took = last.time.since(first.time).max(Duration::from_micros(1));
    let in_window = segments * UNNOTICED.as_secs_f64() / took.as_secs_f64();
    segments >= MANY * number(conn.turns.count) && in_window >= MANY
}

fn observation(conn: &Connection, direction: Direction) -> Option<Observation<Seen>> {
    let half = conn.half(direction);
    let (first, last) = (half.first_data?, half.last_data?);
    let sender = direction.sender();
    let full = u64::from(half.mss.unwrap_or(536)).max(1);
    let seen = Seen {
        direction,
        would_do: half.unique_bytes.div_ceil(full),
        octets_each: number(half.unique_bytes) / number(half.data_segments),
    };
    let observation = Observation::new(conn, confidence::LIKELY, Impact::NONE)
        .cause(format!("{} {} small {sender}", conn.client.ip, conn.server))
        .at(first.time)
        .measured(first.time, last.time)
        .weight(number(half.data_segments))
        .evidence(
            first,
            format!(
                "the {sender}'s first data: {} of {} on average until the last",
                many(half.data_segments, "segment"),
                bytes(seen.octets_each)
            ),
        )
        .evidence(last, format!("the {sender}'s last data"))
        .figure("small_segments", number(half.data_segments))
        .figure("segment_bytes", seen.octets_each);
    Some(observation.seen(seen))
}

/// The words of a finding about small segments.
pub(super) fn describe<S>(group: &Group<'_, S>, seen: &Seen, draft: Narrative) -> Narrative {
    let connection = group.best().connection;
    let (sender, receiver) = match seen.direction {
        Direction::ClientToServer => (connection.client.ip.to_string(), group.server().to_string()),
        Direction::ServerToClient => (group.server().to_string(), connection.client.ip.to_string()),
    };
    let end = seen.direction.sender();
    let segments = plural(
        group.figure("small_segments").unwrap_or_default(),
        "segment",
    );
    let each = bytes(seen.octets_each);
    draft
        .title(format!("{sender} sends data in segments of {each}"))
        .summary(format!(
            "{sender} sent {segments} of {each} on average to {receiver}, one right after the other; on the busiest connection {} would have carried the same. Headers take {} of such a segment.",
            many(seen.would_do, "full segment"),
            percent(HEADERS / (HEADERS + seen.octets_each)),
        ))
        .confidence(confidence::LIKELY, "Segments, bytes and times were counted; whether the program needs each of its writes sent at once is not visible.")
        .because("at least ten of them a message, and ten in a time that nobody would notice")
        .advise(end, "write through a buffer and flush it once a message; where that is not possible, set TCP_CORK around a message")
        .verify(end, "strace -f -e trace=write,sendto,sendmsg -p PID", "one system call for a few bytes each")
}

#[cfg(test)]
mod tests {
    use crate::model::finding::Finding;
    use crate::model::severity::Severity;
    use crate::testkit::script::Capture;
    use crate::testkit::{figure, findings_of};
    use analyzer::decode::TcpFlags;

    /// The client sends `count` segments of `len` bytes, one each `gap_us`, and gets an answer after each `answered`.
    fn found(count: u32, len: u32, gap_us: u64, answered: u32) -> Vec<Finding> {
        let mut capture = Capture::new();
        capture.handshake();
        let push = TcpFlags::PSH | TcpFlags::ACK;
        let (mut at, mut seq, mut ack) = (30_000, 101, 901);
        for number in 1..=count {
            capture.client(at, push, seq, ack, len);
            seq += len;
            at += gap_us;
            if number % answered == 0 {
                capture.server(at, push, ack, seq, 20);
                ack += 20;
            } else {
                capture.server(at, TcpFlags::ACK, ack, seq, 0);
            }
        }
        findings_of("chatty-exchange", &[capture.finish()])
    }

    #[test]
    fn a_write_a_field_is_information() {
        let findings = found(600, 20, 200, 100);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Info);
        assert!((figure(&findings[0], "small_segments") - 600.0).abs() < f64::EPSILON);
        assert!((figure(&findings[0], "segment_bytes") - 20.0).abs() < f64::EPSILON);
    }

    #[test]
    fn slow_streams_short_messages_and_full_segments_are_not() {
        assert!(found(600, 20, 50_000, 100).is_empty());
        assert!(found(600, 20, 200, 3).is_empty());
        assert!(found(600, 1_000, 200, 100).is_empty());
        assert!(found(100, 20, 200, 100).is_empty());
    }
}

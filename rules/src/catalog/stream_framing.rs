//! `stream-framing`: messages of a byte stream glued together or cut.

use std::time::Duration;

use analyzer::app::{AppProtocol, At, FramingFacts};
use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::figure::most;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{self, Narrative};
use crate::model::observation::{Observation, Observations, segment_at};
use crate::model::rule::Rule;
use crate::model::text::{number, plural};

declare_rule! {
    /// Segments of a framed stream carry several messages, or parts of one.
    ///
    /// ## What it means
    /// TCP carries bytes, not messages. Two messages written separately can arrive in one segment (*coalesced*,
    /// "sticky"), and one message can arrive in several (*split*, "half"). That is normal; a reader has to find
    /// the message boundaries itself.
    ///
    /// ## Why it matters
    /// A reader that takes one read for one message works in tests and fails under load: it loses the second
    /// message of a segment or fails on half of one.
    ///
    /// ## How it is detected
    /// - The framing is given (`--framing PORT=SPEC`) or inferred: a length field that lands exactly on message
    ///   boundaries through the whole stream, lines, a delimiter, or a constant size.
    /// - Counted are segments in which more than one message starts, and messages that span segments.
    /// - What proves harm: a reset within a second of the first of them, before either end had closed. What
    ///   refutes it: the stream continues.
    ///
    /// Severity is info, since a correct reader expects both; medium when the connection was reset right after.
    /// Streams of ASN.1 messages and FIX have their own framings and are left out.
    ///
    /// ## What to do
    /// Decode with the measured framing: read until a whole message has arrived, keep the rest.
    ///
    /// ## Known limits
    /// Captures taken before segmentation or after coalescing in the network card show larger segments than the
    /// wire. Encrypted streams and streams whose payload the snap length cut cannot be framed. An inferred
    /// framing may fit by chance; the confidence reflects that.
    ///
    /// ## References
    /// - RFC 9293 §3.9.1 (PUSH is no record mark); RFC 1122 §4.2.2.2
    pub(crate) struct StreamFraming {
        id: "stream-framing",
        group: Application,
        title: "Messages share segments or span them",
        severity: Medium,
        needs: [Tcp, ReadablePayload],
        traits: [Framing],
        clouded_by: [CaptureDrops, Offload, Snaplen],
        figures: [
            framing: Text / Most,
            coalesced_segments: Count / Sum,
            split_messages: Count / Sum,
        ],
        thresholds: [
            min_messages = 20.0: "Messages an inferred framing must have read in one direction; fewer may fit by chance.",
            min_confidence = 0.7: "Inferred framings less certain than this are not reported.",
        ],
        host_evidence: [ReadSizes, Owner],
    }
}

/// A reader that misreads a message gives up at once.
const SOON: Duration = Duration::from_secs(1);

type Group<'a> = narrative::Group<'a, Seen>;

/// A framed stream.
pub(crate) struct Seen {
    spec: String,
    messages: u64,
    /// Bytes of the shortest message, when there is one.
    shortest: Option<u64>,
    /// Bytes of the longest.
    longest: Option<u64>,
    /// The user named the framing.
    given: bool,
    /// A reset came right after the first mark.
    broke: bool,
    /// Segments above the MSS were captured.
    oversized: bool,
}

impl Rule for StreamFraming {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        let Some(framing) = &conn.app.framing else {
            return;
        };
        if !matches!(
            conn.app.protocol,
            AppProtocol::Framed | AppProtocol::Unknown
        ) {
            return;
        }
        let most = framing.messages.iter().copied().max().unwrap_or(0);
        let sure = framing.given
            || (framing.confidence >= ctx.threshold("min_confidence")
                && number(most) >= ctx.threshold("min_messages"));
        let events = sum(framing.coalesced_segments) + sum(framing.split_messages);
        if sure && (framing.given || events > 0) {
            out.push(observation(conn, framing));
        }
    }

    fn describe(&self, group: &Group<'_>, draft: Narrative) -> Narrative {
        let spec = most(group.seen().map(|seen| seen.spec.as_str())).unwrap_or_default();
        let coalesced = group.figure("coalesced_segments").unwrap_or_default();
        let split = group.figure("split_messages").unwrap_or_default();
        let messages = number(group.seen().map(|seen| seen.messages).sum());
        let server = group.server();
        let broken = group.having(|seen| seen.broke);
        let given = group.having(|seen| seen.given) > 0;
        let shortest = group.seen().filter_map(|seen| seen.shortest).min();
        let longest = group.seen().filter_map(|seen| seen.longest).max();
        let sizes = match (shortest, longest) {
            (Some(shortest), Some(longest)) if shortest == longest => String::new(),
            (Some(shortest), Some(longest)) => format!(" of {shortest} to {longest} bytes"),
            _ => String::new(),
        };
        let outcome = if broken > 0 {
            format!(
                " On {} the stream was reset right after the first such segment: the reader seems to take one read for one message.",
                plural(number(broken), "connection")
            )
        } else {
            " Readers coped with it; a reader that takes one read for one message would not."
                .to_owned()
        };
        let confidence = draft.confidence;
        let reason = if given {
            "The framing was given."
        } else {
            "The framing was inferred: it matches every message boundary of the stream."
        };
        let draft = draft
            .title(format!("Stream to {server} ({}): {}, {}", kind(spec), plural(coalesced, "coalesced segment"), plural(split, "split message")))
            .summary(format!(
                "{}{sizes} under {} were exchanged with {server}: {} carried more than one message start and {} spanned segments.{outcome}",
                plural(messages, "message"), words(spec), plural(coalesced, "segment"), plural(split, "message"),
            ))
            .confidence(confidence, reason)
            .because(format!("framing {spec} parses the stream from message to message without remainder"))
            .because(format!("{} with more than one message start, {} over several segments", plural(coalesced, "segment"), plural(split, "message")))
            .because_if(group.having(|seen| seen.oversized) > 0, || {
                "segments above the MSS were captured: the NIC merges or splits them outside the capture, so the boundaries on the wire differ".to_owned()
            })
            .not("recognised protocol", "the payload is no HTTP, TLS, SSH or DNS, which have their own framing")
            .not("packet-loss", "boundaries are counted on the reassembled stream, without retransmissions");
        remedies(group, draft, spec)
    }
}

fn sum(counts: [u64; 2]) -> u64 {
    counts[0] + counts[1]
}

fn observation(conn: &Connection, framing: &FramingFacts) -> Observation<Seen> {
    let coalesced = first_of(framing.first_coalesced);
    let split = first_of(framing.first_split);
    let marks = [coalesced, split].into_iter().flatten();
    let first = marks.map(|(_, at)| at).min_by_key(|at| at.frame);
    let broke = first.is_some_and(|first| broke_after(conn, first));
    let impact = if broke {
        Impact::requests_lost(1)
    } else {
        Impact::NONE
    };
    let place =
        |mark: Option<(Direction, At)>| mark.map(|(direction, at)| segment_at(conn, at, direction));
    let lengths = |values: [u64; 2], pick: fn(u64, u64) -> u64| {
        let used = values
            .into_iter()
            .zip(framing.messages)
            .filter(|(_, count)| *count > 0);
        used.map(|(value, _)| value).reduce(pick)
    };
    Observation::new(
        conn,
        if framing.given {
            confidence::PROVED
        } else {
            framing.confidence
        },
        impact,
    )
    .cause(format!("{} {}", conn.server, framing.spec))
    .at(first.map_or(conn.start, |first| first.time))
    .weight(number(
        sum(framing.coalesced_segments) + sum(framing.split_messages),
    ))
    .evidence_if(
        place(coalesced),
        "segment in which more than one message starts",
    )
    .evidence_if(
        place(split),
        "start of a message that continues in a later segment",
    )
    .proof_if(
        conn.resets
            .first()
            .map(|reset| reset.segment)
            .filter(|_| broke),
        "RST right after",
    )
    .text("framing", framing.spec.clone())
    .figure(
        "coalesced_segments",
        number(sum(framing.coalesced_segments)),
    )
    .figure("split_messages", number(sum(framing.split_messages)))
    .seen(Seen {
        spec: framing.spec.clone(),
        messages: sum(framing.messages),
        shortest: lengths(framing.message_min, u64::min),
        longest: lengths(framing.message_max, u64::max),
        given: framing.given,
        broke,
        oversized: conn.halves.iter().any(|half| half.oversized_segments > 0),
    })
}

/// The earlier of both directions' marks.
fn first_of(marks: [Option<At>; 2]) -> Option<(Direction, At)> {
    let marks = Direction::BOTH.into_iter().zip(marks);
    marks
        .filter_map(|(direction, at)| Some((direction, at?)))
        .min_by_key(|(_, at)| at.frame)
}

/// A reset, before either end had closed, right after the first coalesced or split message.
fn broke_after(conn: &Connection, first: At) -> bool {
    conn.resets.iter().any(|reset| {
        reset.segment.frame > first.frame
            && reset.segment.time.since(first.time) <= SOON
            && !reset.own_fin_before
            && !reset.peer_fin_before
    })
}

/// A framing specification in words.
fn words(spec: &str) -> String {
    let (kind, rest) = spec.split_once(',').unwrap_or((spec, ""));
    let options = if rest.is_empty() {
        String::new()
    } else {
        format!(" ({rest})")
    };
    let base = match kind {
        "line" => "lines".to_owned(),
        "u8" => "a length field of 1 byte".to_owned(),
        "u16be" => "a length field of 2 bytes, big-endian".to_owned(),
        "u16le" => "a length field of 2 bytes, little-endian".to_owned(),
        "u32be" => "a length field of 4 bytes, big-endian".to_owned(),
        "u32le" => "a length field of 4 bytes, little-endian".to_owned(),
        other => match other.split_once(':') {
            Some(("fixed", size)) => format!("messages of {size} bytes"),
            Some(("delimiter", hex)) => format!("messages that end with 0x{hex}"),
            _ => other.to_owned(),
        },
    };
    base + &options
}

/// The kind of framing alone.
fn kind(spec: &str) -> &str {
    spec.split(',').next().unwrap_or(spec)
}

/// One number of a specification such as `offset=2`.
fn option(spec: &str, name: &str) -> i64 {
    let found = spec
        .split(',')
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    found.and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn remedies(group: &Group<'_>, draft: Narrative, spec: &str) -> Narrative {
    let server = group.server();
    let width = match spec.split(',').next().unwrap_or_default() {
        "u8" => 1,
        "u16be" | "u16le" => 2,
        "u32be" | "u32le" => 4,
        _ => 0,
    };
    let (offset, adjust, strip) = (
        option(spec, "offset"),
        option(spec, "adjust"),
        option(spec, "strip"),
    );
    let draft = draft.advise("any", "never take one read for one message: collect bytes until a whole message has arrived, process it, keep the rest");
    let draft = if width > 0 {
        draft
            .set("Netty", "decoder with the measured parameters", format!("new LengthFieldBasedFrameDecoder(maxFrameLength, {offset}, {width}, {adjust}, {strip})"))
            .set("gnet (Go)", "decoder with the measured parameters", format!("LengthFieldOffset: {offset}, LengthFieldLength: {width}, LengthAdjustment: {adjust}, InitialBytesToStrip: {strip}"))
            .set("Go", "read header and body in full", format!("io.ReadFull(r, header[:{}]) then io.ReadFull(r, body[:n])", offset + width))
    } else if spec.starts_with("line") || spec.starts_with("delimiter") {
        draft
            .set(
                "Netty",
                "decoder",
                "LineBasedFrameDecoder or DelimiterBasedFrameDecoder",
            )
            .set(
                "Go",
                "reader",
                "bufio.Scanner (or bufio.Reader.ReadBytes(delimiter))",
            )
    } else {
        let size = spec.strip_prefix("fixed:").unwrap_or("N");
        draft
            .set(
                "Netty",
                "decoder",
                format!("FixedLengthFrameDecoder({size})"),
            )
            .set("Go", "reader", format!("io.ReadFull(r, buf[:{size}])"))
    };
    draft
        .advise(
            "any",
            "do not rely on TCP_NODELAY: it changes how often messages share a segment but fixes nothing",
        )
        .verify(
            "server",
            format!(
                "strace -f -e trace=read,recvfrom -s 64 -p PID  # the process that listens on {}",
                server.port
            ),
            "reads that return several messages or half of one",
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, C, S, figure, findings_of};
    use analyzer::connection::ResetKind;

    fn framed(coalesced: u64, split: u64, confidence: f64) -> Builder {
        let builder = Builder::tcp(1).handshake(0.0, 1.0).request(1.0, 300);
        let first = builder.conn.halves[0].first_data.unwrap();
        builder.protocol(AppProtocol::Framed).with(|conn| {
            conn.app.framing = Some(Box::new(FramingFacts {
                spec: "u32be,offset=2".to_owned(),
                given: false,
                confidence,
                messages: [40, 0],
                coalesced_segments: [coalesced, 0],
                split_messages: [split, 0],
                message_min: [10, 0],
                message_max: [200, 0],
                first_coalesced: [
                    Some(At {
                        frame: first.frame,
                        time: first.time,
                    }),
                    None,
                ],
                first_split: [None; 2],
                lost_track: false,
            }));
        })
    }

    #[test]
    fn coalesced_messages_are_information() {
        let findings = findings_of("stream-framing", &[framed(3, 2, 0.9).build()]);
        assert_eq!(findings[0].severity, Severity::Info);
        assert!((figure(&findings[0], "coalesced_segments") - 3.0).abs() < f64::EPSILON);
        assert!(findings[0].remedy.iter().any(|remedy| {
            remedy.setting.as_deref()
                == Some("new LengthFieldBasedFrameDecoder(maxFrameLength, 2, 4, 0, 0)")
        }));
    }

    #[test]
    fn reset_right_after_raises_it() {
        let conn = framed(1, 0, 0.9)
            .reset(1.5, S, ResetKind::UnreadData)
            .build();
        assert_eq!(
            findings_of("stream-framing", &[conn])[0].severity,
            Severity::Medium
        );
    }

    #[test]
    fn unsure_or_uneventful_framings_are_silent() {
        assert!(findings_of("stream-framing", &[framed(3, 2, 0.4).build()]).is_empty());
        assert!(findings_of("stream-framing", &[framed(0, 0, 0.9).build()]).is_empty());
    }

    #[test]
    fn recognised_protocols_have_their_own() {
        let conn = framed(3, 2, 0.9)
            .protocol(AppProtocol::Http1)
            .request(5.0, 10);
        assert!(
            findings_of(
                "stream-framing",
                &[conn.response(6.0, 10).fin(7.0, C).build()]
            )
            .is_empty()
        );
    }
}

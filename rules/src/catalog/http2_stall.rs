//! `http2-stall`: DATA of HTTP/2 waits for a flow-control window.

use analyzer::app::HttpWindowStalls;
use analyzer::{Connection, Direction};

use crate::model::confidence;
use crate::model::context::Context;
use crate::model::impact::Impact;
use crate::model::meta::{RuleMeta, declare_rule};
use crate::model::narrative::{Group, Narrative};
use crate::model::observation::{Observation, Observations, segment_at};
use crate::model::rule::Rule;
use crate::model::text::{bytes, many, ms, number, percent, time};

declare_rule! {
    /// DATA frames wait because the receiver keeps the window of the stream or of the connection closed.
    ///
    /// ## What it means
    /// HTTP/2 has windows of its own on top of TCP's. The sender had used one up and had more to send; the receiver's program
    /// did not read on, or announces windows that are too small for the path.
    ///
    /// ## Why it matters
    /// TCP looks idle and healthy meanwhile. The window of the connection is shared: one stream that nobody
    /// reads stops all others on it.
    ///
    /// ## How it is detected
    /// Windows are counted from SETTINGS, DATA and WINDOW_UPDATE. A stall begins with the DATA frame that uses up a window
    /// and does not end its stream, and ends with the DATA that goes on, if it does so as soon after the WINDOW_UPDATE that opens
    /// it as the sender can: then it had been waiting. Stalls of at least `stall_ms` are reported; shorter ones if they add up to `total_ms` and half the
    /// connection's time. The three frames prove it.
    ///
    /// What refutes it: DATA that comes only later (there was none to send); bytes of the connection that were not captured.
    ///
    /// ## What to do
    /// A stall of one stream: what its reader waits for. Many short ones: larger windows
    /// (SETTINGS_INITIAL_WINDOW_SIZE and the connection's) for paths with a long round trip.
    ///
    /// ## Known limits
    /// Only HTTP/2 that is not encrypted can be read. A window that is never opened again is not reported. Next to a receiver
    /// that opens its windows by parts, a WINDOW_UPDATE is seen before the sender has it, and short stalls do not show.
    ///
    /// ## References
    /// - RFC 9113 §5.2, §6.9
    pub(crate) struct WindowsThatStayClosed {
        id: "http2-stall",
        group: Application,
        title: "HTTP/2 waits for a flow-control window",
        severity: Medium,
        needs: [Tcp, BothDirections, NoCaptureDrops],
        traits: [Http],
        clouded_by: [Snaplen],
        figures: [
            stalls: Count / Sum,
            stalled_ms: Milliseconds / Max,
            longest_ms: Milliseconds / Max,
        ],
        thresholds: [
            stall_ms = 200.0: "A stall from here on is no round trip's.",
            total_ms = 1000.0: "Shorter stalls of one connection in all.",
        ],
        host_evidence: [Owner],
    }
}

/// Windows of one connection that one end kept closed.
pub(crate) struct Seen {
    sender: Direction,
    stream: u32,
    window: u32,
    /// The share of the connection's time.
    share: f64,
    /// Short stalls only: the window is too small for the path.
    short: bool,
}

impl Rule for WindowsThatStayClosed {
    type Seen = Seen;
    type Fact = ();

    fn meta(&self) -> &'static RuleMeta {
        &Self::META
    }

    fn on_connection(&self, conn: &Connection, ctx: &Context<'_>, out: &mut Observations<Seen>) {
        let Some(http) = &conn.app.http else {
            return;
        };
        for sender in Direction::BOTH {
            let Some(stalls) = &http.window_stalls[sender.index()] else {
                continue;
            };
            let longest = ms(stalls.longest.length());
            let share = ms(stalls.total) / ms(conn.duration()).max(f64::MIN_POSITIVE);
            let short = longest < ctx.threshold("stall_ms");
            if !short || ms(stalls.total) >= ctx.threshold("total_ms") && share >= 0.5 {
                out.push(observation(conn, sender, stalls, share.min(1.0), short));
            }
        }
    }

    fn describe(&self, group: &Group<'_, Seen>, draft: Narrative) -> Narrative {
        let seen = &group.best().seen;
        let server = group.server();
        let figure = |name| group.figure(name).unwrap_or_default();
        let longest = time(figure("longest_ms"));
        let (sender, receiver) = (seen.sender.sender(), seen.sender.reverse().sender());
        let whose = whose(seen.stream);
        let advice = if seen.short {
            "announce larger windows: SETTINGS_INITIAL_WINDOW_SIZE and a WINDOW_UPDATE for the connection of at least bandwidth times round trip"
        } else {
            "look why the program does not read: it waits for something else, or its own output is blocked; read streams independently of each other"
        };
        draft
            .title(format!("DATA of the {sender} waits up to {longest} for an HTTP/2 window ({server})"))
            .summary(format!(
                "DATA of the {sender} waited {} on {} for the {receiver} to open a window, {longest} at most ({whose}, {}); up to {} of a connection's time passed so.",
                many(group.occurrences(), "time"),
                many(group.connections(), "connection"),
                bytes(f64::from(seen.window)),
                percent(seen.share),
            ))
            .confidence(confidence::PROVED, "Every byte of the windows was counted, and DATA went on as soon as one was opened.")
            .not("zero-window-stall", "TCP's window was open; it is HTTP/2's that was closed")
            .not("slow-response", "the response had begun, and went on when the window was opened")
            .advise(receiver, advice)
            .verify(receiver, "a dump of the program's threads or tasks at that time", "who was to read the stream, and what it waits for")
    }
}

fn whose(stream: u32) -> String {
    if stream == 0 {
        "the connection's window".to_owned()
    } else {
        format!("the window of stream {stream}")
    }
}

fn observation(
    conn: &Connection,
    sender: Direction,
    stalls: &HttpWindowStalls,
    share: f64,
    short: bool,
) -> Observation<Seen> {
    let longest = &stalls.longest;
    let impact = if short {
        Impact::SOME
    } else {
        Impact::stalled(longest.length(), longest.length())
    };
    Observation::new(conn, confidence::PROVED, impact)
        .cause(format!("{} {}", conn.server, sender.sender()))
        .at(longest.filled.time)
        .weight(ms(longest.length()))
        .count(stalls.count)
        .stalls([(longest.filled.time, longest.resumed.time)])
        .proof(
            segment_at(conn, longest.filled, sender),
            format!("DATA that uses up {}", whose(longest.stream)),
        )
        .proof(
            segment_at(conn, longest.opened, sender.reverse()),
            "WINDOW_UPDATE that opens it",
        )
        .proof(
            segment_at(conn, longest.resumed, sender),
            format!(
                "DATA goes on, {} after it stopped",
                time(ms(longest.length()))
            ),
        )
        .figure("stalls", number(stalls.count))
        .figure("stalled_ms", ms(stalls.total))
        .figure("longest_ms", ms(longest.length()))
        .seen(Seen {
            sender,
            stream: longest.stream,
            window: longest.window,
            share,
            short,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::Finding;
    use crate::model::severity::Severity;
    use crate::testkit::{Builder, S, at, findings_of};
    use analyzer::app::{AppProtocol, At, HttpFacts, HttpWindowStall};
    use std::time::Duration;

    fn found(longest: f64, count: u64, total: u64) -> Vec<Finding> {
        let place = |frame: u64, ms: f64| At {
            frame,
            time: at(ms),
        };
        let stalls = HttpWindowStalls {
            count,
            total: Duration::from_millis(total),
            longest: HttpWindowStall {
                filled: place(1005, 10.0),
                opened: place(1006, 10.0 + longest),
                resumed: place(1007, 10.0 + longest),
                stream: 1,
                window: 65_535,
            },
        };
        let http = HttpFacts {
            window_stalls: [None, Some(Box::new(stalls))],
            ..HttpFacts::default()
        };
        let builder = Builder::tcp(1).handshake(0.0, 1.0).request(2.0, 100);
        let builder = builder.response(10.0, 60_000).response(1_900.0, 100);
        let builder = builder.protocol(AppProtocol::Http2);
        let builder = builder.fin(2_000.0, S);
        findings_of(
            "http2-stall",
            &[builder
                .with(|conn| conn.app.http = Some(Box::new(http)))
                .build()],
        )
    }

    #[test]
    fn a_reader_that_does_not_read_stalls_the_stream() {
        let findings = found(700.0, 1, 700);
        assert_eq!(
            (findings.len(), findings[0].severity),
            (1, Severity::Medium)
        );
    }

    #[test]
    fn many_short_stalls_slow_and_few_do_not() {
        let findings = found(60.0, 25, 1_400);
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Low));
        assert!(found(60.0, 2, 120).is_empty());
    }
}

//! Flow-control windows, and DATA that waits for them (RFC 9113 §5.2).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::app::{HttpWindowStall, HttpWindowStalls};
use crate::direction::Direction;
use crate::event::At;

use super::frames::{DATA, Frame, RST_STREAM, SETTINGS, WINDOW_UPDATE};
use super::{END_STREAM, number};

/// Window of the connection, and of a stream until SETTINGS say otherwise.
const DEFAULT: u32 = 65_535;
/// SETTINGS_INITIAL_WINDOW_SIZE.
const INITIAL_WINDOW_SIZE: u16 = 4;
/// A SETTINGS frame that acknowledges those of the peer.
const ACK: u8 = 0x1;
/// Streams whose windows are followed at a time, of one sender.
const STREAMS_MAX: usize = 256;
/// DATA that had been waiting goes on within this after the window opens, or within a quarter of the wait, or
/// about as soon as it did before: far from the sender that is a round trip later.
const AT_ONCE: Duration = Duration::from_millis(20);

/// The windows of both senders.
#[derive(Debug, Default)]
pub(super) struct Windows {
    senders: [Sender; 2],
    is_lost: bool,
}

/// What one end may send.
#[derive(Debug)]
struct Sender {
    connection: i64,
    /// The window with which its streams begin.
    initial: u32,
    streams: BTreeMap<u32, i64>,
    waiting: Option<Waiting>,
    stalls: Option<Box<HttpWindowStalls>>,
    /// How soon it went on at the soonest.
    soonest: Option<Duration>,
}

/// A window that is used up.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    stream: u32,
    filled: At,
    opened: Option<At>,
}

impl Default for Sender {
    fn default() -> Self {
        Self {
            connection: DEFAULT.into(),
            initial: DEFAULT,
            streams: BTreeMap::new(),
            waiting: None,
            stalls: None,
            soonest: None,
        }
    }
}

impl Windows {
    /// Takes a frame that `direction`'s sender sent.
    pub(super) fn frame(&mut self, direction: Direction, frame: &Frame<'_>) {
        if self.is_lost {
            return;
        }
        match frame.kind {
            DATA => self.senders[direction.index()].data(frame),
            WINDOW_UPDATE => self.senders[direction.reverse().index()].opened(frame),
            SETTINGS if frame.flags & ACK == 0 => {
                self.senders[direction.reverse().index()].settings(frame.body);
            }
            RST_STREAM => self
                .senders
                .iter_mut()
                .for_each(|sender| sender.close(frame.stream)),
            _ => {}
        }
    }

    /// Frames passed unseen: what is left of the windows is not known any more.
    pub(super) fn lose(&mut self) {
        self.is_lost = true;
    }

    /// What waited, by sender.
    pub(super) fn finish(self) -> [Option<Box<HttpWindowStalls>>; 2] {
        self.senders.map(|sender| sender.stalls)
    }
}

impl Sender {
    fn data(&mut self, frame: &Frame<'_>) {
        self.note_resumed(frame);
        let octets = i64::try_from(frame.len).unwrap_or(i64::MAX);
        self.connection = self.connection.saturating_sub(octets);
        let is_known = self.streams.contains_key(&frame.stream);
        let mut left = None;
        if is_known || self.streams.len() < STREAMS_MAX {
            let window = self
                .streams
                .entry(frame.stream)
                .or_insert(self.initial.into());
            *window = window.saturating_sub(octets);
            left = Some(*window);
        }
        if frame.flags & END_STREAM != 0 {
            self.close(frame.stream);
            return;
        }
        let stream = match left {
            _ if self.connection <= 0 => 0,
            Some(..=0) => frame.stream,
            _ => return,
        };
        self.waiting.get_or_insert(Waiting {
            stream,
            filled: frame.end,
            opened: None,
        });
    }

    /// DATA goes on: it had been waiting when it does so as soon as the window opens.
    fn note_resumed(&mut self, frame: &Frame<'_>) {
        let is_of =
            |waiting: &Waiting| matches!(waiting.stream, 0) || waiting.stream == frame.stream;
        let Some(waiting) = self.waiting.filter(is_of) else {
            return;
        };
        self.waiting = None;
        let Some(opened) = waiting.opened else {
            return;
        };
        let stall = HttpWindowStall {
            filled: waiting.filled,
            opened,
            resumed: frame.start,
            stream: waiting.stream,
            window: if waiting.stream == 0 {
                DEFAULT
            } else {
                self.initial
            },
        };
        let resumed_after = frame.start.time.since(opened.time);
        let soonest = self.soonest;
        self.soonest = Some(soonest.map_or(resumed_after, |known| known.min(resumed_after)));
        let closed_for = opened.time.since(waiting.filled.time);
        let as_before = soonest.is_some_and(|known| resumed_after <= known * 3 / 2);
        if !as_before && resumed_after > AT_ONCE.max(closed_for / 4) {
            return;
        }
        let stalls = self.stalls.get_or_insert_with(|| {
            Box::new(HttpWindowStalls {
                count: 0,
                total: Duration::ZERO,
                longest: stall,
            })
        });
        stalls.count += 1;
        stalls.total += stall.length();
        if stall.length() > stalls.longest.length() {
            stalls.longest = stall;
        }
    }

    fn opened(&mut self, frame: &Frame<'_>) {
        let Some(by) = number(frame.body, 0) else {
            return;
        };
        // The first bit is reserved (RFC 9113 §6.9).
        let by = i64::from(by & 0x7fff_ffff);
        if frame.stream == 0 {
            self.connection = self.connection.saturating_add(by);
        } else if self.streams.len() < STREAMS_MAX || self.streams.contains_key(&frame.stream) {
            let window = self
                .streams
                .entry(frame.stream)
                .or_insert(self.initial.into());
            *window = window.saturating_add(by);
        }
        self.note_opened(frame);
    }

    fn settings(&mut self, body: &[u8]) {
        for setting in body.as_chunks::<6>().0 {
            let [high, low, value @ ..] = setting;
            if u16::from_be_bytes([*high, *low]) == INITIAL_WINDOW_SIZE {
                let size = u32::from_be_bytes(*value);
                let change = i64::from(size) - i64::from(self.initial);
                self.initial = size;
                for window in self.streams.values_mut() {
                    *window = window.saturating_add(change);
                }
            }
        }
    }

    fn note_opened(&mut self, frame: &Frame<'_>) {
        let (connection, streams) = (self.connection, &self.streams);
        if let Some(waiting) = &mut self.waiting {
            let left = match waiting.stream {
                0 => connection,
                stream => streams.get(&stream).copied().unwrap_or(1),
            };
            if left > 0 && waiting.opened.is_none() {
                waiting.opened = Some(frame.end);
            }
        }
    }

    fn close(&mut self, stream: u32) {
        self.streams.remove(&stream);
        if self.waiting.is_some_and(|waiting| waiting.stream == stream) {
            self.waiting = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    const UP: Direction = Direction::ClientToServer;
    const DOWN: Direction = Direction::ServerToClient;

    fn frame<'a>(ms: i64, kind: u8, stream: u32, len: usize, body: &'a [u8]) -> Frame<'a> {
        let at = At {
            frame: ms as u64,
            time: Timestamp::from_nanos(ms * 1_000_000),
        };
        Frame {
            kind,
            flags: 0,
            stream,
            len,
            body,
            whole: true,
            start: at,
            end: at,
        }
    }

    #[test]
    fn data_that_waited_goes_on_at_once() {
        let mut windows = Windows::default();
        windows.frame(UP, &frame(0, SETTINGS, 0, 6, &[0, 4, 0, 0, 3, 0xe8]));
        windows.frame(DOWN, &frame(10, DATA, 1, 1000, &[]));
        windows.frame(UP, &frame(510, WINDOW_UPDATE, 1, 4, &[0, 0, 3, 0xe8]));
        windows.frame(DOWN, &frame(512, DATA, 1, 1000, &[]));
        windows.frame(UP, &frame(600, WINDOW_UPDATE, 1, 4, &[0, 0, 3, 0xe8]));
        // This one had nothing to send.
        windows.frame(DOWN, &frame(900, DATA, 1, 10, &[]));
        let [up, down] = windows.finish();
        let stalls = down.unwrap();
        assert!(up.is_none());
        assert_eq!((stalls.count, stalls.total.as_millis()), (1, 502));
        assert_eq!((stalls.longest.stream, stalls.longest.window), (1, 1000));
    }

    #[test]
    fn the_connection_has_a_window_of_its_own() {
        let mut windows = Windows::default();
        windows.frame(UP, &frame(0, SETTINGS, 0, 6, &[0, 4, 0, 0xff, 0xff, 0xff]));
        windows.frame(DOWN, &frame(1, DATA, 1, 65_535, &[]));
        windows.frame(UP, &frame(301, WINDOW_UPDATE, 0, 4, &[0, 1, 0, 0]));
        windows.frame(DOWN, &frame(302, DATA, 3, 100, &[]));
        let [_, down] = windows.finish();
        assert_eq!(down.unwrap().longest.stream, 0);
        let mut lost = Windows::default();
        lost.lose();
        lost.frame(DOWN, &frame(1, DATA, 1, 65_535, &[]));
        assert_eq!(lost.finish(), [None, None]);
    }
}

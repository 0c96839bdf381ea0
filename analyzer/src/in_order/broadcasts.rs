//! One broadcast frame again and again, faster than anybody sends: a loop of bridges, or a storm.
//!
//! Only frames are followed that their sender never makes twice, or not so soon: ARP, which asks for
//! an address once a second at most (RFC 1122 §2.3.2.1), and IPv4 with an identification, which is
//! another for each datagram. What field buses send to all stations again and again is neither.

use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use foldhash::fast::FixedState;

use serde::{Deserialize, Serialize};

use crate::capture::Frame;
use crate::event::At;

use super::neighbours::{ARP_FOR_IPV4, Mac, network_layer};

/// Frames followed at a time; copies of a frame that circles follow within milliseconds.
const SLOTS: usize = 1024;
/// Loops kept: the first ones.
const KEPT: usize = 256;
/// A longer pause ends a run of copies.
const PAUSE: Duration = Duration::from_millis(100);
/// Copies that make a loop; a capture at several points of a segment shows a frame a few times.
const PROOF: u64 = 20;
/// From copy to copy, on average, at most.
const INTERVAL: Duration = Duration::from_millis(20);

/// The address of all stations (IEEE 802).
const ALL_STATIONS: Mac = [0xff; 6];

/// What a broadcast frame holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BroadcastKind {
    /// A question for an address (RFC 826).
    ArpRequest,
    /// An answer that goes to all.
    ArpReply,
    /// A datagram of IPv4.
    Ip,
}

/// A broadcast frame whose very octets passed again and again at short intervals.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BroadcastLoop {
    /// What it holds.
    pub kind: BroadcastKind,
    /// The hardware address it names as its sender.
    pub mac: Mac,
    /// The sender's address.
    pub source: IpAddr,
    /// The address asked for, or that of the datagram.
    pub target: IpAddr,
    /// How often it passed.
    pub copies: u64,
    /// Where it passed first.
    pub first: At,
    /// Where it passed last.
    pub last: At,
}

impl BroadcastLoop {
    /// From the first copy to the last.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.last.time.since(self.first.time)
    }

    /// From copy to copy, on average.
    #[must_use]
    pub fn interval(&self) -> Duration {
        let gaps = u32::try_from(self.copies.saturating_sub(1)).unwrap_or(u32::MAX);
        self.length() / gaps.max(1)
    }
}

/// A frame for all stations.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Broadcast {
    /// The digest of its octets, and where it was captured.
    key: u64,
    kind: BroadcastKind,
    mac: Mac,
    source: Ipv4Addr,
    target: Ipv4Addr,
    at: At,
}

/// Whether the frame is for all stations.
#[inline]
pub(super) fn is_broadcast(bytes: &[u8]) -> bool {
    bytes.starts_with(&ALL_STATIONS)
}

impl Broadcast {
    /// The same with a later frame number.
    pub fn later_by(mut self, frames: u64) -> Self {
        self.at.frame += frames;
        self
    }

    /// Reads a frame that is for all stations; `None` for what is not followed, or is cut short.
    pub fn of(frame: &Frame, point: u32, bytes: &[u8]) -> Option<Self> {
        if frame.captured_len != frame.original_len {
            return None;
        }
        let mac = *bytes.get(6..)?.first_chunk()?;
        let (kind, source, target) = match network_layer(bytes)? {
            (0x0800, packet) => datagram(packet)?,
            (0x0806, packet) => arp(packet)?,
            _ => return None,
        };
        let digest = FixedState::default().hash_one((point, bytes));
        Some(Self {
            key: digest,
            kind,
            mac,
            source,
            target,
            at: At {
                frame: frame.number,
                time: frame.time,
            },
        })
    }
}

fn arp(packet: &[u8]) -> Option<(BroadcastKind, Ipv4Addr, Ipv4Addr)> {
    let kind = match packet.get(6..8)? {
        [0, 1] => BroadcastKind::ArpRequest,
        [0, 2] => BroadcastKind::ArpReply,
        _ => return None,
    };
    let (source, target) = (address(packet, 14)?, address(packet, 24)?);
    packet
        .starts_with(&ARP_FOR_IPV4)
        .then_some((kind, source, target))
}

fn datagram(packet: &[u8]) -> Option<(BroadcastKind, Ipv4Addr, Ipv4Addr)> {
    let is_marked = packet.get(4..6)? != [0, 0];
    let (source, target) = (address(packet, 12)?, address(packet, 16)?);
    is_marked.then_some((BroadcastKind::Ip, source, target))
}

fn address(packet: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = *packet.get(at..)?.first_chunk()?;
    Some(octets.into())
}

/// Copies of one frame without a pause.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: Broadcast,
    last: At,
    copies: u64,
}

/// The broadcast frames of a capture that circle.
#[derive(Debug, Default)]
pub(crate) struct Broadcasts {
    runs: Vec<Option<Run>>,
    found: Vec<BroadcastLoop>,
}

impl Broadcasts {
    /// Takes the broadcast frames of the next slab.
    pub fn take(&mut self, frames: &[Broadcast]) {
        if frames.is_empty() {
            return;
        }
        self.runs.resize(SLOTS, None);
        for one in frames {
            let slot = &mut self.runs[usize::from((one.key >> 54) as u16)];
            match slot {
                Some(run) if one.at.time.since(run.last.time) <= PAUSE => {
                    if run.first.key == one.key {
                        run.last = one.at;
                        run.copies += 1;
                        continue;
                    }
                    if run.copies > 1 {
                        continue;
                    }
                }
                _ => {}
            }
            let fresh = Run {
                first: *one,
                last: one.at,
                copies: 1,
            };
            let over = slot.replace(fresh);
            self.note(over);
        }
    }

    fn note(&mut self, run: Option<Run>) {
        let Some(run) = run.filter(|run| run.copies >= PROOF) else {
            return;
        };
        let first = run.first;
        let found = BroadcastLoop {
            kind: first.kind,
            mac: first.mac,
            source: first.source.into(),
            target: first.target.into(),
            copies: run.copies,
            first: first.at,
            last: run.last,
        };
        if found.interval() <= INTERVAL && self.found.len() < KEPT {
            self.found.push(found);
        }
    }

    /// All loops, by frame.
    pub fn finish(mut self) -> Vec<BroadcastLoop> {
        for run in std::mem::take(&mut self.runs) {
            self.note(run);
        }
        self.found.sort_by_key(|one| one.first.frame);
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    /// Who has 10.0.0.5, tell 10.0.0.3.
    fn request() -> Vec<u8> {
        let mut bytes = vec![0xff; 6];
        bytes.extend([2, 0, 0, 0, 0, 3, 8, 6]);
        bytes.extend(ARP_FOR_IPV4);
        bytes.extend([0, 1, 2, 0, 0, 0, 0, 3, 10, 0, 0, 3]);
        bytes.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 5]);
        bytes
    }

    /// A datagram for 10.0.0.255 with an identification.
    fn to_all(id: u8) -> Vec<u8> {
        let mut bytes = vec![0xff; 6];
        bytes.extend([2, 0, 0, 0, 0, 3, 8, 0]);
        bytes.extend([0x45, 0, 0, 28, 0, id, 0, 0, 64, 17, 0, 0]);
        bytes.extend([10, 0, 0, 3, 10, 0, 0, 255, 0, 67, 0, 68, 0, 8, 0, 0]);
        bytes
    }

    /// Every frame so many milliseconds after the one before, in slabs of seven.
    fn loops(frames: &[Vec<u8>], gap_ms: i64) -> Vec<BroadcastLoop> {
        let read = |(bytes, number): (&Vec<u8>, u32)| {
            let len = u32::try_from(bytes.len()).unwrap();
            let frame = Frame {
                number: u64::from(number),
                time: Timestamp::from_nanos(i64::from(number) * gap_ms * 1_000_000),
                start: 0,
                captured_len: len,
                original_len: len,
                interface: 0,
            };
            Broadcast::of(&frame, 0, bytes)
        };
        let all: Vec<Broadcast> = frames.iter().zip(1..).filter_map(read).collect();
        let mut broadcasts = Broadcasts::default();
        for slab in all.chunks(7) {
            broadcasts.take(slab);
        }
        broadcasts.finish()
    }

    #[test]
    fn one_request_that_circles_is_found() {
        let found = loops(&vec![request(); 200], 15);
        assert_eq!(found.len(), 1);
        let one = found[0];
        assert_eq!((one.kind, one.copies), (BroadcastKind::ArpRequest, 200));
        assert_eq!((one.first.frame, one.last.frame), (1, 200));
        assert_eq!(one.interval(), Duration::from_millis(15));
        assert_eq!(one.source, IpAddr::from([10, 0, 0, 3]));
        assert_eq!(one.target, IpAddr::from([10, 0, 0, 5]));
    }

    #[test]
    fn datagrams_that_circle_side_by_side_are_told_apart() {
        let both: Vec<_> = (0..100).map(|n| to_all(1 + n % 2)).collect();
        let found = loops(&both, 1);
        let copies: Vec<u64> = found.iter().map(|one| one.copies).collect();
        assert_eq!(copies, [50, 50]);
    }

    #[test]
    fn probing_copies_of_the_capture_and_new_datagrams_are_none() {
        // Again every second, every frame captured three times, a datagram without identification, or
        // each with its own.
        assert!(loops(&vec![request(); 100], 1000).is_empty());
        assert!(loops(&vec![request(); 3], 0).is_empty());
        assert!(loops(&vec![request(); 100], 40).is_empty(), "25 a second");
        assert!(loops(&vec![to_all(0); 100], 1).is_empty());
        let own: Vec<_> = (1..=200).map(to_all).collect();
        assert!(loops(&own, 1).is_empty());
    }

    #[test]
    fn frames_that_end_early_are_no_broadcasts() {
        for frame in [request(), to_all(1)] {
            for len in 0..frame.len() {
                loops(&[frame[..len].to_vec()], 1);
            }
        }
    }
}

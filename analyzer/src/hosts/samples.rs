//! Some packets of a host, so chosen that neighbours stay neighbours.
//!
//! Whether a host counts its IP identifications per connection or for all of them shows only in
//! packets of several connections that follow each other closely. So whole windows of frames are
//! sampled: the first two and every fourth. Where there are too many samples every second window is
//! given up, then three quarters of them, and so on. Which ones that are depends on frame numbers
//! alone: shards that saw parts of the host's packets choose the same.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Frames of a window, as a power of two: 16.
const WINDOW: u32 = 4;

/// Samples kept of a host.
const KEPT: usize = 64;

/// A packet that a host sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub frame: u64,
    pub time: Timestamp,
    /// TSval, when there is one.
    pub ts_val: Option<u32>,
    /// IPv4 identification.
    pub ip_id: Option<u16>,
    /// Tells the flow from others.
    pub flow: u16,
    /// Tells the address it went to from others.
    pub peer: u16,
    /// Linux sends such packets from no socket: a SYN-ACK or a RST.
    pub is_socketless: bool,
}

/// The number of the window that a frame lies in.
pub(crate) const fn window(frame: u64) -> u64 {
    frame >> WINDOW
}

/// Windows that are always kept, at the beginning of a capture.
const FIRST: u64 = 2;

/// Their level, above that of all others.
const TOP: u8 = 64;

/// The level of every fourth window.
const LEAST: u8 = 2;

/// How long a frame's window is kept: one more for every thinning that it survives.
const fn level(frame: u64) -> u8 {
    let window = window(frame);
    if window < FIRST {
        TOP
    } else {
        window.trailing_zeros() as u8
    }
}

/// Which frames of a host are sampled.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Sampling {
    /// The bits that the number of a later window must not have.
    mask: u64,
}

impl Sampling {
    /// Frames of this level and above.
    const fn from(level: u8) -> Self {
        Self {
            mask: match 1_u64.checked_shl(level as u32) {
                Some(bit) => bit - 1,
                None => u64::MAX,
            },
        }
    }

    /// Whether a frame is sampled.
    #[inline]
    pub const fn takes(self, frame: u64) -> bool {
        let window = window(frame);
        window & self.mask == 0 || window < FIRST
    }
}

/// A host's samples.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Samples {
    list: Vec<Sample>,
    /// Levels of windows that are given up, beyond those that never are sampled.
    given_up: u8,
}

impl Samples {
    /// The level that a frame must have to be sampled.
    const fn level(&self) -> u8 {
        LEAST + self.given_up
    }

    /// Which frames are sampled.
    pub const fn sampling(&self) -> Sampling {
        Sampling::from(self.level())
    }

    pub fn push(&mut self, sample: Sample) {
        if level(sample.frame) < self.level() {
            return;
        }
        self.list.push(sample);
        while self.list.len() > KEPT {
            self.thin();
        }
    }

    fn thin(&mut self) {
        if self.level() >= TOP {
            // The first windows hold more than is kept: frames with several packets.
            self.list.sort_unstable();
            self.list.truncate(KEPT);
            return;
        }
        self.given_up += 1;
        let least = self.level();
        self.list.retain(|sample| level(sample.frame) >= least);
    }

    pub fn join(&mut self, other: &Self) {
        self.given_up = self.given_up.max(other.given_up);
        let least = self.level();
        self.list.retain(|sample| level(sample.frame) >= least);
        for sample in &other.list {
            self.push(*sample);
        }
    }

    /// In no order.
    pub fn iter(&self) -> impl Iterator<Item = &Sample> {
        self.list.iter()
    }

    /// In the order of frames.
    pub fn sorted(&self) -> Vec<Sample> {
        let mut list = self.list.clone();
        list.sort_unstable();
        list
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples(frames: impl IntoIterator<Item = u64>) -> Samples {
        let mut samples = Samples::default();
        for frame in frames {
            samples.push(Sample {
                frame,
                time: Timestamp::from_nanos(frame.cast_signed()),
                ts_val: None,
                ip_id: Some(1),
                flow: 0,
                peer: 0,
                is_socketless: false,
            });
        }
        samples
    }

    #[test]
    fn whole_windows_are_kept() {
        let kept = samples(32..100_000).sorted();
        assert!((32..=KEPT).contains(&kept.len()), "{}", kept.len());
        for of_window in kept.chunk_by(|one, other| window(one.frame) == window(other.frame)) {
            assert_eq!(of_window.len(), 16);
        }
    }

    proptest! {
        #[test]
        fn shards_choose_the_same_in_any_order(
            frames in proptest::collection::vec(1..5_000_u64, 0..400),
            shards in proptest::collection::vec(0..4_usize, 400),
        ) {
            let frames: std::collections::BTreeSet<u64> = frames.into_iter().collect();
            let of_shard = |shard: usize| {
                let own = frames.iter().zip(&shards).filter(|(_, of)| **of == shard);
                samples(own.map(|(frame, _)| *frame))
            };
            let mut forth = Samples::default();
            let mut back = Samples::default();
            for shard in 0..4 {
                forth.join(&of_shard(shard));
                back.join(&of_shard(3 - shard));
            }
            let whole = samples(frames.iter().copied()).sorted();
            prop_assert_eq!(&forth.sorted(), &whole);
            prop_assert_eq!(&back.sorted(), &whole);
        }
    }
}

//! Connections of which one SYN was seen: how many wait for one listener, and what becomes of more
//! than are kept.
//!
//! A flood fills the flow table with SYNs that nobody answers. Beyond [`WAITING`] at one time they
//! are summed when they come, and only a mark of each stays, by which its repeat or its answer is
//! told.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::addr::Endpoint;

/// SYNs that may wait for one listener in one shard; 131,072 in all.
const WAITING: u32 = 4_096;

/// Marks kept per shard; a later one may take another's place.
const MARKS: usize = 1 << 14;

/// What is done with a first SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Opening {
    /// It becomes a flow.
    Kept,
    /// It is counted and no more.
    Summed,
    /// The same was summed before.
    Repeated,
}

/// The SYNs of one shard that wait.
#[derive(Debug, Default)]
pub(crate) struct HalfOpen {
    waiting: HashMap<Endpoint, u32, FixedState>,
    /// A listener for which no more may wait, until one leaves.
    full: Option<Endpoint>,
    marks: Vec<u32>,
}

impl HalfOpen {
    /// Takes a first SYN to `server`; `hash` tells its flow and its sequence number.
    pub fn take(&mut self, server: Endpoint, hash: u64) -> Opening {
        if self.full != Some(server) {
            let waiting = self.waiting.entry(server).or_default();
            if *waiting < WAITING {
                *waiting += 1;
                return Opening::Kept;
            }
            self.full = Some(server);
        }
        if self.marks.is_empty() {
            self.marks.resize(MARKS, 0);
        }
        let (place, mark) = place_and_mark(hash);
        if std::mem::replace(&mut self.marks[place], mark) == mark {
            Opening::Repeated
        } else {
            Opening::Summed
        }
    }

    /// One that was kept waits no longer.
    pub fn leave(&mut self, server: Endpoint) {
        if let Some(waiting) = self.waiting.get_mut(&server) {
            self.full = None;
            *waiting -= 1;
            if *waiting == 0 {
                self.waiting.remove(&server);
            }
        }
    }

    /// Whether a SYN was summed; its mark is taken away. `hash`: as in [`Self::take`].
    pub fn was_summed(&mut self, hash: u64) -> bool {
        let (place, mark) = place_and_mark(hash);
        match self.marks.get_mut(place) {
            Some(known) if *known == mark => {
                *known = 0;
                true
            }
            _ => false,
        }
    }
}

/// The lower half of the hash, which is never 0, and a place from bits that no shard shares.
#[expect(clippy::cast_possible_truncation, reason = "half of it is wanted")]
const fn place_and_mark(hash: u64) -> (usize, u32) {
    ((hash >> 32) as usize % MARKS, hash as u32 | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_may_wait_are_summed_once() {
        let server = Endpoint::new(std::net::Ipv4Addr::LOCALHOST.into(), 80);
        let other = Endpoint::new(std::net::Ipv4Addr::LOCALHOST.into(), 81);
        let hash = |number: u32| u64::from(number) << 34 | u64::from(number) << 1;
        let mut half_open = HalfOpen::default();
        for number in 0..WAITING {
            assert_eq!(half_open.take(server, hash(number)), Opening::Kept);
        }
        assert_eq!(half_open.take(server, hash(WAITING)), Opening::Summed);
        assert_eq!(half_open.take(server, hash(WAITING)), Opening::Repeated);
        assert_eq!(
            half_open.take(other, hash(9)),
            Opening::Kept,
            "another listener"
        );
        assert!(half_open.was_summed(hash(WAITING)));
        assert!(!half_open.was_summed(hash(WAITING)), "answered once");
        assert!(!half_open.was_summed(hash(3)), "kept");
        half_open.leave(server);
        assert_eq!(half_open.take(server, hash(WAITING + 1)), Opening::Kept);
    }
}

//! Which connections a file has packets of, and what of a file other files have a part in.
//!
//! What a connection comes to follows from its own packets alone, so one whose packets all lie in one
//! file can be judged there. Two things cross files: a key that another file has as well, as long as
//! the silence between them is not longer than any flow's patience (then it is the same connection, or
//! its successor on the same ports), and single SYNs to a listener of which there are more in the set than
//! are judged one by one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use crate::addr::Endpoint;
use crate::decode::{Packet, PacketKind, TcpFlags};
use crate::flow::tally::LONE_SYNS;
use crate::flow::tcp::PATIENCE_S;
use crate::time::Timestamp;

use super::segment::{Arrival, Segmented};

/// Keys that a file tells of; one with more is not judged by itself.
const KEYS: usize = 1 << 22;

/// Listeners with single SYNs that a file tells of: those with most of them.
const LISTENERS: usize = 65_536;

/// The longest silence after which a packet still belongs to a connection.
const REACH: Duration = Duration::from_secs(PATIENCE_S as u64);

/// Which connections a file has packets of.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct FileKeys {
    /// Earliest and latest time of its packets.
    span: Option<(Timestamp, Timestamp)>,
    /// Half of each key's hash, ascending, as the step from the one before; `None` when there are too
    /// many.
    steps: Option<Vec<u32>>,
    /// Single SYNs that nothing followed, at most so many, by the listener.
    lone: Vec<(Endpoint, u64)>,
}

impl FileKeys {
    /// The halves, ascending.
    fn keys(&self) -> Option<impl Iterator<Item = u32>> {
        let steps = self.steps.as_ref()?.iter();
        Some(steps.scan(0_u32, |at, step| {
            *at = at.wrapping_add(*step);
            Some(*at)
        }))
    }

    /// Connections it has packets of, as far as they are told apart; `None` when there are too many.
    #[must_use]
    pub fn count(&self) -> Option<usize> {
        self.steps.as_ref().map(Vec::len)
    }

    /// Whether a flow may have lived from one file to the other.
    fn reaches(&self, other: &Self) -> bool {
        let (Some((first, last)), Some((other_first, other_last))) = (self.span, other.span) else {
            return false;
        };
        first.since(other_last).max(other_first.since(last)) <= REACH
    }
}

/// What a key showed so far of its opening.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    /// One SYN with this number.
    Syn(u32),
    /// That SYN again and nothing else.
    Again(u32),
    /// Something else.
    More,
}

/// Gathers the keys of a file.
#[derive(Debug, Default)]
pub struct KeyGatherer {
    span: Option<(Timestamp, Timestamp)>,
    seen: HashMap<u32, Seen, FixedState>,
    lone: HashMap<Endpoint, u64, FixedState>,
    are_too_many: bool,
}

impl KeyGatherer {
    /// Takes what the file hands on.
    pub fn take(&mut self, segmented: &Segmented<'_>) {
        if let Arrival::Remark { .. } = segmented.arrival {
            return;
        }
        let packet = segmented.arrival.packet();
        let (first, last) = self.span.unwrap_or((packet.time, packet.time));
        self.span = Some((first.min(packet.time), last.max(packet.time)));
        if self.are_too_many {
            return;
        }
        let syn = first_number(packet);
        let before = self.seen.get(&segmented.connection).copied();
        let now = match (syn, before) {
            (Some(syn), Some(Seen::Syn(known) | Seen::Again(known))) if syn == known => {
                Seen::Again(syn)
            }
            (Some(syn), _) => Seen::Syn(syn),
            (None, _) => Seen::More,
        };
        if before == Some(now) {
            return;
        }
        if let Some(Seen::Syn(_)) = before
            && syn.is_none_or(|_| matches!(now, Seen::Again(_)))
        {
            // It is not alone. From whom this packet came does not tell which end listens.
            for end in [packet.source(), packet.destination()] {
                if let Some(count) = self.lone.get_mut(&end) {
                    *count = count.saturating_sub(1);
                }
            }
        }
        if let Seen::Syn(_) = now {
            *self.lone.entry(packet.destination()).or_default() += 1;
        }
        self.seen.insert(segmented.connection, now);
        self.are_too_many = self.seen.len() > KEYS;
    }

    /// The file is over.
    #[must_use]
    pub fn finish(self) -> FileKeys {
        let mut keys: Vec<u32> = self.seen.into_keys().collect();
        keys.sort_unstable();
        let mut before = 0;
        for key in &mut keys {
            let step = *key - before;
            before = std::mem::replace(key, step);
        }
        let mut lone: Vec<_> = self
            .lone
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        lone.sort_unstable_by_key(|(listener, count)| (std::cmp::Reverse(*count), *listener));
        lone.truncate(LISTENERS);
        FileKeys {
            span: self.span,
            steps: (!self.are_too_many).then_some(keys),
            lone,
        }
    }
}

/// The sequence number of a packet that is a client's SYN.
fn first_number(packet: &Packet) -> Option<u32> {
    let PacketKind::Tcp(tcp) = &packet.kind else {
        return None;
    };
    (tcp.flags.syn() && tcp.flags.0 & TcpFlags::ACK == 0).then_some(tcp.seq.0)
}

/// What of a file other files have a part in.
#[derive(Debug)]
pub struct Border {
    own: FileKeys,
    keys: Vec<u32>,
    is_crossed: Vec<bool>,
    /// Nothing can be told apart.
    all: bool,
    /// Single SYNs in the whole set, by the listeners that this file has some of.
    lone: BTreeMap<Endpoint, u64>,
}

impl Border {
    /// That of a file of which no other is known yet.
    #[must_use]
    pub fn of(own: FileKeys) -> Self {
        let keys: Vec<u32> = own.keys().into_iter().flatten().collect();
        Self {
            is_crossed: vec![false; keys.len()],
            all: own.steps.is_none(),
            lone: own.lone.iter().copied().collect(),
            keys,
            own,
        }
    }

    /// Takes another file of the set into account.
    pub fn beside(&mut self, other: &FileKeys) {
        for (listener, count) in &other.lone {
            if let Some(sum) = self.lone.get_mut(listener) {
                *sum += count;
            }
        }
        if !self.own.reaches(other) {
            return;
        }
        let Some(theirs) = other.keys() else {
            self.all = true;
            return;
        };
        let mut at = 0;
        for their in theirs {
            while self.keys.get(at).is_some_and(|key| *key < their) {
                at += 1;
            }
            match self.keys.get(at) {
                None => break,
                Some(key) if *key == their => self.is_crossed[at] = true,
                Some(_) => {}
            }
        }
    }

    /// What of the file travels, now that all others are known.
    #[must_use]
    pub fn finish(self) -> Travelling {
        let crossed = self.keys.into_iter().zip(self.is_crossed);
        let judged = u64::from(LONE_SYNS);
        let flooded = self.lone.into_iter().filter(|(_, count)| *count > judged);
        Travelling {
            all: self.all,
            keys: crossed
                .filter(|(_, is_crossed)| *is_crossed)
                .map(|(key, _)| key)
                .collect(),
            listeners: flooded.map(|(listener, _)| listener).collect(),
        }
    }
}

/// Which packets of a file cannot be judged there.
#[derive(Debug)]
pub struct Travelling {
    all: bool,
    keys: HashSet<u32, FixedState>,
    /// Listeners of which more single SYNs came than are judged one by one.
    listeners: HashSet<Endpoint, FixedState>,
}

impl Travelling {
    /// Whether this one travels.
    pub(super) fn has(&self, segmented: &Segmented<'_>) -> bool {
        if self.all || self.keys.contains(&segmented.connection) {
            return true;
        }
        let packet = segmented.arrival.packet();
        !self.listeners.is_empty()
            && (self.listeners.contains(&packet.source())
                || self.listeners.contains(&packet.destination()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(seconds: (i64, i64), steps: &[u32]) -> FileKeys {
        let at = |second: i64| Timestamp::from_nanos(second * 1_000_000_000);
        FileKeys {
            span: Some((at(seconds.0), at(seconds.1))),
            steps: Some(steps.to_vec()),
            lone: Vec::new(),
        }
    }

    #[test]
    fn what_another_file_within_reach_has_travels() {
        let own = keys((1_000, 1_010), &[5, 5, 5]);
        let mut border = Border::of(own.clone());
        border.beside(&keys((1_011, 1_020), &[4, 6, 90]));
        border.beside(&keys((10_000, 10_001), &[15]));
        let mut crossed: Vec<_> = border.finish().keys.into_iter().collect();
        crossed.sort_unstable();
        assert_eq!(crossed, [10], "the second one is out of reach");
        let mut border = Border::of(own);
        let uncounted = FileKeys {
            steps: None,
            ..keys((900, 999), &[])
        };
        border.beside(&uncounted);
        assert!(border.finish().all);
    }

    #[test]
    fn listeners_with_many_single_syns_in_all_files_travel() {
        let listener = Endpoint::new(std::net::Ipv4Addr::LOCALHOST.into(), 80);
        let with = |count: u64| FileKeys {
            lone: vec![(listener, count)],
            ..FileKeys::default()
        };
        let travels = |counts: [u64; 2]| {
            let mut border = Border::of(with(counts[0]));
            border.beside(&with(counts[1]));
            border.finish().listeners.contains(&listener)
        };
        assert!(!travels([100, 28]));
        assert!(travels([100, 29]));
    }
}

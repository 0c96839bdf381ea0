//! What each address of a capture is, and what it did: known only when all of it was seen.
//!
//! Shards gather in a table (`table::HostTable`); when they are joined it becomes [`Hosts`], which rules
//! ask. Whatever is said of a time is said of slices of capture time (2,048 at most, a power of two
//! milliseconds each): `was_…` is true only when a slice that lies wholly in the span shows it,
//! and `may_have_been_…` when a slice that it touches does.

mod attempts;
mod clock;
mod distinct;
mod ends;
mod front;
mod ip_id;
mod kind;
pub(crate) mod moments;
mod profile;
mod record;
mod samples;
pub(crate) mod table;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::in_order::neighbours::Hardware;
use crate::quality::{QualityKind, QualityNote};
use crate::time::Timestamp;

use moments::Grid;
use record::PairRecord;
use table::HostTable;

pub use clock::TimestampClock;
pub use front::SharedFront;
pub use ip_id::IpIdBehaviour;
pub use kind::AddressKind;
pub use profile::{ClientRole, HostProfile, ServerRole};
pub use record::{HopLimits, SegmentKind};

/// Addresses kept, and pairs of them.
const KEPT: usize = 4_096;

/// All addresses of a capture, those seen most when there are more than 4,096.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Hosts {
    profiles: BTreeMap<IpAddr, HostProfile>,
    /// Packets from the first address to the second.
    pairs: BTreeMap<(IpAddr, IpAddr), PairRecord>,
    grid: Grid,
    dropped: u64,
    dropped_pairs: u64,
}

impl Hosts {
    /// What the shards gathered. `names`: the addresses of each name that DNS answered.
    /// `neighbours`: hardware addresses by IP address.
    pub(crate) fn of(
        table: HostTable,
        names: &BTreeMap<String, BTreeSet<IpAddr>>,
        mut neighbours: HashMap<IpAddr, Hardware>,
    ) -> Self {
        let gathered = table.finish();
        let [mut dropped, mut dropped_pairs] = gathered.dropped;
        let (mut hosts, mut pairs) = (gathered.hosts, gathered.pairs);
        hosts.sort_by_key(|(ip, record)| (std::cmp::Reverse(record.weight()), *ip));
        dropped += hosts.len().saturating_sub(KEPT) as u64;
        hosts.truncate(KEPT);
        pairs.sort_by_key(|(ends, record)| (std::cmp::Reverse(record.weight()), *ends));
        dropped_pairs += pairs.len().saturating_sub(2 * KEPT) as u64;
        pairs.truncate(2 * KEPT);
        let pairs: BTreeMap<_, _> = pairs.into_iter().collect();
        let mut ports = BTreeMap::<IpAddr, u64>::new();
        for ((client, _), pair) in &pairs {
            let most = ports.entry(*client).or_default();
            *most = (*most).max(pair.ports.count());
        }
        let named: HashSet<u32> = names.values().flatten().map(distinct::tag).collect();
        let mut fronts = front::find(&hosts);
        let profiles = hosts.into_iter().map(|(ip, record)| {
            let most_ports = ports.get(&ip).copied().unwrap_or(0);
            let mut profile = HostProfile::of(ip, record, gathered.grid, most_ports, &named);
            profile.shared_front = fronts.remove(&ip);
            profile.neighbours = neighbours.remove(&ip).unwrap_or_default();
            (ip, profile)
        });
        Self {
            profiles: profiles.collect(),
            pairs,
            grid: gathered.grid,
            dropped,
            dropped_pairs,
        }
    }

    /// The profile of an address; `None` when none of its packets was captured, or too many other
    /// addresses were seen more often ([`Self::dropped`]).
    #[must_use]
    pub fn get(&self, ip: IpAddr) -> Option<&HostProfile> {
        self.profiles.get(&ip)
    }

    /// All profiles, by address.
    pub fn iter(&self) -> impl Iterator<Item = &HostProfile> {
        self.profiles.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.profiles.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.profiles.is_empty()
    }

    /// How often an address was dropped for want of room. Above 0, an address without a profile
    /// may have been seen.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Caveats: addresses were dropped; the capture's clock is too slow or too fast.
    pub(crate) fn notes(&self) -> impl Iterator<Item = QualityNote> {
        self.dropped_note().into_iter().chain(self.pace_note())
    }

    fn pace_note(&self) -> Option<QualityNote> {
        let clocks = self.iter().filter_map(HostProfile::timestamp_clock);
        let pace = clock::pace(clocks)?;
        let (wrong, waits) = if pace > 1.0 {
            ("slow", "longer")
        } else {
            ("fast", "shorter")
        };
        let percent = (pace - 1.0).abs() * 100.0;
        Some(QualityNote {
            kind: QualityKind::ClockStep,
            count: 1,
            note: format!(
                "the capture's clock is too {wrong}: by the TCP timestamps of all hosts that count at a known rate, every duration was {percent:.0} % {waits} than stated"
            ),
        })
    }

    fn dropped_note(&self) -> Option<QualityNote> {
        (self.dropped > 0).then(|| QualityNote {
            kind: QualityKind::Summed,
            count: self.dropped,
            note: format!(
                "host profiles cover the {KEPT} addresses with the most packets; {} others have none",
                self.dropped
            ),
        })
    }

    /// How exactly times of activity are known: the length of a slice.
    #[must_use]
    pub const fn resolution(&self) -> Duration {
        Duration::from_nanos(self.grid.width_ns())
    }

    /// How its IPv4 identifications behave; `Unknown` for an address without a profile.
    #[must_use]
    pub fn ip_id(&self, ip: IpAddr) -> IpIdBehaviour {
        self.get(ip)
            .map_or(IpIdBehaviour::Unknown, HostProfile::ip_id)
    }

    /// Whether `from` surely sent something to `to` between two times.
    #[must_use]
    pub fn spoke_between(&self, from: IpAddr, to: IpAddr, a: Timestamp, b: Timestamp) -> bool {
        let pair = self.pairs.get(&(from, to));
        pair.is_some_and(|pair| pair.sent_at.surely_between(&self.grid, a, b))
    }

    /// Whether `from` may have sent something to `to` between two times; `true` when it is not
    /// known because pairs of addresses were dropped.
    #[must_use]
    pub fn may_have_spoken_between(
        &self,
        from: IpAddr,
        to: IpAddr,
        a: Timestamp,
        b: Timestamp,
    ) -> bool {
        self.pairs
            .get(&(from, to))
            .map_or(self.dropped_pairs > 0, |pair| {
                pair.sent_at.maybe_between(&self.grid, a, b)
            })
    }

    /// The smallest time between a packet of `from` to `to` and its acknowledgement, at the
    /// capture point.
    #[must_use]
    pub fn round_trip(&self, from: IpAddr, to: IpAddr) -> Option<Duration> {
        self.pairs.get(&(from, to))?.round_trip
    }

    /// Whether any host but `except` surely received something from anybody between two times:
    /// the capture went on.
    #[must_use]
    pub fn others_were_heard_between(&self, except: IpAddr, a: Timestamp, b: Timestamp) -> bool {
        let mut others = self
            .pairs
            .iter()
            .filter(|((from, to), _)| *from != except && *to != except);
        others.any(|(_, pair)| pair.sent_at.surely_between(&self.grid, a, b))
    }

    pub(crate) const fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Pairs of addresses, with what was gathered about packets from the first to the second.
    pub(crate) const fn pairs(&self) -> &BTreeMap<(IpAddr, IpAddr), PairRecord> {
        &self.pairs
    }
}

//! Cases that one connection alone does not decide: by what all connections prove about the points.

use std::collections::HashMap;

use super::judge::Judged;
use super::{Case, Fate, What};

/// The upstream and the downstream point of a direction.
pub(crate) type HopKey = (usize, usize);

/// One direction of one connection, as it is settled.
pub(crate) struct Open<'a> {
    pub key: HopKey,
    /// Capture time of the downstream point by the clock of the cases, and of the upstream point.
    pub down_window: (i64, i64),
    pub up_window: (i64, i64),
    pub judged: &'a mut Judged,
}

/// What all connections together prove.
#[derive(Default)]
struct Proof {
    /// Segments that a point missed for certain, and saw.
    missed: HashMap<usize, u64>,
    seen: HashMap<usize, u64>,
    /// Segments lost and delivered, by direction.
    lost: HashMap<HopKey, u64>,
    delivered: HashMap<HopKey, u64>,
    /// Times of the first and the last packet that must have passed the upstream point unseen.
    unseen: HashMap<HopKey, (i64, i64)>,
}

/// Decides what was left open.
pub(crate) fn settle(open: &mut [Open<'_>]) {
    let mut proof = Proof::default();
    for direction in open.iter() {
        proof.add(direction);
    }
    for direction in open {
        let (key, window) = (direction.key, direction.down_window);
        let up_window = direction.up_window;
        for case in &mut direction.judged.cases {
            case.fate = match case.fate {
                Fate::Lost | Fate::LostOrMissed if proof.was_off(key, window, case.time) => {
                    Fate::MissedDown
                }
                Fate::LostOrMissed => proof.lost_or_missed(key),
                Fate::MadeOrMissed | Fate::Made
                    if case.what != What::Icmp && proof.was_off_up(key, up_window, case.time) =>
                {
                    Fate::MissedUp
                }
                Fate::MadeOrMissed => proof.made_or_missed(key, case),
                decided => decided,
            };
        }
    }
}

impl Proof {
    fn add(&mut self, direction: &Open<'_>) {
        let (up, down) = direction.key;
        let judged = &direction.judged;
        *self.delivered.entry(direction.key).or_default() += judged.delivered;
        *self.seen.entry(up).or_default() += judged.seen[0];
        *self.seen.entry(down).or_default() += judged.seen[1];
        for case in &judged.cases {
            match case.fate {
                Fate::Lost => *self.lost.entry(direction.key).or_default() += case.units,
                Fate::MissedDown => *self.missed.entry(down).or_default() += case.units,
                Fate::MissedUp => {
                    *self.missed.entry(up).or_default() += case.units;
                    let span = self.unseen.entry(direction.key).or_insert((case.time, case.time));
                    *span = (span.0.min(case.time), span.1.max(case.time));
                }
                _ => {}
            }
        }
    }

    /// Whether the downstream point did not capture yet, or no more: packets that came from there
    /// at that time passed it unseen.
    fn was_off(&self, (up, down): HopKey, window: (i64, i64), time: i64) -> bool {
        self.is_uncovered((down, up), window, time)
    }

    /// The same of the upstream point.
    fn was_off_up(&self, key: HopKey, window: (i64, i64), time: i64) -> bool {
        self.is_uncovered(key, window, time)
    }

    fn is_uncovered(&self, key: HopKey, window: (i64, i64), time: i64) -> bool {
        let Some(unseen) = self.unseen.get(&key) else {
            return false;
        };
        (time < window.0 && unseen.0 < window.0) || (time > window.1 && unseen.1 > window.1)
    }

    fn lost_or_missed(&self, key: HopKey) -> Fate {
        let of = |counts: &HashMap<usize, u64>| counts.get(&key.1).copied().unwrap_or(0);
        let (missed, seen) = (of(&self.missed), of(&self.seen));
        let of = |counts: &HashMap<HopKey, u64>| counts.get(&key).copied().unwrap_or(0);
        let (lost, delivered) = (of(&self.lost), of(&self.delivered));
        let share = |part: u64, rest: u64| part as f64 / (part + rest).max(1) as f64;
        if share(missed, seen) > share(lost, delivered) {
            Fate::MissedDown
        } else {
            Fate::Lost
        }
    }

    fn made_or_missed(&self, key: HopKey, case: &Case) -> Fate {
        let missed = self.missed.get(&key.0).copied().unwrap_or(0);
        if missed == 0 && case.what == What::Reset {
            Fate::Made
        } else {
            Fate::MissedUp
        }
    }
}

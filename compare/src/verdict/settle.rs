//! Cases that one connection alone does not decide: by what all connections prove about the points.

use std::collections::HashMap;

use super::dropouts::Dropouts;
use super::judge::Judged;
use super::{Case, Fate, What};

/// With this chance of the contrary what became of a packet counts as known.
const DOUBT: f64 = 0.01;

/// The upstream and the downstream point of a direction.
pub(crate) type HopKey = (usize, usize);

/// One direction of one connection, as it is settled.
pub(crate) struct Open<'a> {
    pub key: HopKey,
    /// Capture time of the downstream point by the clock of the cases, and of the upstream point.
    pub down_window: (i64, i64),
    pub up_window: (i64, i64),
    /// The largest delay from the upstream to the downstream point.
    pub reach: i64,
    /// Whether points lie behind the downstream one.
    pub has_beyond: bool,
    pub judged: &'a mut Judged,
}

/// What all connections together prove.
#[derive(Default)]
struct Proof {
    /// Of what came from a point's side: packets that it saw and that it must have missed.
    seen: HashMap<usize, u64>,
    missed: HashMap<usize, u64>,
    /// Segments that were delivered, and those whose fate is open, by direction
    /// and, where that matters, whether they bear octets.
    delivered: HashMap<HopKey, u64>,
    open: HashMap<(HopKey, bool), u64>,
    delivered_bare: HashMap<HopKey, u64>,
    /// Segments lost for certain, by direction and whether they bear octets.
    lost: HashMap<(HopKey, bool), u64>,
    /// Copies that the network made for certain, by direction.
    copies: HashMap<HopKey, u64>,
    /// Times of the first and the last packet that only one of the two points saw, by direction.
    alone: HashMap<HopKey, (i64, i64)>,
    /// When the last packet left that came through, by direction.
    last_delivered: HashMap<HopKey, i64>,
    /// Packets that a point recorded twice: of which one copy came through, and of which both did.
    twice: HashMap<usize, [u64; 2]>,
    /// Segments that passed the downstream point unseen for certain, by direction.
    unseen: HashMap<(HopKey, bool), u64>,
    /// When points missed packets, by the point and its neighbour.
    dropouts: Dropouts,
}

/// Decides what was left open.
pub(crate) fn settle(open: &mut [Open<'_>]) {
    let mut proof = Proof::default();
    for direction in open.iter() {
        proof.add(direction);
    }
    proof.dropouts.learn();
    for direction in open {
        let key = direction.key;
        let (down, up) = (direction.down_window, direction.up_window);
        let is_unseen = proof.is_unseen(direction);
        let last = proof.last_delivered.get(&key).copied();
        let mut due = 0.5;
        for case in &mut direction.judged.cases {
            // What was under way when the capture ended is not seen either.
            let arrives = match last {
                Some(last) if case.time > last => case.time.saturating_add(direction.reach),
                _ => case.time,
            };
            case.fate = match case.fate {
                Fate::LostOrTwice if proof.records_twice(key.0) => Fate::Twice,
                Fate::Duplicated if proof.records_twice(key.1) => Fate::Twice,
                Fate::Duplicated
                    if proof.was_off(key, up, (case.time, case.time - direction.reach)) =>
                {
                    Fate::MissedUp
                }
                Fate::LostOrTwice => Fate::Lost,
                Fate::DuplicatedOrMissed => proof.duplicated_or_missed(key),
                Fate::Lost | Fate::LostOrMissed
                    if is_unseen || proof.was_off(key, down, (case.time, arrives)) =>
                {
                    Fate::MissedDown
                }
                Fate::LostOrMissed => {
                    let fate = proof.lost_or_missed(key, case, direction.has_beyond, &mut due);
                    // What a point missed and no other saw behind it is lost there.
                    case.is_gone = direction.has_beyond && fate == Fate::MissedDown;
                    fate
                }
                Fate::MadeOrMissed | Fate::Made
                    if case.what != What::Icmp
                        && proof.was_off(key, up, (case.time, case.time)) =>
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
        let (up, _) = direction.key;
        let judged = &direction.judged;
        *self.delivered.entry(direction.key).or_default() += judged.delivered;
        *self.delivered_bare.entry(direction.key).or_default() += judged.delivered_bare;
        if let Some(time) = judged.last_delivered {
            let last = self.last_delivered.entry(direction.key).or_insert(time);
            *last = time.max(*last);
        }
        let twice = self.twice.entry(up).or_default();
        for (sum, count) in twice.iter_mut().zip(judged.twins) {
            *sum += count;
        }
        let (key, mut missed) = (direction.key, 0);
        self.dropouts.add_seen(key, &judged.passed[0]);
        self.dropouts.add_seen((key.1, key.0), &judged.passed[1]);
        for case in &judged.cases {
            // What a capture does not cover tells nothing of how many it misses.
            let covers = |window: (i64, i64)| (window.0..=window.1).contains(&case.elsewhere);
            let (covered_up, covered_down) =
                (covers(direction.up_window), covers(direction.down_window));
            match case.fate {
                Fate::LostOrMissed => {
                    *self.open.entry(kind(direction.key, case)).or_default() += case.units;
                }
                Fate::MissedUp if covered_up => {
                    missed += case.units;
                    self.dropouts.add_missed(key, case.elsewhere);
                }
                Fate::MadeOrMissed if case.what != What::Reset && covered_up => {
                    missed += case.units;
                    self.dropouts.add_missed(key, case.elsewhere);
                }
                Fate::MissedDown if covered_down => {
                    self.dropouts.add_missed((key.1, key.0), case.elsewhere);
                    *self.unseen.entry(kind(direction.key, case)).or_default() += case.units;
                }
                Fate::Lost => {
                    *self.lost.entry(kind(direction.key, case)).or_default() += case.units;
                }
                Fate::Duplicated => {
                    *self.copies.entry(direction.key).or_default() += case.units;
                    continue;
                }
                Fate::LostOrTwice | Fate::DuplicatedOrMissed | Fate::Reordered => continue,
                _ => {}
            }
            let span = self
                .alone
                .entry(direction.key)
                .or_insert((case.time, case.time));
            *span = (span.0.min(case.time), span.1.max(case.time));
        }
        // A direction that a point did not capture at all tells nothing of its drops.
        if judged.seen[0] > 0 {
            *self.seen.entry(up).or_default() += judged.delivered;
            *self.missed.entry(up).or_default() += missed;
        }
    }

    /// Whether a point did not capture yet, or no more, at that time: from there on nothing is seen of
    /// either direction at both points. A packet that is before the window counts by its first time, one
    /// behind it by its second.
    fn was_off(&self, (up, down): HopKey, window: (i64, i64), (time, arrives): (i64, i64)) -> bool {
        let alone = |key: HopKey| self.alone.get(&key).copied();
        let (Some(one), Some(other)) = (alone((up, down)), alone((down, up))) else {
            return false;
        };
        (time < window.0 && one.0 < window.0 && other.0 < window.0)
            || (arrives > window.1 && one.1 > window.1 && other.1 > window.1)
    }

    /// Whether the downstream point does not capture this direction at all, or nothing of this
    /// connection, although some of it passed for certain.
    fn is_unseen(&self, direction: &Open<'_>) -> bool {
        let of =
            |counts: &HashMap<HopKey, u64>, key: HopKey| counts.get(&key).copied().unwrap_or(0);
        let key = direction.key;
        let nowhere = of(&self.delivered, key) == 0
            && [true, false]
                .iter()
                .any(|bears| self.unseen.contains_key(&(key, *bears)))
            && of(&self.delivered, (key.1, key.0)) > 0;
        let judged = &direction.judged;
        let cases = || judged.cases.iter();
        nowhere
            || (judged.delivered == 0
                && judged.seen[1] == 0
                && cases().any(|case| case.fate == Fate::MissedDown))
    }

    /// Whether a capture records packets twice: most of its double records are of packets that came
    /// through once.
    fn records_twice(&self, point: usize) -> bool {
        let counts = self.twice.get(&point).copied().unwrap_or_default();
        counts[0] > counts[1]
    }

    /// How likely a packet of a kind that only the upstream point saw was missed by the downstream one.
    ///
    /// That point misses as many of what nothing proves as of what leaves on its own side and of octets that
    /// come, where the other point and acknowledgements show it. What of the absent ones is beyond that, or is
    /// as frequent as what was lost for certain, is lost.
    fn share_missed(&self, kind: (HopKey, bool)) -> Share {
        let (key, bears) = kind;
        let of = |counts: &HashMap<(HopKey, bool), u64>| counts.get(&kind).copied().unwrap_or(0);
        let (lost, unseen) = (of(&self.lost) as f64, of(&self.unseen) as f64);
        let gone = of(&self.open) as f64 + unseen;
        if bears && lost + unseen > 0.0 {
            let share = unseen / (lost + unseen);
            return Share::exactly(share);
        }
        let of = |counts: &HashMap<usize, u64>| counts.get(&key.1).copied().unwrap_or(0) as f64;
        let (missed, seen) = (of(&self.missed), of(&self.seen));
        let of = |counts: &HashMap<HopKey, u64>| counts.get(&key).copied().unwrap_or(0) as f64;
        let (all, bare) = (of(&self.delivered), of(&self.delivered_bare));
        let data = |counts: &HashMap<(HopKey, bool), u64>| {
            counts.get(&(key, true)).copied().unwrap_or(0) as f64
        };
        let delivered = if bears { all - bare } else { bare };
        let missed = missed + data(&self.unseen);
        let expected = missed / (seen + all - bare).max(1.0) * delivered;
        if expected <= 0.0 {
            return Share::exactly(0.0);
        }
        // A few more than expected are chance, and more so where packets are missed in a row.
        let chance = (expected * self.dropouts.row((key.1, key.0))).sqrt();
        let reverse = ((key.1, key.0), true);
        let loses = [(key, true), (key, false), reverse]
            .iter()
            .any(|kind| self.lost.contains_key(kind));
        if !loses && gone <= expected + 3.0 * chance + 3.0 {
            // Had a tenth of these been lost, octets would have been as well, as a rule: where three are
            // expected, none is in one case of twenty.
            let octets = (all - bare) * gone / (delivered + gone) / 10.0;
            let is_proved = gone <= expected + chance && octets >= 3.0;
            return Share {
                least: if is_proved { 1.0 } else { 0.0 },
                ..Share::exactly(1.0)
            };
        }
        // Of the expected ones some are known. What was lost: by what is beyond them, by what is known, and
        // as octets are, of which half a packet more may have been.
        let (left, open) = ((expected - unseen).max(0.0), gone - unseen);
        let like_known = left * lost / unseen.max(1.0);
        let like_data =
            (data(&self.lost) + 0.5) / (all - bare + data(&self.lost) + 1.0) * delivered;
        let lost = (open - left).max(like_known).max(like_data);
        let share = |missed: f64, lost: f64| missed / (missed + lost.max(0.0));
        let most = (expected + 2.0 * chance + 1.0 - unseen).clamp(0.0, open);
        let most = share(most, open - most);
        Share {
            least: share(left, lost).min(most),
            likeliest: share(left, lost).min(most),
            // Chance aside, all that passed a point unseen is seen behind it unless it was lost there.
            before_others: share((left - chance).max(0.0), lost),
            most,
        }
    }

    /// Decides by what is likely: for certain where hardly anything speaks against it. Of others as many of a
    /// direction are missed as is likely, spread evenly: `due` is what of the next one is missed by that.
    fn lost_or_missed(&self, key: HopKey, case: &Case, has_beyond: bool, due: &mut f64) -> Fate {
        let back = (key.1, key.0);
        let is_beside = self.dropouts.is_beside(back, case.elsewhere);
        let likelihood = self.dropouts.likelihood(back, is_beside);
        let share = self.share_missed((key, case.what == What::Data));
        if has_beyond {
            return if share.before_others < 0.5 {
                Fate::Lost
            } else {
                Fate::MissedDown
            };
        }
        let [least, likeliest, most] = [share.least, share.likeliest, share.most]
            .map(|share| share * likelihood / (share * likelihood + 1.0 - share));
        if most < DOUBT {
            Fate::Lost
        } else if least >= 1.0 - DOUBT {
            Fate::MissedDown
        } else {
            *due += likeliest;
            if *due < 1.0 {
                return Fate::LikelyLost;
            }
            *due -= 1.0;
            Fate::LikelyMissed
        }
    }

    /// By what of both is more frequent among the packets that can be told apart.
    fn duplicated_or_missed(&self, key: HopKey) -> Fate {
        let of = |counts: &HashMap<usize, u64>| counts.get(&key.0).copied().unwrap_or(0);
        let of_hop = |counts: &HashMap<HopKey, u64>| counts.get(&key).copied().unwrap_or(0);
        let (missed, seen) = (of(&self.missed), of(&self.seen));
        let (copies, delivered) = (of_hop(&self.copies), of_hop(&self.delivered));
        if missed.saturating_mul(delivered) > copies.saturating_mul(seen) {
            Fate::MissedUp
        } else {
            Fate::Duplicated
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

/// Which part of some packets was missed and not lost.
#[derive(Clone, Copy, Debug)]
struct Share {
    least: f64,
    likeliest: f64,
    most: f64,
    /// The likeliest where points lie behind the one that missed it.
    before_others: f64,
}

impl Share {
    const fn exactly(share: f64) -> Self {
        Self {
            least: share,
            likeliest: share,
            most: share,
            before_others: share,
        }
    }
}

/// Direction, and whether a packet bears octets of the stream.
fn kind(key: HopKey, case: &Case) -> (HopKey, bool) {
    (key, case.what == What::Data)
}

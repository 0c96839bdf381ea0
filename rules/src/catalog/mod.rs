//! All rules, in order of their ids. One file each.

use crate::rule::Rule;

mod keepalive_race;

/// Every rule there is, by id.
pub(crate) const ALL: &[&dyn Rule] = &[&keepalive_race::KeepaliveRace];

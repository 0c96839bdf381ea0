//! All rules, in order of their ids. One file each.

use crate::rule::Rule;

mod keepalive_race;
mod linger_zero_reset;
mod retransmit_hol;
mod udp_truncation;

/// Every rule there is, by id.
pub(crate) const ALL: &[&dyn Rule] = &[
    &keepalive_race::KeepaliveRace,
    &linger_zero_reset::LingerZeroReset,
    &retransmit_hol::RetransmitHol,
    &udp_truncation::UdpTruncation,
];

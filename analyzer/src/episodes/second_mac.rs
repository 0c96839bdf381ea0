//! An address that ARP claims for a second hardware address: a take-over, a duplicate, or forgery.

use crate::hosts::Hosts;
use crate::time::Timestamp;

use super::episode::{Episode, EpisodeKind};

/// `end`: the time of the capture's last frame.
pub(super) fn find(hosts: &Hosts, end: Timestamp) -> Vec<Episode> {
    let second = hosts.iter().filter_map(|host| {
        let claims = host.hardware_addresses().iter();
        let mut claimed: Vec<_> = claims.filter_map(|one| one.claimed).collect();
        claimed.sort_by_key(|at| at.frame);
        let from = claimed.get(1)?.time;
        let mut episode = Episode::new(EpisodeKind::SecondMac, host.address, from, end.max(from));
        episode.is_cut = true;
        Some(episode)
    });
    second.collect()
}

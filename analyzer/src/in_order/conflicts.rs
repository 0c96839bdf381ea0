//! Two stations that claim one address by ARP, in turn.
//!
//! Every ARP packet claims its sender's address (RFC 5227 §2.4). A take-over is one change of the
//! hardware address, for good; two stations that both hold an address claim it again and again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::decode::ip_from_octets;
use crate::event::At;

use super::neighbours::{Mac, Sighting};

/// Addresses followed: the first ones.
const KEPT: usize = 8_192;
/// Hardware addresses of which the addresses are counted.
const STATIONS: usize = 8_192;
/// Conflicts kept.
const TOLD: usize = 256;
/// A claim so much later is no answer to the one before.
const APART: Duration = Duration::from_secs(60);
/// Changes that make a conflict: each station claims the address again after the other.
const PROOF: u64 = 3;
/// A station that claims so many addresses answers for others: proxy ARP (RFC 1027).
const MANY: usize = 4;

/// Hardware addresses that redundant routers share: VRRP, HSRP, GLBP.
const SHARED: [&[u8]; 5] = [
    &[0, 0, 0x5e, 0, 1],
    &[0, 0, 0x5e, 0, 2],
    &[0, 0, 0x0c, 0x07, 0xac],
    &[0, 0, 0x0c, 0x9f],
    &[0, 7, 0xb4],
];

/// Whether redundant routers share a hardware address.
pub(super) fn is_shared(mac: Mac) -> bool {
    SHARED.iter().any(|shared| mac.starts_with(shared))
}

/// An address that two stations claimed in turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressConflict {
    /// The address.
    pub address: IpAddr,
    /// The hardware addresses of the two, in the order of their claims.
    pub macs: [Mac; 2],
    /// A claim of the first, one of the second, then again of the first and of the second.
    pub claims: [At; 4],
    /// How often the claim went from one to the other.
    pub changes: u64,
}

/// Who claims an address.
#[derive(Clone, Copy, Debug)]
struct Claims {
    /// The two that claim it in turn; the same until a second one does.
    macs: [Mac; 2],
    /// Who claimed it last.
    mac: Mac,
    /// Its last claim.
    at: At,
    /// The first four claims by turns.
    turns: [At; 4],
    changes: u64,
}

impl Claims {
    const fn new(mac: Mac, at: At) -> Self {
        Self {
            macs: [mac; 2],
            mac,
            at,
            turns: [at; 4],
            changes: 0,
        }
    }

    /// Another station claims the address.
    fn change(&mut self, mac: Mac, at: At) {
        if !self.is_conflict() {
            if at.time.since(self.at.time) > APART {
                *self = Self::new(mac, at);
                return;
            }
            if !self.macs.contains(&mac) {
                let macs = [self.mac, mac];
                *self = Self {
                    macs,
                    ..Self::new(self.mac, self.at)
                };
            }
        }
        self.changes += 1;
        for (turn, number) in self.turns.iter_mut().zip(0..) {
            if number >= self.changes {
                *turn = at;
            }
        }
        (self.mac, self.at) = (mac, at);
    }

    const fn is_conflict(&self) -> bool {
        self.changes >= PROOF
    }
}

/// The claims of a capture.
#[derive(Debug, Default)]
pub(crate) struct Conflicts {
    of: HashMap<[u8; 16], Claims, FixedState>,
    /// The first addresses that each station claims.
    claimed: HashMap<Mac, Vec<[u8; 16]>, FixedState>,
}

impl Conflicts {
    /// Takes what the next slab shows.
    pub fn take(&mut self, sightings: &[Sighting]) {
        for one in sightings.iter().filter(|one| one.is_claim) {
            self.count(one);
            if is_shared(one.mac) {
                continue;
            }
            let has_room = self.of.len() < KEPT;
            match self.of.get_mut(&one.ip) {
                Some(claims) if claims.mac == one.mac => claims.at = one.at,
                Some(claims) if claims.is_conflict() && !claims.macs.contains(&one.mac) => {}
                Some(claims) => claims.change(one.mac, one.at),
                None if has_room => {
                    self.of.insert(one.ip, Claims::new(one.mac, one.at));
                }
                None => {}
            }
        }
    }

    fn count(&mut self, one: &Sighting) {
        if self.claimed.len() >= STATIONS && !self.claimed.contains_key(&one.mac) {
            return;
        }
        let addresses = self.claimed.entry(one.mac).or_default();
        if addresses.len() < MANY && !addresses.contains(&one.ip) {
            addresses.push(one.ip);
        }
    }

    /// All conflicts, by address.
    pub fn finish(self) -> Vec<AddressConflict> {
        let is_proxy = |mac: &Mac| self.claimed.get(mac).is_some_and(|all| all.len() >= MANY);
        let conflicts = self
            .of
            .iter()
            .filter(|(_, claims)| claims.is_conflict() && !claims.macs.iter().any(is_proxy));
        let mut found: Vec<_> = conflicts
            .map(|(ip, claims)| AddressConflict {
                address: ip_from_octets(*ip),
                macs: claims.macs,
                claims: claims.turns,
                changes: claims.changes,
            })
            .collect();
        found.sort_by_key(|one| one.address);
        found.truncate(TOLD);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    /// Claims of 10.0.0.`ip` by a station, at a second.
    fn conflicts(claims: &[(u8, Mac, i64)]) -> Vec<AddressConflict> {
        let sighting = |(&(ip, mac, second), frame): (&(u8, Mac, i64), u64)| Sighting {
            ip: std::net::Ipv4Addr::new(10, 0, 0, ip)
                .to_ipv6_mapped()
                .octets(),
            mac,
            at: At {
                frame,
                time: Timestamp::from_nanos(second * 1_000_000_000),
            },
            is_claim: true,
            is_destination: false,
        };
        let all: Vec<_> = claims.iter().zip(1..).map(sighting).collect();
        let mut conflicts = Conflicts::default();
        for slab in all.chunks(3) {
            conflicts.take(slab);
        }
        conflicts.finish()
    }

    const A: Mac = [2, 0, 0, 0, 0, 1];
    const B: Mac = [2, 0, 0, 0, 0, 2];

    #[test]
    fn two_that_claim_in_turn_are_a_conflict() {
        let found = conflicts(&[
            (1, A, 0),
            (1, A, 1),
            (1, B, 2),
            (1, A, 9),
            (1, B, 9),
            (1, A, 20),
        ]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].macs, found[0].changes), ([A, B], 4));
        let frames = found[0].claims.map(|at| at.frame);
        assert_eq!(frames, [2, 3, 4, 5]);
    }

    #[test]
    fn take_overs_shared_addresses_and_proxies_are_none() {
        // For good; there and back; long apart; with a straggler of a third.
        assert!(conflicts(&[(1, A, 0), (1, B, 1), (1, B, 2), (1, B, 3)]).is_empty());
        assert!(conflicts(&[(1, A, 0), (1, B, 1), (1, A, 2)]).is_empty());
        assert!(conflicts(&[(1, A, 0), (1, B, 100), (1, A, 200), (1, B, 300)]).is_empty());
        assert!(conflicts(&[(1, A, 0), (1, B, 1), (1, [2; 6], 2), (1, A, 3)]).is_empty());
        let virtual_router = [0, 0, 0x5e, 0, 1, 7];
        let shared = [
            (1, A, 0),
            (1, virtual_router, 1),
            (1, A, 2),
            (1, virtual_router, 3),
        ];
        assert!(conflicts(&shared).is_empty());
        let mut proxy = vec![(1, A, 0), (1, B, 0), (1, A, 1), (1, B, 1)];
        proxy.extend((2..5).map(|ip| (ip, B, 2)));
        assert!(conflicts(&proxy).is_empty());
    }
}

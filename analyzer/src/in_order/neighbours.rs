//! Hardware addresses (MACs) by IP address: who stands next to the capture point.
//!
//! Each slab is scanned on its own, in parallel; what it finds is merged in sequence. Of hosts
//! beyond a router it is the router's address. What is kept is when a pair of addresses was seen
//! first, which does not depend on how the capture was cut into slabs. Of frames with IP every fourth
//! is looked at, by number: who sends for long is met.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::FixedState;

use serde::{Deserialize, Serialize};

use crate::capture::{Interface, LinkType, Slab};
use crate::decode::ip_from_octets;
use crate::event::At;
use crate::filter::PacketFilter;

use super::broadcasts::{Broadcast, is_broadcast};

/// IP addresses kept, and hardware addresses of each: the first ones.
const KEPT: usize = 8_192;
const KEPT_OF_EACH: usize = 4;

/// Entries for what comes again; a power of two.
const RECENT: usize = 64;

/// The ethertype of ARP.
const ARP: [u8; 2] = [8, 6];
/// How ARP for IPv4 on Ethernet begins: kinds and lengths of both addresses.
pub(super) const ARP_FOR_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// A hardware address (IEEE 802).
pub type Mac = [u8; 6];

/// A hardware address seen as the source of an IP address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// The hardware address.
    pub mac: Mac,
    /// Where the two were seen together first.
    pub first: At,
    /// Where ARP claimed first that they belong together (RFC 826).
    pub claimed: Option<At>,
}

/// A frame that shows an IP address with a hardware address.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Sighting {
    pub ip: [u8; 16],
    pub mac: Mac,
    pub at: At,
    /// Whether ARP says so.
    pub is_claim: bool,
}

impl Sighting {
    /// The same with a later frame number.
    pub fn later_by(mut self, frames: u64) -> Self {
        self.at.frame += frames;
        self
    }
}

/// What the frames of a slab show.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    pub list: Vec<Sighting>,
    /// What it sends to all stations.
    pub broadcasts: Vec<Broadcast>,
}

impl Sightings {
    /// Scans a slab: of what comes again right away only the first is noted.
    pub fn run(&mut self, slab: &Slab, interfaces: &[Interface], filter: &PacketFilter) {
        self.list.clear();
        self.broadcasts.clear();
        if !interfaces.iter().any(is_ethernet) {
            return;
        }
        let mut plain = [(0, 0); RECENT];
        let mut recent = [([0; 16], Mac::default()); RECENT];
        for frame in &slab.frames {
            let bytes = slab.data(frame);
            let Some(ethernet) = bytes.first_chunk::<14>() else {
                continue;
            };
            let is_for_all = is_broadcast(ethernet);
            let shows_sender = is_looked_at(frame.number - slab.before) || ethernet[12..] == ARP;
            if !is_for_all && !shows_sender {
                continue;
            }
            let interface = interfaces.get(frame.interface as usize);
            if is_for_all
                && let Some(interface) = interface.filter(|one| is_ethernet(one))
                && filter.admits_time(frame.time)
            {
                let broadcast = Broadcast::of(frame, interface.point, bytes);
                self.broadcasts.extend(broadcast);
            }
            if !shows_sender {
                continue;
            }
            let key = plain_key(bytes);
            if key.is_some_and(|key| plain[place(key.1.to_be_bytes())] == key) {
                continue;
            }
            if !interface.is_some_and(is_ethernet) || !filter.admits_time(frame.time) {
                continue;
            }
            if let Some(key) = key {
                plain[place(key.1.to_be_bytes())] = key;
            }
            let Some((ip, mac, is_claim)) = shown_by(bytes) else {
                continue;
            };
            let [.., a, b, c, d] = ip;
            let entry = &mut recent[place([a, b, c, d])];
            if !is_claim && *entry == (ip, mac) {
                continue;
            }
            *entry = (ip, mac);
            self.list.push(Sighting {
                ip,
                mac,
                at: At {
                    frame: frame.number,
                    time: frame.time,
                },
                is_claim,
            });
        }
    }
}

/// The first frames, and one of four that follow.
#[inline]
const fn is_looked_at(number: u64) -> bool {
    const FIRST: u64 = 64;
    number < FIRST || number.is_multiple_of(4)
}

fn is_ethernet(interface: &Interface) -> bool {
    interface.link_type == LinkType::ETHERNET
}

/// What tells sender and source address of most frames, those with IPv4 right behind the Ethernet
/// header: the octets of both.
#[inline]
fn plain_key(bytes: &[u8]) -> Option<(u64, u32)> {
    let header: &[u8; 30] = bytes.first_chunk()?;
    let (_, mac_and_kind) = header[..14].split_last_chunk()?;
    let (_, source) = header.split_last_chunk()?;
    let is_ipv4 = mac_and_kind[6..] == [8, 0];
    is_ipv4.then(|| {
        (
            u64::from_be_bytes(*mac_and_kind),
            u32::from_be_bytes(*source),
        )
    })
}

#[inline]
fn place([.., c, d]: [u8; 4]) -> usize {
    usize::from(c.wrapping_mul(31) ^ d) % RECENT
}

/// The source addresses of an Ethernet frame with IP, or what ARP claims.
#[inline]
fn shown_by(bytes: &[u8]) -> Option<([u8; 16], Mac, bool)> {
    let header: &[u8; 12] = bytes.first_chunk()?;
    let mac = *header[6..].first_chunk()?;
    let (kind, packet) = network_layer(bytes)?;
    match kind {
        0x0800 => {
            let source: [u8; 4] = *packet.get(12..)?.first_chunk()?;
            Some((mapped(source), mac, false))
        }
        0x86dd => Some((*packet.get(8..)?.first_chunk()?, mac, false)),
        0x0806 => claim(packet),
        _ => None,
    }
}

/// The ethertype of an Ethernet frame and what follows it, behind VLAN tags.
#[inline]
pub(super) fn network_layer(bytes: &[u8]) -> Option<(u16, &[u8])> {
    /// Two addresses and a type.
    const HEADER: usize = 14;
    const VLAN: [u16; 2] = [0x8100, 0x88a8];
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    let mut kind = u16::from_be_bytes([header[12], header[13]]);
    let mut at = HEADER;
    while VLAN.contains(&kind) {
        let tag: &[u8; 4] = bytes.get(at..)?.first_chunk()?;
        kind = u16::from_be_bytes([tag[2], tag[3]]);
        at += 4;
    }
    Some((kind, bytes.get(at..)?))
}

/// The sender of an ARP packet for IPv4 on Ethernet. A probe claims nothing (RFC 5227 §1.1).
fn claim(packet: &[u8]) -> Option<([u8; 16], Mac, bool)> {
    let kinds: &[u8; 6] = packet.first_chunk()?;
    let mac = *packet.get(8..)?.first_chunk()?;
    let ip: [u8; 4] = *packet.get(14..)?.first_chunk()?;
    (*kinds == ARP_FOR_IPV4 && ip != [0; 4]).then_some((mapped(ip), mac, true))
}

fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Hardware addresses of a capture, by IP address.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    of: HashMap<[u8; 16], Vec<Neighbour>, FixedState>,
}

impl Neighbours {
    /// Takes what the next slab shows.
    pub fn take(&mut self, sightings: &[Sighting]) {
        for sighting in sightings {
            if self.of.len() >= KEPT && !self.of.contains_key(&sighting.ip) {
                continue;
            }
            let claimed = sighting.is_claim.then_some(sighting.at);
            let known = self.of.entry(sighting.ip).or_default();
            let place = known.iter().position(|one| one.mac == sighting.mac);
            if let Some(place) = place {
                known[place].claimed = known[place].claimed.or(claimed);
            } else if known.len() < KEPT_OF_EACH {
                known.push(Neighbour {
                    mac: sighting.mac,
                    first: sighting.at,
                    claimed,
                });
            }
        }
    }

    /// The hardware addresses of each IP address, in the order in which they were seen.
    pub fn finish(self) -> HashMap<IpAddr, Vec<Neighbour>> {
        let all = self.of.into_iter();
        all.map(|(ip, known)| (ip_from_octets(ip), known)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    const CLAIM: [u8; 42] = [
        2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 1, 1, 1, 1, 1, 1, 10, 0,
        0, 1, 2, 2, 2, 2, 2, 2, 10, 0, 0, 2,
    ];

    #[test]
    fn frames_show_who_sends_them() {
        let one = mapped([10, 0, 0, 1]);
        assert_eq!(shown_by(&CLAIM), Some((one, [1; 6], true)));
        let mut probe = CLAIM;
        probe[28..32].fill(0);
        assert_eq!(shown_by(&probe), None);
        let mut tagged = CLAIM[..12].to_vec();
        tagged.extend([0x81, 0, 0, 7, 8, 0, 0x45]);
        tagged.extend([0; 11]);
        tagged.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        assert_eq!(shown_by(&tagged), Some((one, [1; 6], false)));
        for len in 0..CLAIM.len() {
            shown_by(&CLAIM[..len]);
            shown_by(&tagged[..len.min(tagged.len())]);
        }
    }

    #[test]
    fn a_second_hardware_address_is_kept_beside_the_first() {
        let sighting = |frame, last, is_claim| Sighting {
            ip: mapped([10, 0, 0, 1]),
            mac: [last; 6],
            at: At {
                frame,
                time: Timestamp::default(),
            },
            is_claim,
        };
        let mut neighbours = Neighbours::default();
        neighbours.take(&[sighting(1, 1, false), sighting(2, 1, true)]);
        neighbours.take(&[sighting(5, 2, true), sighting(9, 1, true)]);
        let all = neighbours.finish();
        let known: Vec<_> = all[&IpAddr::from([10, 0, 0, 1])]
            .iter()
            .map(|one| (one.mac[0], one.first.frame, one.claimed.map(|at| at.frame)))
            .collect();
        assert_eq!(known, [(1, 1, Some(2)), (2, 5, Some(5))]);
    }
}

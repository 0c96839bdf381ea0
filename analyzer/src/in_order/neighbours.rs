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
use super::conflicts::is_shared;

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

/// A hardware address seen with an IP address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// The hardware address.
    pub mac: Mac,
    /// Where the two were seen together first.
    pub first: At,
    /// Where ARP claimed first that they belong together (RFC 826).
    pub claimed: Option<At>,
}

/// The hardware addresses of an IP address, at most four of each kind, in the order in which they were seen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Hardware {
    /// Of frames from it.
    pub sources: Vec<Neighbour>,
    /// Of frames to it that are for one station.
    pub destinations: Vec<Neighbour>,
}

/// A frame that shows an IP address with a hardware address.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Sighting {
    pub ip: [u8; 16],
    pub mac: Mac,
    pub at: At,
    /// Whether ARP says so.
    pub is_claim: bool,
    /// Whether the frame goes to both addresses; else it comes from them.
    pub is_destination: bool,
}

impl Neighbour {
    /// Whether redundant routers share the hardware address (VRRP, HSRP, GLBP): the one in charge receives with it
    /// and sends with its own.
    #[must_use]
    pub fn is_of_several_routers(&self) -> bool {
        is_shared(self.mac)
    }
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
        let (mut senders, mut receivers) = (Recent::default(), Recent::default());
        for frame in &slab.frames {
            let bytes = slab.data(frame);
            let Some(ethernet) = bytes.first_chunk::<14>() else {
                continue;
            };
            let is_for_all = is_broadcast(ethernet);
            let shows_ends = is_looked_at(frame.number - slab.before) || ethernet[12..] == ARP;
            if !is_for_all && !shows_ends {
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
            if !shows_ends {
                continue;
            }
            let [from, to] = plain_keys(bytes);
            if senders.knows(from) && receivers.knows(to) {
                continue;
            }
            if !interface.is_some_and(is_ethernet) || !filter.admits_time(frame.time) {
                continue;
            }
            senders.note(from);
            receivers.note(to);
            let at = At {
                frame: frame.number,
                time: frame.time,
            };
            let shown = shown_by(bytes).filter(|shown| senders.is_new(shown));
            self.list.extend(shown.map(|(ip, mac, is_claim)| Sighting {
                ip,
                mac,
                at,
                is_claim,
                is_destination: false,
            }));
            let reached = reached_by(bytes).filter(|shown| receivers.is_new(shown));
            self.list
                .extend(reached.map(|(ip, mac, is_claim)| Sighting {
                    ip,
                    mac,
                    at,
                    is_claim,
                    is_destination: true,
                }));
        }
    }
}

/// What came lately, by which a repetition is told without reading the frame.
struct Recent {
    plain: [(u64, u32); RECENT],
    pairs: [([u8; 16], Mac); RECENT],
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            plain: [(0, 0); RECENT],
            pairs: [([0; 16], Mac::default()); RECENT],
        }
    }
}

impl Recent {
    #[inline]
    fn knows(&self, key: Option<(u64, u32)>) -> bool {
        key.is_some_and(|key| self.plain[place(key.1.to_be_bytes())] == key)
    }

    fn note(&mut self, key: Option<(u64, u32)>) {
        if let Some(key) = key {
            self.plain[place(key.1.to_be_bytes())] = key;
        }
    }

    /// Whether these addresses were not the last of their place; a claim always counts.
    fn is_new(&mut self, (ip, mac, is_claim): &([u8; 16], Mac, bool)) -> bool {
        let [.., a, b, c, d] = *ip;
        let entry = &mut self.pairs[place([a, b, c, d])];
        let is_new = *is_claim || *entry != (*ip, *mac);
        *entry = (*ip, *mac);
        is_new
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

/// What tells the addresses of most frames, those with IPv4 right behind the Ethernet header: octets of sender and source
/// address, and of receiver and destination address.
#[inline]
fn plain_keys(bytes: &[u8]) -> [Option<(u64, u32)>; 2] {
    let Some(header) = bytes.first_chunk::<34>() else {
        return [None; 2];
    };
    if header[12..14] != [8, 0] {
        return [None; 2];
    }
    let octets = |at: usize| u64::from_be_bytes(std::array::from_fn(|index| header[at + index]));
    let address = |at: usize| u32::from_be_bytes(std::array::from_fn(|index| header[at + index]));
    [
        Some((octets(6), address(26))),
        Some((octets(0), address(30))),
    ]
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

/// The destination addresses of an Ethernet frame with IP for one station; a claim is never made of them.
#[inline]
fn reached_by(bytes: &[u8]) -> Option<([u8; 16], Mac, bool)> {
    /// The group bit of a hardware address (IEEE 802 §8.2.2).
    const GROUP: u8 = 1;
    let mac: Mac = *bytes.first_chunk()?;
    if mac[0] & GROUP != 0 {
        return None;
    }
    let (kind, packet) = network_layer(bytes)?;
    let ip = match kind {
        0x0800 => mapped(*packet.get(16..)?.first_chunk()?),
        0x86dd => *packet.get(24..)?.first_chunk()?,
        _ => return None,
    };
    Some((ip, mac, false))
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
    of: HashMap<[u8; 16], Hardware, FixedState>,
}

impl Neighbours {
    /// Takes what the next slab shows.
    pub fn take(&mut self, sightings: &[Sighting]) {
        for sighting in sightings {
            // Addresses to which something is sent may be a scanner's choice: those that send keep room.
            let room = if sighting.is_destination {
                KEPT / 2
            } else {
                KEPT
            };
            if self.of.len() >= room && !self.of.contains_key(&sighting.ip) {
                continue;
            }
            let claimed = sighting.is_claim.then_some(sighting.at);
            let hardware = self.of.entry(sighting.ip).or_default();
            let known = if sighting.is_destination {
                &mut hardware.destinations
            } else {
                &mut hardware.sources
            };
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

    /// The hardware addresses of each IP address.
    pub fn finish(self) -> HashMap<IpAddr, Hardware> {
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
        let two = mapped([10, 0, 0, 2]);
        assert_eq!(reached_by(&tagged), Some((two, [2; 6], false)));
        assert_eq!(reached_by(&CLAIM), None);
        for len in 0..CLAIM.len() {
            shown_by(&CLAIM[..len]);
            shown_by(&tagged[..len.min(tagged.len())]);
            reached_by(&tagged[..len.min(tagged.len())]);
        }
        tagged[0] |= 1;
        assert_eq!(reached_by(&tagged), None);
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
            is_destination: false,
        };
        let mut neighbours = Neighbours::default();
        neighbours.take(&[sighting(1, 1, false), sighting(2, 1, true)]);
        neighbours.take(&[sighting(5, 2, true), sighting(9, 1, true)]);
        let all = neighbours.finish();
        let known: Vec<_> = all[&IpAddr::from([10, 0, 0, 1])]
            .sources
            .iter()
            .map(|one| (one.mac[0], one.first.frame, one.claimed.map(|at| at.frame)))
            .collect();
        assert_eq!(known, [(1, 1, Some(2)), (2, 5, Some(5))]);
    }
}

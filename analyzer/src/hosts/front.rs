//! Remote addresses that one stack answers for: a user-mode NAT, VPN or proxy beside the capturing
//! host writes all their packets, and its one counter runs through them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::distinct::tag;
use super::ip_id;
use super::kind::AddressKind;
use super::record::{HostRecord, SegmentKind};
use super::samples::Sample;

/// Addresses that make it more than a chance.
const ADDRESSES: usize = 3;

/// Addresses compared of each hop limit: the first ones given.
const COMPARED: usize = 64;

/// One stack that answers in the names of several public addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SharedFront {
    /// Addresses that it answers for.
    pub addresses: u64,
    /// The hop limit that its packets bear at the capture point.
    pub hop_limit: u8,
}

/// The fronts of those addresses that have one: public ones with the same hop limit, whose
/// identifications together count like those of one host.
pub(super) fn find(hosts: &[(IpAddr, HostRecord)]) -> HashMap<IpAddr, SharedFront> {
    let mut groups = BTreeMap::<u8, Vec<&(IpAddr, HostRecord)>>::new();
    for host in hosts {
        let (ip, record) = host;
        if AddressKind::of(*ip) == AddressKind::Public
            && let Some(hop_limit) = record.hop_limits.usual(SegmentKind::Other)
        {
            groups.entry(hop_limit).or_default().push(host);
        }
    }
    let mut fronts = HashMap::new();
    for (hop_limit, group) in groups {
        if group.len() < ADDRESSES || !is_one_counter(&group) {
            continue;
        }
        let front = SharedFront {
            addresses: group.len() as u64,
            hop_limit,
        };
        fronts.extend(group.into_iter().map(|(ip, _)| (*ip, front)));
    }
    fronts
}

fn is_one_counter(group: &[&(IpAddr, HostRecord)]) -> bool {
    let mut samples: Vec<Sample> = group
        .iter()
        .take(COMPARED)
        .flat_map(|(ip, record)| {
            let of_host = |sample: &Sample| Sample {
                peer: (tag(ip) >> 16) as u16,
                flow: (tag((ip, sample.flow)) >> 16) as u16,
                ..*sample
            };
            record.samples.iter().map(of_host).collect::<Vec<_>>()
        })
        .collect();
    samples.sort_unstable();
    ip_id::is_one_counter_of_peers(&samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn fronts(id: impl Fn(u16, u16) -> u16) -> HashMap<IpAddr, SharedFront> {
        let hosts: Vec<(IpAddr, HostRecord)> = (0..4_u16)
            .map(|host| {
                let mut record = HostRecord::default();
                record.hop_limits.add(SegmentKind::Other, 64, 8);
                for packet in 0..8 {
                    record.samples.push(Sample {
                        frame: u64::from(packet * 4 + host),
                        time: Timestamp::default(),
                        ts_val: None,
                        ip_id: Some(id(host, packet)),
                        flow: 1,
                        peer: 1,
                        is_socketless: false,
                    });
                }
                (IpAddr::from([8, 8, 8, host as u8]), record)
            })
            .collect();
        find(&hosts)
    }

    #[test]
    fn one_counter_runs_through_the_addresses_of_a_front() {
        let shared = fronts(|host, packet| 700 + packet * 4 + host);
        assert_eq!(shared.len(), 4);
        assert!(shared.values().all(|front| front.addresses == 4));
        assert!(fronts(|host, packet| host * 16_000 + packet).is_empty());
        assert!(fronts(|_, _| 0).is_empty());
    }
}

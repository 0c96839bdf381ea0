//! How a host numbers its IP packets (RFC 791 §3.1, RFC 6864), read from samples.

use super::samples::{Sample, window};

/// What a host's IPv4 identifications count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum IpIdBehaviour {
    /// All are 0: nothing is counted.
    Zero,
    /// Each connection has a counter of its own (Linux).
    PerConnection,
    /// All connections to one address share a counter; whether those to others do is not known,
    /// or they do not.
    PerDestination,
    /// One counter for the whole host (Windows, BSD of old, many devices).
    PerHost,
    /// The same, with the two octets sent in the wrong order.
    PerHostSwapped,
    /// They count up on each connection; who else shares the counter is not known.
    Counter,
    /// No order in them.
    Random,
    /// Too few packets to tell, or IPv6.
    #[default]
    Unknown,
}

impl IpIdBehaviour {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::PerConnection => "per-connection",
            Self::PerDestination => "per-destination",
            Self::PerHost => "per-host",
            Self::PerHostSwapped => "per-host-swapped",
            Self::Counter => "counter",
            Self::Random => "random",
            Self::Unknown => "unknown",
        }
    }

    /// Other connections use the same counter: a gap is no packet lost from this one.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        matches!(
            self,
            Self::PerDestination | Self::PerHost | Self::PerHostSwapped
        )
    }
}

/// Pairs of packets, and those whose identification grew by little.
#[derive(Clone, Copy, Default)]
struct Pairs {
    all: u32,
    small: u32,
}

impl Pairs {
    /// Fewer pairs tell nothing.
    const ENOUGH: u32 = 3;

    /// The largest step of a counter between two packets that follow each other closely: a large
    /// segment that is cut later takes 45, and other packets may lie between.
    const SMALL: u16 = 1024;

    fn add(&mut self, before: u16, after: u16) {
        self.all += 1;
        self.small += u32::from((1..=Self::SMALL).contains(&after.wrapping_sub(before)));
    }

    /// Four of five grew: of random numbers one in 64 does.
    const fn grow(self) -> bool {
        self.all >= Self::ENOUGH && self.small * 5 >= self.all * 4
    }

    /// Four of five did not.
    const fn jump(self) -> bool {
        self.all >= Self::ENOUGH && self.small * 5 <= self.all
    }
}

/// Pairs of neighbours under one reading of the octets.
#[derive(Clone, Copy, Default)]
struct Steps {
    /// Of one flow.
    within: Pairs,
    /// Of two flows to one address.
    between_flows: Pairs,
    /// To two addresses.
    between_peers: Pairs,
}

impl Steps {
    /// `samples`: in the order of frames.
    fn of(samples: &[Sample], read: impl Fn(u16) -> u16) -> Self {
        let mut steps = Self::default();
        for (at, after) in samples.iter().enumerate() {
            let Some(id) = after.ip_id.map(&read) else {
                continue;
            };
            let mut before = samples[..at].iter().rev();
            let mut near = before
                .clone()
                .take_while(|sample| window(sample.frame) == window(after.frame));
            let of_flow = near.find(|sample| sample.flow == after.flow);
            if let Some(known) = of_flow.and_then(|sample| sample.ip_id) {
                steps.within.add(read(known), id);
            }
            let neighbour = before
                .next()
                .filter(|sample| window(sample.frame) == window(after.frame));
            if let Some(neighbour) = neighbour.filter(|sample| sample.flow != after.flow)
                && let Some(known) = neighbour.ip_id
            {
                let pairs = if neighbour.peer == after.peer {
                    &mut steps.between_flows
                } else {
                    &mut steps.between_peers
                };
                pairs.add(read(known), id);
            }
        }
        steps
    }

    const fn small(&self) -> u32 {
        self.within.small + self.between_flows.small + self.between_peers.small
    }

    const fn behaviour(&self) -> IpIdBehaviour {
        let counts = self.within.grow() || self.within.all < Pairs::ENOUGH;
        if counts && self.between_peers.grow() {
            IpIdBehaviour::PerHost
        } else if counts && self.between_flows.grow() {
            IpIdBehaviour::PerDestination
        } else if self.within.grow() && (self.between_flows.jump() || self.between_peers.jump()) {
            IpIdBehaviour::PerConnection
        } else if self.within.grow() {
            IpIdBehaviour::Counter
        } else if self.within.jump() {
            IpIdBehaviour::Random
        } else {
            IpIdBehaviour::Unknown
        }
    }
}

/// Whether packets to (or from) different peers bear numbers of one counter. `samples`: in the order
/// of frames.
pub(super) fn is_one_counter_of_peers(samples: &[Sample]) -> bool {
    let readings: [fn(u16) -> u16; 2] = [|id| id, u16::swap_bytes];
    let mut readings = readings.iter();
    readings.any(|read| Steps::of(samples, read).between_peers.grow())
}

/// Reads a host's samples, in the order of frames.
pub(super) fn behaviour(samples: &[Sample]) -> IpIdBehaviour {
    let numbered: Vec<Sample> = samples
        .iter()
        .filter(|sample| !(sample.is_socketless && sample.ip_id == Some(0)))
        .filter(|sample| sample.ip_id.is_some())
        .copied()
        .collect();
    if numbered.len() >= 2 && numbered.iter().all(|sample| sample.ip_id == Some(0)) {
        return IpIdBehaviour::Zero;
    }
    let plain = Steps::of(&numbered, |id| id);
    let swapped = Steps::of(&numbered, u16::swap_bytes);
    if swapped.small() > plain.small() {
        match swapped.behaviour() {
            IpIdBehaviour::PerHost | IpIdBehaviour::PerDestination => {
                return IpIdBehaviour::PerHostSwapped;
            }
            // Nobody but a host-wide counter is known to be swapped; one flow tells no more.
            IpIdBehaviour::Counter | IpIdBehaviour::PerConnection => {
                return IpIdBehaviour::Counter;
            }
            _ => {}
        }
    }
    plain.behaviour()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    /// Packets of several flows to two addresses, one after the other.
    fn of(ids: impl Fn(usize, u16) -> u16) -> IpIdBehaviour {
        let mut sent = [0_u16; 4];
        let samples: Vec<Sample> = (0..40)
            .map(|at| {
                let flow = [0, 1, 2, 3, 0, 2, 1, 3][at % 8];
                sent[flow] += 1;
                Sample {
                    frame: at as u64 + 16,
                    time: Timestamp::default(),
                    ts_val: None,
                    ip_id: Some(ids(at, (flow as u16 + 1) * 9_000 + sent[flow])),
                    flow: flow as u16,
                    peer: flow as u16 / 2,
                    is_socketless: false,
                }
            })
            .collect();
        behaviour(&samples)
    }

    #[test]
    fn counters_are_told_apart() {
        assert_eq!(of(|_, _| 0), IpIdBehaviour::Zero);
        assert_eq!(of(|_, own| own), IpIdBehaviour::PerConnection);
        let host = |at: usize| 65_500 + 3 * at as u32;
        assert_eq!(of(|at, _| host(at) as u16), IpIdBehaviour::PerHost);
        let swapped = |at: usize| (host(at) as u16).swap_bytes();
        assert_eq!(of(|at, _| swapped(at)), IpIdBehaviour::PerHostSwapped);
        let random = |at: usize| (at as u32).wrapping_mul(2_654_435_761) >> 16;
        assert_eq!(of(|at, _| random(at) as u16), IpIdBehaviour::Random);
        // Two counters, one for each address.
        let peer = |at: usize, own: u16| if own < 20_000 { at } else { at + 30_000 } as u16;
        assert_eq!(of(peer), IpIdBehaviour::PerDestination);
    }

    #[test]
    fn one_flow_does_not_tell_who_shares_its_counter() {
        let samples: Vec<Sample> = (0..20_u16)
            .map(|at| Sample {
                frame: 16 + u64::from(at),
                time: Timestamp::default(),
                ts_val: None,
                ip_id: Some(500 + at),
                flow: 1,
                peer: 1,
                is_socketless: false,
            })
            .collect();
        assert_eq!(behaviour(&samples), IpIdBehaviour::Counter);
        assert_eq!(behaviour(&samples[..2]), IpIdBehaviour::Unknown);
    }
}

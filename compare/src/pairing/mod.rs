//! Which flow at one point is which flow at another.
//!
//! Without a topology, without equal addresses and without a common clock: by what stands in the
//! packets themselves. Ambiguity is counted, never guessed.

mod handshake;
mod payload;
mod requests;
mod roles;
mod segments;
mod udp;

use analyzer::Transport;

use crate::reading::{Flow, Point};

pub(crate) use requests::{RequestPair, pair_requests};

/// What showed that flows are one connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairedBy {
    /// Equal initial sequence numbers.
    SequenceNumbers,
    /// Equal sequence number, acknowledgement number and length of many segments.
    Segments,
    /// Equal payload at a constant distance of sequence numbers.
    Payload,
    /// Equal addresses and ports, and equal datagrams.
    Addresses,
    /// Equal requests on the legs of a proxy.
    Requests,
}

impl PairedBy {
    /// The name in the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SequenceNumbers => "sequence-numbers",
            Self::Segments => "segments",
            Self::Payload => "payload",
            Self::Addresses => "addresses",
            Self::Requests => "requests",
        }
    }
}

/// One connection as several points saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Group {
    /// Its flow at each point, where it was seen.
    pub flows: Vec<Option<u32>>,
    /// What showed that they are one.
    pub by: PairedBy,
    /// Per point: what is to be taken off the sequence numbers of client and server, modulo 2³², so
    /// that they are those of the first point that has the connection.
    pub shifts: Vec<[u32; 2]>,
    /// The client's side of the flow at each point.
    pub clients: Vec<usize>,
}

impl Group {
    /// Whether a device rewrites sequence numbers between two points.
    pub fn is_rewritten(&self) -> bool {
        let mut shifts = self.flows.iter().zip(&self.shifts);
        shifts.any(|(flow, shift)| flow.is_some() && *shift != [0, 0])
    }

    /// The side of the flow's key that the client (0) or the server (1) is at a point.
    pub fn side(&self, point: usize, role: usize) -> usize {
        if role == 0 {
            self.clients[point]
        } else {
            1 - self.clients[point]
        }
    }

    /// The points that saw it with its flow there, in the order of the points.
    pub fn members(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        let flows = self.flows.iter().enumerate();
        flows.filter_map(|(point, flow)| Some((point, (*flow)?)))
    }
}

/// That two flows are one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Point and flow.
    pub one: (usize, u32),
    /// Point and flow at a later point.
    pub other: (usize, u32),
    pub by: PairedBy,
    /// Sequence numbers at `other` less those at `one`, of client and server.
    pub shift: [u32; 2],
}

/// All that was paired.
#[derive(Debug, Default)]
pub(crate) struct Pairing {
    /// By the first frame at the first point that has them.
    pub groups: Vec<Group>,
    /// Flows that fit several others equally well, per point.
    pub ambiguous: Vec<u64>,
}

/// What is known while pairing goes on.
pub(super) struct Progress<'a> {
    pub points: &'a [Point],
    /// Per point and flow: the group it is in.
    pub group_of: Vec<Vec<Option<u32>>>,
    pub groups: Vec<Group>,
    pub ambiguous: Vec<u64>,
}

impl<'a> Progress<'a> {
    fn new(points: &'a [Point]) -> Self {
        Self {
            points,
            group_of: points.iter().map(|p| vec![None; p.flows.len()]).collect(),
            groups: Vec::new(),
            ambiguous: vec![0; points.len()],
        }
    }

    /// Whether a flow has no partner at `other`.
    pub fn lacks(&self, point: usize, flow: u32, other: usize) -> bool {
        let group = self.group_of[point][flow as usize];
        group.is_none_or(|group| self.groups[group as usize].flows[other].is_none())
    }

    /// The flows of a point that have no partner at `other`.
    pub fn single(&self, point: usize, other: usize) -> Vec<u32> {
        let flows = 0..u32::try_from(self.points[point].flows.len()).unwrap_or(u32::MAX);
        flows
            .filter(|flow| self.lacks(point, *flow, other))
            .collect()
    }

    pub fn flow(&self, point: usize, flow: u32) -> &'a Flow {
        &self.points[point].flows[flow as usize]
    }

    /// Joins two flows, unless that would put two flows of a point into one connection.
    pub fn link(&mut self, link: Link) {
        let (one, other) = (link.one, link.other);
        let known = self.group_of[one.0][one.1 as usize];
        let known_other = self.group_of[other.0][other.1 as usize];
        match (known, known_other) {
            (None, None) => {
                let index = self.groups.len();
                let mut group = Group {
                    flows: vec![None; self.points.len()],
                    by: link.by,
                    shifts: vec![[0; 2]; self.points.len()],
                    clients: Vec::new(),
                };
                group.flows[one.0] = Some(one.1);
                group.flows[other.0] = Some(other.1);
                group.shifts[other.0] = link.shift;
                self.groups.push(group);
                let index = u32::try_from(index).ok();
                self.group_of[one.0][one.1 as usize] = index;
                self.group_of[other.0][other.1 as usize] = index;
            }
            (Some(group), None) => self.join(group, one.0, other, link.shift, false),
            (None, Some(group)) => self.join(group, other.0, one, link.shift, true),
            // Two connections of several points each: what joined them first stands.
            (Some(_), Some(_)) => {}
        }
    }

    fn join(&mut self, group: u32, at: usize, new: (usize, u32), shift: [u32; 2], back: bool) {
        let entry = &mut self.groups[group as usize];
        if entry.flows[new.0].is_some() {
            return;
        }
        let base = entry.shifts[at];
        let add = |side: usize| {
            if back {
                base[side].wrapping_sub(shift[side])
            } else {
                base[side].wrapping_add(shift[side])
            }
        };
        entry.flows[new.0] = Some(new.1);
        entry.shifts[new.0] = [add(0), add(1)];
        self.group_of[new.0][new.1 as usize] = Some(group);
    }
}

/// Pairs the flows of all points.
pub(crate) fn pair(points: &[Point]) -> Pairing {
    let mut progress = Progress::new(points);
    handshake::pair_by_both_numbers(&mut progress);
    for one in 0..points.len() {
        for other in one + 1..points.len() {
            handshake::pair_by_one_number(&mut progress, one, other);
            segments::pair_by_segments(&mut progress, one, other);
            payload::pair_by_payload(&mut progress, one, other);
            udp::pair_datagrams(&mut progress, one, other);
        }
    }
    finish(progress)
}

/// Orders the connections and makes shifts relative to the first point that has each.
fn finish(progress: Progress<'_>) -> Pairing {
    let points = progress.points;
    let mut groups = progress.groups;
    for group in &mut groups {
        let first = group.members().next().map(|(point, _)| point);
        if let Some(first) = first {
            let base = group.shifts[first];
            for shift in &mut group.shifts {
                *shift = [0, 1].map(|side| shift[side].wrapping_sub(base[side]));
            }
        }
        group.clients = roles::clients(points, group);
    }
    groups.sort_by_cached_key(|group| {
        let first = group.members().next();
        first.map(|(point, flow)| (point, points[point].flows[flow as usize].first_frame, flow))
    });
    Pairing {
        groups,
        ambiguous: progress.ambiguous,
    }
}

/// Whether two flows have the same two ends, whoever is the client.
pub(super) fn same_ends(one: &Flow, other: &Flow) -> bool {
    one.transport == other.transport && one.ends == other.ends
}

pub(super) const fn is_tcp(flow: &Flow) -> bool {
    matches!(flow.transport, Transport::Tcp)
}

/// Whether its packets are known like datagrams: UDP, or TCP of which too little was captured.
pub(super) const fn is_datagrams(flow: &Flow) -> bool {
    !is_tcp(flow) || flow.cut_after.is_some()
}

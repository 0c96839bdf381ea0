//! Which end of a flow is the client, the same at every point.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::Group;
use crate::reading::{Fact, Flow, Point, Record};

/// Records looked at to find a packet that two points share.
const LOOKED_AT: usize = 4096;

/// The client's side of the connection's flow at each point; 0 where it was not seen.
pub(super) fn clients(points: &[Point], group: &Group) -> Vec<usize> {
    let flow = |point: usize, flow: u32| &points[point].flows[flow as usize];
    let members: Vec<(usize, u32)> = group.members().collect();
    let is_certain = |flow: &Flow| flow.opener.is_some() || flow.acceptor.is_some();
    let reference = members
        .iter()
        .find(|(point, index)| is_certain(flow(*point, *index)))
        .or(members.first());
    let mut clients = vec![0; points.len()];
    let Some(&(known_at, known_index)) = reference else {
        return clients;
    };
    let known = flow(known_at, known_index);
    for (point, index) in members {
        let own = flow(point, index);
        clients[point] = if point == known_at || is_certain(own) {
            own.client()
        } else if own.ends == known.ends {
            known.client()
        } else {
            let shift = |point: usize| group.shifts[point];
            let flips = is_flipped(
                (points[known_at].records_of(known), shift(known_at)),
                (points[point].records_of(own), shift(point)),
            );
            if flips {
                1 - known.client()
            } else {
                known.client()
            }
        };
    }
    clients
}

/// Whether packets that both points saw come from the other side of the key at the second.
fn is_flipped(one: (&[Record], [u32; 2]), other: (&[Record], [u32; 2])) -> bool {
    let name = |record: &Record| {
        if record.has(Fact::TCP) {
            (record.seq, record.ack, record.len)
        } else {
            (record.head, 0, record.len)
        }
    };
    let mut sides: HashMap<_, usize, FixedState> = HashMap::default();
    for record in one.0.iter().take(LOOKED_AT) {
        sides.insert(name(record), record.side());
    }
    // Rewritten numbers share no name: such flows were paired by their handshakes or ends.
    let votes = other.0.iter().take(LOOKED_AT).filter_map(|record| {
        let side = sides.get(&name(record))?;
        Some(if *side == record.side() { -1_i64 } else { 1 })
    });
    votes.sum::<i64>() > 0
}

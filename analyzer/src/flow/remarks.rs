//! What a capture says of connections beside their packets, until they are handed over.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::addr::Endpoint;
use crate::capture::{OtherSide, Owner, OwnerEnd, Remark, Said};
use crate::connection::{Connection, Process, ProxiedTo};
use crate::decode::Packet;
use crate::direction::Direction;

use super::key::FlowKey;

/// Connections of one shard of which words are kept, at about 300 bytes each.
pub(crate) const CONNECTIONS: usize = 8_192;
/// Causes of resets kept of one connection: as many as it has resets.
const CAUSES: usize = 8;
/// Owners kept of one connection: one for each end, and what names no end.
const OWNERS: usize = 4;

/// An end of a connection, as far as a remark tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    End(Endpoint),
    Role(Direction),
    Unknown,
}

/// What is said of one connection.
#[derive(Debug, Default)]
struct Noted {
    owners: Vec<(Place, Arc<Owner>)>,
    /// With the frame and the sender of the RST.
    causes: Vec<(u64, Endpoint, Box<str>)>,
    other_side: Option<Box<OtherSide>>,
}

/// What is said of the connections of a shard.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    noted: HashMap<FlowKey, Noted, FixedState>,
    /// Words for which there was no room.
    left_out: u64,
}

impl Remarks {
    /// Takes what is said of a packet.
    pub fn take(&mut self, key: FlowKey, packet: &Packet, remark: &Remark) {
        if self.noted.len() >= CONNECTIONS && !self.noted.contains_key(&key) {
            self.left_out += 1;
            return;
        }
        let noted = self.noted.entry(key).or_default();
        match &remark.says {
            Said::Owner(owner) => noted.owner(place(owner, packet), owner),
            Said::ResetCause(cause) if noted.causes.len() < CAUSES => {
                noted
                    .causes
                    .push((packet.frame, packet.source(), cause.clone()));
            }
            Said::OtherSide(side) if noted.other_side.is_none() => {
                noted.other_side = Some(side.clone());
            }
            Said::ResetCause(_) | Said::OtherSide(_) => {}
        }
    }

    /// A connection is handed over: it gets what was said of it.
    pub fn give(&mut self, key: &FlowKey, connection: &mut Connection) {
        if let Some(noted) = self.forget(key) {
            noted.give(connection);
        }
    }

    /// The flow is over without having become a connection.
    pub fn drop(&mut self, key: &FlowKey) {
        self.forget(key);
    }

    fn forget(&mut self, key: &FlowKey) -> Option<Noted> {
        if self.noted.is_empty() {
            return None;
        }
        self.noted.remove(key)
    }

    /// Words about packets that were left out because too many connections had some at one time.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }
}

fn place(owner: &Owner, packet: &Packet) -> Place {
    match owner.end {
        OwnerEnd::Source => Place::End(packet.source()),
        OwnerEnd::Destination => Place::End(packet.destination()),
        OwnerEnd::Client => Place::Role(Direction::ClientToServer),
        OwnerEnd::Server => Place::Role(Direction::ServerToClient),
        OwnerEnd::Unknown => Place::Unknown,
    }
}

/// How much an owner tells.
fn tells(owner: &Owner) -> u8 {
    let told = [
        owner.name.is_some(),
        owner.pid.is_some(),
        owner.pod.is_some(),
        owner.container.is_some(),
    ];
    told.into_iter().map(u8::from).sum()
}

impl Noted {
    fn owner(&mut self, place: Place, owner: &Arc<Owner>) {
        match self.owners.iter_mut().find(|(known, _)| *known == place) {
            Some((_, known)) if tells(known) < tells(owner) => *known = Arc::clone(owner),
            Some(_) => {}
            None => {
                if self.owners.len() < OWNERS {
                    self.owners.push((place, Arc::clone(owner)));
                }
            }
        }
    }

    fn give(self, connection: &mut Connection) {
        let end = |place: Place| match place {
            Place::End(end) if end == connection.client => Some(Direction::ClientToServer),
            Place::End(end) if end == connection.server => Some(Direction::ServerToClient),
            Place::Role(end) => Some(end),
            Place::End(_) | Place::Unknown => None,
        };
        // The client's, where both are known: the same choice as among host files.
        let rank = |place: Place| match end(place) {
            Some(Direction::ClientToServer) => 0,
            Some(Direction::ServerToClient) => 1,
            None => 2,
        };
        let chosen = self.owners.iter().min_by_key(|(place, _)| rank(*place));
        if let Some((place, owner)) = chosen {
            let host = end(*place).map(|end| match end {
                Direction::ClientToServer => connection.client.ip,
                Direction::ServerToClient => connection.server.ip,
            });
            connection.process = Some(Box::new(Process {
                name: owner.name.as_deref().map(str::to_owned),
                pid: owner.pid,
                pod: owner.pod.as_deref().map(str::to_owned),
                container: owner.container.as_deref().map(str::to_owned),
                host: host.map(|ip| ip.to_string()),
                source: owner.told_by.source().to_owned(),
            }));
        }
        for (frame, from, cause) in self.causes {
            let direction = if from == connection.client {
                Direction::ClientToServer
            } else {
                Direction::ServerToClient
            };
            let of_end = connection.resets.iter_mut().rev();
            let mut of_end = of_end.filter(|reset| reset.segment.direction == direction);
            if let Some(reset) = of_end.find(|reset| reset.segment.frame <= frame)
                && reset.stated.is_none()
            {
                reset.stated = Some(cause);
            }
        }
        connection.proxied_to = self.other_side.map(|side| {
            Box::new(ProxiedTo {
                remote: side.remote,
                local: side.local,
                service: side.service,
            })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::ToldBy;
    use crate::decode::PacketKind;
    use crate::time::Timestamp;

    fn packet(port: u16) -> Packet {
        Packet {
            frame: 1,
            time: Timestamp::default(),
            src: [1; 16],
            dst: [2; 16],
            src_port: port,
            dst_port: 53,
            wire_len: 60,
            payload_len: 0,
            payload_start: 0,
            payload_captured: 0,
            ip_id: None,
            hop_limit: 64,
            ecn: 0,
            dont_fragment: true,
            reassembled: false,
            observation_point: 0,
            kind: PacketKind::Udp,
        }
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let mut remarks = Remarks::default();
        let owner = Arc::new(Owner {
            pid: Some(7),
            told_by: ToldBy::Rustnet,
            ..Owner::default()
        });
        let remark = Remark {
            frame: 1,
            says: Said::Owner(owner),
        };
        let key = |number: usize| {
            let port = u16::try_from(number).expect("few");
            FlowKey::of(&packet(port)).0
        };
        let mut take = |number| {
            remarks.take(key(number), &packet(1), &remark);
            remarks.left_out()
        };
        assert!((0..CONNECTIONS).all(|number| take(number) == 0));
        assert_eq!(take(0), 0, "a connection that is known");
        assert_eq!(take(CONNECTIONS), 1);
        remarks.drop(&key(3));
        remarks.take(key(CONNECTIONS), &packet(1), &remark);
        assert_eq!(remarks.left_out(), 1, "one that left made room");
    }
}

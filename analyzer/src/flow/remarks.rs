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
const CONNECTIONS: usize = 8_192;
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
pub(super) struct Remarks(HashMap<FlowKey, Noted, FixedState>);

impl Remarks {
    /// Takes what is said of a packet.
    pub fn take(&mut self, key: FlowKey, packet: &Packet, remark: &Remark) {
        if self.0.len() >= CONNECTIONS && !self.0.contains_key(&key) {
            return;
        }
        let noted = self.0.entry(key).or_default();
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
        if self.0.is_empty() {
            return None;
        }
        self.0.remove(key)
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
    u8::from(owner.name.is_some()) + u8::from(owner.pid.is_some()) + u8::from(owner.pod.is_some())
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

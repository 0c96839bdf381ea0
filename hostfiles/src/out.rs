//! What readers write to.

use std::net::IpAddr;

use analyzer::Endpoint;

use crate::limits;
use crate::model::{Facts, HostFile, SocketRow};

/// What a reader writes to.
pub(crate) struct Out<'a> {
    pub(crate) facts: &'a mut Facts,
    pub(crate) file: &'a mut HostFile,
    /// The time of the snapshot that is being read, where a line between snapshots told it.
    pub(crate) time: Option<i64>,
    /// How many such lines came before, and headers.
    pub(crate) snapshot: u32,
    /// Which sockets are of interest; others are not kept.
    pub(crate) wanted: Wanted<'a>,
}

/// How likely a socket is one of the capture.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Interest {
    /// Its addresses are not in the capture.
    None,
    /// They are; its ports are not: it is kept while there is room.
    Maybe,
    /// An end of it is.
    Sure,
}

/// How likely a socket with this end of its own and this other end is one of the capture.
pub type Wanted<'a> = &'a (dyn Fn(Option<Endpoint>, Option<Endpoint>) -> Interest + Sync);

impl Out<'_> {
    /// An address of the host itself.
    pub(crate) fn own(&mut self, ip: IpAddr) {
        if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() {
            return;
        }
        let addresses = &mut self.file.addresses;
        if addresses.len() < limits::ADDRESSES || addresses.contains_key(&ip) {
            *addresses.entry(ip).or_default() += 1;
        }
    }

    /// A socket of a snapshot.
    pub(crate) fn socket(&mut self, row: SocketRow) {
        self.own(row.local.ip);
        for user in &row.users {
            if let Some(pid) = user.pid
                && self.facts.names.len() < limits::TRACED
            {
                let key = (row.place.at.file, pid);
                let names = &mut self.facts.names;
                names.entry(key).or_insert_with(|| user.name.clone());
            }
        }
        if row.peer.is_none() || self.wants(Some(row.local), row.peer) {
            self.facts.socket(row);
        }
    }

    /// Whether a socket with these ends is kept.
    pub(crate) fn wants(&self, local: Option<Endpoint>, peer: Option<Endpoint>) -> bool {
        let kept = self.facts.traced.len() * (limits::FACTS / limits::TRACED);
        let has_room = kept.max(self.facts.sockets.len()) < limits::FACTS / 4;
        match (self.wanted)(local, peer) {
            Interest::None => peer.is_none(),
            Interest::Maybe => has_room,
            Interest::Sure => true,
        }
    }
}

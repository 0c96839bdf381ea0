//! Redaction: a report that can be handed on without telling who the hosts are and what they said.
//!
//! Everything derives from one key, so one host has one stand-in in all outputs of a run:
//!
//! | what | becomes |
//! | --- | --- |
//! | IPv4 and IPv6 addresses | other addresses; equal prefixes stay equal (`address`) |
//! | MAC addresses | other, locally administered ones |
//! | names, hosts, request targets | `name-1f3a…`; equal names stay equal (`names`) |
//! | payload in evidence | cut off; checksums are made right again (`frame`) |
//!
//! Ports, sizes, times, sequence numbers and TTLs stay: without them nothing could be checked.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

mod address;
mod document;
mod frame;
mod host_lines;
mod names;
mod text;

pub(crate) use document::options_only;

/// Maps what identifies hosts and people to stand-ins, by a key.
#[derive(Debug)]
pub struct Redactor {
    key: [u8; 32],
    /// Addresses mapped so far: an IPv6 address takes 128 hashes.
    addresses: Mutex<HashMap<IpAddr, IpAddr>>,
}

impl Redactor {
    /// Anybody who has the key can undo the mapping of addresses by trying them all: it is a
    /// secret.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self {
            key: Sha256::digest(key).into(),
            addresses: Mutex::default(),
        }
    }

    /// Pseudo-random octets for `input`; `kind` keeps uses apart.
    fn keyed(&self, kind: &str, input: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        // The key has a fixed length and the kind ends with a zero: no two inputs read the same.
        hash.update(self.key);
        hash.update(kind.as_bytes());
        hash.update([0]);
        hash.update(input);
        hash.finalize().into()
    }

    /// The stand-in of an address.
    #[must_use]
    pub fn address(&self, address: IpAddr) -> IpAddr {
        // A poisoned cache still holds only what is true.
        let mut known = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *known
            .entry(address)
            .or_insert_with(|| address::map(self, address))
    }

    /// The stand-in of a MAC address. Broadcast stays, and group addresses stay group addresses.
    #[must_use]
    pub fn mac(&self, mac: [u8; 6]) -> [u8; 6] {
        if mac == [0xff; 6] || mac == [0; 6] {
            return mac;
        }
        let octets = self.keyed("mac", &mac);
        let group = mac[0] & 0x01;
        let first = octets[0] & 0xfc | 0x02 | group;
        [first, octets[1], octets[2], octets[3], octets[4], octets[5]]
    }

    /// The stand-in of a name: the same for equal names, whatever their letters' case.
    #[must_use]
    pub fn name(&self, name: &str) -> String {
        let octets = self.keyed("name", name.to_ascii_lowercase().as_bytes());
        let digits = octets[..5].iter().map(|octet| format!("{octet:02x}"));
        format!("name-{}", digits.collect::<String>())
    }
}

//! The key of a run, and the stand-ins that need nothing else.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use sha2::{Digest, Sha256};

/// Maps what identifies hosts and people to stand-ins, by a key.
#[derive(Debug)]
pub struct Redactor {
    key: [u8; 32],
    /// Addresses mapped so far: an IPv6 address takes 128 hashes.
    pub(super) addresses: Mutex<HashMap<IpAddr, IpAddr>>,
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
    pub(super) fn keyed(&self, kind: &str, input: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        // The key has a fixed length and the kind ends with a zero: no two inputs read the same.
        hash.update(self.key);
        hash.update(kind.as_bytes());
        hash.update([0]);
        hash.update(input);
        hash.finalize().into()
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

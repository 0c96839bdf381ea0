//! Which packets are analysed: the part of a capture somebody asks about.
//!
//! The result is that of a capture taken with this filter, but for frame numbers, which stay
//! those of the files. Both directions of a connection pass or none; an ICMP error passes with
//! the packet it quotes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::addr::Endpoint;
use crate::decode::Packet;
use crate::time::Timestamp;

/// Packets that are analysed; the default is all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PacketFilter {
    /// Not before this time.
    pub from: Option<Timestamp>,
    /// Not after this time.
    pub to: Option<Timestamp>,
    /// One end is in one of these; empty for any.
    pub hosts: Vec<Hosts>,
    /// One end's port is one of these; empty for any.
    pub ports: Vec<u16>,
    /// The two ends are one of these pairs; empty for any.
    pub connections: Vec<Ends>,
}

impl PacketFilter {
    /// Whether every packet passes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Whether something at this time passes.
    #[must_use]
    pub fn admits_time(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time <= to)
    }

    /// Whether a packet passes.
    #[must_use]
    pub fn admits(&self, packet: &Packet) -> bool {
        let any = |list_is_empty: bool, found: bool| list_is_empty || found;
        let has_host = |hosts: &Hosts| hosts.contain(packet.src) || hosts.contain(packet.dst);
        let has_port = |port: &u16| packet.src_port == *port || packet.dst_port == *port;
        self.admits_time(packet.time)
            && any(self.hosts.is_empty(), self.hosts.iter().any(has_host))
            && any(self.ports.is_empty(), self.ports.iter().any(has_port))
            && any(
                self.connections.is_empty(),
                self.connections.iter().any(|ends| ends.are_of(packet)),
            )
    }
}

impl fmt::Display for PacketFilter {
    /// `from … to …, host … or …, port …`, for a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(from) = self.from {
            parts.push(format!("not before {}", from.rfc3339()));
        }
        if let Some(to) = self.to {
            parts.push(format!("not after {}", to.rfc3339()));
        }
        let mut list = |name: &str, values: Vec<String>| {
            if !values.is_empty() {
                parts.push(format!("{name} {}", values.join(" or ")));
            }
        };
        list("host", self.hosts.iter().map(ToString::to_string).collect());
        list("port", self.ports.iter().map(ToString::to_string).collect());
        let connections = self.connections.iter().map(ToString::to_string);
        list("connection", connections.collect());
        f.write_str(&parts.join(", "))
    }
}

/// An address, or all that begin alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hosts {
    address: IpAddr,
    /// Bits that count, of the 128 of the mapped address.
    bits: u32,
}

/// 16 octets, IPv4 mapped into IPv6 (RFC 4291 §2.5.5.2), as [`Packet`] holds addresses.
const fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

impl Hosts {
    fn contain(&self, address: [u8; 16]) -> bool {
        let differing = u128::from_be_bytes(octets(self.address)) ^ u128::from_be_bytes(address);
        differing.leading_zeros() >= self.bits
    }
}

/// Why the text of a filter makes no sense; one line, ready to show.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct FilterError(String);

impl FromStr for Hosts {
    type Err = FilterError;

    /// An address, or `address/prefix length`.
    fn from_str(text: &str) -> Result<Self, FilterError> {
        let wrong = || {
            FilterError(format!(
                "{text:?} is no address: expected 10.9.0.2, 10.9.0.0/16 or 2001:db8::1"
            ))
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let (longest, unused) = if address.is_ipv4() {
            (32, 96)
        } else {
            (128, 0)
        };
        let prefix = prefix.map_or(Some(longest), |prefix| prefix.parse().ok());
        let prefix: u32 = prefix
            .filter(|prefix| *prefix <= longest)
            .ok_or_else(wrong)?;
        Ok(Self {
            address,
            bits: prefix + unused,
        })
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (longest, unused) = if self.address.is_ipv4() {
            (32, 96)
        } else {
            (128, 0)
        };
        match self.bits - unused {
            prefix if prefix == longest => write!(f, "{}", self.address),
            prefix => write!(f, "{}/{prefix}", self.address),
        }
    }
}

/// The two ends of a connection, in any order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends(Endpoint, Endpoint);

impl Ends {
    fn are_of(&self, packet: &Packet) -> bool {
        let source = (packet.src, packet.src_port);
        let destination = (packet.dst, packet.dst_port);
        let [one, other] = [self.0, self.1].map(|end| (octets(end.ip), end.port));
        (source, destination) == (one, other) || (source, destination) == (other, one)
    }
}

impl FromStr for Ends {
    type Err = FilterError;

    /// Two endpoints as reports write them, with `-`, `,` or an arrow between.
    fn from_str(text: &str) -> Result<Self, FilterError> {
        let wrong = || {
            FilterError(format!(
                "{text:?} is no connection: expected 10.9.0.1:40000-10.9.0.2:80, IPv6 as [2001:db8::1]:80"
            ))
        };
        let end = |text: &str| {
            let address: SocketAddr = text.trim().parse().map_err(|_| wrong())?;
            Ok(Endpoint::new(address.ip(), address.port()))
        };
        let between = ["->", "→", "-", ","];
        let (one, other) = between
            .iter()
            .find_map(|mark| text.split_once(mark))
            .ok_or_else(wrong)?;
        Ok(Self(end(one)?, end(other)?))
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_and_prefixes() {
        let contains = |hosts: &str, address: &str| {
            let hosts: Hosts = hosts.parse().unwrap();
            hosts.contain(octets(address.parse().unwrap()))
        };
        assert!(contains("10.9.0.2", "10.9.0.2"));
        assert!(!contains("10.9.0.2", "10.9.0.3"));
        assert!(contains("10.9.0.0/16", "10.9.255.1"));
        assert!(!contains("10.9.0.0/16", "10.10.0.1"));
        assert!(contains("0.0.0.0/0", "192.0.2.1"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(contains("::/0", "2001:db8::1"));
        for wrong in [
            "",
            "10.9.0",
            "10.9.0.2/33",
            "10.9.0.2/",
            "host",
            "10.9.0.2:80",
        ] {
            assert!(wrong.parse::<Hosts>().is_err(), "{wrong}");
        }
        for text in ["10.9.0.2", "10.9.0.0/16", "2001:db8::/32"] {
            assert_eq!(text.parse::<Hosts>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn connections_are_two_ends_in_any_writing() {
        let ends: Ends = "10.9.0.1:40000-10.9.0.2:80".parse().unwrap();
        for text in [
            "10.9.0.1:40000 → 10.9.0.2:80",
            "10.9.0.1:40000,10.9.0.2:80",
            "10.9.0.1:40000->10.9.0.2:80",
        ] {
            assert_eq!(text.parse(), Ok(ends), "{text}");
        }
        assert!("[2001:db8::1]:1-[2001:db8::2]:80".parse::<Ends>().is_ok());
        for wrong in ["", "10.9.0.1:1", "10.9.0.1-10.9.0.2", "a-b"] {
            assert!(wrong.parse::<Ends>().is_err(), "{wrong}");
        }
    }
}

//! Prefix-preserving mapping of addresses: two addresses that share their first *n* bits have
//! stand-ins that share exactly their first *n* bits (the scheme of Crypto-PAn, with SHA-256 as
//! the pseudo-random function).
//!
//! Blocks with a meaning stay themselves, so that a report still separates a private address from a
//! public one: their fixed bits are kept, and the bits behind are mapped. A public address whose
//! stand-in falls into such a block is mapped on until it does not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::PoisonError;

use super::redactor::Redactor;

/// IPv4 blocks of which the prefix is kept (RFC 6890 names them).
const BLOCKS_4: [(Ipv4Addr, u32); 7] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
];

/// From here on: multicast, reserved, broadcast.
const SPECIAL_4: u32 = 0xe000_0000;

/// IPv6 blocks of which the prefix is kept.
const BLOCKS_6: [(Ipv6Addr, u32); 2] = [
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
];

impl Redactor {
    /// The stand-in of an address.
    #[must_use]
    pub fn address(&self, address: IpAddr) -> IpAddr {
        // A poisoned cache still holds only what is true.
        let mut known = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *known.entry(address).or_insert_with(|| map(self, address))
    }
}

/// The stand-in of an address.
fn map(redactor: &Redactor, address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(map_4(redactor, v4)),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V6(map_4(redactor, v4).to_ipv6_mapped()),
            None => IpAddr::V6(map_6(redactor, v6)),
        },
    }
}

fn map_4(redactor: &Redactor, address: Ipv4Addr) -> Ipv4Addr {
    let bits = address.to_bits();
    if says_nothing_4(bits) {
        return address;
    }
    let shifted = u128::from(bits) << 96;
    let kept = block_4(bits);
    let mut mapped = scrambled(redactor, "ipv4", shifted, kept.unwrap_or(0), 32);
    while kept.is_none() && is_special_4(high_32(mapped)) {
        mapped = scrambled(redactor, "ipv4", mapped, 0, 32);
    }
    Ipv4Addr::from_bits(high_32(mapped))
}

fn map_6(redactor: &Redactor, address: Ipv6Addr) -> Ipv6Addr {
    let bits = address.to_bits();
    if says_nothing_6(address) {
        return address;
    }
    let kept = block_6(bits);
    let mut mapped = scrambled(redactor, "ipv6", bits, kept.unwrap_or(0), 128);
    while kept.is_none() && is_special_6(mapped) {
        mapped = scrambled(redactor, "ipv6", mapped, 0, 128);
    }
    Ipv6Addr::from_bits(mapped)
}

/// Flips every bit behind the first `kept` ones by a bit that depends on all bits before it.
fn scrambled(redactor: &Redactor, kind: &str, bits: u128, kept: u32, len: u32) -> u128 {
    (kept..len).fold(bits, |mapped, at| {
        let before = if at == 0 { 0 } else { bits >> (128 - at) };
        let mut input = [0; 17];
        input[0] = u8::try_from(at).unwrap_or(u8::MAX);
        input[1..].copy_from_slice(&before.to_be_bytes());
        let flip = u128::from(redactor.keyed(kind, &input)[0] & 1);
        mapped ^ flip << (127 - at)
    })
}

const fn high_32(bits: u128) -> u32 {
    (bits >> 96) as u32
}

fn block_4(bits: u32) -> Option<u32> {
    let found = BLOCKS_4
        .iter()
        .find(|(block, len)| (bits ^ block.to_bits()).leading_zeros() >= *len);
    found.map(|(_, len)| *len)
}

fn block_6(bits: u128) -> Option<u32> {
    let found = BLOCKS_6
        .iter()
        .find(|(block, len)| (bits ^ block.to_bits()).leading_zeros() >= *len);
    found.map(|(_, len)| *len)
}

/// Addresses that are the same everywhere: unspecified, loopback, multicast, broadcast.
fn says_nothing_4(bits: u32) -> bool {
    bits >> 24 == 127 || bits == 0 || bits >= SPECIAL_4
}

fn says_nothing_6(address: Ipv6Addr) -> bool {
    address.is_unspecified() || address.is_loopback() || address.is_multicast()
}

fn is_special_4(bits: u32) -> bool {
    says_nothing_4(bits) || block_4(bits).is_some()
}

fn is_special_6(bits: u128) -> bool {
    let address = Ipv6Addr::from_bits(bits);
    says_nothing_6(address) || address.to_ipv4_mapped().is_some() || block_6(bits).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(a: IpAddr, b: IpAddr) -> u32 {
        match (a, b) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            _ => panic!("two families"),
        }
    }

    #[test]
    fn equal_prefixes_stay_equal_and_no_longer() {
        let redactor = Redactor::new(b"test");
        let pairs = [
            ("10.9.0.1", "10.9.0.2"),
            ("10.9.0.1", "10.200.0.2"),
            ("192.168.7.1", "192.168.7.200"),
            ("2001:db8::1", "2001:db8::2"),
            ("2001:db8:1::1", "2001:db8:2::1"),
            ("fe80::1", "fe80::2"),
        ];
        for (one, other) in pairs {
            let (one, other): (IpAddr, IpAddr) = (one.parse().unwrap(), other.parse().unwrap());
            let mapped = (redactor.address(one), redactor.address(other));
            assert_eq!(
                shared(one, other),
                shared(mapped.0, mapped.1),
                "{one} {other}"
            );
            assert_ne!(one, mapped.0);
        }
    }

    #[test]
    fn blocks_keep_their_meaning() {
        let redactor = Redactor::new(b"test");
        for n in 0..=255_u32 {
            let public: Ipv4Addr = Ipv4Addr::from_bits(n << 24 | 0x0010_2030);
            let IpAddr::V4(mapped) = redactor.address(public.into()) else {
                panic!("a family of its own")
            };
            assert_eq!(
                public.is_private(),
                mapped.is_private(),
                "{public} {mapped}"
            );
            assert_eq!(public.is_loopback(), mapped.is_loopback());
            assert_eq!(public.is_multicast(), mapped.is_multicast());
        }
    }

    #[test]
    fn addresses_that_say_nothing_stay() {
        let redactor = Redactor::new(b"test");
        for same in [
            "127.0.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.251",
            "::",
            "::1",
            "ff02::1",
        ] {
            let same: IpAddr = same.parse().unwrap();
            assert_eq!(redactor.address(same), same);
        }
    }

    #[test]
    fn no_two_addresses_share_a_stand_in() {
        let redactor = Redactor::new(b"test");
        let mapped: std::collections::BTreeSet<_> = (0..4096_u32)
            .map(|n| redactor.address(Ipv4Addr::from_bits(n.wrapping_mul(1_048_583)).into()))
            .collect();
        assert_eq!(mapped.len(), 4096);
    }

    #[test]
    fn another_key_gives_other_addresses() {
        let address: IpAddr = "203.0.113.7".parse().unwrap();
        let (one, other) = (Redactor::new(b"one"), Redactor::new(b"other"));
        assert_ne!(one.address(address), other.address(address));
    }
}

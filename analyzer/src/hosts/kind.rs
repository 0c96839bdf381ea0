//! What an address says of itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reach of an address (RFC 6890).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AddressKind {
    /// Reachable from everywhere.
    Public,
    /// Of one network only: RFC 1918, RFC 6598, RFC 4193, link-local.
    Private,
    /// The host itself.
    Loopback,
    /// Multicast or broadcast.
    Group,
    /// Documentation, benchmarks, reserved or unspecified.
    Special,
}

impl AddressKind {
    /// The kind of an address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Loopback => "loopback",
            Self::Group => "group",
            Self::Special => "special",
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        let [a, b, ..] = ip.octets();
        if ip.is_loopback() {
            Self::Loopback
        } else if ip.is_multicast() || ip.is_broadcast() {
            Self::Group
        } else if ip.is_private() || ip.is_link_local() || (a == 100 && b & 0xc0 == 64) {
            Self::Private
        } else if ip.is_documentation() || a == 0 || a >= 240 || (a == 198 && b & 0xfe == 18) {
            Self::Special
        } else {
            Self::Public
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        let [first, second, ..] = ip.segments();
        if ip.is_loopback() {
            Self::Loopback
        } else if ip.is_multicast() {
            Self::Group
        } else if ip.is_unique_local() || ip.is_unicast_link_local() {
            Self::Private
        } else if ip.is_unspecified() || (first == 0x2001 && second == 0xdb8) {
            Self::Special
        } else {
            Self::Public
        }
    }
}

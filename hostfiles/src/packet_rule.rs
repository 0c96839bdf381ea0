//! Rules of packet filters and translators.

use std::net::IpAddr;

use analyzer::{Endpoint, Transport};

use crate::place::LineRef;

/// A network of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Net {
    /// Its address.
    pub ip: IpAddr,
    /// Bits that count.
    pub bits: u8,
    /// All but these.
    pub negated: bool,
}

impl Net {
    /// Whether an address belongs to it.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let within = match (self.ip, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.bits.min(32));
                let cut = |ip: u32| ip.checked_shr(shift).unwrap_or(0);
                cut(net.to_bits()) == cut(ip.to_bits())
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.bits.min(128));
                let cut = |ip: u128| ip.checked_shr(shift).unwrap_or(0);
                cut(net.to_bits()) == cut(ip.to_bits())
            }
            _ => false,
        };
        within != self.negated
    }
}

/// What a rule does with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// To a port of the host itself.
    Redirect(Option<u16>),
    /// To another address, another port, or both.
    Dnat(Option<IpAddr>, Option<u16>),
    /// Another source.
    Snat,
    /// Refused: with RST, or with an ICMP error.
    Reject {
        /// With RST.
        reset: bool,
    },
    /// Dropped in silence.
    Drop,
}

/// A rule of a packet filter or translator.
#[derive(Clone, PartialEq, Debug)]
pub struct PacketRule {
    /// Where.
    pub at: LineRef,
    /// Chain.
    pub chain: String,
    /// Protocol, when it asks for one.
    pub transport: Option<Transport>,
    /// It asks for another protocol than TCP and UDP, or for what cannot be seen in a packet.
    pub is_other: bool,
    /// Source.
    pub source: Option<Net>,
    /// Destination.
    pub destination: Option<Net>,
    /// Ports of the destination, from and to.
    pub ports: Vec<(u16, u16)>,
    /// What it does.
    pub target: Target,
    /// Packets that it met, where counted.
    pub packets: Option<u64>,
}

impl PacketRule {
    /// Whether a packet of this kind to this destination is one it asks for, as far as its own
    /// line tells.
    #[must_use]
    pub fn covers(&self, transport: Transport, source: IpAddr, destination: Endpoint) -> bool {
        !self.is_other
            && self.transport.is_none_or(|asked| asked == transport)
            && self.source.is_none_or(|net| net.contains(source))
            && self
                .destination
                .is_none_or(|net| net.contains(destination.ip))
            && (self.ports.is_empty()
                || self
                    .ports
                    .iter()
                    .any(|(from, to)| (*from..=*to).contains(&destination.port)))
    }
}

//! What was met while decoding, counted: protocols, and why decoding ended early.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::capture::LinkType;
use crate::static_name::{self, StaticName};

macro_rules! protocols {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A protocol that is counted by name.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum Protocol {
            $($(#[$doc])* $variant,)*
        }

        impl Protocol {
            /// All of them, in the order of their discriminants.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in reports, as Wireshark's display filters have it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

protocols! {
    /// RFC 9293.
    Tcp = "tcp",
    /// RFC 768.
    Udp = "udp",
    /// RFC 792.
    Icmp = "icmp",
    /// RFC 4443.
    Icmpv6 = "icmpv6",
    /// RFC 826.
    Arp = "arp",
    /// RFC 791.
    Ipv4 = "ip",
    /// RFC 8200.
    Ipv6 = "ipv6",
    /// Fragments of IP datagrams.
    Fragment = "ip.fragment",
    /// RFC 9776 and before.
    Igmp = "igmp",
    /// RFC 9260.
    Sctp = "sctp",
    /// RFC 2328.
    Ospf = "ospf",
    /// RFC 7761.
    Pim = "pim",
    /// RFC 9568 and before.
    Vrrp = "vrrp",
    /// RFC 4302.
    Ah = "ah",
    /// RFC 4303, opaque.
    Esp = "esp",
    /// WireGuard, opaque.
    WireGuard = "wg",
    /// IEEE 802.1Q and 802.1ad tags.
    Vlan = "vlan",
    /// RFC 3032.
    Mpls = "mpls",
    /// RFC 2516.
    Pppoe = "pppoe",
    /// RFC 1661.
    Ppp = "ppp",
    /// IEEE 802.2.
    Llc = "llc",
    /// Spanning tree.
    Stp = "stp",
    /// IEEE 802.1AB.
    Lldp = "lldp",
    /// IEEE 802.1X.
    Eapol = "eapol",
    /// IEEE 802.11 frames without data.
    Wlan = "wlan",
    /// IEEE 802.11 data that is encrypted.
    WlanEncrypted = "wlan.protected",
    /// RFC 2784.
    Gre = "gre",
    /// Encapsulated remote SPAN.
    Erspan = "erspan",
    /// IPv4 or IPv6 in IP (RFC 2003, 2473, 4213).
    IpInIp = "ipip",
    /// RFC 7348.
    Vxlan = "vxlan",
    /// RFC 8926.
    Geneve = "geneve",
    /// GTP user plane (3GPP TS 29.281).
    Gtp = "gtp",
    /// RFC 2661, 3931.
    L2tp = "l2tp",
    /// RFC 4380.
    Teredo = "teredo",
    /// RFC 9300.
    Lisp = "lisp-data",
    /// RFC 5415.
    Capwap = "capwap.data",
}

impl Protocol {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
}

/// Why the decoding of a frame ended before a transport was reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum DecodeStop {
    /// A record without a packet: a journal entry, a custom block, an undescribed interface.
    NoPacket,
    /// A link type that is not decoded.
    LinkType(LinkType),
    /// An ethertype that is not decoded.
    EtherType(u16),
    /// An LLC service access point that is not decoded.
    LlcSap(u8),
    /// A PPP protocol that is not decoded.
    PppProtocol(u16),
    /// An IP protocol number that is not decoded.
    IpProtocol(u8),
    /// The capture's snap length cut this header.
    Cut(#[serde(deserialize_with = "static_name::read")] StaticName),
    /// This header contradicts itself.
    Malformed(#[serde(deserialize_with = "static_name::read")] StaticName),
    /// More tunnels in each other than are followed.
    TooDeep,
    /// Encrypted: there is nothing to decode.
    Opaque(#[serde(deserialize_with = "static_name::read")] StaticName),
}

impl fmt::Display for DecodeStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPacket => f.write_str("record without a packet"),
            Self::LinkType(link_type) => write!(f, "link type {link_type}"),
            Self::EtherType(number) => match ether_type_name(*number) {
                Some(name) => write!(f, "ethertype {number:#06x} ({name})"),
                None => write!(f, "ethertype {number:#06x}"),
            },
            Self::LlcSap(sap) => write!(f, "LLC SAP {sap:#04x}"),
            Self::PppProtocol(number) => write!(f, "PPP protocol {number:#06x}"),
            Self::IpProtocol(number) => match etherparse::IpNumber(*number).keyword_str() {
                Some(name) => write!(f, "IP protocol {number} ({name})"),
                None => write!(f, "IP protocol {number}"),
            },
            Self::Cut(header) => write!(f, "{header} header cut by the snap length"),
            Self::Malformed(header) => write!(f, "malformed {header} header"),
            Self::TooDeep => f.write_str("more nested tunnels than are followed"),
            Self::Opaque(what) => write!(f, "{what} (encrypted)"),
        }
    }
}

/// Names of ethertypes that captures have and that are not decoded.
const fn ether_type_name(number: u16) -> Option<&'static str> {
    Some(match number {
        0x0842 => "Wake-on-LAN",
        0x2000 => "CDP",
        0x6002 => "DEC MOP",
        0x8035 => "RARP",
        0x809b => "AppleTalk",
        0x80f3 => "AARP",
        0x8137 => "IPX",
        0x8808 => "flow control",
        0x8809 => "slow protocols, LACP",
        0x8892 => "PROFINET",
        0x88a4 => "EtherCAT",
        0x88b8 => "GOOSE",
        0x88cc => "LLDP",
        0x88e5 => "MACsec",
        0x88f7 => "PTP",
        0x8902 => "CFM",
        0x8906 => "FCoE",
        0x8914 => "FIP",
        0x8915 => "RoCE",
        0x9000 => "loopback test",
        _ => return None,
    })
}

/// Encrypted traffic between two addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct OpaqueFlow {
    /// `ESP` or `WireGuard`.
    pub kind: Protocol,
    /// Source address.
    pub from: IpAddr,
    /// Destination address.
    pub to: IpAddr,
}

/// Pairs of addresses with opaque traffic that are kept.
const MAX_OPAQUE_FLOWS: usize = 1024;

/// Counts over the frames of one slab, or of many when merged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DecodeStats {
    /// Frames seen.
    pub frames: u64,
    /// Their length on the wire.
    pub wire_bytes: u64,
    /// Frames of which the snap length cut something.
    pub cut_frames: u64,
    /// Times each protocol was met, by discriminant; in a tunnel the outer and the inner count.
    #[serde(with = "counts")]
    counts: [u64; Protocol::COUNT],
    /// Why decoding ended early, and how often.
    pub stops: BTreeMap<DecodeStop, u64>,
    /// Frames and wire bytes of encrypted traffic; at most 1,024 pairs of addresses.
    pub opaque: BTreeMap<OpaqueFlow, (u64, u64)>,
}

/// The counts as a list: arrays of this length are not read and written by themselves.
mod counts {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer, const N: usize>(
        counts: &[u64; N],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        counts.as_slice().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        from: D,
    ) -> Result<[u64; N], D::Error> {
        let counts = Vec::<u64>::deserialize(from)?;
        let all = counts.try_into();
        all.map_err(|_| D::Error::custom("another number of protocols"))
    }
}

impl Default for DecodeStats {
    fn default() -> Self {
        Self {
            frames: 0,
            wire_bytes: 0,
            cut_frames: 0,
            counts: [0; Protocol::COUNT],
            stops: BTreeMap::new(),
            opaque: BTreeMap::new(),
        }
    }
}

impl DecodeStats {
    /// Counts a protocol.
    #[inline]
    pub(super) fn met(&mut self, protocol: Protocol) {
        self.counts[protocol as usize] += 1;
    }

    /// Counts an early end.
    pub(super) fn stop(&mut self, stop: DecodeStop) {
        *self.stops.entry(stop).or_default() += 1;
    }

    /// Counts encrypted traffic.
    pub(super) fn opaque(&mut self, flow: OpaqueFlow, wire_len: u32) {
        self.add_opaque(flow, 1, u64::from(wire_len));
    }

    fn add_opaque(&mut self, flow: OpaqueFlow, frames: u64, bytes: u64) {
        if self.opaque.len() >= MAX_OPAQUE_FLOWS && !self.opaque.contains_key(&flow) {
            return;
        }
        let entry = self.opaque.entry(flow).or_default();
        entry.0 += frames;
        entry.1 += bytes;
    }

    /// How often a protocol was met.
    #[must_use]
    pub const fn count(&self, protocol: Protocol) -> u64 {
        self.counts[protocol as usize]
    }

    /// Protocols that were met, by name.
    #[must_use]
    pub fn protocols(&self) -> BTreeMap<&'static str, u64> {
        let met = Protocol::ALL
            .iter()
            .map(|protocol| (protocol.name(), self.count(*protocol)));
        met.filter(|(_, count)| *count > 0).collect()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds the counts of another slab. Merge in slab order: the opaque pairs kept are the first.
    pub fn merge(&mut self, other: &Self) {
        self.frames += other.frames;
        self.wire_bytes += other.wire_bytes;
        self.cut_frames += other.cut_frames;
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        for (stop, count) in &other.stops {
            *self.stops.entry(*stop).or_default() += count;
        }
        for (flow, (frames, bytes)) in &other.opaque {
            self.add_opaque(*flow, *frames, *bytes);
        }
    }
}

//! Link-layer header types: their LINKTYPE_ numbers and names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Largest captured length that is believed: libpcap's and Wireshark's limit
/// (`MAXIMUM_SNAPLEN`, `WTAP_MAX_PACKET_SIZE_STANDARD`).
pub(super) const MAX_CAPTURED: u32 = 262_144;

/// The same for link types whose records are larger: D-Bus messages and USB transfers. Wireshark
/// allows 128 MiB; a slab must not grow so far.
pub(super) const MAX_CAPTURED_LARGE: u32 = 16 << 20;

/// A LINKTYPE_ number: what the first header of a frame is.
///
/// The registry is <https://www.tcpdump.org/linktypes.html>; Wireshark: `frame.encap_type`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LinkType(pub u16);

macro_rules! link_types {
    ($($constant:ident = $number:literal, $name:literal;)*) => {
        impl LinkType {
            $(#[doc = concat!("LINKTYPE_", $name, ".")] pub const $constant: Self = Self($number);)*

            /// The name without its `LINKTYPE_` prefix, when the number is a known one.
            #[must_use]
            pub const fn known_name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

link_types! {
    NULL = 0, "NULL";
    ETHERNET = 1, "ETHERNET";
    AX25 = 3, "AX25";
    TOKEN_RING = 6, "IEEE802_5";
    ARCNET = 7, "ARCNET_BSD";
    SLIP = 8, "SLIP";
    PPP = 9, "PPP";
    FDDI = 10, "FDDI";
    DLT_ATM_RFC1483 = 11, "DLT_ATM_RFC1483";
    DLT_RAW = 12, "DLT_RAW";
    DLT_RAW_OPENBSD = 14, "DLT_RAW_OPENBSD";
    ATM_CLIP_OLD = 18, "ATM_CLIP (18)";
    ATM_CLIP_BSD = 19, "ATM_CLIP (19)";
    PPP_HDLC = 50, "PPP_HDLC";
    PPP_ETHER = 51, "PPP_ETHER";
    ATM_RFC1483 = 100, "ATM_RFC1483";
    RAW = 101, "RAW";
    C_HDLC = 104, "C_HDLC";
    IEEE802_11 = 105, "IEEE802_11";
    ATM_CLIP = 106, "ATM_CLIP";
    FRAME_RELAY = 107, "FRELAY";
    LOOP = 108, "LOOP";
    ENC = 109, "ENC";
    LINUX_SLL = 113, "LINUX_SLL";
    PFLOG = 117, "PFLOG";
    PRISM = 119, "IEEE802_11_PRISM";
    IP_OVER_FC = 122, "IP_OVER_FC";
    SUNATM = 123, "SUNATM";
    RADIOTAP = 127, "IEEE802_11_RADIOTAP";
    ARCNET_LINUX = 129, "ARCNET_LINUX";
    JUNIPER_MLPPP = 130, "JUNIPER_MLPPP";
    JUNIPER_MLFR = 131, "JUNIPER_MLFR";
    JUNIPER_GGSN = 133, "JUNIPER_GGSN";
    JUNIPER_ATM2 = 135, "JUNIPER_ATM2";
    JUNIPER_ATM1 = 137, "JUNIPER_ATM1";
    APPLE_IP_OVER_IEEE1394 = 138, "APPLE_IP_OVER_IEEE1394";
    DOCSIS = 143, "DOCSIS";
    LINUX_IRDA = 144, "LINUX_IRDA";
    PKTAP_USER2 = 149, "USER2 (PKTAP)";
    AVS = 163, "IEEE802_11_AVS";
    PPP_PPPD = 166, "PPP_PPPD";
    JUNIPER_PPPOE = 167, "JUNIPER_PPPOE";
    GPRS_LLC = 169, "GPRS_LLC";
    LINUX_LAPD = 177, "LINUX_LAPD";
    JUNIPER_ETHER = 178, "JUNIPER_ETHER";
    JUNIPER_PPP = 179, "JUNIPER_PPP";
    JUNIPER_FRELAY = 180, "JUNIPER_FRELAY";
    JUNIPER_CHDLC = 181, "JUNIPER_CHDLC";
    JUNIPER_VP = 183, "JUNIPER_VP";
    USB_FREEBSD = 186, "USB_FREEBSD";
    BLUETOOTH_HCI_H4 = 187, "BLUETOOTH_HCI_H4";
    USB_LINUX = 189, "USB_LINUX";
    CAN20B = 190, "CAN20B";
    PPI = 192, "PPI";
    WPAN = 195, "IEEE802_15_4_WITHFCS";
    ERF = 197, "ERF";
    BLUETOOTH_HCI_H4_WITH_PHDR = 201, "BLUETOOTH_HCI_H4_WITH_PHDR";
    LAPD = 203, "LAPD";
    PPP_WITH_DIR = 204, "PPP_WITH_DIR";
    C_HDLC_WITH_DIR = 205, "C_HDLC_WITH_DIR";
    FRELAY_WITH_DIR = 206, "FRELAY_WITH_DIR";
    IPMB_LINUX = 209, "IPMB_LINUX";
    WPAN_NONASK_PHY = 215, "IEEE802_15_4_NONASK_PHY";
    USB_LINUX_MMAPPED = 220, "USB_LINUX_MMAPPED";
    CAN_SOCKETCAN = 227, "CAN_SOCKETCAN";
    IPNET = 226, "IPNET";
    IPV4 = 228, "IPV4";
    IPV6 = 229, "IPV6";
    WPAN_NOFCS = 230, "IEEE802_15_4_NOFCS";
    DBUS = 231, "DBUS";
    DVB_CI = 235, "DVB_CI";
    MUX27010 = 236, "MUX27010";
    STANAG_5066_D_PDU = 237, "STANAG_5066_D_PDU";
    NFLOG = 239, "NFLOG";
    NETANALYZER = 240, "NETANALYZER";
    NETANALYZER_TRANSPARENT = 241, "NETANALYZER_TRANSPARENT";
    IP_OVER_INFINIBAND = 242, "IPOIB";
    MPEG_2_TS = 243, "MPEG_2_TS";
    NFC_LLCP = 245, "NFC_LLCP";
    INFINIBAND = 247, "INFINIBAND";
    SCTP = 248, "SCTP";
    USBPCAP = 249, "USBPCAP";
    BLUETOOTH_LE_LL = 251, "BLUETOOTH_LE_LL";
    WIRESHARK_UPPER_PDU = 252, "WIRESHARK_UPPER_PDU";
    NETLINK = 253, "NETLINK";
    BLUETOOTH_LINUX_MONITOR = 254, "BLUETOOTH_LINUX_MONITOR";
    BLUETOOTH_LE_LL_WITH_PHDR = 256, "BLUETOOTH_LE_LL_WITH_PHDR";
    PKTAP = 258, "PKTAP";
    EPON = 259, "EPON";
    USB_DARWIN = 266, "USB_DARWIN";
    VSOCK = 271, "VSOCK";
    NORDIC_BLE = 272, "NORDIC_BLE";
    ETHERNET_MPACKET = 274, "ETHERNET_MPACKET";
    LINUX_SLL2 = 276, "LINUX_SLL2";
    OPENVIZSLA = 278, "OPENVIZSLA";
    BRCM_TAG = 281, "DSA_TAG_BRCM";
    BRCM_TAG_PREPEND = 282, "DSA_TAG_BRCM_PREPEND";
    WPAN_TAP = 283, "IEEE802_15_4_TAP";
    DSA_TAG = 284, "DSA_TAG_DSA";
    EDSA_TAG = 285, "DSA_TAG_EDSA";
    USB_2_0 = 288, "USB_2_0";
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known_name() {
            Some(name) => f.write_str(name),
            None => write!(f, "LINKTYPE {}", self.0),
        }
    }
}

/// The captured length that is believed for a link type.
pub(super) const fn max_captured(link_type: LinkType) -> u32 {
    match link_type {
        LinkType::DBUS
        | LinkType::USBPCAP
        | LinkType::USB_LINUX_MMAPPED
        | LinkType::USB_LINUX
        | LinkType::USB_DARWIN => MAX_CAPTURED_LARGE,
        _ => MAX_CAPTURED,
    }
}

//! ICMP and ICMPv6: errors with the packet they quote (RFC 792, RFC 4443).

use etherparse::{Icmpv4Slice, Icmpv6Slice, Ipv4HeaderSlice, Ipv6HeaderSlice};

use super::decoder::{Decoder, Path, mapped};
use super::packet::{IcmpFields, IpFields, PacketKind};
use super::stats::Protocol;
use super::window::Window;
use crate::addr::Transport;
use crate::seq::SeqNumber;

impl Decoder<'_> {
    /// An ICMP message.
    pub fn icmpv4(&mut self, window: Window<'_>, ip: &IpFields, path: Path) {
        self.met(Protocol::Icmp);
        let Ok(icmp) = Icmpv4Slice::from_slice(window.bytes) else {
            return self.short(window, "icmp");
        };
        // Destination unreachable, source quench, time exceeded, parameter problem. A redirect
        // quotes a packet too, but the packet went on its way.
        if !matches!(icmp.type_u8(), 3 | 4 | 11 | 12) {
            return;
        }
        let [_, _, high, low] = icmp.bytes5to8();
        // RFC 1191 §4: the next-hop MTU stands in the low half.
        let mtu = if (icmp.type_u8(), icmp.code_u8()) == (3, 4) {
            u32::from(u16::from_be_bytes([high, low]))
        } else {
            0
        };
        let error = (icmp.type_u8(), icmp.code_u8(), mtu);
        self.icmp_error(error, false, window.skip(8), ip, path);
    }

    /// An ICMPv6 message.
    pub fn icmpv6(&mut self, window: Window<'_>, ip: &IpFields, path: Path) {
        self.met(Protocol::Icmpv6);
        let Ok(icmp) = Icmpv6Slice::from_slice(window.bytes) else {
            return self.short(window, "icmpv6");
        };
        // RFC 4443 §2.1: errors have the high bit clear.
        if !matches!(icmp.type_u8(), 1..=4) {
            return;
        }
        let mtu = if icmp.type_u8() == 2 {
            u32::from_be_bytes(icmp.bytes5to8())
        } else {
            0
        };
        let error = (icmp.type_u8(), icmp.code_u8(), mtu);
        self.icmp_error(error, true, window.skip(8), ip, path);
    }

    fn icmp_error(
        &mut self,
        (icmp_type, code, mtu): (u8, u8, u32),
        v6: bool,
        quoted: Window<'_>,
        ip: &IpFields,
        path: Path,
    ) {
        let Some((quoted_ip, protocol, rest)) = quoted_packet(quoted) else {
            if quoted.is_cut_before(if v6 { 40 } else { 20 }) {
                self.short(quoted, "quoted ip");
            }
            return;
        };
        let transport = match protocol {
            6 => Transport::Tcp,
            17 => Transport::Udp,
            _ => return,
        };
        let (Some(from), Some(to)) = (rest.u16(0), rest.u16(2)) else {
            if rest.is_cut() {
                self.short(rest, "quoted transport");
            }
            return;
        };
        let quoted_seq = if transport == Transport::Tcp {
            rest.u32(4).map(SeqNumber)
        } else {
            None
        };
        let icmp = IcmpFields {
            icmp_type,
            code,
            v6,
            mtu,
            reporter: ip.source(),
            quoted_seq,
        };
        let nothing = Window {
            bytes: &[],
            len: 0,
            at: quoted.at,
        };
        let kind = PacketKind::IcmpError { transport, icmp };
        self.emit((from, to), nothing, kind, &quoted_ip, path);
    }
}

/// The IP header of a quoted packet, the protocol it carries and what follows; `None` for later
/// fragments, which have no ports.
fn quoted_packet(quoted: Window<'_>) -> Option<(IpFields, u8, Window<'_>)> {
    if quoted.u8(0)? >> 4 == 4 {
        let header = Ipv4HeaderSlice::from_slice(quoted.bytes).ok()?;
        if header.fragments_offset().value() != 0 {
            return None;
        }
        let ip = IpFields {
            src: mapped(header.source()),
            dst: mapped(header.destination()),
            identification: Some(header.identification()),
            hop_limit: header.ttl(),
            ecn: header.ecn().value(),
            dont_fragment: header.dont_fragment(),
        };
        return Some((
            ip,
            header.protocol().0,
            quoted.skip(usize::from(header.ihl()) * 4),
        ));
    }
    let header = Ipv6HeaderSlice::from_slice(quoted.bytes).ok()?;
    let ip = IpFields {
        src: header.source(),
        dst: header.destination(),
        identification: None,
        hop_limit: header.hop_limit(),
        ecn: header.ecn().value(),
        dont_fragment: false,
    };
    let (mut next, mut rest) = (header.next_header().0, quoted.skip(40));
    while matches!(next, 0 | 43 | 44 | 60) {
        if next == 44 && rest.u16(2)? & 0xfff8 != 0 {
            return None;
        }
        let len = if next == 44 {
            8
        } else {
            (usize::from(rest.u8(1)?) + 1) * 8
        };
        next = rest.u8(0)?;
        rest = rest.skip(len);
    }
    Some((ip, next, rest))
}

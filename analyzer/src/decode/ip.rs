//! IPv4 and IPv6 headers: true lengths, fragments, extension headers.

use etherparse::{
    IpAuthHeaderSlice, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice,
};

use super::checksum::sum_of_addresses;
use super::decoder::{Decoder, FragmentPiece, Path, mapped};
use super::packet::IpFields;
use super::stats::Protocol;
use super::window::Window;

/// RFC 8200 numbers of extension headers.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;
/// The jumbo payload option (RFC 2675 §2).
const JUMBO_PAYLOAD: u8 = 0xc2;

impl Decoder<'_> {
    /// An IP packet of either version, told by its first octet.
    pub fn ip(&mut self, window: Window<'_>, path: Path) {
        match window.u8(0).map(|octet| octet >> 4) {
            Some(4) => self.ipv4(window, path),
            Some(6) => self.ipv6(window, path),
            _ => self.short(window, "ip"),
        }
    }

    /// An IPv4 packet (RFC 791).
    #[inline]
    pub fn ipv4(&mut self, window: Window<'_>, path: Path) {
        self.met(Protocol::Ipv4);
        let Ok(header) = Ipv4HeaderSlice::from_slice(window.bytes) else {
            return self.short(window, "ipv4");
        };
        let header_len = usize::from(header.ihl()) * 4;
        let total = usize::from(header.total_len());
        let destination = source_route_end(header.options()).unwrap_or(header.destination());
        let ip = IpFields {
            src: mapped(header.source()),
            dst: mapped(destination),
            identification: Some(header.identification()),
            hop_limit: header.ttl(),
            ecn: header.ecn().value(),
            dont_fragment: header.dont_fragment(),
        };
        if total != 0 && total < header_len {
            return self.short(Window { len: 0, ..window }, "ipv4");
        }
        let payload = match total {
            // Written by a host that leaves segmentation to its network card: the frame's own
            // length counts. Such a frame was never on a wire, so it is not padded either.
            0 => window,
            total => window.limit(total),
        }
        .skip(header_len);
        let is_piece = header.is_fragmenting_payload();
        // Of a piece, and of a packet of a length that nobody wrote, only the header's sum can be told.
        let summed = match header.protocol().0 {
            protocol if !is_piece && (1..=window.len).contains(&total) => protocol,
            _ => 0,
        };
        let ends = (&ip.src, sum_of_addresses(&ip.src, &ip.dst));
        let padding = self.note_sums(header.slice(), (summed, payload), ends);
        let payload = payload.limit(payload.len - padding);
        if is_piece {
            let piece = FragmentPiece {
                identification: header.identification().into(),
                protocol: header.protocol().0,
                offset: u32::from(header.fragments_offset().value()) * 8,
                more: header.more_fragments(),
            };
            return self.emit_fragment(&piece, payload, &ip, path);
        }
        self.ip_payload(header.protocol().0, payload, &ip, path);
    }

    /// An IPv6 packet (RFC 8200).
    #[inline]
    pub fn ipv6(&mut self, window: Window<'_>, path: Path) {
        self.met(Protocol::Ipv6);
        let Ok(header) = Ipv6HeaderSlice::from_slice(window.bytes) else {
            return self.short(window, "ipv6");
        };
        let ip = IpFields {
            src: header.source(),
            dst: header.destination(),
            identification: None,
            hop_limit: header.hop_limit(),
            ecn: header.ecn().value(),
            dont_fragment: false,
        };
        let next = header.next_header().0;
        let rest = window.skip(40);
        let payload = match header.payload_length() {
            0 => jumbo_payload(next, rest).map_or(rest, |len| rest.limit(len)),
            len => rest.limit(len.into()),
        };
        match next {
            6 | 17 | 58 => {
                let summed = match usize::from(header.payload_length()) {
                    len if (1..=rest.len).contains(&len) => next,
                    _ => 0,
                };
                let ends = (&ip.src, sum_of_addresses(&ip.src, &ip.dst));
                let padding = self.note_sums(&[], (summed, payload), ends);
                let payload = payload.limit(payload.len - padding);
                self.ip_payload(next, payload, &ip, path);
            }
            _ => self.ipv6_extensions(next, payload, ip, path),
        }
    }

    fn ipv6_extensions(&mut self, first: u8, window: Window<'_>, mut ip: IpFields, path: Path) {
        let (mut next, mut rest) = (first, window);
        // Every turn takes eight octets at least.
        loop {
            match next {
                HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HIP | SHIM6 => {
                    let Ok(header) = Ipv6RawExtHeaderSlice::from_slice(rest.bytes) else {
                        return self.short(rest, "ipv6 extension");
                    };
                    if next == ROUTING {
                        final_destination(header.slice(), &mut ip);
                    }
                    next = header.next_header().0;
                    rest = rest.skip(header.slice().len());
                }
                FRAGMENT => {
                    let Ok(header) = Ipv6FragmentHeaderSlice::from_slice(rest.bytes) else {
                        return self.short(rest, "ipv6 fragment");
                    };
                    next = header.next_header().0;
                    rest = rest.skip(8);
                    // RFC 6946: an atomic fragment is a whole datagram.
                    if header.is_fragmenting_payload() {
                        let piece = FragmentPiece {
                            identification: header.identification(),
                            protocol: next,
                            offset: u32::from(header.fragment_offset().value()) * 8,
                            more: header.more_fragments(),
                        };
                        return self.emit_fragment(&piece, rest, &ip, path);
                    }
                }
                other => return self.ip_payload(other, rest, &ip, path),
            }
        }
    }

    /// What follows the fragmentable part's first header of a reassembled datagram.
    pub fn datagram(&mut self, protocol: u8, window: Window<'_>, ip: &IpFields, path: Path) {
        match protocol {
            HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION | MOBILITY | HIP | SHIM6
                if ip.identification.is_none() =>
            {
                self.ipv6_extensions(protocol, window, *ip, path);
            }
            other => self.ip_payload(other, window, ip, path),
        }
    }

    /// An authentication header (RFC 4302): signed, not encrypted.
    pub fn authentication_header(&mut self, window: Window<'_>, ip: &IpFields, path: Path) {
        self.met(Protocol::Ah);
        let Ok(header) = IpAuthHeaderSlice::from_slice(window.bytes) else {
            return self.short(window, "ah");
        };
        let next = header.next_header().0;
        let rest = window.skip(header.slice().len());
        self.datagram(next, rest, ip, path);
    }
}

/// The last address of an IPv4 source route that is still to be gone (RFC 791 §3.1): the flow's
/// true destination.
fn source_route_end(mut options: &[u8]) -> Option<[u8; 4]> {
    const NO_OPERATION: u8 = 1;
    const LOOSE: u8 = 131;
    const STRICT: u8 = 137;
    while let [kind, rest @ ..] = options {
        if *kind == 0 {
            return None;
        }
        if *kind == NO_OPERATION {
            options = rest;
            continue;
        }
        let len = usize::from(*rest.first()?);
        let option = options.get(..len).filter(|_| len >= 2)?;
        if matches!(*kind, LOOSE | STRICT) {
            let pointer = usize::from(*option.get(2)?);
            return if pointer + 3 <= len {
                option.get(3..)?.last_chunk::<4>().copied()
            } else {
                None
            };
        }
        options = &options[len..];
    }
    None
}

/// Length of a jumbogram (RFC 2675 §3), stated in the hop-by-hop options.
fn jumbo_payload(next: u8, rest: Window<'_>) -> Option<usize> {
    if next != HOP_BY_HOP {
        return None;
    }
    let header = Ipv6RawExtHeaderSlice::from_slice(rest.bytes).ok()?;
    let mut options = header.payload();
    while let [kind, tail @ ..] = options {
        if *kind == 0 {
            options = tail;
            continue;
        }
        let (len, tail) = tail.split_first()?;
        let (value, tail) = tail.split_at_checked((*len).into())?;
        if *kind == JUMBO_PAYLOAD {
            let value = value.first_chunk::<4>()?;
            return usize::try_from(u32::from_be_bytes(*value)).ok();
        }
        options = tail;
    }
    None
}

/// With a source route still to go, the last address of the route is the destination: transport
/// checksums and both ends of the flow are reckoned with it (RFC 8200 §8.1).
fn final_destination(header: &[u8], ip: &mut IpFields) {
    // Types 0 (RFC 2460), 2 (RFC 6275): addresses in order. Type 4 (RFC 8754): reversed.
    let (Some(&kind), Some(&left)) = (header.get(2), header.get(3)) else {
        return;
    };
    if left == 0 {
        return;
    }
    let addresses = header.get(8..).unwrap_or(&[]);
    let last = match kind {
        0 | 2 => addresses.rchunks_exact(16).next(),
        4 => addresses.chunks_exact(16).next(),
        _ => None,
    };
    if let Some(address) = last.and_then(|address| address.first_chunk::<16>()) {
        ip.dst = *address;
    }
}

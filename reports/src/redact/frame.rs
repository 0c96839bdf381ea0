//! Frames without addresses and payload.
//!
//! Headers are walked from the link type inwards and rewritten in place; the frame ends where its
//! transport's payload begins, or where a header is met that is not known here: nothing is passed
//! on that was not understood. Checksums are made right for the new addresses as if the cut
//! payload were zeros, so that they reveal nothing about it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use analyzer::capture::LinkType;

use super::redactor::Redactor;

/// Headers inside each other that are followed.
const MAX_DEPTH: u8 = 8;

impl Redactor {
    /// The frame's headers with stand-ins, cut before the payload.
    #[must_use]
    pub fn frame(&self, link_type: LinkType, bytes: &[u8]) -> Vec<u8> {
        let mut frame = bytes.to_vec();
        let kept = self.link(link_type, &mut frame);
        frame.truncate(kept);
        frame
    }

    /// Rewrites a frame; gives how many of its bytes may be shown.
    fn link(&self, link_type: LinkType, bytes: &mut [u8]) -> usize {
        match link_type {
            LinkType::ETHERNET => self.ethernet(bytes),
            LinkType::LINUX_SLL => {
                let Some((header, rest)) = bytes.split_at_mut_checked(16) else {
                    return 0;
                };
                self.hardware_address(&mut header[6..14]);
                16 + self.ether_type(u16_at(header, 14), rest, 0)
            }
            LinkType::LINUX_SLL2 => {
                let Some((header, rest)) = bytes.split_at_mut_checked(20) else {
                    return 0;
                };
                self.hardware_address(&mut header[12..20]);
                20 + self.ether_type(u16_at(header, 0), rest, 0)
            }
            LinkType::RAW | LinkType::IPV4 | LinkType::IPV6 => self.ip(bytes, 0),
            LinkType::NULL | LinkType::LOOP => match bytes.split_at_mut_checked(4) {
                Some((_, rest)) => 4 + self.ip(rest, 0),
                None => 0,
            },
            _ => 0,
        }
    }

    fn ethernet(&self, bytes: &mut [u8]) -> usize {
        let Some((header, rest)) = bytes.split_at_mut_checked(14) else {
            return 0;
        };
        let (destination, others) = header.split_at_mut(6);
        self.replace_mac(destination);
        self.replace_mac(&mut others[..6]);
        14 + self.ether_type(u16_at(header, 12), rest, 0)
    }

    fn replace_mac(&self, place: &mut [u8]) {
        if let Ok(mac) = <[u8; 6]>::try_from(&*place) {
            place.copy_from_slice(&self.mac(mac));
        }
    }

    /// Eight octets of a cooked header, of which six are a MAC address as a rule.
    fn hardware_address(&self, place: &mut [u8]) {
        self.replace_mac(&mut place[..6]);
        place[6..].fill(0);
    }

    fn ether_type(&self, ether_type: u16, bytes: &mut [u8], depth: u8) -> usize {
        match ether_type {
            0x0800 | 0x86dd => self.ip(bytes, depth),
            0x8100 | 0x88a8 | 0x9100 if depth < MAX_DEPTH => match bytes.split_at_mut_checked(4) {
                Some((tag, rest)) => 4 + self.ether_type(u16_at(tag, 2), rest, depth + 1),
                None => 0,
            },
            _ => 0,
        }
    }

    /// An IP packet of the version that its first four bits say.
    fn ip(&self, bytes: &mut [u8], depth: u8) -> usize {
        match bytes.first().map(|first| first >> 4) {
            Some(4) => self.ipv4(bytes, depth),
            Some(6) => self.ipv6(bytes, depth),
            _ => 0,
        }
    }

    fn ipv4(&self, bytes: &mut [u8], depth: u8) -> usize {
        let header_len = usize::from(bytes[0] & 0x0f) * 4;
        if header_len < 20 || bytes.len() < header_len {
            return 0;
        }
        let total = usize::from(u16_at(bytes, 2));
        let (header, rest) = bytes.split_at_mut(header_len);
        let (source, destination) = (v4_at(header, 12), v4_at(header, 16));
        let (source, destination) = (self.v4(source), self.v4(destination));
        header[12..16].copy_from_slice(&source.octets());
        header[16..20].copy_from_slice(&destination.octets());
        // Options may hold addresses (record route): no operation (RFC 791 §3.1).
        header[20..].fill(1);
        header[10..12].fill(0);
        let sum = checksum(&[header]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        let fragment_offset = u16_at(header, 6) & 0x1fff;
        if fragment_offset != 0 {
            return header_len;
        }
        // 0 in captures taken before segmentation offload: what is there is all there is.
        let true_len = if total >= header_len {
            total - header_len
        } else {
            rest.len()
        };
        let pseudo = Pseudo {
            source: IpAddr::V4(source),
            destination: IpAddr::V4(destination),
            protocol: header[9],
            len: true_len,
            whole: u16_at(header, 6) & 0x2000 == 0,
        };
        let captured = rest.len().min(true_len);
        header_len + self.transport(&mut rest[..captured], &pseudo, depth)
    }

    fn ipv6(&self, bytes: &mut [u8], depth: u8) -> usize {
        let Some((header, mut rest)) = bytes.split_at_mut_checked(40) else {
            return 0;
        };
        let (source, destination) = (v6_at(header, 8), v6_at(header, 24));
        let (source, destination) = (self.v6(source), self.v6(destination));
        header[8..24].copy_from_slice(&source.octets());
        header[24..40].copy_from_slice(&destination.octets());
        let payload_len = usize::from(u16_at(header, 4));
        let mut true_len = if payload_len == 0 {
            rest.len()
        } else {
            payload_len
        };
        let captured = rest.len().min(true_len);
        rest = &mut rest[..captured];
        let (mut protocol, mut before, mut whole) = (header[6], 40, true);
        for _ in 0..MAX_DEPTH {
            let len = match (protocol, rest.get(1)) {
                (44, Some(_)) => 8,
                (0 | 43 | 60, Some(&units)) => (usize::from(units) + 1) * 8,
                _ => break,
            };
            let Some((extension, after)) = rest.split_at_mut_checked(len) else {
                return before;
            };
            let is_fragment = protocol == 44;
            protocol = extension[0];
            before += len;
            true_len = true_len.saturating_sub(len);
            if is_fragment {
                let offset = u16_at(extension, 2);
                if offset & 0xfff8 != 0 {
                    return before;
                }
                whole &= offset & 1 == 0;
            } else {
                // Options and route addresses: Pad1 throughout (RFC 8200 §4.2).
                extension[2..].fill(0);
            }
            rest = after;
        }
        let pseudo = Pseudo {
            source: IpAddr::V6(source),
            destination: IpAddr::V6(destination),
            protocol,
            len: true_len,
            whole,
        };
        before + self.transport(rest, &pseudo, depth)
    }

    /// What follows the IP headers; gives how much of it may be shown.
    fn transport(&self, bytes: &mut [u8], pseudo: &Pseudo, depth: u8) -> usize {
        match pseudo.protocol {
            6 => tcp(bytes, pseudo),
            17 => udp(bytes, pseudo),
            1 | 58 => self.icmp(bytes, pseudo, depth),
            4 | 41 if depth < MAX_DEPTH => self.ip(bytes, depth + 1),
            _ => 0,
        }
    }

    /// Errors quote the packet they speak of (RFC 792, RFC 4443); other messages are cut.
    fn icmp(&self, bytes: &mut [u8], pseudo: &Pseudo, depth: u8) -> usize {
        let is_v6 = pseudo.protocol == 58;
        let Some((header, quoted)) = bytes.split_at_mut_checked(8) else {
            return 0;
        };
        let is_error = if is_v6 {
            header[0] < 128
        } else {
            matches!(header[0], 3 | 4 | 11 | 12)
        };
        let kept = if is_error && depth < MAX_DEPTH {
            self.ip(quoted, depth + 1)
        } else {
            0
        };
        if !is_error {
            header[4..].fill(0);
        }
        header[2..4].fill(0);
        let shown = &quoted[..kept];
        let sum = if is_v6 {
            checksum(&[&pseudo.octets(), header, shown])
        } else {
            checksum(&[header, shown])
        };
        header[2..4].copy_from_slice(&sum.to_be_bytes());
        8 + kept
    }

    fn v4(&self, address: Ipv4Addr) -> Ipv4Addr {
        match self.address(address.into()) {
            IpAddr::V4(mapped) => mapped,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        }
    }

    fn v6(&self, address: Ipv6Addr) -> Ipv6Addr {
        match self.address(address.into()) {
            IpAddr::V6(mapped) => mapped,
            IpAddr::V4(mapped) => mapped.to_ipv6_mapped(),
        }
    }
}

/// What the transport's checksum covers besides its own octets (RFC 9293 §3.1, RFC 8200 §8.1).
struct Pseudo {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// True length of transport header and payload.
    len: usize,
    /// No fragment: the checksum covers this packet alone.
    whole: bool,
}

impl Pseudo {
    fn octets(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(40);
        for address in [self.source, self.destination] {
            match address {
                IpAddr::V4(v4) => octets.extend(v4.octets()),
                IpAddr::V6(v6) => octets.extend(v6.octets()),
            }
        }
        octets.extend(u32::try_from(self.len).unwrap_or(u32::MAX).to_be_bytes());
        octets.extend([0, 0, 0, self.protocol]);
        octets
    }
}

fn tcp(bytes: &mut [u8], pseudo: &Pseudo) -> usize {
    let Some(&offset) = bytes.get(12) else {
        // Cut within the fixed header: ports and numbers name nobody.
        return bytes.len();
    };
    let header_len = (usize::from(offset >> 4) * 4).max(20).min(bytes.len());
    let header = &mut bytes[..header_len];
    if header_len >= 20 {
        blank_unknown_options(&mut header[20..]);
        header[16..18].fill(0);
        let sum = if pseudo.whole {
            checksum(&[&pseudo.octets(), header])
        } else {
            0
        };
        header[16..18].copy_from_slice(&sum.to_be_bytes());
    }
    header_len
}

/// Leaves the options that analysis needs; cookies, signatures and what is unknown become no
/// operation.
fn blank_unknown_options(options: &mut [u8]) {
    let mut at = 0;
    while let Some(&kind) = options.get(at) {
        let len = match kind {
            0 => {
                options[at..].fill(0);
                return;
            }
            1 => 1,
            _ => usize::from(options.get(at + 1).copied().unwrap_or(0)),
        };
        let end = at.saturating_add(len);
        if len == 0 || kind > 1 && len < 2 || end > options.len() {
            options[at..].fill(0);
            return;
        }
        // MSS, window scale, SACK permitted, SACK, timestamps.
        if !matches!(kind, 1 | 2 | 3 | 4 | 5 | 8) {
            options[at..end].fill(1);
        }
        at = end;
    }
}

fn udp(bytes: &mut [u8], pseudo: &Pseudo) -> usize {
    let header_len = bytes.len().min(8);
    let header = &mut bytes[..header_len];
    if header_len == 8 && u16_at(header, 6) != 0 {
        header[6..8].fill(0);
        let sum = if pseudo.whole {
            checksum(&[&pseudo.octets(), header])
        } else {
            0
        };
        // A computed 0 is sent as all ones (RFC 768); 0 says that there is none.
        let sum = if sum == 0 && pseudo.whole {
            0xffff
        } else {
            sum
        };
        header[6..8].copy_from_slice(&sum.to_be_bytes());
    }
    header_len
}

/// The Internet checksum (RFC 1071) of parts that all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u64::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(&[high, low]) => u16::from_be_bytes([high, low]),
        _ => 0,
    }
}

/// Four octets that are there.
fn v4_at(bytes: &[u8], at: usize) -> Ipv4Addr {
    <[u8; 4]>::try_from(&bytes[at..at + 4]).map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from)
}

/// Sixteen octets that are there.
fn v6_at(bytes: &[u8], at: usize) -> Ipv6Addr {
    <[u8; 16]>::try_from(&bytes[at..at + 16]).map_or(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"GET /secret HTTP/1.1\r\n";

    /// Ethernet, IPv4 with an option, TCP with a fast-open cookie, payload.
    fn sample() -> Vec<u8> {
        let mut frame = vec![0x00, 0x1b, 0x21, 1, 2, 3, 0x00, 0x1b, 0x21, 4, 5, 6, 8, 0];
        let total = u16::try_from(24 + 32 + SECRET.len()).unwrap();
        frame.extend([0x46, 0]);
        frame.extend(total.to_be_bytes());
        frame.extend([
            0, 7, 0x40, 0, 64, 6, 0xaa, 0xaa, 10, 9, 0, 1, 203, 0, 113, 5,
        ]);
        frame.extend([7, 4, 4, 0]);
        frame.extend([
            0x9c, 0x40, 0, 80, 0, 0, 0, 9, 0, 0, 0, 1, 0x80, 0x18, 1, 0, 0xbb, 0xbb, 0, 0,
        ]);
        frame.extend([34, 6, 0xc0, 0xff, 0xee, 0x11, 8, 2, 1, 1, 0, 0]);
        frame.extend(SECRET);
        frame
    }

    #[test]
    fn nothing_original_is_left_and_checksums_are_right() {
        let redactor = Redactor::new(b"test");
        let original = sample();
        let frame = redactor.frame(LinkType::ETHERNET, &original);
        assert_eq!(frame.len(), 14 + 24 + 32, "cut where the payload begins");
        for part in [
            &original[..6],
            &original[6..12],
            &[10, 9, 0, 1],
            &[203, 0, 113, 5],
            &[0xc0, 0xff, 0xee, 0x11],
            b"GET",
        ] {
            assert!(
                !frame.windows(part.len()).any(|window| window == part),
                "{part:?}"
            );
        }
        assert_eq!(checksum(&[&frame[14..38]]), 0, "IPv4 header");
        let source = v4_at(&frame, 26);
        let destination = v4_at(&frame, 30);
        assert_eq!(IpAddr::V4(source), redactor.address([10, 9, 0, 1].into()));
        let pseudo = Pseudo {
            source: source.into(),
            destination: destination.into(),
            protocol: 6,
            len: 32 + SECRET.len(),
            whole: true,
        };
        assert_eq!(
            checksum(&[&pseudo.octets(), &frame[38..], &[0; SECRET.len()]]),
            0,
            "TCP"
        );
        assert_eq!(frame[38..40], original[38..40], "ports stay");
    }

    #[test]
    fn what_is_not_understood_is_not_passed_on() {
        let redactor = Redactor::new(b"test");
        let mut arp = sample();
        arp[12..14].copy_from_slice(&[8, 6]);
        assert_eq!(redactor.frame(LinkType::ETHERNET, &arp).len(), 14);
        assert!(redactor.frame(LinkType(9999), &arp).is_empty());
    }

    #[test]
    fn quoted_packets_are_rewritten_too() {
        let redactor = Redactor::new(b"test");
        let mut packet = vec![
            0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0, 198, 51, 100, 1, 10, 9, 0, 1,
        ];
        packet.extend([3, 1, 0, 0, 0, 0, 0, 0]);
        packet.extend([
            0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6, 0, 0, 10, 9, 0, 1, 203, 0, 113, 5,
        ]);
        packet.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 9]);
        let frame = redactor.frame(LinkType::RAW, &packet);
        assert_eq!(frame.len(), 56);
        assert!(!frame.windows(4).any(|window| window == [10, 9, 0, 1]));
        assert_eq!(checksum(&[&frame[20..]]), 0, "ICMP");
    }

    #[test]
    fn any_bytes_are_survived() {
        let redactor = Redactor::new(b"test");
        let original = sample();
        let link_types = [
            LinkType::ETHERNET,
            LinkType::LINUX_SLL,
            LinkType::LINUX_SLL2,
            LinkType::RAW,
            LinkType::NULL,
        ];
        for link_type in link_types {
            for len in 0..original.len() {
                for flip in [0_u8, 0x0f, 0x40, 0x60, 0xff] {
                    let mut cut = original[..len].to_vec();
                    cut.iter_mut().step_by(5).for_each(|octet| *octet ^= flip);
                    assert!(redactor.frame(link_type, &cut).len() <= len);
                }
            }
        }
    }
}

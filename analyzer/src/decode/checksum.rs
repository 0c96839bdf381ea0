//! Checksums of what was captured whole: IPv4 headers, TCP segments, UDP datagrams (RFC 1071).
//!
//! Whether a sum that does not fit is damage cannot be told from one packet: a host that leaves sums
//! to its network card, and a tool that rewrites addresses, write wrong ones as well. So what each
//! sender's sums were like is counted here, slab by slab; [`crate::in_order::damage`] decides.

use super::decoder::Decoder;
use super::packet::IpFields;
use super::sums::{Reading, SumOf};
use super::window::Window;

/// Longest segment or datagram that is summed, with its header: what every host must accept
/// (RFC 791 §3.2). Longer ones would cost more than all else that is done with them.
const LONGEST: usize = 576;

impl Decoder<'_> {
    /// Notes the sums of a packet. `header` is its IPv4 header, or empty; `transport` what follows
    /// all IP headers, `protocol` its number, or 0 when it cannot be summed.
    ///
    /// Gives back how many octets at the end are padding although the IP header counts them.
    #[inline]
    pub fn note_sums(
        &mut self,
        header: &[u8],
        (protocol, transport): (u8, Window<'_>),
        ip: &IpFields,
    ) -> usize {
        if self.reassembled {
            return 0;
        }
        let of_header = if header.is_empty() {
            Reading::Untold
        } else {
            header_sum(header)
        };
        let (of, mut of_transport) = match protocol {
            6 => segment_sum(transport, ip),
            17 => (SumOf::Udp, datagram_sum(transport, ip)),
            _ => (SumOf::Udp, Reading::Untold),
        };
        let padding = match of_transport {
            Reading::Wrong { difference, .. } if of == SumOf::TcpData => {
                counted_padding(transport, difference)
            }
            _ => 0,
        };
        if padding > 0 {
            of_transport = Reading::Right;
        }
        // A flood of SYNs from made-up addresses is not to be remembered by sender.
        const SYN: u8 = 2;
        let is_lone_syn = protocol == 6 && transport.u8(13) == Some(SYN);
        let is_wrong = |reading| matches!(reading, Reading::Wrong { .. });
        if is_lone_syn && !is_wrong(of_header) && !is_wrong(of_transport) {
            return padding;
        }
        let read = [(SumOf::Ipv4Header, of_header), (of, of_transport)];
        self.out.sums.take(self.number, &ip.src, &read);
        padding
    }
}

/// Octets of an Ethernet frame's padding that its sender counted into the IP packet: all the data
/// there is, all zeros, and the sum is right for a segment without them. (The zeros themselves add
/// nothing; the length in the pseudo-header does.)
fn counted_padding(segment: Window<'_>, difference: u16) -> usize {
    /// What a segment without options lacks to the least payload of a frame (IEEE 802.3: 46).
    const MOST: usize = 6;
    let header_len = segment
        .u8(12)
        .map_or(0, |octet| usize::from(octet >> 4) * 4);
    let data = segment.skip(header_len).bytes;
    let is_padding = data.len() <= MOST
        && data.iter().all(|octet| *octet == 0)
        && usize::from(u16::from_be(difference)) == data.len();
    if is_padding { data.len() } else { 0 }
}

/// The one's complement sum of octets in the machine's order (RFC 1071 §2 B), not folded.
#[inline]
fn sum(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks::<8>();
    let mut total = 0;
    for word in words {
        total = add(total, u64::from_ne_bytes(*word));
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        for (into, octet) in last.iter_mut().zip(rest) {
            *into = *octet;
        }
        total = add(total, u64::from_ne_bytes(last));
    }
    total
}

/// A sum with the carry brought round.
#[inline]
const fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u64
}

/// A sum in 16 bits; 0 only of zeros.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the carries are brought round"
)]
const fn fold(sum: u64) -> u16 {
    let half = (sum & 0xffff_ffff) + (sum >> 32);
    let quarter = (half & 0xffff) + ((half >> 16) & 0xffff) + (half >> 32);
    let last = (quarter & 0xffff) + (quarter >> 16);
    ((last & 0xffff) + (last >> 16)) as u16
}

/// One's complement difference; 0 for equal ones.
const fn difference(a: u16, b: u16) -> u16 {
    match fold(a as u64 + (!b) as u64) {
        0xffff => 0,
        other => other,
    }
}

fn header_sum(header: &[u8]) -> Reading {
    let total = fold(sum(header));
    if total == 0xffff {
        Reading::Right
    } else if header.get(10..12) == Some(&[0, 0]) {
        Reading::Untold
    } else {
        Reading::Wrong {
            difference: difference(total, 0xffff),
            excess: None,
        }
    }
}

/// The sum of a TCP segment, and which kind it is of.
#[inline]
fn segment_sum(segment: Window<'_>, ip: &IpFields) -> (SumOf, Reading) {
    let header_len = segment
        .u8(12)
        .map_or(0, |octet| usize::from(octet >> 4) * 4);
    let of = if segment.len > header_len {
        SumOf::TcpData
    } else {
        SumOf::TcpBare
    };
    (of, transport_sum(segment, 6, 16, ip))
}

/// The sum of a UDP datagram; what follows it in the IP packet is not part of it.
fn datagram_sum(datagram: Window<'_>, ip: &IpFields) -> Reading {
    match datagram.u16(4).map(usize::from) {
        Some(len) if (8..=datagram.len).contains(&len) => {
            transport_sum(datagram.limit(len), 17, 6, ip)
        }
        _ => Reading::Untold,
    }
}

/// A transport's sum with its pseudo-header (RFC 9293 §3.1, RFC 768, RFC 8200 §8.1); its field is
/// `at` octets behind the start.
#[inline]
fn transport_sum(transport: Window<'_>, protocol: u8, at: usize, ip: &IpFields) -> Reading {
    let octets = transport.bytes;
    let Some(&[a, b]) = octets.get(at..).and_then(|rest| rest.first_chunk::<2>()) else {
        return Reading::Untold;
    };
    if transport.is_cut() || octets.len() > LONGEST {
        return Reading::Untold;
    }
    // The prefix of a mapped IPv4 address adds nothing: 0xffff is a zero.
    let addresses = add(sum(&ip.src), sum(&ip.dst));
    let without_len = add(addresses, u64::from(u16::from_ne_bytes([0, protocol])));
    let len = u16::try_from(octets.len()).unwrap_or(u16::MAX);
    let pseudo = add(
        without_len,
        u64::from(u16::from_ne_bytes(len.to_be_bytes())),
    );
    let total = fold(add(pseudo, sum(octets)));
    if total == 0xffff {
        return Reading::Right;
    }
    let field = u16::from_ne_bytes([a, b]);
    // 0 is none (RFC 768); the sum of the pseudo-header is what a network card adds the rest to.
    let (pseudo, without_len) = (fold(pseudo), fold(without_len));
    if field == 0 || field == pseudo || field == !pseudo || field == without_len {
        return Reading::Untold;
    }
    Reading::Wrong {
        difference: difference(total, 0xffff),
        excess: Some(difference(field, pseudo)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 §3's example, and an odd length.
    #[test]
    fn sums_are_those_of_the_book() {
        let octets = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&octets)).to_ne_bytes(), [0xdd, 0xf2]);
        assert_eq!(fold(sum(&octets[..3])).to_ne_bytes(), [0xf2, 0x01]);
        assert_eq!(fold(sum(&[0xff; 24])), 0xffff);
        assert_eq!(fold(sum(&[0; 24])), 0);
    }

    #[test]
    fn differences_are_one_s_complement() {
        assert_eq!(difference(5, 3), 2);
        assert_eq!(difference(3, 5), 0xfffd);
        assert_eq!(difference(7, 7), 0);
        assert_eq!(difference(0, 0xffff), 0);
    }

    /// A segment with a right sum, and what each kind of wrong one is read as.
    #[test]
    fn a_segment_s_sum_is_told_from_one_left_to_the_card() {
        let ip = IpFields {
            src: super::super::decoder::mapped([10, 0, 0, 1]),
            dst: super::super::decoder::mapped([10, 0, 0, 2]),
            identification: Some(1),
            hop_limit: 64,
            ecn: 0,
            dont_fragment: true,
        };
        let mut segment = [0_u8; 25];
        segment[12] = 0x50;
        segment[20..].copy_from_slice(b"hello");
        let pseudo = fold(
            [sum(&ip.src), sum(&ip.dst), sum(&[0, 6, 0, 25])]
                .into_iter()
                .fold(0, add),
        );
        let right = !fold(add(pseudo.into(), sum(&segment)));
        let read = |field: u16| {
            let mut segment = segment;
            segment[16..18].copy_from_slice(&field.to_ne_bytes());
            segment_sum(Window::whole(&segment), &ip)
        };
        assert_eq!(read(right), (SumOf::TcpData, Reading::Right));
        assert_eq!(read(pseudo).1, Reading::Untold);
        assert_eq!(read(0).1, Reading::Untold);
        let wrong = Reading::Wrong {
            difference: 9,
            excess: Some(difference(right + 9, pseudo)),
        };
        assert_eq!(read(right + 9).1, wrong);
        // Not all of it is there.
        let cut = Window {
            len: 30,
            ..Window::whole(&segment)
        };
        assert_eq!(segment_sum(cut, &ip).1, Reading::Untold);
    }
}

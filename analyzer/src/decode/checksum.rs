//! Checksums of what was captured whole: IPv4 headers, TCP segments, UDP datagrams (RFC 1071).
//!
//! Whether a sum that does not fit is damage cannot be told from one packet: a host that leaves sums
//! to its network card, and a tool that rewrites addresses, write wrong ones as well. So what each
//! sender's sums were like is counted here, slab by slab; [`crate::in_order::damage`] decides.

use super::decoder::{Decoder, mapped};
use super::packet::TcpFlags;
use super::sums::{Reading, SumOf};
use super::window::Window;

/// Longest segment or datagram that is summed, with its header: what every host must accept
/// (RFC 791 §3.2). Longer ones would cost more than all else that is done with them.
const LONGEST: usize = 576;

/// Protocol numbers (RFC 9293, RFC 768).
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

impl Decoder<'_> {
    /// Notes the sums of a packet. `header` is its IPv4 header, or empty; `transport` what follows
    /// all IP headers, `protocol` its number, or 0 when it cannot be summed; `addresses` the sum of
    /// both.
    ///
    /// Gives back how many octets at the end are padding although the IP header counts them.
    pub fn note_sums(
        &mut self,
        header: &[u8],
        (protocol, transport): (u8, Window<'_>),
        (src, addresses): (&[u8; 16], u64),
    ) -> usize {
        if self.reassembled {
            return 0;
        }
        let of_header = sum(header);
        let part = summed_part(protocol, transport);
        let whole = whole_sum(part, protocol, addresses);
        let header_is_right = header.is_empty() || is_right(of_header);
        if !header_is_right || !is_right(whole) {
            let sums = (of_header, whole);
            return self.note_other_sums(header, part, sums, protocol, (src, addresses));
        }
        if !is_lone_syn(protocol, transport) {
            let of = part.map(|(of, _)| of);
            self.out.sums.count_right(src, !header.is_empty(), of);
        }
        0
    }

    /// The same of an IPv4 packet whose `header` has no options; `is_counted`: the length of what
    /// follows is that of the header.
    #[inline(always)]
    pub fn note_plain_sums(
        &mut self,
        header: &[u8; 20],
        (protocol, transport): (u8, Window<'_>),
        is_counted: bool,
    ) -> usize {
        let ends: [u8; 8] = std::array::from_fn(|at| header[12 + at]);
        let addresses = u64::from_ne_bytes(ends);
        let src = mapped([ends[0], ends[1], ends[2], ends[3]]);
        let part = summed_part(protocol, transport).filter(|_| is_counted);
        let whole = whole_sum(part, protocol, addresses);
        let of_header = sum(header);
        if !is_right(whole) || !is_right(of_header) || self.reassembled {
            if self.reassembled {
                return 0;
            }
            let sums = (of_header, whole);
            return self.note_other_sums(header, part, sums, protocol, (&src, addresses));
        }
        if !(is_counted && is_lone_syn(protocol, transport)) {
            let of = part.map(|(of, _)| of);
            self.out.sums.count_right(&src, true, of);
        }
        0
    }

    /// Notes sums of which one at least is not right: that of the header, and that of the transport
    /// with its pseudo-header, as they were computed.
    #[inline(never)]
    fn note_other_sums(
        &mut self,
        header: &[u8],
        part: Option<(SumOf, &[u8])>,
        (of_header, whole): (u64, u64),
        protocol: u8,
        (src, addresses): (&[u8; 16], u64),
    ) -> usize {
        let of_header = if header.is_empty() {
            Reading::Untold
        } else {
            header_sum(header, of_header)
        };
        let (of, mut of_transport) = match part {
            Some((of, octets)) => (of, transport_sum(octets, whole, protocol, addresses)),
            None => (SumOf::Udp, Reading::Untold),
        };
        let padding = match (of_transport, part) {
            (Reading::Wrong { difference, .. }, Some((SumOf::TcpData, octets))) => {
                counted_padding(octets, difference)
            }
            _ => 0,
        };
        if padding > 0 {
            of_transport = Reading::Right;
        }
        let is_wrong = |reading: Reading| matches!(reading, Reading::Wrong { .. });
        let is_lone_syn = part.is_some_and(|(of, octets)| {
            of == SumOf::TcpBare && is_lone_syn(protocol, Window::whole(octets))
        });
        let sums = &mut self.out.sums;
        if is_wrong(of_header) || is_wrong(of_transport) {
            sums.take(self.number, src, of_header, (of, of_transport));
        } else if !is_lone_syn {
            let of = (of_transport == Reading::Right).then_some(of);
            sums.count_right(src, of_header == Reading::Right, of);
        }
        padding
    }
}

/// The sum of two addresses, as it stands in pseudo-headers. The prefix of a mapped IPv4 address adds
/// nothing: 0xffff is a zero.
#[inline]
pub(super) fn sum_of_addresses(src: &[u8; 16], dst: &[u8; 16]) -> u64 {
    add(sum(src), sum(dst))
}

/// The rest of a pseudo-header.
#[inline]
fn len_and_protocol(len: usize, protocol: u8) -> u64 {
    let len = u16::try_from(len).unwrap_or(u16::MAX);
    u64::from(u16::from_ne_bytes(len.to_be_bytes())) + u64::from(u16::from_ne_bytes([0, protocol]))
}

/// What a transport's checksum is computed over, beside the pseudo-header; `None` when it has none,
/// or not all of it is there, or it is long.
#[inline]
fn summed_part(protocol: u8, transport: Window<'_>) -> Option<(SumOf, &[u8])> {
    if transport.bytes.len() > LONGEST || transport.is_cut() {
        return None;
    }
    match protocol {
        TCP => {
            let header_len = usize::from(transport.head::<20>()?[12] >> 4) * 4;
            let of = if transport.len > header_len {
                SumOf::TcpData
            } else {
                SumOf::TcpBare
            };
            Some((of, transport.bytes))
        }
        UDP => {
            let header = transport.head::<8>()?;
            // What follows the datagram in the IP packet is not part of it; a sum of 0 is none.
            let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
            let has_sum = [header[6], header[7]] != [0, 0];
            let octets = transport.bytes.get(..len)?;
            (has_sum && len >= header.len()).then_some((SumOf::Udp, octets))
        }
        _ => None,
    }
}

/// The sum of a transport with its pseudo-header, not folded; a right one where there is nothing to sum.
#[inline(always)]
fn whole_sum(part: Option<(SumOf, &[u8])>, protocol: u8, addresses: u64) -> u64 {
    match part {
        Some((_, octets)) => {
            let pseudo = add(addresses, len_and_protocol(octets.len(), protocol));
            add(pseudo, sum(octets))
        }
        None => 0xffff,
    }
}

/// A flood of SYNs from made-up addresses is not to be remembered by sender.
#[inline]
fn is_lone_syn(protocol: u8, transport: Window<'_>) -> bool {
    protocol == TCP && transport.u8(13) == Some(TcpFlags::SYN)
}

/// A sum with its field is right when it is a negative zero.
#[inline]
const fn is_right(sum: u64) -> bool {
    sum != 0 && sum.is_multiple_of(0xffff)
}

/// Octets of an Ethernet frame's padding that its sender counted into the IP packet: all the data
/// there is, all zeros, and the sum is right for a segment without them. (The zeros themselves add
/// nothing; the length in the pseudo-header does.)
fn counted_padding(segment: &[u8], difference: u16) -> usize {
    /// What a segment without options lacks to the least payload of a frame (IEEE 802.3: 46).
    const MOST: usize = 6;
    let header_len = segment
        .get(12)
        .map_or(0, |octet| usize::from(octet >> 4) * 4);
    let data = segment.get(header_len..).unwrap_or_default();
    let is_padding = data.len() <= MOST
        && data.iter().all(|octet| *octet == 0)
        && usize::from(u16::from_be(difference)) == data.len();
    if is_padding { data.len() } else { 0 }
}

/// The one's complement sum of octets in the machine's order (RFC 1071 §2 B), not folded.
#[inline]
fn sum(octets: &[u8]) -> u64 {
    let (lines, mut rest) = octets.as_chunks::<32>();
    let mut total = 0;
    for line in lines {
        for word in line.as_chunks::<8>().0 {
            total = add(total, u64::from_ne_bytes(*word));
        }
    }
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        total = add(total, u64::from_ne_bytes(*word));
        rest = behind;
    }
    if let Some((half, behind)) = rest.split_first_chunk::<4>() {
        total = add(total, u32::from_ne_bytes(*half).into());
        rest = behind;
    }
    match *rest {
        [] => total,
        [a] => add(total, u16::from_ne_bytes([a, 0]).into()),
        [a, b] => add(total, u16::from_ne_bytes([a, b]).into()),
        [a, b, c, ..] => add(total, u32::from_ne_bytes([a, b, c, 0]).into()),
    }
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

/// What an IPv4 header says whose octets have this sum.
fn header_sum(header: &[u8], sum: u64) -> Reading {
    let total = fold(sum);
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

/// What a transport's sum with its pseudo-header, `whole`, says (RFC 9293 §3.1, RFC 768, RFC 8200 §8.1).
fn transport_sum(octets: &[u8], whole: u64, protocol: u8, addresses: u64) -> Reading {
    let at = if protocol == TCP { 16 } else { 6 };
    let Some(&[a, b]) = octets.get(at..).and_then(|rest| rest.first_chunk::<2>()) else {
        return Reading::Untold;
    };
    let (total, field) = (fold(whole), u16::from_ne_bytes([a, b]));
    if total == 0xffff {
        return Reading::Right;
    }
    if field == 0 {
        return Reading::Untold;
    }
    // What a network card adds the rest to: the sum of the pseudo-header, with the length or without.
    let pseudo = fold(add(addresses, len_and_protocol(octets.len(), protocol)));
    let without_len = fold(add(addresses, len_and_protocol(0, protocol)));
    if field == pseudo || field == !pseudo || field == without_len {
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
    use crate::decode::decoder::mapped;

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
        let addresses = sum_of_addresses(&mapped([10, 0, 0, 1]), &mapped([10, 0, 0, 2]));
        let mut segment = [0_u8; 25];
        segment[12] = 0x50;
        segment[20..].copy_from_slice(b"hello");
        let pseudo = fold(add(addresses, sum(&[0, 6, 0, 25])));
        let right = !fold(add(pseudo.into(), sum(&segment)));
        let read = |field: u16| {
            let mut segment = segment;
            segment[16..18].copy_from_slice(&field.to_ne_bytes());
            let part = Some((SumOf::TcpData, &segment[..]));
            transport_sum(&segment, whole_sum(part, TCP, addresses), TCP, addresses)
        };
        assert_eq!(read(right), Reading::Right);
        assert_eq!(read(pseudo), Reading::Untold);
        assert_eq!(read(0), Reading::Untold);
        let wrong = Reading::Wrong {
            difference: 9,
            excess: Some(difference(right + 9, pseudo)),
        };
        assert_eq!(read(right + 9), wrong);
        // Not all of it is there.
        let cut = Window {
            len: 30,
            ..Window::whole(&segment)
        };
        assert_eq!(summed_part(6, cut), None);
        let part = summed_part(6, Window::whole(&segment)).map(|(of, _)| of);
        assert_eq!(part, Some(SumOf::TcpData));
    }
}

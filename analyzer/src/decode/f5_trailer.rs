//! The trailer that F5 BIG-IP writes behind a frame (`tcpdump -i …:nnn`): the virtual server, the cause
//! of a RST, and the flow on the proxy's other side.
//!
//! Both forms are read as Wireshark's `packet-f5ethtrailer.c` documents them: that of version 15 and
//! later, which begins with a magic number, and the older one, whose parts follow each other without
//! any, so that it counts only when its parts fill what lies behind the packet.

use std::net::Ipv6Addr;

use super::decoder::{Decoder, LEAST_TRAILER as LEAST};
use super::window::Window;
use crate::addr::Endpoint;
use crate::capture::{OtherSide, Remark, Said, name_of};
use crate::cursor::Cursor;

/// The payload of an Ethernet frame is padded to this length; a trailer follows the padding.
const PADDED: usize = 46;
/// Octets of a frame check sequence that may stand behind.
const CHECK_SEQUENCE: usize = 4;

const MAGIC: u32 = 0xf5de_b0f5;
const HEADER: usize = 8;
/// Who writes the parts that are read.
const NOISE: u16 = 1;

/// What a trailer tells.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Trailer {
    service: Option<Box<str>>,
    /// Text of the cause, and whether it is that of the other side.
    reset_cause: Option<(Box<str>, bool)>,
    /// The flow has another side.
    has_peer: bool,
    /// Remote and local end of the other side.
    peer: Option<(Endpoint, Endpoint)>,
}

impl Decoder<'_> {
    /// What lies behind an IP packet of `total` octets in its frame.
    #[cold]
    pub fn behind_packet(&mut self, window: Window<'_>, total: usize) {
        let places = [total, total.max(PADDED)];
        let found = places.iter().find_map(|at| read(window.bytes.get(*at..)?));
        let Some(found) = found else { return };
        let frame = self.number;
        let mut say = |says| self.out.remarks.push(Remark { frame, says });
        if let Some((cause, of_peer)) = found.reset_cause {
            let whose = if of_peer {
                ", from its other side,"
            } else {
                ""
            };
            say(Said::ResetCause(
                format!("its F5 trailer states{whose} \"{cause}\"").into(),
            ));
        }
        if let Some((remote, local)) = found.peer {
            say(Said::OtherSide(Box::new(OtherSide {
                remote,
                local,
                service: found.service,
            })));
        }
    }
}

/// Reads a trailer of either form.
fn read(bytes: &[u8]) -> Option<Trailer> {
    if bytes.len() < LEAST {
        return None;
    }
    let mut cursor = Cursor::new(bytes);
    if cursor.array().map(u32::from_be_bytes) == Some(MAGIC) {
        return with_magic(bytes);
    }
    without_magic(bytes)
}

fn with_magic(bytes: &[u8]) -> Option<Trailer> {
    let mut header = Cursor::new(bytes.get(4..HEADER)?);
    let (len, version) = (usize::from(header.u16()?), header.u16()?);
    if version != 1 {
        return None;
    }
    let mut parts = Cursor::new(bytes.get(HEADER..len)?);
    let mut trailer = Trailer::default();
    while !parts.is_empty() {
        let mut head = Cursor::new(parts.take(HEADER)?);
        let (provider, kind) = (head.u16()?, head.u16()?);
        let (len, version) = (usize::from(head.u16()?), head.u16()?);
        let body = parts.take(len.checked_sub(HEADER)?)?;
        match (provider, kind, version) {
            (NOISE, 1, 2 | 3) => {
                trailer.service = body.get(4..).and_then(|name| sized(body[3], name))
            }
            (NOISE, 2, 4) => trailer.medium(body, 0, 31)?,
            (NOISE, 3, 1) => trailer.high(body)?,
            _ => {}
        }
    }
    Some(trailer)
}

/// The older form: parts of kind, length (less two) and version, the low one first.
fn without_magic(bytes: &[u8]) -> Option<Trailer> {
    let mut parts = Cursor::new(bytes);
    let mut trailer = Trailer::default();
    let mut expected = 1;
    while parts.len() > CHECK_SEQUENCE {
        let [kind, len, version] = *parts.rest().first_chunk()?;
        // Low, medium and high follow each other; whoever asks for less gets the first of them.
        if kind != expected || kind > 3 {
            return None;
        }
        expected += 1;
        let part = parts.take(usize::from(len) + 2)?;
        match (kind, version, part.len()) {
            // The name is at the end, of a fixed length; before version 10 the flows stood before it.
            (1, 0, 22) => trailer.service = name_of(&part[6..]),
            (1, 0, 35) => {
                trailer.service = name_of(&part[19..]);
                trailer.has_peer = part[10..14] != [0; 4];
            }
            (1, 1, len)
                if part
                    .get(6)
                    .is_some_and(|name| len == LEAST + usize::from(*name)) =>
            {
                trailer.service = name_of(&part[LEAST..]);
            }
            (2, 0, 8) => {}
            (2, 0, 21) => trailer.has_peer = part[7..11] != [0; 4],
            (2, 0, 29) => trailer.has_peer = part[11..19] != [0; 8],
            (2, 1..=3, _) => {
                let cause_at = [29, 30, 34][usize::from(version) - 1];
                let stated = usize::from(*part.get(cause_at)?);
                if cause_at + 1 + stated != part.len() {
                    return None;
                }
                trailer.medium(part, 3, cause_at)?;
            }
            (3, 0, 42) => trailer.high(&part[3..])?,
            _ => return None,
        }
    }
    (expected > 1).then_some(trailer)
}

/// A text whose length stands before it.
fn sized(len: u8, text: &[u8]) -> Option<Box<str>> {
    name_of(text.get(..usize::from(len))?)
}

impl Trailer {
    /// Two flow numbers of eight octets at `flows`, and at `cause_at` the length of the cause of a RST.
    fn medium(&mut self, part: &[u8], flows: usize, cause_at: usize) -> Option<()> {
        self.has_peer = part.get(flows + 8..flows + 16)? != [0; 8];
        let len = usize::from(*part.get(cause_at)?);
        let cause = part.get(cause_at + 1..)?.get(..len)?;
        // Version (7 bits) and whose it is, then a number for the makers, then the text.
        if let [flags, _, _, _, _, _, _, _, _, text @ ..] = cause
            && flags >> 1 == 0
        {
            self.reset_cause = name_of(text).map(|text| (text, flags & 1 == 1));
        }
        Some(())
    }

    /// Protocol, VLAN, both addresses, both ports of the flow on the other side.
    fn high(&mut self, part: &[u8]) -> Option<()> {
        let mut fields = Cursor::new(part);
        fields.take(3)?;
        let (remote, local): ([u8; 16], [u8; 16]) = (fields.array()?, fields.array()?);
        let ports = (fields.u16()?, fields.u16()?);
        if self.has_peer {
            self.peer = Some((endpoint(remote, ports.0), endpoint(local, ports.1)));
        }
        Some(())
    }
}

/// An IPv4 address may be mapped, or stand behind F5's prefix and the number of a route domain.
fn endpoint(octets: [u8; 16], port: u16) -> Endpoint {
    const ROUTE_DOMAIN: [u8; 10] = [0x26, 0x20, 0, 0, 0x0c, 0x10, 0xf5, 0x01, 0, 0];
    if let Some([_, _, a, b, c, d]) = octets.strip_prefix(&ROUTE_DOMAIN) {
        return Endpoint::new([*a, *b, *c, *d].into(), port);
    }
    Endpoint::new(Ipv6Addr::from(octets).to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(octets: [u8; 4]) -> [u8; 16] {
        std::net::Ipv4Addr::from(octets).to_ipv6_mapped().octets()
    }

    fn high() -> Vec<u8> {
        let mut part = vec![6, 0, 100];
        part.extend(mapped([10, 9, 0, 7]));
        part.extend(mapped([10, 9, 0, 1]));
        part.extend([0x1f, 0x90, 0xc3, 0x50]);
        part
    }

    fn cause(text: &[u8]) -> Vec<u8> {
        let mut part = vec![
            u8::try_from(9 + text.len()).unwrap(),
            1,
            0,
            0,
            1,
            2,
            3,
            4,
            5,
            6,
        ];
        part.extend(text);
        part
    }

    fn part(kind: u16, version: u16, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(HEADER + body.len()).unwrap();
        let words = [NOISE, kind, len, version];
        let mut part: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        part.extend(body);
        part
    }

    /// All three parts in the form with a magic number.
    fn new_form() -> Vec<u8> {
        let mut parts = part(1, 3, b"\x01\x00\x02\x0b/Common/vip");
        let mut medium = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];
        medium.extend([0; 15]);
        medium.extend(cause(b"pool member down"));
        parts.extend(part(2, 4, &medium));
        parts.extend(part(3, 1, &high()));
        let mut all = MAGIC.to_be_bytes().to_vec();
        all.extend(u16::try_from(HEADER + parts.len()).unwrap().to_be_bytes());
        all.extend([0, 1]);
        all.extend(parts);
        all
    }

    /// The same in the older form.
    fn old_form() -> Vec<u8> {
        let old = |kind: u8, version: u8, body: &[u8]| {
            let mut part = vec![kind, u8::try_from(body.len() + 1).unwrap(), version];
            part.extend(body);
            part
        };
        let mut all = old(1, 1, b"\x01\x00\x02\x0b/Common/vip");
        let mut medium = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];
        medium.extend([0; 15]);
        medium.extend(cause(b"pool member down"));
        all.extend(old(2, 3, &medium));
        all.extend(old(3, 0, &high()));
        all
    }

    #[test]
    fn both_forms_tell_the_same() {
        let found = read(&new_form()).unwrap();
        assert_eq!(found.service.as_deref(), Some("/Common/vip"));
        assert_eq!(found.reset_cause, Some(("pool member down".into(), true)));
        let (remote, local) = found.peer.unwrap();
        assert_eq!(remote.to_string(), "10.9.0.7:8080");
        assert_eq!(local.to_string(), "10.9.0.1:50000");
        assert_eq!(read(&old_form()).as_ref(), Some(&found));
        let checked = [old_form(), vec![1, 2, 3, 4]].concat();
        assert_eq!(read(&checked).as_ref(), Some(&found));
    }

    #[test]
    fn what_is_no_trailer_tells_nothing() {
        for other in [
            &[0; 40][..],
            &[1, 5, 1, 0, 0, 0, 9, 0, 0, 0, 0, 0],
            b"",
            &[1; 7],
        ] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }

    #[test]
    fn cut_and_lying_parts_never_read_beyond() {
        for whole in [new_form(), old_form()] {
            for cut in 0..whole.len() {
                let _ = read(&whole[..cut]);
                for lie in [0, 1, 0x7f, 0xff] {
                    let mut lying = whole.clone();
                    lying[cut] = lie;
                    let _ = read(&lying);
                }
            }
        }
    }
}

//! Errors that single datagrams state: SIP, DHCP, RADIUS.

use super::{Stated, line};
use crate::app::{ServiceErrorKind as Kind, ServiceFacts, ServiceProtocol};
use crate::direction::Direction;
use crate::event::At;

/// Errors of one UDP flow.
#[derive(Debug)]
pub(in crate::app) struct DatagramErrors {
    facts: ServiceFacts,
    /// The last datagram with an error of each direction: repeated ones count once.
    last: [Vec<u8>; 2],
}

/// Octets by which a repeated datagram is known.
const KNOWN_BY: usize = 512;

impl DatagramErrors {
    /// A reader of the protocol that is recognised as `name`, when its errors can be read.
    pub(in crate::app) fn of(name: &str) -> Option<Self> {
        let protocol = match name {
            "sip" => ServiceProtocol::Sip,
            "dhcp" => ServiceProtocol::Dhcp,
            "radius" => ServiceProtocol::Radius,
            _ => return None,
        };
        Some(Self {
            facts: ServiceFacts::new(protocol),
            last: [Vec::new(), Vec::new()],
        })
    }

    /// Takes one datagram.
    pub(in crate::app) fn take(&mut self, direction: Direction, bytes: &[u8], at: At) {
        let stated = match self.facts.protocol {
            ServiceProtocol::Sip => sip(bytes),
            ServiceProtocol::Dhcp => dhcp(bytes),
            _ => radius(bytes),
        };
        let Some(stated) = stated else {
            return;
        };
        let known = &bytes[..bytes.len().min(KNOWN_BY)];
        let last = &mut self.last[direction.index()];
        if last == known {
            return;
        }
        last.clear();
        last.extend_from_slice(known);
        self.facts.take(direction, at, stated);
    }

    /// What was stated.
    pub(in crate::app) fn finish(self) -> Option<Box<ServiceFacts>> {
        let found = !self.facts.errors.is_empty();
        found.then(|| Box::new(self.facts))
    }
}

/// A final response that is neither a challenge nor the end of a call that was cancelled (RFC 3261
/// §21).
pub(super) fn sip(bytes: &[u8]) -> Option<Stated> {
    let rest = bytes.strip_prefix(b"SIP/2.0 ")?;
    let status = &rest[..line(rest).unwrap_or(rest.len())];
    let (code, text) = status.split_at_checked(3)?;
    let code: u16 = std::str::from_utf8(code).ok()?.parse().ok()?;
    let kind = match code {
        401 | 407 | 487 => return None,
        503 => Kind::Capacity,
        500 | 502 | 504 => Kind::Availability,
        404 | 410 | 604 => Kind::NotFound,
        400..=699 => Kind::Other,
        _ => return None,
    };
    Some(Stated::new(code.to_string(), text, kind))
}

/// DHCPNAK: the address is not, or no longer, the client's (RFC 2131 §3.1). It asks again.
fn dhcp(bytes: &[u8]) -> Option<Stated> {
    /// Fixed fields and the magic cookie.
    const OPTIONS: usize = 240;
    let mut options = bytes.get(OPTIONS..)?;
    let (mut is_nak, mut text) = (false, &[][..]);
    loop {
        let (code, rest) = match options {
            [0, rest @ ..] => {
                options = rest;
                continue;
            }
            [] | [255, ..] => break,
            [code, rest @ ..] => (*code, rest),
        };
        let (length, rest) = rest.split_first()?;
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        match code {
            53 => is_nak = value == [6],
            56 => text = value,
            _ => {}
        }
        options = rest;
    }
    is_nak.then(|| Stated::new("DHCPNAK", text, Kind::Other))
}

/// Access-Reject with its Reply-Message (RFC 2865 §4.4).
fn radius(bytes: &[u8]) -> Option<Stated> {
    let mut attributes = bytes.strip_prefix(&[3])?.get(19..)?;
    let mut text = &[][..];
    while let [kind, length, rest @ ..] = attributes {
        let (value, rest) = rest.split_at_checked(usize::from(*length).checked_sub(2)?)?;
        if *kind == 18 {
            text = value;
        }
        attributes = rest;
    }
    Some(Stated::new("Access-Reject", text, Kind::Other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_responses_of_sip() {
        let busy = sip(b"SIP/2.0 503 Service Unavailable\r\nVia: a\r\n").unwrap();
        assert_eq!((busy.code.as_str(), busy.kind), ("503", Kind::Capacity));
        assert_eq!(busy.message, "Service Unavailable");
        for text in [
            "SIP/2.0 200 OK\r\n",
            "SIP/2.0 401 Unauthorized\r\n",
            "SIP/2.0 100 Trying\r\n",
            "INVITE sip:a@b SIP/2.0\r\n",
            "SIP/2.0 4",
        ] {
            assert!(sip(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn naks_and_rejects() {
        let dhcp_with = |options: &[u8]| dhcp(&[&[0; 240][..], options].concat());
        assert_eq!(
            dhcp_with(&[53, 1, 6, 56, 2, b'n', b'o', 255])
                .unwrap()
                .message,
            "no"
        );
        assert!(dhcp_with(&[0, 53, 1, 5, 255]).is_none() && dhcp_with(&[53, 9, 6]).is_none());
        let header = |code: u8| [&[code, 1, 0, 24][..], &[7; 16]].concat();
        let reject = radius(&[header(3), vec![18, 4, b'n', b'o']].concat()).unwrap();
        assert_eq!(reject.message, "no");
        assert!(radius(&header(2)).is_none());
    }

    #[test]
    fn repeated_responses_count_once() {
        let mut errors = DatagramErrors::of("sip").unwrap();
        let at = At {
            frame: 1,
            time: crate::time::Timestamp::from_nanos(0),
        };
        for text in [
            "SIP/2.0 500 A\r\n1",
            "SIP/2.0 500 A\r\n1",
            "SIP/2.0 500 A\r\n2",
        ] {
            errors.take(Direction::ServerToClient, text.as_bytes(), at);
        }
        assert_eq!(errors.finish().unwrap().errors[0].count, 2);
    }
}

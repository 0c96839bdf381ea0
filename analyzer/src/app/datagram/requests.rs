//! Requests of datagram protocols in which a server answers each one, and which of them it left.

use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

use serde::{Deserialize, Serialize};

use crate::cursor::Cursor;
use crate::direction::Direction;
use crate::event::At;

/// Requests of a datagram protocol whose servers answer each one: NTP, SNMP, RADIUS, IKE, STUN, QUIC
/// (Initial), SIP, TFTP, DHCP.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DatagramRequests {
    /// How many, repeats included.
    pub count: u64,
    /// Those since the last datagram of the server.
    pub unanswered: Option<Unanswered>,
    /// DHCP: those that ask, by hardware address, at most 32.
    pub dhcp_clients: Vec<DhcpClient>,
}

/// Requests in a row that nothing answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unanswered {
    /// How many, repeats included.
    pub count: u64,
    /// Those that do not repeat the one before.
    pub different: u64,
    /// The first.
    pub first: At,
    /// The last.
    pub last: At,
}

/// A client of DHCP, as one flow shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DhcpClient {
    /// Its hardware address.
    pub hardware: [u8; 6],
    /// DHCPDISCOVER messages since it was served last.
    pub discovers: u64,
    /// The first of them.
    pub first: At,
    /// The last of them.
    pub last: At,
    /// The last message that is no DHCPDISCOVER, of the server or of the client, who takes what it
    /// was offered.
    pub served: Option<At>,
}

/// Octets by which a request is told from another.
const KNOWN_BY: usize = 256;
/// DHCP clients followed on one flow: a broadcast flow carries those of a whole network.
const CLIENTS_MAX: usize = 32;

/// The requests of one UDP flow.
#[derive(Debug)]
pub(super) struct Requests {
    protocol: &'static str,
    facts: DatagramRequests,
    /// What the last request was.
    last: u64,
}

impl Requests {
    /// Follows the protocol that is recognised as `name`, when its servers answer every request.
    pub(super) fn of(name: &'static str) -> Option<Self> {
        let answers = matches!(
            name,
            "ntp" | "snmp" | "radius" | "ike" | "stun" | "quic" | "sip" | "tftp" | "dhcp"
        );
        answers.then(|| Self {
            protocol: name,
            facts: DatagramRequests::default(),
            last: 0,
        })
    }

    /// Takes one datagram.
    pub(super) fn take(&mut self, direction: Direction, bytes: &[u8], at: At) {
        if self.protocol == "dhcp" {
            self.dhcp(bytes, at);
            return;
        }
        if direction == Direction::ServerToClient {
            self.facts.unanswered = None;
            return;
        }
        if !asks(self.protocol, bytes) {
            return;
        }
        let known = &bytes[..bytes.len().min(KNOWN_BY)];
        let known = match self.protocol {
            // What follows the connection's identifiers is enciphered, and differs in a repeat.
            "quic" => known.get(1..15).unwrap_or(known),
            _ => known,
        };
        let mark = FixedState::default().hash_one(known);
        let differs = std::mem::replace(&mut self.last, mark) != mark;
        self.facts.count += 1;
        let waiting = self.facts.unanswered.get_or_insert(Unanswered {
            count: 0,
            different: 0,
            first: at,
            last: at,
        });
        waiting.count += 1;
        waiting.different += u64::from(differs || waiting.count == 1);
        waiting.last = at;
    }

    /// Clients are known by their hardware address: before they have an address of their own,
    /// request and answer share no pair of endpoints (RFC 2131 §4.1).
    fn dhcp(&mut self, bytes: &[u8], at: At) {
        let Some((kind, hardware)) = dhcp_message(bytes) else {
            return;
        };
        let clients = &mut self.facts.dhcp_clients;
        let known = clients.iter().position(|known| known.hardware == hardware);
        let index = match known {
            Some(index) => index,
            None if clients.len() < CLIENTS_MAX => {
                clients.push(DhcpClient {
                    hardware,
                    discovers: 0,
                    first: at,
                    last: at,
                    served: None,
                });
                clients.len() - 1
            }
            None => return,
        };
        let client = &mut clients[index];
        if kind == DISCOVER {
            if client.discovers == 0 {
                client.first = at;
            }
            client.discovers += 1;
            client.last = at;
        } else {
            // A client asks for the address that it was offered.
            client.discovers = 0;
            client.served = Some(at);
        }
    }

    /// What was asked.
    pub(super) fn finish(self) -> Option<Box<DatagramRequests>> {
        let found = self.facts.count > 0 || !self.facts.dhcp_clients.is_empty();
        found.then(|| Box::new(self.facts))
    }
}

/// DHCPDISCOVER (RFC 2131 §3.1).
const DISCOVER: u8 = 1;

/// Type and hardware address of a DHCP message.
fn dhcp_message(bytes: &[u8]) -> Option<(u8, [u8; 6])> {
    const HARDWARE: usize = 28;
    const OPTIONS: usize = 240;
    let hardware = *bytes.get(HARDWARE..)?.first_chunk()?;
    let mut options = Cursor::new(bytes.get(OPTIONS..)?);
    loop {
        match options.u8()? {
            0 => {}
            255 => return None,
            code => {
                let length = options.u8()?;
                let value = options.take(usize::from(length))?;
                if code == 53 {
                    return Some((*value.first()?, hardware));
                }
            }
        }
    }
}

/// Whether a client's datagram is a request that its server answers.
fn asks(protocol: &str, bytes: &[u8]) -> bool {
    let first = bytes.first().copied().unwrap_or_default();
    match protocol {
        // RFC 5905 §7.3: mode 3, client.
        "ntp" => first & 7 == 3,
        // RFC 2865 §3, RFC 2866 §3: Access-Request, Accounting-Request.
        "radius" => matches!(first, 1 | 4),
        // RFC 1350 §5: read and write request.
        "tftp" => matches!(bytes, [0, 1 | 2, ..]),
        "sip" => [&b"INVITE sip:"[..], b"REGISTER sip:", b"SUBSCRIBE sip:"]
            .iter()
            .any(|method| bytes.starts_with(method)),
        "quic" => is_quic_initial(bytes),
        "stun" => is_stun_request(bytes),
        "ike" => is_ike_request(bytes),
        "snmp" => snmp_asks(bytes).unwrap_or(false),
        _ => false,
    }
}

/// RFC 9000 §17.2.2, RFC 9369 §3.2.
fn is_quic_initial(bytes: &[u8]) -> bool {
    let Some([first, version @ ..]) = bytes.first_chunk::<5>() else {
        return false;
    };
    let initial = if u32::from_be_bytes(*version) == 0x6b33_43cf {
        1
    } else {
        0
    };
    first & 0xc0 == 0xc0 && first >> 4 & 3 == initial
}

/// A request (RFC 8489 §5) to a server, not a check of a candidate, whose PRIORITY tells it
/// (RFC 8445 §7.1.1): most of those go where nobody is.
fn is_stun_request(bytes: &[u8]) -> bool {
    const PRIORITY: u16 = 0x0024;
    let Some([high, low]) = bytes.first_chunk::<2>() else {
        return false;
    };
    // The class lies in bits 4 and 8 of the type.
    if high & 1 != 0 || low & 0x10 != 0 {
        return false;
    }
    let mut attributes = Cursor::new(bytes.get(20..).unwrap_or_default());
    while let (Some(kind), Some(length)) = (attributes.u16(), attributes.u16()) {
        if kind == PRIORITY {
            return false;
        }
        if attributes
            .take(usize::from(length).next_multiple_of(4))
            .is_none()
        {
            break;
        }
    }
    true
}

/// A request of IKEv2 (RFC 7296 §3.1), or what opens an exchange of IKEv1 (RFC 2408 §3.1): the
/// other end's cookie is not known yet.
fn is_ike_request(bytes: &[u8]) -> bool {
    let header = bytes.strip_prefix(&[0; 4]).unwrap_or(bytes);
    let (Some(responder), Some([version, exchange, flags])) =
        (header.get(8..16), header.get(17..20))
    else {
        return false;
    };
    match version {
        0x20 => flags & 0x20 == 0,
        0x10 => responder == [0; 8] && matches!(exchange, 2 | 4),
        _ => false,
    }
}

/// GetRequest, GetNextRequest, SetRequest, GetBulkRequest, InformRequest (RFC 3416 §4.2), or what bears the
/// reportable flag (RFC 3412 §6.4).
fn snmp_asks(bytes: &[u8]) -> Option<bool> {
    let mut message = Cursor::new(bytes);
    message.element()?;
    let (_, length) = message.element()?;
    let version = *message.take(length)?.first()?;
    let (tag, length) = message.element()?;
    if version != 3 {
        message.take(length)?;
        let (pdu, _) = message.element()?;
        return Some(tag == 4 && matches!(pdu, 0xa0 | 0xa1 | 0xa3 | 0xa5 | 0xa6));
    }
    // Identifier and largest size of the message, then its flags.
    for _ in 0..2 {
        let (_, length) = message.element()?;
        message.take(length)?;
    }
    let (_, length) = message.element()?;
    Some(message.take(length)?.first()? & 4 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn at(frame: u64) -> At {
        At {
            frame,
            time: Timestamp::from_nanos(0),
        }
    }

    #[test]
    fn requests_wait_until_anything_comes_back() {
        let mut requests = Requests::of("ntp").unwrap();
        let client = [0x23; 48];
        for frame in 1..=3 {
            requests.take(Direction::ClientToServer, &client, at(frame));
        }
        requests.take(Direction::ServerToClient, &[0x24; 48], at(4));
        requests.take(Direction::ClientToServer, &client, at(5));
        requests.take(Direction::ClientToServer, &client, at(6));
        requests.take(Direction::ClientToServer, &[0x25; 48], at(7));
        let facts = requests.finish().unwrap();
        let waiting = facts.unanswered.unwrap();
        assert_eq!((facts.count, waiting.count, waiting.different), (5, 2, 1));
        assert_eq!((waiting.first.frame, waiting.last.frame), (5, 6));
    }

    #[test]
    fn what_is_told_and_not_asked_needs_no_answer() {
        // SNMP: a trap of version 1 and 2, and requests.
        let snmp = |pdu: u8| [&[0x30, 15, 2, 1, 1, 4, 6][..], b"public", &[pdu, 2, 5, 0]].concat();
        assert!(asks("snmp", &snmp(0xa0)) && asks("snmp", &snmp(0xa5)));
        assert!(!asks("snmp", &snmp(0xa4)) && !asks("snmp", &snmp(0xa7)));
        assert!(!asks("snmp", &[0x30, 0x84]) && !asks("snmp", &[]));
        let version3 = [
            0x30, 20, 2, 1, 3, 0x30, 13, 2, 1, 9, 2, 2, 5, 5, 4, 1, 4, 2, 1, 3,
        ];
        assert!(asks("snmp", &version3));
        // STUN: a request, an indication, and a check of a candidate.
        let stun = |kind: u8, attribute: u8| {
            [
                &[0, kind, 0, 8][..],
                &[7; 16],
                &[0, attribute, 0, 4, 0, 0, 0, 0],
            ]
            .concat()
        };
        assert!(asks("stun", &stun(1, 6)) && !asks("stun", &stun(0x11, 6)));
        assert!(!asks("stun", &stun(1, 0x24)));
        assert!(asks("quic", &[0xc3, 0, 0, 0, 1]) && !asks("quic", &[0xe3, 0, 0, 0, 1]));
        assert!(!asks("quic", &[0x43, 0, 0]));
    }

    #[test]
    fn clients_of_dhcp_are_served_once_they_ask_for_an_address() {
        let message = |kind: u8, last: u8| {
            let mut message = vec![0; 240];
            message[28..34].copy_from_slice(&[2, 0, 0, 0, 0, last]);
            message.extend([53, 1, kind, 255]);
            message
        };
        let mut requests = Requests::of("dhcp").unwrap();
        for (frame, kind, last) in [(1, 1, 7), (2, 1, 7), (3, 1, 8), (4, 3, 8), (5, 1, 7)] {
            requests.take(Direction::ClientToServer, &message(kind, last), at(frame));
        }
        let clients = requests.finish().unwrap().dhcp_clients;
        let told: Vec<_> = clients
            .iter()
            .map(|client| (client.discovers, client.served.is_some()))
            .collect();
        assert_eq!(told, [(3, false), (0, true)]);
        assert_eq!(clients[0].last.frame, 5);
    }
}

//! BGP: a marker, a length and a type; NOTIFICATION is type 3 (RFC 4271 §4.5, RFC 4486).

use super::{Length, Stated};
use crate::app::ServiceErrorKind as Kind;

/// Marker, length and type.
const HEADER: usize = 19;
const NOTIFICATION: u8 = 3;

pub(super) fn length(head: &[u8]) -> Length {
    if head.iter().take(16).any(|octet| *octet != 0xff) {
        return Length::Lost;
    }
    let Some([.., high, low, kind]) = head.first_chunk::<HEADER>() else {
        return Length::More;
    };
    let length = u16::from_be_bytes([*high, *low]);
    if usize::from(length) >= HEADER && (1..=5).contains(kind) {
        Length::Is(u64::from(length))
    } else {
        Length::Lost
    }
}

pub(super) fn error(message: &[u8]) -> Option<Stated> {
    let (header, rest) = message.split_at_checked(HEADER)?;
    let [code, subcode, data @ ..] = rest else {
        return None;
    };
    if header[HEADER - 1] != NOTIFICATION {
        return None;
    }
    let mut text = name(*code).to_owned();
    if let Some(more) = subcode_name(*code, *subcode) {
        text = format!("{text}: {more}");
    }
    // An operator's words at a shutdown or reset (RFC 9003).
    if let (6, 2 | 4, [length, words @ ..]) = (*code, *subcode, data) {
        let words = &words[..words.len().min(usize::from(*length))];
        let words = String::from_utf8_lossy(words);
        if !words.trim().is_empty() {
            text = format!("{text}: {words}");
        }
    }
    let kind = kind(*code, *subcode);
    Some(Stated::new(
        format!("{code}/{subcode}"),
        text.as_bytes(),
        kind,
    ))
}

const fn name(code: u8) -> &'static str {
    match code {
        1 => "Message Header Error",
        2 => "OPEN Message Error",
        3 => "UPDATE Message Error",
        4 => "Hold Timer Expired",
        5 => "Finite State Machine Error",
        6 => "Cease",
        7 => "ROUTE-REFRESH Message Error",
        _ => "unknown error",
    }
}

const fn subcode_name(code: u8, subcode: u8) -> Option<&'static str> {
    Some(match (code, subcode) {
        (1, 1) => "Connection Not Synchronized",
        (1, 2) => "Bad Message Length",
        (1, 3) => "Bad Message Type",
        (2, 1) => "Unsupported Version Number",
        (2, 2) => "Bad Peer AS",
        (2, 3) => "Bad BGP Identifier",
        (2, 4) => "Unsupported Optional Parameter",
        (2, 5) => "Authentication Failure",
        (2, 6) => "Unacceptable Hold Time",
        (2, 7) => "Unsupported Capability",
        (3, 1) => "Malformed Attribute List",
        (3, 2) => "Unrecognized Well-known Attribute",
        (3, 3) => "Missing Well-known Attribute",
        (3, 4) => "Attribute Flags Error",
        (3, 5) => "Attribute Length Error",
        (3, 6) => "Invalid ORIGIN Attribute",
        (3, 8) => "Invalid NEXT_HOP Attribute",
        (3, 9) => "Optional Attribute Error",
        (3, 10) => "Invalid Network Field",
        (3, 11) => "Malformed AS_PATH",
        (6, 1) => "Maximum Number of Prefixes Reached",
        (6, 2) => "Administrative Shutdown",
        (6, 3) => "Peer De-configured",
        (6, 4) => "Administrative Reset",
        (6, 5) => "Connection Rejected",
        (6, 6) => "Other Configuration Change",
        (6, 7) => "Connection Collision Resolution",
        (6, 8) => "Out of Resources",
        _ => return None,
    })
}

/// What an operator or a collision ends is as it should be: both ends call each other, and one of the
/// two connections is closed (RFC 4271 §6.8) or rejected. All else ends a session in use, or refuses
/// one.
const fn kind(code: u8, subcode: u8) -> Kind {
    match (code, subcode) {
        (6, 1 | 8) => Kind::Capacity,
        (6, 2..=7) => Kind::Other,
        (2, 5) => Kind::Authentication,
        (2, _) | (6, _) => Kind::Refused,
        _ => Kind::Availability,
    }
}

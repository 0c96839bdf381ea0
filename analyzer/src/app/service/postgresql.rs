//! PostgreSQL: messages of a type and a length; ErrorResponse is `E` with named fields.

use super::command::Prepared;
use super::{Length, Stated, statement};
use crate::app::ServiceErrorKind as Kind;

/// Types of messages that a server sends.
const TYPES: &[u8] = b"123ACDEGHIKNRSTVWZcdnstv";

pub(super) fn length(head: &[u8], messages: u64) -> Length {
    let Some(first) = head.first() else {
        return Length::More;
    };
    // The requests for GSS encryption and TLS are each answered by one octet; what is a message
    // goes on with the high octet of its length.
    if messages < 2 && matches!(first, b'S' | b'N') {
        match head.get(1) {
            None => return Length::More,
            Some(0) => {}
            Some(_) if *first == b'N' => return Length::Is(1),
            Some(_) => return Length::Lost,
        }
    }
    if !TYPES.contains(first) {
        return Length::Lost;
    }
    let Some((_, octets)) = head.first_chunk::<5>().and_then(|head| head.split_first()) else {
        return Length::More;
    };
    let length = octets
        .iter()
        .fold(0_u64, |sum, octet| sum << 8 | u64::from(*octet));
    if (4..1 << 30).contains(&length) {
        Length::Is(length + 1)
    } else {
        Length::Lost
    }
}

pub(super) fn error(message: &[u8]) -> Option<Stated> {
    let mut fields = message.strip_prefix(b"E")?.get(4..)?;
    let (mut code, mut text) = (None, &[][..]);
    while let Some((name, rest)) = fields.split_first().filter(|(name, _)| **name != 0) {
        let end = rest.iter().position(|octet| *octet == 0);
        let value = &rest[..end.unwrap_or(rest.len())];
        match name {
            b'C' => code = std::str::from_utf8(value).ok(),
            b'M' => text = value,
            _ => {}
        }
        fields = end.map_or(&[], |end| &rest[end + 1..]);
    }
    let code =
        code.filter(|code| code.len() == 5 && code.bytes().all(|c| c.is_ascii_alphanumeric()))?;
    Some(Stated::new(code, text, kind(code)))
}

/// The first statement that a client's messages query, parse or bind; `prepared`: those parsed before.
pub(super) fn operation(request: &[u8], prepared: &mut Prepared) -> Option<String> {
    let mut rest = request;
    loop {
        let (&kind, length) = rest.split_first()?;
        let (length, body) = length.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        match kind {
            b'Q' => return statement::folded(named(body).map_or(body, |(text, _)| text), false),
            b'P' => {
                let (name, text) = named(body)?;
                let text = statement::folded(named(text).map_or(text, |(text, _)| text), false)?;
                if !name.is_empty() {
                    prepared.add(name, &text);
                }
                return Some(text);
            }
            b'B' => {
                let (_portal, name) = named(body)?;
                let (name, _) = named(name)?;
                return Some(prepared.get(name).unwrap_or("EXECUTE").to_owned());
            }
            b'F' => return Some("function call".to_owned()),
            // Execute, describe, close, synchronise, flush, and the data of COPY.
            b'E' | b'D' | b'C' | b'S' | b'H' | b'd' | b'c' => {}
            _ => return None,
        }
        rest = body.get(length.checked_sub(4)?..)?;
    }
}

/// A name that ends with a zero, and what follows it.
fn named(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = octets.iter().position(|octet| *octet == 0)?;
    Some((&octets[..end], &octets[end + 1..]))
}

/// By the class of the SQLSTATE.
fn kind(code: &str) -> Kind {
    match (&code[..2], code) {
        ("53", _) => Kind::Capacity,
        // A statement that was cancelled is somebody's wish, or a limit of its own.
        (_, "57014") => Kind::Other,
        ("57" | "58", _) | (_, "25006") => Kind::Availability,
        ("28", _) | (_, "42501") => Kind::Authentication,
        (_, "3D000" | "3F000" | "42P01" | "42703" | "42883" | "42704") => Kind::NotFound,
        _ => Kind::Other,
    }
}

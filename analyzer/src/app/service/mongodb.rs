//! MongoDB: messages of a length and an opcode, with BSON; a command failed where `ok` is 0.

use super::{Length, Stated};
use crate::app::ServiceErrorKind as Kind;

/// Length, identifiers and opcode.
const HEADER: usize = 16;
const OP_REPLY: u32 = 1;
const OP_QUERY: u32 = 2004;
const OP_MSG: u32 = 2013;

pub(super) fn length(head: &[u8]) -> Length {
    let Some(length) = head.first_chunk() else {
        return Length::More;
    };
    match u32::from_le_bytes(*length) {
        length @ 16..48_000_000 => Length::Is(u64::from(length)),
        _ => Length::Lost,
    }
}

pub(super) fn error(message: &[u8]) -> Option<Stated> {
    let opcode = u32::from_le_bytes(*message.get(12..HEADER)?.first_chunk()?);
    let document = match opcode {
        // Flags, and a section of kind 0: the body.
        OP_MSG => message.get(HEADER + 4..)?.strip_prefix(&[0])?,
        // Flags, a cursor, where the answer starts, and how many documents follow.
        OP_REPLY => message.get(HEADER + 20..)?,
        _ => return None,
    };
    let (mut ok, mut code, mut text, mut name) = (None, None, &[][..], None);
    let mut rest = document.get(4..)?;
    while let Some(field) = Field::read(rest) {
        match field.name {
            b"ok" => ok = field.number(),
            b"code" => code = field.number(),
            b"errmsg" | b"$err" => text = field.text().unwrap_or_default(),
            b"codeName" => name = field.text(),
            _ => {}
        }
        rest = field.rest;
    }
    if ok? != 0 {
        return None;
    }
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    let code = code.unwrap_or_default();
    let shown = name.map_or_else(|| code.to_string(), str::to_owned);
    Some(Stated::new(shown, text, kind(code)))
}

/// The command, with the collection that it names.
pub(super) fn operation(request: &[u8]) -> Option<String> {
    let opcode = u32::from_le_bytes(*request.get(12..HEADER)?.first_chunk()?);
    let body = request.get(HEADER + 4..)?;
    let document = match opcode {
        OP_MSG => body.strip_prefix(&[0])?,
        // A name, how many to skip and to return.
        OP_QUERY => body.get(body.iter().position(|octet| *octet == 0)? + 9..)?,
        _ => return None,
    };
    let rest = document.get(5..)?;
    let name = &rest[..rest.iter().position(|octet| *octet == 0)?];
    let command = std::str::from_utf8(name)
        .ok()
        .filter(|name| is_name(name))?;
    let field = Field::read(document.get(4..)?);
    let collection = field.and_then(|field| std::str::from_utf8(field.text()?).ok());
    Some(match collection.filter(|name| is_name(name)) {
        Some(collection) => format!("{command} {collection}"),
        None => command.to_owned(),
    })
}

fn is_name(text: &str) -> bool {
    let is_part =
        |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'.' | b'$' | b'-');
    (1..=40).contains(&text.len()) && text.bytes().all(is_part)
}

/// An element of a BSON document.
struct Field<'a> {
    kind: u8,
    name: &'a [u8],
    value: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Field<'a> {
    fn read(octets: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = octets.split_first().filter(|(kind, _)| **kind != 0)?;
        let end = rest.iter().position(|octet| *octet == 0)?;
        let (name, rest) = (&rest[..end], &rest[end + 1..]);
        let counted = || {
            let length = u32::from_le_bytes(*rest.first_chunk()?);
            usize::try_from(length).ok()
        };
        let length = match kind {
            0x01 | 0x09 | 0x11 | 0x12 => 8,
            0x02 | 0x0d | 0x0e => counted()?.checked_add(4)?,
            0x03 | 0x04 => counted()?,
            0x05 => counted()?.checked_add(5)?,
            0x06 | 0x0a | 0x7f | 0xff => 0,
            0x07 => 12,
            0x08 => 1,
            0x10 => 4,
            0x13 => 16,
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        Some(Self {
            kind,
            name,
            value,
            rest,
        })
    }

    /// As a whole number; what stands behind the point of a double does not matter here.
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    fn number(&self) -> Option<i64> {
        match self.kind {
            0x01 => Some(f64::from_le_bytes(*self.value.first_chunk()?) as i64),
            0x08 => Some(i64::from(*self.value.first()?)),
            0x10 => Some(i64::from(i32::from_le_bytes(*self.value.first_chunk()?))),
            0x12 => Some(i64::from_le_bytes(*self.value.first_chunk()?)),
            _ => None,
        }
    }

    fn text(&self) -> Option<&'a [u8]> {
        let text = self.value.get(4..).filter(|_| self.kind == 0x02)?;
        Some(text.strip_suffix(&[0]).unwrap_or(text))
    }
}

/// By the error codes of the server.
const fn kind(code: i64) -> Kind {
    match code {
        14031 | 39 | 146 | 292 => Kind::Capacity,
        // No primary, stepped down, shutting down, or no host.
        91 | 189 | 6 | 7 | 89 | 10107 | 11600 | 11602 | 13435 | 13436 => Kind::Availability,
        13 | 18 => Kind::Authentication,
        26 | 27 | 59 => Kind::NotFound,
        _ => Kind::Other,
    }
}

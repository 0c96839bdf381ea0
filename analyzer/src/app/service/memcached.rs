//! memcached, text protocol: replies of one line, values with a stated length.

use super::command::word;
use super::{Length, Stated, line};
use crate::app::ServiceErrorKind as Kind;

pub(super) fn length(head: &[u8]) -> Length {
    let is_text = |first: &u8| first.is_ascii_uppercase() || first.is_ascii_digit();
    if !head.first().is_none_or(is_text) {
        return Length::Lost;
    }
    let Some(end) = line(head) else {
        return Length::More;
    };
    if !head.starts_with(b"VALUE ") {
        return Length::Is(end as u64);
    }
    // VALUE key flags octets [unique]
    let text = std::str::from_utf8(&head[..end]).unwrap_or_default();
    let octets = text.split_whitespace().nth(3);
    match octets.and_then(|octets| octets.parse::<u32>().ok()) {
        Some(octets) => Length::Is(end as u64 + u64::from(octets) + 2),
        None => Length::Lost,
    }
}

pub(super) fn error(message: &[u8]) -> Option<Stated> {
    let text = std::str::from_utf8(message).ok()?.trim();
    let (code, text) = text.split_once(' ').unwrap_or((text, ""));
    let kind = match code {
        "SERVER_ERROR" if text.contains("memory") => Kind::Capacity,
        "SERVER_ERROR" => Kind::Availability,
        "CLIENT_ERROR" | "ERROR" => Kind::Other,
        _ => return None,
    };
    Some(Stated::new(code, text.as_bytes(), kind))
}

/// Commands that are answered.
const COMMANDS: [&str; 22] = [
    "get",
    "gets",
    "gat",
    "gats",
    "set",
    "add",
    "replace",
    "append",
    "prepend",
    "cas",
    "delete",
    "incr",
    "decr",
    "touch",
    "stats",
    "flush_all",
    "version",
    "mg",
    "ms",
    "md",
    "ma",
    "mn",
];

pub(super) fn operation(request: &[u8]) -> Option<String> {
    let word = word(request)?;
    let known = COMMANDS.iter().find(|known| known.as_bytes() == word);
    known.map(|known| (*known).to_owned())
}

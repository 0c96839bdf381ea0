//! NATS: lines of the server, messages with a stated length; `-ERR` is an error.

use super::{Length, Stated, line};
use crate::app::ServiceErrorKind as Kind;

/// Operations of a server.
const OPERATIONS: [&[u8]; 7] = [
    b"INFO ", b"MSG ", b"HMSG ", b"PING", b"PONG", b"+OK", b"-ERR",
];

pub(super) fn length(head: &[u8]) -> Length {
    let fits = |operation: &&[u8]| {
        let common = head.len().min(operation.len());
        head[..common] == operation[..common]
    };
    if !OPERATIONS.iter().any(fits) {
        return Length::Lost;
    }
    let Some(end) = line(head) else {
        // What a server tells of itself and its cluster can be long; it is no error.
        return Length::More;
    };
    if !head.starts_with(b"MSG ") && !head.starts_with(b"HMSG ") {
        return Length::Is(end as u64);
    }
    let text = std::str::from_utf8(&head[..end]).unwrap_or_default();
    let payload = text.split_whitespace().last();
    match payload.and_then(|payload| payload.parse::<u32>().ok()) {
        Some(payload) => Length::Is(end as u64 + u64::from(payload) + 2),
        None => Length::Lost,
    }
}

pub(super) fn error(message: &[u8]) -> Option<Stated> {
    let text = message.strip_prefix(b"-ERR")?;
    let text = std::str::from_utf8(text).ok()?;
    let text = text.trim().trim_matches('\'');
    // The words say what it is; what follows `for` is one subject or client.
    let what = text.split(" for ").next().unwrap_or(text);
    Some(Stated::new(what, text.as_bytes(), kind(what)))
}

fn kind(what: &str) -> Kind {
    let what = what.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| what.contains(word));
    if says(&["maximum connections", "slow consumer"]) {
        Kind::Capacity
    } else if says(&["stale connection", "shutdown"]) {
        Kind::Availability
    } else if says(&["authorization", "authentication", "permissions", "expired"]) {
        Kind::Authentication
    } else {
        Kind::Refused
    }
}

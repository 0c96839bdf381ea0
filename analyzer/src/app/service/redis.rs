//! Redis: replies of one line, and bulk strings of a stated length; an error begins with `-`.

use super::command::{command, word};
use super::{Length, Stated, line};
use crate::app::ServiceErrorKind as Kind;

/// First octets of the types of RESP2 and RESP3.
const TYPES: &[u8] = b"+-:$*_#,(!=%~>|";

pub(super) fn length(head: &[u8]) -> Length {
    let Some(first) = head.first() else {
        return Length::More;
    };
    if !TYPES.contains(first) {
        return Length::Lost;
    }
    let Some(end) = line(head) else {
        return Length::More;
    };
    let body = match first {
        b'$' | b'!' | b'=' => {
            std::str::from_utf8(&head[1..end]).map(|text| text.trim().parse::<i64>())
        }
        _ => return Length::Is(end as u64),
    };
    match body {
        // -1 is no string at all.
        Ok(Ok(-1)) => Length::Is(end as u64),
        Ok(Ok(body @ 0..0x1_0000_0000)) => Length::Is(end as u64 + body.unsigned_abs() + 2),
        _ => Length::Lost,
    }
}

pub(super) fn error(message: &[u8]) -> Option<Stated> {
    let text = match message.split_first()? {
        (b'-', rest) => &rest[..line(rest).unwrap_or(rest.len())],
        (b'!', rest) => &rest[line(rest)?..],
        _ => return None,
    };
    let text = std::str::from_utf8(text).ok()?.trim();
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let is_code = !code.is_empty() && code.bytes().all(|c| c.is_ascii_uppercase());
    // Redirections of a cluster are answers, not errors.
    if !is_code || matches!(code, "MOVED" | "ASK") {
        return None;
    }
    Some(Stated::new(code, rest.as_bytes(), kind(code, rest)))
}

/// The command: the first string of an array, or the first word of a line.
pub(super) fn operation(request: &[u8]) -> Option<String> {
    if request.first()? != &b'*' {
        return command(request);
    }
    let counts = line(request)?;
    let length = line(&request[counts..])?;
    command(&request[counts + length..])
}

/// Where to go instead, or that there is nothing.
pub(super) fn result(answer: &[u8]) -> Option<&[u8]> {
    match answer {
        [b'-', rest @ ..] => word(rest),
        [b'$' | b'*', b'-', b'1', ..] | [b'_', ..] => Some(b"nil"),
        _ => None,
    }
}

fn kind(code: &str, text: &str) -> Kind {
    match code {
        "OOM" | "NOREPLICAS" => Kind::Capacity,
        "ERR" if text.starts_with("max number of clients") => Kind::Capacity,
        "LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "READONLY" | "MISCONF" | "TRYAGAIN" => {
            Kind::Availability
        }
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => Kind::Authentication,
        "NOSCRIPT" | "NOGROUP" => Kind::NotFound,
        _ => Kind::Other,
    }
}

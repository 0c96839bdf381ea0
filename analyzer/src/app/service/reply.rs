//! SMTP and FTP: reply lines of three digits and text; 4yz and 5yz are errors.

use super::{Length, Stated, line};
use crate::app::ServiceErrorKind as Kind;

pub(super) fn length(head: &[u8]) -> Length {
    // Lines within a reply of several need no code in FTP; octets that are no text are not a line.
    let is_text = |first: &u8| first.is_ascii_graphic() || first.is_ascii_whitespace();
    if !head.first().is_none_or(is_text) {
        return Length::Lost;
    }
    line(head).map_or(Length::More, |end| Length::Is(end as u64))
}

pub(super) fn smtp_error(message: &[u8]) -> Option<Stated> {
    let (code, text) = reply(message)?;
    let kind = match code {
        452 => Kind::Capacity,
        421 => closing(text),
        530 | 534 | 535 | 538 => Kind::Authentication,
        _ => Kind::Other,
    };
    Some(Stated::new(code.to_string(), text, kind))
}

pub(super) fn ftp_error(message: &[u8]) -> Option<Stated> {
    let (code, text) = reply(message)?;
    let kind = match code {
        452 | 552 => Kind::Capacity,
        421 => closing(text),
        425 | 426 => Kind::Refused,
        530 | 532 => Kind::Authentication,
        550 => Kind::NotFound,
        _ => Kind::Other,
    };
    Some(Stated::new(code.to_string(), text, kind))
}

/// 421 closes the connection: the service is not available, or the client was idle.
fn closing(text: &[u8]) -> Kind {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let is_idle = ["timeout", "timed out", "idle"]
        .iter()
        .any(|word| text.contains(word));
    if is_idle {
        Kind::Other
    } else {
        Kind::Availability
    }
}

/// Code and text of the last line of a reply that is an error.
fn reply(message: &[u8]) -> Option<(u16, &[u8])> {
    let (code, text) = message.split_at_checked(3)?;
    let text = text.strip_prefix(b" ")?;
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    (400..=559).contains(&code).then_some((code, text))
}

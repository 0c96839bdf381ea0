//! SMTP and FTP: reply lines of three digits and text; 4yz and 5yz are errors.

use super::command::command;
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

/// The code that a reply begins with.
pub(super) fn code(answer: &[u8]) -> Option<&[u8]> {
    let code = answer.get(..3)?;
    code.iter().all(u8::is_ascii_digit).then_some(code)
}

/// Code and text of the last line of a reply that is an error.
fn reply(message: &[u8]) -> Option<(u16, &[u8])> {
    let (code, text) = message.split_at_checked(3)?;
    let text = text.strip_prefix(b" ")?;
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    (400..=559).contains(&code).then_some((code, text))
}

/// Commands of SMTP. What else a client sends may be a secret, in answer to a challenge.
const SMTP_COMMANDS: [&str; 15] = [
    "HELO", "EHLO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "VRFY", "EXPN",
    "AUTH", "STARTTLS", "HELP",
];

pub(super) fn smtp_operation(request: &[u8]) -> Option<String> {
    command(request).filter(|command| SMTP_COMMANDS.contains(&command.as_str()))
}

/// Commands of FTP have three or four letters (RFC 959 §5.3).
pub(super) fn ftp_operation(request: &[u8]) -> Option<String> {
    command(request).filter(|command| (3..=4).contains(&command.len()))
}

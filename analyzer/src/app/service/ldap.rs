//! LDAP: messages in BER; results bear a code (RFC 4511 §4.1.9).

use super::{Length, Stated};
use crate::app::ServiceErrorKind as Kind;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const ENUMERATED: u8 = 0x0a;
const BIND_REQUEST: u8 = 0x60;

/// Tags of operations that hold a result: bind, search, modify, add, delete, rename, compare,
/// extended.
const RESULTS: [u8; 8] = [0x61, 0x65, 0x67, 0x69, 0x6b, 0x6d, 0x6f, 0x78];

/// Whether octets begin with a bind request of version 3; nothing where more would tell.
pub(in crate::app) fn is_bind(octets: &[u8]) -> Option<bool> {
    let (first, _) = octets.split_first()?;
    if *first != SEQUENCE {
        return Some(false);
    }
    // The message id has one to four octets, lengths one to five.
    let Some((_, body)) = element(octets) else {
        return if octets.len() < 6 { None } else { Some(false) };
    };
    let Some((INTEGER, id, rest)) = parts(body) else {
        return if octets.len() < 12 { None } else { Some(false) };
    };
    if id.is_empty() || id.len() > 4 {
        return Some(false);
    }
    let (tag, _) = rest.split_first()?;
    if *tag != BIND_REQUEST {
        return Some(false);
    }
    let Some((_, bind)) = element(rest) else {
        return if octets.len() < 20 { None } else { Some(false) };
    };
    match bind {
        [INTEGER, 1, 3, ..] => Some(true),
        [] | [INTEGER] | [INTEGER, 1] => None,
        _ => Some(false),
    }
}

pub(super) fn length(head: &[u8]) -> Length {
    match head {
        [] | [SEQUENCE] => Length::More,
        [SEQUENCE, rest @ ..] => match header(rest) {
            Ok((octets, length)) if length < 1 << 28 => {
                Length::Is(1 + octets as u64 + length as u64)
            }
            Ok(_) | Err(true) => Length::Lost,
            Err(false) => Length::More,
        },
        _ => Length::Lost,
    }
}

pub(super) fn error(message: &[u8]) -> Option<Stated> {
    let (_, body) = element(message)?;
    let (_, _, rest) = parts(body)?;
    if !RESULTS.contains(rest.first()?) {
        return None;
    }
    let (_, result) = element(rest)?;
    let (tag, code, rest) = parts(result)?;
    let &[code] = code else {
        return None;
    };
    // Success, comparisons, referrals, steps of SASL, and objects that are not there.
    if tag != ENUMERATED || matches!(code, 0 | 5 | 6 | 10 | 14 | 32) {
        return None;
    }
    let diagnostic = parts(rest).and_then(|(_, _, rest)| parts(rest));
    let text = diagnostic.map(|(_, text, _)| text).unwrap_or_default();
    let name = name(code);
    let said = if text.is_empty() {
        name.to_owned()
    } else {
        format!("{name}: {}", String::from_utf8_lossy(text))
    };
    Some(Stated::new(code.to_string(), said.as_bytes(), kind(code)))
}

/// The operation of a request; those that are not answered (unbind, abandon) are none.
pub(super) fn operation(request: &[u8]) -> Option<String> {
    let (_, body) = element(request).filter(|_| request.first() == Some(&SEQUENCE))?;
    let (_, _, rest) = parts(body)?;
    let name = match *rest.first()? {
        BIND_REQUEST => "bind",
        0x63 => "search",
        0x66 => "modify",
        0x68 => "add",
        0x4a => "delete",
        0x6c => "modifyDN",
        0x6e => "compare",
        0x77 => "extended",
        _ => return None,
    };
    Some(name.to_owned())
}

/// Octets of a length and the length; `Err(true)` where it is none, `Err(false)` where more would
/// tell.
fn header(octets: &[u8]) -> Result<(usize, usize), bool> {
    let (&first, rest) = octets.split_first().ok_or(false)?;
    if first < 0x80 {
        return Ok((1, usize::from(first)));
    }
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) {
        return Err(true);
    }
    let octets = rest.get(..count).ok_or(false)?;
    let length = octets
        .iter()
        .fold(0, |sum, octet| sum << 8 | usize::from(*octet));
    Ok((1 + count, length))
}

/// Tag and contents of an element, as far as they are there.
fn element(octets: &[u8]) -> Option<(u8, &[u8])> {
    let (&tag, rest) = octets.split_first()?;
    let (used, length) = header(rest).ok()?;
    let contents = &rest[used..];
    Some((tag, &contents[..contents.len().min(length)]))
}

/// Tag and contents of a whole element, and what follows it.
fn parts(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = octets.split_first()?;
    let (used, length) = header(rest).ok()?;
    let (contents, rest) = rest[used..].split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// By RFC 4511 appendix A.
const fn name(code: u8) -> &'static str {
    match code {
        1 => "operationsError",
        2 => "protocolError",
        3 => "timeLimitExceeded",
        4 => "sizeLimitExceeded",
        7 => "authMethodNotSupported",
        8 => "strongerAuthRequired",
        11 => "adminLimitExceeded",
        13 => "confidentialityRequired",
        16 => "noSuchAttribute",
        19 => "constraintViolation",
        20 => "attributeOrValueExists",
        21 => "invalidAttributeSyntax",
        34 => "invalidDNSyntax",
        48 => "inappropriateAuthentication",
        49 => "invalidCredentials",
        50 => "insufficientAccessRights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwillingToPerform",
        65 => "objectClassViolation",
        68 => "entryAlreadyExists",
        _ => "error",
    }
}

const fn kind(code: u8) -> Kind {
    match code {
        11 => Kind::Capacity,
        51 | 52 => Kind::Availability,
        7 | 8 | 13 | 48..=50 => Kind::Authentication,
        _ => Kind::Other,
    }
}

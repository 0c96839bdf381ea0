//! AMQP 0-9-1: frames of a type, a channel and a length; `connection.close` and `channel.close`.

use super::{Length, Stated};
use crate::app::ServiceErrorKind as Kind;

/// Type, channel and length of a frame.
const HEADER: usize = 7;
/// What ends a frame.
const FRAME_END: u64 = 1;

pub(super) fn length(head: &[u8]) -> Length {
    let Some(head) = head.first_chunk::<HEADER>() else {
        return Length::More;
    };
    match head {
        // The protocol header, also of a server that refuses the client's version.
        [b'A', b'M', b'Q', b'P', 0, 0, 9] => Length::Is(8),
        [1..=4 | 8, _, _, length @ ..] => {
            Length::Is(HEADER as u64 + u64::from(u32::from_be_bytes(*length)) + FRAME_END)
        }
        _ => Length::Lost,
    }
}

pub(super) fn error(message: &[u8]) -> Option<Stated> {
    let method = message.strip_prefix(&[1])?.get(HEADER - 1..)?;
    let rest = method
        .strip_prefix(&[0, 10, 0, 50])
        .or_else(|| method.strip_prefix(&[0, 20, 0, 40]))?;
    let (code, rest) = rest.split_first_chunk()?;
    let code = u16::from_be_bytes(*code);
    let (length, rest) = rest.split_first()?;
    let text = &rest[..rest.len().min(usize::from(*length))];
    (300..1000)
        .contains(&code)
        .then(|| Stated::new(code.to_string(), text, kind(code)))
}

/// By the reply codes of AMQP 0-9-1 §1.2. Each ends the channel or the connection.
const fn kind(code: u16) -> Kind {
    match code {
        506 => Kind::Capacity,
        320 | 541 => Kind::Availability,
        403 => Kind::Authentication,
        404 => Kind::NotFound,
        _ => Kind::Refused,
    }
}

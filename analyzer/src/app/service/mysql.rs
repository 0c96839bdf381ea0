//! MySQL and MariaDB: packets of a three-octet length and a sequence number; ERR is 0xff.

use super::{Length, Stated};
use crate::app::ServiceErrorKind as Kind;

/// Header of a packet, in octets.
const HEADER: usize = 4;

/// Whether a server's first octets refuse a client in place of the greeting. 16 octets tell.
pub(in crate::app) fn is_refusal(head: &[u8; 16]) -> bool {
    let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
    let code = u16::from_le_bytes([head[5], head[6]]);
    (12..512).contains(&length)
        && head[3..5] == [0, 0xff]
        && (1000..5000).contains(&code)
        && head[7..].iter().all(|octet| (b' '..=b'~').contains(octet))
}

pub(super) fn length(head: &[u8], messages: u64) -> Length {
    let Some([one, two, three, _]) = head.first_chunk::<HEADER>() else {
        return Length::More;
    };
    // After the greeting the client may have asked for TLS: a record of a handshake or an alert.
    if messages == 1 && matches!(one, 0x15 | 0x16) && *two == 3 && *three <= 4 {
        return Length::Lost;
    }
    let body = u32::from_le_bytes([*one, *two, *three, 0]);
    Length::Is(u64::from(body) + HEADER as u64)
}

/// An ERR packet. Only the one in place of the greeting may lack the SQLSTATE.
pub(super) fn error(message: &[u8], messages: u64) -> Option<Stated> {
    let rest = message.get(HEADER..)?.strip_prefix(&[0xff])?;
    let (code, rest) = rest.split_first_chunk()?;
    let code = u16::from_le_bytes(*code);
    let text = match rest
        .strip_prefix(b"#")
        .and_then(|rest| rest.split_at_checked(5))
    {
        Some((state, text)) if state.iter().all(u8::is_ascii_alphanumeric) => text,
        _ if messages == 0 => rest,
        _ => return None,
    };
    (1000..5000)
        .contains(&code)
        .then(|| Stated::new(code.to_string(), text, kind(code)))
}

/// By the server error message reference.
fn kind(code: u16) -> Kind {
    match code {
        // Memory, disk, threads, connections of all, of a user, and a user's quota.
        1021 | 1037 | 1038 | 1040 | 1041 | 1114 | 1135 | 1203 | 1226 => Kind::Capacity,
        // Shutdown, host blocked, lock wait, killed, read only, offline mode.
        1053 | 1129 | 1205 | 1290 | 1792 | 1836 | 1927 | 3032 => Kind::Availability,
        1044 | 1045 | 1130 | 1142 | 1143 | 1227 | 1251 | 1698 | 1820 | 1862 | 3118 => {
            Kind::Authentication
        }
        1046 | 1049 | 1051 | 1054 | 1091 | 1146 | 1305 => Kind::NotFound,
        _ => Kind::Other,
    }
}

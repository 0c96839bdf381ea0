//! MySQL and MariaDB: packets of a three-octet length and a sequence number; ERR is 0xff.

use super::command::Prepared;
use super::{Length, Stated, statement};
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

/// What a command asks for; of a prepared statement, what was prepared.
pub(super) fn operation(request: &[u8], answer: &[u8], prepared: &mut Prepared) -> Option<String> {
    const QUERY: u8 = 0x03;
    const PREPARE: u8 = 0x16;
    const EXECUTE: u8 = 0x17;
    /// Parts of parameters, and the end of a statement, are not answered.
    const SILENT: [u8; 2] = [0x18, 0x19];
    let mut rest = request;
    loop {
        let ([one, two, three, number], body) = rest.split_first_chunk::<HEADER>()?;
        let length = usize::try_from(u32::from_le_bytes([*one, *two, *three, 0])).ok()?;
        let (command, arguments) = body.split_first().filter(|_| *number == 0)?;
        if SILENT.contains(command) {
            rest = body.get(length..)?;
            continue;
        }
        let arguments = &arguments[..arguments.len().min(length.saturating_sub(1))];
        let name = match *command {
            QUERY => {
                // Without attributes of the query there are none of one set.
                let text = arguments.strip_prefix(&[0, 1]).unwrap_or(arguments);
                return statement::folded(text, true);
            }
            PREPARE => {
                let text = statement::folded(arguments, true)?;
                if let Some([0, number @ ..]) = answer.get(HEADER..HEADER + 5) {
                    prepared.add(number, &text);
                }
                return Some(format!("PREPARE {text}"));
            }
            EXECUTE => {
                let known = arguments.get(..4).and_then(|number| prepared.get(number));
                return Some(known.unwrap_or("EXECUTE").to_owned());
            }
            0x02 => "USE",
            0x04 => "SHOW FIELDS",
            0x09 => "STATISTICS",
            0x0e => "PING",
            0x11 => "CHANGE USER",
            0x1a => "RESET STATEMENT",
            0x1b => "SET OPTION",
            0x1c => "FETCH",
            0x1f => "RESET CONNECTION",
            _ => return None,
        };
        return Some(name.to_owned());
    }
}

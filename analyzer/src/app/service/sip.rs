//! SIP over TCP (RFC 3261 §18.3): a head, an empty line, and a body of `Content-Length` octets.

use super::Length;

/// The length of a message. Empty lines between messages keep the connection alive (RFC 5626 §3.5.1).
pub(super) fn length(head: &[u8]) -> Length {
    match head {
        [b'\r' | b'\n', ..] => return Length::Is(1),
        [first, ..] if !first.is_ascii_uppercase() => return Length::Lost,
        _ => {}
    }
    let Some(end) = memchr::memmem::find(head, b"\r\n\r\n") else {
        return Length::More;
    };
    let lines = head[..end].split(|octet| *octet == b'\n');
    let body = lines.filter_map(content_length).next().unwrap_or(0);
    Length::Is(end as u64 + 4 + body)
}

/// The value of the header in full or in its compact form (RFC 3261 §20.14).
fn content_length(line: &[u8]) -> Option<u64> {
    let colon = line.iter().position(|octet| *octet == b':')?;
    let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
    let is_it = name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"l");
    let number = std::str::from_utf8(value).ok()?.parse::<u32>().ok()?;
    is_it.then(|| number.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_end_with_their_body() {
        let head = b"SIP/2.0 503 Service Unavailable\r\nl : 4\r\n\r\n";
        assert_eq!(length(&head[..20]), Length::More);
        assert_eq!(length(head), Length::Is(head.len() as u64 + 4));
        assert_eq!(length(b"SIP/2.0 200 OK\r\n\r\nSIP"), Length::Is(18));
        assert_eq!(length(b"\r\n\r\n"), Length::Is(1));
        assert_eq!(length(&[0, 1]), Length::Lost);
    }
}

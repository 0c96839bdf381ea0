//! What each end says first, by its first octets: whether both speak of the same protocol.

use serde::{Deserialize, Serialize};

use crate::event::At;

use super::http2;

/// The protocol in which one end begins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Opening {
    /// A TLS handshake record.
    TlsHandshake,
    /// A TLS alert record with this description.
    TlsAlert(u8),
    /// A request of HTTP/1.
    HttpRequest,
    /// A response of HTTP/1 with this status.
    HttpResponse(u16),
    /// The preface of an HTTP/2 client (RFC 9113 §3.4).
    Http2Preface,
    /// A version line of SSH (RFC 4253 §4.2).
    Ssh,
    /// A header of the PROXY protocol, of either version.
    Proxy,
    /// A greeting of SMTP, FTP, POP3 or IMAP.
    Greeting,
    /// Anything else, or octets that are missing.
    Other,
}

/// The first octets of one end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Opened {
    /// What they are.
    pub by: Opening,
    /// Where.
    pub at: At,
}

/// Octets that tell every opening.
const TELLING: usize = 24;

/// The first octets of one end, as they come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prefix {
    octets: [u8; TELLING],
    len: usize,
    /// Octets are missing behind these.
    cut: bool,
    at: Option<At>,
}

impl Prefix {
    /// Nothing more can be learnt.
    pub(super) const fn is_known(&self) -> bool {
        self.cut || self.len == TELLING
    }

    /// Takes the next octets.
    pub(super) fn take(&mut self, bytes: &[u8], at: At) {
        if self.is_known() {
            return;
        }
        self.at.get_or_insert(at);
        let free = &mut self.octets[self.len..];
        let taken = bytes.len().min(free.len());
        free[..taken].copy_from_slice(&bytes[..taken]);
        self.len += taken;
    }

    /// Takes note of octets that were not captured.
    pub(super) fn gap(&mut self, at: At) {
        self.at.get_or_insert(at);
        self.cut = true;
    }

    /// What they begin; nothing where the end said nothing.
    pub(super) fn opened(&self) -> Option<Opened> {
        let by = judge(&self.octets[..self.len]);
        self.at.map(|at| Opened { by, at })
    }
}

/// What the first octets of an end begin.
fn judge(octets: &[u8]) -> Opening {
    const PROXY_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    // RTSP and SIP have some of these methods; their targets are URIs of their own.
    const REQUESTS: [&[u8]; 9] = [
        b"GET /",
        b"GET http://",
        b"POST /",
        b"POST http://",
        b"HEAD /",
        b"PUT /",
        b"DELETE /",
        b"OPTIONS /",
        b"PATCH /",
    ];
    const GREETINGS: [&[u8]; 4] = [b"220 ", b"220-", b"+OK ", b"* OK "];
    let begins = |known: &[&[u8]]| known.iter().any(|known| octets.starts_with(known));
    match octets {
        // A handshake of a plausible length that begins with a hello.
        [22, 3, 0..=4, high, _, 1 | 2, ..] if *high <= 0x40 => Opening::TlsHandshake,
        [21, 3, 0..=4, 0, 2, 1 | 2, description, ..] => Opening::TlsAlert(*description),
        _ if octets.starts_with(http2::PREFACE) => Opening::Http2Preface,
        _ if octets.starts_with(b"SSH-") => Opening::Ssh,
        _ if begins(&[b"PROXY TCP", b"PROXY UNKNOWN", PROXY_2]) => Opening::Proxy,
        _ if octets.starts_with(b"HTTP/1.") => status(octets),
        _ if begins(&REQUESTS) => Opening::HttpRequest,
        _ if begins(&GREETINGS) => Opening::Greeting,
        _ => Opening::Other,
    }
}

fn status(octets: &[u8]) -> Opening {
    let digits = octets.get(9..12);
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    let status = digits.and_then(|digits| digits.parse().ok());
    status.map_or(Opening::Other, Opening::HttpResponse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_of_both_ends() {
        for (octets, opening) in [
            (
                &b"\x16\x03\x01\x02\0\x01\0\x01\xfc"[..],
                Opening::TlsHandshake,
            ),
            (b"\x15\x03\x01\0\x02\x02\x46", Opening::TlsAlert(70)),
            (b"GET / HTTP/1.1\r\nHost: a\r\n", Opening::HttpRequest),
            (b"OPTIONS rtsp://a RTSP/1.0\r\n", Opening::Other),
            (b"HTTP/1.1 400 Bad Request\r\n", Opening::HttpResponse(400)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Opening::Http2Preface),
            (b"SSH-2.0-OpenSSH_9.6\r\n", Opening::Ssh),
            (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", Opening::Proxy),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", Opening::Proxy),
            (b"220 mail.example ESMTP\r\n", Opening::Greeting),
            (b"\x16\x03", Opening::Other),
            (b"", Opening::Other),
        ] {
            assert_eq!(judge(octets), opening, "{octets:?}");
        }
    }
}

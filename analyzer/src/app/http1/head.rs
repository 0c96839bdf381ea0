//! Reads the head of an HTTP/1.x message (RFC 9112), whole or cut.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use smallvec::SmallVec;

use crate::app::text::capped;

/// Most header fields of one head; real ones have far fewer.
const FIELDS_MAX: usize = 128;

/// What is read of a head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub line: Line,
    pub host: Option<String>,
    pub server: Option<String>,
    /// `None` when absent or nonsense.
    pub content_length: Option<u64>,
    pub chunked: bool,
    /// The connection will not be used again (RFC 9112 §9.3).
    pub close: bool,
    pub keep_alive_timeout_s: Option<u32>,
    pub expects_continue: bool,
    /// Its body goes on until somebody has enough: events, or pictures one after the other.
    pub endless: bool,
}

/// The first line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Line {
    Request {
        method: Cow<'static, str>,
        target: String,
    },
    Response {
        status: u16,
    },
}

/// Longest strings kept.
const METHOD_MAX: usize = 16;
const TARGET_MAX: usize = 256;
const HOST_MAX: usize = 256;
const SERVER_MAX: usize = 64;

/// Types of bodies without an end of their own: server-sent events (HTML Standard §9.2), and parts that
/// replace one another.
const ENDLESS: [&[u8]; 2] = [b"text/event-stream", b"multipart/x-mixed-replace"];
/// Longest first line searched for its end.
const LINE_MAX: usize = 8192;

/// Whether the octets begin a head; `None` when more are needed. `cut`: no more will come.
///
/// A response line with a status code, or a line that ends in `HTTP/1.`; of a cut line a known
/// method and a target.
pub(in crate::app) fn looks_like_head(bytes: &[u8], cut: bool) -> Option<bool> {
    const VERSION: &[u8] = b"HTTP/1.";
    let common = bytes.len().min(VERSION.len());
    if bytes[..common] == VERSION[..common] {
        // The minor version, a space and three digits.
        let mut shape = bytes[common..].iter().take(5).enumerate();
        let fits = |(at, octet): (usize, &u8)| match at {
            1 => *octet == b' ',
            _ => octet.is_ascii_digit(),
        };
        return match shape.all(fits) {
            true if bytes.len() < common + 5 => None,
            fits => Some(fits),
        };
    }
    let method = bytes
        .iter()
        .take(METHOD_MAX + 1)
        .take_while(|octet| octet.is_ascii_uppercase() || **octet == b'-')
        .count();
    if method > METHOD_MAX || (method < bytes.len() && (method == 0 || bytes[method] != b' ')) {
        return Some(false);
    }
    let front = &bytes[..bytes.len().min(LINE_MAX)];
    let end = memchr::memchr(b'\n', front);
    let line = &front[..end.unwrap_or(front.len())];
    if has_control(line) {
        return Some(false);
    }
    if end.is_some() {
        let line = line.trim_ascii_end();
        return Some(line.len() > method + 9 && line[..line.len() - 1].ends_with(b" HTTP/1."));
    }
    if line.len() == LINE_MAX {
        return Some(false);
    }
    let target = bytes.get(method + 1..).unwrap_or_default();
    let known = known_method(&bytes[..method]).is_some()
        && (target.first().is_some_and(|first| *first == b'/') || target.starts_with(b"http://"));
    cut.then_some(known)
}

/// Whether there is a control character in a line, but for CR.
fn has_control(line: &[u8]) -> bool {
    // Without an early end this takes many octets at a time.
    let among = |octets: &[u8]| {
        let is_control = |octet: &u8| octet.is_ascii_control() & (*octet != b'\r');
        octets
            .iter()
            .fold(false, |found, octet| found | is_control(octet))
    };
    match line.last_chunk::<16>() {
        // The last ones are looked at together, some of them once more.
        Some(last) => line.as_chunks::<16>().0.iter().any(|chunk| among(chunk)) || among(last),
        None => among(line),
    }
}

impl Head {
    /// Reads a head with its empty line; `None` when it is none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        // Not filled in before: that would cost more than the reading of a usual head.
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let (line, minor, fields) = if bytes.starts_with(b"HTTP/") {
            let mut response = httparse::Response::new(&mut []);
            let config = lenient();
            config
                .parse_response_with_uninit_headers(&mut response, bytes, &mut fields)
                .ok()?
                .is_complete()
                .then_some(())?;
            (
                Line::Response {
                    status: response.code?,
                },
                response.version?,
                response.headers,
            )
        } else {
            let mut request = httparse::Request::new(&mut []);
            let config = lenient();
            config
                .parse_request_with_uninit_headers(&mut request, bytes, &mut fields)
                .ok()?
                .is_complete()
                .then_some(())?;
            let method = method_of(request.method?.as_bytes());
            let target = capped(request.path?.as_bytes(), TARGET_MAX);
            (
                Line::Request { method, target },
                request.version?,
                request.headers,
            )
        };
        let mut head = Self::bare(line, minor == 0);
        for field in fields.iter() {
            head.take(field.name, field.value);
        }
        Some(head)
    }

    /// Reads the lines that are there of a head that is cut.
    pub(super) fn parse_cut(bytes: &[u8]) -> Option<Self> {
        if let Some(end) = memchr::memrchr(b'\n', bytes) {
            if let Some(head) = Self::of_status_line(&bytes[..=end]) {
                return Some(head);
            }
            let mut whole = SmallVec::<[u8; 256]>::from_slice(&bytes[..=end]);
            whole.extend_from_slice(b"\r\n");
            return Self::parse(&whole);
        }
        let line = match bytes.strip_prefix(b"HTTP/1.") {
            Some([minor, b' ', status @ ..]) => {
                let digits = std::str::from_utf8(status.get(..3)?).ok()?;
                let status = digits.parse().ok()?;
                return Some(Self::bare(Line::Response { status }, *minor == b'0'));
            }
            _ => {
                let (method, behind) = bytes.split_at(memchr::memchr(b' ', bytes)?);
                let target = &behind[1..];
                let target = &target[..memchr::memchr(b' ', target).unwrap_or(target.len())];
                Line::Request {
                    method: method_of(method),
                    target: capped(target, TARGET_MAX),
                }
            }
        };
        Some(Self::bare(line, false))
    }

    /// What a usual status line alone tells; most short snap lengths leave no more of a response. `None`:
    /// it is another line, or not alone.
    fn of_status_line(line: &[u8]) -> Option<Self> {
        let is_plain = |octet: &u8| matches!(octet, b' '..=b'~');
        let rest = line.strip_prefix(b"HTTP/1.")?;
        let [minor @ (b'0' | b'1'), b' ', code @ .., b'\r', b'\n'] = rest else {
            return None;
        };
        let (digits, reason) = code.split_first_chunk::<3>()?;
        if !digits.iter().all(u8::is_ascii_digit)
            || reason.first() != Some(&b' ')
            || !reason.iter().all(is_plain)
        {
            return None;
        }
        let status = digits
            .iter()
            .fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
        Some(Self::bare(Line::Response { status }, *minor == b'0'))
    }

    /// A first line without any field.
    const fn bare(line: Line, close: bool) -> Self {
        Self {
            line,
            host: None,
            server: None,
            content_length: None,
            chunked: false,
            close,
            keep_alive_timeout_s: None,
            expects_continue: false,
            endless: false,
        }
    }

    fn take(&mut self, name: &str, value: &[u8]) {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        if is("host") {
            self.host.get_or_insert_with(|| capped(value, HOST_MAX));
        } else if is("server") {
            self.server.get_or_insert_with(|| capped(value, SERVER_MAX));
        } else if is("content-length") {
            // A list of equal values is one value (RFC 9110 §8.6).
            let first = value
                .split(|octet| *octet == b',')
                .next()
                .unwrap_or_default();
            self.content_length = std::str::from_utf8(first.trim_ascii())
                .ok()
                .and_then(|text| text.parse().ok());
        } else if is("transfer-encoding") {
            self.chunked |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"chunked"));
        } else if is("connection") || is("proxy-connection") {
            for token in tokens(value) {
                if token.eq_ignore_ascii_case(b"close") {
                    self.close = true;
                } else if token.eq_ignore_ascii_case(b"keep-alive") {
                    self.close = false;
                }
            }
        } else if is("keep-alive") {
            let timeout = tokens(value).find_map(|token| {
                let (key, value) = token.split_at_checked(8)?;
                key.eq_ignore_ascii_case(b"timeout=").then_some(value)
            });
            let seconds = timeout.and_then(|digits| {
                std::str::from_utf8(digits)
                    .ok()?
                    .trim_matches('"')
                    .parse()
                    .ok()
            });
            self.keep_alive_timeout_s = seconds.or(self.keep_alive_timeout_s);
        } else if is("expect") {
            self.expects_continue |= value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
        } else if is("content-type") {
            let starts_with = |wanted: &[u8]| {
                let start = value.trim_ascii_start().get(..wanted.len());
                start.is_some_and(|start| start.eq_ignore_ascii_case(wanted))
            };
            self.endless |= ENDLESS.into_iter().any(starts_with);
        }
    }
}

/// A method that is taken for HTTP without the rest of its line.
fn known_method(method: &[u8]) -> Option<&'static str> {
    Some(match method {
        b"GET" => "GET",
        b"POST" => "POST",
        b"PUT" => "PUT",
        b"HEAD" => "HEAD",
        b"DELETE" => "DELETE",
        b"OPTIONS" => "OPTIONS",
        b"PATCH" => "PATCH",
        b"CONNECT" => "CONNECT",
        b"TRACE" => "TRACE",
        b"PROPFIND" => "PROPFIND",
        _ => return None,
    })
}

/// Costs no memory for the usual ones.
fn method_of(method: &[u8]) -> Cow<'static, str> {
    known_method(method).map_or_else(|| capped(method, METHOD_MAX).into(), Cow::Borrowed)
}

/// Accepts what servers and clients accept of one another.
fn lenient() -> httparse::ParserConfig {
    let mut config = httparse::ParserConfig::default();
    config
        .allow_multiple_spaces_in_request_line_delimiters(true)
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .ignore_invalid_headers_in_requests(true);
    config
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|octet| *octet == b',').map(<[u8]>::trim_ascii)
}

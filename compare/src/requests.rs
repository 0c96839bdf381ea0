//! HTTP/1.x requests as they stand in segments: what pairs two legs of a path that a proxy joins.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

/// A request head that begins a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    /// Digest of method and target.
    pub target: u64,
    /// Digest of method, target and Host.
    pub what: u64,
    /// Digest of the header that names the request, where one does.
    pub id: Option<u64>,
    /// Its flow at the point.
    pub flow: u32,
    /// Its frame.
    pub frame: u64,
    /// When it was captured.
    pub time: i64,
    /// Which end of the flow sent it.
    pub side: usize,
}

/// Headers that bear one value on every leg of a request.
const IDS: [&str; 7] = [
    "traceparent",
    "x-request-id",
    "x-correlation-id",
    "x-b3-traceid",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    "request-id",
];

/// Reads a request head; `None` for any other payload.
pub(crate) fn request_of(payload: &[u8]) -> Option<Request> {
    // Methods are in capital letters (RFC 9110 §9.1).
    if payload.len() < 16 || !payload[..3].iter().all(u8::is_ascii_uppercase) {
        return None;
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(payload) {
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {}
        Err(_) => return None,
    }
    let (method, target) = (head.method?, head.path?);
    head.version?;
    let find = |name: &str| {
        let found = head
            .headers
            .iter()
            .find(|h| h.name.eq_ignore_ascii_case(name));
        found.map(|header| header.value)
    };
    let hasher = FixedState::with_seed(0x7265_7165);
    let host = find("host").unwrap_or_default();
    let id = IDS.iter().find_map(|name| Some((*name, find(name)?)));
    Some(Request {
        target: hasher.hash_one((method, target)),
        what: hasher.hash_one((method, target, host)),
        id: id.map(|(name, value)| hasher.hash_one((name, id_part(name, value)))),
        flow: 0,
        frame: 0,
        time: 0,
        side: 0,
    })
}

/// The part of an id header that does not change from leg to leg.
fn id_part<'a>(name: &str, value: &'a [u8]) -> &'a [u8] {
    if name == "traceparent" {
        // version-traceid-parentid-flags: each hop may write its own parent id (W3C Trace Context).
        return value.get(3..35).unwrap_or(value);
    }
    value
}

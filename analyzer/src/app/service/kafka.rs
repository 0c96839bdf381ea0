//! Kafka: error codes of responses, whose place depends on the request that they answer.
//!
//! A response names its request by a number only, so the requests in flight are remembered.

use std::collections::VecDeque;

use super::{Length, Stated};
use crate::app::ServiceErrorKind as Kind;
use crate::cursor::Cursor;

/// Requests remembered; clients have five in flight unless told otherwise.
const IN_FLIGHT: usize = 64;
/// Longest message of brokers by default (`message.max.bytes` and `fetch.max.bytes` aside).
const LONGEST: u32 = 128 * 1024 * 1024;

/// The requests of one connection that have no response yet.
#[derive(Debug, Default)]
pub(super) struct InFlight(VecDeque<Request>);

#[derive(Clone, Copy, Debug)]
struct Request {
    key: u16,
    version: u16,
    number: u32,
}

/// Whether these octets are the first request of a client: its header, of a request with which clients begin
/// (Metadata, SaslHandshake, ApiVersions), and a client's name. `None` when more are needed.
pub(in crate::app) fn is_first_request(bytes: &[u8]) -> Option<bool> {
    const LONGEST_FIRST: u32 = 4096;
    const NEWEST: u16 = 20;
    let mut cursor = Cursor::new(bytes);
    let (Some(len), Some(key)) = (cursor.u32(), cursor.u16()) else {
        // The length begins with two zeros.
        let zeros = bytes.iter().take(2).all(|octet| *octet == 0);
        return if zeros { None } else { Some(false) };
    };
    if !(10..=LONGEST_FIRST).contains(&len) || !matches!(key, 3 | 17 | 18) {
        return Some(false);
    }
    let (version, _number) = (cursor.u16()?, cursor.u32()?);
    let name = cursor.u16()?;
    if version > NEWEST || !(1..=64).contains(&name) || u32::from(name) + 10 > len {
        return Some(false);
    }
    let shown = &cursor.rest()[..cursor.len().min(usize::from(name))];
    if !shown.iter().all(u8::is_ascii_graphic) {
        return Some(false);
    }
    (shown.len() == usize::from(name)).then_some(true)
}

pub(super) fn length(head: &[u8]) -> Length {
    match Cursor::new(head).u32() {
        None => Length::More,
        Some(len @ 4..=LONGEST) => Length::Is(u64::from(len) + 4),
        Some(_) => Length::Lost,
    }
}

/// What a request is, by the protocol guide's table of keys.
pub(super) fn operation(request: &[u8]) -> Option<String> {
    let key = Cursor::new(request.get(4..)?).u16()?;
    let name = match key {
        PRODUCE => "Produce",
        FETCH => "Fetch",
        2 => "ListOffsets",
        3 => "Metadata",
        8 => "OffsetCommit",
        9 => "OffsetFetch",
        FIND_COORDINATOR => "FindCoordinator",
        JOIN_GROUP => "JoinGroup",
        HEARTBEAT => "Heartbeat",
        LEAVE_GROUP => "LeaveGroup",
        SYNC_GROUP => "SyncGroup",
        SASL_HANDSHAKE => "SaslHandshake",
        API_VERSIONS => "ApiVersions",
        19 => "CreateTopics",
        INIT_PRODUCER_ID => "InitProducerId",
        SASL_AUTHENTICATE => "SaslAuthenticate",
        key if key < 100 => return Some(format!("request {key}")),
        _ => return None,
    };
    Some(name.to_owned())
}

impl InFlight {
    /// Takes a request.
    pub(super) fn request(&mut self, message: &[u8]) {
        let mut cursor = Cursor::new(message.get(4..).unwrap_or_default());
        if let (Some(key), Some(version), Some(number)) = (cursor.u16(), cursor.u16(), cursor.u32())
        {
            if self.0.len() == IN_FLIGHT {
                self.0.pop_front();
            }
            self.0.push_back(Request {
                key,
                version,
                number,
            });
        }
    }

    /// The error that a response states.
    pub(super) fn error(&mut self, message: &[u8]) -> Option<Stated> {
        let mut cursor = Cursor::new(message.get(4..)?);
        let number = cursor.u32()?;
        let at = self.0.iter().position(|one| one.number == number)?;
        let request = self.0.remove(at)?;
        let code = request.error_code(&mut cursor)?;
        stated(code, request)
    }
}

impl Request {
    /// The first error code of its response, by the protocol guide's schemas.
    fn error_code(self, body: &mut Cursor<'_>) -> Option<u16> {
        let Self { key, version, .. } = self;
        // First version with tagged fields, and first version that begins with a throttle time.
        let (flexible, throttled) = match key {
            PRODUCE if version < 9 => return produce_error(body),
            FIND_COORDINATOR if version < 4 => (3, 1),
            JOIN_GROUP => (6, 2),
            HEARTBEAT | LEAVE_GROUP | SYNC_GROUP => (4, 1),
            SASL_HANDSHAKE => (u16::MAX, u16::MAX),
            // Its response header has no tagged fields in any version.
            API_VERSIONS => (u16::MAX, u16::MAX),
            INIT_PRODUCER_ID => (2, 0),
            SASL_AUTHENTICATE => (2, u16::MAX),
            FETCH if (7..12).contains(&version) => (12, 0),
            _ => return None,
        };
        if version >= flexible {
            // An empty set of tagged fields is one zero.
            (body.u8()? == 0).then_some(())?;
        }
        if version >= throttled {
            body.u32()?;
        }
        body.u16()
    }
}

const PRODUCE: u16 = 0;
const FETCH: u16 = 1;
const FIND_COORDINATOR: u16 = 10;
const JOIN_GROUP: u16 = 11;
const HEARTBEAT: u16 = 12;
const LEAVE_GROUP: u16 = 13;
const SYNC_GROUP: u16 = 14;
const SASL_HANDSHAKE: u16 = 17;
const API_VERSIONS: u16 = 18;
const INIT_PRODUCER_ID: u16 = 22;
const SASL_AUTHENTICATE: u16 = 36;

/// The code of the first partition of the first topic.
fn produce_error(body: &mut Cursor<'_>) -> Option<u16> {
    (body.u32()? > 0).then_some(())?;
    let name = body.u16()?;
    body.take(usize::from(name))?;
    (body.u32()? > 0).then_some(())?;
    body.u32()?;
    body.u16()
}

/// An error by its code (Kafka protocol guide, "Error Codes"). What belongs to an ordinary dialogue is none:
/// a group that rebalances, a member that is to come again with the identifier it was given, a version to be
/// agreed on.
fn stated(code: u16, request: Request) -> Option<Stated> {
    let (name, kind) = match code {
        0 | 27 | 79 => return None,
        35 if request.key == API_VERSIONS => return None,
        1 => ("OFFSET_OUT_OF_RANGE", Kind::Other),
        3 => ("UNKNOWN_TOPIC_OR_PARTITION", Kind::NotFound),
        5 => ("LEADER_NOT_AVAILABLE", Kind::Other),
        6 => ("NOT_LEADER_OR_FOLLOWER", Kind::Other),
        7 => ("REQUEST_TIMED_OUT", Kind::Availability),
        10 => ("MESSAGE_TOO_LARGE", Kind::Refused),
        14 => ("COORDINATOR_LOAD_IN_PROGRESS", Kind::Other),
        15 => ("COORDINATOR_NOT_AVAILABLE", Kind::Other),
        16 => ("NOT_COORDINATOR", Kind::Other),
        18 => ("RECORD_LIST_TOO_LARGE", Kind::Refused),
        19 => ("NOT_ENOUGH_REPLICAS", Kind::Availability),
        20 => ("NOT_ENOUGH_REPLICAS_AFTER_APPEND", Kind::Availability),
        22 => ("ILLEGAL_GENERATION", Kind::Other),
        25 => ("UNKNOWN_MEMBER_ID", Kind::Other),
        29 => ("TOPIC_AUTHORIZATION_FAILED", Kind::Authentication),
        30 => ("GROUP_AUTHORIZATION_FAILED", Kind::Authentication),
        31 => ("CLUSTER_AUTHORIZATION_FAILED", Kind::Authentication),
        33 => ("UNSUPPORTED_SASL_MECHANISM", Kind::Refused),
        35 => ("UNSUPPORTED_VERSION", Kind::Refused),
        44 => ("POLICY_VIOLATION", Kind::Refused),
        47 => ("INVALID_PRODUCER_EPOCH", Kind::Other),
        53 => (
            "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
            Kind::Authentication,
        ),
        56 => ("KAFKA_STORAGE_ERROR", Kind::Availability),
        58 => ("SASL_AUTHENTICATION_FAILED", Kind::Authentication),
        89 => ("THROTTLING_QUOTA_EXCEEDED", Kind::Capacity),
        // Beyond those that are assigned the place was not that of a code.
        2..=130 => ("", Kind::Other),
        _ => return None,
    };
    Some(Stated::new(code.to_string(), name.as_bytes(), kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: u16, version: u16, number: u32) -> Vec<u8> {
        let mut body = [key.to_be_bytes(), version.to_be_bytes()].concat();
        body.extend(number.to_be_bytes());
        body.extend([0, 4]);
        body.extend(b"labs");
        [&(body.len() as u32).to_be_bytes()[..], &body].concat()
    }

    fn response(number: u32, rest: &[u8]) -> Vec<u8> {
        let len = rest.len() as u32 + 4;
        [&len.to_be_bytes()[..], &number.to_be_bytes(), rest].concat()
    }

    #[test]
    fn the_first_request_is_told_however_it_is_cut() {
        let first = request(18, 3, 1);
        for end in 0..first.len() {
            assert_eq!(is_first_request(&first[..end]), None, "{end}");
        }
        assert_eq!(is_first_request(&first), Some(true));
        assert_eq!(is_first_request(&request(19, 3, 1)), Some(false));
        assert_eq!(is_first_request(b"GET / HTTP/1.1"), Some(false));
    }

    #[test]
    fn codes_lie_where_the_request_says() {
        let mut flight = InFlight::default();
        flight.request(&request(PRODUCE, 7, 5));
        flight.request(&request(JOIN_GROUP, 2, 6));
        flight.request(&request(HEARTBEAT, 4, 7));
        flight.request(&request(API_VERSIONS, 3, 8));
        let heartbeat = response(7, &[0, 0, 0, 0, 0, 0, 25]);
        assert_eq!(flight.error(&heartbeat).unwrap().code, "25");
        let produce = [&[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 19][..]].concat();
        let error = flight.error(&response(5, &produce)).unwrap();
        assert_eq!(
            (error.message.as_str(), error.kind),
            ("NOT_ENOUGH_REPLICAS", Kind::Availability)
        );
        assert!(flight.error(&response(8, &[0, 35])).is_none());
        assert!(flight.error(&response(6, &[0, 0, 0, 0, 0, 0])).is_none());
        assert!(flight.error(&response(99, &[0, 19])).is_none() && flight.error(&[0]).is_none());
    }
}

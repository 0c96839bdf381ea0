//! What the payload is, recognised by content and not by port.
//!
//! [`StreamReader`] reads both directions of one TCP connection, [`DatagramReader`] one UDP flow.
//! Both take what the flow stage hands them, in order, and give [`AppFacts`] when it ends. Memory
//! is bounded per connection: samples and heads are capped, bodies are counted and never kept.
//! Nothing here fails: octets that make no sense end the reading and are said to have done so.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::direction::Direction;
use crate::histogram::Histogram;
use crate::static_name::{self, StaticName};

mod calls;
mod datagram;
mod dns;
mod exchange_log;
mod framing;
mod http1;
mod http2;
mod http_counts;
mod opening;
mod pattern;
mod probe;
mod reader;
mod recognise;
mod service;
mod stream;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod testing;
mod text;
mod tls;

pub use crate::event::At;
pub use calls::{ServiceCall, ServiceCalls, ServiceOperation};
pub use datagram::{DatagramReader, DatagramRequests, DhcpClient, Unanswered};
pub use framing::{Delimiter, FramingSpec, FramingSpecError, LengthField, LengthWidth};
pub use http_counts::{HttpClientErrors, HttpCut, HttpWindowStall, HttpWindowStalls};
pub use opening::{Opened, Opening};
pub use pattern::pattern;
pub use reader::{MessagePosition, MessageUnit};
pub use stream::{AppSettings, SegmentShape, StreamReader};
pub use tls::TlsCertificate;

/// What a connection's payload turned out to be.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub enum AppProtocol {
    /// Nothing recognised (or no payload).
    #[default]
    Unknown,
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2 in clear text.
    Http2,
    /// TLS.
    Tls,
    /// DNS over UDP or TCP.
    Dns,
    /// SSH.
    Ssh,
    /// Messages under an inferred or given framing.
    Framed,
}

/// One HTTP request and what became of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HttpExchange {
    /// Method, at most 16 characters.
    pub method: Cow<'static, str>,
    /// Request target, at most 256 characters.
    pub target: String,
    /// Host header (or `:authority`), at most 256 characters.
    pub host: Option<String>,
    /// First octet of the request head.
    pub request_start: At,
    /// Last octet of the request's body (or head).
    pub request_end: Option<At>,
    /// Status of the final response.
    pub status: Option<u16>,
    /// First octet of the response.
    pub response_start: Option<At>,
    /// Last octet of the response's body.
    pub response_end: Option<At>,
    /// Request or response said the connection will close.
    pub connection_close: bool,
}

/// Exchanges of one method and one pattern of the target.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HttpOperation {
    /// Method, at most 16 characters.
    pub method: Cow<'static, str>,
    /// What [`pattern`] makes of the target.
    pub pattern: Option<String>,
    /// How many.
    pub count: u64,
    /// Those without a response or with one of class 5xx.
    pub failed: u64,
    /// End of the request to first octet of the response.
    pub response_times: Histogram,
}

/// HTTP facts of a connection.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct HttpFacts {
    /// Requests seen.
    pub requests: u64,
    /// Final responses seen.
    pub responses: u64,
    /// Responses by class: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub by_class: [u64; 5],
    /// `429` responses.
    pub too_many_requests: u64,
    /// Exchanges kept: the last 8, the 8 slowest, and the first 8 with a 5xx or 429; in order.
    pub kept: Vec<HttpExchange>,
    /// Exchanges that are not kept, by method and pattern of the target: at most 16 of these, and one
    /// without a pattern for all others.
    pub not_kept: Vec<HttpOperation>,
    /// `Keep-Alive: timeout=N` of the server, in seconds.
    pub keep_alive_timeout_s: Option<u32>,
    /// `Server` header, at most 64 characters.
    pub server: Option<String>,
    /// The client speaks to a proxy (absolute URI or CONNECT).
    pub proxy_request: bool,
    /// A protocol upgrade was accepted (WebSocket, …).
    pub upgraded: bool,
    /// HTTP/2 streams opened (0 for HTTP/1).
    pub streams: u64,
    /// Reading stopped because octets were missing or made no sense.
    pub lost_track: bool,
    /// HTTP/2 streams reset (RST_STREAM), by sender.
    pub reset_streams: [u64; 2],
    /// HTTP/2 streams reset, by sender and code, at most 8, in the order of their first.
    pub stream_resets: Vec<HttpStreamResets>,
    /// HTTP/2 GOAWAY.
    pub goaway: Option<Box<HttpGoaway>>,
    /// Responses of class 4xx by status, at most 8 of them, in the order of their first.
    pub client_errors: Vec<HttpClientErrors>,
    /// HTTP/2: where a flow-control window held DATA back, by sender.
    pub window_stalls: [Option<Box<HttpWindowStalls>>; 2],
    /// Responses that the server's FIN cut short.
    pub cut: Option<Box<HttpCut>>,
}

/// An HTTP/2 GOAWAY frame (RFC 9113 §6.8), and what it left undone. Where an end sends several,
/// the last stream that it will process is the least that it named, and the code the last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HttpGoaway {
    /// Who sent it.
    pub direction: Direction,
    /// Error code; 0 is a graceful shutdown.
    pub code: u32,
    /// The last stream that its sender may have processed.
    pub last_stream: u32,
    /// What it says for people, at most 64 characters.
    pub debug: String,
    /// Where: the frame whose code it is.
    pub at: At,
    /// Streams of the peer beyond the last one, which got no response: never processed.
    pub unprocessed: HttpUnanswered,
    /// Other streams of the peer that had no response when the connection ended.
    pub unanswered: HttpUnanswered,
}

/// HTTP/2 streams without a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HttpUnanswered {
    /// How many.
    pub count: u64,
    /// Where the first of them begins.
    pub first: Option<At>,
}

impl HttpUnanswered {
    fn add(&mut self, start: At) {
        self.count += 1;
        if self.first.is_none_or(|first| start.frame < first.frame) {
            self.first = Some(start);
        }
    }
}

/// HTTP/2 streams that one end reset with one code (RFC 9113 §6.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HttpStreamResets {
    /// Who reset them.
    pub direction: Direction,
    /// Error code.
    pub code: u32,
    /// How many.
    pub count: u64,
    /// The first.
    pub first: At,
    /// The last.
    pub last: At,
}

/// A goodbye in TLS: an alert record, or GOAWAY and an alert (17 + 22 + 24 octets), rounded up.
/// Less than this at the end of an encrypted connection is housekeeping, not a request.
pub const TLS_GOODBYE_OCTETS: u64 = 72;
/// A goodbye and what ends the connection leave in one go.
pub const GOODBYE_TO_FIN: Duration = Duration::from_millis(20);

/// TLS facts of a connection.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TlsFacts {
    /// Where the ClientHello was seen.
    pub client_hello: Option<At>,
    /// Where the ServerHello was seen.
    pub server_hello: Option<At>,
    /// Server name indication, at most 256 characters.
    pub sni: Option<String>,
    /// ALPN protocols offered, at most 4 of at most 32 characters.
    pub alpn: Vec<String>,
    /// Version selected (or offered), as the wire number 0x0303 or 0x0304.
    pub version: Option<u16>,
    /// Alerts in clear: sender (`client`/`server`), level, description, place; at most 4.
    pub alerts: Vec<TlsAlert>,
    /// First application-data record of the client. In TLS 1.3 the record that carries its
    /// Finished looks the same and is not meant.
    pub client_data: Option<At>,
    /// First application-data record of the server. In TLS 1.3 the first one after the client's
    /// Finished (session tickets included), since the server's handshake looks the same.
    pub server_data: Option<At>,
    /// The record that completed the handshake, as far as its cipher text tells: the client's
    /// Finished in TLS 1.3, the later of both in TLS 1.2.
    pub handshake_complete: Option<At>,
    /// First alert that was sent enciphered, by sender; a close_notify as a rule. In TLS 1.3 only
    /// one before the sender's Finished can be told from data, and it is a failure.
    pub encrypted_alert: [Option<At>; 2],
    /// The last record of the server before the client's first after the ServerHello.
    pub server_flight_end: Option<At>,
    /// The client's Finished.
    pub client_finished: Option<At>,
    /// The server's own certificate, which TLS up to 1.2 shows.
    pub certificate: Option<Box<TlsCertificate>>,
    /// Whether the client asks to resume an earlier session, by a ticket or by a key shared before; `None`
    /// when its hello is cut before that.
    pub asks_to_resume: Option<bool>,
    /// The server's first hello takes up an earlier session by a key shared before (TLS 1.3).
    pub resumes: bool,
    /// The first session ticket that the server gives, which TLS up to 1.2 shows.
    pub ticket: Option<At>,
}

/// A TLS alert in clear text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TlsAlert {
    /// Who sent it.
    pub direction: Direction,
    /// 1 warning, 2 fatal.
    pub level: u8,
    /// AlertDescription.
    pub description: u8,
    /// Where.
    pub at: At,
}

/// One DNS question and its answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DnsExchange {
    /// Transaction id.
    pub id: u16,
    /// Name asked, lower case, without final dot, at most 255 characters.
    pub name: String,
    /// Record type asked.
    pub qtype: u16,
    /// The (first) question.
    pub asked: At,
    /// Times the same question was repeated with the same id and ports.
    pub repeats: u32,
    /// The last time it was asked; that of `asked` when it was not repeated.
    pub last_asked: At,
    /// The answer.
    pub answered: Option<At>,
    /// Response code of the answer.
    pub rcode: Option<u8>,
    /// Truncation bit of the answer.
    pub truncated: bool,
    /// Answer length in octets (UDP payload).
    pub answer_len: u32,
    /// Advertised EDNS buffer size of the question.
    pub edns_size: Option<u16>,
    /// A and AAAA records of the answer, at most 16.
    pub addresses: Vec<IpAddr>,
}

/// A DNS answer to a question that its flow does not hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DnsUnasked {
    /// Transaction id.
    pub id: u16,
    /// Name of the question that it repeats, lower case, without final dot.
    pub name: String,
    /// Where it is.
    pub at: At,
}

/// Framing of a byte stream and how segments cut it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FramingFacts {
    /// The SPEC string of `--framing`, such as `u32be` or `line`.
    pub spec: String,
    /// Given by the user rather than inferred.
    pub given: bool,
    /// How sure, 0–1.
    pub confidence: f64,
    /// Messages per direction.
    pub messages: [u64; 2],
    /// Segments that carry more than one message start, per direction.
    pub coalesced_segments: [u64; 2],
    /// Messages that span segments, per direction.
    pub split_messages: [u64; 2],
    /// Smallest message in octets (with header), per direction.
    pub message_min: [u64; 2],
    /// Largest message in octets (with header), per direction.
    pub message_max: [u64; 2],
    /// First segment with more than one message start, per direction.
    pub first_coalesced: [Option<At>; 2],
    /// First message that spans segments: where it starts, per direction.
    pub first_split: [Option<At>; 2],
    /// Octets were missing or made no sense and the message borders were lost for a while: the
    /// counts are lower bounds.
    pub lost_track: bool,
}

/// Protocols whose stated errors are read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum ServiceProtocol {
    /// MySQL or MariaDB.
    MySql,
    /// PostgreSQL.
    PostgreSql,
    /// Redis.
    Redis,
    /// AMQP 0-9-1.
    Amqp,
    /// BGP-4 (RFC 4271).
    Bgp,
    /// SMTP (RFC 5321).
    Smtp,
    /// FTP control connection (RFC 959).
    Ftp,
    /// MongoDB.
    MongoDb,
    /// NATS.
    Nats,
    /// memcached, text protocol.
    Memcached,
    /// LDAP (RFC 4511).
    Ldap,
    /// gRPC, in HTTP/2 that is not encrypted.
    Grpc,
    /// SIP (RFC 3261).
    Sip,
    /// DHCP (RFC 2131).
    Dhcp,
    /// RADIUS (RFC 2865).
    Radius,
    /// Kafka.
    Kafka,
}

impl ServiceProtocol {
    /// The name as the field writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MySql => "MySQL",
            Self::PostgreSql => "PostgreSQL",
            Self::Redis => "Redis",
            Self::Amqp => "AMQP",
            Self::Bgp => "BGP",
            Self::Smtp => "SMTP",
            Self::Ftp => "FTP",
            Self::MongoDb => "MongoDB",
            Self::Nats => "NATS",
            Self::Memcached => "memcached",
            Self::Ldap => "LDAP",
            Self::Grpc => "gRPC",
            Self::Sip => "SIP",
            Self::Dhcp => "DHCP",
            Self::Radius => "RADIUS",
            Self::Kafka => "Kafka",
        }
    }
}

/// What an error of a service says, by the meaning of its code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum ServiceErrorKind {
    /// Too many connections, out of memory, disk or quota.
    Capacity,
    /// Shut down, loading, read only, blocked, or the session was lost.
    Availability,
    /// Credentials or rights.
    Authentication,
    /// The session, channel or transfer is refused for what it asks.
    Refused,
    /// What was asked for does not exist.
    NotFound,
    /// All else: part of an ordinary dialogue, or as an operator wished.
    Other,
}

/// The errors of one code that one end of a connection stated.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceError {
    /// Who stated it.
    pub direction: Direction,
    /// Code: a number, an SQLSTATE, a word (Redis) or code/subcode (BGP); at most 24 characters.
    pub code: String,
    /// What the first one said, at most 120 characters.
    pub message: String,
    /// What it means.
    pub kind: ServiceErrorKind,
    /// First octet of the first one.
    pub at: At,
    /// How many there were.
    pub count: u64,
}

/// Errors that a service stated on one connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceFacts {
    /// The protocol.
    pub protocol: ServiceProtocol,
    /// One entry a code and sender, at most 8, in the order of their first.
    pub errors: Vec<ServiceError>,
    /// Errors of codes beyond those 8.
    pub not_kept: u64,
}

/// Everything the payload told.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct AppFacts {
    /// What was recognised.
    pub protocol: AppProtocol,
    /// HTTP.
    pub http: Option<Box<HttpFacts>>,
    /// TLS.
    pub tls: Option<Box<TlsFacts>>,
    /// DNS exchanges, at most 64 a connection, in the order of their questions.
    pub dns: Vec<DnsExchange>,
    /// DNS exchanges beyond those 64; answered ones give way first.
    pub dns_dropped: u64,
    /// The first DNS answer of a flow on which nothing was asked.
    pub dns_unasked: Option<Box<DnsUnasked>>,
    /// Framed streams.
    pub framing: Option<Box<FramingFacts>>,
    /// A protocol of which at most operations and errors are read, such as `smtp`; `protocol` is `Unknown`
    /// then.
    #[serde(deserialize_with = "static_name::read_option")]
    pub name: Option<StaticName>,
    /// Errors that a service stated.
    pub service: Option<Box<ServiceFacts>>,
    /// What was asked of a service.
    pub calls: Option<Box<ServiceCalls>>,
    /// Requests of a datagram protocol whose servers answer each one.
    pub requests: Option<Box<DatagramRequests>>,
    /// What each end of a TCP connection said first, `[client, server]`.
    pub openings: [Option<Opened>; 2],
}

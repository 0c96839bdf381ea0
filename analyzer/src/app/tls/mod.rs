//! TLS as far as it can be read without keys: hellos, alerts in clear, when the handshake was
//! complete, when application data began.
//!
//! Cipher text is judged by type and length only. In TLS 1.3 everything after the ServerHello
//! is typed application data; the client's Finished is known by its length.

mod certificate;
mod hello;
mod record;
#[cfg(test)]
mod tests;

use crate::app::reader::{MessagePosition, MessageUnit};
use crate::direction::Direction;
use crate::event::At;

use super::reader::{Piece, Reader};
use super::{AppFacts, AppProtocol, TlsAlert, TlsFacts};
use certificate::CertificateSearch;
use hello::{Hello, TLS13};
use record::{ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, Record, Records};

pub use certificate::TlsCertificate;
pub(super) use record::looks_like_record;

/// Alerts kept of one connection.
const ALERTS_MAX: usize = 4;
/// Octets kept of a handshake message that spans records.
const MESSAGE_KEPT: usize = 16 * 1024;

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const NEW_SESSION_TICKET: u8 = 4;

/// Length of a NewSessionTicket without a ticket: its lifetime and the length (RFC 5077 §3.3).
const EMPTY_TICKET: usize = 6;

/// Record lengths of a TLS 1.3 Finished: verify data of SHA-256 or SHA-384, the message header,
/// the content type and the tag (RFC 8446 §4.4.4, §5.2).
const FINISHED_LENGTHS: [usize; 2] = [32 + 4 + 1 + 16, 48 + 4 + 1 + 16];
/// Record length of a TLS 1.3 alert.
const ALERT_LENGTH: usize = 2 + 1 + 16;

/// Reads both directions of a TLS connection.
#[derive(Debug, Default)]
pub(super) struct Tls {
    records: [Records; 2],
    state: TlsState,
}

/// What the records told.
#[derive(Debug, Default)]
struct TlsState {
    facts: TlsFacts,
    halves: [Half; 2],
    certificate: CertificateSearch,
    /// The selected version is known (ServerHello), not only the offered one.
    selected: bool,
    /// A record of the client came after the ServerHello.
    client_answered: bool,
    /// First two records of the client that are typed application data, in TLS 1.3: taken for
    /// Finished and data when no record has the length of a Finished.
    client_first: [Option<At>; 2],
}

#[derive(Debug, Default)]
struct Half {
    /// A handshake message in clear that spans records, its header included.
    message: Vec<u8>,
    message_start: Option<At>,
    /// What follows is enciphered (TLS 1.2), or the hello has been read.
    handshake_read: bool,
    change_cipher_spec: bool,
    /// TLS 1.2: the enciphered Finished was seen.
    finished: bool,
}

impl Reader for Tls {
    fn data(&mut self, direction: Direction, bytes: &[u8], piece: Piece) {
        let state = &mut self.state;
        self.records[direction.index()]
            .data(bytes, piece, |record| state.record(direction, &record));
    }

    fn gap(&mut self, direction: Direction, octets: u64, at: At) {
        let state = &mut self.state;
        self.records[direction.index()].gap(octets, at, |record| state.record(direction, &record));
        // A hello that lost octets is read as far as it goes.
        if let Some((HANDSHAKE, body, start)) = self.records[direction.index()].rest() {
            state.handshake(direction, body, start);
        }
        state.hello_cut(direction);
        if direction == Direction::ServerToClient {
            state.facts.certificate = state.facts.certificate.take().or(state.certificate_cut());
        }
    }

    fn fin(&mut self, _: Direction, _: At) {}

    fn wants_data(&self, _: Direction) -> bool {
        true
    }

    fn position(&self, direction: Direction) -> MessagePosition {
        let complete = self.records[direction.index()].complete;
        MessagePosition {
            unit: MessageUnit::TlsRecord,
            complete,
            open: 0,
        }
    }

    fn finish(mut self: Box<Self>) -> AppFacts {
        for direction in Direction::BOTH {
            if let Some((HANDSHAKE, body, start)) = self.records[direction.index()].rest() {
                self.state.handshake(direction, body, start);
            }
            self.state.hello_cut(direction);
        }
        let cut = self.state.certificate_cut();
        self.state.facts.certificate = self.state.facts.certificate.take().or(cut);
        let tls = Some(Box::new(self.state.finish()));
        AppFacts {
            protocol: AppProtocol::Tls,
            tls,
            ..AppFacts::default()
        }
    }
}

impl TlsState {
    fn record(&mut self, direction: Direction, record: &Record<'_>) {
        match direction {
            Direction::ClientToServer => self.client_answered |= self.selected,
            Direction::ServerToClient if !self.client_answered => {
                self.facts.server_flight_end = Some(record.end);
            }
            Direction::ServerToClient => {}
        }
        match record.content_type {
            HANDSHAKE if self.halves[direction.index()].change_cipher_spec => {
                self.enciphered_handshake(direction, record.end);
            }
            HANDSHAKE => self.handshake(direction, record.body, record.start),
            CHANGE_CIPHER_SPEC => self.halves[direction.index()].change_cipher_spec = true,
            ALERT => self.alert(direction, record),
            APPLICATION_DATA => self.application_data(direction, record),
            _ => {}
        }
    }

    fn is_tls13(&self) -> bool {
        self.facts.version == Some(TLS13)
    }

    /// Collects handshake octets in clear until the hello is there.
    fn handshake(&mut self, direction: Direction, body: &[u8], start: At) {
        let half = &mut self.halves[direction.index()];
        if half.handshake_read {
            self.messages_after_hello(direction, body, start);
            return;
        }
        half.message_start.get_or_insert(start);
        let room = MESSAGE_KEPT - half.message.len();
        half.message
            .extend_from_slice(&body[..body.len().min(room)]);
        let Some(len) = message_len(&half.message) else {
            return;
        };
        let whole = half.message.len() >= 4 + len || half.message.len() == MESSAGE_KEPT;
        if whole || !matches!(half.message.first(), Some(&(CLIENT_HELLO | SERVER_HELLO))) {
            self.hello_cut(direction);
        }
    }

    /// Looks for the server's certificate and session ticket, which TLS 1.3 does not show.
    fn messages_after_hello(&mut self, direction: Direction, body: &[u8], start: At) {
        if direction == Direction::ClientToServer || self.is_tls13() {
            return;
        }
        if let Some(found) = self.certificate.data(body, start) {
            self.facts.certificate = Some(Box::new(found));
        }
        // It has a record of its own, the last in clear. An empty one says that there is none.
        let is_given = |len: usize| len > EMPTY_TICKET && body.len() == 4 + len;
        let is_whole = message_len(body).is_some_and(is_given);
        if is_whole && body.first() == Some(&NEW_SESSION_TICKET) {
            self.facts.ticket.get_or_insert(start);
        }
    }

    /// The certificate, as far as it came.
    fn certificate_cut(&mut self) -> Option<Box<TlsCertificate>> {
        self.certificate.cut().map(Box::new)
    }

    /// Reads the hello collected so far: it is whole, or no more of it will come.
    fn hello_cut(&mut self, direction: Direction) {
        let half = &mut self.halves[direction.index()];
        let Some(start) = half.message_start.filter(|_| !half.handshake_read) else {
            return;
        };
        half.handshake_read = true;
        let message = std::mem::take(&mut half.message);
        let facts = &mut self.facts;
        let body = message.get(4..).unwrap_or_default();
        // TLS 1.3 is told by an extension, which may be in the part that was cut.
        let cut = message_len(&message).is_none_or(|len| body.len() < len);
        let is_final = |version| !cut || version == TLS13;
        match message.first() {
            Some(&CLIENT_HELLO) => {
                let hello = Hello::client(body);
                facts.client_hello = Some(start);
                facts.sni = hello.sni;
                facts.alpn = hello.alpn;
                facts.asks_to_resume = (!cut || hello.resumes).then_some(hello.resumes);
                if !self.selected {
                    facts.version = hello.version.filter(|version| is_final(*version));
                }
            }
            Some(&SERVER_HELLO) => {
                facts.server_hello = Some(start);
                let hello = Hello::server(body);
                facts.version = hello
                    .version
                    .filter(|version| is_final(*version))
                    .or(facts.version);
                facts.resumes = hello.resumes;
                self.selected = true;
                if let Some(rest) = message_len(&message).and_then(|len| body.get(len..)) {
                    self.messages_after_hello(direction, rest, start);
                }
            }
            _ => {}
        }
    }

    /// TLS 1.2: the first enciphered handshake record of each end is its Finished.
    fn enciphered_handshake(&mut self, direction: Direction, at: At) {
        if direction == Direction::ClientToServer {
            self.facts.client_finished.get_or_insert(at);
        }
        self.halves[direction.index()].finished = true;
        if self.halves.iter().all(|half| half.finished) {
            self.facts.handshake_complete.get_or_insert(at);
        }
    }

    /// An alert of two octets is in clear; enciphered ones are longer.
    fn alert(&mut self, direction: Direction, record: &Record<'_>) {
        match (record.len, record.body) {
            (2, &[level, description]) if self.facts.alerts.len() < ALERTS_MAX => {
                let at = record.start;
                self.facts.alerts.push(TlsAlert {
                    direction,
                    level,
                    description,
                    at,
                });
            }
            (2, _) => {}
            _ => {
                self.facts.encrypted_alert[direction.index()].get_or_insert(record.start);
            }
        }
    }

    fn application_data(&mut self, direction: Direction, record: &Record<'_>) {
        let client_enciphers = self.halves[Direction::ClientToServer.index()].change_cipher_spec;
        let facts = &mut self.facts;
        // Hellos that were cut: only in TLS 1.3 does the server encipher before the client.
        if direction == Direction::ServerToClient
            && facts.version.is_none()
            && facts.client_hello.is_some()
            && !client_enciphers
        {
            facts.version = Some(TLS13);
        }
        if facts.version != Some(TLS13) || facts.handshake_complete.is_some() {
            let data = match direction {
                Direction::ClientToServer => &mut facts.client_data,
                Direction::ServerToClient => &mut facts.server_data,
            };
            data.get_or_insert(record.start);
            return;
        }
        if record.len == ALERT_LENGTH {
            facts.encrypted_alert[direction.index()].get_or_insert(record.start);
            return;
        }
        if direction == Direction::ServerToClient {
            return;
        }
        // Records before the ServerHello are early data (RFC 8446 §2.3).
        if self.selected {
            let free = self.client_first.iter_mut().find(|at| at.is_none());
            if let Some(at) = free {
                *at = Some(record.start);
            }
        }
        if FINISHED_LENGTHS.contains(&record.len) {
            facts.handshake_complete = Some(record.end);
        }
    }

    fn finish(mut self) -> TlsFacts {
        if self.is_tls13()
            && self.facts.handshake_complete.is_none()
            && let [Some(first), Some(second)] = self.client_first
        {
            self.facts.handshake_complete = Some(first);
            self.facts.client_data = Some(second);
        }
        if self.is_tls13() {
            self.facts.client_finished = self.facts.handshake_complete;
        }
        self.facts
    }
}

/// Length of a handshake message's body (RFC 8446 §4), once its header is there.
fn message_len(message: &[u8]) -> Option<usize> {
    let [_, high, middle, low] = *message.first_chunk()?;
    Some(usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low))
}

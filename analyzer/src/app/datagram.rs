//! Reads the datagrams of one UDP flow: DNS, and what else is recognised by content.

use crate::direction::Direction;
use crate::event::At;

use super::dns::{Message, Pairs};
use super::service::DatagramErrors;
use super::{AppFacts, AppProtocol};

mod recognise;
mod requests;
#[cfg(test)]
mod tests;

use recognise::{Likeness, Sequences};
use requests::Requests;

pub use requests::{DatagramRequests, DhcpClient, Unanswered};

/// Datagrams looked at before a flow is called unknown.
const TRIED_MAX: u32 = 64;

/// Reads the datagrams of one UDP flow.
///
/// A protocol is named when one datagram proves it, or when several that only resemble it
/// follow one another as it demands (RTP and ESP by their sequence numbers).
#[derive(Debug, Default)]
pub struct DatagramReader {
    protocol: Option<&'static str>,
    tried: u32,
    /// What weak likenesses have been seen: name and how often in a row.
    likely: Option<(&'static str, u32)>,
    sequences: Option<Box<Sequences>>,
    dns: Option<Box<Pairs>>,
    errors: Option<Box<DatagramErrors>>,
    requests: Option<Box<Requests>>,
}

/// Datagrams in a row that have to resemble a protocol that one cannot prove.
const LIKENESSES: u32 = 3;

impl DatagramReader {
    /// Takes one datagram's payload (cut to what was captured), its true length in octets, and
    /// the ports as `(client, server)`, which are only a hint beside the content.
    #[inline]
    pub fn datagram(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        true_len: u32,
        at: At,
        ports: (u16, u16),
    ) {
        // Nothing is read of what could not be named.
        let is_named = self.protocol.is_some();
        if is_named || self.tried < TRIED_MAX && !bytes.is_empty() {
            self.read(direction, bytes, true_len, at, ports);
        }
    }

    fn read(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        true_len: u32,
        at: At,
        ports: (u16, u16),
    ) {
        let mut read = None;
        if self.protocol.is_none() {
            self.tried += 1;
            read = Message::parse(bytes);
            let likeness = recognise::datagram(bytes, true_len, ports, read.as_ref());
            self.judge(likeness, direction, bytes, true_len, ports);
            self.errors = self.protocol.and_then(DatagramErrors::of).map(Box::new);
            self.requests = self.protocol.and_then(Requests::of).map(Box::new);
        }
        if let Some(requests) = &mut self.requests {
            requests.take(direction, bytes, at);
        }
        if let Some(errors) = &mut self.errors {
            errors.take(direction, bytes, at);
        }
        if matches!(self.protocol, Some("dns" | "mdns" | "llmnr"))
            && let Some(message) = read.or_else(|| Message::parse(bytes))
        {
            self.dns
                .get_or_insert_default()
                .take(direction, message, true_len, at, at);
        }
    }

    /// The protocol recognised so far, such as `quic`, `rtp`, `dns`.
    #[must_use]
    pub const fn protocol(&self) -> Option<&'static str> {
        self.protocol
    }

    /// What the payload told: DNS exchanges, and errors that services stated.
    #[must_use]
    pub fn finish(self) -> AppFacts {
        let protocol = if self.protocol == Some("dns") {
            AppProtocol::Dns
        } else {
            AppProtocol::Unknown
        };
        AppFacts {
            protocol,
            name: self.protocol,
            service: self.errors.and_then(|errors| errors.finish()),
            requests: self.requests.and_then(|requests| requests.finish()),
            ..self.dns.map(|pairs| pairs.finish()).unwrap_or_default()
        }
    }

    fn judge(
        &mut self,
        likeness: Likeness,
        direction: Direction,
        bytes: &[u8],
        true_len: u32,
        ports: (u16, u16),
    ) {
        match likeness {
            Likeness::Proof(name) => self.protocol = Some(name),
            Likeness::Likely(name) => {
                let row = match self.likely {
                    Some((before, row)) if before == name => row + 1,
                    _ => 1,
                };
                self.likely = Some((name, row));
                if row >= LIKENESSES {
                    self.protocol = Some(name);
                }
            }
            Likeness::None => {
                self.likely = None;
                let sequences = self.sequences.get_or_insert_default();
                self.protocol = sequences.take(direction, bytes, true_len, ports);
            }
        }
    }
}

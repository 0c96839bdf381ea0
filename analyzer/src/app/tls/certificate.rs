//! The server's certificate, which TLS up to 1.2 sends in clear (RFC 5246 §7.4.2): until when it is
//! valid, and for whom (RFC 5280 §4.1).

use serde::{Deserialize, Serialize};

use crate::app::text::capped;
use crate::cursor::Cursor;
use crate::event::At;
use crate::time::Timestamp;

/// What is read of a certificate (RFC 5280 §4.1).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TlsCertificate {
    /// Common name of the subject, at most 64 characters; may be empty.
    pub subject: String,
    /// It is valid from here on.
    pub not_before: Timestamp,
    /// It is valid until here.
    pub not_after: Timestamp,
    /// Where its message begins.
    pub at: At,
}

const CERTIFICATE: u8 = 11;
/// Messages that may stand before a certificate: HelloRequest, NewSessionTicket, SupplementalData.
const BEFORE: [u8; 3] = [0, 4, 23];

/// Octets kept of the message: the first certificate's times lie within its first hundreds.
const KEPT: usize = 2048;
/// Characters kept of the name.
const NAME_MAX: usize = 64;

/// Looks for the certificate among the messages that follow the ServerHello.
#[derive(Debug, Default)]
pub(super) struct CertificateSearch {
    head: Vec<u8>,
    start: Option<At>,
    /// Octets left of a message that is passed over.
    skip: usize,
    is_over: bool,
}

impl CertificateSearch {
    /// Takes octets of handshake messages in clear; gives the certificate once it is there.
    pub(super) fn data(&mut self, mut bytes: &[u8], at: At) -> Option<TlsCertificate> {
        while !bytes.is_empty() && !self.is_over {
            let passed = self.skip.min(bytes.len());
            self.skip -= passed;
            bytes = &bytes[passed..];
            if self.head.is_empty() {
                self.start = Some(at);
            }
            let wanted = self.wanted().unwrap_or(4);
            let taken = wanted.saturating_sub(self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            let Some(wanted) = self.wanted().filter(|wanted| self.head.len() >= *wanted) else {
                continue;
            };
            match self.head.first() {
                Some(&CERTIFICATE) => return self.cut(),
                Some(kind) if BEFORE.contains(kind) => {
                    self.skip = super::message_len(&self.head).unwrap_or_default() + 4 - wanted;
                    self.head.clear();
                }
                _ => self.is_over = true,
            }
        }
        None
    }

    /// Nothing more will come: reads what there is.
    pub(super) fn cut(&mut self) -> Option<TlsCertificate> {
        self.is_over = true;
        let head = std::mem::take(&mut self.head);
        let (Some(&CERTIFICATE), Some(start)) = (head.first(), self.start) else {
            return None;
        };
        // Lengths of the list and of its first certificate.
        read(head.get(10..)?, start)
    }

    /// Octets of the message to be kept, once its header is there.
    fn wanted(&self) -> Option<usize> {
        let len = super::message_len(&self.head)?;
        let kept = match self.head.first() {
            Some(&CERTIFICATE) => len.min(KEPT),
            _ => 0,
        };
        Some(4 + kept)
    }
}

/// Reads an X.509 certificate as far as its subject.
fn read(bytes: &[u8], at: At) -> Option<TlsCertificate> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let mut certificate = Cursor::new(bytes);
    let mut open = |tag: u8| (certificate.element()?.0 == tag).then_some(());
    open(SEQUENCE)?;
    open(SEQUENCE)?;
    if certificate.rest().first() == Some(&VERSION) {
        whole(&mut certificate)?;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        whole(&mut certificate)?;
    }
    let mut validity = Cursor::new(whole(&mut certificate)?);
    let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
    let subject = whole(&mut certificate).and_then(common_name);
    Some(TlsCertificate {
        subject: subject.unwrap_or_default(),
        not_before,
        not_after,
        at,
    })
}

/// The contents of the next element.
fn whole<'a>(bytes: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let (_, len) = bytes.element()?;
    bytes.take(len)
}

/// The common name (2.5.4.3) of a name.
fn common_name(name: &[u8]) -> Option<String> {
    const COMMON_NAME: &[u8] = &[6, 3, 0x55, 4, 3];
    let at = name
        .windows(COMMON_NAME.len())
        .position(|octets| octets == COMMON_NAME)?;
    let mut value = Cursor::new(&name[at + COMMON_NAME.len()..]);
    Some(capped(whole(&mut value)?, NAME_MAX))
}

/// UTCTime or GeneralizedTime (RFC 5280 §4.1.2.5).
fn time(bytes: &mut Cursor<'_>) -> Option<Timestamp> {
    let (tag, len) = bytes.element()?;
    let text = std::str::from_utf8(bytes.take(len)?).ok()?;
    let (century, text) = match tag {
        0x17 if text.get(..2)? >= "50" => ("19", text),
        0x17 => ("20", text),
        0x18 => text.split_at_checked(2)?,
        _ => return None,
    };
    let part = |at: usize| text.get(at..at + 2);
    if century > "22" {
        return Some(Timestamp::MAX);
    }
    let [year, month, day] = [part(0)?, part(2)?, part(4)?];
    let [hour, minute, second] = [part(6)?, part(8)?, part(10)?];
    let text = format!("{century}{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    // What cannot be told is beyond 2262.
    text.parse()
        .ok()
        .or_else(|| (century == "22").then_some(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: At = At {
        frame: 1,
        time: Timestamp::from_nanos(0),
    };

    fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
        [&[tag, contents.len() as u8], contents].concat()
    }

    fn message(from: &str, until: &[u8]) -> Vec<u8> {
        let name = der(
            0x31,
            &der(
                0x30,
                &[&[6, 3, 0x55, 4, 3][..], &der(12, b"a.example")].concat(),
            ),
        );
        let validity = [der(0x17, from.as_bytes()), until.to_vec()].concat();
        let parts = [
            der(0xa0, &der(2, &[2])),
            der(2, &[9]),
            der(0x30, &[]),
            der(0x30, &[]),
            der(0x30, &validity),
            der(0x30, &name),
        ];
        let certificate = der(0x30, &der(0x30, &parts.concat()));
        let len = certificate.len() as u8;
        [
            &[11, 0, 0, len + 6, 0, 0, len + 3, 0, 0, len][..],
            &certificate,
        ]
        .concat()
    }

    #[test]
    fn times_and_name_however_it_is_cut() {
        let message = message("240101000000Z", &der(0x18, b"20260102030405Z"));
        for cut in 1..message.len() {
            let mut search = CertificateSearch::default();
            let first = search.data(&message[..cut], AT);
            assert!(first.is_none());
            let found = search.data(&message[cut..], AT).unwrap();
            assert_eq!(found.subject, "a.example");
            assert_eq!(found.not_before.rfc3339(), "2024-01-01T00:00:00.000000000Z");
            assert_eq!(found.not_after.rfc3339(), "2026-01-02T03:04:05.000000000Z");
        }
    }

    #[test]
    fn what_follows_other_messages_is_found_and_what_cannot_be_is_not() {
        let message = message("991231235959Z", &der(0x18, b"99991231235959Z"));
        let mut search = CertificateSearch::default();
        let found = search.data(&[&[4, 0, 0, 2, 7, 7][..], &message].concat(), AT);
        let found = found.unwrap();
        assert_eq!(found.not_after, Timestamp::MAX);
        assert!(found.not_before.rfc3339().starts_with("1999-12-31"));
        let mut search = CertificateSearch::default();
        assert!(search.data(&[14, 0, 0, 0], AT).is_none());
        assert!(search.data(&message, AT).is_none());
        for end in 0..message.len() {
            let mut search = CertificateSearch::default();
            search.data(&message[..end], AT);
            search.cut();
        }
    }
}

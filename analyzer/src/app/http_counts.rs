//! What is counted of HTTP beside its exchanges: client errors by status, flow-control windows that held
//! DATA back, and responses that were cut short.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::At;

use super::{HttpExchange, HttpFacts};

impl HttpFacts {
    /// Counts a response head at `at`, one that is not final (1xx) as well.
    pub(super) fn count_status(&mut self, status: u16, at: At) {
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(count) = class.and_then(|class| self.by_class.get_mut(class)) {
            *count += 1;
        }
        if !(400..500).contains(&status) {
            return;
        }
        let errors = &mut self.client_errors;
        if let Some(known) = errors.iter_mut().find(|known| known.status == status) {
            known.count += 1;
            known.last = at;
        } else if errors.len() < CLIENT_ERRORS_MAX {
            errors.push(HttpClientErrors {
                status,
                count: 1,
                first: at,
                last: at,
            });
        }
    }
}

/// Different statuses of class 4xx kept of a connection.
const CLIENT_ERRORS_MAX: usize = 8;

/// Responses of one status of class 4xx.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HttpClientErrors {
    /// The status.
    pub status: u16,
    /// How many.
    pub count: u64,
    /// Where the first begins.
    pub first: At,
    /// Where the last begins.
    pub last: At,
}

/// DATA of one end that waited for the other to open a flow-control window (RFC 9113 §5.2): the window
/// was used up, and DATA went on as soon as the sender could know that it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HttpWindowStalls {
    /// How often.
    pub count: u64,
    /// How long in all.
    pub total: Duration,
    /// The longest.
    pub longest: HttpWindowStall,
}

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HttpWindowStall {
    /// The DATA that used up the window.
    pub filled: At,
    /// The WINDOW_UPDATE that opened it.
    pub opened: At,
    /// The DATA that went on.
    pub resumed: At,
    /// The stream whose window it was; 0 for the connection's.
    pub stream: u32,
    /// The size of the window, as the receiver announced it.
    pub window: u32,
}

impl HttpWindowStall {
    /// How long DATA waited.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.resumed.time.since(self.filled.time)
    }
}

/// Responses of one connection that are not whole (RFC 9112 §8, RFC 9113 §8.1) although all octets of the
/// server up to its FIN were read or are known to have passed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HttpCut {
    /// The exchange; of several streams of HTTP/2 the first.
    pub exchange: HttpExchange,
    /// How many; more than one only in HTTP/2.
    pub count: u64,
    /// Octets of the body that Content-Length promises; `None` for one in chunks, and in HTTP/2.
    pub promised: Option<u64>,
    /// Octets that are missing: of the body, or of the chunk in progress (0 between two).
    pub missing: u64,
}

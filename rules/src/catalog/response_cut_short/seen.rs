//! What is seen of a response that was cut short, and of those that were not.

use std::hash::BuildHasher as _;
use std::time::Duration;

use analyzer::Timestamp;
use analyzer::app::HttpExchange;
use foldhash::fast::FixedState;

/// FINs of one process that ends leave within this.
pub(super) const TOGETHER: Duration = Duration::from_millis(100);

/// What led to the FIN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manner {
    /// It follows the data at once.
    AtOnce,
    /// Nothing had come for a while: somebody waited.
    AfterSilence,
    /// The client's window had been closed.
    SlowReader,
}

/// A response that was cut short.
pub(crate) struct Seen {
    pub(super) manner: Manner,
    pub(super) silence: Duration,
    /// Method, target and host.
    pub(super) request: String,
    /// What is missing, in words.
    pub(super) lacks: String,
    /// A status below 400 had been sent.
    pub(super) looks_served: bool,
    /// `Server` header: what closed.
    pub(super) product: Option<String>,
    pub(super) asked: Asked,
}

/// When what was asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Asked {
    pub(super) at: Timestamp,
    /// Method, host and target.
    pub(super) what: u64,
    pub(super) is_whole: bool,
}

/// What a connection served.
pub(crate) struct Served {
    pub(super) responses: u64,
    pub(super) asked: Vec<Asked>,
}

impl Asked {
    pub(super) fn of(exchange: &HttpExchange) -> Self {
        let what = (&exchange.method, &exchange.host, &exchange.target);
        Self {
            at: exchange.request_start.time,
            what: FixedState::default().hash_one(what),
            is_whole: exchange.response_end.is_some()
                && exchange.status.is_some_and(|status| status < 400),
        }
    }
}

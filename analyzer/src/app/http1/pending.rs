//! Requests that wait for their response, in order.

use std::collections::VecDeque;

use crate::app::exchange_log::ExchangeLog;
use crate::app::{HttpExchange, HttpOperation};
use crate::event::At;

/// Requests that may wait; a client that pipelines more has the oldest given up.
const WAITING_MAX: usize = 64;

/// What a request asked for, as far as its response is read by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// The response has no body (RFC 9110 §9.3.2).
    Head,
    /// A tunnel follows (RFC 9110 §9.3.6).
    Connect,
    /// Anything else.
    Other,
}

/// Joins responses to requests.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: VecDeque<(u64, HttpExchange)>,
    /// The exchange whose response is in progress.
    current: Option<(u64, HttpExchange)>,
    asked: u64,
    /// Responses were lost: the next one answers the latest request.
    lost: bool,
    log: ExchangeLog,
}

impl Pending {
    /// Takes a new request.
    pub(super) fn ask(&mut self, exchange: HttpExchange) {
        if self.waiting.len() == WAITING_MAX
            && let Some((order, exchange)) = self.waiting.pop_front()
        {
            self.log.push(order, exchange);
        }
        if self.waiting.capacity() == 0 {
            // Hardly anybody pipelines.
            self.waiting.reserve_exact(1);
        }
        self.waiting.push_back((self.asked, exchange));
        self.asked += 1;
    }

    /// The latest request ended here, unless its end is known.
    pub(super) fn request_end(&mut self, at: At) {
        let latest = self.waiting.back_mut().or(self.current.as_mut());
        if let Some((order, exchange)) = latest
            && *order + 1 == self.asked
        {
            exchange.request_end.get_or_insert(at);
        }
    }

    /// A final response began; gives what the request that it answers asked for, when that is known.
    pub(super) fn answer(&mut self, status: u16, start: At, close: bool) -> Option<Asked> {
        self.give_up();
        // After a loss nobody knows how many responses went by; clients rarely pipeline.
        while self.lost && self.waiting.len() > 1 {
            if let Some((order, exchange)) = self.waiting.pop_front() {
                self.log.push(order, exchange);
            }
        }
        self.lost = false;
        if self.waiting.front()?.1.request_start.frame > start.frame {
            return None;
        }
        self.current = self.waiting.pop_front();
        let (_, exchange) = self.current.as_mut()?;
        exchange.status = Some(status);
        exchange.response_start = Some(start);
        exchange.connection_close |= close;
        Some(match &*exchange.method {
            "HEAD" => Asked::Head,
            "CONNECT" => Asked::Connect,
            _ => Asked::Other,
        })
    }

    /// The exchange whose response is in progress, when its request is known.
    pub(super) fn in_progress(&self) -> Option<&HttpExchange> {
        self.current.as_ref().map(|(_, exchange)| exchange)
    }

    /// The response in progress ended.
    pub(super) fn response_end(&mut self, at: At) {
        if let Some((_, exchange)) = &mut self.current {
            exchange.response_end = Some(at);
        }
        self.give_up();
    }

    /// Responses were lost.
    pub(super) fn response_lost(&mut self) {
        self.give_up();
        self.lost = true;
    }

    /// The exchanges kept, and the counts of all others.
    pub(super) fn finish(mut self) -> (Vec<HttpExchange>, Vec<HttpOperation>) {
        self.give_up();
        for (order, exchange) in self.waiting {
            self.log.push(order, exchange);
        }
        self.log.finish()
    }

    /// The response in progress is over, as far as it was seen.
    fn give_up(&mut self) {
        if let Some((order, exchange)) = self.current.take() {
            self.log.push(order, exchange);
        }
    }
}

//! Which HTTP exchanges of a connection are kept: the last, the slowest, and the first failed. The others
//! are counted by what they asked for.

use std::time::Duration;

use smallvec::SmallVec;

use super::{HttpExchange, HttpOperation, pattern};
use crate::histogram::Histogram;

/// Kept for each reason.
const KEPT: usize = 8;

/// Operations counted of those that are not kept.
const OPERATIONS: usize = 16;

/// Counts exchanges that are over and keeps the telling ones.
#[derive(Debug, Default)]
pub(super) struct ExchangeLog {
    /// In the order of the requests.
    kept: Vec<Kept>,
    failed: usize,
    not_kept: Vec<HttpOperation>,
}

#[derive(Debug)]
struct Kept {
    order: u64,
    response_time: Duration,
    failed: bool,
    exchange: HttpExchange,
}

impl ExchangeLog {
    /// Takes the exchange of the connection's `order`-th request, over or given up.
    pub(super) fn push(&mut self, order: u64, exchange: HttpExchange) {
        let failed = self.failed < KEPT
            && exchange
                .status
                .is_some_and(|status| status >= 500 || status == 429);
        self.failed += usize::from(failed);
        let asked = exchange.request_end.unwrap_or(exchange.request_start).time;
        let response_time = exchange
            .response_start
            .map_or(Duration::ZERO, |at| at.time.since(asked));
        let index = self.kept.partition_point(|kept| kept.order < order);
        if self.kept.len() == self.kept.capacity() {
            // A connection with one exchange is the rule; of others each is moved once or twice.
            let more = match self.kept.len() {
                0 => 1,
                1 => KEPT / 2 - 1,
                _ => KEPT,
            };
            self.kept.reserve_exact(more);
        }
        self.kept.insert(
            index,
            Kept {
                order,
                response_time,
                failed,
                exchange,
            },
        );
        self.evict();
    }

    /// The exchanges kept, in the order of their requests, and the counts of all others.
    pub(super) fn finish(self) -> (Vec<HttpExchange>, Vec<HttpOperation>) {
        let kept = self.kept.into_iter().map(|kept| kept.exchange);
        (kept.collect(), self.not_kept)
    }

    /// Removes what is neither last nor failed nor slow; at most one, since one was added.
    fn evict(&mut self) {
        if self.kept.len() <= KEPT {
            return;
        }
        let last = self.kept.len() - KEPT;
        // What was kept before, for each reason, and the one that was added.
        let mut times: SmallVec<[(Duration, u64); 3 * KEPT + 1]> = self
            .kept
            .iter()
            .map(|kept| (kept.response_time, u64::MAX - kept.order))
            .collect();
        let (_, slow, _) = times.select_nth_unstable_by(KEPT - 1, |one, other| other.cmp(one));
        let slow = *slow;
        let removed = self.kept[..last]
            .iter()
            .position(|kept| !kept.failed && (kept.response_time, u64::MAX - kept.order) < slow);
        if let Some(index) = removed {
            let removed = self.kept.remove(index);
            self.count(&removed);
        }
    }

    fn count(&mut self, removed: &Kept) {
        let exchange = &removed.exchange;
        let pattern = pattern(&exchange.target);
        let is_same = |known: &HttpOperation| {
            known.method == exchange.method && known.pattern.as_ref() == Some(&pattern)
        };
        let place = self.not_kept.iter().position(is_same).or_else(|| {
            let is_full = self.not_kept.len() >= OPERATIONS;
            let others = self
                .not_kept
                .iter()
                .position(|known| known.pattern.is_none());
            others.filter(|_| is_full)
        });
        let place = place.unwrap_or_else(|| {
            let is_full = self.not_kept.len() >= OPERATIONS;
            self.not_kept.push(HttpOperation {
                method: if is_full {
                    "".into()
                } else {
                    exchange.method.clone()
                },
                pattern: (!is_full).then_some(pattern),
                count: 0,
                failed: 0,
                response_times: Histogram::default(),
            });
            self.not_kept.len() - 1
        });
        let operation = &mut self.not_kept[place];
        operation.count += 1;
        operation.failed += u64::from(exchange.status.is_none_or(|status| status >= 500));
        if exchange.response_start.is_some() {
            operation.response_times.add(removed.response_time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::At;
    use crate::time::Timestamp;

    #[test]
    fn operations_are_bounded() {
        let mut log = ExchangeLog::default();
        for order in 0..100 {
            let target = format!("/{}", "x".repeat(usize::try_from(order).unwrap()));
            let exchange = HttpExchange {
                target,
                ..exchange(order, 200, 1)
            };
            log.push(order, exchange);
        }
        let (kept, not_kept) = log.finish();
        assert_eq!(not_kept.len(), OPERATIONS + 1);
        let others = not_kept.last().unwrap();
        assert_eq!(others.pattern, None);
        let rest = (100 - kept.len() - OPERATIONS) as u64;
        assert_eq!(others.count, rest);
    }

    fn exchange(order: u64, status: u16, millis: i64) -> HttpExchange {
        let at = |time| At {
            frame: order,
            time: Timestamp::from_nanos(time),
        };
        HttpExchange {
            method: "GET".into(),
            target: format!("/{order}"),
            host: None,
            request_start: at(0),
            request_end: Some(at(0)),
            status: Some(status),
            response_start: Some(at(millis * 1_000_000)),
            response_end: None,
            connection_close: false,
        }
    }

    #[test]
    fn keeps_last_slowest_and_first_failed() {
        let mut log = ExchangeLog::default();
        for order in 0..1000 {
            let status = if order % 100 == 50 { 503 } else { 200 };
            let millis = if (500..510).contains(&order) {
                1000 + order as i64
            } else {
                1
            };
            log.push(order, exchange(order, status, millis));
        }
        let (kept, not_kept) = log.finish();
        let counted: u64 = not_kept.iter().map(|operation| operation.count).sum();
        assert_eq!(kept.len() as u64 + counted, 1000);
        assert_eq!(not_kept[0].pattern.as_deref(), Some("/{id}"));
        assert_eq!(not_kept[0].response_times.count(), counted);
        let kept: Vec<u64> = kept.iter().map(|kept| kept.request_start.frame).collect();
        let mut expected: Vec<u64> = (502..510).chain(992..1000).collect();
        expected.extend((0..8).map(|index| index * 100 + 50));
        expected.sort_unstable();
        assert_eq!(kept, expected);
    }
}

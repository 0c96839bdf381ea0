//! What clients asked of services whose statements and commands are read, and what they answered: one call
//! for each turn of the conversation.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::At;
use crate::histogram::Histogram;

/// Slow calls kept.
const SLOWEST: usize = 8;
/// Latest calls kept.
const LATEST: usize = 2;
/// Operations counted of a connection.
const OPERATIONS: usize = 16;

/// What a client sent in one go, and what came back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceCall {
    /// First octet of the request.
    pub asked: At,
    /// What was asked for, identifiers and literals aside, at most 64 characters; of several requests sent
    /// together the first.
    pub operation: String,
    /// Code of the first error that the service stated, else the code or word of its answer, `ok` where
    /// the protocol has none; `None` without an answer. At most 24 characters.
    pub result: Option<String>,
}

/// Calls of one operation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceOperation {
    /// What was asked for; `None` for all others.
    pub operation: Option<String>,
    /// How many.
    pub count: u64,
    /// Those that the service answered with an error, or not at all.
    pub failed: u64,
    /// Last octet of the request to first octet of the answer.
    pub response_times: Histogram,
}

/// The calls of one connection.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ServiceCalls {
    /// The 8 slowest and the latest two, in their order.
    pub kept: Vec<ServiceCall>,
    /// All of them, by operation: at most 16, and one for all others.
    pub operations: Vec<ServiceOperation>,
}

/// Counts calls that are over and keeps the telling ones.
#[derive(Debug, Default)]
pub(super) struct CallLog {
    calls: ServiceCalls,
    /// How long each of those kept took.
    took: Vec<Duration>,
}

impl CallLog {
    /// Takes a call that is over, or given up: `took` to the first octet of its answer.
    pub(super) fn push(&mut self, call: ServiceCall, took: Option<Duration>, failed: bool) {
        let operation = self.operation(&call.operation);
        operation.count += 1;
        operation.failed += u64::from(failed);
        if let Some(took) = took {
            operation.response_times.add(took);
        }
        self.calls.kept.push(call);
        self.took.push(took.unwrap_or_default());
        if self.took.len() > SLOWEST + LATEST {
            // Of equals the latest gives way.
            let older = &self.took[..=SLOWEST];
            let least = (0..older.len()).rev().min_by_key(|at| older[*at]);
            if let Some(least) = least {
                self.took.remove(least);
                self.calls.kept.remove(least);
            }
        }
    }

    pub(super) fn finish(self) -> Option<Box<ServiceCalls>> {
        (!self.calls.operations.is_empty()).then(|| Box::new(self.calls))
    }

    fn operation(&mut self, name: &str) -> &mut ServiceOperation {
        let operations = &mut self.calls.operations;
        let is_full = operations.len() >= OPERATIONS;
        let known = operations
            .iter()
            .position(|known| known.operation.as_deref() == Some(name));
        let others = || {
            operations
                .iter()
                .position(|known| known.operation.is_none())
        };
        let place = known.or_else(|| others().filter(|_| is_full));
        let place = place.unwrap_or_else(|| {
            operations.push(ServiceOperation {
                operation: (!is_full).then(|| name.to_owned()),
                count: 0,
                failed: 0,
                response_times: Histogram::default(),
            });
            operations.len() - 1
        });
        &mut operations[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn call(number: u64, operation: String) -> ServiceCall {
        ServiceCall {
            asked: At {
                frame: number,
                time: Timestamp::default(),
            },
            operation,
            result: None,
        }
    }

    #[test]
    fn keeps_the_slowest_and_the_latest() {
        let mut log = CallLog::default();
        for number in 0..100 {
            let slow = if (40..50).contains(&number) {
                number
            } else {
                1
            };
            log.push(
                call(number, "GET".to_owned()),
                Some(Duration::from_millis(slow)),
                false,
            );
        }
        let calls = log.finish().unwrap();
        let kept: Vec<u64> = calls.kept.iter().map(|call| call.asked.frame).collect();
        assert_eq!(kept, [42, 43, 44, 45, 46, 47, 48, 49, 98, 99]);
        assert_eq!(calls.operations[0].response_times.count(), 100);
    }

    #[test]
    fn operations_are_bounded() {
        let mut log = CallLog::default();
        for number in 0..40 {
            log.push(call(number, format!("SELECT {number}")), None, true);
        }
        let operations = log.finish().unwrap().operations;
        assert_eq!(operations.len(), OPERATIONS + 1);
        let others = operations.last().unwrap();
        assert_eq!(
            (others.operation.as_deref(), others.count, others.failed),
            (None, 24, 24)
        );
    }
}

//! gRPC: the status in the trailers of HTTP/2 (gRPC over HTTP/2, "Responses").

use super::Stated;
use crate::app::{ServiceErrorKind as Kind, ServiceFacts, ServiceProtocol};
use crate::direction::Direction;
use crate::event::At;

/// The failed calls of one connection.
#[derive(Debug, Default)]
pub(in crate::app) struct FailedCalls(Option<Box<ServiceFacts>>);

impl FailedCalls {
    /// Takes the status of a call; success, and what the client cancelled, are no errors.
    pub(in crate::app) fn take(&mut self, direction: Direction, at: At, code: u32, said: &[u8]) {
        const NAMES: [&str; 17] = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
        let Some(name) = name.filter(|_| code > 1) else {
            return;
        };
        let kind = match code {
            8 => Kind::Capacity,
            2 | 13..=15 => Kind::Availability,
            7 | 16 => Kind::Authentication,
            5 => Kind::NotFound,
            _ => Kind::Other,
        };
        let facts = self
            .0
            .get_or_insert_with(|| Box::new(ServiceFacts::new(ServiceProtocol::Grpc)));
        facts.take(direction, at, Stated::new(*name, said, kind));
    }

    /// What was stated.
    pub(in crate::app) fn finish(self) -> Option<Box<ServiceFacts>> {
        self.0
    }
}

//! How long requests would have taken without a finding.

use serde::{Deserialize, Serialize};

use crate::words::format;

/// Fewer requests have no 95th percentile apart from the slowest.
const FEW: u64 = 20;

/// How long requests would have taken without a finding: the time in which their connection stood still
/// because of it, overlaps counted once, is subtracted from each.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WhatIf {
    /// Requests to the servers of the finding whose responses were seen to their end.
    pub requests: u64,
    /// Those of them that were delayed.
    pub delayed: u64,
    /// The server, or how many there are.
    pub servers: String,
    /// How long the requests took, from the lookup of the name or the first SYN where the connection was
    /// opened for the request.
    pub measured: Times,
    /// How long they would have taken.
    pub without: Times,
    /// The longest delay of one request.
    pub delay_max_ms: f64,
}

/// Percentiles of how long requests take.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Times {
    /// Median.
    pub p50_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// Largest.
    pub max_ms: f64,
}

impl WhatIf {
    /// What would be different, in a sentence without full stop that names the base and the method.
    #[must_use]
    pub(crate) fn sentence(&self) -> String {
        let method = "the union of stalls is subtracted from each request";
        let (measured, without) = (&self.measured, &self.without);
        let server = &self.servers;
        if self.requests == 1 {
            return format!(
                "the only request to {server} would have taken {} instead of {} ({method})",
                format::duration(without.max_ms),
                format::duration(measured.max_ms)
            );
        }
        let high = if self.requests < FEW {
            ("the slowest", measured.max_ms, without.max_ms)
        } else {
            ("p95", measured.p95_ms, without.p95_ms)
        };
        let figures = [("p50", measured.p50_ms, without.p50_ms), high];
        let mut parts = Vec::new();
        for (name, measured, without) in figures {
            let [measured, without] = [measured, without].map(format::duration);
            parts.push(if measured == without {
                format!("{name} stays {measured}")
            } else {
                format!("{name} falls from {measured} to {without}")
            });
        }
        format!(
            "{}; {} of {} to {server} {} delayed, by up to {} ({method})",
            parts.join(", "),
            format::count(self.delayed),
            format::counted(self.requests, "request"),
            if self.delayed == 1 { "was" } else { "were" },
            format::duration(self.delay_max_ms),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what_if(requests: u64) -> WhatIf {
        let times = |p50_ms, p95_ms, max_ms| Times {
            p50_ms,
            p95_ms,
            max_ms,
        };
        WhatIf {
            requests,
            delayed: 1,
            servers: "10.0.0.2:80".to_owned(),
            measured: times(12.0, 420.0, 900.0),
            without: times(12.0, 312.0, 300.0),
            delay_max_ms: 600.0,
        }
    }

    #[test]
    fn what_changes_is_said_with_its_base_and_the_method() {
        assert_eq!(
            what_if(300).sentence(),
            "p50 stays 12 ms, p95 falls from 420 ms to 312 ms; 1 of 300 requests to 10.0.0.2:80 was delayed, \
             by up to 600 ms (the union of stalls is subtracted from each request)"
        );
        assert!(
            what_if(3)
                .sentence()
                .contains("the slowest falls from 900 ms to 300 ms")
        );
        assert!(
            what_if(1)
                .sentence()
                .starts_with("the only request to 10.0.0.2:80 would have")
        );
    }
}

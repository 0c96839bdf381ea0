//! The one severity policy: what a failing state did to somebody, and how grave that is.
//!
//! Rules measure an [`Impact`]; nothing but [`Impact::severity`] turns it into a [`Severity`]. The
//! policy is the table [`POLICY`]: the first row that holds decides. It rests on harm alone, never
//! on which rule speaks or how many packets were seen.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::severity::Severity;

/// From here on somebody who waits gives up or complains.
pub(crate) const LONG_WAIT: Duration = Duration::from_secs(3);
/// From here on somebody who waits notices.
const NOTICED_WAIT: Duration = Duration::from_secs(1);
/// From here on a stall costs more than a repair without waiting: the smallest retransmission timeout
/// of Linux.
const LONG_STALL: Duration = Duration::from_millis(200);
/// So many failures of one client are more than a single event.
const SEVERAL: u64 = 3;

/// What one occurrence, or all occurrences of one cause together, did to somebody.
///
/// The default harmed nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Impact {
    /// Somebody wanted what did not come: a user or a service, not a scanner, a worm, a test tool or
    /// discovery.
    pub harmed: bool,
    /// Attempts (connections, look-ups) of one client that failed for good: no retry, other address,
    /// port or address family served it. Of several clients the largest number, not the sum:
    /// different clients that each tried once do not add up.
    pub attempts_failed: u64,
    /// Requests or messages that were sent and got no answer, or data that was lost for good.
    pub requests_lost: u64,
    /// Attempts or requests that failed first and were served in another way.
    pub recovered: u64,
    /// Time on the clock that somebody waited and was served at last; overlapping waits count once.
    pub waited: Duration,
    /// The service had answered before, was asked again, and does not answer by the end.
    pub stopped: bool,
    /// The longest time in which everything on one connection stood still.
    pub stalled: Duration,
    /// How much transfers were slowed, where no single wait can be named.
    pub slowed: Slowed,
}

/// How much transfers were slowed. Each rule that measures it documents the figures.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Slowed {
    /// Not so that anybody would notice.
    #[default]
    Not,
    /// Measurably.
    Slightly,
    /// Users notice.
    Noticeably,
    /// Transfers hardly move.
    Badly,
}

impl Slowed {
    /// Words for it; `None` where nobody would notice.
    #[must_use]
    pub const fn describe(self) -> Option<&'static str> {
        match self {
            Self::Not => None,
            Self::Slightly => Some("slightly slowed"),
            Self::Noticeably => Some("noticeably slowed"),
            Self::Badly => Some("badly slowed"),
        }
    }
}

impl Impact {
    /// Harmed nobody.
    pub const NONE: Self = Self {
        harmed: false,
        attempts_failed: 0,
        requests_lost: 0,
        recovered: 0,
        waited: Duration::ZERO,
        stopped: false,
        stalled: Duration::ZERO,
        slowed: Slowed::Not,
    };

    /// Harmed somebody, but cost nothing that can be counted.
    pub const SOME: Self = Self {
        harmed: true,
        ..Self::NONE
    };

    /// So many attempts of one client failed for good.
    #[must_use]
    pub const fn attempts_failed(count: u64) -> Self {
        Self {
            attempts_failed: count,
            ..Self::SOME
        }
    }

    /// So many requests or messages were lost.
    #[must_use]
    pub const fn requests_lost(count: u64) -> Self {
        Self {
            requests_lost: count,
            ..Self::SOME
        }
    }

    /// So many failed first and were served in another way.
    #[must_use]
    pub const fn recovered(count: u64) -> Self {
        Self {
            recovered: count,
            ..Self::SOME
        }
    }

    /// Somebody waited so long and was served.
    #[must_use]
    pub const fn waited(time: Duration) -> Self {
        Self {
            waited: time,
            ..Self::SOME
        }
    }

    /// Somebody waited so long in all, and was served; the longest of these waits stopped everything
    /// on a connection.
    #[must_use]
    pub const fn stalled(longest: Duration, waited: Duration) -> Self {
        Self {
            stalled: longest,
            ..Self::waited(waited)
        }
    }

    /// Transfers were slowed so much.
    #[must_use]
    pub const fn slowed(slowed: Slowed) -> Self {
        Self {
            slowed,
            ..Self::SOME
        }
    }

    /// Both together. Waits and failed attempts are added: where waits may overlap, or attempts are
    /// those of different clients, the rule gives the union or the largest instead.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            harmed: self.harmed || other.harmed,
            attempts_failed: self.attempts_failed.saturating_add(other.attempts_failed),
            requests_lost: self.requests_lost.saturating_add(other.requests_lost),
            recovered: self.recovered.saturating_add(other.recovered),
            waited: self.waited.saturating_add(other.waited),
            stopped: self.stopped || other.stopped,
            stalled: self.stalled.max(other.stalled),
            slowed: self.slowed.max(other.slowed),
        }
    }

    /// What is left of it where the capture's clock does not show how long anything took.
    #[must_use]
    pub fn without_times(self) -> Self {
        Self {
            waited: Duration::ZERO,
            stalled: Duration::ZERO,
            ..self
        }
    }

    /// How grave it is, by the first row of [`POLICY`] that holds.
    #[must_use]
    pub fn severity(&self) -> Severity {
        let row = POLICY.iter().find(|row| (row.holds)(self));
        row.map_or(Severity::Low, |row| row.severity)
    }

    /// All of one cause together: waits, losses and recoveries added up, failed attempts those of the
    /// client that failed most often.
    pub fn of_clients(impacts: &mut dyn Iterator<Item = (IpAddr, Self)>) -> Self {
        let mut all = Self::NONE;
        let mut attempts = BTreeMap::<IpAddr, u64>::new();
        for (client, impact) in impacts {
            *attempts.entry(client).or_default() += impact.attempts_failed;
            all = all.and(impact);
        }
        all.attempts_failed = attempts.into_values().max().unwrap_or(0);
        all
    }

    const fn failed(&self) -> bool {
        self.attempts_failed > 0 || self.requests_lost > 0
    }
}

/// One row of the policy.
pub struct Row {
    /// The severity it gives.
    pub severity: Severity,
    /// When, in words: a line of the documentation.
    pub when: &'static str,
    holds: fn(&Impact) -> bool,
}

/// The policy. The first row that holds decides.
pub const POLICY: [Row; 13] = [
    Row {
        severity: Severity::Info,
        when: "nobody was harmed: scanners, worms, test tools, discovery, closes that lost nothing",
        holds: |impact| !impact.harmed,
    },
    Row {
        severity: Severity::High,
        when: "a service that answered before is asked again and does not answer until the end of the capture",
        holds: |impact| impact.stopped && impact.failed(),
    },
    Row {
        severity: Severity::High,
        when: "three or more attempts of one client failed, and nothing else served it",
        holds: |impact| impact.attempts_failed >= SEVERAL,
    },
    Row {
        severity: Severity::High,
        when: "three or more requests or messages were lost",
        holds: |impact| impact.requests_lost >= SEVERAL,
    },
    Row {
        severity: Severity::High,
        when: "clients waited three seconds or longer in total",
        holds: |impact| impact.waited >= LONG_WAIT,
    },
    Row {
        severity: Severity::High,
        when: "transfers hardly moved",
        holds: |impact| impact.slowed >= Slowed::Badly,
    },
    Row {
        severity: Severity::Medium,
        when: "one or two requests or messages were lost",
        holds: |impact| impact.requests_lost > 0,
    },
    Row {
        severity: Severity::Medium,
        when: "clients waited a second or longer in total",
        holds: |impact| impact.waited >= NOTICED_WAIT,
    },
    Row {
        severity: Severity::Medium,
        when: "a connection stalled for 200 ms, the smallest retransmission timeout, or longer",
        holds: |impact| impact.stalled >= LONG_STALL,
    },
    Row {
        severity: Severity::Medium,
        when: "transfers were slowed so that users notice",
        holds: |impact| impact.slowed >= Slowed::Noticeably,
    },
    Row {
        severity: Severity::Low,
        when: "one or two attempts of a client failed: a single event",
        holds: |impact| impact.attempts_failed > 0,
    },
    Row {
        severity: Severity::Low,
        when: "a retry, another address, port or address family served the client",
        holds: |impact| impact.recovered > 0,
    },
    Row {
        severity: Severity::Low,
        when: "clients waited less than a second, or a transfer was slowed measurably",
        holds: |_| true,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn every_row_decides_what_it_says() {
        let stopped = Impact {
            stopped: true,
            ..Impact::attempts_failed(1)
        };
        let cases = [
            (Impact::NONE, Severity::Info),
            (stopped, Severity::High),
            (Impact::attempts_failed(3), Severity::High),
            (Impact::requests_lost(3), Severity::High),
            (Impact::waited(seconds(3)), Severity::High),
            (Impact::slowed(Slowed::Badly), Severity::High),
            (Impact::requests_lost(2), Severity::Medium),
            (Impact::waited(seconds(1)), Severity::Medium),
            (Impact::stalled(LONG_STALL, LONG_STALL), Severity::Medium),
            (Impact::slowed(Slowed::Noticeably), Severity::Medium),
            (Impact::attempts_failed(2), Severity::Low),
            (Impact::recovered(9), Severity::Low),
            (Impact::waited(Duration::from_millis(999)), Severity::Low),
        ];
        assert_eq!(cases.len(), POLICY.len(), "a case for each row");
        for (row, (impact, severity)) in cases.into_iter().enumerate() {
            assert_eq!(impact.severity(), severity, "{impact:?}");
            let first = POLICY.iter().position(|row| (row.holds)(&impact));
            assert_eq!(first, Some(row), "{impact:?}");
        }
    }

    #[test]
    fn harm_adds_up_and_nobody_adds_nothing() {
        let both = Impact::requests_lost(2).and(Impact::requests_lost(1));
        assert_eq!(both.severity(), Severity::High);
        assert_eq!(
            Impact::NONE.and(Impact::recovered(1)).severity(),
            Severity::Low
        );
        assert_eq!(Impact::NONE.and(Impact::NONE).severity(), Severity::Info);
    }

    #[test]
    fn clients_that_each_tried_once_do_not_add_up() {
        let client = |last| IpAddr::from([10, 0, 0, last]);
        let once = Impact::attempts_failed(1);
        let many = Impact::of_clients(&mut (1..=9).map(|last| (client(last), once)));
        assert_eq!(many.severity(), Severity::Low);
        let one = Impact::of_clients(&mut (0..3).map(|_| (client(1), once)));
        assert_eq!(one.severity(), Severity::High);
    }

    #[test]
    fn a_service_that_stopped_harms_only_whom_it_failed() {
        let served_elsewhere = Impact {
            stopped: true,
            ..Impact::recovered(1)
        };
        assert_eq!(served_elsewhere.severity(), Severity::Low);
    }
}

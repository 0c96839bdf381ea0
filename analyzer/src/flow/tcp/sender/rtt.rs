//! Round-trip samples and the retransmission timeout estimate (RFC 6298).

use std::time::Duration;

/// Linux's lower bound of the retransmission timeout (`TCP_RTO_MIN`); RFC 6298 §2.4 asks for 1 s.
pub(in crate::flow::tcp) const RTO_MIN: Duration = Duration::from_millis(200);

/// The timeout before the first sample (RFC 6298 §2.1).
const RTO_INITIAL: Duration = Duration::from_secs(1);

/// Smoothed round trip of one sender, fed with samples that Karn's rule allows (RFC 6298 §3).
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::flow::tcp) struct RttEstimator {
    srtt_ns: u64,
    rttvar_ns: u64,
    min_ns: u64,
    max_ns: u64,
    samples: u32,
}

/// A round trip that no repair disturbed.
#[derive(Clone, Copy, Debug)]
pub(in crate::flow::tcp) struct RoundTrip {
    /// How long it took, in nanoseconds.
    pub ns: u64,
    /// Octets in flight when its acknowledgement came.
    pub flight: u64,
}

/// An acknowledgement that moved `snd_una` up.
#[derive(Clone, Copy, Debug)]
pub(in crate::flow::tcp) struct Progress {
    /// The round trip that it ended, when no repair disturbed it.
    pub round_trip: Option<RoundTrip>,
}

/// The whole round trip of a connection as well as it is known, in nanoseconds: the smallest from
/// the capture point to either end and back.
pub(in crate::flow::tcp) fn whole_round_trip(
    one: &RttEstimator,
    other: &RttEstimator,
) -> Option<u64> {
    match (one.min_ns(), other.min_ns()) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    }
}

impl RttEstimator {
    /// Takes one sample.
    pub fn sample(&mut self, rtt_ns: u64) {
        let sample = rtt_ns.max(1);
        if self.samples == 0 {
            // RFC 6298 §2.2
            self.srtt_ns = sample;
            self.rttvar_ns = sample / 2;
            self.min_ns = sample;
        } else {
            // RFC 6298 §2.3, alpha = 1/8, beta = 1/4
            let delta = self.srtt_ns.abs_diff(sample);
            self.rttvar_ns = self.rttvar_ns - self.rttvar_ns / 4 + delta / 4;
            self.srtt_ns = self.srtt_ns - self.srtt_ns / 8 + sample / 8;
        }
        self.min_ns = self.min_ns.min(sample);
        self.max_ns = self.max_ns.max(sample);
        self.samples = self.samples.saturating_add(1);
    }

    /// Number of samples.
    pub fn samples(&self) -> u64 {
        u64::from(self.samples)
    }

    fn known(&self, nanos: u64) -> Option<Duration> {
        (self.samples > 0).then(|| Duration::from_nanos(nanos))
    }

    /// Smallest sample.
    pub fn min(&self) -> Option<Duration> {
        self.known(self.min_ns)
    }

    /// Smallest sample, in nanoseconds.
    pub fn min_ns(&self) -> Option<u64> {
        (self.samples > 0).then_some(self.min_ns)
    }

    /// Largest sample, in nanoseconds; 0 before the first.
    pub const fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// Largest sample.
    pub fn max(&self) -> Option<Duration> {
        self.known(self.max_ns)
    }

    /// Smoothed round trip.
    pub fn srtt(&self) -> Option<Duration> {
        self.known(self.srtt_ns)
    }

    /// Retransmission timeout as Linux computes it: the variance term is at least 200 ms.
    pub fn rto(&self) -> Duration {
        if self.samples == 0 {
            return RTO_INITIAL;
        }
        let variance = Duration::from_nanos(self.rttvar_ns.saturating_mul(4)).max(RTO_MIN);
        Duration::from_nanos(self.srtt_ns) + variance
    }
}

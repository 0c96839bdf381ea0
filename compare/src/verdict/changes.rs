//! What a device between two points rewrote.

use serde::Serialize;

use crate::reading::{Fact, Record, SYN};

/// Segments whose field differed between two points.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Changed {
    /// DSCP of the IP header.
    pub dscp: u64,
    /// ECN codepoint of the IP header.
    pub ecn: u64,
    /// Maximum segment size of a SYN.
    pub mss: u64,
    /// Window scale of a SYN.
    pub window_scale: u64,
    /// SACK-permitted of a SYN.
    pub sack_permitted: u64,
    /// TCP timestamps, removed or rewritten.
    pub timestamps: u64,
    /// Other TCP options.
    pub options: u64,
    /// The window field.
    pub window: u64,
    /// An IP address.
    pub addresses: u64,
    /// A port.
    pub ports: u64,
    /// The sequence number.
    pub sequence_numbers: u64,
    /// Payload octets.
    pub payload: u64,
}

/// What holds for a whole connection between two points.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Translation {
    pub addresses: bool,
    pub ports: bool,
    /// Of the sender's sequence numbers.
    pub numbers: bool,
}

impl Changed {
    /// The fields by their names in the contract.
    #[must_use]
    pub const fn fields(&self) -> [(&'static str, u64); 12] {
        [
            ("dscp", self.dscp),
            ("ecn", self.ecn),
            ("mss", self.mss),
            ("window_scale", self.window_scale),
            ("sack_permitted", self.sack_permitted),
            ("timestamps", self.timestamps),
            ("options", self.options),
            ("window", self.window),
            ("addresses", self.addresses),
            ("ports", self.ports),
            ("sequence_numbers", self.sequence_numbers),
            ("payload", self.payload),
        ]
    }

    /// Adds what another direction counted.
    pub fn add(&mut self, other: &Self) {
        self.dscp += other.dscp;
        self.ecn += other.ecn;
        self.mss += other.mss;
        self.window_scale += other.window_scale;
        self.sack_permitted += other.sack_permitted;
        self.timestamps += other.timestamps;
        self.options += other.options;
        self.window += other.window;
        self.addresses += other.addresses;
        self.ports += other.ports;
        self.sequence_numbers += other.sequence_numbers;
        self.payload += other.payload;
    }

    /// Compares one packet at two points.
    pub(crate) fn compare(a: &Record, b: &Record, is_whole: bool, by: Translation) -> Self {
        let both = |fact: u16| a.has(fact) && b.has(fact);
        let when = |changed: bool| u64::from(changed);
        let mut changed = Self {
            addresses: when(by.addresses),
            ports: when(by.ports),
            ..Self::default()
        };
        if both(Fact::TRAFFIC_CLASS) {
            changed.dscp = when(a.dscp() != b.dscp());
            changed.ecn = when(a.ecn() != b.ecn());
        }
        if is_whole && a.len > 0 && !a.has(Fact::CUT) && !b.has(Fact::CUT) {
            changed.payload = when(a.digest != b.digest);
        }
        if !both(Fact::TCP) {
            return changed;
        }
        changed.sequence_numbers = when(by.numbers);
        if !is_whole {
            return changed;
        }
        changed.window = when(both(Fact::WINDOW) && a.window != b.window);
        if a.has(Fact::OPTIONS_CUT) || b.has(Fact::OPTIONS_CUT) {
            return changed;
        }
        let differs = |fact: u16| a.has(fact) != b.has(fact);
        changed.timestamps = when(
            differs(Fact::TIMESTAMPS)
                || (both(Fact::TIMESTAMPS) && (a.ts_value, a.ts_echo) != (b.ts_value, b.ts_echo)),
        );
        changed.options = when(both(Fact::OPTIONS) && a.options != b.options);
        if a.flags & SYN != 0 {
            changed.mss = when(a.mss != b.mss);
            changed.window_scale =
                when(differs(Fact::WINDOW_SHIFT) || a.window_shift != b.window_shift);
            changed.sack_permitted = when(differs(Fact::SACK_PERMITTED));
        }
        changed
    }
}

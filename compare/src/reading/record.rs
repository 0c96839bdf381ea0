//! One packet of one point, with what telling copies apart needs of it.

/// A TCP segment, a UDP datagram or an ICMP error, without its payload.
///
/// Kept small: a capture of 1 GB has more than a million of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Record {
    /// Wireshark's `frame.number`.
    pub frame: u64,
    /// Capture time in nanoseconds since 1970, by the clock of the point.
    pub time: i64,
    /// Digest of the captured payload; for an ICMP error of what it says.
    pub digest: u64,
    /// Digest of the first [`HEAD`] octets of payload.
    pub head: u32,
    /// SEG.SEQ.
    pub seq: u32,
    /// SEG.ACK.
    pub ack: u32,
    /// True payload length in octets.
    pub len: u32,
    /// TSval.
    pub ts_value: u32,
    /// TSecr.
    pub ts_echo: u32,
    /// Digest of the TCP options that have no field of their own.
    pub options: u32,
    /// Index of its flow at the point.
    pub flow: u32,
    /// Index of its first SACK block in [`super::Point::sacks`].
    pub sack_at: u32,
    /// Window field as sent.
    pub window: u16,
    /// IPv4 identification.
    pub ip_id: u16,
    /// Maximum segment size option.
    pub mss: u16,
    /// Which facts the record holds: see [`Fact`].
    pub facts: u16,
    /// TCP control bits.
    pub flags: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// DSCP and ECN as they stand in the IP header.
    pub traffic_class: u8,
    /// Window scale option.
    pub window_shift: u8,
    /// Number of SACK blocks.
    pub sack_count: u8,
    /// Length of the TCP header; 0 where `len` counts it as well.
    pub header_len: u8,
}

/// Octets of payload in [`Record::head`]: what a snap length of 64 leaves of a UDP datagram.
pub(crate) const HEAD: usize = 16;

/// What a [`Record`] knows.
pub(crate) struct Fact;

impl Fact {
    /// Sent by the lower endpoint of the flow's key.
    pub const FROM_LOW: u16 = 1;
    /// The timestamp option was there.
    pub const TIMESTAMPS: u16 = 1 << 1;
    /// An IPv4 identification other than zero.
    pub const IP_ID: u16 = 1 << 2;
    /// Some of the payload was not captured.
    pub const CUT: u16 = 1 << 3;
    /// Some of the options was not captured.
    pub const OPTIONS_CUT: u16 = 1 << 4;
    /// The SACK-permitted option was there.
    pub const SACK_PERMITTED: u16 = 1 << 5;
    /// The window field was captured.
    pub const WINDOW: u16 = 1 << 6;
    /// The window scale option was there.
    pub const WINDOW_SHIFT: u16 = 1 << 7;
    /// The traffic class was found.
    pub const TRAFFIC_CLASS: u16 = 1 << 8;
    /// An ICMP error about the flow.
    pub const ICMP: u16 = 1 << 9;
    /// Recorded at another place (interface, VLAN, tunnel) than the flow's first packet.
    pub const OTHER_PLACE: u16 = 1 << 10;
    /// The options of the TCP header were found.
    pub const OPTIONS: u16 = 1 << 11;
    /// TCP.
    pub const TCP: u16 = 1 << 12;
    /// [`Record::head`] holds as many octets as it can.
    pub const HEAD: u16 = 1 << 13;
    /// The capture recorded the same packet just before.
    pub const DOUBLE: u16 = 1 << 14;
}

/// TCP control bits.
pub(crate) const FIN: u8 = 0x01;
/// See [`FIN`].
pub(crate) const SYN: u8 = 0x02;
/// See [`FIN`].
pub(crate) const RST: u8 = 0x04;
/// See [`FIN`].
pub(crate) const ACK: u8 = 0x10;

impl Record {
    /// Whether it knows a fact.
    pub const fn has(&self, fact: u16) -> bool {
        self.facts & fact == fact
    }

    /// Sequence space it occupies: payload, SYN and FIN.
    pub const fn occupies(&self) -> u32 {
        let syn = if self.flags & SYN == 0 { 0 } else { 1 };
        let fin = if self.flags & FIN == 0 { 0 } else { 1 };
        self.len.saturating_add(syn + fin)
    }

    /// DSCP (RFC 2474).
    pub const fn dscp(&self) -> u8 {
        self.traffic_class >> 2
    }

    /// ECN codepoint (RFC 3168).
    pub const fn ecn(&self) -> u8 {
        self.traffic_class & 3
    }

    /// 0 for what the lower endpoint of the flow's key sent, else 1.
    pub const fn side(&self) -> usize {
        if self.facts & Fact::FROM_LOW == 0 {
            1
        } else {
            0
        }
    }
}

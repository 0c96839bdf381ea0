//! What each address is, and what happened to many connections at one time.

use serde::{Deserialize, Serialize};

/// An address and what it did in this capture.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HostRow {
    /// The address.
    pub address: String,
    /// Its reach: `public`, `private`, `loopback`, `group` (multicast, broadcast) or `special`.
    pub reach: String,
    /// What it looks like, by what it did: `client`, `server`, `scanner`, `peer-to-peer`,
    /// `background-noise` (calls from outside, exchanges nothing), `dark` (only strangers call it).
    pub roles: Vec<String>,
    /// Packets that it sent; copies made by the capture are not counted.
    pub packets_sent: u64,
    /// Packets sent to it.
    pub packets_received: u64,
    /// Time of its first packet.
    pub first_sent: Option<String>,
    /// Time of its last packet.
    pub last_sent: Option<String>,
    /// Connections and UDP flows that it opened, by what became of them.
    pub opened: Attempts,
    /// Different addresses that it called; an estimate from 64 on.
    pub called_addresses: u64,
    /// Different transports, addresses and ports that it called; an estimate from 64 on.
    pub called_destinations: u64,
    /// Median time that its requests waited before it closed the connection; absent when it never
    /// did so.
    pub patience_ms: Option<f64>,
    /// Connections that it closed while a request waited.
    pub impatient_closes: u64,
    /// Connections and UDP flows opened to it, by what became of them.
    pub accepted: Attempts,
    /// Different addresses that called it; an estimate from 64 on.
    pub callers: u64,
    /// How it numbers IPv4 packets: `zero`, `per-connection`, `per-destination`, `per-host`,
    /// `per-host-swapped`, `counter` (shared by whom is not known), `random` or `unknown`.
    pub ip_id: String,
    /// Hop limits (TTLs) of its packets.
    pub hop_limits: Vec<HopLimit>,
    /// Whether any of its segments bore PSH.
    pub sets_push: bool,
    /// Ticks per second of the clock behind its TCP timestamps, where it was seen long enough.
    pub timestamp_clock_hz: Option<f64>,
    /// Hardware addresses that its packets came from at the capture point, at most four; absent in
    /// redacted reports.
    pub hardware_addresses: Vec<String>,
    /// When one stack answers for several public addresses (a user-mode NAT, VPN or proxy): for how
    /// many.
    pub shared_front_addresses: Option<u64>,
}

/// What became of attempts to talk whose beginning was captured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Attempts {
    /// All of them.
    pub total: u64,
    /// Payload passed both ways.
    pub exchanged: u64,
    /// Accepted, without payload both ways.
    pub without_exchange: u64,
    /// Refused by RST or an ICMP error.
    pub refused: u64,
    /// Not answered.
    pub unanswered: u64,
}

/// How many packets of one kind bore a hop limit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HopLimit {
    /// `syn` (SYN-ACKs included), `reset` or `other`.
    pub segments: String,
    /// As it arrived at the capture point.
    pub hop_limit: u8,
    /// Packets.
    pub packets: u64,
}

/// What happened to many packets or connections at one time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EpisodeRow {
    /// `host-silent` (a host asks several others and hears from nobody), `path-dark` (one address
    /// asks another and hears nothing), `program-end`, `race-losers`, `page-cancelled`, `restart`,
    /// `capture-gap`, `second-mac` or `clock-step`.
    pub kind: String,
    /// What it means, in words.
    pub meaning: String,
    /// The host that hears nobody, the one that asks, the client, or the server that restarts;
    /// absent for the whole capture.
    pub host: Option<String>,
    /// The address that is not heard.
    pub peer: Option<String>,
    /// When it began; of `host-silent` and `path-dark`, to within a 2,048th of the capture.
    pub start: String,
    /// When it was over, or the capture; as exactly as `start`.
    pub end: String,
    /// How long it lasted.
    pub duration_s: f64,
    /// The capture ended first: it lasted at least so long.
    pub is_cut: bool,
    /// Connections concerned, where they are known one by one.
    pub connections: u64,
    /// First frames of these connections, at most 32.
    pub first_frames: Vec<u64>,
    /// First frame of the connection that won, of `race-losers`.
    pub winner_frame: Option<u64>,
}

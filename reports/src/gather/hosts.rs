//! Profiles and episodes for the document: the most relevant ones.

use std::cmp::Reverse;
use std::net::IpAddr;

use analyzer::Analysis;
use analyzer::episodes::{Episode, EpisodeKind};
use analyzer::hosts::{HostProfile, SegmentKind};

use crate::document::{
    Attempts, Cell, EpisodeRow, HopLimit, HostRow, Table, millis, rounded, seconds,
};

use super::tables;

/// Rows of each list in the document.
const LIMIT: usize = 256;

/// First frames of an episode's connections.
const FRAMES: usize = 32;

/// Rows of the top list.
const TOP: usize = 15;

/// Hosts by the packets that bear their address.
pub(crate) fn host_rows(analysis: &Analysis) -> Vec<HostRow> {
    by_packets(analysis).take(LIMIT).map(row).collect()
}

fn by_packets(analysis: &Analysis) -> impl Iterator<Item = &HostProfile> {
    let mut hosts: Vec<_> = analysis.hosts.iter().collect();
    hosts.sort_by_key(|host| {
        (
            Reverse(host.packets_sent + host.packets_received),
            host.address,
        )
    });
    hosts.into_iter()
}

fn row(host: &HostProfile) -> HostRow {
    let (client, server) = (&host.client, &host.server);
    let patience = host.usual_patience();
    HostRow {
        address: host.address.to_string(),
        reach: host.kind().as_str().to_owned(),
        roles: roles(host).into_iter().map(str::to_owned).collect(),
        packets_sent: host.packets_sent,
        packets_received: host.packets_received,
        first_sent: host.first_sent().map(|at| at.time.rfc3339()),
        last_sent: host.last_sent().map(|at| at.time.rfc3339()),
        opened: Attempts {
            total: client.opened,
            exchanged: client.exchanged,
            without_exchange: client.accepted,
            refused: client.refused,
            unanswered: client.silent,
        },
        called_addresses: client.addresses,
        called_destinations: client.destinations,
        patience_ms: patience.map(|(median, _)| millis(median)),
        impatient_closes: client.waits_count,
        accepted: Attempts {
            total: server.asked,
            exchanged: server.exchanged,
            without_exchange: server.accepted,
            refused: server.refused,
            unanswered: server.silent,
        },
        callers: server.callers,
        ip_id: host.ip_id().as_str().to_owned(),
        hop_limits: hop_limits(host),
        sets_push: host.has_set_psh(),
        timestamp_clock_hz: host
            .timestamp_clock()
            .map(|clock| rounded(clock.ticks_per_second)),
        hardware_addresses: host
            .hardware_addresses()
            .iter()
            .map(|known| hardware_address(known.mac))
            .collect(),
        shared_front_addresses: host.shared_front().map(|front| front.addresses),
    }
}

fn hop_limits(host: &HostProfile) -> Vec<HopLimit> {
    let kinds = [
        (SegmentKind::Syn, "syn"),
        (SegmentKind::Reset, "reset"),
        (SegmentKind::Other, "other"),
    ];
    let all = kinds.iter().flat_map(|(kind, name)| {
        host.hop_limits()
            .of(*kind)
            .map(|(hop_limit, packets)| HopLimit {
                segments: (*name).to_owned(),
                hop_limit,
                packets,
            })
    });
    all.collect()
}

fn hardware_address(octets: [u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

/// What a host looks like, the most specific first.
fn roles(host: &HostProfile) -> Vec<&'static str> {
    let roles = [
        (host.is_scanner(), "scanner"),
        (host.is_peer_to_peer(), "peer-to-peer"),
        (host.is_background_noise(), "background-noise"),
        (host.only_receives_from_strangers(), "dark"),
        (host.client.opened > 0, "client"),
        (host.has_answered_as_server(), "server"),
    ];
    let own = roles.into_iter().filter(|(is, _)| *is);
    own.map(|(_, role)| role).collect()
}

/// The episodes, by kind and time.
pub(crate) fn episode_rows(analysis: &Analysis) -> Vec<EpisodeRow> {
    analysis.episodes.iter().take(LIMIT).map(episode).collect()
}

fn episode(episode: &Episode) -> EpisodeRow {
    let address = |ip: &IpAddr| (!ip.is_unspecified()).then(|| ip.to_string());
    EpisodeRow {
        kind: episode.kind.as_str().to_owned(),
        meaning: meaning(episode.kind).to_owned(),
        host: address(&episode.host),
        peer: episode.peer.as_ref().and_then(address),
        start: episode.from.rfc3339(),
        end: episode.to.rfc3339(),
        duration_s: seconds(episode.length()),
        is_cut: episode.is_cut,
        connections: episode.connection_count,
        first_frames: episode.connections.iter().copied().take(FRAMES).collect(),
        winner_frame: episode.winner,
    }
}

pub(super) const fn meaning(kind: EpisodeKind) -> &'static str {
    match kind {
        EpisodeKind::HostSilent => "The host sends to several others and receives nothing",
        EpisodeKind::PathDark => "The host sends to the peer and receives nothing from it",
        EpisodeKind::ProgramEnd => "A client program ends and closes all its connections",
        EpisodeKind::RaceLosers => "Spare connections are closed once another one is used",
        EpisodeKind::PageCancelled => "A page is left while it loads",
        EpisodeKind::Restart => "A server process ends and closes its connections",
        EpisodeKind::CaptureGap => "The capture missed frames of several connections",
        EpisodeKind::SecondMac => "ARP announces the address for a second hardware address",
        EpisodeKind::ClockStep => "The capture's clock was set forward",
    }
}

/// The top list of hosts.
pub(crate) fn top_list(analysis: &Analysis) -> Option<Table> {
    let rows: Vec<Vec<Cell>> = by_packets(analysis).take(TOP).map(cells).collect();
    let heads = [
        ("host", "Host"),
        ("roles", "Role"),
        ("packets_sent", "Packets sent"),
        ("packets_received", "Packets received"),
        ("opened", "Opened"),
        ("opened_in_vain", "Refused or unanswered"),
        ("accepted", "Calls received"),
        ("hop_limit", "Hop limit"),
        ("ip_id", "IP identification"),
    ];
    let all = analysis.hosts.len();
    (!rows.is_empty()).then(|| tables::table("hosts", "Hosts by packets", &heads, rows, all))
}

fn cells(host: &HostProfile) -> Vec<Cell> {
    let hop_limit = host.hop_limits().usual(SegmentKind::Other);
    vec![
        Cell::Text(host.address.to_string()),
        Cell::Text(roles(host).join(", ")),
        Cell::Count(host.packets_sent),
        Cell::Count(host.packets_received),
        Cell::Count(host.client.opened),
        Cell::Count(host.client.refused + host.client.silent),
        Cell::Count(host.server.asked),
        hop_limit.map_or(Cell::Missing(()), |hop_limit| Cell::Count(hop_limit.into())),
        Cell::Text(host.ip_id().as_str().to_owned()),
    ]
}

//! `udp-buffer-full`: datagrams that a full receive buffer dropped, which only its host counts.

use std::collections::BTreeMap;

use analyzer::{Endpoint, Transport};

use crate::model::evidence::Evidence;
use crate::model::figure::{Figure, FigureValue};
use crate::model::finding::{Finding, Remedy};
use crate::model::impact::Impact;
use crate::model::meta::declare_rule;
use crate::model::text::{self, many};

use super::join::Joined;
use super::watched::Watched;

declare_rule! {
    /// Datagrams reached a host and were dropped there, because the receive buffer was full.
    ///
    /// ## What it means
    /// The kernel keeps datagrams for a program in a buffer of limited size. When the program does not read
    /// them as fast as they arrive, the buffer fills, and further datagrams are dropped without any sign on the
    /// wire.
    ///
    /// ## Why it matters
    /// The sender gets no error and waits for a response until its timer expires, although the network worked.
    ///
    /// ## How it is detected
    /// Only with host evidence: requests of this capture were not answered while others were, and the server's
    /// own counter of dropped datagrams (UdpRcvbufErrors between two readings, or the drops of the socket)
    /// rose. Severity follows the unanswered requests, at most as many as the host dropped.
    ///
    /// ## What to do
    /// Read faster (several sockets with SO_REUSEPORT, recvmmsg), or give the socket a larger buffer (SO_RCVBUF,
    /// net.core.rmem_max) for bursts.
    ///
    /// ## Known limits
    /// The counter covers all sockets of the host and does not show which datagrams were dropped.
    ///
    /// ## References
    /// - udp(7); Linux Documentation/networking/snmp_counter.rst
    pub(crate) struct UdpBufferFull {
        id: "udp-buffer-full",
        group: UdpAndIp,
        title: "A full receive buffer drops datagrams",
        severity: High,
        needs: [Udp],
        clouded_by: [],
        figures: [unanswered: Count / Sum, dropped: Count / Sum],
        thresholds: [],
        host_evidence: [DatagramDrops, Owner],
    }
}

/// Connections listed with a finding.
const LISTED: usize = 1_000;

/// One finding for each server whose host dropped datagrams while requests went unanswered.
pub(super) fn all(joined: &Joined) -> Vec<Finding> {
    let mut servers = BTreeMap::<Endpoint, Vec<&Watched>>::new();
    for one in joined.watched.iter() {
        if one.connection.transport == Transport::Udp {
            servers.entry(one.connection.server).or_default().push(one);
        }
    }
    let found = servers.into_iter().filter_map(|(server, flows)| {
        let asked: u64 = flows.iter().map(|one| one.requests.asked).sum();
        let answered: u64 = flows.iter().map(|one| one.requests.answered).sum();
        let unanswered = asked.saturating_sub(answered);
        if answered == 0 || unanswered == 0 {
            return None; // Who never answers lets nobody wait.
        }
        let dropped = dropped(joined, server)?;
        let waiting: Vec<&Watched> = flows
            .into_iter()
            .filter(|one| one.requests.asked > one.requests.answered)
            .collect();
        Some(finding(server, &waiting, unanswered, dropped))
    });
    found.collect()
}

/// Datagrams that the host of a server dropped for want of room.
fn dropped(joined: &Joined, server: Endpoint) -> Option<u64> {
    let count = joined.count(Some(server.ip), "UdpRcvbufErrors");
    let rose = count
        .filter(|count| !count.since_start)
        .map_or(0, |count| count.value);
    let sockets = joined.serving(Transport::Udp, server);
    let of_socket = sockets
        .iter()
        .filter_map(|row| row.drops)
        .max()
        .unwrap_or(0);
    Some(rose.max(of_socket)).filter(|dropped| *dropped > 0)
}

fn finding(server: Endpoint, flows: &[&Watched], unanswered: u64, dropped: u64) -> Finding {
    let lost = unanswered.min(dropped);
    let connections: Vec<_> = flows
        .iter()
        .map(|one| one.connection)
        .take(LISTED)
        .collect();
    let evidence = flows.iter().take(3).filter_map(|one| {
        Some(Evidence {
            segment: one.requests.first?,
            connection: one.connection,
            note: format!(
                "first datagram of {} of which {} were answered",
                one.requests.asked, one.requests.answered
            ),
            proves: true,
        })
    });
    let figure = |name, value: u64| Figure {
        name,
        value: FigureValue::Number(text::number(value)),
        spread: None,
    };
    Finding {
        severity: Impact::requests_lost(lost).severity().min(UdpBufferFull::META.severity),
        confidence: 0.85,
        confidence_reason: "The host counts datagrams dropped for lack of buffer space, and requests of this capture went unanswered.".to_owned(),
        title: format!("{server} drops datagrams: its receive buffer is full"),
        summary: format!(
            "{} to {server} got no response, and its host counted {} dropped because the receive buffer was full. The wire does not show such drops.",
            many(unanswered, "datagram"),
            many(dropped, "datagram")
        ),
        occurrences: lost,
        connection_count: flows.len() as u64,
        filter: text::connections_filter(&connections),
        connections,
        evidence: evidence.collect(),
        figures: vec![figure("unanswered", unanswered), figure("dropped", dropped)],
        why: vec!["the server's own counter of datagrams dropped for lack of buffer space rose".to_owned()],
        remedy: vec![Remedy {
            product: "Linux".to_owned(),
            text: "Give the socket a larger buffer for bursts, and read with several sockets (SO_REUSEPORT).".to_owned(),
            setting: Some("sysctl -w net.core.rmem_max=8388608  # and SO_RCVBUF in the program".to_owned()),
        }],
        ..Finding::of(UdpBufferFull::META.id)
    }
}

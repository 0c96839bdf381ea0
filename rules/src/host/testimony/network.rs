//! What filters, translators and connection trackers say.

use std::collections::BTreeSet;
use std::net::IpAddr;

use analyzer::Endpoint;
use hostfiles::{PacketRule, Target, Translation};

use super::{Case, Line};
use crate::model::ask::Says;
use crate::model::figure::FigureValue;

/// Endpoints that a finding's figure names: `name (10.0.0.1:80)` or `10.0.0.1:80`.
fn named(case: &Case<'_>, figure: &str) -> Vec<Endpoint> {
    let figure = case.finding.figures.iter().find(|one| one.name == figure);
    let Some(FigureValue::Text(text)) = figure.map(|one| &one.value) else {
        return Vec::new();
    };
    let parse = |word: &str| {
        let word = word.trim_matches(['(', ')', ',']);
        let end: std::net::SocketAddr = word.parse().ok()?;
        Some(Endpoint::new(end.ip(), end.port()))
    };
    text.split(' ').filter_map(parse).collect()
}

/// Whether a rule leads a packet for `called` to `actual`.
fn leads(rule: &PacketRule, called: Endpoint, actual: Endpoint) -> bool {
    match rule.target {
        Target::Redirect(port) => port.unwrap_or(called.port) == actual.port,
        Target::Dnat(ip, port) => {
            ip.is_none_or(|ip| ip == actual.ip) && port.unwrap_or(called.port) == actual.port
        }
        _ => false,
    }
}

/// How often a rule was met.
fn met(rule: &PacketRule) -> String {
    rule.packets
        .map_or_else(String::new, |packets| format!(", met by {packets} packets"))
}

/// A rule without counter may have been met.
fn is_met(rule: &PacketRule) -> bool {
    rule.packets != Some(0)
}

/// Rules and entries that lead a connection elsewhere.
pub(super) fn redirects(case: &Case<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    let (intended, actual) = (named(case, "intended"), named(case, "actual"));
    let mut ends = BTreeSet::<(Option<Endpoint>, Endpoint, IpAddr)>::new();
    for one in &case.finding.connections {
        let client = one.client.ip;
        let called: Vec<Endpoint> = intended
            .iter()
            .copied()
            .chain([one.server])
            .chain(one.translated_to)
            .collect();
        let led: Vec<Endpoint> = actual
            .iter()
            .copied()
            .chain([one.server])
            .chain(one.translated_to)
            .collect();
        for to in led {
            ends.insert((None, to, client));
            ends.extend(
                called
                    .iter()
                    .filter(|from| **from != to)
                    .map(|from| (Some(*from), to, client)),
            );
        }
    }
    for rule in &case.joined.files.facts.rules {
        let by_destination = ends.iter().any(|(from, to, client)| {
            from.is_some_and(|from| covers(rule, *client, from) && leads(rule, from, *to))
        });
        // What was called may be known by its name alone.
        let by_target = intended.is_empty()
            && ends.iter().any(|(_, to, _)| match rule.target {
                Target::Redirect(Some(port)) => port == to.port && to.ip.is_loopback(),
                Target::Dnat(Some(ip), Some(port)) => ip == to.ip && port == to.port,
                _ => false,
            });
        if !by_destination && !by_target {
            continue;
        }
        let chain = &rule.chain;
        if is_met(rule) {
            let note = format!("the rule (chain {chain}) that redirects it{}", met(rule));
            lines.push(Line::new(rule.at, Says::Supports, note).strong());
        } else {
            let note = format!(
                "a rule (chain {chain}) that would redirect it had matched no packet when this was written"
            );
            lines.push(Line::new(rule.at, Says::Names, note));
        }
    }
    for entry in &case.joined.files.facts.translations {
        let is_it = |one: &crate::model::connection_ref::ConnectionRef| {
            let is_one = |client: Endpoint, server: Endpoint| {
                one.client == client && (one.server == server || one.translated_to == Some(server))
            };
            is_one(entry.reply_destination, entry.reply_source)
                || is_one(entry.source, entry.destination)
        };
        if entry.destination != entry.reply_source && case.finding.connections.iter().any(is_it) {
            lines.push(translation(entry));
        }
    }
    lines
}

pub(super) fn translation(entry: &Translation) -> Line {
    let note = format!(
        "the connection tracker translates {} from {} to {}",
        entry.source, entry.destination, entry.reply_source
    );
    Line::new(entry.place.at, Says::Supports, note).strong()
}

/// An address in the rule's network: an address of it alone is what people write for one.
fn covers(rule: &PacketRule, client: IpAddr, called: Endpoint) -> bool {
    rule.covers(analyzer::Transport::Tcp, client, called)
        || rule.covers(analyzer::Transport::Udp, client, called)
}

/// Rules that refuse or drop the connections of a finding.
pub(super) fn filters(case: &Case<'_>) -> Vec<Line> {
    let wanted = |target: Target| match case.finding.rule {
        "injected-reset" | "connection-refused" => target == (Target::Reject { reset: true }),
        "icmp-unreachable" => target == (Target::Reject { reset: false }),
        "mtu-black-hole" => false,
        _ => target == Target::Drop,
    };
    let mut lines = Vec::new();
    for rule in case
        .joined
        .files
        .facts
        .rules
        .iter()
        .filter(|rule| wanted(rule.target))
    {
        let is_covered = case.finding.connections.iter().any(|one| {
            rule.covers(one.transport, one.client.ip, one.server)
                || rule.covers(one.transport, one.server.ip, one.client)
        });
        // A rule for everything says nothing of one connection.
        let is_specific =
            rule.source.is_some() || rule.destination.is_some() || !rule.ports.is_empty();
        if !is_covered || !is_specific {
            continue;
        }
        let what = match rule.target {
            Target::Reject { .. } => "refuses",
            _ => "drops",
        };
        if is_met(rule) {
            let note = format!(
                "a rule (chain {}) that {what} these packets{}",
                rule.chain,
                met(rule)
            );
            lines.push(Line::new(rule.at, Says::Supports, note).strong());
        } else {
            let note = format!(
                "a rule (chain {}) that {what} such packets had matched none when this was written",
                rule.chain
            );
            lines.push(Line::new(rule.at, Says::Names, note));
        }
    }
    lines
}

/// How long a connection tracker remembers.
pub(super) fn idle_limits(case: &Case<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for entry in &case.joined.files.facts.translations {
        let is_it = |one: &crate::model::connection_ref::ConnectionRef| {
            one.client == entry.source && one.server == entry.destination
                || one.client == entry.reply_destination && one.server == entry.reply_source
        };
        if !case.finding.connections.iter().any(is_it) {
            continue;
        }
        let state = if entry.state.is_empty() {
            String::new()
        } else {
            format!(" ({})", entry.state)
        };
        if entry.is_unreplied {
            lines.push(Line::new(
                entry.place.at,
                Says::Supports,
                format!("the connection tracker saw no answer{state}"),
            ));
        } else if let Some(timeout) = entry.timeout_s {
            lines.push(Line::new(
                entry.place.at,
                Says::Names,
                format!("the connection tracker drops it in {timeout} s{state}"),
            ));
        }
    }
    for counter in &case.joined.files.facts.counters {
        if counter.name == "conntrack.insert_failed"
            && counter.value > 0
            && case.finding.rule == "dns-failure"
        {
            let note = format!(
                "{} entries could not be inserted: two packets of one socket raced for it",
                counter.value
            );
            lines.push(Line::new(counter.place.at, Says::Supports, note));
        }
    }
    lines
}

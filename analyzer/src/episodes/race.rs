//! Connections opened together for one purpose, of which one is used (RFC 8305 and like it).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use crate::direction::Direction;
use crate::event::At;

use super::episode::{Episode, EpisodeKind};
use super::record::{ConnectionRecord, FirstClose};

/// RFC 8305 §8: the next attempt begins after 2 s at most.
const OPENED_WITHIN: Duration = Duration::from_secs(2);

/// Connections looked at before and after one: where more are opened it is no race.
const NEAR: usize = 128;

/// A program closes the others as soon as it knows the winner.
const CLOSED_WITHIN: Duration = Duration::from_millis(10);

/// `records`: in the order of first frames. `names`: addresses by the name that DNS gave them.
pub(super) fn find(
    records: &[ConnectionRecord],
    names: &BTreeMap<String, BTreeSet<IpAddr>>,
) -> Vec<Episode> {
    let mut of_address = HashMap::<IpAddr, Vec<&str>>::new();
    for (name, addresses) in names {
        for address in addresses {
            of_address.entry(*address).or_default().push(name);
        }
    }
    let mut clients = BTreeMap::<(IpAddr, u16), Vec<&ConnectionRecord>>::new();
    for record in records.iter().filter(|record| record.was_opened) {
        let key = (record.client.ip, record.server.port);
        clients.entry(key).or_default().push(record);
    }
    let mut losers = BTreeMap::<(IpAddr, u64), Vec<(&ConnectionRecord, FirstClose)>>::new();
    for ((client, _), mut own) in clients {
        own.sort_by_key(|record| (record.start, record.first_frame));
        for (at, loser) in own.iter().enumerate() {
            let Some(close) = loser.close_of(Direction::ClientToServer) else {
                continue;
            };
            // It had no answer, so it was not the one that was used.
            if loser
                .first_answer
                .is_some_and(|answer| answer.frame < close.frame)
            {
                continue;
            }
            let earlier = own[..at].iter().rev().take(NEAR);
            let earlier = earlier.take_while(|one| loser.start.since(one.start) <= OPENED_WITHIN);
            let later = own[at + 1..].iter().take(NEAR);
            let later = later.take_while(|one| one.start.since(loser.start) <= OPENED_WITHIN);
            let mut answered = earlier.chain(later).filter(|one| {
                one.first_answer.is_some()
                    && (one.server.ip == loser.server.ip
                        || share_name(&of_address, one.server.ip, loser.server.ip))
            });
            // With several winners it was no race, and what comes together may be chance.
            if let (Some(winner), None) = (answered.next(), answered.next())
                && has_won(winner, close)
            {
                let key = (client, winner.first_frame);
                losers.entry(key).or_default().push((loser, close));
            }
        }
    }
    let episodes = losers.into_iter().map(|((client, winner), losers)| {
        let closes = losers.iter().map(|(_, close)| close.time);
        let from = closes.clone().min().unwrap_or_default();
        let to = closes.max().unwrap_or_default();
        let first_frames = losers.iter().map(|(loser, _)| loser.first_frame);
        let mut episode =
            Episode::new(EpisodeKind::RaceLosers, client, from, to).with_connections(first_frames);
        episode.winner = Some(winner);
        episode
    });
    episodes.collect()
}

fn share_name(of_address: &HashMap<IpAddr, Vec<&str>>, one: IpAddr, other: IpAddr) -> bool {
    let names = |ip: IpAddr| of_address.get(&ip).map_or(&[][..], Vec::as_slice);
    names(one).iter().any(|name| names(other).contains(name))
}

/// Whether the close of another follows at once what decided for a connection: that it was
/// accepted, that it was used, or its answer.
fn has_won(winner: &ConnectionRecord, close: FirstClose) -> bool {
    let decided = |at: Option<At>| {
        at.is_some_and(|at| at.frame < close.frame && close.time.since(at.time) <= CLOSED_WITHIN)
    };
    let is_open_on = winner.close.is_none_or(|own| own.frame > close.frame);
    is_open_on
        && (decided(winner.accepted)
            || decided(winner.first_request)
            || decided(winner.first_answer))
}

//! The store of what rules collect: bounded, shared by all shards, independent of their order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use analyzer::Connection;

/// Keeps the items of the earliest connections, up to a bound; counts all.
///
/// Shards share one store ([`Self::share`]), so that the bound holds for all of them together.
/// What is kept depends on the items alone, not on the order in which shards offer them.
pub(crate) struct Kept<T> {
    store: Arc<Store<T>>,
    /// All that were offered to this handle.
    pub(crate) seen: u64,
}

struct Store<T> {
    limit: usize,
    /// Once more than the limit was offered: the frame beyond which nothing is taken any more.
    ceiling: AtomicU64,
    /// In any order; a quarter more than the limit at most. They lie apart: a list that grows and is
    /// sorted moves what it holds.
    items: Mutex<Vec<(Place, Box<T>)>>,
}

/// Where an item belongs among all: the first frame of its connection, the ports of client and
/// server (one frame can begin several connections), its number among the connection's items. As
/// one number, since thousands are sorted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place(u128);

impl Place {
    const fn new(first_frame: u64, [client, server]: [u16; 2]) -> Self {
        Self((first_frame as u128) << 64 | (client as u128) << 48 | (server as u128) << 32)
    }

    /// The place of the first item of a connection.
    pub(crate) fn of(connection: &Connection) -> Self {
        let ports = [connection.client, connection.server].map(|end| end.port);
        Self::new(connection.first_frame, ports)
    }

    /// The place of the connection's item of this number.
    pub(crate) fn nth(self, ordinal: usize) -> Self {
        Self(self.0 | u128::from(u32::try_from(ordinal).unwrap_or(u32::MAX)))
    }

    const fn first_frame(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

impl<T> Kept<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            store: Arc::new(Store {
                limit,
                ceiling: AtomicU64::new(u64::MAX),
                items: Mutex::default(),
            }),
            seen: 0,
        }
    }

    /// Another handle on the same store, which has been offered nothing yet.
    pub(crate) fn share(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            seen: 0,
        }
    }

    /// Whether an item of this place would surely not be kept.
    pub(crate) fn is_beyond(&self, place: Place) -> bool {
        // An old ceiling only lets more through to the lock.
        place.first_frame() > self.store.ceiling.load(Ordering::Relaxed)
    }

    /// Offers an item.
    pub(crate) fn offer(&mut self, place: Place, item: T) {
        self.seen += 1;
        if self.is_beyond(place) {
            return;
        }
        let limit = self.store.limit;
        let item = Box::new(item);
        let mut items = self.items();
        items.push((place, item));
        if items.len() > limit + limit / 4 {
            let (_, (last, _), _) =
                items.select_nth_unstable_by_key(limit - 1, |(place, _)| *place);
            let ceiling = last.first_frame();
            items.truncate(limit);
            self.store.ceiling.store(ceiling, Ordering::Relaxed);
        }
    }

    /// Adds what another handle on the same store has counted.
    pub(crate) const fn merge(&mut self, other: &Self) {
        self.seen += other.seen;
    }

    /// Takes all items out of the store.
    pub(crate) fn into_items(self) -> Vec<T> {
        let mut items = std::mem::take(&mut *self.items());
        items.sort_unstable_by_key(|(place, _)| *place);
        items.truncate(self.store.limit);
        items.into_iter().map(|(_, item)| *item).collect()
    }

    fn items(&self) -> MutexGuard<'_, Vec<(Place, Box<T>)>> {
        // Nothing panics while it is locked, and the list is whole between two calls.
        self.store
            .items
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_items_do_not_depend_on_the_split() {
        let offer = |kept: &mut Kept<u64>, frame: u64| {
            kept.offer(Place::new(frame, [0, 0]), frame);
        };
        let mut whole = Kept::new(3);
        [9, 2, 7, 1, 5]
            .into_iter()
            .for_each(|frame| offer(&mut whole, frame));
        let mut left = Kept::new(3);
        let mut right = left.share();
        [9, 7, 5]
            .into_iter()
            .for_each(|frame| offer(&mut left, frame));
        [2, 1]
            .into_iter()
            .for_each(|frame| offer(&mut right, frame));
        left.merge(&right);
        assert_eq!((left.seen, whole.seen), (5, 5));
        assert_eq!(left.into_items(), whole.into_items());
    }
}

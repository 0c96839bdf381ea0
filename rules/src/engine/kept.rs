//! The store of what rules collect: bounded, shared by all shards, independent of their order.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use analyzer::Connection;

/// Keeps the items of the earliest connections, up to a bound that holds for all shards together.
///
/// What is kept depends on the items alone, not on the order in which shards offer them.
pub(crate) struct Kept<T> {
    store: Store,
    kind: PhantomData<T>,
}

/// The items of one rule, of whatever type: sorting them is compiled once for all rules.
struct Store {
    limit: usize,
    /// Once more than the limit was offered: the frame beyond which nothing is taken any more.
    ceiling: AtomicU64,
    /// In any order; a quarter more than the limit at most. They lie apart: a list that grows and is
    /// sorted moves what it holds.
    items: Mutex<Vec<(Place, Item)>>,
}

type Item = Box<dyn Any + Send + Sync>;

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

impl<T: Send + Sync + 'static> Kept<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            store: Store {
                limit,
                ceiling: AtomicU64::new(u64::MAX),
                items: Mutex::default(),
            },
            kind: PhantomData,
        }
    }

    /// Whether an item of this place would surely not be kept.
    pub(crate) fn is_beyond(&self, place: Place) -> bool {
        self.store.is_beyond(place)
    }

    /// Whether an item of the connection that begins with this frame may be kept.
    pub(crate) fn may_keep(&self, first_frame: u64) -> bool {
        !self.store.is_beyond(Place::new(first_frame, [0; 2]))
    }

    /// Lets go of what is beyond the limit, so that what else would be is known.
    pub(crate) fn trim(&self) {
        self.store.trim(&mut self.store.items());
    }

    /// Offers an item; whether it is kept, as far as is known by now.
    pub(crate) fn offer(&self, place: Place, item: T) -> bool {
        let may_keep = !self.is_beyond(place);
        if may_keep {
            self.store.take_in(place, Box::new(item));
        }
        may_keep
    }

    /// Takes all items out.
    pub(crate) fn take(&self) -> Vec<T> {
        let items = self.store.take_out().into_iter();
        // All are of this type: nothing else is offered.
        let items = items.filter_map(|(_, item)| item.downcast().ok());
        items.map(|item| *item).collect()
    }
}

impl Store {
    fn is_beyond(&self, place: Place) -> bool {
        // An old ceiling only lets more through to the lock.
        place.first_frame() > self.ceiling.load(Ordering::Relaxed)
    }

    fn take_in(&self, place: Place, item: Item) {
        let mut items = self.items();
        items.push((place, item));
        if items.len() > self.limit + self.limit / 4 {
            self.trim(&mut items);
        }
    }

    fn trim(&self, items: &mut Vec<(Place, Item)>) {
        let limit = self.limit;
        if items.len() <= limit {
            return;
        }
        let (_, (last, _), _) = items.select_nth_unstable_by_key(limit - 1, |(place, _)| *place);
        let ceiling = last.first_frame();
        items.truncate(limit);
        self.ceiling.store(ceiling, Ordering::Relaxed);
    }

    fn take_out(&self) -> Vec<(Place, Item)> {
        let mut items = std::mem::take(&mut *self.items());
        items.sort_unstable_by_key(|(place, _)| *place);
        items.truncate(self.limit);
        items
    }

    fn items(&self) -> MutexGuard<'_, Vec<(Place, Item)>> {
        // Nothing panics while it is locked, and the list is whole between two calls.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_items_do_not_depend_on_their_order() {
        let kept = |frames: [u64; 5]| {
            let kept = Kept::new(3);
            for frame in frames {
                kept.offer(Place::new(frame, [0, 0]), frame);
            }
            kept.take()
        };
        assert_eq!(kept([9, 2, 7, 1, 5]), [1, 2, 5]);
        assert_eq!(kept([9, 7, 5, 2, 1]), [1, 2, 5]);
    }
}

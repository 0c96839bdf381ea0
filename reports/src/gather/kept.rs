//! Bounded stores that all shards share: what is kept depends on the items alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The `limit` highest-ranked items of all that were offered to handles on one store. No two items
/// have the same rank.
#[derive(Debug)]
pub(super) struct Kept<R: Copy + Ord, T> {
    store: Arc<Store<R, T>>,
    /// Once the store is full: the least rank in it when this handle last looked. What ranks
    /// lower is turned away without locking.
    floor: Option<R>,
}

#[derive(Debug)]
struct Store<R: Copy + Ord, T> {
    limit: usize,
    /// The least of the kept ones on top.
    heap: Mutex<BinaryHeap<Reverse<Ranked<R, T>>>>,
}

impl<R: Copy + Ord, T> Kept<R, T> {
    pub fn new(limit: usize) -> Self {
        Self {
            store: Arc::new(Store {
                limit,
                heap: Mutex::default(),
            }),
            floor: None,
        }
    }

    /// Another handle on the same store.
    pub fn share(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            floor: self.floor,
        }
    }

    /// Whether an item of this rank would surely not be kept.
    pub fn is_beneath(&self, rank: R) -> bool {
        self.store.limit == 0 || self.floor.is_some_and(|floor| rank < floor)
    }

    pub fn offer(&mut self, rank: R, item: impl FnOnce() -> T) {
        if self.is_beneath(rank) {
            return;
        }
        let item = Box::new(item());
        let mut item = Some(Reverse(Ranked { rank, item }));
        let mut heap = self.heap();
        if heap.len() < self.store.limit {
            heap.extend(item.take());
        } else if let Some(mut least) = heap.peek_mut()
            && least.0.rank < rank
            && let Some(item) = &mut item
        {
            // The old one is dropped after the lock.
            std::mem::swap(&mut *least, item);
        }
        let full = heap.len() >= self.store.limit;
        let floor = heap.peek().filter(|_| full).map(|least| least.0.rank);
        drop(heap);
        self.floor = floor;
    }

    pub fn append(&mut self, other: Self) {
        if Arc::ptr_eq(&self.store, &other.store) {
            return;
        }
        self.put(other.take());
    }

    /// Whether an item of this rank is kept, as far as is known by now.
    pub fn may_keep(&self, rank: R) -> bool {
        let limit = self.store.limit;
        let heap = self.heap();
        let least = heap.peek().filter(|_| heap.len() >= limit);
        limit > 0 && least.is_none_or(|least| rank >= least.0.rank)
    }

    /// Takes out what all handles keep, the greatest first.
    pub fn take(&self) -> Vec<(R, T)> {
        let heap = std::mem::take(&mut *self.heap());
        heap.into_sorted_vec()
            .into_iter()
            .map(|Reverse(Ranked { rank, item })| (rank, *item))
            .collect()
    }

    /// Offers what was taken out of another store.
    pub fn put(&mut self, taken: Vec<(R, T)>) {
        for (rank, item) in taken {
            self.offer(rank, || item);
        }
    }

    /// The greatest first.
    pub fn into_sorted(self) -> Vec<T> {
        self.take().into_iter().map(|(_, item)| item).collect()
    }

    fn heap(&self) -> MutexGuard<'_, BinaryHeap<Reverse<Ranked<R, T>>>> {
        // Nothing panics while it is locked.
        self.store
            .heap
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// An item ordered by its rank alone.
#[derive(Debug)]
struct Ranked<R, T> {
    rank: R,
    /// Apart: a heap moves what it orders.
    item: Box<T>,
}

impl<R: Copy + Ord, T> PartialEq for Ranked<R, T> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl<R: Copy + Ord, T> Eq for Ranked<R, T> {}

impl<R: Copy + Ord, T> PartialOrd for Ranked<R, T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Copy + Ord, T> Ord for Ranked<R, T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relevance, then the earlier frame.
    type Place = (u8, u64, Reverse<u64>);

    const fn rank(trouble: u8, bytes: u64, frame: u64) -> Place {
        (trouble, bytes, Reverse(frame))
    }

    #[test]
    fn keeps_the_same_items_however_they_are_spread() {
        let ranks: Vec<_> = (0..100_u64)
            .map(|n| rank((n % 4) as u8, n * 37 % 11, n))
            .collect();
        let keep = |shards: usize| {
            let all = Kept::new(10);
            let mut kept: Vec<_> = (0..shards).map(|_| all.share()).collect();
            for (n, &rank) in ranks.iter().enumerate() {
                kept[n * 7 % shards].offer(rank, || rank.2.0);
            }
            all.into_sorted()
        };
        let one = keep(1);
        assert_eq!(one.len(), 10);
        assert_eq!(one, keep(3));
        assert_eq!(one, keep(16));
    }

    #[test]
    fn most_relevant_first_and_earlier_frame_wins() {
        let mut kept = Kept::new(3);
        for (trouble, bytes, frame) in [(0, 900, 1), (3, 5, 9), (3, 5, 2), (1, 50, 3), (2, 1, 4)] {
            kept.offer(rank(trouble, bytes, frame), || frame);
        }
        assert_eq!(kept.into_sorted(), [2, 9, 4]);
    }

    #[test]
    fn a_limit_of_zero_keeps_nothing() {
        let mut kept = Kept::new(0);
        kept.offer(rank(3, 5, 9), || ());
        assert!(kept.into_sorted().is_empty());
    }
}

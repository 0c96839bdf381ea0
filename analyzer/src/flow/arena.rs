//! Flows by key: a table of small slots over entries that never move.
//!
//! The table doubles, but it holds eight octets a flow; the entries lie in chunks that are added
//! one by one. So growing never copies a flow and never needs twice the memory.

use hashbrown::HashTable;

use super::key::FlowKey;

/// Entries in a chunk: 24 KiB.
const CHUNK: usize = 256;

/// Where a flow lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct FlowId(u32);

/// What the table holds of a flow: where it lies, and enough of its hash to rule out others
/// without looking there.
#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u32,
    id: FlowId,
}

#[derive(Debug)]
struct Entry<T> {
    key: FlowKey,
    flow: T,
}

/// The flows of one shard.
#[derive(Debug)]
pub(crate) struct Arena<T> {
    table: HashTable<Slot>,
    chunks: Vec<Vec<Option<Entry<T>>>>,
    free: Vec<FlowId>,
}

impl<T> Arena<T> {
    /// Octets that an entry takes.
    #[cfg(test)]
    pub const PLACE: usize = size_of::<Option<Entry<T>>>();

    pub fn new() -> Self {
        Self {
            table: HashTable::new(),
            chunks: Vec::new(),
            free: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Finds the flow of `key`, whose [`FlowKey::hash64`] is `hash`.
    pub fn find(&self, key: &FlowKey, hash: u64) -> Option<FlowId> {
        let tag = tag_of(hash);
        let is_it = |slot: &Slot| slot.tag == tag && self.is_at(slot.id, key);
        self.table.find(spread(tag), is_it).map(|slot| slot.id)
    }

    /// Whether the flow at `id` is that of `key`.
    pub fn is_at(&self, id: FlowId, key: &FlowKey) -> bool {
        self.entry(id).is_some_and(|entry| entry.key == *key)
    }

    /// Adds a flow; its key must not be there yet.
    ///
    /// # Panics
    /// With 2³² flows, which no memory holds.
    pub fn insert(&mut self, key: FlowKey, hash: u64, flow: T) -> FlowId {
        let tag = tag_of(hash);
        let entry = Some(Entry { key, flow });
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(place) = self.place(id) {
                    *place = entry;
                }
                id
            }
            None => self.push(entry),
        };
        self.table
            .insert_unique(spread(tag), Slot { tag, id }, |slot| spread(slot.tag));
        id
    }

    fn push(&mut self, entry: Option<Entry<T>>) -> FlowId {
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let last = self.chunks.last_mut().expect("a chunk was just added");
        last.push(entry);
        FlowId(u32::try_from(before + last.len() - 1).expect("fewer than 2^32 flows"))
    }

    /// The flow at `id`, which is there.
    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut T> {
        self.place(id)?.as_mut().map(|entry| &mut entry.flow)
    }

    /// The key and the flow at `id`.
    pub fn get(&self, id: FlowId) -> Option<(&FlowKey, &T)> {
        self.entry(id).map(|entry| (&entry.key, &entry.flow))
    }

    /// Takes a flow out.
    pub fn remove(&mut self, id: FlowId) -> Option<(FlowKey, T)> {
        let entry = self.place(id)?.take()?;
        let hash = spread(tag_of(entry.key.hash64()));
        if let Ok(slot) = self.table.find_entry(hash, |slot| slot.id == id) {
            slot.remove();
        }
        self.free.push(id);
        Some((entry.key, entry.flow))
    }

    /// All flows with their places, in the order in which they lie.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (FlowId, &mut T)> {
        let entries = self.chunks.iter_mut().flatten().zip(0..);
        entries.filter_map(|(place, at)| Some((FlowId(at), &mut place.as_mut()?.flow)))
    }

    /// Takes a flow out of its place and leaves the table as it is: for the end, when nothing is
    /// looked up any more.
    pub fn take(&mut self, id: FlowId) -> Option<(FlowKey, T)> {
        let entry = self.place(id)?.take()?;
        Some((entry.key, entry.flow))
    }

    /// Looks at the place of a flow that will be asked for soon, so that it comes into the cache
    /// while other places do; gives something that rests on it.
    pub fn warm(&self, hash: u64) -> u32 {
        let tag = tag_of(hash);
        let slot = self.table.find(spread(tag), |slot| slot.tag == tag);
        let entry = slot.and_then(|slot| self.entry(slot.id));
        entry.map_or(0, |entry| u32::from(entry.key.is_tcp()))
    }

    fn entry(&self, id: FlowId) -> Option<&Entry<T>> {
        let at = id.0 as usize;
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)?.as_ref()
    }

    fn place(&mut self, id: FlowId) -> Option<&mut Option<Entry<T>>> {
        let at = id.0 as usize;
        self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)
    }
}

/// The lower half of a hash; the shard was chosen by the upper one.
#[expect(clippy::cast_possible_truncation, reason = "half of it is wanted")]
const fn tag_of(hash: u64) -> u32 {
    hash as u32
}

/// A hash from a tag, so that growing needs no look at the keys. The table uses both ends of it.
const fn spread(tag: u32) -> u64 {
    (tag as u64) | (tag as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) & 0xffff_ffff_0000_0000
}

//! Reads header blocks of HTTP/2 (RFC 7541), as much as a reader needs who may have missed some.
//!
//! An own reader: the maintained codec crates stop at the first field they cannot resolve and
//! take their table's size from the peer. Here a field that refers to an entry that was missed is
//! passed over, and the table is capped. Only the fields of [`Field`] keep their values; of
//! others the dynamic table keeps the sizes, which decide when entries leave it.

use std::collections::VecDeque;

use super::huffman;
use super::static_table::STATIC_TABLE;

/// Fields that are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Field {
    Method,
    Path,
    Authority,
    Status,
    Server,
    GrpcStatus,
    GrpcMessage,
    Other,
}

/// Longest table followed; peers that agree on more lose some fields.
const TABLE_MAX: usize = 64 * 1024;
/// The table's size until an update (RFC 9113 §6.5.2).
const TABLE_DEFAULT: usize = 4096;
/// Longest name or value followed.
const STRING_MAX: usize = 16 * 1024;
/// What an entry takes beside its octets (RFC 7541 §4.1).
const ENTRY_OVERHEAD: usize = 32;

/// One direction's dynamic table.
#[derive(Debug)]
pub(super) struct Hpack {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    size_max: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    name: Name,
    /// Kept for fields that are read.
    value: Vec<u8>,
    value_len: usize,
}

/// A name: what it is and how long.
#[derive(Clone, Copy, Debug)]
struct Name {
    field: Field,
    len: usize,
}

impl Default for Hpack {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            size_max: TABLE_DEFAULT,
        }
    }
}

impl Hpack {
    /// Forgets the entries: blocks were missed, older references lead nowhere.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
        self.size = 0;
    }

    /// Reads a block; hands over each field that could be resolved. False: the rest made no sense.
    pub(super) fn read(&mut self, mut block: &[u8], mut take: impl FnMut(Field, &[u8])) -> bool {
        while !block.is_empty() {
            if self.read_field(&mut block, &mut take).is_none() {
                return false;
            }
        }
        true
    }

    fn read_field(&mut self, block: &mut &[u8], take: &mut impl FnMut(Field, &[u8])) -> Option<()> {
        let first = *block.first()?;
        match first {
            0x80.. => {
                let index = integer(block, 7)?;
                if let Some(entry) = self.entry(index) {
                    take(entry.name.field, &entry.value);
                }
            }
            0x40.. => {
                let entry = self.literal(block, 6)?;
                take(entry.name.field, &entry.value);
                self.insert(entry);
            }
            0x20.. => {
                self.size_max = integer(block, 5)?.min(TABLE_MAX);
                self.shrink(self.size_max);
            }
            _ => {
                let entry = self.literal(block, 4)?;
                take(entry.name.field, &entry.value);
            }
        }
        Some(())
    }

    /// A literal field whose name is an index of `prefix` bits or a string.
    fn literal(&self, block: &mut &[u8], prefix: u32) -> Option<Entry> {
        let name = match integer(block, prefix)? {
            0 => {
                let name = string(block)?;
                Name {
                    field: Field::of(&name),
                    len: name.len(),
                }
            }
            // A name that was missed: its length is a guess, its meaning is not read.
            index => self.entry(index).map_or(
                Name {
                    field: Field::Other,
                    len: 16,
                },
                |entry| entry.name,
            ),
        };
        let value = string(block)?;
        let value_len = value.len();
        let value = if name.field == Field::Other {
            Vec::new()
        } else {
            value
        };
        Some(Entry {
            name,
            value,
            value_len,
        })
    }

    fn entry(&self, index: usize) -> Option<Entry> {
        let index = index.checked_sub(1)?;
        match STATIC_TABLE.get(index) {
            Some((name, value)) => Some(Entry {
                name: Name {
                    field: Field::of(name.as_bytes()),
                    len: name.len(),
                },
                value: value.as_bytes().to_vec(),
                value_len: value.len(),
            }),
            None => self.entries.get(index - STATIC_TABLE.len()).cloned(),
        }
    }

    fn insert(&mut self, entry: Entry) {
        let size = entry.size();
        self.shrink(self.size_max.saturating_sub(size));
        if size <= self.size_max {
            self.size += size;
            self.entries.push_front(entry);
        }
    }

    fn shrink(&mut self, size: usize) {
        while self.size > size {
            let Some(entry) = self.entries.pop_back() else {
                break;
            };
            self.size -= entry.size();
        }
    }
}

impl Entry {
    const fn size(&self) -> usize {
        self.name.len + self.value_len + ENTRY_OVERHEAD
    }
}

impl Field {
    fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":authority" | b"host" => Self::Authority,
            b":status" => Self::Status,
            b"server" => Self::Server,
            b"grpc-status" => Self::GrpcStatus,
            b"grpc-message" => Self::GrpcMessage,
            _ => Self::Other,
        }
    }
}

/// An integer with a prefix of some bits (RFC 7541 §5.1).
fn integer(block: &mut &[u8], prefix: u32) -> Option<usize> {
    let mask = (1_usize << prefix) - 1;
    let (first, mut rest) = block.split_first()?;
    let mut value = usize::from(*first) & mask;
    if value == mask {
        for shift in [0, 7, 14, 21] {
            let (octet, tail) = rest.split_first()?;
            rest = tail;
            value += usize::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                *block = rest;
                return Some(value);
            }
        }
        return None;
    }
    *block = rest;
    Some(value)
}

/// A string, plain or Huffman-coded (RFC 7541 §5.2).
fn string(block: &mut &[u8]) -> Option<Vec<u8>> {
    let coded = block.first()? & 0x80 != 0;
    let len = integer(block, 7)?;
    let (octets, rest) = block.split_at_checked(len)?;
    *block = rest;
    if coded {
        huffman::decode(octets, STRING_MAX)
    } else {
        (octets.len() <= STRING_MAX).then(|| octets.to_vec())
    }
}

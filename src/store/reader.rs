//! Reads an object from its beginning to its end, in large pieces, the next one while this one is used.

use std::io::{self, Read};
use std::sync::Arc;

use analyzer::capture::StoredObject;
use bytes::Bytes;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::task::JoinHandle;

use super::runtime::{one_line, runtime};

/// Octets asked for at once: a request takes some tens of milliseconds however little it is for.
const PIECE: u64 = 8 << 20;

/// The first piece: enough to recognise what it is.
const FIRST: u64 = 1 << 20;

/// An object whose size is known.
pub struct StoreObject {
    store: Arc<dyn ObjectStore>,
    key: Key,
    octets: u64,
}

impl StoreObject {
    /// The object of this key.
    pub fn new(store: Arc<dyn ObjectStore>, key: Key, octets: u64) -> Self {
        Self { store, key, octets }
    }

    /// Begins to read.
    pub fn read(&self) -> io::Result<Pieces> {
        let mut pieces = Pieces {
            store: Arc::clone(&self.store),
            key: self.key.clone(),
            octets: self.octets,
            asked: 0,
            piece: Bytes::new(),
            next: None,
        };
        pieces.ask()?;
        Ok(pieces)
    }
}

impl StoredObject for StoreObject {
    fn octets(&self) -> u64 {
        self.octets
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.read()?))
    }
}

/// An object while it is read.
pub struct Pieces {
    store: Arc<dyn ObjectStore>,
    key: Key,
    octets: u64,
    /// Octets asked for so far.
    asked: u64,
    /// What came and was not read yet.
    piece: Bytes,
    next: Option<JoinHandle<object_store::Result<Bytes>>>,
}

impl Pieces {
    /// Asks for the next piece.
    fn ask(&mut self) -> io::Result<()> {
        let length = if self.asked == 0 { FIRST } else { PIECE };
        let range = self.asked..self.octets.min(self.asked + length);
        if range.is_empty() {
            return Ok(());
        }
        self.asked = range.end;
        let (store, key) = (Arc::clone(&self.store), self.key.clone());
        let work = async move { store.get_range(&key, range).await };
        self.next = Some(runtime()?.spawn(work));
        Ok(())
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            let Some(next) = self.next.take() else {
                return Ok(0);
            };
            let came = runtime()?.block_on(next).map_err(io::Error::other)?;
            self.piece = came.map_err(|error| io::Error::other(one_line(&error)))?;
        }
        let count = self.piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        // Whoever looks at the beginning alone has no more sent.
        if self.next.is_none() && (self.piece.len() as u64) < FIRST / 2 {
            self.ask()?;
        }
        Ok(count)
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if let Some(next) = &self.next {
            next.abort();
        }
    }
}

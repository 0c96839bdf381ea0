//! Names that the program itself has, read back from where an earlier run of it wrote them.
//!
//! They are `&'static str` in the types that bear them; what is read must live as long. Few are ever
//! made, so each is kept once and never freed, and what cannot be one of ours is refused.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// More than there are.
const NAMES: usize = 4096;
/// Longer than any of them.
const LENGTH: usize = 256;

/// A name that the program has. (As a type of its own name, `serde` does not take it for one that is
/// borrowed from what is read.)
pub type StaticName = &'static str;

/// The name with this text; `None` when it cannot be one of ours.
#[must_use]
pub fn known(text: &str) -> Option<&'static str> {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(name) = known.get(text) {
        return Some(name);
    }
    if known.len() >= NAMES || text.len() > LENGTH {
        return None;
    }
    let name: &'static str = Box::leak(text.to_owned().into_boxed_str());
    known.insert(name);
    Some(name)
}

/// Reads one, for `#[serde(deserialize_with)]`.
///
/// # Errors
/// When there is none, or it cannot be one of ours.
pub fn read<'de, D: Deserializer<'de>>(from: D) -> Result<&'static str, D::Error> {
    let text = String::deserialize(from)?;
    known(&text).ok_or_else(|| D::Error::custom("no name of the program"))
}

/// Reads one that may be missing.
///
/// # Errors
/// As [`read`].
pub fn read_option<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'static str>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else {
        return Ok(None);
    };
    let name = known(&text).ok_or_else(|| D::Error::custom("no name of the program"))?;
    Ok(Some(name))
}
